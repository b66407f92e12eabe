//! What the registry's record says, and what is asked of it.

use heapless::Vec;
use otrp_wire::id::{SdName, SpId, TaId, TamId};
use otrp_wire::limits::{
    ANCHOR_LIMIT, AUTHORITY_LIMIT, SD_LIMIT, TA_LIMIT, TAM_LIMIT, TEE_CHAIN_BYTES_LIMIT, UUID_LIMIT,
};
use sha2::{Digest, Sha256};

use super::number::{KeyNumber, SdNumber, TamNumber};
use super::shares::Resource;
use crate::crypto::digest::sha256;
use crate::error::Error;
use crate::platform::{Blob, ImageOwner, KeyPair, PortError, StoredTa, UuidBytes};
use crate::revocation::{Authority, LastProof};

/// Most blobs that one change removes: a full security domain's applications, each with
/// personalization data, its certificates; and a TAM's chain.
const REMOVED_LIMIT: usize = 2 * TA_LIMIT + 2;
/// Most RSA key pairs that are destroyed after one change: each service provider has one.
pub const RETIRED_KEY_LIMIT: usize = SD_LIMIT;

/// A TAM that this device has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tam {
    /// Its number.
    pub number: TamNumber,
    /// Its identifier.
    pub id: TamId,
    /// SHA-256 of the leaf certificate that it used last.
    pub leaf: [u8; 32],
    /// SHA-256 of the root's certificate that its path ended at.
    pub anchor: [u8; 32],
    /// [`VerifiedPath::digest`](crate::pki::VerifiedPath::digest) of its path.
    pub chain_digest: [u8; 32],
    /// When the first of the OCSP responses of its last GetDeviceState ends, in seconds since 1970.
    pub good_until: u64,
    /// SHA-256 of the device state that it was given last, while that is the current one.
    pub dsi_hash: Option<[u8; 32]>,
}

/// The latest time that was verified under an anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnchorTime {
    /// SHA-256 of the anchor's certificate.
    pub anchor: [u8; 32],
    /// In seconds since 1970.
    pub time: u64,
}

/// The name of a device state, written in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation([u8; 16]);

impl core::fmt::Display for Generation {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.iter().try_for_each(|octet| write!(formatter, "{octet:02x}"))
    }
}

/// A security domain: a name within (TAM, service provider).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sd {
    /// Its number.
    pub number: SdNumber,
    /// The number of its owner.
    pub tam: TamNumber,
    /// The service provider.
    pub sp: SpId,
    /// Its name.
    pub name: SdName,
}

/// An attestation key of a service provider, as one TAM knows the provider.
#[derive(Debug)]
pub struct Aik {
    /// Its number; that of an RSA key pair is its name too.
    pub number: KeyNumber,
    /// The TAM.
    pub tam: TamNumber,
    /// The service provider.
    pub sp: SpId,
    /// The key pair.
    pub key: KeyPair,
}

/// An installed trusted application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ta {
    /// The security domain that owns it.
    pub sd: SdNumber,
    /// Its name for the TAM.
    pub id: TaId,
    /// Its UUID, as its service provider signed it.
    pub uuid: UuidBytes,
    /// The image.
    pub stored: StoredTa,
    /// SHA-256 of the certificate whose key signed the image.
    pub signer: [u8; 32],
    /// Whether it was sent personalization data.
    pub has_data: bool,
}

/// What stays of a trusted application that was deleted: who may use its UUID again, and from
/// which version on. Client applications know it by its UUID: neither another owner's nor an older
/// version may take its place. What it stored itself goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetiredUuid {
    /// The UUID.
    pub uuid: UuidBytes,
    /// The version that was installed last, which is the highest ever.
    pub version: u32,
    /// Whose it was.
    pub holder: Holder,
}

/// A TAM and its service provider by name, because a number ends with what it identifies: a TAM that
/// was evicted and returns, and a provider that gets a domain again, are recognized.
///
/// The names are as hashes, which take less room: half a SHA-256, of which nobody finds a second
/// preimage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Of the TAM's identifier.
    pub tam: NameHash,
    /// Of the service provider's identifier.
    pub sp: NameHash,
}

