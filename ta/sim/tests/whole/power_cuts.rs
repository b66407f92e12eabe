//! Power cuts and errors at every operation of every port, in the middle of every request, and
//! again in the request after it.
//!
//! Afterwards the device agrees with the [`Model`] before the request or with the one after it,
//! holds nothing else, and the TAM can bring it to where it was to go.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::OnceLock;

use openssl::x509::X509;
use otrp_engine::error::Unanswerable;
use otrp_engine::platform::{KeyName, KeyType, Platform, PortError};
use otrp_keys::certificate::{Purpose, Template, Validity};
use otrp_sim::{Cut, Fault, Moment, Operation, Snapshot, World};
use otrp_tam::Identity;
use otrp_tam::request::{Application, Builder, Command, SdChanges, Target};
use otrp_tam::response::{Outcome, Reply};

use crate::bench::{
    Boot, Device, Kind, boot_simulator, der, now, pki, sha256, signed, stapled_below_authority,
    stored, uuid,
};
use crate::home::*;
use crate::model::{Model, Seen, ask, look, public};

/// A provider that has nothing at home.
const NEW_SP: &str = "new.example";

// ---- the requests that are tried at home ----------------------------------------------------

/// A request of a TAM, and what it does to what a device holds.
#[derive(Clone)]
pub struct Step {
    /// What comes, changes or goes.
    pub what: &'static str,
    pub tam: &'static Identity,
    /// `None` is GetDeviceState.
    pub command: Option<Command<'static>>,
    pub message: Vec<u8>,
}

impl Step {
    fn command(
        what: &'static str,
        tam: &'static Identity,
        target: &Target,
        command: Command<'static>,
    ) -> Self {
        let message = Builder::command(tam, target, command.clone()).build().unwrap().message;
        Self { what, tam, command: Some(command), message }
    }

    fn question(what: &'static str, tam: &'static Identity) -> Self {
        let message = Builder::device_state(tam).build().unwrap().message;
        Self { what, tam, command: None, message }
    }

    /// What the device holds if it does this; `None` if it must refuse.
    pub fn after(&self, before: &Model) -> Option<Model> {
        match &self.command {
            None => Some(before.clone().met(self.tam)),
            Some(command) => before.after(self.tam, command),
        }
    }
}

