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

pub use otrp_wire::limits::ELF_LIMIT;

use crate::crypto::{PublicKey, Scheme};
use crate::elf::{self, Libraries, ReadAt};
use crate::platform::{RsaPublic, UuidBytes};

/// `SHDR_MAGIC`.
const MAGIC: u32 = 0x4f54_5348;
/// `SHDR_BOOTSTRAP_TA`: an ELF whose UUID and version are signed with it. The other types carry no
/// UUID, are encrypted with a key that only the vendor has, or are no application.
const BOOTSTRAP_TA: u32 = 1;
/// Octets before the hash: `struct shdr`.
const FIXED: usize = 20;
/// Octets of the longest signature, by an RSA key of 4096 bits.
const LONGEST_SIGNATURE: usize = 512;
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
    /// The hash in the header is not that of the image.
    Hash,
}

/// What stands before the ELF. Nothing of it is verified.
#[derive(Clone, Debug)]
pub struct Header {
    algorithm: Algorithm,
    elf_size: usize,
    hash: [u8; 32],
    signature: heapless::Vec<u8, LONGEST_SIGNATURE>,
    uuid: UuidBytes,
    version: u32,
    /// The hash up to the ELF.
    whole: Sha256,
}

/// A header whose hash a certain key has signed. Only [`Header::signed_by`] makes one.
///
/// ```
/// use otrp_engine::image::SignedHeader;
/// fn pass(header: SignedHeader) -> SignedHeader { header }
/// ```
/// ```compile_fail,E0451
/// use otrp_engine::image::SignedHeader;
/// fn pass(header: SignedHeader) -> SignedHeader { SignedHeader { ..header } }
/// ```
#[derive(Clone, Debug)]
pub struct SignedHeader {
    header: Header,
}

/// An image on its way: the ELF is hashed as it comes.
#[derive(Clone, Debug)]
pub struct Hashing {
    header: Header,
    alone: Sha256,
    length: usize,
}

/// An image that was signed by a certain key: the hash that it signed is that of the image. Only
/// [`Hashing::finish`] makes one.
///
/// ```
/// use otrp_engine::image::SignedImage;
/// fn pass(image: SignedImage) -> SignedImage { image }
/// ```
/// ```compile_fail,E0451
/// use otrp_engine::image::SignedImage;
/// fn pass(image: SignedImage) -> SignedImage { SignedImage { ..image } }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SignedImage {
    uuid: UuidBytes,
    version: u32,
    size: u32,
    digest: [u8; 32],
}

impl Header {
    /// The longest in octets.
    pub const LONGEST: usize = FIXED + 32 + LONGEST_SIGNATURE + 16 + 4;

    /// Reads the header at the start of an image; also where in it the ELF starts.
    ///
    /// `start` has [`Header::LONGEST`] octets, or the whole image.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn parse(start: &[u8]) -> Result<(Self, usize), ImageError> {
        let mut rest = start;
        let fixed = take::<FIXED>(&mut rest)?;
        let fields = Fields::parse(fixed)?;
        let hash = *take::<32>(&mut rest)?;
        let signature;
        (signature, rest) =
            rest.split_at_checked(fields.signature_size).ok_or(ImageError::Truncated)?;
        let uuid = *take::<16>(&mut rest)?;
        let version = *take::<4>(&mut rest)?;
        let header = Self {
            algorithm: fields.algorithm,
            elf_size: fields.elf_size,
            hash,
            signature: signature.try_into().map_err(|_| ImageError::Algorithm)?,
            uuid,
            version: u32::from_le_bytes(version),
            whole: Sha256::new().chain_update(fixed).chain_update(uuid).chain_update(version),
        };
        Ok((header, start.len().saturating_sub(rest.len())))
    }

    /// How the image is signed.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The header as one whose hash `key` has signed; `None` if the signature is not by this key or the
    /// algorithm is not one for this kind of key.
    #[must_use]
    pub fn signed_by<R: RsaPublic>(&self, key: &PublicKey<'_>) -> Option<SignedHeader> {
        key.verify::<R>(self.algorithm.scheme(), &self.hash, &self.signature)
            .then(|| SignedHeader { header: self.clone() })
    }
}

