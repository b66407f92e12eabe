//! The first start, and requests in the forms that others send: those of the draft's samples, and
//! other serializations of the same message.

use josekit::jwe::{ECDH_ES_A128KW, ECDH_ES_A256KW, JweHeader};
use openssl::pkey::{PKey, PKeyRef, Public};
use openssl::symm::{Cipher, encrypt};
use openssl::x509::{X509, X509Req};
use otrp_engine::Trust;
use otrp_engine::device::ImportError;
use otrp_engine::limits::PARTY_LIMIT;
use otrp_keys::certificate::{Identity as Signer, Purpose, Template, Validity, generate_p256};
use otrp_tam::Identity;
use otrp_tam::request::{
    Application, Builder, Command, SdChanges, SignerHeader, TaEncryption, Target,
};
use serde_json::{Value, json};

use crate::bench::{
    Device, Kind, Refused, TEE_NAME, base64, base64url, der, elf, pki, sha256, signed, stapled,
    stapled_below_authority, uuid,
};
use crate::home::{Base, DOMAIN, SP, from_tam, home};

fn status(device: &mut Device) -> Value {
    let status = device.engine.status(&mut device.reply).unwrap();
    serde_json::from_slice(status).unwrap()
}

#[test]
fn a_device_starts_blank_and_is_certified() {
    let mut device = Device::blank();
    let before = status(&mut device);
    assert_eq!((&before["name"], &before["provisioned"]), (&json!(TEE_NAME), &json!(false)));
    assert_eq!(before["development"], json!(true));
    device.engine = device.world.boot(Trust { development: false, ..pki().trust });
    assert_eq!(status(&mut device)["development"], json!(false));

    // Asked too early it says so, and can sign that already.
    let request = device.engine.certification_request(&mut device.reply).unwrap().to_vec();
    let key = X509Req::from_der(&request).unwrap().public_key().unwrap();
    let asked = Builder::device_state(&pki().tam).build().unwrap();
    let reply = device.process(&asked.message).unwrap();
    let refused = Refused::read(&reply, &key);
    assert_eq!(refused.code.as_deref(), Some("ERR_TEE_FAIL"));
    assert!(refused.by_tee);
    assert_eq!((refused.rid, refused.tid), (asked.exchange.rid, asked.exchange.tid));

    let chain = pki().tee_authority.certify(&request).unwrap();
    let bytes: Vec<u8> = chain.iter().flat_map(der).collect();
    for (certificates, refusal) in [
        (bytes[..bytes.len() - 1].to_vec(), ImportError::Malformed),
        ([bytes.clone(), vec![0]].concat(), ImportError::Malformed),
        (Vec::new(), ImportError::Malformed),
        (vec![0x30; 5000], ImportError::Malformed),
        (der(&chain[0]), ImportError::Untrusted),
        (der(&pki().tam.chain()[0]), ImportError::Untrusted),
        (certificates_of_another_device(), ImportError::OtherKey),
    ] {
        let import = device.engine.import_certificates(&certificates, &mut device.reply);
        assert_eq!(import, Err(refusal));
        assert_eq!(status(&mut device)["provisioned"], json!(false));
        assert!(device.records(Kind::TeeChain).is_empty());
    }

    // The root may be left out.
    let root = bytes.len() - der(&chain[2]).len();
    device.engine.import_certificates(&bytes[..root], &mut device.reply).unwrap();
    assert_eq!(device.state(&pki().tam).dsi.tee.cacert.len(), 1);
    device.engine.import_certificates(&bytes, &mut device.reply).unwrap();
    assert_eq!(device.state(&pki().tam).dsi.tee.cacert.len(), 2);
    device.reboot();
    assert_eq!(status(&mut device)["provisioned"], json!(true));
    let again = device.engine.certification_request(&mut device.reply).unwrap();
    assert!(X509Req::from_der(again).unwrap().public_key().unwrap().public_eq(&key));
    assert_eq!(device.state(&pki().tam).certificate, chain[0]);
}

fn certificates_of_another_device() -> Vec<u8> {
    Device::provisioned().records(Kind::TeeChain).remove(0)
}

#[test]
fn new_certificates_are_a_new_state() {
    let mut device = Device::provisioned();
    let tam = &pki().tam;
    let target = Target::from(&device.state(tam));
    let certificate = der(&pki().sp_ec.certificate);
    let command = Command::CreateSd { spid: SP, name: DOMAIN, certificate: &certificate };
    device.provision();
    let stale = Builder::command(tam, &target, command.clone());
    assert_eq!(device.fail(tam, stale), "ERR_DEV_STATE_MISMATCH");
    device.carry_out(tam, command);
}

