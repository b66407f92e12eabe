//! A strict reader of JSON that neither recurses nor skips (RFC 8259).
//!
//! It reads what it is asked for and refuses everything else, so nothing an attacker nests,
//! repeats or inflates costs stack or time: there is no code path for an unknown value. Strings
//! are UTF-8 without escapes and control characters; no member of OTrP needs them, and without
//! them the bytes of a string are its value. The reader is our own because the one that the
//! firmware writes with, `serde-json-core`, recurses without limit on values that it ignores,
//! takes raw control characters, and cannot take `true` and `"true"` for the same member.

use crate::Span;

/// JSON that is malformed, or is not what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Most members of one object; more are refused before they are looked at.
const MEMBER_LIMIT: usize = 16;

/// Reads one JSON text from front to back.
#[derive(Debug)]
pub struct Reader<'t> {
    text: &'t [u8],
    position: usize,
}

impl<'t> Reader<'t> {
    /// A reader at the start of `text`; its spans are positions in `text`.
    #[must_use]
    pub const fn new(text: &'t [u8]) -> Self {
        Self { text, position: 0 }
    }

    /// The next byte that is not white space, without taking it.
    #[must_use]
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            match self.text.get(self.position) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.advance(1),
                other => return other.copied(),
            }
        }
    }

    /// Takes a byte that must be the next one after white space.
    fn expect(&mut self, byte: u8) -> Result<(), Malformed> {
        if self.peek() != Some(byte) {
            return Err(Malformed);
        }
        self.advance(1);
        Ok(())
    }

    const fn advance(&mut self, count: usize) {
        self.position = self.position.saturating_add(count);
    }

    /// Takes a string; the span is that of the characters between the quotes.
    ///
    /// # Errors
    /// [`Malformed`] for anything else, an escape, a control character or broken UTF-8.
    pub fn string(&mut self) -> Result<Span, Malformed> {
        self.expect(b'"')?;
        let start = self.position;
        let rest = self.text.get(start..).unwrap_or_default();
        // Most of a message is base64, so that one look at each byte is enough.
        let mut ascii = true;
        let length = rest.iter().position(|byte| {
            ascii &= byte.is_ascii();
            ends_plain_text(*byte)
        });
        let end = start.saturating_add(length.ok_or(Malformed)?);
        let span = Span::new(start, end);
        self.position = end;
        if !ascii && core::str::from_utf8(span.of(self.text)).is_err() {
            return Err(Malformed);
        }
        match self.text.get(self.position) {
            Some(b'"') => self.advance(1),
            _ => return Err(Malformed),
        }
        Ok(span)
    }

    /// The position that the characters of a string have if one is next.
    #[must_use]
    pub(crate) fn peek_string_start(&mut self) -> usize {
        let _ = self.peek();
        self.position.saturating_add(1)
    }

    /// Takes a string as text.
    ///
    /// # Errors
    /// As [`Reader::string`].
    pub fn text(&mut self) -> Result<&'t str, Malformed> {
        Ok(self.string()?.text(self.text))
    }

    /// Takes `true` or `false`, or one of the strings that the draft's samples use for them.
    ///
    /// # Errors
    /// [`Malformed`] for anything else.
    pub fn boolean(&mut self) -> Result<bool, Malformed> {
        if self.peek() == Some(b'"') {
            return match self.text()?.trim() {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(Malformed),
            };
        }
        let rest = self.text.get(self.position..).unwrap_or_default();
        if rest.starts_with(b"true") {
            self.advance(4);
            Ok(true)
        } else if rest.starts_with(b"false") {
            self.advance(5);
            Ok(false)
        } else {
            Err(Malformed)
        }
    }

    /// Takes an object: `member` is called with each key and must take the value.
    ///
    /// # Errors
    /// What `member` returns, and [`Malformed`]. Duplicates are for `member` to notice; see
    /// [`set`].
    pub fn object<F>(&mut self, mut member: F) -> Result<(), Malformed>
    where
        F: FnMut(&mut Self, &'t str) -> Result<(), Malformed>,
    {
        self.expect(b'{')?;
        if self.peek() == Some(b'}') {
            self.advance(1);
            return Ok(());
        }
        for _ in 0..MEMBER_LIMIT {
            let key = self.text()?;
            self.expect(b':')?;
            member(self, key)?;
            match self.peek() {
                Some(b',') => self.advance(1),
                Some(b'}') => {
                    self.advance(1);
                    return Ok(());
                }
                _ => return Err(Malformed),
            }
        }
        Err(Malformed)
    }

    /// Takes an array: `element` is called for each element and must take it and bound them.
    ///
    /// # Errors
    /// What `element` returns, and [`Malformed`].
    pub fn array<F>(&mut self, mut element: F) -> Result<(), Malformed>
    where
        F: FnMut(&mut Self) -> Result<(), Malformed>,
    {
        self.expect(b'[')?;
        if self.peek() == Some(b']') {
            self.advance(1);
            return Ok(());
        }
        loop {
            element(self)?;
            match self.peek() {
                Some(b',') => self.advance(1),
                Some(b']') => {
                    self.advance(1);
                    return Ok(());
                }
                _ => return Err(Malformed),
            }
        }
    }

    /// Takes an array of at most `N` strings, or one string alone as the draft's samples have it.
    ///
    /// # Errors
    /// [`Malformed`] for anything else or more.
    pub fn strings<const N: usize>(&mut self) -> Result<heapless::Vec<Span, N>, Malformed> {
        let mut strings = heapless::Vec::new();
        if self.peek() == Some(b'"') {
            strings.push(self.string()?).map_err(|_| Malformed)?;
            return Ok(strings);
        }
        self.array(|reader| strings.push(reader.string()?).map_err(|_| Malformed))?;
        Ok(strings)
    }

    /// Ends the text: only white space may follow.
    ///
    /// # Errors
    /// [`Malformed`] if anything else follows.
    pub fn end(mut self) -> Result<(), Malformed> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(Malformed),
        }
    }
}

