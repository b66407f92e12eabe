//! The OCSP responses that the TAM staples: read anew for each question, and judged as a device
//! will judge them, so that whoever runs the TAM hears of it and not only the devices.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use openssl::hash::MessageDigest;
use openssl::ocsp::{
    OcspBasicResponse, OcspCertId, OcspCertStatus, OcspFlag, OcspResponse, OcspResponseStatus,
    OcspStatus,
};
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509, X509Ref};
use otrp_wire::limits::OCSP_RESPONSE_LIMIT;

/// Reads the responses for the certificates of `chain` in its order: the leaf's, and those of the
/// authorities below the root as far as `paths` goes.
///
/// # Errors
/// One sentence on the first that is missing, wrong or no longer current.
pub fn read(paths: &[PathBuf], chain: &[X509]) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut issued = chain.windows(2);
    let mut responses = Vec::new();
    for path in paths {
        let Some([certificate, issuer]) = issued.next() else {
            bail!("the TAM's chain has no certificate, or not its issuer, for {}", path.display());
        };
        let response = read_file(path)?;
        check(&response, certificate, issuer).with_context(|| {
            format!(
                "the OCSP response {} does not show that {} is good",
                path.display(),
                common_name(certificate)
            )
        })?;
        responses.push(response);
    }
    Ok(responses)
}

/// Reads a response as it is.
///
/// # Errors
/// If the file cannot be read.
pub fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read the OCSP response {}", path.display()))
}

fn check(response: &[u8], certificate: &X509Ref, issuer: &X509) -> anyhow::Result<()> {
    ensure!(
        response.len() <= OCSP_RESPONSE_LIMIT,
        "it is {} bytes long, and a device takes {OCSP_RESPONSE_LIMIT}",
        response.len()
    );
    let response = OcspResponse::from_der(response).context("it is not an OCSP response in DER")?;
    ensure!(response.status() == OcspResponseStatus::SUCCESSFUL, "the responder could not answer");
    let basic = response.basic().context("it is not a basic response")?;
    verify(&basic, issuer).context("it is not signed by the issuer or its responder")?;
    let identifiers = [MessageDigest::sha256(), MessageDigest::sha1()]
        .map(|digest| OcspCertId::from_cert(digest, certificate, issuer));
    for identifier in identifiers {
        if let Some(status) = basic.find_status(&*identifier?) {
            return check_status(&status);
        }
    }
    bail!("it is on another certificate")
}

/// The issuer alone vouches for the signer, whoever is above it.
fn verify(basic: &OcspBasicResponse, issuer: &X509) -> anyhow::Result<()> {
    let mut store = X509StoreBuilder::new()?;
    store.add_cert(issuer.clone())?;
    store.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
    let mut certificates = Stack::new()?;
    certificates.push(issuer.clone())?;
    Ok(basic.verify(&certificates, &store.build(), OcspFlag::empty())?)
}

fn check_status(status: &OcspStatus<'_>) -> anyhow::Result<()> {
    match status.status {
        OcspCertStatus::GOOD => (),
        OcspCertStatus::REVOKED => bail!("the certificate is revoked"),
        _ => bail!("the responder does not know the certificate"),
    }
    let next = status.next_update().context("it does not say when it ends")?;
    if status.check_validity(0, None).is_err() {
        let this = status.this_update;
        bail!("it is good from {this} to {next} only; get a new one from the responder");
    }
    Ok(())
}

fn common_name(certificate: &X509Ref) -> String {
    let mut entries = certificate.subject_name().entries_by_nid(openssl::nid::Nid::COMMONNAME);
    let name = entries.next().and_then(|entry| entry.data().to_string().ok());
    name.unwrap_or_else(|| String::from("the certificate"))
}
