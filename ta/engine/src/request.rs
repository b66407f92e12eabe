//! A request on its way: received, verified, opened. Each state consumes the one before.
//!
//! Nothing inside a message is looked at before the signature around it is checked. What is in memory of
//! it is decoded and decrypted where it stands; the image is not in memory.

use otrp_wire::base64::{Form, decode, decode_array, decode_in_place};
use otrp_wire::json::Malformed;
use otrp_wire::jwe::Header;
use otrp_wire::limits::{JOSE_HEADER_LIMIT, OCSP_LIMIT, TRANSACTION_ID_LIMIT};
use otrp_wire::request::{Content, EncryptedTa, Tbs};
use otrp_wire::{ErrorCode, RequestName, Span, VERSION};

use crate::chain::ChainBuffer;
use crate::ciphertext::ImageText;
use crate::crypto::PublicKey;
use crate::crypto::rsa::LONGEST_MODULUS;
use crate::error::Error;
use crate::intake::{Intake, IntakeError, Payload};
use crate::jose::content::ContentKey;
use crate::jose::key_management::KeyAlgorithm;
use crate::jose::open::{DecryptionKey, OpenedJwe, open_jwe};
use crate::jose::signature::SignatureAlgorithm;
use crate::pki::{self, TrustedTam};
use crate::platform::{Platform, Ports, Rng, Source, Store};
use crate::registry::{Current, Owner, State, Tam};
use crate::revocation::UnrevokedTam;
use crate::trust::Trust;

const INVALID: Error = Error::Refused(ErrorCode::RequestInvalid);
const UNSUPPORTED: Error = Error::Refused(ErrorCode::UnsupportedCryptoAlg);
const UNTRUSTED: Error = Error::Refused(ErrorCode::TamNotTrusted);

/// `rid` and `tid` of a request whose signer leads to an anchor, which its answer repeats; empty if
/// the request has none.
#[derive(Debug)]
pub struct Identifiers {
    request_id: heapless::String<TRANSACTION_ID_LIMIT>,
    transaction_id: heapless::String<TRANSACTION_ID_LIMIT>,
}

impl Identifiers {
    /// Those of a request by a TAM in good standing.
    #[must_use]
    pub fn of(self, _signer: &UnrevokedTam<'_>) -> Transaction {
        Transaction(self)
    }
}

/// The identifiers of a request that a trusted TAM in good standing signed.
///
/// Only [`Identifiers::of`] makes one, so whoever has one may be answered under the TEE's own key:
///
/// ```
/// use otrp_engine::request::{Identifiers, Transaction};
/// use otrp_engine::revocation::UnrevokedTam;
/// fn transaction(identifiers: Identifiers, signer: &UnrevokedTam<'_>) -> Transaction {
///     identifiers.of(signer)
/// }
/// ```
/// ```compile_fail,E0451
/// use otrp_engine::request::{Identifiers, Transaction};
/// use otrp_engine::revocation::UnrevokedTam;
/// fn transaction(identifiers: Identifiers, signer: &UnrevokedTam<'_>) -> Transaction {
///     Transaction { ..todo!() }
/// }
/// ```
#[derive(Debug)]
pub struct Transaction(Identifiers);

impl Transaction {
    /// `rid`.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// `tid`.
    #[must_use]
    pub fn transaction_id(&self) -> &str {
        &self.0.transaction_id
    }
}

/// A message with the structure of a request. Nothing in it is verified.
pub struct Received<'m, 'o>(Intake<'m, 'o>);

/// A request that a trusted TAM signed, its payload decoded.
#[derive(Debug)]
pub struct Verified<'m, 'c> {
    name: RequestName,
    payload: &'m mut [u8],
    image: Option<ImageText<'m>>,
    tam: TrustedTam<'c>,
}

/// A verified request whose members are those of its name.
#[derive(Debug)]
pub struct Request<'m> {
    payload: &'m mut [u8],
    image: Option<ImageText<'m>>,
    tbs: Tbs,
    name: RequestName,
}

