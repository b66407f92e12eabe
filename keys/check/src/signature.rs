//! The signatures that devices verify on certificates and OCSP responses, and their keys.

use std::fmt;

use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Verifier};

use crate::der::{self, BIT_STRING, INTEGER, Reader, SEQUENCE};

/// id-ecPublicKey with prime256v1; with secp384r1 (RFC 5480, section 2.1.1.1).
const P256: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
    0x03, 0x01, 0x07,
];
const P384: &[u8] = &[
    0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22,
];
/// rsaEncryption with NULL (RFC 3279, section 2.3.1).
const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

/// ecdsa-with-SHA256 and ecdsa-with-SHA384 (RFC 5758, section 3.2).
const ECDSA_SHA256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
const ECDSA_SHA384: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];
/// What sha256WithRSAEncryption, sha384… and sha512… begin with (RFC 4055, section 5); their
/// parameters are NULL, or absent where a CA left them out.
const RSA_PKCS1: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
/// id-RSASSA-PSS with SHA-256 throughout and a salt of 32 octets (RFC 4055, section 3.1).
const RSA_PSS_SHA256: &[u8] = &[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x34, 0xa0, 0x0f, 0x30,
    0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0xa1, 0x1c,
    0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d, 0x06,
    0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01,
    0x20,
];

/// A kind of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    P256,
    P384,
    Rsa,
}

/// What is wrong with a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BadSignature {
    /// Devices do not support the algorithm with this identifier.
    Algorithm(String),
    /// The signer's key is of a kind or strength that devices do not accept, or not for the algorithm.
    Key,
    /// It does not verify with the signer's key.
    Wrong,
}

impl fmt::Display for BadSignature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Algorithm(identifier) => write!(
                formatter,
                "is signed with the algorithm {identifier}, and a device knows ECDSA with SHA-256 \
                 and SHA-384, RSA PKCS #1 v1.5 with SHA-256, SHA-384 and SHA-512, and RSA-PSS with \
                 SHA-256 throughout"
            ),
            Self::Key => formatter.write_str(
                "is signed by a key that a device does not accept for that: it must be on P-256 or \
                 P-384, or RSA of 2048 to 4096 bits",
            ),
            Self::Wrong => formatter.write_str("has a signature that is not by its issuer's key"),
        }
    }
}

/// The key of a SubjectPublicKeyInfo: its kind, and the contents of the BIT STRING. `None` for one
/// that devices do not accept.
pub(crate) fn key(spki: &[u8]) -> Option<(KeyKind, &[u8])> {
    let mut reader = Reader::new(der::only(spki, SEQUENCE)?);
    let algorithm = reader.contents(SEQUENCE)?;
    let bits = reader.octets_of_bits()?;
    reader.finish()?;
    let point = |length| matches!(bits.first(), Some(4)) && bits.len() == length;
    let kind = match algorithm {
        P256 if point(65) => KeyKind::P256,
        P384 if point(97) => KeyKind::P384,
        RSA if is_strong(bits)? => KeyKind::Rsa,
        _ => return None,
    };
    // A point that is not on its curve is no key.
    PKey::public_key_from_der(spki).ok()?;
    Some((kind, bits))
}

/// What is wrong with the key of a SubjectPublicKeyInfo as a TAM's or a device's own: the end of a
/// sentence about its certificate.
pub(crate) fn party_key_fault(spki: &[u8]) -> Option<&'static str> {
    if let Some((KeyKind::P256 | KeyKind::Rsa, _)) = key(spki) {
        return None;
    }
    let read = || {
        let mut reader = Reader::new(der::only(spki, SEQUENCE)?);
        Some((reader.contents(SEQUENCE)?, reader.octets_of_bits()?))
    };
    let Some((algorithm, bits)) = read() else {
        return Some("has a key that is not a SubjectPublicKeyInfo in strict DER");
    };
    let is_of = |known: &[u8], identifier: usize| {
        known.get(..identifier).is_some_and(|known| algorithm.starts_with(known))
    };
    // Behind the tag and length of the algorithm's identifier are 7 octets of it, or 9.
    Some(match bits.first() {
        Some(2 | 3) if algorithm == P256 => {
            "has a key that is a compressed point, and devices accept it uncompressed only"
        }
        Some(6 | 7) if algorithm == P256 => {
            "has a key that is a hybrid point, and devices accept it uncompressed only"
        }
        _ if algorithm == P256 => "has a key that is not a point of its curve",
        _ if is_of(P256, 9) => {
            "has a key on another curve than P-256, or not by its name, and devices accept no other"
        }
        _ if algorithm == RSA => {
            "has an RSA key that devices do not accept: it must be of 2048 to 4096 bits with an odd \
             exponent from 65537 to 4294967295"
        }
        _ if is_of(RSA, 11) => "has an RSA key whose algorithm is not rsaEncryption with NULL",
        _ => "has a key that is neither on P-256 nor RSA, and devices accept no other",
    })
}

