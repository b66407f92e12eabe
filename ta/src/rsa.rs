//! RSA signature checks: the arithmetic through the GlobalPlatform API, the padding here.
//!
//! `TEE_AsymmetricVerifyDigest` is not used, because libutee ends the TA on every failure but
//! `TEE_ERROR_SIGNATURE_INVALID`, and the TEE core's ASN.1 reader has others, which whoever owns
//! some RSA key can provoke: a padded `DigestInfo` of rubbish would end the broker. The core also
//! accepts a `DigestInfo` without its NULL. A public-key operation on checked numbers cannot fail,
//! and padding is compared with what it must be, not read.

mod padding;

use optee_utee::{
    AlgorithmId, Asymmetric, AttributeId, AttributeMemref, Error, OperationMode, TransientObject,
    TransientObjectType,
};
use otrp_engine::platform::{RsaPadding, RsaVerify};

/// Bytes of the largest modulus, 4096 bits.
const MODULUS_LIMIT: usize = 512;

/// RSA through the GlobalPlatform API.
#[derive(Debug)]
pub struct TeeRsa;

impl RsaVerify for TeeRsa {
    fn verify(
        padding: RsaPadding,
        modulus: &[u8],
        exponent: &[u8],
        digest: &[u8; 32],
        signature: &[u8],
    ) -> bool {
        if !usable_key(modulus, exponent) || !below_modulus(signature, modulus) {
            return false;
        }
        let mut buffer = [0; MODULUS_LIMIT];
        let Some(encoded) = buffer.get_mut(..modulus.len()) else {
            return false;
        };
        if !public_operation(modulus, exponent, signature, encoded) {
            return false;
        }
        match padding {
            RsaPadding::Pkcs1 => padding::is_pkcs1(encoded, digest),
            RsaPadding::Pss => padding::is_pss(encoded, modulus, digest),
        }
    }
}

/// Whether the TEE's arithmetic is defined for this key: an odd modulus of 2041 to 4096 bits and an
/// odd exponent from 3 to 32 bits. RFC 8017 asks the former two of every key; no larger exponent is
/// in use, and it would only cost time.
fn usable_key(modulus: &[u8], exponent: &[u8]) -> bool {
    let odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    let sized = |number: &[u8]| number.first().is_some_and(|byte| *byte != 0);
    (256..=MODULUS_LIMIT).contains(&modulus.len())
        && (1..=4).contains(&exponent.len())
        && odd(modulus)
        && odd(exponent)
        && sized(modulus)
        && sized(exponent)
        && exponent != [1]
}

/// Whether the signature is a number below the modulus, written at its length (RFC 8017, 8.1.2).
fn below_modulus(signature: &[u8], modulus: &[u8]) -> bool {
    signature.len() == modulus.len() && signature < modulus
}

/// Writes signature^exponent mod modulus to `encoded`, which is as long as the modulus.
fn public_operation(modulus: &[u8], exponent: &[u8], signature: &[u8], encoded: &mut [u8]) -> bool {
    let Ok(number) = encrypt(modulus, exponent, signature) else {
        return false;
    };
    // OP-TEE leaves leading zeros out.
    let Some(padding) = encoded.len().checked_sub(number.len()) else {
        return false;
    };
    let (zeros, rest) = encoded.split_at_mut(padding);
    zeros.fill(0);
    rest.copy_from_slice(&number);
    true
}

fn encrypt(modulus: &[u8], exponent: &[u8], input: &[u8]) -> Result<alloc::vec::Vec<u8>, Error> {
    let bits = modulus.len().saturating_mul(8);
    let mut key = TransientObject::allocate(TransientObjectType::RsaPublicKey, bits)?;
    key.populate(&[
        AttributeMemref::from_ref(AttributeId::RsaModulus, modulus).into(),
        AttributeMemref::from_ref(AttributeId::RsaPublicExponent, exponent).into(),
    ])?;
    let mut operation = Asymmetric::allocate(AlgorithmId::RsaNopad, OperationMode::Encrypt, bits)?;
    operation.set_key(&key)?;
    operation.encrypt(&[], input)
}
