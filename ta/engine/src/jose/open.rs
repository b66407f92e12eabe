//! Opens a JWE in place in its message (RFC 7516, section 5.2).
//!
//! Whatever is wrong with one is [`Error::Crypto`]: the callers say what that means to the message,
//! and it means the same for all of it.

use otrp_wire::Span;
use otrp_wire::base64::{Form, decode, decode_array, decode_in_place};
use otrp_wire::copy::copy;
use otrp_wire::jwe::{EcPublicKey, Header, Jwe};
use otrp_wire::limits::{JOSE_HEADER_LIMIT, PARTY_LIMIT};

use super::content::{ContentAlgorithm, ContentKey, LONGEST_IV, LONGEST_TAG};
use super::key_management::{
    Agreement, KeyAlgorithm, KeyWrap, LONGEST_WRAPPED_KEY, decrypt_content_key, unwrap_content_key,
};
use crate::crypto::Error;
use crate::crypto::rsa::encryption::{self, Encryption};
use crate::platform::{
    KeyName, KeyPair, Modulus, OwnPublicKey, Platform, Point, Ports, PrivateKey,
};
use crate::secret::Scalar;

/// The base64url text of the longest JOSE header.
const HEADER_TEXT_LIMIT: usize = JOSE_HEADER_LIMIT.div_ceil(3).saturating_mul(4);

/// A key pair of this TEE that messages are encrypted for, and what the vendor lets it be used for.
#[derive(Clone, Copy, Debug)]
pub struct DecryptionKey<'k> {
    /// The key pair.
    pub pair: &'k KeyPair,
    /// Whether RSAES-PKCS1-v1_5 is accepted.
    pub rsa1_5: bool,
}

/// How a key pair is used for one message.
enum KeyUse<'k> {
    EcdhEs(KeyWrap, &'k Scalar),
    Rsa(Encryption, &'k Modulus, KeyName),
}

impl<'k> DecryptionKey<'k> {
    /// How the key pair is used with an algorithm.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if it is not.
    fn with(self, algorithm: KeyAlgorithm) -> Result<KeyUse<'k>, Error> {
        let KeyPair { public, private } = self.pair;
        match (algorithm, public, private) {
            (KeyAlgorithm::Rsa(Encryption::Pkcs1), ..) if !self.rsa1_5 => Err(Error::Unsupported),
            (KeyAlgorithm::EcdhEs(wrap), _, PrivateKey::P256(key)) => Ok(KeyUse::EcdhEs(wrap, key)),
            (
                KeyAlgorithm::Rsa(encryption),
                OwnPublicKey::Rsa2048(modulus),
                PrivateKey::Rsa2048(name),
            ) => Ok(KeyUse::Rsa(encryption, modulus, *name)),
            (KeyAlgorithm::EcdhEs(_) | KeyAlgorithm::Rsa(_), ..) => Err(Error::Unsupported),
        }
    }
}

/// A JWE that was decrypted.
pub struct OpenedJwe {
    /// The content key.
    pub key: ContentKey,
    /// How it was wrapped.
    pub key_algorithm: KeyAlgorithm,
    /// Where the plaintext stands.
    pub plaintext: Span,
}

/// Decrypts a JWE where it stands.
///
/// # Errors
/// [`Error::Crypto`] for everything that is wrong with it; [`Error::Unsupported`] for an algorithm;
/// [`Error::Port`].
pub fn open_jwe<P: Platform>(
    buffer: &mut [u8],
    jwe: &Jwe,
    ports: &mut Ports<P>,
    own: DecryptionKey<'_>,
) -> Result<OpenedJwe, Error> {
    // The ciphertext is decoded over its text, and what the tag covers is needed afterwards.
    let mut aad = [0; HEADER_TEXT_LIMIT];
    let aad = aad.get_mut(..jwe.protected.len()).ok_or(Error::Crypto)?;
    copy(aad, jwe.protected.of(buffer)).ok_or(Error::Internal)?;
    let mut room = [0; JOSE_HEADER_LIMIT];
    let text = decode(aad, Form::Url, &mut room).map_err(|_| Error::Crypto)?;
    let protected = Header::read_all(text).map_err(|_| Error::Crypto)?;
    let headers = Headers { text, protected, buffer, outer: &jwe.header };
    let (key, key_algorithm) = unwrap_key(&headers, jwe.encrypted_key, ports, own)?;
    let plaintext = decrypt_content(buffer, jwe, &key, aad)?;
    Ok(OpenedJwe { key, key_algorithm, plaintext })
}

/// Recovers the content key that the headers describe.
fn unwrap_key<P: Platform>(
    headers: &Headers<'_>,
    encrypted_key: Span,
    ports: &mut Ports<P>,
    own: DecryptionKey<'_>,
) -> Result<(ContentKey, KeyAlgorithm), Error> {
    let name = headers.text_of(|header| header.algorithm).flatten().ok_or(Error::Crypto)?;
    let algorithm = KeyAlgorithm::from_name(name).ok_or(Error::Unsupported)?;
    let content = headers.encryption().ok_or(Error::Crypto)?;
    let content = ContentAlgorithm::from_name(content).ok_or(Error::Unsupported)?;
    let used = own.with(algorithm)?;
    let mut room = [0; LONGEST_WRAPPED_KEY];
    let wrapped = decode(encrypted_key.of(headers.buffer), Form::Url, &mut room)
        .map_err(|_| Error::Crypto)?;
    let Ports { keys, rng, .. } = ports;
    let key = match used {
        KeyUse::EcdhEs(wrap, key) => {
            let mut rooms = [[0; PARTY_LIMIT]; 2];
            let ephemeral = headers.ephemeral().ok_or(Error::Crypto)?;
            let (party_u, party_v) = headers.parties(&mut rooms).ok_or(Error::Crypto)?;
            let agreement = Agreement { ephemeral: &ephemeral, party_u, party_v };
            unwrap_content_key(keys, key, wrap, &agreement, wrapped, content)
        }
        // What belongs to a key agreement has no business here.
        KeyUse::Rsa(..) if headers.has_agreement() => Err(Error::Crypto),
        KeyUse::Rsa(padding, modulus, name) => {
            decrypt_content_key(keys, rng, name, modulus, padding, wrapped, content)
        }
    }?;
    Ok((key, algorithm))
}

