//! A request on its way: received, verified, opened. Each state consumes the one before.
//!
//! Nothing inside a message is looked at before the signature around it is checked. All decoding
//! and decryption happens in the one buffer that the message arrived in.

use otrp_wire::base64::{Form, decode, decode_array, decode_in_place};
use otrp_wire::envelope::{Envelope, EnvelopeError};
use otrp_wire::jwe::{EcPublicKey, Header, Jwe};
use otrp_wire::limits::{JOSE_HEADER_LIMIT, OCSP_LIMIT, PARTY_LIMIT, TRANSACTION_ID_LIMIT};
use otrp_wire::request::{Content, EncryptedTa, Tbs};
use otrp_wire::{ErrorCode, RequestName, Span, VERSION};
use sha2::{Digest, Sha256};

use crate::chain::ChainBuffer;
use crate::error::Error;
use crate::jose::content::{ContentAlgorithm, ContentKey, LONGEST_TAG};
use crate::jose::key_management::{
    Agreement, KeyAlgorithm, LONGEST_WRAPPED_KEY, unwrap_content_key,
};
use crate::jose::signature::signing_digest;
use crate::jose::{self};
use crate::pki::{self, Scheme, TrustedTam};
use crate::platform::{Keys, Kind, Name, Platform, Point, Ports, Storage};
use crate::registry::State;
use crate::trust::Trust;

/// The base64url text of the longest JOSE header.
const HEADER_TEXT_LIMIT: usize = JOSE_HEADER_LIMIT.div_ceil(3).saturating_mul(4);

const INVALID: Error = Error::Refused(ErrorCode::RequestInvalid);
const UNSUPPORTED: Error = Error::Refused(ErrorCode::UnsupportedCryptoAlg);
const UNTRUSTED: Error = Error::Refused(ErrorCode::TamNotTrusted);

/// `rid` and `tid`, which every answer repeats; empty until they are known.
#[derive(Debug, Default)]
pub struct Transaction {
    /// `rid`.
    pub request_id: heapless::String<TRANSACTION_ID_LIMIT>,
    /// `tid`.
    pub transaction_id: heapless::String<TRANSACTION_ID_LIMIT>,
}

/// A message with the structure of a request. Nothing in it is verified.
#[derive(Debug)]
pub struct Received<'m> {
    message: &'m mut [u8],
    envelope: Envelope,
}

/// A request that a trusted TAM signed, its payload decoded.
#[derive(Debug)]
pub struct Verified<'m, 'c> {
    name: RequestName,
    payload: &'m mut [u8],
    tam: TrustedTam<'c>,
}

/// A verified request whose members are those of its name.
#[derive(Debug)]
pub struct Request<'m> {
    payload: &'m mut [u8],
    tbs: Tbs,
    name: RequestName,
}

/// A request with its content decrypted.
pub struct Opened<'m> {
    payload: &'m mut [u8],
    plaintext: Span,
    content: Content,
    encrypted_ta: Option<EncryptedTa>,
    key: ContentKey,
    /// Whether the answer is to carry the new device state.
    pub next_dsi: bool,
}

impl<'m> Received<'m> {
    /// Reads the envelope.
    ///
    /// # Errors
    /// [`EnvelopeError`].
    pub fn parse(message: &'m mut [u8]) -> Result<Self, EnvelopeError> {
        let envelope = Envelope::read(message)?;
        Ok(Self { message, envelope })
    }

    /// The name outside the signature.
    #[must_use]
    pub const fn name(&self) -> RequestName {
        self.envelope.name
    }

