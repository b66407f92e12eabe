//! `otrp-tam` judges responses as the device does.

use otrp_engine::limits::{CLOCK_TOLERANCE_SECONDS, OCSP_RESPONSE_LIMIT};
use otrp_engine::pki::{Certificate, verify_status};
use otrp_keys::ocsp::{Period, Status};
use otrp_sim::SimRsa;
use otrp_tam::check;
use otrp_tam::desired::TamSettings;

use crate::bench::{self, der, now, pki, pki_folder};

use super::fixture::*;

/// Times at which the device and whoever runs the TAM must agree, in every form.
#[test]
fn times_are_judged_alike() {
    let issuer = der(&pki().tam_authority.certificate);
    let issuer = Certificate::parse(&issuer).unwrap();
    let leaf_der = der(leaf());
    let certificate = Certificate::parse(&leaf_der).unwrap();
    let at = time();
    let tolerance = i64::try_from(CLOCK_TOLERANCE_SECONDS).unwrap();
    let text = |text: &str| element(0x18, text.as_bytes());
    let fraction = || text("20200101000000.5Z");
    let rows = [
        ("a minute ahead", on_leaf(Status::Good, Period::hours_from(at + 60, 1)), true),
        (
            "as much as is tolerated",
            on_leaf(Status::Good, Period::hours_from(at + tolerance, 1)),
            true,
        ),
        ("more", on_leaf(Status::Good, Period::hours_from(at + tolerance + 1, 1)), false),
        ("produced ahead", altered(|parts| parts.data[1] = generalized(at + tolerance)), true),
        ("and more", altered(|parts| parts.data[1] = generalized(at + tolerance + 1)), false),
        (
            "its last second",
            on_leaf(Status::Good, Period { this_update: at - 9, next_update: at + 1 }),
            true,
        ),
        ("its end", on_leaf(Status::Good, Period { this_update: at - 9, next_update: at }), false),
        ("a fraction", altered(|parts| parts.data[1] = fraction()), false),
        ("a fraction of thisUpdate", altered(|parts| parts.single[2] = fraction()), false),
        ("another zone", altered(|parts| parts.data[1] = text("20200101000000+0100")), false),
        ("no seconds", altered(|parts| parts.data[1] = text("202001010000Z")), false),
        ("no such day", altered(|parts| parts.data[1] = text("20200230000000Z")), false),
        ("before 1970", altered(|parts| parts.data[1] = text("19691231235959Z")), false),
        ("UTCTime", altered(|parts| parts.data[1] = element(0x17, b"200101000000Z")), false),
    ];
    for (what, response, accepted) in rows {
        let now = u64::try_from(at).unwrap();
        let judged = verify_status::<SimRsa>(&response, &certificate, &issuer, now);
        assert_eq!(judged.is_ok(), accepted, "{what}: {judged:?}");
        let checked = checked(&response, now);
        assert_eq!(
            checked.as_ref().ok().copied(),
            judged.ok().map(otrp_engine::pki::Good::until),
            "{what}: {checked:?}"
        );
    }
}

/// One certificate may be named in several ways (RFC 9919).
#[test]
fn two_identifiers_of_one_certificate_are_judged_alike() {
    let issuer = der(&pki().tam_authority.certificate);
    let issuer = Certificate::parse(&issuer).unwrap();
    let leaf_der = der(leaf());
    let certificate = Certificate::parse(&leaf_der).unwrap();
    let single = |status, next_update| {
        let period = Period { this_update: time() - HOUR, next_update };
        element(0x30, &Parts::read(&on_leaf(status, period)).single.concat())
    };
    let soon = time() + 60;
    for (what, other, expected) in [
        ("both good", single(Status::Good, soon), Some(soon)),
        ("one revoked", single(Status::Revoked, soon), None),
        ("one unknown", single(Status::Unknown, soon), None),
        ("one over", single(Status::Good, time() - 1), None),
    ] {
        let response = altered(move |parts| parts.others.push(other));
        let expected = expected.map(|end| u64::try_from(end).unwrap());
        let checked = checked(&response, now());
        assert_eq!(checked.as_ref().ok().copied(), expected, "{what}: {checked:?}");
        let judged = verify_status::<SimRsa>(&response, &certificate, &issuer, now());
        assert_eq!(judged.ok().map(otrp_engine::pki::Good::until), expected, "{what}");
    }
}

#[test]
fn the_tam_says_what_is_wrong_before_a_device_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let now = time();
    let past = Period { this_update: now - 2 * HOUR, next_update: now - HOUR };
    let future = Period { this_update: now + HOUR, next_update: now + 2 * HOUR };
    let mut forged = on_leaf(Status::Good, current());
    *forged.last_mut().unwrap() ^= 1;
    let standing = |ocsp: &str| {
        let key = |file: &str| pki_folder().join(file).display().to_string();
        let text = format!(
            "[tam]\nkey = '{}'\nchain = '{}'\ntee_roots = ['{}']\nocsp = {ocsp}\n",
            key("tam.key.pem"),
            key("tam.chain.pem"),
            key("tee-root.pem"),
        );
        std::fs::write(path("desired.toml"), text).unwrap();
        let settings = TamSettings::read(&path("desired.toml")).unwrap();
        check::standing(&settings, &settings.identity, bench::now())
    };
    for (name, response) in ["a", "b"].into_iter().zip(good()) {
        std::fs::write(path(name), response).unwrap();
    }
    let rows = [
        (on_leaf(Status::Revoked, current()), "the certificate is revoked"),
        (on_leaf(Status::Unknown, current()), "does not know the certificate"),
        (on_leaf(Status::Good, past), "only; get a new one"),
        (on_leaf(Status::Good, future), "it is from the future"),
        (altered(|parts| drop(parts.single.pop())), "does not say when it ends"),
        (on_authority(Status::Good, current()), "not signed by the issuer or its responder"),
        (on_leaf_by(&pki().tam_root), "not signed by the issuer or its responder"),
        (forged, "not signed by the issuer or its responder"),
        (sized(OCSP_RESPONSE_LIMIT + 1), "and a device takes 4096"),
        (element(0x30, &[0x0a, 1, 3]), "the responder could not answer"),
        (b"PEM".to_vec(), "not an OCSP response in strict DER"),
    ];
    for (response, expected) in rows {
        std::fs::write(path("leaf.ocsp"), response).unwrap();
        let [text] = &standing("['leaf.ocsp', 'b']").faults[..] else { panic!("{expected}") };
        assert!(text.contains(expected) && text.contains("leaf.ocsp"), "{text}");
        assert!(text.contains("OTrP development TAM"), "{text}");
    }
    let faults = |ocsp: &str| standing(ocsp).faults.join("\n");
    assert_eq!(faults("['a', 'b']"), "");
    assert_eq!(standing("['a', 'b']").responses.len(), 2);
    assert!(faults("['missing.ocsp', 'b']").starts_with("cannot read the OCSP response"));
    assert!(faults("['a']").contains("no OCSP response for certificate 2"));
    assert_eq!(faults("[]").lines().count(), 2);
    assert_eq!(faults("['b', 'a']").lines().count(), 2);
    assert!(faults("['a', 'b', 'b']").contains("there are 3 OCSP responses"));
}
