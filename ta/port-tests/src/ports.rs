//! One function a port but the store. Each leaves nothing behind.

use otrp_engine::crypto::rsa::signature::{self, Padding};
use otrp_engine::platform::{
    Clock, KeyName, KeyPair, KeyType, Keys, Modulus, OwnPublicKey, Point, PortError, PrivateKey,
    RSA_EXPONENT, Rng, RsaPublic,
};
use otrp_engine::secret::Scalar;

use crate::{
    report::Report,
    rsa_vectors::{self, Vector},
};

/// The names that the tests use; no engine numbers keys that high.
const NUMBER: u32 = 0xffff_fff0;

/// SHA-256 of `abc` (FIPS 180-4, example).
const ABC: [u8; 32] = [
    0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
    0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
];

/// The base point of P-256, uncompressed (SP 800-186, section 3.2.1.3).
const BASE: Point = [
    0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40,
    0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2,
    0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e,
    0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51,
    0xf5,
];

/// The initiator's key pair, the responder's public key and what they agree on (RFC 5903, section
/// 8.1).
const INITIATOR: [u8; 32] = [
    0xc8, 0x8f, 0x01, 0xf5, 0x10, 0xd9, 0xac, 0x3f, 0x70, 0xa2, 0x92, 0xda, 0xa2, 0x31, 0x6d, 0xe5,
    0x44, 0xe9, 0xaa, 0xb8, 0xaf, 0xe8, 0x40, 0x49, 0xc6, 0x2a, 0x9c, 0x57, 0x86, 0x2d, 0x14, 0x33,
];
const INITIATOR_POINT: Point = [
    0x04, 0xda, 0xd0, 0xb6, 0x53, 0x94, 0x22, 0x1c, 0xf9, 0xb0, 0x51, 0xe1, 0xfe, 0xca, 0x57, 0x87,
    0xd0, 0x98, 0xdf, 0xe6, 0x37, 0xfc, 0x90, 0xb9, 0xef, 0x94, 0x5d, 0x0c, 0x37, 0x72, 0x58, 0x11,
    0x80, 0x52, 0x71, 0xa0, 0x46, 0x1c, 0xdb, 0x82, 0x52, 0xd6, 0x1f, 0x1c, 0x45, 0x6f, 0xa3, 0xe5,
    0x9a, 0xb1, 0xf4, 0x5b, 0x33, 0xac, 0xcf, 0x5f, 0x58, 0x38, 0x9e, 0x05, 0x77, 0xb8, 0x99, 0x0b,
    0xb3,
];
const RESPONDER_POINT: Point = [
    0x04, 0xd1, 0x2d, 0xfb, 0x52, 0x89, 0xc8, 0xd4, 0xf8, 0x12, 0x08, 0xb7, 0x02, 0x70, 0x39, 0x8c,
    0x34, 0x22, 0x96, 0x97, 0x0a, 0x0b, 0xcc, 0xb7, 0x4c, 0x73, 0x6f, 0xc7, 0x55, 0x44, 0x94, 0xbf,
    0x63, 0x56, 0xfb, 0xf3, 0xca, 0x36, 0x6c, 0xc2, 0x3e, 0x81, 0x57, 0x85, 0x4c, 0x13, 0xc5, 0x8d,
    0x6a, 0xac, 0x23, 0xf0, 0x46, 0xad, 0xa3, 0x0f, 0x83, 0x53, 0xe7, 0x4f, 0x33, 0x03, 0x98, 0x72,
    0xab,
];
const AGREED: [u8; 32] = [
    0xd6, 0x84, 0x0f, 0x6b, 0x42, 0xf6, 0xed, 0xaf, 0xd1, 0x31, 0x16, 0xe0, 0xe1, 0x25, 0x65, 0x20,
    0x2f, 0xef, 0x8e, 0x9e, 0xce, 0x7d, 0xce, 0x03, 0x81, 0x24, 0x64, 0xd0, 0x4b, 0x94, 0x42, 0xde,
];
/// The order of P-256 (SP 800-186, section 3.2.1.3).
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// Operations with keys that are given, and key pairs of the kind that the port makes. `verify` is
/// another implementation's ECDSA with P-256 on a digest; what RSA's private-key operation gives, its
/// public-key operation takes back.
pub fn keys<K: Keys, R: RsaPublic>(
    keys: &mut K,
    verify: impl Fn(&Point, &[u8; 32], &[u8; 64]) -> bool,
    report: &mut Report<'_>,
) {
    given_scalars(keys, &verify, report);
    match keys.makes() {
        KeyType::P256 => elliptic_pairs(keys, &verify, report),
        KeyType::Rsa2048 => rsa_pairs::<K, R>(keys, report),
    }
    report.section("keys");
}

