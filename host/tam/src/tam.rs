//! The TAM itself: one message in, the next one out, until a device is as desired.
//!
//! HTTP keeps no state between requests, and who sends one is anybody's guess: an answer is matched
//! to its request by `tid` and `rid`, which the TEE signs, and by nothing else. Before a TEE has
//! signed a state nothing is remembered of whoever connects ([`crate::echo`]); from there on a device
//! has one session ([`crate::pending`]).
//!
//! Answers can be late: the device's owner may keep one back, or run two agents. An answer is taken
//! over only if the device's record is still the one that the request was made from, and what follows
//! is in the same transaction: the doubts about the next request are on the disk before it is sent.
//! What is late is dropped, and the state asked for again.
//!
//! A refusal is about the moment: a request that was refused because storage failed or was full can
//! be carried out later by whoever kept it, as long as the state that it names is the device's
//! current one. So a session that ends with a refusal ends with a question for the state, whose
//! answer makes the device forget the state that all requests before it name.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use otrp_wire::{ErrorCode, RequestName};
use thiserror::Error;

use crate::admission::NotAdmitted;
use crate::check;
use crate::configured::Configured;
use crate::deletions::Guard;
use crate::desired::{Configuration, DesiredState, TamSettings};
use crate::echo::{Echoes, Question};
use crate::log;
use crate::order;
use crate::pending::Pending;
use crate::plan::{Plan, plan};
use crate::record::DeviceRecord;
use crate::request::{Builder, Exchange, Request, Target, random_id};
use crate::response::{Answer, Outcome, Passed, Refusal, Refused, Reply, StateAnswer};
use crate::session::{Known, Session, Waiting, concerns_every_request, explain, other_key, remedy};
use crate::step::Step;
use crate::store::Store;

/// How long an answer may take: an agent on a slow network sends a large image through.
const PATIENCE: Duration = Duration::from_secs(600);
/// Most requests of one session: more than a device that is full needs to be emptied and filled
/// again. A device could go on for ever, with something new to delete in each of its states.
const SESSION_REQUESTS: usize = 1024;

/// Why a message got no reply.
#[derive(Debug, Error)]
pub enum Rejection {
    /// The message is at fault.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Another answer of the same device is in work.
    #[error("another answer of the same device is in work")]
    Busy,
    /// The device is not one that this TAM serves, though its maker's are.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// The TAM is at fault.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

/// A TAM that serves any number of devices at a time.
pub struct Tam {
    configured: Configured,
    store: Arc<Store>,
    echoes: Echoes,
    pending: Mutex<Pending<Waiting>>,
}

/// What follows in a session, and what to say of it in the log.
struct Next {
    message: Option<Vec<u8>>,
    line: String,
    /// The device that caused it, by the fingerprint of the key that signed the answer. `None` if
    /// nobody signed it, or if the answer does not count: anybody may send one again.
    device: Option<String>,
}

/// What one message is judged with.
struct Turn<'t> {
    configuration: &'t Configuration,
    /// Who sent it, for the log.
    peer: &'t str,
}

impl Turn<'_> {
    const fn settings(&self) -> &TamSettings {
        &self.configuration.tam
    }

    fn log(&self, line: &str) {
        log::of_stranger(self.peer, line);
    }

    /// The same of the device that signed an answer; else of whoever sent it.
    fn log_of(&self, device: Option<&str>, line: &str) {
        match device {
            Some(device) => log::of_device(self.peer, device, line),
            None => self.log(line),
        }
    }
}

impl Tam {
    /// A TAM with the configuration and the database of these paths. Warnings go to the log.
    ///
    /// # Errors
    /// If the configuration is wrong, a line for each mistake, or another process has the database.
    pub fn new(configuration: &Path, store: &Path) -> anyhow::Result<Self> {
        let path = store;
        let store = Arc::new(Store::open(store)?);
        let devices = {
            let store = store.clone();
            move || store.devices()
        };
        Ok(Self {
            configured: Configured::read_guarded(configuration, Guard::beside(path, devices))?,
            store,
            echoes: Echoes::new(PATIENCE)?,
            pending: Mutex::new(Pending::new(PATIENCE)),
        })
    }

