//! Refusals: each an accepted request with one thing changed, and the code that it must get.

use std::rc::Rc;

use openssl::symm::{Cipher, encrypt_aead};
use openssl::x509::X509;
use otrp_engine::platform::KeyType;
use otrp_keys::certificate::{Identity as Signer, Purpose, Template, Validity, generate_p256};
use otrp_keys::ocsp::{Period, Statement, Status};
use otrp_keys::{Uuid, image};
use otrp_sim::World;
use otrp_tam::Identity;
use otrp_tam::jose::{ContentEncryption, ContentKey, Jwe, KeyManagement};
use otrp_tam::request::{
    Application, Builder, Command, Request, SdChanges, SignerHeader, TaEncryption, Target,
};
use p256::ecdsa::VerifyingKey;
use serde_json::{Map, Value, json};

use crate::bench::{
    Device, Refused, base64, base64url, boot_simulator, der, elf, now, pki, sha256, signed,
    stapled_below_authority, uuid,
};
use crate::home::Answer::{Anonymous, Open, Sealed};
use crate::home::*;

const INVALID: &str = "ERR_REQUEST_INVALID";
const UNSUPPORTED: &str = "ERR_UNSUPPORTED_CRYPTO_ALG";
const UNTRUSTED: &str = "ERR_TAM_NOT_TRUSTED";
const UNAUTHORIZED: &str = "ERR_TAM_NOT_AUTHORIZED";
const MISMATCH: &str = "ERR_DEV_STATE_MISMATCH";
const TA_INVALID: &str = "ERR_TA_INVALID";
const SD_NOT_FOUND: &str = "ERR_SD_NOT_FOUND";

/// A mutation of a JSON value.
type Edit = fn(&mut Value);
/// A mutation of the members of an object.
type EditMembers = fn(&mut Map<String, Value>);

/// Issues a leaf for a new key: the identity of a TAM under the issuing CA.
fn tam(purpose: Purpose, validity: Validity, uri: Option<&str>) -> Identity {
    let key = generate_p256().unwrap();
    let leaf = Template {
        organization: "OTrP tests (not for production)",
        common_name: "A TAM of a test",
        purpose,
        validity,
        uri,
    }
    .issue(&key, &pki().tam_authority)
    .unwrap();
    let mut chain = pki().tam.chain().to_vec();
    chain[0] = leaf;
    stapled_below_authority(Identity::new(key, chain, Some(pki().tam.tam_id())).unwrap())
}

// ---- the TAM: its path, its header, its signature -------------------------------------------

#[test]
fn tams_that_no_anchor_vouches_for() {
    let mut refusals = Refusals::begin();
    let day = 86_400;
    let now = i64::try_from(now()).unwrap();
    let id = Some(pki().tam.tam_id());
    let valid = Validity::years(1);
    let expired = Validity { not_before: now - 30 * day, not_after: now - 60 };
    let future = Validity { not_before: now + day, not_after: now + 30 * day };
    let authority = &pki().tam_authority;
    let chain = |certificates: &[&X509]| certificates.iter().map(|one| (*one).clone()).collect();
    let [leaf, issuing, root] = pki().tam.chain() else { panic!("the chain is another") };
    let rogue = pki().rogue_tam.chain();
    let with_chain =
        |chain: Vec<X509>| Identity::new(pki().tam.key().to_owned(), chain, None).unwrap();
    let rogue_key = || pki().rogue_tam.key().to_owned();
    let grafted = Identity::new(rogue_key(), chain(&[&rogue[0], issuing, root]), None).unwrap();
    let as_ca = vec![authority.certificate.clone(), root.clone()];
    let as_ca = Identity::new(authority.key.clone(), as_ca, id).unwrap();
    let rows = [
        ("a rogue root", Identity::new(rogue_key(), rogue.to_vec(), None).unwrap()),
        ("a rogue leaf under the true CA's name", grafted),
        ("an expired leaf", tam(Purpose::Party, expired, id)),
        ("a leaf that is not valid yet", tam(Purpose::Party, future, id)),
        ("a leaf without an identifier", tam(Purpose::Party, valid, None)),
        ("a leaf that signs code", tam(Purpose::TaSigning, valid, id)),
        ("a leaf that is an authority", tam(Purpose::IssuingAuthority, valid, id)),
        ("the issuing CA itself", as_ca),
        ("no intermediate", with_chain(chain(&[leaf, root]))),
        ("the leaf alone", with_chain(chain(&[leaf]))),
        ("the wrong order", with_chain(chain(&[leaf, root, issuing]))),
        ("the leaf twice", with_chain(chain(&[leaf, leaf, issuing, root]))),
        ("the intermediate twice", with_chain(chain(&[leaf, issuing, issuing, root]))),
        ("another root behind it", with_chain(chain(&[leaf, issuing, root, &rogue[1]]))),
    ];
    for (what, identity) in rows {
        for request in [
            Builder::device_state(&identity),
            Builder::command(&identity, &home().target, Base::DeleteTa.command()),
        ] {
            let request = request.build().unwrap();
            refusals.anonymous(what, UNTRUSTED, &request.message);
        }
    }
    refusals.end(Base::DeleteTa);
}

#[test]
fn a_clock_set_back_revives_nobody() {
    let now = i64::try_from(now()).unwrap();
    // Expired before the broker was built.
    let expired = Validity { not_before: now - 7200, not_after: now - 3600 };
    let identity = tam(Purpose::Party, expired, Some(pki().tam.tam_id()));
    let mut device = Device::from(&home().snapshot);
    *device.world.clock.borrow_mut() = u64::try_from(now - 5000).unwrap();
    let request = Builder::device_state(&identity).build().unwrap();
    assert_eq!(device.refusal(&request.message).code.as_deref(), Some(UNTRUSTED));
    // While one whose clock runs ahead finds everybody expired.
    *device.world.clock.borrow_mut() = u64::MAX;
    let request = Builder::device_state(&pki().tam).build().unwrap();
    assert_eq!(device.refusal(&request.message).code.as_deref(), Some(UNTRUSTED));
}

