//! Responses and lists of them that are refused.

use openssl::x509::X509;
use otrp_engine::limits::{CLOCK_TOLERANCE_SECONDS, OCSP_RESPONSE_LIMIT};
use otrp_engine::pki::{Certificate, Unproven, verify_status};
use otrp_keys::certificate::{Identity as Signer, Purpose, Validity, generate_p256};
use otrp_keys::ocsp::{Period, Statement, Status};
use otrp_sim::SimRsa;
use otrp_tam::request::Builder;
use serde_json::json;

use crate::bench::{Device, base64, der, now, pki};
use crate::home::*;

use super::fixture::*;

/// Defective responses on the leaf, and why each is refused.
fn defects() -> Vec<(&'static str, Vec<u8>, Unproven)> {
    use Unproven as U;
    let valid = Validity::years(1);
    let (now, day) = (time(), 24 * HOUR);
    let authority = &pki().tam_authority;
    let responder = |purpose, validity, issuer| on_leaf_by(&certified(purpose, validity, issuer));
    let impostor =
        Signer { certificate: authority.certificate.clone(), key: generate_p256().unwrap() };
    let on = |certificate: &X509, issuer: &X509| {
        let (status, period) = (Status::Good, current());
        Statement { certificate, issuer, status, period }.sign(&pki().tam_responder).unwrap()
    };
    let hash = |place: usize| {
        altered(move |parts| {
            let mut identifier = elements(contents(&parts.single[0]));
            *identifier[place].last_mut().unwrap() ^= 1;
            parts.single[0] = element(0x30, &identifier.concat());
        })
    };
    let flipped = |needle: &[u8]| {
        let mut response = on_leaf(Status::Good, current());
        let place = response.windows(needle.len()).position(|window| window == needle).unwrap();
        response[place + needle.len() + 20] ^= 1;
        response
    };
    // The AlgorithmIdentifier before the signature, and the type before what is signed.
    let ecdsa = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    let whole = on_leaf(Status::Good, current());
    let period =
        |this_update, next_update| on_leaf(Status::Good, Period { this_update, next_update });
    let soon = now + i64::try_from(CLOCK_TOLERANCE_SECONDS).unwrap() + 60;
    let stale = Period { this_update: now - day, next_update: now - 1 };
    let future = Period { this_update: soon, next_update: soon + HOUR };
    let also = |status, period| altered(|parts| parts.others.push(another(status, period)));
    vec![
        ("revoked", on_leaf(Status::Revoked, current()), U::Revoked),
        ("unknown", on_leaf(Status::Unknown, current()), U::Unknown),
        ("stale", period(now - day, now - 1), U::Stale),
        ("from the future", period(soon, soon + HOUR), U::NotYetValid),
        (
            "produced in the future",
            altered(|parts| parts.data[1] = generalized(soon)),
            U::NotYetValid,
        ),
        ("without an end", altered(|parts| drop(parts.single.pop())), U::Endless),
        (
            "another serial",
            on(&pki().other_tam.chain()[0], &authority.certificate),
            U::OtherCertificate,
        ),
        ("another issuer's key", on(leaf(), &pki().tam_root.certificate), U::OtherCertificate),
        ("another name hash", hash(1), U::OtherCertificate),
        ("another key hash", hash(2), U::OtherCertificate),
        (
            "a hash that is not known",
            altered(|parts| {
                let mut identifier = elements(contents(&parts.single[0]));
                *identifier[0].last_mut().unwrap() = 4;
                parts.single[0] = element(0x30, &identifier.concat());
            }),
            U::OtherCertificate,
        ),
        (
            "the hashes of another hash",
            altered(|parts| {
                let mut identifier = elements(contents(&parts.single[0]));
                *identifier[0].last_mut().unwrap() = 2;
                parts.single[0] = element(0x30, &identifier.concat());
            }),
            U::OtherCertificate,
        ),
        (
            "on nothing",
            altered(|parts| {
                let other = Parts::read(&on(&pki().other_tam.chain()[0], &authority.certificate));
                parts.single = other.single;
            }),
            U::OtherCertificate,
        ),
        ("good, and revoked under another hash", also(Status::Revoked, current()), U::Revoked),
        ("good, and unknown under another hash", also(Status::Unknown, current()), U::Unknown),
        ("good, and stale under another hash", also(Status::Good, stale), U::Stale),
        ("good, and in the future under another hash", also(Status::Good, future), U::NotYetValid),
        (
            "good under another hash, and revoked",
            {
                let mut parts = Parts::read(&on_leaf(Status::Revoked, current()));
                parts.others.push(another(Status::Good, current()));
                parts.sign(&pki().tam_responder.key)
            },
            U::Revoked,
        ),
        (
            "good, and without an end the second time",
            altered(|parts| {
                parts.others.push(element(0x30, &parts.single[..3].concat()));
            }),
            U::Endless,
        ),
        ("the signature flipped", flipped(&ecdsa), U::Signature),
        (
            "the time flipped",
            {
                let mut response = whole.clone();
                let time = &contents(&Parts::read(&whole).data[1])[..8].to_vec();
                let place = response.windows(8).position(|window| window == time).unwrap();
                response[place + 11] ^= 1;
                response
            },
            U::Signature,
        ),
        ("the issuer's name and another key", on_leaf_by(&impostor), U::Signature),
        ("by another root", on_leaf_by(&pki().tam_root), U::Responder),
        (
            "by a responder without the purpose",
            responder(Purpose::Party, valid, authority),
            U::Responder,
        ),
        (
            "by one that names another issuer",
            responder(
                Purpose::OcspResponder,
                valid,
                &Signer {
                    certificate: pki().tam_root.certificate.clone(),
                    key: authority.key.clone(),
                },
            ),
            U::Responder,
        ),
        (
            "by one for any purpose",
            on_leaf_by(&responder_with(&[(EXTENDED_KEY_USAGE, false, FOR_ANYTHING)])),
            U::Responder,
        ),
        (
            "by one whose key does not sign",
            on_leaf_by(&responder_with(&[
                (EXTENDED_KEY_USAGE, false, FOR_OCSP),
                (KEY_USAGE, true, AGREES),
            ])),
            U::Responder,
        ),
        (
            "by one with a critical extension",
            on_leaf_by(&responder_with(&[
                (EXTENDED_KEY_USAGE, false, FOR_OCSP),
                ("1.2.3.4", true, &[5, 0]),
            ])),
            U::Responder,
        ),
        ("by one that signs code", responder(Purpose::TaSigning, valid, authority), U::Responder),
        (
            "by an expired responder",
            responder(
                Purpose::OcspResponder,
                Validity { not_before: now - 2 * day, not_after: now - 60 },
                authority,
            ),
            U::Responder,
        ),
        (
            "by a responder of tomorrow",
            responder(
                Purpose::OcspResponder,
                Validity { not_before: now + day, not_after: now + 2 * day },
                authority,
            ),
            U::Responder,
        ),
        ("by a responder of the root", on_leaf_by(&pki().tam_root_responder), U::Responder),
        (
            "by a responder under the authority's name",
            responder(Purpose::OcspResponder, valid, &impostor),
            U::Responder,
        ),
        (
            "without the responder's certificate",
            altered(|parts| parts.certificates.clear()),
            U::Responder,
        ),
        (
            "by the TAM itself",
            on_leaf_by(&Signer { key: pki().tam.key().to_owned(), certificate: leaf().clone() }),
            U::Responder,
        ),
        ("an internal error", element(0x30, &[0x0a, 1, 2]), U::Unsuccessful),
        (
            "an error with a good answer",
            altered(|parts| parts.status = vec![0x0a, 1, 3]),
            U::Unsuccessful,
        ),
        ("success without an answer", element(0x30, &[0x0a, 1, 0]), U::Malformed),
        ("another type", altered(|parts| *parts.kind.last_mut().unwrap() = 2), U::Kind),
        (
            "another version",
            altered(|parts| {
                parts.data[0] = [element(0xa0, &[2, 1, 1]), parts.data[0].clone()].concat();
            }),
            U::Malformed,
        ),
        (
            "a critical extension",
            altered(|parts| parts.data.push(extensions(true, b"?"))),
            U::CriticalExtension,
        ),
        (
            "a critical extension of the answer",
            altered(|parts| {
                parts.single.push(extensions(true, b"?"));
            }),
            U::CriticalExtension,
        ),
        ("another status", altered(|parts| parts.single[1] = vec![0x83, 0]), U::Malformed),
        (
            "good with something in it",
            altered(|parts| parts.single[1] = vec![0x80, 1, 0]),
            U::Malformed,
        ),
        ("no status", altered(|parts| drop(parts.single.remove(1))), U::Malformed),
        (
            "something behind the answer",
            altered(|parts| parts.single.push(vec![5, 0])),
            U::Malformed,
        ),
        (
            "something behind the certificates",
            altered(|parts| parts.certificates.push(vec![5, 0])),
            U::Malformed,
        ),
        ("nothing", Vec::new(), U::Malformed),
        ("not DER", vec![0; 100], U::Malformed),
        ("a certificate", der(leaf()), U::Malformed),
        ("a byte more", [&whole[..], &[0]].concat(), U::Malformed),
        ("a byte less", whole[..whole.len() - 1].to_vec(), U::Malformed),
        ("twice", whole.repeat(2), U::Malformed),
        ("too large", sized(OCSP_RESPONSE_LIMIT + 1), U::TooLong),
    ]
}

