//! Certificates, paths and requests: OpenSSL makes them, or checks them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
#![allow(missing_docs, reason = "nobody links a test")]

#[path = "support/mod.rs"]
mod support;
#[path = "support/x509.rs"]
mod x509;

use std::sync::LazyLock;

use openssl::asn1::Asn1Object;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::PointConversionForm;
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::sha::sha256;
use openssl::x509::{X509, X509Req};
use otrp_engine::crypto::rsa::signature::Padding;
use otrp_engine::crypto::{PublicKey, Scheme, Signature};
use otrp_engine::pki::{
    COMMON_NAME_LIMIT, Certificate, Error, REQUEST_LIMIT, RequestError, Role, Untrusted, Usage,
    attestation_key, certification_request, check_sp_certificate, split_chain, split_der,
    verify_path, verify_tam,
};
use otrp_engine::platform::{OwnPublicKey, Point, PortError, RsaPublic};
use otrp_engine::trust::{Anchor, Trust};
use otrp_wire::limits::{CERTIFICATE_LIMIT, CHAIN_BYTES_LIMIT, CHAIN_LIMIT, TAM_ID_LIMIT};
use support::{OpensslRsa, elliptic, p256, rsa, sign_p256, sign_rsa, spki};
use x509::*;

const TAM_URI: &str = "https://tam.example.org/otrp";
const UNKNOWN: &str = "1.3.6.1.4.1.99999.1";

static RSA_2048: LazyLock<PKey<Private>> = LazyLock::new(|| rsa(2048));
static RSA_1024: LazyLock<PKey<Private>> = LazyLock::new(|| rsa(1024));

fn root(key: PKey<Private>) -> Template {
    let extensions = [(BASIC_CONSTRAINTS, true, CA), (KEY_USAGE, true, CERTIFY)];
    Template::new("root", "root", key, &extensions)
}

fn authority(subject: &'static str, issuer: &'static str, key: PKey<Private>) -> Template {
    Template { subject, issuer, ..root(key) }
}

fn leaf(issuer: &'static str, key: PKey<Private>) -> Template {
    let names = names(&[(URI, TAM_URI.as_bytes())]);
    let extensions = [
        (BASIC_CONSTRAINTS, true, NOT_CA),
        (KEY_USAGE, true, SIGN_AND_AGREE),
        (ALTERNATIVE_NAME, false, &names),
    ];
    Template::new("TAM", issuer, key, &extensions)
}

/// A root, an issuing authority and a TAM, before they are signed: what a row changes.
struct World {
    root: Template,
    authority: Template,
    leaf: Template,
    /// Who signs instead of the authority's and the root's key.
    leaf_signer: Option<PKey<Private>>,
    authority_signer: Option<PKey<Private>>,
    anchored: bool,
    now: i64,
    role: Role,
}

impl World {
    fn new() -> Self {
        Self {
            root: root(p256()),
            authority: authority("authority", "root", p256()),
            leaf: leaf("authority", p256()),
            leaf_signer: None,
            authority_signer: None,
            anchored: true,
            now: NOW,
            role: Role::Tam,
        }
    }

    fn root_der(&self) -> Vec<u8> {
        self.root.sign(&self.root.key)
    }

    fn authority_der(&self) -> Vec<u8> {
        self.authority.sign(self.authority_signer.as_ref().unwrap_or(&self.root.key))
    }

    fn leaf_der(&self) -> Vec<u8> {
        self.leaf.sign(self.leaf_signer.as_ref().unwrap_or(&self.authority.key))
    }

    fn verify(&self) -> Result<(), Untrusted> {
        let anchors: Vec<_> = self.anchored.then(|| self.root_der()).into_iter().collect();
        verify(&[self.leaf_der(), self.authority_der()], &anchors, self.now, self.role)
    }
}

fn forever(anchors: &[Vec<u8>]) -> Vec<Anchor> {
    anchors.iter().map(|anchor| Anchor::of(anchor.clone().leak())).collect()
}

/// What trusts these anchors.
fn trust(anchors: &[Vec<u8>]) -> Trust {
    Trust {
        tam_anchors: forever(anchors).leak(),
        tee_anchor: &[],
        evicted: &[],
        reserved: &[],
        floor_epoch: 0,
        development: false,
        tee_name: "",
        rsa1_5: true,
        built_at: 0,
    }
}

const fn always(_: &[u8; 32]) -> u64 {
    NOW.unsigned_abs()
}

fn verify(chain: &[Vec<u8>], anchors: &[Vec<u8>], now: i64, role: Role) -> Result<(), Untrusted> {
    let chain: Vec<_> = chain.iter().map(Vec::as_slice).collect();
    let now = now.try_into().unwrap();
    let verified = verify_path::<OpensslRsa>(&chain, &forever(anchors), |_| now, role).map(|_| ());
    if role == Role::Tam {
        compare(&chain, anchors, now, verified);
    }
    verified
}

/// Whoever runs a TAM is told the same by the rules as they are written a second time. The length
/// of a chain is judged elsewhere in a device; without an anchor the chain's own root is taken there.
fn compare(chain: &[&[u8]], anchors: &[Vec<u8>], now: u64, verified: Result<(), Untrusted>) {
    if anchors.is_empty() || chain.concat().len() > CHAIN_BYTES_LIMIT {
        return;
    }
    let anchors: Vec<&[u8]> = anchors.iter().map(Vec::as_slice).collect();
    let checked = otrp_check::chain::check(chain, &anchors, now).map(|_| ());
    assert_eq!(checked.is_ok(), verified.is_ok(), "{checked:?}, and a device {verified:?}");
}

#[test]
fn a_path_tells_who_it_is_and_by_whom() {
    let world = World::new();
    let (leaf, authority, root) = (world.leaf_der(), world.authority_der(), world.root_der());
    let trust = trust(std::slice::from_ref(&root));
    for chain in [vec![&leaf[..], &authority], vec![&leaf[..], &authority, &root]] {
        let tam = verify_tam::<OpensslRsa>(&chain, &trust, always).unwrap();
        assert_eq!(tam.identity().as_str(), TAM_URI);
        assert_eq!(tam.key(), &PublicKey::P256(point(&world.leaf.key)));
        assert_eq!(tam.path().leaf().der(), leaf);
        assert_eq!(tam.path().leaf().fingerprint(), sha256(&leaf));
        let authorities: Vec<_> = tam.path().authorities().iter().map(Certificate::der).collect();
        assert_eq!(authorities, [&authority[..], &root]);
    }
    let (chain, anchors) = ([&leaf[..], &authority], trust.tam_anchors);
    assert!(verify_path::<OpensslRsa>(&chain, anchors, always, Role::Tee).is_ok());
}

