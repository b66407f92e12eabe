//! The files of the OCSP responses that the TAM staples. [`crate::check`] judges what is in them.

use std::path::Path;

use anyhow::Context as _;

/// What the text encoding of RFC 7468 begins with.
const PEM: &[u8] = b"-----BEGIN ";

/// Reads a response, which is in DER or in PEM, as DER.
///
/// # Errors
/// If the file cannot be read, or has another thing or several in PEM.
pub fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let place = || format!("cannot read the OCSP response {}", path.display());
    let file = std::fs::read(path).with_context(place)?;
    if !file.windows(PEM.len()).any(|octets| octets == PEM) {
        return Ok(file);
    }
    otrp_pem::ocsp_response(&file).with_context(place)
}
