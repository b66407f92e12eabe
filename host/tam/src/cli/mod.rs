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
    /// Serves devices, and brings each that connects to the desired state.
    ///
    /// `otrp-tam help config` describes all that the configuration can hold.
    #[command(after_help = SERVE_HELP)]
    Serve {
        /// The configuration with the desired state; followed while the server runs.
        #[arg(long)]
        config: PathBuf,
        /// The address to listen on.
        #[arg(long, default_value = "127.0.0.1:8080")]
        listen: String,
        /// The database of devices.
        #[arg(long, default_value = "tam.redb")]
        state: PathBuf,
    },
    /// Says everything in a configuration that a device would refuse, or that is wrong otherwise.
    ///
    /// Each finding is a line on standard error; with an error among them the exit code is 1. What only
    /// a device knows is not checked: which roots it is built with, unless `tam_roots` says so, and its
    /// clock.
    #[command(after_help = CHECK_HELP)]
    Check {
        /// The configuration.
        #[arg(long)]
        config: PathBuf,
        /// The database of devices: says whether the server would ask before it deletes so much.
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
    /// An answer by which the device refuses is opened like any other: see its `status`.
    #[command(after_help = OPEN_HELP)]
    Open(Box<OpenArguments>),
    /// Lists the devices that the TAM remembers, also while it serves.
    ///
    /// A device is its TEE's key, whose fingerprint stands behind `key`. Its identifier (`did`)
    /// changes when its certificate is renewed. While a server has the database, it is asked through
    /// the socket beside it (`tam.redb.socket`), which answers the server's user and root.
    Devices {
        /// The database of devices.
        #[arg(long, default_value = "tam.redb")]
        state: PathBuf,
        /// Print everything, as JSON.
        #[arg(long)]
        json: bool,
    },
}