/// A device with an application in a domain that accepts both signers.
fn device() -> Device {
    let mut device = Device::provisioned();
    let certificate = der(&pki().sp_ec.certificate);
    let create = Command::CreateSd { spid: SP, name: DOMAIN, certificate: &certificate };
    device.carry_out(&pki().tam, create);
    device
}

#[test]
fn a_state_is_asked_for_as_in_the_samples() {
    let mut device = Device::provisioned();
    let tam = &pki().tam;
    let samples = |algorithms: Value| {
        Builder::device_state(tam).edit_tbs(move |tbs| {
            let [leaf, authority] = <[String; 2]>::try_from(tam.ocsp_data()).unwrap();
            tbs.insert("ocspdat".into(), leaf.into());
            tbs.insert("icaocspdat".into(), authority.into());
            tbs.insert("supportedsigalgs".into(), algorithms);
        })
    };
    device.ask(tam, samples(json!("ES256")));
    device.ask(tam, samples(json!(["RS256", "ES256"])));
    // Who says nothing takes anything.
    device
        .ask(tam, Builder::device_state(tam).edit_tbs(|tbs| drop(tbs.remove("supportedsigalgs"))));

    let alias = Builder::device_state(tam)
        .edit_payload(|payload| {
            let text = String::from_utf8(payload.clone()).unwrap();
            *payload = text.replace("GetDeviceStateTBS", "GetDeviceTEEStateTBS").into_bytes();
        })
        .edit_message(|message| {
            let jws = message["GetDeviceStateRequest"].take();
            *message = json!({ "GetDeviceTEEStateRequest": jws });
        });
    device.ask(tam, alias);
}

#[test]
fn one_signer_stands_for_a_chain_of_one() {
    // Section A of the draft shows `signer`: a certificate that an anchor issued directly.
    let key = generate_p256().unwrap();
    let leaf = Template {
        organization: "OTrP tests (not for production)",
        common_name: "A TAM below the root",
        purpose: Purpose::Party,
        validity: Validity::years(1),
        uri: Some("https://direct-tam.example.org/otrp"),
    }
    .issue(&key, &pki().tam_root)
    .unwrap();
    let text = base64(&der(&leaf));
    let tam = stapled(Identity::new(key, vec![leaf], None).unwrap(), &[&pki().tam_root]);
    let mut device = Device::provisioned();
    let request = Builder::device_state(&tam).edit_message(move |message| {
        message["GetDeviceStateRequest"]["header"] = json!({ "signer": text });
    });
    device.ask(&tam, request);
    device.ask(&tam, Builder::device_state(&tam).signer(SignerHeader::KeyId));
}

#[test]
fn the_root_may_be_left_out_of_a_chain() {
    let mut device = Device::provisioned();
    let tam = &pki().tam;
    let without_root = Builder::device_state(tam).edit_message(|message| {
        let chain = &mut message["GetDeviceStateRequest"]["header"]["x5c"];
        assert_eq!(chain.as_array_mut().unwrap().drain(2..).count(), 1);
    });
    device.ask(tam, without_root);
    let chain = device.records(Kind::TamChain);
    device.ask(tam, Builder::device_state(tam));
    assert_eq!(device.records(Kind::TamChain), chain, "the same path is the same chain");
}

