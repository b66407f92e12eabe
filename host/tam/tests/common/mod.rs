//! A PKI, and a small device that speaks OTrP, both made with OpenSSL and josekit only.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod client;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use josekit::jwe::alg::ecdh_es::EcdhEsJweAlgorithm;
use josekit::jwe::alg::rsaes::RsaesJweAlgorithm;
use josekit::jwe::{JweContentEncryption, JweDecrypter, JweEncrypter, JweHeader, enc};
use josekit::jwk::Jwk;
use josekit::jws::{ES256, JwsSigner, JwsVerifier, RS256};
use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::base64::{decode_block, encode_block};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{HasPublic, Id, PKey, PKeyRef, Private, Public};
use openssl::rsa::Rsa;
use openssl::sha::sha256;
use openssl::symm::{Cipher, decrypt, decrypt_aead};
use openssl::x509::extension::{BasicConstraints, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder, X509Ref};
use otrp_tam::Identity;
use otrp_wire::limits::SD_LIMIT;
use serde_json::{Map, Value, json};

pub const TAM_ID: &str = "https://tam.test/otrp";
pub const MEDIA_TYPE: &str = "application/otrp+json";

// ---- certificates --------------------------------------------------------------------------

pub fn new_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

pub fn new_rsa_key(bits: u32) -> PKey<Private> {
    PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap()
}

pub fn public_half(key: &PKeyRef<Private>) -> PKey<Public> {
    PKey::public_key_from_der(&key.public_key_to_der().unwrap()).unwrap()
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Holder {
    pub key: PKey<Private>,
    pub certificate: X509,
}

/// What stands in a certificate.
pub struct Profile<'a> {
    pub name: &'a str,
    pub is_ca: bool,
    pub uri: Option<&'a str>,
    pub days: (i64, i64),
}

impl<'a> Profile<'a> {
    pub fn ca(name: &'a str) -> Self {
        Self { name, is_ca: true, uri: None, days: (-1, 365) }
    }

    pub fn leaf(name: &'a str) -> Self {
        Self { name, is_ca: false, uri: None, days: (-1, 365) }
    }
}

pub fn issue(profile: &Profile<'_>, key: PKey<Private>, issuer: Option<&Holder>) -> Holder {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", profile.name).unwrap();
    let name = name.build();
    let mut serial = BigNum::new().unwrap();
    serial.rand(64, openssl::bn::MsbOption::ONE, false).unwrap();
    let day = |days: i64| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        Asn1Time::from_unix(i64::try_from(now.as_secs()).unwrap() + days * 86_400).unwrap()
    };
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(&Asn1Integer::from_bn(&serial).unwrap()).unwrap();
    builder.set_subject_name(&name).unwrap();
    let issuer_name = issuer.map_or(&*name, |issuer| issuer.certificate.subject_name());
    builder.set_issuer_name(issuer_name).unwrap();
    builder.set_not_before(&day(profile.days.0)).unwrap();
    builder.set_not_after(&day(profile.days.1)).unwrap();
    builder.set_pubkey(&key).unwrap();
    let mut constraints = BasicConstraints::new();
    let mut usage = KeyUsage::new();
    if profile.is_ca {
        constraints.ca();
        usage.key_cert_sign();
    } else {
        usage.digital_signature();
        match key.id() {
            Id::RSA => usage.key_encipherment(),
            _ => usage.key_agreement(),
        };
    }
    builder.append_extension(constraints.critical().build().unwrap()).unwrap();
    builder.append_extension(usage.critical().build().unwrap()).unwrap();
    if let Some(uri) = profile.uri {
        let context = builder.x509v3_context(None, None);
        let names = SubjectAlternativeName::new().uri(uri).build(&context).unwrap();
        builder.append_extension(names).unwrap();
    }
    let signer = issuer.map_or(&key, |issuer| &issuer.key);
    builder.sign(signer, MessageDigest::sha256()).unwrap();
    Holder { certificate: builder.build(), key }
}

/// The order of P-256, and of P-384 (SEC 2, sections 2.4.2 and 2.5.1).
pub const P256_ORDER: &str = "FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551";
pub const P384_ORDER: &str = "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF\
                              581A0DB248B0A77AECEC196ACCC52973";

