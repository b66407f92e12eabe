//! Encrypted members: JSON and compact JWE, and the headers of JOSE (RFC 7516, section 7).

use crate::Span;
use crate::json::{Malformed, Reader, set};

/// A JWE for one recipient. The spans are those of base64url texts.
#[derive(Debug, Default)]
pub struct Jwe {
    /// The protected header; it is also the additional authenticated data.
    pub protected: Span,
    /// What stands outside the protected header; empty for a compact JWE.
    pub header: Header,
    /// The wrapped content encryption key.
    pub encrypted_key: Span,
    /// The initialization vector.
    pub iv: Span,
    /// The ciphertext.
    pub ciphertext: Span,
    /// The authentication tag.
    pub tag: Span,
}

/// A wrapped key that stands alone.
#[derive(Debug)]
pub enum WrappedKey {
    /// As the content of a JWE.
    Jwe(Jwe),
    /// As the base64 of a ciphertext, which names no algorithm (the samples of the OTrP draft).
    Bare(Span),
}

/// The members of a JOSE header, from one place.
#[derive(Clone, Debug, Default)]
pub struct Header {
    /// `alg`: the algorithm of the signature or of the key management.
    pub algorithm: Option<Span>,
    /// `enc`: the algorithm of the content encryption.
    pub encryption: Option<Span>,
    /// `epk`: the sender's ephemeral public key.
    pub ephemeral: Option<EcPublicKey>,
    /// `apu`: base64url information on the sender.
    pub party_u: Option<Span>,
    /// `apv`: base64url information on the recipient.
    pub party_v: Option<Span>,
}

/// An elliptic curve key as a JWK on P-256: base64url coordinates (RFC 7518, section 6.2).
#[derive(Clone, Copy, Debug)]
pub struct EcPublicKey {
    /// The x coordinate.
    pub x: Span,
    /// The y coordinate.
    pub y: Span,
}

impl Header {
    /// Reads a header from `reader`. `crit`, `zip` and anything else that would change the meaning of
    /// the message are refused with all members that are not known.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut header = Self::default();
        let (mut key_id, mut kind, mut content_kind) = (None, None, None);
        reader.object(|reader, key| match key {
            "alg" => set(&mut header.algorithm, reader.string()?),
            "enc" => set(&mut header.encryption, reader.string()?),
            "epk" => set(&mut header.ephemeral, EcPublicKey::read(reader)?),
            "apu" => set(&mut header.party_u, reader.string()?),
            "apv" => set(&mut header.party_v, reader.string()?),
            "kid" => set(&mut key_id, reader.string()?),
            "typ" => set(&mut kind, reader.string()?),
            "cty" => set(&mut content_kind, reader.string()?),
            _ => Err(Malformed),
        })?;
        Ok(header)
    }

    /// Reads a whole text that is one header, and decodes its strings in place, once.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read_all(text: &mut [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(text);
        let header = Self::read(&mut reader)?;
        reader.end()?;
        Ok(header)
    }
}

impl EcPublicKey {
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (mut x, mut y, mut kind, mut curve) = (None, None, None, None);
        reader.object(|reader, key| match key {
            "kty" => set(&mut kind, reader.text()?.0 == "EC"),
            "crv" => set(&mut curve, reader.text()?.0 == "P-256"),
            "x" => set(&mut x, reader.string()?),
            "y" => set(&mut y, reader.string()?),
            _ => Err(Malformed),
        })?;
        if kind != Some(true) || curve != Some(true) {
            return Err(Malformed);
        }
        Ok(Self { x: x.ok_or(Malformed)?, y: y.ok_or(Malformed)? })
    }
}

impl Jwe {
    /// Takes a JSON JWE from `reader`: flattened, or general with exactly one recipient.
    ///
    /// # Errors
    /// [`Malformed`], also for `aad` and `unprotected`, which OTrP does not use.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (mut protected, mut iv, mut ciphertext, mut tag) = (None, None, None, None);
        let mut general = None;
        let mut flattened = Recipient::default();
        reader.object(|reader, key| match key {
            "protected" => set(&mut protected, reader.string()?),
            "iv" => set(&mut iv, reader.string()?),
            "ciphertext" => set(&mut ciphertext, reader.string()?),
            "tag" => set(&mut tag, reader.string()?),
            "recipients" => set(&mut general, read_recipients(reader)?),
            "header" => set(&mut flattened.header, Header::read(reader)?),
            "encrypted_key" => set(&mut flattened.encrypted_key, reader.string()?),
            _ => Err(Malformed),
        })?;
        let recipient = match general {
            None => flattened,
            Some(_) if flattened.header.is_some() || flattened.encrypted_key.is_some() => {
                return Err(Malformed);
            }
            Some(recipient) => recipient,
        };
        Ok(Self {
            protected: protected.ok_or(Malformed)?,
            header: recipient.header.unwrap_or_default(),
            encrypted_key: recipient.encrypted_key.ok_or(Malformed)?,
            iv: iv.ok_or(Malformed)?,
            ciphertext: ciphertext.ok_or(Malformed)?,
            tag: tag.ok_or(Malformed)?,
        })
    }

    /// Reads a JWE in the compact serialization, which begins at `start`.
    fn read_compact(text: &str, start: usize) -> Result<Self, Malformed> {
        let mut position = start;
        let mut parts = text.split('.').map(|part| {
            let span = Span::new(position, position.saturating_add(part.len()));
            position = position.saturating_add(part.len()).saturating_add(1);
            span
        });
        let mut next = || parts.next().ok_or(Malformed);
        let jwe = Self {
            protected: next()?,
            header: Header::default(),
            encrypted_key: next()?,
            iv: next()?,
            ciphertext: next()?,
            tag: next()?,
        };
        if next().is_ok() {
            return Err(Malformed);
        }
        Ok(jwe)
    }
}

