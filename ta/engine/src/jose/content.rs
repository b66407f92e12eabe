//! Content encryption, in place (RFC 7518, section 5; OTrP draft, `encrypted_ta`).

use aes::cipher::{
    Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, KeyInit,
    KeyIvInit, consts::U16,
};
use aes::{Aes128, Aes256};
use aes_gcm::{AeadInOut, Aes128Gcm, Aes256Gcm};
use hmac::{Hmac, Mac, digest::CtOutput};
use sha2::{Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq, ConstantTimeGreater};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::crypto::Error;
use crate::platform::Rng;

/// Octets in an AES block, and the most that PKCS #7 padding adds.
pub(super) const BLOCK: usize = 16;
/// Octets in the longest content key, that of `A256CBC-HS512`.
pub const LONGEST_KEY: usize = 64;
/// Octets in the longest initialization vector, that of CBC mode.
pub const LONGEST_IV: usize = BLOCK;
/// Octets in the longest authentication tag, that of `A256CBC-HS512`.
pub const LONGEST_TAG: usize = 32;

/// A JWE `enc` algorithm (RFC 7518, section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContentAlgorithm {
    /// AES-128 in CBC mode with HMAC-SHA-256, truncated to 16 octets.
    A128CbcHs256,
    /// AES-256 in CBC mode with HMAC-SHA-512, truncated to 32 octets.
    A256CbcHs512,
    /// AES-128 in Galois/Counter Mode.
    A128Gcm,
    /// AES-256 in Galois/Counter Mode.
    A256Gcm,
}

impl ContentAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 4] =
        [Self::A128CbcHs256, Self::A256CbcHs512, Self::A128Gcm, Self::A256Gcm];

    /// The algorithm that `enc` names; `None` if it is not supported.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// The value of `enc`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A128CbcHs256 => "A128CBC-HS256",
            Self::A256CbcHs512 => "A256CBC-HS512",
            Self::A128Gcm => "A128GCM",
            Self::A256Gcm => "A256GCM",
        }
    }

    /// Octets in a key.
    #[must_use]
    pub const fn key_length(self) -> usize {
        match self {
            Self::A128Gcm => 16,
            Self::A128CbcHs256 | Self::A256Gcm => 32,
            Self::A256CbcHs512 => LONGEST_KEY,
        }
    }

    /// Octets in an initialization vector.
    #[must_use]
    pub const fn iv_length(self) -> usize {
        match self {
            Self::A128CbcHs256 | Self::A256CbcHs512 => BLOCK,
            Self::A128Gcm | Self::A256Gcm => 12,
        }
    }

    /// Octets in an authentication tag.
    #[must_use]
    pub const fn tag_length(self) -> usize {
        match self {
            Self::A128CbcHs256 | Self::A128Gcm | Self::A256Gcm => 16,
            Self::A256CbcHs512 => LONGEST_TAG,
        }
    }

    /// The most octets by which a ciphertext is longer than its plaintext.
    #[must_use]
    pub const fn overhead(self) -> usize {
        match self {
            Self::A128CbcHs256 | Self::A256CbcHs512 => BLOCK,
            Self::A128Gcm | Self::A256Gcm => 0,
        }
    }
}

/// An authentication tag, of the length that its algorithm gives it.
pub type Tag = heapless::Vec<u8, LONGEST_TAG>;

/// A content encryption key (CEK), bound to the one algorithm that it is for.
///
/// It can be moved, but not copied or printed:
///
/// ```
/// use otrp_engine::jose::content::ContentKey;
/// fn takes<T: Sized>() {}
/// takes::<ContentKey>();
/// ```
/// ```compile_fail,E0277
/// use otrp_engine::jose::content::ContentKey;
/// fn takes<T: Clone>() {}
/// takes::<ContentKey>();
/// ```
/// ```compile_fail,E0277
/// use otrp_engine::jose::content::ContentKey;
/// fn takes<T: core::fmt::Debug>() {}
/// takes::<ContentKey>();
/// ```
#[derive(ZeroizeOnDrop)]
pub struct ContentKey(Octets);

