//! A JSON text in pieces: what is short is kept, the one long string passes through.
//!
//! A request is mostly one base64 text in another. [`Splitter`] copies everything else, the
//! *skeleton*, to memory and leaves `""` where the long string was, so that the strict
//! [reader](crate::json) judges the skeleton as it would the whole text. Splitting proves nothing: a
//! text that is not JSON gives a skeleton that is not JSON either.
//!
//! Escapes that stand for plain characters of ASCII are decoded on the way, so that no style of encoding
//! makes a skeleton longer than it has to be; the values of its strings are the same.

use crate::Span;
use crate::json::escaped;

/// Where the long string was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongString {
    /// Its place in the skeleton: between the quotes that are left of it.
    pub at: usize,
    /// Its characters in the text, escapes as they are, without the quotes.
    pub raw: Span,
    /// Whether there are escapes in it.
    pub has_escapes: bool,
}

/// Takes a JSON text apart that comes in pieces.
#[derive(Debug)]
pub struct Splitter<'s> {
    /// The members whose value is the long string.
    names: &'static [&'static str],
    /// A member whose value is noted.
    note: &'static str,
    noted: Option<Span>,
    skeleton: &'s mut [u8],
    /// Octets of the skeleton.
    length: usize,
    /// Octets of the text.
    position: usize,
    state: State,
    /// The last string that is in the skeleton, between its quotes.
    last: Span,
    long: Option<LongString>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Between,
    /// In a string that is kept, from this position of the skeleton on.
    Kept {
        start: usize,
        escape: Option<Escape>,
        noted: bool,
    },
    Long(Unescape),
    /// Nothing more is kept, so that the skeleton ends in the middle.
    Broken,
}

