//! Signatures: the algorithms that are accepted, and those that do not fit the key.

use openssl::bn::BigNum;
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::sha::sha256;
use openssl::x509::X509;
use otrp_engine::crypto::rsa::signature::Padding;
use otrp_engine::crypto::{PublicKey, Scheme};
use otrp_engine::pki::{Role, Untrusted};
use otrp_engine::platform::{PortError, RsaPublic};

use crate::fixture::*;
use crate::support::{OpensslRsa, elliptic, p256, rsa, sign_p256, sign_rsa, spki};
use crate::x509::*;

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

/// The length of the digest says which hash it is by, and RSA's padding says it again.
#[test]
fn a_signature_does_not_verify_with_another_hash() {
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
fn rsa_signatures_out_of_range_do_not_reach_the_platform() {
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
