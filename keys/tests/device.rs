//! TEE certificates: what is issued, and every request and authority that is refused.

use std::fs;
use std::process::Command;

use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::{X509, X509Name, X509Req};
use otrp_keys::certificate::{Identity, Purpose, Template, Validity, generate_p256};
use otrp_keys::device::Authority;
use otrp_keys::{Error, development, file};

const DAY: i64 = 86_400;

/// A name, what is tried, and whether the failure is the expected one.
type Row<T> = (&'static str, T, fn(&Error) -> bool);

fn ec(curve: Nid) -> PKey<Private> {
    PKey::from_ec_key(EcKey::generate(&EcGroup::from_curve_name(curve).unwrap()).unwrap()).unwrap()
}

fn rsa(bits: u32) -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap()
}

fn request(key: &PKey<Private>, signer: &PKey<Private>) -> Vec<u8> {
    let mut name = X509Name::builder().unwrap();
    name.append_entry_by_text("CN", "somebody else's name").unwrap();
    let mut request = X509Req::builder().unwrap();
    request.set_subject_name(&name.build()).unwrap();
    request.set_pubkey(key).unwrap();
    request.sign(signer, MessageDigest::sha256()).unwrap();
    request.build().to_der().unwrap()
}

fn template(common_name: &str, purpose: Purpose, validity: Validity) -> Template<'_> {
    Template { organization: "test", common_name, purpose, validity, uri: None }
}

fn root() -> Identity {
    template("root", Purpose::Root, Validity::years(2)).self_sign(generate_p256().unwrap()).unwrap()
}

fn below(root: &Identity, purpose: Purpose, validity: Validity) -> Identity {
    let key = generate_p256().unwrap();
    let certificate = template("below", purpose, validity).issue(&key, root).unwrap();
    Identity { key, certificate }
}

fn authority() -> Authority {
    let root = root();
    let authority = below(&root, Purpose::IssuingAuthority, Validity::years(1));
    Authority::new(authority, vec![root.certificate]).unwrap()
}

#[test]
fn openssl_accepts_the_chain_of_a_device() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join("dev").join(name);
    development::create(&path(""), false, &mut |_| {}).unwrap();
    for (key, usage) in [
        (ec(Nid::X9_62_PRIME256V1), "Digital Signature, Key Agreement\n"),
        (rsa(2048), "Digital Signature, Key Encipherment\n"),
    ] {
        let chain =
            Authority::read(&path("tee-ca")).unwrap().certify(&request(&key, &key)).unwrap();
        assert_eq!(chain.len(), 3);
        fs::write(path("device.pem"), file::chain_pem(&chain).unwrap()).unwrap();
        let verified = Command::new("openssl")
            .args(["verify", "-x509_strict", "-no-CApath", "-CAfile"])
            .arg(path("tee-root.pem"))
            .arg("-untrusted")
            .arg(path("tee-ca.pem"))
            .arg(path("device.pem"))
            .output()
            .expect("the openssl program");
        assert!(verified.status.success(), "{verified:?}");

        let leaf = &chain[0];
        assert!(leaf.public_key().unwrap().public_eq(&key));
        let text = String::from_utf8(leaf.to_text().unwrap()).unwrap();
        for expected in ["CA:FALSE", usage, "Subject Key Identifier", "Authority Key Identifier"] {
            assert!(text.contains(expected), "no {expected} in:\n{text}");
        }
        let name = leaf.subject_name().entries_by_nid(Nid::COMMONNAME).next().unwrap();
        assert!(name.data().as_slice().starts_with(b"TEE "), "{text}");
        assert!(!text.contains("somebody"), "{text}");
        assert_eq!(leaf.not_after(), chain[1].not_after());
        assert_eq!(chain[2].to_der().unwrap(), fs::read(path("tee-root.der")).unwrap());
    }
}

#[test]
fn the_same_device_gets_another_serial_number_and_the_same_name() {
    let authority = authority();
    let key = generate_p256().unwrap();
    let [one, two]: [X509; 2] =
        [(), ()].map(|()| authority.certify(&request(&key, &key)).unwrap().remove(0));
    let serial = |certificate: &X509| certificate.serial_number().to_bn().unwrap();
    assert_ne!(serial(&one), serial(&two));
    assert_eq!(one.subject_name().to_der().unwrap(), two.subject_name().to_der().unwrap());
}

