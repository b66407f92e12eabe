//! The header of an OP-TEE signed TA file, as far as a TAM needs it.
//!
//! The TEE verifies the signature with the SP's certificate; the TAM only reads which TA and which
//! version it ships, to know what to ask for.

use thiserror::Error;

/// `SHDR_MAGIC` of OP-TEE's `signed_hdr.h`.
const MAGIC: u32 = 0x4f54_5348;
/// `SHDR_BOOTSTRAP_TA`: the header is followed by UUID and version.
const BOOTSTRAP_TA: u32 = 1;

/// Why a file is not a signed TA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotAnImage {
    /// The magic number is missing.
    #[error("not an OP-TEE signed image")]
    Magic,
    /// A signed image, but of another type: encrypted, a subkey, or without UUID and version.
    #[error("a signed image of a type that cannot be installed")]
    Type,
    /// It ends too early, or goes on after its end.
    #[error("the image's size is not that of its header")]
    Size,
}

/// What the signed header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageHeader {
    /// The UUID that clients open, in text order.
    pub uuid: [u8; 16],
    /// The version that may not fall.
    pub version: u32,
}

impl ImageHeader {
    /// Reads the header of a `.ta` file.
    ///
    /// # Errors
    /// [`NotAnImage`].
    pub fn read(file: &[u8]) -> Result<Self, NotAnImage> {
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
            (image_size > 0 && end == file.len()).then_some(Self { uuid, version })
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

    /// As `sign_encrypt.py` lays it out: header, SHA-256, 64 bytes of signature, UUID, version.
    fn image() -> Vec<u8> {
        let mut file =
            hex::decode(concat!("4853544f", "01000000", "04000000", "41210070", "2000", "4000"))
                .unwrap();
        file.extend([0x11; 32]);
        file.extend([0x22; 64]);
        file.extend(hex::decode("7265664af1084bd7af1c86d044babbac").unwrap());
        file.extend([3, 0, 0, 0]);
        file.extend(b"\x7fELF");
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
        assert_eq!(ImageHeader::read(b"\x7fELF"), Err(NotAnImage::Magic));
    }
}
