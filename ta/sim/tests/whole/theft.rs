//! What a trusted TAM gains from what others encrypted, and a thief of its key from what he recorded.
//!
//! Each place where the TEE decrypts for whoever signed: `content`, with the TEE's key;
//! `encrypted_ta.key`, in every form, with the attestation key of the signer's own service provider; the
//! image and the personalization data, with that key.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use openssl::pkey::{Id, PKey, Public};
use openssl::symm::{Cipher, encrypt_aead};
use otrp_engine::limits::{PERSONALIZATION_LIMIT, SP_CERTIFICATE_LIMIT};
use otrp_engine::platform::KeyType;
use otrp_keys::certificate::{Purpose, Template, Validity, generate_p256};
use otrp_sim::World;
use otrp_tam::Identity;
use otrp_tam::encoding::from_base64;
use otrp_tam::jose::{ContentEncryption, ContentKey, Jwe, KeyManagements};
use otrp_tam::request::{Application, Builder, Command, SdChanges, TaEncryption, Target};
use otrp_tam::response::Outcome;
use serde_json::{Map, Value, json};

use crate::bench::{Device, Refused, base64, boot_simulator, der, now, pki, signed, uuid};
use crate::home::*;

const INVALID: &str = "ERR_REQUEST_INVALID";
const UNSUPPORTED: &str = "ERR_UNSUPPORTED_CRYPTO_ALG";
const UNAUTHORIZED: &str = "ERR_TAM_NOT_AUTHORIZED";
const TA_INVALID: &str = "ERR_TA_INVALID";
const FULL: &str = "ERR_TEE_RESOURCE_FULL";

/// A device on which two TAMs have an application each.
struct Scene {
    device: Device,
    target: Target,
    rogue_target: Target,
}

const VICTIM: &str = "the victim's";
const ROGUE: &str = "the rogue's";

impl Scene {
    fn new(key_type: KeyType) -> Self {
        let world = World::new(now());
        world.key_type.set(key_type);
        let mut device = Device::on(world, Rc::new(boot_simulator));
        device.provision();
        let certificate = der(&pki().sp_ec.certificate);
        let mut live = |tam: &Identity, spid, name, number| {
            device.carry_out(tam, Command::CreateSd { spid, name, certificate: &certificate });
            let image = signed(&pki().sp_ec, uuid(number), 1);
            let install = Application { spid, domain: name, ..application(TA, &image) };
            device.carry_out(tam, Command::InstallTa(install));
        };
        live(&pki().tam, VICTIM, VICTIM, 1);
        live(&pki().other_tam, ROGUE, ROGUE, 2);
        let target = Target::from(&device.state(&pki().tam));
        let rogue_target = Target::from(&device.state(&pki().other_tam));
        Self { device, target, rogue_target }
    }
}

/// A command of each name on the domain and service provider of one name.
fn commands(owner: &'static str, number: u8) -> [Command<'static>; 6] {
    let image = |uuid, version| &*signed(&pki().sp_ec, uuid, version).leak();
    let with_data = |taid, image| Application {
        spid: owner,
        domain: owner,
        personalization: Some(b"data"),
        ..application(taid, image)
    };
    let changes = SdChanges { new_name: Some("renamed"), ..SdChanges::default() };
    [
        Command::CreateSd { spid: owner, name: "new", certificate: &home().certificate },
        Command::UpdateSd { spid: owner, name: owner, changes },
        Command::DeleteSd { spid: None, name: owner, delete_tas: true },
        Command::InstallTa(with_data("new", image(uuid(number + 10), 1))),
        Command::UpdateTa(with_data(TA, image(uuid(number), 2))),
        Command::DeleteTa { spid: None, name: owner, taid: TA },
    ]
}

/// What is signed in a request of the victim.
fn recorded(target: &Target, command: Command<'_>) -> Map<String, Value> {
    let mut recorded = Map::new();
    let request = Builder::command(&pki().tam, target, command);
    request.edit_tbs(|tbs| recorded = tbs.clone()).build().unwrap();
    recorded
}

/// What is signed in an answer.
fn answer(reply: &[u8]) -> Value {
    let outer: Value = serde_json::from_slice(reply).unwrap();
    let payload = outer.as_object().unwrap().values().next().unwrap()["payload"].as_str().unwrap();
    let payload = otrp_tam::encoding::from_base64url(payload).unwrap();
    let inner: Value = serde_json::from_slice(&payload).unwrap();
    inner.as_object().unwrap().values().next().unwrap().clone()
}