/// The first half of the SHA-256 of an identifier.
pub type NameHash = [u8; 16];

/// The hash of an identifier.
pub(super) fn name_hash(name: &str) -> NameHash {
    half(sha256(name.as_bytes()))
}

fn half(digest: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    half
}

impl Holder {
    /// The holder of these names.
    #[must_use]
    pub fn new(tam: &TamId, sp: &SpId) -> Self {
        Self { tam: name_hash(tam.as_str()), sp: name_hash(sp.as_str()) }
    }

    /// The holder as the owner of an image.
    #[must_use]
    pub fn image_owner(&self) -> ImageOwner {
        let mut owner = [0; size_of::<ImageOwner>()];
        let (tam, sp) = owner.split_at_mut(self.tam.len());
        tam.copy_from_slice(&self.tam);
        sp.copy_from_slice(&self.sp);
        owner
    }
}

/// Everything that the registry's record says.
#[derive(Debug)]
pub struct State {
    pub(super) tams: Vec<Tam, TAM_LIMIT>,
    pub(super) authorities: Vec<Authority, AUTHORITY_LIMIT>,
    pub(super) sds: Vec<Sd, SD_LIMIT>,
    pub(super) aiks: Vec<Aik, SD_LIMIT>,
    pub(super) tas: Vec<Ta, TA_LIMIT>,
    pub(super) retired_uuids: Vec<RetiredUuid, UUID_LIMIT>,
    /// The numbers of attestation keys, RSA key pairs, that are still to be destroyed.
    pub(super) retired_keys: Vec<KeyNumber, RETIRED_KEY_LIMIT>,
    /// The blobs that the next commit removes. Not in the record.
    pub(super) removed: Vec<Blob, REMOVED_LIMIT>,
    /// The TEE's key pair, while the registry is open. It never changes, and is not cleared: where the
    /// record cannot be read any more, it signs the refusals that say so.
    pub(super) tee_key: Option<KeyPair>,
    /// The TEE's certificates, DER, one behind the other.
    pub(super) tee_chain: Vec<u8, TEE_CHAIN_BYTES_LIMIT>,
    /// The number that the next TAM, domain or attestation key gets.
    pub(super) next_number: u32,
    /// How many device states were given to TAMs, and one.
    pub(super) next_generation: u64,
    pub(super) times: Vec<AnchorTime, ANCHOR_LIMIT>,
    /// The latest image that dropped all times.
    pub(super) floor_epoch: u32,
    /// Hides the numbers of device states.
    pub(super) secret: [u8; 32],
    /// UUIDs that the image keeps free. Not in the record.
    pub(super) reserved: &'static [UuidBytes],
}

/// There is no capacity for one more.
pub(super) const FULL: Error = Error::Port(PortError::Full);

impl State {
    /// The state of a fresh device.
    pub(super) const fn new() -> Self {
        Self {
            tams: Vec::new(),
            authorities: Vec::new(),
            sds: Vec::new(),
            aiks: Vec::new(),
            tas: Vec::new(),
            retired_uuids: Vec::new(),
            retired_keys: Vec::new(),
            removed: Vec::new(),
            tee_key: None,
            tee_chain: Vec::new(),
            next_number: 1,
            next_generation: 1,
            times: Vec::new(),
            floor_epoch: 0,
            secret: [0; 32],
            reserved: &[],
        }
    }

    /// Makes this the state of a fresh device, in place: it is too large for the stack.
    pub(super) fn clear(&mut self) {
        self.tams.clear();
        self.authorities.clear();
        self.sds.clear();
        self.aiks.clear();
        self.tas.clear();
        self.retired_uuids.clear();
        self.retired_keys.clear();
        self.removed.clear();
        self.tee_chain.clear();
        self.next_number = 1;
        self.next_generation = 1;
        self.times.clear();
        self.floor_epoch = 0;
        self.secret = [0; 32];
    }

    /// The TAMs.
    #[must_use]
    pub fn tams(&self) -> &[Tam] {
        &self.tams
    }

