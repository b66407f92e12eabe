//! A strict reader of JSON that neither recurses nor skips (RFC 8259).
//!
//! It reads what it is asked for and refuses everything else, so nothing an attacker nests,
//! repeats or inflates costs stack or time: there is no code path for an unknown value. Strings
//! are UTF-8 without control characters. Their escapes are decoded where they stand, the moment
//! that a string is read, so that what is compared, bounded and decoded afterwards is its value;
//! the reader lets go of the bytes of a string with its closing quote and cannot read them again.
//! The reader is our own because the one that the firmware writes with, `serde-json-core`,
//! recurses without limit on values that it ignores, takes raw control characters, and cannot take
//! `true` and `"true"` for the same member.

use core::cell::Cell;
use core::mem::take;

use crate::Span;

/// JSON that is malformed, or is not what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Most members of one object; more are refused before they are looked at.
const MEMBER_LIMIT: usize = 16;

/// Reads one JSON text from front to back, once.
#[derive(Debug)]
pub struct Reader<'t> {
    /// What is not read yet.
    rest: &'t mut [u8],
    /// Where `rest` begins in the text.
    position: usize,
}

impl<'t> Reader<'t> {
    /// A reader at the start of `text`; its spans are positions in `text`, whose strings it
    /// decodes in place. What it has read is JSON no longer and must not be read again.
    #[must_use]
    pub const fn new(text: &'t mut [u8]) -> Self {
        Self { rest: text, position: 0 }
    }

    /// The next byte that is not white space, without taking it.
    #[must_use]
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            match self.rest.first() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => {
                    self.advance(1);
                }
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

