//! Who this TAM is: the section `[tam]` with the files that it names.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use anyhow::ensure;
use openssl::x509::X509;

use super::algorithms::Algorithms;
use super::file::{AlternativeSection, File, TamSection, folder};
use super::mistakes::Mistakes;
use crate::admission::{Admission, DeviceList};
use crate::certificate::{self, TeeRoots};
use crate::encoding::{base64, from_base64};
use crate::firmware::FirmwarePolicy;
use crate::identity::Identity;
use crate::jose::SignatureAlgorithm;
use crate::record::DeviceRecord;

/// The section `[tam]` with the files that it names.
pub struct TamSettings {
    /// The preferred identity.
    pub identity: Identity,
    /// The same TAM with a key of the other type, if there is one.
    pub alternative: Option<Identity>,
    /// Roots of the OEMs whose TEEs are served.
    pub tee_roots: TeeRoots,
    /// The same roots, DER.
    pub tee_root_ders: Vec<Vec<u8>>,
    /// What is required of the firmware below the TEE.
    pub firmware: FirmwarePolicy,
    /// The encryption of requests.
    pub algorithms: Algorithms,
    /// The roots that devices are built with, DER; empty if the configuration does not list them.
    pub tam_roots: Vec<Vec<u8>>,
    /// Which devices are served.
    pub admission: Admission,
    retired: HashSet<String>,
    allowed_deletion: Option<String>,
    files: IdentityFiles,
    alternative_files: IdentityFiles,
}

/// The files of an identity, for error messages.
#[derive(Clone, Debug, Default)]
pub struct IdentityFiles {
    /// Its certificates.
    pub chain: PathBuf,
    /// Its OCSP responses.
    pub ocsp: Vec<PathBuf>,
}

impl TamSettings {
    /// Reads the section `[tam]` of the file and the files that it names, and nothing else.
    ///
    /// # Errors
    /// One line for each mistake.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let mut mistakes = Mistakes::default();
        let settings = Self::of(folder(path), File::read(path)?.tam, &mut mistakes);
        mistakes.unless_none(settings)
    }

    /// Whether the device with this fingerprint of its key, or this identifier, is retired.
    #[must_use]
    pub fn is_retired(&self, name: &str) -> bool {
        self.retired.contains(name)
    }

    /// Whether a device is retired, by its key or by any identifier it ever had.
    #[must_use]
    pub fn retires(&self, record: &DeviceRecord) -> bool {
        self.is_retired(&record.key) || record.identifiers.iter().any(|it| self.is_retired(it))
    }

    /// The names of the retired devices, in the form in which they are compared.
    #[must_use]
    pub fn retired(&self) -> BTreeSet<&str> {
        self.retired.iter().map(String::as_str).collect()
    }

    /// The name of the desired state whose large deletion is confirmed ([`crate::deletions`]).
    #[must_use]
    pub const fn allowed_deletion(&self) -> Option<&String> {
        self.allowed_deletion.as_ref()
    }

    /// The identity that signs with this algorithm.
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

    /// Reads the files that the section names. `None` only if there was a mistake.
    pub(super) fn of(folder: &Path, section: TamSection, mistakes: &mut Mistakes) -> Option<Self> {
        let files = IdentityFiles::of(folder, &section.chain, &section.ocsp);
        let identity = mistakes.note(Identity::read(
            &folder.join(&section.key),
            &files.chain,
            section.id.as_deref(),
        ));
        let retired = read_retired(&section.retired, mistakes);
        let alternative = match (&section.alternative, &identity) {
            (Some(other), Some(first)) => {
                mistakes.note(read_alternative(folder, other, &section, first)).map(Some)
            }
            // The alternative is compared with the first identity.
            (Some(_), None) | (None, _) => Some(None),
        };
        let alternative_files =
            section.alternative.as_ref().map_or_else(IdentityFiles::default, |other| {
                IdentityFiles::of(folder, &other.chain, &other.ocsp)
            });
        if section.tee_roots.is_empty() {
            mistakes.add(String::from("`tee_roots` is empty, so no device could be trusted"));
        }
        let tee_roots = read_certificates(folder, &section.tee_roots, mistakes);
        let tee_root_ders = mistakes.note(ders(&tee_roots));
        let tee_roots = mistakes.note(TeeRoots::new(tee_roots).map_err(Into::into));
        let tee_roots = tee_roots.map(|roots| match section.require_tee_purpose {
            true => roots.requiring_purpose(),
            false => roots,
        });
        let firmware = read_firmware(folder, section.firmware_roots.as_deref(), mistakes);
        let tam_roots = read_certificates(folder, &section.tam_roots, mistakes);
        let tam_roots = mistakes.note(ders(&tam_roots));
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

impl IdentityFiles {
    fn of(folder: &Path, chain: &Path, ocsp: &[PathBuf]) -> Self {
        Self {
            chain: folder.join(chain),
            ocsp: ocsp.iter().map(|file| folder.join(file)).collect(),
        }
    }
}

/// The certificates of all files that can be read.
fn read_certificates(folder: &Path, paths: &[PathBuf], mistakes: &mut Mistakes) -> Vec<X509> {
    let read = paths.iter().map(|path| certificate::read_file(&folder.join(path)));
    let read: Vec<_> = read.filter_map(|read| mistakes.note(read)).collect();
    read.into_iter().flatten().collect()
}

fn ders(certificates: &[X509]) -> anyhow::Result<Vec<Vec<u8>>> {
    certificates.iter().map(|certificate| Ok(certificate.to_der()?)).collect()
}

fn read_firmware(
    folder: &Path,
    roots: Option<&[PathBuf]>,
    mistakes: &mut Mistakes,
) -> Option<FirmwarePolicy> {
    let Some(roots) = roots else { return Some(FirmwarePolicy::Any) };
    let roots = TeeRoots::new(read_certificates(folder, roots, mistakes));
    mistakes
        .note(roots.map_err(Into::into))
        .map(|roots| FirmwarePolicy::SignedUnder(roots.for_firmware()))
}

/// The valid names of retired devices, in the form in which they are compared.
fn read_retired(names: &[String], mistakes: &mut Mistakes) -> HashSet<String> {
    let mut retired = HashSet::new();
    for name in names {
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
    retired
}

/// The name of a device in the form in which it is compared: the fingerprint of its key in lower-case
/// hexadecimal, or its identifier in base64. `None` if it is neither.
fn device_name(text: &str) -> Option<String> {
    if text.len() == 64 {
        return hex::decode(text).ok().map(hex::encode);
    }
    from_base64(text).filter(|digest| digest.len() == 32).map(|digest| base64(&digest))
}

/// The TAM's other identity: the same TAM ID, which owns the security domains, with a key of the other
/// type.
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
