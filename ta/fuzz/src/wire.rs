//! Messages and their parts, each against serde_json and OpenSSL: what the strict reader accepts they
//! must accept too, and understand in the same way.

use otrp_wire::base64::{Form, decode, decode_array, decode_in_place};
use otrp_wire::envelope::Envelope;
use otrp_wire::id::{SdName, TamId};
use otrp_wire::json::Reader;
use otrp_wire::jwe::{EcPublicKey, Header, Jwe, WrappedKey};
use otrp_wire::request::{Content, EncryptedTa, TaQuery, Tbs};
use otrp_wire::stream::Splitter;
use otrp_wire::{RequestName, Span};
use serde_json::Value;

/// Reads a string after its opening quote: exactly what serde_json reads, but for a raw DEL.
pub fn string(data: &[u8]) {
    let original = [b"\"", data].concat();
    let mut text = original.clone();
    let read = Reader::new(&mut text).text().map(|(value, span)| (String::from(value), span));
    let mut values = serde_json::Deserializer::from_slice(&original).into_iter::<String>();
    let expected = values.next().and_then(Result::ok);
    let end = values.byte_offset();
    let Some(expected) = expected.filter(|_| !original[..end].contains(&0x7f)) else {
        assert!(read.is_err());
        return;
    };
    let (value, span) = read.expect("a string");
    assert_eq!(value, expected);
    assert_eq!(span.of(&text), expected.as_bytes());
    // What follows is as it was.
    assert_eq!(text[end..], original[end..]);
}

/// Reads a message.
pub fn envelope(data: &[u8]) {
    let text = &mut data.to_vec()[..];
    let Ok(envelope) = Envelope::read(text) else { return };
    let json = parsed(data);
    let jws = named(&json, envelope.name.request(), RequestName::from_request);
    same(text, envelope.payload, &jws["payload"]);
    same(text, envelope.protected, &jws["protected"]);
    same(text, envelope.signature, &jws["signature"]);
    let header = &jws["header"];
    if let Some(key_id) = envelope.signer.key_id {
        same(text, key_id, &header["kid"]);
    }
    match &header["signer"] {
        Value::Null => same_list(text, &envelope.signer.certificates, &header["x5c"]),
        signer => same(text, envelope.signer.certificates[0], signer),
    }
}

/// Splits a message in pieces of the length that the first byte chooses: its skeleton must be read as the
/// whole is.
pub fn skeleton(data: &[u8]) {
    let Some((size, data)) = data.split_first() else { return };
    let whole = &mut data.to_vec()[..];
    let expected = Envelope::read(whole);

    let mut memory = vec![0; data.len()];
    let mut value = Vec::new();
    let mut splitter = Splitter::new(&["payload"], "protected", &mut memory);
    for piece in data.chunks(usize::from(*size).max(1)) {
        splitter.push(piece, &mut |_, piece| value.extend_from_slice(piece));
    }
    let noted = splitter.noted().map(|(span, text)| (span, text.to_vec()));
    let (text, long) = splitter.finish();
    let found = Envelope::read(text)
        .ok()
        .filter(|envelope| long.is_some_and(|long| long.at == envelope.payload.start()));

    // Nobody's payload has other characters.
    let expected = expected.ok().filter(|envelope| envelope.payload.text(whole).is_ascii());
    let (Some(found), Some(expected)) = (&found, &expected) else {
        assert!(found.is_none() && expected.is_none());
        return;
    };
    assert_eq!(found.name, expected.name);
    assert_eq!(value, expected.payload.of(whole));
    assert_eq!(found.protected.text(text), expected.protected.text(whole));
    assert_eq!(found.signature.text(text), expected.signature.text(whole));
    let texts = |message: &[u8], spans: &[Span]| -> Vec<String> {
        spans.iter().map(|span| span.text(message).to_owned()).collect()
    };
    let certificates = &expected.signer.certificates;
    assert_eq!(texts(text, &found.signer.certificates), texts(whole, certificates));
    if let Some((span, noted)) = noted.filter(|(span, _)| *span == found.protected) {
        assert_eq!(noted, span.of(text));
    }
}

/// Reads a JOSE header.
pub fn jose_header(data: &[u8]) {
    let text = &mut data.to_vec()[..];
    let Ok(header) = Header::read_all(text) else { return };
    same_header(text, &header, &parsed(data));
}

/// Reads a JWE in any serialization, or a bare key.
pub fn jwe(data: &[u8]) {
    let text = &mut data.to_vec()[..];
    let mut reader = Reader::new(text);
    let Ok(key) = WrappedKey::read(&mut reader) else { return };
    if reader.end().is_ok() {
        same_key(text, &key, &parsed(data));
    }
}

