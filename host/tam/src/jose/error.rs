//! Why a JWS or JWE could not be made, or was not accepted.

use thiserror::Error;

/// Why a JWS or JWE could not be made: the key does not fit, or OpenSSL failed.
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
    /// Not base64url, not JSON, a header member that is not understood, or one twice.
    #[error("malformed JOSE")]
    Malformed,
    /// An algorithm that is not known, or not for the recipient's key.
    #[error("unsupported JOSE algorithm")]
    Algorithm,
    /// An algorithm that the recipient knows and does not take.
    #[error("{0} is not among the algorithms that this TAM is configured to take in answers")]
    NotTaken(&'static str),
    /// The signature is wrong.
    #[error("wrong signature")]
    Signature,
    /// The key, the tag or the padding is wrong; which one is nobody's business.
    #[error("cannot be decrypted")]
    Decryption,
}
