//! Content encryption keys of a JWE.

use openssl::memcmp;
use openssl::pkey::PKey;
use openssl::rand::rand_bytes;
use openssl::sign::Signer;
use zeroize::Zeroizing;

use super::algorithm::ContentEncryption;
use super::error::{NotMade, NotOpened};

/// A content encryption key with its algorithm. Not `Clone`; `Debug` does not print the key.
pub struct ContentKey {
    pub(super) encryption: ContentEncryption,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for ContentKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ContentKey").field("encryption", &self.encryption).finish()
    }
}

impl ContentKey {
    /// Generates a key.
    ///
    /// # Errors
    /// [`NotMade`] if OpenSSL has no randomness.
    pub fn random(encryption: ContentEncryption) -> Result<Self, NotMade> {
        let mut bytes = Zeroizing::new(vec![0; encryption.primitive().key_len()]);
        rand_bytes(&mut bytes).map_err(NotMade::because)?;
        Ok(Self { encryption, bytes })
    }

    /// The key with these bytes; `None` if their number is not that of the algorithm.
    #[must_use]
    pub fn new(encryption: ContentEncryption, bytes: Vec<u8>) -> Option<Self> {
        let bytes = Zeroizing::new(bytes);
        (bytes.len() == encryption.primitive().key_len()).then_some(Self { encryption, bytes })
    }

    /// Its algorithm.
    #[must_use]
    pub const fn encryption(&self) -> ContentEncryption {
        self.encryption
    }

    /// Whether both are the same key of the same algorithm, in constant time.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.encryption == other.encryption
            && self.bytes.len() == other.bytes.len()
            && memcmp::eq(&self.bytes, &other.bytes)
    }

    /// Encrypts. The additional data is the text of the protected header, as in every JWE of OTrP.
    pub(super) fn seal(&self, plaintext: &[u8], protected: &str) -> Result<Sealed, NotMade> {
        let primitive = self.encryption.primitive();
        let mut iv = vec![0; primitive.iv_len()];
        rand_bytes(&mut iv).map_err(NotMade::because)?;
        let (ciphertext, tag) = primitive
            .encrypt(&self.bytes, Some(&iv), plaintext, protected.as_bytes())
            .map_err(NotMade::because)?;
        Ok(Sealed { iv, ciphertext, tag: tag.unwrap_or_default() })
    }

    pub(super) fn open(&self, sealed: &Sealed, protected: &str) -> Result<Vec<u8>, NotOpened> {
        let primitive = self.encryption.primitive();
        if sealed.iv.len() != primitive.iv_len()
            || sealed.tag.len() != self.encryption.tag_length()
            || !self.has_authentic_mac(sealed, protected)
        {
            return Err(NotOpened::Decryption);
        }
        primitive
            .decrypt(
                &self.bytes,
                Some(&sealed.iv),
                &sealed.ciphertext,
                protected.as_bytes(),
                Some(&sealed.tag),
            )
            .map_err(|_| NotOpened::Decryption)
    }

    /// Checks the tag of a CBC mode in constant time (RFC 7518, section 5.2.2.2); `true` for GCM, which
    /// josekit checks.
    fn has_authentic_mac(&self, sealed: &Sealed, protected: &str) -> bool {
        let Some(digest) = self.encryption.mac() else {
            return true;
        };
        let Some(mac_key) = self.bytes.get(..self.bytes.len() / 2) else {
            return false;
        };
        let Some(bits) = u64::try_from(protected.len()).ok().and_then(|len| len.checked_mul(8))
        else {
            return false;
        };
        let mac = PKey::hmac(mac_key).and_then(|key| {
            let mut signer = Signer::new(digest, &key)?;
            signer.update(protected.as_bytes())?;
            signer.update(&sealed.iv)?;
            signer.update(&sealed.ciphertext)?;
            signer.update(&bits.to_be_bytes())?;
            signer.sign_to_vec()
        });
        mac.is_ok_and(|mac| {
            mac.get(..self.encryption.tag_length()).is_some_and(|tag| memcmp::eq(tag, &sealed.tag))
        })
    }
}

pub(super) struct Sealed {
    pub(super) iv: Vec<u8>,
    pub(super) ciphertext: Vec<u8>,
    pub(super) tag: Vec<u8>,
}
