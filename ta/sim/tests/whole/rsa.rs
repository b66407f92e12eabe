//! Lives of devices with RSA keys, and of TAMs with RSA certificates.
//!
//! The messages are josekit's and OpenSSL's, put together here and not by `otrp-tam`: so each
//! combination of keys and algorithms is chosen freely, also those that no TAM would choose.

use std::rc::Rc;

use josekit::jwe::{
    ECDH_ES_A128KW, ECDH_ES_A256KW, JweContentEncryption, JweDecrypter, JweEncrypter, JweHeader,
    RSA_OAEP, RSA_OAEP_256, enc,
};
use josekit::jws::{ES256, JwsSigner as _, JwsVerifier as _, RS256};
use openssl::pkey::{Id, PKey, Private, Public};
use openssl::rand::rand_bytes;
use openssl::rsa::Rsa;
use openssl::symm::{Cipher, encrypt};
use openssl::x509::X509;
use otrp_engine::Trust;
use otrp_engine::platform::KeyType;
use otrp_keys::certificate::{Purpose, Template, Validity};
use otrp_sim::World;
use otrp_tam::encoding::{from_base64, from_base64url};
use serde_json::{Value, json};

use crate::bench::{
    Device, Kind, Refused, TEE_NAME, base64, base64url, boot_simulator, der, elf, now, pki,
    responses, sha256, signed, ta_query, uuid,
};

const TAM_ID: &str = "https://rsa-tam.example/otrp";
const SP: &str = "acme-bank.example";
const DOMAIN: &str = "payments";
const TA: &str = "com.example.wallet";
const UNSUPPORTED: &str = "ERR_UNSUPPORTED_CRYPTO_ALG";
const RSA_ALGORITHMS: [&str; 3] = ["RSA1_5", "RSA-OAEP", "RSA-OAEP-256"];
const CONTENT_ALGORITHMS: [&str; 4] = ["A128CBC-HS256", "A256CBC-HS512", "A128GCM", "A256GCM"];

fn primitive(encryption: &str) -> &'static dyn JweContentEncryption {
    match encryption {
        "A128CBC-HS256" => &enc::A128CBC_HS256,
        "A256CBC-HS512" => &enc::A256CBC_HS512,
        "A128GCM" => &enc::A128GCM,
        "A256GCM" => &enc::A256GCM,
        other => panic!("{other}"),
    }
}

fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rand_bytes(&mut bytes).unwrap();
    bytes
}

#[allow(deprecated, reason = "RSA1_5 is what OTrP wants of everybody")]
fn encrypter(algorithm: &str, key: &PKey<Public>) -> Box<dyn JweEncrypter> {
    use josekit::jwe::RSA1_5;

    let pem = key.public_key_to_pem().unwrap();
    match algorithm {
        "RSA1_5" => Box::new(RSA1_5.encrypter_from_pem(pem).unwrap()),
        "RSA-OAEP" => Box::new(RSA_OAEP.encrypter_from_pem(pem).unwrap()),
        "RSA-OAEP-256" => Box::new(RSA_OAEP_256.encrypter_from_pem(pem).unwrap()),
        "ECDH-ES+A128KW" => Box::new(ECDH_ES_A128KW.encrypter_from_pem(pem).unwrap()),
        "ECDH-ES+A256KW" => Box::new(ECDH_ES_A256KW.encrypter_from_pem(pem).unwrap()),
        other => panic!("{other}"),
    }
}

#[allow(deprecated, reason = "RSA1_5 is what OTrP wants of everybody")]
fn decrypter(algorithm: &str, key: &PKey<Private>) -> Box<dyn JweDecrypter> {
    use josekit::jwe::RSA1_5;

    let pem = key.private_key_to_pem_pkcs8().unwrap();
    match algorithm {
        "RSA1_5" => Box::new(RSA1_5.decrypter_from_pem(pem).unwrap()),
        "RSA-OAEP" => Box::new(RSA_OAEP.decrypter_from_pem(pem).unwrap()),
        "RSA-OAEP-256" => Box::new(RSA_OAEP_256.decrypter_from_pem(pem).unwrap()),
        "ECDH-ES+A128KW" => Box::new(ECDH_ES_A128KW.decrypter_from_pem(pem).unwrap()),
        "ECDH-ES+A256KW" => Box::new(ECDH_ES_A256KW.decrypter_from_pem(pem).unwrap()),
        other => panic!("{other}"),
    }
}

