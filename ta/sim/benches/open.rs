//! Verifying, opening and checking an InstallTA: the engine beside josekit and OpenSSL.
//!
//! Both sides read the same message, verify the certificate path and the signature, decrypt the
//! content, unwrap the data key, decrypt the image and verify its signer. The image's version is
//! below the one that was installed before, so the engine refuses at the end of all that, changes
//! nothing, and can be asked again; its time includes the encrypted and signed refusal, which the
//! other side does not make.

#[path = "../tests/whole/bench.rs"]
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
mod bench;
#[path = "../tests/whole/record.rs"]
mod record;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bench::{Device, Kind, elf, now, pki, sha256};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use josekit::jwe::JweDecrypter;
use josekit::jwe::alg::ecdh_es::EcdhEsJweAlgorithm;
use josekit::jws::{ES256, JwsVerifier as _};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::ecdsa::EcdsaSig;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::stack::Stack;
use openssl::symm::{Cipher, decrypt, decrypt_aead};
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::X509VerifyParam;
use openssl::x509::{X509, X509StoreContext};
use otrp_engine::intake::memory_for;
use otrp_keys::{Uuid, image};
use otrp_tam::request::{Application, Builder, Command, TaEncryption, Target};
use serde_json::Value;

const SIZES: [(usize, &str); 3] =
    [(64 << 10, "64 KiB"), (512 << 10, "512 KiB"), (2 << 20, "2 MiB")];
const SP: &str = "com.example";
const SD: &str = "com.example.domain";
const UUID: Uuid = Uuid([0x11; 16]);
/// Octets of a signed image before the program: shdr, digest, signature (r, s), bootstrap header.
const IMAGE_HEADER: usize = 20 + 32 + 64 + 20;

/// A device with a security domain whose UUID has seen version 2.
fn device() -> Device {
    let mut device = Device::provisioned();
    let tam = &pki().tam;
    let certificate = bench::der(&pki().sp_ec.certificate);
    device.carry_out(tam, Command::CreateSd { spid: SP, name: SD, certificate: &certificate });
    let newer = image::sign(&pki().sp_ec.key, None, UUID, 2, &elf(UUID.0, 0, 1000)).unwrap();
    device.carry_out(tam, Command::InstallTa(application(&newer)));
    device.carry_out(tam, Command::DeleteTa { spid: None, name: SD, taid: "bench" });
    device
}

fn application(image: &[u8]) -> Application<'_> {
    Application {
        spid: SP,
        domain: SD,
        taid: "bench",
        certificate: None,
        image: Some(image),
        personalization: None,
    }
}

/// What the other side knows of the device and the world.
struct Other {
    anchors: X509Store,
    tee_key: Box<dyn JweDecrypter>,
    aik: Box<dyn JweDecrypter>,
    signer: EcKey<openssl::pkey::Public>,
}

impl Other {
    fn new(device: &Device) -> Self {
        let mut anchors = X509StoreBuilder::new().unwrap();
        anchors.add_cert(pki().tam_root.certificate.clone()).unwrap();
        let mut rules = X509VerifyParam::new().unwrap();
        rules.set_time(i64::try_from(now()).unwrap());
        anchors.set_param(&rules).unwrap();
        Self {
            anchors: anchors.build(),
            tee_key: decrypter(&device.records(Kind::TeeKey)[0]),
            aik: decrypter(&device.records(Kind::Aik)[0]),
            signer: pki().sp_ec.certificate.public_key().unwrap().ec_key().unwrap(),
        }
    }