    /// Every device that is remembered.
    ///
    /// # Errors
    /// If the disk fails, or a record is damaged.
    pub fn devices(&self) -> anyhow::Result<Vec<DeviceRecord>> {
        self.store.devices()
    }

    /// The state file, without links.
    #[must_use]
    pub fn state_file(&self) -> &Path {
        self.store.path()
    }

    /// A device connects, or whoever `peer` is: the request for its state.
    ///
    /// # Errors
    /// If the TAM's certificates or OCSP responses would be refused now, or there is no randomness.
    pub fn connect(&self, peer: &str) -> anyhow::Result<Vec<u8>> {
        let turn = &Turn { configuration: &self.configured.current(), peer };
        let signature = turn.settings().identity.signature_algorithm();
        let next = self.ask_for_state(turn, Session::new(random_id()?, signature))?;
        turn.log(&format!("a device connects: {}", next.line));
        next.message.context("a request is a message")
    }

    /// A device answers, or whoever `peer` is: the next request, or `None` if there is nothing more
    /// to do.
    ///
    /// # Errors
    /// [`Rejection::Refused`]: nothing is accepted, and the request still waits for its answer.
    /// [`Rejection::Failed`]: the device must connect again.
    pub fn process(&self, message: &[u8], peer: &str) -> Result<Option<Vec<u8>>, Rejection> {
        let turn = &Turn { configuration: &self.configured.current(), peer };
        let answer = match Reply::read(message)? {
            Reply::Answer(answer) => answer,
            Reply::AgentError { code, tid, .. } => {
                turn.log(&format!("the agent of transaction {tid:?} reports {code:?}"));
                return Ok(None);
            }
        };
        let request = (answer.tid().to_owned(), answer.rid().to_owned());
        let waiting = self.pending().waiting(&request);
        let (next, age) = match waiting {
            Some(waiting) => {
                let since = waiting.since;
                let next = match waiting.step.clone() {
                    None => self.on_state(turn, &waiting, &answer)?,
                    Some(step) => self.on_outcome(turn, waiting, &step, &answer)?,
                };
                (next, since.elapsed())
            }
            None => match self.echoes.recognize(answer.tid(), answer.rid()) {
                Some(question) => (self.on_first_state(turn, question, &answer)?, question.age),
                None => return self.not_waited_for(turn, &answer),
            },
        };
        turn.log_of(next.device.as_deref(), &format!("{} ({} ms)", next.line, age.as_millis()));
        Ok(next.message)
    }

    /// The answer to a question outside of any session, which begins one.
    fn on_first_state(
        &self,
        turn: &Turn<'_>,
        question: Question,
        answer: &Answer,
    ) -> Result<Next, Rejection> {
        let exchange = Exchange {
            name: RequestName::GetDeviceState,
            rid: answer.rid().to_owned(),
            tid: answer.tid().to_owned(),
            created: None,
            content_key: None,
            content_iv: None,
        };
        let mut session = Session::new(exchange.tid.clone(), question.signature);
        session.changed_key = question.changed_key;
        let accept = |key: &str, revision: u64| {
            let current = revision <= question.sequence;
            if current {
                self.pending().end(key);
            }
            Ok(current)
        };
        self.on_state_of(turn, &exchange, session, answer, accept)
    }

    fn on_state(
        &self,
        turn: &Turn<'_>,
        waiting: &Waiting,
        answer: &Answer,
    ) -> Result<Next, Rejection> {
        let known = waiting.session.device.as_ref().context(NO_DEVICE)?;
        let accept = |key: &str, revision: u64| {
            if known.key != key || !self.pending().take(&waiting.key()) {
                return Err(Refused::WrongExchange);
            }
            Ok(known.revision == revision)
        };
        self.on_state_of(turn, &waiting.exchange, waiting.session.clone(), answer, accept)
    }