impl WrappedKey {
    /// Takes a JWE that is a JSON object or a string in the compact serialization, or another
    /// string that is not empty.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        if reader.peek() == Some(b'{') {
            return Jwe::read(reader).map(Self::Jwe);
        }
        let (text, span) = reader.text()?;
        if text.contains('.') {
            return Jwe::read_compact(text, span.start()).map(Self::Jwe);
        }
        if text.is_empty() {
            return Err(Malformed);
        }
        Ok(Self::Bare(span))
    }
}

#[derive(Default)]
struct Recipient {
    header: Option<Header>,
    encrypted_key: Option<Span>,
}

/// Takes an array that holds exactly one recipient.
fn read_recipients(reader: &mut Reader<'_>) -> Result<Recipient, Malformed> {
    let mut only = None;
    reader.array(|reader| {
        let mut recipient = Recipient::default();
        reader.object(|reader, key| match key {
            "header" => set(&mut recipient.header, Header::read(reader)?),
            "encrypted_key" => set(&mut recipient.encrypted_key, reader.string()?),
            _ => Err(Malformed),
        })?;
        set(&mut only, recipient)
    })?;
    only.ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// A JWE, and the text that its spans are positions in.
    fn read(text: &str) -> Result<(Jwe, Vec<u8>), Malformed> {
        let mut text = text.as_bytes().to_vec();
        let mut reader = Reader::new(&mut text);
        let key = WrappedKey::read(&mut reader)?;
        reader.end()?;
        match key {
            WrappedKey::Jwe(jwe) => Ok((jwe, text)),
            WrappedKey::Bare(_) => Err(Malformed),
        }
    }

    #[test]
    fn the_three_serializations_are_read() {
        let general = r#"{"protected":"cA","recipients":[{"header":{"alg":"ECDH-ES+A128KW",
            "epk":{"kty":"EC","crv":"P-256","x":"eA","y":"eQ"}},"encrypted_key":"aw"}],
            "iv":"aXY","ciphertext":"Yw","tag":"dA"}"#;
        let (jwe, text) = read(general).unwrap();
        assert_eq!(jwe.header.algorithm.unwrap().text(&text), "ECDH-ES+A128KW");
        assert_eq!(jwe.header.ephemeral.unwrap().y.text(&text), "eQ");
        let flattened =
            r#"{"protected":"cA","encrypted_key":"aw","iv":"aXY","ciphertext":"Yw","tag":"dA"}"#;
        let compact = r#" "cA.aw.aXY.Yw.dA""#;
        let escaped = r#" "\u0063A\u002eaw.aX\u0059.Yw\u002EdA""#;
        for text in [general, flattened, compact, escaped] {
            let (jwe, text) = read(text).unwrap();
            let part = |span: Span| std::string::String::from(span.text(&text));
            assert_eq!(part(jwe.protected), "cA");
            assert_eq!(part(jwe.encrypted_key), "aw");
            assert_eq!(part(jwe.iv), "aXY");
            assert_eq!(part(jwe.ciphertext), "Yw");
            assert_eq!(part(jwe.tag), "dA");
        }
    }

    #[test]
    fn a_bare_key_is_a_string_without_parts() {
        for text in [r#" "QUJD+/==" "#, r#" "QUJD\u002B\/\u003D=" "#] {
            let mut text = text.as_bytes().to_vec();
            let mut reader = Reader::new(&mut text);
            let key = WrappedKey::read(&mut reader).unwrap();
            reader.end().unwrap();
            assert!(matches!(key, WrappedKey::Bare(span) if span.text(&text) == "QUJD+/=="));
        }
        let empty = WrappedKey::read(&mut Reader::new(&mut br#""""#.to_vec()));
        assert_eq!(empty.err(), Some(Malformed));
    }

    #[test]
    fn each_defect_is_refused() {
        for text in [
            r#""a.b.c.d""#,
            r#""a.b.c.d.e.f""#,
            r#"{"protected":"","recipients":[],"iv":"","ciphertext":"","tag":""}"#,
            r#"{"protected":"","recipients":[{"encrypted_key":""},{"encrypted_key":""}],"iv":"","ciphertext":"","tag":""}"#,
            r#"{"protected":"","recipients":[{"encrypted_key":""}],"encrypted_key":"","iv":"","ciphertext":"","tag":""}"#,
            r#"{"protected":"","encrypted_key":"","iv":"","ciphertext":"","tag":"","aad":""}"#,
            r#"{"protected":"","encrypted_key":"","iv":"","ciphertext":"","tag":"","unprotected":{}}"#,
            r#"{"protected":"","encrypted_key":"","iv":"","ciphertext":""}"#,
            r#"{"encrypted_key":"","iv":"","ciphertext":"","tag":""}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
        for text in [
            r#"{"alg":"a","crit":["exp"]}"#,
            r#"{"alg":"a","zip":"DEF"}"#,
            r#"{"alg":"a","alg":"b"}"#,
            r#"{"alg":"a","\u0061lg":"b"}"#,
            r#"{"alg":"\a"}"#,
            r#"{"alg":"a"}{"#,
            r#"{"epk":{"kty":"EC","crv":"P-384","x":"","y":""}}"#,
            r#"{"epk":{"kty":"RSA","crv":"P-256","x":"","y":""}}"#,
            r#"{"epk":{"kty":"EC","crv":"P-256","x":""}}"#,
            r#"{"epk":{"kty":"EC","crv":"P-256","x":"","y":"","d":""}}"#,
        ] {
            assert!(Header::read_all(&mut text.as_bytes().to_vec()).is_err(), "{text}");
        }
    }
}
