//! A device, its TAMs and its service providers, ready for a test.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use openssl::pkey::{PKeyRef, Public};
use openssl::x509::X509;
use otrp_engine::error::Unanswerable;
use otrp_engine::intake::memory_for;
use otrp_engine::limits::REPLY_LIMIT;
use otrp_engine::personalization::PersonalizationError;
use otrp_engine::platform::{Blob, KeyName, Platform, Source, UuidBytes};
use otrp_engine::{Anchor, Engine, Trust};
use otrp_keys::certificate::Identity as Signer;
use otrp_keys::device::Authority;
use otrp_keys::ocsp::{Period, Statement, Status};
use otrp_keys::{Uuid, development, file, image};
use otrp_sim::{SimPlatform, Snapshot, World};
use otrp_tam::Identity;
use otrp_tam::certificate::TeeRoots;
use otrp_tam::dsi::DeviceState;
use otrp_tam::jose::Jws;
use otrp_tam::request::{Builder, Command, Request, Target};
use otrp_tam::response::{Outcome, Passed, Reply, StateAnswer};
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use p256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use serde_json::Value;

use crate::record::Record;

/// The name of the simulated TEE.
pub const TEE_NAME: &str = "optee";

/// The development PKI, made once per build and kept in memory.
pub struct Pki {
    pub tam: Identity,
    /// Under the same issuing CA as `tam`.
    pub other_tam: Identity,
    /// Claims the identifier of `tam` under a root that nobody trusts.
    pub rogue_tam: Identity,
    /// Issues TAM certificates.
    pub tam_authority: Signer,
    /// Answers for what it issued.
    pub tam_responder: Signer,
    /// The anchor of all TAMs but the rogue one.
    pub tam_root: Signer,
    /// Answers for what it issued.
    pub tam_root_responder: Signer,
    pub sp_rsa: Signer,
    pub sp_ec: Signer,
    pub tee_authority: Authority,
    pub tee_roots: TeeRoots,
    pub trust: Trust,
}

pub fn pki() -> &'static Pki {
    static PKI: OnceLock<Pki> = OnceLock::new();
    PKI.get_or_init(|| {
        let folder = pki_folder();
        let made = development::create(&folder, false, &mut |_| ());
        // It appears whole or not at all; of two processes at the same time one comes too late.
        assert!(made.is_ok() || folder.join("trust").is_dir(), "{made:?}");
        Pki::read(&folder)
    })
}

/// Where the files of the development PKI are: RSA keys take their time, and each test may run in a
/// process of its own.
pub fn pki_folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("pki-{}", build()))
}