impl SignedHeader {
    /// The UUID that the image claims.
    #[must_use]
    pub const fn uuid(&self) -> &UuidBytes {
        &self.header.uuid
    }

    /// The version that the image claims.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.header.version
    }

    /// The octets of the ELF that the image claims.
    #[must_use]
    pub const fn elf_size(&self) -> usize {
        self.header.elf_size
    }

    /// Takes the ELF from here on.
    #[must_use]
    pub fn hash(self) -> Hashing {
        Hashing { header: self.header, alone: Sha256::new(), length: 0 }
    }
}

impl Hashing {
    /// Takes the next piece of the ELF.
    pub fn push(&mut self, piece: &[u8]) {
        // Both hashes find a piece in the first-level cache.
        for piece in piece.chunks(STRIDE) {
            self.header.whole.update(piece);
            self.alone.update(piece);
        }
        self.length = self.length.saturating_add(piece.len());
    }

    /// The image, all of whose ELF was taken.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn finish(self) -> Result<SignedImage, ImageError> {
        let Self { header, alone, length } = self;
        if length < header.elf_size {
            return Err(ImageError::Truncated);
        }
        if length > header.elf_size {
            return Err(ImageError::TrailingBytes);
        }
        let hash: [u8; 32] = header.whole.finalize().into();
        if hash != header.hash {
            return Err(ImageError::Hash);
        }
        Ok(SignedImage {
            uuid: header.uuid,
            version: header.version,
            size: header.elf_size.try_into().map_err(|_| ImageError::TooLong)?,
            digest: alone.finalize().into(),
        })
    }
}

/// A signed image that OP-TEE's loader runs, so that it may take the place of another one. Only
/// [`SignedImage::application`] makes one.
///
/// ```
/// use otrp_engine::image::Application;
/// fn pass(image: Application) -> Application { image }
/// ```
/// ```compile_fail,E0451
/// use otrp_engine::image::Application;
/// fn pass(image: Application) -> Application { Application { ..image } }
/// ```
#[derive(Clone, Debug)]
pub struct Application {
    image: SignedImage,
    libraries: Libraries,
}

impl Application {
    /// The libraries that it is loaded with, by their UUIDs; `None` if one of them has another kind of
    /// name, of which the loader finds none, or if there are more than [`LIBRARY_LIMIT`](elf::LIBRARY_LIMIT).
    #[must_use]
    pub fn libraries(&self) -> Option<&[UuidBytes]> {
        self.libraries.as_deref()
    }
}

impl Deref for Application {
    type Target = SignedImage;

    fn deref(&self) -> &Self::Target {
        &self.image
    }
}

impl SignedImage {
    /// The image as an application or library that loads under its UUID; `None` if OP-TEE's loader
    /// would refuse it. `elf64` is whether that loader takes 64-bit ones.
    ///
    /// `elf` is the ELF that was hashed; it is read only here, after the signature was verified.
    ///
    /// # Errors
    /// That of the reader.
    pub fn application<F: ReadAt>(
        self,
        elf: &mut F,
        elf64: bool,
    ) -> Result<Option<Application>, F::Error> {
        let libraries = elf::judge(elf, &self.uuid, elf64)?;
        Ok(libraries.map(|libraries| Application { image: self, libraries }))
    }

    /// The UUID that the application loads under.
    #[must_use]
    pub const fn uuid(&self) -> &UuidBytes {
        &self.uuid
    }

    /// The version that an update must not lower.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Octets of the application.
    #[must_use]
    pub const fn size(&self) -> u32 {
        self.size
    }

    /// SHA-256 of the application.
    #[must_use]
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

/// What `struct shdr` says.
struct Fields {
    elf_size: usize,
    algorithm: Algorithm,
    signature_size: usize,
}

impl Fields {
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
