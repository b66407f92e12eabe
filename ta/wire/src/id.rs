//! Identifiers, each a type of its own, bounded and free of characters that JSON has to escape.

use crate::limits::{NAME_LIMIT, TAM_ID_LIMIT};

/// Whether `text` may be an identifier of at most `limit` bytes: answers repeat it without an
/// escape.
pub(crate) fn is_identifier(text: &str, limit: usize) -> bool {
    !text.is_empty()
        && text.len() <= limit
        && !text.chars().any(|char| char.is_control() || char == '"' || char == '\\')
}

macro_rules! identifiers {
    ($($(#[$meta:meta])* $name:ident($limit:expr);)*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(heapless::String<{ $limit }>);

        impl $name {
            /// The longest in bytes.
            pub const LIMIT: usize = $limit;

            /// The identifier `text`; `None` if it is empty, too long, or holds a control
            /// character, a quote or a backslash.
            #[must_use]
            pub fn new(text: &str) -> Option<Self> {
                if !is_identifier(text, Self::LIMIT) {
                    return None;
                }
                text.try_into().ok().map(Self)
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    )*};
}

identifiers! {
    /// A TAM: the attribute of its certificate that stays when the certificate is renewed
    /// (OTrP draft, section 5.4).
    TamId(TAM_ID_LIMIT);
    /// A service provider, unique within its TAM.
    SpId(NAME_LIMIT);
    /// A security domain, unique within its service provider.
    SdName(NAME_LIMIT);
    /// A trusted application, as its TAM calls it.
    TaId(NAME_LIMIT);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    #[test]
    fn identifiers_are_bounded_and_plain() {
        let longest: String = "x".repeat(SdName::LIMIT);
        assert_eq!(SdName::new(&longest).unwrap().as_str(), longest);
        assert_eq!(SdName::new(&(longest + "x")), None);
        for text in ["", "a\"b", "a\\b", "a\nb", "a\u{85}b", "a\u{7f}"] {
            assert_eq!(TaId::new(text), None, "{text:?}");
        }
        assert!(SpId::new("caf\u{e9} 1").is_some());
    }
}
