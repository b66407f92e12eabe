//! How keys are padded when they are encrypted (RFC 8017, section 7; RFC 7518, sections 4.2, 4.3).
//!
//! A ciphertext that decrypts to anything but a key of the expected length gives a random key
//! instead, for all paddings alike. So whatever is wrong with it shows as a content that is not
//! authentic, and as nothing else (RFC 7516, section 11.5). The key's length is known beforehand,
//! so that the place of everything is, too, and nothing that is secret decides where to look.

use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use super::{is_below, mask};
use crate::crypto::Error;
use crate::platform::{KeyName, Keys, Modulus, PortError, Rng, RsaPublic};

/// The least octets of random padding (RFC 8017, section 7.2.1).
const PADDING_LEAST: usize = 8;
/// Draws for an octet that must not be zero: that all are has a probability of 2^-128.
const DRAWS: usize = 16;

/// How a key is padded before it is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// RSAES-PKCS1-v1_5.
    Pkcs1,
    /// RSAES-OAEP with SHA-1 and MGF1 of SHA-1.
    OaepSha1,
    /// RSAES-OAEP with SHA-256 and MGF1 of SHA-256.
    OaepSha256,
}

/// Decrypts a key of exactly the length of `message` with the key pair `name`, whose modulus is
/// `modulus`. If `ciphertext` holds no such key, `message` is random.
///
/// # Errors
/// [`Error::Crypto`] if `ciphertext` is not a number below the modulus at its length, which anybody
/// can see; [`Error::Port`] if the key pair cannot be used or there are no random bytes.
pub fn decrypt<K: Keys, R: Rng>(
    keys: &mut K,
    rng: &mut R,
    name: KeyName,
    modulus: &Modulus,
    encryption: Encryption,
    ciphertext: &[u8],
    message: &mut [u8],
) -> Result<(), Error> {
    if !is_below(ciphertext, modulus) {
        return Err(Error::Crypto);
    }
    // Drawn before anything is known of the ciphertext.
    rng.fill(message)?;
    let mut block = Zeroizing::new([0; size_of::<Modulus>()]);
    block.copy_from_slice(ciphertext);
    keys.rsa(name, &mut block)?;
    encryption.take_message(block.as_mut_slice(), message).ok_or(Error::Internal)
}

/// Encrypts `message` for the RSA key of `modulus` and `exponent`; `ciphertext` is as long as the
/// modulus.
///
/// # Errors
/// [`Error::Internal`] if the buffer is too short for the message; [`Error::Port`].
pub fn encrypt<P: RsaPublic, R: Rng>(
    rng: &mut R,
    modulus: &[u8],
    exponent: &[u8],
    encryption: Encryption,
    message: &[u8],
    ciphertext: &mut [u8],
) -> Result<(), Error> {
    encryption.pad(rng, message, ciphertext)?;
    Ok(P::raise(modulus, exponent, ciphertext)?)
}

impl Encryption {
    /// Overwrites `message` with the one that `block` encodes, if it encodes one of this length.
    /// Takes the same time either way. `block` is scratch.
    ///
    /// `None` if a message of this length does not fit into any block of this length.
    pub fn take_message(self, block: &mut [u8], message: &mut [u8]) -> Option<()> {
        match self {
            Self::Pkcs1 => take_pkcs1(block, message),
            Self::OaepSha1 => take_oaep::<Sha1>(block, message),
            Self::OaepSha256 => take_oaep::<Sha256>(block, message),
        }
    }

    /// Fills `block` with an encoding of `message`.
    fn pad<R: Rng>(self, rng: &mut R, message: &[u8], block: &mut [u8]) -> Result<(), Error> {
        match self {
            Self::Pkcs1 => pad_pkcs1(rng, message, block),
            Self::OaepSha1 => pad_oaep::<Sha1, R>(rng, message, block),
            Self::OaepSha256 => pad_oaep::<Sha256, R>(rng, message, block),
        }
    }
}

