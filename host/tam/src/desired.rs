//! The configuration: who this TAM is, and what it wants on every device.
//!
//! ```toml
//! [tam]
//! key = "keys/tam.key.pem"
//! chain = "keys/tam.chain.pem"            # leaf first
//! ocsp = ["tam.ocsp", "tam-issuing-ca.ocsp"]  # DER; the leaf's, then each CA's below the root
//! tee_roots = ["keys/tee-root.pem"]       # OEMs whose TEEs are served
//! # require_tee_purpose = true           # only certificates that name the purpose of TEEs
//! # tam_roots = ["keys/tam-root.pem"]     # what devices are built with; else the chain's own root
//! # id = "1.3.6.1.4.1.99999.1"            # if the certificate does not say it as URI or DNS name
//! # content_encryption = "A256GCM"        # or "A128CBC-HS256", the default
//! # key_management = ["RSA-OAEP-256"]     # see below
//! # ta_encryption = "A256GCM"             # the default; or "AESCBC", see below
//! # firmware_roots = ["keys/tfw-root.pem"]  # only devices whose firmware signs under these
//! # devices = "devices.csv"             # only these devices are served
//! # admit_new = false                     # only devices that were served before
//! # retired = ["5c6f…"]                   # keys of devices that shall have nothing more
//! # allow_deletion = "5d41402abc4b2a76"   # see [`crate::deletions`]
//!
//! # [tam.alternative]                     # the same TAM's key of the other type, EC or RSA
//! # key = "keys/tam-rsa.key.pem"
//! # chain = "keys/tam-rsa.chain.pem"
//! # ocsp = ["tam-rsa.ocsp", "tam-rsa-ca.ocsp"]
//!
//! [[sd]]
//! name = "com.example.domain"
//! spid = "com.example"
//! certificates = ["keys/sp-rsa.der"]      # whose signatures count in this domain
//!
//! [[sd.ta]]
//! id = "com.example.signer"
//! file = "signer.ta"
//! # personalization = "signer.bin"
//! ```
//!
//! An algorithm may be a list, the preferred one first: the next ones are for a device that answers
//! `ERR_UNSUPPORTED_CRYPTO_ALG`. `key_management` lists algorithms for both types of device keys;
//! those that it does not mention are `ECDH-ES+A128KW` and, for RSA, `RSA-OAEP-256`, then
//! `RSA-OAEP`. `RSA1_5` is used only if it is listed. The alternative key signs for a TEE that does
//! not verify signatures of the first one.
//!
//! `ta_encryption` is how images and personalization data are encrypted. `AESCBC`, which the draft
//! has of each TEE, is used only if it is listed, because it authenticates nothing: whoever steals
//! the TAM's key can have a device open what he recorded of it. `A256GCM` is an addition to the draft.
//!
//! What a device has of this TAM and the file does not list, is deleted. Paths are relative to the
//! file. The server reads it anew when it, or a file that it names, has changed ([`crate::configured`]),
//! and OCSP responses for each GetDeviceState, so replace each in one step (write a new file and
//! rename it): half a file is a state too, only not the desired one.
//!
//! Reading finds what is missing, malformed or contradicts itself; [`crate::check`] what a device
//! would refuse.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use otrp_wire::limits::{NAME_LIMIT, PERSONALIZATION_LIMIT, SP_CERTIFICATE_LIMIT};
use serde::de::value::{SeqAccessDeserializer, StrDeserializer};
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, de};

use crate::admission::{Admission, DeviceList};
use crate::certificate::{self, TeeRoots};
use crate::encoding::{base64, from_base64, sha256};
use crate::firmware::FirmwarePolicy;
use crate::identity::{Identity, Taken};
use crate::image::ImageHeader;
use crate::jose::{ContentEncryption, KeyManagement, KeyManagements, KeyType, SignatureAlgorithm};
use crate::message::{Suite, TaEncryption, Target};
use crate::record::DeviceRecord;