/// Every request in every variant that writes other objects, for a device of which the TAMs know
/// this. Not all of them are accepted in every state.
fn steps(target: &Target, other_target: &Target) -> Vec<Step> {
    let (tam, other) = (&pki().tam, &pki().other_tam);
    let home = home();
    let changes = SdChanges::default();
    let update = |changes| Command::UpdateSd { spid: SP, name: DOMAIN, changes };
    let (retired, image) = retired_hash_and_image();
    let data = |text: &'static [u8], image| {
        Command::UpdateTa(Application {
            image,
            personalization: Some(text),
            ..application(TA, &[])
        })
    };
    let mut steps: Vec<Step> = [
        ("a domain", Base::CreateSd.command()),
        (
            "a domain of a new provider",
            Command::CreateSd { spid: NEW_SP, name: "new", certificate: &home.certificate },
        ),
        ("a domain gets another provider and signer", Base::UpdateSd.command()),
        ("a name", update(SdChanges { new_name: Some("renamed"), ..changes.clone() })),
        (
            "a signer retires",
            update(SdChanges {
                add: vec![&home.rsa_certificate],
                remove: vec![retired],
                ..changes.clone()
            }),
        ),
        ("a key", update(SdChanges { renew_attestation_key: true, ..changes.clone() })),
        ("a domain with its application goes", Base::DeleteSd.command()),
        (
            "an empty domain goes",
            Command::DeleteSd { spid: None, name: EMPTY_DOMAIN, delete_tas: false },
        ),
        ("an application with data and signer", Base::InstallTa.command()),
        ("an application", Command::InstallTa(application("new", &home.new_image))),
        ("image and data", Base::UpdateTa.command()),
        ("an image", Command::UpdateTa(application(TA, &home.newer_image))),
        (
            "an image of another signer",
            Command::UpdateTa(Application {
                certificate: Some(&home.rsa_certificate),
                ..application(TA, image_of_another_signer())
            }),
        ),
        ("data and the same image", data(b"new", Some(image))),
        ("data", data(b"new", None)),
        ("an application goes", Base::DeleteTa.command()),
        (
            "an application comes back",
            Command::InstallTa(Application {
                personalization: Some(b"secret"),
                ..application(TA, image)
            }),
        ),
    ]
    .into_iter()
    .map(|(what, command)| Step::command(what, tam, target, command))
    .collect();
    let moved = SdChanges { new_spid: Some("moved.example"), ..changes };
    let command = Command::UpdateSd { spid: NEW_SP, name: "new", changes: moved.clone() };
    steps.push(Step::command("the last domain of a provider moves", tam, target, command));
    steps.extend(
        [
            (
                "another TAM's last domain of a provider goes",
                Command::DeleteSd { spid: None, name: OTHER_DOMAIN, delete_tas: true },
            ),
            (
                "another TAM's domain with an application moves",
                Command::UpdateSd { spid: OTHER_SP, name: OTHER_DOMAIN, changes: moved },
            ),
            (
                "another TAM's application goes",
                Command::DeleteTa { spid: None, name: OTHER_DOMAIN, taid: OTHER_TA },
            ),
        ]
        .map(|(what, command)| Step::command(what, other, other_target, command)),
    );
    steps.push(Step::question("a question", tam));
    steps.push(Step::question("another TAM's question", other));
    steps.push(Step::question("a new TAM's question", new_tam()));
    steps
}

/// The requests for the device at home.
pub fn steps_at_home() -> &'static [Step] {
    static MADE: OnceLock<Vec<Step>> = OnceLock::new();
    MADE.get_or_init(|| steps(&home().target, &home().other_target))
}

/// The hash of the certificate that signed the application at home, and its image.
fn retired_hash_and_image() -> (&'static str, &'static [u8]) {
    static MADE: OnceLock<(String, Vec<u8>)> = OnceLock::new();
    let (hash, image) = MADE.get_or_init(|| {
        (hex::encode(sha256(&home().certificate)), signed(&pki().sp_ec, uuid(1), 5))
    });
    (hash, image)
}

/// The application at home, by another signer of its provider.
fn image_of_another_signer() -> &'static [u8] {
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    MADE.get_or_init(|| signed(&pki().sp_rsa, uuid(1), 6))
}

/// A TAM that the device at home has not met.
fn new_tam() -> &'static Identity {
    static MADE: OnceLock<Identity> = OnceLock::new();
    MADE.get_or_init(|| {
        let key = otrp_keys::certificate::generate_p256().unwrap();
        let mut chain = pki().tam.chain().to_vec();
        chain[0] = Template {
            organization: "OTrP tests (not for production)",
            common_name: "A TAM of a test",
            purpose: Purpose::Party,
            validity: Validity::years(1),
            uri: Some("https://new-tam.example"),
        }
        .issue(&key, &pki().tam_authority)
        .unwrap();
        stapled_below_authority(Identity::new(key, chain, None).unwrap())
    })
}

// ---- the harness: one request, each fault, each next request --------------------------------

/// A device in some state, and a request that it accepts.
pub struct Case {
    before: Snapshot,
    model: Model,
    step: Step,
    /// What may come next.
    next: Vec<Step>,
    /// What kind of key pairs the device makes.
    makes: KeyType,
}

impl Case {
    /// The device at home.
    pub fn at_home(what: &str) -> Self {
        Self::of(home().snapshot.clone(), home().model.clone(), steps_at_home().to_vec(), what)
    }