/// A key pair from elsewhere, and what is none.
fn given_scalars<K: Keys>(
    keys: &mut K,
    verify: &impl Fn(&Point, &[u8; 32], &[u8; 64]) -> bool,
    report: &mut Report<'_>,
) {
    let key = Scalar::new(INITIATOR);
    report.check(
        "both sides agree on what is published",
        keys.agree(&key, &RESPONDER_POINT).is_ok_and(|seed| *seed.bytes() == AGREED),
    );
    elliptic_pair(keys, &key, &INITIATOR_POINT, &RESPONDER_POINT, verify, report);
    let mut last = ORDER;
    last[31] = last[31].wrapping_sub(1);
    let x = BASE.get(1..33);
    report.check(
        "the largest scalar is one",
        keys.agree(&Scalar::new(last), &BASE).is_ok_and(|seed| Some(seed.bytes().as_slice()) == x),
    );
    for scalar in [[0; 32], ORDER, [0xff; 32]] {
        let key = Scalar::new(scalar);
        report.check("what is no scalar signs nothing", {
            keys.sign(&key, &ABC) == Err(PortError::Failed)
        });
        report.check("and agrees on nothing", {
            keys.agree(&key, &BASE).err() == Some(PortError::Failed)
        });
    }
}

/// Key pairs on P-256 that the port makes, and keeps none of.
fn elliptic_pairs<K: Keys>(
    keys: &mut K,
    verify: &impl Fn(&Point, &[u8; 32], &[u8; 64]) -> bool,
    report: &mut Report<'_>,
) {
    let name = KeyName::Aik(NUMBER);
    let mut make = || match keys.generate(name) {
        Ok(KeyPair { public: OwnPublicKey::P256(point), private: PrivateKey::P256(scalar) }) => {
            Some((point, scalar))
        }
        _ => None,
    };
    let (Some((first, one)), Some((second, two))) = (make(), make()) else {
        report.check("keys are made", false);
        return;
    };
    report.check("keys differ", first != second && one.bytes() != two.bytes());
    elliptic_pair(keys, &one, &first, &second, verify, report);
    elliptic_pair(keys, &two, &second, &first, verify, report);
    report.check(
        "both sides agree",
        match (keys.agree(&one, &second), keys.agree(&two, &first)) {
            (Ok(one), Ok(two)) => one.bytes() == two.bytes(),
            _ => false,
        },
    );
    report.equal("no key pair was stored", keys.modulus(name), Ok(None));
}

