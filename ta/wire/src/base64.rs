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

/// Characters of a group, and the octets that it stands for.
const GROUP: usize = 4;
const OCTETS: usize = 3;

/// Decodes a text that comes in pieces, as strictly as [`decode`].
///
/// The last group is held back until [`Decoder::finish`]: padding may be nowhere else.
#[derive(Clone, Debug)]
pub struct Decoder {
    form: Form,
    /// Whether the alphabet is that of base64url, once a character has shown it.
    url: Option<bool>,
    held: heapless::Vec<u8, GROUP>,
}

impl Decoder {
    /// A decoder at the start of a text.
    #[must_use]
    pub const fn new(form: Form) -> Self {
        let url = match form {
            Form::Url => Some(true),
            Form::Any => None,
        };
        Self { form, url, held: heapless::Vec::new() }
    }

    /// The most octets that so many characters decode to, with those that are held back.
    #[must_use]
    pub const fn longest(characters: usize) -> usize {
        characters.div_ceil(GROUP).saturating_add(1).saturating_mul(OCTETS)
    }

    /// Continues at the start of another group of the same text.
    pub fn jump(&mut self) {
        self.held.clear();
    }

    /// Decodes the next piece to the start of `out`, which has [`Decoder::longest`] octets for it; how
    /// many octets that gave.
    ///
    /// # Errors
    /// [`NotBase64`]; also where `out` is too short.
    pub fn push(&mut self, text: &[u8], out: &mut [u8]) -> Result<usize, NotBase64> {
        if self.url.is_none() {
            self.url = url_alphabet(text);
        }
        let total = self.held.len().saturating_add(text.len());
        // At least one character is held back.
        let octets = total.saturating_sub(1).div_euclid(GROUP).saturating_mul(OCTETS);
        if octets == 0 {
            self.held.extend_from_slice(text).map_err(|_| NotBase64)?;
            return Ok(0);
        }
        let decoder = match self.url {
            Some(true) => &URL,
            Some(false) | None => &STANDARD_BARE,
        };
        let out = out.get_mut(..octets).ok_or(NotBase64)?;
        let mut rest = text;
        let mut start = 0;
        if !self.held.is_empty() {
            let missing = GROUP.saturating_sub(self.held.len());
            let (head, behind) = rest.split_at_checked(missing).ok_or(NotBase64)?;
            self.held.extend_from_slice(head).map_err(|_| NotBase64)?;
            start = OCTETS;
            fill(decoder, &self.held, out.get_mut(..start))?;
            rest = behind;
        }
        let body = out.get_mut(start..);
        let length = octets.saturating_sub(start).div_euclid(OCTETS).saturating_mul(GROUP);
        let (groups, tail) = rest.split_at_checked(length).ok_or(NotBase64)?;
        fill(decoder, groups, body)?;
        self.held = heapless::Vec::from_slice(tail).map_err(|_| NotBase64)?;
        Ok(octets)
    }

    /// Decodes what was held back and ends the text; how many octets that gave.
    ///
    /// # Errors
    /// [`NotBase64`].
    pub fn finish(&mut self, out: &mut [u8; OCTETS]) -> Result<usize, NotBase64> {
        let text = core::mem::take(&mut self.held);
        let url = self.url.unwrap_or_default();
        let decoder = match (self.form, url, text.ends_with(b"=")) {
            (Form::Url, ..) | (Form::Any, true, false) => &URL,
            (Form::Any, true, true) => &URL_PADDED,
            (Form::Any, false, true) => &STANDARD,
            (Form::Any, false, false) => &STANDARD_BARE,
        };
        decoder.decode_slice(&text, out).map_err(|_| NotBase64)
    }
}

/// Decodes whole groups, which fill `out`.
fn fill(decoder: &GeneralPurpose, text: &[u8], out: Option<&mut [u8]>) -> Result<(), NotBase64> {
    let out = out.ok_or(NotBase64)?;
    let length = decoder.decode_slice(text, out).map_err(|_| NotBase64)?;
    if length == out.len() { Ok(()) } else { Err(NotBase64) }
}

/// Whether a text is in the alphabet of base64url; `None` if it has no character of one alphabet only.
fn url_alphabet(text: &[u8]) -> Option<bool> {
    text.iter().find_map(|byte| match byte {
        b'-' | b'_' => Some(true),
        b'+' | b'/' => Some(false),
        _ => None,
    })
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

    /// What a decoder makes of a text in pieces of a size, in one form.
    fn in_pieces(text: &str, form: Form, size: usize) -> Option<Vec<u8>> {
        let mut decoder = Decoder::new(form);
        let mut decoded = Vec::new();
        for piece in text.as_bytes().chunks(size) {
            let mut out = vec![0; Decoder::longest(piece.len())];
            let length = decoder.push(piece, &mut out).ok()?;
            decoded.extend_from_slice(&out[..length]);
        }
        let mut out = [0; 3];
        let length = decoder.finish(&mut out).ok()?;
        decoded.extend_from_slice(&out[..length]);
        Some(decoded)
    }

    #[test]
    fn pieces_decode_to_what_the_whole_does() {
        let bytes: Vec<u8> = (0..100_u8).map(|index| index.wrapping_mul(167) ^ 0xf7).collect();
        let mut texts: Vec<std::string::String> = (0..bytes.len())
            .flat_map(|length| [URL.encode(&bytes[..length]), STANDARD.encode(&bytes[..length])])
            .collect();
        for text in [
            "Zg==",
            "Zh",
            "Zh==",
            "Zm9v\n",
            "Zm 9",
            "Z",
            "+/+/",
            "-_+/",
            "-_-_+/+/",
            "Zm9vYh",
            "Zm9vYg=",
            "=",
            "====",
            "Zg==Zg==",
            "Zm=v",
            "-_-_Zg=",
            "-_-_Zg==",
            "Zm8==",
            "AAAA+/+/-_-_",
            "AAAA",
            "AA==AAAA",
            "\u{e9}AA",
        ] {
            texts.push(text.into());
        }
        for text in &texts {
            for form in [Form::Url, Form::Any] {
                let whole = in_place(text, form);
                for size in 1..=text.len().max(1) {
                    assert_eq!(in_pieces(text, form, size), whole, "{text} by {size}");
                }
            }
        }
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
