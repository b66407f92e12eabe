//! The sample messages of the OTrP draft, appendix A: what holds, what is read, what is refused.
//!
//! Their cryptography is checked with OpenSSL first, so that what the broker then refuses is known
//! to be good but for the reason that is expected. `appendix_a/README.md` tells of the samples.

#![allow(
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has found something"
)]

#[path = "appendix_a/samples.rs"]
mod samples;
#[allow(dead_code, reason = "what the other tests of certificates use")]
mod support;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::{Signer, Verifier};
use openssl::symm::{Cipher, decrypt};
use openssl::x509::X509;
use otrp_engine::crypto;
use otrp_engine::jose::content::{ContentAlgorithm, ContentKey, DataAlgorithm, DataKey};
use otrp_engine::pki::{self, Certificate, Untrusted, check_sp_certificate, verify_tam};
use otrp_engine::trust::{Anchor, Trust};
use otrp_wire::base64::{Form, NotBase64, decode_array};
use otrp_wire::envelope::{Envelope, EnvelopeError};
use otrp_wire::id::{SdName, SpId, TaId, TamId};
use otrp_wire::json::{Malformed, Reader};
use otrp_wire::jwe::{Header, Jwe};
use otrp_wire::request::{Content, Tbs};
use otrp_wire::{RequestName, Span};
use serde_json::{Value, json};

use samples::{SAMPLES, joined, printed, repaired};
use support::OpensslRsa;

/// RFC 7516, appendix A.2.2.
const CONTENT_KEY: [u8; 32] = [
    4, 211, 31, 197, 84, 157, 252, 254, 11, 100, 157, 250, 63, 170, 106, 206, 107, 124, 212, 45,
    111, 107, 9, 219, 200, 177, 0, 240, 143, 156, 44, 207,
];
/// RFC 7516, appendix A.2.4.
const IV: [u8; 16] = [3, 22, 60, 12, 43, 67, 104, 105, 108, 108, 105, 99, 111, 116, 104, 101];
/// The messages with cryptography in them.
const SEALED: [&str; 6] = [
    "CreateSDRequest",
    "CreateSDResponse",
    "UpdateTARequest",
    "UpdateTAResponse",
    "DeleteTARequest",
    "DeleteTAResponse",
];

