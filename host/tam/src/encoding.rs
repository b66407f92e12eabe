//! Base64 and JSON as OTrP uses them, and SHA-256.

use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose};
use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// With or without padding: the draft's samples have both.
const EITHER_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, EITHER_PADDING);
const URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, EITHER_PADDING);

/// `bytes` as base64url without padding, the encoding of JOSE.
#[must_use]
pub fn base64url(bytes: &[u8]) -> String {
    general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of base64url text; `None` for padding, white space, other characters or stray bits.
#[must_use]
pub fn from_base64url(text: &str) -> Option<Vec<u8>> {
    general_purpose::URL_SAFE_NO_PAD.decode(text).ok()
}

/// `bytes` as standard base64 with padding, the encoding of OTrP's own members.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    general_purpose::STANDARD.encode(bytes)
}

/// The bytes of base64 text in either alphabet, with or without padding; `None` if it is not base64.
#[must_use]
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    let engine = if text.contains(['-', '_']) { URL } else { STANDARD };
    engine.decode(text).ok()
}

/// SHA-256 of `bytes`.
///
/// # Errors
/// If OpenSSL runs out of memory.
pub fn sha256(bytes: &[u8]) -> Result<Vec<u8>, ErrorStack> {
    hash(MessageDigest::sha256(), bytes).map(|digest| digest.to_vec())
}

/// A JSON object with exactly one member, such as `{"CreateSDRequest": ...}`.
#[derive(Clone, Debug)]
pub struct Single<T> {
    /// The key of the member.
    pub name: String,
    /// The value of the member.
    pub value: T,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Single<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SingleVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for SingleVisitor<T> {
            type Value = Single<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object with one member")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (name, value) =
                    map.next_entry()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
                if map.next_key::<String>()?.is_some() {
                    return Err(A::Error::custom("a second member"));
                }
                Ok(Single { name, value })
            }
        }

        deserializer.deserialize_map(SingleVisitor(PhantomData))
    }
}

/// A JSON value without duplicate members at any depth: readers differ in which one they use (RFC 7515,
/// section 4).
#[derive(Debug)]
pub struct Unambiguous(pub Value);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;

        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = Value;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("JSON without duplicate members")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
                let mut values = Vec::new();
                while let Some(Unambiguous(value)) = list.next_element()? {
                    values.push(value);
                }
                Ok(Value::Array(values))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut members = Map::new();
                while let Some((name, Unambiguous(value))) = map.next_entry::<String, _>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("a duplicate member"));
                    }
                }
                Ok(Value::Object(members))
            }
        }

        deserializer.deserialize_any(ValueVisitor).map(Self)
    }
}

/// Reads a JSON object as [`Unambiguous`].
///
/// # Errors
/// If it is not an object, or has a duplicate member.
pub fn unambiguous_object<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Map<String, Value>, D::Error> {
    match Unambiguous::deserialize(deserializer)? {
        Unambiguous(Value::Object(members)) => Ok(members),
        Unambiguous(_) => Err(D::Error::custom("not an object")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url_is_strict() {
        // RFC 7515, appendix C.
        assert_eq!(base64url(&[3, 236, 255, 224, 193]), "A-z_4ME");
        assert_eq!(from_base64url("A-z_4ME"), Some(vec![3, 236, 255, 224, 193]));
        for text in ["A-z_4ME=", "A+z/4ME", "A-z_4MF", "A-z_ 4ME", "A"] {
            assert_eq!(from_base64url(text), None, "{text}");
        }
    }

    #[test]
    fn base64_is_read_in_every_form_of_the_samples() {
        assert_eq!(base64(&[3, 236, 255, 224, 193]), "A+z/4ME=");
        for text in ["A+z/4ME=", "A+z/4ME", "A-z_4ME", "A-z_4ME="] {
            assert_eq!(from_base64(text), Some(vec![3, 236, 255, 224, 193]), "{text}");
        }
        for text in ["A+z_4ME", "A+z/4MF=", "A+z/4ME==", "A+z/\n4ME="] {
            assert_eq!(from_base64(text), None, "{text}");
        }
    }

    #[test]
    fn sha256_is_that_of_fips_180() {
        assert_eq!(
            hex::encode(sha256(b"abc").unwrap()),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn duplicate_members_are_refused_at_any_depth() {
        let text = r#"{"a":[1,-1,1.5,"x",null,true,{"b":1}],"b":{"b":{}}}"#;
        let Unambiguous(value) = serde_json::from_str(text).unwrap();
        assert_eq!(value, serde_json::from_str::<Value>(text).unwrap());
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":1}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"[{"a":[{"b":1,"b":2}]}]"#,
        ] {
            assert!(serde_json::from_str::<Value>(text).is_ok(), "{text}");
            assert!(serde_json::from_str::<Unambiguous>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_single_has_one_member() {
        let single: Single<u8> = serde_json::from_str(r#"{"a":1}"#).unwrap();
        assert_eq!((single.name.as_str(), single.value), ("a", 1));
        for text in ["{}", "[]", r#"{"a":1,"b":2}"#, r#"{"a":1,"a":1}"#, r#"{"a":1} "#.trim()] {
            let read = serde_json::from_str::<Single<u8>>(text);
            assert_eq!(read.is_ok(), text == r#"{"a":1}"#, "{text}");
        }
    }
}