#[test]
fn paths_are_accepted() {
    type Row = (&'static str, fn(&mut World));
    let rows: &[Row] = &[
        ("as it stands", |_| ()),
        ("at its first second", |world| world.now = NOW - 1000),
        ("at its last second", |world| world.now = NOW + 1000),
        ("a leaf without keyUsage", |world| world.leaf.set(KEY_USAGE, true, None)),
        ("a leaf without basicConstraints", |world| {
            world.leaf.set(BASIC_CONSTRAINTS, true, None);
        }),
        ("an authority without keyUsage", |world| world.authority.set(KEY_USAGE, true, None)),
        ("any extended key usage", |world| {
            world.leaf.set(EXTENDED_KEY_USAGE, true, Some(FOR_TLS_AND_ANY));
        }),
        ("an unknown extension", |world| world.leaf.set(UNKNOWN, false, Some(&[5, 0]))),
        ("a path length that is just enough", |world| {
            world.authority.set(BASIC_CONSTRAINTS, true, Some(&[0x30, 6, 1, 1, 0xff, 2, 1, 0]));
            world.root.set(BASIC_CONSTRAINTS, true, Some(&[0x30, 6, 1, 1, 0xff, 2, 1, 1]));
        }),
        ("a name within the constraints", |world| {
            world.leaf.set(ALTERNATIVE_NAME, false, Some(&names(&[(DNS, b"tam.example.org")])));
            let within = name_constraints(0xa0, DNS, b"example.org");
            world.authority.set(NAME_CONSTRAINTS, true, Some(&within));
        }),
        ("constraints of another form of name", |world| {
            let other = name_constraints(0xa0, DNS, b"example.com");
            world.authority.set(NAME_CONSTRAINTS, true, Some(&other));
        }),
        ("an RSA leaf", |world| {
            world.leaf.key = RSA_2048.clone();
            world.leaf.set(KEY_USAGE, true, Some(SIGN_AND_ENCIPHER));
        }),
        ("an RSA authority", |world| world.authority.key = RSA_2048.clone()),
        ("an RSA root", |world| world.root.key = RSA_2048.clone()),
        ("a TEE without a name", |world| {
            world.role = Role::Tee;
            world.leaf.set(ALTERNATIVE_NAME, false, None);
        }),
        ("a root that has expired", |world| world.root.not_after = NOW - 1),
        #[cfg(feature = "p384")]
        ("P-384 authorities", |world| {
            world.root.key = elliptic(Nid::SECP384R1);
            world.authority.key = elliptic(Nid::SECP384R1);
        }),
    ];
    for (name, change) in rows {
        let mut world = World::new();
        change(&mut world);
        assert_eq!(world.verify(), Ok(()), "{name}");
    }
}

#[test]
fn each_spoiled_path_is_refused() {
    type Row = (&'static str, fn(&mut World), Untrusted);
    let malformed = Untrusted::Certificate(Error::Malformed);
    let key = Untrusted::Certificate(Error::Key);
    let critical = Untrusted::Certificate(Error::CriticalExtension);
    let rows: &[Row] = &[
        // Validity.
        ("leaf expired", |world| world.leaf.not_after = NOW - 1, Untrusted::Expired),
        ("leaf not yet valid", |world| world.leaf.not_before = NOW + 1, Untrusted::NotYetValid),
        ("authority expired", |world| world.authority.not_after = NOW - 1, Untrusted::Expired),
        (
            "authority not yet valid",
            |world| world.authority.not_before = NOW + 1,
            Untrusted::NotYetValid,
        ),
        ("a second too late", |world| world.now = NOW + 1001, Untrusted::Expired),
        ("a second too early", |world| world.now = NOW - 1001, Untrusted::NotYetValid),
        // Names and signatures.
        ("no anchor", |world| world.anchored = false, Untrusted::UnknownIssuer),
        ("leaf by another name", |world| world.leaf.issuer = "another", Untrusted::Order),
        ("authority by another", |world| world.authority.issuer = "x", Untrusted::UnknownIssuer),
        ("leaf by another key", |world| world.leaf_signer = Some(p256()), Untrusted::Signature),
        (
            "authority by another key",
            |world| world.authority_signer = Some(p256()),
            Untrusted::Signature,
        ),
        (
            "leaf by a key of another kind",
            |world| world.leaf_signer = Some(RSA_2048.clone()),
            Untrusted::Signature,
        ),
        (
            "leaf by the root's key",
            |world| world.leaf_signer = Some(world.root.key.clone()),
            Untrusted::Signature,
        ),
        // Who may be an authority.
        (
            "authority: CA false",
            |world| world.authority.set(BASIC_CONSTRAINTS, true, Some(NOT_CA)),
            Untrusted::Authority,
        ),
        (
            "authority: no basicConstraints",
            |world| world.authority.set(BASIC_CONSTRAINTS, true, None),
            Untrusted::Authority,
        ),
        (
            "root: CA false",
            |world| world.root.set(BASIC_CONSTRAINTS, true, Some(NOT_CA)),
            Untrusted::Authority,
        ),
        (
            "leaf: CA true",
            |world| world.leaf.set(BASIC_CONSTRAINTS, true, Some(CA)),
            Untrusted::Authority,
        ),
        (
            "root: path length 0",
            |world| {
                world.root.set(BASIC_CONSTRAINTS, true, Some(&[0x30, 6, 1, 1, 0xff, 2, 1, 0]));
            },
            Untrusted::PathLength,
        ),
        // Usages.
        (
            "authority without keyCertSign",
            |world| world.authority.set(KEY_USAGE, true, Some(CRL_SIGN_ONLY)),
            Untrusted::Usage,
        ),
        (
            "root without keyCertSign",
            |world| world.root.set(KEY_USAGE, true, Some(CRL_SIGN_ONLY)),
            Untrusted::Usage,
        ),
        (
            "leaf without keyAgreement",
            |world| world.leaf.set(KEY_USAGE, true, Some(SIGN_ONLY)),
            Untrusted::Usage,
        ),
        (
            "leaf without digitalSignature",
            |world| world.leaf.set(KEY_USAGE, true, Some(AGREE_ONLY)),
            Untrusted::Usage,
        ),
        (
            "elliptic leaf with RSA's usage",
            |world| world.leaf.set(KEY_USAGE, true, Some(SIGN_AND_ENCIPHER)),
            Untrusted::Usage,
        ),
        (
            "RSA leaf with the elliptic usage",
            |world| world.leaf.key = RSA_2048.clone(),
            Untrusted::Usage,
        ),
        (
            "leaf for TLS only",
            |world| world.leaf.set(EXTENDED_KEY_USAGE, false, Some(FOR_TLS)),
            Untrusted::Usage,
        ),
        (
            "authority for TLS only",
            |world| world.authority.set(EXTENDED_KEY_USAGE, false, Some(FOR_TLS)),
            Untrusted::Usage,
        ),
        // Name constraints.
        (
            "name outside the permitted",
            |world| {
                world.leaf.set(ALTERNATIVE_NAME, false, Some(&names(&[(DNS, b"tam.example.com")])));
                let within = name_constraints(0xa0, DNS, b"example.org");
                world.authority.set(NAME_CONSTRAINTS, true, Some(&within));
            },
            Untrusted::NameConstraint,
        ),
        (
            "name among the excluded",
            |world| {
                world.leaf.set(ALTERNATIVE_NAME, false, Some(&names(&[(DNS, b"tam.example.org")])));
                let without = name_constraints(0xa1, DNS, b"example.org");
                world.authority.set(NAME_CONSTRAINTS, true, Some(&without));
            },
            Untrusted::NameConstraint,
        ),
        (
            "a second name outside the permitted",
            |world| {
                let two = names(&[(URI, TAM_URI.as_bytes()), (ADDRESS, &[192, 0, 2, 1])]);
                world.leaf.set(ALTERNATIVE_NAME, false, Some(&two));
                let network = [10, 0, 0, 0, 255, 0, 0, 0];
                let within = name_constraints(0xa0, ADDRESS, &network);
                world.authority.set(NAME_CONSTRAINTS, true, Some(&within));
            },
            Untrusted::NameConstraint,
        ),
        (
            "URI constraints, which are not evaluated",
            |world| {
                let within = name_constraints(0xa0, URI, b".example.org");
                world.authority.set(NAME_CONSTRAINTS, true, Some(&within));
            },
            Untrusted::NameConstraint,
        ),
        (
            "the root's constraints",
            |world| {
                world.leaf.set(ALTERNATIVE_NAME, false, Some(&names(&[(DNS, b"tam.example.com")])));
                let within = name_constraints(0xa0, DNS, b"example.org");
                world.root.set(NAME_CONSTRAINTS, true, Some(&within));
            },
            Untrusted::NameConstraint,
        ),
        // Extensions.
        (
            "leaf: unknown critical extension",
            |world| world.leaf.set(UNKNOWN, true, Some(&[5, 0])),
            critical,
        ),
        (
            "authority: unknown critical extension",
            |world| world.authority.set(UNKNOWN, true, Some(&[5, 0])),
            critical,
        ),
        (
            // cRLDistributionPoints: webpki would take it for understood.
            "leaf: critical extension that is not processed",
            |world| world.leaf.set("2.5.29.31", true, Some(&[0x30, 4, 0x30, 2, 0xa0, 0])),
            critical,
        ),
        (
            "leaf: empty extended key usage",
            |world| world.leaf.set(EXTENDED_KEY_USAGE, true, Some(&[0x30, 0])),
            malformed,
        ),
        // Identity.
        (
            "no alternative name",
            |world| world.leaf.set(ALTERNATIVE_NAME, false, None),
            Untrusted::Identity,
        ),
        (
            "no name that identifies a TAM",
            |world| {
                world.leaf.set(
                    ALTERNATIVE_NAME,
                    false,
                    Some(&names(&[(ADDRESS, &[192, 0, 2, 1])])),
                );
            },
            Untrusted::Identity,
        ),
        // Keys.
        ("leaf: RSA-1024", |world| world.leaf.key = RSA_1024.clone(), key),
        ("leaf: P-384", |world| world.leaf.key = elliptic(Nid::SECP384R1), key),
        ("leaf: secp256k1", |world| world.leaf.key = elliptic(Nid::SECP256K1), key),
        ("leaf: Ed25519", |world| world.leaf.key = PKey::generate_ed25519().unwrap(), key),
        (
            "authority: RSA-1024",
            |world| world.authority.key = RSA_1024.clone(),
            Untrusted::Signature,
        ),
        ("root: RSA-1024", |world| world.root.key = RSA_1024.clone(), Untrusted::Signature),
        (
            "authority: secp256k1",
            |world| world.authority.key = elliptic(Nid::SECP256K1),
            Untrusted::Signature,
        ),
        (
            "authority: P-521",
            |world| world.authority.key = elliptic(Nid::SECP521R1),
            Untrusted::Signature,
        ),
    ];
    for (name, change, expected) in rows {
        let mut world = World::new();
        change(&mut world);
        assert_eq!(world.verify(), Err(*expected), "{name}");
    }
}

/// A leaf that an authority with `key` signed with `digest`, and changed before it did.
fn leaf_by(
    key: &PKey<Private>,
    digest: MessageDigest,
    change: impl FnOnce(&mut Vec<Vec<u8>>),
) -> Result<(), Untrusted> {
    let world = World::new();
    let authority = Template { key: key.clone(), ..world.authority.clone() };
    let leaf = rebuild(&world.leaf.sign_with(key, digest), change, |tbs| {
        let mut signer = openssl::sign::Signer::new(digest, key).unwrap();
        signer.sign_oneshot_to_vec(tbs).unwrap()
    });
    assert!(X509::from_der(&leaf).unwrap().verify(key).unwrap(), "OpenSSL agrees");
    let chain = [leaf, authority.sign(&world.root.key)];
    verify(&chain, &[world.root_der()], NOW, Role::Tam)
}

#[test]
fn authorities_sign_with_the_digests_of_public_ones() {
    let rsa_3072 = rsa(3072);
    for (key, digest) in [
        (&p256(), MessageDigest::sha256()),
        (&p256(), MessageDigest::sha384()),
        (&RSA_2048, MessageDigest::sha256()),
        (&RSA_2048, MessageDigest::sha384()),
        (&RSA_2048, MessageDigest::sha512()),
        (&rsa_3072, MessageDigest::sha384()),
        (&rsa_3072, MessageDigest::sha512()),
        #[cfg(feature = "p384")]
        (&elliptic(Nid::SECP384R1), MessageDigest::sha256()),
        #[cfg(feature = "p384")]
        (&elliptic(Nid::SECP384R1), MessageDigest::sha384()),
    ] {
        assert_eq!(leaf_by(key, digest, |_| ()), Ok(()), "{:?} {:?}", key.id(), digest.type_());
    }
}

/// RFC 4055, section 5: the NULL of RSA's algorithms may be absent, and nothing else stands for it.
#[test]
fn the_parameters_of_rsa_signatures_may_be_absent() {
    for digest in [MessageDigest::sha256(), MessageDigest::sha384(), MessageDigest::sha512()] {
        let absent = |parts: &mut Vec<Vec<u8>>| {
            let with_null = contents(&parts[2]);
            parts[2] = element(0x30, with_null.strip_suffix(&[5, 0]).unwrap());
        };
        assert_eq!(leaf_by(&RSA_2048, digest, absent), Ok(()), "{:?}", digest.type_());
        let other = |parts: &mut Vec<Vec<u8>>| {
            let with_null = contents(&parts[2]);
            let bare = with_null.strip_suffix(&[5, 0]).unwrap();
            parts[2] = element(0x30, &[bare, &[4, 0]].concat());
        };
        assert_eq!(leaf_by(&RSA_2048, digest, other), Err(Untrusted::Algorithm));
    }
    // ECDSA's have none (RFC 5758, section 3.2).
    let null = |parts: &mut Vec<Vec<u8>>| {
        parts[2] = element(0x30, &[contents(&parts[2]), &[5, 0]].concat());
    };
    assert_eq!(leaf_by(&p256(), MessageDigest::sha256(), null), Err(Untrusted::Algorithm));
}

#[test]
fn other_digests_are_refused() {
    for (key, digest) in [
        (&p256(), MessageDigest::sha1()),
        (&p256(), MessageDigest::sha224()),
        (&p256(), MessageDigest::sha512()),
        (&RSA_2048, MessageDigest::md5()),
        (&RSA_2048, MessageDigest::sha1()),
        (&RSA_2048, MessageDigest::sha224()),
        (&elliptic(Nid::SECP384R1), MessageDigest::sha512()),
    ] {
        let refused = leaf_by(key, digest, |_| ());
        assert_eq!(refused, Err(Untrusted::Algorithm), "{:?} {:?}", key.id(), digest.type_());
    }
}

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

/// The length of the digest says which hash it is by, and RSA's padding says it again.
#[test]
fn a_signature_over_a_digest_is_none_by_another_hash() {
    for (inside, outside) in [(0x0b, 0x0c), (0x0b, 0x0d), (0x0c, 0x0b), (0x0d, 0x0c)] {
        let digest = match inside {
            0x0b => MessageDigest::sha256(),
            0x0c => MessageDigest::sha384(),
            _ => MessageDigest::sha512(),
        };
        let world = World::new();
        let authority = Template { key: RSA_2048.clone(), ..world.authority.clone() };
        let renamed = |parts: &mut Vec<Vec<u8>>| parts[2][12] = outside;
        let leaf = rebuild(&world.leaf.sign(&RSA_2048), renamed, |tbs| {
            let mut signer = openssl::sign::Signer::new(digest, &RSA_2048).unwrap();
            signer.sign_oneshot_to_vec(tbs).unwrap()
        });
        let chain = [leaf, authority.sign(&world.root.key)];
        let refused = verify(&chain, &[world.root_der()], NOW, Role::Tam);
        assert_eq!(refused, Err(Untrusted::Signature), "{inside:x} {outside:x}");
    }
}

/// AlgorithmIdentifier of RSASSA-PSS with SHA-256, MGF1 of SHA-256 and a salt of `salt` octets
/// (RFC 4055, section 3.1).
fn pss(salt: u8) -> Vec<u8> {
    let sha256 = [0x30, 0x0d, 0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0];
    let mgf1 = [0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8];
    let parameters = [
        element(0xa0, &sha256),
        element(0xa1, &element(0x30, &[&mgf1[..], &sha256].concat())),
        element(0xa2, &[2, 1, salt]),
    ];
    let identifier = [0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
    element(0x30, &[&identifier[..], &element(0x30, &parameters.concat())].concat())
}

#[test]
fn pss_signatures_are_accepted() {
    let mut world = World::new();
    world.authority.key = RSA_2048.clone();
    let leaf = |salt| {
        rebuild(
            &world.leaf_der(),
            |parts| parts[2] = pss(salt),
            |tbs| sign_rsa(&RSA_2048, Padding::Pss, &sha256(tbs)),
        )
    };
    let verify =
        |leaf: Vec<u8>| verify(&[leaf, world.authority_der()], &[world.root_der()], NOW, Role::Tam);
    let good = leaf(32);
    assert!(X509::from_der(&good).unwrap().verify(&RSA_2048).unwrap(), "OpenSSL agrees");
    assert_eq!(verify(good), Ok(()));
    assert_eq!(verify(leaf(20)), Err(Untrusted::Algorithm), "another salt");
}

#[test]
fn the_chain_is_the_path() {
    let world = World::new();
    let (leaf, authority, root) = (world.leaf_der(), world.authority_der(), world.root_der());
    let stranger = self::root(p256());
    let stranger = Template { subject: "stranger", issuer: "stranger", ..stranger };
    let stranger = stranger.sign(&stranger.key);
    let namesake = self::root(p256());
    let namesake = namesake.sign(&namesake.key);
    let renewed = Template { not_after: NOW + 5000, ..world.root.clone() }.sign(&world.root.key);
    // Key rollover: the authority's new key, certified with its old one.
    let rolled = self::authority("authority", "authority", p256());
    let rolled_leaf = world.leaf.sign(&rolled.key);
    let rolled = rolled.sign(&world.authority.key);
    let renamed = Template { subject: "x", issuer: "x", ..world.root.clone() };
    let renamed = renamed.sign(&world.root.key);
    // The root's key and name, issued by somebody else.
    let crossed = Template { issuer: "stranger", ..world.root.clone() }.sign(&p256());

    type Row<'a> = (&'static str, &'a [&'a Vec<u8>], &'a [&'a Vec<u8>], Result<(), Untrusted>);
    let rows: &[Row<'_>] = &[
        ("several anchors", &[&leaf, &authority], &[&stranger, &root], Ok(())),
        ("an anchor of the same name first", &[&leaf, &authority], &[&namesake, &root], Ok(())),
        ("an anchor that does not parse", &[&leaf, &authority], &[&Vec::new(), &root], Ok(())),
        ("the root issued again", &[&leaf, &authority, &renewed], &[&root], Ok(())),
        ("no certificate", &[], &[&root], Err(Untrusted::Empty)),
        ("the root alone", &[&root], &[&root], Err(Untrusted::Empty)),
        ("no anchors", &[&leaf, &authority, &root], &[], Err(Untrusted::UnknownIssuer)),
        ("a namesake of the root", &[&leaf, &authority], &[&namesake], Err(Untrusted::Signature)),
        (
            "the root's namesake presented",
            &[&leaf, &authority, &namesake],
            &[&root],
            Err(Untrusted::UnknownIssuer),
        ),
        (
            "the root's key under another name",
            &[&leaf, &authority, &renamed],
            &[&root],
            Err(Untrusted::Order),
        ),
        ("another root", &[&leaf, &authority, &root], &[&stranger], Err(Untrusted::UnknownIssuer)),
        ("a missing link", &[&leaf], &[&root], Err(Untrusted::UnknownIssuer)),
        ("a missing link below the root", &[&leaf, &root], &[&root], Err(Untrusted::UnknownIssuer)),
        ("the wrong order", &[&authority, &leaf], &[&root], Err(Untrusted::Order)),
        ("the leaf twice", &[&leaf, &leaf, &authority], &[&root], Err(Untrusted::Order)),
        ("the authority twice", &[&leaf, &authority, &authority], &[&root], Err(Untrusted::Order)),
        (
            "the root twice",
            &[&leaf, &authority, &root, &root],
            &[&root],
            Err(Untrusted::UnknownIssuer),
        ),
        ("a stranger at the end", &[&leaf, &authority, &stranger], &[&root], Err(Untrusted::Order)),
        (
            "an unverified certificate above a good path",
            &[&leaf, &authority, &crossed],
            &[&root],
            Err(Untrusted::UnknownIssuer),
        ),
        (
            "an unverified certificate above a good path, its issuer anchored",
            &[&leaf, &authority, &crossed],
            &[&root, &stranger],
            Err(Untrusted::Signature),
        ),
        ("the authority as a TAM", &[&authority], &[&root], Err(Untrusted::Authority)),
        (
            "a self-issued authority below another",
            &[&rolled_leaf, &rolled, &authority],
            &[&root],
            Err(Untrusted::Order),
        ),
    ];
    for (name, chain, anchors, expected) in rows {
        let owned = |list: &[&Vec<u8>]| list.iter().map(|der| (*der).clone()).collect::<Vec<_>>();
        let result = verify(&owned(chain), &owned(anchors), NOW, Role::Tam);
        assert_eq!(result, *expected, "{name}");
    }
}