fn octets(text: &str) -> Vec<u8> {
    let text = text.trim_end_matches('=').replace('+', "-").replace('/', "_");
    let mut buffer = vec![0; text.len()];
    let length = URL_SAFE_NO_PAD.decode_slice(&text, &mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

fn base64url(octets: &[u8]) -> String {
    let mut buffer = vec![0; octets.len() * 2 + 4];
    let length = URL_SAFE_NO_PAD.encode_slice(octets, &mut buffer).unwrap();
    buffer.truncate(length);
    String::from_utf8(buffer).unwrap()
}

/// A text with straight quotes.
fn straightened(text: &str) -> String {
    text.replace(['\u{201c}', '\u{201d}'], "\"")
}

/// A text as it became when the draft's TSM was renamed.
fn renamed(text: &str) -> String {
    let mut renamed = String::new();
    let mut rest = text;
    while let Some(at) = rest.to_ascii_lowercase().find("tsm") {
        let (before, found) = rest.split_at(at);
        renamed.push_str(before);
        renamed.push_str(if found.starts_with("tsmid") { "tam" } else { "TAM" });
        rest = &found[3..];
    }
    renamed + rest
}

/// A sample as JSON, below its one outer member.
fn sample(name: &str) -> Value {
    let mut value: Value = serde_json::from_str(&repaired(name)).unwrap();
    let members = value.as_object_mut().unwrap();
    assert_eq!(members.len(), 1);
    members.values_mut().next().unwrap().take()
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value[member].as_str().unwrap_or_else(|| panic!("{member} in {value}"))
}

/// A sample's JWS.
struct Jws {
    payload: String,
    protected: String,
    signature: Vec<u8>,
    certificate: Vec<u8>,
}

impl Jws {
    fn of(name: &str) -> Self {
        let message = sample(name);
        Self {
            payload: text(&message, "payload").into(),
            protected: text(&message, "protected").trim_start().into(),
            signature: octets(text(&message, "signature")),
            certificate: octets(text(&message["header"], "signer")),
        }
    }

    /// Whether OpenSSL takes the signature for one by the key of the certificate.
    fn verifies(&self) -> bool {
        let key = X509::from_der(&self.certificate).unwrap().public_key().unwrap();
        let mut verifier = Verifier::new(MessageDigest::sha256(), &key).unwrap();
        verifier.update(self.protected.as_bytes()).unwrap();
        verifier.update(b".").unwrap();
        verifier.update(self.payload.as_bytes()).unwrap();
        verifier.verify(&self.signature).unwrap()
    }

    /// The signed members.
    fn tbs(&self) -> Value {
        let mut value: Value = serde_json::from_slice(&octets(&self.payload)).unwrap();
        value.as_object_mut().unwrap().values_mut().next().unwrap().take()
    }
}

/// The message, with the renaming undone in the one payload that it damaged.
fn sealed(name: &str) -> Jws {
    let mut jws = Jws::of(name);
    if name == "DeleteTAResponse" {
        assert_eq!(jws.payload.matches("TAM").count(), 1);
        jws.payload = jws.payload.replace("TAM", "tSm");
        assert_eq!(renamed(&jws.payload), Jws::of(name).payload);
    }
    jws
}

/// The parts of a sample's encrypted content.
struct Encrypted {
    protected: String,
    iv: Vec<u8>,
    ciphertext: Vec<u8>,
    tag: Vec<u8>,
}

impl Encrypted {
    fn of(name: &str) -> Self {
        let content = sealed(name).tbs()["content"].take();
        // In DeleteTA it stands as an object, and the tag covers the base64url of this text.
        let protected = match &content["protected"] {
            Value::String(text) => text.clone(),
            object => base64url(object.to_string().as_bytes()),
        };
        Self {
            protected,
            iv: octets(text(&content, "iv")),
            ciphertext: octets(text(&content, "ciphertext")),
            tag: octets(text(&content, "tag")),
        }
    }

    /// What the broker's content decryption makes of it under `tag`.
    fn decrypt(&self, tag: &[u8]) -> Result<String, crypto::Error> {
        let key = ContentKey::from_bytes(ContentAlgorithm::A128CbcHs256, &CONTENT_KEY)?;
        let mut buffer = self.ciphertext.clone();
        let plaintext =
            key.decrypt_in_place(&self.iv, self.protected.as_bytes(), &mut buffer, tag)?;
        Ok(String::from_utf8(plaintext.to_vec()).unwrap())
    }
}

#[test]
fn every_sample_is_json_once_repaired() {
    assert_eq!(SAMPLES.len(), 27);
    for (name, _) in SAMPLES {
        let value: Value = serde_json::from_str(&repaired(name))
            .unwrap_or_else(|error| panic!("{name}: {error}\n{}", repaired(name)));
        let members: Vec<&String> = value.as_object().unwrap().keys().collect();
        assert_eq!(members, [name.trim_end_matches("-encrypted")]);
    }
}

#[test]
fn five_signatures_verify_and_the_sixth_where_the_renaming_is_undone() {
    for name in SEALED {
        assert!(sealed(name).verifies(), "{name}");
        assert_eq!(Jws::of(name).verifies(), name != "DeleteTAResponse", "{name}");
        let mut altered = sealed(name);
        altered.payload.pop();
        assert!(!altered.verifies(), "{name}");
    }
    // Only without the blank that the print has in front of it.
    let mut blank = Jws::of("UpdateTARequest");
    blank.protected = text(&sample("UpdateTARequest"), "protected").into();
    assert_eq!(blank.protected, " eyJhbGciOiJSUzI1NiJ9");
    assert!(!blank.verifies());
}

#[test]
fn six_contents_decrypt_under_the_key_of_rfc_7516() {
    for name in SEALED {
        let encrypted = Encrypted::of(name);
        assert_eq!(encrypted.iv, IV);
        // The tags are the whole of the HMAC, by OpenSSL ...
        let mac_key = PKey::hmac(&CONTENT_KEY[..16]).unwrap();
        let mut signer = Signer::new(MessageDigest::sha256(), &mac_key).unwrap();
        let aad = encrypted.protected.as_bytes();
        let aad_bits = u64::try_from(aad.len()).unwrap() * 8;
        for part in [aad, &encrypted.iv, &encrypted.ciphertext, &aad_bits.to_be_bytes()] {
            signer.update(part).unwrap();
        }
        assert_eq!(signer.sign_to_vec().unwrap(), encrypted.tag, "{name}");
        // ... which is refused; the half that RFC 7518 wants is accepted.
        assert_eq!(encrypted.tag.len(), 32);
        assert_eq!(encrypted.decrypt(&encrypted.tag), Err(crypto::Error::Crypto), "{name}");
        let plaintext = encrypted.decrypt(&encrypted.tag[..16]).unwrap();

        let plaintext: Value = serde_json::from_str(&renamed(&straightened(&plaintext))).unwrap();
        let clear = name.replace("Request", "TBSRequest").replace("Response", "TBSResponse");
        match name {
            // The whole message was encrypted where its content should have been.
            "CreateSDRequest" => assert_eq!(plaintext["CreateSDTBSRequest"], sample(&clear)),
            _ => assert_eq!(plaintext, sample(&clear)["content"], "{name}"),
        }
    }
}

#[test]
fn what_is_signed_is_what_is_printed_in_the_clear() {
    for name in SEALED {
        let clear = name.replace("Request", "TBSRequest").replace("Response", "TBSResponse");
        let (mut signed, mut clear) = (sealed(name).tbs(), sample(&clear));
        signed["content"].take();
        clear["content"].take();
        if name == "CreateSDRequest" {
            // In hexadecimal here, in base64url there.
            let hash = hex::decode(text(&signed, "dsihash")).unwrap();
            assert_eq!(hash, octets(text(&clear, "dsihash")));
            signed["dsihash"] = clear["dsihash"].clone();
        }
        if name == "UpdateTARequest" {
            assert_eq!((text(&signed, "nextdsi"), text(&clear, "nextdsi")), ("false", " false"));
            signed["nextdsi"] = clear["nextdsi"].clone();
        }
        assert_eq!(signed, clear, "{name}");
    }
    let dummies = [
        ("DeleteSDRequest", "DeleteSDTBSRequest-encrypted"),
        ("DeleteSDResponse", "DeleteSDTBSResponse-encrypted"),
    ];
    for (name, clear) in dummies {
        let payload = octets(text(&sample(name), "payload"));
        let signed: Value = serde_json::from_slice(&payload).unwrap();
        let member = clear.trim_end_matches("-encrypted");
        let (mut signed, mut clear) = (signed[member].clone(), sample(clear));
        // Two spellings of {"enc":"A128CBC-HS256"}, with and without a line feed.
        signed["content"]["protected"].take();
        clear["content"]["protected"].take();
        assert_eq!(signed, clear, "{name}");
    }
}

#[test]
fn the_data_of_the_update_is_not_under_a_key_of_the_profile() {
    let parts = &sample("UpdateTATBSRequest")["encrypted_ta"];
    let data = octets(text(parts, "ciphernewtadata"));
    // AES-128, the second half of the content key; the vector in base64url.
    assert_eq!(octets(text(parts, "iv")), IV);
    let plain = decrypt(Cipher::aes_128_cbc(), &CONTENT_KEY[16..], Some(&IV), &data).unwrap();
    let expected =
        "This is a sample of new TA binary data. Actual data format of this depends on a TEE.";
    assert_eq!(plain, expected.as_bytes());

    let mut buffer = data;
    let key = DataKey::from_bytes(&CONTENT_KEY).unwrap();
    let result = key.decrypt_in_place(DataAlgorithm::AesCbc, &IV, b"", &mut buffer);
    assert_eq!(result.err(), Some(crypto::Error::Crypto));
    assert_eq!(DataKey::from_bytes(&CONTENT_KEY[16..]).err(), Some(crypto::Error::Crypto));
}

#[test]
fn each_message_is_refused_for_its_own_reason() {
    let read = |text: &str| Envelope::read(&mut text.as_bytes().to_vec()).map(drop);
    let header = |name: &str| Header::read_all(&mut octets(&Jws::of(name).protected)).map(drop);
    // As printed, for the lines inside strings.
    for (name, request) in [
        ("GetDeviceStateRequest", RequestName::GetDeviceState),
        ("CreateSDRequest", RequestName::CreateSd),
        ("DeleteSDRequest", RequestName::DeleteSd),
        ("UpdateTARequest", RequestName::UpdateTa),
        ("DeleteTARequest", RequestName::DeleteTa),
    ] {
        assert_eq!(read(printed(name)), Err(EnvelopeError::Malformed(request)), "{name}");
        assert_eq!(read(&repaired(name)), Ok(()), "{name}");
        // CreateSD for its remark too.
        let with_remark = Err(EnvelopeError::Malformed(RequestName::CreateSd));
        let expected = if name == "CreateSDRequest" { with_remark } else { Ok(()) };
        assert_eq!(read(&joined(name)), expected, "{name}");
    }

    // For curly quotes in the header.
    assert_eq!(header("CreateSDRequest"), Err(Malformed));
    assert_eq!(header("CreateSDResponse"), Err(Malformed));
    let protected = String::from_utf8(octets(&Jws::of("CreateSDRequest").protected)).unwrap();
    assert!(Header::read_all(&mut straightened(&protected).into_bytes()).is_ok());
    // For a blank in front of the header.
    let protected = text(&sample("UpdateTARequest"), "protected").to_owned();
    let mut room = [0; 64];
    let decoded = otrp_wire::base64::decode(protected.as_bytes(), Form::Url, &mut room);
    assert_eq!(decoded.err(), Some(NotBase64));
    for name in ["UpdateTARequest", "UpdateTAResponse", "DeleteTARequest", "DeleteTAResponse"] {
        assert_eq!(header(name), Ok(()), "{name}");
    }
}

#[test]
fn the_signer_of_the_samples_is_not_trusted() {
    for name in SEALED {
        let jws = sealed(name);
        let certificate = Certificate::parse(&jws.certificate).unwrap();
        assert_eq!(certificate.public_key(), Err(pki::Error::Key), "{name}: RSA-1024");
        let now = |_: &[u8; 32]| WHILE_VALID;
        let trusted = verify_tam::<OpensslRsa>(&[&jws.certificate], &trust(ANCHOR), now);
        assert_eq!(trusted.err(), Some(Untrusted::UnknownIssuer), "{name}");
        // Nor is it an anchor itself.
        let itself = jws.certificate.clone().leak();
        let trusted = verify_tam::<OpensslRsa>(&[&jws.certificate], &trust(itself), now);
        assert_eq!(trusted.err(), Some(Untrusted::Empty), "{name}");
    }
}

/// What trusts this root.
fn trust(root: &'static [u8]) -> Trust {
    Trust {
        tam_anchors: vec![Anchor::of(root)].leak(),
        tee_anchor: &[],
        evicted: &[],
        reserved: &[],
        floor_epoch: 0,
        development: false,
        tee_name: "",
        rsa1_5: true,
        built_at: 0,
    }
}

/// A time at which the signer's certificate was valid.
const WHILE_VALID: u64 = 1_500_000_000;
/// Somebody's certificate.
const ANCHOR: &[u8] = include_bytes!("fixtures/signer-rsa.der");

#[test]
fn the_certificate_of_the_service_provider_is_too_weak() {
    let content = Encrypted::of("CreateSDRequest");
    let content = content.decrypt(&content.tag[..16]).unwrap();
    let content: Value = serde_json::from_str(&content).unwrap();
    let der = octets(text(&content["CreateSDTBSRequest"]["content"], "spcert"));
    let certificate = X509::from_der(&der).unwrap();
    let key = certificate.public_key().unwrap();
    assert!(certificate.verify(&key).unwrap());
    assert_eq!(key.bits(), 1024);
    assert_eq!(check_sp_certificate::<OpensslRsa>(&der).err(), Some(pki::Error::Key));

    // The print has the renaming in it: the issuer is no longer the subject.
    for name in ["CreateSDTBSRequest", "UpdateSDTBSRequest"] {
        let content = &sample(name)["content"];
        let members = if name == "UpdateSDTBSRequest" { &content["changes"] } else { content };
        let damaged = X509::from_der(&octets(text(members, "spcert"))).unwrap();
        assert!(!damaged.verify(&key).unwrap(), "{name}");
    }
}

/// A JWE with nothing in it, in the place of one that a sample does not have.
fn empty_jwe() -> Value {
    json!({"protected": "", "encrypted_key": "", "iv": "", "ciphertext": "", "tag": ""})
}

/// Reads the signed members of a request.
fn read_tbs(name: RequestName, members: &Value) -> (String, Result<Tbs, Malformed>) {
    let text = json!({ name.tbs_request(): members }).to_string();
    let mut tbs = Tbs::default();
    let read = tbs.read(&mut text.clone().into_bytes(), name).map(|()| tbs);
    (text, read)
}

/// What a reader makes of a text: its place, or an identifier.
trait Member {
    fn text<'m>(&'m self, of: &'m str) -> &'m str;
}

impl Member for Span {
    fn text<'m>(&'m self, of: &'m str) -> &'m str {
        Self::text(self, of.as_bytes())
    }
}

macro_rules! identifiers {
    ($($name:ty)*) => {$(
        impl Member for $name {
            fn text<'m>(&'m self, _: &'m str) -> &'m str {
                self.as_str()
            }
        }
    )*};
}

identifiers!(TamId SpId SdName TaId);

/// Asserts that a member was read as it is printed.
#[track_caller]
fn assert_read<M: Member>(read: Option<&M>, of: &str, printed: &Value) {
    assert_eq!(read.map(|member| member.text(of)), printed.as_str());
}

#[test]
fn the_signed_members_of_the_requests_are_read() {
    let rows = [
        ("CreateSDTBSRequest", RequestName::CreateSd, false),
        ("UpdateSDTBSRequest", RequestName::UpdateSd, false),
        ("DeleteSDTBSRequest", RequestName::DeleteSd, false),
        ("DeleteSDTBSRequest-encrypted", RequestName::DeleteSd, false),
        ("InstallTATBSRequest", RequestName::InstallTa, true),
        ("UpdateTATBSRequest", RequestName::UpdateTa, false),
        ("DeleteTATBSRequest", RequestName::DeleteTa, false),
    ];
    for (sample_name, name, next_dsi) in rows {
        let printed = sample(sample_name);
        let mut members = printed.clone();
        if !sample_name.ends_with("-encrypted") {
            // The content in the clear is no content.
            assert_eq!(read_tbs(name, &members).1.err(), Some(Malformed), "{sample_name}");
            members["content"] = empty_jwe();
        }
        if let Some(parts) = members.get_mut("encrypted_ta") {
            parts["key"] = "....".into();
        }
        let (text, tbs) = read_tbs(name, &members);
        let tbs = tbs.unwrap_or_else(|_| panic!("{sample_name}: {text}"));
        assert_read(tbs.version.as_ref(), &text, &json!("1.0"));
        assert_read(tbs.request_id.as_ref(), &text, &printed["rid"]);
        assert_read(tbs.transaction_id.as_ref(), &text, &printed["tid"]);
        assert_read(tbs.tee.as_ref(), &text, &printed["tee"]);
        assert_read(tbs.dsi_hash.as_ref(), &text, &printed["dsihash"]);
        assert_eq!(tbs.next_dsi, Some(next_dsi), "{sample_name}: {}", printed["nextdsi"]);
        let content = tbs.content.unwrap();
        if sample_name.ends_with("-encrypted") {
            assert_read(Some(&content.ciphertext), &text, &printed["content"]["ciphertext"]);
            let recipient = &printed["content"]["recipients"][0];
            assert_read(content.header.algorithm.as_ref(), &text, &recipient["header"]["alg"]);
            assert_read(Some(&content.encrypted_key), &text, &recipient["encrypted_key"]);
        }
        let Some(parts) = tbs.encrypted_ta else { continue };
        let (image, personalization) = match name {
            RequestName::InstallTa => ("ciphertadata", "cipherpdata"),
            _ => ("ciphernewtadata", "ciphernewpdata"),
        };
        assert_read(Some(&parts.iv), &text, &printed["encrypted_ta"]["iv"]);
        assert_read(Some(&parts.algorithm), &text, &json!("AESCBC"));
        assert_read(parts.image.as_ref(), &text, &printed["encrypted_ta"][image]);
        assert_read(
            parts.personalization.as_ref(),
            &text,
            &printed["encrypted_ta"][personalization],
        );
        assert_eq!(parts.personalization.is_some(), name == RequestName::InstallTa);
    }
}

#[test]
fn the_request_for_the_state_is_read() {
    let members = sample("GetDeviceStateTBSRequest");
    // This one is JSON as printed.
    let text = printed("GetDeviceStateTBSRequest");
    let mut tbs = Tbs::default();
    tbs.read(&mut text.as_bytes().to_vec(), RequestName::GetDeviceState).unwrap();
    assert_read(tbs.version.as_ref(), text, &json!("1.0"));
    assert_read(tbs.request_id.as_ref(), text, &members["rid"]);
    assert_read(tbs.transaction_id.as_ref(), text, &members["tid"]);
    // Single strings where the draft has arrays.
    let one = |list: &[Span]| match list {
        [only] => Some(*only),
        _ => None,
    };
    assert_read(one(&tbs.ocsp.unwrap()).as_ref(), text, &members["ocspdat"]);
    assert_read(one(&tbs.ca_ocsp.unwrap()).as_ref(), text, &members["icaocspdat"]);
    assert_read(one(&tbs.algorithms.unwrap()).as_ref(), text, &json!("RS256"));

    // In the signed payload the identifier has no quotes.
    let mut payload = octets(member_of("GetDeviceStateRequest", "payload").as_str());
    assert!(payload.windows(9).any(|window| window == br#""rid": {8"#));
    let read = Tbs::default().read(&mut payload, RequestName::GetDeviceState);
    assert_eq!(read, Err(Malformed));
}

fn member_of(name: &str, member: &str) -> String {
    text(&sample(name), member).to_owned()
}

#[test]
fn the_signed_payloads_are_read_as_far_as_they_are_right() {
    let read = |name: &str, request: RequestName| {
        let mut payload = octets(&member_of(name, "payload"));
        Tbs::default().read(&mut payload, request)
    };
    assert_eq!(read("CreateSDRequest", RequestName::CreateSd), Ok(()));
    assert_eq!(read("DeleteSDRequest", RequestName::DeleteSd), Ok(()));
    // With a key that is the bare text of an RSA ciphertext.
    assert_eq!(read("UpdateTARequest", RequestName::UpdateTa), Ok(()));
    // `protected` is an object.
    assert_eq!(read("DeleteTARequest", RequestName::DeleteTa), Err(Malformed));

    let jwe = |content: &Value| {
        let mut text = content.to_string().into_bytes();
        Jwe::read(&mut Reader::new(&mut text)).map(drop)
    };
    let mut content = sealed("DeleteTARequest").tbs()["content"].take();
    assert_eq!(jwe(&content), Err(Malformed));
    content["protected"] = base64url(content["protected"].to_string().as_bytes()).into();
    assert_eq!(jwe(&content), Ok(()));
    assert_eq!(jwe(&sealed("UpdateTARequest").tbs()["content"]), Ok(()));
    // The header of the content of CreateSD is in curly quotes.
    let mut protected = octets(text(&sealed("CreateSDRequest").tbs()["content"], "protected"));
    let straight = straightened(core::str::from_utf8(&protected).unwrap());
    assert_eq!(Header::read_all(&mut protected).err(), Some(Malformed));
    let header = Header::read_all(&mut straight.clone().into_bytes()).unwrap();
    assert_read(header.encryption.as_ref(), &straight, &json!("A128CBC-HS256"));
}

/// Reads a content and compares it with the print.
fn assert_content(name: RequestName, text: &str, printed: &Value) -> Content {
    let content =
        Content::read(&mut text.as_bytes().to_vec(), name).unwrap_or_else(|_| panic!("{text}"));
    // A TAM's name is in lower case.
    let tam_id = printed["tamid"].as_str().map(str::to_ascii_lowercase);
    assert_eq!(content.tam_id.as_ref().map(TamId::as_str), tam_id.as_deref());
    assert_read(content.sp_id.as_ref(), text, &printed["spid"]);
    assert_read(content.sd_name.as_ref(), text, &printed["sdname"]);
    assert_read(content.ta_id.as_ref(), text, &printed["taid"]);
    assert_read(content.sp_certificate.as_ref(), text, &printed["spcert"]);
    assert_read(content.device_id.as_ref(), text, &printed["did"]);
    content
}

#[test]
fn the_contents_of_the_requests_are_read() {
    for (sample_name, name) in [
        ("CreateSDTBSRequest", RequestName::CreateSd),
        ("UpdateSDTBSRequest", RequestName::UpdateSd),
        ("DeleteSDTBSRequest", RequestName::DeleteSd),
        ("InstallTATBSRequest", RequestName::InstallTa),
        ("UpdateTATBSRequest", RequestName::UpdateTa),
        ("DeleteTATBSRequest", RequestName::DeleteTa),
    ] {
        let printed = &sample(sample_name)["content"];
        let text = printed.to_string();
        let content = assert_content(name, &text, printed);
        // "1"
        let delete_tas = (name == RequestName::DeleteSd).then_some(true);
        assert_eq!(content.delete_tas, delete_tas, "{sample_name}");
        let Some(changes) = content.changes else { continue };
        let printed = &printed["changes"];
        assert_read(changes.sd_name.as_ref(), &text, &printed["newsdname"]);
        assert_read(changes.sp_id.as_ref(), &text, &printed["newspid"]);
        // A single string; "0".
        assert_eq!(changes.certificates.len(), 1);
        assert_read(changes.certificates.first(), &text, &printed["spcert"]);
        assert!(changes.old_certificates.is_empty());
        assert!(!changes.renew_aik);
    }
    assert_eq!(sample("UpdateSDTBSRequest")["content"]["changes"]["renewteespaik"], "0");
}

#[test]
fn the_decrypted_contents_of_the_requests_are_read() {
    for (sample_name, name) in [
        ("CreateSDRequest", RequestName::CreateSd),
        ("UpdateTARequest", RequestName::UpdateTa),
        ("DeleteTARequest", RequestName::DeleteTa),
    ] {
        let encrypted = Encrypted::of(sample_name);
        let plaintext = encrypted.decrypt(&encrypted.tag[..16]).unwrap();
        let read = Content::read(&mut plaintext.clone().into_bytes(), name);
        assert_eq!(read.err(), Some(Malformed), "{sample_name}: tsmid is no member");
        let mut plaintext: Value = serde_json::from_str(&renamed(&plaintext)).unwrap();
        let content = match name {
            RequestName::CreateSd => plaintext["CreateSDTBSRequest"]["content"].take(),
            _ => plaintext,
        };
        let printed = &sample(&sample_name.replace("Request", "TBSRequest"))["content"];
        assert_content(name, &content.to_string(), printed);
    }
}

#[test]
fn hashes_and_identifiers_come_in_either_alphabet() {
    let hash = |text: &str| decode_array::<32>(text.as_bytes(), Form::Any);
    for (name, member) in [
        ("CreateSDTBSRequest", "dsihash"),
        ("DeleteSDTBSRequest", "dsihash"),
        ("UpdateTATBSRequest", "dsihash"),
        ("DeleteTATBSRequest", "dsihash"),
    ] {
        let text = member_of(name, member);
        assert_eq!(hash(&text).unwrap().to_vec(), octets(&text), "{name}");
    }
    let did = text(&sample("CreateSDTBSRequest")["content"], "did").to_owned();
    assert!(did.contains('-') && !did.ends_with('='));
    assert_eq!(hash(&did).unwrap().to_vec(), octets(&did));
    let did = text(&sample("DeleteSDTBSResponse")["content"], "did").to_owned();
    assert!(did.ends_with('='));
    assert_eq!(hash(&did), Ok(*b"16D519C74C946E136179466857796852"));

    // The same hash as in CreateSD, but taken for Latin-1 and written as UTF-8.
    for name in ["UpdateSDTBSRequest", "InstallTATBSRequest"] {
        let text = member_of(name, "dsihash");
        assert_eq!(hash(&text), Err(NotBase64), "{name}");
        let latin = String::from_utf8(octets(&text)).unwrap();
        let bytes: Vec<u8> = latin.chars().map(|char| u8::try_from(char).unwrap()).collect();
        assert_eq!(bytes, octets(&member_of("CreateSDTBSRequest", "dsihash")), "{name}");
    }
    // In hexadecimal it is no SHA-256 in base64 either.
    assert_eq!(hash(text(&sealed("CreateSDRequest").tbs(), "dsihash")), Err(NotBase64));
}