impl<'s> Splitter<'s> {
    /// A splitter at the start of a text. The long string is the value of a member in `names`; the value of
    /// the member `note` is noted. The skeleton is at most as long as its memory.
    #[must_use]
    pub const fn new(
        names: &'static [&'static str],
        note: &'static str,
        skeleton: &'s mut [u8],
    ) -> Self {
        Self {
            names,
            note,
            noted: None,
            skeleton,
            length: 0,
            position: 0,
            state: State::Between,
            last: Span::new(0, 0),
            long: None,
        }
    }

    /// Takes the next piece of the text; `long` is given each piece of the long string's value.
    ///
    /// A second long string, a character that no base64 text has in one, and a skeleton that is longer
    /// than its memory leave a skeleton that is not JSON.
    pub fn push(&mut self, piece: &[u8], long: &mut impl FnMut(&Self, &[u8])) {
        let mut rest = piece;
        while let Some((first, behind)) = rest.split_first() {
            let taken = match self.state {
                State::Broken => return,
                State::Between => {
                    self.keep(&[*first]);
                    if *first == b'"' {
                        self.begin();
                    }
                    1
                }
                State::Kept { start, escape: Some(mut escape), noted } => {
                    let escape = match escape.push(*first) {
                        None => Some(escape),
                        Some(plain) => {
                            match plain.filter(|plain| plain_length(&[*plain]) == 1) {
                                Some(plain) => self.keep(&[plain]),
                                None => self.keep(escape.text()),
                            }
                            None
                        }
                    };
                    self.set(State::Kept { start, escape, noted });
                    1
                }
                State::Kept { start, escape: None, noted } => match (plain_length(rest), first) {
                    (0, b'\\') => {
                        let escape = Some(Escape::new());
                        self.set(State::Kept { start, escape, noted });
                        1
                    }
                    (0, b'"') => {
                        self.end(Span::new(start, self.length), noted);
                        self.keep(b"\"");
                        self.set(State::Between);
                        1
                    }
                    // A control character stays in the string, where the reader finds it.
                    (0, _) => {
                        self.keep(&[*first]);
                        1
                    }
                    (taken, _) => {
                        self.keep(rest.get(..taken).unwrap_or_default());
                        taken
                    }
                },
                State::Long(mut unescape) => {
                    let step = unescape.step(rest, |value| long(self, value));
                    self.advance_long(unescape, step)
                }
            };
            self.position = self.position.saturating_add(taken);
            rest = if taken == 1 { behind } else { rest.get(taken..).unwrap_or_default() };
        }
    }

    /// After the quote of a string.
    fn begin(&mut self) {
        if !self.is_value_of(self.names) {
            let noted = self.is_value_of(&[self.note]);
            return self.set(State::Kept { start: self.length, escape: None, noted });
        }
        if self.long.is_some() {
            return self.set(State::Broken);
        }
        let start = self.position.saturating_add(1);
        let raw = Span::new(start, start);
        self.long = Some(LongString { at: self.length, raw, has_escapes: false });
        self.set(State::Long(Unescape::new()));
    }

    fn advance_long(&mut self, unescape: Unescape, step: Step) -> usize {
        match step {
            Step::Taken(taken) => {
                self.set(State::Long(unescape));
                taken
            }
            Step::Ended => {
                if let Some(long) = &mut self.long {
                    long.raw = Span::new(long.raw.start(), self.position);
                    long.has_escapes = unescape.found;
                }
                self.keep(b"\"");
                self.set(State::Between);
                1
            }
            Step::Invalid => {
                self.state = State::Broken;
                0
            }
        }
    }

    /// After the last character of a string that is kept.
    const fn end(&mut self, span: Span, noted: bool) {
        self.last = span;
        if noted {
            self.noted = Some(span);
        }
    }

    /// Whether the string that begins is the value of one of these members.
    fn is_value_of(&self, names: &[&str]) -> bool {
        let kept = self.skeleton.get(..self.length).unwrap_or_default();
        // Between the key and the string's quote are white space and a colon.
        let between = kept.get(self.last.end().saturating_add(1)..).unwrap_or_default();
        let between = between.strip_suffix(b"\"").unwrap_or_default();
        let colon = between.trim_ascii() == b":";
        let key = self.last.of(kept);
        colon && names.iter().any(|name| spells(key, name))
    }

    /// A state that overflow does not leave.
    const fn set(&mut self, state: State) {
        if !matches!(self.state, State::Broken) {
            self.state = state;
        }
    }

    fn keep(&mut self, octets: &[u8]) {
        let end = self.length.saturating_add(octets.len());
        match self.skeleton.get_mut(self.length..end).and_then(|to| crate::copy::copy(to, octets)) {
            Some(()) => self.length = end,
            None => self.state = State::Broken,
        }
    }

    /// The last value so far of the member that is to be noted, as it is in the skeleton, and its place
    /// there.
    #[must_use]
    pub fn noted(&self) -> Option<(Span, &[u8])> {
        self.noted.map(|span| (span, span.of(self.skeleton)))
    }

    /// The skeleton, and the long string that is not in it.
    #[must_use]
    pub fn finish(self) -> (&'s mut [u8], Option<LongString>) {
        let Self { skeleton, length, state, mut long, .. } = self;
        // One without an end is none; the skeleton has no end either.
        if matches!(state, State::Long(_) | State::Broken) {
            long = None;
        }
        (skeleton.get_mut(..length).unwrap_or_default(), long)
    }
}

/// Whether the characters between the quotes of a key, as they are in a skeleton, spell a name.
fn spells(key: &[u8], name: &str) -> bool {
    let mut rest = key.iter().copied();
    let mut name = name.chars();
    loop {
        let character = match rest.next() {
            None => return name.next().is_none(),
            Some(b'\\') => escaped(&mut rest),
            Some(plain) => Some(char::from(plain)),
        };
        if character.is_none() || character != name.next() {
            return false;
        }
    }
}

/// How many octets at the start of a string stand for themselves.
fn plain_length(text: &[u8]) -> usize {
    let ends = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\' || *byte == 0x7f;
    text.iter().position(ends).unwrap_or(text.len())
}