/// A request with its content decrypted: the content is one of this request, and names as its owner
/// the TAM that signed.
pub struct Opened<'m> {
    payload: &'m mut [u8],
    image: Option<ImageText<'m>>,
    plaintext: Span,
    content: Content,
    encrypted_ta: Option<EncryptedTa>,
    key: SealingKey,
    key_algorithm: KeyAlgorithm,
    /// Whether the answer is to carry the new device state.
    pub next_dsi: bool,
}

/// The key of a request's content, where the content is the signer's own.
///
/// Any trusted TAM can put what another one encrypted for this TEE into a request of its own. Were
/// the answer to that under the content's key, which it wraps for the signer, the TEE would open
/// the other TAM's messages for it. So answers are encrypted under nothing but this type, and only
/// [`Request::open`] makes one, after the content parsed and named its owner:
///
/// ```
/// use otrp_engine::request::{Opened, SealingKey};
/// fn key(opened: Opened<'_>) -> SealingKey {
///     opened.into_key()
/// }
/// ```
/// ```compile_fail,E0451
/// use otrp_engine::request::{Opened, SealingKey};
/// fn key(opened: Opened<'_>) -> SealingKey {
///     SealingKey { ..todo!() }
/// }
/// ```
pub struct SealingKey(ContentKey);

impl SealingKey {
    /// The key.
    #[must_use]
    pub const fn content_key(&self) -> &ContentKey {
        &self.0
    }
}

impl<'m, 'o> Received<'m, 'o> {
    /// Reads a message for the first time, and its envelope.
    ///
    /// `memory` has [`memory_for`](crate::intake::memory_for) octets. `out` has those of a reply; it holds
    /// the envelope until [`Received::authenticate`].
    ///
    /// # Errors
    /// [`IntakeError`].
    pub fn read<R: Rng>(
        source: &'m mut dyn Source,
        memory: &'m mut [u8],
        rng: &mut R,
        out: &'o mut [u8],
    ) -> Result<Self, IntakeError> {
        Intake::read(source, memory, rng, out).map(Self)
    }

    /// The name outside the signature.
    #[must_use]
    pub const fn name(&self) -> RequestName {
        self.0.envelope.name
    }

    /// Checks who signed: the certificates in the message lead to an anchor, or are those that
    /// the TAM sent with an earlier request; and its key made the signature.
    ///
    /// The certificates are left in `chain`; the buffer for the reply is free again.
    ///
    /// # Errors
    /// `ERR_UNSUPPORTED_CRYPTO_ALG` and `ERR_REQUEST_INVALID` for what the message's form alone
    /// shows. `ERR_TAM_NOT_TRUSTED` for certificates that lead to no anchor, for a `kid` of nobody
    /// and for a wrong signature alike, so that a stranger cannot tell which TAMs are known.
    /// [`Error::Port`] if the message has changed since it was read.
    pub fn authenticate<'c, P: Platform>(
        self,
        trust: &Trust,
        state: &State,
        ports: &mut Ports<P>,
        now: u64,
        chain: &'c mut ChainBuffer,
    ) -> Result<(Verified<'m, 'c>, &'o mut [u8]), Error> {
        let Self(mut intake) = self;
        let algorithm = signature_algorithm(intake.envelope.protected.of(intake.out))?;
        let digest = intake.signing_digest()?;
        let Intake { out: message, envelope, payload, .. } = intake;
        let mut signature = Signature::new();
        signature.resize_default(signature.capacity()).map_err(|_| Error::Internal)?;
        let length = decode(envelope.signature.of(message), Form::Url, &mut signature)?.len();
        signature.truncate(length);
        let signed = Signed { algorithm, digest, signature };
        let is_named = if envelope.signer.certificates.is_empty() {
            let key_id = match envelope.signer.key_id {
                Some(span) => Some(decode_array(span.of(message), Form::Url)?),
                None => None,
            };
            load_signer::<P>(&signed, key_id, state, &mut ports.store, chain)?
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
            true
        };
        let tam = verify_tam::<P>(trust, state, now, chain)?;
        if !signed.is_by::<P>(tam.key()) || !is_named {
            return Err(UNTRUSTED);
        }
        let Payload { skeleton, image, windows, text: payload } = payload;
        let image = image.map(|image| ImageText { windows, payload, image });
        let payload = skeleton.ok_or(INVALID)?;
        Ok((Verified { name: envelope.name, payload, image, tam }, message))
    }
}