/// Wraps a key: the value, and the parameters that josekit adds to the header.
fn wrap(algorithm: &str, encryption: &str, cek: &[u8], key: &PKey<Public>) -> (Vec<u8>, JweHeader) {
    let mut header = JweHeader::new();
    header.set_content_encryption(encryption);
    let mut out = header.clone();
    let wrapped = encrypter(algorithm, key).encrypt(cek, &header, &mut out).unwrap().unwrap();
    out.set_algorithm(algorithm);
    (wrapped, out)
}

/// A JWE of `plaintext` under `cek`, flattened.
fn seal(
    algorithm: &str,
    encryption: &str,
    cek: &[u8],
    plaintext: &[u8],
    key: &PKey<Public>,
) -> Value {
    let (wrapped, header) = wrap(algorithm, encryption, cek, key);
    let protected = base64url(header.to_string().as_bytes());
    let iv = random(primitive(encryption).iv_len());
    let (ciphertext, tag) =
        primitive(encryption).encrypt(cek, Some(&iv), plaintext, protected.as_bytes()).unwrap();
    json!({
        "protected": protected,
        "encrypted_key": base64url(&wrapped),
        "iv": base64url(&iv),
        "ciphertext": base64url(&ciphertext),
        "tag": base64url(&tag.unwrap()),
    })
}

/// A JWE of the TEE, opened: how its key was wrapped, the key, the plaintext.
fn open(jwe: &Value, key: &PKey<Private>) -> (String, Vec<u8>, Vec<u8>) {
    let part = |value: &Value| from_base64url(value.as_str().unwrap()).unwrap();
    let protected: Value = serde_json::from_slice(&part(&jwe["protected"])).unwrap();
    let encryption = protected["enc"].as_str().unwrap();
    let recipient = &jwe["recipients"][0];
    let algorithm = String::from(recipient["header"]["alg"].as_str().unwrap());
    let mut header = recipient["header"].as_object().unwrap().clone();
    header.insert("enc".into(), encryption.into());
    let header = JweHeader::from_map(header).unwrap();
    let cek = decrypter(&algorithm, key)
        .decrypt(Some(&part(&recipient["encrypted_key"])), primitive(encryption), &header)
        .unwrap()
        .into_owned();
    let plaintext = primitive(encryption)
        .decrypt(
            &cek,
            Some(&part(&jwe["iv"])),
            &part(&jwe["ciphertext"]),
            jwe["protected"].as_str().unwrap().as_bytes(),
            Some(&part(&jwe["tag"])),
        )
        .unwrap();
    (algorithm, cek, plaintext)
}

/// The payload of a flattened JWS, verified with the algorithm of the key.
fn verified(jws: &Value, key: &PKey<Public>) -> Value {
    let part = |name: &str| jws[name].as_str().unwrap();
    let header: Value =
        serde_json::from_slice(&from_base64url(part("protected")).unwrap()).unwrap();
    let input = format!("{}.{}", part("protected"), part("payload"));
    let signature = from_base64url(part("signature")).unwrap();
    let pem = key.public_key_to_pem().unwrap();
    if key.id() == Id::RSA {
        assert_eq!(header, json!({ "alg": "RS256" }));
        RS256.verifier_from_pem(pem).unwrap().verify(input.as_bytes(), &signature).unwrap();
    } else {
        assert_eq!(header, json!({ "alg": "ES256" }));
        ES256.verifier_from_pem(pem).unwrap().verify(input.as_bytes(), &signature).unwrap();
    }
    serde_json::from_slice(&from_base64url(part("payload")).unwrap()).unwrap()
}

/// The one member of an object.
fn only(value: &Value) -> &Value {
    let members = value.as_object().unwrap();
    assert_eq!(members.len(), 1);
    members.values().next().unwrap()
}

struct Tam {
    key: PKey<Private>,
    chain: Vec<X509>,
}

impl Tam {
    fn new(key: PKey<Private>) -> Self {
        let template = Template {
            organization: "OTrP tests (not for production)",
            common_name: "A TAM of a test",
            purpose: Purpose::Party,
            validity: Validity::years(1),
            uri: Some(TAM_ID),
        };
        let mut chain = pki().tam.chain().to_vec();
        chain[0] = template.issue(&key, &pki().tam_authority).unwrap();
        Self { key, chain }
    }

