//! Why a JWS or JWE could not be created, or was not accepted.

use thiserror::Error;

/// Why a JWS or JWE could not be created: the key has an unsupported type, or OpenSSL failed.
#[derive(Debug, Error)]
#[error("cannot sign or encrypt: {0}")]
pub struct NotMade(String);

impl NotMade {
    pub(super) fn because(reason: impl ToString) -> Self {
        Self(reason.to_string())
    }
}

/// Why a JWS or JWE was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotOpened {
    /// Not base64url, not JSON, or a header with an unknown or duplicate member.
    #[error("malformed JOSE")]
    Malformed,
    /// An algorithm that is unknown, or does not fit the recipient's key.
    #[error("unsupported JOSE algorithm")]
    Algorithm,
    /// An algorithm that the recipient supports and does not accept.
    #[error("{0} is not among the algorithms that this TAM is configured to accept in answers")]
    NotTaken(&'static str),
    /// The signature is wrong.
    #[error("wrong signature")]
    Signature,
    /// The key, the tag or the padding is wrong. Which one is not reported: that would be an oracle.
    #[error("cannot be decrypted")]
    Decryption,
}
