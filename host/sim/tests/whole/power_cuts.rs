//! Power cuts and errors at every operation of every port, in the middle of every request.
//!
//! Afterwards the device is in the state before the request or in the one after it, holds nothing
//! that the state does not mention, and the TAM can bring it to where it was to go.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use openssl::bn::BigNumContext;
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::nid::Nid;
use openssl::rsa::Rsa;
use openssl::x509::X509;
use otrp_engine::Engine;
use otrp_engine::error::Unanswerable;
use otrp_engine::personalization::PersonalizationError;
use otrp_engine::platform::{
    KeyType, Kind, Name, Platform, PortError, Ports, Storage, StoredTa, TaStore, UuidBytes,
};
use otrp_keys::certificate::{Purpose, Template, Validity};
use otrp_sim::{
    Cut, Fault, Image, Moment, Operation, SimClock, SimKeys, SimRng, SimRsa, SimStorage,
    SimTaStore, Snapshot, World,
};
use otrp_tam::Identity;
use otrp_tam::dsi::{DeviceState, Dsi};
use otrp_tam::encoding::from_base64;
use otrp_tam::message::{Application, Builder, Command, SdChanges, SignerHeader, Target};
use otrp_tam::response::{Outcome, Reply};
use otrp_tam::ta_information::TaInformation;
use p256::SecretKey;
use p256::elliptic_curve::sec1::ToSec1Point;

use crate::bench::{
    Device, boot_simulator, der, now, pki, sha256, signed, stapled_below_authority, ta_query, uuid,
};
use crate::home::*;

/// A request that a device in some state accepts.
struct Case {
    before: Snapshot,
    tam: &'static Identity,
    target: Target,
    command: Command<'static>,
    /// How it may be refused when it is sent again although it was carried out.
    already: &'static [&'static str],
    /// What kind of key pairs the device makes.
    makes: KeyType,
}