/// Whether a byte ends the part of a string that stands for itself.
const fn ends_plain_text(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\' || byte == 0x7f
}

/// Stores the value of a member that may occur once.
///
/// # Errors
/// [`Malformed`] if it was there before.
pub fn set<T>(slot: &mut Option<T>, value: T) -> Result<(), Malformed> {
    if slot.is_some() {
        return Err(Malformed);
    }
    *slot = Some(value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    fn one_string(text: &[u8]) -> Result<String, Malformed> {
        let mut reader = Reader::new(text);
        let value = String::from(reader.text()?);
        reader.end()?;
        Ok(value)
    }

    #[test]
    fn strings_are_plain_utf8() {
        assert_eq!(one_string(b" \"abc\" \n").unwrap(), "abc");
        assert_eq!(one_string("\"\u{e9}\u{1f600}\"".as_bytes()).unwrap(), "\u{e9}\u{1f600}");
        let refused: [&[u8]; 12] = [
            b"\"a\\n\"",
            b"\"\\u0041\"",
            b"\"a\nb\"",
            b"\"a\0b\"",
            b"\"\x7f\"",
            b"\"\xff\"",
            b"\"\xc0\xaf\"",
            b"\"\xed\xa0\x80\"",
            b"\"abc",
            b"abc\"",
            b"'a'",
            b"\"a\"x",
        ];
        for text in refused {
            assert_eq!(one_string(text), Err(Malformed), "{text:?}");
        }
    }

    #[test]
    fn booleans_come_in_the_forms_of_the_samples() {
        for (text, value) in [
            ("true", true),
            ("false", false),
            ("\"true\"", true),
            ("\" false \"", false),
            ("\"1\"", true),
            ("\"0\"", false),
        ] {
            assert_eq!(Reader::new(text.as_bytes()).boolean(), Ok(value), "{text}");
        }
        for text in ["1", "0", "null", "True", "\"yes\"", "\"\"", "[true]", "tru"] {
            assert_eq!(Reader::new(text.as_bytes()).boolean(), Err(Malformed), "{text}");
        }
    }

    fn members(text: &str) -> Result<String, Malformed> {
        let mut seen = String::new();
        let mut reader = Reader::new(text.as_bytes());
        reader.object(|reader, key| {
            seen.push_str(key);
            reader.string().map(|_| ())
        })?;
        reader.end()?;
        Ok(seen)
    }

    #[test]
    fn objects_hold_what_is_asked_for() {
        assert_eq!(members("{}").unwrap(), "");
        assert_eq!(members(" { \"a\" : \"1\" , \"b\":\"2\"} ").unwrap(), "ab");
        for text in [
            "",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":\"1\",}",
            "{,}",
            "{\"a\":\"1\" \"b\":\"2\"}",
            "{a:\"1\"}",
            "{\"a\":{}}",
            "{\"a\":[[[[[[[[",
            "{\"a\":1e400}",
            "{}{}",
            "{\"a\":null}",
        ] {
            assert_eq!(members(text), Err(Malformed), "{text}");
        }
    }

    #[test]
    fn members_are_counted() {
        let object = |count: usize| {
            let mut text = String::from("{");
            for index in 0..count {
                if index > 0 {
                    text.push(',');
                }
                text.push_str("\"a\":\"\"");
            }
            text.push('}');
            text
        };
        assert!(members(&object(MEMBER_LIMIT)).is_ok());
        assert_eq!(members(&object(MEMBER_LIMIT + 1)), Err(Malformed));
    }

    #[test]
    fn arrays_of_strings_are_bounded_and_may_be_one_string() {
        let count = |text: &str| Reader::new(text.as_bytes()).strings::<2>().map(|list| list.len());
        assert_eq!(count("[]"), Ok(0));
        assert_eq!(count("\"a\""), Ok(1));
        assert_eq!(count("[\"a\", \"b\"]"), Ok(2));
        assert_eq!(count("[\"a\",\"b\",\"c\"]"), Err(Malformed));
        assert_eq!(count("[\"a\",]"), Err(Malformed));
        assert_eq!(count("[1]"), Err(Malformed));
    }

    #[test]
    fn a_member_is_set_once() {
        let mut slot = None;
        assert_eq!(set(&mut slot, 1), Ok(()));
        assert_eq!(set(&mut slot, 2), Err(Malformed));
        assert_eq!(slot, Some(1));
    }
}