/// How many octets at the start of a text are characters of ASCII that stand for themselves in a string.
///
/// Looks at many at a time: most of a message is one such string.
#[must_use]
pub fn plain_ascii_length(text: &[u8]) -> usize {
    const BLOCK: usize = 64;
    let ends = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\' || byte >= 0x7f;
    let mut length = 0;
    let (blocks, _) = text.as_chunks::<BLOCK>();
    for block in blocks {
        if block.iter().fold(false, |found, byte| found | ends(*byte)) {
            break;
        }
        length = usize::saturating_add(length, BLOCK);
    }
    let rest = text.get(length..).unwrap_or_default();
    let plain = rest.iter().position(|byte| ends(*byte)).unwrap_or(rest.len());
    length.saturating_add(plain)
}

/// An escape that comes in pieces.
#[derive(Clone, Copy, Debug)]
struct Escape {
    /// A backslash, then the characters that are here.
    text: [u8; 6],
    length: usize,
}

impl Escape {
    /// Behind the backslash.
    const fn new() -> Self {
        Self { text: [b'\\', 0, 0, 0, 0, 0], length: 1 }
    }

    /// Takes the next character. `None` where one is missing still; else the octet that the escape stands
    /// for, if it stands for a character of ASCII.
    fn push(&mut self, character: u8) -> Option<Option<u8>> {
        *self.text.get_mut(self.length)? = character;
        self.length = self.length.saturating_add(1);
        let [_, kind, ..] = self.text;
        let complete = if kind == b'u' { self.text.len() } else { 2 };
        if self.length < complete {
            return None;
        }
        let mut characters = self.text().iter().skip(1).copied();
        let character = escaped(&mut characters).filter(char::is_ascii);
        Some(character.and_then(|character| u8::try_from(character).ok()))
    }

    fn text(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }
}

/// Reads the value of a long string, in pieces: characters of ASCII, which may be escaped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unescape {
    escape: Option<Escape>,
    /// Whether there was one.
    found: bool,
}

/// What [`Unescape::step`] took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many characters.
    Taken(usize),
    /// The string ends with the next one, a quote.
    Ended,
    /// The next one cannot occur in a base64 text.
    Invalid,
}

impl Unescape {
    /// Behind the opening quote.
    #[must_use]
    pub const fn new() -> Self {
        Self { escape: None, found: false }
    }

