//! The numbers of what the registry holds. They come from one sequence, and none is used again.

use crate::platform::{Blob, KeyName};

/// The number of a TAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TamNumber(pub(super) u32);

impl TamNumber {
    /// The blob with its certificates.
    #[must_use]
    pub const fn chain(self) -> Blob {
        Blob::TamChain(self.0)
    }
}

/// The number of a security domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SdNumber(pub(super) u32);

impl SdNumber {
    /// The blob with the certificates of its service provider.
    #[must_use]
    pub const fn certificates(self) -> Blob {
        Blob::SpCertificates(self.0)
    }
}

/// The number of an attestation key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyNumber(pub(super) u32);

impl KeyNumber {
    /// Its name in the TEE core, if it is an RSA key pair.
    #[must_use]
    pub const fn name(self) -> KeyName {
        KeyName::Aik(self.0)
    }
}
