//! The data of a trusted application, decrypted piece by piece (OTrP draft, `encrypted_ta`).

use aes::Aes256;
use aes::cipher::{
    Array, BlockCipherEncrypt as _, BlockModeDecrypt as _, KeyInit as _, KeyIvInit as _,
    StreamCipher as _, StreamCipherSeek as _,
};
use ctr::Ctr32BE;
use ghash::GHash;
use ghash::universal_hash::UniversalHash as _;
use subtle::ConstantTimeEq as _;

use super::content::{BLOCK, DataAlgorithm, DataKey, unpadded_length};
use crate::crypto::Error;

/// Octets of a tag of Galois/Counter Mode.
const TAG: usize = 16;

/// A decryption on its way.
///
/// The plaintext that it gives is not authenticated before [`DataStream::finish`], and with
/// [`DataAlgorithm::AesCbc`] not even then.
pub struct DataStream(Cipher);

#[expect(clippy::large_enum_variant, reason = "there is one, and it lives on the stack")]
enum Cipher {
    Cbc(cbc::Decryptor<Aes256>),
    Gcm(Gcm),
}

struct Gcm {
    stream: Ctr32BE<Aes256>,
    hash: GHash,
    /// What encrypts the tag.
    mask: [u8; TAG],
    aad_bits: u64,
    ciphertext_octets: u64,
}

impl DataStream {
    /// The start of a ciphertext that was encrypted for what `aad` says.
    ///
    /// # Errors
    /// [`Error::Crypto`] for an initialization vector of another length.
    pub fn new(
        key: &DataKey,
        algorithm: DataAlgorithm,
        iv: &[u8],
        aad: &[u8],
    ) -> Result<Self, Error> {
        Ok(Self(match algorithm {
            DataAlgorithm::AesCbc => Cipher::Cbc(cbc_from(key, iv)?),
            DataAlgorithm::A256Gcm => Cipher::Gcm(Gcm::new(key, iv, aad)?),
        }))
    }

    /// How many octets at the end of a ciphertext are for [`DataStream::finish`]: at least so many, and
    /// fewer than a block more.
    #[must_use]
    pub const fn held_back(algorithm: DataAlgorithm) -> usize {
        match algorithm {
            DataAlgorithm::AesCbc => 1,
            DataAlgorithm::A256Gcm => TAG,
        }
    }

    /// Decrypts whole blocks in place.
    ///
    /// # Errors
    /// [`Error::Internal`] for anything but whole blocks.
    pub fn push(&mut self, blocks: &mut [u8]) -> Result<(), Error> {
        match &mut self.0 {
            Cipher::Cbc(cipher) => {
                let (blocks, []) = Array::slice_as_chunks_mut(blocks) else {
                    return Err(Error::Internal);
                };
                // All in one call, so that the cipher works on several at a time.
                cipher.decrypt_blocks(blocks);
                Ok(())
            }
            Cipher::Gcm(gcm) => gcm.push(blocks),
        }
    }

    /// Decrypts the end in place: how many octets that are, padding among them, and how many of them are
    /// plaintext. So the caller can treat them alike, whatever the verdict.
    ///
    /// The verdict is [`Error::Crypto`], whatever is wrong.
    pub fn finish(mut self, rest: &mut [u8]) -> (usize, Result<usize, Error>) {
        match &mut self.0 {
            Cipher::Cbc(_) => {
                if rest.len() != BLOCK || self.push(rest).is_err() {
                    return (0, Err(Error::Crypto));
                }
                (BLOCK, unpadded_length(rest).ok_or(Error::Crypto))
            }
            Cipher::Gcm(gcm) => {
                let Some((ciphertext, tag)) = rest.split_last_chunk_mut::<TAG>() else {
                    return (0, Err(Error::Crypto));
                };
                let length = ciphertext.len();
                let verdict = gcm.push(ciphertext).and_then(|()| gcm.check(tag));
                (length, verdict.map(|()| length))
            }
        }
    }
}