/// Reads the signed payload of the request that the first byte chooses.
pub fn tbs(data: &[u8]) {
    let Some((name, data)) = request(data) else { return };
    let text = &mut data.to_vec()[..];
    let mut tbs = Tbs::default();
    if tbs.read(text, name).is_err() {
        return;
    }
    let json = parsed(data);
    let members = named(&json, name.tbs_request(), RequestName::from_tbs_request);
    for (span, member) in [
        (tbs.version, "ver"),
        (tbs.request_id, "rid"),
        (tbs.transaction_id, "tid"),
        (tbs.tee, "tee"),
        (tbs.dsi_hash, "dsihash"),
    ] {
        same_optional(text, span, &members[member]);
    }
    for (list, member) in [(&tbs.ocsp, "ocspdat"), (&tbs.ca_ocsp, "icaocspdat")] {
        assert_eq!(list.is_some(), !members[member].is_null(), "{member}");
        if let Some(list) = list {
            same_list(text, list, &members[member]);
        }
    }
    if let Some(algorithms) = &tbs.algorithms {
        same_list(text, algorithms, &members["supportedsigalgs"]);
    }
    if let Some(jwe) = &tbs.content {
        same_jwe(text, jwe, &members["content"]);
    }
    if let Some(parts) = &tbs.encrypted_ta {
        same_image(text, parts, &members["encrypted_ta"]);
    }
}

/// Reads the decrypted content of the request that the first byte chooses.
pub fn content(data: &[u8]) {
    let Some((name, data)) = request(data) else { return };
    let text = &mut data.to_vec()[..];
    let Ok(content) = Content::read(text, name) else { return };
    let json = parsed(data);
    let identifiers = [
        (content.sp_id.as_ref().map(|id| id.as_str()), "spid"),
        (content.sd_name.as_ref().map(|id| id.as_str()), "sdname"),
        (content.ta_id.as_ref().map(|id| id.as_str()), "taid"),
    ];
    for (identifier, member) in identifiers {
        assert_eq!(identifier, json[member].as_str(), "{member}");
    }
    same_tam(content.tam_id.as_ref(), &json["tamid"]);
    same_optional(text, content.sp_certificate, &json["spcert"]);
    same_optional(text, content.device_id, &json["did"]);
    if let Some(changes) = &content.changes {
        let json = &json["changes"];
        assert_eq!(changes.sd_name.as_ref().map(|id| id.as_str()), json["newsdname"].as_str());
        assert_eq!(changes.sp_id.as_ref().map(|id| id.as_str()), json["newspid"].as_str());
        same_list(text, &changes.certificates, &json["spcert"]);
        same_list(text, &changes.old_certificates, &json["deloldspcert"]);
    }
}

/// Reads a client's question.
pub fn ta_query(data: &[u8]) {
    let text = &mut data.to_vec()[..];
    let Ok(query) = TaQuery::read(text) else { return };
    let json = parsed(data);
    same(text, query.sp_id, &json["TAQuery"]["spid"]);
    same(text, query.ta_id, &json["TAQuery"]["taid"]);
    same_tam(query.tam_id.as_ref(), &json["TAQuery"]["tamid"]);
    assert_eq!(query.sd_name.as_ref().map(SdName::as_str), json["TAQuery"]["sdname"].as_str());
}

/// A TAM's name is that of the text, but for its case.
fn same_tam(id: Option<&TamId>, text: &Value) {
    match (id.map(TamId::as_str), text.as_str()) {
        (Some(id), Some(text)) => assert!(id.eq_ignore_ascii_case(text), "{id} and {text}"),
        (id, text) => assert_eq!(id, text),
    }
}

/// Decodes base64 over itself; the first byte chooses the form.
pub fn base64(data: &[u8]) {
    let Some((choice, text)) = data.split_first() else { return };
    let form = if choice & 1 == 0 { Form::Url } else { Form::Any };
    // Neighbours that must stay as they are.
    let mut buffer = [b"<".as_slice(), text, b">"].concat();
    let span = Span::new(1, buffer.len() - 1);
    let decoded = decode_in_place(&mut buffer, span, form).map(|span| span.of(&buffer).to_vec());
    assert_eq!((buffer.first(), buffer.last()), (Some(&b'<'), Some(&b'>')));
    assert_eq!(decoded.as_deref().ok(), expected(text, form).as_deref());

    let mut room = [0; 64];
    if let Ok(short) = decode(text, form, &mut room) {
        assert_eq!(Ok(&*short), decoded.as_deref());
    }
    if let Ok(array) = decode_array::<32>(text, form) {
        assert_eq!(Ok(array.as_slice()), decoded.as_deref());
    }
}