    fn rsa(bits: u32) -> Self {
        Self::new(PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap())
    }

    fn elliptic() -> Self {
        Self::new(otrp_keys::certificate::generate_p256().unwrap())
    }

    fn is_rsa(&self) -> bool {
        self.key.id() == Id::RSA
    }

    fn signs_with(&self) -> &'static str {
        if self.is_rsa() { "RS256" } else { "ES256" }
    }

    /// What a GetDeviceState consists of.
    fn question(&self, algorithms: &[&str]) -> Value {
        let responses = responses(&self.chain, &[&pki().tam_authority, &pki().tam_root]);
        let responses: Vec<_> = responses.iter().map(|response| base64(response)).collect();
        json!({
            "ver": "1.0", "rid": "r", "tid": "t",
            "ocspdat": responses,
            "supportedsigalgs": algorithms,
        })
    }

    fn request(&self, name: &str, tbs: Value) -> Vec<u8> {
        self.request_by(self.signs_with(), name, tbs)
    }

    /// A signed request with the leaf's certificate chain, under any `alg`.
    fn request_by(&self, algorithm: &str, name: &str, tbs: Value) -> Vec<u8> {
        let payload = base64url(json!({ format!("{name}TBSRequest"): tbs }).to_string().as_bytes());
        let protected = base64url(json!({ "alg": algorithm }).to_string().as_bytes());
        let input = format!("{protected}.{payload}");
        let pem = self.key.private_key_to_pem_pkcs8().unwrap();
        let signature = if self.is_rsa() {
            RS256.signer_from_pem(pem).unwrap().sign(input.as_bytes()).unwrap()
        } else {
            ES256.signer_from_pem(pem).unwrap().sign(input.as_bytes()).unwrap()
        };
        let x5c: Vec<String> = self.chain.iter().map(|one| base64(&der(one))).collect();
        let jws = json!({
            "payload": payload,
            "protected": protected,
            "header": { "x5c": x5c },
            "signature": base64url(&signature),
        });
        json!({ format!("{name}Request"): jws }).to_string().into_bytes()
    }
}

/// A device, a TAM, and the state of the one for the other.
struct Life {
    device: Device,
    tam: Tam,
    tee: PKey<Public>,
    certificate: Vec<u8>,
    dsi_hash: String,
    dsi: Value,
    /// Whether the device was built with RSA1_5.
    rsa1_5: bool,
}

/// How a request is encrypted.
#[derive(Clone, Copy, Debug)]
struct Suite {
    algorithm: &'static str,
    encryption: &'static str,
}

impl Life {
    fn begin(keys: KeyType, tam: Tam) -> Self {
        let world = World::new(now());
        world.key_type.set(keys);
        let mut device = Device::on(world, Rc::new(boot_simulator));
        device.provision();
        device.engine.prepare(&mut device.reply).unwrap();
        let certificate = device.certificate();
        let mut life = Self {
            device,
            tam,
            tee: certificate.public_key().unwrap(),
            certificate: der(&certificate),
            dsi_hash: String::new(),
            dsi: Value::Null,
            rsa1_5: true,
        };
        life.ask();
        life
    }

    /// The signed part of the answer to a message.
    fn answer(&mut self, message: &[u8]) -> Value {
        let reply = self.device.process(message).unwrap();
        let outer: Value = serde_json::from_slice(&reply).unwrap();
        only(&verified(only(&outer), &self.tee)).clone()
    }

    fn ask(&mut self) {
        let message = self.tam.request("GetDeviceState", self.tam.question(&["ES256", "RS256"]));
        let answer = self.answer(&message);
        assert_eq!(answer["status"], "pass", "{answer}");
        let (algorithm, _, document) = open(&answer["edsi"], &self.tam.key);
        assert_eq!(algorithm, self.wrap_for_a_stranger());
        self.dsi_hash = base64(&sha256(&document));
        let document: Value = serde_json::from_slice(&document).unwrap();
        self.dsi = document["dsi"]["tee"].clone();
        assert_eq!(self.dsi["cert"], base64(&self.certificate));
    }