    /// The answer to GetDeviceState. `accept` is told the key of the device that signed it and the
    /// revision of the device's record, 0 if there is none. It refuses a device that may not answer,
    /// and says whether the record is the one that the request was made from.
    fn on_state_of(
        &self,
        turn: &Turn<'_>,
        exchange: &Exchange,
        mut session: Session,
        answer: &Answer,
        accept: impl FnOnce(&str, u64) -> Result<bool, Refused>,
    ) -> Result<Next, Rejection> {
        let settings = turn.settings();
        let identity = session.identity(settings)?;
        let answer = answer.device_state(Some(exchange), identity, &settings.tee_roots)?;
        let (state, device, signer_required) = match answer {
            StateAnswer::State { state, identity, signer_required } => {
                (state, identity, signer_required)
            }
            // Nobody signed this for sure: the request goes on waiting for a better answer.
            StateAnswer::Refused(refusal) => {
                return Ok(self.on_refused_state(turn, &session, &refusal)?);
            }
        };
        settings.firmware.check(state.dsi.tfwdata.as_ref(), &exchange.tid)?;
        let key = device.key();
        let _work = self.work_on(key)?;
        let before = self.store.find(key)?;
        settings.admission.check(key, &state.device_id, before.is_some())?;
        let revision = before.as_ref().map_or(0, |record| record.revision);
        let mut line = format!("device {}: GetDeviceState pass", short(&state.device_id));
        if !accept(key, revision)? {
            return Ok(self.start_over(turn, &session, line)?);
        }
        let mut record = before.unwrap_or_else(|| DeviceRecord::new(String::from(key)));
        if !record.device_id.is_empty() && record.device_id != state.device_id {
            let before = short(&record.device_id);
            line = format!("{line}, with another certificate than as {before}");
        }
        record.identify(&state.device_id, &device, |identifier| settings.is_retired(identifier));
        record.see(&state)?;
        session.state = Some(state);
        session.undead = false;
        session.signer_required = signer_required;
        self.go_on(turn, session, record, line)
    }

    /// A TEE refuses to tell its state. If it says that it cannot verify the signature, the TAM's
    /// other key may do.
    fn on_refused_state(
        &self,
        turn: &Turn<'_>,
        session: &Session,
        refusal: &Refusal,
    ) -> anyhow::Result<Next> {
        let line = format!("an unidentified TEE refuses GetDeviceState: {refusal}");
        let Some(other) = other_key(turn.settings(), session, refusal) else {
            let line = format!("{line}{}", explain(turn.settings(), session, refusal));
            return Ok(Next { message: None, line, device: None });
        };
        let mut session = session.clone();
        session.change_key(other);
        let next = self.ask_for_state(turn, session)?;
        Ok(Next { line: format!("{line}; {} with {}", next.line, other.name()), ..next })
    }

    /// A TEE that cannot read a request, or not verify it, answers without identifiers: to whom, is
    /// unknown, and that is not worth an error. If what it misses is a signature by the TAM's other
    /// key, that one begins a session of its own.
    fn not_waited_for(
        &self,
        turn: &Turn<'_>,
        answer: &Answer,
    ) -> Result<Option<Vec<u8>>, Rejection> {
        let Some(refusal) = answer.claimed_refusal() else {
            return Err(Refused::WrongExchange.into());
        };
        if !answer.tid().is_empty() || !answer.rid().is_empty() {
            return Err(Refused::WrongExchange.into());
        }
        let signature = turn.settings().identity.signature_algorithm();
        let session = Session::new(random_id()?, signature);
        // Without a list it would be a guess, and a guess may be repeated without end.
        if refusal.algorithms.is_empty() {
            let why = match refusal.error_code() {
                Some(ErrorCode::TamNotTrusted) => "does not trust this TAM",
                _ => "cannot read a request",
            };
            let more = explain(turn.settings(), &session, &refusal);
            turn.log(&format!("a TEE {why}: {refusal}{more}"));
            return Ok(None);
        }
        let next = self.on_refused_state(turn, &session, &refusal)?;
        turn.log(&next.line);
        Ok(next.message)
    }