/// The file, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tam: TamSection,
    #[serde(default)]
    sd: Vec<SdSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TamSection {
    key: PathBuf,
    chain: PathBuf,
    tee_roots: Vec<PathBuf>,
    #[serde(default)]
    require_tee_purpose: bool,
    #[serde(default)]
    tam_roots: Vec<PathBuf>,
    #[serde(default)]
    ocsp: Vec<PathBuf>,
    id: Option<String>,
    #[serde(default)]
    content_encryption: Preferred<ContentEncryption>,
    #[serde(default)]
    key_management: Preferred<KeyManagement>,
    #[serde(default)]
    ta_encryption: Preferred<TaEncryption>,
    firmware_roots: Option<Vec<PathBuf>>,
    devices: Option<PathBuf>,
    #[serde(default = "yes")]
    admit_new: bool,
    #[serde(default)]
    retired: Vec<String>,
    allow_deletion: Option<String>,
    alternative: Option<AlternativeSection>,
}

const fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AlternativeSection {
    key: PathBuf,
    chain: PathBuf,
    #[serde(default)]
    ocsp: Vec<PathBuf>,
}

/// One or several, the preferred one first; none if the file does not say.
#[derive(Debug)]
struct Preferred<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Preferred<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore<T>(PhantomData<T>);

        // By hand, so that a wrong name is answered with the right ones.
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMore<T> {
            type Value = Vec<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a name or a list of names")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
                Ok(vec![T::deserialize(StrDeserializer::new(text))?])
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<T>, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list))
            }
        }

        deserializer.deserialize_any(OneOrMore(PhantomData)).map(Self)
    }
}

