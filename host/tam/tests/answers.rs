//! Each refusal is a row: an accepted answer, one fault, and the error.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use common::{
    Device, Faults, Holder, Pki, Profile, attestation_key, issue, new_key, new_rsa_key, public_half,
};
use josekit::jws::{ES256, JwsSigner as _, RS256};
use openssl::base64::encode_block;
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use otrp_tam::Identity;
use otrp_tam::certificate::{TeeRoots, Untrusted};
use otrp_tam::dsi::{DeviceState, FirmwareData};
use otrp_tam::firmware::FirmwarePolicy;
use otrp_tam::foreign::Flaw;
use otrp_tam::jose::{ContentEncryption, NotOpened};
use otrp_tam::request::{Builder, Command, Target};
use otrp_tam::response::{Outcome, Refused, Reply, StateAnswer};
use otrp_tam::ta_information::TaInformation;
use serde_json::{Value, json};

struct Scene {
    pki: Pki,
    identity: Identity,
    roots: TeeRoots,
    device: Device,
}

impl Scene {
    fn new() -> Self {
        let pki = Pki::new();
        Self::with(pki.identity(), pki)
    }

    fn with(identity: Identity, pki: Pki) -> Self {
        Self {
            identity,
            roots: TeeRoots::new(vec![pki.tee_root.certificate.clone()]).unwrap(),
            device: pki.device(),
            pki,
        }
    }

    fn state(&mut self) -> Result<Box<DeviceState>, Refused> {
        let request = Builder::device_state(&self.identity).build().unwrap();
        let reply = self.device.process(&request.message);
        let Reply::Answer(answer) = Reply::read(&reply)? else { panic!("an agent's error") };
        match answer.device_state(Some(&request.exchange), &self.identity, &self.roots)? {
            StateAnswer::State { state, .. } => Ok(state),
            StateAnswer::Refused(refusal) => {
                Err(Refused::Malformed(Flaw::quoting(format!("not a state but {refusal:?}"))))
            }
        }
    }

    /// Creates the domain `name` with the faults in force only for this command.
    fn create(&mut self, name: &str, faults: Faults) -> Result<Outcome, Refused> {
        self.device.faults = Faults::default();
        let state = self.state().unwrap();
        self.device.faults = faults;
        let certificate = self.pki.sp.certificate.to_der().unwrap();
        let target = Target::from(&*state);
        let command = Command::CreateSd { spid: "sp", name, certificate: &certificate };
        let request = Builder::command(&self.identity, &target, command)
            .content_encryption(ContentEncryption::A256Gcm)
            .build()
            .unwrap();
        let reply = self.device.process(&request.message);
        let Reply::Answer(answer) = Reply::read(&reply)? else { panic!("an agent's error") };
        answer.outcome(Some(&request.exchange), &self.identity, &state.certificate)
    }
}

fn kind(refused: &Refused) -> &'static str {
    match refused {
        Refused::Malformed(_) => "malformed",
        Refused::Jose(NotOpened::Malformed) => "malformed jose",
        Refused::Jose(NotOpened::Algorithm) => "algorithm",
        Refused::Jose(NotOpened::NotTaken(_)) => "not taken",
        Refused::Jose(NotOpened::Signature) => "signature",
        Refused::Jose(NotOpened::Decryption) => "decryption",
        Refused::State(_) => "state",
        Refused::Untrusted(Untrusted::Path(_)) => "untrusted",
        Refused::Untrusted(Untrusted::KeyType) => "key type",
        Refused::Firmware(_) => "firmware",
        Refused::WrongExchange => "exchange",
        Refused::WrongName => "name",
        Refused::WrongDevice => "device",
        Refused::WrongContentKey => "content key",
    }
}

fn tbs(edit: impl FnMut(&mut Value) + Send + 'static) -> Faults {
    Faults { tbs: Some(Box::new(edit)), ..Faults::default() }
}

fn plaintext(edit: impl FnMut(&mut Value) + Send + 'static) -> Faults {
    Faults { plaintext: Some(Box::new(edit)), ..Faults::default() }
}

fn message(edit: impl FnMut(&mut Vec<u8>) + Send + 'static) -> Faults {
    Faults { message: Some(Box::new(edit)), ..Faults::default() }
}

/// Replaces a text in the message that goes out, which must be there.
fn replace(from: &'static str, to: &'static str) -> Faults {
    message(move |bytes| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.contains(from), "{from}");
        *bytes = text.replacen(from, to, 1).into_bytes();
    })
}

