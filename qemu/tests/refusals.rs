//! What the broker refuses in real OP-TEE, each with its code and nothing changed.
//!
//! The rows in full are those of the simulator; here is one of each kind, through the agent, the
//! driver and the TEE. That nothing changed is shown by the state's hash: it is good for one more
//! command only as long as no command before it was carried out.
//!
//! Needs the images; run by `make test`, and alone by `make test-device`.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use otrp_keys::ocsp::Period;
use otrp_keys::{development, file, image};
use otrp_qemu::harness::cache;
use otrp_qemu::harness::device::Device;
use otrp_qemu::harness::guest::Guest;
use otrp_qemu::harness::image::Image;
use otrp_qemu::harness::machine::Machine;
use otrp_qemu::scenario::deployment::SIGNER_UUID;
use otrp_qemu::scenario::operator::{Operator, carry, plain_error, provision};
use otrp_tam::request::{Application, Builder, Command, SdChanges, SignerHeader, Target};
use otrp_tam::response::Outcome;
use serde_json::Value;

const SP: &str = "com.example";
const SD: &str = "com.example.domain";
const TA: &str = "com.example.signer";

fn keys() -> PathBuf {
    cache().join("keys/dev")
}

/// The sample in a version, signed by a service provider's key.
fn signed(key: &str, version: u32) -> Vec<u8> {
    let number = version.min(2);
    let elf = std::fs::read(cache().join(format!("image/samples/signer-v{number}.elf"))).unwrap();
    let key = file::read_key(&keys().join(format!("{key}.key.pem"))).unwrap();
    image::sign(&key, None, SIGNER_UUID.parse().unwrap(), version, &elf).unwrap()
}

fn certificate(name: &str) -> Vec<u8> {
    std::fs::read(keys().join(format!("{name}.der"))).unwrap()
}

fn application(image: &[u8]) -> Application<'_> {
    Application {
        spid: SP,
        domain: SD,
        taid: TA,
        certificate: None,
        image: Some(image),
        personalization: None,
    }
}

struct Bench {
    guest: Guest,
    tam: &'static Operator,
    other: &'static Operator,
    rogue: &'static Operator,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn boot() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let device = Device::open_or_create(folder.path()).unwrap();
        let image = Image::open(cache().join("image/development")).unwrap();
        let mut guest = Machine::new(device, image).boot().unwrap();
        provision(&mut guest, &keys()).unwrap();
        // Requests borrow from their operator while the bench is used otherwise.
        let operator = |name: &str| -> &'static Operator {
            Box::leak(Box::new(Operator::read(&keys(), name).unwrap()))
        };
        Self {
            guest,
            tam: operator("tam"),
            other: operator("other-tam"),
            rogue: operator("rogue-tam"),
            _folder: folder,
        }
    }

    fn target(&mut self) -> Target {
        Target::from(&self.tam.state(&mut self.guest).unwrap())
    }

    /// The code of a refusal whose content only the TAM can read.
    fn refused(&mut self, target: &Target, request: Builder<'_>) -> String {
        let request = request.build().unwrap();
        match self.tam.send(&mut self.guest, &request, target).unwrap() {
            Outcome::Fail(refusal) => refusal.code.into_inner(),
            Outcome::Pass(passed) => panic!("carried out: {passed:?}"),
        }
    }

    /// The code of a refusal that anybody can read.
    fn refused_in_plain(&mut self, message: &[u8]) -> String {
        let carried = carry(&mut self.guest, message).unwrap();
        plain_error(&carried.answer).unwrap()
    }

    /// Gives a command that the state of `target` is good for; returns the next state.
    fn pass(&mut self, target: &Target, command: Command<'_>) -> Target {
        let request = Builder::command(&self.tam.identity, target, command).build().unwrap();
        match self.tam.send(&mut self.guest, &request, target).unwrap() {
            Outcome::Pass(passed) => {
                Target::from(&passed.state.expect("the next state was asked for"))
            }
            Outcome::Fail(refusal) => panic!("{refusal:?}"),
        }
    }
}

/// Flips the lowest bit of the middle byte of a base64url member.
fn flip(member: &mut Value) {
    let text = member.as_str().expect("a text");
    let mut bytes = URL_SAFE_NO_PAD.decode(text).expect("base64url");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    *member = URL_SAFE_NO_PAD.encode(bytes).into();
}

