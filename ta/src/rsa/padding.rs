//! The two signature paddings of RFC 8017 with SHA-256, checked on public data.

use sha2::{Digest, Sha256};

/// The octets of `DigestInfo` before a SHA-256 digest (RFC 8017, section 9.2, note 1).
const DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05,
    0x00, 0x04, 0x20,
];

/// Octets of a digest and of the salt.
const HASH_LENGTH: usize = 32;

/// Whether `encoded` is the EMSA-PKCS1-v1_5 encoding of `digest` (section 8.2.2).
pub fn is_pkcs1(encoded: &[u8], digest: &[u8; HASH_LENGTH]) -> bool {
    let Some(rest) = encoded.strip_prefix(&[0x00, 0x01]) else {
        return false;
    };
    let Some(rest) = rest.strip_suffix(digest) else {
        return false;
    };
    let Some(rest) = rest.strip_suffix(&DIGEST_INFO) else {
        return false;
    };
    let Some((separator, padding)) = rest.split_last() else {
        return false;
    };
    // At least eight octets of padding: given for moduli of 62 octets and more.
    *separator == 0x00 && padding.len() >= 8 && padding.iter().all(|octet| *octet == 0xff)
}

/// Whether `encoded` is an EMSA-PSS encoding of `digest` with MGF1 and a salt of 32 octets
/// (section 9.1.2). Changes `encoded`.
pub fn is_pss(encoded: &mut [u8], modulus: &[u8], digest: &[u8; HASH_LENGTH]) -> bool {
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
    unmask(masked, hash);
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

/// Adds MGF1 with SHA-256 (section B.2.1) of `seed` to `block`.
fn unmask(block: &mut [u8], seed: &[u8; HASH_LENGTH]) {
    for (counter, part) in (0_u32..).zip(block.chunks_mut(HASH_LENGTH)) {
        let mask = Sha256::new().chain_update(seed).chain_update(counter.to_be_bytes()).finalize();
        for (octet, mask) in part.iter_mut().zip(mask) {
            *octet ^= mask;
        }
    }
}
