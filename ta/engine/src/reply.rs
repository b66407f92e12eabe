//! Answers: written, encrypted, signed, all in the one buffer that they leave in.

use otrp_wire::dsi::Base64;
use otrp_wire::response::{Reason, Writer};
use otrp_wire::{ErrorCode, RequestName, Span, VERSION};
use serde::Serialize;

use crate::crypto::ecdsa::sign_as_nobody;
use crate::crypto::{self, Signature};
use crate::device::Identity;
use crate::dsi::{View, attestation_key_type};
use crate::error::Error;
use crate::jose::content::{ContentAlgorithm, ContentKey};
use crate::jose::key_management::{Recipient, wrap_content_key};
use crate::jose::signature::{SignatureAlgorithm, signing_digest};
use crate::pki::attestation_key;
use crate::platform::{KeyPair, OwnPublicKey, Platform, Point, Ports, RSA_EXPONENT, Rng};
use crate::request::{SealingKey, Transaction};

/// What a device state is encrypted with when the request gives no key: the one that every TAM
/// must have (OTrP draft, section 7.5.2).
const STATE_ENCRYPTION: ContentAlgorithm = ContentAlgorithm::A128CbcHs256;
/// Longest initialization vector.
const IV_LIMIT: usize = 16;

/// What is true of every answer to one request that a trusted TAM signed.
#[derive(Debug)]
pub struct Addressed<'t> {
    /// The request's name.
    pub name: RequestName,
    /// The TEE's key pair, which signs the answer.
    pub signer: &'t KeyPair,
    /// The request's identifiers.
    pub transaction: &'t Transaction,
}

/// What a request that was carried out is answered with.
#[derive(Debug, Default)]
pub struct Outcome<'s> {
    /// `sdname` of a domain that was created.
    pub sd_name: Option<&'s str>,
    /// `teespaik`: an attestation key that was made.
    pub aik: Option<OwnPublicKey>,
    /// The device state from now on, if it was asked for.
    pub view: Option<View<'s>>,
}

#[derive(Serialize)]
struct Content<'a, D> {
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    did: Base64<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sdname: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    teespaik: Option<Base64<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    teespaiktype: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dsi: Option<D>,
}

/// A refusal to whoever is not known to be a trusted TAM.
///
/// Nothing of the device is in it, not even a signature by its key, for of two of these the key
/// can be computed, which is a name. Nobody could verify it anyhow: the certificate is shown to
/// trusted TAMs only. No key pair of the TEE is within reach here.
///
/// # Errors
/// [`Error::Internal`], or a port's if there are no random bytes.
pub fn refuse_stranger<'o, R: Rng>(
    rng: &mut R,
    name: RequestName,
    error: Error,
    out: &'o mut [u8],
) -> Result<&'o [u8], Error> {
    let mut writer = Writer::new(out);
    begin(&mut writer, name, ["fail", "", ""])?;
    reason(&mut writer, error)?;
    list_algorithms(&mut writer, error, SignatureAlgorithm::Es256)?;
    writer.text("}}")?;
    let by_nobody =
        |_: &[u8; 32]| sign_as_nobody(rng).map(Signature::Es256).map_err(Error::of_answer);
    sign_with(SignatureAlgorithm::Es256, by_nobody, name.response(), "", writer)
}

