//! The TAM itself: one message in, the next one out, until a device is as desired.
//!
//! HTTP keeps no state between requests, and who sends one is anybody's guess: an answer is matched
//! to its request by `tid` and `rid`, which the TEE signs, and by nothing else.

use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use otrp_wire::ErrorCode;
use otrp_wire::limits::MESSAGE_LIMIT;
use thiserror::Error;

use crate::desired::{Configuration, DesiredState, TamSettings};
use crate::dsi::{DeviceState, Dsi};
use crate::message::{
    Application, Builder, Command, Exchange, Request, SdChanges, Target, random_id,
};
use crate::plan::{DomainName, Plan, Step, plan};
use crate::response::{Answer, Outcome, Passed, Refusal, Refused, Reply, StateAnswer};
use crate::store::{DeviceRecord, Store};

/// How long an answer may take: an agent on a slow network sends a large image through.
const PATIENCE: Duration = Duration::from_secs(600);
/// Most requests that wait for their answers; anyone may connect, so there must be an end.
pub const WAITING_LIMIT: usize = 1024;
/// How often a session starts over because the device's state was another one.
const REFRESH_LIMIT: u32 = 3;

/// Why a message got no reply.
#[derive(Debug, Error)]
pub enum Rejection {
    /// The message is at fault.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The TAM is at fault.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

/// A TAM that serves any number of devices at a time.
pub struct Tam {
    configuration: PathBuf,
    store: Store,
    waiting: Mutex<HashMap<(String, String), Arc<Waiting>>>,
}

/// A request whose answer is due.
struct Waiting {
    exchange: Exchange,
    /// The step that the request makes; `None` if it asks for the state.
    step: Option<Step>,
    /// The version of the image that the step carries.
    version: Option<u32>,
    session: Session,
    since: Instant,
}

/// One connection of a device, from its first state to the last answer.
#[derive(Clone)]
struct Session {
    tid: String,
    /// The last state that the device's TEE signed.
    state: Option<Box<DeviceState>>,
    /// Steps that were answered. None is made twice, so a session ends, whatever a device says.
    made: HashSet<Step>,
    refreshes: u32,
}

/// What follows in a session, and what to say of it in the log.
struct Next {
    message: Option<Vec<u8>>,
    line: String,
}

impl Tam {
    /// A TAM with the configuration and the database of these paths.
    ///
    /// # Errors
    /// If the configuration is wrong, or another process has the database.
    pub fn new(configuration: &Path, store: &Path) -> anyhow::Result<Self> {
        Configuration::read(configuration)?;
        Ok(Self {
            configuration: configuration.to_path_buf(),
            store: Store::open(store)?,
            waiting: Mutex::default(),
        })
    }

    /// A device connects: the request for its state.
    ///
    /// # Errors
    /// If the configuration became wrong, or there is no randomness.
    pub fn connect(&self) -> anyhow::Result<Vec<u8>> {
        let settings = TamSettings::read(&self.configuration)?;
        let session =
            Session { tid: random_id()?, state: None, made: HashSet::new(), refreshes: 0 };
        let next = self.ask_for_state(&settings, session)?;
        log(&format!("a device connects: {}", next.line));
        next.message.context("a request is a message")
    }

    /// A device answers: the next request, or `None` if there is nothing more to do.
    ///
    /// # Errors
    /// [`Rejection::Refused`]: nothing is believed, and the request still waits for its answer.
    /// [`Rejection::Failed`]: the device must connect again.
    pub fn process(&self, message: &[u8]) -> Result<Option<Vec<u8>>, Rejection> {
        let answer = match Reply::read(message)? {
            Reply::Answer(answer) => answer,
            Reply::AgentError { code, tid, .. } => {
                log(&format!("the agent of transaction {tid:?} reports {code:?}"));
                return Ok(None);
            }
        };
        let key = (answer.tid().to_owned(), answer.rid().to_owned());
        let Some(waiting) = self.lock().get(&key).cloned() else {
            return not_waited_for(&answer);
        };
        // Not the desired state with its images: strangers get no further than this.
        let settings = TamSettings::read(&self.configuration)?;
        let next = match &waiting.step {
            None => self.on_state(&settings, &waiting, &answer)?,
            Some(step) => self.on_outcome(&settings, &waiting, step, &answer)?,
        };
        log(&format!("{} ({} ms)", next.line, waiting.since.elapsed().as_millis()));
        Ok(next.message)
    }