    /// The TAM of this identifier.
    #[must_use]
    pub fn tam(&self, id: &TamId) -> Option<&Tam> {
        self.tams.iter().find(|tam| tam.id == *id)
    }

    /// The TAM of this number.
    #[must_use]
    pub fn tam_numbered(&self, number: TamNumber) -> Option<&Tam> {
        self.tams.iter().find(|tam| tam.number == number)
    }

    /// What the last GetDeviceState of a TAM showed of it.
    #[must_use]
    pub fn last_proof(&self, id: &TamId) -> Option<LastProof> {
        let known = self.tam(id)?;
        Some(LastProof { chain_digest: known.chain_digest, good_until: known.good_until })
    }

    /// Until when the authority of this certificate is known to be good.
    #[must_use]
    pub fn authority_good_until(&self, fingerprint: &[u8; 32]) -> Option<u64> {
        let known = self.authorities.iter().find(|known| known.fingerprint == *fingerprint);
        known.map(|known| known.good_until)
    }

    /// The security domain of this number.
    #[must_use]
    pub fn sd(&self, number: SdNumber) -> Option<&Sd> {
        self.sds.iter().find(|sd| sd.number == number)
    }

    /// The security domains of a TAM.
    pub fn sds_of(&self, tam: TamNumber) -> impl Iterator<Item = &Sd> {
        self.sds.iter().filter(move |sd| sd.tam == tam)
    }

    /// The trusted applications of a security domain.
    pub fn tas_of(&self, sd: SdNumber) -> impl Iterator<Item = &Ta> {
        self.tas.iter().filter(move |ta| ta.sd == sd)
    }

    /// Whether a trusted application of a security domain was signed under the certificate with
    /// this SHA-256.
    #[must_use]
    pub fn signs(&self, sd: SdNumber, certificate: &[u8; 32]) -> bool {
        self.tas_of(sd).any(|ta| ta.signer == *certificate)
    }

    /// Every trusted application.
    #[must_use]
    pub fn tas(&self) -> &[Ta] {
        &self.tas
    }

    /// The trusted application under a UUID.
    #[must_use]
    pub fn ta_under(&self, uuid: &UuidBytes) -> Option<&Ta> {
        self.tas.iter().find(|ta| ta.uuid == *uuid)
    }

    /// The attestation keys of a TAM's service providers.
    pub fn aiks_of(&self, tam: TamNumber) -> impl Iterator<Item = &Aik> {
        self.aiks.iter().filter(move |aik| aik.tam == tam)
    }

    /// The attestation key of a service provider of a TAM.
    #[must_use]
    pub fn aik(&self, tam: TamNumber, sp: &SpId) -> Option<&Aik> {
        self.aiks.iter().find(|aik| aik.tam == tam && aik.sp == *sp)
    }

    /// What is remembered of a UUID whose application was deleted.
    #[must_use]
    pub fn retired_uuid(&self, uuid: &UuidBytes) -> Option<&RetiredUuid> {
        self.retired_uuids.iter().find(|retired| retired.uuid == *uuid)
    }

    /// Whether a TAM may have one more: within its own share, or within what no TAM's share takes,
    /// those of TAMs that are not known yet among them.
    #[must_use]
    pub fn has_room(&self, resource: Resource, tam: TamNumber) -> bool {
        let (limit, share) = resource.limit_and_share();
        let total = self.total(resource);
        let one_more = |known: &Tam| usize::from(known.number == tam);
        let known = || self.tams.iter().map(|known| (known, self.used_by(resource, known)));
        let within = known().any(|(known, used)| known.number == tam && used < share);
        let after = known().map(|(known, used)| used.saturating_add(one_more(known)));
        let after = after.chain(core::iter::repeat(0)).take(TAM_LIMIT);
        total < limit && (within || resource.fits(total.saturating_add(1), after))
    }

