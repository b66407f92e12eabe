//! Which refusal comes first where several are due, and that each request has all of its refusals.
//!
//! The lists are the draft's processing lists (sections 9.1.2, 9.2.1.2, 9.2.2.2, 9.2.3.2, 9.3.1,
//! 9.3.2, 9.3.3.2), made one where they contradict each other:
//!
//! - who signs is judged before anything that is signed, and in the same words as the signature, so
//!   that a stranger learns nothing whatever it sends;
//! - the state's hash is compared before anything is decrypted, as in the lists of CreateSD,
//!   UpdateSD and DeleteSD, so that a recorded request is refused before it costs a key agreement;
//! - the owner that a request claims is compared before a domain is looked up, so that nobody
//!   finds out which domains another TAM has.

use std::collections::BTreeSet;

use otrp_engine::platform::PortError;
use otrp_keys::certificate::{Purpose, Template, Validity, generate_p256};
use otrp_sim::{Fault, Moment};
use otrp_tam::Identity;
use otrp_tam::jose::Jws;
use otrp_tam::request::Builder;
use otrp_wire::ErrorCode;
use serde_json::{Map, Value, json};

use crate::bench::{Device, Refused, base64, base64url, now, pki};
use crate::home::*;
use crate::members::Expect::{Anonymous, Open, Sealed};
use crate::members::{Case, Expect, Layers, seal, verdict};

const INVALID: &str = "ERR_REQUEST_INVALID";
const UNSUPPORTED: &str = "ERR_UNSUPPORTED_CRYPTO_ALG";
const UNTRUSTED: &str = "ERR_TAM_NOT_TRUSTED";
const TA_INVALID: &str = "ERR_TA_INVALID";
const SD_NOT_FOUND: &str = "ERR_SD_NOT_FOUND";

/// A request in parts that can be spoiled one by one.
struct Parts {
    case: Case,
    identity: &'static Identity,
    protected: &'static str,
    signature_is_broken: bool,
    tbs: Map<String, Value>,
    /// The key management that the content's recipient is said to have.
    key_management: Option<&'static str>,
    content_is_broken: bool,
    content: Map<String, Value>,
}

impl Parts {
    fn of(case: Case) -> Self {
        let Layers { tbs, content, .. } = Layers::of(case);
        let content = content.map_or_else(Map::new, |text| serde_json::from_slice(&text).unwrap());
        Self {
            case,
            identity: &pki().tam,
            protected: r#"{"alg":"ES256"}"#,
            signature_is_broken: false,
            tbs,
            key_management: None,
            content_is_broken: false,
            content,
        }
    }