impl<T> Default for Preferred<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy> Preferred<T> {
    fn or(self, default: &[T]) -> Vec<T> {
        if self.0.is_empty() { default.to_vec() } else { self.0 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SdSection {
    name: String,
    spid: String,
    certificates: Vec<PathBuf>,
    #[serde(default)]
    ta: Vec<TaSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TaSection {
    id: String,
    file: PathBuf,
    personalization: Option<PathBuf>,
}

/// The configuration with everything that it names read and checked.
pub struct Configuration {
    /// Who this TAM is.
    pub tam: TamSettings,
    /// What every device shall have.
    pub desired: DesiredState,
}

/// The section `[tam]` with the files that it names.
pub struct TamSettings {
    /// Who signs.
    pub identity: Identity,
    /// The same TAM with a key of the other type.
    pub alternative: Option<Identity>,
    /// The OEMs whose TEEs are served.
    pub tee_roots: TeeRoots,
    /// The same, DER.
    pub tee_root_ders: Vec<Vec<u8>>,
    /// What is asked of the firmware below them.
    pub firmware: FirmwarePolicy,
    /// How requests are encrypted.
    pub algorithms: Algorithms,
    /// The roots that devices are built with, DER; empty if the file does not say.
    pub tam_roots: Vec<Vec<u8>>,
    /// Which devices are served.
    pub admission: Admission,
    retired: HashSet<String>,
    allowed_deletion: Option<String>,
    files: IdentityFiles,
    alternative_files: IdentityFiles,
}

/// The files of an identity, for sentences that name them.
#[derive(Clone, Debug, Default)]
pub struct IdentityFiles {
    /// Its certificates.
    pub chain: PathBuf,
    /// Its OCSP responses.
    pub ocsp: Vec<PathBuf>,
}

/// The algorithms of requests, each list with the preferred one first and with one at least.
#[derive(Clone, Debug)]
pub struct Algorithms {
    content_encryptions: Vec<ContentEncryption>,
    elliptic: Vec<KeyManagement>,
    rsa: Vec<KeyManagement>,
    rsa_listed: bool,
    ta_encryptions: Vec<TaEncryption>,
}

impl Algorithms {
    fn of(
        content_encryption: Preferred<ContentEncryption>,
        key_management: Preferred<KeyManagement>,
        ta_encryption: Preferred<TaEncryption>,
    ) -> Self {
        let (elliptic, rsa): (Vec<_>, Vec<_>) = key_management
            .0
            .into_iter()
            .partition(|management| management.key_type() == KeyType::Elliptic);
        Self {
            content_encryptions: content_encryption.or(&[ContentEncryption::default()]),
            rsa_listed: !rsa.is_empty(),
            elliptic: Preferred(elliptic).or(&[KeyManagement::EcdhEsA128Kw]),
            rsa: Preferred(rsa).or(&[KeyManagement::RsaOaep256, KeyManagement::RsaOaep]),
            ta_encryptions: ta_encryption.or(&[TaEncryption::default()]),
        }
    }

    /// What answers may use.
    #[must_use]
    pub fn taken(&self) -> Taken {
        let mut key_managements = self.elliptic.clone();
        key_managements.extend(&self.rsa);
        if !self.rsa_listed {
            key_managements.push(KeyManagement::Rsa15);
        }
        // No request says how the state is to be encrypted, so every TEE may do it as the draft does.
        let mut content_encryptions = self.content_encryptions.clone();
        content_encryptions.push(ContentEncryption::default());
        Taken { key_managements, content_encryptions }
    }

    /// What is preferred.
    #[must_use]
    pub fn preferred(&self) -> Suite {
        self.suite(0)
    }

    /// What is tried with a device, the next one when it does not support the one before: in each
    /// step the next of every list, and the last one where a list is at its end. There is one at
    /// least.
    #[must_use]
    pub fn suites(&self, device: &Target) -> Vec<Suite> {
        let types = device.key_types();
        let of_keys =
            |key_type, list: &Vec<_>| if types.contains(&key_type) { list.len() } else { 1 };
        let attempts = [
            self.content_encryptions.len(),
            self.ta_encryptions.len(),
            of_keys(KeyType::Elliptic, &self.elliptic),
            of_keys(KeyType::Rsa, &self.rsa),
        ];
        (0..attempts.into_iter().max().unwrap_or(1)).map(|attempt| self.suite(attempt)).collect()
    }

    fn suite(&self, attempt: usize) -> Suite {
        let mut key_managements = KeyManagements::default();
        for list in [&self.elliptic, &self.rsa] {
            if let Some(management) = at(list, attempt) {
                key_managements = key_managements.with(management);
            }
        }
        Suite {
            content_encryption: at(&self.content_encryptions, attempt).unwrap_or_default(),
            key_managements,
            ta_encryption: at(&self.ta_encryptions, attempt).unwrap_or_default(),
        }
    }
}

fn at<T: Copy>(list: &[T], position: usize) -> Option<T> {
    list.get(position).or(list.last()).copied()
}

/// What every device shall have of this TAM: this, and nothing else.
#[derive(Clone, Debug, Default)]
pub struct DesiredState {
    /// The security domains.
    pub domains: Vec<DesiredDomain>,
}

/// A security domain that shall be.
#[derive(Clone, Debug)]
pub struct DesiredDomain {
    /// Its service provider.
    pub spid: String,
    /// Its name.
    pub name: String,
    /// The signers whose applications it takes; at least one.
    pub certificates: Vec<Blob>,
    /// The applications.
    pub applications: Vec<DesiredTa>,
}

/// A trusted application that shall be.
#[derive(Clone, Debug)]
pub struct DesiredTa {
    /// Its identifier.
    pub id: String,
    /// The file of the image.
    pub file: PathBuf,
    /// The signed image.
    pub image: Blob,
    /// The version in the signed header.
    pub version: u32,
    /// The personalization data.
    pub personalization: Option<Blob>,
}

/// Bytes and their SHA-256 in hexadecimal, by which they are remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The digest.
    pub digest: String,
}

impl Blob {
    /// Bytes with their digest.
    ///
    /// # Errors
    /// When OpenSSL has no memory.
    pub fn new(bytes: Vec<u8>) -> anyhow::Result<Self> {
        let digest = hex::encode(sha256(&bytes)?);
        Ok(Self { bytes, digest })
    }
}

impl DesiredState {
    /// The domain of a service provider and a name.
    #[must_use]
    pub fn domain(&self, spid: &str, name: &str) -> Option<&DesiredDomain> {
        self.domains.iter().find(|domain| domain.spid == spid && domain.name == name)
    }
}

impl DesiredDomain {
    /// The application of an identifier.
    #[must_use]
    pub fn application(&self, id: &str) -> Option<&DesiredTa> {
        self.applications.iter().find(|application| application.id == id)
    }

    /// The certificate of a digest.
    #[must_use]
    pub fn certificate(&self, digest: &str) -> Option<&Blob> {
        self.certificates.iter().find(|certificate| certificate.digest == digest)
    }
}

impl TamSettings {
    /// Reads the section `[tam]` of the file and the files that it names, and nothing else.
    ///
    /// # Errors
    /// A line for each thing that is missing or wrong.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let mut mistakes = Mistakes::default();
        let settings = Self::of(folder(path), read_file(path)?.tam, &mut mistakes);
        mistakes.unless_none(settings)
    }

    /// Whether a device of this key's fingerprint, or of this identifier, shall have nothing of this
    /// TAM any more.
    #[must_use]
    pub fn is_retired(&self, name: &str) -> bool {
        self.retired.contains(name)
    }

    /// Whether a device shall have nothing of this TAM any more, by its key or any identifier it had.
    #[must_use]
    pub fn retires(&self, record: &DeviceRecord) -> bool {
        self.is_retired(&record.key) || record.identifiers.iter().any(|it| self.is_retired(it))
    }

    /// The names of the devices that shall have nothing of this TAM any more, as they are compared.
    #[must_use]
    pub fn retired(&self) -> BTreeSet<&str> {
        self.retired.iter().map(String::as_str).collect()
    }

    /// The name of the desired state that may delete much, as [`crate::deletions`] says it.
    #[must_use]
    pub const fn allowed_deletion(&self) -> Option<&String> {
        self.allowed_deletion.as_ref()
    }

    /// The identity whose signatures are of this algorithm.
    #[must_use]
    pub fn identity_of(&self, algorithm: SignatureAlgorithm) -> Option<&Identity> {
        self.identities().find(|identity| identity.signature_algorithm() == algorithm)
    }

    /// All identities of this TAM, the preferred one first.
    pub fn identities(&self) -> impl Iterator<Item = &Identity> {
        [&self.identity].into_iter().chain(&self.alternative)
    }

    /// The files of one of the identities.
    #[must_use]
    pub fn files_of(&self, identity: &Identity) -> &IdentityFiles {
        if identity.signature_algorithm() == self.identity.signature_algorithm() {
            &self.files
        } else {
            &self.alternative_files
        }
    }

    fn of(folder: &Path, section: TamSection, mistakes: &mut Mistakes) -> Option<Self> {
        let files_of = |chain: &Path, ocsp: &[PathBuf]| IdentityFiles {
            chain: folder.join(chain),
            ocsp: ocsp.iter().map(|file| folder.join(file)).collect(),
        };
        let files = files_of(&section.chain, &section.ocsp);
        let identity = mistakes.note(Identity::read(
            &folder.join(&section.key),
            &files.chain,
            section.id.as_deref(),
        ));
        let mut retired = HashSet::new();
        for name in &section.retired {
            match device_name(name) {
                Some(name) => {
                    retired.insert(name);
                }
                None => mistakes.add(format!(
                    "`retired`: {name:?} is neither the fingerprint of a device's key, a SHA-256 in \
                     hexadecimal, nor a device's identifier, a SHA-256 in base64, as `otrp-tam \
                     devices` prints them"
                )),
            }
        }
        let alternative = match (&section.alternative, &identity) {
            (Some(other), Some(first)) => {
                mistakes.note(read_alternative(folder, other, &section, first)).map(Some)
            }
            // Without the first one there is nothing to say of the other.
            (Some(_), None) | (None, _) => Some(None),
        };
        let alternative_files = section
            .alternative
            .as_ref()
            .map_or_else(IdentityFiles::default, |other| files_of(&other.chain, &other.ocsp));
        if section.tee_roots.is_empty() {
            mistakes.add(String::from("`tee_roots` is empty, so no device could be trusted"));
        }
        let mut certificates = |paths: &[PathBuf]| {
            let read = paths.iter().map(|path| certificate::read_file(&folder.join(path)));
            let read: Vec<_> = read.filter_map(|read| mistakes.note(read)).collect();
            read.into_iter().flatten().collect::<Vec<_>>()
        };
        let tee_roots = certificates(&section.tee_roots);
        let tee_root_ders: Result<Vec<_>, _> = tee_roots.iter().map(|root| root.to_der()).collect();
        let tee_roots = TeeRoots::new(tee_roots).map(|roots| match section.require_tee_purpose {
            true => roots.requiring_purpose(),
            false => roots,
        });
        let firmware = section.firmware_roots.as_deref().map(&mut certificates).map(TeeRoots::new);
        let firmware = firmware.map(|roots| roots.map(TeeRoots::for_firmware));
        let tam_roots: Result<Vec<_>, _> =
            certificates(&section.tam_roots).iter().map(|root| root.to_der()).collect();
        let tee_roots = mistakes.note(tee_roots.map_err(Into::into));
        let tee_root_ders = mistakes.note(tee_root_ders.map_err(Into::into));
        let tam_roots = mistakes.note(tam_roots.map_err(Into::into));
        let firmware = match firmware {
            Some(roots) => {
                mistakes.note(roots.map_err(Into::into)).map(FirmwarePolicy::SignedUnder)
            }
            None => Some(FirmwarePolicy::Any),
        };
        let list = match &section.devices {
            Some(file) => mistakes.note(DeviceList::read(&folder.join(file))).map(Some),
            None => Some(None),
        };
        let algorithms = Algorithms::of(
            section.content_encryption,
            section.key_management,
            section.ta_encryption,
        );
        Some(Self {
            identity: identity?.taking(algorithms.taken()),
            alternative: alternative?.map(|other| other.taking(algorithms.taken())),
            tee_roots: tee_roots?,
            tee_root_ders: tee_root_ders?,
            firmware: firmware?,
            algorithms,
            tam_roots: tam_roots?,
            admission: Admission { list: list?, known_only: !section.admit_new },
            retired,
            allowed_deletion: section.allow_deletion,
            files,
            alternative_files,
        })
    }
}

/// The name of a device in the spelling in which it is compared: the fingerprint of its key in
/// lower-case hexadecimal, or its identifier in base64.
fn device_name(text: &str) -> Option<String> {
    if text.len() == 64 {
        return hex::decode(text).ok().map(hex::encode);
    }
    from_base64(text).filter(|digest| digest.len() == 32).map(|digest| base64(&digest))
}

/// What is wrong with a configuration, a sentence each.
#[derive(Default)]
struct Mistakes(Vec<String>);

impl Mistakes {
    fn add(&mut self, sentence: String) {
        self.0.push(sentence);
    }

    fn note<T>(&mut self, result: anyhow::Result<T>) -> Option<T> {
        result.map_err(|error| self.add(sentence(&error))).ok()
    }

    fn unless_none<T>(self, made: Option<T>) -> anyhow::Result<T> {
        match made {
            Some(made) if self.0.is_empty() => Ok(made),
            _ => bail!("{}", self.0.join("\n")),
        }
    }
}

/// An error with its causes, each of them once: some say their cause themselves.
#[must_use]
pub fn sentence(error: &anyhow::Error) -> String {
    let mut sentence = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if sentence.is_empty() {
            sentence = cause;
        } else if !sentence.contains(&cause) {
            sentence = format!("{sentence}: {cause}");
        }
    }
    sentence
}

impl Configuration {
    /// Reads the file and all that it names.
    ///
    /// # Errors
    /// A line for each thing that is missing or wrong.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        Self::read_named(path).1
    }