    /// Takes the next bytes; where there are fewer, none are left.
    fn advance(&mut self, count: usize) -> &'t [u8] {
        let split = take(&mut self.rest).split_at_mut_checked(count);
        let (taken, rest) = split.unwrap_or_default();
        self.rest = rest;
        self.position = self.position.saturating_add(count);
        taken
    }

    /// Takes a string; the span is that of its value, without quotes and escapes.
    ///
    /// # Errors
    /// [`Malformed`] for anything else, a control character, broken UTF-8, and an escape that
    /// stands for no character.
    pub fn string(&mut self) -> Result<Span, Malformed> {
        self.value().map(|(span, _)| span)
    }

    /// Takes a string as text, and where it stands.
    ///
    /// # Errors
    /// As [`Reader::string`].
    pub fn text(&mut self) -> Result<(&'t str, Span), Malformed> {
        let (span, value) = self.value()?;
        Ok((core::str::from_utf8(value).map_err(|_| Malformed)?, span))
    }

    fn value(&mut self) -> Result<(Span, &'t [u8]), Malformed> {
        self.expect(b'"')?;
        let start = self.position;
        // Most of a message is base64, so that one look at each byte is enough.
        let mut ascii = true;
        let plain = self.rest.iter().position(|byte| {
            ascii &= byte.is_ascii();
            ends_plain_text(*byte)
        });
        let plain = plain.ok_or(Malformed)?;
        let (length, taken) = match self.rest.get(plain) {
            Some(b'"') => (plain, plain.saturating_add(1)),
            Some(b'\\') => {
                ascii = false;
                // Half decoded after an error, it is gone.
                let rest = take(&mut self.rest);
                let lengths = unescape(rest).ok_or(Malformed)?;
                self.rest = rest;
                lengths
            }
            _ => return Err(Malformed),
        };
        let value = self.advance(taken).get(..length).ok_or(Malformed)?;
        if !ascii && core::str::from_utf8(value).is_err() {
            return Err(Malformed);
        }
        Ok((Span::new(start, start.saturating_add(length)), value))
    }

    /// Takes `true` or `false`, or one of the strings that the draft's samples use for them.
    ///
    /// # Errors
    /// [`Malformed`] for anything else.
    pub fn boolean(&mut self) -> Result<bool, Malformed> {
        if self.peek() == Some(b'"') {
            return match self.text()?.0.trim() {
                "true" | "1" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(Malformed),
            };
        }
        if self.rest.starts_with(b"true") {
            self.advance(4);
            Ok(true)
        } else if self.rest.starts_with(b"false") {
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
            let (key, _) = self.text()?;
            self.expect(b':')?;
            member(self, key)?;
            match self.peek() {
                Some(b',') => {
                    self.advance(1);
                }
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
                Some(b',') => {
                    self.advance(1);
                }
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

/// Decodes the escapes of a string whose opening quote was just taken, over themselves; the lengths
/// of its value and of all that was read for it, the closing quote included. `None` where it does
/// not end, or holds a control character or an escape that stands for nothing.
fn unescape(text: &mut [u8]) -> Option<(usize, usize)> {
    let text = Cell::from_mut(text).as_slice_of_cells();
    // What is written never catches up: no escape is shorter than the character it stands for.
    let (mut source, mut target) = (text.iter(), text.iter());
    loop {
        match source.next()?.get() {
            b'"' => break,
            b'\\' => {
                let character = escaped(&mut source.by_ref().map(Cell::get))?;
                for byte in character.encode_utf8(&mut [0; 4]).bytes() {
                    target.next()?.set(byte);
                }
            }
            control if ends_plain_text(control) => return None,
            plain => target.next()?.set(plain),
        }
    }
    let before = |rest: usize| text.len().saturating_sub(rest);
    Some((before(target.len()), before(source.len())))
}

/// The character of an escape whose backslash was just taken (RFC 8259, section 7).
pub(crate) fn escaped(text: &mut impl Iterator<Item = u8>) -> Option<char> {
    Some(match text.next()? {
        itself @ (b'"' | b'\\' | b'/') => char::from(itself),
        b'b' => '\u{8}',
        b't' => '\t',
        b'n' => '\n',
        b'f' => '\u{c}',
        b'r' => '\r',
        b'u' => {
            let mut units = [code_unit(text)?, 0];
            // The first half of a pair is no character without the second.
            if let [0xd800..=0xdbff, second] = &mut units {
                if text.next()? != b'\\' || text.next()? != b'u' {
                    return None;
                }
                *second = code_unit(text)?;
            }
            char::decode_utf16(units).next()?.ok()?
        }
        _ => return None,
    })
}

/// Four hexadecimal digits.
fn code_unit(text: &mut impl Iterator<Item = u8>) -> Option<u16> {
    let mut unit = 0;
    for _ in 0..4 {
        unit = unit << 4 | char::from(text.next()?).to_digit(16)?;
    }
    u16::try_from(unit).ok()
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
    use std::format;
    use std::string::String;
    use std::vec::Vec;

    /// The value of a text that is one string; the span must be that of the value.
    fn one_string(text: &[u8]) -> Result<String, Malformed> {
        let mut text = text.to_vec();
        let mut reader = Reader::new(&mut text);
        let (value, span) = reader.text()?;
        let value = String::from(value);
        reader.end()?;
        assert_eq!(span.text(&text), value);
        Ok(value)
    }

    #[test]
    fn strings_are_plain_utf8() {
        assert_eq!(one_string(b" \"abc\" \n").unwrap(), "abc");
        assert_eq!(one_string("\"\u{e9}\u{1f600}\"".as_bytes()).unwrap(), "\u{e9}\u{1f600}");
        let refused: [&[u8]; 10] = [
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
    fn escapes_are_decoded() {
        // Each as RFC 8259, section 7, has it; the last three lines as PHP, .NET and Gson write.
        for (text, value) in [
            (r#""\"\\\/\b\f\n\r\t""#, "\"\\/\u{8}\u{c}\n\r\t"),
            (r#""\u0041\u00e9\u00E9\u20ac\uFFFF\u0000""#, "A\u{e9}\u{e9}\u{20ac}\u{ffff}\0"),
            (r#""\ud834\udd1E\uDBFF\uDFFF""#, "\u{1d11e}\u{10ffff}"),
            ("\"caf\u{e9}\\u00e9\u{1f600}\"", "caf\u{e9}\u{e9}\u{1f600}"),
            (r#""\\u0041""#, r"\u0041"),
            (r#""\\\"""#, "\\\""),
            (r#""\u005c\u0022""#, "\\\""),
            (r#""a\/\/b==""#, "a//b=="),
            (r#""a\u002Bb\u003D""#, "a+b="),
            (r#""a+b\u003d""#, "a+b="),
        ] {
            assert_eq!(one_string(text.as_bytes()).as_deref(), Ok(value), "{text}");
        }
    }

    #[test]
    fn each_malformed_escape_is_refused() {
        for escape in [
            "\\",
            "\\x41",
            "\\a",
            "\\0",
            "\\'",
            "\\U0041",
            "\\B",
            "\\\n",
            "\\\u{e9}",
            "\\u",
            "\\u0",
            "\\u00",
            "\\u004",
            "\\u004g",
            "\\u+041",
            "\\u 041",
            "\\u-041",
            "\\u{41}",
            "\\uD834",
            "\\uD834x",
            "\\uD834\\",
            "\\uD834\\n",
            "\\uD834\\u",
            "\\uD834\\u0041",
            "\\uD834\\uD834",
            "\\uD834 \\uDD1E",
            "\\uDD1E",
            "\\uDD1E\\uD834",
            "\\n\n",
            "\\n\u{7f}",
        ] {
            for text in [format!("\"{escape}\""), format!("\"{escape}"), format!("\"a{escape}z\"")]
            {
                assert_eq!(one_string(text.as_bytes()), Err(Malformed), "{text}");
            }
        }
        // Invalid UTF-8 stays invalid next to an escape.
        for text in
            [&b"\"\\n\xff\""[..], b"\"\xc3\\u00e9\"", b"\"\\u00e9\xa9\"", b"\"\xc3\\/\xa9\""]
        {
            assert_eq!(one_string(text), Err(Malformed), "{text:?}");
        }
    }

    #[test]
    fn what_an_escape_leaves_behind_is_not_read_again() {
        // Decoded, the first string ends six bytes before its text does; these still hold
        // quotes, a comma and a brace.
        let text = br#"{"\u0061":"\u0022\u002c\u0022","b":"\u007d\u007d","c":["\/"]}"#;
        let mut buffer = text.to_vec();
        let mut seen = Vec::new();
        let mut reader = Reader::new(&mut buffer);
        let read = reader.object(|reader, key| {
            let values = reader.strings::<1>()?;
            seen.push((String::from(key), values));
            Ok(())
        });
        assert_eq!((read, reader.end()), (Ok(()), Ok(())));
        let seen: Vec<_> =
            seen.iter().map(|(key, values)| (key.as_str(), values[0].text(&buffer))).collect();
        assert_eq!(seen, [("a", "\",\""), ("b", "}}"), ("c", "/")]);
    }

    #[test]
    fn an_error_ends_the_text() {
        let mut text = *br#""\x" "b""#;
        let mut reader = Reader::new(&mut text);
        assert_eq!(reader.string(), Err(Malformed));
        assert_eq!(reader.string().map(|span| span.len()), Err(Malformed));
    }

    #[test]
    fn strings_are_those_of_serde_json() {
        let parts = [
            "a",
            "\u{e9}",
            "\u{1f600}",
            "\\\"",
            "\\\\",
            "\\/",
            "\\b",
            "\\f",
            "\\n",
            "\\r",
            "\\t",
            "\\u0041",
            "\\u00e9",
            "\\ud83d\\ude00",
            "\\u0000",
            "\\u",
            "\\x",
            "\\ud83d",
            "\\ude00",
            "\\",
            "\"",
            "\\u00",
            "g",
            "\t",
            "\u{1}",
        ];
        let (mut accepted, mut refused) = (0, 0);
        let mut state: u32 = 1;
        for _ in 0..100_000 {
            let mut text = String::from("\"");
            // A linear congruential generator (Numerical Recipes), so that each run is the same.
            let mut draw = |count: u32| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                usize::try_from((state >> 16) % count).unwrap()
            };
            for _ in 0..draw(8) {
                let usual = draw(4) > 0;
                text.push_str(parts[draw(if usual { 15 } else { 25 })]);
            }
            text.push('"');
            let expected = serde_json::from_str::<String>(&text);
            match &expected {
                Ok(_) => accepted += 1,
                Err(_) => refused += 1,
            }
            assert_eq!(one_string(text.as_bytes()).ok(), expected.ok(), "{text}");
        }
        assert!(accepted > 10_000 && refused > 10_000, "{accepted} and {refused}");
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
            ("\"\\u0074rue\"", true),
        ] {
            let mut bytes = text.as_bytes().to_vec();
            assert_eq!(Reader::new(&mut bytes).boolean(), Ok(value), "{text}");
        }
        for text in ["1", "0", "null", "True", "\"yes\"", "\"\"", "[true]", "tru", "tr\\u0075e"] {
            let mut bytes = text.as_bytes().to_vec();
            assert_eq!(Reader::new(&mut bytes).boolean(), Err(Malformed), "{text}");
        }
    }

    fn members(text: &str) -> Result<String, Malformed> {
        let mut seen = String::new();
        let mut text = text.as_bytes().to_vec();
        let mut reader = Reader::new(&mut text);
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
        let count = |text: &str| {
            let mut text = text.as_bytes().to_vec();
            Reader::new(&mut text).strings::<2>().map(|list| list.len())
        };
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
