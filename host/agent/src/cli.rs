//! The command line.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Parser, Subcommand};
use otrp_wire::limits::MESSAGE_LIMIT;
use rustls_pki_types::CertificateDer;
use uuid::fmt::Hyphenated;

use crate::exchange::{self, SessionError};
use crate::http::{Settings, Tam, TamError};
use crate::message::{Outcome, TaName};
use crate::tee::{Presence, Tee, TeeError, result_name};
use crate::time::{TOLERANCE, now, utc};

/// A line on standard error, which may be closed.
macro_rules! complain {
    ($($text:tt)*) => {{
        let _ = writeln!(io::stderr(), "otrp-agent: {}", format_args!($($text)*));
    }};
}

/// Longest input of `process` in bytes. The TEE itself refuses a message that is too long; this bounds
/// the memory for reading it.
const INPUT_LIMIT: usize = 2 * MESSAGE_LIMIT;

const EXIT_CODES: &str = "\
Exit codes:
  0   done
  1   refused or failed
  2   usage
  69  the TAM cannot be reached
  75  try again later: the TEE or the TAM is busy";
/// `EX_UNAVAILABLE` of sysexits.h.
const UNAVAILABLE: u8 = 69;
/// `EX_TEMPFAIL` of sysexits.h.
const TEMPORARY: u8 = 75;

/// How long generating a key pair may take before the user is informed.
const PATIENCE: Duration = Duration::from_secs(3);

/// Opens the TEE at the moment it is needed.
pub type OpenTee<'a> = &'a mut dyn FnMut() -> Result<Box<dyn Tee>, TeeError>;

/// Carries messages between a Trusted Application Manager (TAM) and the OTrP broker in the TEE.
///
/// A new device: `otrp-agent csr`, have the maker's CA certify it, `otrp-agent import-cert`, then
/// `otrp-agent request` as often as there may be something new.
#[derive(Debug, Parser)]
#[command(version, subcommand_required = true, arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the broker's status as JSON
    ///
    /// Also shows the TEE's time, by which certificates and OCSP responses are checked, and warns if it
    /// differs from the system's.
    #[command(after_help = "Example:
  otrp-agent status")]
    Status,
    /// Print a certification request for the TEE's key, PEM
    ///
    /// The key is generated at first use and never leaves the TEE. Use the same command to renew the
    /// certificate.
    #[command(after_help = "Examples:
  otrp-agent csr > device.csr
  otrp-agent csr --out device.csr")]
    Csr {
        /// Write it to this file instead
        #[arg(long, value_name = "PEM")]
        out: Option<PathBuf>,
    },
    /// Import the TEE's certificate chain, the first or a renewed one
    ///
    /// Afterwards TAMs see a new device state with another device identifier. What they installed
    /// stays.
    #[command(after_help = "Example:
  otrp-agent import-cert device.chain.pem")]
    ImportCert {
        /// PEM or DER, the TEE's certificate first, the CAs after it
        file: PathBuf,
    },
    /// Ask a TAM for work and pass it to the TEE, until the TAM has nothing more
    ///
    /// Prints a line for each message: its name, the TEE's result, the milliseconds in the TEE.
    /// If the TEE refuses a message and the TAM does not repeat it successfully, the exit code is 1, and
    /// the reason is shown unless it is encrypted for the TAM. The session ends after three consecutive
    /// messages that the TEE cannot answer.
    #[command(after_help = "Examples:
  otrp-agent request https://tam.example.com/otrp
  otrp-agent request https://tam.example.com/otrp --ta 7265664a-f108-4bd7-af1c-86d044babbac

Exit codes: 0 done, 1 refused or failed, 2 usage, 69 the TAM cannot be reached, 75 try again later")]
    Request {
        /// The TAM's URL, http:// or https://
        #[arg(value_name = "TAM URL")]
        url: String,
        /// Fail unless this trusted application can be opened at the end
        #[arg(long, value_name = "UUID", value_parser = uuid)]
        ta: Option<String>,
        /// The certificates to trust for https://, PEM or DER, instead of the public ones
        #[arg(long, value_name = "FILE")]
        ca_file: Option<PathBuf>,
    },
    /// Ask a TAM for work because a trusted application is no longer needed here
    ///
    /// The counterpart of `request --ta`. The TAM decides whether to delete the application; the command
    /// fails if it does not.
    #[command(after_help = "Example:
  otrp-agent unrequest https://tam.example.com/otrp --ta 7265664a-f108-4bd7-af1c-86d044babbac