impl Addressed<'_> {
    /// A refusal before the content is known to be the signer's: nothing about the device is in it.
    ///
    /// # Errors
    /// [`Error::Internal`], or a port's if the key cannot sign.
    pub fn refuse<'o, P: Platform>(
        &self,
        ports: &mut Ports<P>,
        error: Error,
        out: &'o mut [u8],
    ) -> Result<&'o [u8], Error> {
        let mut writer = Writer::new(out);
        self.begin(&mut writer, false)?;
        reason(&mut writer, error)?;
        self.list_algorithms(&mut writer, error)?;
        writer.text("}}")?;
        sign(ports, self.signer, self.name.response(), "", writer)
    }

    /// The answer to GetDeviceState: the state under a fresh key for the TAM.
    ///
    /// # Errors
    /// As [`Addressed::refuse`].
    pub fn state<'o, P: Platform>(
        &self,
        ports: &mut Ports<P>,
        tam: &Recipient,
        view: View<'_>,
        out: &'o mut [u8],
    ) -> Result<&'o [u8], Error> {
        let key =
            ContentKey::generate(STATE_ENCRYPTION, &mut ports.rng).map_err(Error::of_answer)?;
        let mut writer = Writer::new(out);
        view.write(&mut writer)?;
        let parked = writer.park(key.algorithm().overhead())?;
        self.begin(&mut writer, true)?;
        // The chain of a TAM that was answered is stored.
        writer.text(r#","signerreq":false,"edsi":"#)?;
        encrypt::<P>(&mut ports.rng, tam, &key, parked, &mut writer)?;
        writer.text("}}")?;
        sign(ports, self.signer, self.name.response(), "", writer)
    }

    /// The answer to a request whose content is the signer's, under the content's own key.
    ///
    /// # Errors
    /// As [`Addressed::refuse`].
    pub fn content<'o, P: Platform>(
        &self,
        ports: &mut Ports<P>,
        tam: &Recipient,
        key: &SealingKey,
        identity: &Identity<'_>,
        result: Result<Outcome<'_>, Error>,
        out: &'o mut [u8],
    ) -> Result<&'o [u8], Error> {
        let (refusal, outcome) = match result {
            Ok(outcome) => (None, outcome),
            Err(error) => (Some(error), Outcome::default()),
        };
        let key = key.content_key();
        let aik = outcome.aik.as_ref().map(attestation_key);
        let content = Content {
            reason: refusal.map(|error| Reason::from(error.code())),
            did: Base64(&identity.device_id),
            sdname: outcome.sd_name,
            teespaik: aik.as_ref().map(|der| Base64(der)),
            teespaiktype: outcome.aik.map(|key| attestation_key_type(key.key_type())),
            dsi: outcome.view.map(View::dsi),
        };
        let mut writer = Writer::new(out);
        writer.json(&content)?;
        let parked = writer.park(key.algorithm().overhead())?;
        self.begin(&mut writer, refusal.is_none())?;
        if let Some(error) = refusal {
            self.list_algorithms(&mut writer, error)?;
        }
        writer.text(r#","content":"#)?;
        encrypt::<P>(&mut ports.rng, tam, key, parked, &mut writer)?;
        writer.text("}}")?;
        sign(ports, self.signer, self.name.response(), "", writer)
    }

    fn begin(&self, writer: &mut Writer<'_>, passed: bool) -> Result<(), Error> {
        let status = if passed { "pass" } else { "fail" };
        let Self { name, transaction, .. } = self;
        begin(writer, *name, [status, transaction.request_id(), transaction.transaction_id()])
    }

    fn list_algorithms(&self, writer: &mut Writer<'_>, error: Error) -> Result<(), Error> {
        list_algorithms(writer, error, SignatureAlgorithm::made_by(&self.signer.public))
    }
}

/// Writes the members that every answer begins with: `status`, `rid` and `tid` are given.
fn begin(
    writer: &mut Writer<'_>,
    name: RequestName,
    [status, request_id, transaction_id]: [&str; 3],
) -> Result<(), Error> {
    Ok(writer.texts(&[
        r#"{""#,
        name.tbs_response(),
        r#"":{"ver":""#,
        VERSION,
        r#"","status":""#,
        status,
        r#"","rid":""#,
        request_id,
        r#"","tid":""#,
        transaction_id,
        r#"""#,
    ])?)
}

