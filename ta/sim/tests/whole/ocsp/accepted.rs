//! Responses that are accepted, by the device and by OpenSSL.

use std::path::Path;
use std::process::Command as Process;

use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::ocsp::{OcspCertId, OcspCertStatus, OcspFlag, OcspResponse};
use openssl::pkey::{PKey, PKeyRef, Private};
use openssl::stack::Stack;
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;
use otrp_engine::pki::{Certificate, Unproven, verify_status};
use otrp_keys::certificate::{
    Identity as Signer, Purpose, Template, Validity, generate_p256, generate_rsa,
};
use otrp_keys::ocsp::{Period, Statement, Status};
use otrp_sim::SimRsa;

use crate::bench::{Device, der, now, pki};
use crate::home::*;

use super::fixture::*;

/// Whether OpenSSL finds that a response shows `certificate` to be good now.
fn openssl_accepts(response: &[u8], certificate: &X509, issuer: &X509) -> bool {
    let response = OcspResponse::from_der(response).unwrap();
    let basic = response.basic().unwrap();
    let mut store = X509StoreBuilder::new().unwrap();
    store.add_cert(issuer.clone()).unwrap();
    store.set_flags(X509VerifyFlags::PARTIAL_CHAIN).unwrap();
    let mut certificates = Stack::new().unwrap();
    certificates.push(issuer.clone()).unwrap();
    basic.verify(&certificates, &store.build(), OcspFlag::empty()).is_ok()
        && [MessageDigest::sha1(), MessageDigest::sha256()].into_iter().any(|digest| {
            let identifier = OcspCertId::from_cert(digest, certificate, issuer).unwrap();
            basic.find_status(&identifier).is_some_and(|status| {
                status.status == OcspCertStatus::GOOD && status.check_validity(0, None).is_ok()
            })
        })
}

#[test]
fn openssl_accepts_what_the_device_accepts() {
    let (authority, root) = (&pki().tam_authority, &pki().tam_root);
    let [leaf_response, authority_response] = good();
    assert!(openssl_accepts(&authority_response, &authority.certificate, &root.certificate));
    let direct = on_leaf_by(authority);
    // A responder that says no more than it has to, and one that says it critically.
    let bare = on_leaf_by(&responder_with(&[(EXTENDED_KEY_USAGE, false, FOR_OCSP)]));
    let critical =
        responder_with(&[(EXTENDED_KEY_USAGE, true, FOR_OCSP), (KEY_USAGE, true, SIGNS)]);
    let critical = on_leaf_by(&critical);
    let unaltered = altered(|_| ());
    let ignored = altered(|parts| parts.data.push(extensions(false, b"?")));
    for leaf_response in [leaf_response, direct, bare, critical, unaltered, ignored] {
        assert!(openssl_accepts(&leaf_response, leaf(), &authority.certificate));
        assert!(checked(&leaf_response, now()).is_ok());
        let mut device = Device::provisioned();
        device.ask(&pki().tam, question(&[leaf_response, authority_response.clone()]));
    }
}

