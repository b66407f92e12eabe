//! Escapes in strings: whole requests as the default encoders of other languages write them, and
//! escapes that stand for nothing.
//!
//! Every text of a request is escaped: message, protected header, payload, header of the content and
//! content. What is hashed and signed around it is the escaped text.

use std::fmt::Write;

use otrp_tam::ta_information::TaInformation;
use serde_json::{Value, json};

use crate::bench::{Device, base64, pki, ta_query};
use crate::home::*;
use crate::members::{BAD, Case, Expect, Layer, Layers, verdict};

/// How an encoder writes a character in a string; `None` for one that it leaves as it is.
type Style = fn(char) -> Option<String>;

/// A character as `\uXXXX`, as two where UTF-16 has two.
fn units(character: char, upper: bool) -> String {
    let mut escape = String::new();
    for unit in character.encode_utf16(&mut [0; 2]) {
        match upper {
            true => write!(escape, "\\u{unit:04X}"),
            false => write!(escape, "\\u{unit:04x}"),
        }
        .unwrap();
    }
    escape
}

/// What the encoders escape if nobody tells them otherwise, apart from control characters.
const STYLES: [(&str, Style); 6] = [
    // PHP's json_encode: the solidus, and everything that is not ASCII.
    ("PHP", |character| match character {
        '/' => Some("\\/".into()),
        other => (!other.is_ascii()).then(|| units(other, false)),
    }),
    // .NET's JavaScriptEncoder.Default, and the equals sign of its older serializers.
    (".NET", |character| match character {
        '+' | '=' | '&' | '\'' | '<' | '>' | '`' => Some(units(character, true)),
        other => (!other.is_ascii()).then(|| units(other, true)),
    }),
    // Gson, which writes JSON that HTML can hold.
    ("Gson", |character| {
        matches!(character, '=' | '&' | '\'' | '<' | '>').then(|| units(character, false))
    }),
    // Android's org.json and Apple's NSJSONSerialization.
    ("Android and Apple", |character| (character == '/').then(|| "\\/".into())),
    // Python's json.dumps: everything that is not ASCII.
    ("Python", |character| (!character.is_ascii()).then(|| units(character, false))),
    // Nobody: every character of every name and value.
    ("everything", |character| Some(units(character, u32::from(character) % 2 == 0))),
];

/// The same JSON with its strings in a style.
fn escaped(text: &[u8], style: Style) -> Vec<u8> {
    let text = core::str::from_utf8(text).unwrap();
    assert!(!text.contains('\\'), "nothing in it has to be escaped");
    let mut inside = false;
    let mut escaped = String::new();
    for character in text.chars() {
        if character == '"' {
            inside = !inside;
        }
        match style(character) {
            Some(escape) if inside && character != '"' => escaped += &escape,
            _ => escaped.push(character),
        }
    }
    let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(read(text), read(&escaped));
    escaped.into_bytes()
}

#[test]
fn requests_come_in_the_style_of_every_encoder() {
    for (name, style) in STYLES {
        for case in Case::all() {
            for by_key_id in [false, true] {
                let layers = Layers::of(case);
                let message = layers.assemble_with(by_key_id, |_, text| escaped(&text, style));
                let mut device = Device::from(&home().snapshot);
                let what = format!("{name}: {case:?}");
                assert_eq!(verdict(&what, &device.process(&message).unwrap()), None, "{what}");
                assert!(device.world.snapshot() != home().snapshot, "{what}");
            }
        }
    }
}

#[test]
fn names_beyond_ascii_are_the_same_in_every_style() {
    let domain = "caf\u{e9} \u{20ac} \u{1f3e6}/<a&b>";
    let raw: (&str, Style) = ("UTF-8", |_| None);
    for (name, style) in [raw].into_iter().chain(STYLES) {
        let mut layers = Layers::of(Case::Command(Base::CreateSd));
        let mut content: Value = serde_json::from_slice(layers.content.as_ref().unwrap()).unwrap();
        content["sdname"] = json!(domain);
        layers.content = Some(content.to_string().into_bytes());
        layers.tbs.insert("rid".into(), json!("request \u{1f4a1} 1/1"));
        let message = layers.assemble_with(false, |_, text| escaped(&text, style));
        let mut device = Device::from(&home().snapshot);
        let reply = device.process(&message).unwrap();
        assert_eq!(verdict(name, &reply), None, "{name}");
        let list = device.state(&pki().tam).dsi.tee.sdlist.sd;
        assert!(list.iter().any(|sd| sd.name == domain), "{name}: {list:?}");
        // The answer repeats the value, and needs no escape for it.
        let outer: Value = serde_json::from_slice(&reply).unwrap();
        let payload = outer["CreateSDResponse"]["payload"].as_str().unwrap();
        let payload = otrp_tam::encoding::from_base64url(payload).unwrap();
        let payload: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(payload["CreateSDTBSResponse"]["rid"], "request \u{1f4a1} 1/1", "{name}");
    }
}

