//! The algorithms of requests and answers, in order of preference.

use super::file::Preferred;
use crate::identity::Taken;
use crate::jose::{ContentEncryption, KeyManagement, KeyManagements, KeyType};
use crate::request::{Suite, TaEncryption, Target};

/// The algorithms of requests: lists that are not empty, the preferred algorithm first.
#[derive(Clone, Debug)]
pub struct Algorithms {
    content_encryptions: Vec<ContentEncryption>,
    elliptic: Vec<KeyManagement>,
    rsa: Vec<KeyManagement>,
    rsa_listed: bool,
    ta_encryptions: Vec<TaEncryption>,
}

impl Algorithms {
    pub(super) fn of(
        content_encryption: Preferred<ContentEncryption>,
        key_management: Preferred<KeyManagement>,
        ta_encryption: Preferred<TaEncryption>,
    ) -> Self {
        let (elliptic, rsa): (Vec<_>, Vec<_>) = key_management
            .0
            .into_iter()
            .partition(|management| management.key_type() == KeyType::Elliptic);
        Self {
            content_encryptions: content_encryption.or(&[ContentEncryption::default()]),
            rsa_listed: !rsa.is_empty(),
            elliptic: Preferred(elliptic).or(&[KeyManagement::EcdhEsA128Kw]),
            rsa: Preferred(rsa).or(&[KeyManagement::RsaOaep256, KeyManagement::RsaOaep]),
            ta_encryptions: ta_encryption.or(&[TaEncryption::default()]),
        }
    }

    /// The algorithms that are accepted in answers.
    #[must_use]
    pub fn taken(&self) -> Taken {
        let mut key_managements = self.elliptic.clone();
        key_managements.extend(&self.rsa);
        if !self.rsa_listed {
            key_managements.push(KeyManagement::Rsa15);
        }
        // No request determines the encryption of the state, so a TEE may always use the draft's.
        let mut content_encryptions = self.content_encryptions.clone();
        content_encryptions.push(ContentEncryption::default());
        Taken { key_managements, content_encryptions }
    }

    /// The suite to try first.
    #[must_use]
    pub fn preferred(&self) -> Suite {
        self.suite(0)
    }

    /// The suites to try with a device, each if it does not support the one before. Every suite
    /// takes the next algorithm of each list, or the last one if a list is exhausted. Never empty.
    #[must_use]
    pub fn suites(&self, device: &Target) -> Vec<Suite> {
        let types = device.key_types();
        let of_keys =
            |key_type, list: &Vec<_>| if types.contains(&key_type) { list.len() } else { 1 };
        let attempts = [
            self.content_encryptions.len(),
            self.ta_encryptions.len(),
            of_keys(KeyType::Elliptic, &self.elliptic),
            of_keys(KeyType::Rsa, &self.rsa),
        ];
        (0..attempts.into_iter().max().unwrap_or(1)).map(|attempt| self.suite(attempt)).collect()
    }

    fn suite(&self, attempt: usize) -> Suite {
        let mut key_managements = KeyManagements::default();
        for list in [&self.elliptic, &self.rsa] {
            if let Some(management) = at(list, attempt) {
                key_managements = key_managements.with(management);
            }
        }
        Suite {
            content_encryption: at(&self.content_encryptions, attempt).unwrap_or_default(),
            key_managements,
            ta_encryption: at(&self.ta_encryptions, attempt).unwrap_or_default(),
        }
    }
}

fn at<T: Copy>(list: &[T], position: usize) -> Option<T> {
    list.get(position).or(list.last()).copied()
}