    /// Takes some of the text, at least one character unless it ends, and passes on what they stand
    /// for.
    pub fn step(&mut self, text: &[u8], value: impl FnOnce(&[u8])) -> Step {
        let Some(first) = text.first().copied() else { return Step::Taken(0) };
        if let Some(mut escape) = self.escape.take() {
            match escape.push(first) {
                None => self.escape = Some(escape),
                Some(Some(octet)) => value(&[octet]),
                Some(None) => return Step::Invalid,
            }
            return Step::Taken(1);
        }
        match (plain_ascii_length(text), first) {
            (0, b'"') => Step::Ended,
            (0, b'\\') => {
                self.escape = Some(Escape::new());
                self.found = true;
                Step::Taken(1)
            }
            (0, _) => Step::Invalid,
            (length, _) => {
                value(text.get(..length).unwrap_or_default());
                Step::Taken(length)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;
    use std::vec::Vec;
    use std::{format, vec};

    struct Split {
        skeleton: String,
        value: String,
        long: Option<LongString>,
    }

    /// A text in pieces of a size.
    fn split(text: &[u8], size: usize, room: usize) -> Split {
        let mut memory = vec![0; room];
        let mut splitter = Splitter::new(&["long", "longer"], "note", &mut memory);
        let mut value = Vec::new();
        for piece in text.chunks(size) {
            splitter.push(piece, &mut |_, piece| value.extend_from_slice(piece));
        }
        let (skeleton, long) = splitter.finish();
        let skeleton = String::from_utf8_lossy(skeleton).into_owned();
        Split { skeleton, value: String::from_utf8(value).unwrap(), long }
    }

    #[test]
    fn the_long_string_passes_through() {
        let rows: [(&str, &str, Option<&str>); 15] = [
            (r#"{"long":"abc","a":"b"}"#, r#"{"long":"","a":"b"}"#, Some("abc")),
            (r#"{"a":"b", "long" : "abc" }"#, r#"{"a":"b", "long" : "" }"#, Some("abc")),
            (r#"{"a":{"longer":""}}"#, r#"{"a":{"longer":""}}"#, Some("")),
            (r#"{"l\u006fng":"a\/b\u002Bc"}"#, r#"{"long":""}"#, Some("a/b+c")),
            (r#"{"\u006c\u006f\u006e\u0067":"x"}"#, r#"{"long":""}"#, Some("x")),
            (
                r#"{"a":"\/\u0041\u00e9\ud83d\ude00\u0022\u005c\n\u007f\u00\x"}"#,
                r#"{"a":"/A\u00e9\ud83d\ude00\u0022\u005c\n\u007f\u00\x"}"#,
                None,
            ),
            (r#"{"a":"\"long\":","b":"\\"}"#, r#"{"a":"\"long\":","b":"\\"}"#, None),
            (r#"["long","a"]"#, r#"["long","a"]"#, None),
            (r#"{"long":["a"]}"#, r#"{"long":["a"]}"#, None),
            (
                r#"{"lon":"a","longs":"b","xlong":"c"}"#,
                r#"{"lon":"a","longs":"b","xlong":"c"}"#,
                None,
            ),
            (r#"{"long":"a","long":"b"}"#, r#"{"long":"","long":""#, None),
            (r#"{"long":"a"#, r#"{"long":""#, None),
            ("{\"long\":\"a\nb\"}", r#"{"long":""#, None),
            ("{\"long\":\"a\u{e9}\"}", r#"{"long":""#, None),
            (r#"{"long":"\u00e9"}"#, r#"{"long":""#, None),
        ];
        for (text, skeleton, value) in rows {
            for size in 1..=text.len() {
                let found = split(text.as_bytes(), size, 100);
                assert_eq!(found.skeleton, skeleton, "{text} by {size}");
                assert_eq!(found.long.is_some(), value.is_some(), "{text} by {size}");
                let (Some(value), Some(long)) = (value, found.long) else { continue };
                assert_eq!(found.value, value, "{text} by {size}");
                assert_eq!(long.has_escapes, long.raw.text(text.as_bytes()) != value, "{text}");
                let at = long.at;
                assert_eq!(&skeleton[at - 1..=at], "\"\"", "{text}");
                assert_eq!(&text[long.raw.end()..=long.raw.end()], "\"", "{text}");
            }
        }
    }

    #[test]
    fn a_member_is_noted() {
        let text = br#"{"a":"note","n\u006fte":"x\/y\n","long":""}"#;
        let mut memory = vec![0; 100];
        let mut splitter = Splitter::new(&["long"], "note", &mut memory);
        splitter.push(text, &mut |_, _| ());
        let (span, value) = splitter.noted().unwrap();
        assert_eq!(value, br"x/y\n");
        assert_eq!(span.len(), 5);
    }

    #[test]
    fn the_skeleton_has_an_end() {
        let text = br#"{"a":"0123456789","long":"abc"}"#;
        let whole = split(text, 3, 100).skeleton;
        for room in 0..whole.len() {
            let found = split(text, 3, room);
            assert!(found.skeleton.len() <= room && whole.starts_with(&found.skeleton));
            assert_eq!(found.long, None, "in {room}");
        }
        assert_eq!(split(text, 3, whole.len()).skeleton, whole);
    }

    #[test]
    fn the_end_of_plain_text_is_found_wherever_it_is() {
        for end in ['"', '\\', '\n', '\u{7f}', '\u{e9}'] {
            for length in 0..200 {
                let text = format!("{}{end}{}", "x".repeat(length), "y".repeat(70));
                assert_eq!(plain_ascii_length(text.as_bytes()), length);
            }
        }
        assert_eq!(plain_ascii_length(&[b'x'; 130]), 130);
    }
}