    fn message(mut self) -> Vec<u8> {
        if matches!(self.case, Case::Command(_)) {
            let plaintext = serde_json::to_vec(&self.content).unwrap();
            let mut content = seal(br#"{"enc":"A128GCM"}"#, &plaintext);
            if let Some(name) = self.key_management {
                content["recipients"][0]["header"]["alg"] = name.into();
            }
            if self.content_is_broken {
                content["tag"] = base64url(&[0; 16]).into();
            }
            self.tbs.insert("content".into(), content);
        }
        let name = self.case.name();
        let payload = json!({ format!("{name}TBSRequest"): self.tbs }).to_string();
        let header = json!({ "x5c": self.identity.x5c().unwrap() });
        let header = header.as_object().cloned();
        let key = self.identity.key();
        let protected = self.protected.as_bytes();
        let mut jws = Jws::sign(payload.as_bytes(), protected, header, key).unwrap();
        if self.signature_is_broken {
            jws.signature = base64url(&[1; 64]);
        }
        json!({ format!("{name}Request"): jws }).to_string().into_bytes()
    }

    fn image(&mut self, member: &str, value: Value) {
        self.tbs["encrypted_ta"][member] = value;
    }

    fn changes(&mut self, member: &str, value: Value) {
        self.content["changes"][member] = value;
    }
}

/// A check that fails: its name, how the failure is reported, and what makes it fail.
type Check = (&'static str, Expect, fn(&mut Parts));

const STRANGER: Check = ("chain", Anonymous(UNTRUSTED), |parts| parts.identity = &pki().rogue_tam);

/// The checks of a request in their order.
fn checks(case: Case) -> Vec<Check> {
    let mut checks: Vec<Check> = vec![
        ("signature algorithm", Anonymous(UNSUPPORTED), |parts| {
            parts.protected = r#"{"alg":"HS256"}"#;
        }),
        STRANGER,
        ("signature", Anonymous(UNTRUSTED), |parts| parts.signature_is_broken = true),
        ("version", Open("ERR_UNSUPPORTED_MSG_VERSION"), |parts| parts.tbs["ver"] = "2.0".into()),
        ("structure", Open(INVALID), |parts| drop(parts.tbs.insert("x".into(), "y".into()))),
    ];
    let Case::Command(base) = case else {
        // Before its standing is known, a TAM is a stranger.
        for (_, expected, _) in &mut checks {
            if let Open(code) = *expected {
                *expected = Anonymous(code);
            }
        }
        checks.push(("algorithms of the TAM", Open(UNSUPPORTED), |parts| {
            parts.tbs.insert("supportedsigalgs".into(), json!(["ES512"]));
        }));
        return checks;
    };
    checks.extend::<[Check; 6]>([
        ("TEE", Open(INVALID), |parts| parts.tbs["tee"] = "trusty".into()),
        ("state", Open("ERR_DEV_STATE_MISMATCH"), |parts| {
            parts.tbs["dsihash"] = base64(&[0; 32]).into();
        }),
        ("algorithm", Open(UNSUPPORTED), |parts| parts.key_management = Some("dir")),
        ("decryption", Open(INVALID), |parts| parts.content_is_broken = true),
        ("content", Open(INVALID), |parts| drop(parts.content.insert("x".into(), "y".into()))),
        ("owner", Open("ERR_TAM_NOT_AUTHORIZED"), |parts| {
            parts.content["tamid"] = pki().other_tam.tam_id().into();
        }),
    ]);
    let no_sd: Check =
        ("domain", Sealed(SD_NOT_FOUND), |parts| parts.content["sdname"] = "nowhere".into());
    let no_ta: Check =
        ("application", Sealed("ERR_TA_NOT_FOUND"), |parts| parts.content["taid"] = "none".into());
    let no_sp: Check =
        ("provider", Sealed(TA_INVALID), |parts| parts.content["spid"] = "nobody".into());
    let bad_certificate: Check = ("certificate", Sealed("ERR_SPCERT_INVALID"), |parts| {
        parts.content.insert("spcert".into(), "AAAA".into());
    });
    let image: [Check; 2] = [
        ("image algorithm", Sealed(UNSUPPORTED), |parts| parts.image("alg", "AESECB".into())),
        ("image", Sealed(TA_INVALID), |parts| parts.image("iv", "00".into())),
    ];
    match base {
        Base::CreateSd => checks.extend::<[Check; 3]>([
            bad_certificate,
            ("device", Sealed(INVALID), |parts| parts.content["did"] = base64(&[0; 32]).into()),
            ("existence", Sealed("ERR_SD_ALREADY_EXISTS"), |parts| {
                parts.content["sdname"] = DOMAIN.into();
            }),
        ]),
        Base::UpdateSd => checks.extend::<[Check; 4]>([
            no_sd,
            ("new name", Sealed("ERR_SDNAME_ALREADY_USED"), |parts| {
                parts.changes("newsdname", DOMAIN.into());
                parts.changes("newspid", SP.into());
            }),
            ("new certificate", Sealed("ERR_SPCERT_INVALID"), |parts| {
                parts.changes("spcert", json!(["AAAA"]));
            }),
            ("old certificate", Sealed(INVALID), |parts| {
                parts.changes("deloldspcert", json!(["not a hash"]));
            }),
        ]),
        Base::DeleteSd => checks.extend::<[Check; 2]>([
            no_sd,
            ("emptiness", Sealed("ERR_SD_NOT_EMPTY"), |parts| {
                parts.content["deleteta"] = false.into();
            }),
        ]),
        Base::InstallTa => {
            checks.extend::<[Check; 3]>([
                no_sd,
                no_sp,
                ("existence", Sealed("ERR_TA_ALREADY_INSTALLED"), |parts| {
                    parts.content["taid"] = TA.into();
                }),
            ]);
            checks.push(bad_certificate);
            checks.extend(image);
        }
        Base::UpdateTa => {
            checks.extend([no_sd, no_sp, no_ta, bad_certificate]);
            checks.extend(image);
        }
        Base::DeleteTa => checks.extend([no_sd, no_ta]),
    }
    checks
}

fn assert_refused(what: &str, reply: &[u8], expected: Expect) {
    let refused = verdict(what, reply).unwrap_or_else(|| panic!("carried out: {what}"));
    let expected = match expected {
        Anonymous(code) => (Answer::Anonymous, code),
        Open(code) => (Answer::Open, code),
        Sealed(code) => (Answer::Sealed, code),
        Expect::Accepted => panic!("no check is passed by failing"),
    };
    assert_eq!((refused.0, refused.1.as_str()), expected, "{what}");
}

#[test]
fn the_first_of_two_refusals_is_reported() {
    let mut refusals = Refusals::begin();
    for case in Case::all() {
        let checks = checks(case);
        for (index, (first, expected, spoil_first)) in checks.iter().enumerate() {
            for (second, _, spoil_second) in &checks[index..] {
                let mut parts = Parts::of(case);
                spoil_second(&mut parts);
                spoil_first(&mut parts);
                let what = format!("{case:?}: {first} before {second}");
                let reply = refusals.unchanged(&what, &parts.message()).unwrap();
                assert_refused(&what, &reply, *expected);
            }
        }
    }
    refusals.end(Base::UpdateSd);
}

/// TAMs that no anchor vouches for, each for another reason.
fn strangers() -> Vec<(&'static str, &'static Identity)> {
    let now = i64::try_from(now()).unwrap();
    let leaf = |validity, uri| {
        let key = generate_p256().unwrap();
        let template = Template {
            organization: "OTrP tests (not for production)",
            common_name: "A TAM of a test",
            purpose: Purpose::Party,
            validity,
            uri,
        };
        let mut chain = pki().tam.chain().to_vec();
        chain[0] = template.issue(&key, &pki().tam_authority).unwrap();
        &*Box::leak(Box::new(Identity::new(key, chain, Some(pki().tam.tam_id())).unwrap()))
    };
    let expired = Validity { not_before: now - 86_400, not_after: now - 3600 };
    vec![
        ("a rogue root", &pki().rogue_tam),
        ("an expired leaf of the owner's name", leaf(expired, Some(pki().tam.tam_id()))),
        ("a leaf without a name", leaf(Validity::years(1), None)),
    ]
}

/// What is signed of an answer.
fn signed_text(reply: &[u8]) -> String {
    let outer: Value = serde_json::from_slice(reply).unwrap();
    let jws = outer.as_object().unwrap().values().next().unwrap();
    let payload = jws["payload"].as_str().unwrap();
    String::from_utf8(otrp_tam::encoding::from_base64url(payload).unwrap()).unwrap()
}

#[test]
fn a_stranger_gets_one_answer_whatever_it_sends() {
    let mut refusals = Refusals::begin();
    for (who, stranger) in strangers() {
        for case in Case::all() {
            let name = RESPONSES.iter().find(|(request, _)| *request == case.name()).unwrap().1;
            let message = ErrorCode::TamNotTrusted.message();
            let expected = json!({ format!("{name}TBSResponse"): {
                "ver": "1.0", "status": "fail", "rid": "", "tid": "",
                "reason": { "error-code": UNTRUSTED, "error-message": message }
            } });
            let checks = checks(case);
            // A stranger may learn that its signature cannot be read at all.
            let rest = &checks[2..];
            let nothing: Check = ("nothing", Anonymous(UNTRUSTED), |_| ());
            for (what, _, spoil) in rest.iter().chain([&nothing]) {
                let mut parts = Parts::of(case);
                spoil(&mut parts);
                parts.identity = stranger;
                let what = format!("{who}, {case:?}: {what}");
                let reply = refusals.unchanged(&what, &parts.message()).unwrap();
                let text: Value = serde_json::from_str(&signed_text(&reply)).unwrap();
                assert_eq!(text, expected, "{what}");
            }
            let mut parts = Parts::of(case);
            rest.iter().for_each(|(_, _, spoil)| spoil(&mut parts));
            parts.identity = stranger;
            let reply = refusals.unchanged("everything", &parts.message()).unwrap();
            let text: Value = serde_json::from_str(&signed_text(&reply)).unwrap();
            assert_eq!(text, expected, "{who}, {case:?}: everything");
        }
    }
    // Nor does it learn whether the device has a certificate.
    let mut blank = Device::blank();
    for (who, stranger) in strangers() {
        let message = Builder::device_state(stranger).build().unwrap().message;
        let provisioned = refusals.unchanged(who, &message).unwrap();
        let reply = blank.process(&message).unwrap();
        assert_eq!(signed_text(&reply), signed_text(&provisioned), "{who}");
    }
    refusals.end(Base::DeleteTa);
}

/// The answers' names, by the requests'.
const RESPONSES: [(&str, &str); 8] = [
    ("GetDeviceState", "GetDeviceTEEState"),
    ("GetDeviceTEEState", "GetDeviceTEEState"),
    ("CreateSD", "CreateSD"),
    ("UpdateSD", "UpdateSD"),
    ("DeleteSD", "DeleteSD"),
    ("InstallTA", "InstallTA"),
    ("UpdateTA", "UpdateTA"),
    ("DeleteTA", "DeleteTA"),
];

/// The errors that the draft lists for a request (sections 9.1.6 to 9.3.3.4), but
/// `ERR_TFW_NOT_TRUSTED`, for no platform here has a firmware signer, and `ERR_SD_NOT_FOUND` of
/// CreateSD, which looks for no domain.
fn listed(case: Case) -> Vec<&'static str> {
    let mut codes =
        vec![INVALID, "ERR_UNSUPPORTED_MSG_VERSION", UNSUPPORTED, "ERR_TEE_FAIL", UNTRUSTED];
    let Case::Command(base) = case else { return codes };
    codes.extend(["ERR_DEV_STATE_MISMATCH", "ERR_TAM_NOT_AUTHORIZED"]);
    codes.extend(match base {
        Base::CreateSd => vec!["ERR_SD_ALREADY_EXISTS", "ERR_SPCERT_INVALID"],
        Base::UpdateSd => vec![SD_NOT_FOUND, "ERR_SDNAME_ALREADY_USED", "ERR_SPCERT_INVALID"],
        Base::DeleteSd => vec!["ERR_SD_NOT_EMPTY", SD_NOT_FOUND],
        Base::InstallTa => {
            vec![SD_NOT_FOUND, TA_INVALID, "ERR_TA_ALREADY_INSTALLED", "ERR_TEE_RESOURCE_FULL"]
        }
        Base::UpdateTa => vec![SD_NOT_FOUND, TA_INVALID, "ERR_TA_NOT_FOUND"],
        Base::DeleteTa => vec![SD_NOT_FOUND, "ERR_TA_NOT_FOUND"],
    });
    codes
}

/// The code of a request for which nothing can be written.
fn with_storage_that(error: PortError, case: Case) -> String {
    let message = Parts::of(case).message();
    let operations = {
        let mut device = Device::from(&home().snapshot);
        device.process(&message).unwrap();
        device.world.faults.operations()
    };
    let first = operations.iter().position(|operation| operation.changes);
    let mut device = Device::from(&home().snapshot);
    device.world.faults.plan(first.unwrap(), Moment::Before, Fault::Error(error));
    let reply = device.process(&message).unwrap();
    assert!(device.world.snapshot() == home().snapshot, "{case:?} with {error:?}");
    verdict("a failure", &reply).expect("a failure").1
}

#[test]
fn every_request_has_every_refusal_that_the_draft_lists() {
    let mut all = BTreeSet::new();
    for case in Case::all() {
        let mut refusals = Refusals::begin();
        let mut told = BTreeSet::new();
        for (what, expected, spoil) in checks(case) {
            let mut parts = Parts::of(case);
            spoil(&mut parts);
            let reply = refusals.unchanged(what, &parts.message()).unwrap();
            assert_refused(what, &reply, expected);
            told.insert(verdict(what, &reply).unwrap().1);
        }
        told.insert(with_storage_that(PortError::Failed, case));
        told.insert(with_storage_that(PortError::Full, case));
        for code in listed(case) {
            assert!(told.contains(code), "{case:?} is never refused with {code}");
        }
        all.extend(told);
    }
    // Section 13.1.1, and `ERR_TAM_NOT_AUTHORIZED` of section 9.
    let known = ErrorCode::ALL.iter().filter(|code| **code != ErrorCode::TfwNotTrusted);
    let known: BTreeSet<String> = known.map(|code| code.as_str().into()).collect();
    assert_eq!(all, known);
}

#[test]
fn a_domain_of_another_tam_is_like_none() {
    let mut refusals = Refusals::begin();
    let key = home().target.certificate.public_key().unwrap();
    for base in [Base::UpdateSd, Base::DeleteSd, Base::InstallTa, Base::UpdateTa, Base::DeleteTa] {
        let mut told = |spid: &str, name: &str, taid: &str| {
            let mut parts = Parts::of(Case::Command(base));
            for (member, value) in [("spid", spid), ("sdname", name), ("taid", taid)] {
                if parts.content.contains_key(member) {
                    parts.content[member] = value.into();
                }
            }
            let reply = refusals.unchanged("a domain of others", &parts.message()).unwrap();
            assert_refused("a domain of others", &reply, Sealed(SD_NOT_FOUND));
            Refused::read(&reply, &key).text.len()
        };
        // What is encrypted is not seen here, but how long it is.
        let theirs = told(OTHER_SP, OTHER_DOMAIN, OTHER_TA);
        let nobodys = told("nothing.example", "absent", "com.example.nobody");
        assert_eq!(theirs, nobodys, "{base:?}");
    }
    refusals.end(Base::UpdateTa);
}