    /// The device at home, which makes RSA key pairs from now on and has one in reserve.
    pub fn with_reserve(what: &str) -> Self {
        let mut device = Device::from(&home().snapshot);
        device.world.key_type.set(KeyType::Rsa2048);
        device.engine.prepare(&mut device.reply).unwrap();
        Self { before: device.world.snapshot(), makes: KeyType::Rsa2048, ..Self::at_home(what) }
    }

    /// The same whose attestation key for the domain at home is an RSA key pair already.
    pub fn with_rsa_key(what: &str) -> Self {
        let mut device = Device::from(&home().snapshot);
        device.world.key_type.set(KeyType::Rsa2048);
        device.engine.prepare(&mut device.reply).unwrap();
        let changes = SdChanges { renew_attestation_key: true, ..SdChanges::default() };
        let renew = Command::UpdateSd { spid: SP, name: DOMAIN, changes };
        let model = home().model.after(&pki().tam, &renew).unwrap().aged();
        let passed = device.pass(&pki().tam, from_tam(renew));
        let next = steps(&Target::from(&passed.state.unwrap()), &home().other_target);
        device.engine.prepare(&mut device.reply).unwrap();
        let makes = KeyType::Rsa2048;
        Self { makes, ..Self::of(device.world.snapshot(), model, next, what) }
    }

    /// The device at home right after another request of the same TAM, whose list of what is to be
    /// removed is still in storage.
    fn after(first: Command<'static>, what: &str) -> Self {
        let mut device = Device::from(&home().snapshot);
        let model = home().model.after(&pki().tam, &first).unwrap().aged();
        let passed = device.pass(&pki().tam, from_tam(first));
        let target = Target::from(&passed.state.unwrap());
        Self::of(device.world.snapshot(), model, steps(&target, &home().other_target), what)
    }

    fn of(before: Snapshot, model: Model, next: Vec<Step>, what: &str) -> Self {
        let step = next.iter().find(|step| step.what == what).expect("a step of this name").clone();
        Self { before, model, step, next, makes: KeyType::P256 }
    }
}

/// How much is tried after each fault of the first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Nothing but a start, which is cut again.
    Start,
    /// After every second error a restart. One next request, another one each time, and for every
    /// second one of its faults.
    Sample,
    /// Every next request. After a restart each with every fault of its own, once for each of the
    /// states in storage; without a restart each as it is and with every fifth of its faults.
    Everything,
}

/// What was tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub operations: usize,
    pub faults: usize,
    /// Requests after a fault.
    pub followed: usize,
    /// Requests with a fault after a fault.
    pub faulted: usize,
}

/// Looks at what devices store, with the engine on a platform.
struct Observer<P: Platform> {
    boot: Boot<P>,
    makes: KeyType,
    /// The public halves of the keys that were there at first.
    old_keys: Vec<Vec<u8>>,
    /// What was seen so far; most faults leave one of a few snapshots.
    seen: RefCell<HashMap<u64, Result<Seen, String>>>,
}

/// Tells snapshots apart.
fn digest(snapshot: &Snapshot) -> u64 {
    let mut hasher = DefaultHasher::new();
    snapshot.hash(&mut hasher);
    hasher.finish()
}

impl<P: Platform> Observer<P> {
    fn new(boot: Boot<P>, case: &Case) -> Self {
        let old_keys = stored(&case.before, Kind::Aik).iter().map(|key| public(key)).collect();
        Self { boot, makes: case.makes, old_keys, seen: RefCell::default() }
    }

    fn device(&self, snapshot: &Snapshot) -> Device<P> {
        let world = World::new(now());
        world.restore(snapshot);
        world.key_type.set(self.makes);
        world.reserved.borrow_mut().push(RESERVED_UUID);
        Device::on(world, self.boot.clone())
    }