#[test]
fn an_anchor_may_issue_leaves() {
    let world = World::new();
    let leaf = Template { issuer: "root", ..world.leaf.clone() }.sign(&world.root.key);
    assert_eq!(verify(&[leaf], &[world.root_der()], NOW, Role::Tam), Ok(()));
}

#[test]
fn the_longest_path_is_accepted_and_a_longer_one_is_not() {
    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    let verify = |below_root: usize, present_root: bool| {
        let top = root(p256());
        let root = top.sign(&top.key);
        let mut chain = Vec::from_iter(present_root.then(|| root.clone()));
        let (mut issuer, mut signer) = ("root", top.key);
        for subject in &NAMES[..below_root - 1] {
            let next = authority(subject, issuer, p256());
            chain.insert(0, next.sign(&signer));
            (issuer, signer) = (subject, next.key);
        }
        chain.insert(0, leaf(issuer, p256()).sign(&signer));
        verify(&chain, &[root], NOW, Role::Tam)
    };
    for present_root in [true, false] {
        assert_eq!(verify(CHAIN_LIMIT - 1, present_root), Ok(()));
        assert_eq!(verify(CHAIN_LIMIT, present_root), Err(Untrusted::TooMany));
    }
}

#[test]
fn a_path_length_binds_the_authorities_below() {
    let no_authority_below: &[u8] = &[0x30, 6, 1, 1, 0xff, 2, 1, 0];
    let world = World::new();
    let lower = authority("lower", "authority", p256());
    let leaf = leaf("lower", p256()).sign(&lower.key);
    for (limit, expected) in [(CA, Ok(())), (no_authority_below, Err(Untrusted::PathLength))] {
        let mut upper = world.authority.clone();
        upper.set(BASIC_CONSTRAINTS, true, Some(limit));
        let chain = [leaf.clone(), lower.sign(&upper.key), upper.sign(&world.root.key)];
        assert_eq!(verify(&chain, &[world.root_der()], NOW, Role::Tam), expected);
    }
}

