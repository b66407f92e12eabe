//! The agent's loop: from the TAM to the TEE and back, until the TAM has nothing more.

use std::fmt;
use std::time::{Duration, Instant};

use crate::http::{Tam, TamError};
use crate::message::{Outcome, broker_error, for_tam, outcome, request_name};
use crate::tee::{Tee, TeeError};

/// Most messages of a TAM in one session. A device has room for 32 security domains and 128
/// trusted applications; to fill and empty it takes fewer, and a TAM that never stops is stopped.
pub const EXCHANGE_LIMIT: usize = 512;

/// One message of a TAM and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The message's name, without `Request`.
    pub name: String,
    /// What the TEE made of it.
    pub result: Result<Outcome, TeeError>,
    /// How long the TEE took.
    pub duration: Duration,
}

/// Why a session with a TAM did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The TAM's part.
    #[error(transparent)]
    Tam(#[from] TamError),
    /// The TEE's part. The TAM has been told.
    #[error("the TEE left a message of the TAM without an answer: {0}")]
    Tee(TeeError),
    /// The TAM does not stop.
    #[error("the TAM has not come to an end after {EXCHANGE_LIMIT} messages")]
    Endless,
}

/// Has the TEE process one message: the bytes to send back to the TAM, and the account of it.
///
/// There is always an answer: where the TEE has none, it is the agent's own error message.
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

/// Asks the TAM for work, and goes on until it has none; `report` hears of every message.
///
/// A failure of the TEE is told to the TAM, which may know what to do; the session goes on, and
/// the first such failure is its result.
///
/// # Errors
/// `SessionError` says which side failed.
pub fn run(
    tam: &Tam,
    tee: &mut dyn Tee,
    report: &mut dyn FnMut(&Exchange),
) -> Result<(), SessionError> {
    let mut failure = None;
    let mut request = tam.post(None)?;
    for _ in 0..EXCHANGE_LIMIT {
        let Some(message) = request else {
            return failure.map_or(Ok(()), |error| Err(SessionError::Tee(error)));
        };
        let (answer, exchange) = process(tee, &message);
        report(&exchange);
        failure = failure.or(exchange.result.err());
        request = tam.post(Some(&answer))?;
    }
    match request {
        None => failure.map_or(Ok(()), |error| Err(SessionError::Tee(error))),
        Some(_) => Err(SessionError::Endless),
    }
}

impl fmt::Display for Exchange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let result = match &self.result {
            Ok(Outcome::Pass) => "pass",
            Ok(Outcome::Fail(code)) => code,
            Ok(Outcome::Unclear) => "answered",
            Err(error) => error.code(),
        };
        write!(formatter, "{:<16} {result:<28} {} ms", self.name, self.duration.as_millis())
    }
}