/// The certificate with its ECDSA signature in the other form, (r, n - s): as valid, and made by
/// whoever has the certificate. `order` is that of the issuer's curve.
pub fn other_form(holder: &Holder, issuer: &Holder, order: &str) -> Holder {
    let der = holder.certificate.to_der().unwrap();
    let signature = holder.certificate.signature().as_slice();
    let old = EcdsaSig::from_der(signature).unwrap();
    let s = &BigNum::from_hex_str(order).unwrap() - old.s();
    let new = EcdsaSig::from_private_components(old.r().to_owned().unwrap(), s).unwrap();
    let new = new.to_der().unwrap();
    // SEQUENCE { tbsCertificate, algorithm, BIT STRING }, the lengths of the first in two octets.
    let signed = &der[4..der.len() - signature.len() - 3];
    let bits = [&[3, u8::try_from(new.len() + 1).unwrap(), 0][..], &new].concat();
    let length = u16::try_from(signed.len() + bits.len()).unwrap().to_be_bytes();
    let der = [&[0x30, 0x82], &length[..], signed, &bits].concat();
    let certificate = X509::from_der(&der).unwrap();
    assert!(certificate.verify(&issuer.key).unwrap());
    Holder { certificate, key: holder.key.clone() }
}

pub struct Pki {
    pub tam_root: Holder,
    pub tam: Holder,
    pub tee_root: Holder,
    pub tee_ca: Holder,
    pub sp: Holder,
}

impl Pki {
    pub fn new() -> Self {
        let tam_root = issue(&Profile::ca("test TAM root"), new_key(), None);
        let leaf = Profile { uri: Some(TAM_ID), ..Profile::leaf("test TAM") };
        let tam = issue(&leaf, new_key(), Some(&tam_root));
        let tee_root = issue(&Profile::ca("test TEE root"), new_key(), None);
        let tee_ca = issue(&Profile::ca("test TEE CA"), new_key(), Some(&tee_root));
        let sp = issue(&Profile::leaf("test SP"), new_key(), None);
        Self { tam_root, tam, tee_root, tee_ca, sp }
    }

    pub fn identity(&self) -> Identity {
        self.identity_of(&self.tam)
    }

    /// The same TAM with an RSA key.
    pub fn rsa_tam(&self) -> Holder {
        let leaf = Profile { uri: Some(TAM_ID), ..Profile::leaf("test TAM") };
        issue(&leaf, new_rsa_key(2048), Some(&self.tam_root))
    }

    pub fn identity_of(&self, tam: &Holder) -> Identity {
        let chain = vec![tam.certificate.clone(), self.tam_root.certificate.clone()];
        Identity::new(tam.key.clone(), chain, None).unwrap()
    }

    pub fn device(&self) -> Device {
        self.device_with(new_key())
    }

    pub fn device_with(&self, key: PKey<Private>) -> Device {
        Device::new(self.certify(key), &self.tee_ca)
    }

    pub fn certify(&self, key: PKey<Private>) -> Holder {
        issue(&Profile::leaf("test TEE"), key, Some(&self.tee_ca))
    }

    /// Writes what a configuration names, and gives back its section `[tam]`.
    pub fn write(&self, folder: &Path) -> String {
        let write = |name: &str, bytes: Vec<u8>| std::fs::write(folder.join(name), bytes).unwrap();
        write("tam.key.pem", self.tam.key.private_key_to_pem_pkcs8().unwrap());
        let mut chain = self.tam.certificate.to_pem().unwrap();
        chain.extend(self.tam_root.certificate.to_pem().unwrap());
        write("tam.chain.pem", chain);
        write("tam.ocsp", self.ocsp(&self.tam, false));
        write("tee-root.der", self.tee_root.certificate.to_der().unwrap());
        write("sp.der", self.sp.certificate.to_der().unwrap());
        String::from(
            "[tam]\nkey = 'tam.key.pem'\nchain = 'tam.chain.pem'\ntee_roots = ['tee-root.der']\n\
             ocsp = ['tam.ocsp']\n",
        )
    }

