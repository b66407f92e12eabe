//! Requests, read by another implementation of JOSE and compared with the draft's text.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use common::{Device, Pki, Profile, TAM_ID, from_standard, image, issue, new_key, text};
use openssl::x509::X509;
use otrp_tam::Identity;
use otrp_tam::certificate::TeeRoots;
use otrp_tam::jose::{ContentEncryption, KeyManagement, KeyType};
use otrp_tam::request::{
    Application, Builder, Command, SdChanges, SignerHeader, TaEncryption, Target,
};
use otrp_tam::response::{Reply, StateAnswer};
use serde_json::{Value, json};

/// A device that has the domain `sp/sd`, and what the TAM knows of it.
fn known_device(pki: &Pki, identity: &Identity) -> (Device, Target) {
    known_device_with(pki, identity, pki.device())
}

/// As [`known_device`], with an attestation key of the type of the TEE's key.
fn known_device_with(pki: &Pki, identity: &Identity, mut device: Device) -> (Device, Target) {
    device.domains.insert(("sp".into(), "sd".into()), common::Sd::default());
    let attestation_key = match device.tee.key.rsa() {
        Ok(_) => common::new_rsa_key(2048),
        Err(_) => new_key(),
    };
    device.attestation_keys.insert("sp".into(), attestation_key);
    let request = Builder::device_state(identity).build().unwrap();
    let reply = device.process(&request.message);
    let Ok(Reply::Answer(answer)) = Reply::read(&reply) else { panic!("no answer") };
    let roots = TeeRoots::new(vec![pki.tee_root.certificate.clone()]).unwrap();
    match answer.device_state(Some(&request.exchange), identity, &roots) {
        Ok(StateAnswer::State { state, .. }) => (device, Target::from(&*state)),
        other => panic!("{other:?}"),
    }
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn get_device_state_is_that_of_the_draft() {
    let pki = Pki::new();
    let identity = pki.identity();
    let mut device = pki.device();
    let request = Builder::device_state(&identity).tid("t1").rid("r1").build().unwrap();
    let opened = device.open(&request.message);
    assert_eq!(opened.name, "GetDeviceState");
    assert_eq!(
        opened.tbs,
        json!({ "ver": "1.0", "rid": "r1", "tid": "t1", "ocspdat": [],
                "supportedsigalgs": ["ES256", "RS256", "ECDH-ES+A128KW", "ECDH-ES+A256KW",
                                     "RSA1_5", "RSA-OAEP", "RSA-OAEP-256"] })
    );
    let listed = opened.tbs["supportedsigalgs"].as_array().unwrap().len();
    assert!(listed <= otrp_wire::limits::ALGORITHM_LIMIT);
    let chain = opened.header["x5c"].as_array().unwrap();
    let leaf = X509::from_der(&from_standard(chain[0].as_str().unwrap())).unwrap();
    assert_eq!(leaf.to_der().unwrap(), pki.tam.certificate.to_der().unwrap());
    assert_eq!(chain.len(), 2);
}

#[test]
fn identifiers_are_random_and_fit() {
    let pki = Pki::new();
    let identity = pki.identity();
    let ids = || {
        let exchange = Builder::device_state(&identity).build().unwrap().exchange;
        (exchange.rid, exchange.tid)
    };
    let (first, second) = (ids(), ids());
    assert!(first.0 != second.0 && first.1 != second.1 && first.0 != first.1);
    assert_eq!(first.0.len(), 32);
}

#[test]
fn each_command_has_the_members_of_the_draft_and_no_other() {
    let pki = Pki::new();
    let identity = pki.identity();
    let (mut device, target) = known_device(&pki, &identity);
    let certificate = pki.sp.certificate.to_der().unwrap();
    let application = Application {
        spid: "sp",
        domain: "sd",
        taid: "ta",
        certificate: None,
        image: Some(b"image"),
        personalization: None,
    };
    let did = device.device_id();
    let spcert = openssl::base64::encode_block(&certificate);
    let rows = [
        (
            Command::CreateSd { spid: "sp", name: "sd2", certificate: &certificate },
            json!({ "spid": "sp", "sdname": "sd2", "spcert": spcert, "tamid": TAM_ID, "did": did }),
        ),
        (
            Command::UpdateSd {
                spid: "sp",
                name: "sd",
                changes: SdChanges {
                    new_name: Some("n"),
                    new_spid: Some("s"),
                    add: vec![&certificate],
                    remove: vec!["00ff"],
                    renew_attestation_key: true,
                },
            },
            json!({ "tamid": TAM_ID, "spid": "sp", "sdname": "sd", "changes": {
                "newsdname": "n", "newspid": "s", "spcert": [spcert],
                "deloldspcert": ["00ff"], "renewteespaik": true } }),
        ),
        (
            Command::DeleteSd { spid: None, name: "sd", delete_tas: false },
            json!({ "tamid": TAM_ID, "sdname": "sd", "deleteta": false }),
        ),
        (
            Command::DeleteSd { spid: Some("sp"), name: "sd", delete_tas: true },
            json!({ "tamid": TAM_ID, "spid": "sp", "sdname": "sd", "deleteta": true }),
        ),
        (
            Command::InstallTa(Application {
                certificate: Some(&certificate),
                ..application.clone()
            }),
            json!({ "tamid": TAM_ID, "spid": "sp", "sdname": "sd", "spcert": spcert,
                    "taid": "ta" }),
        ),
        (
            Command::UpdateTa(application),
            json!({ "tamid": TAM_ID, "spid": "sp", "sdname": "sd", "taid": "ta" }),
        ),
        (
            Command::DeleteTa { spid: None, name: "sd", taid: "ta" },
            json!({ "tamid": TAM_ID, "sdname": "sd", "taid": "ta" }),
        ),
    ];
    for (command, content) in rows {
        let name = command.name();
        let has_image = matches!(command, Command::InstallTa(_) | Command::UpdateTa(_));
        let request = Builder::command(&identity, &target, command).build().unwrap();
        let opened = device.open(&request.message);
        assert_eq!(format!("{}Request", opened.name), name.request());
        assert_eq!(opened.content, content);
        let mut members = vec!["ver", "rid", "tid", "tee", "nextdsi", "dsihash", "content"];
        if has_image {
            members.push("encrypted_ta");
        }
        assert_eq!(keys(&opened.tbs), members);
        assert_eq!(opened.tbs["tee"], "mock");
        assert_eq!(opened.tbs["nextdsi"], json!(true));
        assert_eq!(text(&opened.tbs, "dsihash"), target.dsi_hash);
    }
}

#[test]
fn images_and_data_are_decrypted_unchanged() {
    let pki = Pki::new();
    let identity = pki.identity();
    let (mut device, target) = known_device(&pki, &identity);
    let image = image(&new_key(), 0x72, 1, b"code");
    let data: &[u8] = b"personal";
    for content_encryption in [ContentEncryption::A128CbcHs256, ContentEncryption::A256Gcm] {
        for ta_encryption in [TaEncryption::AesCbc, TaEncryption::A256Gcm] {
            for (image, personalization) in
                [(Some(&image[..]), None), (Some(&image[..]), Some(data)), (None, Some(data))]
            {
                let application = Application {
                    spid: "sp",
                    domain: "sd",
                    taid: "ta",
                    certificate: None,
                    image,
                    personalization,
                };
                let mut commands = vec![Command::UpdateTa(application.clone())];
                if image.is_some() {
                    commands.push(Command::InstallTa(application));
                }
                for command in commands {
                    let request = Builder::command(&identity, &target, command)
                        .content_encryption(content_encryption)
                        .ta_encryption(ta_encryption)
                        .build()
                        .unwrap();
                    let opened = device.open(&request.message);
                    let (got_image, got_data) = device.open_application(&opened);
                    assert_eq!(got_image.as_deref(), image);
                    assert_eq!(got_data.as_deref(), personalization);
                    let encrypted = &opened.tbs["encrypted_ta"];
                    let both = image.is_some() && personalization.is_some();
                    assert_eq!(encrypted.get("ivp").is_some(), both);
                    assert_ne!(encrypted.get("ivp"), encrypted.get("iv"));
                }
            }
        }
    }
}

#[test]
fn keys_reach_devices_of_both_types_in_every_way() {
    let pki = Pki::new();
    let identity = pki.identity();
    let image = image(&new_key(), 0x72, 1, b"code");
    let command = || {
        Command::InstallTa(Application {
            spid: "sp",
            domain: "sd",
            taid: "ta",
            certificate: None,
            image: Some(&image),
            personalization: Some(b"personal"),
        })
    };
    let rsa = common::new_rsa_key(2048);
    let rows = [(new_key(), "ECDH-ES+A128KW"), (rsa.clone(), "RSA-OAEP-256")];
    for (key, default) in rows {
        let (mut device, target) = known_device_with(&pki, &identity, pki.device_with(key.clone()));
        let mut open = |builder: Builder<'_>| {
            let request = builder.build().unwrap();
            let opened = device.open(&request.message);
            assert_eq!(opened.content["taid"], "ta");
            let (got_image, got_data) = device.open_application(&opened);
            assert_eq!(got_image.as_deref(), Some(&image[..]));
            assert_eq!(got_data.as_deref(), Some(&b"personal"[..]));
            let content = &opened.tbs["content"]["recipients"][0]["header"]["alg"];
            assert_eq!(opened.tbs["encrypted_ta"]["key"]["header"]["alg"], *content);
            content.as_str().unwrap().to_owned()
        };
        assert_eq!(open(Builder::command(&identity, &target, command())), default);
        let key_type = KeyType::of(&key).unwrap();
        for content in ContentEncryption::ALL {
            for management in KeyManagement::ALL {
                let builder = Builder::command(&identity, &target, command())
                    .content_encryption(content)
                    .key_management(management);
                let expected = match management.key_type() == key_type {
                    true => management.name(),
                    false => default,
                };
                assert_eq!(open(builder), expected);
            }
        }
    }
}

