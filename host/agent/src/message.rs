//! The parts of OTrP messages that the agent reads and writes.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use otrp_wire::name::{GET_DEVICE_STATE_RESPONSE, RequestName};
use serde_json::{Value, json};

use crate::tee::TeeError;

/// The longest name of a message that is shown; a TAM chooses the text.
const NAME_SHOWN: usize = 40;

/// What a reply reports about its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The TEE carried it out.
    Pass,
    /// The TEE refused, with a code of the OTrP draft, section 13.1.
    Fail(String),
    /// The TEE refused, and encrypted the reason for the TAM.
    Sealed,
    /// The reply does not report it.
    Unclear,
}

/// The name of a request, `InstallTA` of `InstallTARequest`, for people to read.
#[must_use]
pub fn request_name(request: &[u8]) -> String {
    let Some(name) = first_member_name(request) else {
        return "unknown message".to_owned();
    };
    let name = name.strip_suffix("Request").unwrap_or(&name);
    name.escape_debug().take(NAME_SHOWN).collect()
}

/// What a TEE's reply reports; its signature is not checked.
#[must_use]
pub fn outcome(reply: &[u8]) -> Outcome {
    signed_payload(reply).and_then(|payload| read_outcome(&payload)).unwrap_or(Outcome::Unclear)
}

/// The reply in the form that the TAM expects.
///
/// A TEE's answer to GetDeviceState becomes the one element of a `GetDeviceStateResponse` (OTrP
/// draft, section 9.1.5), byte for byte; every other reply stays as it is.
#[must_use]
pub fn for_tam(reply: Vec<u8>) -> Vec<u8> {
    if first_member_name(&reply).as_deref() != Some(RequestName::GetDeviceState.response()) {
        return reply;
    }
    let before = format!("{{\"{GET_DEVICE_STATE_RESPONSE}\":[");
    [before.as_bytes(), &reply, b"]}"].concat()
}

/// The message that reports to a TAM that the TEE did not answer (OTrP draft, section 10).
#[must_use]
pub fn broker_error(error: TeeError) -> Vec<u8> {
    format!(
        r#"{{"OTrPBrokerError":{{"ver":"1.0","rid":"","tid":"","errcode":"{}"}}}}"#,
        error.code()
    )
    .into_bytes()
}

/// The trusted application that a statement is requested about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaName<'a> {
    /// The service provider.
    pub spid: &'a str,
    /// The application.
    pub taid: &'a str,
    /// The TAM, if several have a service provider of this name.
    pub tamid: Option<&'a str>,
    /// The security domain, if the provider has the application in several.
    pub sdname: Option<&'a str>,
}

/// The broker's query for a statement about a trusted application.
#[must_use]
pub fn ta_query(name: TaName<'_>) -> Vec<u8> {
    let mut query = json!({ "spid": name.spid, "taid": name.taid });
    for (member, value) in [("tamid", name.tamid), ("sdname", name.sdname)] {
        if let (Some(value), Some(query)) = (value, query.as_object_mut()) {
            query.insert(member.to_owned(), value.into());
        }
    }
    json!({ "TAQuery": query }).to_string().into_bytes()
}

/// The first member's name, if the message begins like a JSON object.
///
/// The rest, up to megabytes, is left to the TEE.
fn first_member_name(message: &[u8]) -> Option<String> {
    let text = message.trim_ascii_start().strip_prefix(b"{")?.trim_ascii_start();
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<String>();
    values.next()?.ok()
}

/// The JSON payload of the reply's JWS.
fn signed_payload(reply: &[u8]) -> Option<Value> {
    let reply: BTreeMap<String, Value> = serde_json::from_slice(reply).ok()?;
    let payload = reply.values().next()?.get("payload")?.as_str()?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

fn read_outcome(payload: &Value) -> Option<Outcome> {
    let response = payload.as_object()?.values().next()?;
    match response.get("status")?.as_str()? {
        "pass" => Some(Outcome::Pass),
        "fail" => match response.pointer("/reason/error-code").and_then(Value::as_str) {
            Some(code) => Some(Outcome::Fail(code.escape_debug().take(NAME_SHOWN).collect())),
            None if response.get("content").is_some() => Some(Outcome::Sealed),
            None => Some(Outcome::Fail("without a reason".to_owned())),
        },
        _ => None,
    }
}
