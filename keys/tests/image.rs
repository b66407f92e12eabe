//! Signed images: against OP-TEE's own tool, against OpenSSL, and damaged in every field.

use std::fs;
use std::path::Path;
use std::process::Command;

use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private, Public};
use openssl::rsa::Rsa;
use otrp_keys::image::{Algorithm, SignedImage, sign};
use otrp_keys::{Error, Uuid};

const IMAGE: &[u8] = include_bytes!("data/image.bin");
const PSS: &[u8] = include_bytes!("data/sign_encrypt-pss.ta");
const PKCS1: &[u8] = include_bytes!("data/sign_encrypt-pkcs1.ta");
const UUID: [u8; 16] = [
    0x72, 0x65, 0x66, 0x4a, 0xf1, 0x08, 0x4b, 0xd7, 0xaf, 0x1c, 0x86, 0xd0, 0x44, 0xba, 0xbb, 0xac,
];
const VERSION: u32 = 0x0102_0304;
/// Where the fields of an image signed with RSA-2048 begin.
const DIGEST: usize = 20;
const SIGNATURE: usize = 52;
const SUBHEADER: usize = 308;
const ELF: usize = 328;

fn rsa() -> PKey<Private> {
    PKey::private_key_from_pem(include_bytes!("data/test-only-rsa.key.pem")).unwrap()
}

fn rsa_public() -> PKey<Public> {
    PKey::public_key_from_pem(include_bytes!("data/test-only-rsa.pub.pem")).unwrap()
}

fn ec(curve: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(curve).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

#[test]
fn pkcs1_is_byte_for_byte_that_of_op_tee() {
    let signed = sign(&rsa(), Some(Algorithm::RsaPkcs1Sha256), Uuid(UUID), VERSION, IMAGE).unwrap();
    assert_eq!(signed, PKCS1);
}

#[test]
fn pss_differs_from_that_of_op_tee_only_in_the_salted_signature() {
    let signed = sign(&rsa(), None, Uuid(UUID), VERSION, IMAGE).unwrap();
    assert_eq!(signed[..SIGNATURE], PSS[..SIGNATURE]);
    assert_ne!(signed[SIGNATURE..SUBHEADER], PSS[SIGNATURE..SUBHEADER]);
    assert_eq!(signed[SUBHEADER..], PSS[SUBHEADER..]);
}

#[test]
fn images_of_op_tee_are_read_and_verified() {
    for (bytes, algorithm) in [(PSS, Algorithm::RsaPssSha256), (PKCS1, Algorithm::RsaPkcs1Sha256)] {
        let image = SignedImage::parse(bytes).unwrap();
        assert_eq!(image.algorithm, algorithm);
        assert_eq!(image.uuid, Uuid(UUID));
        assert_eq!(image.uuid.to_string(), "7265664a-f108-4bd7-af1c-86d044babbac");
        assert_eq!(image.version, VERSION);
        assert_eq!(image.elf, IMAGE);
        assert!(image.is_signed_by(&rsa_public()).unwrap());
        assert!(
            !image.is_signed_by(&PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap()).unwrap()
        );
        assert!(!image.is_signed_by(&ec(Nid::X9_62_PRIME256V1)).unwrap());
    }
}

/// The `openssl` program takes the signature of `image` over its content.
fn openssl_verifies(image: &[u8], signature: &[u8], key: &PKey<Private>, options: &[&str]) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let content = place("content", image);
    let signature = place("signature", signature);
    let key = place("key", &key.public_key_to_pem().unwrap());
    let run = |key: &Path| {
        let mut command = Command::new("openssl");
        command.args(["dgst", "-sha256", "-verify"]).arg(key).arg("-signature").arg(signature);
        command.args(options).arg(content).output().expect("the openssl program")
    };
    run(&key).status.success()
}

#[test]
fn a_p256_image_has_the_documented_form_and_openssl_verifies_it() {
    let key = ec(Nid::X9_62_PRIME256V1);
    let signed = sign(&key, None, Uuid(UUID), 7, IMAGE).unwrap();
    // magic, type 1, size, TEE_ALG_ECDSA_SHA256, 32 of digest, 64 of signature
    assert_eq!(signed[..4], *b"HSTO");
    assert_eq!(signed[4..8], [1, 0, 0, 0]);
    assert_eq!(signed[8..12], u32::try_from(IMAGE.len()).unwrap().to_le_bytes());
    assert_eq!(signed[12..16], [0x42, 0x30, 0x00, 0x70]);
    assert_eq!(signed[16..20], [32, 0, 64, 0]);
    assert_eq!(signed[116..132], UUID);
    assert_eq!(signed[132..136], [7, 0, 0, 0]);
    assert_eq!(signed[136..], *IMAGE);

    let content = [&signed[..20], &signed[116..]].concat();
    assert_eq!(signed[20..52], openssl::sha::sha256(&content));
    let half = |range: std::ops::Range<usize>| BigNum::from_slice(&signed[range]).unwrap();
    let signature = EcdsaSig::from_private_components(half(52..84), half(84..116)).unwrap();
    let signature = signature.to_der().unwrap();
    assert!(openssl_verifies(&content, &signature, &key, &[]));
    assert!(!openssl_verifies(&signed, &signature, &key, &[]));
    assert!(SignedImage::parse(&signed).unwrap().is_signed_by(&key).unwrap());
}