#[test]
fn signers_that_are_not_shown_as_they_must_be() {
    let mut refusals = Refusals::begin();
    let stranger = tam(Purpose::Party, Validity::years(1), Some("https://stranger.example/"));
    for header in [SignerHeader::KeyId, SignerHeader::Absent] {
        let request = Builder::device_state(&stranger).signer(header).build().unwrap();
        refusals.anonymous("a stranger without certificates", UNTRUSTED, &request.message);
    }
    let header = |header: Value| {
        Base::DeleteTa.builder().edit_message(move |message| {
            message["DeleteTARequest"]["header"] = header;
        })
    };
    let x5c = pki().tam.x5c().unwrap();
    let other = pki().other_tam.x5c().unwrap();
    let kid = |certificate: &X509| base64url(&sha256(&der(certificate)));
    let (tam_kid, other_kid) = (kid(&pki().tam.chain()[0]), kid(&pki().other_tam.chain()[0]));
    let mut many = x5c.clone();
    many.resize(6, x5c[2].clone());
    let rows = [
        ("another TAM's chain", UNTRUSTED, json!({ "x5c": other })),
        ("another TAM's kid", UNTRUSTED, json!({ "kid": other_kid })),
        ("the leaf alone as signer", UNTRUSTED, json!({ "signer": x5c[0] })),
        ("a kid that nobody has", UNTRUSTED, json!({ "kid": base64url(&[7; 32]) })),
        ("a short kid", INVALID, json!({ "kid": base64url(&[7; 31]) })),
        ("a kid with padding", INVALID, json!({ "kid": tam_kid.clone() + "=" })),
        ("x5c and signer", INVALID, json!({ "x5c": x5c, "signer": x5c[0] })),
        ("too many certificates", INVALID, json!({ "x5c": many })),
        ("not a certificate", UNTRUSTED, json!({ "x5c": ["AAAA"] })),
        ("an empty certificate", UNTRUSTED, json!({ "x5c": [""] })),
        (
            "two certificates in one",
            UNTRUSTED,
            json!({ "x5c": [
            base64(&[der(&pki().tam.chain()[0]), der(&pki().tam.chain()[1])].concat()),
            x5c[2]
        ] }),
        ),
        ("certificates that are not base64", INVALID, json!({ "x5c": ["%%%%"] })),
        ("PEM", INVALID, json!({ "x5c": ["-----BEGIN CERTIFICATE-----"] })),
        ("a number", INVALID, json!({ "x5c": 7 })),
        ("another header", INVALID, json!({ "x5c": x5c, "jku": "https://example.org" })),
        ("an algorithm outside", INVALID, json!({ "x5c": x5c, "alg": "ES256" })),
    ];
    for (what, code, value) in rows {
        refusals.refused(what, code, Anonymous, header(value));
    }
    refusals.end(Base::DeleteTa);
}

