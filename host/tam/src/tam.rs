//! The TAM itself: takes one message and returns the next.
//!
//! HTTP keeps no state between requests, and the sender of a request is unknown. An answer is matched
//! to its request by `tid` and `rid`, which the TEE signs, and by nothing else. Until a TEE has signed
//! a state, nothing is stored for a client ([`crate::echo`]); from then on a device has one session
//! (`session.rs`), and its request is in [`crate::pending`].
//!
//! Answers can be late: the device's owner may hold one back or run two agents. An answer is accepted
//! only if the device's record is still the revision that the request was made from. The record that
//! follows from it is stored in one transaction, including the doubts about the next request, before
//! that request is sent. A late answer is dropped, and the state is requested again.
//!
//! A refusal holds only for the moment: a request that was refused because storage failed or was full
//! can be replayed later by anyone who kept it, as long as the state that it names is current. So a
//! session that ends with a refusal requests the state once more, which invalidates the state that
//! all former requests name.

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

/// How long an answer may take: an agent may have to transfer a large image over a slow network.
const PATIENCE: Duration = Duration::from_secs(600);
/// Requests in one session: more than it takes to empty a full device and fill it again. Without a
/// limit a device could keep a session open forever by showing something new to delete in each state.
const SESSION_REQUESTS: usize = 1024;

/// Why a message got no reply.
#[derive(Debug, Error)]
pub enum Rejection {
    /// The message is not acceptable.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Another answer of the same device is being processed.
    #[error("another answer of the same device is being processed")]
    Busy,
    /// The device is of a vendor that this TAM serves, but is not admitted itself.
    #[error(transparent)]
    NotAdmitted(#[from] NotAdmitted),
    /// The TAM failed.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

/// A TAM. Serves any number of devices at a time.
pub struct Tam {
    configured: Configured,
    store: Arc<Store>,
    echoes: Echoes,
    pending: Mutex<Pending<Waiting>>,
}

/// The next message of a session, and the log line about it.
struct Next {
    message: Option<Vec<u8>>,
    line: String,
    /// Fingerprint of the key that signed the answer. `None` if the answer is unsigned, or was not
    /// accepted: anyone can send such an answer again.
    device: Option<String>,
}

/// What is needed to process one message.
struct Turn<'t> {
    configuration: &'t Configuration,
    /// Address of the sender, for the log.
    peer: &'t str,
}

impl Turn<'_> {
    const fn settings(&self) -> &TamSettings {
        &self.configuration.tam
    }

    fn log(&self, line: &str) {
        log::about_client(self.peer, line);
    }

    /// Logs a line about the device that signed an answer, or about the sender if there is none.
    fn log_of(&self, device: Option<&str>, line: &str) {
        match device {
            Some(device) => log::about_device(self.peer, device, line),
            None => self.log(line),
        }
    }
}

impl Tam {
    /// A TAM with the configuration and the database at these paths. Logs warnings.
    ///
    /// # Errors
    /// If the configuration is wrong (one line for each mistake), or another process has the database
    /// open.
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

    /// Every known device.
    ///
    /// # Errors
    /// If the disk fails, or a record is damaged.
    pub fn devices(&self) -> anyhow::Result<Vec<DeviceRecord>> {
        self.store.devices()
    }

    /// The path of the state file, links resolved.
    #[must_use]
    pub fn state_file(&self) -> &Path {
        self.store.path()
    }

    /// Processes a connection without a message from `peer`; returns the request for the device's
    /// state.
    ///
    /// # Errors
    /// If a device would refuse the TAM's certificates or OCSP responses now, or OpenSSL fails.
    pub fn connect(&self, peer: &str) -> anyhow::Result<Vec<u8>> {
        let turn = &Turn { configuration: &self.configured.current(), peer };
        let signature = turn.settings().identity.signature_algorithm();
        let next = self.ask_for_state(turn, Session::new(random_id()?, signature))?;
        turn.log(&format!("a device connects: {}", next.line));
        next.message.context("a request is a message")
    }

    /// Processes an answer from `peer`; returns the next request, or `None` if the session is over.
    ///
    /// # Errors
    /// [`Rejection::Refused`], [`Rejection::NotAdmitted`] and [`Rejection::Busy`] change nothing, and
    /// the request still waits for its answer. After [`Rejection::Failed`] the device must connect
    /// again.
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

    /// Processes the answer to a question asked outside any session, which begins one.
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

    /// Processes the answer to a question within a session.
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