    /// Checks who signed: the certificates in the message lead to an anchor, or are those that
    /// the TAM sent with an earlier request; and its key made the signature.
    ///
    /// The certificates are left in `chain`.
    ///
    /// # Errors
    /// `ERR_UNSUPPORTED_CRYPTO_ALG`, `ERR_TAM_NOT_TRUSTED`, `ERR_REQUEST_INVALID`.
    pub fn authenticate<'c, P: Platform>(
        self,
        trust: &Trust,
        state: &State,
        ports: &mut Ports<P>,
        now: u64,
        chain: &'c mut ChainBuffer,
    ) -> Result<Verified<'m, 'c>, Error> {
        let Self { message, envelope } = self;
        let scheme = signature_scheme(envelope.protected.of(message))?;
        let signature: [u8; 64] = decode_array(envelope.signature.of(message), Form::Url)?;
        let digest = signing_digest(envelope.protected.of(message), envelope.payload.of(message));
        let signed = Signed { scheme, digest, signature };
        let tam = if envelope.signer.certificates.is_empty() {
            let key_id = match envelope.signer.key_id {
                Some(span) => Some(decode_array(span.of(message), Form::Url)?),
                None => None,
            };
            load_signer::<P>(&signed, key_id, state, &mut ports.storage, chain)?;
            verify_tam::<P>(trust, now, chain)?
        } else {
            chain.clear();
            for certificate in &envelope.signer.certificates {
                let der = decode_in_place(message, *certificate, Form::Any)?.of(message);
                // Each text is one certificate (RFC 7515, section 4.1.6).
                match pki::split_chain(der).as_deref() {
                    Ok([_]) => chain.push(der).map_err(|_| UNTRUSTED)?,
                    _ => return Err(UNTRUSTED),
                }
            }
            verify_tam::<P>(trust, now, chain)?
        };
        if !tam.key().verify::<P::Rsa>(signed.scheme, &signed.digest, &signed.signature) {
            return Err(INVALID);
        }
        let payload = decode_in_place(message, envelope.payload, Form::Url)?.of_mut(message);
        Ok(Verified { name: envelope.name, payload, tam })
    }
}

/// A signature and what it is over.
struct Signed {
    scheme: Scheme,
    digest: [u8; 32],
    signature: [u8; 64],
}

/// The algorithm that a JWS names in its protected header. RS256 has its place here.
fn signature_scheme(protected: &[u8]) -> Result<Scheme, Error> {
    let mut room = [0; JOSE_HEADER_LIMIT];
    let text = decode(protected, Form::Url, &mut room)?;
    let header = Header::read_all(text)?;
    match header.algorithm.ok_or(INVALID)?.text(text) {
        "ES256" => Ok(Scheme::Es256),
        _ => Err(UNSUPPORTED),
    }
}

fn verify_tam<'c, P: Platform>(
    trust: &Trust,
    now: u64,
    chain: &'c ChainBuffer,
) -> Result<TrustedTam<'c>, Error> {
    let certificates = chain.certificates().map_err(|_| UNTRUSTED)?;
    pki::verify_tam::<P::Rsa>(&certificates, trust.tam_anchors, now).map_err(|_| UNTRUSTED)
}

/// Loads the stored chain of the TAM that a request without certificates is from: the one whose
/// leaf `key_id` names, else the one whose key made the signature. The transaction identifier
/// tells too, but only to those who read a payload before its signature is checked.
fn load_signer<P: Platform>(
    signed: &Signed,
    key_id: Option<[u8; 32]>,
    state: &State,
    storage: &mut P::Storage,
    chain: &mut ChainBuffer,
) -> Result<(), Error> {
    let mut room = [0; otrp_wire::limits::CHAIN_BYTES_LIMIT];
    for tam in state.tams().iter().filter(|tam| key_id.is_none_or(|id| id == tam.leaf)) {
        let name = Name { kind: Kind::TamChain, number: tam.chain };
        let Some(stored) = storage.load(name, &mut room)? else { continue };
        let made_it = pki::split_chain(stored)
            .ok()
            .and_then(|chain| pki::Certificate::parse(chain.first().copied()?).ok())
            .and_then(|leaf| {
                leaf.public_key().ok().map(|key| {
                    key.verify::<P::Rsa>(signed.scheme, &signed.digest, &signed.signature)
                })
            })
            .unwrap_or(false);
        if made_it || key_id.is_some() {
            return chain.set(stored).map_err(|_| Error::Internal);
        }
    }
    Err(UNTRUSTED)
}

impl<'m, 'c> Verified<'m, 'c> {
    /// Reads the members, and notes in `transaction` as many as there are of those that an answer
    /// repeats.
    ///
    /// # Errors
    /// `ERR_UNSUPPORTED_MSG_VERSION`, `ERR_REQUEST_INVALID`.
    pub fn read(
        self,
        transaction: &mut Transaction,
    ) -> Result<(Request<'m>, TrustedTam<'c>), Error> {
        let Self { name, payload, tam } = self;
        let mut tbs = Tbs::default();
        let read = tbs.read(payload, name);
        let text = |span: Option<Span>| span.map_or("", |span| span.text(payload));
        // Both were bounded when they were read.
        let _ = transaction.request_id.push_str(text(tbs.request_id));
        let _ = transaction.transaction_id.push_str(text(tbs.transaction_id));
        if tbs.version.is_some_and(|version| version.text(payload) != VERSION) {
            return Err(ErrorCode::UnsupportedMsgVersion.into());
        }
        read?;
        Ok((Request { payload, tbs, name }, tam))
    }
}

