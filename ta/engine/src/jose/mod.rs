//! The cryptography of JOSE messages: decoded octets in, decoded octets out.
//!
//! Nothing here reads JSON or base64, and nothing here decides whom to trust.

use crate::platform::PortError;

pub mod content;
#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has found something"
)]
mod cookbook;
pub mod key_management;
pub mod signature;

/// Why a cryptographic operation gave no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Anything wrong with keys, tags, signatures, lengths or padding that came with a message.
    ///
    /// Deliberately one variant: telling a failed key unwrapping from a failed tag from bad padding
    /// helps nobody but an attacker (RFC 7516, section 11.5).
    Crypto,
    /// An algorithm name that none of the `from_name` functions here knows; for their callers.
    Unsupported,
    /// A port failed; the message may be good.
    Port(PortError),
    /// The caller's mistake, such as a buffer without room for the padding. No message causes it.
    Internal,
}

impl From<PortError> for Error {
    fn from(error: PortError) -> Self {
        Self::Port(error)
    }
}