/// Exchanges `content` in each request of the rogue: whatever becomes of it, the answer has no content.
fn assert_stays_closed(scene: &mut Scene, what: &str, content: &Value, same: Option<usize>) {
    let key = scene.device.certificate().public_key().unwrap();
    for (number, command) in commands(ROGUE, 2).into_iter().enumerate() {
        let what = format!("{what} in {}", command.name().request());
        let request = Builder::command(&pki().other_tam, &scene.rogue_target, command)
            .edit_tbs(|tbs| drop(tbs.insert("content".into(), content.clone())))
            .build()
            .unwrap();
        let before = scene.device.world.snapshot();
        let reply = scene.device.process(&request.message).unwrap();
        assert!(scene.device.world.snapshot() == before, "{what}");
        let refused = Refused::read(&reply, &key);
        assert!(refused.by_tee && refused.tid == request.exchange.tid, "{what}");
        let members = answer(&reply);
        let code = refused.code.unwrap();
        let mut expected = BTreeSet::from(["reason", "rid", "status", "tid", "ver"]);
        if code == UNSUPPORTED {
            expected.insert("supportedsigalgs");
        }
        let names: BTreeSet<&str> = members.as_object().unwrap().keys().map(|it| &it[..]).collect();
        assert_eq!(names, expected, "{what}");
        if same == Some(number) {
            assert_eq!(code, UNAUTHORIZED, "{what}: it is well-formed, and another TAM's");
        } else {
            // What is encrypted for another key may be so in a way that is not for this kind.
            let codes = [INVALID, UNAUTHORIZED, UNSUPPORTED];
            assert!(codes.contains(&code.as_str()), "{what}: {code}");
        }
        for told in [VICTIM, pki().tam.tam_id()] {
            assert!(!refused.text.contains(told), "{what}: {}", refused.text);
        }
    }
}

fn a_trusted_tam_opens_nothing_of_another_one(key_type: KeyType) {
    let mut scene = Scene::new(key_type);
    let state = Builder::device_state(&pki().tam).build().unwrap();
    let edsi = answer(&scene.device.process(&state.message).unwrap())["edsi"].clone();
    scene.target = Target::from(&scene.device.state(&pki().tam));
    for (number, command) in commands(VICTIM, 1).into_iter().enumerate() {
        let what = command.name().request();
        let recorded = recorded(&scene.target, command);
        assert_stays_closed(&mut scene, what, &recorded["content"], Some(number));
        if let Some(encrypted) = recorded.get("encrypted_ta") {
            // The data key is for another key of this TEE than the content is.
            assert_stays_closed(&mut scene, "a data key", &encrypted["key"], None);
        }
    }
    assert_stays_closed(&mut scene, "a state", &edsi, None);
    let create = commands(VICTIM, 1)[0].clone();
    let request = Builder::command(&pki().tam, &scene.target, create).build().unwrap();
    let heard = answer(&scene.device.process(&request.message).unwrap())["content"].clone();
    assert_stays_closed(&mut scene, "an answer", &heard, None);
}

#[test]
fn a_trusted_tam_opens_no_content_of_another_one() {
    a_trusted_tam_opens_nothing_of_another_one(KeyType::P256);
}

#[test]
fn a_trusted_tam_opens_no_content_of_another_one_with_rsa() {
    a_trusted_tam_opens_nothing_of_another_one(KeyType::Rsa2048);
}

/// A data key, encrypted as the draft's samples do it (RSA1_5, without a JWE).
fn bare(key: &[u8], recipient: &PKey<Public>) -> Value {
    let rsa = recipient.rsa().unwrap();
    let mut wrapped = vec![0; 256];
    rsa.public_encrypt(key, &mut wrapped, openssl::rsa::Padding::PKCS1).unwrap();
    base64(&wrapped).into()
}

