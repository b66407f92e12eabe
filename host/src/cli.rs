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

use crate::exchange;
use crate::http::{Settings, Tam};
use crate::message::TaName;
use crate::pem;
use crate::tee::{Tee, TeeError};

/// Longest input of `process` in bytes. It leaves it to the TEE to refuse a message that is too
/// long, but not to find memory for anything whatever.
const INPUT_LIMIT: usize = 2 * MESSAGE_LIMIT;

/// How long the making of a key pair may take before the user is told what happens.
const PATIENCE: Duration = Duration::from_secs(3);

/// Opens the TEE at the moment it is needed.
pub type OpenTee<'a> = &'a mut dyn FnMut() -> Result<Box<dyn Tee>, TeeError>;

/// Carries messages between a Trusted Application Manager (TAM) and the OTrP broker in the TEE.
///
/// A new device: `otrp-agent csr`, have the maker's CA certify it, `otrp-agent import-cert`, then
/// `otrp-agent request` as often as there may be something new.
#[derive(Debug, Parser)]
#[command(version, subcommand_required = true, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what the broker says of itself, JSON
    Status,
    /// Print a certification request for the TEE's key, PEM
    ///
    /// The key is made at the first use and stays in the TEE. A certificate that is to be renewed is
    /// asked for in the same way.
    #[command(after_help = "Examples:
  otrp-agent csr > device.csr
  otrp-agent csr --out device.csr")]
    Csr {
        /// Write it to this file instead
        #[arg(long, value_name = "PEM")]
        out: Option<PathBuf>,
    },
    /// Give the TEE its certificate chain, the first or a renewed one
    ///
    /// TAMs see a new state of the device afterwards, with another device identifier. What they
    /// installed stays.
    #[command(after_help = "Example:
  otrp-agent import-cert device.chain.pem")]
    ImportCert {
        /// PEM or DER, the TEE's certificate first, the CAs after it
        file: PathBuf,
    },
    /// Ask a TAM for work and have the TEE do it, until the TAM has nothing more
    ///
    /// Prints a line for each message: its name, the TEE's result, the milliseconds in the TEE.
    /// A request that the TEE refuses is the TAM's to deal with and no failure of this command; a
    /// TEE that does not answer and a TAM that cannot be reached are.
    Request {
        /// The TAM's URL, http:// or https://
        #[arg(value_name = "TAM URL")]
        url: String,
        /// Fail unless this trusted application is there at the end
        #[arg(long, value_name = "UUID")]
        ta: Option<String>,
        /// The certificates to trust for https://, PEM, instead of the public ones
        #[arg(long, value_name = "PEM")]
        ca_file: Option<PathBuf>,
    },
    /// Ask a TAM for work because a trusted application is no longer needed here
    ///
    /// The counterpart of `request --ta`: whether the application is deleted is the TAM's decision,
    /// and the command fails unless it was.
    Unrequest {
        /// The TAM's URL, http:// or https://
        #[arg(value_name = "TAM URL")]
        url: String,
        /// The trusted application that nobody needs any more
        #[arg(long, value_name = "UUID")]
        ta: String,
        /// The certificates to trust for https://, PEM, instead of the public ones
        #[arg(long, value_name = "PEM")]
        ca_file: Option<PathBuf>,
    },
    /// Have the TEE process one message: standard input to standard output
    ///
    /// Where the TEE has no answer, the output is an OTrPBrokerError and the exit code is 1.
    Process,
    /// Print the TEE's signed statement about a trusted application
    TaInfo {
        /// The service provider's identifier
        spid: String,
        /// The trusted application's identifier
        taid: String,
        /// The TAM, where several have a service provider of this name
        #[arg(long, value_name = "TAM ID")]
        tam: Option<String>,
        /// The security domain, where the provider has the application in several
        #[arg(long, value_name = "NAME")]
        sd: Option<String>,
    },
}

impl Arguments {
    /// Does what the arguments say.
    ///
    /// # Errors
    /// One sentence for the user.
    pub fn run(self, open: OpenTee<'_>, output: &mut dyn Write) -> Result<()> {
        match self.command {
            Command::Status => {
                // The first question of all has the TEE make its key.
                let mut tee = open()?;
                let status = patiently(|| tee.status())?;
                line(output, &status)
            }
            Command::Csr { out } => {
                let mut tee = open()?;
                let request = patiently(|| tee.certification_request())?;
                let request = pem::certification_request(&request);
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
                let chain = pem::chain(&read(&file)?).context(file.display().to_string())?;
                let mut tee = open()?;
                tee.import_certificates(&chain)?;
                line(output, b"the TEE has taken its certificates")?;
                prepare(tee.as_mut());
                Ok(())
            }
            Command::Request { url, ta, ca_file } => {
                let mut tee = request(&url, ca_file.as_deref(), open, output)?;
                match ta {
                    Some(uuid) if !tee.has_application(&uuid)? => bail!(
                        "the TAM is done, and the trusted application {uuid} is not in the TEE"
                    ),
                    _ => Ok(()),
                }
            }
            Command::Unrequest { url, ta, ca_file } => {
                let mut tee = request(&url, ca_file.as_deref(), open, output)?;
                if tee.has_application(&ta)? {
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

/// Has the TEE do what a TAM wants, and returns the TEE to be asked about the outcome.
fn request(
    url: &str,
    ca_file: Option<&Path>,
    open: OpenTee<'_>,
    output: &mut dyn Write,
) -> Result<Box<dyn Tee>> {
    let roots = match ca_file {
        None => None,
        Some(file) => Some(pem::certificates(&read(file)?).context(file.display().to_string())?),
    };
    let tam = Tam::new(url, Settings { roots, ..Settings::default() })?;
    let mut tee = open()?;
    let mut written = Ok(());
    let session = exchange::run(&tam, tee.as_mut(), &mut |exchange| {
        if written.is_ok() {
            written = line(output, exchange.to_string().as_bytes());
        }
    });
    prepare(tee.as_mut());
    session?;
    written?;
    Ok(tee)
}

/// Lets the TEE make what takes long, now that nobody waits. A failure costs a later request time
/// and is no failure of what was asked for.
fn prepare(tee: &mut dyn Tee) {
    if let Err(error) = patiently(|| tee.prepare()) {
        eprintln!("otrp-agent: no key pair in reserve: {error}");
    }
}

/// Does what takes long on some TEEs, and says so where it does.
fn patiently<T>(work: impl FnOnce() -> T) -> T {
    let (done, waiting) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if waiting.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                eprintln!("otrp-agent: the TEE makes an RSA key pair, which may take a minute");
            }
        });
        let result = work();
        drop(done);
        result
    })
}

/// Has the TEE process the one message in `input`.
///
/// # Errors
/// The TEE's failure, after the message about it is written.
pub fn process(input: &mut dyn Read, open: OpenTee<'_>, output: &mut dyn Write) -> Result<()> {
    let mut message = Vec::new();
    let longest = u64::try_from(INPUT_LIMIT).unwrap_or(u64::MAX);
    input.take(longest.saturating_add(1)).read_to_end(&mut message).context("standard input")?;
    if message.len() > INPUT_LIMIT {
        bail!("the message on standard input is longer than {INPUT_LIMIT} bytes");
    }
    let (answer, failure) = match open() {
        Ok(mut tee) => {
            let (answer, exchange) = exchange::process(tee.as_mut(), &message);
            (answer, exchange.result.err())
        }
        Err(error) => (crate::message::broker_error(error), Some(error)),
    };
    line(output, &answer)?;
    failure.map_or(Ok(()), |error| Err(error.into()))
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
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
