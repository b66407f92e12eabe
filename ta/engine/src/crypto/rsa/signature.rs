//! The two signature paddings of RFC 8017.

use otrp_wire::copy::copy;
use sha2::{Digest, Sha256};

use super::{LONGEST_MODULUS, is_below};
use crate::platform::RsaPublic;

/// Octets of PSS's digest and of its salt.
const HASH_LENGTH: usize = 32;

/// How a signature is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// RSASSA-PKCS1-v1_5 with SHA-256, SHA-384 or SHA-512, by the digest's length.
    Pkcs1,
    /// RSASSA-PSS with SHA-256, MGF1 with SHA-256 and a salt of 32 octets.
    Pss,
}

/// Whether `signature` is one over `digest` by the key of `modulus` (big-endian, without
/// leading zeros, at most [`LONGEST_MODULUS`] octets) and `exponent` (big-endian).
#[must_use]
pub fn verify<R: RsaPublic>(
    padding: Padding,
    modulus: &[u8],
    exponent: &[u8],
    digest: &[u8],
    signature: &[u8],
) -> bool {
    let mut room = [0; LONGEST_MODULUS];
    // Sections 8.1.2 and 8.2.2, step 1; some implementations would pad a short signature.
    if !is_below(signature, modulus) {
        return false;
    }
    let Some(encoded) = room.get_mut(..signature.len()) else { return false };
    encoded.copy_from_slice(signature);
    if R::raise(modulus, exponent, encoded).is_err() {
        return false;
    }
    match padding {
        Padding::Pkcs1 => is_pkcs1(encoded, digest),
        Padding::Pss => digest.try_into().is_ok_and(|digest| is_pss(encoded, modulus, digest)),
    }
}

/// Fills `encoded` with the EMSA-PKCS1-v1_5 encoding of `digest` (section 9.2), which is compared
/// and never read, so that there is nothing to misread; `None` if it is too short, or the digest is
/// no SHA-256, SHA-384 or SHA-512.
#[must_use]
pub fn encode_pkcs1(encoded: &mut [u8], digest: &[u8]) -> Option<()> {
    // The last arc of the hash's identifier, its length, and that of all of DigestInfo.
    let (hash, length, whole) = match digest.len() {
        32 => (1, 32, 0x31),
        48 => (2, 48, 0x41),
        64 => (3, 64, 0x51),
        _ => return None,
    };
    let (rest, place) = encoded.split_at_mut_checked(encoded.len().checked_sub(digest.len())?)?;
    copy(place, digest)?;
    let (rest, place) = rest.split_last_chunk_mut()?;
    // The octets of DigestInfo before the digest (section 9.2, note 1).
    *place = [
        0x30, whole, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, hash,
        0x05, 0x00, 0x04, length,
    ];
    match rest {
        [zero, kind, padding @ .., separator] if padding.len() >= 8 => {
            (*zero, *kind, *separator) = (0, 1, 0);
            padding.fill(0xff);
            Some(())
        }
        _ => None,
    }
}

/// Whether `encoded` is the EMSA-PKCS1-v1_5 encoding of `digest` (section 8.2.2, step 4).
fn is_pkcs1(encoded: &[u8], digest: &[u8]) -> bool {
    let mut room = [0; LONGEST_MODULUS];
    let Some(expected) = room.get_mut(..encoded.len()) else { return false };
    encode_pkcs1(expected, digest).is_some() && expected == encoded
}

/// Whether `encoded` is an EMSA-PSS encoding of `digest` with MGF1 and a salt of 32 octets
/// (section 9.1.2). Changes `encoded`.
fn is_pss(encoded: &mut [u8], modulus: &[u8], digest: &[u8; HASH_LENGTH]) -> bool {
    let Some(top) = modulus.first() else {
        return false;
    };
    // The encoding has one bit less than the modulus. Where that makes it an octet shorter, the
    // first octet of the number must be zero; else its unused bits must be.
    let unused_bits = top.leading_zeros().saturating_add(1);
    let encoded = match (unused_bits, encoded.split_first_mut()) {
        (8, Some((0, rest))) => rest,
        (8, _) | (_, None) => return false,
        (_, Some(_)) => encoded,
    };
    let used = if unused_bits == 8 { 0xff } else { 0xff_u8 >> unused_bits };

    let Some((0xbc, rest)) = encoded.split_last_mut().map(|(last, rest)| (*last, rest)) else {
        return false;
    };
    let Some((masked, hash)) = rest.split_last_chunk_mut::<HASH_LENGTH>() else {
        return false;
    };
    if masked.first().is_none_or(|octet| octet & !used != 0) {
        return false;
    }
    super::mask::<Sha256>(masked, hash);
    if let Some(octet) = masked.first_mut() {
        *octet &= used;
    }

    let Some((before, salt)) = masked.split_last_chunk::<HASH_LENGTH>() else {
        return false;
    };
    let Some((0x01, zeros)) = before.split_last() else {
        return false;
    };
    let expected =
        Sha256::new().chain_update([0; 8]).chain_update(digest).chain_update(salt).finalize();
    zeros.iter().all(|octet| *octet == 0) && expected.as_slice() == hash.as_slice()
}
