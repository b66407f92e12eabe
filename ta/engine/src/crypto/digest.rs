//! Digests of whole messages.

use sha2::{Digest, Sha256};

/// A digest by one of the hashes of certificates and OCSP responses, at most that of SHA-512.
pub type HashValue = heapless::Vec<u8, 64>;

/// The digest of a message. One function for each hash, which all share.
pub fn digest<H: Digest>(message: &[u8]) -> HashValue {
    // The longest just fits.
    HashValue::from_slice(&H::digest(message)).unwrap_or_default()
}

/// SHA-256 of bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
