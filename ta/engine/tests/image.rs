//! Signed images: those of OP-TEE's script are accepted, and each mutation of one is refused.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
#![allow(missing_docs, reason = "nobody links a test")]

mod support;

use otrp_engine::crypto::PublicKey;
use otrp_engine::crypto::rsa::signature::Padding;
use otrp_engine::image::{Algorithm, ELF_LIMIT, Header, ImageError, SignedImage};
use otrp_engine::pki::Certificate;
use sha2::{Digest, Sha256};
use support::{OpensslRsa, p256, rsa, sign_p256, sign_rsa, spki};

const RSA_PSS: &[u8] = include_bytes!("fixtures/rsa-pss.ta");
const RSA_PKCS1: &[u8] = include_bytes!("fixtures/rsa-pkcs1.ta");
const ENCRYPTED: &[u8] = include_bytes!("fixtures/encrypted.ta");
const SUBKEY: &[u8] = include_bytes!("fixtures/subkey.ta");
const ELF: &[u8] = include_bytes!("fixtures/example.elf");
const SIGNER: &[u8] = include_bytes!("fixtures/signer-rsa.der");

/// 8aaaf200-2450-11e4-abe2-0002a5d5c51b, as it was given to the script.
const UUID: [u8; 16] = [
    0x8a, 0xaa, 0xf2, 0x00, 0x24, 0x50, 0x11, 0xe4, 0xab, 0xe2, 0x00, 0x02, 0xa5, 0xd5, 0xc5, 0x1b,
];
const VERSION: u32 = 258;

const PSS: u32 = 0x7041_4930;
const PKCS1: u32 = 0x7000_4830;
const ECDSA: u32 = 0x7000_3042;

/// Where the parts of an image with an RSA-2048 signature start.
const HASH: usize = 20;
const SIGNATURE: usize = 52;
const SUBHEADER: usize = 308;
const PAYLOAD: usize = 328;

/// An image as OP-TEE's script would make it, signed by `sign`.
fn make(
    algorithm: u32,
    signature_size: u16,
    elf: &[u8],
    sign: impl FnOnce(&[u8; 32]) -> Vec<u8>,
) -> Vec<u8> {
    let mut header = Vec::new();
    for word in [0x4f54_5348, 1, u32::try_from(elf.len()).unwrap(), algorithm] {
        header.extend(word.to_le_bytes());
    }
    header.extend(32_u16.to_le_bytes());
    header.extend(signature_size.to_le_bytes());
    let mut rest = UUID.to_vec();
    rest.extend(VERSION.to_le_bytes());
    rest.extend(elf);
    let hash: [u8; 32] = Sha256::new().chain_update(&header).chain_update(&rest).finalize().into();
    [header, hash.to_vec(), sign(&hash), rest].concat()
}

/// Why an image is not one that a key signed.
#[derive(Debug, PartialEq)]
enum Refused {
    Image(ImageError),
    Signature,
}

/// Reads an image whose ELF comes in pieces of any size.
fn read(bytes: &[u8], spki: &[u8]) -> Result<SignedImage, Refused> {
    let key = PublicKey::from_spki(spki).unwrap();
    let start = &bytes[..bytes.len().min(Header::LONGEST)];
    let (header, at) = Header::parse(start).map_err(Refused::Image)?;
    let signed = header.signed_by::<OpensslRsa>(&key).ok_or(Refused::Signature)?;
    let read = |size| {
        let mut hashing = signed.clone().hash();
        bytes[at..].chunks(size).for_each(|piece| hashing.push(piece));
        hashing.finish().map_err(Refused::Image)
    };
    let whole = read(bytes.len());
    for size in [1, 7, 4095].into_iter().filter(|_| bytes.len() < 10_000) {
        let pieces = read(size);
        assert_eq!(
            pieces.as_ref().map(SignedImage::digest),
            whole.as_ref().map(SignedImage::digest)
        );
    }
    whole
}

fn signed_by(bytes: &[u8], spki: &[u8]) -> Option<SignedImage> {
    read(bytes, spki).inspect_err(|refused| assert_eq!(*refused, Refused::Signature)).ok()
}

/// What is wrong with an image by the fixtures' signer, other than the signature.
fn refused(bytes: &[u8]) -> Refused {
    read(bytes, Certificate::parse(SIGNER).unwrap().spki()).map(|_| ()).unwrap_err()
}

fn algorithm(bytes: &[u8]) -> Algorithm {
    Header::parse(bytes).unwrap().0.algorithm()
}

