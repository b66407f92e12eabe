//! Certificates and requests between PEM and DER.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// The first octet of every DER certificate: a SEQUENCE.
const SEQUENCE: u8 = 0x30;
/// Characters in a line (RFC 7468, section 2).
const LINE: usize = 64;

/// Certificates from PEM.
///
/// # Errors
/// The text holds none, or a damaged one.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, NoCertificate> {
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| NoCertificate)?;
    if certificates.is_empty() { Err(NoCertificate) } else { Ok(certificates) }
}

/// A chain as DER after DER, from PEM or from just that.
///
/// # Errors
/// The file holds neither.
pub fn chain(file: &[u8]) -> Result<Vec<u8>, NoCertificate> {
    if file.first() == Some(&SEQUENCE) {
        return Ok(file.to_vec());
    }
    Ok(certificates(file)?.iter().flat_map(|certificate| certificate.iter().copied()).collect())
}

/// A certification request in PEM.
#[must_use]
pub fn certification_request(der: &[u8]) -> String {
    let mut pem = String::from("-----BEGIN CERTIFICATE REQUEST-----\n");
    for (position, character) in STANDARD.encode(der).chars().enumerate() {
        if position > 0 && position % LINE == 0 {
            pem.push('\n');
        }
        pem.push(character);
    }
    pem.push_str("\n-----END CERTIFICATE REQUEST-----\n");
    pem
}

/// A file without a certificate in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no certificate in PEM or DER in it")]
pub struct NoCertificate;
