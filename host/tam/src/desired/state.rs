//! What every device is to have, read from the sections `[[sd]]` and checked.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use otrp_wire::limits::{NAME_LIMIT, PERSONALIZATION_LIMIT, SP_CERTIFICATE_LIMIT};

use super::file::{SdSection, TaSection};
use super::mistakes::Mistakes;
use crate::certificate;
use crate::encoding::sha256;
use crate::image::ImageHeader;

/// What every device is to have of this TAM, and nothing else.
#[derive(Clone, Debug, Default)]
pub struct DesiredState {
    /// The security domains.
    pub domains: Vec<DesiredDomain>,
}

/// A desired security domain.
#[derive(Clone, Debug)]
pub struct DesiredDomain {
    /// Its service provider.
    pub spid: String,
    /// Its name.
    pub name: String,
    /// Certificates of the signers of its applications; at least one.
    pub certificates: Vec<Blob>,
    /// The applications.
    pub applications: Vec<DesiredTa>,
}

/// A desired trusted application.
#[derive(Clone, Debug)]
pub struct DesiredTa {
    /// Its identifier.
    pub id: String,
    /// The path of the image.
    pub file: PathBuf,
    /// The signed image.
    pub image: Blob,
    /// The version in the signed header.
    pub version: u32,
    /// The personalization data.
    pub personalization: Option<Blob>,
}

/// The content of a file with its SHA-256 in hexadecimal, by which it is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The digest.
    pub digest: String,
}

impl Blob {
    /// Adds the digest to `bytes`.
    ///
    /// # Errors
    /// If OpenSSL runs out of memory.
    pub fn new(bytes: Vec<u8>) -> anyhow::Result<Self> {
        let digest = hex::encode(sha256(&bytes)?);
        Ok(Self { bytes, digest })
    }
}

impl DesiredState {
    /// The domain with this service provider and name.
    #[must_use]
    pub fn domain(&self, spid: &str, name: &str) -> Option<&DesiredDomain> {
        self.domains.iter().find(|domain| domain.spid == spid && domain.name == name)
    }
}

impl DesiredDomain {
    /// The application with this identifier.
    #[must_use]
    pub fn application(&self, id: &str) -> Option<&DesiredTa> {
        self.applications.iter().find(|application| application.id == id)
    }

    /// The certificate with this digest.
    #[must_use]
    pub fn certificate(&self, digest: &str) -> Option<&Blob> {
        self.certificates.iter().find(|certificate| certificate.digest == digest)
    }
}

pub(super) fn read_domain(
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
                "`certificates` of the security domain {}: the certificate with the SHA-256 {} is \
                 listed twice: remove one of them",
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
            mistakes.add(format!("the TA {} is listed twice in {}", application.id, section.name));
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

/// Refuses an identifier that a device would refuse.
fn check_identifier(what: &str, text: &str) -> anyhow::Result<()> {
    let plain = !text.chars().any(|char| char.is_control() || char == '"' || char == '\\');
    ensure!(
        !text.is_empty() && text.len() <= NAME_LIMIT && plain,
        "{what} must be 1 to {NAME_LIMIT} bytes without quotes, backslashes and control \
         characters: {text:?}"
    );
    Ok(())
}