#[test]
fn booleans_and_base64_come_in_every_form() {
    let tam = &pki().tam;
    let certificate = der(&pki().sp_ec.certificate);
    let standard = base64(&certificate);
    assert!(standard.contains(['+', '/']), "the alphabets must differ for this certificate");
    let mut name = 0;
    let mut device = device();
    for (yes, no) in [("true", "false"), (" true ", " false "), ("1", "0")] {
        for url in [false, true] {
            name += 1;
            let name = format!("domain {name}");
            let state = device.state(tam);
            let target = Target::from(&state);
            let form = move |bytes: &[u8]| match url {
                true => base64url(bytes),
                false => base64(bytes).trim_end_matches('=').into(),
            };
            let create = Command::CreateSd { spid: SP, name: &name, certificate: &certificate };
            let device_id = sha256(&der(&state.certificate));
            let hash = sha256(&state.document);
            let request = Builder::command(tam, &target, create)
                .edit_content(|content| {
                    content.insert("spcert".into(), form(&certificate).into());
                    content.insert("did".into(), form(&device_id).into());
                })
                .edit_tbs(|tbs| {
                    tbs.insert("nextdsi".into(), yes.into());
                    tbs.insert("dsihash".into(), form(&hash).into());
                });
            let state = device.pass(tam, request).state.expect("it was asked for");
            let target = Target::from(&state);
            let delete = Command::DeleteSd { spid: None, name: &name, delete_tas: false };
            let request = Builder::command(tam, &target, delete)
                .edit_content(|content| drop(content.insert("deleteta".into(), no.into())))
                .edit_tbs(|tbs| drop(tbs.insert("nextdsi".into(), no.into())));
            assert!(device.pass(tam, request).state.is_none());
        }
    }
    // One certificate stands for a list of one, `renewteespaik` for a boolean.
    let target = Target::from(&device.state(tam));
    let changes = SdChanges { add: vec![&certificate], ..SdChanges::default() };
    let update = Command::UpdateSd { spid: SP, name: DOMAIN, changes };
    let request = Builder::command(tam, &target, update).edit_content(|content| {
        content["changes"]["spcert"] = standard.into();
        content["changes"]["renewteespaik"] = "1".into();
    });
    assert!(device.pass(tam, request).attestation_key.is_some());
}

#[test]
fn white_space_stands_between_tokens() {
    let mut device = device();
    let tam = &pki().tam;
    let target = Target::from(&device.state(tam));
    let delete = Command::DeleteSd { spid: None, name: DOMAIN, delete_tas: false };
    let request = Builder::command(tam, &target, delete).edit_payload(|payload| {
        let value: Value = serde_json::from_slice(payload).unwrap();
        *payload = serde_json::to_vec_pretty(&value).unwrap();
        payload.extend(b"\r\n\t ");
    });
    let mut request = request.build().unwrap();
    let value: Value = serde_json::from_slice(&request.message).unwrap();
    request.message = serde_json::to_vec_pretty(&value).unwrap();
    assert!(matches!(device.send(tam, &request), otrp_tam::response::Outcome::Pass(_)));
}

/// A JWE of `plaintext` in the compact serialization, all by josekit.
fn compact(plaintext: &[u8], key: &PKeyRef<Public>, encryption: &str, wide: bool) -> String {
    compact_between([b"Alice", b"Bob"], plaintext, key, encryption, wide)
}

/// The same with this information on the parties.
fn compact_between(
    [party_u, party_v]: [&[u8]; 2],
    plaintext: &[u8],
    key: &PKeyRef<Public>,
    encryption: &str,
    wide: bool,
) -> String {
    let mut header = JweHeader::new();
    header.set_content_encryption(encryption);
    header.set_agreement_partyuinfo(party_u);
    header.set_agreement_partyvinfo(party_v);
    let key = key.public_key_to_der().unwrap();
    let algorithm = if wide { ECDH_ES_A256KW } else { ECDH_ES_A128KW };
    let encrypter = algorithm.encrypter_from_der(key).unwrap();
    josekit::jwe::serialize_compact(plaintext, &header, &encrypter).unwrap()
}

#[test]
fn the_data_key_comes_in_every_serialization() {
    let mut device = device();
    let tam = &pki().tam;
    let mut state = device.state(tam);
    let key = state.attestation_key(SP).unwrap().public_key().unwrap();
    let (data_key, iv) = ([7; 32], [9; 16]);
    // The version of the image is the form's number.
    type Form = Box<dyn Fn(&PKey<Public>) -> Value>;
    let general = |compact: &str| {
        let parts: Vec<&str> = compact.split('.').collect();
        json!({
            "protected": parts[0], "recipients": [{ "encrypted_key": parts[1] }],
            "iv": parts[2], "ciphertext": parts[3], "tag": parts[4]
        })
    };
    let flattened = |compact: &str| {
        let parts: Vec<&str> = compact.split('.').collect();
        json!({
            "protected": parts[0], "encrypted_key": parts[1],
            "iv": parts[2], "ciphertext": parts[3], "tag": parts[4]
        })
    };
    let forms: [Form; 4] = [
        Box::new(move |key| compact(&data_key, key, "A128CBC-HS256", false).into()),
        Box::new(move |key| compact(&data_key, key, "A256GCM", true).into()),
        Box::new(move |key| general(&compact(&data_key, key, "A128GCM", true))),
        Box::new(move |key| flattened(&compact(&data_key, key, "A256CBC-HS512", false))),
    ];
    for (version, form) in (1_u32..).zip(&forms) {
        let image = signed(&pki().sp_ec, uuid(1), version);
        let cipher = Cipher::aes_256_cbc();
        let ciphertext = encrypt(cipher, &data_key, Some(&iv), &image).unwrap();
        let personalization = encrypt(cipher, &data_key, Some(&iv), b"personal").unwrap();
        let application = Application {
            spid: SP,
            domain: DOMAIN,
            taid: "wallet",
            certificate: None,
            image: Some(&image),
            personalization: Some(b"replaced below"),
        };
        let (command, members) = match version {
            1 => (Command::InstallTa(application), ["ciphertadata", "cipherpdata"]),
            _ => (Command::UpdateTa(application), ["ciphernewtadata", "ciphernewpdata"]),
        };
        // One vector for both texts, as the draft has it, in either case of digits and alphabet.
        let encrypted = json!({
            "key": form(&key),
            "alg": "AESCBC",
            "iv": if version % 2 == 0 { hex::encode(iv) } else { hex::encode_upper(iv) },
            members[0]: base64url(&ciphertext),
            members[1]: base64(&personalization),
        });
        let target = Target::from(&state);
        let request = Builder::command(tam, &target, command)
            .ta_encryption(TaEncryption::AesCbc)
            .edit_tbs(move |tbs| drop(tbs.insert("encrypted_ta".into(), encrypted)));
        state = device.pass(tam, request).state.unwrap();
        let seed = u8::try_from(version).unwrap();
        assert_eq!(device.world.images()[&uuid(1)].bytes(), elf(uuid(1), seed, 1000));
        assert_eq!(device.records(Kind::Personalization), [b"personal"]);
    }
}

