//! Certificates, paths and OCSP responses.
//!
//! A mutation breaks the signature over it. Therefore each input is judged twice, with RSA verified and
//! with every RSA signature assumed valid: the corpus is signed with RSA, so mutations reach the code
//! behind the signature check.

use std::hint::black_box;

use openssl::x509::X509;
use otrp_engine::crypto::PublicKey;
use otrp_engine::pki::{
    Certificate, Role, Usage, check_sp_certificate, split_chain, split_der, verify_path,
    verify_status, verify_tam,
};
use otrp_engine::platform::OwnPublicKey;
use otrp_engine::trust::{Anchor, Trust};
use otrp_sim::SimRsa;

use crate::credulous::Credulous;

/// The anchors of the corpus's paths, P-256 and RSA.
pub const ANCHORS: [&[u8]; 2] =
    [include_bytes!("../anchors/p256.der"), include_bytes!("../anchors/rsa.der")];

/// What trusts them.
const TRUST: Trust = Trust {
    tam_anchors: &[Anchor::of(ANCHORS[0]), Anchor::of(ANCHORS[1])],
    tee_anchor: &[],
    evicted: &[],
    reserved: &[],
    floor_epoch: 0,
    development: false,
    tee_name: "",
    rsa1_5: true,
    built_at: 0,
};

/// Reads a certificate, and asks it everything.
pub fn certificate(data: &[u8]) {
    believe(data);
    let _ = PublicKey::from_spki(data);
    let provider = check_sp_certificate::<SimRsa>(data).is_ok();
    let credulous = check_sp_certificate::<Credulous>(data).is_ok();
    assert!(credulous || !provider, "only the signature is judged differently");
    let Ok(certificate) = Certificate::parse(data) else {
        assert!(!credulous, "a provider's certificate is a certificate");
        return;
    };
    for usage in
        [Usage::DigitalSignature, Usage::KeyEncipherment, Usage::KeyAgreement, Usage::KeyCertSign]
    {
        black_box(certificate.allows(usage));
    }
    black_box((certificate.is_self_issued(), certificate.is_authority()));
    black_box((certificate.path_length(), certificate.tam_id()));
    assert_eq!(certificate.fingerprint(), openssl::sha::sha256(data));
    // Nothing is done with a certificate whose key is not accepted.
    if certificate.public_key().is_ok() {
        readable(data);
    }
    assert!(!certificate.is_for(&OwnPublicKey::P256([4; 65])));
}

/// Takes every RSA signature in the input for good, and those of no input before.
fn believe(data: &[u8]) {
    Credulous::forget();
    Credulous::vouch_for(data);
}

/// OpenSSL must read what the broker uses, and shows to others. It alone looks into the values in names,
/// whose kinds and characters mean nothing to the broker; that they are elements of DER does.
fn readable(der: &[u8]) {
    let Err(stack) = X509::from_der(der) else { return };
    let any = |what: &dyn Fn(&openssl::error::Error) -> bool| stack.errors().iter().any(what);
    let value = any(&|error| {
        error.function().is_some_and(|function| function.starts_with("ASN1_mbstring"))
            || error.data().is_some_and(|data| data.contains("Type=X509_NAME_ENTRY"))
    });
    let element = any(&|error| error.reason() == Some("bad object header"));
    assert!(value && !element, "OpenSSL does not read it: {stack}");
}

/// Leads a chain to an anchor: four bytes of time, big-endian, then the certificates.
pub fn path(data: &[u8]) {
    let Some((now, rest)) = time(data) else { return };
    let Ok(chain) = split_chain(rest) else { return };
    believe(rest);
    let now = |_: &[u8; 32]| now;
    let tam = verify_tam::<SimRsa>(&chain, &TRUST, now).is_ok();
    let credulous = verify_tam::<Credulous>(&chain, &TRUST, now);
    assert!(credulous.is_ok() || !tam, "only the signature is judged differently");
    let any = verify_path::<Credulous>(&chain, TRUST.tam_anchors, now, Role::Tee);
    assert!(any.is_ok() || credulous.is_err(), "a TAM is a party");
    let Ok(path) = any else { return };
    assert!(path.certificates().count() >= 2);
    assert!(path.certificates().take(1).all(|leaf| leaf.allows(Usage::DigitalSignature)));
    black_box(path.digest());
}

/// Asks a response for a certificate's standing: four bytes of time, the certificate, its issuer, the
/// response.
pub fn ocsp(data: &[u8]) {
    let Some((now, rest)) = time(data) else { return };
    believe(rest);
    let mut parts = split_der(rest);
    let (Some(Ok(certificate)), Some(Ok(issuer))) = (parts.next(), parts.next()) else { return };
    let response = rest.get(certificate.len() + issuer.len()..).unwrap_or_default();
    let Ok(certificate) = Certificate::parse(certificate) else { return };
    let Ok(issuer) = Certificate::parse(issuer) else { return };
    let strict = verify_status::<SimRsa>(response, &certificate, &issuer, now);
    let credulous = verify_status::<Credulous>(response, &certificate, &issuer, now);
    assert!(strict.is_err() || strict == credulous, "only the signature is judged differently");
    if let Ok(good) = credulous {
        assert!(now < good.until(), "good although it has ended");
    }
}

fn time(data: &[u8]) -> Option<(u64, &[u8])> {
    let (time, rest) = data.split_first_chunk()?;
    Some((u64::from(u32::from_be_bytes(*time)), rest))
}