/// What OpenSSL decodes, if encoding it again gives the same text but for alphabet and padding.
fn expected(text: &[u8], form: Form) -> Option<Vec<u8>> {
    let text = core::str::from_utf8(text).ok()?;
    let bare = text.trim_end_matches('=');
    let url = text.contains(['-', '_']);
    let padding = text.len() - bare.len();
    let wanted = bare.len().next_multiple_of(4) - bare.len();
    let allowed = match form {
        Form::Url => padding == 0 && !text.contains(['+', '/']),
        Form::Any => (padding == 0 || padding == wanted) && !(url && text.contains(['+', '/'])),
    };
    if !allowed || wanted == 3 {
        return None;
    }
    let standard = bare.replace('-', "+").replace('_', "/");
    let bytes = openssl::base64::decode_block(&format!("{standard}{}", "=".repeat(wanted))).ok()?;
    (openssl::base64::encode_block(&bytes).trim_end_matches('=') == standard).then_some(bytes)
}

/// The request that the first byte stands for, and the rest.
fn request(data: &[u8]) -> Option<(RequestName, &[u8])> {
    let (choice, text) = data.split_first()?;
    Some((RequestName::ALL[usize::from(*choice) % RequestName::ALL.len()], text))
}

fn parsed(text: &[u8]) -> Value {
    serde_json::from_slice(text).expect("what the strict reader accepts is JSON")
}

/// The value of the only member, which must have the name, or another one for the same request.
fn named<'v>(json: &'v Value, name: &str, read: fn(&str) -> Option<RequestName>) -> &'v Value {
    let members = json.as_object().expect("an object");
    assert_eq!(members.len(), 1);
    let (key, value) = members.iter().next().expect("one member");
    assert_eq!(read(key), read(name));
    value
}

#[track_caller]
fn same(text: &[u8], span: Span, value: &Value) {
    assert_eq!(core::str::from_utf8(span.of(text)).ok(), value.as_str());
}

#[track_caller]
fn same_optional(text: &[u8], span: Option<Span>, value: &Value) {
    match span {
        Some(span) => same(text, span, value),
        None => assert!(value.is_null()),
    }
}

/// A list, or one string in its place.
#[track_caller]
fn same_list(text: &[u8], spans: &[Span], value: &Value) {
    match value {
        Value::Array(values) => {
            assert_eq!(spans.len(), values.len());
            spans.iter().zip(values).for_each(|(span, value)| same(text, *span, value));
        }
        Value::Null => assert!(spans.is_empty()),
        one => {
            assert_eq!(spans.len(), 1);
            same(text, spans[0], one);
        }
    }
}

fn same_header(text: &[u8], header: &Header, json: &Value) {
    same_optional(text, header.algorithm, &json["alg"]);
    same_optional(text, header.encryption, &json["enc"]);
    same_optional(text, header.party_u, &json["apu"]);
    same_optional(text, header.party_v, &json["apv"]);
    if let Some(EcPublicKey { x, y }) = header.ephemeral {
        same(text, x, &json["epk"]["x"]);
        same(text, y, &json["epk"]["y"]);
    }
}

fn same_jwe(text: &[u8], jwe: &Jwe, json: &Value) {
    let parts = [jwe.protected, jwe.encrypted_key, jwe.iv, jwe.ciphertext, jwe.tag];
    if let Some(compact) = json.as_str() {
        let compact: Vec<_> = compact.split('.').map(Value::from).collect();
        same_list(text, &parts, &Value::from(compact));
        return;
    }
    let recipient = match &json["recipients"] {
        Value::Null => json,
        recipients => &recipients[0],
    };
    same(text, jwe.protected, &json["protected"]);
    same(text, jwe.encrypted_key, &recipient["encrypted_key"]);
    same(text, jwe.iv, &json["iv"]);
    same(text, jwe.ciphertext, &json["ciphertext"]);
    same(text, jwe.tag, &json["tag"]);
    same_header(text, &jwe.header, &recipient["header"]);
}

fn same_key(text: &[u8], key: &WrappedKey, json: &Value) {
    match key {
        WrappedKey::Jwe(jwe) => same_jwe(text, jwe, json),
        WrappedKey::Bare(span) => same(text, *span, json),
    }
}

fn same_image(text: &[u8], parts: &EncryptedTa, json: &Value) {
    same_key(text, &parts.key, &json["key"]);
    same(text, parts.iv, &json["iv"]);
    same(text, parts.algorithm, &json["alg"]);
    same_optional(text, parts.personalization_iv, &json["ivp"]);
    let member = |install: &str, update: &str| match &json[install] {
        Value::Null => json[update].clone(),
        value => value.clone(),
    };
    same_optional(text, parts.image, &member("ciphertadata", "ciphernewtadata"));
    same_optional(text, parts.personalization, &member("cipherpdata", "ciphernewpdata"));
}