/// Whether an RSAPublicKey is of 2048 to 4096 bits with an odd exponent of 65537 to 2^32 - 1.
fn is_strong(key: &[u8]) -> Option<bool> {
    let mut reader = Reader::new(der::only(key, SEQUENCE)?);
    let modulus = der::unsigned(reader.contents(INTEGER)?)?;
    let exponent = der::unsigned(reader.contents(INTEGER)?)?;
    reader.finish()?;
    let odd = |number: &[u8]| number.last().is_some_and(|octet| octet & 1 == 1);
    let bits = modulus.len() * 8 - usize::try_from(modulus.first()?.leading_zeros()).ok()?;
    let usable = matches!(exponent.len(), 3 | 4);
    Some((2048..=4096).contains(&bits) && usable && odd(modulus) && odd(exponent))
}

/// The octets that a key's hash is over (RFC 6960, section 4.1.1), whatever the key.
pub(crate) fn key_bits(spki: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(der::only(spki, SEQUENCE)?);
    reader.contents(SEQUENCE)?;
    reader.octets_of_bits()
}

/// Verifies a signature by the algorithm whose identifier (the contents of the SEQUENCE) is
/// `algorithm`, over `message`, by the key of `spki`.
pub(crate) fn verify(
    spki: &[u8],
    algorithm: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    let (kind, _) = key(spki).ok_or(BadSignature::Key)?;
    let (digest, of_rsa) = match algorithm {
        ECDSA_SHA256 => (MessageDigest::sha256(), false),
        ECDSA_SHA384 => (MessageDigest::sha384(), false),
        RSA_PSS_SHA256 => (MessageDigest::sha256(), true),
        _ => match algorithm.strip_prefix(RSA_PKCS1) {
            Some([11] | [11, 5, 0]) => (MessageDigest::sha256(), true),
            Some([12] | [12, 5, 0]) => (MessageDigest::sha384(), true),
            Some([13] | [13, 5, 0]) => (MessageDigest::sha512(), true),
            _ => return Err(BadSignature::Algorithm(name(algorithm))),
        },
    };
    if of_rsa != (kind == KeyKind::Rsa) {
        return Err(BadSignature::Key);
    }
    let verify = || {
        let key = PKey::public_key_from_der(spki)?;
        let mut verifier = Verifier::new(digest, &key)?;
        if algorithm == RSA_PSS_SHA256 {
            verifier.set_rsa_padding(Padding::PKCS1_PSS)?;
            verifier.set_rsa_pss_saltlen(RsaPssSaltlen::custom(32))?;
        }
        verifier.verify_oneshot(signature, message)
    };
    // OpenSSL reports some malformed signatures as errors; both are "no".
    if verify().unwrap_or(false) { Ok(()) } else { Err(BadSignature::Wrong) }
}

/// The algorithm's identifier, for display.
fn name(algorithm: &[u8]) -> String {
    let identifier = Reader::new(algorithm).identifier().and_then(der::dotted);
    match identifier.as_deref() {
        Some("1.2.840.113549.1.1.5") => String::from("sha1WithRSAEncryption"),
        Some("1.2.840.10045.4.1") => String::from("ecdsa-with-SHA1"),
        Some("1.2.840.10045.4.3.4") => String::from("ecdsa-with-SHA512"),
        Some("1.2.840.113549.1.1.10") => String::from("RSASSA-PSS with other parameters"),
        Some("1.3.101.112") => String::from("Ed25519"),
        Some(dotted) => String::from(dotted),
        None => String::from("without an identifier"),
    }
}

/// Whether a BIT STRING's contents have a bit set; named bits, the first one is 0.
pub(crate) fn has_bit(contents: &[u8], bit: usize) -> bool {
    contents.get(1 + bit / 8).is_some_and(|octet| octet & (0x80 >> (bit % 8)) != 0)
}

/// The contents of a BIT STRING of named bits of which one is set at least.
pub(crate) fn named_bits(der: &[u8]) -> Option<&[u8]> {
    let contents = der::only(der, BIT_STRING)?;
    let (unused, octets) = contents.split_first()?;
    let last = *octets.last()?;
    let clean = *unused <= 7 && last & ((1 << unused) - 1) == 0;
    (clean && octets.iter().any(|octet| *octet != 0)).then_some(contents)
}