/// RFC 8017, section 7.2.2, step 3.
fn take_pkcs1(block: &[u8], message: &mut [u8]) -> Option<()> {
    let (head, found) = block.split_at_checked(block.len().checked_sub(message.len())?)?;
    let [zero, kind, padding @ .., separator] = head else { return None };
    if padding.len() < PADDING_LEAST {
        return None;
    }
    let mut good = zero.ct_eq(&0) & kind.ct_eq(&2) & separator.ct_eq(&0);
    for octet in padding {
        good &= !octet.ct_eq(&0);
    }
    select(good, found, message);
    Some(())
}

/// RFC 8017, section 7.2.1, step 2.
fn pad_pkcs1<R: Rng>(rng: &mut R, message: &[u8], block: &mut [u8]) -> Result<(), Error> {
    let head = block.len().checked_sub(message.len()).ok_or(Error::Internal)?;
    let (head, place) = block.split_at_mut_checked(head).ok_or(Error::Internal)?;
    place.copy_from_slice(message);
    let [zero, kind, padding @ .., separator] = head else { return Err(Error::Internal) };
    if padding.len() < PADDING_LEAST {
        return Err(Error::Internal);
    }
    (*zero, *kind, *separator) = (0, 2, 0);
    rng.fill(padding)?;
    for octet in padding {
        for _ in 0..DRAWS {
            if *octet != 0 {
                break;
            }
            rng.fill(core::slice::from_mut(octet))?;
        }
        if *octet == 0 {
            return Err(Error::Port(PortError::Failed));
        }
    }
    Ok(())
}

/// RFC 8017, section 7.1.2, step 3, with an empty label.
fn take_oaep<H: Digest>(block: &mut [u8], message: &mut [u8]) -> Option<()> {
    let (zero, rest) = block.split_first_mut()?;
    let (seed, data) = rest.split_at_mut_checked(<H as Digest>::output_size())?;
    mask::<H>(seed, data);
    mask::<H>(data, seed);
    let (head, found) = data.split_at_checked(data.len().checked_sub(message.len())?)?;
    let (hash, padding) = head.split_at_checked(<H as Digest>::output_size())?;
    let (separator, zeros) = padding.split_last()?;
    let mut good = zero.ct_eq(&0) & hash.ct_eq(&H::digest([])) & separator.ct_eq(&1);
    for octet in zeros {
        good &= octet.ct_eq(&0);
    }
    select(good, found, message);
    Some(())
}

/// RFC 8017, section 7.1.1, step 2, with an empty label.
fn pad_oaep<H: Digest, R: Rng>(rng: &mut R, message: &[u8], block: &mut [u8]) -> Result<(), Error> {
    let (zero, rest) = block.split_first_mut().ok_or(Error::Internal)?;
    let (seed, data) =
        rest.split_at_mut_checked(<H as Digest>::output_size()).ok_or(Error::Internal)?;
    let head = data.len().checked_sub(message.len()).ok_or(Error::Internal)?;
    let (head, place) = data.split_at_mut_checked(head).ok_or(Error::Internal)?;
    let (hash, padding) =
        head.split_at_mut_checked(<H as Digest>::output_size()).ok_or(Error::Internal)?;
    let (separator, zeros) = padding.split_last_mut().ok_or(Error::Internal)?;
    *zero = 0;
    hash.copy_from_slice(&H::digest([]));
    zeros.fill(0);
    *separator = 1;
    place.copy_from_slice(message);
    rng.fill(seed)?;
    mask::<H>(data, seed);
    mask::<H>(seed, data);
    Ok(())
}

/// Copies `found` over `message` where it is `good`.
fn select(good: Choice, found: &[u8], message: &mut [u8]) {
    for (octet, found) in message.iter_mut().zip(found) {
        octet.conditional_assign(found, good);
    }
}