#[test]
#[ignore = "needs the images: make test-device"]
fn each_refusal_has_its_code_and_changes_nothing() {
    let mut bench = Bench::boot();
    let (rsa, ec) = (certificate("sp-rsa"), certificate("sp-ec"));
    let create = |name: &'static str| Command::CreateSd { spid: SP, name, certificate: &rsa };

    // Who asks: a chain to a root that nobody trusts, although the name in it is the TAM's.
    let state = Builder::device_state(&bench.rogue.identity).build().unwrap();
    assert_eq!(bench.refused_in_plain(&state.message), "ERR_TAM_NOT_TRUSTED");

    // One that shows no OCSP responses, or stale ones.
    let hour = 3600;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let stale = Period { this_update: now - 2 * hour, next_update: now - hour };
    let stale = development::responses(&keys(), "tam", stale).unwrap();
    for responses in [vec![], stale.to_vec()] {
        let identity = bench.tam.identity.clone().staple(responses);
        let state = Builder::device_state(&identity).build().unwrap();
        assert_eq!(bench.refused_in_plain(&state.message), "ERR_TAM_NOT_TRUSTED");
    }

    let target = bench.target();
    let rogue =
        Builder::command(&bench.rogue.identity, &target, create(SD)).build().unwrap().message;
    assert_eq!(bench.refused_in_plain(&rogue), "ERR_TAM_NOT_TRUSTED");
    let target = bench.pass(&target, create(SD));

    // A bit in every part of the envelope.
    let image_1 = signed("sp-rsa", 1);
    let install = Command::InstallTa(application(&image_1));
    let request = Builder::command(&bench.tam.identity, &target, install.clone()).build().unwrap();
    let untrusted = "ERR_TAM_NOT_TRUSTED";
    for (part, expected) in
        [("payload", untrusted), ("signature", untrusted), ("protected", "ERR_REQUEST_INVALID")]
    {
        let mut message: Value = serde_json::from_slice(&request.message).unwrap();
        flip(&mut message["InstallTARequest"][part]);
        let code = bench.refused_in_plain(message.to_string().as_bytes());
        assert_eq!(code, expected, "a bit of {part}");
    }
    let mut message: Value = serde_json::from_slice(&request.message).unwrap();
    let leaf = &mut message["InstallTARequest"]["header"]["x5c"][0];
    let mut der = base64::engine::general_purpose::STANDARD.decode(leaf.as_str().unwrap()).unwrap();
    let middle = der.len() / 2;
    der[middle] ^= 1;
    *leaf = base64::engine::general_purpose::STANDARD.encode(der).into();
    let code = bench.refused_in_plain(message.to_string().as_bytes());
    assert_eq!(code, "ERR_TAM_NOT_TRUSTED", "a bit of the certificate");
    let rows = [
        ("ciphertext", "ERR_REQUEST_INVALID"),
        ("iv", "ERR_REQUEST_INVALID"),
        ("tag", "ERR_REQUEST_INVALID"),
        // Its middle is in the algorithm's name.
        ("protected", "ERR_UNSUPPORTED_CRYPTO_ALG"),
    ];
    for (part, expected) in rows {
        let request = Builder::command(&bench.tam.identity, &target, install.clone())
            .edit_tbs(|tbs| flip(&mut tbs["content"][part]))
            .build()
            .unwrap();
        let code = bench.refused_in_plain(&request.message);
        assert_eq!(code, expected, "a bit of the content's {part}");
    }
    for part in ["ciphertext", "iv", "tag", "encrypted_key"] {
        let request = Builder::command(&bench.tam.identity, &target, install.clone())
            .edit_tbs(|tbs| flip(&mut tbs["encrypted_ta"]["key"][part]));
        assert_eq!(bench.refused(&target, request), "ERR_TA_INVALID", "a bit of the key's {part}");
    }
    let request = Builder::command(&bench.tam.identity, &target, install.clone()).edit_tbs(|tbs| {
        let data = tbs["encrypted_ta"]["ciphertadata"].as_str().unwrap().to_owned();
        let mut bytes = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        tbs["encrypted_ta"]["ciphertadata"] =
            base64::engine::general_purpose::STANDARD.encode(bytes).into();
    });
    assert_eq!(bench.refused(&target, request), "ERR_TA_INVALID", "a bit of the image");

    // Sizes.
    let cut = &request_bytes(&bench, &target, &install)[..2000];
    assert_eq!(bench.refused_in_plain(cut), "ERR_REQUEST_INVALID", "cut off");
    assert_eq!(bench.refused_in_plain(b"{"), "ERR_AGENT_TEE_UNKNOWN", "no request at all");
    let oversized = vec![b' '; otrp_wire::limits::MESSAGE_LIMIT + 1];
    assert_eq!(bench.refused_in_plain(&oversized), "ERR_AGENT_TEE_UNKNOWN", "one byte too long");
    let mut nested = br#"{"CreateSDRequest":"#.to_vec();
    nested.extend(std::iter::repeat_n(b'[', 1_000_000));
    assert_eq!(bench.refused_in_plain(&nested), "ERR_REQUEST_INVALID", "a million brackets");

    // Whose image, and whose domain.
    let foreign = signed("ta-signing", 1);
    let request =
        Builder::command(&bench.tam.identity, &target, Command::InstallTa(application(&foreign)));
    assert_eq!(bench.refused(&target, request), "ERR_TA_INVALID", "the image's own signing key");
    let elliptic = signed("sp-ec", 1);
    let request =
        Builder::command(&bench.tam.identity, &target, Command::InstallTa(application(&elliptic)));
    assert_eq!(bench.refused(&target, request), "ERR_TA_INVALID", "a signer of no certificate");
    let request = Builder::command(&bench.tam.identity, &target, install.clone())
        .edit_content(|content| content["spid"] = "com.example.other".into());
    assert_eq!(bench.refused(&target, request), "ERR_TA_INVALID", "an SP that is not the domain's");
    let request = Builder::command(&bench.tam.identity, &target, install.clone())
        .edit_content(|content| content["sdname"] = "nowhere".into());
    assert_eq!(bench.refused(&target, request), "ERR_SD_NOT_FOUND");
    let request = Builder::command(&bench.tam.identity, &target, install.clone())
        .tam_id("https://other-tam.example.org/otrp");
    assert_eq!(bench.refused(&target, request), "ERR_TAM_NOT_AUTHORIZED", "another's identifier");

    // All those refusals changed nothing: the state that they were made for is still current.
    let stale = target.clone();
    let target = bench.pass(&target, install.clone());
    bench.guest.run("otrp-signer-client version").unwrap().success().unwrap();

    // The same message again, and a new one for the state that is over.
    let replay = Builder::command(&bench.tam.identity, &stale, install.clone()).build().unwrap();
    assert_eq!(bench.refused_in_plain(&replay.message), "ERR_DEV_STATE_MISMATCH");
    assert_eq!(bench.refused_in_plain(&replay.message), "ERR_DEV_STATE_MISMATCH");

    // Another TAM sees nothing and reaches nothing.
    let others = bench.other.state(&mut bench.guest).unwrap();
    assert!(others.dsi.tee.sdlist.sd.is_empty() && others.dsi.tee.teeaiklist.is_empty());
    let others = Target::from(&others);
    let steal = Command::DeleteSd { spid: Some(SP), name: SD, delete_tas: true };
    let request = Builder::command(&bench.other.identity, &others, steal).build().unwrap();
    let Outcome::Fail(refusal) = bench.other.send(&mut bench.guest, &request, &others).unwrap()
    else {
        panic!("another TAM deleted the domain")
    };
    assert_eq!(refusal.code, "ERR_SD_NOT_FOUND");
    // A UUID that is taken: by the first TAM's domain.
    let others = create_with(&mut bench, &others, &rsa);
    let mut theft = application(&image_1);
    theft.domain = "com.example.other";
    let others = Target { attestation_keys: others.attestation_keys.clone(), ..others };
    let request = Builder::command(&bench.other.identity, &others, Command::InstallTa(theft))
        .build()
        .unwrap();
    let Outcome::Fail(refusal) = bench.other.send(&mut bench.guest, &request, &others).unwrap()
    else {
        panic!("another domain took the UUID")
    };
    assert_eq!(refusal.code, "ERR_TA_INVALID");

    // What one TAM recorded of another's is not opened for it: the refusal has no content.
    let recorded: Value =
        serde_json::from_slice(&request_bytes(&bench, &target, &install)).unwrap();
    let payload = recorded["InstallTARequest"]["payload"].as_str().unwrap();
    let payload: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    let stolen = payload["InstallTATBSRequest"]["content"].clone();
    let steal = Command::DeleteSd { spid: Some(SP), name: "com.example.other", delete_tas: true };
    let request = Builder::command(&bench.other.identity, &others, steal)
        .edit_tbs(move |tbs| drop(tbs.insert("content".into(), stolen)))
        .build()
        .unwrap();
    let answer = carry(&mut bench.guest, &request.message).unwrap().answer;
    assert_eq!(plain_error(&answer).unwrap(), "ERR_REQUEST_INVALID", "another command's content");
    assert!(tbs(&answer).get("content").is_none());

    // Strangers get one answer, each signed by another key: from two signatures the key follows.
    let unsigned = |message: &[u8]| {
        let mut message: Value = serde_json::from_slice(message).unwrap();
        let jws = message.as_object_mut().unwrap().values_mut().next().unwrap();
        jws["signature"] = URL_SAFE_NO_PAD.encode([1; 64]).into();
        message.to_string().into_bytes()
    };
    let by_kid = Builder::device_state(&bench.tam.identity).signer(SignerHeader::KeyId);
    let by_kid = unsigned(&by_kid.build().unwrap().message);
    let unknown = Builder::device_state(&bench.rogue.identity).signer(SignerHeader::KeyId);
    let unknown = unsigned(&unknown.build().unwrap().message);
    let rogue = Builder::device_state(&bench.rogue.identity).build().unwrap().message;
    let answers =
        [by_kid, unknown, rogue].map(|message| carry(&mut bench.guest, &message).unwrap());
    let [first, rest @ ..] = &answers;
    for other in rest {
        assert_eq!(tbs(&first.answer), tbs(&other.answer));
    }
    assert_eq!(tbs(&first.answer)["reason"]["error-code"], "ERR_TAM_NOT_TRUSTED");

    // Versions only rise, also over a deletion.
    let changes = SdChanges { add: vec![&ec], ..SdChanges::default() };
    let update = Command::UpdateSd { spid: SP, name: SD, changes };
    let target = bench.pass(&target, update);
    let image_2 = signed("sp-ec", 2);
    let target = bench.pass(&target, Command::UpdateTa(application(&image_2)));
    let request =
        Builder::command(&bench.tam.identity, &target, Command::UpdateTa(application(&image_1)));
    assert_eq!(bench.refused(&target, request), "ERR_TA_INVALID", "a lower version");
    let request = Builder::command(&bench.tam.identity, &target, install.clone());
    assert_eq!(bench.refused(&target, request), "ERR_TA_ALREADY_INSTALLED");
    let delete = Command::DeleteSd { spid: None, name: SD, delete_tas: false };
    let request = Builder::command(&bench.tam.identity, &target, delete);
    assert_eq!(bench.refused(&target, request), "ERR_SD_NOT_EMPTY");
    assert_eq!(bench.guest.run("otrp-signer-client version").unwrap().text(), "2");
    let target = bench.pass(&target, Command::DeleteTa { spid: None, name: SD, taid: TA });
    let request = Builder::command(&bench.tam.identity, &target, install);
    assert_eq!(bench.refused(&target, request), "ERR_TA_INVALID", "reinstalled, and lower");
    let missing = Command::DeleteTa { spid: None, name: SD, taid: TA };
    let request = Builder::command(&bench.tam.identity, &target, missing);
    assert_eq!(bench.refused(&target, request), "ERR_TA_NOT_FOUND");
    assert_eq!(bench.guest.run("otrp-signer-client version").unwrap().status, 4);

    // And the state is current still.
    bench.pass(&target, Command::DeleteSd { spid: None, name: SD, delete_tas: false });
    let log = bench.guest.secure_log().unwrap();
    assert!(!log.to_lowercase().contains("panic"), "{log}");
    bench.guest.power_off().unwrap();
}

