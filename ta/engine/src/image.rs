//! Signed images of trusted applications, as OP-TEE's `sign_encrypt.py` makes them.
//!
//! ```text
//! offset  size  field
//!      0     4  magic, 0x4f545348        struct shdr, little-endian
//!      4     4  type: bootstrap TA
//!      8     4  size of the ELF
//!     12     4  algorithm, by its GlobalPlatform number
//!     16     2  size of the hash
//!     18     2  size of the signature
//!     20        hash, then signature over it
//!             16  UUID                     struct shdr_bootstrap_ta
//!              4  version, little-endian
//!                 ELF, to the end
//! ```
//! The hash is over the first 20 octets, the UUID, the version and the ELF, as OP-TEE's core
//! computes it when it loads a trusted application from a file.

use core::ops::Deref;

use sha2::{Digest, Sha256};

use crate::crypto::{PublicKey, Scheme};
use crate::elf;
use crate::platform::{RsaPublic, UuidBytes};

/// Longest ELF in bytes. The largest trusted applications in the field take 1 to 2 MiB, and a
/// request carries the image base64 twice.
pub const ELF_LIMIT: usize = 2 * 1024 * 1024;

/// `SHDR_MAGIC`.
const MAGIC: u32 = 0x4f54_5348;
/// `SHDR_BOOTSTRAP_TA`: an ELF whose UUID and version are signed with it. The other types carry no
/// UUID, are encrypted with a key that only the vendor has, or are no application.
const BOOTSTRAP_TA: u32 = 1;
/// How much is hashed before the other hash has its turn: both find it in the first-level cache.
const STRIDE: usize = 4096;

/// How an image is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `TEE_ALG_RSASSA_PKCS1_PSS_MGF1_SHA256`: OP-TEE's default.
    RsaPssSha256,
    /// `TEE_ALG_RSASSA_PKCS1_V1_5_SHA256`.
    RsaPkcs1Sha256,
    /// `TEE_ALG_ECDSA_SHA256`, on P-256; r and s as 32 octets each. OP-TEE's own loader knows RSA
    /// only.
    EcdsaP256Sha256,
}

impl Algorithm {
    const fn from_number(number: u32) -> Option<Self> {
        match number {
            0x7041_4930 => Some(Self::RsaPssSha256),
            0x7000_4830 => Some(Self::RsaPkcs1Sha256),
            0x7000_3042 => Some(Self::EcdsaP256Sha256),
            _ => None,
        }
    }

    const fn scheme(self) -> Scheme {
        match self {
            Self::RsaPssSha256 => Scheme::RsaPss,
            Self::RsaPkcs1Sha256 => Scheme::RsaPkcs1,
            Self::EcdsaP256Sha256 => Scheme::Es256,
        }
    }

    /// Whether any key of the algorithm makes signatures of this size.
    const fn makes(self, signature_size: usize) -> bool {
        match self {
            Self::RsaPssSha256 | Self::RsaPkcs1Sha256 => matches!(signature_size, 256..=512),
            Self::EcdsaP256Sha256 => signature_size == 64,
        }
    }
}

/// Why bytes are no image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// Shorter than its header says, or than a header is.
    Truncated,
    /// Bytes follow the ELF.
    TrailingBytes,
    /// Not a signed image at all.
    Magic,
    /// An encrypted application, a subkey, an application without a UUID, or something unknown.
    Type,
    /// Signed with an algorithm that is not accepted, or sizes that are not those of the algorithm.
    Algorithm,
    /// The application is longer than [`ELF_LIMIT`].
    TooLong,
    /// The application is no ELF.
    NotElf,
    /// The hash in the header is not that of the image.
    Hash,
}

/// An image whose hash is right; by whom it is signed is open.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    algorithm: Algorithm,
    hash: [u8; 32],
    signature: &'a [u8],
    contents: Contents<'a>,
}

#[derive(Clone, Copy, Debug)]
struct Contents<'a> {
    uuid: UuidBytes,
    version: u32,
    elf: &'a [u8],
    digest: [u8; 32],
}

/// An image that was signed by a certain key. Only [`Image::signed_by`] makes one.
///
/// ```
/// use otrp_engine::image::SignedImage;
/// fn pass(image: SignedImage<'_>) -> SignedImage<'_> { image }
/// ```
/// ```compile_fail,E0451
/// use otrp_engine::image::SignedImage;
/// fn pass(image: SignedImage<'_>) -> SignedImage<'_> { SignedImage { ..image } }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SignedImage<'a> {
    contents: Contents<'a>,
}

impl<'a> Image<'a> {
    /// Takes an image apart and checks its hash.
    ///
    /// # Errors
    /// See [`ImageError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let mut rest = bytes;
        let header = take::<20>(&mut rest)?;
        let fields = Header::parse(header)?;
        let stated_hash = *take::<32>(&mut rest)?;
        let signature;
        (signature, rest) =
            rest.split_at_checked(fields.signature_size).ok_or(ImageError::Truncated)?;
        let uuid = *take::<16>(&mut rest)?;
        let version = *take::<4>(&mut rest)?;
        let elf = rest;
        if elf.len() < fields.elf_size {
            return Err(ImageError::Truncated);
        }
        if elf.len() > fields.elf_size {
            return Err(ImageError::TrailingBytes);
        }
        if !elf.starts_with(b"\x7fELF") {
            return Err(ImageError::NotElf);
        }