fn assert_is_the_example(image: &SignedImage) {
    assert_eq!(image.uuid(), &UUID);
    assert_eq!(image.version(), VERSION);
    assert_eq!(usize::try_from(image.size()), Ok(ELF.len()));
    assert_eq!(image.digest(), &openssl::sha::sha256(ELF));
}

#[test]
fn images_of_the_script_are_accepted() {
    let signer = Certificate::parse(SIGNER).unwrap();
    for (bytes, named) in
        [(RSA_PSS, Algorithm::RsaPssSha256), (RSA_PKCS1, Algorithm::RsaPkcs1Sha256)]
    {
        assert_eq!(algorithm(bytes), named);
        assert_is_the_example(&signed_by(bytes, signer.spki()).unwrap());
    }
}

#[test]
fn p256_images_are_accepted() {
    let key = p256();
    let bytes = make(ECDSA, 64, ELF, |hash| sign_p256(&key, hash).to_vec());
    assert_eq!(algorithm(&bytes), Algorithm::EcdsaP256Sha256);
    assert_is_the_example(&signed_by(&bytes, &spki(&key)).unwrap());
    assert!(signed_by(&bytes, &spki(&p256())).is_none(), "another key");
}

#[test]
fn longer_rsa_keys_are_accepted() {
    let key = rsa(3072);
    let bytes = make(PSS, 384, ELF, |hash| sign_rsa(&key, Padding::Pss, hash));
    assert_is_the_example(&signed_by(&bytes, &spki(&key)).unwrap());
}

#[test]
fn other_keys_and_other_algorithms_do_not_fit() {
    let signer = Certificate::parse(SIGNER).unwrap();
    let (other_rsa, elliptic) = (rsa(2048), p256());
    for bytes in [RSA_PSS, RSA_PKCS1] {
        assert!(signed_by(bytes, &spki(&other_rsa)).is_none(), "another key");
        assert!(signed_by(bytes, &spki(&elliptic)).is_none(), "a key of another kind");
    }
    let bytes = make(ECDSA, 64, ELF, |hash| sign_p256(&elliptic, hash).to_vec());
    assert!(signed_by(&bytes, signer.spki()).is_none(), "a key of another kind");

    // What the header calls PSS is padded otherwise, and the other way round.
    let key = rsa(2048);
    let bytes = make(PSS, 256, ELF, |hash| sign_rsa(&key, Padding::Pkcs1, hash));
    assert!(signed_by(&bytes, &spki(&key)).is_none());
    let bytes = make(PKCS1, 256, ELF, |hash| sign_rsa(&key, Padding::Pss, hash));
    assert!(signed_by(&bytes, &spki(&key)).is_none());

    // A signature longer than the key: its first octets are good.
    let bytes = make(PKCS1, 257, ELF, |hash| {
        let mut signature = sign_rsa(&key, Padding::Pkcs1, hash);
        signature.push(0);
        signature
    });
    assert!(signed_by(&bytes, &spki(&key)).is_none());
}