    /// How a key is wrapped for a TAM that has shown nothing but its kind of key.
    fn wrap_for_a_stranger(&self) -> &'static str {
        match (self.tam.is_rsa(), self.rsa1_5) {
            (false, _) => "ECDH-ES+A128KW",
            (true, true) => "RSA1_5",
            (true, false) => "RSA-OAEP-256",
        }
    }

    /// What a command consists of, with its content under `cek`.
    fn command(&self, suite: Suite, cek: &[u8], content: &Value) -> Value {
        let Suite { algorithm, encryption } = suite;
        let content = content.to_string();
        json!({
            "ver": "1.0", "rid": "r", "tid": "t", "tee": TEE_NAME, "nextdsi": false,
            "dsihash": self.dsi_hash,
            "content": seal(algorithm, encryption, cek, content.as_bytes(), &self.tee),
        })
    }

    /// Sends a command that must be carried out; the content of the answer.
    fn pass(
        &mut self,
        suite: Suite,
        name: &str,
        content: &Value,
        edit: impl FnOnce(&mut Value),
    ) -> Value {
        let cek = random(primitive(suite.encryption).key_len());
        let mut tbs = self.command(suite, &cek, content);
        edit(&mut tbs);
        let message = self.tam.request(name, tbs);
        let answer = self.answer(&message);
        let (algorithm, key, content) = open(&answer["content"], &self.tam.key);
        let content: Value = serde_json::from_slice(&content).unwrap();
        assert_eq!(answer["status"], "pass", "{content}");
        assert_eq!(key, cek, "an answer has its request's key");
        let expected = match self.tam.is_rsa() == suite.algorithm.starts_with("RSA") {
            true => suite.algorithm,
            false => self.wrap_for_a_stranger(),
        };
        assert_eq!(algorithm, expected);
        self.ask();
        content
    }

    /// Sends a message that must be refused openly and change nothing; the refusal.
    fn refuse(&mut self, what: &str, code: &str, message: &[u8]) -> Value {
        let before = self.device.world.snapshot();
        let answer = self.answer(message);
        assert_eq!(answer["status"], "fail", "{what}");
        assert_eq!(answer["reason"]["error-code"], code, "{what}");
        assert!(self.device.world.snapshot() == before, "{what}");
        answer
    }

    /// Sends a message that must be refused before its signer is known, and change nothing.
    fn refuse_stranger(&mut self, what: &str, code: &str, message: &[u8]) -> Refused {
        let before = self.device.world.snapshot();
        let refused = Refused::read(&self.device.process(message).unwrap(), &self.tee);
        assert!(!refused.by_tee && refused.code.as_deref() == Some(code), "{what}");
        assert!(self.device.world.snapshot() == before, "{what}");
        refused
    }

    fn create_sd(&mut self, suite: Suite) -> Value {
        let content = json!({
            "tamid": TAM_ID, "spid": SP, "sdname": DOMAIN,
            "spcert": base64(&der(&pki().sp_ec.certificate)),
            "did": base64(&sha256(&self.certificate)),
        });
        self.pass(suite, "CreateSD", &content, |_| ())
    }

    /// The attestation key of the one service provider.
    fn attestation_key(&self) -> PKey<Public> {
        let key = &self.dsi["teeaiklist"][0];
        let der = from_base64(key["spaik"].as_str().unwrap()).unwrap();
        match key["spaiktype"].as_str().unwrap() {
            "RSA" => PKey::from_rsa(Rsa::public_key_from_der_pkcs1(&der).unwrap()).unwrap(),
            "ECC" => PKey::public_key_from_der(&der).unwrap(),
            other => panic!("{other}"),
        }
    }

    /// Installs or updates the application, in a version, whose data key is wrapped by `key`.
    fn deliver(&mut self, suite: Suite, name: &str, version: u32, key: impl Fn(&[u8]) -> Value) {
        let data_key = random(32);
        let iv = random(16);
        let image = signed(&pki().sp_ec, uuid(1), version);
        let image = encrypt(Cipher::aes_256_cbc(), &data_key, Some(&iv), &image).unwrap();
        let member = if name == "UpdateTA" { "ciphernewtadata" } else { "ciphertadata" };
        let parts = json!({
            "key": key(&data_key), "alg": "AESCBC", "iv": hex::encode(iv), member: base64(&image),
        });
        let content = json!({ "tamid": TAM_ID, "spid": SP, "sdname": DOMAIN, "taid": TA });
        self.pass(suite, name, &content, |tbs| tbs["encrypted_ta"] = parts);
        let seed = version.to_le_bytes()[0];
        assert_eq!(self.device.world.images()[&uuid(1)].bytes(), elf(uuid(1), seed, 1000));
    }
}