impl<'m> Request<'m> {
    /// The request's name, which is the signed one.
    #[must_use]
    pub const fn name(&self) -> RequestName {
        self.name
    }

    /// Whether the TAM understands signatures of this name. A TAM that does not say takes any.
    #[must_use]
    pub fn accepts_signature(&self, algorithm: &str) -> bool {
        let listed = self.tbs.algorithms.as_ref();
        listed.is_none_or(|names| names.iter().any(|name| name.text(self.payload) == algorithm))
    }

    /// The stapled responses, decoded in place: the leaf's first, then those of the authorities.
    ///
    /// # Errors
    /// `ERR_REQUEST_INVALID` for what is not base64; `ERR_TAM_NOT_TRUSTED` for more than
    /// [`OCSP_LIMIT`].
    pub fn ocsp_responses(&mut self) -> Result<heapless::Vec<&[u8], OCSP_LIMIT>, Error> {
        let Self { payload, tbs, .. } = self;
        let texts = [&tbs.ocsp, &tbs.ca_ocsp].into_iter().flatten().flatten();
        let mut decoded = heapless::Vec::<Span, OCSP_LIMIT>::new();
        for text in texts {
            let span = decode_in_place(payload, *text, Form::Any)?;
            decoded.push(span).map_err(|_| UNTRUSTED)?;
        }
        Ok(decoded.iter().map(|span| span.of(payload)).collect())
    }

    /// Whether the request is for the TEE of this name.
    #[must_use]
    pub fn is_for(&self, tee_name: &str) -> bool {
        self.tbs.tee.is_some_and(|name| name.text(self.payload) == tee_name)
    }

    /// `dsihash`, decoded.
    ///
    /// # Errors
    /// `ERR_REQUEST_INVALID` if it is no SHA-256.
    pub fn dsi_hash(&self) -> Result<[u8; 32], Error> {
        let text = self.tbs.dsi_hash.ok_or(INVALID)?.of(self.payload);
        Ok(decode_array(text, Form::Any)?)
    }

    /// Decrypts the content with the TEE's key.
    ///
    /// # Errors
    /// `ERR_REQUEST_INVALID`, `ERR_UNSUPPORTED_CRYPTO_ALG`. What is wrong inside the content comes
    /// as [`Opened::content`], for by then the answer can be encrypted.
    pub fn open<K: Keys>(
        self,
        keys: &mut K,
        name: Name,
    ) -> Result<(Opened<'m>, Result<(), Error>), Error> {
        let Self { payload, tbs, name: request } = self;
        let content = tbs.content.ok_or(INVALID)?;
        let (key, plaintext) = open_jwe(payload, &content, keys, name, ErrorCode::RequestInvalid)?;
        let (content, read) = match Content::read(plaintext.of(payload), request) {
            Ok(content) => (content, Ok(())),
            Err(malformed) => (Content::default(), Err(malformed.into())),
        };
        let next_dsi = tbs.next_dsi.unwrap_or_default();
        let encrypted_ta = tbs.encrypted_ta;
        Ok((Opened { payload, plaintext, content, encrypted_ta, key, next_dsi }, read))
    }
}

impl Opened<'_> {
    /// The members of the content.
    #[must_use]
    pub const fn content(&self) -> &Content {
        &self.content
    }

    /// The key that the answer is encrypted with.
    #[must_use]
    pub fn into_key(self) -> ContentKey {
        self.key
    }

    /// The text of a member of the content; empty if it is absent.
    #[must_use]
    pub fn text(&self, member: Option<Span>) -> &str {
        member.map_or("", |span| span.text(self.plaintext.of(self.payload)))
    }

    /// Decodes a base64 member of the content in place.
    ///
    /// # Errors
    /// `ERR_REQUEST_INVALID`.
    pub fn decode(&mut self, member: Span) -> Result<Span, Error> {
        Ok(decode_in_place(self.plaintext.of_mut(self.payload), member, Form::Any)?)
    }

    /// The bytes that [`Opened::decode`] left.
    #[must_use]
    pub fn bytes(&self, member: Span) -> &[u8] {
        member.of(self.plaintext.of(self.payload))
    }

    /// Whether `did` is the SHA-256 of this TEE's certificate.
    #[must_use]
    pub fn is_for_device(&self, device_id: &[u8; 32]) -> bool {
        decode_array(self.text(self.content.device_id).as_bytes(), Form::Any).as_ref()
            == Ok(device_id)
    }

    /// The image and personalization data, still encrypted, and the rest of the content.
    ///
    /// # Errors
    /// `ERR_REQUEST_INVALID` if the request carries none.
    pub fn encrypted_ta(&mut self) -> Result<(&EncryptedTa, &mut [u8]), Error> {
        let parts = self.encrypted_ta.as_ref().ok_or(INVALID)?;
        Ok((parts, self.payload))
    }

    /// Bytes anywhere in the payload, together with bytes of the content.
    #[must_use]
    pub fn payload(&self, span: Span) -> &[u8] {
        span.of(self.payload)
    }
}

