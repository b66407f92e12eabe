//! Why a certificate or a key is refused, whoever signed it.

/// Why a certificate or a key is refused, whoever signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not the strict DER of a version 3 certificate or of a SubjectPublicKeyInfo.
    Malformed,
    /// Longer than [`CERTIFICATE_LIMIT`](otrp_wire::limits::CERTIFICATE_LIMIT).
    TooLong,
    /// More certificates than [`CHAIN_LIMIT`](otrp_wire::limits::CHAIN_LIMIT).
    TooMany,
    /// A critical extension that is not understood.
    CriticalExtension,
    /// A key of a kind, curve or strength that is not accepted.
    Key,
    /// The certificate does not allow this use of its key.
    Usage,
    /// A self-issued certificate is not signed by its own key.
    Signature,
}

impl From<der::Error> for Error {
    fn from(_: der::Error) -> Self {
        Self::Malformed
    }
}