Exit codes: as for request")]
    Unrequest {
        /// The TAM's URL, http:// or https://
        #[arg(value_name = "TAM URL")]
        url: String,
        /// The trusted application that is no longer needed
        #[arg(long, value_name = "UUID", value_parser = uuid)]
        ta: String,
        /// The certificates to trust for https://, PEM or DER, instead of the public ones
        #[arg(long, value_name = "FILE")]
        ca_file: Option<PathBuf>,
    },
    /// Have the TEE process one message: standard input to standard output
    ///
    /// If the TEE refuses the message, the output is its answer and the exit code is 1. If it does not
    /// answer, the output is an OTrPBrokerError and the exit code is 1, or 75 if the TEE is busy.
    #[command(after_help = "Example:
  otrp-agent process < request.json > answer.json")]
    Process,
    /// Print the TEE's signed statement about a trusted application
    #[command(after_help = "Example:
  otrp-agent ta-info com.example com.example.signer")]
    TaInfo {
        /// The service provider's identifier
        spid: String,
        /// The trusted application's identifier
        taid: String,
        /// The TAM, if several have a service provider of this name
        #[arg(long, value_name = "TAM ID")]
        tam: Option<String>,
        /// The security domain, if the provider has the application in several
        #[arg(long, value_name = "NAME")]
        sd: Option<String>,
    },
}

impl Arguments {
    /// Runs the command.
    ///
    /// # Errors
    /// One sentence for the user.
    pub fn run(self, open: OpenTee<'_>, output: &mut dyn Write) -> Result<()> {
        match self.command {
            Command::Status => {
                // The very first request makes the TEE generate its key.
                let mut tee = open()?;
                let status = patiently(|| tee.status())?;
                line(output, &status)?;
                if let Some(note) = clock_note(&status, now()) {
                    complain!("{note}");
                }
                Ok(())
            }
            Command::Csr { out } => {
                let mut tee = open()?;
                let request = patiently(|| tee.certification_request())?;
                let request = otrp_pem::encode("CERTIFICATE REQUEST", &request)?;
                match out {
                    None => put(output, request.as_bytes())?,
                    Some(file) => {
                        fs::write(&file, request)
                            .with_context(|| format!("cannot write {}", file.display()))?;
                        line(output, format!("{}: have it certified", file.display()).as_bytes())?;
                    }
                }
                prepare(tee.as_mut());
                Ok(())
            }
            Command::ImportCert { file } => {
                let chain = certificates(&file)?.concat();
                let mut tee = open()?;
                tee.import_certificates(&chain)?;
                line(output, b"the TEE has taken its certificates")?;
                prepare(tee.as_mut());
                Ok(())
            }
            Command::Request { url, ta, ca_file } => {
                let (mut tee, installed) = request(&url, ca_file.as_deref(), open, output)?;
                let Some(uuid) = ta else { return Ok(()) };
                let what = format!("the TAM is done, and the trusted application {uuid}");
                match tee.application(&uuid)? {
                    Presence::Opens => Ok(()),
                    Presence::Absent if installed => bail!(
                        "{what} does not open, though something was installed: that has another UUID, or needs a library that is not there (TEE_ERROR_ITEM_NOT_FOUND)"
                    ),
                    Presence::Absent => bail!("{what} is not in the TEE"),
                    Presence::Unloadable(code) => bail!(
                        "{what} is in the TEE and cannot be loaded ({}): it was built for another TEE, or is damaged",
                        result_name(code)
                    ),
                }
            }
            Command::Unrequest { url, ta, ca_file } => {
                let (mut tee, _) = request(&url, ca_file.as_deref(), open, output)?;
                if tee.application(&ta)? != Presence::Absent {
                    bail!("the TAM is done, and the trusted application {ta} is still in the TEE");
                }
                Ok(())
            }
            Command::Process => process(&mut io::stdin().lock(), open, output),
            Command::TaInfo { spid, taid, tam, sd } => {
                let (tamid, sdname) = (tam.as_deref(), sd.as_deref());
                let name = TaName { spid: &spid, taid: &taid, tamid, sdname };
                let information = open()?.ta_information(name)?;
                line(output, &information)
            }
        }
    }
}

/// The exit code for a failure of [`Arguments::run`].
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> u8 {
    let tam = |error: &TamError| match error {
        error if error.is_unreachable() => UNAVAILABLE,
        error if error.is_temporary() => TEMPORARY,
        _ => 1,
    };
    let tee = |error: &TeeError| if error.is_temporary() { TEMPORARY } else { 1 };
    let code = error.chain().find_map(|cause| match cause.downcast_ref::<SessionError>() {
        Some(SessionError::Tam(error)) => Some(tam(error)),
        Some(SessionError::Tee(error) | SessionError::Unanswerable(error)) => Some(tee(error)),
        Some(SessionError::Refused(_) | SessionError::Endless) => Some(1),
        None => cause.downcast_ref().map(tam).or_else(|| cause.downcast_ref().map(tee)),
    });
    code.unwrap_or(1)
}

