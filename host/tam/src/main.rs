//! `otrp-tam`: serves devices, creates and opens single messages, lists devices.

mod cli;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Parser as _;
use cli::{Action, Arguments, CONFIGURATION};
use otrp_tam::deletions::Guard;
use otrp_tam::desired::{Configuration, sentence};
use otrp_tam::foreign::{self, Foreign, one_line};
use otrp_tam::http::Patience;
use otrp_tam::listing::Listing;
use otrp_tam::tam::Tam;
use otrp_tam::{check, damage, http, log, store};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// How long work that cannot be interrupted, such as a database transaction, may take at the end.
const LAST_WORK: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    // Release builds do not unwind, so a panic about a damaged database is reported here.
    std::panic::set_hook(Box::new(|panic| match damage::on_this_thread() {
        Some(sentence) if cfg!(panic = "abort") => {
            let _ = writeln!(std::io::stderr(), "otrp-tam: {sentence}");
            std::process::exit(1);
        }
        Some(_) => {}
        None => {
            let _ = writeln!(std::io::stderr(), "otrp-tam: {panic}");
        }
    }));
    let arguments = Arguments::parse();
    log::to_standard_error();
    match run(arguments.action) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in sentence(&error).lines() {
                let _ = writeln!(std::io::stderr(), "otrp-tam: {}", one_line(line));
            }
            ExitCode::FAILURE
        }
    }
}

fn run(action: Action) -> anyhow::Result<()> {
    match action {
        Action::Serve { config, listen, state } => serve(&config, &listen, &state),
        Action::Check { config, state } => check(&config, state.as_deref()),
        Action::Config => {
            std::io::stdout().write_all(CONFIGURATION.as_bytes())?;
            Ok(())
        }
        Action::Message(arguments) => arguments.run(),
        Action::Open(arguments) => arguments.run(),
        Action::Devices { state, json } => devices(&state, json),
    }
}

fn serve(config: &Path, listen: &str, state: &Path) -> anyhow::Result<()> {
    let tam = Arc::new(Tam::new(config, state)?);
    let runtime = tokio::runtime::Runtime::new().context("cannot start threads")?;
    let served = runtime.block_on(async {
        let listener = TcpListener::bind(listen).await.with_context(|| {
            format!("cannot listen on {listen}, which must be an address and a port that is free")
        })?;
        let listing = Listing::open(tam.state_file())?;
        let listed = tam.clone();
        tokio::spawn(listing.serve(move || listed.devices()));
        let mut terminate = signal(SignalKind::terminate())?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        };
        writeln!(std::io::stdout(), "listening on http://{}", listener.local_addr()?)?;
        http::serve(tam, listener, Patience::default(), shutdown).await.context("the server failed")
    });
    runtime.shutdown_timeout(LAST_WORK);
    served
}

fn check(config: &Path, state: Option<&Path>) -> anyhow::Result<()> {
    let configuration = Configuration::read(config)?;
    let findings = check::configuration(&configuration, log::now());
    for warning in &findings.warnings {
        writeln!(std::io::stderr(), "otrp-tam: warning: {warning}")?;
    }
    let mut errors = findings.errors;
    if let Some(state) = state {
        let path = state.to_path_buf();
        let guard = Guard::beside(state, move || store::read_devices(&path));
        errors.extend(guard.objection(&configuration)?);
    }
    if !errors.is_empty() {
        bail!("{}", errors.join("\n"));
    }
    let domains = &configuration.desired.domains;
    let applications: usize = domains.iter().map(|domain| domain.applications.len()).sum();
    writeln!(
        std::io::stdout(),
        "{}: TAM {:?}, {} security domains, {applications} TAs: devices that trust its root accept it",
        config.display(),
        configuration.tam.identity.tam_id(),
        domains.len()
    )?;
    Ok(())
}

fn devices(state: &Path, json: bool) -> anyhow::Result<()> {
    let devices = store::read_devices(state)?;
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", foreign::json(&devices)?)?;
        return Ok(());
    }
    for device in devices {
        let (tee, version) = (Foreign::new(&device.tee), Foreign::new(&device.tee_version));
        writeln!(out, "{} {tee} {version}", one_line(&device.device_id))?;
        writeln!(out, "  key {}", device.key)?;
        for known in &device.memory.applications {
            let [spid, domain, taid] = [&known.spid, &known.domain, &known.taid].map(Foreign::new);
            writeln!(out, "  {spid}/{domain}/{taid} version {}", known.version)?;
        }
        for failure in &device.failures {
            writeln!(out, "  failed: {}", one_line(failure))?;
        }
    }
    Ok(())
}