#[test]
fn a_tam_with_an_rsa_key_signs_with_it() {
    let pki = Pki::new();
    let tam = pki.rsa_tam();
    let identity = pki.identity_of(&tam);
    assert_eq!(identity.tam_id(), TAM_ID);
    let mut device = pki.device();
    // The device's JOSE verifies RS256 with the certificate of `x5c`.
    let opened = device.open(&Builder::device_state(&identity).build().unwrap().message);
    assert_eq!(opened.tbs["supportedsigalgs"][0], "ES256");
    assert_eq!(opened.tbs["supportedsigalgs"][1], "RS256");
    let by_hash = Builder::device_state(&identity).signer(SignerHeader::KeyId).build().unwrap();
    let opened = device.open(&by_hash.message);
    let hash = openssl::sha::sha256(&tam.certificate.to_der().unwrap());
    assert_eq!(opened.header, json!({ "kid": common::url(&hash) }));
}

#[test]
fn an_application_needs_an_attestation_key_and_content() {
    let pki = Pki::new();
    let identity = pki.identity();
    let (_, target) = known_device(&pki, &identity);
    let application = Application {
        spid: "another sp",
        domain: "sd",
        taid: "ta",
        certificate: None,
        image: Some(b"image"),
        personalization: None,
    };
    let make = |application| {
        Builder::command(&identity, &target, Command::UpdateTa(application)).build().is_ok()
    };
    assert!(!make(application.clone()));
    assert!(make(Application { spid: "sp", ..application.clone() }));
    assert!(!make(Application { spid: "sp", image: None, ..application }));
}

