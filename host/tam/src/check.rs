//! Finds what a device would refuse in a configuration.
//!
//! A device gives an untrusted TAM no reason, and a wrong image may cost the installed one, which is
//! deleted to make place for it. Each finding is a sentence with the file, the rule and the remedy.

use std::collections::HashMap;
use std::path::Path;

use anyhow::ensure;
use otrp_check::{Certificate, chain, ocsp, time};
use otrp_wire::limits::{SD_LIMIT, TA_LIMIT};

use crate::desired::{
    Configuration, DesiredDomain, DesiredTa, IdentityFiles, TamSettings, sentence,
};
use crate::identity::Identity;
use crate::image::{self, ImageHeader};
use crate::log;
use crate::ocsp::read_file;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// How long before its expiry a certificate causes a warning.
const CERTIFICATE_WARNING: u64 = 30 * DAY;

/// The result of a check.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What a device would refuse.
    pub errors: Vec<String>,
    /// What it will refuse soon, or what is probably a mistake.
    pub warnings: Vec<String>,
}

/// Checks everything: the [`standing`] of each identity at `now`, in seconds since 1970, the roots, and
/// the [`desired`] state.
#[must_use]
pub fn configuration(configuration: &Configuration, now: u64) -> Findings {
    let mut findings = Findings::default();
    let settings = &configuration.tam;
    for identity in settings.identities() {
        let standing = standing(settings, identity, now);
        findings.errors.extend(standing.faults);
        findings.warnings.extend(standing.warnings);
    }
    for der in &settings.tee_root_ders {
        let root = match Certificate::read(der) {
            Ok(root) => root,
            // OpenSSL has read it, so it is a certificate.
            Err(flaw) => {
                let flaw =
                    format!("`tee_roots`: a root {flaw}, and no device below it is accepted");
                findings.warnings.push(flaw);
                continue;
            }
        };
        if !chain::is_authority_key(root.spki()) {
            findings.warnings.push(format!(
                "`tee_roots`: {:?} has a key by which devices accept no signature, so no device \
                 below it is accepted: it must be on P-256 or P-384, or RSA of 2048 to 4096 bits \
                 with an odd exponent of 65537 to 4294967295",
                root.common_name()
            ));
        }
        let (from, to) = root.validity();
        if !(from..=to).contains(&now) {
            findings.warnings.push(format!(
                "`tee_roots`: {:?} is valid from {} to {} only, and no device below it is accepted",
                root.common_name(),
                time::utc(from),
                time::utc(to)
            ));
        }
    }
    let Findings { errors, warnings } = desired(configuration);
    findings.errors.extend(errors);
    findings.warnings.extend(warnings);
    findings
}

/// The state of an identity's certificates and OCSP responses.
#[derive(Debug, Default)]
pub struct Standing {
    /// The OCSP responses that can be read.
    pub responses: Vec<Vec<u8>>,
    /// What a device would refuse.
    pub faults: Vec<String>,
    /// What it will refuse soon.
    pub warnings: Vec<String>,
}

/// Checks an identity as a device would at `now`.
#[must_use]
pub fn standing(settings: &TamSettings, identity: &Identity, now: u64) -> Standing {
    let files = settings.files_of(identity);
    let mut standing = Standing::default();
    for path in &files.ocsp {
        match read_file(path) {
            Ok(response) => standing.responses.push(response),
            Err(error) => standing.faults.push(sentence(&error)),
        }
    }
    let unread = !standing.faults.is_empty();
    let certificates = match identity.ders() {
        Ok(certificates) => certificates,
        Err(error) => {
            standing.faults.push(sentence(&error));
            return standing;
        }
    };
    let ders: Vec<&[u8]> = certificates.iter().map(Vec::as_slice).collect();
    let anchors: Vec<&[u8]> = settings.tam_roots.iter().map(Vec::as_slice).collect();
    let file = files.chain.display();
    let path = match chain::check(&ders, &anchors, now) {
        Ok(path) => path,
        Err(faults) => {
            standing.faults.extend(faults.iter().map(|fault| format!("{file}: {fault}")));
            return standing;
        }
    };
    if path.tam_id != identity.tam_id() {
        standing.warnings.push(format!(
            "{file}: a device calls this TAM {:?}, and the configuration {:?}",
            path.tam_id,
            identity.tam_id()
        ));
    }
    if let Some((certificate, end)) = path.first_end()
        && end < now.saturating_add(CERTIFICATE_WARNING)
    {
        standing.warnings.push(format!(
            "{file}: the certificate {:?} ends on {}: have it renewed",
            certificate.common_name(),
            time::utc(end)
        ));
    }
    // Responses and certificates are matched by position, so a missing response makes the rest useless.
    if unread {
        return standing;
    }
    check_responses(&mut standing, &path, files, now);
    standing
}