impl Case {
    /// A command of `tam` to the device at home.
    fn at_home(command: Command<'static>, already: &'static [&'static str]) -> Self {
        let (before, target) = (home().snapshot.clone(), home().target.clone());
        Self { before, tam: &pki().tam, target, command, already, makes: KeyType::P256 }
    }

    /// A command of `tam` to the device at home, which makes RSA key pairs from now on and has one
    /// in reserve.
    fn with_reserve(command: Command<'static>, already: &'static [&'static str]) -> Self {
        let mut device = Device::from(&home().snapshot);
        device.world.key_type.set(KeyType::Rsa2048);
        device.engine.prepare().unwrap();
        let before = device.world.snapshot();
        Self { before, makes: KeyType::Rsa2048, ..Self::at_home(command, already) }
    }

    /// A command of `tam` to the device at home right after another one, whose list of what is
    /// to be removed is still in storage.
    fn after(first: Command<'static>, command: Command<'static>) -> Self {
        let mut device = Device::from(&home().snapshot);
        let passed = device.pass(&pki().tam, from_tam(first));
        let target = Target::from(&passed.state.unwrap());
        let before = device.world.snapshot();
        let already = &["ERR_TA_ALREADY_INSTALLED"];
        Self { before, tam: &pki().tam, target, command, already, makes: KeyType::P256 }
    }

    fn message(&self) -> Vec<u8> {
        Builder::command(self.tam, &self.target, self.command.clone()).build().unwrap().message
    }
}

/// What can be seen of a device, apart from what is different each time.
#[derive(Clone, Debug, PartialEq)]
struct Observed {
    /// What each TAM sees, with `old` or `new` in place of keys.
    states: Vec<Dsi>,
    /// What is said of each application.
    information: Vec<TaInformation>,
    images: BTreeMap<UuidBytes, Image>,
    personalization: Vec<Vec<u8>>,
    /// What each application is given of it.
    delivered: BTreeMap<UuidBytes, Result<Vec<u8>, PersonalizationError>>,
    certificates: Vec<Vec<u8>>,
    /// Of attestation keys: `old` or `new`.
    keys: Vec<&'static str>,
    tam_chains: Vec<Vec<u8>>,
}

/// Looks at devices with the engine on a platform.
struct Observer<P: Platform> {
    boot: fn(&World) -> Box<Engine<P>>,
    makes: KeyType,
    /// The public halves of the keys that were there at first.
    old_keys: Vec<Vec<u8>>,
    /// What was seen so far; most faults leave one of a few snapshots.
    seen: RefCell<Vec<(Snapshot, Result<Observed, String>)>>,
}

impl<P: Platform> Observer<P> {
    fn new(boot: fn(&World) -> Box<Engine<P>>, case: &Case) -> Self {
        let old_keys = case.before.records.iter().filter(|(name, _)| name.kind == Kind::Aik);
        let old_keys = old_keys.map(|(_, key)| public(key)).collect();
        Self { boot, makes: case.makes, old_keys, seen: RefCell::default() }
    }

    fn device(&self, snapshot: &Snapshot) -> Device<P> {
        let world = World::new(now());
        world.restore(snapshot);
        world.key_type.set(self.makes);
        world.reserved.borrow_mut().push(RESERVED_UUID);
        Device::on(world, self.boot)
    }

    /// What can be seen of a device that starts with this snapshot.
    fn observe(&self, snapshot: &Snapshot) -> Result<Observed, String> {
        if let Some((_, known)) = self.seen.borrow().iter().find(|(known, _)| known == snapshot) {
            return known.clone();
        }
        let observed = self.look(snapshot);
        self.seen.borrow_mut().push((snapshot.clone(), observed.clone()));
        observed
    }

    fn look(&self, snapshot: &Snapshot) -> Result<Observed, String> {
        let mut device = self.device(snapshot);
        let _ = device.process(b"{}");
        let started = device.world.snapshot();
        let kind = |kind| {
            let records = started.records.iter().filter(move |(name, _)| name.kind == kind);
            let mut records: Vec<_> = records.map(|(_, record)| record.clone()).collect();
            records.sort();
            records
        };
        let mut information = Vec::new();
        let mut states = Vec::new();
        for tam in [&pki().tam, &pki().other_tam] {
            let state = ask(&mut device, tam)?;
            for sd in &state.dsi.tee.sdlist.sd {
                let key = state.attestation_key(&sd.spid).ok_or("a domain without a key")?;
                let key = key.public_key().ok_or("a key that is none")?;
                for ta in &sd.talist {
                    let query = ta_query(&sd.spid, &ta.taid);
                    let answer = device.engine.ta_information(&query, &mut device.reply);
                    let answer = answer.map_err(|error| format!("{}: {error:?}", ta.taid))?;
                    let answer = TaInformation::verify(answer, &key);
                    information.push(answer.map_err(|error| format!("{}: {error}", ta.taid))?);
                }
            }
            states.push(self.comparable(state, &device)?);
        }
        let uuids = started.images.keys();
        let delivered = uuids.map(|uuid| (*uuid, device.personalization(uuid))).collect();
        if kind(Kind::SpareKey).iter().any(|spare| kind(Kind::Aik).contains(spare)) {
            return Err("a key in reserve is in use".into());
        }
        let mut keys: Vec<_> = kind(Kind::Aik).iter().map(|key| self.age(&public(key))).collect();
        keys.sort_unstable();
        Ok(Observed {
            states,
            information,
            images: started.images.clone(),
            personalization: kind(Kind::Personalization),
            delivered,
            certificates: kind(Kind::SpCertificates),
            keys,
            tam_chains: kind(Kind::TamChain),
        })
    }

    /// A state without what is different each time; its keys must be there.
    fn comparable(&self, state: DeviceState, device: &Device<P>) -> Result<Dsi, String> {
        let stored: Vec<_> = device.records(Kind::Aik).iter().map(|key| public(key)).collect();
        let mut dsi = state.dsi;
        dsi.tee.generation = None;
        for key in &mut dsi.tee.teeaiklist {
            let listed = from_base64(&key.spaik).ok_or("a key that is none")?;
            if !stored.contains(&listed) {
                return Err(format!("the key of {} is listed and not there", key.spid));
            }
            key.spaik = self.age(&listed).into();
        }
        Ok(dsi)
    }

    fn age(&self, key: &Vec<u8>) -> &'static str {
        if self.old_keys.contains(key) { "old" } else { "new" }
    }
}

/// Tries every fault on one case.
struct Trial<'c, P: Platform> {
    case: &'c Case,
    message: Vec<u8>,
    observer: Observer<P>,
    before: Observed,
    after: Observed,
    /// What was found out about each snapshot.
    judged: RefCell<Vec<(Snapshot, Result<Observed, String>)>>,
}

