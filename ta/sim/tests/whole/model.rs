//! What a device must hold after its TAMs' commands, and what it shows: the two must agree.
//!
//! The model is made from the commands alone; nothing in it is computed by the engine. What a
//! device shows is what its TAMs see, what its applications get, and every object that
//! is stored: so whatever the model does not mention is an orphan, and whatever is not there is
//! lost.

use std::collections::{BTreeMap, BTreeSet};

use openssl::bn::BigNumContext;
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::nid::Nid;
use openssl::rsa::Rsa;
use otrp_engine::platform::{Platform, UuidBytes};
use otrp_keys::image::{Algorithm, SignedImage};
use otrp_tam::Identity;
use otrp_tam::dsi::DeviceState;
use otrp_tam::encoding::from_base64;
use otrp_tam::request::{Application, Builder, Command, SignerHeader};
use otrp_tam::response::{Reply, StateAnswer};
use otrp_tam::ta_information::TaInformation;
use p256::SecretKey;
use p256::elliptic_curve::sec1::ToSec1Point;

use crate::bench::{Device, Kind, base64, der, pki, sha256, ta_query};

/// A TAM, its service provider, and the name of a domain.
type DomainName = (String, String, String);

/// What a device holds, as far as commands decide it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    tams: BTreeSet<String>,
    domains: BTreeMap<DomainName, Domain>,
    /// Of a TAM's service providers.
    keys: BTreeMap<(String, String), Age>,
    /// Whose a UUID is or was, and in which version.
    uuids: BTreeMap<UuidBytes, (String, String, u32)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Domain {
    accepted: Vec<Vec<u8>>,
    retired: Vec<Vec<u8>>,
    applications: BTreeMap<String, Installed>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Installed {
    uuid: UuidBytes,
    version: u32,
    elf: Vec<u8>,
    signer: Vec<u8>,
    personalization: Option<Vec<u8>>,
}

/// Whether an attestation key was there before the commands that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Age {
    Old,
    New,
}

/// What can be seen of a device, apart from what is different each time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    tams: usize,
    /// Domains with the names of their applications.
    domains: BTreeMap<DomainName, BTreeSet<String>>,
    /// The signer of each application.
    signers: BTreeMap<(DomainName, String), String>,
    keys: BTreeMap<(String, String), Age>,
    images: BTreeMap<UuidBytes, (u32, Vec<u8>)>,
    /// What each application is given.
    delivered: BTreeMap<UuidBytes, Option<Vec<u8>>>,
    /// The records of certificates and of personalization data.
    certificates: Vec<Vec<u8>>,
    personalization: Vec<Vec<u8>>,
}

impl Model {
    /// A TAM asks for the state.
    #[must_use]
    pub fn met(mut self, tam: &Identity) -> Self {
        self.tams.insert(tam.tam_id().into());
        self
    }

    /// From now on every key is an old one.
    #[must_use]
    pub fn aged(mut self) -> Self {
        self.keys.values_mut().for_each(|age| *age = Age::Old);
        self
    }

    /// What the device holds after a command of `tam`; `None` if it must refuse it.
    pub fn after(&self, tam: &Identity, command: &Command<'_>) -> Option<Self> {
        let mut next = self.clone();
        let id = tam.tam_id();
        let name = |sp: &str, sd: &str| (id.to_owned(), sp.to_owned(), sd.to_owned());
        match command {
            Command::CreateSd { spid, name: sd, certificate } => {
                let accepted = vec![certificate.to_vec()];
                let domain = Domain { accepted, ..Domain::default() };
                if next.domains.insert(name(spid, sd), domain).is_some() {
                    return None;
                }
                next.keys.entry((id.into(), spid.to_string())).or_insert(Age::New);
            }
            Command::UpdateSd { spid, name: sd, changes } => {
                let mut domain = next.domains.remove(&name(spid, sd))?;
                changes.add.iter().for_each(|der| domain.accept(der));
                for hash in &changes.remove {
                    domain.retire(hash)?;
                }
                let sp = changes.new_spid.unwrap_or(spid);
                if sp != *spid && !domain.applications.is_empty() {
                    return None;
                }
                let sd = changes.new_name.unwrap_or(sd);
                if next.domains.insert(name(sp, sd), domain).is_some() {
                    return None;
                }
                let key = next.keys.entry((id.into(), sp.into())).or_insert(Age::New);
                if changes.renew_attestation_key {
                    *key = Age::New;
                }
            }
            Command::DeleteSd { spid, name: sd, delete_tas } => {
                let domain = next.domains.remove(&self.only(id, *spid, sd)?)?;
                if !(domain.applications.is_empty() || *delete_tas) {
                    return None;
                }
            }
            Command::InstallTa(new) => {
                let application = next.read(id, new, None)?;
                let domain = next.domains.get_mut(&name(new.spid, new.domain))?;
                new.certificate.iter().for_each(|der| domain.accept(der));
                if domain.applications.insert(new.taid.into(), application).is_some() {
                    return None;
                }
            }
            Command::UpdateTa(new) => {
                let domain = next.domains.get_mut(&name(new.spid, new.domain))?;
                let old = domain.applications.get(new.taid)?.clone();
                new.certificate.iter().for_each(|der| domain.accept(der));
                let application = next.read(id, new, Some(old))?;
                let domain = next.domains.get_mut(&name(new.spid, new.domain))?;
                domain.applications.insert(new.taid.into(), application);
            }
            Command::DeleteTa { spid, name: sd, taid } => {
                next.domains.get_mut(&self.only(id, *spid, sd)?)?.applications.remove(*taid)?;
            }
        }
        let providers: BTreeSet<_> =
            next.domains.keys().map(|(tam, sp, _)| (tam.clone(), sp.clone())).collect();
        next.keys.retain(|provider, _| providers.contains(provider));
        Some(next)
    }