    /// Has OpenSSL answer as the TAM's root that a certificate of it is good, or revoked, for ten
    /// hours.
    pub fn ocsp(&self, subject: &Holder, revoked: bool) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let write = |name: &str, bytes: Vec<u8>| std::fs::write(folder.join(name), bytes).unwrap();
        write("root.pem", self.tam_root.certificate.to_pem().unwrap());
        write("root.key.pem", self.tam_root.key.private_key_to_pem_pkcs8().unwrap());
        write("subject.pem", subject.certificate.to_pem().unwrap());
        let serial = subject.certificate.serial_number().to_bn().unwrap().to_hex_str().unwrap();
        let status = if revoked { "R\t351231235959Z\t250101000000Z" } else { "V\t351231235959Z\t" };
        write("index.txt", format!("{status}\t{serial}\tunknown\t/CN=TAM\n").into_bytes());
        for arguments in [
            "-issuer root.pem -cert subject.pem -no_nonce -reqout request.der",
            "-index index.txt -CA root.pem -rsigner root.pem -rkey root.key.pem -nmin 600 \
             -reqin request.der -respout response.der",
        ] {
            let output = Command::new("openssl")
                .current_dir(folder)
                .arg("ocsp")
                .args(arguments.split_whitespace())
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
        }
        std::fs::read(folder.join("response.der")).unwrap()
    }

    /// An image of the service provider.
    pub fn image(&self, uuid: u8, version: u32, code: &[u8]) -> Vec<u8> {
        image(&self.sp.key, uuid, version, code)
    }

    pub fn write_image(&self, folder: &Path, name: &str, version: u32) -> PathBuf {
        let path = folder.join(name);
        let code = format!("code of version {version}");
        std::fs::write(&path, self.image(0x72, version, code.as_bytes())).unwrap();
        path
    }
}

/// An image as OP-TEE lays it out, signed by a key on P-256; its UUID is one octet sixteen times.
pub fn image(signer: &PKeyRef<Private>, uuid: u8, version: u32, contents: &[u8]) -> Vec<u8> {
    let code = &otrp_check::fixture::application([uuid; 16], contents)[..];
    let mut fixed = Vec::new();
    for word in [0x4f54_5348, 1, u32::try_from(code.len()).unwrap(), 0x7000_3042] {
        fixed.extend(word.to_le_bytes());
    }
    fixed.extend([32, 0, 64, 0]);
    let behind = [&[uuid; 16][..], &version.to_le_bytes(), code].concat();
    let digest = sha256(&[&fixed[..], &behind].concat());
    let signature = EcdsaSig::sign(&digest, &signer.ec_key().unwrap()).unwrap();
    let halves = [signature.r(), signature.s()].map(|half| half.to_vec_padded(32).unwrap());
    [&fixed[..], &digest, &halves.concat(), &behind].concat()
}

// ---- encodings, written again on purpose ---------------------------------------------------

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

fn only(value: &Value) -> (&String, &Value) {
    let object = value.as_object().unwrap();
    assert_eq!(object.len(), 1, "{value}");
    object.iter().next().unwrap()
}

// ---- the device ----------------------------------------------------------------------------

#[derive(Clone)]
pub struct InstalledTa {
    pub image: Vec<u8>,
    pub personalization: Option<Vec<u8>>,
}

#[derive(Clone, Default)]
pub struct Sd {
    pub certificates: Vec<Vec<u8>>,
    pub applications: BTreeMap<String, InstalledTa>,
}

/// A request after the device took it apart.
pub struct Opened {
    pub name: String,
    pub tbs: Value,
    pub content: Value,
    pub header: Value,
}

type Edit<T> = Option<Box<dyn FnMut(&mut T) + Send>>;

/// What a device does wrong on purpose.
#[derive(Default)]
pub struct Faults {
    /// Signs with this key instead of the TEE's.
    pub sign_with: Option<PKey<Private>>,
    /// Encrypts the content under a key of its own.
    pub fresh_key: bool,
    /// Uses the request's initialization vector again.
    pub same_iv: bool,
    /// Changes what will be encrypted: the DSI document, or the content.
    pub plaintext: Edit<Value>,
    /// Changes what will be signed.
    pub tbs: Edit<Value>,
    /// Changes the bytes that go out.
    pub message: Edit<Vec<u8>>,
    /// Refuses the next request of this name with this code.
    pub refuse: Vec<(&'static str, &'static str)>,
    /// Answers without the new state, though asked.
    pub no_dsi: bool,
    /// Says that it holds the TAM's certificates.
    pub holds_chain: bool,
    /// Refuses requests without certificates, though it said that it holds them.
    pub forgets_chain: bool,
    /// Algorithms of signatures, keys, contents and images that it refuses.
    pub unsupported: Vec<&'static str>,
    /// Does not list the signature algorithms that it has.
    pub no_list: bool,
    /// Knows no identifiers when it refuses the signature's algorithm.
    pub anonymous: bool,
    /// The algorithm that wraps keys for a TAM with an RSA key; RSA-OAEP if not said.
    pub wraps_with: Option<&'static str>,
    /// Encrypts its state with A256GCM, by this name.
    pub state_encryption: Option<&'static str>,
}