#[test]
fn the_device_accepts_what_openssl_makes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let write = |name: &str, bytes: Vec<u8>| std::fs::write(path.join(name), bytes).unwrap();
    let signer = |name: &str, signer: &Signer| {
        write(&format!("{name}.pem"), signer.certificate.to_pem().unwrap());
        write(&format!("{name}.key.pem"), signer.key.private_key_to_pem_pkcs8().unwrap());
    };
    signer("tam-issuing-ca", &pki().tam_authority);
    signer("tam-ocsp", &pki().tam_responder);
    write("tam.pem", leaf().to_pem().unwrap());
    let serial = leaf().serial_number().to_bn().unwrap().to_hex_str().unwrap().to_string();
    let authority = on_authority(Status::Good, current());
    // The columns of the CA's database: status, end, revocation, serial, file, subject.
    let index = |status: &str, revoked: &str| {
        format!("{status}\t351231235959Z\t{revoked}\t{serial}\tunknown\t/CN=TAM\n")
    };
    let rows = [
        (index("V", ""), "tam-ocsp", "-sha1", true),
        (index("V", ""), "tam-ocsp", "-sha256", true),
        (index("V", ""), "tam-issuing-ca", "-sha1", true),
        (index("R", "250101000000Z"), "tam-ocsp", "-sha1", false),
        (String::new(), "tam-ocsp", "-sha1", false),
    ];
    for (index, responder, hash, accepted) in rows {
        for by_key in [false, true] {
            write("index.txt", index.clone().into_bytes());
            openssl(
                path,
                &[
                    "-issuer",
                    "tam-issuing-ca.pem",
                    hash,
                    "-cert",
                    "tam.pem",
                    "-no_nonce",
                    "-reqout",
                    "request.der",
                ],
            );
            let key = format!("{responder}.key.pem");
            let certificate = format!("{responder}.pem");
            let mut arguments = vec![
                "-index",
                "index.txt",
                "-CA",
                "tam-issuing-ca.pem",
                "-rsigner",
                &certificate,
                "-rkey",
                &key,
                "-reqin",
                "request.der",
                "-respout",
                "response.der",
                "-ndays",
                "1",
            ];
            if by_key {
                arguments.push("-resp_key_id");
            }
            openssl(path, &arguments);
            let response = std::fs::read(path.join("response.der")).unwrap();
            let mut device = Device::provisioned();
            let question = question(&[response, authority.clone()]);
            if accepted {
                device.ask(&pki().tam, question);
            } else {
                let message = question.build().unwrap().message;
                assert_eq!(device.refusal(&message).code.as_deref(), Some(UNTRUSTED));
            }
        }
    }
}

fn openssl(folder: &Path, arguments: &[&str]) {
    let output = Process::new("openssl").current_dir(folder).arg("ocsp").args(arguments).output();
    let output = output.expect("the openssl program");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

#[test]
fn responses_are_signed_with_every_algorithm_of_authorities() {
    let p384 = || {
        let group = EcGroup::from_curve_name(Nid::SECP384R1).unwrap();
        PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
    };
    let keys: [PKey<Private>; 3] = [generate_p256().unwrap(), p384(), generate_rsa(2048).unwrap()];
    let template = |purpose| Template {
        organization: "OTrP tests (not for production)",
        common_name: "An authority of a test",
        purpose,
        validity: Validity::years(1),
        uri: None,
    };
    for key in keys {
        let root = template(Purpose::Root).self_sign(key).unwrap();
        let key = generate_p256().unwrap();
        let certificate = Template { common_name: "A leaf of a test", ..template(Purpose::Party) };
        let certificate = certificate.issue(&key, &root).unwrap();
        let (leaf_der, root_der) = (der(&certificate), der(&root.certificate));
        let leaf = Certificate::parse(&leaf_der).unwrap();
        let issuer = Certificate::parse(&root_der).unwrap();
        let responder = certified(Purpose::OcspResponder, Validity::years(1), &root);
        for signer in [&root, &responder] {
            let (status, period) = (Status::Good, current());
            let issuer_certificate = &root.certificate;
            let statement =
                Statement { certificate: &certificate, issuer: issuer_certificate, status, period };
            let response = statement.sign(signer).unwrap();
            assert!(openssl_accepts(&response, &certificate, &root.certificate));
            let good = verify_status::<SimRsa>(&response, &leaf, &issuer, now()).unwrap();
            assert_eq!(good.until(), u64::try_from(period.next_update).unwrap());
            assert_eq!(good.signed_at(), u64::try_from(period.this_update).unwrap());
            let mut parts = Parts::read(&response);
            parts.data[1] = generalized(period.this_update + 1);
            let forged = parts.sign(&generate_p256().unwrap());
            let judged = verify_status::<SimRsa>(&forged, &leaf, &issuer, now());
            assert_eq!(judged, Err(Unproven::Signature));
            let read = |der| otrp_check::Certificate::read(der).unwrap();
            let check = |response: &[u8]| {
                otrp_check::ocsp::check(response, &read(&leaf_der), &read(&root_der), now())
            };
            assert_eq!(check(&response).unwrap().until, good.until());
            assert!(check(&forged).is_err());
            for (identifier, digest, accepted) in signature_algorithms(&signer.key) {
                let mut parts = Parts::read(&response);
                parts.algorithm.clone_from(&identifier);
                let response = parts.sign_with(&signer.key, digest);
                assert!(openssl_accepts(&response, &certificate, &root.certificate));
                let judged = verify_status::<SimRsa>(&response, &leaf, &issuer, now());
                let expected = if accepted { Ok(good) } else { Err(Unproven::Signature) };
                assert_eq!(judged, expected, "{identifier:x?}");
            }
        }
    }
}

/// AlgorithmIdentifiers of a key's signatures (RFC 5758, section 3.2; RFC 4055, section 5), and
/// whether they are accepted.
fn signature_algorithms(key: &PKeyRef<Private>) -> Vec<(Vec<u8>, MessageDigest, bool)> {
    let digests = [
        (2, 0x0b, MessageDigest::sha256()),
        (3, 0x0c, MessageDigest::sha384()),
        (4, 0x0d, MessageDigest::sha512()),
    ];
    let mut algorithms = Vec::new();
    for (ecdsa, rsa, digest) in digests {
        if key.rsa().is_err() {
            let identifier = element(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, ecdsa]);
            algorithms.push((element(0x30, &identifier), digest, ecdsa < 4));
            continue;
        }
        let identifier = element(6, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, rsa]);
        for parameters in [&[5, 0][..], &[]] {
            algorithms.push((element(0x30, &[&identifier, parameters].concat()), digest, true));
        }
    }
    algorithms
}