/// A data key as a JWE for an attestation key.
fn data_key(algorithm: &str, aik: &PKey<Public>, key: &[u8]) -> Value {
    seal(algorithm, "A256GCM", &random(32), key, aik)
}

/// The algorithms that a TEE with such keys takes.
const fn algorithms(keys: KeyType) -> &'static [&'static str] {
    match keys {
        KeyType::P256 => &["ECDH-ES+A128KW", "ECDH-ES+A256KW"],
        KeyType::Rsa2048 => &RSA_ALGORITHMS,
    }
}

fn live(keys: KeyType, tam: Tam) {
    let mut life = Life::begin(keys, tam);
    let mut encryptions = CONTENT_ALGORITHMS.into_iter().cycle();
    for algorithm in algorithms(keys) {
        let mut suite = || Suite { algorithm, encryption: encryptions.next().unwrap() };
        let created = life.create_sd(suite());
        let key = &life.dsi["teeaiklist"][0];
        assert_eq!(created["teespaik"], key["spaik"]);
        assert_eq!(created["teespaiktype"], key["spaiktype"]);
        let aik = life.attestation_key();
        assert_eq!(aik.id() == Id::RSA, keys == KeyType::Rsa2048);

        let wrapped = |key: &[u8]| data_key(algorithm, &aik, key);
        life.deliver(suite(), "InstallTA", 1, wrapped);
        if keys == KeyType::Rsa2048 {
            let bare = |key: &[u8]| base64(&wrap("RSA1_5", "A256GCM", key, &aik).0).into();
            life.deliver(suite(), "UpdateTA", 2, bare);
        }
        let answer = life
            .device
            .engine
            .ta_information(&mut ta_query(SP, TA), &mut life.device.reply)
            .unwrap();
        let information: Value = serde_json::from_slice(answer).unwrap();
        let information = &information["TAInformation"];
        verified(information, &aik);
        let jwk = &information["header"]["signer"];
        if let Ok(aik) = aik.rsa() {
            let expected = json!({
                "kty": "RSA", "n": base64url(&aik.n().to_vec()), "e": base64url(&aik.e().to_vec()),
            });
            assert_eq!(jwk, &expected);
        } else {
            assert_eq!(jwk["crv"], "P-256");
        }

        let gone = json!({ "tamid": TAM_ID, "sdname": DOMAIN, "deleteta": true });
        life.pass(suite(), "DeleteSD", &gone, |_| ());
        assert!(life.device.records(Kind::Aik).is_empty());
        // A device remembers the versions that it had.
        life = Life::begin(keys, life.tam);
    }
}

#[test]
fn an_rsa_tee_and_an_rsa_tam() {
    live(KeyType::Rsa2048, Tam::rsa(2048));
}

#[test]
fn an_rsa_tee_and_a_tam_on_a_curve() {
    live(KeyType::Rsa2048, Tam::elliptic());
}

#[test]
fn a_tee_on_a_curve_and_an_rsa_tam() {
    live(KeyType::P256, Tam::rsa(3072));
}

#[test]
fn a_tee_and_a_tam_on_a_curve() {
    live(KeyType::P256, Tam::elliptic());
}