    /// The same, with the file and those that it names, as far as it could be read.
    pub fn read_named(path: &Path) -> (Vec<PathBuf>, anyhow::Result<Self>) {
        let mut files = vec![path.to_path_buf()];
        let file = match read_file(path) {
            Ok(file) => file,
            Err(error) => return (files, Err(error)),
        };
        let folder = folder(path);
        files.extend(file.names().into_iter().map(|file| folder.join(file)));
        let mut mistakes = Mistakes::default();
        let mut names = HashSet::new();
        let mut domains = Vec::new();
        for section in file.sd {
            if !names.insert((section.spid.clone(), section.name.clone())) {
                mistakes.add(format!(
                    "the security domain {} of {} is there twice",
                    section.name, section.spid
                ));
            }
            domains.extend(read_domain(folder, section, &mut mistakes));
        }
        let tam = TamSettings::of(folder, file.tam, &mut mistakes);
        let desired = DesiredState { domains };
        (files, mistakes.unless_none(tam.map(|tam| Self { tam, desired })))
    }
}

impl File {
    /// All files that are read with it; not those with OCSP responses, which are read when they are
    /// needed.
    fn names(&self) -> Vec<&PathBuf> {
        let tam = &self.tam;
        let mut names = vec![&tam.key, &tam.chain];
        names.extend(tam.tee_roots.iter().chain(&tam.tam_roots));
        names.extend(tam.firmware_roots.iter().flatten().chain(&tam.devices));
        names.extend(tam.alternative.iter().flat_map(|other| [&other.key, &other.chain]));
        for domain in &self.sd {
            names.extend(&domain.certificates);
            for application in &domain.ta {
                names.push(&application.file);
                names.extend(&application.personalization);
            }
        }
        names
    }
}

