//! `otrp-agent`: the agent on a device with OP-TEE.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use otrp_agent::cli::{Arguments, exit_code};
use otrp_agent::optee::Optee;

fn main() -> ExitCode {
    let mut output = std::io::stdout().lock();
    match Arguments::parse().run(&mut || Ok(Box::new(Optee::open()?)), &mut output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // It may be closed.
            let _ = writeln!(std::io::stderr(), "otrp-agent: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}