/// Room for a signature by any key that a TAM may have.
type Signature = heapless::Vec<u8, LONGEST_MODULUS>;

/// A signature and what it is over.
struct Signed {
    algorithm: SignatureAlgorithm,
    digest: [u8; 32],
    signature: Signature,
}

impl Signed {
    fn is_by<P: Platform>(&self, key: &PublicKey<'_>) -> bool {
        key.verify::<P::Rsa>(self.algorithm.scheme(), &self.digest, &self.signature)
    }
}

/// The algorithm that a JWS names in its protected header.
fn signature_algorithm(protected: &[u8]) -> Result<SignatureAlgorithm, Error> {
    let mut room = [0; JOSE_HEADER_LIMIT];
    let text = decode(protected, Form::Url, &mut room)?;
    let header = Header::read_all(text)?;
    let name = header.algorithm.ok_or(INVALID)?.text(text);
    SignatureAlgorithm::from_name(name).ok_or(UNSUPPORTED)
}

fn verify_tam<'c, P: Platform>(
    trust: &Trust,
    state: &State,
    now: u64,
    chain: &'c ChainBuffer,
) -> Result<TrustedTam<'c>, Error> {
    let certificates = chain.certificates().map_err(|_| UNTRUSTED)?;
    let now = |anchor: &[u8; 32]| state.time_under(anchor, now);
    pki::verify_tam::<P::Rsa>(&certificates, trust, now).map_err(|_| UNTRUSTED)
}

/// Loads the stored chain of the TAM that a request without certificates is from: the one whose
/// leaf `key_id` names, else the one whose key made the signature; whether it is that one. The
/// transaction identifier tells too, but only to those who read a payload before its signature is
/// checked.
///
/// For a `key_id` of nobody the chain is another TAM's, so that as much is done as for a known one.
fn load_signer<P: Platform>(
    signed: &Signed,
    key_id: Option<[u8; 32]>,
    state: &State,
    store: &mut P::Store,
    chain: &mut ChainBuffer,
) -> Result<bool, Error> {
    // One that cannot be read is repaired by that TAM's next GetDeviceState with certificates, and until
    // then the others are served. Nor must a stranger see by a failure of storage that there is something
    // to load.
    let mut load = |tam: &Tam, chain: &mut ChainBuffer| {
        let blob = tam.number.chain();
        let loaded = chain.fill(|room| store.read(blob, room).map(|der| der.map(<[u8]>::len)));
        loaded.unwrap_or_default()
    };
    let tams = state.tams();
    if let Some(id) = key_id {
        let named = tams.iter().find(|tam| tam.leaf == id);
        let tam = named.or(tams.first()).ok_or(UNTRUSTED)?;
        return if load(tam, chain) { Ok(named.is_some()) } else { Err(UNTRUSTED) };
    }
    for tam in tams {
        if !load(tam, chain) {
            continue;
        }
        let made_it = chain
            .certificates()
            .ok()
            .and_then(|chain| pki::Certificate::parse(chain.first().copied()?).ok())
            .and_then(|leaf| leaf.public_key().ok())
            .is_some_and(|key| signed.is_by::<P>(&key));
        if made_it {
            return Ok(true);
        }
    }
    Err(UNTRUSTED)
}