#[test]
fn signatures_and_algorithms() {
    let mut refusals = Refusals::begin();
    let protected = |text: &'static str| {
        Base::CreateSd.builder().edit_protected(move |bytes| *bytes = text.into())
    };
    for (what, code, text) in [
        ("alg none", UNSUPPORTED, r#"{"alg":"none"}"#),
        ("alg None", UNSUPPORTED, r#"{"alg":"None"}"#),
        ("RS256 by a key on a curve", UNTRUSTED, r#"{"alg":"RS256"}"#),
        ("PS256", UNSUPPORTED, r#"{"alg":"PS256"}"#),
        ("HS256", UNSUPPORTED, r#"{"alg":"HS256"}"#),
        ("ES384", UNSUPPORTED, r#"{"alg":"ES384"}"#),
        ("es256", UNSUPPORTED, r#"{"alg":"es256"}"#),
        ("no algorithm", INVALID, "{}"),
        ("an empty header", INVALID, ""),
        ("two algorithms", INVALID, r#"{"alg":"ES256","alg":"ES256"}"#),
        ("a critical extension", INVALID, r#"{"alg":"ES256","crit":["b64"],"b64":false}"#),
        ("something behind the header", INVALID, r#"{"alg":"ES256"} {}"#),
        ("a number for an algorithm", INVALID, r#"{"alg":256}"#),
    ] {
        refusals.refused(what, code, Anonymous, protected(text));
    }
    let without = |signature: &'static str| {
        Base::CreateSd
            .builder()
            .edit_protected(|bytes| *bytes = br#"{"alg":"none"}"#.into())
            .edit_message(move |message| message["CreateSDRequest"]["signature"] = signature.into())
    };
    refusals.refused("alg none without a signature", UNSUPPORTED, Anonymous, without(""));
    let jws = |edit: fn(&mut Map<String, Value>)| {
        Base::CreateSd.builder().edit_message(move |message| {
            edit(message["CreateSDRequest"].as_object_mut().unwrap());
        })
    };
    let rows: [(&str, &str, EditMembers); 9] = [
        ("no signature", UNTRUSTED, |jws| drop(jws.insert("signature".into(), "".into()))),
        ("a zero signature", UNTRUSTED, |jws| {
            jws.insert("signature".into(), base64url(&[0; 64]).into());
        }),
        ("a signature in DER", UNTRUSTED, |jws| {
            jws.insert("signature".into(), base64url(&[0x30, 6, 2, 1, 1, 2, 1, 1]).into());
        }),
        ("padding", UNTRUSTED, |jws| {
            let text = String::from(jws["payload"].as_str().unwrap()) + "=";
            jws.insert("payload".into(), text.into());
        }),
        ("the member signature missing", INVALID, |jws| drop(jws.remove("signature"))),
        ("the member payload missing", INVALID, |jws| drop(jws.remove("payload"))),
        ("the member protected missing", INVALID, |jws| drop(jws.remove("protected"))),
        ("an unknown member", INVALID, |jws| drop(jws.insert("extra".into(), "".into()))),
        ("a general JWS", INVALID, |jws| {
            let signature = json!({
                "protected": jws.remove("protected"), "header": jws.remove("header"),
                "signature": jws.remove("signature")
            });
            jws.insert("signatures".into(), json!([signature]));
        }),
    ];
    for (what, code, edit) in rows {
        refusals.refused(what, code, Anonymous, jws(edit));
    }
    let compact = Base::CreateSd.builder().edit_message(|message| {
        let jws = message["CreateSDRequest"].clone();
        let part = |name: &str| String::from(jws[name].as_str().unwrap());
        let text = [part("protected"), part("payload"), part("signature")].join(".");
        message["CreateSDRequest"] = text.into();
    });
    refusals.refused("a compact JWS", INVALID, Anonymous, compact);
    let renamed = Base::DeleteTa.builder().edit_message(|message| {
        *message = json!({ "DeleteSDRequest": message["DeleteTARequest"].take() });
    });
    refusals.refused("another name outside", INVALID, Open, renamed);
    let two = Base::DeleteTa.builder().edit_message(|message| {
        message["DeleteSDRequest"] = message["DeleteTARequest"].clone();
    });
    refusals.refused("two requests in one", INVALID, Anonymous, two);
    let state = Builder::device_state(&pki().tam);
    let state = state.edit_tbs(|tbs| drop(tbs.insert("supportedsigalgs".into(), "RS256".into())));
    let state = state.build().unwrap();
    let refused =
        refusals.open("an answer that the TAM cannot verify", UNSUPPORTED, &state.message);
    assert_eq!(refused.algorithms, Some(json!(["ES256"])));
    assert_eq!(refused.tid, state.exchange.tid);
    refusals.end(Base::CreateSd);
}

// ---- what a refusal reveals to a stranger ---------------------------------------------------

/// Requests that are refused before it is known who signed them, and the code.
fn from_strangers() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let stranger = tam(Purpose::Party, Validity::years(1), Some("https://stranger.example/"));
    let message = |builder: Builder<'_>| builder.build().unwrap().message;
    let state = |identity| Builder::device_state(identity);
    // By nobody's key, over what is signed: 64 octets that are a signature of P-256.
    let broken = |builder: Builder<'_>| {
        message(builder.edit_message(|message| {
            let jws = message.as_object_mut().unwrap().values_mut().next().unwrap();
            jws["signature"] = base64url(&[1; 64]).into();
        }))
    };
    let header = |builder: Builder<'_>, text: &'static str| {
        message(builder.edit_protected(move |bytes| *bytes = text.into()))
    };
    let (known, other) = (&pki().tam, &pki().other_tam);
    let by = |identity, signer| state(identity).signer(signer);
    vec![
        ("nothing", INVALID, br#"{"GetDeviceStateRequest":{}}"#.to_vec()),
        ("an algorithm", UNSUPPORTED, header(state(known), r#"{"alg":"none"}"#)),
        ("no algorithm", INVALID, header(state(known), "{}")),
        ("a rogue root", UNTRUSTED, message(state(&pki().rogue_tam))),
        ("a wrong signature", UNTRUSTED, broken(state(known))),
        ("an unknown kid", UNTRUSTED, message(by(&stranger, SignerHeader::KeyId))),
        ("an unknown kid, broken", UNTRUSTED, broken(by(&stranger, SignerHeader::KeyId))),
        ("a known kid, broken", UNTRUSTED, broken(by(known, SignerHeader::KeyId))),
        ("another known kid, broken", UNTRUSTED, broken(by(other, SignerHeader::KeyId))),
        ("a stranger without a name", UNTRUSTED, message(by(&stranger, SignerHeader::Absent))),
        ("no name, broken", UNTRUSTED, broken(by(known, SignerHeader::Absent))),
        // Whose path is good, and who is not in good standing.
        ("no responses", UNTRUSTED, message(state(&known.clone().staple(vec![])))),
        ("a revoked TAM", UNTRUSTED, message(state(&revoked()))),
        ("a command of a TAM that was never met", UNTRUSTED, {
            let stranger = stapled_below_authority(stranger.clone());
            message(Builder::command(&stranger, &home().target, Base::DeleteTa.command()))
        }),
    ]
}

/// A TAM that its authority says is revoked.
fn revoked() -> Identity {
    let tam = tam(Purpose::Party, Validity::years(1), Some("https://revoked.example/"));
    let statement = |place: usize, issuer: &Signer, status| {
        let (certificate, period) = (&tam.chain()[place], Period::hours(24));
        Statement { certificate, issuer: &issuer.certificate, status, period }.sign(issuer).unwrap()
    };
    let leaf = statement(0, &pki().tam_authority, Status::Revoked);
    let authority = statement(1, &pki().tam_root, Status::Good);
    tam.staple(vec![leaf, authority])
}

#[test]
fn refusals_to_strangers_have_no_signer_in_common() {
    for key_type in [KeyType::P256, KeyType::Rsa2048] {
        let world = World::new(now());
        world.key_type.set(key_type);
        let mut device = Device::on(world, Rc::new(boot_simulator));
        device.provision();
        device.state(&pki().tam);
        device.state(&pki().other_tam);
        let key = device.certificate().public_key().unwrap();
        let mut seen: Vec<VerifyingKey> = Vec::new();
        let from_strangers = from_strangers();
        for (what, code, message) in from_strangers.iter().chain(&from_strangers) {
            let refused = Refused::read(&device.process(message).unwrap(), &key);
            assert!(!refused.by_tee && refused.code.as_deref() == Some(*code), "{what}");
            // An RSA TEE would be known by another algorithm.
            assert!(!refused.signers.is_empty(), "{what}");
            for signer in refused.signers {
                assert!(!seen.contains(&signer), "{what} is signed as another refusal is");
                seen.push(signer);
            }
        }
    }
    // The measure itself: two refusals to a TAM that is trusted have the TEE's key in common.
    let mut refusals = Refusals::begin();
    let mut signers = || {
        let request = Base::DeleteTa.builder().tee("another").build().unwrap();
        refusals.open("another TEE", INVALID, &request.message).signers
    };
    let (first, second) = (signers(), signers());
    let common: Vec<_> = first.iter().filter(|key| second.contains(key)).collect();
    let point = home().target.certificate.public_key().unwrap().public_key_to_der().unwrap();
    assert!(matches!(common[..], [key] if point.ends_with(key.to_sec1_point(false).as_bytes())));
}

#[test]
fn a_stranger_cannot_tell_which_tams_are_known() {
    let mut device = Device::from(&home().snapshot);
    device.state(&pki().tam);
    let mut texts = Vec::new();
    let mut work = Vec::new();
    for (what, code, message) in from_strangers() {
        device.world.faults.clear();
        let refused = device.refusal(&message);
        if code != UNTRUSTED {
            continue;
        }
        // A command is answered under its own name.
        texts.push(refused.text.replace("DeleteTATBS", "GetDeviceTEEStateTBS"));
        if what.contains("kid") {
            work.push((what, device.world.faults.operations()));
        }
    }
    texts.dedup();
    let expected = format!(
        r#"{{"GetDeviceTEEStateTBSResponse":{{"ver":"1.0","status":"fail","rid":"","tid":"","reason":{{"error-code":"{UNTRUSTED}","error-message":"{}"}}}}}}"#,
        otrp_wire::ErrorCode::TamNotTrusted.message()
    );
    assert_eq!(texts, [expected], "one answer, whatever is wrong");
    // Nor by what the device does meanwhile: it loads its record, draws the key of the message's tags, loads one
    // chain, and draws the refusal's signature.
    for (what, operations) in work {
        let names: Vec<_> = operations.iter().map(|operation| operation.name).collect();
        assert_eq!(
            names,
            ["store.load", "rng.fill", "store.read", "rng.fill", "rng.fill"],
            "{what}"
        );
    }
}

// ---- the content: decryption, addressee, state ----------------------------------------------

/// Replaces the content by this plaintext under the named algorithms.
fn with_content(
    base: Base,
    plaintext: Vec<u8>,
    edit: impl FnOnce(&mut Value) + 'static,
) -> Builder<'static> {
    base.builder().edit_tbs(move |tbs| {
        let key = ContentKey::random(ContentEncryption::A128CbcHs256).unwrap();
        let recipient = home().target.certificate.public_key().unwrap();
        let jwe = Jwe::seal(&plaintext, &key, KeyManagement::EcdhEsA128Kw, &recipient).unwrap();
        let mut content = serde_json::to_value(jwe).unwrap();
        edit(&mut content);
        tbs.insert("content".into(), content);
    })
}

#[test]
fn contents_that_cannot_be_decrypted() {
    let mut refusals = Refusals::begin();
    let content = |edit: fn(&mut Value)| {
        Base::DeleteSd.builder().edit_tbs(move |tbs| edit(&mut tbs["content"]))
    };
    let header = |name: &'static str| -> fn(&mut Value) {
        match name {
            "dir" => |jwe| jwe["recipients"][0]["header"]["alg"] = "dir".into(),
            "ECDH-ES" => |jwe| jwe["recipients"][0]["header"]["alg"] = "ECDH-ES".into(),
            "RSA1_5" => |jwe| jwe["recipients"][0]["header"]["alg"] = "RSA1_5".into(),
            _ => |jwe| jwe["recipients"][0]["header"]["alg"] = "none".into(),
        }
    };
    for name in ["dir", "ECDH-ES", "RSA1_5", "none"] {
        refusals.refused(name, UNSUPPORTED, Open, content(header(name)));
    }
    let rows: [(&str, &str, Edit); 14] = [
        ("A192GCM", UNSUPPORTED, |jwe| {
            jwe["protected"] = base64url(br#"{"enc":"A192GCM"}"#).into();
        }),
        ("another enc", INVALID, |jwe| {
            jwe["protected"] = base64url(br#"{"enc":"A256GCM"}"#).into();
        }),
        ("no enc", INVALID, |jwe| jwe["protected"] = base64url(b"{}").into()),
        ("enc outside", INVALID, |jwe| {
            jwe["protected"] = base64url(b"{}").into();
            jwe["recipients"][0]["header"]["enc"] = "A128CBC-HS256".into();
        }),
        ("compression", INVALID, |jwe| {
            jwe["protected"] = base64url(br#"{"enc":"A128CBC-HS256","zip":"DEF"}"#).into();
        }),
        ("no recipient", INVALID, |jwe| jwe["recipients"] = json!([])),
        ("two recipients", INVALID, |jwe| {
            let recipient = jwe["recipients"][0].clone();
            jwe["recipients"] = json!([recipient, recipient]);
        }),
        ("no algorithm", INVALID, |jwe| {
            jwe["recipients"][0]["header"].as_object_mut().unwrap().remove("alg");
        }),
        ("no ephemeral key", INVALID, |jwe| {
            jwe["recipients"][0]["header"].as_object_mut().unwrap().remove("epk");
        }),
        ("an ephemeral key on another curve", INVALID, |jwe| {
            jwe["recipients"][0]["header"]["epk"]["crv"] = "P-384".into();
        }),
        ("an ephemeral key off the curve", INVALID, |jwe| {
            jwe["recipients"][0]["header"]["epk"]["y"] = base64url(&[1; 32]).into();
        }),
        ("the point at zero", INVALID, |jwe| {
            jwe["recipients"][0]["header"]["epk"]["x"] = base64url(&[0; 32]).into();
            jwe["recipients"][0]["header"]["epk"]["y"] = base64url(&[0; 32]).into();
        }),
        ("a short tag", INVALID, |jwe| {
            let tag = String::from(jwe["tag"].as_str().unwrap());
            jwe["tag"] = tag[..20].into();
        }),
        ("a wrapped key that is too long for any", INVALID, |jwe| {
            jwe["recipients"][0]["encrypted_key"] = base64url(&[7; 80]).into();
        }),
    ];
    for (what, code, edit) in rows {
        refusals.refused(what, code, Open, content(edit));
    }
    // The content of another request of this TAM, under the right key, is a content of this one
    // only if the members are those of this one.
    let plaintext = br#"{"tamid":"x"}"#.to_vec();
    refusals.refused(
        "a content too short",
        INVALID,
        Open,
        with_content(Base::DeleteSd, plaintext, |jwe| {
            jwe["ciphertext"] = "".into();
        }),
    );
    refusals.end(Base::DeleteSd);
}

#[test]
fn requests_for_something_else() {
    let mut refusals = Refusals::begin();
    for base in Base::ALL {
        refusals.refused("another TEE", INVALID, Open, base.builder().tee("trusty"));
        refusals.refused("a TEE in other case", INVALID, Open, base.builder().tee("OPTEE"));
        let version = base.builder().edit_tbs(|tbs| drop(tbs.insert("ver".into(), "2.0".into())));
        let version = version.build().unwrap();
        let refused = refusals.open("version 2.0", "ERR_UNSUPPORTED_MSG_VERSION", &version.message);
        let Request { exchange, .. } = version;
        assert_eq!((refused.rid, refused.tid), (exchange.rid, exchange.tid));
    }
    let version = Builder::device_state(&pki().tam)
        .edit_tbs(|tbs| drop(tbs.insert("ver".into(), "1".into())));
    // Its standing is in what cannot be read.
    refusals.refused("version 1", "ERR_UNSUPPORTED_MSG_VERSION", Anonymous, version);
    for device_id in [base64(&[7; 32]), base64(&[7; 31]), String::new(), String::from("%")] {
        let request = Base::CreateSd.builder().device_id(device_id);
        refusals.refused("another device", INVALID, Sealed, request);
    }
    refusals.end(Base::CreateSd);
}

#[test]
fn states_that_are_not_the_current_one() {
    let mut refusals = Refusals::begin();
    for base in Base::ALL {
        let current = home().target.dsi_hash.clone();
        let foreign = home().other_target.dsi_hash.clone();
        let mut flipped = otrp_tam::encoding::from_base64(&current).unwrap();
        flipped[31] ^= 1;
        for (what, hash) in [
            ("another TAM's state", foreign),
            ("no state", base64(&[0; 32])),
            ("a state that differs in a bit", base64(&flipped)),
        ] {
            refusals.refused(what, MISMATCH, Open, base.builder().dsi_hash(hash));
        }
        for hash in [String::new(), base64(&[7; 31]), base64(&[7; 33]), String::from("%%%")] {
            refusals.refused("not a hash", INVALID, Open, base.builder().dsi_hash(hash));
        }
    }
    let stranger = tam(Purpose::Party, Validity::years(1), Some("https://stranger.example/"));
    let stranger_command = Builder::command(&stranger, &home().target, Base::CreateSd.command())
        .tam_id("https://stranger.example/");
    refusals.refused("a TAM that was given none", UNTRUSTED, Anonymous, stranger_command);
    refusals.end(Base::UpdateSd);
}

#[test]
fn states_that_are_over() {
    let tam = &pki().tam;
    let mut device = Device::from(&home().snapshot);
    let old = home().target.clone();
    // Being asked again gives a new state, also where nothing has changed.
    let current = Target::from(&device.state(tam));
    assert_ne!(current.dsi_hash, old.dsi_hash);
    let from_old = Builder::command(tam, &old, Base::DeleteTa.command());
    assert_eq!(device.fail(tam, from_old), MISMATCH);
    // A change without `nextdsi` leaves no state to build on.
    device.pass(tam, Builder::command(tam, &current, Base::CreateSd.command()).next_dsi(false));
    for target in [&old, &current] {
        let request = Builder::command(tam, target, Base::DeleteTa.command());
        assert_eq!(device.fail(tam, request), MISMATCH);
    }
    device.reboot();
    let request = Builder::command(tam, &current, Base::DeleteTa.command());
    assert_eq!(device.fail(tam, request), MISMATCH);
    device.carry_out(tam, Base::DeleteTa.command());
}

// ---- ownership, and commands that do not fit the state --------------------------------------

#[test]
fn domains_of_others() {
    let mut refusals = Refusals::begin();
    // As if it had spied on the other TAM's state.
    let mut spy = home().target.clone();
    spy.attestation_keys.extend(home().other_target.attestation_keys.clone());
    let image = signed(&pki().sp_rsa, FREE_UUID, 1);
    let update = signed(&pki().sp_rsa, uuid(2), 2);
    let into = |taid, image| Application {
        spid: OTHER_SP,
        domain: OTHER_DOMAIN,
        ..application(taid, image)
    };
    let changes = SdChanges { new_name: Some("ours"), ..SdChanges::default() };
    let commands = [
        Command::UpdateSd { spid: OTHER_SP, name: OTHER_DOMAIN, changes },
        Command::DeleteSd { spid: Some(OTHER_SP), name: OTHER_DOMAIN, delete_tas: true },
        Command::DeleteSd { spid: None, name: OTHER_DOMAIN, delete_tas: true },
        Command::DeleteTa { spid: Some(OTHER_SP), name: OTHER_DOMAIN, taid: OTHER_TA },
        Command::DeleteTa { spid: None, name: OTHER_DOMAIN, taid: OTHER_TA },
        Command::InstallTa(into("new", &image)),
        Command::UpdateTa(into(OTHER_TA, &update)),
    ];
    let tam = &pki().tam;
    for command in commands {
        let what = format!("{command:?}");
        let request = Builder::command(tam, &spy, command.clone());
        refusals.refused(&what, SD_NOT_FOUND, Sealed, request);
        let claim = Builder::command(tam, &spy, command).tam_id(pki().other_tam.tam_id());
        refusals.refused(&what, UNAUTHORIZED, Open, claim);
    }
    for base in Base::ALL {
        let claim = base.builder().tam_id(pki().other_tam.tam_id());
        refusals.refused("another TAM's name", UNAUTHORIZED, Open, claim);
        refusals.refused("no name", INVALID, Open, base.builder().tam_id(""));
    }
    refusals.end(Base::DeleteSd);
}

#[test]
fn commands_that_make_no_sense_here() {
    let mut refusals = Refusals::begin();
    let home = home();
    let signed_by = |signer: &Signer, uuid, version| &*signed(signer, uuid, version).leak();
    let ec = &pki().sp_ec;
    let foreign = Signer { key: generate_p256().unwrap(), certificate: ec.certificate.clone() };
    let install = |taid, image| Command::InstallTa(application(taid, image));
    let update = |taid, image| Command::UpdateTa(application(taid, image));
    let in_domain = |domain, spid| {
        Command::InstallTa(Application { domain, spid, ..application("new", &home.new_image) })
    };
    let rename = |name, spid, new_name, new_spid| {
        let changes = SdChanges { new_name, new_spid, ..SdChanges::default() };
        Command::UpdateSd { spid, name, changes }
    };
    let remove = |hash| {
        let changes = SdChanges { remove: vec![hash], ..SdChanges::default() };
        Command::UpdateSd { spid: SP, name: DOMAIN, changes }
    };
    let add = |certificate| {
        let changes = SdChanges { add: vec![certificate], ..SdChanges::default() };
        Command::UpdateSd { spid: SP, name: DOMAIN, changes }
    };
    let create = |name, certificate| Command::CreateSd { spid: SP, name, certificate };
    let mut broken = home.certificate.clone();
    *broken.last_mut().unwrap() ^= 1;
    let broken = &*broken.leak();
    let some_hash = &*hex::encode([7; 32]).leak();
    let short_hash = &some_hash[..62];
    let rows = [
        ("a domain that exists", "ERR_SD_ALREADY_EXISTS", create(DOMAIN, &home.certificate)),
        ("a broken certificate", "ERR_SPCERT_INVALID", create("new", broken)),
        ("no certificate", "ERR_SPCERT_INVALID", create("new", b"")),
        ("a cut certificate", "ERR_SPCERT_INVALID", create("new", &home.certificate[..100])),
        (
            "a domain with applications",
            "ERR_SD_NOT_EMPTY",
            Command::DeleteSd { spid: None, name: DOMAIN, delete_tas: false },
        ),
        (
            "no such domain",
            SD_NOT_FOUND,
            Command::DeleteSd { spid: None, name: "nowhere", delete_tas: true },
        ),
        (
            "a domain of another provider",
            SD_NOT_FOUND,
            Command::DeleteSd { spid: Some("nobody"), name: DOMAIN, delete_tas: true },
        ),
        (
            "a name that is taken",
            "ERR_SDNAME_ALREADY_USED",
            rename(DOMAIN, SP, Some(EMPTY_DOMAIN), None),
        ),
        (
            "another provider for what is installed",
            "ERR_SD_NOT_EMPTY",
            rename(DOMAIN, SP, None, Some("nobody")),
        ),
        (
            "another provider and name for what is installed",
            "ERR_SD_NOT_EMPTY",
            rename(DOMAIN, SP, Some("new"), Some(OTHER_SP)),
        ),
        ("a domain that is not there", SD_NOT_FOUND, rename("nowhere", SP, Some("x"), None)),
        ("a provider that is not there", SD_NOT_FOUND, rename(DOMAIN, "nobody", Some("x"), None)),
        ("a certificate that is not there", "ERR_SPCERT_INVALID", remove(some_hash)),
        ("not a hash", INVALID, remove(short_hash)),
        ("adding a broken certificate", "ERR_SPCERT_INVALID", add(broken)),
        ("installed already", "ERR_TA_ALREADY_INSTALLED", install(TA, &home.new_image)),
        ("not installed", "ERR_TA_NOT_FOUND", update("new", &home.newer_image)),
        (
            "nothing to delete",
            "ERR_TA_NOT_FOUND",
            Command::DeleteTa { spid: None, name: DOMAIN, taid: "new" },
        ),
        (
            "installed next door",
            "ERR_TA_NOT_FOUND",
            Command::DeleteTa { spid: None, name: EMPTY_DOMAIN, taid: TA },
        ),
        (
            "deleting from nowhere",
            SD_NOT_FOUND,
            Command::DeleteTa { spid: None, name: "nowhere", taid: TA },
        ),
        ("installing nowhere", SD_NOT_FOUND, in_domain("nowhere", SP)),
        ("our UUID under another name", TA_INVALID, install("new", &home.newer_image)),
        ("a UUID of another domain", TA_INVALID, install("new", signed_by(ec, uuid(2), 9))),
        ("an update to another UUID", TA_INVALID, update(TA, signed_by(ec, FREE_UUID, 9))),
        ("an update to a UUID of another", TA_INVALID, update(TA, signed_by(ec, uuid(2), 9))),
        ("a lower version", TA_INVALID, update(TA, signed_by(ec, uuid(1), 4))),
        (
            "a lower version after deletion",
            TA_INVALID,
            install("new", signed_by(ec, DELETED_UUID, 8)),
        ),
        ("a UUID of the TEE's own", TA_INVALID, install("new", signed_by(ec, RESERVED_UUID, 1))),
        (
            "a signer that is not the domain's",
            TA_INVALID,
            install("new", signed_by(&pki().sp_rsa, FREE_UUID, 1)),
        ),
        ("a foreign key", TA_INVALID, install("new", signed_by(&foreign, FREE_UUID, 1))),
        (
            "a foreign key under our certificate",
            TA_INVALID,
            Command::InstallTa(Application {
                certificate: Some(&home.certificate),
                ..application("new", signed_by(&foreign, FREE_UUID, 1))
            }),
        ),
        (
            "a signer with a broken certificate",
            "ERR_SPCERT_INVALID",
            Command::InstallTa(Application {
                certificate: Some(broken),
                ..application("new", &home.new_image)
            }),
        ),
    ];
    for (what, code, command) in rows {
        refusals.refused(what, code, Sealed, from_tam(command));
    }
    let nameless = [
        ("no name", create("", &home.certificate)),
        ("an empty new name", rename(DOMAIN, SP, Some(""), None)),
        ("an empty new provider", rename(DOMAIN, SP, None, Some(""))),
        ("no name for the application", install("", &home.new_image)),
    ];
    for (what, command) in nameless {
        refusals.refused(what, INVALID, Open, from_tam(command));
    }
    // A provider that has no key here has no domain either: `SP` is asked for under a key of ours.
    let mut target = home.target.clone();
    target.attestation_keys[0].spid = "nobody".into();
    let request = Builder::command(&pki().tam, &target, in_domain(DOMAIN, "nobody"));
    refusals.refused("a provider not registered in the domain", TA_INVALID, Sealed, request);
    // The same version again, and the version that was deleted, are no lower ones.
    refusals.end(Base::UpdateTa);
    for command in
        [install("again", signed_by(ec, DELETED_UUID, 9)), update(TA, signed_by(ec, uuid(1), 5))]
    {
        let mut device = Device::from(&home.snapshot);
        device.pass(&pki().tam, from_tam(command));
    }
}

// ---- images and their encryption ------------------------------------------------------------

/// A program for the free UUID with one octet of its headers changed.
fn spoiled(place: usize, octet: u8) -> Vec<u8> {
    let mut elf = elf(FREE_UUID, 0, 1000);
    assert_ne!(elf[place], octet);
    elf[place] = octet;
    elf
}

/// A row of image defects: what, and the bytes.
fn defects() -> Vec<(String, Vec<u8>)> {
    let whole = &home().new_image;
    let changed = |what: &str, edit: fn(&mut Vec<u8>)| {
        let mut image = whole.clone();
        edit(&mut image);
        (String::from(what), image)
    };
    let signed_program = |what: &str, program: &[u8]| {
        let image = image::sign(&pki().sp_ec.key, None, Uuid(FREE_UUID), 1, program).unwrap();
        (String::from(what), image)
    };
    let mut defects = vec![
        changed("magic", |image| image[0] ^= 1),
        changed("legacy type", |image| image[4] = 0),
        changed("encrypted type", |image| image[4] = 2),
        changed("subkey type", |image| image[4] = 3),
        changed("a size below", |image| image[8] -= 1),
        changed("a size above", |image| image[8] += 1),
        changed("a huge size", |image| image[11] = 0xff),
        changed("algorithm", |image| image[12] ^= 1),
        changed("the algorithm of another key", |image| {
            image[12..16].copy_from_slice(&0x7041_4930_u32.to_le_bytes());
        }),
        changed("hash size", |image| image[16] = 20),
        changed("signature size", |image| image[18] -= 1),
        changed("a huge signature size", |image| image[19] = 0xff),
        changed("hash", |image| image[20] ^= 1),
        changed("signature, r", |image| image[52] ^= 1),
        changed("signature, s", |image| image[84] ^= 1),
        changed("zero signature", |image| image[52..116].fill(0)),
        changed("UUID", |image| image[116] ^= 1),
        changed("version", |image| image[132] ^= 1),
        changed("first byte of the program", |image| image[136] ^= 1),
        changed("last byte of the program", |image| *image.last_mut().unwrap() ^= 1),
        changed("a byte more", |image| image.push(0)),
        changed("twice", |image| image.extend(image.clone())),
        signed_program("not a program", b"#!/bin/sh\n"),
        signed_program("three bytes of a program", b"\x7fEL"),
        signed_program("a program of this machine", &std::fs::read("/bin/ls").unwrap()),
        signed_program("a program of another UUID", &elf(uuid(1), 0, 1000)),
        signed_program("a program for x86-64", &spoiled(18, 62)),
        signed_program("a program that is not linked", &spoiled(16, 1)),
        signed_program("a program without code", &spoiled(68, 4)),
        signed_program("a program without a segment", &spoiled(64, 2)),
        signed_program("a program that ends early", &elf(FREE_UUID, 0, 1000)[..999]),
        signed_program("a library of another UUID", &otrp_check::fixture::library(uuid(1))),
    ];
    // Every length up to the program, and a few in it.
    let lengths =
        (0..140).step_by(4).chain([1, 19, 135, 137]).chain((140..whole.len()).step_by(199));
    defects.extend(lengths.map(|length| (format!("cut to {length}"), whole[..length].into())));
    defects
}

#[test]
fn images_that_are_defective() {
    let mut refusals = Refusals::begin();
    for (what, image) in defects() {
        for (taid, install) in [("new", true), (TA, false)] {
            let application = application(taid, &image);
            let command = match install {
                true => Command::InstallTa(application),
                false => Command::UpdateTa(application),
            };
            let request = Builder::command(&pki().tam, &home().target, command);
            refusals.refused(&what, TA_INVALID, Sealed, request);
        }
    }
    refusals.end(Base::InstallTa);
}

#[test]
fn image_encryption_that_is_defective() {
    let mut refusals = Refusals::begin();
    let rows: [(&str, &str, TaEncryption, Edit); 22] = [
        ("one vector for two texts", TA_INVALID, TaEncryption::A256Gcm, |parts| {
            parts.as_object_mut().unwrap().remove("ivp");
        }),
        ("the same vector twice", TA_INVALID, TaEncryption::A256Gcm, |parts| {
            parts["ivp"] = parts["iv"].clone();
        }),
        ("the same vector in another case", TA_INVALID, TaEncryption::A256Gcm, |parts| {
            parts["iv"] = "AAAAAAAAAAAAAAAAAAAAAAAA".into();
            parts["ivp"] = "aaaaaaaaaaaaaaaaaaaaaaaa".into();
        }),
        ("a short vector", TA_INVALID, TaEncryption::A256Gcm, |parts| parts["iv"] = "00".into()),
        ("a long vector", TA_INVALID, TaEncryption::A256Gcm, |parts| {
            parts["iv"] = "00000000000000000000000000000000".into();
        }),
        ("a vector in base64", TA_INVALID, TaEncryption::AesCbc, |parts| {
            parts["iv"] = base64(&[7; 16]).into();
        }),
        ("a vector of the other algorithm", TA_INVALID, TaEncryption::AesCbc, |parts| {
            parts["ivp"] = "000000000000000000000000".into();
        }),
        ("the other algorithm", TA_INVALID, TaEncryption::AesCbc, |parts| {
            parts["alg"] = "A256GCM".into();
        }),
        ("an unknown algorithm", UNSUPPORTED, TaEncryption::AesCbc, |parts| {
            parts["alg"] = "AESECB".into();
        }),
        ("no algorithm", UNSUPPORTED, TaEncryption::AesCbc, |parts| parts["alg"] = "".into()),
        ("no ciphertext", TA_INVALID, TaEncryption::AesCbc, |parts| {
            parts["ciphertadata"] = "".into();
        }),
        ("not whole blocks", TA_INVALID, TaEncryption::AesCbc, |parts| {
            parts["ciphertadata"] = base64(&[7; 33]).into();
        }),
        ("bad padding", TA_INVALID, TaEncryption::AesCbc, |parts| {
            parts["ciphertadata"] = base64(&[7; 32]).into();
        }),
        ("less than a tag", TA_INVALID, TaEncryption::A256Gcm, |parts| {
            parts["ciphertadata"] = base64(&[7; 15]).into();
        }),
        ("not base64", TA_INVALID, TaEncryption::A256Gcm, |parts| {
            parts["ciphertadata"] = "%%%%".into();
        }),
        ("personalization that is not base64", TA_INVALID, TaEncryption::A256Gcm, |parts| {
            parts["cipherpdata"] = "a".into();
        }),
        ("personalization without padding", TA_INVALID, TaEncryption::AesCbc, |parts| {
            parts["cipherpdata"] = "".into();
        }),
        ("texts exchanged", TA_INVALID, TaEncryption::A256Gcm, |parts| {
            let image = parts["ciphertadata"].take();
            parts["ciphertadata"] = parts["cipherpdata"].take();
            parts["cipherpdata"] = image;
        }),
        ("a key by another algorithm", UNSUPPORTED, TaEncryption::AesCbc, |parts| {
            parts["key"]["header"]["alg"] = "RSA1_5".into();
        }),
        ("a key of zeros", TA_INVALID, TaEncryption::AesCbc, |parts| {
            parts["key"]["encrypted_key"] = base64url(&[0; 40]).into();
        }),
        ("a bare key for a key on a curve", UNSUPPORTED, TaEncryption::AesCbc, |parts| {
            parts["key"] = base64url(&[0; 256]).into();
        }),
        ("no key", INVALID, TaEncryption::AesCbc, |parts| {
            parts.as_object_mut().unwrap().remove("key");
        }),
    ];
    for (what, code, encryption, edit) in rows {
        let answer = if code == INVALID { Open } else { Sealed };
        let request = Base::InstallTa.builder().ta_encryption(encryption);
        let request = request.edit_tbs(move |tbs| edit(&mut tbs["encrypted_ta"]));
        refusals.refused(what, code, answer, request);
    }
    // A data key for the TEE's own key instead of the provider's, and one of a wrong length.
    for (what, bytes, recipient) in [
        ("a key for the TEE", vec![7; 32], home().target.certificate.public_key().unwrap()),
        ("a short key", vec![7; 31], home().target.attestation_keys[0].public_key().unwrap()),
        ("a long key", vec![7; 33], home().target.attestation_keys[0].public_key().unwrap()),
        ("no key", vec![], home().target.attestation_keys[0].public_key().unwrap()),
    ] {
        let key = ContentKey::random(ContentEncryption::A256Gcm).unwrap();
        let jwe = Jwe::seal(&bytes, &key, KeyManagement::EcdhEsA256Kw, &recipient).unwrap();
        let request = Base::InstallTa.builder().edit_tbs(|tbs| {
            tbs["encrypted_ta"]["key"] = serde_json::to_value(jwe).unwrap();
        });
        refusals.refused(what, TA_INVALID, Sealed, request);
    }
    refusals.end(Base::InstallTa);
}

#[test]
fn one_vector_for_two_texts_in_counter_mode() {
    // All is right with the encryption but this: it would give the key of the tags away.
    let recipient = home().target.attestation_keys[0].public_key().unwrap();
    let data_key = [7; 32];
    let request = |iv: [u8; 12], other: [u8; 12], written: Option<String>| {
        let encrypt = |role: &str, iv: [u8; 12], text: &[u8]| {
            let mut tag = [0; 16];
            let (cipher, aad) = (Cipher::aes_256_gcm(), [role, SP, DOMAIN, "new"].join("\0"));
            let text = encrypt_aead(cipher, &data_key, Some(&iv), aad.as_bytes(), text, &mut tag);
            let text = text.unwrap();
            base64(&[&text[..], &tag].concat())
        };
        let key = ContentKey::random(ContentEncryption::A128Gcm).unwrap();
        let jwe = Jwe::seal(&data_key, &key, KeyManagement::EcdhEsA128Kw, &recipient).unwrap();
        let mut parts = json!({
            "key": jwe, "alg": "A256GCM", "iv": hex::encode(iv),
            "ciphertadata": encrypt("image", iv, &home().new_image),
            "cipherpdata": encrypt("data", other, b"personal")
        });
        if let Some(written) = written {
            parts["ivp"] = written.into();
        }
        Base::InstallTa.builder().edit_tbs(|tbs| drop(tbs.insert("encrypted_ta".into(), parts)))
    };
    let (iv, other) = ([0xab; 12], [0xcd; 12]);
    let mut refusals = Refusals::begin();
    for written in [None, Some(hex::encode(iv)), Some(hex::encode_upper(iv))] {
        let what = format!("{written:?}");
        refusals.refused(&what, TA_INVALID, Sealed, request(iv, iv, written));
    }
    refusals.end(Base::InstallTa);
    let accepted = request(iv, other, Some(hex::encode(other)));
    Device::from(&home().snapshot).pass(&pki().tam, accepted);
}

// ---- members that are missing, repeated or of another type ----------------------------------

/// Values of the types that a member may be taken for.
fn strangers() -> [Value; 7] {
    [json!(7), json!(-1e308), json!(null), json!({}), json!([]), json!([[]]), json!("\u{7f}")]
}

#[test]
fn signed_members_missing_twice_or_of_another_kind() {
    let mut refusals = Refusals::begin();
    for base in Base::ALL {
        let mut members = vec!["ver", "rid", "tid", "tee", "nextdsi", "dsihash", "content"];
        if matches!(base, Base::InstallTa | Base::UpdateTa) {
            members.push("encrypted_ta");
        }
        for member in members {
            let what = format!("{base:?} and {member}");
            let without = base.builder().edit_tbs(move |tbs| drop(tbs.remove(member)));
            refusals.refused(&what, INVALID, Open, without);
            for value in strangers() {
                let what = format!("{what} as {value}");
                // A version is judged as such as long as it is a text.
                let other =
                    base.builder().edit_tbs(move |tbs| drop(tbs.insert(member.into(), value)));
                refusals.refused(&what, INVALID, Open, other);
            }
            let twice = base.builder().edit_payload(move |payload| twice(payload, member));
            refusals.refused(&what, INVALID, Open, twice);
        }
        for extra in ["extra", "", "ocspdat", "Ver", "ver ", "encrypted_ta", "supportedsigalgs"] {
            if extra == "encrypted_ta" && matches!(base, Base::InstallTa | Base::UpdateTa) {
                continue;
            }
            let more =
                base.builder().edit_tbs(move |tbs| drop(tbs.insert(extra.into(), "x".into())));
            refusals.refused(&format!("{base:?} with {extra}"), INVALID, Open, more);
        }
        for length in [0, 129] {
            let long = base.builder().rid("r".repeat(length));
            refusals.refused("the length of rid", INVALID, Open, long);
            let long = base.builder().tid("t".repeat(length));
            refusals.refused("the length of tid", INVALID, Open, long);
        }
    }
    for member in ["iv", "alg", "ciphertadata"] {
        let without = Base::InstallTa.builder().edit_tbs(move |tbs| {
            tbs["encrypted_ta"].as_object_mut().unwrap().remove(member);
        });
        refusals.refused(member, INVALID, Open, without);
    }
    for member in ["extra", "ciphernewtadata"] {
        let more = Base::InstallTa.builder().edit_tbs(move |tbs| {
            tbs["encrypted_ta"][member] = "AAAA".into();
        });
        refusals.refused(member, INVALID, Open, more);
    }
    let neither = Base::UpdateTa.builder().edit_tbs(|tbs| {
        let parts = tbs["encrypted_ta"].as_object_mut().unwrap();
        parts.retain(|name, _| !name.starts_with("cipher"));
    });
    refusals.refused("an update of nothing", INVALID, Open, neither);
    for member in ["ver", "rid", "tid", "ocspdat"] {
        let state = Builder::device_state(&pki().tam);
        refusals.refused(
            member,
            INVALID,
            Anonymous,
            state.edit_tbs(move |tbs| drop(tbs.remove(member))),
        );
        let state = Builder::device_state(&pki().tam);
        refusals.refused(
            member,
            INVALID,
            Anonymous,
            state.edit_payload(move |text| twice(text, member)),
        );
    }
    refusals.end(Base::InstallTa);
}

/// Writes a member a second time, in front of all others.
fn twice(text: &mut Vec<u8>, member: &str) {
    let value: Value = serde_json::from_slice(text).unwrap();
    let holder = match value.get(member) {
        Some(_) => &value,
        None => value.as_object().unwrap().values().next().unwrap(),
    };
    let copy = format!("{{\"{member}\":{},", holder[member]);
    let start = text.windows(2).position(|pair| pair == b"{\"").unwrap();
    let inside = match holder == &value {
        true => start,
        false => start + 1 + text[start + 1..].iter().position(|byte| *byte == b'{').unwrap(),
    };
    text.splice(inside..=inside, copy.into_bytes());
}

#[test]
fn encrypted_members_missing_twice_or_of_another_kind() {
    let mut refusals = Refusals::begin();
    for base in Base::ALL {
        let members: &[&str] = match base {
            Base::CreateSd => &["tamid", "spid", "sdname", "spcert", "did"],
            Base::UpdateSd => &["tamid", "spid", "sdname", "changes"],
            Base::DeleteSd => &["tamid", "sdname"],
            Base::InstallTa | Base::UpdateTa => &["tamid", "spid", "sdname", "taid"],
            Base::DeleteTa => &["tamid", "sdname", "taid"],
        };
        for member in members.iter().copied() {
            let what = format!("{base:?} and {member}");
            let without = base.builder().edit_content(move |content| drop(content.remove(member)));
            refusals.refused(&what, INVALID, Open, without);
            for value in strangers() {
                if member == "changes" && value == json!({}) {
                    continue; // Which changes nothing, and may.
                }
                let what = format!("{what} as {value}");
                let insert = |content: &mut Map<String, Value>| {
                    content.insert(member.into(), value);
                };
                refusals.refused(&what, INVALID, Open, base.builder().edit_content(insert));
            }
            let mut plaintext = None;
            let request = base.builder().edit_content(|content| {
                plaintext = Some(serde_json::to_vec(content).unwrap());
            });
            request.build().unwrap();
            let mut plaintext = plaintext.unwrap();
            twice(&mut plaintext, member);
            let message = with_content(base, plaintext, |_| ()).build().unwrap().message;
            refusals.open(&what, INVALID, &message);
        }
        for extra in ["extra", "", "rid", "Tamid"] {
            let insert = |content: &mut Map<String, Value>| {
                content.insert(extra.into(), "x".into());
            };
            let request = base.builder().edit_content(insert);
            refusals.refused(&format!("{base:?} with {extra}"), INVALID, Open, request);
        }
    }
    let changes = |edit: fn(&mut Value)| {
        Base::UpdateSd.builder().edit_content(move |content| edit(&mut content["changes"]))
    };
    let rows: [Edit; 6] = [
        |changes| changes["extra"] = "x".into(),
        |changes| changes["newsdname"] = json!(7),
        |changes| changes["renewteespaik"] = "perhaps".into(),
        |changes| changes["spcert"] = json!([7]),
        |changes| changes["deloldspcert"] = json!({}),
        |changes| changes["spcert"] = json!(["", "", "", "", ""]),
    ];
    for edit in rows {
        refusals.refused("changes", INVALID, Open, changes(edit));
    }
    let delete = Base::DeleteSd.builder().edit_content(|content| {
        content.insert("deleteta".into(), "yes".into());
    });
    refusals.refused("neither true nor false", INVALID, Open, delete);
    refusals.end(Base::UpdateSd);
}