/// Decrypts a part of a ciphertext in place, from a whole number of blocks on, without a look at its
/// integrity: for what a [`DataStream`] has been through before.
///
/// `blocks` is the part with the block before it, or with the initialization vector; the plaintext is
/// what follows that.
///
/// # Errors
/// [`Error::Crypto`] for a wrong initialization vector, or anything but whole blocks.
pub fn decrypt_part(
    key: &DataKey,
    algorithm: DataAlgorithm,
    iv: &[u8],
    start: usize,
    blocks: &mut [u8],
) -> Result<(), Error> {
    let (before, part) = blocks.split_first_chunk_mut::<BLOCK>().ok_or(Error::Crypto)?;
    match algorithm {
        DataAlgorithm::AesCbc => {
            let (part, []) = Array::slice_as_chunks_mut(part) else { return Err(Error::Crypto) };
            let iv: &[u8] = if start == 0 { iv } else { before };
            cbc_from(key, iv)?.decrypt_blocks(part);
        }
        DataAlgorithm::A256Gcm => {
            let mut stream = counter(key, iv)?;
            stream.try_seek(start).map_err(|_| Error::Crypto)?;
            stream.try_apply_keystream(part).map_err(|_| Error::Crypto)?;
        }
    }
    Ok(())
}

fn cbc_from(key: &DataKey, iv: &[u8]) -> Result<cbc::Decryptor<Aes256>, Error> {
    cbc::Decryptor::new_from_slices(key.octets(), iv).map_err(|_| Error::Crypto)
}

/// The key stream at the first block of the text.
fn counter(key: &DataKey, iv: &[u8]) -> Result<Ctr32BE<Aes256>, Error> {
    Ctr32BE::new_from_slices(key.octets(), &counter_block(iv, 2)?).map_err(|_| Error::Crypto)
}

/// NIST SP 800-38D, section 7.1: the block of the initialization vector and this count.
fn counter_block(iv: &[u8], count: u8) -> Result<[u8; BLOCK], Error> {
    let iv: &[u8; 12] = iv.try_into().map_err(|_| Error::Crypto)?;
    let mut block = [0; BLOCK];
    let (head, tail) = block.split_at_mut(iv.len());
    head.copy_from_slice(iv);
    if let Some(last) = tail.last_mut() {
        *last = count;
    }
    Ok(block)
}

impl Gcm {
    fn new(key: &DataKey, iv: &[u8], aad: &[u8]) -> Result<Self, Error> {
        let cipher = Aes256::new_from_slice(key.octets()).map_err(|_| Error::Internal)?;
        let mut subkey = Array::from([0; BLOCK]);
        cipher.encrypt_block(&mut subkey);
        let mut hash = <GHash as ghash::universal_hash::KeyInit>::new(&subkey);
        hash.update_padded(aad);
        let mut mask = Array::from(counter_block(iv, 1)?);
        cipher.encrypt_block(&mut mask);
        let aad_bits = u64::try_from(aad.len()).ok().and_then(|octets| octets.checked_mul(8));
        Ok(Self {
            stream: counter(key, iv)?,
            hash,
            mask: mask.into(),
            aad_bits: aad_bits.ok_or(Error::Internal)?,
            ciphertext_octets: 0,
        })
    }

    /// Only the last piece may be other than whole blocks.
    fn push(&mut self, ciphertext: &mut [u8]) -> Result<(), Error> {
        self.hash.update_padded(ciphertext);
        let octets = u64::try_from(ciphertext.len()).map_err(|_| Error::Internal)?;
        self.ciphertext_octets = self.ciphertext_octets.saturating_add(octets);
        self.stream.try_apply_keystream(ciphertext).map_err(|_| Error::Crypto)
    }

    fn check(&mut self, tag: &[u8; TAG]) -> Result<(), Error> {
        let bits = self.ciphertext_octets.checked_mul(8).ok_or(Error::Crypto)?;
        let mut lengths = [0; BLOCK];
        let (aad, text) = lengths.split_at_mut(8);
        aad.copy_from_slice(&self.aad_bits.to_be_bytes());
        text.copy_from_slice(&bits.to_be_bytes());
        let mut hash = self.hash.clone();
        hash.update_padded(&lengths);
        let mut expected: [u8; TAG] = hash.finalize().into();
        for (octet, mask) in expected.iter_mut().zip(self.mask) {
            *octet ^= mask;
        }
        if bool::from(expected.as_slice().ct_eq(tag)) { Ok(()) } else { Err(Error::Crypto) }
    }
}

#[cfg(test)]
mod tests;