/// Decrypts a JWE where it stands: the content key, and the span of the plaintext.
///
/// # Errors
/// `refusal` for everything that is wrong with it, in one and the same way;
/// `ERR_UNSUPPORTED_CRYPTO_ALG`; a port's.
pub fn open_jwe<K: Keys>(
    buffer: &mut [u8],
    jwe: &Jwe,
    keys: &mut K,
    name: Name,
    refusal: ErrorCode,
) -> Result<(ContentKey, Span), Error> {
    let refused = Error::Refused(refusal);
    let mut aad = [0; HEADER_TEXT_LIMIT];
    let aad = aad.get_mut(..jwe.protected.len()).ok_or(refused)?;
    aad.copy_from_slice(jwe.protected.of(buffer));
    let mut room = [0; JOSE_HEADER_LIMIT];
    let text = decode(aad, Form::Url, &mut room).map_err(|_| refused)?;
    let protected = Header::read_all(text).map_err(|_| refused)?;

    // Each parameter stands in one of the two headers (RFC 7516, section 7.2.1); `enc` has to be
    // in the one that the tag covers.
    let outer = &jwe.header;
    let text_of = |inside: Option<Span>, outside: Option<Span>| match (inside, outside) {
        (Some(_), Some(_)) => Err(refused),
        (Some(span), None) => Ok(Some(span.text(text))),
        (None, outside) => Ok(outside.map(|span| span.text(buffer))),
    };
    let algorithm = text_of(protected.algorithm, outer.algorithm)?.ok_or(refused)?;
    let algorithm = KeyAlgorithm::from_name(algorithm).ok_or(UNSUPPORTED)?;
    let encryption = text_of(protected.encryption, None)?.ok_or(refused)?;
    let encryption = ContentAlgorithm::from_name(encryption).ok_or(UNSUPPORTED)?;
    let ephemeral = match (protected.ephemeral, outer.ephemeral) {
        (Some(key), None) => point(key, text),
        (None, Some(key)) => point(key, buffer),
        _ => None,
    }
    .ok_or(refused)?;
    let mut room_u = [0; PARTY_LIMIT + 2];
    let mut room_v = [0; PARTY_LIMIT + 2];
    let party_u = text_of(protected.party_u, outer.party_u)?.unwrap_or_default();
    let party_u = decode(party_u.as_bytes(), Form::Url, &mut room_u).map_err(|_| refused)?;
    let party_v = text_of(protected.party_v, outer.party_v)?.unwrap_or_default();
    let party_v = decode(party_v.as_bytes(), Form::Url, &mut room_v).map_err(|_| refused)?;

    let mut room = [0; LONGEST_WRAPPED_KEY + 2];
    let wrapped =
        decode(jwe.encrypted_key.of(buffer), Form::Url, &mut room).map_err(|_| refused)?;
    let agreement = Agreement { ephemeral: &ephemeral, party_u, party_v };
    let crypto = |error| match error {
        jose::Error::Crypto => refused,
        jose::Error::Unsupported => UNSUPPORTED,
        jose::Error::Port(error) => Error::Port(error),
        jose::Error::Internal => Error::Internal,
    };
    let key = unwrap_content_key(keys, name, algorithm, &agreement, wrapped, encryption)
        .map_err(crypto)?;

    let mut room_iv = [0; 18];
    let iv = decode(jwe.iv.of(buffer), Form::Url, &mut room_iv).map_err(|_| refused)?;
    let mut room_tag = [0; LONGEST_TAG + 2];
    let tag = decode(jwe.tag.of(buffer), Form::Url, &mut room_tag).map_err(|_| refused)?;
    let ciphertext = decode_in_place(buffer, jwe.ciphertext, Form::Url).map_err(|_| refused)?;
    let plaintext =
        key.decrypt_in_place(iv, aad, ciphertext.of_mut(buffer), tag).map_err(crypto)?.len();
    Ok((key, ciphertext.truncated(plaintext)))
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

/// SHA-256 of bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