#[test]
fn a_trusted_tam_opens_no_data_of_another_one() {
    for key_type in [KeyType::P256, KeyType::Rsa2048] {
        for encryption in [TaEncryption::AesCbc, TaEncryption::A256Gcm] {
            let mut scene = Scene::new(key_type);
            let steal = |scene: &Scene, what: &str, stolen: &mut Vec<(String, Value)>| {
                for command in [&commands(VICTIM, 1)[3], &commands(VICTIM, 1)[4]] {
                    let mut recorded = Map::new();
                    Builder::command(&pki().tam, &scene.target, command.clone())
                        .ta_encryption(encryption)
                        .edit_tbs(|tbs| recorded = tbs.clone())
                        .build()
                        .unwrap();
                    stolen.push((
                        format!("{what}, the data key"),
                        recorded["encrypted_ta"]["key"].clone(),
                    ));
                    stolen.push((format!("{what}, the content"), recorded["content"].clone()));
                }
            };
            let mut stolen = Vec::new();
            steal(&scene, "recorded", &mut stolen);
            let aik = scene.target.attestation_keys[0].public_key().unwrap();
            if aik.id() == Id::RSA {
                stolen.push(("a bare key".into(), bare(&[7; 32], &aik)));
            }
            for (what, key) in stolen {
                for command in [&commands(ROGUE, 2)[3], &commands(ROGUE, 2)[4]] {
                    let what = format!("{what} in {} by {key_type:?}", command.name().request());
                    let request =
                        Builder::command(&pki().other_tam, &scene.rogue_target, command.clone())
                            .ta_encryption(encryption)
                            .edit_tbs(|tbs| tbs["encrypted_ta"]["key"] = key.clone())
                            .build()
                            .unwrap();
                    let before = scene.device.world.snapshot();
                    // The answer is under the rogue's own key: the TAM's code sees to that.
                    match scene.device.send(&pki().other_tam, &request) {
                        Outcome::Fail(refusal) => assert_eq!(refusal.code, TA_INVALID, "{what}"),
                        Outcome::Pass(passed) => panic!("{what}: {passed:?}"),
                    }
                    assert!(scene.device.world.snapshot() == before, "{what}");
                }
            }
            // All of it with the victim's names, too: the key is that of the signer's provider.
            let update = commands(VICTIM, 1)[4].clone();
            let recorded = recorded(&scene.target, update.clone());
            let mut target = scene.rogue_target.clone();
            target.attestation_keys[0].spid = VICTIM.into();
            let request = Builder::command(&pki().other_tam, &target, update.clone())
                .edit_tbs(|tbs| tbs["encrypted_ta"] = recorded["encrypted_ta"].clone())
                .build()
                .unwrap();
            let Outcome::Fail(refusal) = scene.device.send(&pki().other_tam, &request) else {
                panic!("another TAM's application is replaced")
            };
            assert_eq!(refusal.code, "ERR_SD_NOT_FOUND");
            // And it was good, in the hands of its TAM.
            let request = Builder::command(&pki().tam, &scene.target, update)
                .edit_tbs(|tbs| tbs["encrypted_ta"] = recorded["encrypted_ta"].clone());
            scene.device.pass(&pki().tam, request);
        }
    }
}

/// `encrypted_ta` in A256GCM of an image and data, each for a purpose, all by OpenSSL but the JWE.
fn encrypted_for(image: (&[u8], &[u8]), data: (&[u8], &[u8])) -> Value {
    let recipient = home().target.attestation_keys[0].public_key().unwrap();
    let key = [7; 32];
    let encrypt = |iv: [u8; 12], (purpose, text): (&[u8], &[u8])| {
        let mut tag = [0; 16];
        let cipher = Cipher::aes_256_gcm();
        let text = encrypt_aead(cipher, &key, Some(&iv), purpose, text, &mut tag).unwrap();
        base64(&[&text[..], &tag].concat())
    };
    let around = ContentKey::random(ContentEncryption::A128Gcm).unwrap();
    let management = KeyManagements::default().for_key(&recipient).unwrap();
    json!({
        "key": Jwe::seal(&key, &around, management, &recipient).unwrap(), "alg": "A256GCM",
        "iv": hex::encode([1; 12]), "ciphertadata": encrypt([1; 12], image),
        "ivp": hex::encode([2; 12]), "cipherpdata": encrypt([2; 12], data),
    })
}

#[test]
fn data_are_good_for_one_purpose() {
    let purpose = |parts: [&str; 4]| parts.join("\0").into_bytes();
    let image = purpose(["image", SP, DOMAIN, "new"]);
    let data = purpose(["data", SP, DOMAIN, "new"]);
    let request = |image_for: &[u8], data_for: &[u8]| {
        let parts = encrypted_for((image_for, &home().new_image), (data_for, b"personal"));
        Base::InstallTa.builder().edit_tbs(|tbs| tbs["encrypted_ta"] = parts)
    };
    let mut refusals = Refusals::begin();
    for (role, other) in [("image", "data"), ("data", "image")] {
        let rows = [
            ("another role", purpose([other, SP, DOMAIN, "new"])),
            ("another provider", purpose([role, OTHER_SP, DOMAIN, "new"])),
            ("another domain", purpose([role, SP, EMPTY_DOMAIN, "new"])),
            ("another application", purpose([role, SP, DOMAIN, TA])),
            ("no purpose", Vec::new()),
            ("no role", [SP, DOMAIN, "new"].join("\0").into_bytes()),
            ("other separators", [role, SP, DOMAIN, "new"].join("/").into_bytes()),
            ("no separators", [role, SP, DOMAIN, "new"].concat().into_bytes()),
            ("a separator at the end", purpose([role, SP, DOMAIN, "new\0"])),
        ];
        for (what, wrong) in rows {
            let request = match role {
                "image" => request(&wrong, &data),
                _ => request(&image, &wrong),
            };
            let what = format!("{what} of the {role}");
            refusals.refused(&what, TA_INVALID, Answer::Sealed, request);
        }
    }
    refusals.end(Base::InstallTa);
    let mut device = Device::from(&home().snapshot);
    device.pass(&pki().tam, request(&image, &data));
    assert_eq!(device.personalization(&FREE_UUID), Ok(b"personal".to_vec()));
}

