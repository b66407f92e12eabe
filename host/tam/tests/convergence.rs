//! Devices are brought to the desired state over HTTP, step by step.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use common::harness::{
    DOMAIN, Server, connect, converge, key_of_domain, lose_answer, post, serve, with_ta,
};
use common::{Faults, Profile, issue, new_key, new_rsa_key};
use otrp_tam::tam::Tam;
use otrp_wire::ErrorCode;

// ---- the desired state ------------------------------------------------------------------------

#[test]
fn a_device_follows_the_desired_state() {
    let server = Server::start(&with_ta("v1.ta"));
    let mut device = server.pki.device();
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState", "CreateSD", "InstallTA"]);
    let installed = &device.domains[&key_of_domain()].applications["ta"];
    assert_eq!(installed.image, std::fs::read(server.path("v1.ta")).unwrap());
    assert_eq!(
        device.domains[&key_of_domain()].certificates,
        [std::fs::read(server.path("sp.der")).unwrap()]
    );
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState"], "nothing to do");

    server.configure(&with_ta("v2.ta"));
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState", "UpdateTA"]);
    let installed = &device.domains[&key_of_domain()].applications["ta"];
    assert_eq!(installed.image, std::fs::read(server.path("v2.ta")).unwrap());

    std::fs::write(server.path("data"), b"personal").unwrap();
    server.configure(&format!("{}personalization = 'data'\n", with_ta("v2.ta")));
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState", "UpdateTA"]);
    let installed = &device.domains[&key_of_domain()].applications["ta"];
    assert_eq!(installed.personalization.as_deref(), Some(&b"personal"[..]));
    assert_eq!(installed.image, std::fs::read(server.path("v2.ta")).unwrap());

    // Another signer comes and the first one goes.
    let signer = change_signer(&server);
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState", "UpdateSD"]);
    assert_eq!(device.domains[&key_of_domain()].certificates, [signer]);

    server.configure(DOMAIN);
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState", "DeleteTA"]);
    server.configure("");
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState", "DeleteSD"]);
    assert!(device.domains.is_empty());
    let [record] = &server.records()[..] else { panic!() };
    assert_eq!(record.device_id, device.device_id());
    assert!(record.failures.is_empty() && record.memory.applications.is_empty());
}

#[test]
fn a_lower_version_is_not_sent() {
    let server = Server::start(&with_ta("v2.ta"));
    let mut device = server.pki.device();
    converge(server.address, &mut device);
    server.configure(&with_ta("v1.ta"));
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState"]);
    assert!(server.records()[0].failures[0].contains("version 2 is installed, 1 is desired"));
    server.configure(&with_ta("v2.ta"));
    converge(server.address, &mut device);
    assert!(server.records()[0].failures.is_empty());
}

