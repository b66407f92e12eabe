//! One function a port. Each leaves nothing behind.

use otrp_engine::platform::{
    Clock, Keys, Kind, Modulus, Name, OwnPublicKey, Point, PortError, RSA_EXPONENT, Rng, RsaPublic,
    Storage, StoredTa, TaStore, UuidBytes,
};
use otrp_engine::rsa::signature::{self, Padding};

use crate::{
    report::Report,
    rsa_vectors::{self, Vector},
};

/// UUIDs that [`ta_store`] installs nothing runnable under and deletes again.
pub const TEST_TAS: [UuidBytes; 2] = [
    [0x7f, 0x2d, 0x1b, 0x40, 0x11, 0x22, 0x43, 0x44, 0x85, 0x66, 1, 2, 3, 4, 5, 6],
    [0x7f, 0x2d, 0x1b, 0x40, 0x11, 0x22, 0x43, 0x44, 0x85, 0x66, 1, 2, 3, 4, 5, 7],
];

/// The names that the tests use; no engine numbers objects that high.
const NUMBER: u32 = 0xffff_fff0;

/// Records: replaced whole, bounded on load, independent of each other.
pub fn storage<S: Storage>(storage: &mut S, report: &mut Report<'_>) {
    let name = Name { kind: Kind::Registry, number: NUMBER };
    let same_kind = Name { kind: Kind::Registry, number: NUMBER.wrapping_add(1) };
    let same_number = Name { kind: Kind::Personalization, number: NUMBER };
    let mut buffer = [0; 9000];
    // No two positions within 256 bytes alike, nor the same after a shift by a block.
    let mut large = [0; 9000];
    for (index, byte) in (0_u32..).zip(large.iter_mut()) {
        *byte = index.wrapping_mul(0x9e37_79b1).to_be_bytes()[0];
    }

    for name in [name, same_kind, same_number] {
        report.equal("removing an absent record succeeds", storage.remove(name), Ok(()));
        report.equal("an absent record is none", storage.load(name, &mut buffer), Ok(None));
    }
    report.equal("a record is created", storage.replace(name, b"first"), Ok(()));
    report.equal(
        "a record is read back",
        storage.load(name, &mut buffer),
        Ok(Some(b"first".as_slice())),
    );
    report.equal(
        "another number is another record",
        storage.load(same_kind, &mut buffer),
        Ok(None),
    );
    report.equal(
        "another kind is another record",
        storage.load(same_number, &mut buffer),
        Ok(None),
    );

    report.equal("a record grows", storage.replace(name, &large), Ok(()));
    report.check(
        "a long record is read back into a buffer of its length",
        storage.load(name, &mut buffer) == Ok(Some(&large)),
    );
    let short = buffer.split_last_mut().map_or(&mut [][..], |(_, rest)| rest);
    report.equal(
        "a record longer than the buffer is refused",
        storage.load(name, short).map(|_| ()),
        Err(PortError::Corrupt),
    );
    report.check(
        "a record that was refused is still there",
        storage.load(name, &mut buffer) == Ok(Some(&large)),
    );
    report.equal("a record shrinks", storage.replace(name, b"2"), Ok(()));
    report.equal(
        "nothing of a longer record is left",
        storage.load(name, &mut buffer),
        Ok(Some(b"2".as_slice())),
    );
    report.equal("a record can be empty", storage.replace(name, b""), Ok(()));
    report.equal(
        "an empty record is not an absent one",
        storage.load(name, &mut []),
        Ok(Some(b"".as_slice())),
    );

    report.equal("a second record is created", storage.replace(same_kind, b"other"), Ok(()));
    report.equal("a record is removed", storage.remove(name), Ok(()));
    report.equal("a removed record is none", storage.load(name, &mut buffer), Ok(None));
    report.equal("removing it again succeeds", storage.remove(name), Ok(()));
    report.equal(
        "the second record is untouched",
        storage.load(same_kind, &mut buffer),
        Ok(Some(b"other".as_slice())),
    );
    report.equal("the second record is removed", storage.remove(same_kind), Ok(()));
    report.section("storage");
}

