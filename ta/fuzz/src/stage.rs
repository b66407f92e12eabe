//! A certified device, two TAMs and a service provider, all on P-256: made in milliseconds.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use openssl::x509::X509;
use otrp_engine::error::Unanswerable;
use otrp_engine::intake::memory_for;
use otrp_engine::limits::REPLY_LIMIT;
use otrp_engine::platform::UuidBytes;
use otrp_engine::{Anchor, Engine, Trust};
use otrp_keys::certificate::{Identity as Signer, Purpose, Template, Validity, generate_p256};
use otrp_keys::device::Authority;
use otrp_keys::ocsp::{Period, Statement, Status};
use otrp_keys::{Uuid, image};
use otrp_sim::{SimPlatform, Snapshot, World};
use otrp_tam::Identity;
use otrp_tam::certificate::TeeRoots;
use otrp_tam::dsi::DeviceState;
use otrp_tam::request::{Builder, Request};
use otrp_tam::response::{Answer, Outcome, Reply, StateAnswer};

const TEE_NAME: &str = "optee";
/// How long the TAMs' OCSP responses are current.
pub(crate) const STAPLED_HOURS: u16 = 24;

pub(crate) struct Stage {
    pub(crate) tams: [Identity; 2],
    pub(crate) provider: Signer,
    /// When everything was made.
    pub(crate) now: u64,
    /// A device that its maker certified and no TAM has met.
    provisioned: Snapshot,
    certificate: X509,
    roots: TeeRoots,
    pub(crate) trust: Trust,
}

/// The one stage of the process.
pub(crate) fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(Stage::new)
}

impl Stage {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let root = root("TAM root");
        let issuer = below(&root, "TAM CA", Purpose::IssuingAuthority, None);
        let tee_root = self::root("TEE root");
        let tee_issuer = below(&tee_root, "TEE CA", Purpose::IssuingAuthority, None);
        let anchor = |signer: &Signer| -> &'static [u8] { der(&signer.certificate).leak() };
        let trust = Trust {
            tam_anchors: vec![Anchor::of(anchor(&root))].leak(),
            tee_anchor: anchor(&tee_root),
            evicted: &[],
            reserved: &[],
            floor_epoch: 0,
            development: false,
            tee_name: TEE_NAME,
            rsa1_5: true,
            built_at: now - 60,
        };

        let world = World::new(now);
        let mut engine = world.boot(trust);
        let mut buffer = vec![0; REPLY_LIMIT];
        let request = engine.certification_request(&mut buffer).expect("a request").to_vec();
        let roots = TeeRoots::new(vec![tee_root.certificate.clone()]).expect("a root");
        let authority = Authority::new(tee_issuer, vec![tee_root.certificate]).expect("a CA");
        let chain = authority.certify(&request).expect("a certificate");
        let bytes: Vec<u8> = chain.iter().flat_map(der).collect();
        engine.import_certificates(&bytes, &mut buffer).expect("the chain is taken");

        Self {
            tams: ["https://tam.example", "https://other.example"]
                .map(|uri| tam(uri, &issuer, &root, now)),
            provider: Template { purpose: Purpose::TaSigning, ..template("SP") }
                .self_sign(key())
                .expect("a certificate"),
            now,
            provisioned: world.snapshot(),
            certificate: chain[0].clone(),
            roots,
            trust,
        }
    }

    /// A program of `length` bytes, signed by the provider.
    pub(crate) fn image(&self, uuid: UuidBytes, version: u32, program: &[u8]) -> Vec<u8> {
        image::sign(&self.provider.key, None, Uuid(uuid), version, program).expect("an image")
    }

    pub(crate) fn provider_certificate(&self) -> Vec<u8> {
        der(&self.provider.certificate)
    }
}

/// The engine on a world, as long as the power stays on.
pub(crate) struct Device {
    pub(crate) world: World,
    engine: Box<Engine<SimPlatform>>,
    reply: Vec<u8>,
}

impl Device {
    pub(crate) fn provisioned() -> Self {
        Self::from(&stage().provisioned)
    }

    /// One on which this is stored.
    pub(crate) fn from(snapshot: &Snapshot) -> Self {
        let world = World::new(stage().now);
        world.restore(snapshot);
        let engine = world.boot(stage().trust);
        Self { world, engine, reply: vec![0; REPLY_LIMIT] }
    }

    /// Takes the power away and gives it back.
    pub(crate) fn reboot(&mut self) {
        self.engine = self.world.boot(stage().trust);
    }

    /// Processes a message, whose memory must be wiped whatever becomes of it.
    pub(crate) fn process(&mut self, mut message: &[u8]) -> Result<Vec<u8>, Unanswerable> {
        let mut memory = vec![0xa5; memory_for(message.len())];
        let reply =
            self.engine.process(&mut message, &mut memory, &mut self.reply).map(<[u8]>::to_vec);
        assert!(memory.iter().all(|byte| *byte == 0), "the memory is not wiped");
        reply
    }

    /// The answer as the TAM reads it; `None` where there is none.
    fn answer(&mut self, message: &[u8]) -> Option<Answer> {
        let reply = self.process(message).ok()?;
        match Reply::read(&reply) {
            Ok(Reply::Answer(answer)) => Some(*answer),
            other => panic!("the TAM does not read the answer: {other:?}"),
        }
    }