    /// What a device shows that starts with this snapshot. It must be of use then: a domain with a
    /// new provider, which takes the next number for its objects, can be created.
    fn observe(&self, snapshot: &Snapshot) -> Result<Seen, String> {
        let digest = digest(snapshot);
        if let Some(known) = self.seen.borrow().get(&digest) {
            return known.clone();
        }
        let mut device = self.device(snapshot);
        let tam = &pki().tam;
        let seen = look(&mut device, &[tam, &pki().other_tam], &self.old_keys).and_then(|seen| {
            let certificate = &home().certificate;
            let probe = Command::CreateSd { spid: "probe.example", name: "probe", certificate };
            send(&mut device, tam, &probe)?;
            Ok(seen)
        });
        self.seen.borrow_mut().insert(digest, seen.clone());
        seen
    }
}

/// Asks for the state, and sends a command that must be carried out.
fn send<P: Platform>(
    device: &mut Device<P>,
    tam: &Identity,
    command: &Command<'_>,
) -> Result<(), String> {
    let target = Target::from(&ask(device, tam)?);
    let request = Builder::command(tam, &target, command.clone()).build();
    let request = request.map_err(|error| error.to_string())?;
    let reply = device.process(&request.message).map_err(|error| format!("{error:?}"))?;
    let Ok(Reply::Answer(answer)) = Reply::read(&reply) else { return Err("no answer".into()) };
    match answer.outcome(Some(&request.exchange), tam, &device.certificate()) {
        Ok(Outcome::Pass(_)) => Ok(()),
        other => Err(format!("{}: {other:?}", command.name().request())),
    }
}

/// Tries every fault on one case.
struct Trial<'c, P: Platform> {
    case: &'c Case,
    effort: Effort,
    observer: Observer<P>,
    before: Seen,
    after: Model,
    /// What was found out about each snapshot.
    judged: RefCell<HashMap<u64, Result<Model, String>>>,
    /// What was tried from which snapshot: the number of the next request, and of its fault.
    tried: RefCell<HashSet<(u64, usize, usize)>>,
    figures: RefCell<Figures>,
}

/// The first thing that is wrong with the way in which the engine on a platform meets faults, or
/// what was tried.
pub fn search<P: Platform>(case: &Case, boot: Boot<P>, effort: Effort) -> Result<Figures, String> {
    let before = case.model.seen();
    let after = case.step.after(&case.model).expect("a request that is accepted");
    let observer = Observer::new(boot, case);
    let trial = Trial {
        case,
        effort,
        observer,
        before,
        after,
        judged: RefCell::default(),
        tried: RefCell::default(),
        figures: RefCell::default(),
    };
    trial.run()?;
    Ok(trial.figures.into_inner())
}

const PASS: &str = r#""status":"pass""#;

/// The signed text of an answer.
fn text_of(reply: &[u8]) -> String {
    let outer: serde_json::Value = serde_json::from_slice(reply).unwrap();
    let (_, jws) = outer.as_object().unwrap().iter().next().unwrap();
    let payload = otrp_tam::encoding::from_base64url(jws["payload"].as_str().unwrap()).unwrap();
    String::from_utf8(payload).unwrap()
}

fn passed(reply: &Result<Vec<u8>, Unanswerable>) -> bool {
    reply.as_ref().is_ok_and(|reply| text_of(reply).contains(PASS))
}

/// Every fault of these operations, by the operation's number.
fn every_fault(operations: &[Operation]) -> Vec<(usize, Moment, Fault)> {
    let numbered = operations.iter().enumerate();
    numbered
        .flat_map(|(index, operation)| {
            faults_of(*operation).into_iter().map(move |(moment, fault)| (index, moment, fault))
        })
        .collect()
}