#[test]
fn a_stolen_tam_key_reads_no_recorded_image_as_data() {
    let tam = &pki().tam;
    let mut device = Device::from(&home().snapshot);
    let newer = Command::UpdateTa(application(TA, &home().newer_image));
    let recorded = recorded(&home().target, newer)["encrypted_ta"].clone();
    assert_eq!(recorded["alg"], "A256GCM", "what the TAM encrypts with if it is not told");
    let image = from_base64(recorded["ciphernewtadata"].as_str().unwrap()).unwrap();
    for (what, stolen) in [("all of it", &image[..]), ("its end", &image[image.len() - 64..])] {
        let command = Command::UpdateTa(Application {
            image: None,
            personalization: Some(b"x"),
            ..application(TA, &[])
        });
        let request = from_tam(command).edit_tbs(|tbs| {
            let parts = &mut tbs["encrypted_ta"];
            parts["key"] = recorded["key"].clone();
            parts["iv"] = recorded["iv"].clone();
            parts["ciphernewpdata"] = base64(stolen).into();
        });
        assert_eq!(device.fail(tam, request), TA_INVALID, "{what}");
        assert_eq!(device.personalization(&uuid(1)), Ok(b"secret".to_vec()), "{what}");
    }
}

/// A block that an SP encrypted in cipher block chaining, for an attacker who signs as its TAM.
struct Recorded {
    key: Value,
    iv: Vec<u8>,
    block: Vec<u8>,
    /// The last octet of a block before it that makes its padding right, as one octet.
    right: u8,
}

impl Recorded {
    fn new() -> Self {
        let secret = b"pin=4711;key=abc";
        let command = Command::UpdateTa(Application {
            image: None,
            personalization: Some(secret),
            ..application(TA, &[])
        });
        let tbs = RefCell::new(Value::Null);
        from_tam(command)
            .ta_encryption(TaEncryption::AesCbc)
            .edit_tbs(|members| *tbs.borrow_mut() = members["encrypted_ta"].clone())
            .build()
            .unwrap();
        let parts = tbs.into_inner();
        let iv = hex::decode(parts["iv"].as_str().unwrap()).unwrap();
        let text = from_base64(parts["ciphernewpdata"].as_str().unwrap()).unwrap();
        let right = iv[15] ^ secret[15] ^ 1;
        Self { key: parts["key"].clone(), block: text[..16].to_vec(), iv, right }
    }

    /// The block behind `length` octets, the last 16 of which end with the guess.
    fn ciphertext(&self, length: usize, guess: u8) -> Vec<u8> {
        let mut text = vec![0xa7; length];
        text[length - 1] = guess;
        text.extend(&self.block);
        text
    }

    fn put_into(&self, tbs: &mut Map<String, Value>, member: &str, text: &[u8]) {
        let parts = &mut tbs["encrypted_ta"];
        parts["key"] = self.key.clone();
        parts["iv"] = hex::encode(&self.iv).into();
        parts[member] = base64(text).into();
    }
}

/// Every answer to the 256 guesses, and what the device was seen to do meanwhile.
fn guess<'a>(
    device: &mut Device,
    request: impl Fn(u8) -> Builder<'a>,
) -> BTreeSet<(String, Vec<&'static str>)> {
    let before = device.world.snapshot();
    // The first message opens the storage.
    device.process(b"{}").unwrap_err();
    let mut seen = BTreeSet::new();
    for guess in 0..=255 {
        device.world.faults.clear();
        let code = device.fail(&pki().tam, request(guess));
        let operations = device.world.faults.operations();
        seen.insert((code, operations.iter().map(|operation| operation.name).collect()));
        assert!(device.world.snapshot() == before);
    }
    seen
}