/// The octets of a key; the variant is the algorithm, so that neither can be mistaken.
#[derive(ZeroizeOnDrop)]
enum Octets {
    A128CbcHs256([u8; 32]),
    A256CbcHs512([u8; 64]),
    A128Gcm([u8; 16]),
    A256Gcm([u8; 32]),
}

impl ContentKey {
    /// Makes a fresh random key.
    ///
    /// # Errors
    /// [`Error::Port`] if there are no random bytes.
    pub fn generate<R: Rng>(algorithm: ContentAlgorithm, rng: &mut R) -> Result<Self, Error> {
        let mut buffer = Zeroizing::new([0; LONGEST_KEY]);
        let bytes = buffer.get_mut(..algorithm.key_length()).ok_or(Error::Internal)?;
        rng.fill(bytes)?;
        Self::from_bytes(algorithm, bytes)
    }

    /// Takes the octets of a key; the caller wipes its own copy.
    ///
    /// # Errors
    /// [`Error::Crypto`] unless there are exactly [`ContentAlgorithm::key_length`] of them.
    pub fn from_bytes(algorithm: ContentAlgorithm, bytes: &[u8]) -> Result<Self, Error> {
        Ok(Self(match algorithm {
            ContentAlgorithm::A128CbcHs256 => Octets::A128CbcHs256(exactly(bytes)?),
            ContentAlgorithm::A256CbcHs512 => Octets::A256CbcHs512(exactly(bytes)?),
            ContentAlgorithm::A128Gcm => Octets::A128Gcm(exactly(bytes)?),
            ContentAlgorithm::A256Gcm => Octets::A256Gcm(exactly(bytes)?),
        }))
    }

    /// The algorithm that the key is for.
    #[must_use]
    pub const fn algorithm(&self) -> ContentAlgorithm {
        match self.0 {
            Octets::A128CbcHs256(_) => ContentAlgorithm::A128CbcHs256,
            Octets::A256CbcHs512(_) => ContentAlgorithm::A256CbcHs512,
            Octets::A128Gcm(_) => ContentAlgorithm::A128Gcm,
            Octets::A256Gcm(_) => ContentAlgorithm::A256Gcm,
        }
    }

    /// The octets, to be wrapped for a recipient.
    pub(super) const fn bytes(&self) -> &[u8] {
        match &self.0 {
            Octets::A128CbcHs256(bytes) | Octets::A256Gcm(bytes) => bytes,
            Octets::A256CbcHs512(bytes) => bytes,
            Octets::A128Gcm(bytes) => bytes,
        }
    }