    /// Where a TAM that is not known finds a place: in addition to the others, or in place of that
    /// one of them by index. Only one without security domains whose OCSP responses have ended is
    /// evicted, so that nobody takes the place of one that is about to create its first; of several,
    /// the one that used the fewest UUIDs, because those that it used stay.
    ///
    /// # Errors
    /// `Full` if no TAM can be evicted, or if there is not enough left for its share.
    pub(super) fn place_for(&self, id: &TamId, clock: u64) -> Result<Option<usize>, Error> {
        let uuids =
            |index: &usize| self.tams.get(*index).map(|tam| self.used_by(Resource::Uuids, tam));
        let idle = |index: &usize| {
            self.tams.get(*index).is_some_and(|tam| {
                let over = tam.good_until <= self.time_under(&tam.anchor, clock);
                over && self.sds_of(tam.number).next().is_none()
            })
        };
        let leaving = if self.tams.is_full() {
            Some((0..self.tams.len()).filter(idle).min_by_key(uuids).ok_or(FULL)?)
        } else {
            None
        };
        let fits = |resource: &Resource| {
            let staying = self.tams.iter().enumerate().filter(|(index, _)| Some(*index) != leaving);
            let used = staying.map(|(_, tam)| self.used_by(*resource, tam));
            let left = self.left_by(*resource, id);
            resource.fits(self.total(*resource), used.chain([left]))
        };
        if Resource::ALL.iter().all(fits) { Ok(leaving) } else { Err(FULL) }
    }

    /// How many are in use.
    fn total(&self, resource: Resource) -> usize {
        match resource {
            Resource::Sds => self.sds.len(),
            Resource::Tas => self.tas.len(),
            Resource::Uuids => self.tas.len().saturating_add(self.retired_uuids.len()),
        }
    }

    /// How many of them a TAM uses.
    fn used_by(&self, resource: Resource, tam: &Tam) -> usize {
        let present = match resource {
            Resource::Sds => self.sds_of(tam.number).count(),
            Resource::Tas | Resource::Uuids => {
                self.sds_of(tam.number).map(|sd| self.tas_of(sd.number).count()).sum()
            }
        };
        self.left_by(resource, &tam.id).saturating_add(present)
    }

    /// How many stay in use by a TAM that has nothing on the device: the UUIDs that it deleted.
    fn left_by(&self, resource: Resource, id: &TamId) -> usize {
        if resource != Resource::Uuids {
            return 0;
        }
        let name = name_hash(id.as_str());
        self.retired_uuids.iter().filter(|retired| retired.holder.tam == name).count()
    }

    /// Whether the image keeps a UUID free.
    #[must_use]
    pub fn is_reserved(&self, uuid: &UuidBytes) -> bool {
        self.reserved.contains(uuid)
    }

    /// The TEE's key pair.
    ///
    /// # Errors
    /// [`Error::Internal`] before the registry was opened.
    pub fn tee_key(&self) -> Result<&KeyPair, Error> {
        self.tee_key.as_ref().ok_or(Error::Internal)
    }

    /// The TEE's certificates, DER, one behind the other; empty before there are any.
    #[must_use]
    pub fn tee_chain(&self) -> &[u8] {
        &self.tee_chain
    }

    /// The number that the next security domain gets.
    #[must_use]
    pub const fn next_sd(&self) -> SdNumber {
        SdNumber(self.next_number)
    }

    /// The number that the next attestation key gets.
    #[must_use]
    pub const fn next_key(&self) -> KeyNumber {
        KeyNumber(self.next_number)
    }

    /// The name of a device state by its number. No two are the same, and without the registry's
    /// secret neither number nor order can be told from them, so that a TAM does not see how many
    /// the others were given.
    #[must_use]
    pub fn generation(&self, number: u64) -> Generation {
        let digest = Sha256::new().chain_update(self.secret).chain_update(number.to_be_bytes());
        Generation(half(digest.finalize().into()))
    }

    /// The time to judge what leads to an anchor by, where the clock shows `clock`: never before the
    /// latest time that was verified under this anchor. Seconds since 1970.
    #[must_use]
    pub fn time_under(&self, anchor: &[u8; 32], clock: u64) -> u64 {
        let times = self.times.iter().filter(|known| known.anchor == *anchor);
        times.map(|known| known.time).fold(clock, u64::max)
    }
}