#[test]
fn openssl_verifies_a_pss_signature_with_a_salt_of_32() {
    let signed = sign(&rsa(), None, Uuid(UUID), 1, IMAGE).unwrap();
    let content = [&signed[..DIGEST], &signed[SUBHEADER..]].concat();
    let options = |salt| ["-sigopt", "rsa_padding_mode:pss", "-sigopt", salt];
    let signature = &signed[SIGNATURE..SUBHEADER];
    assert!(openssl_verifies(&content, signature, &rsa(), &options("rsa_pss_saltlen:32")));
    assert!(!openssl_verifies(&content, signature, &rsa(), &options("rsa_pss_saltlen:20")));
}

#[test]
fn a_flipped_bit_anywhere_is_noticed() {
    let p256 = ec(Nid::X9_62_PRIME256V1);
    let signed_by_p256 = sign(&p256, None, Uuid(UUID), VERSION, IMAGE).unwrap();
    for (original, key) in [(PSS, rsa()), (PKCS1, rsa()), (&signed_by_p256, p256)] {
        for position in 0..original.len() {
            let mut damaged = original.to_vec();
            damaged[position] ^= 1;
            let accepted = SignedImage::parse(&damaged)
                .is_ok_and(|image| image.is_signed_by(&key).unwrap_or(false));
            assert!(!accepted, "octet {position}");
        }
    }
}

#[test]
fn every_length_but_the_right_one_is_refused() {
    for length in 0..PSS.len() {
        assert!(SignedImage::parse(&PSS[..length]).is_err(), "{length}");
    }
    assert!(SignedImage::parse(&[PSS, &[0]].concat()).is_err());
}

#[test]
fn each_wrong_field_has_its_reason() {
    let rows: &[(usize, u8, &str)] = &[
        (0, 0, "it does not begin with the magic number"),
        (4, 0, "its type is not that of a signed, unencrypted application"),
        (4, 2, "its type is not that of a signed, unencrypted application"),
        (12, 0x31, "its signature algorithm is unknown"),
        (16, 20, "its digest is not a SHA-256"),
        (19, 0xff, "too short"),
        (18, 1, "its size is not the size it states"),
        (8, 0, "its size is not the size it states"),
    ];
    for (position, value, reason) in rows {
        let mut damaged = PSS.to_vec();
        damaged[*position] = *value;
        match SignedImage::parse(&damaged) {
            Err(Error::ImageFormat(found)) => assert_eq!(found, *reason),
            other => panic!("{position}: {other:?}"),
        }
    }
    let mut damaged = PSS.to_vec();
    damaged[ELF] ^= 1;
    assert!(!SignedImage::parse(&damaged).unwrap().digest_matches());
}

#[test]
fn keys_that_cannot_sign_are_refused() {
    let p256 = ec(Nid::X9_62_PRIME256V1);
    let rows = [
        ("RSA-1024", PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap(), None),
        ("P-384", ec(Nid::SECP384R1), None),
        ("Ed25519", PKey::generate_ed25519().unwrap(), None),
        ("P-256 with PSS", p256, Some(Algorithm::RsaPssSha256)),
        ("RSA with ECDSA", rsa(), Some(Algorithm::EcdsaP256Sha256)),
    ];
    for (name, key, algorithm) in rows {
        let refused = sign(&key, algorithm, Uuid(UUID), 1, IMAGE);
        let expected = match algorithm {
            None => matches!(refused, Err(Error::SigningKey)),
            Some(_) => matches!(refused, Err(Error::Algorithm { .. })),
        };
        assert!(expected, "{name}: {refused:?}");
    }
    assert!(matches!(sign(&rsa(), None, Uuid(UUID), 1, &[]), Err(Error::ImageSize)));
}

#[test]
fn only_the_usual_text_is_a_uuid() {
    let rows = [
        ("7265664a-f108-4bd7-af1c-86d044babbac", true),
        ("7265664A-F108-4BD7-AF1C-86D044BABBAC", true),
        ("7265664af1084bd7af1c86d044babbac", false),
        ("7265664a-f108-4bd7-af1c-86d044babba", false),
        ("7265664a-f108-4bd7-af1c-86d044babbacc", false),
        ("7265664af-108-4bd7-af1c-86d044babbac", false),
        ("7265664g-f108-4bd7-af1c-86d044babbac", false),
        ("7265664a-f108-4bd7-af1c-86d044babb\u{e4}", false),
        ("", false),
    ];
    for (text, accepted) in rows {
        let uuid = text.parse::<Uuid>();
        assert_eq!(uuid.is_ok(), accepted, "{text}");
        assert!(uuid.is_err() || uuid.unwrap() == Uuid(UUID));
    }
}