/// RSA key pairs, which have names.
fn rsa_pairs<K: Keys, R: RsaPublic>(keys: &mut K, report: &mut Report<'_>) {
    let one = KeyName::Aik(NUMBER);
    let two = KeyName::Aik(NUMBER.wrapping_add(1));
    let three = KeyName::Aik(NUMBER.wrapping_add(2));
    for name in [one, two, three] {
        report.equal("destroying an absent key succeeds", keys.destroy(name), Ok(()));
        report.equal("an absent key has no modulus", keys.modulus(name), Ok(None));
        report.equal(
            "an absent key decrypts nothing",
            keys.rsa(name, &mut [1; 256]),
            Err(PortError::Failed),
        );
    }

    let mut make = |name| match keys.generate(name) {
        Ok(KeyPair {
            public: OwnPublicKey::Rsa2048(modulus),
            private: PrivateKey::Rsa2048(is),
        }) => (is == name).then_some(modulus),
        _ => None,
    };
    let (Some(first), Some(second), Some(third)) = (make(one), make(two), make(three)) else {
        report.check("keys are made under their names", false);
        return;
    };
    report.check("keys differ", first != second && second != third && first != third);
    for (name, modulus, stranger) in
        [(one, first, second), (two, second, third), (three, third, first)]
    {
        report.equal("a modulus stays the same", keys.modulus(name), Ok(Some(modulus)));
        rsa_pair::<K, R>(keys, name, &modulus, &stranger, report);
    }

    let free = KeyName::Aik(NUMBER.wrapping_add(3));
    report.equal("the new name is free", keys.destroy(free), Ok(()));
    report.equal("an absent key gets no other name", keys.rename(free, one), Ok(None));
    report.equal("nor is one replaced by it", keys.modulus(one), Ok(Some(first)));
    report.equal("a key gets another name", keys.rename(three, free), Ok(Some(third)));
    report.equal("it is known under that", keys.modulus(free), Ok(Some(third)));
    report.equal("and not under the old one", keys.modulus(three), Ok(None));
    report.equal("a name that is taken is refused", keys.rename(free, two), Err(PortError::Failed));
    report.equal("its owner keeps it", keys.modulus(two), Ok(Some(second)));
    report.equal("and the other key its own", keys.modulus(free), Ok(Some(third)));
    report.equal("a key gets its name back", keys.rename(free, three), Ok(Some(third)));
    report.equal("a modulus stays the same", keys.modulus(three), Ok(Some(third)));

    let replaced = keys.generate(one).map(|pair| pair.public);
    report.check("a key pair is replaced", {
        replaced.is_ok_and(|public| public != OwnPublicKey::Rsa2048(first))
    });
    report.equal(
        "by the new one",
        keys.modulus(one).map(|modulus| modulus.map(OwnPublicKey::Rsa2048)),
        replaced.map(Some),
    );
    report.equal("the others stay", keys.modulus(two), Ok(Some(second)));
    for name in [one, two, three] {
        report.equal("a key is destroyed", keys.destroy(name), Ok(()));
        report.equal("a destroyed key has no modulus", keys.modulus(name), Ok(None));
        report.check("a destroyed key decrypts nothing", keys.rsa(name, &mut [1; 256]).is_err());
    }
}

/// What a key pair on P-256 does and does not.
fn elliptic_pair<K: Keys>(
    keys: &mut K,
    key: &Scalar,
    point: &Point,
    stranger: &Point,
    verify: &impl Fn(&Point, &[u8; 32], &[u8; 64]) -> bool,
    report: &mut Report<'_>,
) {
    for digest in [&ABC, &[0; 32]] {
        let Ok(signature) = keys.sign(key, digest) else {
            report.check("a key signs", false);
            continue;
        };
        report.check("its signature is valid", verify(point, digest, &signature));
        report.check("not for another key", !verify(stranger, digest, &signature));
        let mut changed = *digest;
        changed[31] ^= 1;
        report.check("nor for another digest", !verify(point, &changed, &signature));
    }
    let x = point.get(1..33);
    report.check(
        "agreeing with the base point gives one's own public key",
        keys.agree(key, &BASE).is_ok_and(|seed| Some(seed.bytes().as_slice()) == x),
    );
    for peer in invalid_points(point) {
        report.check(
            "what is no point of the curve is refused",
            keys.agree(key, &peer).err() == Some(PortError::Failed),
        );
    }
}