#[test]
fn both_suites_converge() {
    let server = Server::start("");
    let config = server.path("desired.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let suite = "content_encryption = 'A256GCM'\nta_encryption = 'A256GCM'\n";
    std::fs::write(server.path("data"), b"personal").unwrap();
    let domains = format!("{}personalization = 'data'\n", with_ta("v1.ta"));
    std::fs::write(&config, format!("{text}{suite}{domains}")).unwrap();
    let mut device = server.pki.device();
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState", "CreateSD", "InstallTA"]);
    let installed = &device.domains[&key_of_domain()].applications["ta"];
    assert_eq!(installed.personalization.as_deref(), Some(&b"personal"[..]));
}

// ---- refusals ---------------------------------------------------------------------------------

#[test]
fn a_changed_state_is_requested_again_but_not_endlessly() {
    let server = Server::start(DOMAIN);
    let mut device = server.pki.device();
    device.faults.refuse = vec![("CreateSD", "ERR_DEV_STATE_MISMATCH")];
    assert_eq!(
        converge(server.address, &mut device),
        ["GetDeviceState", "CreateSD", "GetDeviceState", "CreateSD"]
    );
    assert!(server.records()[0].failures.is_empty());
    server.configure("");
    device.faults.refuse = vec![("DeleteSD", "ERR_DEV_STATE_MISMATCH"); 10];
    let requests = converge(server.address, &mut device);
    let again = ["GetDeviceState", "DeleteSD", "GetDeviceState", "DeleteSD", "GetDeviceState"];
    assert_eq!(requests, again);
    assert!(server.records()[0].failures[0].contains("ERR_DEV_STATE_MISMATCH"));
}

#[test]
fn no_step_is_sent_for_an_outdated_state() {
    let two = format!("{}{}", DOMAIN.replace("'sd'", "'one'"), DOMAIN.replace("'sd'", "'two'"));
    let server = Server::start(&two);
    for code in ["ERR_DEV_STATE_MISMATCH", "ERR_TEE_FAIL"] {
        let tam = Tam::new(&server.path("desired.toml"), &server.path("own.redb")).unwrap();
        let mut device = server.pki.device();
        device.faults.refuse = vec![("CreateSD", code); 2];
        let mut request = Some(tam.connect("test").unwrap());
        let mut states = Vec::new();
        while let Some(message) = request {
            let opened = device.open(&message);
            if opened.name != "GetDeviceState" {
                let state = common::text(&opened.tbs, "dsihash").to_owned();
                assert!(!states.contains(&state), "{code}: a step on a state that was refused");
                states.push(state);
            }
            request = tam.process(&device.process(&message), "test").unwrap();
        }
        assert!(states.len() >= 2, "{code}: {:?}", device.requests);
    }
}

/// A request that was refused can be carried out later by whoever kept it, until a newer state was
/// asked for: the session does.
#[test]
fn refused_requests_cannot_be_replayed_after_the_session() {
    let server = Server::start(DOMAIN);
    let tam = Tam::new(&server.path("desired.toml"), &server.path("own.redb")).unwrap();
    let mut device = server.pki.device();
    let first = tam.connect("test").unwrap();
    let create = tam.process(&device.process(&first), "test").unwrap().unwrap();
    device.faults.refuse = vec![("CreateSD", "ERR_TEE_RESOURCE_FULL")];
    let closing = tam.process(&device.process(&create), "test").unwrap().unwrap();
    assert_eq!(device.requests, ["GetDeviceState", "CreateSD"]);
    assert!(tam.process(&device.process(&closing), "test").unwrap().is_none(), "and that is all");
    assert_eq!(device.requests[2], "GetDeviceState");
    device.process(&create);
    assert!(device.domains.is_empty(), "it is carried out after all");
}

/// What each code does to a session in which an SD is deleted and two others are created.
#[test]
fn each_refusal_has_its_consequence() {
    const AGAIN: [&str; 6] =
        ["GetDeviceState", "DeleteSD", "GetDeviceState", "DeleteSD", "CreateSD", "CreateSD"];
    const GO_ON: [&str; 4] = ["GetDeviceState", "DeleteSD", "CreateSD", "CreateSD"];
    const LOOK: [&str; 5] =
        ["GetDeviceState", "DeleteSD", "GetDeviceState", "CreateSD", "CreateSD"];
    const END: [&str; 3] = ["GetDeviceState", "DeleteSD", "GetDeviceState"];
    let two = format!("{}{}", DOMAIN.replace("'sd'", "'one'"), DOMAIN.replace("'sd'", "'two'"));
    let server = Server::start("");
    for code in ErrorCode::ALL {
        let mut device = server.pki.device();
        server.configure(DOMAIN);
        converge(server.address, &mut device);
        server.configure(&two);
        device.faults.refuse = vec![("DeleteSD", code.as_str())];
        let (expected, failure): (&[&str], bool) = match code {
            ErrorCode::DevStateMismatch => (&AGAIN, false),
            // It may be done.
            ErrorCode::TeeFail => (&LOOK, true),
            // Not shown to be about the suite: the device lists the TAM's algorithm.
            ErrorCode::UnsupportedCryptoAlg
            | ErrorCode::TamNotTrusted
            | ErrorCode::TfwNotTrusted
            | ErrorCode::UnsupportedMsgVersion => (&END, true),
            _ => (&GO_ON, true),
        };
        assert_eq!(converge(server.address, &mut device), expected, "{code:?}");
        let id = device.device_id();
        let record = server.records().into_iter().find(|it| it.device_id == id).unwrap();
        let failures: Vec<String> = match failure {
            true => vec![format!("DeleteSD sp/sd: {} \"refused\"", code.as_str())],
            false => vec![],
        };
        assert_eq!(record.failures, failures, "{code:?}");
    }
    let mut device = server.pki.device();
    device.faults.refuse = vec![("CreateSD", "ERR_UNHEARD_OF")];
    assert_eq!(
        converge(server.address, &mut device),
        ["GetDeviceState", "CreateSD", "CreateSD"],
        "an unknown code is one of the step"
    );
}

// ---- algorithms and keys ----------------------------------------------------------------------

/// Answers are judged by the same lists as requests are made by.
#[test]
fn answers_by_other_algorithms_than_the_configured_are_refused() {
    let server = Server::start("");
    let rsa = server.pki.rsa_tam();
    server.write_alternative(&rsa);
    let elliptic = server.tam_section.clone();
    let rsa = elliptic.replace("'tam.", "'other.");
    let [state, created] = [&["GetDeviceState"][..], &["GetDeviceState", "CreateSD"]];
    let gcm = Some("A256GCM");
    let rows = [
        (&rsa, "key_management = 'RSA-OAEP-256'\n", "RSA1_5", None, state),
        (&rsa, "key_management = 'RSA-OAEP-256'\n", "RSA-OAEP", None, state),
        (&rsa, "key_management = 'RSA-OAEP-256'\n", "RSA-OAEP-256", None, created),
        (&rsa, "key_management = ['RSA-OAEP', 'RSA1_5']\n", "RSA1_5", None, created),
        (&rsa, "key_management = ['RSA-OAEP', 'RSA1_5']\n", "RSA-OAEP-256", None, state),
        // Of elliptic keys alone: nothing is said of RSA.
        (&rsa, "key_management = 'ECDH-ES+A256KW'\n", "RSA1_5", None, created),
        (&rsa, "", "RSA1_5", None, created),
        (&rsa, "", "RSA-OAEP", None, created),
        (&elliptic, "", "", None, created),
        // The device of the tests uses ECDH-ES+A128KW.
        (&elliptic, "key_management = 'ECDH-ES+A256KW'\n", "", None, state),
        (&elliptic, "key_management = 'RSA-OAEP-256'\n", "", None, created),
        (&elliptic, "", "", gcm, state),
        (&elliptic, "content_encryption = 'A128GCM'\n", "", gcm, state),
        (&elliptic, "content_encryption = 'A128GCM'\n", "", None, created),
        (&elliptic, "content_encryption = 'A256GCM'\n", "", gcm, created),
    ];
    for (section, list, wrap, state_encryption, expected) in rows {
        let what = format!("{list} {wrap} {state_encryption:?}");
        std::fs::write(server.path("desired.toml"), format!("{section}{list}{DOMAIN}")).unwrap();
        let mut device = server.pki.device();
        device.faults.wraps_with = (!wrap.is_empty()).then_some(wrap);
        device.faults.state_encryption = state_encryption;
        let mut answer = connect(server.address);
        while answer.status == 200 {
            answer = post(server.address, &device.process(&answer.body));
        }
        assert_eq!(device.requests, expected, "{what}");
        let refused = if expected.len() == 1 { 400 } else { 204 };
        assert_eq!(answer.status, refused, "{what}");
    }
    // A device learns from the question what it may use.
    let question = |section: &str, list: &str| {
        std::fs::write(server.path("desired.toml"), format!("{section}{list}")).unwrap();
        let message = connect(server.address).body;
        server.pki.device().open(&message).tbs["supportedsigalgs"].clone()
    };
    let list = "key_management = ['RSA-OAEP-256', 'ECDH-ES+A256KW']\n";
    assert_eq!(
        question(&rsa, list),
        serde_json::json!(["ES256", "RS256", "ECDH-ES+A256KW", "RSA-OAEP-256"])
    );
}

#[test]
fn the_next_suite_is_tried_where_one_is_not_supported() {
    let server = Server::start("");
    let (config, section) = (server.path("desired.toml"), &server.tam_section);
    let lists = "content_encryption = ['A256GCM', 'A128CBC-HS256']\n\
                 key_management = ['ECDH-ES+A256KW', 'RSA-OAEP-256', 'RSA1_5', 'ECDH-ES+A128KW']\n\
                 ta_encryption = ['A256GCM', 'AESCBC']\n";
    std::fs::write(&config, format!("{section}{lists}{}", with_ta("v1.ta"))).unwrap();
    let rsa_key = new_rsa_key(2048);
    let create = |times: usize| {
        let mut requests = vec!["GetDeviceState"];
        requests.extend(vec!["CreateSD"; times]);
        requests
    };
    let end = [create(2), vec!["GetDeviceState"]].concat();
    let rows = [
        ("all is supported", new_key(), vec![], [create(1), vec!["InstallTA"]].concat()),
        ("the content", new_key(), vec!["A256GCM"], [create(2), vec!["InstallTA"]].concat()),
        ("the keys", new_key(), vec!["ECDH-ES+A256KW"], [create(2), vec!["InstallTA"]].concat()),
        ("RSA", rsa_key.clone(), vec!["RSA-OAEP-256"], [create(2), vec!["InstallTA"]].concat()),
        ("no suite", rsa_key, vec!["RSA-OAEP-256", "RSA1_5"], end.clone()),
        ("no content", new_key(), vec!["A256GCM", "A128CBC-HS256"], end),
    ];
    for (what, key, unsupported, expected) in rows {
        let mut device = server.pki.device_with(key);
        device.faults.unsupported = unsupported;
        assert_eq!(converge(server.address, &mut device), expected, "{what}");
        let id = device.device_id();
        let record = server.records().into_iter().find(|it| it.device_id == id).unwrap();
        assert_eq!(record.failures.is_empty(), expected.contains(&"InstallTA"), "{what}");
    }
}

#[test]
fn without_lists_rsa_falls_back_to_the_other_oaep_and_never_to_rsa1_5() {
    let server = Server::start(DOMAIN);
    let key = new_rsa_key(2048);
    let mut device = server.pki.device_with(key.clone());
    device.faults.unsupported = vec!["RSA-OAEP-256"];
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState", "CreateSD", "CreateSD"]);
    assert!(device.domains.contains_key(&key_of_domain()));
    let mut device = server.pki.device_with(key);
    device.faults.unsupported = vec!["RSA-OAEP-256", "RSA-OAEP"];
    assert_eq!(
        converge(server.address, &mut device),
        ["GetDeviceState", "CreateSD", "CreateSD", "GetDeviceState"]
    );
    assert!(device.domains.is_empty());
}

#[test]
fn the_other_key_signs_for_a_tee_that_does_not_verify_the_first() {
    let server = Server::start(DOMAIN);
    let config = server.path("desired.toml");
    let plain = std::fs::read_to_string(&config).unwrap();
    let with_other = server.with_alternative(DOMAIN);
    let rows: [(&str, &String, Faults, &[&str]); 6] = [
        (
            "identified",
            &with_other,
            Faults::default(),
            &["GetDeviceState", "GetDeviceState", "CreateSD"],
        ),
        (
            "without a list",
            &with_other,
            Faults { no_list: true, ..Faults::default() },
            &["GetDeviceState", "GetDeviceState", "CreateSD"],
        ),
        (
            "without identifiers",
            &with_other,
            Faults { anonymous: true, ..Faults::default() },
            &["GetDeviceState", "GetDeviceState", "CreateSD"],
        ),
        (
            "without both",
            &with_other,
            Faults { anonymous: true, no_list: true, ..Faults::default() },
            &["GetDeviceState"],
        ),
        (
            "neither",
            &with_other,
            Faults { unsupported: vec!["ES256", "RS256"], ..Faults::default() },
            &["GetDeviceState", "GetDeviceState"],
        ),
        ("a TAM with one key", &plain, Faults::default(), &["GetDeviceState"]),
    ];
    for (what, text, mut faults, expected) in rows {
        std::fs::write(&config, text).unwrap();
        if faults.unsupported.is_empty() {
            faults.unsupported = vec!["ES256"];
        }
        let mut device = server.pki.device();
        device.faults = faults;
        assert_eq!(converge(server.address, &mut device), expected, "{what}");
        let created = device.domains.contains_key(&key_of_domain());
        assert_eq!(created, expected.contains(&"CreateSD"), "{what}");
    }
}

#[test]
fn the_other_key_takes_over_in_the_middle_too() {
    let server = Server::start(DOMAIN);
    std::fs::write(server.path("desired.toml"), server.with_alternative(DOMAIN)).unwrap();
    let tam = Tam::new(&server.path("desired.toml"), &server.path("own.redb")).unwrap();
    let mut device = server.pki.device();
    let request = tam.connect("test").unwrap();
    let create = tam.process(&device.process(&request), "test").unwrap().unwrap();
    device.faults.unsupported = vec!["ES256"];
    let state = tam.process(&device.process(&create), "test").unwrap().unwrap();
    let create = tam.process(&device.process(&state), "test").unwrap().unwrap();
    assert!(tam.process(&device.process(&create), "test").unwrap().is_none());
    assert_eq!(device.requests, ["GetDeviceState", "CreateSD", "GetDeviceState", "CreateSD"]);
    assert!(device.domains.contains_key(&key_of_domain()));
}

// ---- devices that change ----------------------------------------------------------------------

#[test]
fn certificates_are_shown_when_the_tee_wants_them() {
    let server = Server::start(DOMAIN);
    let tam = Tam::new(&server.path("desired.toml"), &server.path("own.redb")).unwrap();
    let converge = |faults: Faults| {
        let mut device = server.pki.device();
        device.faults = faults;
        let mut shown = Vec::new();
        let mut request = tam.connect("test").unwrap();
        loop {
            let header = device.open(&request).header;
            shown.push(match (header.get("x5c"), header.get("kid")) {
                (Some(_), None) => "chain",
                (None, Some(_)) => "kid",
                other => panic!("{other:?}"),
            });
            match tam.process(&device.process(&request), "test").unwrap() {
                Some(next) => request = next,
                None => return (shown, device.domains.len()),
            }
        }
    };
    let holds = || Faults { holds_chain: true, ..Faults::default() };
    assert_eq!(converge(Faults::default()), (vec!["chain", "chain"], 1));
    assert_eq!(converge(holds()), (vec!["chain", "kid"], 1));
    let forgets = Faults { forgets_chain: true, ..holds() };
    assert_eq!(converge(forgets), (vec!["chain", "kid", "chain"], 1));
    let refuses = Faults { refuse: vec![("CreateSD", "ERR_TAM_NOT_TRUSTED"); 9], ..holds() };
    assert_eq!(converge(refuses), (vec!["chain", "kid", "chain", "chain"], 0));
}

#[test]
fn a_renewed_certificate_is_the_same_device() {
    let server = Server::start(&with_ta("v1.ta"));
    let mut device = server.pki.device();
    converge(server.address, &mut device);
    let before = server.records().remove(0);
    let old = device.tee.clone();

    device.tee = server.pki.certify(old.key.clone());
    assert_ne!(device.device_id(), before.device_id);
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState"], "nothing to do");
    let [renewed] = &server.records()[..] else { panic!("two devices") };
    assert_eq!(renewed.device_id, device.device_id());
    assert_eq!((renewed.first_seen, &renewed.memory), (before.first_seen, &before.memory));
    assert_ne!(renewed.certificate, before.certificate);
    server.configure(&with_ta("v2.ta"));
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState", "UpdateTA"]);

    // The old certificate again: nothing but another name.
    device.tee = old;
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState"]);
    assert_eq!(server.records().len(), 1);
    // A certificate of the same authority for another key is another device.
    let mut other = server.pki.device();
    converge(server.address, &mut other);
    assert_eq!(server.records().len(), 2);
}

#[test]
fn unsigned_firmware_is_refused_if_a_signature_is_required() {
    let server = Server::start(DOMAIN);
    let config = server.path("desired.toml");
    let roots = "firmware_roots = ['tee-root.der']\n";
    std::fs::write(&config, format!("{}{roots}{DOMAIN}", server.tam_section)).unwrap();
    let mut device = server.pki.device();
    let request = connect(server.address).body;
    assert_eq!(post(server.address, &device.process(&request)).status, 400);
    assert!(server.records().is_empty());
}

#[test]
fn a_retired_device_is_emptied_and_gets_nothing_more() {
    let server = Server::start(&with_ta("v1.ta"));
    let (mut retired, mut other) = (server.pki.device(), server.pki.device());
    converge(server.address, &mut retired);
    let list = format!("retired = ['{}']\n", retired.device_id());
    let text = format!("{}{list}{}", server.tam_section, with_ta("v1.ta"));
    std::fs::write(server.path("desired.toml"), text).unwrap();
    assert_eq!(converge(server.address, &mut retired), ["GetDeviceState", "DeleteTA", "DeleteSD"]);
    assert!(retired.domains.is_empty());
    assert_eq!(converge(server.address, &mut retired), ["GetDeviceState"]);
    assert_eq!(converge(server.address, &mut other), ["GetDeviceState", "CreateSD", "InstallTA"]);
}

// ---- failed steps and lost states -------------------------------------------------------------

#[test]
fn a_refused_step_is_recorded_and_the_others_continue() {
    let two = format!("{}[[sd.ta]]\nid = 'tb'\nfile = 'other.ta'\n", with_ta("v1.ta"));
    let server = Server::start(&with_ta("v1.ta"));
    std::fs::write(server.path("other.ta"), server.pki.image(0x73, 1, b"another")).unwrap();
    server.configure(&two);
    let mut device = server.pki.device();
    device.faults.refuse = vec![("GetDeviceState", "ERR_TEE_FAIL")];
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState"]);
    assert!(server.records().is_empty());
    device.faults.refuse = vec![("InstallTA", "ERR_TA_INVALID")];
    assert_eq!(
        converge(server.address, &mut device),
        ["GetDeviceState", "CreateSD", "InstallTA", "InstallTA"]
    );
    let failures = server.records()[0].failures.clone();
    assert_eq!(failures, ["InstallTA sp/sd/ta: ERR_TA_INVALID \"refused\""]);
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState", "InstallTA"]);
    assert!(server.records()[0].failures.is_empty());
}

#[test]
fn a_missing_state_is_requested() {
    let server = Server::start(&with_ta("v1.ta"));
    let mut device = server.pki.device();
    device.faults.no_dsi = true;
    assert_eq!(
        converge(server.address, &mut device),
        ["GetDeviceState", "CreateSD", "GetDeviceState", "InstallTA", "GetDeviceState"]
    );
}

#[test]
fn a_session_with_a_lying_device_ends() {
    let server = Server::start(DOMAIN);
    let mut device = server.pki.device();
    // "Created", and yet not there.
    device.faults.plaintext = Some(Box::new(|content| {
        if let Some(dsi) = content.get_mut("dsi") {
            dsi["tee"]["sdlist"] = serde_json::json!({ "cnt": "0", "sd": [] });
        }
    }));
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState", "CreateSD"]);
}

// ---- answers that are lost --------------------------------------------------------------------

#[test]
fn a_tam_without_memory_sends_everything_again() {
    let server = Server::start(&with_ta("v1.ta"));
    let mut device = server.pki.device();
    converge(server.address, &mut device);
    let again = serve(&server.path("desired.toml"), &server.path("empty.redb"));
    assert_eq!(converge(again, &mut device), ["GetDeviceState", "UpdateSD", "UpdateTA"]);
    assert_eq!(converge(again, &mut device), ["GetDeviceState"]);
}

#[test]
fn unconfirmed_data_is_deleted_when_no_longer_desired() {
    let server = Server::start(&with_ta("v1.ta"));
    std::fs::write(server.path("data"), b"personal").unwrap();
    let with_data = format!("{}personalization = 'data'\n", with_ta("v1.ta"));
    for name in ["InstallTA", "UpdateTA"] {
        let mut device = server.pki.device();
        if name == "UpdateTA" {
            server.configure(&with_ta("v1.ta"));
            converge(server.address, &mut device);
        }
        server.configure(&with_data);
        lose_answer(server.address, &mut device, name);
        assert!(device.domains[&key_of_domain()].applications["ta"].personalization.is_some());
        server.configure(&with_ta("v1.ta"));
        let requests = converge(server.address, &mut device);
        assert_eq!(requests, ["GetDeviceState", "DeleteTA", "InstallTA"], "{name}");
        assert!(device.domains[&key_of_domain()].applications["ta"].personalization.is_none());
        assert_eq!(converge(server.address, &mut device), ["GetDeviceState"]);
    }
}

/// Another certificate of the service provider, in the place of the first.
fn change_signer(server: &Server) -> Vec<u8> {
    // Of the same key, so that its images stay what they are.
    let signer = issue(&Profile::leaf("another SP"), server.pki.sp.key.clone(), None);
    let signer = signer.certificate.to_der().unwrap();
    std::fs::write(server.path("sp.der"), &signer).unwrap();
    signer
}

#[test]
fn signers_converge_when_the_answer_is_lost() {
    let server = Server::start(DOMAIN);
    let mut device = server.pki.device();
    converge(server.address, &mut device);
    let signer = change_signer(&server);
    lose_answer(server.address, &mut device, "UpdateSD");
    assert_eq!(device.domains[&key_of_domain()].certificates, [&signer[..]]);
    // The removal is refused, because it was made; the addition is nothing new.
    let update = ["GetDeviceState", "UpdateSD", "UpdateSD"];
    assert_eq!(converge(server.address, &mut device), update);
    assert_eq!(device.domains[&key_of_domain()].certificates, [&signer[..]]);
    assert!(server.records()[0].failures.is_empty());
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState"]);

    // The request is lost.
    let before = device.domains.clone();
    let signer = change_signer(&server);
    lose_answer(server.address, &mut device, "UpdateSD");
    device.domains = before;
    assert_eq!(converge(server.address, &mut device), update);
    assert_eq!(device.domains[&key_of_domain()].certificates, [signer]);
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState"]);
}

#[test]
fn an_unconfirmed_signer_is_removed_when_no_longer_desired() {
    let server = Server::start(DOMAIN);
    let mut device = server.pki.device();
    let first = std::fs::read(server.path("sp.der")).unwrap();
    lose_answer(server.address, &mut device, "CreateSD");
    let second = change_signer(&server);
    let requests = converge(server.address, &mut device);
    assert_eq!(requests, ["GetDeviceState", "UpdateSD", "UpdateSD"]);
    assert_eq!(device.domains[&key_of_domain()].certificates, [second]);

    change_signer(&server);
    lose_answer(server.address, &mut device, "UpdateSD");
    std::fs::write(server.path("sp.der"), &first).unwrap();
    converge(server.address, &mut device);
    assert_eq!(device.domains[&key_of_domain()].certificates, [first]);
    assert!(server.records()[0].failures.is_empty());
}

#[test]
fn a_refused_change_of_signers_leaves_the_old_one() {
    let server = Server::start(DOMAIN);
    let mut device = server.pki.device();
    converge(server.address, &mut device);
    let first = device.domains[&key_of_domain()].certificates.clone();
    let second = change_signer(&server);
    for _ in 0..2 {
        device.faults.refuse = vec![("UpdateSD", "ERR_SPCERT_INVALID")];
        assert_eq!(
            converge(server.address, &mut device),
            ["GetDeviceState", "UpdateSD", "GetDeviceState"]
        );
        assert_eq!(device.domains[&key_of_domain()].certificates, first);
        assert_eq!(server.records()[0].failures.len(), 1);
    }
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState", "UpdateSD"]);
    assert_eq!(device.domains[&key_of_domain()].certificates, [second]);
}

#[test]
fn a_wiped_device_is_forgotten_and_set_up_again() {
    let server = Server::start(&with_ta("v2.ta"));
    let mut device = server.pki.device();
    converge(server.address, &mut device);
    device.domains.clear();
    server.configure("");
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState"]);
    let memory = &server.records()[0].memory;
    assert!(memory.domains.is_empty() && memory.applications.is_empty());
    server.configure(&with_ta("v1.ta"));
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState", "CreateSD", "InstallTA"]);
}

// ---- names and sizes --------------------------------------------------------------------------

#[test]
fn ambiguous_names_are_told_apart() {
    let both = format!("{DOMAIN}{}", DOMAIN.replace("'sp'", "'sp2'"));
    let server = Server::start(&both);
    let mut device = server.pki.device();
    converge(server.address, &mut device);
    assert_eq!(device.domains.len(), 2);
    server.configure(DOMAIN);
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState", "DeleteSD"]);
    assert_eq!(device.domains.keys().collect::<Vec<_>>(), [&key_of_domain()]);
}

#[test]
fn the_longest_image_fits_a_request() {
    let server = Server::start(&with_ta("v1.ta"));
    let length = otrp_check::image::ELF_LIMIT - otrp_check::fixture::SMALLEST;
    std::fs::write(server.path("v1.ta"), server.pki.image(0x72, 1, &vec![7; length])).unwrap();
    let mut device = server.pki.device();
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState", "CreateSD", "InstallTA"]);
}