/// Adds what is wrong with the OCSP responses of a path.
fn check_responses(
    standing: &mut Standing,
    path: &chain::Chain<'_>,
    files: &IdentityFiles,
    now: u64,
) {
    let file = files.chain.display();
    let responses: Vec<&[u8]> = standing.responses.iter().map(Vec::as_slice).collect();
    match ocsp::check_all(&responses, path, now) {
        Ok(good) if good.until < now.saturating_add(HOUR) => standing.warnings.push(format!(
            "the OCSP responses of {file} end on {}: replace them before, and the server reads them",
            time::utc(good.until)
        )),
        Ok(_) => {}
        Err(faults) => standing.faults.extend(faults.into_iter().map(|(position, sentence)| {
            let certificate = position.and_then(|position| path.certificates.get(position));
            let response = position.and_then(|position| files.ocsp.get(position));
            match (response, certificate) {
                (Some(response), Some(certificate)) => format!(
                    "the OCSP response {} does not show that {:?} is good: {sentence}",
                    response.display(),
                    certificate.common_name()
                ),
                _ => format!("`ocsp` of {file}: {sentence}"),
            }
        })),
    }
}

/// Adds the OCSP responses that are in its files now to one of the TAM's identities.
///
/// # Errors
/// Everything that a device would refuse in its certificates and responses now, because a device gives
/// an untrusted TAM no reason.
pub fn stapled(settings: &TamSettings, identity: &Identity) -> anyhow::Result<Identity> {
    let standing = standing(settings, identity, log::now());
    ensure!(standing.faults.is_empty(), "{}", standing.faults.join("; "));
    Ok(identity.clone().staple(standing.responses))
}

/// What a device would refuse in the TAM's certificates at `now`. OCSP responses, which change
/// independently, are not checked.
#[must_use]
pub fn chains(settings: &TamSettings, now: u64) -> Vec<String> {
    let anchors: Vec<&[u8]> = settings.tam_roots.iter().map(Vec::as_slice).collect();
    let mut faults = Vec::new();
    for identity in settings.identities() {
        let file = &settings.files_of(identity).chain;
        match identity.ders() {
            Ok(certificates) => {
                let ders: Vec<&[u8]> = certificates.iter().map(Vec::as_slice).collect();
                let found = chain::check(&ders, &anchors, now).err().unwrap_or_default();
                let said = found.iter().map(|fault| format!("{}: {fault}", file.display()));
                faults.extend(said);
            }
            Err(error) => faults.push(sentence(&error)),
        }
    }
    faults
}

/// Checks the desired state: signers, images, and the capacity of devices.
#[must_use]
pub fn desired(configuration: &Configuration) -> Findings {
    let mut findings = Findings::default();
    let domains = &configuration.desired.domains;
    let applications: usize = domains.iter().map(|domain| domain.applications.len()).sum();
    for (what, count, limit) in
        [("security domains", domains.len(), SD_LIMIT), ("TAs", applications, TA_LIMIT)]
    {
        if count > limit {
            findings.errors.push(format!("{count} {what} are desired, and a device holds {limit}"));
        }
    }
    let mut owners = HashMap::new();
    for domain in domains {
        for certificate in &domain.certificates {
            if let Err(fault) = chain::check_signer(&certificate.bytes) {
                findings.errors.push(format!(
                    "`certificates` of the security domain {}: {:?} {}",
                    domain.name, fault.subject, fault.rule
                ));
            }
        }
        for application in &domain.applications {
            let place = format!(
                "{} of the TA {} in {}",
                application.file.display(),
                application.id,
                domain.name
            );
            if let Ok(header) = ImageHeader::read(&application.image.bytes)
                && let Some(warning) = header.warning()
            {
                findings.warnings.push(format!("{place}: {warning}"));
            }
            let mut add = |sentence: String| findings.errors.push(format!("{place}: {sentence}"));
            judge_image(domain, application, &mut add);
            let Ok(header) = ImageHeader::read(&application.image.bytes) else { continue };
            let domain_name = (domain.spid.as_str(), domain.name.as_str());
            let owner = (domain_name, application.id.as_str(), application.file.as_path());
            let first: &mut ((&str, &str), &str, &Path) =
                owners.entry(header.uuid).or_insert(owner);
            if *first != owner {
                add(format!(
                    "it has the UUID {} like {} of the TA {} in {}: a UUID belongs to one TA, so \
                     sign one of them with another one",
                    header.uuid_text(),
                    first.2.display(),
                    first.1,
                    first.0.1
                ));
            }
        }
    }
    findings
}

fn judge_image(domain: &DesiredDomain, application: &DesiredTa, add: &mut impl FnMut(String)) {
    let certificates: Vec<&[u8]> =
        domain.certificates.iter().map(|certificate| certificate.bytes.as_slice()).collect();
    if let Err(refused) = image::verify(&application.image.bytes, &certificates) {
        add(refused.to_string());
    }
}
