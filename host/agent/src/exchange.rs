//! The agent's loop: from the TAM to the TEE and back, until the TAM has nothing more.

use std::fmt;
use std::time::{Duration, Instant};

use crate::http::{Tam, TamError};
use crate::message::{Outcome, broker_error, for_tam, outcome, request_name};
use crate::tee::{Tee, TeeError};

/// Most messages of a TAM in one session. Filling and emptying a device of 32 security domains and 128
/// trusted applications takes fewer, so only a TAM that never stops reaches it.
pub const EXCHANGE_LIMIT: usize = 512;

/// Consecutive messages that the TEE cannot answer before the session ends: the sender is not a TAM, or
/// the TEE is broken.
pub const UNANSWERED_LIMIT: usize = 3;

/// Consecutive messages of one name that the TEE refuses with the same code before the session ends. The
/// TAM sees the code too, and has fewer algorithm suites to try.
pub const REFUSED_LIMIT: usize = 8;

/// One message of a TAM and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The message's name, without `Request`.
    pub name: String,
    /// The TEE's result.
    pub result: Result<Outcome, TeeError>,
    /// How long the TEE took.
    pub duration: Duration,
}

/// Why a session with a TAM failed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The TAM failed.
    #[error(transparent)]
    Tam(#[from] TamError),
    /// The TEE failed, which was reported to the TAM.
    #[error("the TEE did not answer a message of the TAM: {0}")]
    Tee(TeeError),
    /// The TEE did not answer several consecutive messages.
    #[error("the TEE did not answer {UNANSWERED_LIMIT} consecutive messages of the TAM: {0}")]
    Unanswerable(TeeError),
    /// The TEE refused something that the TAM wanted, and the TAM did not repeat it successfully.
    #[error("the TEE refuses {0}")]
    Refused(Refusal),
    /// The TAM does not stop.
    #[error("the TAM did not end the session after {EXCHANGE_LIMIT} messages")]
    Endless,
}

/// A message that the TEE refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The message's name.
    pub name: String,
    /// The TEE's code; `None` where the reason is for the TAM alone.
    pub code: Option<String>,
}

impl Refusal {
    /// Whether a TAM repeats the message in another form or for the current state after it, so that a
    /// later one may have been the same again. After any other refusal the next one is another.
    fn is_repeated(&self) -> bool {
        matches!(
            self.code.as_deref(),
            Some("ERR_DEV_STATE_MISMATCH" | "ERR_TAM_NOT_TRUSTED" | "ERR_UNSUPPORTED_CRYPTO_ALG")
        )
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, code } = self;
        match code.as_deref() {
            None => {
                write!(formatter, "{name}; the reason is encrypted for the TAM, whose log has it")
            }
            Some(code @ "ERR_TAM_NOT_TRUSTED") => write!(
                formatter,
                "{name}: {code} (the TAM's certificates do not lead to a root in this device's image, they or their OCSP responses are not current, or the TEE's clock is wrong: otrp-agent status)"
            ),
            Some(code) => write!(formatter, "{name}: {code}"),
        }
    }
}

impl Exchange {
    /// The refusal, if it is one.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        let code = match &self.result {
            Ok(Outcome::Fail(code)) => Some(code.clone()),
            Ok(Outcome::Sealed) => None,
            _ => return None,
        };
        Some(Refusal { name: self.name.clone(), code })
    }
}

/// The outcome of a session so far.
#[derive(Debug, Default)]
struct Account {
    failure: Option<TeeError>,
    unanswered: usize,
    /// How many times in a row the last refusal occurred.
    in_a_row: usize,
    /// Refusals that were not repeated with success.
    refusals: Vec<Refusal>,
}

impl Account {
    fn add(&mut self, exchange: &Exchange) -> Result<(), SessionError> {
        if exchange.result == Ok(Outcome::Pass) {
            let repeated =
                |refusal: &Refusal| refusal.name == exchange.name && refusal.is_repeated();
            self.refusals.retain(|refusal| !repeated(refusal));
        }
        let refusal = exchange.refusal();
        self.in_a_row = match (&refusal, self.refusals.last()) {
            (Some(refusal), Some(last)) if refusal == last && last.code.is_some() => {
                self.in_a_row + 1
            }
            _ => usize::from(refusal.is_some()),
        };
        self.refusals.extend(refusal.clone());
        if let Some(refusal) = refusal
            && self.in_a_row >= REFUSED_LIMIT
        {
            return Err(SessionError::Refused(refusal));
        }
        let Err(failure) = exchange.result else {
            self.unanswered = 0;
            return Ok(());
        };
        self.failure = self.failure.or(Some(failure));
        self.unanswered += 1;
        if self.unanswered < UNANSWERED_LIMIT {
            return Ok(());
        }
        Err(SessionError::Unanswerable(failure))
    }

    fn close(self) -> Result<(), SessionError> {
        if let Some(failure) = self.failure {
            return Err(SessionError::Tee(failure));
        }
        match self.refusals.into_iter().next() {
            Some(refusal) => Err(SessionError::Refused(refusal)),
            None => Ok(()),
        }
    }
}

/// Passes one message to the TEE; returns the bytes to send back to the TAM, and what to report.
///
/// There is always an answer: if the TEE has none, it is the agent's own error message.
pub fn process(tee: &mut dyn Tee, request: &[u8]) -> (Vec<u8>, Exchange) {
    let name = request_name(request);
    let started = Instant::now();
    let reply = tee.process(request);
    let duration = started.elapsed();
    match reply {
        Ok(reply) => {
            let result = Ok(outcome(&reply));
            (for_tam(reply), Exchange { name, result, duration })
        }
        Err(error) => (broker_error(error), Exchange { name, result: Err(error), duration }),
    }
}

/// Asks the TAM for work until it has none; `report` is called for each message.
///
/// A failure of the TEE is reported to the TAM, which may know what to do, and the session continues
/// unless [`UNANSWERED_LIMIT`] of them follow each other; the first one is the session's result. So is
/// a refusal, unless the same command passed later.
///
/// # Errors
/// `SessionError` says which side failed.
pub fn run(
    tam: &Tam,
    tee: &mut dyn Tee,
    report: &mut dyn FnMut(&Exchange),
) -> Result<(), SessionError> {
    let mut account = Account::default();
    let mut request = tam.post(None)?;
    for _ in 0..EXCHANGE_LIMIT {
        let Some(message) = request else {
            return account.close();
        };
        let (answer, exchange) = process(tee, &message);
        report(&exchange);
        account.add(&exchange)?;
        request = tam.post(Some(&answer))?;
    }
    match request {
        None => account.close(),
        Some(_) => Err(SessionError::Endless),
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = match &self.result {
            Ok(Outcome::Pass) => "pass",
            Ok(Outcome::Fail(code)) => code,
            Ok(Outcome::Sealed) => "refused",
            Ok(Outcome::Unclear) => "answered",
            Err(error) => error.code(),
        };
        write!(formatter, "{:<16} {result:<28} {} ms", self.name, self.duration.as_millis())
    }
}
