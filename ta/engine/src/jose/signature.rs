//! Signature checks of JWS and of certificates (RFC 7515, section 5.2; RFC 7518, section 3).

use der::asn1::UintRef;
use der::{Decode, Reader, SliceReader};
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

use super::Error;
use crate::platform::{Point, RsaPadding, RsaVerify};

/// A JWS `alg` algorithm (RFC 7518, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
}

impl SignatureAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 2] = [Self::Es256, Self::Rs256];

    /// The algorithm that `alg` names; `None` if it is not supported, as `none` is not.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// The value of `alg`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

/// SHA-256 of the JWS signing input: the two texts as they stand in the message, base64url and all,
/// with a full stop between them.
#[must_use]
pub fn signing_digest(protected: &[u8], payload: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(protected).chain_update(b".").chain_update(payload).finalize().into()
}

/// Checks an ECDSA signature as JWS writes it: r and s as 32 octets each.
///
/// # Errors
/// [`Error::Crypto`] if `public` is not a point of P-256 or the signature is not one by it.
pub fn es256_verify(public: &Point, digest: &[u8; 32], signature: &[u8]) -> Result<(), Error> {
    let key = VerifyingKey::from_sec1_bytes(public).map_err(|_| Error::Crypto)?;
    let signature = Signature::from_slice(signature).map_err(|_| Error::Crypto)?;
    key.verify_prehash(digest, &signature).map_err(|_| Error::Crypto)
}

/// Checks an ECDSA signature as certificates write it: the DER of a SEQUENCE of r and s
/// (RFC 5480, appendix A).
///
/// # Errors
/// As [`es256_verify`], and [`Error::Crypto`] for anything but strict DER.
pub fn es256_verify_der(public: &Point, digest: &[u8; 32], signature: &[u8]) -> Result<(), Error> {
    let fixed = fixed_signature(signature).map_err(|_| Error::Crypto)?;
    es256_verify(public, digest, &fixed)
}

/// Checks an RS256 signature by the RSA key of `modulus` and `exponent`, which are big-endian and
/// may have leading zeros.
///
/// # Errors
/// [`Error::Crypto`] if the signature is not one by this key, or the modulus is not one of 2048 to
/// 4096 bits, or the exponent is even, below 3 or beyond 32 bits.
pub fn rs256_verify<R: RsaVerify>(
    modulus: &[u8],
    exponent: &[u8],
    digest: &[u8; 32],
    signature: &[u8],
) -> Result<(), Error> {
    let modulus = without_leading_zeros(modulus);
    let exponent = without_leading_zeros(exponent);
    // At least 2048 bits (RFC 7518, section 3.3): the length alone would let 2041 pass.
    let strong = matches!((modulus.len(), modulus.first()), (257..=512, _) | (256, Some(128..)));
    let usable = match exponent {
        [only] => *only >= 3 && is_odd(*only),
        [_, .., last] => exponent.len() <= 4 && is_odd(*last),
        [] => false,
    };
    // RFC 8017, section 8.2.2, step 1; some implementations would pad a short signature.
    let whole = signature.len() == modulus.len();
    if strong
        && usable
        && whole
        && R::verify(RsaPadding::Pkcs1, modulus, exponent, digest, signature)
    {
        Ok(())
    } else {
        Err(Error::Crypto)
    }
}

/// r and s of a DER signature, each padded to 32 octets.
fn fixed_signature(signature: &[u8]) -> der::Result<[u8; 64]> {
    let mut reader = SliceReader::new(signature)?;
    let (r, s) = reader.sequence(|reader| {
        let r = UintRef::decode(reader)?;
        let s = UintRef::decode(reader)?;
        der::Result::Ok((r, s))
    })?;
    reader.finish()?;
    let mut fixed = [0; 64];
    for (half, integer) in fixed.chunks_exact_mut(32).zip([r, s]) {
        let digits = integer.as_bytes();
        half.len()
            .checked_sub(digits.len())
            .and_then(|zeros| half.get_mut(zeros..))
            .ok_or(der::ErrorKind::Overflow)?
            .copy_from_slice(digits);
    }
    Ok(fixed)
}

/// An integer without its leading zeros; empty for zero.
fn without_leading_zeros(integer: &[u8]) -> &[u8] {
    let zeros = integer.iter().take_while(|octet| **octet == 0).count();
    integer.get(zeros..).unwrap_or_default()
}

/// Whether an integer that ends in this octet is odd.
const fn is_odd(octet: u8) -> bool {
    octet & 1 == 1
}
