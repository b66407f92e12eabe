//! The state itself, and the only ways to change it.

use heapless::Vec;
use otrp_wire::id::{SdName, SpId, TaId, TamId};
use otrp_wire::limits::{
    ANCHOR_LIMIT, AUTHORITY_LIMIT, SD_LIMIT, TA_LIMIT, TAM_LIMIT, TEE_CHAIN_BYTES_LIMIT, UUID_LIMIT,
};
use sha2::{Digest, Sha256};

use crate::crypto::digest::sha256;
use crate::device::TeeChain;
use crate::error::Error;
use crate::platform::{Blob, ImageOwner, KeyPair, PortError, PrivateKey, StoredTa, UuidBytes};
use crate::policy::Authorized;
use crate::revocation::StapledTam;
use crate::trust::Trust;

use super::shares::Resource;

/// Most blobs that one change removes: a full security domain's applications, each with
/// personalization data, its certificates; and a TAM's chain.
const REMOVED_LIMIT: usize = 2 * TA_LIMIT + 2;
/// Most RSA key pairs that are destroyed after one change: each service provider has one.
pub const RETIRED_KEY_LIMIT: usize = SD_LIMIT;

/// A TAM that this device has accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tam {
    /// Its number.
    pub number: u32,
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

/// A certification authority that an OCSP response showed to be good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Its certificate's [`content_digest`](crate::pki::Certificate::content_digest).
    pub fingerprint: [u8; 32],
    /// When the response ends, in seconds since 1970.
    pub good_until: u64,
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
    pub number: u32,
    /// The number of its owner.
    pub tam: u32,
    /// The service provider.
    pub sp: SpId,
    /// Its name.
    pub name: SdName,
}

/// An attestation key of a service provider, as one TAM knows the provider.
#[derive(Debug)]
pub struct Aik {
    /// Its number; that of an RSA key pair is its name too.
    pub number: u32,
    /// The TAM.
    pub tam: u32,
    /// The service provider.
    pub sp: SpId,
    /// The key pair.
    pub key: KeyPair,
}

/// An installed trusted application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ta {
    /// The security domain that owns it.
    pub sd: u32,
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
pub struct Floor {
    /// The UUID.
    pub uuid: UuidBytes,
    /// The version that was installed last, which is the highest ever.
    pub version: u32,
    /// Whose it was.
    pub holder: Holder,
}

/// A TAM and its service provider by name, for numbers end with what they stand for: a TAM that
/// gave way and comes back, and a provider that gets a domain again, are who they were.
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

/// An installation: the entry of an application, which replaces one of the same domain and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The entry.
    pub ta: Ta,
    /// Whose its image is.
    pub owner: ImageOwner,
}

/// Everything that the registry's record says.
#[derive(Debug)]
pub struct State {
    pub(super) tams: Vec<Tam, TAM_LIMIT>,
    pub(super) authorities: Vec<Authority, AUTHORITY_LIMIT>,
    pub(super) sds: Vec<Sd, SD_LIMIT>,
    pub(super) aiks: Vec<Aik, SD_LIMIT>,
    pub(super) tas: Vec<Ta, TA_LIMIT>,
    pub(super) floors: Vec<Floor, UUID_LIMIT>,
    /// The numbers of attestation keys, RSA key pairs, that are still to be destroyed.
    pub(super) retired_keys: Vec<u32, RETIRED_KEY_LIMIT>,
    /// The blobs that the next commit removes. Not in the record.
    pub(super) removed: Vec<Blob, REMOVED_LIMIT>,
    /// The TEE's key pair, while the registry is open. It never changes, and is not cleared: where the
    /// record cannot be read any more, it signs the refusals that say so.
    pub(super) tee_key: Option<KeyPair>,
    /// The TEE's certificates, DER, one behind the other.
    pub(super) tee_chain: Vec<u8, TEE_CHAIN_BYTES_LIMIT>,
    pub(super) next_number: u32,
    pub(super) next_generation: u64,
    pub(super) times: Vec<AnchorTime, ANCHOR_LIMIT>,
    /// The latest image that dropped all times.
    pub(super) floor_epoch: u32,
    /// Hides the numbers of device states.
    pub(super) secret: [u8; 32],
    /// UUIDs that the image keeps free. Not in the record.
    pub(super) reserved: &'static [UuidBytes],
}

