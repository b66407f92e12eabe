//! JOSE and base64 by josekit and OpenSSL only.
//!
//! Implemented again on purpose, so that a mistake of the TAM is not repeated here.

use josekit::jwe::alg::ecdh_es::EcdhEsJweAlgorithm;
use josekit::jwe::alg::rsaes::RsaesJweAlgorithm;
use josekit::jwe::{JweDecrypter, JweEncrypter};
use josekit::jws::{ES256, JwsSigner, JwsVerifier, RS256};
use openssl::base64::{decode_block, encode_block};
use openssl::pkey::{HasPublic, Id, PKey, PKeyRef, Private, Public};
use serde_json::{Value, json};

pub fn url(bytes: &[u8]) -> String {
    encode_block(bytes).replace('+', "-").replace('/', "_").replace('=', "")
}

pub fn from_url(text: &str) -> Vec<u8> {
    assert!(!text.contains(['+', '/', '=']), "{text} is not base64url");
    let mut text = text.replace('-', "+").replace('_', "/");
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    decode_block(&text).unwrap()
}

pub fn from_standard(text: &str) -> Vec<u8> {
    assert_eq!(text.len() % 4, 0, "{text} is not padded base64");
    decode_block(text).unwrap()
}

pub fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} of {value}"))
}

pub fn only(value: &Value) -> (&String, &Value) {
    let object = value.as_object().unwrap();
    assert_eq!(object.len(), 1, "{value}");
    object.iter().next().unwrap()
}

/// A flattened JWS.
pub fn sign(tbs: &Value, header: Option<Value>, key: &PKeyRef<Private>) -> Value {
    let der = key.private_key_to_pkcs8().unwrap();
    let (algorithm, signer): (_, Box<dyn JwsSigner>) = match key.id() {
        Id::RSA => ("RS256", Box::new(RS256.signer_from_der(der).unwrap())),
        _ => ("ES256", Box::new(ES256.signer_from_der(der).unwrap())),
    };
    let payload = url(tbs.to_string().as_bytes());
    let protected = url(json!({ "alg": algorithm }).to_string().as_bytes());
    let signature = signer.sign(format!("{protected}.{payload}").as_bytes()).unwrap();
    let mut jws =
        json!({ "payload": payload, "protected": protected, "signature": url(&signature) });
    if let Some(header) = header {
        jws["header"] = header;
    }
    jws
}

pub fn verifier<T: HasPublic>(key: &PKeyRef<T>) -> (&'static str, Box<dyn JwsVerifier>) {
    let der = key.public_key_to_der().unwrap();
    match key.id() {
        Id::RSA => ("RS256", Box::new(RS256.verifier_from_der(der).unwrap())),
        _ => ("ES256", Box::new(ES256.verifier_from_der(der).unwrap())),
    }
}

#[allow(deprecated, reason = "RSA1_5 is the draft's")]
fn rsa_algorithm(name: &str) -> RsaesJweAlgorithm {
    match name {
        "RSA1_5" => RsaesJweAlgorithm::Rsa1_5,
        "RSA-OAEP" => RsaesJweAlgorithm::RsaOaep,
        "RSA-OAEP-256" => RsaesJweAlgorithm::RsaOaep256,
        other => panic!("{other}"),
    }
}

fn elliptic_algorithm(name: &str) -> Option<EcdhEsJweAlgorithm> {
    match name {
        "ECDH-ES+A128KW" => Some(EcdhEsJweAlgorithm::EcdhEsA128kw),
        "ECDH-ES+A256KW" => Some(EcdhEsJweAlgorithm::EcdhEsA256kw),
        _ => None,
    }
}

pub fn decrypter(name: &str, key: &PKeyRef<Private>) -> Box<dyn JweDecrypter> {
    let der = key.private_key_to_pkcs8().unwrap();
    match elliptic_algorithm(name) {
        Some(algorithm) => Box::new(algorithm.decrypter_from_der(der).unwrap()),
        None => Box::new(rsa_algorithm(name).decrypter_from_der(der).unwrap()),
    }
}

pub fn encrypter(name: &str, key: &PKeyRef<Public>) -> Box<dyn JweEncrypter> {
    let der = key.public_key_to_der().unwrap();
    match elliptic_algorithm(name) {
        Some(algorithm) => Box::new(algorithm.encrypter_from_der(der).unwrap()),
        None => Box::new(rsa_algorithm(name).encrypter_from_der(der).unwrap()),
    }
}