    /// The program in the message, if everything about it is right.
    fn open(&self, message: &[u8]) -> Vec<u8> {
        let message: Value = serde_json::from_slice(message).unwrap();
        let jws = &message["InstallTARequest"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();

        let chain = jws["header"]["x5c"].as_array().unwrap().iter();
        let chain: Vec<X509> = chain
            .map(|der| X509::from_der(&STANDARD.decode(der.as_str().unwrap()).unwrap()).unwrap())
            .collect();
        let mut between = Stack::new().unwrap();
        for certificate in &chain[1..] {
            between.push(certificate.clone()).unwrap();
        }
        let mut context = X509StoreContext::new().unwrap();
        let trusted =
            context.init(&self.anchors, &chain[0], &between, |context| context.verify_cert());
        assert!(trusted.unwrap());

        let key = chain[0].public_key().unwrap().public_key_to_der().unwrap();
        let verifier = ES256.verifier_from_der(key).unwrap();
        let (protected, payload) = (text(&jws["protected"]), text(&jws["payload"]));
        let signature = base64_url(&text(&jws["signature"]));
        let input = [protected.as_bytes(), b".", payload.as_bytes()].concat();
        verifier.verify(&input, &signature).unwrap();

        let payload: Value = serde_json::from_slice(&base64_url(&payload)).unwrap();
        let request = &payload["InstallTATBSRequest"];
        let open = |jwe: &Value, key: &dyn JweDecrypter| {
            josekit::jwe::deserialize_json(&jwe.to_string(), key).unwrap().0
        };
        let content = open(&request["content"], &*self.tee_key);
        let _: Value = serde_json::from_slice(&content).unwrap();
        let data = &request["encrypted_ta"];
        let key = open(&data["key"], &*self.aik);
        let iv = hex::decode(text(&data["iv"])).unwrap();
        let encrypted = STANDARD.decode(text(&data["ciphertadata"])).unwrap();
        let image = match text(&data["alg"]).as_str() {
            "AESCBC" => decrypt(Cipher::aes_256_cbc(), &key, Some(&iv), &encrypted).unwrap(),
            _ => {
                let (ciphertext, tag) = encrypted.split_at(encrypted.len() - 16);
                let aad = ["image", SP, SD, "bench"].join("\0");
                let cipher = Cipher::aes_256_gcm();
                decrypt_aead(cipher, &key, Some(&iv), aad.as_bytes(), ciphertext, tag).unwrap()
            }
        };

        // The digest covers the two headers and the program; the signature covers the digest.
        let (head, program) = image.split_at(IMAGE_HEADER);
        let digest = sha256(&[&head[..20], &head[116..], program].concat());
        assert_eq!(digest, head[20..52]);
        let (r, s) = head[52..116].split_at(32);
        let number = |bytes| BigNum::from_slice(bytes).unwrap();
        let signature = EcdsaSig::from_private_components(number(r), number(s)).unwrap();
        assert!(signature.verify(&digest, &self.signer).unwrap());
        program.to_vec()
    }
}

/// josekit's decrypter for a private key of the simulated TEE.
fn decrypter(scalar: &[u8]) -> Box<dyn JweDecrypter> {
    let key = private_key(scalar).private_key_to_pkcs8().unwrap();
    Box::new(EcdhEsJweAlgorithm::EcdhEsA128kw.decrypter_from_der(key).unwrap())
}

fn private_key(scalar: &[u8]) -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let number = BigNum::from_slice(scalar).unwrap();
    let mut context = openssl::bn::BigNumContext::new().unwrap();
    let mut public = EcPoint::new(&group).unwrap();
    public.mul_generator2(&group, &number, &mut context).unwrap();
    PKey::from_ec_key(EcKey::from_private_components(&group, &number, &public).unwrap()).unwrap()
}

fn base64_url(text: &str) -> Vec<u8> {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
}

fn install(criterion: &mut Criterion) {
    let mut device = device();
    let tam = &pki().tam;
    let target = Target::from(&device.state(tam));
    let other = Other::new(&device);
    for (encryption, algorithm) in
        [(TaEncryption::AesCbc, "AESCBC"), (TaEncryption::A256Gcm, "A256GCM")]
    {
        let mut group = criterion.benchmark_group(format!("InstallTA {algorithm}"));
        for (size, name) in SIZES {
            let program = elf(UUID.0, 1, size);
            let older = image::sign(&pki().sp_ec.key, None, UUID, 1, &program).unwrap();
            let request = || {
                Builder::command(tam, &target, Command::InstallTa(application(&older)))
                    .ta_encryption(encryption)
            };
            // That is how far it gets, on both sides.
            assert_eq!(device.fail(tam, request()), "ERR_TA_INVALID");
            let message = request().build().unwrap().message;
            assert!(other.open(&message) == program);

            group.throughput(Throughput::Bytes(u64::try_from(size).unwrap()));
            group.bench_function(format!("engine, {name}"), |bencher| {
                bencher.iter_batched_ref(
                    || vec![0; memory_for(message.len())],
                    |memory| {
                        let reply = &mut device.reply;
                        device.engine.process(&mut &message[..], memory, reply).unwrap().len()
                    },
                    BatchSize::LargeInput,
                );
            });
            group.bench_function(format!("josekit and OpenSSL, {name}"), |bencher| {
                bencher.iter(|| other.open(&message).len());
            });
        }
        group.finish();
    }
}

criterion_group!(benches, install);
criterion_main!(benches);
