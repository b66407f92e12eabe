//! Base64 decoded where it stands, and strictly (RFC 4648, sections 4 and 5).

use ::base64::Engine as _;
use ::base64::engine::GeneralPurpose;

use crate::Span;
use crate::copy::copy;

/// base64url without padding, as JOSE wants it: no padding, no white space, no stray bits.
pub const URL: GeneralPurpose = ::base64::engine::general_purpose::URL_SAFE_NO_PAD;
/// Standard base64 with padding, as OTrP emits its other binary members.
pub const STANDARD: GeneralPurpose = ::base64::engine::general_purpose::STANDARD;

const STANDARD_BARE: GeneralPurpose = ::base64::engine::general_purpose::STANDARD_NO_PAD;
const URL_PADDED: GeneralPurpose = ::base64::engine::general_purpose::URL_SAFE;

/// Text that is not base64 of the wanted form, or is longer than its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotBase64;

/// Which alphabets a member may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Members of JOSE: base64url without padding.
    Url,
    /// Members of OTrP: either alphabet, with all its padding or none; the draft's samples use both.
    Any,
}

impl Form {
    /// The decoder for `text`; a text keeps to one alphabet, and its padding is whole or absent.
    fn decoder(self, text: &[u8]) -> &'static GeneralPurpose {
        match self {
            Self::Url => &URL,
            Self::Any => {
                let url = text.iter().any(|byte| matches!(byte, b'-' | b'_'));
                match (url, text.ends_with(b"=")) {
                    (true, true) => &URL_PADDED,
                    (true, false) => &URL,
                    (false, true) => &STANDARD,
                    (false, false) => &STANDARD_BARE,
                }
            }
        }
    }
}

/// Characters decoded at a time: whole groups of four, so that no padding stands inside.
const CHUNK: usize = 4096;

/// Decodes the text at `span` over itself; the result is the span of the bytes.
///
/// # Errors
/// [`NotBase64`]; the bytes at `span` are then a mixture and must not be used.
pub fn decode_in_place(buffer: &mut [u8], span: Span, form: Form) -> Result<Span, NotBase64> {
    let text = span.of_mut(buffer);
    let decoder = form.decoder(text);
    let mut written: usize = 0;
    let mut read: usize = 0;
    // The library decodes from one place to another; through a small block it works in place.
    let mut block = [0; CHUNK / 4 * 3];
    while read < text.len() {
        let next = read.saturating_add(CHUNK).min(text.len());
        let piece = text.get(read..next).unwrap_or_default();
        let length = decoder.decode_slice(piece, &mut block).map_err(|_| NotBase64)?;
        // Padding ends the text: only the last block may decode to less than its full size.
        if next < text.len() && length != block.len() {
            return Err(NotBase64);
        }
        let end = written.saturating_add(length);
        let target = text.get_mut(written..end).ok_or(NotBase64)?;
        copy(target, block.get(..length).unwrap_or_default()).ok_or(NotBase64)?;
        written = end;
        read = next;
    }
    Ok(span.truncated(written))
}

/// Decodes a short text into `buffer`, whose length is the limit.
///
/// # Errors
/// [`NotBase64`], also where it decodes to more than fits.
pub fn decode<'b>(
    text: &[u8],
    form: Form,
    buffer: &'b mut [u8],
) -> Result<&'b mut [u8], NotBase64> {
    let length = form.decoder(text).decode_slice(text, buffer).map_err(|_| NotBase64)?;
    buffer.get_mut(..length).ok_or(NotBase64)
}

/// Decodes a text of exactly `N` bytes.
///
/// # Errors
/// [`NotBase64`], also where it is shorter or longer.
pub fn decode_array<const N: usize>(text: &[u8], form: Form) -> Result<[u8; N], NotBase64> {
    let mut bytes = [0; N];
    if decode(text, form, &mut bytes)?.len() == N { Ok(bytes) } else { Err(NotBase64) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    fn in_place(text: &str, form: Form) -> Option<Vec<u8>> {
        let mut buffer = text.as_bytes().to_vec();
        let span = Span::new(0, buffer.len());
        decode_in_place(&mut buffer, span, form).ok().map(|span| span.of(&buffer).to_vec())
    }

    #[test]
    fn vectors_of_rfc_4648() {
        for (text, bytes) in
            [("", ""), ("Zg", "f"), ("Zm8", "fo"), ("Zm9v", "foo"), ("Zm9vYg", "foob")]
        {
            assert_eq!(in_place(text, Form::Url).unwrap(), bytes.as_bytes());
        }
        assert_eq!(in_place("Zm9vYg==", Form::Any).unwrap(), b"foob");
        assert_eq!(in_place("Zm9vYg", Form::Any).unwrap(), b"foob");
        assert_eq!(in_place("--__", Form::Any).unwrap(), [0xfb, 0xef, 0xff]);
        assert_eq!(in_place("++//", Form::Any).unwrap(), [0xfb, 0xef, 0xff]);
    }

    #[test]
    fn refuses_what_is_not_canonical() {
        for text in ["Zg==", "Zh", "Zm9v\n", "Zm 9", "Z", "+/+/", "Zm9vYh", "Zm9vYg=", "=", "Zg=="]
        {
            assert_eq!(in_place(text, Form::Url), None, "{text}");
        }
        for text in
            ["Zh==", "Zm9v\n", "Z", "-_+/", "Zg==Zg==", "====", "Zm=v", "Zg=", "-_-_Zg=", "Zm8=="]
        {
            assert_eq!(in_place(text, Form::Any), None, "{text}");
        }
    }

    #[test]
    fn long_texts_are_decoded_over_themselves() {
        for length in [CHUNK / 4 * 3 - 1, CHUNK / 4 * 3, CHUNK / 4 * 3 + 1, 10_000] {
            let bytes: Vec<u8> =
                (0..length).map(|index| u8::try_from(index % 251).unwrap()).collect();
            assert_eq!(in_place(&URL.encode(&bytes), Form::Url).unwrap(), bytes);
            assert_eq!(in_place(&STANDARD.encode(&bytes), Form::Any).unwrap(), bytes);
        }
        // Padding in the middle, at the edge of a block.
        let mut text = vec![b'A'; CHUNK - 2];
        text.extend_from_slice(b"==AAAA");
        assert_eq!(in_place(core::str::from_utf8(&text).unwrap(), Form::Any), None);
    }

    #[test]
    fn a_buffer_takes_what_just_fits() {
        for length in 0..100 {
            let bytes: Vec<u8> = (0..length).map(|index| index ^ 0xa5).collect();
            let texts = [(URL.encode(&bytes), Form::Url), (STANDARD.encode(&bytes), Form::Any)];
            for (text, form) in &texts {
                for room in 0..bytes.len() + 4 {
                    let mut buffer = vec![0; room];
                    let decoded = decode(text.as_bytes(), *form, &mut buffer);
                    let expected = (bytes.len() <= room).then_some(&bytes[..]);
                    assert_eq!(decoded.ok().map(|bytes| &*bytes), expected, "{length} in {room}");
                }
            }
        }
    }

    #[test]
    fn arrays_have_their_length() {
        assert_eq!(decode_array::<3>(b"Zm9v", Form::Url), Ok(*b"foo"));
        assert_eq!(decode_array::<4>(b"Zm9v", Form::Url), Err(NotBase64));
        assert_eq!(decode_array::<2>(b"Zm9v", Form::Url), Err(NotBase64));
    }
}
