//! The kinds of signature, and those that this TEE's keys make.

use super::rsa::signature::encode_pkcs1;
use crate::platform::{KeyPair, Keys, Modulus, PortError, PrivateKey};

/// How a signature over a digest is made and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// ECDSA on P-256; r and s as 32 octets each (RFC 7518, section 3.4).
    Es256,
    /// ECDSA on P-256; the DER of a SEQUENCE of r and s (RFC 5480, appendix A).
    Es256Der,
    /// RSASSA-PKCS1-v1_5 (RFC 8017, section 8.2).
    RsaPkcs1,
    /// RSASSA-PSS with SHA-256, MGF1 of SHA-256 and a salt of 32 octets (RFC 8017, section 8.1).
    RsaPss,
}

/// A signature by a key pair of this TEE, as JWS writes it.
#[derive(Clone, Copy, Debug)]
pub enum Signature {
    /// r and s as 32 octets each.
    Es256([u8; 64]),
    /// As long as the modulus.
    Rs256(Modulus),
}

impl Signature {
    /// The octets.
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        match self {
            Self::Es256(bytes) => bytes,
            Self::Rs256(bytes) => bytes,
        }
    }
}

/// Signs a SHA-256 digest.
///
/// # Errors
/// The port's.
pub fn sign<K: Keys>(
    keys: &mut K,
    pair: &KeyPair,
    digest: &[u8; 32],
) -> Result<Signature, PortError> {
    match &pair.private {
        PrivateKey::P256(key) => keys.sign(key, digest).map(Signature::Es256),
        PrivateKey::Rsa2048(name) => {
            let mut number = [0; size_of::<Modulus>()];
            // The modulus is long enough for the encoding.
            encode_pkcs1(&mut number, digest).ok_or(PortError::Failed)?;
            keys.rsa(*name, &mut number)?;
            Ok(Signature::Rs256(number))
        }
    }
}