    /// Processes an answer to GetDeviceState. `accept` is called with the fingerprint of the key that
    /// signed it and the revision of that device's record, 0 if it has none. It returns an error if the
    /// device must not answer this request, and otherwise whether the revision is the one that the
    /// request was made from.
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
            // A refusal cannot be verified, so the request keeps waiting for its answer.
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
        session.replayable = false;
        session.signer_required = signer_required;
        self.proceed(turn, session, record, line)
    }

    /// A TEE refused GetDeviceState. If it does not support the signature algorithm, the request is
    /// made again with the TAM's other key.
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

    /// Processes an answer that no request waits for. A TEE that cannot read or verify a request
    /// refuses without identifiers, which is no error. If it lists signature algorithms that the TAM's
    /// other key has, that key begins a session of its own.
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
        // Without a list the other key would be a guess, which could be repeated endlessly.
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

    /// Processes the answer to a step.
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
        // Shared only if the same answer arrived twice at the same time.
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
                self.on_refused_step(turn, session, record, step, &refusal, line)
            }
            Outcome::Pass(passed) => {
                session.made.insert(step.clone());
                // Requests refused before name a state that is no longer current.
                session.replayable = false;
                let Passed { state, .. } = *passed;
                record.memory.record(step, version);
                if let Some(state) = &state {
                    record.see(state)?;
                }
                session.state = state.map(Box::new);
                self.proceed(turn, session, record, format!("{line} pass"))
            }
        }
    }

    /// Processes the refusal of a step: takes back what the request had made doubtful, then tries a
    /// remedy, or counts the step as failed.
    fn on_refused_step(
        &self,
        turn: &Turn<'_>,
        mut session: Session,
        mut record: DeviceRecord,
        step: &Step,
        refusal: &Refusal,
        line: String,
    ) -> Result<Next, Rejection> {
        let settings = turn.settings();
        session.replayable = true;
        let code = refusal.error_code();
        if step.is_lone_removal() && code == Some(ErrorCode::SpCertInvalid) {
            session.made.insert(step.clone());
            record.memory.record(step, None);
            let line = format!("{line}: it had been removed before");
            return self.proceed(turn, session, record, line);
        }
        let line = format!("{line} refused: {refusal}");
        // A TEE that fails may have carried it out.
        if step.leaves_doubt() && code != Some(ErrorCode::TeeFail) {
            record.memory.withdraw(step);
        }
        if let Some(remedy) = remedy(settings, &session, step, refusal) {
            session.apply(&remedy, step);
            return self.proceed(turn, session, record, line);
        }
        session.made.insert(step.clone());
        session.fail(&format!("{step}: {refusal}"));
        // The state has changed, or may have: no step is sent on a state that is not current.
        if matches!(code, Some(ErrorCode::DevStateMismatch | ErrorCode::TeeFail)) {
            session.state = None;
        }
        let line = format!("{line}{}", explain(settings, &session, refusal));
        session.ending |= concerns_every_request(refusal);
        self.proceed(turn, session, record, line)
    }

    /// Stores the record, then returns the request for the first step not yet made. If no step is left,
    /// requests the state if it is unknown, or if a refused request could otherwise be replayed; else
    /// ends the session.
    fn proceed(
        &self,
        turn: &Turn<'_>,
        mut session: Session,
        mut record: DeviceRecord,
        line: String,
    ) -> Result<Next, Rejection> {
        // From here on only the state is requested, at most twice.
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
        let replayable = session.replayable;
        let failed = !session.failures.is_empty();
        session.device = Some(Known { key: record.key, revision });
        if let Some((request, version, step)) = found {
            let line = format!("{line}; next {step}");
            let message = self.wait(request, Some(step), version, session)?;
            return Ok(Next { message: Some(message), line, device });
        }
        if asks || replayable {
            let next = self.ask_for_state(turn, session)?;
            let why = if asks { "" } else { ", to invalidate refused requests" };
            return Ok(Next { line: format!("{line}; {}{why}", next.line), device, ..next });
        }
        let end = match (failed, retired) {
            (true, _) => "the rest failed",
            (false, false) => "as desired",
            (false, true) => "retired",
        };
        Ok(Next { message: None, line: format!("{line}; {end}"), device })
    }

    /// The first planned step that was not made in this session, with its request. A step for which no
    /// request can be made counts as failed.
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

    /// Requests the state outside the session, which ends because its answer was late. If the device
    /// has another session, that one continues.
    fn start_over(&self, turn: &Turn<'_>, session: &Session, line: String) -> anyhow::Result<Next> {
        let mut again = Session::new(session.tid.clone(), session.signature);
        again.changed_key = session.changed_key;
        let next = self.ask_for_state(turn, again)?;
        let line = format!("{line}, too late; {}", next.line);
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

    /// Keeps a request to a device until its answer arrives.
    fn wait(
        &self,
        request: Request,
        step: Option<Step>,
        version: Option<u32>,
        mut session: Session,
    ) -> anyhow::Result<Vec<u8>> {
        session.requests += 1;
        // Only the parsed state is needed from here on, and the document may be long.
        if let Some(state) = &mut session.state {
            state.document = Vec::new();
        }
        let device = session.device.as_ref().context(NO_DEVICE)?.key.clone();
        let Request { message, exchange } = request;
        let waiting = Waiting { exchange, step, version, session, since: Instant::now() };
        self.pending().wait(&device, waiting.key(), waiting);
        Ok(message)
    }

    /// Marks the device as busy: one answer of a device is processed at a time.
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

/// A device whose answer is being processed, until this value is dropped.
struct Work<'t> {
    tam: &'t Tam,
    key: String,
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        self.tam.pending().end_work(&self.key);
    }
}

/// The beginning of a device's identifier: enough to tell devices apart in a log.
fn short(device_id: &str) -> &str {
    device_id.get(..8).unwrap_or(device_id)
}
