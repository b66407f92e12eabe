//! Certification requests, which OpenSSL verifies.

use openssl::ecdsa::EcdsaSig;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509Req;
use otrp_engine::crypto::Signature;
use otrp_engine::crypto::rsa::signature::Padding;
use otrp_engine::pki::{COMMON_NAME_LIMIT, REQUEST_LIMIT, RequestError, certification_request};
use otrp_engine::platform::OwnPublicKey;

use crate::fixture::*;
use crate::support::{p256, sign_p256, sign_rsa};
use crate::x509::*;

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