#[test]
fn party_information_is_as_long_as_the_limit_and_no_longer() {
    let tam = &pki().tam;
    let image = signed(&pki().sp_ec, uuid(1), 1);
    let (data_key, iv) = ([7; 32], [9; 16]);
    let ciphertext = encrypt(Cipher::aes_256_cbc(), &data_key, Some(&iv), &image).unwrap();
    let mut device = device();
    let mut state = device.state(tam);
    let key = state.attestation_key(SP).unwrap().public_key().unwrap();
    let longest = [b'x'; PARTY_LIMIT + 3];
    for length in PARTY_LIMIT - 1..=PARTY_LIMIT + 3 {
        for parties in [[&longest[..length], b"Bob"], [b"Alice", &longest[..length]]] {
            let wrapped = compact_between(parties, &data_key, &key, "A128GCM", false);
            let encrypted = json!({
                "key": wrapped,
                "alg": "AESCBC",
                "iv": hex::encode(iv),
                "ciphertadata": base64(&ciphertext),
            });
            let application = Application {
                spid: SP,
                domain: DOMAIN,
                taid: "wallet",
                certificate: None,
                image: Some(&image),
                personalization: None,
            };
            let target = Target::from(&state);
            let request = Builder::command(tam, &target, Command::InstallTa(application))
                .ta_encryption(TaEncryption::AesCbc)
                .edit_tbs(move |tbs| drop(tbs.insert("encrypted_ta".into(), encrypted)));
            if length > PARTY_LIMIT {
                assert_eq!(device.fail(tam, request), "ERR_TA_INVALID", "{length}");
                continue;
            }
            // The next one starts from a device without it.
            device.pass(tam, request);
            device.carry_out(tam, Command::DeleteTa { spid: None, name: DOMAIN, taid: "wallet" });
            state = device.state(tam);
        }
    }
}

#[test]
fn personalization_is_updated_alone() {
    let mut device = device();
    let tam = &pki().tam;
    let image = signed(&pki().sp_ec, uuid(1), 1);
    let application = Application {
        spid: SP,
        domain: DOMAIN,
        taid: "wallet",
        certificate: None,
        image: Some(&image),
        personalization: None,
    };
    device.carry_out(tam, Command::InstallTa(application.clone()));
    let images = device.world.snapshot().images();
    for (encryption, data) in [(TaEncryption::AesCbc, b"one"), (TaEncryption::A256Gcm, b"two")] {
        let application =
            Application { image: None, personalization: Some(data), ..application.clone() };
        let target = Target::from(&device.state(tam));
        let update = Builder::command(tam, &target, Command::UpdateTa(application));
        device.pass(tam, update.ta_encryption(encryption));
        assert_eq!(device.records(Kind::Personalization), [data]);
        assert_eq!(device.world.snapshot().images(), images);
    }
    // An update without any leaves what is there.
    let image = signed(&pki().sp_ec, uuid(1), 2);
    let application = Application { image: Some(&image), ..application };
    device.carry_out(tam, Command::UpdateTa(application));
    assert_eq!(device.records(Kind::Personalization), [b"two"]);
}

