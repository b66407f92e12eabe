//! OP-TEE signed TA files: UUID, version, and whether a device will accept the signer.

use openssl::bn::BigNum;
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKeyRef, Public};
use openssl::rsa::Padding;
use openssl::sha::sha256;
use openssl::sign::{RsaPssSaltlen, Verifier};
use openssl::x509::X509;
use otrp_check::image::NotLoadable;
use thiserror::Error;

use crate::jose::KeyType;

/// `SHDR_MAGIC` of OP-TEE's `signed_hdr.h`.
const MAGIC: u32 = 0x4f54_5348;
/// `SHDR_BOOTSTRAP_TA`: the header is followed by UUID and version.
const BOOTSTRAP_TA: u32 = 1;
/// Magic, type, size, algorithm, and the lengths of digest and signature.
const FIXED_LENGTH: usize = 20;
/// UUID and version.
const IDENTITY_LENGTH: usize = 20;
/// GlobalPlatform's `TEE_ALG_RSASSA_PKCS1_PSS_MGF1_SHA256`, `TEE_ALG_RSASSA_PKCS1_V1_5_SHA256` and
/// `TEE_ALG_ECDSA_SHA256`.
const RSA_PSS_SHA256: u32 = 0x7041_4930;
const RSA_PKCS1_SHA256: u32 = 0x7000_4830;
const ECDSA_SHA256: u32 = 0x7000_3042;
/// r and s of P-256.
const P256_SIGNATURE_LENGTH: usize = 64;

/// Why a file is not a signed TA.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotAnImage {
    /// The magic number is missing.
    #[error("not an OP-TEE signed image")]
    Magic,
    /// A signed image, but of another type: encrypted, a subkey, or without UUID and version.
    #[error("a signed image of a type that cannot be installed")]
    Type,
    /// It is too short, or continues after its end.
    #[error("the image's size is not that of its header")]
    Size,
    /// Signed with an algorithm that devices do not support.
    #[error(
        "it is signed with an algorithm that devices do not know: they take RSA-PSS, RSA PKCS #1 \
         v1.5 and ECDSA on P-256, with SHA-256"
    )]
    Algorithm,
    /// The digest in the header is not that of the file.
    #[error("its digest is not that of its content, so the file is damaged: sign it again")]
    Digest,
    /// Not signed by any of the domain's signers.
    #[error(
        "it is not signed by a key of the domain's `certificates`: name the signer's certificate \
         there"
    )]
    Signer,
    /// No device can load it.
    #[error(transparent)]
    NotLoadable(#[from] NotLoadable),
}

/// The content of the signed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageHeader {
    /// The UUID that clients open, in text order.
    pub uuid: [u8; 16],
    /// The version, which must not decrease.
    pub version: u32,
}

impl ImageHeader {
    /// Reads the header of a `.ta` file, and checks everything that a device would check except the
    /// signature.
    ///
    /// # Errors
    /// [`NotAnImage`].
    pub fn read(file: &[u8]) -> Result<Self, NotAnImage> {
        let (header, elf) = Self::split(file)?;
        otrp_check::image::check(header.uuid, elf)?;
        Ok(header)
    }

    /// A warning about the version, such as that it is the last one.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        otrp_check::image::warning(self.version)
            .map(|warning| format!("version {} {warning}", self.version))
    }

    fn split(file: &[u8]) -> Result<(Self, &[u8]), NotAnImage> {
        if word(file, 0) != Some(MAGIC) {
            return Err(NotAnImage::Magic);
        }
        if word(file, 4) != Some(BOOTSTRAP_TA) {
            return Err(NotAnImage::Type);
        }
        let read = || {
            let image_size = usize::try_from(word(file, 8)?).ok()?;
            let hash_size = usize::from(half_word(file, 16)?);
            let signature_size = usize::from(half_word(file, 18)?);
            let identity = 20 + hash_size + signature_size;
            let uuid: [u8; 16] = file.get(identity..identity + 16)?.try_into().ok()?;
            let version = word(file, identity + 16)?;
            let end = (identity + 20).checked_add(image_size)?;
            let elf = file.get(identity + 20..)?;
            (image_size > 0 && end == file.len()).then_some((Self { uuid, version }, elf))
        };
        read().ok_or(NotAnImage::Size)
    }

    /// The UUID as text.
    #[must_use]
    pub fn uuid_text(&self) -> String {
        let digits = hex::encode(self.uuid);
        let parts: Vec<&str> = [0..8, 8..12, 12..16, 16..20, 20..32]
            .into_iter()
            .filter_map(|range| digits.get(range))
            .collect();
        parts.join("-")
    }
}