        let mut whole = Sha256::new().chain_update(header).chain_update(uuid).chain_update(version);
        let mut alone = Sha256::new();
        for piece in elf.chunks(STRIDE) {
            whole.update(piece);
            alone.update(piece);
        }
        let hash: [u8; 32] = whole.finalize().into();
        if hash != stated_hash {
            return Err(ImageError::Hash);
        }
        Ok(Self {
            algorithm: fields.algorithm,
            hash,
            signature,
            contents: Contents {
                uuid,
                version: u32::from_le_bytes(version),
                elf,
                digest: alone.finalize().into(),
            },
        })
    }

    /// How the image is signed.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The image as one signed by `key`; `None` if the signature is not by this key or the
    /// algorithm is not one for this kind of key.
    ///
    /// Cheap to ask for one key after the other: the hash is not computed again.
    #[must_use]
    pub fn signed_by<R: RsaPublic>(&self, key: &PublicKey<'_>) -> Option<SignedImage<'a>> {
        key.verify::<R>(self.algorithm.scheme(), &self.hash, self.signature)
            .then_some(SignedImage { contents: self.contents })
    }
}

/// A signed image that OP-TEE's loader runs, so that it may take the place of another one. Only
/// [`SignedImage::application`] makes one.
///
/// ```
/// use otrp_engine::image::Application;
/// fn pass(image: Application<'_>) -> Application<'_> { image }
/// ```
/// ```compile_fail,E0451
/// use otrp_engine::image::Application;
/// fn pass(image: Application<'_>) -> Application<'_> { Application { ..image } }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Application<'a>(SignedImage<'a>);

impl Application<'_> {
    /// The libraries that it is loaded with, by their UUIDs; `None` for a name that stands for none.
    pub fn libraries(&self) -> impl Iterator<Item = Option<UuidBytes>> {
        elf::libraries(self.contents.elf)
    }
}

impl<'a> Deref for Application<'a> {
    type Target = SignedImage<'a>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'a> SignedImage<'a> {
    /// The image as an application or library that loads under its UUID; `None` if OP-TEE's loader
    /// would refuse it. `elf64` is whether that loader takes 64-bit ones.
    ///
    /// The ELF is read only here, after the signature was verified.
    #[must_use]
    pub fn application(self, elf64: bool) -> Option<Application<'a>> {
        let Contents { elf, uuid, .. } = &self.contents;
        elf::is_loadable(elf, uuid, elf64).then_some(Application(self))
    }

    /// The UUID that the application loads under.
    #[must_use]
    pub const fn uuid(&self) -> &UuidBytes {
        &self.contents.uuid
    }

    /// The version that an update must not lower.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.contents.version
    }

    /// The application.
    #[must_use]
    pub const fn elf(&self) -> &'a [u8] {
        self.contents.elf
    }

    /// SHA-256 of the application.
    #[must_use]
    pub const fn digest(&self) -> &[u8; 32] {
        &self.contents.digest
    }
}

/// What `struct shdr` says.
struct Header {
    elf_size: usize,
    algorithm: Algorithm,
    signature_size: usize,
}

impl Header {
    fn parse(mut header: &[u8]) -> Result<Self, ImageError> {
        if word(&mut header)? != MAGIC {
            return Err(ImageError::Magic);
        }
        if word(&mut header)? != BOOTSTRAP_TA {
            return Err(ImageError::Type);
        }
        let elf_size = word(&mut header)?;
        let algorithm = Algorithm::from_number(word(&mut header)?).ok_or(ImageError::Algorithm)?;
        let hash_size = half_word(&mut header)?;
        let signature_size = usize::from(half_word(&mut header)?);
        if hash_size != 32 || !algorithm.makes(signature_size) {
            return Err(ImageError::Algorithm);
        }
        match usize::try_from(elf_size) {
            Ok(elf_size) if elf_size <= ELF_LIMIT => {
                Ok(Self { elf_size, algorithm, signature_size })
            }
            _ => Err(ImageError::TooLong),
        }
    }
}

fn word(rest: &mut &[u8]) -> Result<u32, ImageError> {
    take(rest).copied().map(u32::from_le_bytes)
}

fn half_word(rest: &mut &[u8]) -> Result<u16, ImageError> {
    take(rest).copied().map(u16::from_le_bytes)
}

/// Takes the first `N` octets off `rest`.
fn take<'a, const N: usize>(rest: &mut &'a [u8]) -> Result<&'a [u8; N], ImageError> {
    let (first, left) = rest.split_first_chunk().ok_or(ImageError::Truncated)?;
    *rest = left;
    Ok(first)
}
