//! RSA that accepts every signature that it was given as an expected one.
//!
//! It is given every signature in an input, mutated or not, so that the checks that follow the
//! signature run too.

use std::cell::RefCell;

use openssl::sha::sha256;
use otrp_engine::platform::{PortError, RsaPublic};

/// The public-key operation of a world in which every signature is right.
pub(crate) struct Credulous;

/// How what was signed is encoded (RFC 8017, section 9).
#[derive(Clone, Copy)]
pub(crate) enum Encoding {
    /// EMSA-PKCS1-v1_5.
    Pkcs1,
    /// EMSA-PSS with a salt of 32 octets.
    Pss,
}

struct Vouched {
    signature: Vec<u8>,
    digest: [u8; 32],
    encoding: Encoding,
}

thread_local! {
    static VOUCHED: RefCell<Vec<Vouched>> = const { RefCell::new(Vec::new()) };
}

impl Credulous {
    /// Forgets every signature.
    pub(crate) fn forget() {
        VOUCHED.with_borrow_mut(Vec::clear);
    }

    /// Takes a signature for one over what has this SHA-256.
    pub(crate) fn vouch(signature: &[u8], digest: [u8; 32], encoding: Encoding) {
        let signature = signature.to_vec();
        VOUCHED.with_borrow_mut(|vouched| vouched.push(Vouched { signature, digest, encoding }));
    }

    /// Vouches for whatever is signed as X.509 does it, anywhere in a row of elements: a sequence
    /// of what is signed, the algorithm, and the signature.
    pub(crate) fn vouch_for(der: &[u8]) {
        walk(der, 0);
    }
}

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const CONSTRUCTED: u8 = 0x20;
const DEEPEST: usize = 16;

fn walk(der: &[u8], depth: usize) {
    let elements = elements(der);
    for (tag, contents, _) in &elements {
        if *tag == SEQUENCE {
            let parts = self::elements(contents);
            if let [(_, _, signed), _, (BIT_STRING, [0, signature @ ..], _), ..] = parts[..] {
                Credulous::vouch(signature, sha256(signed), Encoding::Pkcs1);
            }
        }
        if depth < DEEPEST && (tag & CONSTRUCTED != 0 || *tag == OCTET_STRING) {
            walk(contents, depth + 1);
        }
    }
}

/// The DER elements up to the first malformed one: tag, contents, the whole element.
fn elements(mut der: &[u8]) -> Vec<(u8, &[u8], &[u8])> {
    let mut found = Vec::new();
    while let [tag, first, rest @ ..] = der {
        let (length, head) = match first {
            0..=0x7f => (usize::from(*first), 2),
            0x81..=0x84 => {
                let count = usize::from(first - 0x80);
                let Some(bytes) = rest.get(..count) else { break };
                (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), 2 + count)
            }
            _ => break,
        };
        let Some(contents) = head.checked_add(length).and_then(|end| der.get(head..end)) else {
            break;
        };
        let (whole, behind) = der.split_at(head + length);
        found.push((*tag, contents, whole));
        der = behind;
    }
    found
}

impl RsaPublic for Credulous {
    fn raise(_: &[u8], _: &[u8], number: &mut [u8]) -> Result<(), PortError> {
        VOUCHED.with_borrow(|vouched| {
            let known = vouched.iter().find(|known| known.signature == number);
            let known = known.ok_or(PortError::Failed)?;
            let encoded = match known.encoding {
                Encoding::Pkcs1 => pkcs1(&known.digest, number.len()),
                Encoding::Pss => pss(&known.digest, number.len()),
            };
            number.copy_from_slice(&encoded);
            Ok(())
        })
    }
}

fn pkcs1(digest: &[u8; 32], length: usize) -> Vec<u8> {
    // DigestInfo of SHA-256 (RFC 8017, section 9.2, note 1).
    const INFO: [u8; 19] = [
        0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01,
        0x05, 0x00, 0x04, 0x20,
    ];
    let padding = vec![0xff; length - 3 - INFO.len() - digest.len()];
    [&[0, 1], padding.as_slice(), &[0], &INFO, digest].concat()
}

fn pss(digest: &[u8; 32], length: usize) -> Vec<u8> {
    let salt = [0x5a; 32];
    let hash = sha256(&[&[0; 8], digest.as_slice(), &salt].concat());
    let mut block = vec![0; length - hash.len() - salt.len() - 2];
    block.push(1);
    block.extend(salt);
    for (counter, part) in (0_u32..).zip(block.chunks_mut(hash.len())) {
        let mask = sha256(&[hash.as_slice(), &counter.to_be_bytes()].concat());
        part.iter_mut().zip(mask).for_each(|(octet, mask)| *octet ^= mask);
    }
    // The moduli here have all their bits, so the encoding lacks the first.
    block[0] &= 0x7f;
    [block.as_slice(), &hash, &[0xbc]].concat()
}
