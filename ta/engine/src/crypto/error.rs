//! Why a cryptographic operation gave no result.

use crate::platform::PortError;

/// Why a cryptographic operation gave no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Anything wrong with keys, tags, signatures, lengths or padding that came with a message.
    ///
    /// Deliberately one variant: telling a failed key unwrapping from a failed tag from bad padding
    /// helps nobody but an attacker (RFC 7516, section 11.5).
    Crypto,
    /// An algorithm that is not supported, or not by the key that it is to be used with.
    Unsupported,
    /// A port failed; the message may be good.
    Port(PortError),
    /// The caller's mistake, such as a buffer too short for the padding. No message causes it.
    Internal,
}

impl From<PortError> for Error {
    fn from(error: PortError) -> Self {
        Self::Port(error)
    }
}