#[test]
fn a_state_is_wrapped_as_the_tam_asks() {
    const SIGNATURES: [&str; 2] = ["ES256", "RS256"];
    const ALL: [&str; 5] =
        ["RSA1_5", "ECDH-ES+A256KW", "RSA-OAEP", "ECDH-ES+A128KW", "RSA-OAEP-256"];
    type Row = (&'static [&'static str], &'static str, &'static str);
    // What is listed with the signatures, and how a device with RSA1_5 and one without wraps.
    let rsa: [Row; 7] = [
        (&[], "RSA1_5", "RSA-OAEP-256"),
        (&["RSA1_5"], "RSA1_5", "RSA-OAEP-256"),
        (&["RSA-OAEP"], "RSA-OAEP", "RSA-OAEP"),
        (&["RSA1_5", "RSA-OAEP"], "RSA-OAEP", "RSA-OAEP"),
        (&["RSA-OAEP-256"], "RSA-OAEP-256", "RSA-OAEP-256"),
        (&ALL, "RSA-OAEP-256", "RSA-OAEP-256"),
        // Of another kind of key, in other letters, of somebody else.
        (&["ECDH-ES+A256KW", "rsa-oaep", "RSA-OAEP-512"], "RSA1_5", "RSA-OAEP-256"),
    ];
    let elliptic: [Row; 5] = [
        (&[], "ECDH-ES+A128KW", "ECDH-ES+A128KW"),
        (&["ECDH-ES+A128KW"], "ECDH-ES+A128KW", "ECDH-ES+A128KW"),
        (&["ECDH-ES+A256KW"], "ECDH-ES+A256KW", "ECDH-ES+A256KW"),
        (&ALL, "ECDH-ES+A128KW", "ECDH-ES+A128KW"),
        (&["RSA-OAEP"], "ECDH-ES+A128KW", "ECDH-ES+A128KW"),
    ];
    for (tam, rows) in [(Tam::rsa(2048), &rsa[..]), (Tam::elliptic(), &elliptic)] {
        let mut life = Life::begin(KeyType::P256, tam);
        for rsa1_5 in [true, false] {
            life.device.engine = life.device.world.boot(Trust { rsa1_5, ..pki().trust });
            for (listed, with, without) in rows {
                let names: Vec<&str> = SIGNATURES.iter().chain(*listed).copied().collect();
                let message = life.tam.request("GetDeviceState", life.tam.question(&names));
                let (algorithm, ..) = open(&life.answer(&message)["edsi"], &life.tam.key);
                let expected = if rsa1_5 { with } else { without };
                assert_eq!(algorithm, *expected, "{listed:?}, built with RSA1_5: {rsa1_5}");
            }
        }
        // They are no signatures.
        let message = life.tam.request("GetDeviceState", life.tam.question(&ALL));
        let refused = life.refuse("no signature", UNSUPPORTED, &message);
        assert_eq!(refused["supportedsigalgs"], json!(["ES256"]));
    }
}

#[test]
fn the_largest_rsa_key_of_a_tam() {
    let mut life = Life::begin(KeyType::Rsa2048, Tam::rsa(4096));
    life.create_sd(Suite { algorithm: "RSA1_5", encryption: "A256CBC-HS512" });
}

#[test]
fn signatures_are_agreed_upon() {
    for (keys, own, other) in
        [(KeyType::P256, "ES256", "RS256"), (KeyType::Rsa2048, "RS256", "ES256")]
    {
        let mut life = Life::begin(keys, Tam::rsa(2048));
        for algorithms in [&[own][..], &[other, own], &["PS256", own]] {
            let message = life.tam.request("GetDeviceState", life.tam.question(algorithms));
            assert_eq!(life.answer(&message)["status"], "pass");
        }
        for algorithms in [&[other][..], &["PS256"], &[]] {
            let message = life.tam.request("GetDeviceState", life.tam.question(algorithms));
            let refused = life.refuse("no common signature", UNSUPPORTED, &message);
            assert_eq!(refused["supportedsigalgs"], json!([own]));
        }
        // What the TEE could not check: those that it can.
        let message = life.tam.request_by("PS256", "GetDeviceState", life.tam.question(&[own]));
        let refused = life.refuse_stranger("PS256", UNSUPPORTED, &message);
        assert_eq!(refused.algorithms, Some(json!(["ES256", "RS256"])));
        // The algorithm of another kind of key.
        let message = life.tam.request_by("ES256", "GetDeviceState", life.tam.question(&[own]));
        life.refuse_stranger("ES256 by an RSA key", "ERR_TAM_NOT_TRUSTED", &message);
    }
}

#[test]
fn algorithms_for_another_kind_of_key_are_refused() {
    let content = json!({ "tamid": TAM_ID, "sdname": DOMAIN });
    let stranger = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let stranger = PKey::public_key_from_der(&stranger.public_key_to_der().unwrap()).unwrap();
    let mut life = Life::begin(KeyType::P256, Tam::rsa(2048));
    for algorithm in RSA_ALGORITHMS {
        let mut tbs = life.command(
            Suite { algorithm: "ECDH-ES+A128KW", encryption: "A128GCM" },
            &random(16),
            &content,
        );
        let jwe = seal(algorithm, "A128GCM", &random(16), b"{}", &stranger);
        tbs["content"] = jwe;
        let message = life.tam.request("DeleteSD", tbs);
        life.refuse(algorithm, UNSUPPORTED, &message);
    }
    let mut life = Life::begin(KeyType::Rsa2048, Tam::rsa(2048));
    let curve = otrp_keys::certificate::generate_p256().unwrap();
    let curve = PKey::public_key_from_der(&curve.public_key_to_der().unwrap()).unwrap();
    let suite = Suite { algorithm: "RSA-OAEP", encryption: "A128GCM" };
    let mut tbs = life.command(suite, &random(16), &content);
    tbs["content"] = seal("ECDH-ES+A128KW", "A128GCM", &random(16), b"{}", &curve);
    let message = life.tam.request("DeleteSD", tbs);
    life.refuse("ECDH-ES+A128KW", UNSUPPORTED, &message);
}

