//! The life of a TAM that has the draft's mandatory algorithms and no others.
//!
//! RS256, RSA1_5, A128CBC-HS256 and AESCBC (sections 7.5 and 9.3.1.1), by josekit and OpenSSL. It is
//! written from the draft alone and shares nothing with `otrp-tam`; what is signed, encrypted or wrapped
//! in any other way it does not read.

use std::rc::Rc;

use josekit::jwe::{JweContentEncryption as _, JweDecrypter as _, JweEncrypter as _};
use josekit::jwe::{JweHeader, enc::A128CBC_HS256};
use josekit::jws::{JwsSigner as _, JwsVerifier as _, RS256};
use openssl::pkey::{PKey, Private, Public};
use openssl::rand::rand_bytes;
use openssl::rsa::Rsa;
use openssl::symm::{Cipher, encrypt};
use openssl::x509::X509;
use otrp_engine::Trust;
use otrp_engine::platform::KeyType;
use otrp_keys::certificate::{Purpose, Template, Validity};
use otrp_sim::World;
use serde_json::{Value, json};

use crate::bench::{
    Device, Kind, TEE_NAME, base64, base64url, boot_simulator, der, elf, now, pki, responses,
    sha256, signed, uuid,
};

const TAM_ID: &str = "https://mandatory-tam.example/otrp";
const SP: &str = "acme-bank.example";
const TA: &str = "com.example.wallet";

/// Something that this TAM does not have.
#[derive(Debug, PartialEq, Eq)]
struct Unsupported(String);

fn supported(value: &Value, name: &str) -> Result<(), Unsupported> {
    if value == name { Ok(()) } else { Err(Unsupported(value.to_string())) }
}

fn from_url(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    openssl::base64::decode_block(&padded(&text.replace('-', "+").replace('_', "/"))).unwrap()
}

fn padded(text: &str) -> String {
    let mut text = String::from(text);
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand_bytes(&mut bytes).unwrap();
    bytes
}

fn only(value: &Value) -> (&String, &Value) {
    let members = value.as_object().unwrap();
    assert_eq!(members.len(), 1, "{value}");
    members.iter().next().unwrap()
}

#[allow(deprecated, reason = "the draft's mandatory algorithm")]
fn wrap(key: &[u8], recipient: &PKey<Public>) -> Vec<u8> {
    let pem = recipient.public_key_to_pem().unwrap();
    let encrypter = josekit::jwe::RSA1_5.encrypter_from_pem(pem).unwrap();
    let mut header = JweHeader::new();
    encrypter.encrypt(key, &JweHeader::new(), &mut header).unwrap().unwrap()
}

#[allow(deprecated, reason = "the draft's mandatory algorithm")]
fn unwrap(wrapped: &[u8], recipient: &PKey<Private>) -> Vec<u8> {
    let pem = recipient.private_key_to_pem_pkcs8().unwrap();
    let decrypter = josekit::jwe::RSA1_5.decrypter_from_pem(pem).unwrap();
    let mut header = JweHeader::new();
    header.set_algorithm("RSA1_5");
    header.set_content_encryption("A128CBC-HS256");
    decrypter.decrypt(Some(wrapped), &A128CBC_HS256, &header).unwrap().into_owned()
}

