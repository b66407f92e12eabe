//! Responses: verifies what a TEE sends (OTrP draft, sections 9 and 10).
//!
//! An [`Answer`] is parsed first. [`Answer::device_state`] and [`Answer::outcome`] are the only ways to
//! its content, and both verify it.

use std::fmt;

use openssl::x509::X509Ref;
use otrp_wire::name::GET_DEVICE_STATE_RESPONSE;
use otrp_wire::{ErrorCode, RequestName, VERSION};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use thiserror::Error;

use crate::certificate::{self, DeviceIdentity, TeeRoots, Untrusted};
use crate::dsi::{DeviceState, MalformedState, attestation_key};
use crate::encoding::{Single, from_base64};
use crate::foreign::{Flaw, Foreign};
use crate::identity::Identity;
use crate::jose::{Jwe, Jws, NotOpened};
use crate::request::Exchange;

/// Why a message from a device is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// Not an answer of OTrP: another structure, or a missing, unknown or duplicate member.
    #[error("malformed answer: {0}")]
    Malformed(Flaw),
    /// The signature or the encryption is wrong.
    #[error(transparent)]
    Jose(#[from] NotOpened),
    /// The device state does not follow the protocol.
    #[error(transparent)]
    State(#[from] MalformedState),
    /// The TEE's certificate does not lead to the root of an OEM that this TAM serves, or its key is
    /// not one that a device can have.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// The firmware below the TEE is not one that this TAM accepts.
    #[error("the firmware is not accepted: {0}")]
    Firmware(&'static str),
    /// No request of this TAM waits for this answer.
    #[error("no request waits for this answer")]
    WrongExchange,
    /// The signed name differs from that of the message, or of the request.
    #[error("the answer is to another request")]
    WrongName,
    /// The answer names another device than the one that signed it.
    #[error("the answer names another device")]
    WrongDevice,
    /// The content is not encrypted under the request's key, or repeats its initialization vector.
    #[error("the content is not encrypted under the request's key with a vector of its own")]
    WrongContentKey,
}

impl Refused {
    const fn malformed(reason: &'static str) -> Self {
        Self::Malformed(Flaw::Own(reason))
    }

    pub(crate) fn unread(error: impl ToString) -> Self {
        Self::Malformed(Flaw::quoting(error))
    }
}

/// A message from a device.
#[derive(Debug)]
pub enum Reply {
    /// An answer of a TEE, not verified yet.
    Answer(Box<Answer>),
    /// The agent could not reach the TEE (OTrP draft, section 10). Unsigned.
    AgentError {
        /// The code, such as `ERR_AGENT_TEE_BUSY`.
        code: Foreign,
        /// The request, if the agent knows it.
        rid: Foreign,
        /// The transaction, if the agent knows it.
        tid: Foreign,
    },
}

impl Reply {
    /// Reads a message from a device.
    ///
    /// The agent puts the answers of all TEEs to GetDeviceState into an array (section 9.1.5 of the
    /// draft). The protocol supports only one active TEE, so the array has one element. The TEE's
    /// answer alone is accepted too.
    ///
    /// # Errors
    /// [`Refused::Malformed`] or [`Refused::WrongName`].
    pub fn read(message: &[u8]) -> Result<Self, Refused> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct AgentError {
            ver: String,
            rid: Foreign,
            tid: Foreign,
            errcode: Foreign,
        }
        let outer: Single<&RawValue> = serde_json::from_slice(message).map_err(Refused::unread)?;
        match outer.name.as_str() {
            "OTrPBrokerError" => {
                let AgentError { ver, rid, tid, errcode: code } = read(outer.value)?;
                if ver != VERSION {
                    return Err(Refused::malformed("an unsupported version"));
                }
                Ok(Self::AgentError { code, rid, tid })
            }
            GET_DEVICE_STATE_RESPONSE => {
                let [inner]: [Single<Jws>; 1] = read(outer.value)?;
                if inner.name != RequestName::GetDeviceState.response() {
                    return Err(Refused::WrongName);
                }
                Ok(Self::Answer(Box::new(Answer::read(RequestName::GetDeviceState, inner.value)?)))
            }
            response => {
                let name = RequestName::ALL
                    .iter()
                    .copied()
                    .find(|name| name.response() == response)
                    .ok_or_else(|| Refused::malformed("not a response of OTrP"))?;
                Ok(Self::Answer(Box::new(Answer::read(name, read(outer.value)?)?)))
            }
        }
    }
}

fn read<'de, T: Deserialize<'de>>(value: &'de RawValue) -> Result<T, Refused> {
    serde_json::from_str(value.get()).map_err(Refused::unread)
}

/// The signed members of an answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tbs {
    ver: String,
    status: Status,
    rid: String,
    tid: String,
    #[serde(default, deserialize_with = "boolean")]
    signerreq: Option<bool>,
    edsi: Option<Jwe>,
    content: Option<Jwe>,
    reason: Option<Reason>,
    #[serde(default, deserialize_with = "one_or_more")]
    supportedsigalgs: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Pass,
    Fail,
}