pub struct Device {
    pub tee: Holder,
    pub authorities: Vec<X509>,
    /// By SP and name.
    pub domains: BTreeMap<(String, String), Sd>,
    pub attestation_keys: BTreeMap<String, PKey<Private>>,
    pub faults: Faults,
    pub requests: Vec<String>,
    /// Makes the attestation keys.
    pub make_attestation_key: fn() -> PKey<Private>,
    /// The TAM that it knows.
    pub tam_id: &'static str,
    tam: Option<X509>,
    generation: u64,
    hash: String,
}

impl Device {
    pub fn new(tee: Holder, authority: &Holder) -> Self {
        Self {
            tee,
            authorities: vec![authority.certificate.clone()],
            domains: BTreeMap::new(),
            attestation_keys: BTreeMap::new(),
            faults: Faults::default(),
            requests: Vec::new(),
            make_attestation_key: new_key,
            tam_id: TAM_ID,
            tam: None,
            generation: 0,
            hash: String::new(),
        }
    }

    /// The same device, whose owner has it show as many domains as there can be, and refuse what it is
    /// asked with as much text as it can send.
    pub fn verbose(mut self) -> Self {
        self.faults.plaintext = Some(Box::new(|value: &mut Value| {
            if let Some(dsi) = value.get_mut("dsi") {
                let sd = |number| json!({ "name": format!("{number:064}"), "spid": "s".repeat(64), "talist": [] });
                let sds: Vec<_> = (0..SD_LIMIT).map(sd).collect();
                dsi["tee"]["sdlist"] = json!({ "cnt": sds.len().to_string(), "sd": sds });
            }
        }));
        let long = "x".repeat(150_000);
        self.faults.tbs = Some(Box::new(move |tbs: &mut Value| {
            let members = tbs.as_object_mut().unwrap().values_mut().next().unwrap();
            if members.get("reason").is_some() {
                members["reason"]["error-message"] = long.clone().into();
            }
        }));
        self
    }

    pub fn device_id(&self) -> String {
        encode_block(&sha256(&self.tee.certificate.to_der().unwrap()))
    }

    /// The SHA-256 of the SubjectPublicKeyInfo of the TEE's key.
    pub fn key_fingerprint(&self) -> String {
        hex::encode(sha256(&self.tee.key.public_key_to_der().unwrap()))
    }

    /// Verifies a request with the certificate that it shows, and decrypts its content.
    pub fn open(&mut self, message: &[u8]) -> Opened {
        let message: Value = serde_json::from_slice(message).unwrap();
        let (name, jws) = only(&message);
        let name = name.strip_suffix("Request").unwrap();
        if let Some(chain) = jws["header"].get("x5c") {
            let leaf = from_standard(chain[0].as_str().unwrap());
            self.tam = Some(X509::from_der(&leaf).unwrap());
        }
        let (algorithm, verifier) = verifier(&self.tam.as_ref().unwrap().public_key().unwrap());
        // josekit wants to see the algorithm only in the protected header, as it is.
        let (payload, header) =
            josekit::jws::deserialize_json(jws.to_string(), &*verifier).unwrap();
        assert_eq!(header.algorithm(), Some(algorithm));
        let payload: Value = serde_json::from_slice(&payload).unwrap();
        let (signed_name, tbs) = only(&payload);
        assert_eq!(*signed_name, format!("{name}TBSRequest"));
        assert_eq!(text(tbs, "ver"), "1.0");
        let content = match tbs.get("content") {
            None => Value::Null,
            Some(jwe) => {
                let algorithm = text(&jwe["recipients"][0]["header"], "alg");
                let decrypter = decrypter(algorithm, &self.tee.key);
                let (content, _) =
                    josekit::jwe::deserialize_json(&jwe.to_string(), &*decrypter).unwrap();
                serde_json::from_slice(&content).unwrap()
            }
        };
        Opened {
            name: name.to_owned(),
            tbs: tbs.clone(),
            content,
            header: jws.get("header").cloned().unwrap_or_default(),
        }
    }