/// A general JWE, as printed in section 7.5.
fn seal(plaintext: &[u8], key: &[u8; 32], recipient: &PKey<Public>) -> Value {
    let protected = base64url(br#"{"enc":"A128CBC-HS256"}"#);
    let iv: [u8; 16] = random();
    let (ciphertext, tag) =
        A128CBC_HS256.encrypt(key, Some(&iv), plaintext, protected.as_bytes()).unwrap();
    json!({
        "protected": protected,
        "recipients": [
            { "header": { "alg": "RSA1_5" }, "encrypted_key": base64url(&wrap(key, recipient)) }
        ],
        "iv": base64url(&iv),
        "ciphertext": base64url(&ciphertext),
        "tag": base64url(&tag.unwrap()),
    })
}

/// The content key and the plaintext of what a TEE encrypted.
fn open(jwe: &Value, recipient: &PKey<Private>) -> Result<(Vec<u8>, Vec<u8>), Unsupported> {
    let protected: Value = serde_json::from_slice(&from_url(&jwe["protected"])).unwrap();
    supported(&protected["enc"], "A128CBC-HS256")?;
    supported(&jwe["recipients"][0]["header"]["alg"], "RSA1_5")?;
    let key = unwrap(&from_url(&jwe["recipients"][0]["encrypted_key"]), recipient);
    let aad = jwe["protected"].as_str().unwrap().as_bytes();
    let (iv, tag) = (from_url(&jwe["iv"]), from_url(&jwe["tag"]));
    let ciphertext = from_url(&jwe["ciphertext"]);
    let text = A128CBC_HS256.decrypt(&key, Some(&iv), &ciphertext, aad, Some(&tag)).unwrap();
    Ok((key, text))
}

struct Tam {
    key: PKey<Private>,
    chain: Vec<X509>,
}

impl Tam {
    fn new() -> Self {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let template = Template {
            organization: "OTrP tests (not for production)",
            common_name: "A TAM of a test",
            purpose: Purpose::Party,
            validity: Validity::years(1),
            uri: Some(TAM_ID),
        };
        let leaf = template.issue(&key, &pki().tam_authority).unwrap();
        let chain = vec![leaf, pki().tam_authority.certificate.clone()];
        Self { key, chain }
    }

    fn sign(&self, name: &str, tbs: &Value) -> Vec<u8> {
        let payload = base64url(json!({ format!("{name}TBSRequest"): tbs }).to_string().as_bytes());
        let protected = base64url(br#"{"alg":"RS256"}"#);
        let pem = self.key.private_key_to_pem_pkcs8().unwrap();
        let signer = RS256.signer_from_pem(pem).unwrap();
        let signature = signer.sign(format!("{protected}.{payload}").as_bytes()).unwrap();
        let x5c: Vec<String> = self.chain.iter().map(|one| base64(&der(one))).collect();
        let jws = json!({
            "payload": payload, "protected": protected, "header": { "x5c": x5c },
            "signature": base64url(&signature),
        });
        json!({ format!("{name}Request"): jws }).to_string().into_bytes()
    }

    fn verify(reply: &[u8], name: &str, tee: &PKey<Public>) -> Result<Value, Unsupported> {
        let outer: Value = serde_json::from_slice(reply).unwrap();
        let (outer_name, jws) = only(&outer);
        assert_eq!(*outer_name, format!("{name}Response"));
        let protected: Value = serde_json::from_slice(&from_url(&jws["protected"])).unwrap();
        supported(&protected["alg"], "RS256")?;
        let part = |name: &str| jws[name].as_str().unwrap();
        let verifier = RS256.verifier_from_pem(tee.public_key_to_pem().unwrap()).unwrap();
        let input = format!("{}.{}", part("protected"), part("payload"));
        verifier.verify(input.as_bytes(), &from_url(&jws["signature"])).unwrap();
        let payload: Value = serde_json::from_slice(&from_url(&jws["payload"])).unwrap();
        let (signed_name, tbs) = only(&payload);
        assert_eq!(*signed_name, format!("{name}TBSResponse"));
        Ok(tbs.clone())
    }
}

/// A TAM and a device whose keys are RSA.
struct Life {
    device: Device,
    tam: Tam,
    tee: PKey<Public>,
    did: String,
    /// The state that the TAM was given last: the value of `dsi`, and the hash of its text.
    dsi: Value,
    dsi_hash: String,
}

impl Life {
    fn begin() -> Self {
        let world = World::new(now());
        world.key_type.set(KeyType::Rsa2048);
        let mut device = Device::on(world, Rc::new(boot_simulator));
        device.provision();
        let certificate = device.certificate();
        let (tee, did) = (certificate.public_key().unwrap(), base64(&sha256(&der(&certificate))));
        Self { device, tam: Tam::new(), tee, did, dsi: Value::Null, dsi_hash: String::new() }
    }

    fn ask(&mut self) -> Result<(), Unsupported> {
        let issuers = [&pki().tam_authority, &pki().tam_root];
        let ocsp = responses(&self.tam.chain, &issuers);
        let tbs = json!({
            "ver": "1.0", "rid": "r", "tid": "t", "supportedsigalgs": ["RS256"],
            "ocspdat": ocsp.iter().map(|response| base64(response)).collect::<Vec<_>>(),
        });
        let reply = self.device.process(&self.tam.sign("GetDeviceState", &tbs)).unwrap();
        let tbs = Tam::verify(&reply, "GetDeviceTEEState", &self.tee)?;
        assert_eq!(tbs["status"], "pass", "{tbs}");
        let (_, document) = open(&tbs["edsi"], &self.tam.key)?;
        self.see(&document);
        Ok(())
    }

    /// Takes the text `{"dsi":...}`.
    fn see(&mut self, document: &[u8]) {
        self.dsi_hash = base64(&sha256(document));
        let document: Value = serde_json::from_slice(document).unwrap();
        self.dsi = only(&document).1["tee"].clone();
    }

    /// Sends a command that must be carried out; the content of the answer.
    fn command(&mut self, name: &str, content: &Value, encrypted_ta: Option<Value>) -> Value {
        let cek = random();
        let mut tbs = json!({
            "ver": "1.0", "rid": "r", "tid": "t", "tee": TEE_NAME, "nextdsi": true,
            "dsihash": self.dsi_hash,
            "content": seal(content.to_string().as_bytes(), &cek, &self.tee),
        });
        if let Some(encrypted_ta) = encrypted_ta {
            tbs["encrypted_ta"] = encrypted_ta;
        }
        let reply = self.device.process(&self.tam.sign(name, &tbs)).unwrap();
        let tbs = Tam::verify(&reply, name, &self.tee).unwrap();
        let (key, plaintext) = open(&tbs["content"], &self.tam.key).unwrap();
        let text = String::from_utf8(plaintext).unwrap();
        assert_eq!(tbs["status"], "pass", "{text}");
        assert_eq!(key, cek, "the answer has its request's key");
        let content: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(content["did"], self.did);
        // The hash is over the state as it is written, which ends the content.
        let start = text.find(r#""dsi":"#).unwrap();
        let document = format!("{{{}", &text[start..]);
        self.see(document.as_bytes());
        content
    }

    fn attestation_key(&self) -> PKey<Public> {
        let key = &self.dsi["teeaiklist"][0];
        assert_eq!((&key["spid"], &key["spaiktype"]), (&json!(SP), &json!("RSA")));
        let der = openssl::base64::decode_block(key["spaik"].as_str().unwrap()).unwrap();
        PKey::from_rsa(Rsa::public_key_from_der_pkcs1(&der).unwrap()).unwrap()
    }

    /// `encrypted_ta`, with the one vector that the draft has for both texts.
    fn encrypted_ta(&self, bare: bool, texts: [(&str, &[u8]); 2]) -> Value {
        let aik = self.attestation_key();
        let (key, iv): ([u8; 32], [u8; 16]) = (random(), random());
        let wrapped = match bare {
            true => base64(&wrap(&key, &aik)).into(),
            false => seal(&key, &random(), &aik),
        };
        let mut parts = json!({ "key": wrapped, "alg": "AESCBC", "iv": hex::encode_upper(iv) });
        for (member, text) in texts {
            let text = encrypt(Cipher::aes_256_cbc(), &key, Some(&iv), text).unwrap();
            parts[member] = base64(&text).into();
        }
        parts
    }

    fn assert_installed(&mut self, version: u8, data: &[u8]) {
        assert_eq!(self.device.world.images()[&uuid(1)].bytes(), elf(uuid(1), version, 1000));
        assert_eq!(self.device.personalization(&uuid(1)).as_deref(), Ok(data));
    }
}

#[test]
fn a_tam_with_the_mandatory_algorithms_alone_lives_its_life() {
    let mut life = Life::begin();
    life.ask().unwrap();
    assert_eq!(life.dsi["sdlist"]["cnt"], "0");
    let signer = &pki().sp_rsa;
    let certificate = base64(&der(&signer.certificate));
    let created = life.command(
        "CreateSD",
        &json!({ "tamid": TAM_ID, "spid": SP, "sdname": "payments", "spcert": certificate,
                 "did": life.did }),
        None,
    );
    assert_eq!(created["sdname"], "payments");
    assert_eq!(created["teespaik"], life.dsi["teeaiklist"][0]["spaik"]);

    let image = signed(signer, uuid(1), 1);
    let texts: [(&str, &[u8]); 2] = [("ciphertadata", &image), ("cipherpdata", b"limit=9")];
    let parts = life.encrypted_ta(false, texts);
    let into = |name: &str| json!({ "tamid": TAM_ID, "spid": SP, "sdname": name, "taid": TA });
    life.command("InstallTA", &into("payments"), Some(parts));
    life.assert_installed(1, b"limit=9");
    assert_eq!(life.dsi["sdlist"]["sd"][0]["talist"][0]["taid"], TA);

    let image = signed(signer, uuid(1), 2);
    let texts: [(&str, &[u8]); 2] = [("ciphernewtadata", &image), ("ciphernewpdata", b"limit=7")];
    let parts = life.encrypted_ta(true, texts);
    life.command("UpdateTA", &into("payments"), Some(parts));
    life.assert_installed(2, b"limit=7");

    let before = life.dsi["teeaiklist"].clone();
    let other = base64(&der(&pki().sp_ec.certificate));
    let changes = json!({ "newsdname": "vouchers", "spcert": [other], "renewteespaik": true });
    life.command(
        "UpdateSD",
        &json!({ "tamid": TAM_ID, "spid": SP, "sdname": "payments", "changes": changes }),
        None,
    );
    assert_eq!(life.dsi["sdlist"]["sd"][0]["name"], "vouchers");
    assert_ne!(life.dsi["teeaiklist"], before);
    // Under the new key and the new name.
    let image = signed(signer, uuid(1), 3);
    let texts: [(&str, &[u8]); 2] = [("ciphernewtadata", &image), ("ciphernewpdata", b"limit=5")];
    let parts = life.encrypted_ta(false, texts);
    life.command("UpdateTA", &into("vouchers"), Some(parts));
    life.assert_installed(3, b"limit=5");

    life.command("DeleteTA", &json!({ "tamid": TAM_ID, "sdname": "vouchers", "taid": TA }), None);
    assert!(life.device.world.images().is_empty());
    life.command("DeleteSD", &json!({ "tamid": TAM_ID, "sdname": "vouchers" }), None);
    assert_eq!(life.dsi["sdlist"]["cnt"], "0");
    assert!(life.device.records(Kind::Aik).is_empty());
    life.ask().unwrap();
}

#[test]
fn a_build_without_rsa1_5_is_not_for_it() {
    let mut life = Life::begin();
    life.device.engine = life.device.world.boot(Trust { rsa1_5: false, ..pki().trust });
    assert_eq!(life.ask(), Err(Unsupported(r#""RSA-OAEP-256""#.into())));
}