fn request_bytes(bench: &Bench, target: &Target, command: &Command<'_>) -> Vec<u8> {
    Builder::command(&bench.tam.identity, target, command.clone()).build().unwrap().message
}

/// What is signed in an answer.
fn tbs(answer: &[u8]) -> Value {
    let outer: Value = serde_json::from_slice(answer).unwrap();
    let jws = outer.as_object().unwrap().values().next().unwrap();
    // The agent puts answers with a state into an array.
    let jws =
        jws.get(0).and_then(|it| it.as_object()).map_or(jws, |it| it.values().next().unwrap());
    let payload = URL_SAFE_NO_PAD.decode(jws["payload"].as_str().unwrap()).unwrap();
    let inner: Value = serde_json::from_slice(&payload).unwrap();
    inner.as_object().unwrap().values().next().unwrap().clone()
}

/// The other TAM's own domain, for a service provider of the same certificate.
fn create_with(bench: &mut Bench, others: &Target, certificate: &[u8]) -> Target {
    let create = Command::CreateSd { spid: SP, name: "com.example.other", certificate };
    let request = Builder::command(&bench.other.identity, others, create).build().unwrap();
    match bench.other.send(&mut bench.guest, &request, others).unwrap() {
        Outcome::Pass(passed) => Target::from(&passed.state.expect("asked for")),
        Outcome::Fail(refusal) => panic!("{refusal:?}"),
    }
}

#[test]
#[ignore = "needs the images: make test-device"]
fn a_device_without_a_certificate_serves_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::open_or_create(folder.path()).unwrap();
    let image = Image::open(cache().join("image/development")).unwrap();
    let mut guest = Machine::new(device, image).boot().unwrap();
    let tam = Operator::read(&keys(), "tam").unwrap();
    let request = Builder::device_state(&tam.identity).build().unwrap();
    let carried = carry(&mut guest, &request.message).unwrap();
    assert_eq!(plain_error(&carried.answer).unwrap(), "ERR_TEE_FAIL");

    // A chain for another key, and one that leads to another root.
    guest.put("/tmp/other.pem", &std::fs::read(keys().join("tam.chain.pem")).unwrap()).unwrap();
    let output = guest.run("otrp-agent import-cert /tmp/other.pem").unwrap();
    assert_ne!(output.status, 0);
    assert!(guest.run("otrp-agent status").unwrap().text().contains("\"provisioned\":false"));
    guest.power_off().unwrap();
}