#[test]
fn responses_that_are_defective() {
    let authority = on_authority(Status::Good, current());
    let issuer = der(&pki().tam_authority.certificate);
    let issuer = Certificate::parse(&issuer).unwrap();
    let leaf_der = der(leaf());
    let certificate = Certificate::parse(&leaf_der).unwrap();
    let mut refusals = Refusals::begin();
    for (what, response, reason) in defects() {
        // Refused for the right reason, by which one row differs from another.
        let judged = verify_status::<SimRsa>(&response, &certificate, &issuer, now());
        assert_eq!(judged, Err(reason), "{what}");
        assert!(checked(&response, now()).is_err(), "{what}: not said before");
        refusals.refused(
            what,
            UNTRUSTED,
            Answer::Anonymous,
            question(&[response, authority.clone()]),
        );
    }
    // One of the largest size is taken.
    let largest = sized(OCSP_RESPONSE_LIMIT);
    assert!(verify_status::<SimRsa>(&largest, &certificate, &issuer, now()).is_ok());
    assert!(checked(&largest, now()).is_ok());
    refusals.end(Base::CreateSd);
}

#[test]
fn responses_with_a_byte_changed() {
    let issuer = der(&pki().tam_authority.certificate);
    let issuer = Certificate::parse(&issuer).unwrap();
    let leaf_der = der(leaf());
    let certificate = Certificate::parse(&leaf_der).unwrap();
    let judge = |response: &[u8]| {
        let judged = verify_status::<SimRsa>(response, &certificate, &issuer, now());
        assert_eq!(judged.is_ok(), checked(response, now()).is_ok());
        judged
    };
    for whole in [on_leaf(Status::Good, current()), on_leaf_by(&pki().tam_authority)] {
        assert!(judge(&whole).is_ok());
        for length in 0..whole.len() {
            assert!(judge(&whole[..length]).is_err(), "cut to {length}");
        }
        for position in 0..whole.len() {
            for change in [1, 0x20, 0x80] {
                let mut changed = whole.clone();
                changed[position] ^= change;
                assert!(judge(&changed).is_err(), "{position} changed by {change:#x}");
            }
        }
    }
}

