//! Paths from a TAM or a TEE to an anchor: order, validity, names, constraints, length.

use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::sha::sha256;
use otrp_engine::crypto::PublicKey;
use otrp_engine::pki::{Certificate, Error, Role, Untrusted, verify_path, verify_tam};
use otrp_wire::limits::CHAIN_LIMIT;

use crate::fixture::*;
use crate::support::{OpensslRsa, elliptic, p256};
use crate::x509::*;

#[test]
fn a_path_identifies_the_tam_and_its_authorities() {
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