impl<P: Platform> Trial<'_, P> {
    fn run(&self) -> Result<(), String> {
        // Without a fault it does what the model does.
        let mut device = self.observer.device(&self.case.before);
        let reply = device.process(&self.case.step.message);
        if !passed(&reply) {
            return Err(format!("not accepted: {reply:?}"));
        }
        let operations = device.world.faults.operations();
        if self.observer.observe(&device.world.snapshot())? != self.after.seen() {
            return Err("without a fault it is not what it must be".into());
        }
        self.figures.borrow_mut().operations = operations.len();
        for (index, moment, fault) in every_fault(&operations) {
            self.figures.borrow_mut().faults += 1;
            self.fault(index, moment, fault, operations[index].changes).map_err(|problem| {
                format!("{fault:?} {moment:?} {index} ({}): {problem}", operations[index].name)
            })?;
        }
        Ok(())
    }

    fn fault(
        &self,
        index: usize,
        moment: Moment,
        fault: Fault,
        changes: bool,
    ) -> Result<(), String> {
        let begin = || {
            let mut device = self.observer.device(&self.case.before);
            device.world.faults.plan(index, moment, fault);
            let reply = cut_short(|| device.process(&self.case.step.message));
            device.world.faults.clear();
            (device, reply)
        };
        let (device, reply) = begin();
        let snapshot = device.world.snapshot();
        let model = self.judge(&snapshot)?;
        let sampled = self.effort == Effort::Sample;
        let even = self.figures.borrow().faults.is_multiple_of(2);
        if !sampled || even || reply.is_none() {
            self.follow(|| self.observer.device(&snapshot), &model, Some(digest(&snapshot)))?;
        }
        let Some(reply) = reply else { return self.cut_again(&snapshot) };
        // What is full fails like anything else that has had no effect.
        if fault != Fault::Error(PortError::Full) || self.effort == Effort::Everything {
            self.go_on(device, &reply, &model, changes && !(sampled && even))?;
        }
        if sampled && even { Ok(()) } else { self.follow(|| begin().0, &model, None) }
    }

    /// Starts a device on a snapshot, and looks at it: it must be on one side of the request, and
    /// the TAM must be able to bring it to the other one.
    fn judge(&self, snapshot: &Snapshot) -> Result<Model, String> {
        let digest = digest(snapshot);
        if let Some(known) = self.judged.borrow().get(&digest) {
            return known.clone();
        }
        let judgement = self.observer.observe(snapshot).and_then(|seen| {
            if seen == self.after.seen() {
                self.assert_not_again(&mut self.observer.device(snapshot))?;
                return Ok(self.after.clone());
            }
            if seen != self.before {
                return Err(format!("in between: {seen:?}"));
            }
            self.converge(&mut self.observer.device(snapshot))?;
            Ok(self.case.model.clone())
        });
        self.judged.borrow_mut().insert(digest, judgement.clone());
        judgement
    }

    /// A request that was carried out is not accepted a second time, whoever knows of the first.
    fn assert_not_again(&self, device: &mut Device<P>) -> Result<(), String> {
        if self.case.step.command.is_none() {
            return Ok(());
        }
        let reply = device.process(&self.case.step.message);
        let text = text_of(&reply.map_err(|error| format!("{error:?}"))?);
        if text.contains("ERR_DEV_STATE_MISMATCH") {
            Ok(())
        } else {
            Err(format!("the request was looked at twice: {text}"))
        }
    }

    /// Sends the command again, on the state that the device has now.
    fn converge(&self, device: &mut Device<P>) -> Result<(), String> {
        let Step { tam, command, message, .. } = &self.case.step;
        match command {
            Some(command) => send(device, tam, command)?,
            None if passed(&device.process(message)) => {}
            None => return Err("no answer".into()),
        }
        let seen = self.observer.observe(&device.world.snapshot())?;
        if seen == self.after.seen() { Ok(()) } else { Err(format!("not there yet: {seen:?}")) }
    }

    /// After an error, without a restart: the engine must see what is stored, and continue.
    fn go_on(
        &self,
        mut device: Device<P>,
        reply: &Result<Vec<u8>, Unanswerable>,
        model: &Model,
        changes: bool,
    ) -> Result<(), String> {
        if passed(reply) && *model != self.after {
            return Err("said to be done, and not done".into());
        }
        // What could not be read is read again; there is little to see then.
        if changes && *model == self.case.model {
            self.converge(&mut device)?;
        }
        let tams = [&pki().tam, &pki().other_tam];
        let seen = look(&mut device, &tams, &self.observer.old_keys)?;
        let expected = if changes { &self.after } else { model };
        if seen == expected.seen() {
            Ok(())
        } else {
            Err(format!("memory is not storage: {seen:?}"))
        }
    }

    /// What happens next: requests that were signed for the state before the first one.
    fn follow(
        &self,
        begin: impl Fn() -> Device<P>,
        model: &Model,
        stored: Option<u64>,
    ) -> Result<(), String> {
        let next = &self.case.next;
        let turn = self.figures.borrow().followed;
        let chosen = match self.effort {
            Effort::Start => 0..0,
            Effort::Sample => turn % next.len()..turn % next.len() + 1,
            Effort::Everything => 0..next.len(),
        };
        for number in chosen {
            if stored.is_some_and(|digest| !self.tried.borrow_mut().insert((digest, number, 0))) {
                continue;
            }
            let step = &next[number];
            self.figures.borrow_mut().followed += 1;
            let operations = self.then(begin(), model, step, None)?;
            let faults = every_fault(&operations);
            let faults: Vec<_> = match (self.effort, stored) {
                (Effort::Everything, Some(_)) => faults,
                (Effort::Everything, None) => {
                    faults.into_iter().skip(turn % 5).step_by(5).collect()
                }
                _ if turn % 2 == 1 => Vec::new(),
                _ => faults.get(turn * 7 % faults.len().max(1)).copied().into_iter().collect(),
            };
            for (index, moment, fault) in faults {
                self.figures.borrow_mut().faulted += 1;
                self.then(begin(), model, step, Some((index, moment, fault))).map_err(
                    |problem| {
                        let name = operations[index].name;
                        format!("then {fault:?} {moment:?} {index} ({name}): {problem}")
                    },
                )?;
            }
        }
        Ok(())
    }

    /// One next request, maybe with a fault of its own; the operations of it.
    fn then(
        &self,
        mut device: Device<P>,
        model: &Model,
        step: &Step,
        fault: Option<(usize, Moment, Fault)>,
    ) -> Result<Vec<Operation>, String> {
        device.world.faults.clear();
        if let Some((index, moment, fault)) = fault {
            device.world.faults.plan(index, moment, fault);
        }
        let reply = cut_short(|| device.process(&step.message));
        let operations = device.world.faults.operations();
        device.world.faults.clear();
        // Whoever gave or may have given this TAM a state made its earlier ones void.
        let current = *model == self.case.model || step.tam.tam_id() != self.case.step.tam.tam_id();
        let done = (current || step.command.is_none()).then(|| step.after(model)).flatten();
        let problem = |what: &str| Err(format!("then {}: {what}", step.what));
        let seen = self.observer.observe(&device.world.snapshot());
        let seen = match seen {
            Ok(seen) => seen,
            Err(what) => return problem(&what),
        };
        let is_done = done.is_some_and(|done| seen == done.seen());
        if !is_done && seen != model.seen() {
            return problem(&format!("in between: {seen:?}"));
        }
        match reply {
            Some(reply) if passed(&reply) && !is_done => problem("said to be done, and not done"),
            Some(reply) if fault.is_none() && !passed(&reply) && seen != model.seen() => {
                problem("refused, and done")
            }
            _ => Ok(operations),
        }
    }

    /// After a power cut: the next start is cut, too, at each of its operations.
    fn cut_again(&self, snapshot: &Snapshot) -> Result<(), String> {
        if !self.tried.borrow_mut().insert((digest(snapshot), usize::MAX, 0)) {
            return Ok(());
        }
        let mut device = self.observer.device(snapshot);
        let _ = device.process(b"{}");
        for (index, moment, fault) in every_fault(&device.world.faults.operations()) {
            let mut device = self.observer.device(snapshot);
            device.world.faults.plan(index, moment, fault);
            let _ = cut_short(|| device.process(b"{}"));
            device.world.faults.clear();
            self.judge(&device.world.snapshot())
                .map_err(|problem| format!("again {fault:?} {moment:?} {index}: {problem}"))?;
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

/// Runs something until it is done or the power goes.
fn cut_short<T>(run: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(done) => Some(done),
        Err(payload) if payload.is::<Cut>() => None,
        Err(payload) => std::panic::resume_unwind(payload),
    }
}

// ---- security domains and keys --------------------------------------------------------------

fn assert_survives(case: &Case) {
    assert_survives_with(case, Effort::Sample);
}

fn assert_survives_with(case: &Case, effort: Effort) {
    let figures = search(case, Rc::new(boot_simulator), effort);
    println!("{}: {figures:?}", case.step.what);
    assert!(figures.is_ok(), "{}: {}", case.step.what, figures.unwrap_err());
}

#[test]
fn creating_a_domain() {
    assert_survives(&Case::at_home("a domain"));
}

#[test]
fn creating_the_first_domain_of_a_provider() {
    assert_survives(&Case::at_home("a domain of a new provider"));
}

#[test]
fn creating_the_first_domain_of_a_provider_with_the_key_in_reserve() {
    assert_survives_with(&Case::with_reserve("a domain of a new provider"), Effort::Start);
}

#[test]
fn renewing_an_rsa_key() {
    assert_survives_with(&Case::with_rsa_key("a key"), Effort::Start);
}

#[test]
fn giving_a_domain_to_a_new_provider_with_the_key_in_reserve() {
    let case = Case::with_reserve("a domain gets another provider and signer");
    assert_survives_with(&case, Effort::Start);
}

#[test]
fn filling_the_reserve() {
    let certificate = &home().certificate;
    with_each_fault(
        &home().snapshot,
        |device| {
            device.world.key_type.set(KeyType::Rsa2048);
            let _ = device.engine.prepare(&mut device.reply);
        },
        |device| {
            assert!(device.records(Kind::SpareKey).len() <= 1);
            device.engine.prepare(&mut device.reply).unwrap();
            let spare = device.records(Kind::SpareKey);
            assert_eq!(spare.len(), 1);
            device.engine.prepare(&mut device.reply).unwrap();
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
        let damaged = b"damaged".to_vec();
        device.world.stored.borrow_mut().rsa_keys.insert(KeyName::Spare, damaged);
        if prepared {
            device.engine.prepare(&mut device.reply).unwrap();
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
    device.engine.prepare(&mut device.reply).unwrap();
    assert!(device.world.snapshot() == home().snapshot);
    assert!(device.world.faults.operations().is_empty());
}

#[test]
fn updating_a_domain() {
    for what in ["a domain gets another provider and signer", "a name"] {
        assert_survives(&Case::at_home(what));
    }
    let certificate = &home().certificate;
    let create = Command::CreateSd { spid: NEW_SP, name: "new", certificate };
    assert_survives(&Case::after(create, "the last domain of a provider moves"));
}

#[test]
fn retiring_a_signer() {
    assert_survives(&Case::at_home("a signer retires"));
}

#[test]
fn renewing_a_key() {
    assert_survives(&Case::at_home("a key"));
}

#[test]
fn deleting_a_domain_with_its_application() {
    assert_survives(&Case::at_home("a domain with its application goes"));
}

#[test]
fn deleting_an_empty_domain() {
    assert_survives(&Case::at_home("an empty domain goes"));
}

#[test]
fn deleting_the_last_domain_of_a_provider() {
    assert_survives(&Case::at_home("another TAM's last domain of a provider goes"));
}

// ---- applications ---------------------------------------------------------------------------

#[test]
fn installing() {
    for what in ["an application with data and signer", "an application"] {
        assert_survives(&Case::at_home(what));
    }
}

#[test]
fn installing_what_was_just_deleted() {
    // The very same image: what the deletion left to be removed must not take it away again.
    assert_survives(&Case::after(Base::DeleteTa.command(), "an application comes back"));
}

#[test]
fn updating_image_and_personalization() {
    for what in ["image and data", "an image", "an image of another signer"] {
        assert_survives(&Case::at_home(what));
    }
}

#[test]
fn updating_personalization_with_the_same_image() {
    assert_survives(&Case::at_home("data and the same image"));
}

#[test]
fn updating_personalization_alone() {
    assert_survives(&Case::at_home("data"));
}

#[test]
fn deleting_an_application() {
    for what in ["an application goes", "another TAM's application goes"] {
        assert_survives(&Case::at_home(what));
    }
}

// ---- GetDeviceState, and every request after every fault ------------------------------------

#[test]
fn asking() {
    for what in ["a question", "another TAM's question", "a new TAM's question"] {
        assert_survives(&Case::at_home(what));
    }
}

#[test]
#[ignore = "minutes: `make soak`"]
fn every_request_after_every_fault_of_every_request() {
    let mut sum = Figures::default();
    let accepted = steps_at_home().iter().filter(|step| step.after(&home().model).is_some());
    let mut cases: Vec<Case> = accepted.map(|step| Case::at_home(step.what)).collect();
    cases.push(Case::after(Base::DeleteTa.command(), "an application comes back"));
    for case in cases {
        let figures = search(&case, Rc::new(boot_simulator), Effort::Everything);
        let figures = figures.unwrap_or_else(|problem| panic!("{}: {problem}", case.step.what));
        println!("{}: {figures:?}", case.step.what);
        sum.operations += figures.operations;
        sum.faults += figures.faults;
        sum.followed += figures.followed;
        sum.faulted += figures.faulted;
    }
    println!("all: {sum:?}");
}

// ---- the harness: anything that happens to a device, with each fault ------------------------

/// Lets something happen to a device, once with each fault, and looks at what is left: with a
/// restart, and after an error also without.
fn with_each_fault(
    before: &Snapshot,
    happen: impl FnMut(&mut Device),
    check: impl FnMut(&mut Device),
) {
    with_each_fault_on(|| Device::from(before), happen, check);
}

/// The same with a device that is made each time.
pub fn with_each_fault_on(
    make: impl Fn() -> Device,
    mut happen: impl FnMut(&mut Device),
    mut check: impl FnMut(&mut Device),
) {
    let mut device = make();
    happen(&mut device);
    let operations = device.world.faults.operations();
    check(&mut device);
    for (index, operation) in operations.into_iter().enumerate() {
        for (moment, fault) in faults_of(operation) {
            let mut device = make();
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

/// Lets something happen to a device that stores `before`, with a power cut at each operation, and
/// again on what each cut left, `depth` times; then looks at each device with its power back.
pub fn with_cuts_in_cuts(
    before: &Snapshot,
    make: &dyn Fn(&Snapshot) -> Device,
    happen: &dyn Fn(&mut Device),
    depth: usize,
    check: &mut dyn FnMut(&mut Device),
) {
    let mut device = make(before);
    happen(&mut device);
    for (index, _) in device.world.faults.operations().into_iter().enumerate() {
        for moment in [Moment::Before, Moment::After] {
            let mut device = make(before);
            device.world.faults.plan(index, moment, Fault::Cut);
            assert!(cut_short(|| happen(&mut device)).is_none());
            let left = device.world.snapshot();
            check(&mut make(&left));
            if depth > 1 {
                with_cuts_in_cuts(&left, make, happen, depth - 1, check);
            }
        }
    }
}

// ---- first contact, first start, import of certificates -------------------------------------

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
            // The TAM sees what is stored, and it must see a new certificate.
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