    fn on_state(
        &self,
        settings: &TamSettings,
        waiting: &Waiting,
        answer: &Answer,
    ) -> Result<Next, Rejection> {
        let answer = answer.device_state(
            Some(&waiting.exchange),
            &settings.identity,
            &settings.tee_roots,
        )?;
        let state = match answer {
            StateAnswer::State { state, .. } => state,
            StateAnswer::Refused(refusal) => {
                // Nobody signed this for sure: the request goes on waiting for a better answer.
                let line =
                    format!("an unidentified TEE refuses GetDeviceState: {}", show(&refusal));
                return Ok(Next { message: None, line });
            }
        };
        let mut session = self.take(waiting)?;
        let record = self.store.update(&state.device_id, |before| {
            let mut record = match before {
                Some(record) => record,
                None => DeviceRecord::new(&state)?,
            };
            record.see(&state);
            if session.refreshes == 0 {
                record.failures.clear();
            }
            Ok(record)
        })?;
        let line = format!("device {}: GetDeviceState pass", short(&state.device_id));
        session.state = Some(state);
        self.go_on(session, record, line)
    }

    fn on_outcome(
        &self,
        settings: &TamSettings,
        waiting: &Waiting,
        step: &Step,
        answer: &Answer,
    ) -> Result<Next, Rejection> {
        let state = waiting.session.state.as_ref().context("a step without a state")?;
        let outcome =
            answer.outcome(Some(&waiting.exchange), &settings.identity, &state.certificate)?;
        let mut session = self.take(waiting)?;
        let device_id = state.device_id.clone();
        let line = format!("device {}: {step}", short(&device_id));
        match outcome {
            Outcome::Fail(refusal)
                if refusal.error_code() == Some(ErrorCode::DevStateMismatch)
                    && session.refreshes < REFRESH_LIMIT =>
            {
                session.refreshes += 1;
                let next = self.ask_for_state(settings, session)?;
                let line = format!("{line} refused: {}; {}", show(&refusal), next.line);
                Ok(Next { line, ..next })
            }
            Outcome::Fail(refusal) => {
                session.made.insert(step.clone());
                let failure = format!("{step}: {}", show(&refusal));
                let record = self.change(&device_id, |record| record.failures.push(failure))?;
                let line = format!("{line} refused: {}", show(&refusal));
                self.go_on(session, record, line)
            }
            Outcome::Pass(passed) => {
                session.made.insert(step.clone());
                let Passed { state, .. } = *passed;
                let record = self.change(&device_id, |record| {
                    record.memory.record(step, waiting.version);
                    if let Some(state) = &state {
                        record.see(state);
                    }
                })?;
                session.state = state.map(Box::new);
                self.go_on(session, record, format!("{line} pass"))
            }
        }
    }