/// The first thing that is wrong with the way in which the engine on a platform meets faults.
fn problem<P: Platform>(case: &Case, boot: fn(&World) -> Box<Engine<P>>) -> Option<String> {
    let healthy = Observer::new(boot_simulator, case);
    let before = healthy.observe(&case.before).expect("a device without faults");
    let mut device = healthy.device(&case.before);
    let message = case.message();
    let reply = text_of(&device.process(&message).expect("an answer"));
    assert!(reply.contains(PASS), "not accepted: {reply}");
    let after = healthy.observe(&device.world.snapshot()).expect("a device without faults");
    assert_ne!(before, after, "nothing to see");

    let observer = Observer::new(boot, case);
    let trial = Trial { case, message, observer, before, after, judged: RefCell::default() };
    trial.run().err()
}

const PASS: &str = r#""status":"pass""#;

/// The signed text of an answer.
fn text_of(reply: &[u8]) -> String {
    let outer: serde_json::Value = serde_json::from_slice(reply).unwrap();
    let (_, jws) = outer.as_object().unwrap().iter().next().unwrap();
    let payload = otrp_tam::encoding::from_base64url(jws["payload"].as_str().unwrap()).unwrap();
    String::from_utf8(payload).unwrap()
}

impl<P: Platform> Trial<'_, P> {
    fn run(&self) -> Result<(), String> {
        let mut device = self.observer.device(&self.case.before);
        let _ = device.process(&self.message);
        let operations = device.world.faults.operations();
        assert!(operations.len() > 10, "operations are counted");
        for (index, operation) in operations.iter().enumerate() {
            for (moment, fault) in faults_of(*operation) {
                let mut device = self.observer.device(&self.case.before);
                device.world.faults.plan(index, moment, fault);
                let reply = cut_short(|| device.process(&self.message));
                device.world.faults.clear();
                let snapshot = device.world.snapshot();
                let outcome = self.judge(&snapshot).and_then(|observed| match reply {
                    None => self.cut_again(&snapshot),
                    Some(reply) => self.go_on(device, reply, &observed, operation.changes),
                });
                outcome.map_err(|problem| {
                    format!("{fault:?} {moment:?} {index} ({}): {problem}", operation.name)
                })?;
            }
        }
        Ok(())
    }

    /// Starts a device on a snapshot, and looks at it: it must be on one side of the request, and
    /// the TAM must be able to bring it to the other one.
    fn judge(&self, snapshot: &Snapshot) -> Result<Observed, String> {
        if let Some((_, known)) = self.judged.borrow().iter().find(|(known, _)| known == snapshot) {
            return known.clone();
        }
        let judgement = self.observer.observe(snapshot).and_then(|observed| {
            if observed != self.before && observed != self.after {
                return Err(format!("in between: {observed:?}"));
            }
            if observed == self.after {
                self.assert_not_again(&mut self.observer.device(snapshot))?;
            }
            self.converge(&mut self.observer.device(snapshot))?;
            Ok(observed)
        });
        self.judged.borrow_mut().push((snapshot.clone(), judgement.clone()));
        judgement
    }

    /// A request that was carried out is not accepted a second time, whoever knows of the first.
    fn assert_not_again(&self, device: &mut Device<P>) -> Result<(), String> {
        let reply = device.process(&self.message).map_err(|error| format!("{error:?}"))?;
        let text = text_of(&reply);
        if text.contains("ERR_DEV_STATE_MISMATCH") {
            Ok(())
        } else {
            Err(format!("the request was looked at twice: {text}"))
        }
    }

    /// Sends the command again, on the state that the device has now.
    fn converge(&self, device: &mut Device<P>) -> Result<(), String> {
        let Case { tam, command, already, .. } = self.case;
        let target = Target::from(&ask(device, tam)?);
        let request = Builder::command(tam, &target, command.clone()).build();
        let request = request.map_err(|error| error.to_string())?;
        let reply = device.process(&request.message).map_err(|error| format!("{error:?}"))?;
        let Ok(Reply::Answer(answer)) = Reply::read(&reply) else { return Err("no answer".into()) };
        match answer.outcome(Some(&request.exchange), tam, &device.certificate()) {
            Ok(Outcome::Pass(_)) => {}
            Ok(Outcome::Fail(refusal)) if already.contains(&refusal.code.as_str()) => {}
            other => return Err(format!("sent again: {other:?}")),
        }
        let observed = self.observer.observe(&device.world.snapshot())?;
        if observed == self.after { Ok(()) } else { Err(format!("not there yet: {observed:?}")) }
    }

    /// After an error, without a restart: the engine must see what is stored, and go on.
    fn go_on(
        &self,
        mut device: Device<P>,
        reply: Result<Vec<u8>, Unanswerable>,
        observed: &Observed,
        changes: bool,
    ) -> Result<(), String> {
        if reply.is_ok_and(|reply| text_of(&reply).contains(PASS)) && *observed != self.after {
            return Err("said to be done, and not done".into());
        }
        let state = ask(&mut device, self.case.tam)?;
        let state = self.observer.comparable(state, &device)?;
        if !observed.states.contains(&state) {
            return Err(format!("memory is not storage: {state:?}"));
        }
        // It is the same after whatever could not be read.
        if changes { self.converge(&mut device) } else { Ok(()) }
    }

    /// After a power cut: the next start is cut, too, at each of its operations.
    fn cut_again(&self, snapshot: &Snapshot) -> Result<(), String> {
        let mut device = self.observer.device(snapshot);
        let _ = device.process(b"{}");
        for (index, operation) in device.world.faults.operations().into_iter().enumerate() {
            for moment in [Moment::Before, Moment::After] {
                if !operation.changes {
                    continue;
                }
                let mut device = self.observer.device(snapshot);
                device.world.faults.plan(index, moment, Fault::Cut);
                assert!(cut_short(|| device.process(b"{}")).is_none(), "the start is cut");
                self.judge(&device.world.snapshot()).map_err(|problem| {
                    format!("again {moment:?} {index} ({}): {problem}", operation.name)
                })?;
            }
        }
        Ok(())
    }
}

