//! Identifiers, each a type of its own, bounded and free of characters that JSON has to escape.

use crate::limits::{NAME_LIMIT, TAM_ID_LIMIT};

/// Whether `text` may be an identifier of at most `limit` bytes: answers repeat it without an
/// escape.
pub(crate) fn is_identifier(text: &str, limit: usize) -> bool {
    !text.is_empty()
        && text.len() <= limit
        && !text.chars().any(|char| char.is_control() || char == '"' || char == '\\')
}

/// Writes every name in the one spelling that it is compared in: as it is.
const fn as_it_is(_: &mut str) {}

/// Writes a TAM's name in the one spelling that it is compared in: a dNSName (RFC 4343), and of a URI
/// the scheme and the host (RFC 3986, section 6.2.2.1), in lower case. Only a URI has a colon.
fn lower_case(name: &mut str) {
    let Some((scheme, rest)) = name.split_once(':') else { return name.make_ascii_lowercase() };
    let authority = rest
        .strip_prefix("//")
        .map_or("", |rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    // Behind the user, whose case counts.
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let start = scheme.len().saturating_add(3).saturating_add(authority.len());
    let host = start.saturating_sub(host.len())..start;
    let scheme = ..scheme.len();
    if let Some(scheme) = name.get_mut(scheme) {
        scheme.make_ascii_lowercase();
    }
    if let Some(host) = name.get_mut(host) {
        host.make_ascii_lowercase();
    }
}

macro_rules! identifiers {
    ($($(#[$meta:meta])* $name:ident($limit:expr, $spell:ident);)*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(heapless::String<{ $limit }>);

        impl $name {
            /// The longest in bytes.
            pub const LIMIT: usize = $limit;

            /// The identifier `text`, in the spelling that it is compared in; `None` if it is
            /// empty, too long, or holds a control character, a quote or a backslash.
            #[must_use]
            pub fn new(text: &str) -> Option<Self> {
                if !is_identifier(text, Self::LIMIT) {
                    return None;
                }
                let mut text = heapless::String::try_from(text).ok()?;
                $spell(&mut text);
                Some(Self(text))
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
    /// (OTrP draft, section 5.4). A dNSName, and scheme and host of a URI, are in lower case, so that
    /// a certificate that is renewed in another case is the same TAM's.
    TamId(TAM_ID_LIMIT, lower_case);
    /// A service provider, unique within its TAM.
    SpId(NAME_LIMIT, as_it_is);
    /// A security domain, unique within its service provider.
    SdName(NAME_LIMIT, as_it_is);
    /// A trusted application, as its TAM calls it.
    TaId(NAME_LIMIT, as_it_is);
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

    #[test]
    fn a_tam_has_one_name() {
        for (text, name) in [
            ("TAM.Example", "tam.example"),
            ("HTTPS://TAM.Example", "https://tam.example"),
            ("HTTPS://TAM.Example:8443/Path?Query=A#B", "https://tam.example:8443/Path?Query=A#B"),
            ("https://Tam.Example?Q", "https://tam.example?Q"),
            ("https://Tam.Example#F", "https://tam.example#F"),
            ("https://User:Word@Tam.Example/P", "https://User:Word@tam.example/P"),
            ("https://User@@Tam.Example", "https://User@@tam.example"),
            ("https://[2001:DB8::A]/P", "https://[2001:db8::a]/P"),
            ("URN:Example:A", "urn:Example:A"),
            ("Mailto:Tam@Example", "mailto:Tam@Example"),
            ("File:///Path", "file:///Path"),
            ("S://", "s://"),
            ("S:", "s:"),
            (":", ":"),
            ("1.3.6.1", "1.3.6.1"),
            ("Stra\u{df}e \u{c9}", "stra\u{df}e \u{c9}"),
            ("HTTPS://\u{c9}.Example/\u{c9}", "https://\u{c9}.example/\u{c9}"),
        ] {
            assert_eq!(TamId::new(text).unwrap().as_str(), name);
            assert_eq!(TamId::new(name).unwrap().as_str(), name);
        }
        // No other name is touched.
        assert_eq!(SpId::new("Acme.Example").unwrap().as_str(), "Acme.Example");
    }
}