/// There is no room for one more.
const FULL: Error = Error::Port(PortError::Full);

impl State {
    /// The state of a fresh device.
    pub(super) const fn new() -> Self {
        Self {
            tams: Vec::new(),
            authorities: Vec::new(),
            sds: Vec::new(),
            aiks: Vec::new(),
            tas: Vec::new(),
            floors: Vec::new(),
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
        self.floors.clear();
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
    pub fn tam_numbered(&self, number: u32) -> Option<&Tam> {
        self.tams.iter().find(|tam| tam.number == number)
    }

    /// Until when the authority of this certificate is known to be good.
    #[must_use]
    pub fn authority_good_until(&self, fingerprint: &[u8; 32]) -> Option<u64> {
        let known = self.authorities.iter().find(|known| known.fingerprint == *fingerprint);
        known.map(|known| known.good_until)
    }

    /// The security domain of this number.
    #[must_use]
    pub fn sd(&self, number: u32) -> Option<&Sd> {
        self.sds.iter().find(|sd| sd.number == number)
    }

    /// The security domains of a TAM.
    pub fn sds_of(&self, tam: u32) -> impl Iterator<Item = &Sd> {
        self.sds.iter().filter(move |sd| sd.tam == tam)
    }

    /// The trusted applications of a security domain.
    pub fn tas_of(&self, sd: u32) -> impl Iterator<Item = &Ta> {
        self.tas.iter().filter(move |ta| ta.sd == sd)
    }

    /// Whether a trusted application of a security domain was signed under the certificate with
    /// this SHA-256.
    #[must_use]
    pub fn signs(&self, sd: u32, certificate: &[u8; 32]) -> bool {
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
    pub fn aiks_of(&self, tam: u32) -> impl Iterator<Item = &Aik> {
        self.aiks.iter().filter(move |aik| aik.tam == tam)
    }

    /// The attestation key of a service provider of a TAM.
    #[must_use]
    pub fn aik(&self, tam: u32, sp: &SpId) -> Option<&Aik> {
        self.aiks.iter().find(|aik| aik.tam == tam && aik.sp == *sp)
    }

    /// What is remembered of a UUID whose application was deleted.
    #[must_use]
    pub fn floor(&self, uuid: &UuidBytes) -> Option<&Floor> {
        self.floors.iter().find(|floor| floor.uuid == *uuid)
    }

    /// Whether a TAM may have one more: within its own share, or within what no TAM's share takes,
    /// those of TAMs that are not known yet among them.
    #[must_use]
    pub fn has_room(&self, resource: Resource, tam: u32) -> bool {
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
    /// one of them by index. One without security domains gives way whose OCSP responses have ended
    /// too, so that nobody takes the place of one that is about to create its first; of several the
    /// one that used the fewest UUIDs, for those that it used stay.
    ///
    /// # Errors
    /// `Full` if no TAM gives way, or if there is not enough left for its share.
    fn place_for(&self, id: &TamId, clock: u64) -> Result<Option<usize>, Error> {
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
            Resource::Uuids => self.tas.len().saturating_add(self.floors.len()),
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
        self.floors.iter().filter(|floor| floor.holder.tam == name).count()
    }

    /// Whether the image keeps a UUID free.
    #[must_use]
    pub fn is_reserved(&self, uuid: &UuidBytes) -> bool {
        self.reserved.contains(uuid)
    }

    /// Forgets the private keys, in their places.
    pub(super) fn forget_keys(&mut self) {
        self.tee_key = None;
        self.aiks.iter_mut().for_each(|aik| aik.key.private.forget());
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

    /// The number that the next TAM, domain or attestation key gets.
    #[must_use]
    pub const fn next_number(&self) -> u32 {
        self.next_number
    }

    /// How many device states were given to TAMs, and one.
    #[must_use]
    pub const fn next_generation(&self) -> u64 {
        self.next_generation
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

    /// Remembers a time that was verified under an anchor.
    fn raise_time(&mut self, anchor: [u8; 32], time: u64) -> Result<(), Error> {
        if let Some(known) = self.times.iter_mut().find(|known| known.anchor == anchor) {
            known.time = known.time.max(time);
            return Ok(());
        }
        // There is room for each anchor of the image, and the others were forgotten.
        self.times.push(AnchorTime { anchor, time }).map_err(|_| Error::Internal)
    }

    /// Follows the image: forgets the times of anchors that it does not have, and every time where
    /// its epoch is a later one.
    pub(super) fn follow(&mut self, trust: &Trust) {
        if trust.floor_epoch > self.floor_epoch {
            self.floor_epoch = trust.floor_epoch;
            self.times.clear();
        }
        self.times.retain(|known| trust.has_anchor(&known.anchor));
    }

    /// Takes back one thing from a TAM: a security domain with what is in it or, where it has none
    /// left, its entry. The versions and owners of its UUIDs stay.
    pub(super) fn take_back(&mut self, tam: u32) -> Result<(), Error> {
        if let Some(sd) = self.sds.iter().find(|sd| sd.tam == tam) {
            return self.remove_sd(sd.number);
        }
        let index = self.tams.iter().position(|known| known.number == tam);
        self.remove_tam(index.ok_or(Error::Internal)?)
    }

    fn remove_tam(&mut self, index: usize) -> Result<(), Error> {
        let old = self.tams.remove(index);
        self.remove_blob(Blob::TamChain(old.number))
    }

    fn remove_sd(&mut self, number: u32) -> Result<(), Error> {
        self.remove_tas(|ta| ta.sd == number)?;
        let index = self.sds.iter().position(|sd| sd.number == number).ok_or(Error::Internal)?;
        let sd = self.sds.remove(index);
        self.remove_blob(Blob::SpCertificates(sd.number))?;
        self.release_aik(sd.tam, &sd.sp)
    }

    /// What one change removes has room; see [`REMOVED_LIMIT`].
    fn remove_blob(&mut self, blob: Blob) -> Result<(), Error> {
        self.removed.push(blob).map_err(|_| Error::Internal)
    }

    /// Uses up the next number.
    fn take_number(&mut self) -> Result<(), Error> {
        self.next_number = self.next_number.checked_add(1).ok_or(FULL)?;
        Ok(())
    }

    /// Remembers a good authority; where there is no room, the one whose response ends first
    /// gives way.
    fn remember_authority(&mut self, authority: Authority) -> Result<(), Error> {
        let mut known = self.authorities.iter_mut();
        if let Some(known) = known.find(|known| known.fingerprint == authority.fingerprint) {
            known.good_until = known.good_until.max(authority.good_until);
            return Ok(());
        }
        if self.authorities.is_full() {
            let ends = |index: &usize| self.authorities.get(*index).map(|known| known.good_until);
            let first = (0..self.authorities.len()).min_by_key(ends).ok_or(Error::Internal)?;
            self.authorities.swap_remove(first);
        }
        self.authorities.push(authority).map_err(|_| Error::Internal)
    }

    fn install(&mut self, ta: Ta) -> Result<(), Error> {
        self.floors.retain(|floor| floor.uuid != ta.uuid);
        let known = self.tas.iter_mut().find(|known| known.sd == ta.sd && known.id == ta.id);
        let Some(known) = known else { return self.tas.push(ta).map_err(|_| FULL) };
        let new_has_data = ta.has_data;
        let old = core::mem::replace(known, ta);
        if old.has_data && !new_has_data {
            self.remove_blob(Blob::Personalization(old.uuid))?;
        }
        Ok(())
    }

    fn remove_tas(&mut self, mut which: impl FnMut(&Ta) -> bool) -> Result<(), Error> {
        for index in (0..self.tas.len()).rev() {
            if !self.tas.get(index).is_some_and(&mut which) {
                continue;
            }
            let ta = self.tas.remove(index);
            let sd = self.sd(ta.sd).ok_or(Error::Internal)?;
            let tam = self.tam_numbered(sd.tam).ok_or(Error::Internal)?;
            let holder = Holder::new(&tam.id, &sd.sp);
            let floor = Floor { uuid: ta.uuid, version: ta.stored.version, holder };
            // An installation leaves room for what its deletion leaves.
            self.floors.push(floor).map_err(|_| Error::Internal)?;
            self.remove_blob(Blob::Image(ta.uuid))?;
            if ta.has_data {
                self.remove_blob(Blob::Personalization(ta.uuid))?;
            }
        }
        Ok(())
    }

    /// Forgets the attestation key of a service provider that has no security domain left.
    fn release_aik(&mut self, tam: u32, sp: &SpId) -> Result<(), Error> {
        if self.sds.iter().any(|sd| sd.tam == tam && sd.sp == *sp) {
            return Ok(());
        }
        self.discard_aik(tam, sp)
    }

    fn discard_aik(&mut self, tam: u32, sp: &SpId) -> Result<(), Error> {
        let Some(index) = self.aiks.iter().position(|aik| aik.tam == tam && aik.sp == *sp) else {
            return Ok(());
        };
        // Removed from its place, the last one would leave a copy of its key there.
        self.aiks.get_mut(index..).ok_or(Error::Internal)?.rotate_left(1);
        let aik = self.aiks.last_mut().ok_or(Error::Internal)?;
        let is_rsa = matches!(aik.key.private, PrivateKey::Rsa2048(_));
        aik.key.private.forget();
        let aik = self.aiks.pop().ok_or(Error::Internal)?;
        if is_rsa {
            self.retired_keys.push(aik.number).map_err(|_| Error::Internal)
        } else {
            Ok(())
        }
    }
}

/// A change of the state in memory, between [`super::Registry::change`] and its commit.
#[derive(Debug)]
pub struct Change<'s>(&'s mut State);

/// A security domain to create.
#[derive(Debug)]
pub struct NewSd {
    /// The number of the owner.
    pub tam: u32,
    /// The service provider.
    pub sp: SpId,
    /// Its name.
    pub name: SdName,
}

/// What an UpdateSD changes, checked.
#[derive(Debug)]
pub struct SdUpdate {
    /// The number of the security domain.
    pub sd: u32,
    /// The service provider that it gets.
    pub sp: SpId,
    /// The name that it gets.
    pub name: SdName,
}

impl<'s> Change<'s> {
    pub(super) const fn new(state: &'s mut State) -> Self {
        Self(state)
    }

    /// Gives the TEE its first key pair, and a secret that hides the numbers of device states.
    pub(super) fn begin(&mut self, key: KeyPair, secret: [u8; 32]) {
        self.0.tee_key = Some(key);
        self.0.secret = secret;
    }

    /// Takes certificates that [`device::check`](crate::device::check) found good, and makes the device
    /// state that any TAM was given before an old one.
    ///
    /// # Errors
    /// [`Error::Internal`] if they are too long, which their check excludes.
    pub fn certify(&mut self, chain: &TeeChain<'_>) -> Result<(), Error> {
        self.0.tee_chain.clear();
        self.0.tee_chain.extend_from_slice(chain.der()).map_err(|_| Error::Internal)?;
        for tam in &mut self.0.tams {
            tam.dsi_hash = None;
        }
        Ok(())
    }

    /// The state as changed so far.
    #[must_use]
    pub const fn state(&self) -> &State {
        self.0
    }

    /// Enters a TAM that an anchor and OCSP responses vouch for, or the certificates that a known
    /// one uses now; returns its number, under which its chain is to be stored where `chain_digest`
    /// gives a new one. What the responses show is remembered, and the time under its anchor rises to what
    /// they say.
    ///
    /// Where there is no room a TAM without security domains gives way whose responses have ended
    /// at the time `clock`, in seconds since 1970.
    ///
    /// # Errors
    /// `Full` if none gives way, or if there is not enough left for the share of one more.
    pub fn meet(
        &mut self,
        stapled: &StapledTam<'_>,
        chain_digest: Option<[u8; 32]>,
        clock: u64,
    ) -> Result<u32, Error> {
        let state = &mut *self.0;
        let anchor = stapled.tam().path().anchor_fingerprint();
        state.raise_time(anchor, stapled.signed_at())?;
        for authority in stapled.authorities() {
            state.remember_authority(*authority)?;
        }
        let (tam, good_until) = (stapled.tam(), stapled.good_until());
        let next = state.next_number;
        if let Some(known) = state.tams.iter_mut().find(|known| known.id == *tam.identity()) {
            known.anchor = anchor;
            known.good_until = good_until;
            if let Some(chain_digest) = chain_digest {
                known.leaf = tam.path().leaf().fingerprint();
                known.chain_digest = chain_digest;
            }
            return Ok(known.number);
        }
        if let Some(leaving) = state.place_for(tam.identity(), clock)? {
            state.remove_tam(leaving)?;
        }
        let entry = Tam {
            number: next,
            id: tam.identity().clone(),
            leaf: tam.path().leaf().fingerprint(),
            anchor,
            // A TAM that is not known has no stored chain, so there always is one.
            chain_digest: chain_digest.ok_or(Error::Internal)?,
            good_until,
            dsi_hash: None,
        };
        state.tams.push(entry).map_err(|_| FULL)?;
        state.take_number()?;
        Ok(next)
    }

    /// Remembers the device state that a TAM is about to be given, or that it has none.
    ///
    /// The hash is of the state with the generation [`State::next_generation`], which is used up.
    ///
    /// # Errors
    /// `Full` after 2^64 states.
    pub fn give_dsi(&mut self, tam: u32, hash: Option<[u8; 32]>) -> Result<(), Error> {
        if hash.is_some() {
            self.0.next_generation = self.0.next_generation.checked_add(1).ok_or(FULL)?;
        }
        let tam = self.0.tams.iter_mut().find(|known| known.number == tam);
        tam.ok_or(Error::Internal)?.dsi_hash = hash;
        Ok(())
    }

    /// Enters a security domain under the next number, with an attestation key where the service
    /// provider had none.
    ///
    /// # Errors
    /// `Full`.
    pub fn create_sd(&mut self, new: Authorized<NewSd>, key: Option<KeyPair>) -> Result<(), Error> {
        let NewSd { tam, sp, name } = new.into_inner();
        let number = self.0.next_number;
        if let Some(key) = key {
            let aik = Aik { number, tam, sp: sp.clone(), key };
            self.0.aiks.push(aik).map_err(|_| FULL)?;
        }
        let sd = Sd { number, tam, sp, name };
        self.0.sds.push(sd).map_err(|_| FULL)?;
        self.0.take_number()
    }

    /// Changes a security domain. With `key` the service provider that it ends up with gets a new
    /// attestation key, of the next number, in place of the one it had.
    ///
    /// # Errors
    /// `Full`.
    pub fn update_sd(
        &mut self,
        update: Authorized<SdUpdate>,
        key: Option<KeyPair>,
    ) -> Result<(), Error> {
        let SdUpdate { sd: number, sp, name } = update.into_inner();
        let state = &mut *self.0;
        let next = state.next_number;
        let sd = state.sds.iter_mut().find(|sd| sd.number == number).ok_or(Error::Internal)?;
        let tam = sd.tam;
        let old_sp = core::mem::replace(&mut sd.sp, sp.clone());
        sd.name = name;
        state.release_aik(tam, &old_sp)?;
        let Some(key) = key else { return Ok(()) };
        state.discard_aik(tam, &sp)?;
        state.aiks.push(Aik { number: next, tam, sp, key }).map_err(|_| FULL)?;
        state.take_number()
    }

    /// Forgets a security domain, its trusted applications and, with the last domain of its
    /// service provider, the provider's attestation key.
    ///
    /// # Errors
    /// [`Error::Internal`] if there is no such domain, which its authorization excludes.
    pub fn delete_sd(&mut self, sd: Authorized<SdReference>) -> Result<(), Error> {
        let number = sd.into_inner().sd;
        self.0.remove_sd(number)
    }

    /// Enters an application whose image, or new personalization data, are pending.
    ///
    /// # Errors
    /// `Full`, which the authorization excludes.
    pub fn install(&mut self, new: Authorized<Installation>) -> Result<(), Error> {
        self.0.install(new.into_inner().ta)
    }

    /// Forgets a trusted application, but not its version and whose UUID it is.
    ///
    /// # Errors
    /// [`Error::Internal`] if more is removed than one change can, which its limit excludes.
    pub fn delete_ta(&mut self, ta: Authorized<TaReference>) -> Result<(), Error> {
        let uuid = ta.into_inner().uuid;
        self.0.remove_tas(|ta| ta.uuid == uuid)
    }
}

/// A security domain of the TAM that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SdReference {
    /// Its number.
    pub sd: u32,
}

/// A trusted application of the TAM that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaReference {
    /// Its UUID.
    pub uuid: UuidBytes,
}