/// What an RSA key pair does and does not.
fn rsa_pair<K: Keys, R: RsaPublic>(
    keys: &mut K,
    name: KeyName,
    modulus: &Modulus,
    stranger: &Modulus,
    report: &mut Report<'_>,
) {
    report.check("a modulus has all its bits", modulus[0] >= 0x80 && modulus[255] & 1 == 1);
    // The largest number there is, one with its first octets zero, and two that stay themselves.
    let mut largest = *modulus;
    largest[255] ^= 1;
    let mut small = [0; 256];
    small[250..].copy_from_slice(b"abcdef");
    let mut one = [0; 256];
    one[255] = 1;
    for number in [largest, small, one, [0; 256], [0x55; 256]] {
        let mut result = number;
        report.equal("a number is decrypted", keys.rsa(name, &mut result), Ok(()));
        report.check("to a number below the modulus", result < *modulus);
        report.equal(
            "that number is encrypted",
            R::raise(modulus, &RSA_EXPONENT, &mut result),
            Ok(()),
        );
        report.check("which gives the first one", result == number);
        let mut result = number;
        report.equal(
            "a number is encrypted",
            R::raise(modulus, &RSA_EXPONENT, &mut result),
            Ok(()),
        );
        report.equal("that number is decrypted", keys.rsa(name, &mut result), Ok(()));
        report.check("which gives the first one", result == number);
    }
    let mut result = small;
    let decrypted = keys.rsa(name, &mut result);
    // The stranger's modulus may be the smaller one.
    let foreign = R::raise(stranger, &RSA_EXPONENT, &mut result);
    report.check(
        "for another key it is another number",
        decrypted.is_ok() && (foreign.is_err() || result != small),
    );
    for number in [modulus, &[0xff; 256]] {
        report.equal(
            "a number that is not below the modulus is refused",
            keys.rsa(name, &mut number.clone()),
            Err(PortError::Failed),
        );
    }
}

/// A point with another y, the point at infinity's relatives, and another form's prefix.
fn invalid_points(point: &Point) -> [Point; 5] {
    let mut off_curve = *point;
    off_curve[64] ^= 1;
    let mut compressed = *point;
    compressed[0] = 0x02;
    let mut infinity = [0; 65];
    infinity[0] = 0x04;
    let mut large = [0xff; 65];
    large[0] = 0x04;
    [off_curve, compressed, infinity, large, [0; 65]]
}

/// RSA's public-key operation: with signatures that OpenSSL made, which the engine judges, and with
/// numbers for which it is not defined and which must not harm.
pub fn rsa<R: RsaPublic>(report: &mut Report<'_>) {
    for vector in rsa_vectors::VECTORS {
        let Vector { name, padding, modulus, exponent, signature, valid } = vector;
        report.equal(
            name,
            signature::verify::<R>(*padding, modulus, exponent, rsa_vectors::DIGEST, signature),
            *valid,
        );
        // Larger keys take the same path, and seconds under emulation.
        if *valid && modulus.len() <= 257 {
            rsa_mutations::<R>(vector, report);
            rsa_undefined::<R>(vector, report);
        }
    }
    report.section("RSA");
}

fn rsa_mutations<R: RsaPublic>(vector: &Vector, report: &mut Report<'_>) {
    let Vector { padding, modulus, exponent, signature, .. } = vector;
    let digest = rsa_vectors::DIGEST;
    let other = match padding {
        Padding::Pkcs1 => Padding::Pss,
        Padding::Pss => Padding::Pkcs1,
    };
    report.check(
        "the other padding is refused",
        !signature::verify::<R>(other, modulus, exponent, digest, signature),
    );
    report.check(
        "another digest is refused",
        !signature::verify::<R>(*padding, modulus, exponent, &ABC, signature),
    );
    let mut buffer = [0; 513];
    let length = signature.len();
    for position in [0, length.saturating_sub(1)] {
        let Some(copy) = buffer.get_mut(..length) else { return };
        copy.copy_from_slice(signature);
        if let Some(byte) = copy.get_mut(position) {
            *byte ^= 1;
        }
        report.check(
            "a changed signature is refused",
            !signature::verify::<R>(*padding, modulus, exponent, digest, copy),
        );
        if let Some(byte) = copy.get_mut(position) {
            *byte ^= 1;
        }
    }
    let longer = buffer.get(..length.saturating_add(1)).unwrap_or_default();
    let shorter = signature.split_last().map_or(&[][..], |(_, rest)| rest);
    let zeros = [0; 512];
    let ones = [0xff; 512];
    for (claim, candidate) in [
        ("a signature with a trailing octet is refused", longer),
        ("a signature without its last octet is refused", shorter),
        ("an empty signature is refused", &[][..]),
        ("a signature of zeros is refused", zeros.get(..length).unwrap_or_default()),
        ("a signature above the modulus is refused", ones.get(..length).unwrap_or_default()),
        ("the modulus itself is refused", modulus),
    ] {
        report
            .check(claim, !signature::verify::<R>(*padding, modulus, exponent, digest, candidate));
    }
}