#[test]
fn padding_shows_in_no_refusal() {
    let recorded = &Recorded::new();
    let update = |target: &'static Target| {
        let command = Command::UpdateTa(Application {
            image: None,
            personalization: Some(b"x"),
            ..application(TA, &[])
        });
        Builder::command(&pki().tam, target, command).ta_encryption(TaEncryption::AesCbc)
    };
    let with_data = |target, length, number| {
        let text = recorded.ciphertext(length, number);
        update(target).edit_tbs(move |tbs| recorded.put_into(tbs, "ciphernewpdata", &text))
    };
    let only = |seen: BTreeSet<(String, _)>, code: &str| {
        assert!(seen.len() == 1 && seen.iter().all(|(told, _)| told == code), "{code}: {seen:?}");
    };

    // Longer than data may be, whatever the padding; and perhaps, according to it.
    let mut device = Device::from(&home().snapshot);
    let longest = PERSONALIZATION_LIMIT;
    only(guess(&mut device, |number| with_data(&home().target, longest + 16, number)), FULL);
    only(guess(&mut device, |number| with_data(&home().target, longest, number)), TA_INVALID);

    // An image that continues as it began, with the block at its end.
    let newer = Command::UpdateTa(application(TA, &home().newer_image));
    let image = RefCell::new(Value::Null);
    from_tam(newer.clone())
        .ta_encryption(TaEncryption::AesCbc)
        .edit_tbs(|tbs| *image.borrow_mut() = tbs["encrypted_ta"].clone())
        .build()
        .unwrap();
    let image = image.into_inner();
    let text = from_base64(image["ciphernewtadata"].as_str().unwrap()).unwrap();
    let with_image = |number| {
        let mut parts = image.clone();
        let text = [&text[..64], &recorded.ciphertext(16, number)].concat();
        parts["ciphernewtadata"] = base64(&text).into();
        let request = from_tam(newer.clone()).ta_encryption(TaEncryption::AesCbc);
        request.edit_tbs(move |tbs| tbs["encrypted_ta"] = parts)
    };
    only(guess(&mut device, with_image), TA_INVALID);

    // The same behind a header that the provider signed: the image is decrypted and written up to there.
    // 160 octets have the header; storage that is full fails then.
    let behind_header = |number| {
        let mut parts = image.clone();
        let text = [&text[..160], &recorded.ciphertext(16, number)].concat();
        parts["ciphernewtadata"] = base64(&text).into();
        let request = from_tam(newer.clone()).ta_encryption(TaEncryption::AesCbc);
        request.edit_tbs(move |tbs| tbs["encrypted_ta"] = parts)
    };
    let seen = guess(&mut device, behind_header);
    assert!(seen.iter().any(|(_, operations)| operations.contains(&"store.write")), "{seen:?}");
    only(seen, TA_INVALID);
    let codes: BTreeSet<_> = (0..=255)
        .map(|number| {
            device.world.faults.fill(0);
            device.fail(&pki().tam, behind_header(number))
        })
        .collect();
    device.world.faults.clear();
    assert_eq!(codes, BTreeSet::from([TA_INVALID.to_owned()]));

    // One certificate more than a domain takes.
    let certificates: Vec<Vec<u8>> = (0..SP_CERTIFICATE_LIMIT)
        .map(|_| {
            let template = Template {
                organization: "OTrP tests (not for production)",
                common_name: "A signer of a test",
                purpose: Purpose::TaSigning,
                validity: Validity::years(1),
                uri: None,
            };
            der(&template.self_sign(generate_p256().unwrap()).unwrap().certificate)
        })
        .collect();
    let (last, add) = certificates.split_last().unwrap();
    let changes = SdChanges { add: add.iter().map(|der| &der[..]).collect(), ..Default::default() };
    let update_sd = Command::UpdateSd { spid: SP, name: DOMAIN, changes };
    let state = device.carry_out(&pki().tam, update_sd).state.unwrap();
    let target: &Target = Box::leak(Box::new(Target::from(&state)));
    let with_certificate = |number| {
        with_data(target, 16, number).edit_content(|content| {
            content.insert("spcert".into(), base64(last).into());
        })
    };
    only(guess(&mut device, with_certificate), FULL);

    // What is left is that the command is carried out, which it is not without the right padding.
    let wrong = with_data(target, 16, recorded.right ^ 0x80);
    assert_eq!(device.fail(&pki().tam, wrong), TA_INVALID);
    device.pass(&pki().tam, with_data(target, 16, recorded.right));
}
