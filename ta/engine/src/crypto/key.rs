//! Public keys of others, and the signatures that they check.

use super::Scheme;
use super::ecdsa::{es256_verify, fixed_signature};
use super::rsa::signature::{self, Padding};
use crate::platform::{OwnPublicKey, Point, RSA_EXPONENT, RsaPublic};

/// A public key of a kind and strength that the broker accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKey<'a> {
    /// A point of P-256.
    P256(Point),
    /// An RSA key of 2048 to 4096 bits.
    Rsa {
        /// Odd, big-endian, without leading zeros.
        modulus: &'a [u8],
        /// Odd, 65537 to 2^32 - 1, big-endian, without leading zeros.
        exponent: &'a [u8],
    },
}

impl PublicKey<'_> {
    /// Whether this is the public half of a key pair of this TEE.
    #[must_use]
    pub fn is(&self, own: &OwnPublicKey) -> bool {
        match (self, own) {
            (Self::P256(point), OwnPublicKey::P256(own)) => point == own,
            (Self::Rsa { modulus, exponent }, OwnPublicKey::Rsa2048(own)) => {
                modulus == own && *exponent == RSA_EXPONENT
            }
            (Self::P256(_), OwnPublicKey::Rsa2048(_))
            | (Self::Rsa { .. }, OwnPublicKey::P256(_)) => false,
        }
    }

    /// Whether `signature` is one over `digest` by this key; false where `scheme` is not one of the
    /// key's kind. The digest is a SHA-256, in certificates also a SHA-384 or SHA-512.
    #[must_use]
    pub fn verify<R: RsaPublic>(&self, scheme: Scheme, digest: &[u8], signature: &[u8]) -> bool {
        match (self, scheme) {
            (Self::P256(point), Scheme::Es256) => es256_verify(point, digest, signature).is_ok(),
            (Self::P256(point), Scheme::Es256Der) => fixed_signature::<64>(signature)
                .is_ok_and(|fixed| es256_verify(point, digest, &fixed).is_ok()),
            (Self::Rsa { modulus, exponent }, Scheme::RsaPkcs1 | Scheme::RsaPss) => {
                let padding = match scheme {
                    Scheme::RsaPss => Padding::Pss,
                    _ => Padding::Pkcs1,
                };
                signature::verify::<R>(padding, modulus, exponent, digest, signature)
            }
            (Self::P256(_), Scheme::RsaPkcs1 | Scheme::RsaPss)
            | (Self::Rsa { .. }, Scheme::Es256 | Scheme::Es256Der) => false,
        }
    }
}
