//! The service provider's settings on a device: the personalization data of this application.
//!
//! ```text
//! label=Example Bank, till 7
//! use-limit=1000
//! ```
//!
//! Each line at most once, in any order, and nothing else; the last line feed may be missing.

use alloc::string::String;

/// The settings of one session.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What the provider calls this device: 1 to [`Settings::LABEL_LIMIT`] bytes of UTF-8 without
    /// control characters.
    pub label: Option<String>,
    /// How many signatures a key may make.
    pub use_limit: Option<u64>,
}

impl Settings {
    /// Most bytes of a label.
    pub const LABEL_LIMIT: usize = 64;
    /// Room for both lines with their longest values.
    pub const DATA_LIMIT: usize = 128;

    /// Reads personalization data; `None` if they are anything but settings. To guess what was
    /// meant could lift a limit.
    pub fn read(data: &[u8]) -> Option<Self> {
        let text = core::str::from_utf8(data).ok()?;
        let mut settings = Self::default();
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            match line.split_once('=')? {
                ("label", value) if settings.label.is_none() => {
                    settings.label = Some(label(value)?);
                }
                ("use-limit", value) if settings.use_limit.is_none() => {
                    settings.use_limit = Some(number(value)?);
                }
                _ => return None,
            }
        }
        Some(settings)
    }
}

fn label(text: &str) -> Option<String> {
    let fits = !text.is_empty() && text.len() <= Settings::LABEL_LIMIT;
    (fits && !text.contains(char::is_control)).then(|| text.into())
}

/// A number as one writes it: the library would also take a sign and leading zeros.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    if digits && !padded { text.parse().ok() } else { None }
}