#[test]
fn each_mutation_of_the_header_is_refused() {
    type Row = (&'static str, usize, &'static [u8], Refused);
    let rows: &[Row] = &[
        ("magic", 0, &[0x49], Refused::Image(ImageError::Magic)),
        ("magic, big-endian", 0, &[0x4f, 0x54, 0x53, 0x48], Refused::Image(ImageError::Magic)),
        ("type TA", 4, &[0], Refused::Image(ImageError::Type)),
        ("type encrypted TA", 4, &[2], Refused::Image(ImageError::Type)),
        ("type subkey", 4, &[3], Refused::Image(ImageError::Type)),
        ("type unknown", 4, &[4], Refused::Image(ImageError::Type)),
        ("type, high octet", 7, &[1], Refused::Image(ImageError::Type)),
        ("size one less", 8, &[0x3f], Refused::Image(ImageError::TrailingBytes)),
        ("size one more", 8, &[0x41], Refused::Image(ImageError::Truncated)),
        ("size zero", 8, &[0, 0], Refused::Image(ImageError::TrailingBytes)),
        ("size huge", 8, &[0xff; 4], Refused::Image(ImageError::TooLong)),
        (
            "algorithm RSA-PSS-SHA1",
            12,
            &[0x30, 0x29, 0x21, 0x70],
            Refused::Image(ImageError::Algorithm),
        ),
        (
            "algorithm RSA-PKCS1-SHA1",
            12,
            &[0x30, 0x28, 0x00, 0x70],
            Refused::Image(ImageError::Algorithm),
        ),
        (
            "algorithm RSA-PSS-SHA512",
            12,
            &[0x30, 0x69, 0x61, 0x70],
            Refused::Image(ImageError::Algorithm),
        ),
        ("algorithm none", 12, &[0; 4], Refused::Image(ImageError::Algorithm)),
        (
            "algorithm ECDSA, RSA's size",
            12,
            &[0x42, 0x30, 0x00, 0x70],
            Refused::Image(ImageError::Algorithm),
        ),
        ("the other RSA algorithm", 12, &[0x30, 0x48, 0x00, 0x70], Refused::Signature),
        ("hash of 20 octets", 16, &[20], Refused::Image(ImageError::Algorithm)),
        ("hash of 33 octets", 16, &[33], Refused::Image(ImageError::Algorithm)),
        ("hash size, high octet", 17, &[1], Refused::Image(ImageError::Algorithm)),
        ("signature of 255 octets", 18, &[0xff, 0], Refused::Image(ImageError::Algorithm)),
        ("signature of 64 octets", 18, &[64, 0], Refused::Image(ImageError::Algorithm)),
        ("signature of 513 octets", 18, &[1, 2], Refused::Image(ImageError::Algorithm)),
        ("signature of no octets", 18, &[0, 0], Refused::Image(ImageError::Algorithm)),
        ("signature that reaches into the ELF", 18, &[0, 2], Refused::Signature),
        ("hash", HASH, &[0xff], Refused::Signature),
        ("UUID", SUBHEADER, &[0x8b], Refused::Image(ImageError::Hash)),
        ("version", SUBHEADER + 16, &[3], Refused::Image(ImageError::Hash)),
        ("version, high octet", SUBHEADER + 19, &[1], Refused::Image(ImageError::Hash)),
        ("no ELF", PAYLOAD, &[0x7e], Refused::Image(ImageError::Hash)),
        ("ELF, first octet after the magic", PAYLOAD + 4, &[1], Refused::Image(ImageError::Hash)),
        ("ELF, last octet", 647, &[0xa5], Refused::Image(ImageError::Hash)),
    ];
    for (name, offset, octets, expected) in rows {
        let mut bytes = RSA_PSS.to_vec();
        let place = &mut bytes[*offset..offset + octets.len()];
        assert_ne!(place, *octets, "{name}: no mutation");
        place.copy_from_slice(octets);
        assert_eq!(refused(&bytes), *expected, "{name}");
    }
}

/// The hash is checked against the image, and the signature against the hash: to repair the hash of
/// a changed image does not help.
#[test]
fn a_repaired_hash_is_not_signed() {
    let signer = Certificate::parse(SIGNER).unwrap();
    for offset in [12, SUBHEADER, SUBHEADER + 16, PAYLOAD + 100] {
        let mut bytes = RSA_PSS.to_vec();
        if offset == 12 {
            bytes[12..16].copy_from_slice(&PKCS1.to_le_bytes());
        } else {
            bytes[offset] ^= 1;
        }
        let hash =
            Sha256::new().chain_update(&bytes[..HASH]).chain_update(&bytes[SUBHEADER..]).finalize();
        bytes[HASH..SIGNATURE].copy_from_slice(&hash);
        assert!(signed_by(&bytes, signer.spki()).is_none(), "octet {offset}");
    }
}