/// Numbers, keys and their sizes that the arithmetic is not defined for.
fn rsa_undefined<R: RsaPublic>(vector: &Vector, report: &mut Report<'_>) {
    // What it is; modulus, exponent, number.
    type Case<'c> = (&'static str, &'c [u8], &'c [u8], &'c [u8]);
    let Vector { modulus, exponent, signature, .. } = vector;
    let length = modulus.len();
    let mut buffer = [0; 513];
    let zeros = [0; 512];
    let ones = [0xff; 512];
    let mut even = [0; 512];
    let Some(even) = even.get_mut(..length) else { return };
    even.copy_from_slice(modulus);
    if let Some(byte) = even.last_mut() {
        *byte ^= 1;
    }
    let short = signature.split_last().map_or(&[][..], |(_, rest)| rest);
    let cases: [Case<'_>; 16] = [
        ("the modulus as number", modulus, exponent, modulus),
        ("a number above the modulus", modulus, exponent, ones.get(..length).unwrap_or_default()),
        ("a number without its last octet", modulus, exponent, short),
        ("a number with one octet more", modulus, exponent, zeros.get(..=length).unwrap_or(&[])),
        ("no number", modulus, exponent, &[]),
        ("no exponent", modulus, &[], signature),
        ("zero as exponent", modulus, &[0], signature),
        ("one as exponent", modulus, &[1], signature),
        ("two as exponent", modulus, &[2], signature),
        ("an even exponent", modulus, &[1, 0, 0], signature),
        ("an exponent without end", modulus, &[0xff; 600], signature),
        ("an even modulus", even, exponent, signature),
        ("no modulus", &[], exponent, signature),
        ("a modulus of an octet", &[1], exponent, &[0]),
        ("zero as modulus", zeros.get(..length).unwrap_or_default(), exponent, signature),
        ("a modulus of another length", &ones, exponent, signature),
    ];
    for (what, modulus, exponent, number) in cases {
        let Some(copy) = buffer.get_mut(..number.len()) else { return };
        copy.copy_from_slice(number);
        report.equal(what, R::raise(modulus, exponent, copy), Err(PortError::Failed));
    }
}

/// The clock tells a time after this was written, and does not run backwards.
pub fn clock<C: Clock>(clock: &mut C, report: &mut Report<'_>) {
    const WRITTEN: u64 = 1_735_689_600;
    let earlier = clock.now();
    let later = clock.now();
    report.check("it is later than 2025", earlier >= WRITTEN);
    report.check("the clock goes forward", (0..60).contains(&later.wrapping_sub(earlier)));
    report.section("clock");
}

/// Random bytes fill the whole buffer, and differ.
pub fn rng<R: Rng>(rng: &mut R, report: &mut Report<'_>) {
    let mut first = [0; 1024];
    let mut second = [0; 1024];
    report.equal("bytes are given", rng.fill(&mut first), Ok(()));
    report.equal("bytes are given", rng.fill(&mut second), Ok(()));
    report.equal("no bytes are given", rng.fill(&mut []), Ok(()));
    report.check("they differ", first != second);
    // A run of 16 equal octets in 1024 random ones has a probability of 2^-110.
    let repeats =
        |bytes: &[u8]| bytes.windows(16).any(|run| run.iter().all(|b| Some(b) == run.first()));
    report.check("no part of a buffer is left out", !repeats(&first) && !repeats(&second));
    report.section("random bytes");
}
