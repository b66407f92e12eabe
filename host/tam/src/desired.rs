//! The configuration: who this TAM is, and what it wants on every device.
//!
//! ```toml
//! [tam]
//! key = "keys/tam.key.pem"
//! chain = "keys/tam.chain.pem"            # leaf first
//! tee_roots = ["keys/tee-root.pem"]       # OEMs whose TEEs are served
//! ocsp = ["tam.ocsp", "tam-issuing-ca.ocsp"]  # DER; the leaf's, then each CA's below the root
//! # id = "1.3.6.1.4.1.99999.1"            # if the certificate does not say it as URI or DNS name
//! # content_encryption = "A256GCM"        # or "A128CBC-HS256", the default
//! # key_management = ["RSA-OAEP-256"]     # see below
//! # ta_encryption = "A256GCM"             # the default; or "AESCBC", see below
//! # firmware_roots = ["keys/tfw-root.pem"]  # only devices whose firmware signs under these
//! # retired = ["p4Yk…="]                  # identifiers of devices that shall have nothing more
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
//! file. It is read anew for each message, and OCSP responses for each GetDeviceState, so replace
//! each in one step (write a new file and rename
//! it): half a file is a state too, only not the desired one.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use otrp_wire::limits::{NAME_LIMIT, PERSONALIZATION_LIMIT, SP_CERTIFICATE_LIMIT};
use serde::Deserialize;