    /// The request for the first step that was not made yet; or for the state, if it is not
    /// known; or nothing, if there is nothing to do.
    fn go_on(
        &self,
        mut session: Session,
        record: DeviceRecord,
        line: String,
    ) -> Result<Next, Rejection> {
        let configuration = Configuration::read(&self.configuration)?;
        let Some(state) = session.state.as_deref() else {
            let next = self.ask_for_state(&configuration.tam, session)?;
            return Ok(Next { line: format!("{line}; {}", next.line), ..next });
        };
        let target = Target::from(state);
        let Plan { steps, conflicts } = plan(&configuration.desired, &state.dsi, &record.memory);
        let mut failures = conflicts;
        let open: Vec<Step> =
            steps.into_iter().filter(|step| !session.made.contains(step)).collect();
        let mut request = None;
        for step in open {
            match make(&configuration, &session.tid, &state.dsi, &target, &step) {
                Ok((made, version)) => {
                    request = Some((made, version, step));
                    break;
                }
                Err(error) => {
                    failures.push(format!("{step}: {error:#}"));
                    session.made.insert(step);
                }
            }
        }
        failures.retain(|failure| !record.failures.contains(failure));
        for failure in &failures {
            log(&format!("device {}: {failure}", short(&record.device_id)));
        }
        let failed = !record.failures.is_empty() || !failures.is_empty();
        if !failures.is_empty() {
            self.change(&record.device_id, |record| record.failures.extend(failures))?;
        }
        let Some((request, version, step)) = request else {
            let end = if failed { "the rest failed" } else { "as desired" };
            return Ok(Next { message: None, line: format!("{line}; {end}") });
        };
        let line = format!("{line}; next {step}");
        Ok(Next { message: Some(self.wait(request, Some(step), version, session)), line })
    }

    fn ask_for_state(&self, settings: &TamSettings, session: Session) -> anyhow::Result<Next> {
        let request = Builder::device_state(&settings.identity).tid(session.tid.clone()).build()?;
        let message = self.wait(request, None, None, session);
        Ok(Next { message: Some(message), line: String::from("next GetDeviceState") })
    }

    /// Remembers a request until its answer comes.
    fn wait(
        &self,
        request: Request,
        step: Option<Step>,
        version: Option<u32>,
        session: Session,
    ) -> Vec<u8> {
        let Request { message, exchange } = request;
        let key = (exchange.tid.clone(), exchange.rid.clone());
        let waiting = Waiting { exchange, step, version, session, since: Instant::now() };
        let mut table = self.lock();
        table.retain(|_, waiting| waiting.since.elapsed() < PATIENCE);
        if table.len() >= WAITING_LIMIT {
            // Who has shown no state yet may be anyone, and gives way first.
            let oldest = table
                .iter()
                .max_by_key(|(_, waiting)| (waiting.step.is_none(), waiting.since.elapsed()))
                .map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                table.remove(&oldest);
            }
        }
        table.insert(key, Arc::new(waiting));
        message
    }

    /// Ends the wait for an answer that was verified. Of two copies of it, one is refused.
    fn take(&self, waiting: &Waiting) -> Result<Session, Refused> {
        let key = (waiting.exchange.tid.clone(), waiting.exchange.rid.clone());
        self.lock().remove(&key).ok_or(Refused::WrongExchange)?;
        Ok(waiting.session.clone())
    }