/// SHA-256 of `abc` (FIPS 180-4, example).
const ABC: [u8; 32] = [
    0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
    0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
];
/// SHA-256 of a million times `a` (FIPS 180-4, example).
const MILLION: [u8; 32] = [
    0xcd, 0xc7, 0x6e, 0x5c, 0x99, 0x14, 0xfb, 0x92, 0x81, 0xa1, 0xc7, 0xe2, 0x84, 0xd7, 0x3e, 0x67,
    0xf1, 0x80, 0x9a, 0x48, 0xa4, 0x97, 0x20, 0x0e, 0x04, 0x6d, 0x39, 0xcc, 0xc7, 0x11, 0x2c, 0xd0,
];

/// More than any store takes at once; a static, because a TA's stack is small.
static BLOCK: [u8; 70_000] = [b'a'; 70_000];

/// Installed applications: whole or not at all. `reserved` are UUIDs of the TEE's own ones.
pub fn ta_store<T: TaStore>(store: &mut T, reserved: &[UuidBytes], report: &mut Report<'_>) {
    let [uuid, other] = TEST_TAS;
    let abc = StoredTa { version: 7, size: 3, digest: ABC };
    let million = StoredTa { version: 9, size: 1_000_000, digest: MILLION };

    for uuid in [&uuid, &other] {
        report.equal("removing an absent application succeeds", store.remove(uuid), Ok(()));
        report.equal("an absent application is none", store.query(uuid), Ok(None));
    }
    store.abort();
    report.check("there is nothing to commit", store.commit().is_err());
    report.check("there is nothing to write to", store.write(b"abc").is_err());

    report.equal("an installation begins", store.begin(&uuid, &abc), Ok(()));
    report.equal("nothing is installed before the commit", store.query(&uuid), Ok(None));
    report.equal("bytes are written", store.write(b"abc"), Ok(()));
    report.equal("nothing is installed before the commit", store.query(&uuid), Ok(None));
    report.equal("an installation is committed", store.commit(), Ok(()));
    report.equal("what is installed is told", store.query(&uuid), Ok(Some(abc)));
    report.check("a commit ends the transaction", store.commit().is_err());

    refusals(store, &uuid, abc, report);

    report.equal("a replacement begins", store.begin(&uuid, &million), Ok(()));
    let mut left: usize = 1_000_000;
    for length in [1, 4095, 4096, 4097, 65_535, 65_536, 69_999].into_iter().cycle() {
        let length = left.min(length);
        let Some(bytes) = BLOCK.get(..length).filter(|bytes| !bytes.is_empty()) else { break };
        if let Err(error) = store.write(bytes) {
            report.equal("any number of bytes is written", Err(error), Ok(()));
            break;
        }
        left = left.saturating_sub(length);
    }
    report.equal(
        "the old application is there before the commit",
        store.query(&uuid),
        Ok(Some(abc)),
    );
    report.equal("a replacement is committed", store.commit(), Ok(()));
    report.equal("what replaced it is told", store.query(&uuid), Ok(Some(million)));

    report.equal("a second application begins", store.begin(&other, &abc), Ok(()));
    report.equal("bytes are written", store.write(b"abc"), Ok(()));
    report.equal("a second application is committed", store.commit(), Ok(()));
    report.equal("an application is removed", store.remove(&uuid), Ok(()));
    report.equal("a removed application is none", store.query(&uuid), Ok(None));
    report.equal("removing it again succeeds", store.remove(&uuid), Ok(()));
    report.equal("the second application is untouched", store.query(&other), Ok(Some(abc)));
    report.equal("the second application is removed", store.remove(&other), Ok(()));

    for uuid in reserved {
        report.equal(
            "a UUID of the TEE is refused",
            store.begin(uuid, &abc),
            Err(PortError::Denied),
        );
        report.check("and no transaction is open", store.write(b"abc").is_err());
        // An entry from before the image took the UUID must not be in the way.
        report.equal("but can be removed", store.remove(uuid), Ok(()));
    }
    report.section("TA store");
}