#[test]
fn rsa_defects_look_alike() {
    type Edit = fn(&mut Value);
    let content = json!({ "tamid": TAM_ID, "sdname": DOMAIN });
    let mut life = Life::begin(KeyType::Rsa2048, Tam::rsa(2048));
    let rows: [(&str, Edit); 6] = [
        ("another key", |jwe| jwe["encrypted_key"] = base64url(&[7; 256]).into()),
        ("a short key", |jwe| jwe["encrypted_key"] = base64url(&[7; 255]).into()),
        ("a number above the modulus", |jwe| jwe["encrypted_key"] = base64url(&[0xff; 256]).into()),
        ("zero", |jwe| jwe["encrypted_key"] = base64url(&[0; 256]).into()),
        ("another tag", |jwe| jwe["tag"] = base64url(&[7; 16]).into()),
        ("a key agreement beside it", |jwe| {
            jwe["header"] = json!({ "epk": { "kty": "EC", "crv": "P-256", "x": "", "y": "" } });
        }),
    ];
    for algorithm in RSA_ALGORITHMS {
        let mut answers = Vec::new();
        for (what, edit) in rows {
            let suite = Suite { algorithm, encryption: "A128GCM" };
            let mut tbs = life.command(suite, &random(16), &content);
            edit(&mut tbs["content"]);
            let message = life.tam.request("DeleteSD", tbs);
            answers.push(life.refuse(what, "ERR_REQUEST_INVALID", &message));
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{algorithm}: {answers:?}");
    }
}

#[test]
fn rsa1_5_can_be_switched_off() {
    let mut life = Life::begin(KeyType::Rsa2048, Tam::rsa(2048));
    life.create_sd(Suite { algorithm: "RSA1_5", encryption: "A128GCM" });
    life.device.engine = life.device.world.boot(Trust { rsa1_5: false, ..pki().trust });
    life.rsa1_5 = false;
    let suite = |algorithm| Suite { algorithm, encryption: "A128GCM" };
    let content = json!({ "tamid": TAM_ID, "sdname": DOMAIN });
    let tbs = life.command(suite("RSA1_5"), &random(16), &content);
    let message = life.tam.request("DeleteSD", tbs);
    let refused = life.refuse("RSA1_5", UNSUPPORTED, &message);
    assert_eq!(refused["supportedsigalgs"], json!(["ES256", "RS256"]));

    // Neither for the key of an image, in any form.
    let aik = life.attestation_key();
    let keys = [
        data_key("RSA1_5", &aik, &[7; 32]),
        base64(&wrap("RSA1_5", "A256GCM", &[7; 32], &aik).0).into(),
    ];
    for key in keys {
        let before = life.device.world.snapshot();
        let cek = random(16);
        let content = json!({ "tamid": TAM_ID, "spid": SP, "sdname": DOMAIN, "taid": TA });
        let mut tbs = life.command(suite("RSA-OAEP"), &cek, &content);
        tbs["encrypted_ta"] =
            json!({ "key": key, "alg": "AESCBC", "iv": "00".repeat(16), "ciphertadata": "AAAA" });
        let message = life.tam.request("InstallTA", tbs);
        let answer = life.answer(&message);
        let (_, _, content) = open(&answer["content"], &life.tam.key);
        let content: Value = serde_json::from_slice(&content).unwrap();
        assert_eq!(content["reason"]["error-code"], UNSUPPORTED);
        assert!(life.device.world.snapshot() == before);
    }
    life.deliver(suite("RSA-OAEP"), "InstallTA", 1, |key| data_key("RSA-OAEP-256", &aik, key));
}