#[test]
fn each_octet_counts() {
    for offset in 0..RSA_PKCS1.len() {
        let mut bytes = RSA_PKCS1.to_vec();
        bytes[offset] ^= 1;
        let refused = refused(&bytes);
        match offset {
            0..HASH => {}
            HASH..SUBHEADER => assert_eq!(refused, Refused::Signature, "octet {offset}"),
            _ => assert_eq!(refused, Refused::Image(ImageError::Hash), "octet {offset}"),
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    for length in 0..RSA_PSS.len() {
        let expected = Refused::Image(ImageError::Truncated);
        assert_eq!(refused(&RSA_PSS[..length]), expected, "{length}");
    }
    let trailing = [RSA_PSS, &[0]].concat();
    assert_eq!(refused(&trailing), Refused::Image(ImageError::TrailingBytes));
}

#[test]
fn other_files_of_the_script_are_refused() {
    assert_eq!(refused(ENCRYPTED), Refused::Image(ImageError::Type));
    assert_eq!(refused(SUBKEY), Refused::Image(ImageError::Type));
    assert_eq!(refused(ELF), Refused::Image(ImageError::Magic));
}

#[test]
fn an_image_without_an_application_is_refused() {
    for elf in [&b""[..], b"\x7fEL", b"\x7fELG", b"#!/bin/sh"] {
        assert_eq!(runs(elf), [false, false], "{elf:?}");
    }
}

#[test]
fn the_longest_application_is_accepted_and_a_longer_one_is_not() {
    let key = p256();
    let mut elf = ELF.to_vec();
    elf.resize(ELF_LIMIT, 0xa5);
    let bytes = make(ECDSA, 64, &elf, |hash| sign_p256(&key, hash).to_vec());
    let image = signed_by(&bytes, &spki(&key)).unwrap();
    assert_eq!(image.digest(), &openssl::sha::sha256(&elf));

    elf.push(0);
    let bytes = make(ECDSA, 64, &elf, |hash| sign_p256(&key, hash).to_vec());
    assert_eq!(Header::parse(&bytes).unwrap_err(), ImageError::TooLong);
}

/// An application and a library as the tools of OP-TEE's dev kit link them.
const LINKED: &[u8] = include_bytes!("fixtures/linked.elf");
const LIBRARY: &[u8] = include_bytes!("fixtures/library.so");

/// The smallest application, whose fields are at known places.
fn smallest() -> Vec<u8> {
    otrp_check::fixture::application(UUID, b"some more")
}

/// A 32-bit one: by elf(5), and `struct ta_head` at address 0.
fn narrow(machine: u8) -> Vec<u8> {
    let mut elf = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend([3, 0, machine, 0, 1, 0, 0, 0]);
    let flags = 0x0500_0000_u32;
    elf.extend([32, 52, 0, flags].map(u32::to_le_bytes).as_flattened());
    elf.extend([52_u16, 32, 1, 40, 0, 0].map(u16::to_le_bytes).as_flattened());
    let length = 36_u32;
    elf.extend([1, 84, 0, 0, length, length, 5, 4096].map(u32::to_le_bytes).as_flattened());
    elf.extend(&smallest()[120..156]);
    elf
}

/// The linked application with the program header of its stack made one of 256 octets that are all
/// zero, from an offset behind the end of the file.
fn with_zeros() -> Vec<u8> {
    let mut header = [1_u32, 6].map(u32::to_le_bytes).concat();
    header.extend([0x10_0000_u64, 0x2000, 0x2000, 0, 0x100, 0x1000].map(u64::to_le_bytes).concat());
    changed(LINKED, 64 + 3 * 56, &header)
}

/// Whether a signed ELF is an application for a TEE of 64 bits, and for one of 32.
fn runs(elf: &[u8]) -> [bool; 2] {
    let key = p256();
    let bytes = make(ECDSA, 64, elf, |hash| sign_p256(&key, hash).to_vec());
    let signed = signed_by(&bytes, &spki(&key)).unwrap();
    [true, false].map(|elf64| signed.application(&mut &elf[..], elf64).unwrap().is_some())
}

fn changed(elf: &[u8], offset: usize, octets: &[u8]) -> Vec<u8> {
    let mut elf = elf.to_vec();
    let place = &mut elf[offset..offset + octets.len()];
    assert_ne!(place, octets, "no mutation at {offset}");
    place.copy_from_slice(octets);
    elf
}

#[test]
fn what_the_loader_runs_is_an_application() {
    for (name, elf, expected) in [
        ("the smallest", smallest(), [true, false]),
        ("of the dev kit", LINKED.to_vec(), [true, false]),
        ("a library", LIBRARY.to_vec(), [true, false]),
        ("the smallest library", otrp_check::fixture::library(UUID), [true, false]),
        ("with a segment of zeros alone", with_zeros(), [true, false]),
        ("32-bit Arm", narrow(40), [true, true]),
        ("32-bit x86", narrow(3), [false, false]),
        (
            "with an entry of its own, as before 2019",
            changed(&smallest(), 144, &[0; 8]),
            [true, false],
        ),
        (
            "the same without one of the ELF's",
            {
                let elf = changed(&smallest(), 144, &[0; 8]);
                changed(&elf, 24, &[0xff; 8])
            },
            [true, false],
        ),
        ("without what it needs", ELF.to_vec(), [false, false]),
        ("a program of this machine", std::fs::read("/bin/ls").unwrap(), [false, false]),
    ] {
        assert_eq!(runs(&elf), expected, "{name}");
    }
}

#[test]
fn what_the_loader_refuses_is_not_installed() {
    type Row = (&'static str, usize, &'static [u8]);
    let rows: &[Row] = &[
        ("class 32", 4, &[1]),
        ("no class", 4, &[3]),
        ("big-endian", 5, &[2]),
        ("version", 6, &[0]),
        ("for Linux", 7, &[3]),
        ("not linked", 16, &[1]),
        ("for fixed addresses", 16, &[2]),
        ("a core dump", 16, &[4]),
        ("for x86-64", 18, &[62]),
        ("for Arm, in 64 bits", 18, &[40]),
        ("for RISC-V", 18, &[243]),
        ("for a machine with a high octet", 19, &[1]),
        ("entry behind the code", 24, &[45]),
        ("entry at the end", 24, &[0xff; 8]),
        ("program headers elsewhere", 32, &[65]),
        ("program headers behind the end", 32, &[0, 16]),
        ("program headers at the end of all", 32, &[0xff; 8]),
        ("program headers of 32 octets", 54, &[32]),
        ("section headers of 40 octets", 58, &[40]),
        ("no segment", 56, &[0]),
        ("more segments than are there", 56, &[2]),
        ("more segments than a page holds", 56, &[0xff, 0xff]),
        ("nothing to load", 64, &[2]),
        ("no code", 68, &[4]),
        ("the segment's start", 72, &[121]),
        ("the segment behind the end", 72, &[0xff; 8]),
        ("not at address 0", 80, &[1]),
        ("longer in the file than the file", 96, &[46]),
        ("longer in the file than all", 96, &[0xff; 8]),
        ("longer in the file than in memory", 104, &[44]),
        ("shorter than the head", 96, &[31]),
        ("no stack", 136, &[0; 4]),
    ];
    assert_eq!(runs(&smallest()), [true, false]);
    for (name, offset, octets) in rows {
        assert_eq!(runs(&changed(&smallest(), *offset, octets)), [false, false], "{name}");
    }
    for octet in 120..136 {
        let elf = changed(&smallest(), octet, &[smallest()[octet] ^ 1]);
        assert_eq!(runs(&elf), [false, false], "octet {octet} of the UUID");
    }
    assert_eq!(runs(&changed(&smallest(), 120, &UUID)), [false, false], "the UUID as in text");
}

#[test]
fn the_head_is_where_its_symbol_says() {
    // Places from: readelf -SW, --dyn-syms.
    let (head, symbol, name) = (0x1030, 0x1090, 0x10a9);
    for (what, offset, octets) in [
        ("another address", symbol + 8, &[0x31][..]),
        ("no address", symbol + 8, &[0xff; 8]),
        ("another name", name, b"T"),
        ("undefined", symbol + 6, &[0]),
        ("another UUID", head, &[1]),
        ("no stack", head + 16, &[0; 4]),
        ("no section headers", 60, &[0]),
        ("section headers elsewhere", 40, &[0xff; 8]),
    ] {
        assert_eq!(runs(&changed(LINKED, offset, octets)), [false, false], "{what}");
    }
}

#[test]
fn a_library_is_called_by_its_uuid() {
    let library = otrp_check::fixture::library(UUID);
    let name = library.len() - 37;
    for offset in name..library.len() {
        let elf = changed(&library, offset, &[library[offset] ^ 1]);
        assert_eq!(runs(&elf), [false, false], "octet {offset} of the name");
    }
    let upper: Vec<u8> = library[name..].to_ascii_uppercase();
    assert_eq!(runs(&changed(&library, name, &upper)), [true, false]);
    for (what, offset, octets) in [
        ("no dynamic segment", 120, &[1][..]),
        ("a dynamic segment elsewhere", 128, &[0xff; 8]),
        ("no strings", 176, &[4]),
        ("strings elsewhere", 184, &[0xff; 8]),
        ("no name", 192, &[15]),
        ("a name elsewhere", 200, &[0xff; 8]),
    ] {
        assert_eq!(runs(&changed(&library, offset, octets)), [false, false], "{what}");
    }
}

#[test]
fn a_cut_application_does_not_run() {
    for elf in [smallest(), otrp_check::fixture::library(UUID), narrow(40)] {
        for length in 4..elf.len() {
            assert_eq!(runs(&elf[..length]), [false, false], "{length}");
        }
    }
    // The headers of the sections, one of which names the head, are at the end.
    for length in (4..8584).step_by(16) {
        assert_eq!(runs(&LINKED[..length]), [false, false], "{length}");
    }
}