/// Transactions that must leave `installed` as it is.
fn refusals<T: TaStore>(
    store: &mut T,
    uuid: &UuidBytes,
    installed: StoredTa,
    report: &mut Report<'_>,
) {
    let next = StoredTa { version: 8, ..installed };
    let cases: [(&str, &[u8], StoredTa); 4] = [
        ("fewer bytes than announced are refused", b"ab", next),
        ("no bytes are refused", b"", next),
        ("other bytes than announced are refused", b"abd", next),
        ("another digest is refused", b"abc", StoredTa { digest: MILLION, ..next }),
    ];
    for (claim, bytes, announced) in cases {
        report.equal("a transaction begins", store.begin(uuid, &announced), Ok(()));
        report.equal("bytes are written", store.write(bytes), Ok(()));
        report.check(claim, store.commit().is_err());
        report.check("a refused commit ends the transaction", store.commit().is_err());
        report.equal("a refusal changes nothing", store.query(uuid), Ok(Some(installed)));
    }

    report.equal("a transaction begins", store.begin(uuid, &next), Ok(()));
    report.check("more bytes than announced are refused", store.write(b"abcd").is_err());
    report.check("which ends the transaction", store.commit().is_err());
    report.equal("a refusal changes nothing", store.query(uuid), Ok(Some(installed)));

    report.equal("a transaction begins", store.begin(uuid, &next), Ok(()));
    report.equal("bytes are written", store.write(b"abc"), Ok(()));
    store.abort();
    report.check("an aborted transaction is over", store.commit().is_err());
    report.equal("an abort changes nothing", store.query(uuid), Ok(Some(installed)));

    report.equal("a transaction begins", store.begin(uuid, &next), Ok(()));
    report.equal("bytes are written", store.write(b"ab"), Ok(()));
    report.equal("another begins", store.begin(uuid, &next), Ok(()));
    report.equal("bytes are written", store.write(b"c"), Ok(()));
    report.check("the first one's bytes are gone", store.commit().is_err());
    report.equal("an abort changes nothing", store.query(uuid), Ok(Some(installed)));

    let empty = StoredTa { size: 0, ..next };
    report.check("an empty application is refused", store.begin(uuid, &empty).is_err());
    report.equal("a refusal changes nothing", store.query(uuid), Ok(Some(installed)));
}

/// The base point of P-256, uncompressed (SP 800-186, section 3.2.1.3).
const BASE: Point = [
    0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40,
    0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2,
    0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e,
    0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51,
    0xf5,
];