impl<'m, 'c> Verified<'m, 'c> {
    /// Reads the members, as many as there are of those that an answer repeats also where the
    /// request is refused: with `ERR_UNSUPPORTED_MSG_VERSION` or `ERR_REQUEST_INVALID`.
    pub fn read(self) -> (Identifiers, TrustedTam<'c>, Result<Request<'m>, Error>) {
        let Self { name, payload, image, tam } = self;
        let mut tbs = Tbs::default();
        let read = tbs.read(payload, name).and_then(|()| {
            // The string that is not in memory has to be the image, and the image not in memory.
            let there = tbs.encrypted_ta.as_ref().and_then(|parts| parts.image);
            let passed = image.as_ref().map(|text| text.image.at);
            if there.map(|span| span.start()) == passed { Ok(()) } else { Err(Malformed) }
        });
        let text = |span: Option<Span>| span.map_or("", |span| span.text(payload));
        // Both were bounded when they were read.
        let bounded = |text: &str| text.try_into().unwrap_or_default();
        let identifiers = Identifiers {
            request_id: bounded(text(tbs.request_id)),
            transaction_id: bounded(text(tbs.transaction_id)),
        };
        let request = if tbs.version.is_some_and(|version| version.text(payload) != VERSION) {
            Err(ErrorCode::UnsupportedMsgVersion.into())
        } else {
            read.map_err(Error::from).map(|()| Request { payload, image, tbs, name })
        };
        (identifiers, tam, request)
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
        self.tbs.algorithms.is_none() || self.lists(algorithm)
    }

    /// Whether `supportedsigalgs` has this name.
    #[must_use]
    pub fn lists(&self, algorithm: &str) -> bool {
        let mut listed = self.tbs.algorithms.iter().flatten();
        listed.any(|name| name.text(self.payload) == algorithm)
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

    /// Decrypts the content with the TEE's key, and checks that it names as its owner the TAM that
    /// signed the request and knows the state.
    ///
    /// # Errors
    /// `ERR_REQUEST_INVALID`, `ERR_UNSUPPORTED_CRYPTO_ALG`, `ERR_TAM_NOT_AUTHORIZED`. There is then
    /// no key for an answer: the content may be what another TAM encrypted.
    pub fn open<P: Platform>(
        self,
        ports: &mut Ports<P>,
        own: DecryptionKey<'_>,
        signer: Current<'_>,
    ) -> Result<(Opened<'m>, Owner), Error> {
        let Self { payload, image, tbs, name: request } = self;
        let content = tbs.content.ok_or(INVALID)?;
        let OpenedJwe { key, key_algorithm, plaintext } =
            open_jwe(payload, &content, ports, own)
                .map_err(|error| Error::of_message(error, ErrorCode::RequestInvalid))?;
        let content = Content::read(plaintext.of_mut(payload), request)?;
        let owner = signer.claims(content.tam_id.as_ref().ok_or(INVALID)?)?;
        let next_dsi = tbs.next_dsi.unwrap_or_default();
        let (encrypted_ta, key) = (tbs.encrypted_ta, SealingKey(key));
        let opened = Opened {
            payload,
            image,
            plaintext,
            content,
            encrypted_ta,
            key,
            key_algorithm,
            next_dsi,
        };
        Ok((opened, owner))
    }
}

/// What [`Opened::encrypted_ta`] gives.
pub(crate) struct EncryptedParts<'o, 'm> {
    /// The members.
    pub parts: &'o EncryptedTa,
    /// What they stand in.
    pub payload: &'o mut [u8],
    /// The image, which is not in it.
    pub image: Option<&'o mut ImageText<'m>>,
}

impl<'m> Opened<'m> {
    /// The members of the content.
    #[must_use]
    pub const fn content(&self) -> &Content {
        &self.content
    }

    /// How the TAM wrapped the key of the content.
    #[must_use]
    pub const fn key_algorithm(&self) -> KeyAlgorithm {
        self.key_algorithm
    }

    /// The key that the answer is encrypted with.
    #[must_use]
    pub fn into_key(self) -> SealingKey {
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

    /// The encrypted parts of a trusted application, the payload that they stand in, and the image.
    ///
    /// # Errors
    /// `ERR_REQUEST_INVALID` if the request carries none.
    pub(crate) fn encrypted_ta(&mut self) -> Result<EncryptedParts<'_, 'm>, Error> {
        let parts = self.encrypted_ta.as_ref().ok_or(INVALID)?;
        Ok(EncryptedParts { parts, payload: self.payload, image: self.image.as_mut() })
    }

    /// Bytes anywhere in the payload, together with bytes of the content.
    #[must_use]
    pub fn payload(&self, span: Span) -> &[u8] {
        span.of(self.payload)
    }
}
