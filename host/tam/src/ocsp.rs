//! Files with the OCSP responses to staple. [`crate::check`] checks their content.

use std::path::Path;

use anyhow::Context as _;

/// The beginning of the text encoding of RFC 7468.
const PEM: &[u8] = b"-----BEGIN ";

/// Reads a response in DER or PEM; returns DER.
///
/// # Errors
/// If the file cannot be read, or does not contain exactly one response in PEM.
pub fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let place = || format!("cannot read the OCSP response {}", path.display());
    let file = std::fs::read(path).with_context(place)?;
    if !file.windows(PEM.len()).any(|octets| octets == PEM) {
        return Ok(file);
    }
    otrp_pem::ocsp_response(&file).with_context(place)
}