/// What may go wrong with an operation.
fn faults_of(operation: Operation) -> Vec<(Moment, Fault)> {
    let mut faults = vec![(Moment::Before, Fault::Error(PortError::Failed))];
    if operation.changes {
        faults.extend([
            (Moment::Before, Fault::Cut),
            (Moment::After, Fault::Cut),
            (Moment::After, Fault::Error(PortError::Failed)),
            // What is full is as it was, so there is no such error afterwards.
            (Moment::Before, Fault::Error(PortError::Full)),
        ]);
    }
    faults
}

/// The public half of a stored key, as it is listed.
fn public(key: &[u8]) -> Vec<u8> {
    if let Ok(key) = Rsa::private_key_from_der(key) {
        return key.public_key_to_der_pkcs1().unwrap();
    }
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = SecretKey::from_slice(key).unwrap();
    let point = key.public_key().to_sec1_point(false);
    let context = &mut BigNumContext::new().unwrap();
    let point = EcPoint::from_bytes(&group, point.as_bytes(), context).unwrap();
    EcKey::from_public_key(&group, &point).unwrap().public_key_to_der().unwrap()
}

/// The state for a TAM; a device that does not give it is a finding, not a panic.
fn ask<P: Platform>(device: &mut Device<P>, tam: &Identity) -> Result<DeviceState, String> {
    // Not with the certificates, so that those must be there which the device keeps.
    let request = Builder::device_state(tam).signer(SignerHeader::KeyId).build().unwrap();
    let reply = device.process(&request.message).map_err(|error| format!("no state: {error:?}"))?;
    let Ok(Reply::Answer(answer)) = Reply::read(&reply) else { return Err("no state".into()) };
    match answer.device_state(Some(&request.exchange), tam, &pki().tee_roots) {
        Ok(otrp_tam::response::StateAnswer::State { state, .. }) => Ok(*state),
        other => Err(format!("no state: {other:?}")),
    }
}