fn reason(writer: &mut Writer<'_>, error: Error) -> Result<(), Error> {
    writer.text(r#","reason":"#)?;
    Ok(writer.json(&Reason::from(error.code()))?)
}

/// Tells a TAM whose algorithm is not supported which signatures are: those that the TEE can
/// check (OTrP draft, section 9.1.6), or where the TAM cannot check its `own`, what that is.
fn list_algorithms(
    writer: &mut Writer<'_>,
    error: Error,
    own: SignatureAlgorithm,
) -> Result<(), Error> {
    let own = [own];
    let algorithms: &[SignatureAlgorithm] = match error {
        Error::NoCommonSignature => &own,
        Error::Refused(ErrorCode::UnsupportedCryptoAlg) => &SignatureAlgorithm::ALL,
        Error::Refused(_) | Error::Port(_) | Error::Internal => return Ok(()),
    };
    let mut separator = r#","supportedsigalgs":[""#;
    for algorithm in algorithms {
        writer.texts(&[separator, algorithm.name()])?;
        separator = r#"",""#;
    }
    Ok(writer.text(r#""]"#)?)
}

/// Writes a JWE of the plaintext that is parked in the writer's buffer.
fn encrypt<P: Platform>(
    rng: &mut P::Rng,
    recipient: &Recipient,
    key: &ContentKey,
    parked: Span,
    writer: &mut Writer<'_>,
) -> Result<(), Error> {
    let mut header_room = [0; 64];
    let mut header = Writer::new(&mut header_room);
    header.texts(&[r#"{"enc":""#, key.algorithm().name(), r#""}"#])?;
    let mut protected_room = [0; 88];
    let mut protected = Writer::new(&mut protected_room);
    protected.base64url(header.finish())?;
    let protected = protected.finish();

    let mut iv = [0; IV_LIMIT];
    let iv = iv.get_mut(..key.algorithm().iv_length()).ok_or(Error::Internal)?;
    rng.fill(iv)?;
    let wrapped = wrap_content_key::<P::Rsa, _>(rng, recipient, key).map_err(Error::of_answer)?;
    let rest = writer.buffer().get_mut(parked.start()..).ok_or(Error::Internal)?;
    let (ciphertext, tag) =
        key.encrypt_in_place(iv, protected, rest, parked.len()).map_err(Error::of_answer)?;
    let length = ciphertext.len();
    let ciphertext = Span::new(parked.start(), parked.start().saturating_add(length));

    let protected = core::str::from_utf8(protected).map_err(|_| Error::Internal)?;
    writer.texts(&[r#"{"protected":""#, protected, r#"","recipients":[{"header":{"alg":""#])?;
    writer.texts(&[wrapped.algorithm.name(), r#"""#])?;
    if let Some(ephemeral) = &wrapped.ephemeral {
        writer.text(r#","epk":"#)?;
        jwk_p256(writer, ephemeral)?;
    }
    writer.text(r#"},"encrypted_key":""#)?;
    writer.base64url(&wrapped.key)?;
    writer.text(r#""}],"iv":""#)?;
    writer.base64url(iv)?;
    writer.text(r#"","ciphertext":""#)?;
    writer.base64url_of(ciphertext)?;
    writer.text(r#"","tag":""#)?;
    writer.base64url(&tag)?;
    Ok(writer.text(r#""}"#)?)
}

/// Writes a public key as a JWK (RFC 7518, sections 6.2.1 and 6.3.1).
pub fn jwk(writer: &mut Writer<'_>, key: &OwnPublicKey) -> Result<(), Error> {
    match key {
        OwnPublicKey::P256(point) => jwk_p256(writer, point),
        OwnPublicKey::Rsa2048(modulus) => {
            writer.text(r#"{"kty":"RSA","n":""#)?;
            writer.base64url(modulus)?;
            writer.text(r#"","e":""#)?;
            writer.base64url(&RSA_EXPONENT)?;
            Ok(writer.text(r#""}"#)?)
        }
    }
}

fn jwk_p256(writer: &mut Writer<'_>, key: &Point) -> Result<(), Error> {
    let (head, y) = key.split_at(33);
    writer.text(r#"{"kty":"EC","crv":"P-256","x":""#)?;
    writer.base64url(head.get(1..).unwrap_or_default())?;
    writer.text(r#"","y":""#)?;
    writer.base64url(y)?;
    Ok(writer.text(r#""}"#)?)
}

/// Turns what is written into the payload of a flattened JWS under `name`. `header` is the text of
/// a member that stands outside the signature, or empty.
pub fn sign<'o, P: Platform>(
    ports: &mut Ports<P>,
    signer: &KeyPair,
    name: &str,
    header: &str,
    writer: Writer<'o>,
) -> Result<&'o [u8], Error> {
    let by_signer = |digest: &[u8; 32]| Ok(crypto::sign(&mut ports.keys, signer, digest)?);
    sign_with(SignatureAlgorithm::made_by(&signer.public), by_signer, name, header, writer)
}

fn sign_with<'o>(
    algorithm: SignatureAlgorithm,
    sign: impl FnOnce(&[u8; 32]) -> Result<Signature, Error>,
    name: &str,
    header: &str,
    mut writer: Writer<'o>,
) -> Result<&'o [u8], Error> {
    let protected = algorithm.header();
    let parked = writer.park(0)?;
    writer.texts(&[r#"{""#, name, r#"":{"payload":""#])?;
    let start = writer.len();
    writer.base64url_of(parked)?;
    let payload = Span::new(start, writer.len());
    let digest = signing_digest(protected.as_bytes(), payload.of(writer.buffer()));
    let signature = sign(&digest)?;
    writer.texts(&[r#"","protected":""#, protected, r#"","#, header])?;
    writer.text(r#""signature":""#)?;
    writer.base64url(signature.bytes())?;
    writer.text(r#""}}"#)?;
    Ok(writer.finish())
}