    /// Checks `tag`, then decrypts the ciphertext that `buffer` holds; returns the plaintext, which
    /// starts where `buffer` starts.
    ///
    /// # Errors
    /// [`Error::Crypto`], whatever is wrong; `buffer` then holds the ciphertext or zeros.
    pub fn decrypt_in_place<'b>(
        &self,
        iv: &[u8],
        aad: &[u8],
        buffer: &'b mut [u8],
        tag: &[u8],
    ) -> Result<&'b mut [u8], Error> {
        match &self.0 {
            Octets::A128CbcHs256(key) => {
                let halves = halves(key)?;
                decrypt_cbc_hmac::<Aes128, Hmac<Sha256>>(halves, iv, aad, buffer, tag)
            }
            Octets::A256CbcHs512(key) => {
                let halves = halves(key)?;
                decrypt_cbc_hmac::<Aes256, Hmac<Sha512>>(halves, iv, aad, buffer, tag)
            }
            Octets::A128Gcm(key) => decrypt_gcm::<Aes128Gcm>(key, iv, aad, buffer, tag),
            Octets::A256Gcm(key) => decrypt_gcm::<Aes256Gcm>(key, iv, aad, buffer, tag),
        }
    }

    /// Encrypts the first `plaintext_length` octets of `buffer`; returns the ciphertext, which
    /// starts where `buffer` starts, and its tag.
    ///
    /// `iv` must never be used twice with one key.
    ///
    /// # Errors
    /// [`Error::Internal`] if `iv` is not of the algorithm's length, or if `buffer` has no room for
    /// the padding: [`ContentAlgorithm::overhead`] octets behind the plaintext are always enough.
    pub fn encrypt_in_place<'b>(
        &self,
        iv: &[u8],
        aad: &[u8],
        buffer: &'b mut [u8],
        plaintext_length: usize,
    ) -> Result<(&'b [u8], Tag), Error> {
        match &self.0 {
            Octets::A128CbcHs256(key) => {
                let halves = halves(key)?;
                encrypt_cbc_hmac::<Aes128, Hmac<Sha256>>(halves, iv, aad, buffer, plaintext_length)
            }
            Octets::A256CbcHs512(key) => {
                let halves = halves(key)?;
                encrypt_cbc_hmac::<Aes256, Hmac<Sha512>>(halves, iv, aad, buffer, plaintext_length)
            }
            Octets::A128Gcm(key) => {
                encrypt_gcm::<Aes128Gcm>(key, iv, aad, buffer, plaintext_length)
            }
            Octets::A256Gcm(key) => {
                encrypt_gcm::<Aes256Gcm>(key, iv, aad, buffer, plaintext_length)
            }
        }
    }
}

/// How the data of a trusted application is encrypted (OTrP draft, `encrypted_ta`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataAlgorithm {
    /// AES-256 in CBC mode with PKCS #7 padding.
    AesCbc,
    /// AES-256 in Galois/Counter Mode, the tag behind the ciphertext, over what the data is for too.
    A256Gcm,
}

impl DataAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 2] = [Self::AesCbc, Self::A256Gcm];

    /// The algorithm of this name; `None` if it is not supported.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesCbc => "AESCBC",
            Self::A256Gcm => "A256GCM",
        }
    }

    /// Octets in an initialization vector.
    #[must_use]
    pub const fn iv_length(self) -> usize {
        match self {
            Self::AesCbc => BLOCK,
            Self::A256Gcm => 12,
        }
    }

    /// Octets in the longest ciphertext of a plaintext of up to so many octets.
    #[must_use]
    pub const fn longest(self, plaintext: usize) -> usize {
        match self {
            // Up to the next multiple of the block above it.
            Self::AesCbc => (plaintext | 15).saturating_add(1),
            Self::A256Gcm => plaintext.saturating_add(16),
        }
    }
}

/// The key that a service provider encrypts a trusted application's data with.
#[derive(ZeroizeOnDrop)]
pub struct DataKey([u8; 32]);

impl DataKey {
    /// Takes the octets of a key; the caller wipes its own copy.
    ///
    /// # Errors
    /// [`Error::Crypto`] unless there are 32 of them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        exactly(bytes).map(Self)
    }

    /// The octets, for a cipher.
    pub(super) const fn octets(&self) -> &[u8; 32] {
        &self.0
    }

    /// Decrypts what `buffer` holds, which was encrypted for what `aad` says; returns the plaintext,
    /// which starts where `buffer` starts.
    ///
    /// [`DataAlgorithm::AesCbc`] authenticates nothing, neither `aad` nor the text: a changed
    /// ciphertext may well decrypt. What the plaintext fails at later (the signature of the image,
    /// say) must look to the outside like a failure here, or who can submit changed ciphertexts
    /// learns about the padding.
    ///
    /// # Errors
    /// [`Error::Crypto`], whatever is wrong; `buffer` then holds the ciphertext or zeros.
    pub fn decrypt_in_place<'b>(
        &self,
        algorithm: DataAlgorithm,
        iv: &[u8],
        aad: &[u8],
        buffer: &'b mut [u8],
    ) -> Result<&'b mut [u8], Error> {
        match algorithm {
            DataAlgorithm::AesCbc => decrypt_cbc::<Aes256>(&self.0, iv, buffer),
            DataAlgorithm::A256Gcm => {
                let (ciphertext, tag) = buffer.split_last_chunk_mut::<16>().ok_or(Error::Crypto)?;
                decrypt_gcm::<Aes256Gcm>(&self.0, iv, aad, ciphertext, tag)
            }
        }
    }
}