    /// The image and the personalization data of a request.
    pub fn open_application(&self, opened: &Opened) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let encrypted = &opened.tbs["encrypted_ta"];
        let attestation_key = &self.attestation_keys[text(&opened.content, "spid")];
        let decrypter = decrypter(text(&encrypted["key"]["header"], "alg"), attestation_key);
        let (key, _) =
            josekit::jwe::deserialize_json(&encrypted["key"].to_string(), &*decrypter).unwrap();
        assert_eq!(key.len(), 32);
        // What is authenticated with the text, by the rules and not by the TAM's code.
        let names = ["spid", "sdname", "taid"].map(|name| text(&opened.content, name));
        let open = |member: &str, iv: &str| {
            let role = if member.ends_with("newpdata") || member.ends_with("rpdata") {
                "data"
            } else {
                "image"
            };
            let [spid, sdname, taid] = names;
            let aad = format!("{role}\0{spid}\0{sdname}\0{taid}");
            let ciphertext = from_standard(encrypted.get(member)?.as_str().unwrap());
            let iv = hex::decode(text(encrypted, iv)).unwrap();
            Some(match text(encrypted, "alg") {
                "AESCBC" => {
                    assert_eq!(iv.len(), 16);
                    decrypt(Cipher::aes_256_cbc(), &key, Some(&iv), &ciphertext).unwrap()
                }
                "A256GCM" => {
                    assert_eq!(iv.len(), 12);
                    let (ciphertext, tag) = ciphertext.split_at(ciphertext.len() - 16);
                    let (cipher, aad) = (Cipher::aes_256_gcm(), aad.as_bytes());
                    decrypt_aead(cipher, &key, Some(&iv), aad, ciphertext, tag).unwrap()
                }
                other => panic!("{other}"),
            })
        };
        let members = match opened.name.as_str() {
            "InstallTA" => ("ciphertadata", "cipherpdata"),
            _ => ("ciphernewtadata", "ciphernewpdata"),
        };
        let image = open(members.0, "iv");
        let iv = if image.is_some() { "ivp" } else { "iv" };
        (image, open(members.1, iv))
    }

    /// What the agent sends back.
    pub fn process(&mut self, message: &[u8]) -> Vec<u8> {
        let opened = self.open(message);
        self.requests.push(opened.name.clone());
        if let Some(answer) = self.refuse_algorithm(message, &opened) {
            return answer;
        }
        if self.faults.forgets_chain && opened.header.get("x5c").is_none() {
            return self.refuse(&opened, "ERR_TAM_NOT_TRUSTED", false);
        }
        let refused = match self.faults.refuse.first() {
            Some((name, code)) if *name == opened.name => {
                let code = *code;
                self.faults.refuse.remove(0);
                Some(code)
            }
            _ => None,
        };
        if opened.name == "GetDeviceState" {
            return self.answer_state(&opened, refused);
        }
        let done = match refused {
            Some(code) => Err(code),
            None => self.carry_out(&opened),
        };
        self.answer_command(&opened, done)
    }

    /// Refuses a request that uses an algorithm which this device shall not have.
    fn refuse_algorithm(&mut self, message: &[u8], opened: &Opened) -> Option<Vec<u8>> {
        let message: Value = serde_json::from_slice(message).unwrap();
        let protected = |jose: &Value| -> Value {
            serde_json::from_slice(&from_url(text(jose, "protected"))).unwrap()
        };
        let signature = protected(only(&message).1)["alg"].clone();
        let mut used = vec![signature.clone()];
        if let Some(content) = opened.tbs.get("content") {
            used.push(content["recipients"][0]["header"]["alg"].clone());
            used.push(protected(content)["enc"].clone());
        }
        if let Some(encrypted) = opened.tbs.get("encrypted_ta") {
            used.push(encrypted["alg"].clone());
            used.push(encrypted["key"]["header"]["alg"].clone());
        }
        let unsupported = |name: &Value| self.faults.unsupported.iter().any(|it| name == it);
        if !used.iter().any(unsupported) {
            return None;
        }
        let anonymous = self.faults.anonymous && unsupported(&signature);
        Some(self.refuse(opened, "ERR_UNSUPPORTED_CRYPTO_ALG", anonymous))
    }

    /// Refuses before the content is decrypted.
    fn refuse(&mut self, opened: &Opened, code: &str, anonymous: bool) -> Vec<u8> {
        let id = |name: &str| if anonymous { "".into() } else { opened.tbs[name].clone() };
        let mut tbs = json!({
            "ver": "1.0", "status": "fail", "rid": id("rid"), "tid": id("tid"),
            "reason": { "error-code": code, "error-message": "refused" },
        });
        if code == "ERR_UNSUPPORTED_CRYPTO_ALG" && !self.faults.no_list {
            let mut list = vec!["RS256", "ES256"];
            list.retain(|name| !self.faults.unsupported.contains(name));
            tbs["supportedsigalgs"] = json!(list);
        }
        if opened.name == "GetDeviceState" {
            let answer = self.sign("GetDeviceTEEState", tbs);
            return json!({ "GetDeviceStateResponse": [answer] }).to_string().into_bytes();
        }
        self.sign(&opened.name, tbs).to_string().into_bytes()
    }

    fn carry_out(&mut self, opened: &Opened) -> Result<Map<String, Value>, &'static str> {
        let Opened { tbs, content, .. } = opened;
        assert_eq!(text(tbs, "tee"), "mock");
        assert_eq!(text(content, "tamid"), self.tam_id);
        if text(tbs, "dsihash") != self.hash {
            return Err("ERR_DEV_STATE_MISMATCH");
        }
        let sd_name = text(content, "sdname").to_owned();
        let spid = match content.get("spid") {
            Some(spid) => spid.as_str().unwrap().to_owned(),
            None => {
                let mut found = self.domains.keys().filter(|(_, name)| *name == sd_name);
                match (found.next(), found.next()) {
                    (Some((spid, _)), None) => spid.clone(),
                    _ => return Err("ERR_SD_NOT_FOUND"),
                }
            }
        };
        let key = (spid.clone(), sd_name.clone());
        let mut answer = Map::new();
        if opened.name == "CreateSD" {
            assert_eq!(text(content, "did"), self.device_id());
            if self.domains.contains_key(&key) {
                return Err("ERR_SD_ALREADY_EXISTS");
            }
            let certificate = from_standard(text(content, "spcert"));
            self.domains
                .insert(key, Sd { certificates: vec![certificate], applications: BTreeMap::new() });
            let make = self.make_attestation_key;
            self.attestation_keys.entry(spid).or_insert_with(make);
            answer.insert("sdname".into(), sd_name.into());
            return Ok(answer);
        }
        let application = match opened.name.as_str() {
            "InstallTA" | "UpdateTA" => Some(self.open_application(opened)),
            _ => None,
        };
        let domain = self.domains.get_mut(&key).ok_or("ERR_SD_NOT_FOUND")?;
        match opened.name.as_str() {
            "UpdateSD" => {
                let changes = &content["changes"];
                let mut certificates = domain.certificates.clone();
                for new in changes["spcert"].as_array().into_iter().flatten() {
                    let new = from_standard(new.as_str().unwrap());
                    if !certificates.contains(&new) {
                        certificates.push(new);
                    }
                }
                for old in changes["deloldspcert"].as_array().into_iter().flatten() {
                    let digest = hex::decode(old.as_str().unwrap()).unwrap();
                    let is_old = |certificate: &Vec<u8>| sha256(certificate)[..] == digest[..];
                    let place = certificates.iter().position(is_old).ok_or("ERR_SPCERT_INVALID")?;
                    certificates.remove(place);
                }
                domain.certificates = certificates;
            }
            "DeleteSD" => {
                if !domain.applications.is_empty() && content["deleteta"] != json!(true) {
                    return Err("ERR_SD_NOT_EMPTY");
                }
                self.domains.remove(&key);
            }
            "InstallTA" => {
                let (image, personalization) = application.unwrap();
                let installed = InstalledTa { image: image.unwrap(), personalization };
                if domain.applications.insert(text(content, "taid").into(), installed).is_some() {
                    return Err("ERR_TA_ALREADY_INSTALLED");
                }
            }
            "UpdateTA" => {
                let (image, personalization) = application.unwrap();
                let installed =
                    domain.applications.get_mut(text(content, "taid")).ok_or("ERR_TA_NOT_FOUND")?;
                if let Some(image) = image {
                    installed.image = image;
                }
                if personalization.is_some() {
                    installed.personalization = personalization;
                }
            }
            "DeleteTA" => {
                let taid = text(content, "taid");
                domain.applications.remove(taid).ok_or("ERR_TA_NOT_FOUND")?;
            }
            other => panic!("{other}"),
        }
        Ok(answer)
    }

    /// The value of `dsi`, whose hash the next request must name.
    fn new_dsi(&mut self) -> Value {
        self.generation += 1;
        let base64 = |certificate: &X509Ref| encode_block(&certificate.to_der().unwrap());
        let domains: Vec<Value> = self
            .domains
            .iter()
            .map(|((spid, name), domain)| {
                let applications: Vec<Value> =
                    domain.applications.keys().map(|taid| json!({ "taid": taid })).collect();
                json!({ "name": name, "spid": spid, "talist": applications })
            })
            .collect();
        let keys: Vec<Value> = self
            .attestation_keys
            .iter()
            .map(|(spid, key)| {
                let (key, key_type) = attestation_key(key);
                json!({ "spaik": key, "spaiktype": key_type, "spid": spid })
            })
            .collect();
        let authorities: Vec<String> = self.authorities.iter().map(|it| base64(it)).collect();
        let dsi = json!({ "tee": {
            "name": "mock", "ver": "7", "cert": base64(&self.tee.certificate),
            "cacert": authorities, "generation": self.generation.to_string(),
            "sdlist": { "cnt": domains.len().to_string(), "sd": domains }, "teeaiklist": keys,
        } });
        self.hash = encode_block(&sha256(json!({ "dsi": dsi }).to_string().as_bytes()));
        dsi
    }

    fn answer_state(&mut self, opened: &Opened, refused: Option<&str>) -> Vec<u8> {
        let mut tbs = json!({ "ver": "1.0", "rid": opened.tbs["rid"], "tid": opened.tbs["tid"] });
        if let Some(code) = refused {
            tbs["status"] = "fail".into();
            tbs["reason"] = json!({ "error-code": code, "error-message": "refused" });
        } else {
            let mut document = json!({ "dsi": self.new_dsi() });
            edit(&mut self.faults.plaintext, &mut document);
            tbs["status"] = "pass".into();
            tbs["signerreq"] = (!self.faults.holds_chain).into();
            let mut key = [0; 32];
            openssl::rand::rand_bytes(&mut key).unwrap();
            let encryption: (&dyn JweContentEncryption, _) = match self.faults.state_encryption {
                Some(name) => (&enc::A256GCM, name),
                None => (&enc::A128CBC_HS256, "A128CBC-HS256"),
            };
            tbs["edsi"] = self.seal(&document.to_string(), &key, encryption.0, encryption.1, None);
        }
        let answer = self.sign("GetDeviceTEEState", tbs);
        let mut message = json!({ "GetDeviceStateResponse": [answer] }).to_string().into_bytes();
        edit(&mut self.faults.message, &mut message);
        message
    }

    fn answer_command(
        &mut self,
        opened: &Opened,
        done: Result<Map<String, Value>, &'static str>,
    ) -> Vec<u8> {
        let mut tbs = json!({ "ver": "1.0", "rid": opened.tbs["rid"], "tid": opened.tbs["tid"] });
        let mut content = Map::new();
        tbs["status"] = match done {
            Ok(members) => {
                content = members;
                if opened.tbs["nextdsi"] == json!(true) && !self.faults.no_dsi {
                    content.insert("dsi".into(), self.new_dsi());
                } else {
                    self.hash.clear();
                }
                "pass".into()
            }
            Err(code) => {
                tbs["reason"] = json!({ "error-code": code, "error-message": "refused" });
                "fail".into()
            }
        };
        content.insert("did".into(), self.device_id().into());
        let mut content = Value::Object(content);
        edit(&mut self.faults.plaintext, &mut content);
        let jwe = &opened.tbs["content"];
        let header =
            JweHeader::from_map(jwe["recipients"][0]["header"].as_object().unwrap().clone())
                .unwrap();
        let protected: Value = serde_json::from_slice(&from_url(text(jwe, "protected"))).unwrap();
        let name = text(&protected, "enc").to_owned();
        let encryption: &dyn JweContentEncryption = match name.as_str() {
            "A128CBC-HS256" => &enc::A128CBC_HS256,
            "A256CBC-HS512" => &enc::A256CBC_HS512,
            "A128GCM" => &enc::A128GCM,
            "A256GCM" => &enc::A256GCM,
            other => panic!("{other}"),
        };
        let decrypter = decrypter(header.algorithm().unwrap(), &self.tee.key);
        let wrapped = from_url(text(&jwe["recipients"][0], "encrypted_key"));
        let mut key = decrypter.decrypt(Some(&wrapped), encryption, &header).unwrap().into_owned();
        if self.faults.fresh_key {
            openssl::rand::rand_bytes(&mut key).unwrap();
        }
        let iv = self.faults.same_iv.then(|| from_url(text(jwe, "iv")));
        tbs["content"] = self.seal(&content.to_string(), &key, encryption, &name, iv);
        let mut message = self.sign(&opened.name, tbs).to_string().into_bytes();
        edit(&mut self.faults.message, &mut message);
        message
    }

    fn seal(
        &self,
        plaintext: &str,
        key: &[u8],
        encryption: &dyn JweContentEncryption,
        name: &str,
        iv: Option<Vec<u8>>,
    ) -> Value {
        let tam = self.tam.as_ref().unwrap().public_key().unwrap();
        let algorithm = match tam.id() {
            Id::RSA => self.faults.wraps_with.unwrap_or("RSA-OAEP"),
            _ => "ECDH-ES+A128KW",
        };
        let encrypter = encrypter(algorithm, &tam);
        let mut header = JweHeader::new();
        header.set_algorithm(algorithm);
        let wrapped = encrypter.encrypt(key, &JweHeader::new(), &mut header).unwrap().unwrap();
        let protected = url(json!({ "enc": name }).to_string().as_bytes());
        let iv = iv.unwrap_or_else(|| {
            let mut iv = vec![0; encryption.iv_len()];
            openssl::rand::rand_bytes(&mut iv).unwrap();
            iv
        });
        let (ciphertext, tag) =
            encryption.encrypt(key, Some(&iv), plaintext.as_bytes(), protected.as_bytes()).unwrap();
        json!({
            "protected": protected,
            "recipients": [{ "header": header.claims_set(), "encrypted_key": url(&wrapped) }],
            "iv": url(&iv), "ciphertext": url(&ciphertext), "tag": url(&tag.unwrap()),
        })
    }

    fn sign(&mut self, name: &str, tbs: Value) -> Value {
        let mut tbs = json!({ format!("{name}TBSResponse"): tbs });
        edit(&mut self.faults.tbs, &mut tbs);
        let key = self.faults.sign_with.as_ref().unwrap_or(&self.tee.key);
        let jws = sign(&tbs, None, key);
        json!({ format!("{name}Response"): jws })
    }

    /// A TAInformation message, signed by the attestation key of the SP.
    pub fn ta_information(&self, spid: &str, taid: &str) -> Value {
        let key = &self.attestation_keys[spid];
        let der = key.private_key_to_pkcs8().unwrap();
        let jwk: Jwk = match key.id() {
            Id::RSA => RS256.key_pair_from_der(der).unwrap().to_jwk_public_key(),
            _ => ES256.key_pair_from_der(der).unwrap().to_jwk_public_key(),
        };
        let mut jwk: Map<String, Value> = jwk.into();
        jwk.retain(|name, _| ["kty", "crv", "x", "y", "n", "e"].contains(&name.as_str()));
        let tbs = json!({ "TAInformationTBS": {
            "taid": taid, "tamid": TAM_ID, "spid": spid, "signercert": "c3A=", "tamcert": "dGFt",
            "tamcacerts": ["cm9vdA=="],
        } });
        json!({ "TAInformation": sign(&tbs, Some(json!({ "signer": jwk })), key) })
    }
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

/// `spaik` and `spaiktype`.
pub fn attestation_key(key: &PKeyRef<Private>) -> (String, &'static str) {
    match key.id() {
        Id::RSA => (encode_block(&key.rsa().unwrap().public_key_to_der_pkcs1().unwrap()), "RSA"),
        _ => (encode_block(&key.public_key_to_der().unwrap()), "ECC"),
    }
}

fn verifier<T: HasPublic>(key: &PKeyRef<T>) -> (&'static str, Box<dyn JwsVerifier>) {
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

fn encrypter(name: &str, key: &PKeyRef<Public>) -> Box<dyn JweEncrypter> {
    let der = key.public_key_to_der().unwrap();
    match elliptic_algorithm(name) {
        Some(algorithm) => Box::new(algorithm.encrypter_from_der(der).unwrap()),
        None => Box::new(rsa_algorithm(name).encrypter_from_der(der).unwrap()),
    }
}

fn edit<T>(edit: &mut Edit<T>, value: &mut T) {
    if let Some(edit) = edit {
        edit(value);
    }
}