/// `reason`, in the form of section 7.6 of the draft or in that of section 9.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Reason {
    Members(ReasonMembers),
    Text(Foreign),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReasonMembers {
    #[serde(rename = "error-code")]
    code: Foreign,
    #[serde(default, rename = "error-message")]
    message: Foreign,
}

/// The plaintext of an answer's `content`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    reason: Option<Reason>,
    did: String,
    sdname: Option<String>,
    teespaik: Option<String>,
    teespaiktype: Option<String>,
    cert: Option<String>,
    dsi: Option<Box<RawValue>>,
}

/// Reads a boolean, which the draft's samples write as a string.
fn boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Boolean(bool),
        Text(String),
    }
    match Written::deserialize(deserializer)? {
        Written::Boolean(value) => Ok(Some(value)),
        Written::Text(text) => match text.trim() {
            "true" | "1" => Ok(Some(true)),
            "false" | "0" => Ok(Some(false)),
            _ => Err(serde::de::Error::custom("neither true nor false")),
        },
    }
}

/// Reads an array; the draft's samples write an array of one element as the element.
fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Many(Vec<String>),
        One(String),
    }
    Ok(match Written::deserialize(deserializer)? {
        Written::Many(texts) => texts,
        Written::One(text) => vec![text],
    })
}

/// Why a TEE refused a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The code on the wire.
    pub code: Foreign,
    /// An explanation for people.
    pub message: Foreign,
    /// The signature algorithms that the TEE supports, if that is the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub algorithms: Vec<String>,
}

impl Refusal {
    /// The code, if it is one of the protocol's.
    #[must_use]
    pub fn error_code(&self) -> Option<ErrorCode> {
        ErrorCode::from_text(self.code.as_str())
    }
}

/// The code, and the message if there is one.
impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.error_code() {
            Some(code) => formatter.write_str(code.as_str())?,
            None => write!(formatter, "{:?}", self.code)?,
        }
        match self.message.as_str() {
            "" => Ok(()),
            _ => write!(formatter, " {:?}", self.message),
        }
    }
}

/// The verified answer of a TEE to a command.
#[derive(Debug)]
pub enum Outcome {
    /// Carried out.
    Pass(Box<Passed>),
    /// Refused; the device's state is unchanged. The exception is `ERR_TEE_FAIL`: the TEE's storage can
    /// fail after the command was committed, and the command is then completed at the next request. The
    /// next state shows which.
    Fail(Refusal),
}

/// The content of an answer to a command that was carried out.
#[derive(Debug)]
pub struct Passed {
    /// The name of a new security domain.
    pub sd_name: Option<String>,
    /// A new attestation key of the SP, base64.
    pub attestation_key: Option<String>,
    /// The type of the new attestation key.
    pub attestation_key_type: Option<String>,
    /// The new state of the device, if it was requested.
    pub state: Option<DeviceState>,
}

/// The answer of a TEE to GetDeviceState.
#[derive(Debug)]
pub enum StateAnswer {
    /// Its state, verified up to a root of an OEM.
    State {
        /// The state.
        state: Box<DeviceState>,
        /// The device that signed it.
        identity: DeviceIdentity,
        /// Whether requests must carry the TAM's certificates.
        signer_required: bool,
    },
    /// A refusal. It cannot be verified, because a TEE that refuses sends no certificate.
    Refused(Refusal),
}

/// An answer that is parsed and not verified.
#[derive(Debug)]
pub struct Answer {
    name: RequestName,
    jws: Jws,
    tbs: Tbs,
}