/// Key pairs of the kind that the port makes. `verify` is another implementation's ECDSA with P-256
/// on a digest; what RSA's private-key operation gives, its public-key operation takes back.
pub fn keys<K: Keys, R: RsaPublic>(
    keys: &mut K,
    verify: impl Fn(&Point, &[u8; 32], &[u8; 64]) -> bool,
    report: &mut Report<'_>,
) {
    let one = Name { kind: Kind::Aik, number: NUMBER };
    let two = Name { kind: Kind::Aik, number: NUMBER.wrapping_add(1) };
    let tee = Name { kind: Kind::TeeKey, number: NUMBER };

    for name in [one, two, tee] {
        report.equal("destroying an absent key succeeds", keys.destroy(name), Ok(()));
        report.equal("an absent key has no public key", keys.public(name), Ok(None));
        report
            .check("an absent key signs nothing", keys.sign(name, &ABC) == Err(PortError::Failed));
        report.check(
            "an absent key agrees on nothing",
            keys.agree(name, &BASE).err() == Some(PortError::Failed),
        );
        report.equal(
            "an absent key decrypts nothing",
            keys.rsa(name, &mut [1; 256]),
            Err(PortError::Failed),
        );
    }

    let (Ok(first), Ok(second), Ok(third)) =
        (keys.generate(one), keys.generate(two), keys.generate(tee))
    else {
        report.check("keys are made", false);
        return;
    };
    for public in [first, second, third] {
        report.equal("a key is of the kind that is made", public.key_type(), keys.makes());
    }
    report.check("keys differ", first != second && second != third && first != third);
    let pairs = [(one, first, second), (two, second, third), (tee, third, first)];
    for (name, public, stranger) in pairs {
        report.equal("a public key is told again", keys.public(name), Ok(Some(public)));
        match (public, stranger) {
            (OwnPublicKey::P256(public), OwnPublicKey::P256(stranger)) => {
                elliptic_pair(keys, name, &public, &stranger, &verify, report);
            }
            (OwnPublicKey::Rsa2048(public), OwnPublicKey::Rsa2048(stranger)) => {
                rsa_pair::<K, R>(keys, name, &public, &stranger, report);
            }
            _ => report.check("all keys are of one kind", false),
        }
    }
    if let (OwnPublicKey::P256(first), OwnPublicKey::P256(second)) = (first, second) {
        report.check(
            "both sides agree",
            match (keys.agree(one, &second), keys.agree(two, &first)) {
                (Ok(one), Ok(two)) => one.bytes() == two.bytes(),
                _ => false,
            },
        );
    }

    let free = Name { kind: Kind::SpareKey, number: NUMBER };
    report.equal("the new name is free", keys.destroy(free), Ok(()));
    report.equal("an absent key gets no other name", keys.rename(free, one), Ok(None));
    report.equal("nor is one replaced by it", keys.public(one), Ok(Some(first)));
    report.equal("a key gets another name", keys.rename(tee, free), Ok(Some(third)));
    report.equal("it is known under that", keys.public(free), Ok(Some(third)));
    report.equal("and not under the old one", keys.public(tee), Ok(None));
    report.equal("a name that is taken is refused", keys.rename(free, two), Err(PortError::Failed));
    report.equal("its owner keeps it", keys.public(two), Ok(Some(second)));
    report.equal("and the other key its own", keys.public(free), Ok(Some(third)));
    report.equal("a key gets its name back", keys.rename(free, tee), Ok(Some(third)));
    report.equal("a public key is told again", keys.public(tee), Ok(Some(third)));

    let replaced = keys.generate(one);
    report.check("a new key pair is another one", replaced.is_ok_and(|public| public != first));
    report.equal("a key pair is replaced", keys.public(one), replaced.map(Some));
    report.equal("the others stay", keys.public(two), Ok(Some(second)));
    for name in [one, two, tee] {
        report.equal("a key is destroyed", keys.destroy(name), Ok(()));
        report.equal("a destroyed key has no public key", keys.public(name), Ok(None));
        report.check("a destroyed key signs nothing", keys.sign(name, &ABC).is_err());
        report.check("a destroyed key decrypts nothing", keys.rsa(name, &mut [1; 256]).is_err());
    }
    report.section("keys");
}

/// What a key pair on P-256 does and does not.
fn elliptic_pair<K: Keys>(
    keys: &mut K,
    name: Name,
    point: &Point,
    stranger: &Point,
    verify: &impl Fn(&Point, &[u8; 32], &[u8; 64]) -> bool,
    report: &mut Report<'_>,
) {
    for digest in [&ABC, &[0; 32]] {
        let Ok(signature) = keys.sign(name, digest) else {
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
        keys.agree(name, &BASE).is_ok_and(|seed| Some(seed.bytes().as_slice()) == x),
    );
    for peer in invalid_points(point) {
        report.check(
            "what is no point of the curve is refused",
            keys.agree(name, &peer).err() == Some(PortError::Failed),
        );
    }
    report.equal(
        "a key on a curve does no RSA",
        keys.rsa(name, &mut [1; 256]),
        Err(PortError::Failed),
    );
}

/// What an RSA key pair does and does not.
fn rsa_pair<K: Keys, R: RsaPublic>(
    keys: &mut K,
    name: Name,
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
    report.check("an RSA key does no ECDSA", keys.sign(name, &ABC) == Err(PortError::Failed));
    report.check("nor ECDH", keys.agree(name, &BASE).err() == Some(PortError::Failed));
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