    /// The domain of this name, if there is one only.
    fn only(&self, tam: &str, spid: Option<&str>, sd: &str) -> Option<DomainName> {
        let mut found = self.domains.keys().filter(|(owner, sp, name)| {
            owner == tam && name == sd && spid.is_none_or(|spid| spid == sp)
        });
        let only = found.next()?.clone();
        found.next().is_none().then_some(only)
    }

    fn read(
        &mut self,
        tam: &str,
        new: &Application<'_>,
        old: Option<Installed>,
    ) -> Option<Installed> {
        let personalization = new.personalization.map(<[u8]>::to_vec);
        let Some(image) = new.image else {
            let old = old?;
            let personalization = personalization.or_else(|| old.personalization.clone());
            return Some(Installed { personalization, ..old });
        };
        let image = SignedImage::parse(image).ok()?;
        let holder = (tam.to_owned(), new.spid.to_owned(), image.version);
        let known = self.uuids.insert(image.uuid.0, holder.clone());
        if known.is_some_and(|(tam, sp, version)| {
            (&tam, &sp) != (&holder.0, &holder.1) || version > holder.2
        }) {
            return None;
        }
        let signer = match image.algorithm {
            Algorithm::EcdsaP256Sha256 => &pki().sp_ec,
            Algorithm::RsaPssSha256 | Algorithm::RsaPkcs1Sha256 => &pki().sp_rsa,
        };
        let (uuid, version, elf) = (image.uuid.0, image.version, image.elf.to_vec());
        let signer = der(&signer.certificate);
        // What was sent for the program of one signer is not for that of another.
        let kept = old.filter(|old| old.signer == signer).and_then(|old| old.personalization);
        let personalization = personalization.or(kept);
        Some(Installed { uuid, version, elf, signer, personalization })
    }

    /// What such a device shows.
    pub fn seen(&self) -> Seen {
        let mut seen = Seen {
            tams: self.tams.len(),
            domains: BTreeMap::new(),
            signers: BTreeMap::new(),
            keys: self.keys.clone(),
            images: BTreeMap::new(),
            delivered: BTreeMap::new(),
            certificates: self.domains.values().map(Domain::record).collect(),
            personalization: Vec::new(),
        };
        for (name, domain) in &self.domains {
            seen.domains.insert(name.clone(), domain.applications.keys().cloned().collect());
            for (taid, ta) in &domain.applications {
                seen.signers.insert((name.clone(), taid.clone()), base64(&ta.signer));
                seen.images.insert(ta.uuid, (ta.version, ta.elf.clone()));
                seen.delivered.insert(ta.uuid, ta.personalization.clone());
                seen.personalization.extend(ta.personalization.clone());
            }
        }
        seen.certificates.sort();
        seen.personalization.sort();
        seen
    }
}

impl Domain {
    fn accept(&mut self, der: &[u8]) {
        self.retired.retain(|known| known != der);
        if !self.accepted.iter().any(|known| known == der) {
            self.accepted.push(der.to_vec());
        }
    }

    fn retire(&mut self, hash: &str) -> Option<()> {
        let is = |der: &Vec<u8>| hex::encode(sha256(der)) == hash;
        let certificate = self.accepted.remove(self.accepted.iter().position(is)?);
        if self.applications.values().any(|ta| ta.signer == certificate) {
            self.retired.push(certificate);
        }
        Some(())
    }

    fn record(&self) -> Vec<u8> {
        let separator: &[u8] = if self.retired.is_empty() { &[] } else { &[0] };
        [self.accepted.concat(), separator.to_vec(), self.retired.concat()].concat()
    }
}