    fn change(
        &self,
        device_id: &str,
        change: impl FnOnce(&mut DeviceRecord),
    ) -> anyhow::Result<DeviceRecord> {
        self.store.update(device_id, |record| {
            let mut record = record.context("the device's record is gone")?;
            change(&mut record);
            Ok(record)
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Arc<Waiting>>> {
        // The table is consistent between any two of its operations.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A TEE that could not even read a request answers it without identifiers: not worth an error.
fn not_waited_for(answer: &Answer) -> Result<Option<Vec<u8>>, Rejection> {
    match answer.claimed_refusal() {
        Some(refusal) if answer.tid().is_empty() && answer.rid().is_empty() => {
            log(&format!("a TEE cannot read a request: {}", show(&refusal)));
            Ok(None)
        }
        _ => Err(Refused::WrongExchange.into()),
    }
}

/// Makes the request of a step, and says the version of the image in it.
fn make(
    configuration: &Configuration,
    tid: &str,
    dsi: &Dsi,
    target: &Target,
    step: &Step,
) -> anyhow::Result<(Request, Option<u32>)> {
    let (command, version) = command(&configuration.desired, dsi, step)
        .context("the configuration has no such thing")?;
    let request = Builder::command(&configuration.tam.identity, target, command)
        .tid(tid)
        .content_encryption(configuration.tam.content_encryption)
        .ta_encryption(configuration.tam.ta_encryption)
        .build()?;
    ensure!(
        request.message.len() <= MESSAGE_LIMIT,
        "the message is {} bytes long, and a device takes {MESSAGE_LIMIT}",
        request.message.len()
    );
    Ok((request, version))
}

/// The command of a step that was planned from this desired state and this device state.
fn command<'a>(
    desired: &'a DesiredState,
    dsi: &Dsi,
    step: &'a Step,
) -> Option<(Command<'a>, Option<u32>)> {
    let wanted = |domain: &DomainName| desired.domain(&domain.spid, &domain.name);
    // The draft's deletions name no SP; where the name alone is ambiguous, they must.
    let spid_if_ambiguous = |domain: &'a DomainName| {
        let same = dsi.tee.sdlist.sd.iter().filter(|sd| sd.name == domain.name).count();
        (same > 1).then_some(domain.spid.as_str())
    };
    Some(match step {
        Step::DeleteTa { domain, taid } => {
            let spid = spid_if_ambiguous(domain);
            (Command::DeleteTa { spid, name: &domain.name, taid }, None)
        }
        Step::DeleteSd { domain } => {
            let spid = spid_if_ambiguous(domain);
            (Command::DeleteSd { spid, name: &domain.name, delete_tas: false }, None)
        }
        Step::CreateSd { domain, certificate } => {
            let certificate = &wanted(domain)?.certificate(certificate)?.bytes;
            (Command::CreateSd { spid: &domain.spid, name: &domain.name, certificate }, None)
        }
        Step::UpdateSd { domain, add, remove } => {
            let wanted = wanted(domain)?;
            let add = add.iter().map(|digest| Some(wanted.certificate(digest)?.bytes.as_slice()));
            let changes = SdChanges {
                add: add.collect::<Option<Vec<_>>>()?,
                remove: remove.iter().map(String::as_str).collect(),
                ..SdChanges::default()
            };
            (Command::UpdateSd { spid: &domain.spid, name: &domain.name, changes }, None)
        }
        Step::InstallTa { domain, taid, .. } => {
            let wanted = wanted(domain)?.application(taid)?;
            let application = Application {
                spid: &domain.spid,
                domain: &domain.name,
                taid,
                certificate: None,
                image: Some(&wanted.image.bytes),
                personalization: wanted.personalization.as_ref().map(|it| it.bytes.as_slice()),
            };
            (Command::InstallTa(application), Some(wanted.version))
        }
        Step::UpdateTa { domain, taid, image, personalization } => {
            let wanted = wanted(domain)?.application(taid)?;
            let data = wanted.personalization.as_ref().map(|it| it.bytes.as_slice());
            let application = Application {
                spid: &domain.spid,
                domain: &domain.name,
                taid,
                certificate: None,
                image: image.as_ref().map(|_| wanted.image.bytes.as_slice()),
                personalization: personalization.as_ref().and(data),
            };
            (Command::UpdateTa(application), image.as_ref().map(|_| wanted.version))
        }
    })
}

fn show(refusal: &Refusal) -> String {
    // What a device says is quoted: it may hold line breaks.
    let code = match refusal.error_code() {
        Some(code) => String::from(code.as_str()),
        None => format!("{:?}", refusal.code),
    };
    if refusal.message.is_empty() { code } else { format!("{code} {:?}", refusal.message) }
}

/// Enough of a device's identifier to tell devices apart in a log.
fn short(device_id: &str) -> &str {
    device_id.get(..8).unwrap_or(device_id)
}

/// One line to standard error; whoever runs the server adds the time.
pub(crate) fn log(line: &str) {
    // What a device sends can stand in an error's text, and must not begin a line of its own.
    let line = line.replace(char::is_control, " ");
    // `eprintln!` panics when nobody reads, and the server shall outlive its reader.
    let _ = writeln!(std::io::stderr(), "{line}");
}