#[test]
fn a_request_in_pem_is_as_good() {
    let key = generate_p256().unwrap();
    let pem = X509Req::from_der(&request(&key, &key)).unwrap().to_pem().unwrap();
    assert_eq!(authority().certify(&pem).unwrap().len(), 3);
}

#[test]
fn requests_are_refused() {
    let authority = authority();
    let good = generate_p256().unwrap();
    let accepted = request(&good, &good);
    let damaged = |position: usize| {
        let mut bytes = accepted.clone();
        bytes[position] ^= 1;
        bytes
    };
    let rows: Vec<Row<Vec<u8>>> = vec![
        ("empty", vec![], |e| matches!(e, Error::RequestMalformed(_))),
        ("text", b"hello".to_vec(), |e| matches!(e, Error::RequestMalformed(_))),
        ("cut", accepted[..accepted.len() - 1].to_vec(), |e| {
            matches!(e, Error::RequestMalformed(_))
        }),
        ("signature", damaged(accepted.len() - 1), |e| matches!(e, Error::RequestSignature)),
        ("name changed", damaged(30), |e| matches!(e, Error::RequestSignature)),
        ("another's key", request(&good, &ec(Nid::X9_62_PRIME256V1)), |e| {
            matches!(e, Error::RequestSignature)
        }),
        ("P-384", request(&ec(Nid::SECP384R1), &ec(Nid::SECP384R1)), |e| {
            matches!(e, Error::RequestKey)
        }),
        ("P-256K", request(&ec(Nid::SECP256K1), &ec(Nid::SECP256K1)), |e| {
            matches!(e, Error::RequestKey)
        }),
        ("RSA-1024", request(&rsa(1024), &rsa(1024)), |e| matches!(e, Error::RequestKey)),
    ];
    assert!(authority.certify(&accepted).is_ok());
    for (name, bytes, expected) in rows {
        let error = authority.certify(&bytes).expect_err(name);
        assert!(expected(&error), "{name}: {error:?}");
    }
}

#[test]
fn authorities_are_refused() {
    let root = root();
    let other = self::root();
    let now = Validity::years(0).not_after;
    let year = Validity::years(1);
    let with = |identity: Identity, above: &[&Identity]| {
        Authority::new(identity, above.iter().map(|above| above.certificate.clone()).collect())
    };
    let stranger = |identity: Identity| Identity { key: generate_p256().unwrap(), ..identity };
    let issuing = || below(&root, Purpose::IssuingAuthority, year);
    let expired = Validity { not_before: now - 2 * DAY, not_after: now - DAY };
    let early = Validity { not_before: now + DAY, not_after: now + 2 * DAY };
    let rows: Vec<Row<Result<Authority, Error>>> = vec![
        ("key of another", with(stranger(issuing()), &[&root]), |e| {
            matches!(e, Error::KeyMismatch)
        }),
        ("a leaf", with(below(&root, Purpose::Party, year), &[&root]), |e| {
            matches!(e, Error::NotAuthority)
        }),
        ("expired", with(below(&root, Purpose::IssuingAuthority, expired), &[&root]), |e| {
            matches!(e, Error::AuthorityExpired)
        }),
        ("not yet", with(below(&root, Purpose::IssuingAuthority, early), &[&root]), |e| {
            matches!(e, Error::AuthorityExpired)
        }),
        ("another root", with(issuing(), &[&other]), |e| matches!(e, Error::AuthorityChain(_))),
        ("no root", with(issuing(), &[]), |e| matches!(e, Error::AuthorityChain(_))),
    ];
    assert!(with(issuing(), &[&root]).is_ok());
    for (name, result, expected) in rows {
        let error = result.expect_err(name);
        assert!(expected(&error), "{name}: {error:?}");
    }
}

#[test]
fn an_authority_below_one_without_room_issues_nothing() {
    let root = root();
    let issuing = below(&root, Purpose::IssuingAuthority, Validity::years(1));
    // pathlen:0 of `issuing` forbids this one to have leaves.
    let key = generate_p256().unwrap();
    // A name of its own: a certificate whose subject is its issuer's does not count.
    let certificate = template("sub", Purpose::IssuingAuthority, Validity::years(1))
        .issue(&key, &issuing)
        .unwrap();
    let sub = Identity { key, certificate };
    let key = generate_p256().unwrap();
    let refused = Authority::new(sub, vec![issuing.certificate, root.certificate])
        .and_then(|authority| authority.certify(&request(&key, &key)));
    assert!(matches!(refused, Err(Error::AuthorityChain(_))), "{refused:?}");
}
