//! The files of the OCSP responses that the TAM staples. [`crate::check`] judges what is in them.

use std::path::Path;

use anyhow::Context as _;

/// Reads a response as it is.
///
/// # Errors
/// If the file cannot be read.
pub fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read the OCSP response {}", path.display()))
}