/// When this program was built, which tells builds apart.
fn build() -> u64 {
    let program = std::env::current_exe().unwrap().metadata().unwrap();
    program.modified().unwrap().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Pki {
    fn read(folder: &Path) -> Self {
        let tam = |name: &str| {
            let stem = folder.join(name);
            let chain = file::beside(&stem, ".chain.pem");
            let tam = Identity::read(&file::beside(&stem, ".key.pem"), &chain, None).unwrap();
            if name == "rogue-tam" {
                return tam;
            }
            let responses = development::responses(folder, name, Period::hours(24)).unwrap();
            tam.staple(responses.into())
        };
        let certificate = |name: &str| {
            file::read_certificates(&folder.join(name).with_extension("der")).unwrap().remove(0)
        };
        let signer = |name: &str| Signer {
            key: file::read_key(&file::beside(&folder.join(name), ".key.pem")).unwrap(),
            certificate: certificate(name),
        };
        let (tam_root, tee_root) = (signer("tam-root"), certificate("tee-root"));
        let leak = |certificate: &X509| -> &'static [u8] { certificate.to_der().unwrap().leak() };
        Self {
            tam: tam("tam"),
            other_tam: tam("other-tam"),
            rogue_tam: tam("rogue-tam"),
            tam_authority: signer("tam-issuing-ca"),
            tam_responder: signer("tam-ocsp"),
            tam_root_responder: signer("tam-root-ocsp"),
            sp_rsa: signer("sp-rsa"),
            sp_ec: signer("sp-ec"),
            tee_authority: Authority::read(&folder.join("tee-ca")).unwrap(),
            trust: Trust {
                tam_anchors: vec![Anchor::of(leak(&tam_root.certificate))].leak(),
                tee_anchor: leak(&tee_root),
                evicted: &[],
                reserved: &[],
                floor_epoch: 0,
                development: true,
                tee_name: TEE_NAME,
                rsa1_5: true,
                built_at: now() - 60,
            },
            tee_roots: TeeRoots::new(vec![tee_root]).unwrap(),
            tam_root,
        }
    }
}

/// OCSP responses that say that the certificates of a chain are good: each by the issuer itself,
/// which is the first of `issuers` for the leaf.
pub fn responses(chain: &[X509], issuers: &[&Signer]) -> Vec<Vec<u8>> {
    let issued = chain.iter().zip(issuers);
    let responses = issued.map(|(certificate, issuer)| {
        let issuer_certificate = &issuer.certificate;
        let (status, period) = (Status::Good, Period::hours(24));
        Statement { certificate, issuer: issuer_certificate, status, period }.sign(issuer).unwrap()
    });
    responses.collect()
}

/// The identity with [`responses`] for its chain.
pub fn stapled(tam: Identity, issuers: &[&Signer]) -> Identity {
    let responses = responses(tam.chain(), issuers);
    tam.staple(responses)
}

/// A TAM below the issuing CA, with responses that say that it is good.
pub fn stapled_below_authority(tam: Identity) -> Identity {
    stapled(tam, &[&pki().tam_authority, &pki().tam_root])
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A program of this UUID that OP-TEE would load, `length` bytes that differ by `seed`.
pub fn elf(uuid: [u8; 16], seed: u8, length: usize) -> Vec<u8> {
    otrp_check::fixture::sized(uuid, length, seed)
}

/// The question for a trusted application that client applications may ask.
pub fn ta_query(spid: &str, taid: &str) -> Vec<u8> {
    serde_json::json!({ "TAQuery": { "spid": spid, "taid": taid } }).to_string().into_bytes()
}

/// The UUID whose octets are all `octet`.
pub const fn uuid(octet: u8) -> [u8; 16] {
    [octet; 16]
}

/// A signed image in the signer's own algorithm, with 1000 bytes of program made from the version.
pub fn signed(signer: &Signer, uuid: [u8; 16], version: u32) -> Vec<u8> {
    let seed = version.to_le_bytes()[0];
    image::sign(&signer.key, None, Uuid(uuid), version, &elf(uuid, seed, 1000)).unwrap()
}

pub fn der(certificate: &X509) -> Vec<u8> {
    certificate.to_der().unwrap()
}

/// How the engine of a platform starts on a world.
pub type Boot<P> = Rc<dyn Fn(&World) -> Box<Engine<P>>>;

/// Something that a device stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Registry,
    /// A scalar, or the DER of an RSAPrivateKey; as for the other kinds of keys.
    TeeKey,
    TeeChain,
    Aik,
    SpareKey,
    SpCertificates,
    TamChain,
    Personalization,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Registry,
        Self::TeeKey,
        Self::TeeChain,
        Self::Aik,
        Self::SpareKey,
        Self::SpCertificates,
        Self::TamChain,
        Self::Personalization,
    ];

    /// That of a blob; `None` if it is an image.
    pub fn of(blob: Blob) -> Option<Self> {
        match blob {
            Blob::Image(_) => None,
            Blob::Personalization(_) => Some(Self::Personalization),
            Blob::SpCertificates(_) => Some(Self::SpCertificates),
            Blob::TamChain(_) => Some(Self::TamChain),
        }
    }
}

/// Everything of a kind that is in a snapshot, in the order of numbers and UUIDs.
pub fn stored(snapshot: &Snapshot, kind: Kind) -> Vec<Vec<u8>> {
    let record = snapshot.record.as_deref().map(Record::read);
    let record = record.as_ref();
    let rsa = |wanted: fn(&KeyName) -> bool| {
        let found = snapshot.rsa_keys.iter().filter(move |(name, _)| wanted(name));
        found.map(|(_, key)| key.clone())
    };
    match kind {
        Kind::Registry => snapshot.record.clone().into_iter().collect(),
        Kind::TeeKey => {
            let scalar = record.and_then(|record| record.tee_key.clone());
            scalar.into_iter().chain(rsa(|name| *name == KeyName::Tee)).collect()
        }
        Kind::TeeChain => {
            let chain = record.map(|record| record.tee_chain.clone());
            chain.into_iter().filter(|chain| !chain.is_empty()).collect()
        }
        Kind::Aik => {
            let scalars = record.into_iter().flat_map(|record| &record.aiks);
            let scalars = scalars.filter_map(|(_, scalar)| scalar.clone());
            scalars.chain(rsa(|name| matches!(name, KeyName::Aik(_)))).collect()
        }
        Kind::SpareKey => rsa(|name| *name == KeyName::Spare).collect(),
        Kind::SpCertificates | Kind::TamChain | Kind::Personalization => {
            let blobs = snapshot.blobs.iter().filter(|(blob, _)| Kind::of(**blob) == Some(kind));
            blobs.map(|(_, stored)| stored.bytes().to_vec()).collect()
        }
    }
}

