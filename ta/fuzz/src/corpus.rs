//! What the fuzzer starts from: accepted messages and what they are made of.

use std::cell::RefCell;

use openssl::pkey::{PKey, Private};
use openssl::sha::sha256;
use otrp_check::fixture;
use otrp_keys::certificate::{
    Identity as Signer, Purpose, Template, Validity, generate_p256, generate_rsa,
};
use otrp_keys::ocsp::{Period, Statement, Status};
use otrp_keys::{Uuid, image};
use otrp_tam::request::{Builder, SignerHeader, Target};
use otrp_wire::RequestName;
use serde_json::Value;

use crate::process::{COMMAND_CHOICE, every_command, home};
use crate::record::interrupted;
use crate::stage::{der, program, stage};

/// An input: the target, a name and the bytes.
pub type Input = (&'static str, String, Vec<u8>);

/// Generates the corpus of every target, and the two anchors of its certificate paths. Their keys are
/// discarded.
#[must_use]
pub fn corpus() -> (Vec<Input>, [Vec<u8>; 2]) {
    let mut inputs = Vec::new();
    messages(&mut inputs);
    let keys: [fn() -> PKey<Private>; 2] =
        [|| generate_p256().expect("a key"), || generate_rsa(2048).expect("a key")];
    let [p256, rsa] = ["p256", "rsa"];
    let anchors = [(p256, keys[0]), (rsa, keys[1])].map(|(kind, key)| pki(&mut inputs, kind, key));
    for (number, record) in interrupted().into_iter().enumerate() {
        inputs.push(("record", format!("{number}"), record));
    }
    choices(&mut inputs);
    (inputs, anchors)
}

/// Every request, and its layers.
fn messages(inputs: &mut Vec<Input>) {
    let tam = &stage().tams[0];
    let seen = RefCell::new(Vec::new());
    let add = |target, name: &str, bytes: Vec<u8>| {
        seen.borrow_mut().push((target, String::from(name), bytes));
    };
    let target: &Target = &home().target;
    let commands = every_command();
    let commands = [None].into_iter().chain(commands.iter().cloned().map(Some));
    for (number, command) in commands.enumerate() {
        let name = command.as_ref().map_or(RequestName::GetDeviceState, |it| it.name());
        let chosen = RequestName::ALL.iter().position(|other| *other == name).unwrap_or_default();
        let chosen = u8::try_from(chosen).unwrap_or_default();
        let builder = match command {
            None => Builder::device_state(tam),
            Some(command) => Builder::command(tam, target, command).signer(SignerHeader::KeyId),
        };
        let content = RefCell::new(String::new());
        let (payload, protected) = (RefCell::new(Vec::new()), RefCell::new(Vec::new()));
        let request = builder
            .edit_content(|map| *content.borrow_mut() = Value::from(map.clone()).to_string())
            .edit_payload(|text| payload.borrow_mut().clone_from(text))
            .edit_protected(|text| protected.borrow_mut().clone_from(text))
            .build()
            .expect("a request");
        let file = name.request();
        add("skeleton", file, [&[100], &request.message[..]].concat());
        add("envelope", file, request.message);
        let payload = payload.into_inner();
        add("tbs", file, [&[chosen], &payload[..]].concat());
        if number == 0 {
            add("jose_header", "jws", protected.into_inner());
            continue;
        }
        add("content", file, [&[chosen], content.into_inner().as_bytes()].concat());
        let json: Value = serde_json::from_slice(&payload).expect("a payload");
        let members = &json[name.tbs_request()];
        if number == 1 {
            let general = members["content"].clone();
            let header = general["protected"].as_str().unwrap_or_default();
            let header = openssl_url(header);
            add("jose_header", "jwe", header);
            add("jose_header", "recipient", general["recipients"][0]["header"].to_string().into());
            add("jwe", "general", general.to_string().into());
            let part = |value: &Value| String::from(value.as_str().unwrap_or_default());
            let key = &general["recipients"][0]["encrypted_key"];
            let parts = [
                &general["protected"],
                key,
                &general["iv"],
                &general["ciphertext"],
                &general["tag"],
            ];
            let compact = parts.map(part).join(".");
            add("jwe", "compact", Value::from(compact).to_string().into());
        }
        if let Some(key) = members["encrypted_ta"].get("key") {
            add("jwe", "flattened", key.to_string().into());
        }
    }
    add("ta_query", "query", br#"{"TAQuery":{"spid":"sp.example","taid":"wallet"}}"#.to_vec());
    for (name, text) in [
        ("plain", r#"MIIB+/=="}"#),
        ("php", r#"https:\/\/tam.example.org\/otrp"}"#),
        ("dot-net", r#"MIIB\u002B/\u003D\u003D"}"#),
        ("pairs", r#"caf\u00e9 \ud83d\ude00 \"\\\b\f\n\r\t"}"#),
        ("half", r#"\ud83d"}"#),
    ] {
        add("string", name, text.into());
    }
    add(
        "ta_query",
        "told",
        br#"{"TAQuery":{"tamid":"https://Tam.example","spid":"sp.example","sdname":"pay","taid":"wallet"}}"#
            .to_vec(),
    );
    let root = format!(
        "\x01# Gone\nhttps://gone.example/otrp\n1.2.3\nroot:{}\n",
        "0123456789abcdef".repeat(4)
    );
    for (name, text) in [
        ("names", NAMES),
        ("evicted", &root),
        ("reserved", "\x027265664a-f108-4bd7-af1c-86d044babbac\n"),
        ("floor-epoch", "\x033\n"),
    ] {
        add("lists", name, text.into());
    }
    for (name, text) in [("url", "\0-_-_AQID"), ("standard", "\x01+/+/AQ=="), ("empty", "\0")] {
        add("base64", name, text.into());
    }
    add(
        "base64",
        "hash",
        [b"\x01", openssl::base64::encode_block(&sha256(b"")).as_bytes()].concat(),
    );
    inputs.append(&mut seen.into_inner());
}

/// A list of names with one of each kind.
const NAMES: &str = "\0# A root's names\r\nuri:HTTPS://Tam.example/otrp/\r\ndns:tam.example\n\
                     dns:*.tam.example\noid:1.3.6.1.4.1.99999\n";

/// The bytes of a base64url text.
fn openssl_url(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).expect("base64url")
}

/// Certificates, a path, responses and an image, whose authorities and signers have such keys; the
/// anchor of the path.
fn pki(inputs: &mut Vec<Input>, kind: &str, key: fn() -> PKey<Private>) -> Vec<u8> {
    let template = |common_name| {
        let (organization, validity) = ("corpus, keys thrown away", Validity::years(20));
        Template { organization, common_name, purpose: Purpose::Root, validity, uri: None }
    };
    let below = |issuer: &Signer, purpose, key: PKey<Private>, uri| {
        let certificate = Template { purpose, uri, ..template("below") }.issue(&key, issuer);
        Signer { key, certificate: certificate.expect("a certificate") }
    };
    let root = template("root").self_sign(key()).expect("a certificate");
    let issuer = Template { purpose: Purpose::IssuingAuthority, ..template("issuer") };
    let issuer_key = key();
    let issuer_certificate = issuer.issue(&issuer_key, &root).expect("a certificate");
    let issuer = Signer { key: issuer_key, certificate: issuer_certificate };
    let ec = || generate_p256().expect("a key");
    let leaf = below(&issuer, Purpose::Party, ec(), Some("https://tam.example"));
    let responder = below(&issuer, Purpose::OcspResponder, key(), None);
    let provider = Template { purpose: Purpose::TaSigning, ..template("SP") }
        .self_sign(key())
        .expect("a certificate");

    let mut add = |target, name: &str, bytes| {
        inputs.push((target, format!("{kind}-{name}"), bytes));
    };
    for (name, signer) in [
        ("root", &root),
        ("issuer", &issuer),
        ("leaf", &leaf),
        ("responder", &responder),
        ("provider", &provider),
    ] {
        add("certificate", name, der(&signer.certificate));
    }
    let (status, period) = (Status::Good, Period::hours(24));
    let time = u32::try_from(period.this_update + 60).expect("before 2106").to_be_bytes();
    let chain = [der(&leaf.certificate), der(&issuer.certificate)].concat();
    add("path", "chain", [&time[..], &chain, &der(&root.certificate)].concat());
    add("path", "short", [&time[..], &chain].concat());
    for (name, status, signer) in [
        ("good", status, &issuer),
        ("revoked", Status::Revoked, &issuer),
        ("delegated", status, &responder),
    ] {
        let (certificate, issuer) = (&leaf.certificate, &issuer.certificate);
        let response = Statement { certificate, issuer, status, period }.sign(signer);
        let response = response.expect("a response");
        add("ocsp", name, [&time[..], &chain, &response].concat());
    }
    for (name, elf) in [("signed", program([1; 16], 1)), ("library", fixture::library([1; 16]))] {
        let signed = image::sign(&provider.key, None, Uuid([1; 16]), 1, &elf);
        add("image", name, signed.expect("an image"));
    }
    der(&root.certificate)
}

/// Bytes for the targets that take theirs as choices.
fn choices(inputs: &mut Vec<Input>) {
    for number in 0..8_u8 {
        let mut command: Vec<u8> = (0..4).flat_map(|part| sha256(&[number, part])).collect();
        // The request as it is, of each name in turn.
        command[..COMMAND_CHOICE].fill(0);
        command[COMMAND_CHOICE] = number;
        inputs.push(("process", format!("{number}"), command));
    }
    for (name, life) in LIVES {
        let steps = life.iter().flat_map(|step| match step {
            // The third kind of step is a command of this TAM, with the new state and without a fault.
            [tam, command @ ..] => [&[3, *tam], command, &[1, 0, 0, 0, 0]].concat(),
            [] => Vec::new(),
        });
        inputs.push(("operations", (*name).into(), steps.collect()));
    }
    for place in 0..32 {
        // An installation that is cut there, restarted and done.
        let install = [0, 0, 4, 0, 0, 1];
        let create = [3, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        let cut = [&[3, 0], &install[..], &[1, 4, place, 0, 0]].concat();
        let again = [&[3, 0], &install[..], &[1, 0, 0, 0, 0]].concat();
        let life = [&create[..], &cut, &[0], &again, &[2, 0]].concat();
        inputs.push(("operations", format!("cut-{place}"), life));
    }
}

/// Lives by their steps: the TAM, the provider, the domain, the command and what it has besides.
const LIVES: [(&str, &[&[u8]]); 3] = [
    // Version 2 is installed and deleted: 1 is refused, 2 and 3 are not, back to 2 is.
    (
        "versions",
        &[
            &[0, 0, 0, 0],
            &[0, 0, 0, 4, 0, 0, 2],
            &[0, 0, 0, 9, 0],
            &[0, 0, 0, 4, 0, 0, 1],
            &[0, 0, 0, 4, 0, 0, 2],
            &[0, 0, 0, 7, 0, 0, 3],
            &[0, 0, 0, 7, 0, 0, 2],
        ],
    ),
    // A deleted application's UUID is refused to another provider and to another TAM.
    (
        "owners",
        &[
            &[0, 0, 0, 0],
            &[0, 1, 1, 0],
            &[1, 0, 0, 0],
            &[0, 0, 0, 4, 0, 0, 1],
            &[1, 0, 0, 4, 0, 0, 1],
            &[0, 0, 0, 9, 0],
            &[0, 1, 1, 4, 0, 0, 1],
            &[1, 0, 0, 4, 0, 0, 1],
            &[0, 0, 0, 4, 1, 0, 1],
        ],
    ),
    // Created twice, renamed, kept from another provider and from deletion while it is not empty, deleted with
    // what is in it.
    (
        "domains",
        &[
            &[0, 0, 0, 0],
            &[0, 0, 0, 0],
            &[0, 0, 0, 4, 0, 0, 1],
            &[0, 0, 0, 2, 0, 1, 0],
            &[0, 0, 0, 0],
            &[0, 0, 0, 2, 0, 1, 0],
            &[0, 0, 1, 2, 1, 1, 1],
            &[0, 1, 1, 3, 0],
            &[0, 1, 1, 3, 1],
            &[0, 0, 0, 3, 0],
        ],
    ),
];