/// Starts a device, then looks at all of it; whatever does not fit together is an error.
///
/// `old_keys` are the public halves of the keys that are [`Age::Old`].
pub fn look<P: Platform>(
    device: &mut Device<P>,
    tams: &[&Identity],
    old_keys: &[Vec<u8>],
) -> Result<Seen, String> {
    let _ = device.process(b"{}");
    let started = device.world.snapshot();
    if device.records(Kind::SpareKey).iter().any(|spare| device.records(Kind::Aik).contains(spare))
    {
        return Err("a key in reserve is in use".into());
    }
    for kind in [Kind::Registry, Kind::TeeChain, Kind::TeeKey] {
        if device.records(kind).len() != 1 {
            return Err(format!("{} objects of {kind:?}", device.records(kind).len()));
        }
    }
    let stored: BTreeSet<_> = device.records(Kind::Aik).iter().map(|key| public(key)).collect();
    let mut listed = BTreeSet::new();
    let mut seen = Model::default().seen();
    seen.tams = device.records(Kind::TamChain).len();
    for tam in tams {
        let state = ask(device, tam)?;
        for key in &state.dsi.tee.teeaiklist {
            let public = from_base64(&key.spaik).ok_or("not a valid key")?;
            let age = if old_keys.contains(&public) { Age::Old } else { Age::New };
            seen.keys.insert((tam.tam_id().into(), key.spid.clone()), age);
            listed.insert(public);
        }
        for sd in &state.dsi.tee.sdlist.sd {
            let name = (tam.tam_id().to_owned(), sd.spid.clone(), sd.name.clone());
            let key = state.attestation_key(&sd.spid).ok_or("a domain without a key")?;
            let key = key.public_key().ok_or("not a valid key")?;
            for ta in &sd.talist {
                let mut query = ta_query(&sd.spid, &ta.taid);
                let answer = device.engine.ta_information(&mut query, &mut device.reply);
                let answer = answer.map_err(|error| format!("{}: {error:?}", ta.taid))?;
                let answer = TaInformation::verify(answer, &key);
                let answer = answer.map_err(|error| format!("{}: {error}", ta.taid))?;
                if answer.tamcert != base64(&der(&tam.chain()[0])) {
                    return Err(format!("{} has another TAM", ta.taid));
                }
                seen.signers.insert((name.clone(), ta.taid.clone()), answer.signercert);
            }
            let tas = sd.talist.iter().map(|ta| ta.taid.clone()).collect();
            seen.domains.insert(name, tas);
        }
    }
    if listed != stored {
        return Err("the keys that are listed are not those that are stored".into());
    }
    if !started.leaving.is_empty() {
        return Err("data of a removed application are left".into());
    }
    for (uuid, image) in started.images() {
        let data = match device.personalization(&uuid) {
            Ok(data) => Some(data),
            Err(otrp_engine::personalization::PersonalizationError::NoData) => None,
            Err(error) => return Err(format!("no data for {uuid:?}: {error:?}")),
        };
        seen.delivered.insert(uuid, data);
        let elf = image.open().map_err(|_| "an image is not whole")?;
        seen.images.insert(uuid, (image.version(), elf.to_vec()));
    }
    seen.certificates = device.records(Kind::SpCertificates);
    seen.personalization = device.records(Kind::Personalization);
    seen.certificates.sort();
    seen.personalization.sort();
    Ok(seen)
}

/// The public half of a stored key, as it is listed.
pub fn public(key: &[u8]) -> Vec<u8> {
    if let Ok(key) = Rsa::private_key_from_der(key) {
        return key.public_key_to_der_pkcs1().unwrap();
    }
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = SecretKey::from_slice(key).unwrap();
    let point = key.public_key().to_sec1_point(false);
    let context = &mut BigNumContext::new().unwrap();
    let point = EcPoint::from_bytes(&group, point.as_bytes(), context).unwrap();
    EcKey::from_public_key(&group, &point).unwrap().public_key_to_der().unwrap()
}

/// The state for a TAM; a device that does not give it is a finding, not a panic.
pub fn ask<P: Platform>(device: &mut Device<P>, tam: &Identity) -> Result<DeviceState, String> {
    // Not with the certificates, so that those must be there which the device keeps.
    let request = Builder::device_state(tam).signer(SignerHeader::KeyId).build().unwrap();
    let reply = device.process(&request.message).map_err(|error| format!("no state: {error:?}"))?;
    let Ok(Reply::Answer(answer)) = Reply::read(&reply) else { return Err("no state".into()) };
    match answer.device_state(Some(&request.exchange), tam, &pki().tee_roots) {
        Ok(StateAnswer::State { state, .. }) => Ok(*state),
        other => Err(format!("no state: {other:?}")),
    }
}