#[test]
fn requests_can_be_edited_at_every_stage() {
    let pki = Pki::new();
    let identity = pki.identity();
    let (mut device, target) = known_device(&pki, &identity);
    let command = Command::DeleteTa { spid: None, name: "sd", taid: "ta" };
    let request = Builder::command(&identity, &target, command.clone())
        .tee("other")
        .dsi_hash("stale")
        .tam_id("someone else")
        .next_dsi(false)
        .signer(SignerHeader::KeyId)
        .edit_content(|content| {
            content.insert("taid".into(), "changed".into());
        })
        .edit_tbs(|tbs| {
            tbs.insert("ver".into(), "1.0".into());
            tbs.insert("extra".into(), json!(1));
        })
        .build()
        .unwrap();
    let opened = device.open(&request.message);
    assert_eq!(opened.tbs["tee"], "other");
    assert_eq!(opened.tbs["dsihash"], "stale");
    assert_eq!(opened.tbs["nextdsi"], json!(false));
    assert_eq!(opened.tbs["extra"], json!(1));
    assert_eq!(opened.content["tamid"], "someone else");
    assert_eq!(opened.content["taid"], "changed");
    assert_eq!(
        text(&opened.header, "kid"),
        common::url(&openssl::sha::sha256(&pki.tam.certificate.to_der().unwrap()))
    );
    let request = Builder::command(&identity, &target, command)
        .edit_payload(|payload| payload.extend(b" trailing"))
        .edit_protected(|protected| *protected = br#"{"alg":"none"}"#.to_vec())
        .edit_message(|message| message["DeleteTARequest"]["header"] = Value::Null)
        .build()
        .unwrap();
    let message: Value = serde_json::from_slice(&request.message).unwrap();
    let jws = &message["DeleteTARequest"];
    assert!(common::from_url(text(jws, "payload")).ends_with(b"} trailing"));
    assert_eq!(common::from_url(text(jws, "protected")), br#"{"alg":"none"}"#);
    assert_eq!(jws["header"], Value::Null);
}

#[test]
fn an_identity_needs_its_own_key_and_an_id() {
    let pki = Pki::new();
    let chain = || vec![pki.tam.certificate.clone()];
    assert!(Identity::new(pki.tam.key.clone(), chain(), None).is_ok());
    assert!(Identity::new(pki.sp.key.clone(), chain(), None).is_err());
    assert!(Identity::new(pki.tam.key.clone(), vec![], None).is_err());
    let nameless = || vec![pki.sp.certificate.clone()];
    assert!(Identity::new(pki.sp.key.clone(), nameless(), None).is_err());
    let named = Identity::new(pki.sp.key.clone(), nameless(), Some("1.2.3")).unwrap();
    assert_eq!(named.tam_id(), "1.2.3");
    for (key, fits) in [
        (common::new_rsa_key(1024), false),
        (common::new_rsa_key(2048), true),
        (common::new_rsa_key(4104), false),
    ] {
        let bits = key.bits();
        let leaf = Profile { uri: Some(TAM_ID), ..Profile::leaf("test TAM") };
        let tam = issue(&leaf, key, Some(&pki.tam_root));
        let made = Identity::new(tam.key, vec![tam.certificate], None);
        assert_eq!(made.is_ok(), fits, "{bits}");
    }
}