/// Whatever octet of a chain is changed, nobody is trusted.
#[test]
fn each_octet_of_a_chain_counts() {
    let world = World::new();
    let chain = [world.leaf_der(), world.authority_der()];
    let trust = trust(&[world.root_der()]);
    for place in 0..chain.len() {
        for offset in 0..chain[place].len() {
            let mut spoiled = chain.clone();
            spoiled[place][offset] ^= 1;
            let chain = [&spoiled[0][..], &spoiled[1]];
            let result = verify_tam::<OpensslRsa>(&chain, &trust, always);
            assert!(result.is_err(), "certificate {place}, octet {offset}");
            compare(&chain, &[world.root_der()], NOW.try_into().unwrap(), result.map(|_| ()));
        }
    }
}

fn sp_template(key: PKey<Private>) -> Template {
    let extensions = [(KEY_USAGE, true, SIGN_ONLY), (EXTENDED_KEY_USAGE, false, FOR_CODE)];
    Template::new("SP", "SP", key, &extensions)
}

#[test]
fn a_certificate_is_taken_apart() {
    let key = p256();
    let mut template = leaf("authority", key.clone());
    template.set(BASIC_CONSTRAINTS, true, Some(&[0x30, 6, 1, 1, 0xff, 2, 1, 3]));
    let der = template.sign(&p256());
    let other = X509::from_der(&der).unwrap();
    let certificate = Certificate::parse(&der).unwrap();
    assert_eq!(certificate.der(), der);
    assert_eq!(certificate.serial(), [0x12, 0x34, 0x56, 0x78]);
    assert_eq!(certificate.subject(), other.subject_name().to_der().unwrap());
    assert_eq!(certificate.issuer(), other.issuer_name().to_der().unwrap());
    assert_eq!(certificate.spki(), spki(&key));
    assert_eq!(i64::try_from(certificate.validity().not_before).unwrap(), NOW - 1000);
    assert_eq!(i64::try_from(certificate.validity().not_after).unwrap(), NOW + 1000);
    assert!(certificate.is_authority());
    assert_eq!(certificate.path_length(), Some(3));
    assert!(!certificate.is_self_issued());
    assert!(certificate.allows(Usage::DigitalSignature));
    assert!(certificate.allows(Usage::KeyAgreement));
    assert!(!certificate.allows(Usage::KeyEncipherment));
    assert!(!certificate.allows(Usage::KeyCertSign));
    assert!(certificate.is_for(&own(&key)));
    assert!(!certificate.is_for(&own(&p256())));
    assert!(!certificate.is_for(&own(&RSA_2048)));
    let der = sp_template(RSA_2048.clone()).sign(&RSA_2048);
    let certificate = Certificate::parse(&der).unwrap();
    assert!(certificate.is_for(&own(&RSA_2048)));
    assert!(!certificate.is_for(&own(&rsa(2048))));
    assert!(!certificate.is_for(&own(&key)));
}