/// The TAM's other identity: of the same ID, which owns the security domains, with another key.
fn read_alternative(
    folder: &Path,
    alternative: &AlternativeSection,
    section: &TamSection,
    first: &Identity,
) -> anyhow::Result<Identity> {
    let (key, chain) = (folder.join(&alternative.key), folder.join(&alternative.chain));
    let identity = Identity::read(&key, &chain, section.id.as_deref())?;
    ensure!(
        identity.tam_id() == first.tam_id(),
        "the alternative certificate is of another TAM: {:?}, not {:?}",
        identity.tam_id(),
        first.tam_id()
    );
    ensure!(
        identity.signature_algorithm() != first.signature_algorithm(),
        "the alternative key is of the same type as the first one"
    );
    Ok(identity)
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

fn read_file(path: &Path) -> anyhow::Result<File> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration {}", path.display()))?;
    toml::from_str(&text)
        .with_context(|| format!("the configuration {} is malformed", path.display()))
}

fn read_domain(
    folder: &Path,
    section: SdSection,
    mistakes: &mut Mistakes,
) -> Option<DesiredDomain> {
    mistakes.note(check_identifier("the name of a security domain", &section.name));
    mistakes.note(check_identifier("an spid", &section.spid));
    let mut certificates = Vec::new();
    for path in &section.certificates {
        let read = || {
            certificate::read_file(&folder.join(path))?
                .iter()
                .map(|certificate| Blob::new(certificate.to_der()?))
                .collect::<anyhow::Result<Vec<_>>>()
        };
        certificates.extend(mistakes.note(read())?);
    }
    let mut seen = HashSet::new();
    for certificate in &certificates {
        if !seen.insert(&certificate.digest) {
            mistakes.add(format!(
                "`certificates` of the security domain {}: one is there twice, the one with the \
                 SHA-256 {}: take it out once",
                section.name, certificate.digest
            ));
        }
    }
    if !(1..=SP_CERTIFICATE_LIMIT).contains(&certificates.len()) {
        mistakes.add(format!(
            "the security domain {} has {} certificates, and needs 1 to {SP_CERTIFICATE_LIMIT} \
             certificates of signers",
            section.name,
            certificates.len()
        ));
    }
    let mut names = HashSet::new();
    let mut applications = Vec::new();
    for application in section.ta {
        mistakes.note(check_identifier("the id of a TA", &application.id));
        if !names.insert(application.id.clone()) {
            mistakes.add(format!("the TA {} is twice in {}", application.id, section.name));
        }
        applications.extend(mistakes.note(read_application(folder, application)));
    }
    Some(DesiredDomain { spid: section.spid, name: section.name, certificates, applications })
}