#[test]
fn authorities_that_are_not_good() {
    let now = time();
    let leaf_response = on_leaf(Status::Good, current());
    let whole = on_authority(Status::Good, current());
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let on_itself = {
        let certificate = &pki().tam_authority.certificate;
        let (status, period) = (Status::Good, current());
        let statement = Statement { certificate, issuer: certificate, status, period };
        statement.sign(&pki().tam_authority).unwrap()
    };
    let rows = [
        ("revoked", on_authority(Status::Revoked, current())),
        ("unknown", on_authority(Status::Unknown, current())),
        ("stale", on_authority(Status::Good, Period::hours_from(now - 2 * HOUR, 1))),
        ("by itself", on_itself),
        ("the leaf's again", leaf_response.clone()),
        ("empty", Vec::new()),
    ];
    // At home the authority is known to be good; a word against it, or nonsense, counts all the same.
    let mut refusals = Refusals::begin();
    for (what, response) in rows {
        let question = question(&[leaf_response.clone(), response]);
        refusals.refused(what, UNTRUSTED, Answer::Anonymous, question);
    }
    refusals.end(Base::CreateSd);
}

#[test]
fn lists_that_are_not_those_of_the_path() {
    let [leaf_response, authority] = good();
    let mut refusals = Refusals::begin();
    let lists: [(&str, &[&Vec<u8>]); 5] = [
        ("none", &[]),
        ("the authority's alone", &[&authority]),
        ("the wrong order", &[&authority, &leaf_response]),
        ("one more", &[&leaf_response, &authority, &authority]),
        ("the leaf's twice", &[&leaf_response, &leaf_response]),
    ];
    for (what, list) in lists {
        let list: Vec<Vec<u8>> = list.iter().map(|response| (*response).clone()).collect();
        refusals.refused(what, UNTRUSTED, Answer::Anonymous, question(&list));
    }
    let many = vec![leaf_response.clone(); 5];
    refusals.refused("more than any path has", INVALID, Answer::Anonymous, question(&many));
    for (what, code, value) in [
        ("an empty text", UNTRUSTED, json!("")),
        ("a text in a list", UNTRUSTED, json!([""])),
        ("not base64", INVALID, json!(["%%%%"])),
        ("a number", INVALID, json!([7])),
        (
            "the dummy of the samples",
            UNTRUSTED,
            json!("c2FtcGxlIG9jc3BkYXQgQjY0IGVuY29kZWQgQVNOMQ=="),
        ),
    ] {
        let request = Builder::device_state(&pki().tam).edit_tbs(|tbs| {
            tbs.insert("ocspdat".into(), value);
        });
        refusals.refused(what, code, Answer::Anonymous, request);
    }
    let both = question(&[leaf_response, authority.clone()]).build();
    assert!(both.is_ok());
    // In its other member too it is one too many.
    let samples = Builder::device_state(&pki().tam).edit_tbs(|tbs| {
        tbs.insert("icaocspdat".into(), base64(&authority).into());
    });
    refusals.refused("the authority's in both members", UNTRUSTED, Answer::Anonymous, samples);
    refusals.end(Base::CreateSd);
}

#[test]
fn a_stranger_gets_the_same_answer_with_and_without_a_certificate_for_the_device() {
    // Revoked, it learns neither that the device has no certificate nor which algorithms it has.
    let revoked = || {
        question(&[on_leaf(Status::Revoked, current()), on_authority(Status::Good, current())])
            .edit_message(|_| ())
    };
    let mut refusals = Refusals::begin();
    refusals.refused("revoked", UNTRUSTED, Answer::Anonymous, revoked());
    refusals.end(Base::CreateSd);
    let mut blank = Device::blank();
    let reply = blank.process(&revoked().build().unwrap().message).unwrap();
    let payload: serde_json::Value = serde_json::from_slice(&reply).unwrap();
    let payload = payload["GetDeviceTEEStateResponse"]["payload"].as_str().unwrap();
    let payload = otrp_tam::encoding::from_base64url(payload).unwrap();
    assert!(String::from_utf8(payload).unwrap().contains(UNTRUSTED));
}