    fn on_outcome(
        &self,
        turn: &Turn<'_>,
        waiting: Arc<Waiting>,
        step: &Step,
        answer: &Answer,
    ) -> Result<Next, Rejection> {
        let settings = turn.settings();
        let state = waiting.session.state.as_ref().context("a step without a state")?;
        let identity = waiting.session.identity(settings)?;
        let outcome = answer.outcome(Some(&waiting.exchange), identity, &state.certificate)?;
        let known = waiting.session.device.clone().context(NO_DEVICE)?;
        let line = format!("device {}: {step}", short(&state.device_id));
        let _work = self.work_on(&known.key)?;
        if !self.pending().take(&waiting.key()) {
            return Err(Refused::WrongExchange.into());
        }
        // Nothing else has it any more, unless the same answer came twice at the same time.
        let (mut session, version) = match Arc::try_unwrap(waiting) {
            Ok(Waiting { session, version, .. }) => (session, version),
            Err(shared) => (shared.session.clone(), shared.version),
        };
        let record = self.store.find(&known.key)?;
        let Some(mut record) = record.filter(|record| record.revision == known.revision) else {
            return Ok(self.start_over(turn, &session, line)?);
        };
        match outcome {
            Outcome::Fail(refusal) => {
                session.undead = true;
                let code = refusal.error_code();
                if step.is_lone_removal() && code == Some(ErrorCode::SpCertInvalid) {
                    session.made.insert(step.clone());
                    record.memory.record(step, None);
                    let line = format!("{line}: it was removed before");
                    return self.go_on(turn, session, record, line);
                }
                let line = format!("{line} refused: {refusal}");
                // A TEE that fails may have done it.
                if step.leaves_doubt() && code != Some(ErrorCode::TeeFail) {
                    record.memory.withdraw(step);
                }
                if let Some(remedy) = remedy(settings, &session, step, &refusal) {
                    session.apply(&remedy, step);
                    return self.go_on(turn, session, record, line);
                }
                session.made.insert(step.clone());
                session.fail(&format!("{step}: {refusal}"));
                // The state is another one, or may be: no step is sent on one that is over.
                if matches!(code, Some(ErrorCode::DevStateMismatch | ErrorCode::TeeFail)) {
                    session.state = None;
                }
                let line = match code {
                    Some(ErrorCode::TamNotTrusted) => {
                        format!("{line}{}", explain(settings, &session, &refusal))
                    }
                    _ => line,
                };
                session.ending |= concerns_every_request(&refusal);
                self.go_on(turn, session, record, line)
            }
            Outcome::Pass(passed) => {
                session.made.insert(step.clone());
                // What was refused before names a state that is over.
                session.undead = false;
                let Passed { state, .. } = *passed;
                record.memory.record(step, version);
                if let Some(state) = &state {
                    record.see(state)?;
                }
                session.state = state.map(Box::new);
                self.go_on(turn, session, record, format!("{line} pass"))
            }
        }
    }

    /// The request for the first step that was not made yet; or for the state, if it is not known,
    /// or if what was refused could otherwise be carried out later; or nothing, if there is nothing
    /// to do. What is sent is sent after the record is on the disk.
    fn go_on(
        &self,
        turn: &Turn<'_>,
        mut session: Session,
        mut record: DeviceRecord,
        line: String,
    ) -> Result<Next, Rejection> {
        // Only the state is asked for any more, at most twice.
        session.ending |= session.requests >= SESSION_REQUESTS;
        let configuration = turn.configuration;
        let retired = configuration.tam.retires(&record);
        // The list may have changed since the session began.
        let is_listed = configuration.tam.admission.lists(&record.key, &record.device_id);
        let found = match is_listed {
            true => self.next_step(turn, &mut session, &record, retired),
            false => None,
        };
        if let Some((_, _, step)) = &found
            && step.leaves_doubt()
        {
            record.memory.announce(step);
        }
        let Some(revision) = self.store.replace(&record, session.changed_failures())? else {
            return Ok(self.start_over(turn, &session, line)?);
        };
        session.failures_changed = false;
        let device = Some(record.key.clone());
        if !is_listed {
            let line = format!("{line}; it is not on the list of devices any more");
            return Ok(Next { message: None, line, device });
        }
        let asks = session.state.is_none();
        let undead = session.undead;
        let failed = !session.failures.is_empty();
        session.device = Some(Known { key: record.key, revision });
        if let Some((request, version, step)) = found {
            let line = format!("{line}; next {step}");
            let message = self.wait(request, Some(step), version, session)?;
            return Ok(Next { message: Some(message), line, device });
        }
        if asks || undead {
            let next = self.ask_for_state(turn, session)?;
            let why = if asks { "" } else { ", so that no refused request counts later" };
            return Ok(Next { line: format!("{line}; {}{why}", next.line), device, ..next });
        }
        let end = match (failed, retired) {
            (true, _) => "the rest failed",
            (false, false) => "as desired",
            (false, true) => "retired",
        };
        Ok(Next { message: None, line: format!("{line}; {end}"), device })
    }

