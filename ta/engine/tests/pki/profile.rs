//! What certificates must be for: TAMs, TEEs, service providers, anchors.

use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use otrp_engine::pki::{Certificate, Error, Role, Untrusted, check_sp_certificate};

use crate::fixture::*;
use crate::support::{OpensslRsa, elliptic, p256, rsa};
use crate::x509::*;

/// `otrp-keys vet` tells a maker the same of an anchor as devices say to whatever leads to it.
#[test]
fn anchors_are_vetted_by_the_same_rules() {
    type Row = (&'static str, bool, fn(&mut World));
    let rows: &[Row] = &[
        ("as it stands", true, |_| ()),
        ("without keyUsage", true, |world| world.root.set(KEY_USAGE, true, None)),
        ("an unknown extension", true, |world| world.root.set(UNKNOWN, false, Some(&[5, 0]))),
        ("a critical one", false, |world| world.root.set(UNKNOWN, true, Some(&[5, 0]))),
        ("not an authority", false, |world| {
            world.root.set(BASIC_CONSTRAINTS, true, Some(&[0x30, 0]))
        }),
        ("without basicConstraints", false, |world| {
            world.root.set(BASIC_CONSTRAINTS, true, None);
        }),
        ("without keyCertSign", false, |world| {
            world.root.set(KEY_USAGE, true, Some(CRL_SIGN_ONLY));
        }),
        ("an RSA key", true, |world| world.root.key = RSA_2048.clone()),
        ("a short RSA key", false, |world| world.root.key = RSA_1024.clone()),
        ("a small exponent", false, |world| {
            let key = Rsa::generate_with_e(2048, &BigNum::from_u32(3).unwrap()).unwrap();
            world.root.key = PKey::from_rsa(key).unwrap();
        }),
        ("a key on P-384", true, |world| world.root.key = elliptic(Nid::SECP384R1)),
        ("a key on P-521", false, |world| world.root.key = elliptic(Nid::SECP521R1)),
    ];
    for (name, accepted, change) in rows {
        let mut world = World::new();
        change(&mut world);
        assert_eq!(world.verify().is_ok(), *accepted, "{name}: a device");
        let now = NOW.unsigned_abs();
        let root = world.root_der();
        for role in [otrp_check::anchor::Role::Tam, otrp_check::anchor::Role::Tee] {
            let faults = otrp_check::anchor::check(&root, role, now);
            assert_eq!(faults.is_empty(), *accepted, "{name}: {faults:?}");
        }
        // What is no certificate to one is none to the other.
        for spoiled in [&root[1..], &root[..root.len() - 1], &[&root[..], &[0]].concat()] {
            assert!(Certificate::parse(spoiled).is_err());
            assert!(
                !otrp_check::anchor::check(spoiled, otrp_check::anchor::Role::Tam, now).is_empty()
            );
        }
    }
}

/// From: openssl asn1parse -genstr OID:2.25.210040065247686543256106716383694557268.1
const TEE_PURPOSE: [u8; 23] = [
    0x06, 0x15, 0x69, 0x82, 0xbc, 0x84, 0x9f, 0xb0, 0x82, 0x84, 0x9a, 0x85, 0xbd, 0x85, 0x9e, 0xda,
    0xa1, 0xa6, 0xe9, 0xd0, 0xa0, 0x54, 0x01,
];

#[test]
fn the_purpose_of_tees_makes_tees_and_no_tams() {
    let tee = element(0x30, &TEE_PURPOSE);
    let neighbour = element(0x30, &[&TEE_PURPOSE[..22], &[2]].concat());
    let after_tls = element(0x30, &[contents(FOR_TLS), &TEE_PURPOSE].concat());
    for (name, purposes, of_tees, of_tams) in [
        ("none", None, true, true),
        ("TEEs", Some(&tee[..]), true, false),
        ("TLS and TEEs", Some(&after_tls), true, false),
        ("any, and TLS", Some(FOR_TLS_AND_ANY), true, true),
        ("TLS", Some(FOR_TLS), false, false),
        ("the next arc", Some(&neighbour), false, false),
    ] {
        for (role, accepted) in [(Role::Tee, of_tees), (Role::Tam, of_tams)] {
            for authority in [false, true] {
                let mut world = World::new();
                world.role = role;
                let template = if authority { &mut world.authority } else { &mut world.leaf };
                template.set(EXTENDED_KEY_USAGE, false, purposes);
                let expected = if accepted { Ok(()) } else { Err(Untrusted::Usage) };
                assert_eq!(world.verify(), expected, "{name} {role:?} {authority}");
            }
        }
    }
}

/// Each beside what it differs from in one thing, and which is accepted.
#[test]
fn what_public_authorities_may_issue_and_is_refused() {
    const POLICIES: &str = "2.5.29.32";
    // anyPolicy.
    const ANY_POLICY: &[u8] = &[0x30, 8, 0x30, 6, 6, 4, 0x55, 0x1d, 0x20, 0];
    type Row = (&'static str, fn(&mut World), fn(&mut World), Untrusted);
    let critical = Untrusted::Certificate(Error::CriticalExtension);
    let rows: &[Row] = &[
        (
            "critical policies of a TAM",
            |world| world.leaf.set(POLICIES, false, Some(ANY_POLICY)),
            |world| world.leaf.set(POLICIES, true, Some(ANY_POLICY)),
            critical,
        ),
        (
            "critical policies of an authority",
            |world| world.authority.set(POLICIES, false, Some(ANY_POLICY)),
            |world| world.authority.set(POLICIES, true, Some(ANY_POLICY)),
            critical,
        ),
        (
            "a TAM for TLS only",
            |world| world.leaf.set(EXTENDED_KEY_USAGE, false, Some(FOR_TLS_AND_ANY)),
            |world| world.leaf.set(EXTENDED_KEY_USAGE, false, Some(FOR_TLS)),
            Untrusted::Usage,
        ),
        (
            "an authority for TLS only",
            |world| world.authority.set(EXTENDED_KEY_USAGE, false, Some(FOR_TLS_AND_ANY)),
            |world| world.authority.set(EXTENDED_KEY_USAGE, false, Some(FOR_TLS)),
            Untrusted::Usage,
        ),
        (
            "an elliptic key for signatures only",
            |world| world.leaf.set(KEY_USAGE, true, Some(SIGN_AND_AGREE)),
            |world| world.leaf.set(KEY_USAGE, true, Some(SIGN_ONLY)),
            Untrusted::Usage,
        ),
        (
            "an RSA key for signatures only",
            |world| {
                world.leaf.key = RSA_2048.clone();
                world.leaf.set(KEY_USAGE, true, Some(SIGN_AND_ENCIPHER));
            },
            |world| {
                world.leaf.key = RSA_2048.clone();
                world.leaf.set(KEY_USAGE, true, Some(SIGN_ONLY));
            },
            Untrusted::Usage,
        ),
    ];
    for (name, good, bad, expected) in rows {
        let mut world = World::new();
        good(&mut world);
        assert_eq!(world.verify(), Ok(()), "{name}");
        let mut world = World::new();
        bad(&mut world);
        assert_eq!(world.verify(), Err(*expected), "{name}");
    }

    let key = p256();
    let changed =
        |change: &dyn Fn(&mut Vec<Vec<u8>>)| leaf_by(&key, MessageDigest::sha256(), change);
    for (not_before, expected) in [
        (b"700101000000Z", Ok(())),
        (b"691231235959Z", Err(Untrusted::Certificate(Error::Malformed))),
        (b"500101000000Z", Err(Untrusted::Certificate(Error::Malformed))),
    ] {
        let dated = changed(&|parts| {
            let not_after = elements(contents(&parts[4])).remove(1);
            parts[4] = element(0x30, &[element(0x17, not_before), not_after].concat());
        });
        assert_eq!(dated, expected);
    }
    let named = |tag: u8| {
        changed(&|parts| {
            let string = parts[3].iter().position(|octet| *octet == 0x0c).unwrap();
            parts[3][string] = tag;
        })
    };
    assert_eq!(named(0x0c), Ok(()), "the issuer's name in UTF8String, as its subject");
    assert_eq!(named(0x13), Err(Untrusted::Order), "in PrintableString");
}

#[test]
fn certificates_of_service_providers_are_checked() {
    type Row = (&'static str, fn(&mut Template), Result<(), Error>);
    let rows: &[Row] = &[
        ("P-256", |_| (), Ok(())),
        ("RSA-2048", |template| template.key = RSA_2048.clone(), Ok(())),
        ("RSA-4096", |template| template.key = rsa(4096), Ok(())),
        ("expired", |template| template.not_after = template.not_before + 1, Ok(())),
        ("an authority", |template| template.set(BASIC_CONSTRAINTS, true, Some(CA)), Ok(())),
        ("no extensions", |template| template.extensions.clear(), Ok(())),
        (
            "for any use",
            |template| template.set(EXTENDED_KEY_USAGE, true, Some(FOR_TLS_AND_ANY)),
            Ok(()),
        ),
        (
            "for TLS",
            |template| template.set(EXTENDED_KEY_USAGE, true, Some(FOR_TLS)),
            Err(Error::Usage),
        ),
        (
            "for certificates",
            |template| template.set(KEY_USAGE, true, Some(CERTIFY)),
            Err(Error::Usage),
        ),
        (
            "unknown critical extension",
            |template| template.set(UNKNOWN, true, Some(&[5, 0])),
            Err(Error::CriticalExtension),
        ),
        ("RSA-1024", |template| template.key = RSA_1024.clone(), Err(Error::Key)),
        ("P-384", |template| template.key = elliptic(Nid::SECP384R1), Err(Error::Key)),
    ];
    for (name, change, expected) in rows {
        let mut template = sp_template(p256());
        change(&mut template);
        let der = template.sign(&template.key);
        assert_eq!(check_sp_certificate::<OpensslRsa>(&der).map(|_| ()), *expected, "{name}");
    }

    let template = sp_template(p256());
    let by_another_key = template.sign(&p256());
    let result = check_sp_certificate::<OpensslRsa>(&by_another_key).map(|_| ());
    assert_eq!(result, Err(Error::Signature), "self-issued, by another key");
    let sha1 = template.sign_with(&template.key, MessageDigest::sha1());
    let result = check_sp_certificate::<OpensslRsa>(&sha1).map(|_| ());
    assert_eq!(result, Err(Error::Signature), "self-issued, with SHA-1");
    let sha384 = template.sign_with(&template.key, MessageDigest::sha384());
    assert!(check_sp_certificate::<OpensslRsa>(&sha384).is_ok(), "self-issued, with SHA-384");
    let rsa = sp_template(RSA_2048.clone());
    for digest in [MessageDigest::sha256(), MessageDigest::sha384(), MessageDigest::sha512()] {
        let der = rsa.sign_with(&rsa.key, digest);
        assert!(check_sp_certificate::<OpensslRsa>(&der).is_ok(), "{:?}", digest.type_());
    }
    let issued = Template { issuer: "somebody", ..template }.sign(&p256());
    assert!(check_sp_certificate::<OpensslRsa>(&issued).is_ok(), "by somebody else");
}