/// Flips a bit of a base64url member of the JWS.
fn flip(pointer: &'static str) -> Faults {
    message(move |bytes| {
        let mut value: Value = serde_json::from_slice(bytes).unwrap();
        let member = value.pointer_mut(pointer).unwrap();
        let mut decoded = common::from_url(member.as_str().unwrap());
        decoded[7] ^= 1;
        *member = common::url(&decoded).into();
        *bytes = value.to_string().into_bytes();
    })
}

// ---- states -----------------------------------------------------------------------------------

#[test]
fn a_state_is_accepted_with_its_exact_bytes() {
    let mut scene = Scene::new();
    let state = scene.state().unwrap();
    assert_eq!(state.device_id, scene.device.device_id());
    assert_eq!(state.dsi.tee.generation.as_deref(), Some("1"));
    assert!(state.document.starts_with(br#"{"dsi":{"tee":{"name":"mock""#));
}

#[test]
fn each_fault_of_a_state_is_refused() {
    const STATE: &str = "GetDeviceTEEStateTBSResponse";
    let flipped = "/GetDeviceStateResponse/0/GetDeviceTEEStateResponse";
    let pointer = |member: &str| -> &'static str { format!("{flipped}/{member}").leak() };
    let rows: Vec<(&str, Faults, &str)> = vec![
        ("another rid", tbs(|it| it[STATE]["rid"] = "other".into()), "exchange"),
        ("another tid", tbs(|it| it[STATE]["tid"] = "other".into()), "exchange"),
        ("another version", tbs(|it| it[STATE]["ver"] = "1.1".into()), "malformed"),
        ("another status", tbs(|it| it[STATE]["status"] = "maybe".into()), "malformed"),
        ("an unknown member", tbs(|it| it[STATE]["x"] = 1.into()), "malformed"),
        (
            "a missing member",
            tbs(|it| drop(it[STATE].as_object_mut().unwrap().remove("rid"))),
            "malformed",
        ),
        ("no edsi", tbs(|it| drop(it[STATE].as_object_mut().unwrap().remove("edsi"))), "malformed"),
        ("a second signed member", tbs(|it| it["x"] = 1.into()), "malformed"),
        (
            "another signed name",
            tbs(|it| *it = json!({ "CreateSDTBSResponse": it[STATE] })),
            "name",
        ),
        ("a bit of the signed name", flip(pointer("payload")), "name"),
        (
            "a changed payload",
            message(|bytes| {
                let mut value: Value = serde_json::from_slice(bytes).unwrap();
                let jws = &mut value["GetDeviceStateResponse"][0]["GetDeviceTEEStateResponse"];
                let payload = common::from_url(jws["payload"].as_str().unwrap());
                let payload = String::from_utf8(payload).unwrap();
                let changed = payload.replace(r#""signerreq":true"#, r#""signerreq":false"#);
                assert_ne!(changed, payload);
                jws["payload"] = common::url(changed.as_bytes()).into();
                *bytes = value.to_string().into_bytes();
            }),
            "signature",
        ),
        ("a bit of the signature", flip(pointer("signature")), "signature"),
        ("a bit of the header", flip(pointer("protected")), "malformed jose"),
        ("trailing data", message(|it| it.extend(b"{}")), "malformed"),
        ("a truncated message", message(|it| it.truncate(it.len() - 1)), "malformed"),
        ("nothing", message(Vec::clear), "malformed"),
        ("not UTF-8", message(|it| it[2] = 0xff), "malformed"),
        (
            "no answer",
            message(|it| *it = br#"{"GetDeviceStateResponse":[]}"#.to_vec()),
            "malformed",
        ),
        ("another name", replace("GetDeviceTEEStateResponse", "CreateSDResponse"), "name"),
        ("an unknown name", replace("GetDeviceStateResponse", "GetTheStateResponse"), "malformed"),
        ("a request", replace("GetDeviceStateResponse", "GetDeviceStateRequest"), "malformed"),
        ("a padded signature", replace("\"}}]}", "=\"}}]}"), "malformed jose"),
        (
            "an unknown member of the state",
            plaintext(|it| it["dsi"]["tee"]["x"] = 1.into()),
            "state",
        ),
        ("a wrong count", plaintext(|it| it["dsi"]["tee"]["sdlist"]["cnt"] = "1".into()), "state"),
        ("no certificate", plaintext(|it| it["dsi"]["tee"]["cert"] = "YQ==".into()), "state"),
        ("no authorities", plaintext(|it| it["dsi"]["tee"]["cacert"] = json!([])), "untrusted"),
        ("a second document", plaintext(|it| it["x"] = 1.into()), "state"),
        ("another key", Faults { sign_with: Some(new_key()), ..Faults::default() }, "signature"),
    ];
    let mut scene = Scene::new();
    for (what, faults, expected) in rows {
        scene.device.faults = faults;
        let Err(refused) = scene.state() else { panic!("{what} is accepted") };
        assert_eq!(kind(&refused), expected, "{what}: {refused}");
    }
    scene.device.faults = Faults::default();
    scene.state().unwrap();
}

// ---- certificates and keys --------------------------------------------------------------------

#[test]
fn each_fault_of_a_certificate_is_refused() {
    let mut scene = Scene::new();
    let under = |profile: &Profile<'_>, issuer: &Holder| issue(profile, new_key(), Some(issuer));
    let other_root = issue(&Profile::ca("test TEE root"), new_key(), None);
    let other_ca = under(&Profile::ca("test TEE CA"), &other_root);
    let expired = Profile { days: (-10, -1), ..Profile::leaf("test TEE") };
    let early = Profile { days: (1, 10), ..Profile::leaf("test TEE") };
    let leaf = Profile::leaf("test TEE");
    let not_a_ca = under(&Profile::leaf("not a CA"), &scene.pki.tee_root);
    // 80 bits of security, where the protocol asks for 112 (draft, section 14.1).
    let weak_ca = issue(&Profile::ca("test TEE CA"), new_rsa_key(1024), Some(&scene.pki.tee_root));
    let weak_leaf = issue(&leaf, new_rsa_key(1024), Some(&scene.pki.tee_ca));
    let sub_ca = under(&Profile::ca("test TEE"), &scene.pki.tee_ca);
    let rows = [
        ("a weak CA", under(&leaf, &weak_ca), weak_ca.clone()),
        ("a weak leaf", weak_leaf, scene.pki.tee_ca.clone()),
        ("a CA as leaf", sub_ca, scene.pki.tee_ca.clone()),
        ("a foreign chain", under(&leaf, &other_ca), other_ca.clone()),
        ("a foreign leaf under our CA's name", under(&leaf, &other_ca), scene.pki.tee_ca.clone()),
        ("its own root", under(&leaf, &other_root), other_root.clone()),
        ("an expired leaf", under(&expired, &scene.pki.tee_ca), scene.pki.tee_ca.clone()),
        ("an early leaf", under(&early, &scene.pki.tee_ca), scene.pki.tee_ca.clone()),
        ("a leaf as CA", under(&leaf, &not_a_ca), not_a_ca.clone()),
        ("the TAM's PKI", under(&leaf, &scene.pki.tam_root), scene.pki.tam_root.clone()),
    ];
    for (what, leaf, authority) in rows {
        scene.device = Device::new(leaf, &authority);
        scene.device.authorities.push(other_root.certificate.clone());
        // Some of these keys cannot sign a message, and none of them gets so far.
        scene.device.faults.sign_with = Some(new_key());
        let Err(refused) = scene.state() else { panic!("{what} is accepted") };
        assert_eq!(kind(&refused), "untrusted", "{what}: {refused}");
    }
    // A valid certificate of another device, whose key this one does not have.
    let honest = scene.pki.device();
    scene.device = scene.pki.device();
    scene.device.faults.sign_with = Some(scene.device.tee.key.clone());
    scene.device.tee.certificate = honest.tee.certificate;
    assert_eq!(kind(&scene.state().unwrap_err()), "signature");
}

#[test]
fn an_authority_may_be_trusted_without_its_root() {
    let mut scene = Scene::new();
    scene.roots = TeeRoots::new(vec![scene.pki.tee_ca.certificate.clone()]).unwrap();
    scene.state().unwrap();
    let sister = issue(&Profile::ca("another TEE CA"), new_key(), Some(&scene.pki.tee_root));
    let leaf = issue(&Profile::leaf("test TEE"), new_key(), Some(&sister));
    scene.device = Device::new(leaf, &sister);
    scene.device.authorities.push(scene.pki.tee_root.certificate.clone());
    assert_eq!(kind(&scene.state().unwrap_err()), "untrusted");
    // Nor is a device that is trusted as if it were a root one for others.
    let trusted = scene.pki.device();
    scene.roots = TeeRoots::new(vec![trusted.tee.certificate.clone()]).unwrap();
    let below = issue(&Profile::leaf("test TEE"), new_key(), Some(&trusted.tee));
    scene.device = Device::new(below, &trusted.tee);
    assert_eq!(kind(&scene.state().unwrap_err()), "untrusted");
}

#[test]
fn a_tee_of_another_key_type_is_refused() {
    let mut scene = Scene::new();
    let group = EcGroup::from_curve_name(Nid::SECP384R1).unwrap();
    let p384 = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    scene.device = scene.pki.device_with(p384);
    scene.device.faults.sign_with = Some(new_key());
    assert_eq!(kind(&scene.state().unwrap_err()), "key type");
}

#[test]
fn keys_of_both_types_serve_on_both_sides() {
    let pki = Pki::new();
    let rsa_tam = pki.rsa_tam();
    let (elliptic, rsa) = (pki.identity(), pki.identity_of(&rsa_tam));
    let rsa_tee = new_rsa_key(2048);
    let mut scene = Scene::with(elliptic, pki);
    scene.device = scene.pki.device_with(rsa_tee.clone());
    scene.device.make_attestation_key = || new_rsa_key(2048);
    scene.create("sd", Faults::default()).unwrap();
    assert_eq!(scene.state().unwrap().dsi.tee.teeaiklist[0].spaiktype, "RSA");
    scene.identity = rsa;
    for (key, what) in [(rsa_tee, "an RSA TEE"), (new_key(), "an elliptic TEE")] {
        scene.device = scene.pki.device_with(key);
        for wrap in ["RSA1_5", "RSA-OAEP", "RSA-OAEP-256"] {
            let faults = || Faults { wraps_with: Some(wrap), ..Faults::default() };
            scene.device.faults = faults();
            scene.state().unwrap_or_else(|refused| panic!("{what}, {wrap}: {refused}"));
            let created = scene.create(wrap, faults());
            assert!(matches!(created, Ok(Outcome::Pass(_))), "{what}, {wrap}: {created:?}");
        }
        let algorithm_of_the_other_type = match scene.device.tee.key.rsa() {
            Ok(_) => new_key(),
            Err(_) => new_rsa_key(2048),
        };
        scene.device.faults =
            Faults { sign_with: Some(algorithm_of_the_other_type), ..Faults::default() };
        assert_eq!(kind(&scene.state().unwrap_err()), "algorithm", "{what}");
        scene.device.faults = Faults { sign_with: Some(new_rsa_key(2048)), ..Faults::default() };
        let refused = scene.state().unwrap_err();
        assert!(["algorithm", "signature"].contains(&kind(&refused)), "{what}: {refused}");
    }
}

// ---- members that contradict each other -------------------------------------------------------

/// The members of the answer to GetDeviceState, while it refuses.
fn refused_state(edit: impl FnMut(&mut Value) + Send + 'static) -> Faults {
    Faults { refuse: vec![("GetDeviceState", "ERR_TEE_FAIL")], ..tbs(edit) }
}

#[test]
fn what_contradicts_its_status_is_refused() {
    const STATE: &str = "GetDeviceTEEStateTBSResponse";
    const CREATE: &str = "CreateSDTBSResponse";
    let reason = || json!({ "error-code": "ERR_TEE_FAIL", "error-message": "" });
    let without = |name: &'static str, member: &'static str| {
        move |it: &mut Value| drop(it[name].as_object_mut().unwrap().remove(member))
    };
    let states = [
        ("no signerreq", tbs(without(STATE, "signerreq")), "no signerreq"),
        ("a reason", tbs(move |it| it[STATE]["reason"] = reason()), "a reason without a refusal"),
        ("no reason", refused_state(without(STATE, "reason")), "a refusal without a reason"),
        (
            "an edsi",
            refused_state(|it| {
                it[STATE]["edsi"] = json!({
                    "protected": "", "recipients": [{ "header": {}, "encrypted_key": "" }],
                    "iv": "", "ciphertext": "", "tag": "",
                });
            }),
            "edsi in a refusal",
        ),
    ];
    let mut scene = Scene::new();
    for (what, faults, expected) in states {
        scene.device.faults = faults;
        let Err(refused) = scene.state() else { panic!("{what} is accepted") };
        assert_eq!(refused.to_string(), format!("malformed answer: {expected}"), "{what}");
    }
    let refuse = |faults| Faults { refuse: vec![("CreateSD", "ERR_TEE_FAIL")], ..faults };
    let outcomes = [
        (
            "a signerreq",
            tbs(|it| it[CREATE]["signerreq"] = true.into()),
            "a member of GetDeviceState in another answer",
        ),
        ("a reason", tbs(move |it| it[CREATE]["reason"] = reason()), "a reason without a refusal"),
        (
            "a reason in the content",
            plaintext(|it| it["reason"] = "ERR_TEE_FAIL".into()),
            "a reason without a refusal",
        ),
        ("no reason", refuse(tbs(without(CREATE, "reason"))), "a refusal without a reason"),
    ];
    for (number, (what, faults, expected)) in outcomes.into_iter().enumerate() {
        let Err(refused) = scene.create(&format!("sd{number}"), faults) else {
            panic!("{what} is accepted")
        };
        assert_eq!(refused.to_string(), format!("malformed answer: {expected}"), "{what}");
    }
}

#[test]
fn contents_must_fit_their_request() {
    let (known, stranger) = (attestation_key(&new_rsa_key(2048)).0, attestation_key(&new_key()).0);
    let set = |member: &'static str, value: String| {
        plaintext(move |it| it[member] = value.clone().into())
    };
    let rows = [
        ("another name", set("sdname", "other".into()), "sdname is not that of the request"),
        ("no key", set("teespaik", "AAAA".into()), "teespaik is not a key of its type"),
        (
            "a key of another type",
            plaintext(move |it| {
                it["teespaik"] = known.clone().into();
                it["teespaiktype"] = "ECC".into();
            }),
            "teespaik is not a key of its type",
        ),
        ("a type alone", set("teespaiktype", "ECC".into()), "a type without an attestation key"),
        ("a key beside the state", set("teespaik", stranger), "teespaik is not in the new state"),
    ];
    let mut scene = Scene::new();
    for (number, (what, faults, expected)) in rows.into_iter().enumerate() {
        let Err(refused) = scene.create(&format!("sd{number}"), faults) else {
            panic!("{what} is accepted")
        };
        assert_eq!(refused.to_string(), format!("malformed answer: {expected}"), "{what}");
    }
    // With the key of the state, and with the type that the draft's CreateSD leaves out.
    let right = |with_type: bool| {
        plaintext(move |it| {
            let key = it["dsi"]["tee"]["teeaiklist"][0].clone();
            it["teespaik"] = key["spaik"].clone();
            if with_type {
                it["teespaiktype"] = key["spaiktype"].clone();
            }
        })
    };
    scene.create("a", right(false)).unwrap();
    scene.create("b", right(true)).unwrap();
}

#[test]
fn only_two_answers_bring_names_and_keys() {
    for (member, expected) in
        [("sdname", "sdname in this answer"), ("teespaik", "an attestation key in this answer")]
    {
        let mut scene = Scene::new();
        scene.create("sd", Faults::default()).unwrap();
        let state = scene.state().unwrap();
        let target = Target::from(&*state);
        let command = Command::DeleteSd { spid: None, name: "sd", delete_tas: false };
        let request = Builder::command(&scene.identity, &target, command).build().unwrap();
        scene.device.faults = plaintext(move |it| it[member] = "sd".into());
        let reply = scene.device.process(&request.message);
        let Ok(Reply::Answer(answer)) = Reply::read(&reply) else { panic!("no answer") };
        let outcome = answer.outcome(Some(&request.exchange), &scene.identity, &state.certificate);
        assert_eq!(outcome.unwrap_err().to_string(), format!("malformed answer: {expected}"));
    }
}

// ---- outcomes of commands ---------------------------------------------------------------------

#[test]
fn a_command_is_accepted() {
    let mut scene = Scene::new();
    let Ok(Outcome::Pass(passed)) = scene.create("sd", Faults::default()) else { panic!() };
    assert_eq!(passed.sd_name.as_deref(), Some("sd"));
    let state = passed.state.unwrap();
    assert_eq!(state.dsi.tee.sdlist.sd[0].name, "sd");
    assert_eq!(state.dsi.tee.teeaiklist[0].spid, "sp");
}

#[test]
fn a_refusal_is_signed_and_read() {
    let mut scene = Scene::new();
    let refuse = |code| Faults { refuse: vec![("CreateSD", code)], ..Faults::default() };
    let Ok(Outcome::Fail(refusal)) = scene.create("sd", refuse("ERR_TEE_RESOURCE_FULL")) else {
        panic!()
    };
    assert_eq!(refusal.error_code(), Some(otrp_wire::ErrorCode::TeeResourceFull));
    let forged = Faults { sign_with: Some(new_key()), ..refuse("ERR_TEE_RESOURCE_FULL") };
    assert_eq!(kind(&scene.create("sd", forged).unwrap_err()), "signature");
    // The draft's other place for the reason, and its other form; and none of the content.
    let in_content = Faults {
        plaintext: Some(Box::new(|it| it["reason"] = "ERR_SD_NOT_FOUND".into())),
        tbs: Some(Box::new(|it| {
            it["CreateSDTBSResponse"].as_object_mut().unwrap().remove("reason");
        })),
        ..refuse("ERR_TEE_FAIL")
    };
    let Ok(Outcome::Fail(refusal)) = scene.create("sd", in_content) else { panic!() };
    assert_eq!(refusal.code, "ERR_SD_NOT_FOUND");
    let without_content = Faults {
        tbs: Some(Box::new(|it| {
            it["CreateSDTBSResponse"].as_object_mut().unwrap().remove("content");
        })),
        ..refuse("ERR_UNHEARD_OF")
    };
    let Ok(Outcome::Fail(refusal)) = scene.create("sd", without_content) else { panic!() };
    assert_eq!((refusal.code.as_str(), refusal.error_code()), ("ERR_UNHEARD_OF", None));
}

#[test]
fn an_unsigned_refusal_is_not_an_outcome() {
    // As a TEE refuses whoever it does not know: no identifiers, no content, a key that nobody has.
    let anonymous = |name: &'static str, code| Faults {
        refuse: vec![(if name == "CreateSD" { name } else { "GetDeviceState" }, code)],
        sign_with: Some(new_key()),
        tbs: Some(Box::new(move |it| {
            let tbs = it[format!("{name}TBSResponse")].as_object_mut().unwrap();
            tbs.remove("content");
            tbs.insert("rid".into(), "".into());
            tbs.insert("tid".into(), "".into());
        })),
        ..Faults::default()
    };
    let mut scene = Scene::new();
    // It names no request, so it is the answer to none; and where somebody in between makes it name
    // one, it is the outcome of none.
    let refused = scene.create("sd", anonymous("CreateSD", "ERR_TAM_NOT_TRUSTED")).unwrap_err();
    assert_eq!(kind(&refused), "exchange");
    let forged = Faults { tbs: None, ..anonymous("CreateSD", "ERR_TAM_NOT_TRUSTED") };
    assert_eq!(kind(&scene.create("sd", forged).unwrap_err()), "signature");
    scene.device.faults = anonymous("GetDeviceTEEState", "ERR_TAM_NOT_TRUSTED");
    assert_eq!(kind(&scene.state().unwrap_err()), "exchange");
    // What it claims can be read, for a log.
    let request = Builder::device_state(&scene.identity).build().unwrap();
    scene.device.faults = anonymous("GetDeviceTEEState", "ERR_TAM_NOT_TRUSTED");
    let reply = scene.device.process(&request.message);
    let Ok(Reply::Answer(answer)) = Reply::read(&reply) else { panic!("no answer") };
    let claimed = answer.claimed_refusal().unwrap();
    assert_eq!(claimed.error_code(), Some(otrp_wire::ErrorCode::TamNotTrusted));
}

#[test]
fn each_fault_of_an_outcome_is_refused() {
    const CREATE: &str = "CreateSDTBSResponse";
    let other_device = Pki::new().device();
    let certificate = encode_block(&other_device.tee.certificate.to_der().unwrap());
    let rows: Vec<(&str, Faults, &str)> = vec![
        ("another rid", tbs(|it| it[CREATE]["rid"] = "other".into()), "exchange"),
        ("another tid", tbs(|it| it[CREATE]["tid"] = "".into()), "exchange"),
        ("another name", tbs(|it| *it = json!({ "DeleteSDTBSResponse": it[CREATE] })), "name"),
        (
            "no content",
            tbs(|it| drop(it[CREATE].as_object_mut().unwrap().remove("content"))),
            "malformed",
        ),
        ("an edsi", tbs(|it| it[CREATE]["edsi"] = it[CREATE]["content"].clone()), "malformed"),
        ("an unknown member", tbs(|it| it[CREATE]["x"] = 1.into()), "malformed"),
        ("another key", Faults { sign_with: Some(new_key()), ..Faults::default() }, "signature"),
        ("a bit of the signature", flip("/CreateSDResponse/signature"), "signature"),
        ("trailing data", message(|it| it.extend(b" x")), "malformed"),
        ("a key of its own", Faults { fresh_key: true, ..Faults::default() }, "content key"),
        ("the request's IV", Faults { same_iv: true, ..Faults::default() }, "content key"),
        ("another device", plaintext(|it| it["did"] = "AAAA".into()), "device"),
        ("no device", plaintext(|it| drop(it.as_object_mut().unwrap().remove("did"))), "malformed"),
        (
            "another certificate",
            plaintext(move |it| it["cert"] = certificate.clone().into()),
            "device",
        ),
        (
            "another certificate in the state",
            {
                let other = encode_block(&other_device.tee.certificate.to_der().unwrap());
                plaintext(move |it| it["dsi"]["tee"]["cert"] = other.clone().into())
            },
            "device",
        ),
        ("an unknown member of the content", plaintext(|it| it["x"] = 1.into()), "malformed"),
        ("a wrong state", plaintext(|it| it["dsi"]["tee"]["sdlist"]["cnt"] = "9".into()), "state"),
        (
            "a bit of the ciphertext",
            tbs(|it| {
                let text = it[CREATE]["content"]["ciphertext"].as_str().unwrap();
                let mut bytes = common::from_url(text);
                bytes[3] ^= 1;
                it[CREATE]["content"]["ciphertext"] = common::url(&bytes).into();
            }),
            "decryption",
        ),
        (
            "a short tag",
            tbs(|it| {
                let tag = common::from_url(it[CREATE]["content"]["tag"].as_str().unwrap());
                it[CREATE]["content"]["tag"] = common::url(&tag[..4]).into();
            }),
            "decryption",
        ),
        (
            "two recipients",
            tbs(|it| {
                let recipients = it[CREATE]["content"]["recipients"].as_array_mut().unwrap();
                recipients.push(recipients[0].clone());
            }),
            "malformed",
        ),
    ];
    let mut scene = Scene::new();
    for (number, (what, faults, expected)) in rows.into_iter().enumerate() {
        let Err(refused) = scene.create(&format!("sd{number}"), faults) else {
            panic!("{what} is accepted")
        };
        assert_eq!(kind(&refused), expected, "{what}: {refused}");
    }
    scene.create("sd", Faults::default()).unwrap();
}

// ---- forms of the samples, and the agent ------------------------------------------------------

#[test]
fn the_forms_of_the_samples_are_read() {
    let mut scene = Scene::new();
    scene.device.faults =
        tbs(|it| it["GetDeviceTEEStateTBSResponse"]["signerreq"] = " false".into());
    scene.state().unwrap();
    scene.device.faults = message(|it| {
        // The TEE's answer before the agent gathers it.
        let mut value: Value = serde_json::from_slice(it).unwrap();
        *it = value["GetDeviceStateResponse"][0].take().to_string().into_bytes();
    });
    scene.state().unwrap();
    // `did` in base64url without padding, as in appendix A.1.2.2.
    let url = plaintext(|it| {
        let did = it["did"].as_str().unwrap().replace('+', "-").replace('/', "_").replace('=', "");
        it["did"] = did.into();
    });
    assert!(matches!(scene.create("sd", url), Ok(Outcome::Pass(_))));
}

#[test]
fn the_agents_error_is_read() {
    let text =
        br#"{"OTrPBrokerError":{"ver":"1.0","rid":"","tid":"","errcode":"ERR_AGENT_TEE_BUSY"}}"#;
    assert!(matches!(
        Reply::read(text),
        Ok(Reply::AgentError { code, .. }) if code == "ERR_AGENT_TEE_BUSY"
    ));
    assert!(Reply::read(br#"{"OTrPBrokerError":{"ver":"1.0","errcode":"x"}}"#).is_err());
}

// ---- TAInformation and firmware ---------------------------------------------------------------

#[test]
fn ta_information_is_verified_with_the_known_key_only() {
    let mut scene = Scene::new();
    scene.create("sd", Faults::default()).unwrap();
    let key = public_half(&scene.device.attestation_keys["sp"]);
    let good = scene.device.ta_information("sp", "ta");
    let information = TaInformation::verify(good.to_string().as_bytes(), &key).unwrap();
    assert_eq!((information.spid.as_str(), information.taid.as_str()), ("sp", "ta"));
    assert_eq!(information.tamcacerts, ["cm9vdA=="]);

    // A key of the attacker, shown in the message itself.
    scene.device.attestation_keys.insert("sp".into(), new_key());
    let forged = scene.device.ta_information("sp", "ta");
    let verify = |message: &Value| TaInformation::verify(message.to_string().as_bytes(), &key);
    assert_eq!(kind(&verify(&forged).unwrap_err()), "signature");
    let mut other_key_shown = good.clone();
    other_key_shown["TAInformation"]["header"] = forged["TAInformation"]["header"].clone();
    assert_eq!(kind(&verify(&other_key_shown).unwrap_err()), "signature");
    scene.device.attestation_keys.insert("sp".into(), new_rsa_key(2048));
    let key_type = verify(&scene.device.ta_information("sp", "ta"));
    assert_eq!(kind(&key_type.unwrap_err()), "algorithm");
    let renamed = json!({ "TAInformationResponse": good["TAInformation"] });
    assert_eq!(kind(&verify(&renamed).unwrap_err()), "name");
    let mut trailing = good.to_string();
    trailing.push('x');
    assert!(TaInformation::verify(trailing.as_bytes(), &key).is_err());
}

#[test]
fn firmware_is_accepted_only_under_its_root_and_for_this_transaction() {
    let root = issue(&Profile::ca("test TFW root"), new_key(), None);
    let policy = || {
        FirmwarePolicy::SignedUnder(
            TeeRoots::new(vec![root.certificate.clone()]).unwrap().for_firmware(),
        )
    };
    // The signature is that of josekit over the text alone.
    let signed = |holder: &Holder, algorithm: &str, tid: &str| {
        let der = holder.key.private_key_to_pkcs8().unwrap();
        let signature = match algorithm {
            "RS256" => RS256.signer_from_der(der).unwrap().sign(tid.as_bytes()).unwrap(),
            _ => ES256.signer_from_der(der).unwrap().sign(tid.as_bytes()).unwrap(),
        };
        FirmwareData {
            tbs: encode_block(tid.as_bytes()),
            cert: encode_block(&holder.certificate.to_der().unwrap()),
            sigalg: algorithm.into(),
            sig: encode_block(&signature),
        }
    };
    let leaf = |key| issue(&Profile::leaf("test TFW"), key, Some(&root));
    let (elliptic, rsa) = (leaf(new_key()), leaf(new_rsa_key(2048)));
    let foreign = issue(&Profile::leaf("test TFW"), new_key(), None);
    let good = signed(&elliptic, "ES256", "t1");
    let other_signature = signed(&elliptic, "ES256", "t2").sig;
    let rows = [
        ("good", Some(good.clone()), None),
        ("good, RSA", Some(signed(&rsa, "RS256", "t1")), None),
        ("absent", None, Some("firmware")),
        ("another transaction", Some(signed(&elliptic, "ES256", "t2")), Some("firmware")),
        ("a foreign root", Some(signed(&foreign, "ES256", "t1")), Some("untrusted")),
        (
            "another algorithm",
            Some(FirmwareData { sigalg: "RS256".into(), ..good.clone() }),
            Some("algorithm"),
        ),
        (
            "an unknown algorithm",
            Some(FirmwareData { sigalg: "none".into(), ..good.clone() }),
            Some("firmware"),
        ),
        (
            "another signature",
            Some(FirmwareData { sig: other_signature, ..good.clone() }),
            Some("signature"),
        ),
        (
            "no certificate",
            Some(FirmwareData { cert: "AAAA".into(), ..good.clone() }),
            Some("firmware"),
        ),
        ("no base64", Some(FirmwareData { sig: "?".into(), ..good }), Some("firmware")),
    ];
    for (what, data, expected) in rows {
        let checked = policy().check(data.as_ref(), "t1");
        assert_eq!(checked.as_ref().err().map(kind), expected, "{what}: {checked:?}");
        assert!(FirmwarePolicy::Any.check(data.as_ref(), "t1").is_ok(), "{what}");
    }
}

#[test]
fn ta_information_is_signed_by_an_rsa_key_too() {
    let mut scene = Scene::new();
    scene.device.make_attestation_key = || new_rsa_key(2048);
    scene.create("sd", Faults::default()).unwrap();
    let key = public_half(&scene.device.attestation_keys["sp"]);
    let good = scene.device.ta_information("sp", "ta");
    let verify = |message: &Value| TaInformation::verify(message.to_string().as_bytes(), &key);
    assert_eq!(verify(&good).unwrap().taid, "ta");
    for (member, value) in [("kty", "EC"), ("n", "AQAB"), ("e", "Aw")] {
        let mut other_key_shown = good.clone();
        other_key_shown["TAInformation"]["header"]["signer"][member] = value.into();
        assert_eq!(kind(&verify(&other_key_shown).unwrap_err()), "signature", "{member}");
    }
    scene.device.attestation_keys.insert("sp".into(), new_rsa_key(2048));
    let forged = scene.device.ta_information("sp", "ta");
    assert_eq!(kind(&verify(&forged).unwrap_err()), "signature");
}
