//! Untrusted text, shown so that it cannot pass for anything else.
//!
//! It comes from devices, agents and other clients. A name or an error message of a device is shown
//! in the list of devices and in the log. There it must not begin a line, move the cursor, change
//! the direction of writing, or look like text of the TAM.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};

/// Characters shown of a text.
const SHOWN: usize = 160;
/// Characters shown of a line.
const LINE: usize = 4000;

/// An untrusted text. It is stored and compared unchanged, and shown escaped and cut: bare if it is a
/// plain word, else in quotation marks.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Foreign<T = String>(T);

impl<T: AsRef<str>> Foreign<T> {
    /// Marks a text as untrusted.
    pub const fn new(text: T) -> Self {
        Self(text)
    }

    /// The text itself, no longer marked.
    pub fn into_inner(self) -> T {
        self.0
    }

    /// The text unchanged: to compare and to send, not to show.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_ref()
    }
}

impl<T: AsRef<str>> PartialEq<str> for Foreign<T> {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl<T: AsRef<str>> PartialEq<&str> for Foreign<T> {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

/// Bare if it is a plain word, else as [`fmt::Debug`] shows it.
impl<T: AsRef<str>> fmt::Display for Foreign<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.as_str();
        let is_plain = |char: char| char.is_ascii_alphanumeric() || "._:+=@-".contains(char);
        if !text.is_empty() && text.len() <= SHOWN && text.chars().all(is_plain) {
            return formatter.write_str(text);
        }
        fmt::Debug::fmt(self, formatter)
    }
}

/// In quotation marks, followed by the number of characters that were cut off.
impl<T: AsRef<str>> fmt::Debug for Foreign<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.as_str();
        formatter.write_char('"')?;
        for char in text.chars().take(SHOWN) {
            match char {
                '\'' => formatter.write_char(char)?,
                _ => write!(formatter, "{}", char.escape_debug())?,
            }
        }
        formatter.write_char('"')?;
        match text.chars().count().saturating_sub(SHOWN) {
            0 => Ok(()),
            rest => write!(formatter, " and {rest} more characters"),
        }
    }
}

/// What is wrong with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A message of this TAM.
    Own(&'static str),
    /// A message of the JSON reader or of OpenSSL, which quotes its input.
    Quoting(Foreign),
}

impl Flaw {
    /// The message of a reader.
    pub fn quoting(error: impl ToString) -> Self {
        Self::Quoting(Foreign::new(error.to_string()))
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(words) => formatter.write_str(words),
            Self::Quoting(words) => write!(formatter, "{words:?}"),
        }
    }
}

/// Whether a terminal shows the character as it is.
fn is_printable(char: char) -> bool {
    matches!(char, '"' | '\'' | '\\') || char.escape_debug().len() == 1
}

/// Escapes and cuts a text to one line without control characters.
#[must_use]
pub fn one_line(text: &str) -> String {
    let mut line = String::new();
    for char in text.chars().take(LINE) {
        match char {
            '\n' | '\t' => line.push(' '),
            _ if is_printable(char) => line.push(char),
            _ => line.extend(char.escape_debug()),
        }
    }
    if text.chars().nth(LINE).is_some() {
        line.push_str(" ...");
    }
    line
}

/// JSON without characters that a terminal interprets: the same value, with more characters escaped.
///
/// # Errors
/// If the value cannot be represented in JSON.
pub fn json(value: &impl Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string_pretty(value)?;
    let mut shown = String::with_capacity(text.len());
    for char in text.chars() {
        // Line breaks are layout; those in strings are escaped already.
        if char == '\n' || is_printable(char) {
            shown.push(char);
        } else {
            for unit in char.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        }
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_word_is_bare_and_everything_else_is_quoted() {
        for (text, shown) in [
            ("com.example:app_1-2+3=@", "com.example:app_1-2+3=@"),
            ("", r#""""#),
            ("two words", r#""two words""#),
            ("sp/domain", r#""sp/domain""#),
            ("it's \"so\" \\", r#""it's \"so\" \\""#),
            ("a\nb\r\u{1b}[2K\u{7f}\u{9b}", r#""a\nb\r\u{1b}[2K\u{7f}\u{9b}""#),
            ("\u{202e}\u{2066}\u{200f}\u{61c}", r#""\u{202e}\u{2066}\u{200f}\u{61c}""#),
            (
                "\u{2028}\u{2029}\u{feff}\u{200b}\u{85}",
                r#""\u{2028}\u{2029}\u{feff}\u{200b}\u{85}""#,
            ),
            ("Z\u{fc}rich", "\"Z\u{fc}rich\""),
        ] {
            assert_eq!(Foreign::new(text).to_string(), shown);
        }
        assert_eq!(format!("{:?}", Foreign::new("word")), r#""word""#);
    }

    #[test]
    fn long_texts_are_cut() {
        let text = |length| "x".repeat(length);
        assert_eq!(Foreign::new(text(SHOWN)).to_string(), text(SHOWN));
        let cut = format!("\"{}\" and 1 more characters", text(SHOWN));
        assert_eq!(Foreign::new(text(SHOWN + 1)).to_string(), cut);
        assert_eq!(one_line(&text(LINE)), text(LINE));
        assert_eq!(one_line(&text(LINE + 1)), format!("{} ...", text(LINE)));
    }

    #[test]
    fn a_line_is_one_line_and_json_stays_the_same_value() {
        assert_eq!(one_line("a\nb\r\u{1b}\u{202e}\\\""), "a b\\r\\u{1b}\\u{202e}\\\"");
        let text = "a\nb\u{7f}\u{9b}\u{202e}\u{e0001}\u{fc}\"";
        let shown = json(&[text]).unwrap();
        assert_eq!(shown, "[\n  \"a\\nb\\u007f\\u009b\\u202e\\udb40\\udc01\u{fc}\\\"\"\n]");
        let read: [String; 1] = serde_json::from_str(&shown).unwrap();
        assert_eq!(read[0], text);
    }
}