use crate::certificate::{self, TeeRoots};
use crate::encoding::{from_base64, sha256};
use crate::firmware::FirmwarePolicy;
use crate::identity::Identity;
use crate::image::ImageHeader;
use crate::jose::{ContentEncryption, KeyManagement, KeyManagements, KeyType, SignatureAlgorithm};
use crate::message::{Suite, TaEncryption, Target};
use crate::ocsp;

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
    ocsp: Vec<PathBuf>,
    id: Option<String>,
    #[serde(default)]
    content_encryption: Preferred<ContentEncryption>,
    #[serde(default)]
    key_management: Preferred<KeyManagement>,
    #[serde(default)]
    ta_encryption: Preferred<TaEncryption>,
    firmware_roots: Option<Vec<PathBuf>>,
    #[serde(default)]
    retired: Vec<String>,
    alternative: Option<AlternativeSection>,
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
#[derive(Debug, Deserialize)]
#[serde(from = "OneOrMore<T>")]
struct Preferred<T>(Vec<T>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

impl<T> From<OneOrMore<T>> for Preferred<T> {
    fn from(written: OneOrMore<T>) -> Self {
        match written {
            OneOrMore::One(one) => Self(vec![one]),
            OneOrMore::More(list) => Self(list),
        }
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
    /// What is asked of the firmware below them.
    pub firmware: FirmwarePolicy,
    /// How requests are encrypted.
    pub algorithms: Algorithms,
    retired: Vec<String>,
    /// The files of the OCSP responses that are stapled for the two identities.
    ocsp: Vec<PathBuf>,
    alternative_ocsp: Vec<PathBuf>,
}

/// The algorithms of requests, each list with the preferred one first and with one at least.
#[derive(Clone, Debug)]
pub struct Algorithms {
    content_encryptions: Vec<ContentEncryption>,
    elliptic: Vec<KeyManagement>,
    rsa: Vec<KeyManagement>,
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
            elliptic: Preferred(elliptic).or(&[KeyManagement::EcdhEsA128Kw]),
            rsa: Preferred(rsa).or(&[KeyManagement::RsaOaep256, KeyManagement::RsaOaep]),
            ta_encryptions: ta_encryption.or(&[TaEncryption::default()]),
        }
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
    /// One sentence on the first thing that is missing or wrong.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        Self::of(folder(path), read_file(path)?.tam)
    }

    /// Whether a device of this identifier shall have nothing of this TAM any more.
    #[must_use]
    pub fn is_retired(&self, device_id: &str) -> bool {
        self.retired.iter().any(|retired| retired == device_id)
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

    fn of(folder: &Path, section: TamSection) -> anyhow::Result<Self> {
        let identity = Identity::read(
            &folder.join(&section.key),
            &folder.join(&section.chain),
            section.id.as_deref(),
        )?;
        for device_id in &section.retired {
            ensure!(
                from_base64(device_id).is_some_and(|digest| digest.len() == 32),
                "{device_id:?} is no device's identifier, which is a SHA-256 in base64"
            );
        }
        let alternative = match &section.alternative {
            Some(other) => Some(read_alternative(folder, other, &section, &identity)?),
            None => None,
        };
        ensure!(!section.tee_roots.is_empty(), "no TEE root: no device could be trusted");
        let read_roots = |paths: &[PathBuf]| {
            let mut roots = Vec::new();
            for path in paths {
                roots.extend(certificate::read_file(&folder.join(path))?);
            }
            anyhow::Ok(TeeRoots::new(roots)?)
        };
        let paths = |files: &[PathBuf]| files.iter().map(|file| folder.join(file)).collect();
        let firmware = match &section.firmware_roots {
            Some(paths) => FirmwarePolicy::SignedUnder(read_roots(paths)?),
            None => FirmwarePolicy::Any,
        };
        Ok(Self {
            identity,
            alternative,
            tee_roots: read_roots(&section.tee_roots)?,
            firmware,
            algorithms: Algorithms::of(
                section.content_encryption,
                section.key_management,
                section.ta_encryption,
            ),
            retired: section.retired,
            ocsp: paths(&section.ocsp),
            alternative_ocsp: section.alternative.map_or(Vec::new(), |other| paths(&other.ocsp)),
        })
    }
}

impl TamSettings {
    /// One of the identities with the OCSP responses that are in its files now. A TAM that staples
    /// none, or not enough, is not trusted by a device that knows nothing of its authorities.
    ///
    /// # Errors
    /// As [`ocsp::read`].
    pub fn stapled(&self, identity: &Identity) -> anyhow::Result<Identity> {
        let first = identity.signature_algorithm() == self.identity.signature_algorithm();
        let files = if first { &self.ocsp } else { &self.alternative_ocsp };
        let responses = ocsp::read(files, identity.chain())?;
        Ok(identity.clone().staple(responses))
    }
}

impl Configuration {
    /// Reads the file and all that it names.
    ///
    /// # Errors
    /// One sentence on the first thing that is missing or wrong.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let File { tam, sd } = read_file(path)?;
        let folder = folder(path);
        let mut names = HashSet::new();
        let mut domains = Vec::new();
        for section in sd {
            let domain = read_domain(folder, section)?;
            if !names.insert((domain.spid.clone(), domain.name.clone())) {
                bail!("the security domain {} of {} is there twice", domain.name, domain.spid);
            }
            domains.push(domain);
        }
        Ok(Self { tam: TamSettings::of(folder, tam)?, desired: DesiredState { domains } })
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

fn read_domain(folder: &Path, section: SdSection) -> anyhow::Result<DesiredDomain> {
    check_identifier("the name of a security domain", &section.name)?;
    check_identifier("an spid", &section.spid)?;
    let mut certificates = Vec::new();
    for path in &section.certificates {
        for certificate in certificate::read_file(&folder.join(path))? {
            certificates.push(Blob::new(certificate.to_der()?)?);
        }
    }
    ensure!(
        (1..=SP_CERTIFICATE_LIMIT).contains(&certificates.len()),
        "the security domain {} needs 1 to {SP_CERTIFICATE_LIMIT} certificates",
        section.name
    );
    let mut names = HashSet::new();
    let mut applications = Vec::new();
    for application in section.ta {
        check_identifier("the id of a TA", &application.id)?;
        if !names.insert(application.id.clone()) {
            bail!("the TA {} is twice in {}", application.id, section.name);
        }
        applications.push(read_application(folder, application)?);
    }
    Ok(DesiredDomain { spid: section.spid, name: section.name, certificates, applications })
}

fn read_application(folder: &Path, section: TaSection) -> anyhow::Result<DesiredTa> {
    let path = folder.join(&section.file);
    let read = |path: &Path| {
        let bytes = std::fs::read(path)
            .with_context(|| format!("cannot read {} of the TA {}", path.display(), section.id))?;
        Blob::new(bytes)
    };
    let image = read(&path)?;
    let header = ImageHeader::read(&image.bytes)
        .with_context(|| format!("{} of the TA {}", path.display(), section.id))?;
    let personalization = match &section.personalization {
        Some(path) => Some(read(&folder.join(path))?),
        None => None,
    };
    ensure!(
        personalization.as_ref().is_none_or(|data| data.bytes.len() <= PERSONALIZATION_LIMIT),
        "the personalization data of {} are longer than {PERSONALIZATION_LIMIT} bytes",
        section.id
    );
    Ok(DesiredTa { id: section.id, image, version: header.version, personalization })
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