/// Verifies that a `.ta` file is complete and signed by the key of one of `certificates`, in DER.
///
/// # Errors
/// [`NotAnImage`].
pub fn verify(file: &[u8], certificates: &[&[u8]]) -> Result<(), NotAnImage> {
    ImageHeader::read(file)?;
    let split = || {
        let (fixed, rest) = file.split_at_checked(FIXED_LENGTH)?;
        let (digest, rest) = rest.split_at_checked(usize::from(half_word(file, 16)?))?;
        let (signature, signed) = rest.split_at_checked(usize::from(half_word(file, 18)?))?;
        (signed.len() > IDENTITY_LENGTH).then_some((fixed, digest, signature, signed))
    };
    let (fixed, digest, signature, signed) = split().ok_or(NotAnImage::Size)?;
    let algorithm = word(file, 12).unwrap_or_default();
    if ![RSA_PSS_SHA256, RSA_PKCS1_SHA256, ECDSA_SHA256].contains(&algorithm) {
        return Err(NotAnImage::Algorithm);
    }
    let text = [fixed, signed].concat();
    if sha256(&text)[..] != *digest {
        return Err(NotAnImage::Digest);
    }
    let keys = certificates.iter().filter_map(|der| X509::from_der(der).ok()?.public_key().ok());
    let mut keys = keys.filter(|key| {
        let of_rsa = algorithm != ECDSA_SHA256;
        KeyType::of(key) == Some(if of_rsa { KeyType::Rsa } else { KeyType::Elliptic })
    });
    if keys.any(|key| is_signed_by(&key, algorithm, &text, signature) == Some(true)) {
        Ok(())
    } else {
        Err(NotAnImage::Signer)
    }
}

/// Whether the signature is valid; `None` if OpenSSL cannot verify it.
fn is_signed_by(
    key: &PKeyRef<Public>,
    algorithm: u32,
    text: &[u8],
    signature: &[u8],
) -> Option<bool> {
    let mut verifier = Verifier::new(MessageDigest::sha256(), key).ok()?;
    let der;
    let signature = match algorithm {
        RSA_PSS_SHA256 => {
            verifier.set_rsa_padding(Padding::PKCS1_PSS).ok()?;
            verifier.set_rsa_pss_saltlen(RsaPssSaltlen::custom(32)).ok()?;
            signature
        }
        RSA_PKCS1_SHA256 => signature,
        _ => {
            if signature.len() != P256_SIGNATURE_LENGTH {
                return None;
            }
            let (r, s) = signature.split_at_checked(P256_SIGNATURE_LENGTH / 2)?;
            let (r, s) = (BigNum::from_slice(r).ok()?, BigNum::from_slice(s).ok()?);
            der = EcdsaSig::from_private_components(r, s).ok()?.to_der().ok()?;
            &der
        }
    };
    verifier.verify_oneshot(signature, text).ok()
}

fn word(file: &[u8], position: usize) -> Option<u32> {
    let bytes = file.get(position..position.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

fn half_word(file: &[u8], position: usize) -> Option<u16> {
    let bytes = file.get(position..position.checked_add(2)?)?;
    Some(u16::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: [u8; 16] = [
        0x72, 0x65, 0x66, 0x4a, 0xf1, 0x08, 0x4b, 0xd7, 0xaf, 0x1c, 0x86, 0xd0, 0x44, 0xba, 0xbb,
        0xac,
    ];

    /// As `sign_encrypt.py` lays it out: header, SHA-256, 64 bytes of signature, UUID, version.
    fn image() -> Vec<u8> {
        let mut file =
            hex::decode(concat!("4853544f", "01000000", "9c000000", "41210070", "2000", "4000"))
                .unwrap();
        file.extend([0x11; 32]);
        file.extend([0x22; 64]);
        file.extend(UUID);
        file.extend([3, 0, 0, 0]);
        file.extend(otrp_check::fixture::application(UUID, b""));
        file
    }

    #[test]
    fn uuid_and_version_are_read() {
        let header = ImageHeader::read(&image()).unwrap();
        assert_eq!(header.uuid_text(), "7265664a-f108-4bd7-af1c-86d044babbac");
        assert_eq!(header.version, 3);
    }

    #[test]
    fn each_defect_is_refused() {
        let whole = image();
        for length in 0..whole.len() {
            assert!(ImageHeader::read(&whole[..length]).is_err(), "{length}");
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert_eq!(ImageHeader::read(&longer), Err(NotAnImage::Size));
        let changed = |position: usize, byte: u8| {
            let mut file = whole.clone();
            file[position] = byte;
            ImageHeader::read(&file)
        };
        assert_eq!(changed(0, 0x49), Err(NotAnImage::Magic));
        for kind in [0, 2, 3] {
            assert_eq!(changed(4, kind), Err(NotAnImage::Type));
        }
        assert_eq!(changed(8, 0), Err(NotAnImage::Size));
        assert_eq!(changed(17, 0xff), Err(NotAnImage::Size));
        // The ELF begins behind header, hash, signature, UUID and version.
        let elf = 20 + 32 + 64 + 20;
        for (place, byte) in [(elf, 0), (elf + 18, 62), (elf + 120, 0), (116, 0)] {
            assert!(matches!(changed(place, byte), Err(NotAnImage::NotLoadable(_))), "{place}");
        }
        assert_eq!(ImageHeader::read(b"\x7fELF"), Err(NotAnImage::Magic));
    }
}