    /// The state for a TAM, verified by the TAM's code; the code of the refusal if it is refused.
    pub(crate) fn state(&mut self, tam: &Identity) -> Result<DeviceState, String> {
        let request = Builder::device_state(tam).build().expect("a request");
        let answer = self.answer(&request.message).ok_or("no answer")?;
        if let Some(code) = unaddressed(&answer) {
            return Err(code);
        }
        match answer.device_state(Some(&request.exchange), tam, &stage().roots) {
            Ok(StateAnswer::State { state, .. }) => Ok(*state),
            Ok(StateAnswer::Refused(refusal)) => Err(refusal.code.into_inner()),
            Err(error) => panic!("the TAM does not believe the state: {error}"),
        }
    }

    /// What becomes of a command, verified by the TAM's code; the code of the refusal if it is refused.
    pub(crate) fn send(&mut self, tam: &Identity, request: &Request) -> Result<(), String> {
        let answer = self.answer(&request.message).ok_or("no answer")?;
        if let Some(code) = unaddressed(&answer) {
            return Err(code);
        }
        match answer.outcome(Some(&request.exchange), tam, &stage().certificate) {
            Ok(Outcome::Pass(_)) => Ok(()),
            Ok(Outcome::Fail(refusal)) => Err(refusal.code.into_inner()),
            Err(error) => panic!("the TAM does not believe the answer: {error}"),
        }
    }

    /// The programs that would load, by their UUIDs.
    pub(crate) fn versions(&self) -> BTreeMap<UuidBytes, u32> {
        let images = self.world.images();
        images.iter().map(|(uuid, image)| (*uuid, image.version())).collect()
    }
}

impl Stage {
    /// Whether a reply is signed by the TEE, or a refusal that names no transaction and that nobody
    /// signed; and what it says.
    pub(crate) fn verified(&self, reply: &[u8]) -> serde_json::Value {
        let outer: serde_json::Value = serde_json::from_slice(reply).expect("a reply is JSON");
        let (_, jws) = only_member(&outer);
        let jws: otrp_tam::jose::Jws =
            serde_json::from_value(jws.clone()).expect("a flattened JWS");
        let key = self.certificate.public_key().expect("a key");
        let payload = jws.unverified_payload().expect("a payload");
        let payload = serde_json::from_slice(&payload).expect("a payload is JSON");
        if jws.verify(&key).is_err() {
            let (_, members) = only_member(&payload);
            let transaction = (&members["status"], &members["rid"], &members["tid"]);
            assert!(transaction.0 == "fail" && transaction.1 == "" && transaction.2 == "");
            assert!(members.get("content").is_none() && members.get("edsi").is_none());
        }
        payload
    }
}

/// The code of a refusal from before the request was verified, which cannot state whose answer it is.
fn unaddressed(answer: &Answer) -> Option<String> {
    answer
        .claimed_refusal()
        .filter(|_| answer.rid().is_empty())
        .map(|refusal| refusal.code.into_inner())
}

/// The name and the value of an object's only member.
pub(crate) fn only_member(object: &serde_json::Value) -> (&str, &serde_json::Value) {
    let members = object.as_object().expect("an object");
    assert_eq!(members.len(), 1);
    members.iter().next().map(|(name, value)| (name.as_str(), value)).expect("one member")
}

/// A program of this UUID that OP-TEE would load.
pub(crate) fn program(uuid: UuidBytes, seed: u8) -> Vec<u8> {
    otrp_check::fixture::application(uuid, &[seed; 60])
}

pub(crate) fn der(certificate: &X509) -> Vec<u8> {
    certificate.to_der().expect("a certificate has an encoding")
}

fn key() -> openssl::pkey::PKey<openssl::pkey::Private> {
    generate_p256().expect("a key")
}

fn template(common_name: &str) -> Template<'_> {
    let (organization, validity) = ("fuzzing", Validity::years(1));
    Template { organization, common_name, purpose: Purpose::Root, validity, uri: None }
}

fn root(name: &str) -> Signer {
    template(name).self_sign(key()).expect("a certificate")
}

fn below(issuer: &Signer, name: &str, purpose: Purpose, uri: Option<&str>) -> Signer {
    let key = key();
    let certificate = Template { purpose, uri, ..template(name) }.issue(&key, issuer);
    Signer { key, certificate: certificate.expect("a certificate") }
}

/// A TAM with OCSP responses for itself and its CA, that begin at the time `now`.
fn tam(uri: &str, issuer: &Signer, root: &Signer, now: u64) -> Identity {
    let leaf = below(issuer, uri, Purpose::Party, Some(uri));
    let now = i64::try_from(now).expect("a time of this era");
    let good = |certificate: &X509, issuer: &Signer| {
        let (status, period) = (Status::Good, Period::hours_from(now, STAPLED_HOURS));
        let statement = Statement { certificate, issuer: &issuer.certificate, status, period };
        statement.sign(issuer).expect("a response")
    };
    let responses = vec![good(&leaf.certificate, issuer), good(&issuer.certificate, root)];
    let chain = vec![leaf.certificate, issuer.certificate.clone()];
    Identity::new(leaf.key, chain, None).expect("an identity").staple(responses)
}