impl Answer {
    fn read(name: RequestName, jws: Jws) -> Result<Self, Refused> {
        let payload = jws.unverified_payload()?;
        let Single { name: signed_name, value: tbs }: Single<Tbs> =
            serde_json::from_slice(&payload).map_err(Refused::unread)?;
        if signed_name != name.tbs_response() {
            return Err(Refused::WrongName);
        }
        if tbs.ver != VERSION {
            return Err(Refused::malformed("an unsupported version"));
        }
        Ok(Self { name, jws, tbs })
    }

    /// The name of the request that it answers. Unverified.
    #[must_use]
    pub const fn name(&self) -> RequestName {
        self.name
    }

    /// The request's identifier. Unverified.
    #[must_use]
    pub fn rid(&self) -> &str {
        &self.tbs.rid
    }

    /// The transaction's identifier. Unverified.
    #[must_use]
    pub fn tid(&self) -> &str {
        &self.tbs.tid
    }

    /// The refusal in the answer, if it is one. Unverified.
    #[must_use]
    pub fn claimed_refusal(&self) -> Option<Refusal> {
        (self.tbs.status == Status::Fail).then(|| self.refusal(None).ok()).flatten()
    }

    fn belongs_to(&self, exchange: &Exchange) -> Result<(), Refused> {
        if self.name != exchange.name {
            return Err(Refused::WrongName);
        }
        if self.tbs.rid != exchange.rid || self.tbs.tid != exchange.tid {
            return Err(Refused::WrongExchange);
        }
        Ok(())
    }

    /// The device's state (OTrP draft, section 9.1.7): decrypts it, validates its certificate up to
    /// a root, then verifies the signature with it. `exchange` is the request that it must answer.
    /// Without one the answer may be a replayed one, which is acceptable only for inspecting a
    /// saved message.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn device_state(
        &self,
        exchange: Option<&Exchange>,
        identity: &Identity,
        roots: &TeeRoots,
    ) -> Result<StateAnswer, Refused> {
        if self.name != RequestName::GetDeviceState {
            return Err(Refused::WrongName);
        }
        if let Some(exchange) = exchange {
            self.belongs_to(exchange)?;
        }
        if self.tbs.content.is_some() {
            return Err(Refused::malformed("content in a device state"));
        }
        if self.tbs.status == Status::Fail {
            if self.tbs.edsi.is_some() {
                return Err(Refused::malformed("edsi in a refusal"));
            }
            return Ok(StateAnswer::Refused(self.refusal(None)?));
        }
        if self.tbs.reason.is_some() {
            return Err(Refused::malformed("a reason without a refusal"));
        }
        let signer_required =
            self.tbs.signerreq.ok_or_else(|| Refused::malformed("no signerreq"))?;
        let edsi = self.tbs.edsi.as_ref().ok_or_else(|| Refused::malformed("no edsi"))?;
        let key = identity.unwrap_state_key(edsi)?;
        let state = DeviceState::read(&edsi.open(&key)?)?;
        let identity = roots.identify(&state.certificate, &state.authorities)?;
        self.verify(&state.certificate)?;
        Ok(StateAnswer::State { state: Box::new(state), identity, signer_required })
    }

    /// The outcome of a command that was sent to the device with `certificate`; `exchange` as in
    /// [`Self::device_state`].
    ///
    /// # Errors
    /// [`Refused`].
    pub fn outcome(
        &self,
        exchange: Option<&Exchange>,
        identity: &Identity,
        certificate: &X509Ref,
    ) -> Result<Outcome, Refused> {
        if self.name == RequestName::GetDeviceState {
            return Err(Refused::WrongName);
        }
        if let Some(exchange) = exchange {
            self.belongs_to(exchange)?;
        }
        self.verify(certificate)?;
        if self.tbs.edsi.is_some() || self.tbs.signerreq.is_some() {
            return Err(Refused::malformed("a member of GetDeviceState in another answer"));
        }
        let content = match &self.tbs.content {
            Some(content) => Some(open_content(content, exchange, identity, certificate)?),
            None => None,
        };
        if self.tbs.status == Status::Fail {
            let reason = content.and_then(|content| content.reason);
            return Ok(Outcome::Fail(self.refusal(reason)?));
        }
        let content = content.ok_or_else(|| Refused::malformed("no content"))?;
        if self.tbs.reason.is_some() || content.reason.is_some() {
            return Err(Refused::malformed("a reason without a refusal"));
        }
        content.check_members(self.name, exchange)?;
        let state = match &content.dsi {
            Some(dsi) => Some(DeviceState::read_member(dsi)?),
            None => None,
        };
        if let Some(state) = &state
            && state.certificate.to_der().ok() != certificate.to_der().ok()
        {
            return Err(Refused::WrongDevice);
        }
        content.check_attestation_key(state.as_ref())?;
        Ok(Outcome::Pass(Box::new(Passed {
            sd_name: content.sdname,
            attestation_key: content.teespaik,
            attestation_key_type: content.teespaiktype,
            state,
        })))
    }

    fn verify(&self, certificate: &X509Ref) -> Result<(), Refused> {
        let key = certificate.public_key().map_err(|_| NotOpened::Signature)?;
        Ok(self.jws.verify(&key)?)
    }

    fn refusal(&self, content_reason: Option<Reason>) -> Result<Refusal, Refused> {
        let algorithms = self.tbs.supportedsigalgs.clone();
        match content_reason.or_else(|| self.tbs.reason.clone()) {
            Some(Reason::Members(ReasonMembers { code, message })) => {
                Ok(Refusal { code, message, algorithms })
            }
            Some(Reason::Text(code)) => {
                Ok(Refusal { code, message: Foreign::default(), algorithms })
            }
            None => Err(Refused::malformed("a refusal without a reason")),
        }
    }
}

