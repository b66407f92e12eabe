//! Signed trusted applications, in the form of OP-TEE's `sign_encrypt.py`.
//!
//! ```text
//! magic  type  size  algorithm  digest length  signature length     little-endian, 20 octets
//! digest  signature  UUID (16)  version (4, little-endian)  ELF
//! ```
//! The digest is SHA-256 over everything else but the signature; the signature is over the digest.

use openssl::bn::BigNum;
use openssl::ec::EcKeyRef;
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{HasPublic, Id, PKeyRef, Private};
use openssl::rsa::Padding;
use openssl::sha::Sha256;
use openssl::sign::{RsaPssSaltlen, Signer, Verifier};

use crate::{Error, Result, Uuid};

/// "OTSH", `SHDR_MAGIC`.
const MAGIC: u32 = 0x4f54_5348;
/// `SHDR_BOOTSTRAP_TA`: the type that carries a UUID and a version under the signature.
const BOOTSTRAP_TA: u32 = 1;
const FIXED_LENGTH: usize = 20;
const DIGEST_LENGTH: usize = 32;
const SUBHEADER_LENGTH: usize = 20;
/// r and s of P-256, each padded to the curve's size: the GlobalPlatform form of a signature.
const P256_SIGNATURE_LENGTH: usize = 64;

/// How an image is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// RSASSA-PSS with SHA-256, MGF1 of SHA-256 and 32 octets of salt: OP-TEE's default.
    RsaPssSha256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RsaPkcs1Sha256,
    /// ECDSA on P-256 with SHA-256; OP-TEE's own loader does not know it, the OTrP broker does.
    EcdsaP256Sha256,
}

/// A parsed signed image; nothing in it is verified yet.
#[derive(Debug, Clone, Copy)]
pub struct SignedImage<'a> {
    /// How it is signed.
    pub algorithm: Algorithm,
    /// The digest as the header states it.
    pub digest: &'a [u8],
    /// The signature over the digest.
    pub signature: &'a [u8],
    /// The UUID under which the application will be installed.
    pub uuid: Uuid,
    /// The version that an update must not lower.
    pub version: u32,
    /// The application.
    pub elf: &'a [u8],
    fixed: &'a [u8],
    subheader: &'a [u8],
}

impl Algorithm {
    /// The default algorithm of a key.
    ///
    /// # Errors
    /// `SigningKey` for a key that is neither P-256 nor RSA of 2048 to 4096 bits.
    pub fn of<T: HasPublic>(key: &PKeyRef<T>) -> Result<Self> {
        match key.id() {
            Id::RSA if (2048..=4096).contains(&key.bits()) => Ok(Self::RsaPssSha256),
            Id::EC if is_p256(&*key.ec_key()?) => Ok(Self::EcdsaP256Sha256),
            _ => Err(Error::SigningKey),
        }
    }

    /// The GlobalPlatform identifier: `TEE_ALG_RSASSA_PKCS1_PSS_MGF1_SHA256`,
    /// `TEE_ALG_RSASSA_PKCS1_V1_5_SHA256` or `TEE_ALG_ECDSA_SHA256`.
    #[must_use]
    pub const fn identifier(self) -> u32 {
        match self {
            Self::RsaPssSha256 => 0x7041_4930,
            Self::RsaPkcs1Sha256 => 0x7000_4830,
            Self::EcdsaP256Sha256 => 0x7000_3042,
        }
    }

    /// The name in the GlobalPlatform header file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RsaPssSha256 => "TEE_ALG_RSASSA_PKCS1_PSS_MGF1_SHA256",
            Self::RsaPkcs1Sha256 => "TEE_ALG_RSASSA_PKCS1_V1_5_SHA256",
            Self::EcdsaP256Sha256 => "TEE_ALG_ECDSA_SHA256",
        }
    }

    /// The name on the command line.
    #[must_use]
    pub const fn short_name(self) -> &'static str {
        match self {
            Self::RsaPssSha256 => "rsa-pss",
            Self::RsaPkcs1Sha256 => "rsa-pkcs1",
            Self::EcdsaP256Sha256 => "ecdsa",
        }
    }

    fn from_identifier(identifier: u32) -> Option<Self> {
        [Self::RsaPssSha256, Self::RsaPkcs1Sha256, Self::EcdsaP256Sha256]
            .into_iter()
            .find(|algorithm| algorithm.identifier() == identifier)
    }

    fn suits<T: HasPublic>(self, key: &PKeyRef<T>) -> Result<bool> {
        let default = Self::of(key)?;
        Ok(self == default || (self, default) == (Self::RsaPkcs1Sha256, Self::RsaPssSha256))
    }
}