#[test]
fn dates_beyond_2050_are_read() {
    let mut template = sp_template(p256());
    template.not_before = 2_524_607_999; // 2049-12-31T23:59:59Z, the last UTCTime
    template.not_after = 253_402_300_799; // 9999-12-31T23:59:59Z, "no end" (RFC 5280, 4.1.2.5)
    let der = template.sign(&template.key);
    let validity = Certificate::parse(&der).unwrap().validity();
    assert_eq!((validity.not_before, validity.not_after), (2_524_607_999, 253_402_300_799));
}

#[test]
fn malformed_certificates_are_refused() {
    type Row = (&'static str, fn(&mut Vec<Vec<u8>>), Result<(), Error>);
    /// Replaces the extensions.
    fn extensions(parts: &mut [Vec<u8>], list: &[Vec<u8>]) {
        *parts.last_mut().unwrap() = element(0xa3, &element(0x30, &list.concat()));
    }
    /// An extension 2.5.29.`id`.
    fn extension(id: u8, flag: &[u8], value: &[u8]) -> Vec<u8> {
        let value = element(0x04, value);
        element(0x30, &[&[0x06, 3, 0x55, 0x1d, id], flag, &value].concat())
    }
    /// A Name of one set.
    fn name(attributes: &[&[u8]]) -> Vec<u8> {
        element(0x30, &element(0x31, &attributes.concat()))
    }
    /// A common name.
    fn attribute(tag: u8, text: &[u8]) -> Vec<u8> {
        element(0x30, &[&[6, 3, 0x55, 4, 3], &element(tag, text)[..]].concat())
    }
    const CRITICAL: &[u8] = &[1, 1, 0xff];
    let rows: &[Row] = &[
        ("nothing changed", |_| (), Ok(())),
        ("no extensions", |parts| drop(parts.pop()), Ok(())),
        ("version 1", |parts| drop(parts.remove(0)), Err(Error::Malformed)),
        ("version 2", |parts| parts[0] = vec![0xa0, 3, 2, 1, 1], Err(Error::Malformed)),
        ("version 4", |parts| parts[0] = vec![0xa0, 3, 2, 1, 3], Err(Error::Malformed)),
        ("serial zero", |parts| parts[1] = vec![2, 1, 0], Ok(())),
        ("serial of 20 octets", |parts| parts[1] = element(2, &[1; 20]), Ok(())),
        ("serial of 21 octets", |parts| parts[1] = element(2, &[1; 21]), Err(Error::Malformed)),
        ("serial negative", |parts| parts[1] = vec![2, 1, 0x80], Err(Error::Malformed)),
        ("serial empty", |parts| parts[1] = vec![2, 0], Err(Error::Malformed)),
        ("serial padded", |parts| parts[1] = vec![2, 2, 0, 1], Err(Error::Malformed)),
        (
            "validity backwards",
            |parts| {
                let times = elements(contents(&parts[4]));
                parts[4] = element(0x30, &[&times[1][..], &times[0]].concat());
            },
            Err(Error::Malformed),
        ),
        (
            "a time without seconds",
            |parts| {
                let time = element(0x17, b"2501010000Z");
                parts[4] = element(0x30, &[&time[..], &time].concat());
            },
            Err(Error::Malformed),
        ),
        (
            "a time with an offset",
            |parts| {
                let time = element(0x17, b"250101000000+0100");
                parts[4] = element(0x30, &[&time[..], &time].concat());
            },
            Err(Error::Malformed),
        ),
        (
            "30 February",
            |parts| {
                let time = element(0x17, b"250230000000Z");
                parts[4] = element(0x30, &[&time[..], &time].concat());
            },
            Err(Error::Malformed),
        ),
        (
            "a third time",
            |parts| parts[4] = element(0x30, &contents(&parts[4]).repeat(2)),
            Err(Error::Malformed),
        ),
        ("a subject without attributes", |parts| parts[5] = element(0x30, &[]), Ok(())),
        (
            "a name of two attributes at once",
            |parts| parts[5] = name(&[&attribute(0x0c, b"a"), &attribute(0x0c, b"b")]),
            Ok(()),
        ),
        ("an attribute of nothing", |parts| parts[5] = name(&[]), Err(Error::Malformed)),
        (
            "an attribute that is cut off in the subject",
            |parts| parts[5] = name(&[&element(0x30, &[6, 3, 0x55, 4, 3, 0x0c, 2, b'a'])]),
            Err(Error::Malformed),
        ),
        (
            "an attribute that is cut off in the issuer",
            |parts| parts[3] = name(&[&element(0x30, &[6, 3, 0x55, 4, 3, 0x0c, 2, b'a'])]),
            Err(Error::Malformed),
        ),
        (
            "an attribute with two values",
            |parts| {
                parts[5] = name(&[&element(0x30, &[6, 3, 0x55, 4, 3, 0x0c, 1, b'a', 0x0c, 0])]);
            },
            Err(Error::Malformed),
        ),
        (
            "an attribute without a type",
            |parts| parts[5] = name(&[&element(0x30, &[0x0c, 1, b'a', 0x0c, 1, b'a'])]),
            Err(Error::Malformed),
        ),
        (
            "an attribute whose type has no end",
            |parts| parts[5] = name(&[&element(0x30, &[6, 3, 0x55, 4, 0x83, 0x0c, 1, b'a'])]),
            Err(Error::Malformed),
        ),
        (
            "an attribute whose type has zeros in front",
            |parts| parts[5] = name(&[&element(0x30, &[6, 4, 0x55, 4, 0x80, 3, 0x0c, 1, b'a'])]),
            Err(Error::Malformed),
        ),
        (
            "an attribute whose type is empty",
            |parts| parts[5] = name(&[&element(0x30, &[6, 0, 0x0c, 1, b'a'])]),
            Err(Error::Malformed),
        ),
        (
            "an algorithm without an identifier",
            |parts| parts[2] = element(0x30, &[5, 0]),
            Err(Error::Malformed),
        ),
        (
            "an algorithm with two parameters",
            |parts| parts[2] = element(0x30, &[6, 3, 0x55, 4, 3, 5, 0, 5, 0]),
            Err(Error::Malformed),
        ),
        (
            "an algorithm that is not known",
            |parts| parts[2] = element(0x30, &[6, 3, 0x55, 4, 3, 5, 0]),
            Ok(()),
        ),
        (
            "an extension whose identifier has no end",
            |parts| {
                let value = element(4, &[5, 0]);
                extensions(parts, &[element(0x30, &[&[6, 2, 0x55, 0x9d], &value[..]].concat())]);
            },
            Err(Error::Malformed),
        ),
        (
            "a name without its set",
            |parts| parts[5] = element(0x30, &attribute(0x0c, b"a")),
            Err(Error::Malformed),
        ),
        (
            "an issuer's unique identifier",
            |parts| parts.insert(7, vec![0x81, 2, 0, 1]),
            Err(Error::Malformed),
        ),
        ("extensions twice", |parts| parts.push(parts[7].clone()), Err(Error::Malformed)),
        ("a part missing", |parts| drop(parts.remove(3)), Err(Error::Malformed)),
        (
            "an extension twice",
            |parts| {
                let usage = extension(15, CRITICAL, SIGN_ONLY);
                extensions(parts, &[usage.clone(), usage]);
            },
            Err(Error::Malformed),
        ),
        (
            "a default written out",
            |parts| extensions(parts, &[extension(15, &[1, 1, 0], SIGN_ONLY)]),
            Err(Error::Malformed),
        ),
        (
            "a boolean that is not DER",
            |parts| extensions(parts, &[extension(15, &[1, 1, 1], SIGN_ONLY)]),
            Err(Error::Malformed),
        ),
        (
            "an extension with something more",
            |parts| {
                let mut usage = extension(15, CRITICAL, SIGN_ONLY);
                usage.extend([5, 0]);
                usage[1] += 2;
                extensions(parts, &[usage]);
            },
            Err(Error::Malformed),
        ),
        (
            "a usage with something more",
            |parts| extensions(parts, &[extension(15, CRITICAL, &[3, 2, 7, 0x80, 5, 0])]),
            Err(Error::Malformed),
        ),
        (
            "a usage for nothing",
            |parts| extensions(parts, &[extension(15, CRITICAL, &[3, 2, 7, 0])]),
            Err(Error::Malformed),
        ),
        (
            "a path length without authority",
            |parts| extensions(parts, &[extension(19, CRITICAL, &[0x30, 3, 2, 1, 0])]),
            Err(Error::Malformed),
        ),
        (
            "a negative path length",
            |parts| {
                let constraints = [0x30, 6, 1, 1, 0xff, 2, 1, 0xff];
                extensions(parts, &[extension(19, CRITICAL, &constraints)]);
            },
            Err(Error::Malformed),
        ),
        (
            "no alternative names",
            |parts| extensions(parts, &[extension(17, &[], &[0x30, 0])]),
            Err(Error::Malformed),
        ),
        (
            "an alternative name of no known kind",
            |parts| extensions(parts, &[extension(17, &[], &names(&[(0x89, b"x")]))]),
            Err(Error::Malformed),
        ),
        (
            "an alternative name cut off",
            |parts| extensions(parts, &[extension(17, &[], &[0x30, 3, 0x82, 2, b'x'])]),
            Err(Error::Malformed),
        ),
        (
            "empty name constraints",
            |parts| extensions(parts, &[extension(30, CRITICAL, &[0x30, 0])]),
            Err(Error::Malformed),
        ),
        (
            "critical certificate policies",
            |parts| extensions(parts, &[extension(32, CRITICAL, &[0x30, 4, 0x30, 2, 6, 0])]),
            Err(Error::CriticalExtension),
        ),
    ];
    let template = sp_template(p256());
    let der = template.sign(&template.key);
    for (name, change, expected) in rows {
        let spoiled = rebuild(&der, change, |_| vec![0; 64]);
        assert_eq!(Certificate::parse(&spoiled).map(|_| ()), *expected, "{name}");
    }

    let outer = elements(contents(&der));
    let assemble = |parts: &[&[u8]]| element(0x30, &parts.concat());
    for (name, spoiled) in [
        ("trailing octet", [&der[..], &[0]].concat()),
        ("trailing element", assemble(&[&outer[0], &outer[1], &outer[2], &[5, 0]])),
        ("no signature", assemble(&[&outer[0], &outer[1]])),
        ("another algorithm outside", assemble(&[&outer[0], &pss(32), &outer[2]])),
        ("unused bits", assemble(&[&outer[0], &outer[1], &[3, 2, 1, 0]])),
        (
            "a length that is not the shortest",
            [&[0x30, 0x83, 0][..], &u16::try_from(der.len() - 4).unwrap().to_be_bytes(), &der[4..]]
                .concat(),
        ),
        ("an indefinite length", [&[0x30, 0x80][..], &der[4..], &[0, 0]].concat()),
        ("a SET", [&[0x31][..], &der[1..]].concat()),
    ] {
        assert_eq!(Certificate::parse(&spoiled).map(|_| ()), Err(Error::Malformed), "{name}");
    }
    for length in 0..der.len() {
        let result = Certificate::parse(&der[..length]).map(|_| ());
        assert_eq!(result, Err(Error::Malformed), "{length} octets");
    }
}

#[test]
fn the_longest_certificate_is_accepted_and_a_longer_one_is_not() {
    let template = |filler: usize| {
        let mut template = sp_template(p256());
        template.set(UNKNOWN, false, Some(&vec![0; filler]));
        template
    };
    // An ECDSA signature in DER has no fixed length: made again until it fits.
    let of_length = |length: usize| {
        (0_usize..)
            .map(|attempt| template(length - 350 + attempt % 20))
            .map(|template| template.sign(&template.key))
            .find(|der| der.len() == length)
            .unwrap()
    };
    let longest = of_length(CERTIFICATE_LIMIT);
    assert!(check_sp_certificate::<OpensslRsa>(&longest).is_ok());
    let longer = of_length(CERTIFICATE_LIMIT + 1);
    assert_eq!(Certificate::parse(&longer).map(|_| ()), Err(Error::TooLong));
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

#[test]
fn tam_identifiers_come_from_alternative_names() {
    let longest = format!("https://{}", "x".repeat(TAM_ID_LIMIT - 8));
    let too_long = format!("{longest}x");
    let registered = Asn1Object::from_str("1.3.6.1.4.1.311.21.20").unwrap();
    let registered = registered.as_slice();
    type Row<'a> = (&'a [(u8, &'a [u8])], Option<&'a str>);
    let rows: &[Row<'_>] = &[
        (&[(URI, b"https://tam.example.org/otrp")], Some("https://tam.example.org/otrp")),
        (&[(URI, b"urn:x")], Some("urn:x")),
        (&[(DNS, b"TAM_x.acme.com")], Some("tam_x.acme.com")),
        (&[(DNS, b"id1.TAMxyz.com")], Some("id1.tamxyz.com")),
        (&[(URI, b"HTTPS://TAM.Example.org/Otrp")], Some("https://tam.example.org/Otrp")),
        (&[(REGISTERED, registered)], Some("1.3.6.1.4.1.311.21.20")),
        (&[(REGISTERED, &[0x2a])], Some("1.2")),
        (&[(REGISTERED, &[0x27, 0x7f])], Some("0.39.127")),
        (&[(REGISTERED, &[0x88, 0x37])], Some("2.999")),
        // The order of the kinds, and within a kind that of the certificate.
        (&[(DNS, b"a.example"), (URI, b"u:1"), (REGISTERED, &[0x2a])], Some("1.2")),
        (&[(DNS, b"a.example"), (URI, b"u:1"), (URI, b"u:2")], Some("u:1")),
        (
            &[(ADDRESS, &[192, 0, 2, 1]), (DNS, b"a.example"), (DNS, b"b.example")],
            Some("a.example"),
        ),
        // A bad one does not give way to the next.
        (&[(DNS, b"a.example"), (URI, b"no colon")], None),
        (&[(URI, b"u:1"), (REGISTERED, &[0x80, 1])], None),
        (&[(ADDRESS, &[192, 0, 2, 1])], None),
        (&[(0x81, b"tam@example.org")], None),
        // Not what the kind demands, or what could be confused with another kind.
        (&[(URI, b"")], None),
        (&[(URI, b"tam.example.org")], None),
        (&[(URI, b":x")], None),
        (&[(URI, b"https:")], None),
        (&[(URI, b"1.2:3")], None),
        (&[(URI, b"https://a b")], None),
        (&[(URI, b"https://a\"b")], None),
        (&[(URI, b"https://a\\b")], None),
        (&[(URI, b"https://a\nb")], None),
        (&[(URI, b"https://a\0b")], None),
        (&[(URI, b"https://a\x7f")], None),
        (&[(URI, "https://caf\u{e9}".as_bytes())], None),
        (&[(URI, b"https://\xff")], None),
        (&[(DNS, b"")], None),
        (&[(DNS, b"*.example.org")], None),
        (&[(DNS, b"1.2.840")], None),
        (&[(DNS, b"a:b")], None),
        (&[(DNS, b"a..b")], None),
        (&[(DNS, b"a b")], None),
        (&[(DNS, b"a\0.example")], None),
        (&[(REGISTERED, b"")], None),
        (&[(REGISTERED, &[0x2a, 0x86])], None),
        (&[(REGISTERED, &[0x2a, 0x80, 1])], None),
        (
            &[(
                REGISTERED,
                &[
                    0x83, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
                ],
            )],
            None,
        ),
        (&[(REGISTERED, &[0x2a; TAM_ID_LIMIT])], None),
        // Length.
        (&[(URI, longest.as_bytes())], Some(&longest)),
        (&[(URI, too_long.as_bytes())], None),
    ];
    for (list, expected) in rows {
        let mut template = leaf("authority", p256());
        template.set(ALTERNATIVE_NAME, false, Some(&names(list)));
        let der = template.sign(&p256());
        let identity = Certificate::parse(&der).unwrap().tam_id();
        assert_eq!(identity.as_ref().map(|id| id.as_str()), *expected, "{list:x?}");
    }
    // A UUID as one number: ITU-T X.667, section 7.
    let number = "2.25.329800735698586629295641978511506172918";
    let registered = Asn1Object::from_str(number).unwrap();
    let mut template = leaf("authority", p256());
    template.set(ALTERNATIVE_NAME, false, Some(&names(&[(REGISTERED, registered.as_slice())])));
    let der = template.sign(&p256());
    assert_eq!(Certificate::parse(&der).unwrap().tam_id().unwrap().as_str(), number);
}

/// An RSA public key of `bits` and `exponent`, which nobody has the private key of.
fn rsa_spki(bits: i32, exponent: u64, odd: bool) -> Vec<u8> {
    let mut modulus = BigNum::new().unwrap();
    modulus.set_bit(bits - 1).unwrap();
    if odd {
        modulus.set_bit(0).unwrap();
    }
    let exponent = BigNum::from_slice(&exponent.to_be_bytes()).unwrap();
    let key = Rsa::from_public_components(modulus, exponent).unwrap();
    key.public_key_to_der().unwrap()
}

#[test]
fn keys_are_bounded() {
    for (bits, exponent, odd, accepted) in [
        (2048, 65537, true, true),
        (4096, 65537, true, true),
        (2056, 65537, true, true),
        (3072, 0xffff_ffff, true, true),
        (2047, 65537, true, false),
        (2041, 65537, true, false),
        (4097, 65537, true, false),
        (8192, 65537, true, false),
        (2048, 65537, false, false),
        (2048, 3, true, false),
        (2048, 65535, true, false),
        (2048, 65538, true, false),
        (2048, 0x1_0000_0001, true, false),
        (2048, 1, true, false),
    ] {
        let spki = rsa_spki(bits, exponent, odd);
        let key = PublicKey::from_spki(&spki);
        let name = format!("{bits} bits, exponent {exponent}, odd: {odd}");
        assert_eq!(key.is_ok(), accepted, "{name}");
        if !accepted {
            assert_eq!(key, Err(Error::Key), "{name}");
        }
    }

    let key = p256();
    let good = spki(&key);
    assert_eq!(PublicKey::from_spki(&good), Ok(PublicKey::P256(point(&key))));
    let short = encode(&key, PointConversionForm::COMPRESSED);
    let parts = elements(contents(&good));
    let with_point = |point: &[u8]| {
        element(0x30, &[&parts[0][..], &element(3, &[&[0], point].concat())].concat())
    };
    let mut off_the_curve = point(&key);
    off_the_curve[64] ^= 1;
    let mut hybrid = point(&key);
    hybrid[0] = 6 | hybrid[64] & 1;
    for (name, spoiled, expected) in [
        ("compressed", with_point(&short), Error::Key),
        ("hybrid", with_point(&hybrid), Error::Key),
        ("off the curve", with_point(&off_the_curve), Error::Key),
        ("infinity", with_point(&[0]), Error::Key),
        ("no point", with_point(&[]), Error::Key),
        ("P-384", spki(&elliptic(Nid::SECP384R1)), Error::Key),
        ("secp256k1", spki(&elliptic(Nid::SECP256K1)), Error::Key),
        ("X25519", spki(&PKey::generate_x25519().unwrap()), Error::Key),
        ("trailing octet", [&good[..], &[0]].concat(), Error::Malformed),
        ("cut off", good[..90].to_vec(), Error::Malformed),
        ("empty", Vec::new(), Error::Malformed),
    ] {
        assert_eq!(PublicKey::from_spki(&spoiled), Err(expected), "{name}");
    }
}

#[test]
fn signatures_fit_their_scheme() {
    let digest = sha256(b"message");
    let other = sha256(b"another message");
    let elliptic = p256();
    let fixed = sign_p256(&elliptic, &digest).to_vec();
    let der = EcdsaSig::from_private_components(
        BigNum::from_slice(&fixed[..32]).unwrap(),
        BigNum::from_slice(&fixed[32..]).unwrap(),
    )
    .unwrap()
    .to_der()
    .unwrap();
    let good = [
        (spki(&elliptic), Scheme::Es256, fixed),
        (spki(&elliptic), Scheme::Es256Der, der),
        (spki(&RSA_2048), Scheme::RsaPkcs1, sign_rsa(&RSA_2048, Padding::Pkcs1, &digest)),
        (spki(&RSA_2048), Scheme::RsaPss, sign_rsa(&RSA_2048, Padding::Pss, &digest)),
    ];
    for (spki, scheme, signature) in &good {
        let key = PublicKey::from_spki(spki).unwrap();
        let verify =
            |scheme, digest, signature: &[u8]| key.verify::<OpensslRsa>(scheme, digest, signature);
        assert!(verify(*scheme, &digest, signature), "{scheme:?}");
        assert!(!verify(*scheme, &other, signature), "{scheme:?}, another digest");
        assert!(!verify(*scheme, &digest, &[]), "{scheme:?}, empty");
        let shorter = &signature[..signature.len() - 1];
        assert!(!verify(*scheme, &digest, shorter), "{scheme:?}, shorter");
        assert!(!verify(*scheme, &digest, &[signature, &[0][..]].concat()), "{scheme:?}, longer");
        assert!(!verify(*scheme, &digest, &[&[0][..], signature].concat()), "{scheme:?}, padded");
        for (.., another, _) in good.iter().filter(|(.., another, _)| another != scheme) {
            assert!(!verify(*another, &digest, signature), "{scheme:?} as {another:?}");
        }
    }
}

/// Platforms differ in what they make of a signature that is not as long as the key, or above it.
#[test]
fn rsa_signatures_that_are_no_numbers_below_the_modulus_do_not_reach_the_platform() {
    struct Absent;
    impl RsaPublic for Absent {
        fn raise(_: &[u8], _: &[u8], _: &mut [u8]) -> Result<(), PortError> {
            panic!("the platform is asked");
        }
    }
    let spki = spki(&RSA_2048);
    let key = PublicKey::from_spki(&spki).unwrap();
    for scheme in [Scheme::RsaPkcs1, Scheme::RsaPss] {
        for length in [0, 255, 257] {
            assert!(!key.verify::<Absent>(scheme, &[0; 32], &vec![1; length]));
        }
        // The modulus itself, and anything above it.
        let PublicKey::Rsa { modulus, .. } = key else { panic!("an RSA key") };
        assert!(!key.verify::<Absent>(scheme, &[0; 32], modulus));
        assert!(!key.verify::<Absent>(scheme, &[0; 32], &[0xff; 256]));
    }
}

fn point(key: &PKey<Private>) -> Point {
    encode(key, PointConversionForm::UNCOMPRESSED).try_into().unwrap()
}

/// A key as one of this TEE's own.
fn own(key: &PKey<Private>) -> OwnPublicKey {
    match key.rsa() {
        Ok(rsa) => OwnPublicKey::Rsa2048(rsa.n().to_vec().try_into().unwrap()),
        Err(_) => OwnPublicKey::P256(point(key)),
    }
}

fn encode(key: &PKey<Private>, form: PointConversionForm) -> Vec<u8> {
    let key = key.ec_key().unwrap();
    let mut context = BigNumContext::new().unwrap();
    key.public_key().to_bytes(key.group(), form, &mut context).unwrap()
}

#[test]
fn keys_are_encoded_as_openssl_does() {
    for key in [p256(), RSA_2048.clone()] {
        assert_eq!(otrp_engine::pki::spki(&own(&key)).as_slice(), spki(&key));
    }
    let key = p256();
    assert_eq!(attestation_key(&own(&key)).as_slice(), spki(&key));
    let expected = RSA_2048.rsa().unwrap().public_key_to_der_pkcs1().unwrap();
    assert_eq!(attestation_key(&own(&RSA_2048)).as_slice(), expected);
}

#[test]
fn requests_are_verified_by_openssl() {
    for key in [p256(), RSA_2048.clone()] {
        check_requests(&key);
    }
}

fn check_requests(key: &PKey<Private>) {
    for name in ["optee", "x", "caf\u{e9} \"1\"", &"x".repeat(COMMON_NAME_LIMIT)] {
        let sign = |digest: &[u8; 32]| {
            Ok::<_, ()>(match own(key) {
                OwnPublicKey::P256(_) => Signature::Es256(sign_p256(key, digest)),
                OwnPublicKey::Rsa2048(_) => {
                    Signature::Rs256(sign_rsa(key, Padding::Pkcs1, digest).try_into().unwrap())
                }
            })
        };
        let mut out = [0xaa; REQUEST_LIMIT];
        let length = certification_request(&own(key), name, sign, &mut out).unwrap();
        let request = X509Req::from_der(&out[..length]).unwrap();
        assert_eq!(request.to_der().unwrap(), &out[..length], "nothing before or after");
        assert!(request.verify(key).unwrap(), "{name}");
        assert!(request.public_key().unwrap().public_eq(key));
        assert_eq!(request.version(), 0);
        let subject: Vec<_> = request
            .subject_name()
            .entries()
            .map(|entry| {
                (entry.object().nid(), String::from_utf8(entry.data().as_slice().to_vec()).unwrap())
            })
            .collect();
        let expected = [(Nid::ORGANIZATIONNAME, "OTrP".into()), (Nid::COMMONNAME, name.into())];
        assert_eq!(subject, expected);
    }
}

/// Signatures with leading zeros and with leading ones, and the room that the longest one takes.
#[test]
fn signatures_of_requests_are_der() {
    let key = own(&p256());
    let name = "x".repeat(COMMON_NAME_LIMIT);
    let mut small = [0; 64];
    small[31] = 1;
    small[62..].copy_from_slice(&[0x80, 0]);
    for signature in [[0xff; 64], [0x7f; 64], [0x80; 64], small, [0; 64]] {
        let mut out = [0; REQUEST_LIMIT];
        let sign = |_: &[u8; 32]| Ok::<_, ()>(Signature::Es256(signature));
        let length = certification_request(&key, &name, sign, &mut out).unwrap();
        let outer = elements(contents(&out[..length]));
        let signed = EcdsaSig::from_der(&contents(&outer[2])[1..]).unwrap();
        assert_eq!(signed.r().to_vec_padded(32).unwrap(), signature[..32]);
        assert_eq!(signed.s().to_vec_padded(32).unwrap(), signature[32..]);
        assert_eq!(signed.to_der().unwrap(), contents(&outer[2])[1..], "canonical");

        let mut exact = vec![0; length];
        assert_eq!(certification_request(&key, &name, sign, &mut exact), Ok(length));
        for room in [0, 1, 100, length - 1] {
            let result = certification_request(&key, &name, sign, &mut exact[..room]);
            assert_eq!(result, Err(RequestError::Full), "{room} of {length} octets");
        }
    }
}

#[test]
fn requests_are_refused() {
    let key = own(&p256());
    let mut out = [0; REQUEST_LIMIT];
    let sign = |_: &[u8; 32]| Ok::<_, u8>(Signature::Es256([1; 64]));
    for name in ["", &"x".repeat(COMMON_NAME_LIMIT + 1)] {
        let result = certification_request(&key, name, sign, &mut out);
        assert_eq!(result, Err(RequestError::CommonName));
    }
    let result = certification_request(&key, "x", |_| Err(7_u8), &mut out);
    assert_eq!(result, Err(RequestError::Sign(7)));
}

#[test]
fn concatenated_certificates_are_split() {
    let world = World::new();
    let (leaf, authority, root) = (world.leaf_der(), world.authority_der(), world.root_der());
    let all = [&leaf[..], &authority, &root].concat();
    assert_eq!(split_chain(&all).unwrap(), [&leaf[..], &authority, &root]);
    assert_eq!(split_chain(&leaf).unwrap(), [&leaf[..]]);
    assert_eq!(split_chain(&leaf.repeat(CHAIN_LIMIT)).unwrap().len(), CHAIN_LIMIT);
    assert_eq!(split_chain(&leaf.repeat(CHAIN_LIMIT + 1)), Err(Error::TooMany));

    let longest = element(0x30, &vec![0; CERTIFICATE_LIMIT - 4]);
    assert_eq!(split_chain(&longest).unwrap(), [&longest[..]]);
    let longer = element(0x30, &vec![0; CERTIFICATE_LIMIT - 3]);
    assert_eq!(split_chain(&longer), Err(Error::TooLong));

    assert_eq!(split_chain(&[]), Err(Error::Malformed));
    for spoiled in [
        [&all[..], &[0]].concat(),
        [&all[..], b"\n"].concat(),
        [&all[..], &[0x30]].concat(),
        [&all[..], &[5, 0]].concat(),
        [&[0], &all[..]].concat(),
        all[..all.len() - 1].to_vec(),
        b"-----BEGIN CERTIFICATE-----".to_vec(),
        vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
    ] {
        assert_eq!(split_chain(&spoiled), Err(Error::Malformed), "{:x?}", &spoiled[..4]);
    }

    let spoiled = [&leaf[..], &[0], &authority].concat();
    let results: Vec<_> = split_der(&spoiled).collect();
    assert_eq!(results, [Ok(&leaf[..]), Err(Error::Malformed)], "ends after an error");
}