#[test]
fn two_tams_live_side_by_side() {
    let mut device = device();
    let (tam, other) = (&pki().tam, &pki().other_tam);
    // The same names, for they are another TAM's.
    let certificate = der(&pki().sp_rsa.certificate);
    let create = Command::CreateSd { spid: SP, name: DOMAIN, certificate: &certificate };
    let state = device.state(tam);
    let passed = device.carry_out(other, create);
    let key = passed.attestation_key.expect("another TAM's provider is another provider");
    let theirs = passed.state.unwrap();
    assert_eq!(theirs.dsi.tee.teeaiklist.len(), 1);
    assert_eq!(theirs.dsi.tee.teeaiklist[0].spaik, key);
    assert_ne!(state.dsi.tee.teeaiklist[0].spaik, key);
    // What they do is not a change of what we see: our hash is good still.
    let target = Target::from(&state);
    let delete = Command::DeleteSd { spid: None, name: DOMAIN, delete_tas: false };
    device.pass(tam, Builder::command(tam, &target, delete.clone()));
    assert_eq!(device.state(other).dsi.tee.sdlist, theirs.dsi.tee.sdlist);
    device.carry_out(other, delete);
}

#[test]
fn the_next_state_comes_with_the_answer_or_is_asked_for() {
    let tam = &pki().tam;
    let certificate = &home().certificate;
    let next = Command::CreateSd { spid: SP, name: "after", certificate };
    for base in Base::ALL {
        let mut device = Device::from(&home().snapshot);
        let state = device.pass(tam, base.builder().next_dsi(true)).state.expect("asked for");
        assert_eq!(state.hash, base64(&sha256(&state.document)), "{base:?}");
        device.pass(tam, Builder::command(tam, &Target::from(&state), next.clone()));

        let mut device = Device::from(&home().snapshot);
        let passed = device.pass(tam, base.builder().next_dsi(false));
        assert!(passed.state.is_none(), "{base:?}");
        for hash in [&home().target.dsi_hash, &state.hash] {
            let request = from_tam(next.clone()).dsi_hash(hash.clone());
            assert_eq!(device.fail(tam, request), "ERR_DEV_STATE_MISMATCH", "{base:?}");
        }
        device.carry_out(tam, next.clone());
    }
}

#[test]
fn a_tam_keeps_what_it_has_under_new_certificates() {
    let (tam, id) = (&pki().tam, Some(pki().tam.tam_id()));
    let renewed = |issuer: &Signer, above: &[X509]| {
        let key = generate_p256().unwrap();
        let leaf = Template {
            organization: "OTrP tests (not for production)",
            common_name: "The TAM under another name",
            purpose: Purpose::Party,
            validity: Validity::years(2),
            uri: id,
        }
        .issue(&key, issuer)
        .unwrap();
        let chain = [&[leaf], above].concat();
        Identity::new(key, chain, None).unwrap()
    };
    let below_authority = stapled_below_authority(renewed(&pki().tam_authority, &tam.chain()[1..]));
    let below_root = renewed(&pki().tam_root, &tam.chain()[2..]);
    let below_root = stapled(below_root, &[&pki().tam_root]);
    for new in [&below_authority, &below_root] {
        let mut device = Device::from(&home().snapshot);
        // Whether they are revoked is not known before it asks.
        let request = Builder::command(new, &home().target, Base::DeleteTa.command());
        assert_eq!(device.fail(new, request), "ERR_TAM_NOT_TRUSTED");
        let state = device.state(new);
        assert_eq!(state.dsi.tee.sdlist.sd.len(), 2);
        assert_eq!(state.dsi.tee.sdlist.sd[0].name, DOMAIN);
        // They are remembered in place of those from before.
        device.ask(new, Builder::device_state(new).signer(SignerHeader::KeyId));
        let old = Builder::device_state(tam).signer(SignerHeader::KeyId).build().unwrap();
        assert_eq!(device.refusal(&old.message).code.as_deref(), Some("ERR_TAM_NOT_TRUSTED"));
        assert_eq!(device.records(Kind::TamChain).len(), 2);
        device.carry_out(new, Base::CreateSd.command());
        // The old ones are as good until they expire, if they are shown.
        assert_eq!(device.state(tam).dsi.tee.sdlist.sd.len(), 3);
        assert_eq!(device.state(&pki().other_tam).dsi.tee.sdlist.sd.len(), 1);
    }
}