    /// The first step that is due and was not made in this session, and its request. What cannot be
    /// done counts as failed.
    fn next_step(
        &self,
        turn: &Turn<'_>,
        session: &mut Session,
        record: &DeviceRecord,
        retired: bool,
    ) -> Option<(Request, Option<u32>, Step)> {
        let state = session.state.take()?;
        let configuration = turn.configuration;
        let target = Target::from(&*state);
        let nothing = DesiredState::default();
        let desired = if retired { &nothing } else { &configuration.desired };
        let Plan { steps, conflicts } = plan(desired, &state.dsi, &record.memory);
        let mut failures = conflicts;
        let mut found = None;
        if !session.ending {
            for step in steps {
                if session.made.contains(&step) {
                    continue;
                }
                match order::make(configuration, session, &state.dsi, &target, &step) {
                    Ok((request, version)) => {
                        found = Some((request, version, step));
                        break;
                    }
                    Err(error) => {
                        failures.push(format!("{step}: {error:#}"));
                        session.made.insert(step);
                    }
                }
            }
        }
        for failure in &failures {
            if session.fail(failure) {
                let line = format!("device {}: {failure}", short(&record.device_id));
                turn.log_of(Some(&record.key), &line);
            }
        }
        session.state = Some(state);
        found
    }

    /// Asks for the state outside of the session, which is over: the answer was late, and if the
    /// device has another session, that one goes on.
    fn start_over(&self, turn: &Turn<'_>, session: &Session, line: String) -> anyhow::Result<Next> {
        let mut again = Session::new(session.tid.clone(), session.signature);
        again.changed_key = session.changed_key;
        let next = self.ask_for_state(turn, again)?;
        let line = format!("{line}, too late to count; {}", next.line);
        Ok(Next { line, ..next })
    }

    fn ask_for_state(&self, turn: &Turn<'_>, session: Session) -> anyhow::Result<Next> {
        let settings = turn.settings();
        let identity = check::stapled(settings, session.identity(settings)?)?;
        let mut question = Builder::device_state(&identity).tid(session.tid.clone());
        let message = if session.device.is_some() {
            self.wait(question.build()?, None, None, session)?
        } else {
            let sequence = self.store.sequence();
            let rid =
                self.echoes.ask(&session.tid, session.signature, session.changed_key, sequence)?;
            question = question.rid(rid);
            question.build()?.message
        };
        let line = String::from("next GetDeviceState");
        Ok(Next { message: Some(message), line, device: None })
    }

    /// Remembers a request to a device until its answer comes.
    fn wait(
        &self,
        request: Request,
        step: Option<Step>,
        version: Option<u32>,
        mut session: Session,
    ) -> anyhow::Result<Vec<u8>> {
        session.requests += 1;
        // The rest of a state is of no use any more, and may be long.
        if let Some(state) = &mut session.state {
            state.document = Vec::new();
        }
        let device = session.device.as_ref().context(NO_DEVICE)?.key.clone();
        let Request { message, exchange } = request;
        let waiting = Waiting { exchange, step, version, session, since: Instant::now() };
        self.pending().wait(&device, waiting.key(), waiting);
        Ok(message)
    }

    /// Takes the place that a device has for its answers.
    fn work_on(&self, key: &str) -> Result<Work<'_>, Rejection> {
        match self.pending().begin_work(key) {
            true => Ok(Work { tam: self, key: key.to_owned() }),
            false => Err(Rejection::Busy),
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending<Waiting>> {
        // The table is consistent between any two of its operations.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const NO_DEVICE: &str = "a session without a device";

/// The place of a device for its answers, which ends with this value.
struct Work<'t> {
    tam: &'t Tam,
    key: String,
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        self.tam.pending().end_work(&self.key);
    }
}

/// Enough of a device's identifier to tell devices apart in a log.
fn short(device_id: &str) -> &str {
    device_id.get(..8).unwrap_or(device_id)
}
