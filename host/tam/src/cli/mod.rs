//! The command line.

mod device;
mod help;
mod message;
mod open;

pub use help::CONFIGURATION;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use help::{CHECK_HELP, EXIT_CODES, MESSAGE_HELP, OPEN_HELP, SERVE_HELP};
use message::MessageArguments;
use open::OpenArguments;

/// A Trusted Application Manager that speaks OTrP over HTTP.
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES)]
pub struct Arguments {
    #[command(subcommand)]
    pub action: Action,
}

#[derive(Subcommand)]
pub enum Action {
    /// Serves devices, and brings each one that connects to the desired state.
    ///
    /// `otrp-tam help config` describes the configuration.
    #[command(after_help = SERVE_HELP)]
    Serve {
        /// Configuration with the desired state; changes are followed while the server runs.
        #[arg(long)]
        config: PathBuf,
        /// Address to listen on.
        #[arg(long, default_value = "127.0.0.1:8080")]
        listen: String,
        /// Database of devices.
        #[arg(long, default_value = "tam.redb")]
        state: PathBuf,
    },
    /// Reports everything in a configuration that a device would refuse or that is wrong otherwise.
    ///
    /// Each finding is a line on standard error; the exit code is 1 if one of them is an error. What
    /// only a device knows is not checked: its clock, and which roots it is built with, unless
    /// `tam_roots` lists them.
    #[command(after_help = CHECK_HELP)]
    Check {
        /// Configuration to check.
        #[arg(long)]
        config: PathBuf,
        /// Database of devices: also reports whether `allow_deletion` would be needed.
        #[arg(long)]
        state: Option<PathBuf>,
    },
    /// Describes the configuration.
    #[command(after_help = CONFIGURATION)]
    Config,
    /// Writes one signed request to standard output.
    #[command(after_help = MESSAGE_HELP)]
    Message(Box<MessageArguments>),
    /// Verifies and decrypts an answer or a TAInformation message, and prints it as JSON.
    ///
    /// A refusal is opened like any other answer: see its `status`.
    #[command(after_help = OPEN_HELP)]
    Open(Box<OpenArguments>),
    /// Lists the devices that the TAM knows, also while the server runs.
    ///
    /// A device is known by its TEE's key, whose fingerprint is printed after `key`. Its identifier
    /// (`did`) changes when its certificate is renewed. While a server has the database open, the
    /// list comes from the server, through the socket beside the file (`tam.redb.socket`), which
    /// answers the server's user and root.
    Devices {
        /// Database of devices.
        #[arg(long, default_value = "tam.redb")]
        state: PathBuf,
        /// Print everything known, as JSON.
        #[arg(long)]
        json: bool,
    },
}
