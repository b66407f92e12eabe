//! Public keys: the bounds on what is accepted, and how our own are encoded.

use openssl::bn::BigNum;
use openssl::ec::PointConversionForm;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use otrp_engine::crypto::PublicKey;
use otrp_engine::pki::{Error, attestation_key};

use crate::fixture::*;
use crate::support::{elliptic, p256, spki};
use crate::x509::*;

/// An RSA public key of `bits` and `exponent`, which nobody has the private key of.
fn rsa_spki(bits: i32, exponent: u64, odd: bool) -> Vec<u8> {
    let mut modulus = BigNum::new().unwrap();
    modulus.set_bit(bits - 1).unwrap();
    if odd {
        modulus.set_bit(0).unwrap();
    }
    let exponent = BigNum::from_slice(&exponent.to_be_bytes()).unwrap();
    let key = Rsa::from_public_components(modulus, exponent).unwrap();
    key.public_key_to_der().unwrap()
}

#[test]
fn keys_are_bounded() {
    for (bits, exponent, odd, accepted) in [
        (2048, 65537, true, true),
        (4096, 65537, true, true),
        (2056, 65537, true, true),
        (3072, 0xffff_ffff, true, true),
        (2047, 65537, true, false),
        (2041, 65537, true, false),
        (4097, 65537, true, false),
        (8192, 65537, true, false),
        (2048, 65537, false, false),
        (2048, 3, true, false),
        (2048, 65535, true, false),
        (2048, 65538, true, false),
        (2048, 0x1_0000_0001, true, false),
        (2048, 1, true, false),
    ] {
        let spki = rsa_spki(bits, exponent, odd);
        let key = PublicKey::from_spki(&spki);
        let name = format!("{bits} bits, exponent {exponent}, odd: {odd}");
        assert_eq!(key.is_ok(), accepted, "{name}");
        if !accepted {
            assert_eq!(key, Err(Error::Key), "{name}");
        }
    }

    let key = p256();
    let good = spki(&key);
    assert_eq!(PublicKey::from_spki(&good), Ok(PublicKey::P256(point(&key))));
    let short = encode(&key, PointConversionForm::COMPRESSED);
    let parts = elements(contents(&good));
    let with_point = |point: &[u8]| {
        element(0x30, &[&parts[0][..], &element(3, &[&[0], point].concat())].concat())
    };
    let mut off_the_curve = point(&key);
    off_the_curve[64] ^= 1;
    let mut hybrid = point(&key);
    hybrid[0] = 6 | hybrid[64] & 1;
    for (name, spoiled, expected) in [
        ("compressed", with_point(&short), Error::Key),
        ("hybrid", with_point(&hybrid), Error::Key),
        ("off the curve", with_point(&off_the_curve), Error::Key),
        ("infinity", with_point(&[0]), Error::Key),
        ("no point", with_point(&[]), Error::Key),
        ("P-384", spki(&elliptic(Nid::SECP384R1)), Error::Key),
        ("secp256k1", spki(&elliptic(Nid::SECP256K1)), Error::Key),
        ("X25519", spki(&PKey::generate_x25519().unwrap()), Error::Key),
        ("trailing octet", [&good[..], &[0]].concat(), Error::Malformed),
        ("cut off", good[..90].to_vec(), Error::Malformed),
        ("empty", Vec::new(), Error::Malformed),
    ] {
        assert_eq!(PublicKey::from_spki(&spoiled), Err(expected), "{name}");
    }
}

#[test]
fn keys_are_encoded_as_openssl_does() {
    for key in [p256(), RSA_2048.clone()] {
        assert_eq!(otrp_engine::pki::spki(&own(&key)).as_slice(), spki(&key));
    }
    let key = p256();
    assert_eq!(attestation_key(&own(&key)).as_slice(), spki(&key));
    let expected = RSA_2048.rsa().unwrap().public_key_to_der_pkcs1().unwrap();
    assert_eq!(attestation_key(&own(&RSA_2048)).as_slice(), expected);
}