/// The engine on a world, as long as the power stays on.
pub struct Device<P: Platform = SimPlatform> {
    pub world: World,
    pub engine: Box<Engine<P>>,
    boot: Boot<P>,
    pub reply: Vec<u8>,
}

pub fn boot_simulator(world: &World) -> Box<Engine<SimPlatform>> {
    world.boot(pki().trust)
}

impl Device {
    /// As it leaves the factory: no key, no certificate.
    pub fn blank() -> Self {
        Self::on(World::new(now()), Rc::new(boot_simulator))
    }

    /// Certified by its maker.
    pub fn provisioned() -> Self {
        static PROVISIONED: OnceLock<Snapshot> = OnceLock::new();
        let snapshot = PROVISIONED.get_or_init(|| {
            let mut device = Self::blank();
            device.provision();
            device.world.snapshot()
        });
        Self::from(snapshot)
    }

    /// One on which this is stored.
    pub fn from(snapshot: &Snapshot) -> Self {
        let world = World::new(now());
        world.restore(snapshot);
        Self::on(world, Rc::new(boot_simulator))
    }
}

impl<P: Platform> Device<P> {
    pub fn on(world: World, boot: Boot<P>) -> Self {
        let engine = boot(&world);
        Self { world, engine, boot, reply: vec![0; REPLY_LIMIT] }
    }

    /// Takes the power away and gives it back.
    pub fn reboot(&mut self) {
        self.engine = (self.boot)(&self.world);
    }

    /// Lets the maker certify the TEE's key, as in the factory.
    pub fn provision(&mut self) {
        let request = self.engine.certification_request(&mut self.reply).unwrap().to_vec();
        let chain = pki().tee_authority.certify(&request).unwrap();
        let chain: Vec<u8> = chain.iter().flat_map(der).collect();
        self.engine.import_certificates(&chain, &mut self.reply).unwrap();
    }

    /// The certificate that was imported; the storage's content is its own witness.
    pub fn certificate(&self) -> X509 {
        // The parser stops behind the first certificate of the chain.
        X509::from_der(&self.records(Kind::TeeChain)[0]).unwrap()
    }

    /// What is stored of a kind.
    pub fn records(&self, kind: Kind) -> Vec<Vec<u8>> {
        stored(&self.world.stored.borrow(), kind)
    }

    /// What the application of this UUID is given when it asks for its personalization data.
    pub fn personalization(&mut self, uuid: &UuidBytes) -> Result<Vec<u8>, PersonalizationError> {
        self.engine.personalization(uuid, &mut self.reply).map(<[u8]>::to_vec)
    }

    /// Processes a message.
    pub fn process(&mut self, message: &[u8]) -> Result<Vec<u8>, Unanswerable> {
        let mut message = message;
        self.process_from(&mut message)
    }

    /// Processes a message from memory that may change; its own must be wiped, whatever becomes of it.
    pub fn process_from(&mut self, message: &mut dyn Source) -> Result<Vec<u8>, Unanswerable> {
        let mut memory = vec![0xa5; memory_for(message.length())];
        let reply = self.engine.process(message, &mut memory, &mut self.reply).map(<[u8]>::to_vec);
        assert!(memory.iter().all(|byte| *byte == 0), "the memory is not wiped");
        reply
    }

    fn answer(&mut self, message: &[u8]) -> Reply {
        let reply = self.process(message).expect("an answer");
        Reply::read(&reply).expect("an answer that the TAM reads")
    }

    /// The state of the device for `tam`, verified by the TAM's code.
    pub fn state(&mut self, tam: &Identity) -> DeviceState {
        self.ask(tam, Builder::device_state(tam))
    }

    /// The answer to a GetDeviceState, verified by the TAM's code.
    pub fn ask(&mut self, tam: &Identity, request: Builder<'_>) -> DeviceState {
        let request = request.build().unwrap();
        let Reply::Answer(answer) = self.answer(&request.message) else {
            panic!("a TEE does not make the agent's errors")
        };
        match answer.device_state(Some(&request.exchange), tam, &pki().tee_roots).unwrap() {
            StateAnswer::State { state, signer_required, .. } => {
                assert!(!signer_required, "the TAM's certificates are stored");
                *state
            }
            StateAnswer::Refused(refusal) => panic!("{refusal:?}"),
        }
    }

    /// The outcome of a command, verified by the TAM's code.
    pub fn send(&mut self, tam: &Identity, request: &Request) -> Outcome {
        let Reply::Answer(answer) = self.answer(&request.message) else {
            panic!("a TEE does not make the agent's errors")
        };
        answer.outcome(Some(&request.exchange), tam, &self.certificate()).unwrap()
    }