/// Runs something until it is done or the power goes.
fn cut_short<T>(run: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(done) => Some(done),
        Err(payload) if payload.is::<Cut>() => None,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

fn assert_survives(case: &Case) {
    assert_eq!(problem(case, boot_simulator), None);
}

const SD_EXISTS: &[&str] = &["ERR_SD_ALREADY_EXISTS"];
const SD_GONE: &[&str] = &["ERR_SD_NOT_FOUND"];
const TA_EXISTS: &[&str] = &["ERR_TA_ALREADY_INSTALLED"];
const TA_GONE: &[&str] = &["ERR_TA_NOT_FOUND"];

#[test]
fn creating_a_domain() {
    assert_survives(&Case::at_home(Base::CreateSd.command(), SD_EXISTS));
}

#[test]
fn creating_the_first_domain_of_a_provider() {
    let certificate = &home().certificate;
    let create = Command::CreateSd { spid: "new.example", name: "new", certificate };
    assert_survives(&Case::at_home(create, SD_EXISTS));
}

#[test]
fn creating_the_first_domain_of_a_provider_with_the_key_in_reserve() {
    let certificate = &home().certificate;
    let create = Command::CreateSd { spid: "new.example", name: "new", certificate };
    assert_survives(&Case::with_reserve(create, SD_EXISTS));
}

#[test]
fn giving_a_domain_to_a_new_provider_with_the_key_in_reserve() {
    let changes = SdChanges { new_spid: Some("new.example"), ..SdChanges::default() };
    let update = Command::UpdateSd { spid: SP, name: EMPTY_DOMAIN, changes };
    assert_survives(&Case::with_reserve(update, SD_GONE));
}

#[test]
fn filling_the_reserve() {
    let certificate = &home().certificate;
    with_each_fault(
        &home().snapshot,
        |device| {
            device.world.key_type.set(KeyType::Rsa2048);
            let _ = device.engine.prepare();
        },
        |device| {
            assert!(device.records(Kind::SpareKey).len() <= 1);
            device.engine.prepare().unwrap();
            let spare = device.records(Kind::SpareKey);
            assert_eq!(spare.len(), 1);
            device.engine.prepare().unwrap();
            assert_eq!(device.records(Kind::SpareKey), spare, "it is made once");
            if device.records(Kind::Aik).len() == 2 {
                let create = Command::CreateSd { spid: "new.example", name: "new", certificate };
                device.carry_out(&pki().tam, create);
                assert!(device.records(Kind::Aik).contains(&spare[0]), "it is used");
                assert!(device.records(Kind::SpareKey).is_empty());
            }
        },
    );
}

#[test]
fn a_damaged_reserve_is_replaced() {
    for prepared in [false, true] {
        let mut device = Device::from(&home().snapshot);
        device.world.key_type.set(KeyType::Rsa2048);
        let spare = Name { kind: Kind::SpareKey, number: 0 };
        device.world.records.borrow_mut().insert(spare, b"damaged".to_vec());
        if prepared {
            device.engine.prepare().unwrap();
        }
        let certificate = &home().certificate;
        let create = Command::CreateSd { spid: "new.example", name: "new", certificate };
        let passed = device.carry_out(&pki().tam, create);
        assert_eq!(passed.attestation_key_type.as_deref(), Some("RSA"));
        assert_eq!(device.records(Kind::Aik).len(), 3);
    }
}

#[test]
fn keys_on_a_curve_need_no_reserve() {
    let mut device = Device::from(&home().snapshot);
    device.engine.prepare().unwrap();
    assert!(device.world.snapshot() == home().snapshot);
    assert!(device.world.faults.operations().is_empty());
}

#[test]
fn updating_a_domain() {
    assert_survives(&Case::at_home(Base::UpdateSd.command(), SD_GONE));
}

#[test]
fn retiring_a_signer() {
    let hash = &*hex::encode(sha256(&home().certificate)).leak();
    let add = vec![home().rsa_certificate.as_slice()];
    let changes = SdChanges { add, remove: vec![hash], ..SdChanges::default() };
    let update = Command::UpdateSd { spid: SP, name: DOMAIN, changes };
    assert_survives(&Case::at_home(update, &["ERR_SPCERT_INVALID"]));
}

#[test]
fn renewing_a_key() {
    let changes = SdChanges { renew_attestation_key: true, ..SdChanges::default() };
    let update = Command::UpdateSd { spid: SP, name: DOMAIN, changes };
    assert_survives(&Case::at_home(update, &[]));
}

#[test]
fn deleting_a_domain_with_its_application() {
    assert_survives(&Case::at_home(Base::DeleteSd.command(), SD_GONE));
}

#[test]
fn deleting_the_last_domain_of_a_provider() {
    assert_survives(&deletion_of_the_last_domain());
}

fn deletion_of_the_last_domain() -> Case {
    Case {
        before: home().snapshot.clone(),
        tam: &pki().other_tam,
        target: home().other_target.clone(),
        command: Command::DeleteSd { spid: None, name: OTHER_DOMAIN, delete_tas: true },
        already: SD_GONE,
        makes: KeyType::P256,
    }
}

#[test]
fn installing() {
    assert_survives(&Case::at_home(Base::InstallTa.command(), TA_EXISTS));
}

#[test]
fn installing_what_was_just_deleted() {
    // The very same image: what the deletion left to be removed must not take it away again.
    let image = signed(&pki().sp_ec, uuid(1), 5).leak();
    let again = Command::InstallTa(Application {
        personalization: Some(b"secret"),
        ..application(TA, image)
    });
    assert_survives(&Case::after(Base::DeleteTa.command(), again));
}

#[test]
fn updating_image_and_personalization() {
    assert_survives(&Case::at_home(Base::UpdateTa.command(), &[]));
}

#[test]
fn updating_personalization_with_the_same_image() {
    let image = signed(&pki().sp_ec, uuid(1), 5).leak();
    let update =
        Command::UpdateTa(Application { personalization: Some(b"new"), ..application(TA, image) });
    assert_survives(&Case::at_home(update, &[]));
}

#[test]
fn updating_personalization_alone() {
    let update = Command::UpdateTa(Application {
        image: None,
        personalization: Some(b"new"),
        ..application(TA, &[])
    });
    assert_survives(&Case::at_home(update, &[]));
}

#[test]
fn deleting_an_application() {
    assert_survives(&Case::at_home(Base::DeleteTa.command(), TA_GONE));
}

/// Lets something happen to a device, once with each fault, and looks at what is left: with a
/// restart, and after an error also without.
fn with_each_fault(
    before: &Snapshot,
    mut happen: impl FnMut(&mut Device),
    mut check: impl FnMut(&mut Device),
) {
    let mut device = Device::from(before);
    happen(&mut device);
    let operations = device.world.faults.operations();
    check(&mut device);
    for (index, operation) in operations.into_iter().enumerate() {
        for (moment, fault) in faults_of(operation) {
            let mut device = Device::from(before);
            device.world.faults.plan(index, moment, fault);
            let done = cut_short(|| happen(&mut device));
            device.world.faults.clear();
            if done.is_some() {
                check(&mut device);
            }
            device.reboot();
            check(&mut device);
        }
    }
}

#[test]
fn meeting_a_tam() {
    let tam = &pki().tam;
    let message = Builder::device_state(tam).build().unwrap().message;
    with_each_fault(
        &Device::provisioned().world.snapshot(),
        |device| drop(device.process(&message)),
        |device| {
            device.state(tam);
            assert_eq!(device.records(Kind::TamChain).len(), 1);
            ask(device, tam).unwrap();
        },
    );
}

#[test]
fn meeting_a_tam_with_a_new_certificate() {
    let (old, certificate) = (&pki().tam, renewed_certificate());
    let mut chain = old.chain().to_vec();
    chain[0] = certificate;
    let new = Identity::new(old.key().to_owned(), chain, None).unwrap();
    let new = stapled_below_authority(new);
    let message = Builder::device_state(&new).build().unwrap().message;
    with_each_fault(
        &home().snapshot,
        |device| drop(device.process(&message)),
        |device| {
            let _ = device.process(b"{}");
            // The one that is stored is the old one or the new one, and one is replaced by the
            // other as often as the TAM wants.
            assert_eq!(device.records(Kind::TamChain).len(), 2);
            let known = [ask(device, old).is_ok(), ask(device, &new).is_ok()];
            assert!(known == [true, false] || known == [false, true], "{known:?}");
            device.state(&new);
            assert_eq!(ask(device, &new).unwrap().dsi.tee.sdlist.sd.len(), 2);
            assert!(ask(device, old).is_err());
            device.state(old);
            assert_eq!(device.records(Kind::TamChain).len(), 2);
        },
    );
}

/// Another certificate of the same TAM for the same key.
fn renewed_certificate() -> X509 {
    Template {
        organization: "OTrP tests (not for production)",
        common_name: "A TAM of a test, renewed",
        purpose: Purpose::Party,
        validity: Validity::years(2),
        uri: Some(pki().tam.tam_id()),
    }
    .issue(pki().tam.key(), &pki().tam_authority)
    .unwrap()
}

#[test]
fn the_first_start() {
    with_each_fault(
        &Device::blank().world.snapshot(),
        |device| {
            let _ = device.engine.certification_request(&mut device.reply);
        },
        |device| {
            let mut request = || {
                device.engine.certification_request(&mut device.reply).unwrap();
                device.records(Kind::TeeKey)
            };
            assert_eq!(request(), request(), "the key is made once");
            device.provision();
            device.state(&pki().tam);
        },
    );
}

#[test]
fn importing_certificates() {
    let mut device = Device::from(&home().snapshot);
    let request = device.engine.certification_request(&mut device.reply).unwrap().to_vec();
    let chain = pki().tee_authority.certify(&request).unwrap();
    let bytes: Vec<u8> = chain.iter().flat_map(der).collect();
    let tam = &pki().tam;
    with_each_fault(
        &home().snapshot,
        |device| {
            let _ = device.engine.import_certificates(&bytes, &mut device.reply);
        },
        |device| {
            // What the TAM is told is what is stored, and with a new certificate it must be told.
            let imported = device.certificate() == chain[0];
            let outcome = device.process(&Base::DeleteTa.builder().build().unwrap().message);
            let text = text_of(&outcome.unwrap());
            assert!(!(imported && text.contains(PASS)), "{text}");
            assert_eq!(device.state(tam).certificate, device.certificate());
            device.engine.import_certificates(&bytes, &mut device.reply).unwrap();
            assert_eq!(device.state(tam).certificate, chain[0]);
        },
    );
}

/// A world whose engine has another storage or TA database.
struct Mutant<S, T>(std::marker::PhantomData<(S, T)>);

impl<S: Storage, T: TaStore> Platform for Mutant<S, T> {
    type Storage = S;
    type TaStore = T;
    type Keys = SimKeys;
    type Clock = SimClock;
    type Rng = SimRng;
    type Rsa = SimRsa;
}

fn boot_mutant<S: Storage, T: TaStore>(
    world: &World,
    storage: S,
    ta_store: T,
) -> Box<Engine<Mutant<S, T>>> {
    let ports = Ports {
        storage,
        ta_store,
        keys: SimKeys::new(world.clone()),
        clock: SimClock::new(world.clone()),
        rng: SimRng::new(world.clone()),
    };
    Box::new(Engine::new(ports, pki().trust))
}

/// A TA database that commits as soon as an application is begun.
struct EagerTaStore {
    world: World,
    open: Option<UuidBytes>,
}

impl TaStore for EagerTaStore {
    fn begin(&mut self, uuid: &UuidBytes, ta: &StoredTa) -> Result<(), PortError> {
        let image = Image { stored: *ta, elf: Vec::new() };
        self.world.faults.run("begin", || {
            self.world.images.borrow_mut().insert(*uuid, image);
            Ok(())
        })?;
        self.open = Some(*uuid);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), PortError> {
        let uuid = self.open.ok_or(PortError::Failed)?;
        self.world.faults.run("write", || {
            let mut images = self.world.images.borrow_mut();
            images.get_mut(&uuid).ok_or(PortError::Failed)?.elf.extend_from_slice(bytes);
            Ok(())
        })
    }

    fn commit(&mut self) -> Result<(), PortError> {
        self.open.take().map(|_| ()).ok_or(PortError::Failed)
    }

    fn abort(&mut self) {
        self.open = None;
    }

    fn remove(&mut self, uuid: &UuidBytes) -> Result<(), PortError> {
        SimTaStore::new(self.world.clone()).remove(uuid)
    }

    fn query(&mut self, uuid: &UuidBytes) -> Result<Option<StoredTa>, PortError> {
        SimTaStore::new(self.world.clone()).query(uuid)
    }
}

#[test]
fn a_ta_store_that_commits_too_early_is_found_out() {
    let boot = |world: &World| {
        let ta_store = EagerTaStore { world: world.clone(), open: None };
        boot_mutant(world, SimStorage::new(world.clone()), ta_store)
    };
    for base in [Base::InstallTa, Base::UpdateTa] {
        let case = Case::at_home(base.command(), TA_EXISTS);
        assert!(problem(&case, boot).is_some(), "{base:?}");
    }
}

/// A storage that removes the old record before it writes the new one.
struct TornStorage(SimStorage);

impl Storage for TornStorage {
    fn load<'b>(
        &mut self,
        name: Name,
        buffer: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, PortError> {
        self.0.load(name, buffer)
    }

    fn replace(&mut self, name: Name, record: &[u8]) -> Result<(), PortError> {
        self.0.remove(name)?;
        self.0.replace(name, record)
    }

    fn remove(&mut self, name: Name) -> Result<(), PortError> {
        self.0.remove(name)
    }
}

#[test]
fn a_storage_that_is_not_atomic_is_found_out() {
    let boot = |world: &World| {
        let storage = TornStorage(SimStorage::new(world.clone()));
        boot_mutant(world, storage, SimTaStore::new(world.clone()))
    };
    let case = Case::at_home(Base::CreateSd.command(), SD_EXISTS);
    assert!(problem(&case, boot).is_some());
}

/// A storage that keeps what it is to remove.
struct HoardingStorage(World, SimStorage);

impl Storage for HoardingStorage {
    fn load<'b>(
        &mut self,
        name: Name,
        buffer: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, PortError> {
        self.1.load(name, buffer)
    }

    fn replace(&mut self, name: Name, record: &[u8]) -> Result<(), PortError> {
        self.1.replace(name, record)
    }

    fn remove(&mut self, _: Name) -> Result<(), PortError> {
        self.0.faults.run("remove", || Ok(()))
    }
}

#[test]
fn a_storage_that_keeps_leftovers_is_found_out() {
    let boot = |world: &World| {
        let storage = HoardingStorage(world.clone(), SimStorage::new(world.clone()));
        boot_mutant(world, storage, SimTaStore::new(world.clone()))
    };
    for base in [Base::CreateSd, Base::UpdateTa, Base::DeleteTa] {
        let case = Case::at_home(base.command(), &["ERR_SD_ALREADY_EXISTS", "ERR_TA_NOT_FOUND"]);
        assert!(problem(&case, boot).is_some(), "{base:?}");
    }
}

/// A TA database that forgets to remove.
struct HoardingTaStore(SimTaStore);

impl TaStore for HoardingTaStore {
    fn begin(&mut self, uuid: &UuidBytes, ta: &StoredTa) -> Result<(), PortError> {
        self.0.begin(uuid, ta)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), PortError> {
        self.0.write(bytes)
    }

    fn commit(&mut self) -> Result<(), PortError> {
        self.0.commit()
    }

    fn abort(&mut self) {
        self.0.abort();
    }

    fn remove(&mut self, _: &UuidBytes) -> Result<(), PortError> {
        Ok(())
    }

    fn query(&mut self, uuid: &UuidBytes) -> Result<Option<StoredTa>, PortError> {
        self.0.query(uuid)
    }
}

#[test]
fn a_ta_store_that_keeps_leftovers_is_found_out() {
    let boot = |world: &World| {
        let ta_store = HoardingTaStore(SimTaStore::new(world.clone()));
        boot_mutant(world, SimStorage::new(world.clone()), ta_store)
    };
    assert!(problem(&deletion_of_the_last_domain(), boot).is_some());
}
