//! Writes a signed answer into one buffer, whose ciphertext and payload grow in place.

use ::base64::Engine as _;
use serde::Serialize;

use crate::base64::URL;
use crate::{ErrorCode, Span};

/// The buffer is too short for what is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// `reason` of a refusal (OTrP draft, section 7.6).
#[derive(Clone, Copy, Serialize)]
pub struct Reason {
    /// The error code.
    #[serde(rename = "error-code")]
    pub code: &'static str,
    /// One sentence for people.
    #[serde(rename = "error-message")]
    pub message: &'static str,
}

impl From<ErrorCode> for Reason {
    fn from(code: ErrorCode) -> Self {
        Self { code: code.as_str(), message: code.message() }
    }
}

/// Bytes encoded at a time: whole groups of three, so that no padding is due inside.
const BLOCK: usize = 768;

/// Appends text to the front part of a buffer.
#[derive(Debug)]
pub struct Writer<'b> {
    buffer: &'b mut [u8],
    length: usize,
}

impl<'b> Writer<'b> {
    /// A writer that has written nothing.
    #[must_use]
    pub const fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, length: 0 }
    }

    /// A writer that continues behind the first `length` bytes; `None` if there are fewer.
    #[must_use]
    pub const fn resume(buffer: &'b mut [u8], length: usize) -> Option<Self> {
        if length > buffer.len() { None } else { Some(Self { buffer, length }) }
    }

    /// Bytes written.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing is written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Appends text as it is.
    ///
    /// # Errors
    /// [`Full`].
    pub fn text(&mut self, text: &str) -> Result<(), Full> {
        let end = self.length.checked_add(text.len()).ok_or(Full)?;
        self.buffer.get_mut(self.length..end).ok_or(Full)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }

    /// Appends each text of a list.
    ///
    /// # Errors
    /// [`Full`].
    pub fn texts(&mut self, texts: &[&str]) -> Result<(), Full> {
        texts.iter().try_for_each(|text| self.text(text))
    }

    /// Appends `value` as JSON.
    ///
    /// # Errors
    /// [`Full`].
    pub fn json<T: Serialize>(&mut self, value: &T) -> Result<(), Full> {
        let rest = self.buffer.get_mut(self.length..).ok_or(Full)?;
        let written = serde_json_core::to_slice(value, rest).map_err(|_| Full)?;
        self.length = self.length.checked_add(written).ok_or(Full)?;
        Ok(())
    }

    /// Appends base64url of `bytes`.
    ///
    /// # Errors
    /// [`Full`].
    pub fn base64url(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let rest = self.buffer.get_mut(self.length..).ok_or(Full)?;
        let written = URL.encode_slice(bytes, rest).map_err(|_| Full)?;
        self.length = self.length.checked_add(written).ok_or(Full)?;
        Ok(())
    }

    /// Appends base64url of bytes that stand further back in the same buffer; they are consumed.
    ///
    /// # Errors
    /// [`Full`] if the text would overtake the bytes.
    pub fn base64url_of(&mut self, source: Span) -> Result<(), Full> {
        let end = source.start().checked_add(source.len()).ok_or(Full)?;
        let mut read = source.start();
        let mut block = [0; BLOCK];
        while read < end {
            let next = read.saturating_add(BLOCK).min(end);
            let piece = self.buffer.get(read..next).ok_or(Full)?;
            let block = block.get_mut(..piece.len()).ok_or(Full)?;
            block.copy_from_slice(piece);
            // What is written must stay behind what is still to be read.
            let room = self.buffer.get_mut(self.length..next).ok_or(Full)?;
            let written = URL.encode_slice(block, room).map_err(|_| Full)?;
            self.length = self.length.checked_add(written).ok_or(Full)?;
            read = next;
        }
        Ok(())
    }

    /// Moves what is written towards the end of the buffer, where [`Writer::base64url_of`] can
    /// take it from, leaves `room` bytes behind it, and begins anew.
    ///
    /// # Errors
    /// [`Full`] if the buffer is too short.
    pub fn park(&mut self, room: usize) -> Result<Span, Full> {
        let taken = self.length.checked_add(room).ok_or(Full)?;
        let start = self.buffer.len().checked_sub(taken).ok_or(Full)?;
        self.buffer.copy_within(..self.length, start);
        let span = Span::new(start, start.saturating_add(self.length));
        self.length = 0;
        Ok(span)
    }

    /// The whole buffer.
    #[must_use]
    pub const fn buffer(&mut self) -> &mut [u8] {
        self.buffer
    }

    /// Ends writing: the bytes written.
    #[must_use]
    pub fn finish(self) -> &'b [u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn parked_bytes_become_base64url_in_place() {
        for length in [0_usize, 1, 2, 3, BLOCK - 1, BLOCK, BLOCK + 1, 5000] {
            let bytes: Vec<u8> =
                (0..length).map(|index| b'a' + u8::try_from(index % 26).unwrap()).collect();
            let text = core::str::from_utf8(&bytes).unwrap();
            let expected = URL.encode(&bytes);
            // The tightest buffer that the encoding can grow in.
            let mut buffer = vec![0; 1 + expected.len() + 2];
            let mut writer = Writer::new(&mut buffer);
            writer.text(text).unwrap();
            let parked = writer.park(0).unwrap();
            writer.text("<").unwrap();
            writer.base64url_of(parked).unwrap();
            writer.text(">").unwrap();
            assert_eq!(writer.finish(), std::format!("<{expected}>").as_bytes());
        }
    }

    #[test]
    fn a_full_buffer_is_an_error() {
        let mut buffer = [0; 8];
        let mut writer = Writer::new(&mut buffer);
        assert_eq!(writer.text("123456789"), Err(Full));
        assert_eq!(writer.text("12345678"), Ok(()));
        assert_eq!(writer.json(&"a"), Err(Full));
        assert_eq!(writer.base64url(b"a"), Err(Full));
        let mut buffer = [b'x'; 8];
        let mut writer = Writer::new(&mut buffer);
        writer.text("123").unwrap();
        // Six bytes make eight characters: behind three others they would overtake the source.
        assert_eq!(writer.base64url_of(Span::new(2, 8)), Err(Full));
    }

    #[test]
    fn a_reason_is_written_as_in_the_draft() {
        let mut buffer = [0; 128];
        let mut writer = Writer::new(&mut buffer);
        writer.json(&Reason::from(ErrorCode::SdNotFound)).unwrap();
        assert_eq!(
            core::str::from_utf8(writer.finish()).unwrap(),
            r#"{"error-code":"ERR_SD_NOT_FOUND","error-message":"there is no such security domain"}"#
        );
    }
}