#[test]
fn a_query_comes_in_the_style_of_every_encoder() {
    let mut device = Device::from(&home().snapshot);
    let key = device.state(&pki().tam).attestation_key(SP).unwrap().public_key().unwrap();
    for (name, style) in STYLES {
        let mut query = escaped(&ta_query(SP, TA), style);
        let answer = device.engine.ta_information(&mut query, &mut device.reply).unwrap();
        let information = TaInformation::verify(answer, &key).unwrap();
        assert_eq!(information.signercert, base64(&home().certificate), "{name}");
    }
}

/// A string of each text of a command, and what is said of one that is malformed.
const PLACES: [(Layer, &str, Expect); 8] = [
    (Layer::Message, "\"payload\":\"", BAD),
    (Layer::Message, "\"x5c\":[\"", BAD),
    (Layer::MessageByKeyId, "\"kid\":\"", BAD),
    (Layer::Protected, "\"alg\":\"", BAD),
    (Layer::Payload, "\"rid\":\"", BAD),
    (Layer::Payload, "\"dsihash\":\"", BAD),
    (Layer::ContentHeader, "\"enc\":\"", BAD),
    (Layer::Content, "\"sdname\":\"", BAD),
];

/// A command that begins a string with `begin`, and what must become of it.
fn check(refusals: &mut Refusals, (layer, place, expected): (Layer, &str, Expect), begin: &str) {
    let layers = Layers::of(Case::Command(Base::InstallTa));
    let message = layers.assemble_with(layer == Layer::MessageByKeyId, |this, text| {
        if this != layer {
            return text;
        }
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains(place), "{place}");
        text.replacen(place, &format!("{place}{begin}"), 1).into_bytes()
    });
    refuse(refusals, &format!("{layer:?}, {place}{begin}"), &message, (layer, expected));
}

fn refuse(refusals: &mut Refusals, what: &str, message: &[u8], (layer, expected): (Layer, Expect)) {
    let reply = refusals.unchanged(what, message).unwrap();
    let (form, code) = verdict(what, &reply).unwrap_or_else(|| panic!("accepted: {what}"));
    assert_eq!(
        Some((form, code.as_str())),
        expected.refusal(Case::Command(Base::InstallTa), layer),
        "{what}"
    );
}

#[test]
fn each_malformed_escape_is_refused_in_every_text() {
    let mut refusals = Refusals::begin();
    for place in PLACES {
        for escape in [
            "\\x",
            "\\a",
            "\\0",
            "\\'",
            "\\U0041",
            "\\u ",
            "\\u00 ",
            "\\u00g1",
            "\\u+041",
            "\\ud83d",
            "\\ud83dx",
            "\\ud83d\\n",
            "\\ud83d\\u0041",
            "\\ude00",
            "\\\n",
            "\n",
            "\u{7f}",
        ] {
            check(&mut refusals, place, escape);
        }
    }
    refusals.end(Base::InstallTa);
}

/// Once decoded, a value has to keep the rules of its member.
#[test]
fn what_an_escape_stands_for_keeps_the_rules_of_its_member() {
    let mut refusals = Refusals::begin();
    for (layer, place, expected) in PLACES {
        // Identifiers refuse them, base64 has none, and no algorithm is called so.
        let expected = match layer {
            Layer::Protected | Layer::ContentHeader => Expect::Open("ERR_UNSUPPORTED_CRYPTO_ALG"),
            // The signature is over the value.
            Layer::Message if place.contains("payload") => Expect::Open("ERR_TAM_NOT_TRUSTED"),
            _ => expected,
        };
        for escape in ["\\u0000", "\\n", "\\u007f", "\\\"", "\\u0022", "\\\\", "\\u005C"] {
            check(&mut refusals, (layer, place, expected), escape);
        }
    }
    refusals.end(Base::InstallTa);
}

/// A name that is written in another way is the same name.
#[test]
fn a_member_is_a_duplicate_however_it_is_written() {
    let mut refusals = Refusals::begin();
    for (layer, name, expected) in [
        (Layer::Message, "payload", BAD),
        (Layer::Message, "header", BAD),
        (Layer::Protected, "alg", BAD),
        (Layer::Payload, "ver", BAD),
        (Layer::Payload, "encrypted_ta", BAD),
        (Layer::ContentHeader, "enc", BAD),
        (Layer::Content, "tamid", BAD),
    ] {
        let layers = Layers::of(Case::Command(Base::InstallTa));
        let message = layers.assemble_with(false, |this, text| {
            if this != layer {
                return text;
            }
            // The member again, in front of itself.
            let text = String::from_utf8(text).unwrap();
            let start = text.find(&format!("\"{name}\":")).unwrap();
            let value = &text[start + name.len() + 3..];
            let value = serde_json::Deserializer::from_str(value).into_iter::<Value>().next();
            let again: String = name.chars().map(|character| units(character, false)).collect();
            let again = format!("\"{again}\":{},", value.unwrap().unwrap());
            [&text[..start], &again, &text[start..]].concat().into_bytes()
        });
        refuse(&mut refusals, &format!("{layer:?}: {name}"), &message, (layer, expected));
    }
    refusals.end(Base::InstallTa);
}
