//! RSA's public-key operation through the GlobalPlatform API.
//!
//! `TEE_AsymmetricVerifyDigest` is not used, because libutee ends the TA on every failure but
//! `TEE_ERROR_SIGNATURE_INVALID`, and the TEE core's ASN.1 reader has others, which whoever owns
//! some RSA key can provoke: a padded `DigestInfo` of rubbish would end the broker. The core also
//! accepts a `DigestInfo` without its NULL. A public-key operation on checked numbers cannot fail;
//! the engine judges the padding.

use alloc::vec::Vec;

use optee_utee::{
    AlgorithmId, Asymmetric, AttributeId, AttributeMemref, Error, OperationMode, TransientObject,
    TransientObjectType,
};
use otrp_engine::crypto::rsa::{LONGEST_MODULUS, is_below};
use otrp_engine::platform::{PortError, RsaPublic};

/// RSA through the GlobalPlatform API.
#[derive(Debug)]
pub struct TeeRsa;

impl RsaPublic for TeeRsa {
    fn raise(modulus: &[u8], exponent: &[u8], number: &mut [u8]) -> Result<(), PortError> {
        if !usable_key(modulus, exponent) || !is_below(number, modulus) {
            return Err(PortError::Failed);
        }
        let result = encrypt(modulus, exponent, number).map_err(|_| PortError::Failed)?;
        place(&result, number)
    }
}

/// Whether the TEE's arithmetic is defined for this key: an odd modulus of 2041 to 4096 bits and an
/// odd exponent from 3 to 32 bits. RFC 8017 asks the former two of every key; no larger exponent is
/// in use, and it would only cost time.
fn usable_key(modulus: &[u8], exponent: &[u8]) -> bool {
    let odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    let sized = |number: &[u8]| number.first().is_some_and(|byte| *byte != 0);
    (256..=LONGEST_MODULUS).contains(&modulus.len())
        && (1..=4).contains(&exponent.len())
        && odd(modulus)
        && odd(exponent)
        && sized(modulus)
        && sized(exponent)
        && exponent != [1]
}

/// Puts what OP-TEE computed into its place, with the leading zeros that OP-TEE leaves out.
pub(crate) fn place(result: &[u8], number: &mut [u8]) -> Result<(), PortError> {
    let zeros = number.len().checked_sub(result.len()).ok_or(PortError::Failed)?;
    let (zeros, rest) = number.split_at_mut(zeros);
    zeros.fill(0);
    rest.copy_from_slice(result);
    Ok(())
}

fn encrypt(modulus: &[u8], exponent: &[u8], input: &[u8]) -> Result<Vec<u8>, Error> {
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
