//! `otrp-tam`: serves devices, makes and opens single messages, lists devices.

mod command_line;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;
use command_line::{Action, Arguments};
use otrp_tam::tam::Tam;
use otrp_tam::{http, store};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> anyhow::Result<()> {
    match Arguments::parse().action {
        Action::Serve { config, listen, state } => serve(&config, &listen, &state),
        Action::Message(arguments) => arguments.run(),
        Action::Open(arguments) => arguments.run(),
        Action::Devices { state, json } => devices(&state, json),
    }
}

#[tokio::main]
async fn serve(config: &Path, listen: &str, state: &Path) -> anyhow::Result<()> {
    let tam = Arc::new(Tam::new(config, state)?);
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let mut terminate = signal(SignalKind::terminate())?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    writeln!(std::io::stdout(), "listening on http://{}", listener.local_addr()?)?;
    http::serve(tam, listener, shutdown).await.context("the server failed")
}

fn devices(state: &Path, json: bool) -> anyhow::Result<()> {
    let devices = store::read_devices(state)?;
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&devices)?)?;
        return Ok(());
    }
    for device in devices {
        writeln!(out, "{} {} {}", device.device_id, device.tee, device.tee_version)?;
        for known in &device.memory.applications {
            writeln!(
                out,
                "  {}/{}/{} version {}",
                known.spid, known.domain, known.taid, known.version
            )?;
        }
        for failure in &device.failures {
            writeln!(out, "  failed: {failure}")?;
        }
    }
    Ok(())
}