fn read_application(folder: &Path, section: TaSection) -> anyhow::Result<DesiredTa> {
    let file = folder.join(&section.file);
    let read = |path: &Path| {
        let bytes = std::fs::read(path)
            .with_context(|| format!("cannot read {} of the TA {}", path.display(), section.id))?;
        Blob::new(bytes)
    };
    let image = read(&file)?;
    let header = ImageHeader::read(&image.bytes)
        .with_context(|| format!("{} of the TA {}", file.display(), section.id))?;
    let personalization = match &section.personalization {
        Some(path) => Some(read(&folder.join(path))?),
        None => None,
    };
    ensure!(
        personalization.as_ref().is_none_or(|data| data.bytes.len() <= PERSONALIZATION_LIMIT),
        "the personalization data of {} are longer than {PERSONALIZATION_LIMIT} bytes",
        section.id
    );
    Ok(DesiredTa { id: section.id, file, image, version: header.version, personalization })
}

/// What a device would refuse is better refused here, with the place.
fn check_identifier(what: &str, text: &str) -> anyhow::Result<()> {
    let plain = !text.chars().any(|char| char.is_control() || char == '"' || char == '\\');
    ensure!(
        !text.is_empty() && text.len() <= NAME_LIMIT && plain,
        "{what} must be 1 to {NAME_LIMIT} bytes without quotes, backslashes and control \
         characters: {text:?}"
    );
    Ok(())
}
