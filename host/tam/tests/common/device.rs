//! A small device that speaks OTrP, with the faults that tests give it.

use std::collections::BTreeMap;

use josekit::jwe::{JweContentEncryption, JweHeader, enc};
use josekit::jwk::Jwk;
use josekit::jws::{ES256, RS256};
use openssl::base64::encode_block;
use openssl::pkey::{Id, PKey, PKeyRef, Private};
use openssl::sha::sha256;
use openssl::symm::{Cipher, decrypt, decrypt_aead};
use openssl::x509::{X509, X509Ref};
use otrp_wire::limits::SD_LIMIT;
use serde_json::{Map, Value, json};

use super::TAM_ID;
use super::fixture::{Holder, new_key};
use super::jose::{decrypter, encrypter, from_standard, from_url, only, sign, text, url, verifier};

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

/// `spaik` and `spaiktype`.
pub fn attestation_key(key: &PKeyRef<Private>) -> (String, &'static str) {
    match key.id() {
        Id::RSA => (encode_block(&key.rsa().unwrap().public_key_to_der_pkcs1().unwrap()), "RSA"),
        _ => (encode_block(&key.public_key_to_der().unwrap()), "ECC"),
    }
}

fn edit<T>(edit: &mut Edit<T>, value: &mut T) {
    if let Some(edit) = edit {
        edit(value);
    }
}