/// Decrypts the content; where the plaintext stands.
fn decrypt_content(
    buffer: &mut [u8],
    jwe: &Jwe,
    key: &ContentKey,
    aad: &[u8],
) -> Result<Span, Error> {
    let mut room_iv = [0; LONGEST_IV];
    let iv = decode(jwe.iv.of(buffer), Form::Url, &mut room_iv).map_err(|_| Error::Crypto)?;
    let mut room_tag = [0; LONGEST_TAG];
    let tag = decode(jwe.tag.of(buffer), Form::Url, &mut room_tag).map_err(|_| Error::Crypto)?;
    let ciphertext =
        decode_in_place(buffer, jwe.ciphertext, Form::Url).map_err(|_| Error::Crypto)?;
    let plaintext = key.decrypt_in_place(iv, aad, ciphertext.of_mut(buffer), tag)?.len();
    Ok(ciphertext.truncated(plaintext))
}

/// Decrypts a bare RSAES-PKCS1-v1_5 ciphertext, in base64, of exactly the length of `message`; if
/// it is none, `message` is random.
///
/// # Errors
/// As [`open_jwe`].
pub fn open_bare<P: Platform>(
    text: &[u8],
    ports: &mut Ports<P>,
    own: DecryptionKey<'_>,
    message: &mut [u8],
) -> Result<(), Error> {
    let KeyUse::Rsa(padding, modulus, name) = own.with(KeyAlgorithm::Rsa(Encryption::Pkcs1))?
    else {
        return Err(Error::Unsupported);
    };
    let mut room = [0; size_of::<Modulus>()];
    let ciphertext = decode(text, Form::Any, &mut room).map_err(|_| Error::Crypto)?;
    let Ports { keys, rng, .. } = ports;
    encryption::decrypt(keys, rng, name, modulus, padding, ciphertext, message)
}

/// The two headers of a JWE. Each parameter is in exactly one of them (RFC 7516, section 7.2.1).
struct Headers<'h> {
    /// The decoded protected header.
    text: &'h [u8],
    protected: Header,
    /// The message that contains the other one.
    buffer: &'h [u8],
    outer: &'h Header,
}

impl<'h> Headers<'h> {
    /// A parameter, if it is present; `None` if both headers have it.
    fn text_of(&self, parameter: impl Fn(&Header) -> Option<Span>) -> Option<Option<&'h str>> {
        match (parameter(&self.protected), parameter(self.outer)) {
            (Some(_), Some(_)) => None,
            (Some(span), None) => Some(Some(span.text(self.text))),
            (None, outside) => Some(outside.map(|span| span.text(self.buffer))),
        }
    }

    /// `enc`, which has to be in the header that the tag covers.
    fn encryption(&self) -> Option<&'h str> {
        match (self.protected.encryption, self.outer.encryption) {
            (Some(span), None) => Some(span.text(self.text)),
            _ => None,
        }
    }

    /// `epk`.
    fn ephemeral(&self) -> Option<Point> {
        match (self.protected.ephemeral, self.outer.ephemeral) {
            (Some(key), None) => point(key, self.text),
            (None, Some(key)) => point(key, self.buffer),
            _ => None,
        }
    }

    /// `apu` and `apv`, decoded; empty where they are absent.
    fn parties<'r>(&self, rooms: &'r mut [[u8; PARTY_LIMIT]; 2]) -> Option<(&'r [u8], &'r [u8])> {
        let [room_u, room_v] = rooms;
        let party_u = self.text_of(|header| header.party_u)?.unwrap_or_default();
        let party_v = self.text_of(|header| header.party_v)?.unwrap_or_default();
        Some((
            decode(party_u.as_bytes(), Form::Url, room_u).ok()?,
            decode(party_v.as_bytes(), Form::Url, room_v).ok()?,
        ))
    }

    /// Whether there is a parameter of a key agreement.
    fn has_agreement(&self) -> bool {
        [&self.protected, self.outer].into_iter().any(|header| {
            header.ephemeral.is_some() || header.party_u.is_some() || header.party_v.is_some()
        })
    }
}

fn point(key: EcPublicKey, text: &[u8]) -> Option<Point> {
    let x: [u8; 32] = decode_array(key.x.of(text), Form::Url).ok()?;
    let y: [u8; 32] = decode_array(key.y.of(text), Form::Url).ok()?;
    let mut point = [4; 65];
    let (head, tail) = point.split_at_mut(33);
    head.get_mut(1..)?.copy_from_slice(&x);
    tail.copy_from_slice(&y);
    Some(point)
}
