//! Questions that cost no memory: their context comes back in the answer.
//!
//! Anyone may connect, and every client is asked for the state of its device. If each question were
//! stored, clients that never answer could evict the questions that devices are about to answer. So
//! the `rid` of such a question contains the context that is needed to judge the answer, under a MAC
//! whose key exists as long as the process, and the answer's `rid` returns it.

use std::time::{Duration, Instant};

use openssl::hash::MessageDigest;
use openssl::memcmp;
use openssl::pkey::{PKey, Private};
use openssl::rand::rand_bytes;
use openssl::sign::Signer;

use crate::encoding::{base64url, from_base64url};
use crate::jose::SignatureAlgorithm;

const KEY_LENGTH: usize = 32;
/// HMAC-SHA-256 is truncated to 128 bits (RFC 2104, section 5).
const MAC_LENGTH: usize = 16;
/// One octet of flags, eight of the time and eight of the sequence, before the MAC.
const CLAIM_LENGTH: usize = 17;

const SIGNED_WITH_RSA: u8 = 1;
const CHANGED_KEY: u8 = 2;

/// A GetDeviceState outside any session, as its answer returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Time since it was asked.
    pub age: Duration,
    /// The number of the last change in the database when it was asked. The answer says nothing about
    /// a record that changed later.
    pub sequence: u64,
    /// Algorithm of the TAM's key that signed it.
    pub signature: SignatureAlgorithm,
    /// Whether the TAM's other key signed before.
    pub changed_key: bool,
}

/// Generates the identifiers of questions, and recognizes them.
pub struct Echoes {
    key: PKey<Private>,
    start: Instant,
    patience: Duration,
}

impl Echoes {
    /// Generates the key. Questions older than `patience` are not recognized.
    ///
    /// # Errors
    /// If OpenSSL has no randomness.
    pub fn new(patience: Duration) -> anyhow::Result<Self> {
        let mut key = [0; KEY_LENGTH];
        rand_bytes(&mut key)?;
        let key = PKey::hmac(&key)?;
        Ok(Self { key, start: Instant::now(), patience })
    }

    /// The `rid` of a new question in the transaction `tid`.
    ///
    /// # Errors
    /// If OpenSSL runs out of memory.
    pub fn ask(
        &self,
        tid: &str,
        signature: SignatureAlgorithm,
        changed_key: bool,
        sequence: u64,
    ) -> anyhow::Result<String> {
        let mut flags = 0;
        if signature == SignatureAlgorithm::Rs256 {
            flags |= SIGNED_WITH_RSA;
        }
        if changed_key {
            flags |= CHANGED_KEY;
        }
        let mut rid = vec![flags];
        rid.extend(self.now().to_be_bytes());
        rid.extend(sequence.to_be_bytes());
        let mac = self.mac(&rid, tid)?;
        rid.extend(mac);
        Ok(base64url(&rid))
    }

    /// The question whose answer has these identifiers; `None` if this process never asked it, or too
    /// long ago.
    #[must_use]
    pub fn recognize(&self, tid: &str, rid: &str) -> Option<Question> {
        let rid = from_base64url(rid)?;
        if rid.len() != CLAIM_LENGTH + MAC_LENGTH {
            return None;
        }
        let (claim, mac) = rid.split_at_checked(CLAIM_LENGTH)?;
        if !memcmp::eq(&self.mac(claim, tid).ok()?, mac) {
            return None;
        }
        let (flags, numbers) = claim.split_first()?;
        let (time, sequence) = numbers.split_at_checked(8)?;
        let number = |bytes: &[u8]| Some(u64::from_be_bytes(bytes.try_into().ok()?));
        let question = Question {
            age: Duration::from_nanos(self.now().saturating_sub(number(time)?)),
            sequence: number(sequence)?,
            signature: match flags & SIGNED_WITH_RSA {
                0 => SignatureAlgorithm::Es256,
                _ => SignatureAlgorithm::Rs256,
            },
            changed_key: flags & CHANGED_KEY != 0,
        };
        (question.age < self.patience).then_some(question)
    }

    /// Nanoseconds since the start, which 64 bits hold for 584 years.
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn mac(&self, claim: &[u8], tid: &str) -> anyhow::Result<Vec<u8>> {
        let mut signer = Signer::new(MessageDigest::sha256(), &self.key)?;
        signer.update(b"GetDeviceState")?;
        signer.update(claim)?;
        signer.update(tid.as_bytes())?;
        let mut mac = signer.sign_to_vec()?;
        mac.truncate(MAC_LENGTH);
        Ok(mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(600);

    #[test]
    fn a_question_is_recognized_with_its_context() {
        let echoes = Echoes::new(PATIENCE).unwrap();
        for signature in SignatureAlgorithm::ALL {
            for (changed_key, sequence) in [(false, 0), (true, u64::MAX), (true, 0x0102)] {
                let rid = echoes.ask("tid", signature, changed_key, sequence).unwrap();
                assert!((1..=128).contains(&rid.len()));
                let question = echoes.recognize("tid", &rid).unwrap();
                assert_eq!((question.signature, question.changed_key), (signature, changed_key));
                assert_eq!(question.sequence, sequence);
                assert!(question.age < PATIENCE);
            }
        }
    }

    #[test]
    fn nothing_else_is_recognized() {
        let echoes = Echoes::new(PATIENCE).unwrap();
        let rid = echoes.ask("tid", SignatureAlgorithm::Es256, false, 7).unwrap();
        assert_eq!(echoes.recognize("other", &rid), None);
        assert_eq!(Echoes::new(PATIENCE).unwrap().recognize("tid", &rid), None, "another process");
        let bytes = from_base64url(&rid).unwrap();
        for position in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[position] ^= 1 << bit;
                assert_eq!(echoes.recognize("tid", &base64url(&changed)), None, "{position}");
            }
            assert_eq!(echoes.recognize("tid", &base64url(&bytes[..position])), None);
        }
        for text in ["", "%", &format!("{rid}="), &format!("{rid}AA")] {
            assert_eq!(echoes.recognize("tid", text), None, "{text}");
        }
        let echoes = Echoes::new(Duration::ZERO).unwrap();
        let rid = echoes.ask("tid", SignatureAlgorithm::Es256, false, 7).unwrap();
        assert_eq!(echoes.recognize("tid", &rid), None, "too old");
    }
}
