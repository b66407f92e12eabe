//! The algorithms that encrypt a request.

use openssl::symm::{Cipher, encrypt, encrypt_aead};
use serde::Deserialize;

use crate::jose::{ContentEncryption, KeyManagements};

const GCM_TAG_LENGTH: usize = 16;

/// The encryption of an image and its personalization data (`encrypted_ta.alg`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum TaEncryption {
    /// AES-256-CBC with PKCS#7 padding: the draft's only algorithm, which each TEE supports.
    ///
    /// It does not authenticate. An attacker who can sign as the TAM and has recorded a request can
    /// send its ciphertext again as something else, and so have the device decrypt it: an image as
    /// personalization data of the attacker's own program. It protects only against eavesdroppers.
    #[serde(rename = "AESCBC")]
    AesCbc,
    /// AES-256-GCM, with the tag after the ciphertext. The ciphertext is valid only for its
    /// purpose: the image, or the data, of this application in this domain of this SP. An addition
    /// to the draft.
    #[default]
    #[serde(rename = "A256GCM")]
    A256Gcm,
}

impl TaEncryption {
    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesCbc => "AESCBC",
            Self::A256Gcm => "A256GCM",
        }
    }

    pub(super) const fn iv_length(self) -> usize {
        match self {
            Self::AesCbc => 16,
            Self::A256Gcm => 12,
        }
    }

    pub(super) fn encrypt(
        self,
        key: &[u8],
        iv: &[u8],
        purpose: &str,
        plaintext: &[u8],
    ) -> anyhow::Result<Vec<u8>> {
        match self {
            Self::AesCbc => Ok(encrypt(Cipher::aes_256_cbc(), key, Some(iv), plaintext)?),
            Self::A256Gcm => {
                let mut tag = [0; GCM_TAG_LENGTH];
                let cipher = Cipher::aes_256_gcm();
                let aad = purpose.as_bytes();
                let mut text = encrypt_aead(cipher, key, Some(iv), aad, plaintext, &mut tag)?;
                text.extend(tag);
                Ok(text)
            }
        }
    }
}

/// The algorithms that encrypt a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Suite {
    /// Encryption of the content.
    pub content_encryption: ContentEncryption,
    /// Encryption of the keys.
    pub key_managements: KeyManagements,
    /// Encryption of images and personalization data.
    pub ta_encryption: TaEncryption,
}