/// The octets as an array, if there are as many as it has.
fn exactly<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Error> {
    bytes.try_into().map_err(|_| Error::Crypto)
}

/// The two keys of the CBC-HMAC composition (RFC 7518, section 5.2.2.1).
struct Halves<'k> {
    mac: &'k [u8],
    encryption: &'k [u8],
}

/// MAC key first, encryption key second, each half of the content key.
fn halves(key: &[u8]) -> Result<Halves<'_>, Error> {
    let (mac, encryption) = key.split_at_checked(key.len() >> 1).ok_or(Error::Internal)?;
    Ok(Halves { mac, encryption })
}

/// Decryption with AES-CBC and HMAC-SHA-2 (RFC 7518, section 5.2.2.2).
fn decrypt_cbc_hmac<'b, C, M>(
    key: Halves<'_>,
    iv: &[u8],
    aad: &[u8],
    buffer: &'b mut [u8],
    tag: &[u8],
) -> Result<&'b mut [u8], Error>
where
    C: BlockCipherDecrypt<BlockSize = U16> + KeyInit,
    M: Mac + KeyInit,
{
    let authenticator = authenticator::<M>(key.mac, iv, aad, buffer)?;
    // `ct_eq` of slices is false for different lengths.
    if bool::from(truncated(&authenticator)?.ct_eq(tag)) {
        decrypt_cbc::<C>(key.encryption, iv, buffer)
    } else {
        Err(Error::Crypto)
    }
}

/// Encryption with AES-CBC and HMAC-SHA-2 (RFC 7518, section 5.2.2.1).
fn encrypt_cbc_hmac<'b, C, M>(
    key: Halves<'_>,
    iv: &[u8],
    aad: &[u8],
    buffer: &'b mut [u8],
    plaintext_length: usize,
) -> Result<(&'b [u8], Tag), Error>
where
    C: BlockCipherEncrypt<BlockSize = U16> + KeyInit,
    M: Mac + KeyInit,
{
    // There is always padding: up to the next multiple of the block above `plaintext_length`.
    let length = (plaintext_length | 15).checked_add(1).ok_or(Error::Internal)?;
    let buffer = buffer.get_mut(..length).ok_or(Error::Internal)?;
    let padding = buffer.get_mut(plaintext_length..).ok_or(Error::Internal)?;
    padding.fill(u8::try_from(padding.len()).map_err(|_| Error::Internal)?);

    let mut cipher =
        cbc::Encryptor::<C>::new_from_slices(key.encryption, iv).map_err(|_| Error::Internal)?;
    let (blocks, _) = Array::slice_as_chunks_mut(buffer);
    cipher.encrypt_blocks(blocks);

    let authenticator = authenticator::<M>(key.mac, iv, aad, buffer)?;
    let tag = Tag::from_slice(truncated(&authenticator)?).map_err(|_| Error::Internal)?;
    Ok((buffer, tag))
}

/// The whole HMAC of the composition; the tag is its first half.
fn authenticator<M: Mac + KeyInit>(
    key: &[u8],
    iv: &[u8],
    aad: &[u8],
    ciphertext: &[u8],
) -> Result<CtOutput<M>, Error> {
    let aad_bits = u64::try_from(aad.len())
        .ok()
        .and_then(|octets| octets.checked_mul(8))
        .ok_or(Error::Internal)?;
    let mut mac = <M as KeyInit>::new_from_slice(key).map_err(|_| Error::Internal)?;
    mac.update(aad);
    mac.update(iv);
    mac.update(ciphertext);
    mac.update(&aad_bits.to_be_bytes());
    Ok(mac.finalize())
}

/// The first half of an HMAC.
fn truncated<M: Mac>(authenticator: &CtOutput<M>) -> Result<&[u8], Error> {
    let whole = authenticator.as_bytes().as_slice();
    whole.get(..whole.len() >> 1).ok_or(Error::Internal)
}

/// AES-CBC decryption and removal of PKCS #7 padding, without any authentication.
fn decrypt_cbc<'b, C>(key: &[u8], iv: &[u8], buffer: &'b mut [u8]) -> Result<&'b mut [u8], Error>
where
    C: BlockCipherDecrypt<BlockSize = U16> + KeyInit,
{
    // Not only for the cipher: a tag covers where the vector ends only because its length is fixed.
    if iv.len() != BLOCK {
        return Err(Error::Crypto);
    }
    let (blocks, []) = Array::slice_as_chunks_mut(&mut *buffer) else {
        return Err(Error::Crypto);
    };
    let mut cipher = cbc::Decryptor::<C>::new_from_slices(key, iv).map_err(|_| Error::Internal)?;
    // All blocks in one call, so that the cipher works on several at a time.
    cipher.decrypt_blocks(blocks);
    match unpadded_length(buffer) {
        Some(length) => buffer.get_mut(..length).ok_or(Error::Internal),
        None => {
            buffer.zeroize();
            Err(Error::Crypto)
        }
    }
}