#[test]
fn a_certificate_is_named_by_every_hash() {
    for hash in hashes() {
        for null in [true, false] {
            let response = altered(|parts| parts.single[0] = named_by(hash, null));
            let mut device = Device::provisioned();
            let authority = on_authority(Status::Good, current());
            device.ask(&pki().tam, question(&[response, authority]));
        }
    }
}

#[test]
fn of_several_answers_on_one_certificate_the_earliest_end_counts() {
    let issuer = der(&pki().tam_authority.certificate);
    let issuer = Certificate::parse(&issuer).unwrap();
    let leaf_der = der(leaf());
    let certificate = Certificate::parse(&leaf_der).unwrap();
    let long = current();
    let late = Period { this_update: time() - 60, next_update: time() + 2 * HOUR };
    let short = Period { this_update: time() - 2 * HOUR, next_update: time() + 60 };
    // An answer on another certificate, and one under a hash that is not known, are skipped.
    let other = {
        let certificate = &pki().other_tam.chain()[0];
        let issuer = &pki().tam_authority.certificate;
        let statement = Statement { certificate, issuer, status: Status::Revoked, period: short };
        let response = statement.sign(&pki().tam_responder).unwrap();
        element(0x30, &Parts::read(&response).single.concat())
    };
    let unknown = {
        let mut single = Parts::read(&on_leaf(Status::Revoked, short)).single;
        let sha224: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 4];
        single[0] = named_by((sha224, MessageDigest::sha224()), true);
        element(0x30, &single.concat())
    };
    for (periods, end, signed_at) in [
        (vec![long, long], long, long),
        (vec![long, short], short, long),
        (vec![short, long], short, long),
        (vec![short, late, long], short, late),
        (vec![late, long, late], long, late),
    ] {
        let mut parts = Parts::read(&on_leaf(Status::Good, periods[0]));
        // What is produced may be older than what is said.
        parts.data[1] = generalized(short.this_update);
        parts.others = vec![other.clone(), unknown.clone()];
        for (number, period) in periods[1..].iter().enumerate() {
            parts.others.push(match number {
                0 => another(Status::Good, *period),
                _ => {
                    let response = on_leaf(Status::Good, *period);
                    element(0x30, &Parts::read(&response).single.concat())
                }
            });
        }
        let response = parts.sign(&pki().tam_responder.key);
        assert!(openssl_accepts(&response, leaf(), &pki().tam_authority.certificate));
        let good = verify_status::<SimRsa>(&response, &certificate, &issuer, now()).unwrap();
        assert_eq!(good.until(), u64::try_from(end.next_update).unwrap());
        assert_eq!(good.signed_at(), u64::try_from(signed_at.this_update).unwrap());
        // The device believes the TAM until then.
        let mut device = Device::from(&home().snapshot);
        device.ask(&pki().tam, question(&[response, on_authority(Status::Good, long)]));
    }
}