/// A sentence about the broker's time; `None` if the status does not contain it. `now` is the system's.
#[must_use]
pub fn clock_note(status: &[u8], now: u64) -> Option<String> {
    let status: serde_json::Value = serde_json::from_slice(status).ok()?;
    let time = status.get("time")?.as_u64()?;
    let difference = time.abs_diff(now);
    let mut note = format!("the TEE's time is {}", utc(time)?);
    if difference > TOLERANCE {
        let system = utc(now)?;
        note += &format!(
            ", and the system's {system}, {difference} s apart: the TEE judges certificates by its own, which never goes back behind its image and what it has seen"
        );
    }
    Some(note)
}

/// Reads a UUID in the form with hyphens, and no other.
fn uuid(text: &str) -> Result<String, TeeError> {
    text.parse::<Hyphenated>().map(|_| text.to_owned()).map_err(|_| TeeError::Uuid)
}

/// Carries out what a TAM wants; returns the TEE, to ask it about the outcome, and whether anything was
/// installed.
fn request(
    url: &str,
    ca_file: Option<&Path>,
    open: OpenTee<'_>,
    output: &mut dyn Write,
) -> Result<(Box<dyn Tee>, bool)> {
    let roots = match ca_file {
        None => None,
        Some(file) => Some(certificates(file)?.into_iter().map(CertificateDer::from).collect()),
    };
    let tam = Tam::new(url, Settings { roots, ..Settings::default() })?;
    let mut tee = open()?;
    let (mut written, mut installed) = (Ok(()), false);
    let session = exchange::run(&tam, tee.as_mut(), &mut |exchange| {
        installed |= matches!(exchange.name.as_str(), "InstallTA" | "UpdateTA")
            && exchange.result == Ok(Outcome::Pass);
        if written.is_ok() {
            written = line(output, exchange.to_string().as_bytes());
        }
    });
    if let Some(warning) = tam.clock_warning() {
        complain!("{warning}");
    }
    prepare(tee.as_mut());
    session?;
    written?;
    Ok((tee, installed))
}

/// Lets the TEE generate a key pair in reserve, now that nobody waits. A failure only makes a later
/// request slower, so it does not fail the command.
fn prepare(tee: &mut dyn Tee) {
    if let Err(error) = patiently(|| tee.prepare()) {
        complain!("no key pair in reserve: {error}");
    }
}

/// Runs what takes long on some TEEs, and tells the user if it does.
fn patiently<T>(work: impl FnOnce() -> T) -> T {
    let (done, waiting) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if waiting.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                complain!("the TEE is generating an RSA key pair, which may take a minute");
            }
        });
        let result = work();
        drop(done);
        result
    })
}

/// Passes the one message in `input` to the TEE.
///
/// # Errors
/// The TEE's failure or refusal, after the message about it is written.
pub fn process(input: &mut dyn Read, open: OpenTee<'_>, output: &mut dyn Write) -> Result<()> {
    let mut message = Vec::new();
    let longest = u64::try_from(INPUT_LIMIT).unwrap_or(u64::MAX);
    input.take(longest.saturating_add(1)).read_to_end(&mut message).context("standard input")?;
    if message.len() > INPUT_LIMIT {
        bail!("the message on standard input is longer than {INPUT_LIMIT} bytes");
    }
    let (answer, exchange) = match open() {
        Ok(mut tee) => exchange::process(tee.as_mut(), &message),
        Err(error) => {
            line(output, &crate::message::broker_error(error))?;
            return Err(error.into());
        }
    };
    line(output, &answer)?;
    match exchange.refusal() {
        Some(refusal) => Err(SessionError::Refused(refusal).into()),
        None => Ok(exchange.result.map(drop)?),
    }
}

/// The certificates in a file as DER.
fn certificates(file: &Path) -> Result<Vec<Vec<u8>>> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    otrp_pem::certificates(&bytes).with_context(|| file.display().to_string())
}

fn line(output: &mut dyn Write, bytes: &[u8]) -> Result<()> {
    put(output, bytes)?;
    put(output, b"\n")
}

fn put(output: &mut dyn Write, bytes: &[u8]) -> Result<()> {
    output
        .write_all(bytes)
        .and_then(|()| output.flush())
        .map_err(|error| anyhow!("cannot write the output: {error}"))
}
