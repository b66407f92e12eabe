//! Questions that cost no memory: what a TAM must know again comes back in the answer.
//!
//! Anybody may connect, and whoever does is asked for the state of a device. If each question were
//! remembered, a few clients that ask and never answer could have the ones forgotten that devices
//! are about to answer. So the `rid` of such a question carries what its answer is judged with,
//! under a MAC whose key lives as long as the process, and the answer's `rid` brings it back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use openssl::hash::MessageDigest;
use openssl::memcmp;
use openssl::pkey::{PKey, Private};
use openssl::rand::rand_bytes;
use openssl::sign::Signer;

use crate::encoding::{base64url, from_base64url};
use crate::jose::SignatureAlgorithm;

const KEY_LENGTH: usize = 32;
/// Octets of HMAC-SHA-256 that are kept: 128 bits (RFC 2104, section 5).
const MAC_LENGTH: usize = 16;
/// One octet of flags and eight of the stamp, before the MAC.
const CLAIM_LENGTH: usize = 9;

const SIGNED_WITH_RSA: u8 = 1;
const CHANGED_KEY: u8 = 2;

/// When a question was asked, in nanoseconds since the process began to ask; no two have the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(u64);

/// A GetDeviceState outside of any session, as its answer brings it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// When it was asked.
    pub stamp: Stamp,
    /// Which of the TAM's keys signed it.
    pub signature: SignatureAlgorithm,
    /// Whether the other of the TAM's keys signed before.
    pub changed_key: bool,
}

/// Makes the identifiers of questions, and knows its own again.
pub struct Echoes {
    key: PKey<Private>,
    start: Instant,
    last: AtomicU64,
    patience: Duration,
}

impl Echoes {
    /// With a new random key. A question is no longer known when it is older than `patience`.
    ///
    /// # Errors
    /// If there is no randomness.
    pub fn new(patience: Duration) -> anyhow::Result<Self> {
        let mut key = [0; KEY_LENGTH];
        rand_bytes(&mut key)?;
        let key = PKey::hmac(&key)?;
        Ok(Self { key, start: Instant::now(), last: AtomicU64::new(0), patience })
    }

    /// The `rid` of a new question of the transaction `tid`.
    ///
    /// # Errors
    /// When OpenSSL has no memory.
    pub fn ask(
        &self,
        tid: &str,
        signature: SignatureAlgorithm,
        changed_key: bool,
    ) -> anyhow::Result<String> {
        let now = self.now();
        let next = |last: u64| Some(now.max(last.saturating_add(1)));
        // The function never refuses.
        let last = self.last.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).unwrap_or(now);
        let stamp = now.max(last.saturating_add(1));
        let mut flags = 0;
        if signature == SignatureAlgorithm::Rs256 {
            flags |= SIGNED_WITH_RSA;
        }
        if changed_key {
            flags |= CHANGED_KEY;
        }
        let mut rid = vec![flags];
        rid.extend(stamp.to_be_bytes());
        let mac = self.mac(&rid, tid)?;
        rid.extend(mac);
        Ok(base64url(&rid))
    }

    /// The question whose answer has these identifiers; `None` if this process never asked it, or
    /// too long ago.
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
        let (flags, stamp) = claim.split_first()?;
        let stamp = u64::from_be_bytes(stamp.try_into().ok()?);
        let question = Question {
            stamp: Stamp(stamp),
            signature: match flags & SIGNED_WITH_RSA {
                0 => SignatureAlgorithm::Es256,
                _ => SignatureAlgorithm::Rs256,
            },
            changed_key: flags & CHANGED_KEY != 0,
        };
        (self.age(question.stamp) < self.patience).then_some(question)
    }

    /// How long ago a question was asked.
    #[must_use]
    pub fn age(&self, stamp: Stamp) -> Duration {
        Duration::from_nanos(self.now().saturating_sub(stamp.0))
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
    fn a_question_comes_back_as_it_was_asked() {
        let echoes = Echoes::new(PATIENCE).unwrap();
        let mut before = Stamp::default();
        for signature in SignatureAlgorithm::ALL {
            for changed_key in [false, true] {
                let rid = echoes.ask("tid", signature, changed_key).unwrap();
                assert!((1..=128).contains(&rid.len()));
                let question = echoes.recognize("tid", &rid).unwrap();
                assert_eq!((question.signature, question.changed_key), (signature, changed_key));
                assert!(question.stamp > before, "stamps rise");
                before = question.stamp;
            }
        }
    }

    #[test]
    fn nothing_else_comes_back() {
        let echoes = Echoes::new(PATIENCE).unwrap();
        let rid = echoes.ask("tid", SignatureAlgorithm::Es256, false).unwrap();
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
        let rid = echoes.ask("tid", SignatureAlgorithm::Es256, false).unwrap();
        assert_eq!(echoes.recognize("tid", &rid), None, "too old");
    }
}