    /// What a command that must be carried out brings.
    pub fn pass(&mut self, tam: &Identity, request: Builder<'_>) -> Passed {
        match self.send(tam, &request.build().unwrap()) {
            Outcome::Pass(passed) => *passed,
            Outcome::Fail(refusal) => panic!("{refusal:?}"),
        }
    }

    /// Sends a command; the code of the refusal if it is refused, whether inside the content or
    /// outside, by the TEE or by nobody.
    pub fn try_to(&mut self, tam: &Identity, request: Builder<'_>) -> Result<(), String> {
        let request = request.build().unwrap();
        let Reply::Answer(answer) = self.answer(&request.message) else {
            panic!("a TEE does not make the agent's errors")
        };
        if answer.tid().is_empty() {
            return Err(answer.claimed_refusal().unwrap().code.into_inner());
        }
        match answer.outcome(Some(&request.exchange), tam, &self.certificate()).unwrap() {
            Outcome::Pass(_) => Ok(()),
            Outcome::Fail(refusal) => Err(refusal.code.into_inner()),
        }
    }

    /// The code of the refusal of a command that must be refused, as [`Device::try_to`] has it.
    pub fn fail(&mut self, tam: &Identity, request: Builder<'_>) -> String {
        self.try_to(tam, request).expect_err("it is carried out")
    }

    /// Asks for the state, then sends a command that must be carried out.
    pub fn carry_out(&mut self, tam: &Identity, command: Command<'_>) -> Passed {
        let target = Target::from(&self.state(tam));
        self.pass(tam, Builder::command(tam, &target, command))
    }

    /// Sends a message that must be refused, and takes the refusal apart without the TAM's rules,
    /// which do not know answers that cannot name their request.
    pub fn refusal(&mut self, message: &[u8]) -> Refused {
        let reply = self.process(message).expect("a refusal");
        Refused::read(&reply, &self.certificate().public_key().unwrap())
    }
}

/// A refusal as sent, its signature verified as far as that is possible.
#[derive(Debug)]
pub struct Refused {
    /// Whether the TEE's key signed it. If not, then nobody's did, and it names no transaction.
    pub by_tee: bool,
    /// The keys that may have made the signature, where that can be computed: of ECDSA.
    pub signers: Vec<VerifyingKey>,
    /// The code outside the content; `None` where there is a content.
    pub code: Option<String>,
    pub rid: String,
    pub tid: String,
    pub algorithms: Option<Value>,
    /// The signed text.
    pub text: String,
}

impl Refused {
    pub fn read(reply: &[u8], key: &PKeyRef<Public>) -> Self {
        let outer: Value = serde_json::from_slice(reply).unwrap();
        let (_, jws) = outer.as_object().unwrap().iter().next().unwrap();
        let jws: Jws = serde_json::from_value(jws.clone()).unwrap();
        let by_tee = jws.verify(key).is_ok();
        let signers = signers(&jws);
        assert!(by_tee || !signers.is_empty(), "a signature that nobody can have made: {jws:?}");
        let text = String::from_utf8(jws.unverified_payload().unwrap()).unwrap();
        let inner: Value = serde_json::from_str(&text).unwrap();
        let (_, tbs) = inner.as_object().unwrap().iter().next().unwrap();
        assert_eq!(tbs["status"], "fail", "{text}");
        let text_of = |member: &str| String::from(tbs[member].as_str().unwrap());
        assert!(by_tee || tbs["rid"] == "" && tbs["tid"] == "", "{text}");
        Self {
            by_tee,
            signers,
            code: tbs.get("reason").map(|reason| reason["error-code"].as_str().unwrap().into()),
            rid: text_of("rid"),
            tid: text_of("tid"),
            algorithms: tbs.get("supportedsigalgs").cloned(),
            text,
        }
    }
}

/// The keys by which an ES256 signature can be (SEC 1, section 4.1.6); none for another algorithm.
fn signers(jws: &Jws) -> Vec<VerifyingKey> {
    if jws.protected != base64url(br#"{"alg":"ES256"}"#) {
        return Vec::new();
    }
    let digest = sha256(format!("{}.{}", jws.protected, jws.payload).as_bytes());
    let signature = URL_SAFE_NO_PAD.decode(&jws.signature).unwrap();
    let signature = Signature::from_slice(&signature).unwrap();
    let recover = |id| VerifyingKey::recover_from_prehash(&digest, &signature, id).ok();
    let keys: Vec<_> = (0..4).filter_map(RecoveryId::from_byte).filter_map(recover).collect();
    assert!(keys.iter().all(|key| key.verify_prehash(&digest, &signature).is_ok()));
    keys
}

pub use openssl::sha::sha256;

/// Standard base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// base64url without padding.
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