/// The length of `buffer` without its PKCS #7 padding (RFC 5652, section 6.3); `None` if that is
/// malformed. The time taken does not depend on the contents.
pub(super) fn unpadded_length(buffer: &[u8]) -> Option<usize> {
    let last_block: &[u8; BLOCK] = buffer.last_chunk()?;
    let &[.., count] = last_block;
    let mut good = !count.ct_eq(&0) & !count.ct_gt(&16);
    for (position, octet) in (1u8..).zip(last_block.iter().rev()) {
        let beyond: Choice = position.ct_gt(&count);
        good &= beyond | octet.ct_eq(&count);
    }
    bool::from(good).then(|| buffer.len().checked_sub(usize::from(count))).flatten()
}

/// Decryption with AES-GCM (RFC 7518, section 5.3). The cipher checks the tag, in constant time,
/// before it decrypts.
fn decrypt_gcm<'b, A: AeadInOut + KeyInit>(
    key: &[u8],
    iv: &[u8],
    aad: &[u8],
    buffer: &'b mut [u8],
    tag: &[u8],
) -> Result<&'b mut [u8], Error> {
    let iv = iv.try_into().map_err(|_| Error::Crypto)?;
    let tag = tag.try_into().map_err(|_| Error::Crypto)?;
    A::new_from_slice(key)
        .map_err(|_| Error::Internal)?
        .decrypt_inout_detached(iv, aad, (&mut *buffer).into(), tag)
        .map_err(|_| Error::Crypto)?;
    Ok(buffer)
}

/// Encryption with AES-GCM (RFC 7518, section 5.3).
fn encrypt_gcm<'b, A: AeadInOut + KeyInit>(
    key: &[u8],
    iv: &[u8],
    aad: &[u8],
    buffer: &'b mut [u8],
    plaintext_length: usize,
) -> Result<(&'b [u8], Tag), Error> {
    let iv = iv.try_into().map_err(|_| Error::Internal)?;
    let buffer = buffer.get_mut(..plaintext_length).ok_or(Error::Internal)?;
    let tag = A::new_from_slice(key)
        .map_err(|_| Error::Internal)?
        .encrypt_inout_detached(iv, aad, (&mut *buffer).into())
        .map_err(|_| Error::Internal)?;
    let tag = Tag::from_slice(&tag).map_err(|_| Error::Internal)?;
    Ok((buffer, tag))
}

#[cfg(test)]
mod tests;