impl Content {
    /// Checks that the members belong to the message: only CreateSD names a domain, as in the
    /// request, and only CreateSD and UpdateSD generate attestation keys.
    fn check_members(&self, name: RequestName, exchange: Option<&Exchange>) -> Result<(), Refused> {
        let may_make_key = matches!(name, RequestName::CreateSd | RequestName::UpdateSd);
        if !may_make_key && (self.teespaik.is_some() || self.teespaiktype.is_some()) {
            return Err(Refused::malformed("an attestation key in this answer"));
        }
        let Some(sd_name) = &self.sdname else { return Ok(()) };
        if name != RequestName::CreateSd {
            return Err(Refused::malformed("sdname in this answer"));
        }
        match exchange {
            Some(exchange) if exchange.created.as_ref() != Some(sd_name) => {
                Err(Refused::malformed("sdname is not that of the request"))
            }
            _ => Ok(()),
        }
    }

    /// Checks that a new attestation key is valid, and contained in the new state if there is one.
    /// In the draft, CreateSD does not state its type.
    fn check_attestation_key(&self, state: Option<&DeviceState>) -> Result<(), Refused> {
        let Some(text) = &self.teespaik else {
            return match &self.teespaiktype {
                Some(_) => Err(Refused::malformed("a type without an attestation key")),
                None => Ok(()),
            };
        };
        let types = match &self.teespaiktype {
            Some(key_type) => vec![key_type.as_str()],
            None => vec!["ECC", "RSA"],
        };
        if !types.iter().any(|key_type| attestation_key(key_type, text).is_some()) {
            return Err(Refused::malformed("teespaik is not a key of its type"));
        }
        let der = from_base64(text);
        let in_state = |state: &DeviceState| {
            state.dsi.tee.teeaiklist.iter().any(|key| from_base64(&key.spaik) == der)
        };
        if state.is_some_and(|state| !in_state(state)) {
            return Err(Refused::malformed("teespaik is not in the new state"));
        }
        Ok(())
    }
}

/// Decrypts the content of an answer whose signature is verified, and checks what the draft requires:
/// that it is encrypted under the request's key, and names the device.
fn open_content(
    content: &Jwe,
    exchange: Option<&Exchange>,
    identity: &Identity,
    certificate: &X509Ref,
) -> Result<Content, Refused> {
    let key = identity.unwrap_key(content)?;
    if let Some(exchange) = exchange {
        let same_key = exchange.content_key.as_ref().is_some_and(|sent| sent.is_same(&key));
        if !same_key || exchange.content_iv.as_deref() == Some(content.iv.as_str()) {
            return Err(Refused::WrongContentKey);
        }
    }
    let plaintext = content.open(&key)?;
    let content: Content = serde_json::from_slice(&plaintext).map_err(Refused::unread)?;
    let device_id = certificate::device_id(certificate).map_err(Refused::unread)?;
    // Compared as bytes, because the samples write it in base64url.
    if from_base64(&content.did) != from_base64(&device_id) {
        return Err(Refused::WrongDevice);
    }
    if let Some(sent) = &content.cert {
        let sent = from_base64(sent);
        if sent.is_none() || sent != certificate.to_der().ok() {
            return Err(Refused::WrongDevice);
        }
    }
    Ok(content)
}