/// Signs an application with `algorithm`, by default the key's own.
///
/// # Errors
/// `SigningKey` if the key cannot create that signature, `ImageSize`, or OpenSSL's.
pub fn sign(
    key: &PKeyRef<Private>,
    algorithm: Option<Algorithm>,
    uuid: Uuid,
    version: u32,
    elf: &[u8],
) -> Result<Vec<u8>> {
    let algorithm = match algorithm {
        Some(algorithm) if algorithm.suits(key)? => algorithm,
        Some(asked) => {
            let (asked, makes) = (asked.short_name(), Algorithm::of(key)?.short_name());
            return Err(Error::Algorithm { asked, makes });
        }
        None => Algorithm::of(key)?,
    };
    let size = u32::try_from(elf.len()).ok().filter(|size| *size > 0).ok_or(Error::ImageSize)?;
    let signature_length = match algorithm {
        Algorithm::EcdsaP256Sha256 => P256_SIGNATURE_LENGTH,
        Algorithm::RsaPssSha256 | Algorithm::RsaPkcs1Sha256 => key.size(),
    };

    let mut fixed = Vec::with_capacity(FIXED_LENGTH);
    for word in [MAGIC, BOOTSTRAP_TA, size, algorithm.identifier()] {
        fixed.extend(word.to_le_bytes());
    }
    for length in [DIGEST_LENGTH, signature_length] {
        fixed.extend(u16::try_from(length).map_err(|_| Error::SigningKey)?.to_le_bytes());
    }
    let subheader = [uuid.0.as_slice(), &version.to_le_bytes()].concat();

    let mut digest = Sha256::new();
    let mut signer = Signer::new(MessageDigest::sha256(), key)?;
    match algorithm {
        Algorithm::RsaPssSha256 => {
            signer.set_rsa_padding(Padding::PKCS1_PSS)?;
            signer.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
        }
        Algorithm::RsaPkcs1Sha256 => signer.set_rsa_padding(Padding::PKCS1)?,
        Algorithm::EcdsaP256Sha256 => {}
    }
    for part in [fixed.as_slice(), &subheader, elf] {
        digest.update(part);
        signer.update(part)?;
    }
    let mut signature = signer.sign_to_vec()?;
    if algorithm == Algorithm::EcdsaP256Sha256 {
        signature = fixed_size(&*EcdsaSig::from_der(&signature)?)?;
    }
    Ok([fixed.as_slice(), &digest.finish(), &signature, &subheader, elf].concat())
}

impl<'a> SignedImage<'a> {
    /// Parses a signed image.
    ///
    /// # Errors
    /// `ImageFormat` says what is wrong with it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self> {
        let refused = Error::ImageFormat;
        let (fixed, rest) = bytes.split_at_checked(FIXED_LENGTH).ok_or(refused("too short"))?;
        if word(fixed, 0) != MAGIC {
            return Err(refused("it does not begin with the magic number"));
        }
        if word(fixed, 4) != BOOTSTRAP_TA {
            return Err(refused("its type is not that of a signed, unencrypted application"));
        }
        let algorithm = Algorithm::from_identifier(word(fixed, 12))
            .ok_or(refused("its signature algorithm is unknown"))?;
        if half_word(fixed, 16) != DIGEST_LENGTH {
            return Err(refused("its digest is not a SHA-256"));
        }
        let signature_length = half_word(fixed, 18);
        let (digest, rest) = rest.split_at_checked(DIGEST_LENGTH).ok_or(refused("too short"))?;
        let (signature, rest) =
            rest.split_at_checked(signature_length).ok_or(refused("too short"))?;
        let (subheader, elf) =
            rest.split_at_checked(SUBHEADER_LENGTH).ok_or(refused("too short"))?;
        if u32::try_from(elf.len()) != Ok(word(fixed, 8)) {
            return Err(refused("its size is not the size it states"));
        }
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&subheader[..16]);
        Ok(Self {
            algorithm,
            digest,
            signature,
            uuid: Uuid(uuid),
            version: word(subheader, 16),
            elf,
            fixed,
            subheader,
        })
    }

    /// Whether the stated digest is that of the content.
    #[must_use]
    pub fn digest_matches(&self) -> bool {
        let mut digest = Sha256::new();
        for part in self.signed_parts() {
            digest.update(part);
        }
        digest.finish() == self.digest
    }

    /// Whether the contents match the digest and the signature verifies with `key`.
    ///
    /// # Errors
    /// OpenSSL's, if it could not verify.
    pub fn is_signed_by<T: HasPublic>(&self, key: &PKeyRef<T>) -> Result<bool> {
        if !self.digest_matches() || !self.algorithm.suits(key)? {
            return Ok(false);
        }
        let mut verifier = Verifier::new(MessageDigest::sha256(), key)?;
        let signature = match self.algorithm {
            Algorithm::RsaPssSha256 => {
                verifier.set_rsa_padding(Padding::PKCS1_PSS)?;
                verifier.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
                self.signature.to_vec()
            }
            Algorithm::RsaPkcs1Sha256 => {
                verifier.set_rsa_padding(Padding::PKCS1)?;
                self.signature.to_vec()
            }
            Algorithm::EcdsaP256Sha256 => {
                if self.signature.len() != P256_SIGNATURE_LENGTH {
                    return Ok(false);
                }
                let (r, s) = self.signature.split_at(P256_SIGNATURE_LENGTH / 2);
                EcdsaSig::from_private_components(BigNum::from_slice(r)?, BigNum::from_slice(s)?)?
                    .to_der()?
            }
        };
        for part in self.signed_parts() {
            verifier.update(part)?;
        }
        // OpenSSL reports some malformed signatures as errors; for the caller both are "no".
        Ok(verifier.verify(&signature).unwrap_or(false))
    }

    fn signed_parts(&self) -> [&'a [u8]; 3] {
        [self.fixed, self.subheader, self.elf]
    }
}

fn is_p256<T: HasPublic>(key: &EcKeyRef<T>) -> bool {
    key.group().curve_name() == Some(Nid::X9_62_PRIME256V1)
}

fn fixed_size(signature: &openssl::ecdsa::EcdsaSigRef) -> Result<Vec<u8>> {
    let half = i32::try_from(P256_SIGNATURE_LENGTH / 2).map_err(|_| Error::SigningKey)?;
    Ok([signature.r().to_vec_padded(half)?, signature.s().to_vec_padded(half)?].concat())
}

/// The little-endian word at `offset` of a slice known to hold it.
fn word(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes([bytes[offset], bytes[offset + 1], bytes[offset + 2], bytes[offset + 3]])
}

fn half_word(bytes: &[u8], offset: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[offset], bytes[offset + 1]]))
}
