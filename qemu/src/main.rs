//! `otrp-qemu`: emulated devices with the broker in OP-TEE.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use otrp_qemu::harness::device::{self, Device};
use otrp_qemu::harness::image::{self, Builds, DEFAULT_BOARD, Image};
use otrp_qemu::harness::machine::{self, Machine};
use otrp_qemu::scenario::deployment::Suite;
use otrp_qemu::scenario::report::{Report, Terminal};

/// Boots OP-TEE and Linux in QEMU with the OTrP broker in the secure world.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The folder in which `make` builds.
    #[arg(long, default_value = ".cache", value_name = "DIR")]
    cache: PathBuf,
    /// The board that it was built for: the name of a file in qemu/boards.
    #[arg(long, env = "BOARD", default_value = DEFAULT_BOARD, value_parser = image::board_name)]
    board: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Lets a TAM install, update and delete a trusted application on a new device.
    #[command(after_help = "Examples:
  otrp-qemu run
  otrp-qemu run --suite rsa")]
    Run {
        /// The keys of TAM and TEE; `make rsa` builds the image for RSA.
        #[arg(long, value_enum, default_value_t = SuiteName::Ec)]
        suite: SuiteName,
    },
    /// Compares the times of installations through OTrP and raw ones, in the lab image.
    Bench,
    /// Counts the calls to the normal world that commands take, in the lab image: one line for each,
    /// with the number of applications on the device, calls to tee-supplicant, synchronous writes among
    /// them, commits of secure storage's directory, and steps of the monotonic counter.
    Calls,
    /// Measures the broker's stack and heap during an installation, in the lab image.
    Memory,
    /// Stress-tests the lab image: cuts a device's power at random instants, installs and deletes many
    /// times, and runs a hostile program against the broker; fails if anything is lost or accepted.
    Soak {
        /// How often the power is cut.
        #[arg(long, default_value_t = 100)]
        kills: u32,
        /// How often an application is installed and deleted.
        #[arg(long, default_value_t = 200)]
        cycles: u32,
        /// How often the broker processes a message that is rewritten at the same time.
        #[arg(long, default_value_t = 5000)]
        races: u32,
        /// Seed for the instants and the commands; the current time if not given.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Writes a boot file with a new hardware key, which is stored nowhere else.
    BootFile {
        /// The folder of the image.
        #[arg(long, value_name = "DIR")]
        image: PathBuf,
        /// The Raspberry Pi's `armstub8.bin`, or the flash of QEMU's machine.
        file: PathBuf,
    },
    /// Prints a shell script that starts an image without this program.
    Script {
        /// The folder of the image.
        #[arg(long, value_name = "DIR")]
        image: PathBuf,
    },
    /// Boots a device and runs a command in its Linux, or opens a shell there.
    ///
    /// The exit status is that of the command, or of the shell.
    #[command(after_help = "Examples:
  otrp-qemu shell
  otrp-qemu shell --device mine --wipe -- otrp-agent status
  otrp-qemu --cache ~/otrp/.cache shell")]
    Shell {
        /// The device; created if there is none of this name.
        #[arg(long, default_value = "shell", value_parser = device::name)]
        device: String,
        /// Start with a new device: another hardware key, empty storage.
        #[arg(long)]
        wipe: bool,
        /// The image that it boots.
        #[arg(long, value_enum, default_value_t = Variant::Development)]
        image: Variant,
        /// Time limit for the command, in seconds.
        #[arg(long, default_value_t = 1200, value_name = "SECONDS")]
        timeout: u64,
        /// The command, for the guest's sh.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        script: Vec<String>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum SuiteName {
    /// P-256.
    Ec,
    /// RSA.
    Rsa,
}

impl From<SuiteName> for Suite {
    fn from(name: SuiteName) -> Self {
        match name {
            SuiteName::Ec => Self::Elliptic,
            SuiteName::Rsa => Self::Rsa,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Variant {
    /// As for a delivered device, with a shell.
    Development,
    /// The same with RSA keys in the TEE.
    Rsa,
    /// With what tests and benchmarks need.
    Lab,
}

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Rsa => "rsa",
            Self::Lab => "lab",
        }
    }
}

fn main() -> ExitCode {
    match execute(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            // Whoever would read it may have gone.
            let _ = writeln!(io::stderr(), "otrp-qemu: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(Arguments { cache, board, command }: Arguments) -> Result<ExitCode> {
    let builds = Builds::new(&cache).board(&board);
    match command {
        Command::Run { suite } => {
            let device = builds.device("run");
            let report: &mut dyn Report =
                if draws_on_terminal() { &mut Terminal::new() } else { &mut say };
            otrp_qemu::scenario::flow::run(&builds, &device, suite.into(), report)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Bench => {
            otrp_qemu::scenario::bench::run(&cache, &mut say)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Calls => {
            otrp_qemu::scenario::calls::run(&cache, &mut say)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Memory => {
            otrp_qemu::scenario::bench::memory(&cache, &mut say)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Soak { kills, cycles, races, seed } => {
            let now = || SystemTime::now().duration_since(UNIX_EPOCH).map(|time| time.as_secs());
            let seed = seed.map_or_else(now, Ok)?;
            let report = &mut say;
            if kills > 0 {
                otrp_qemu::scenario::soak::cuts(&cache, kills, seed, report)?;
            }
            if cycles > 0 {
                otrp_qemu::scenario::soak::cycles(&cache, cycles, report)?;
            }
            if races > 0 {
                otrp_qemu::scenario::hostile::run(&cache, races, report)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::BootFile { image, file } => {
            let image = Image::open(image)?;
            let boot = image.boot_file(&device::random_key()?)?;
            device::write_boot_file(&file, image.board(), &boot)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Script { image } => {
            let script = machine::script(&Image::open(image)?)?;
            io::stdout().write_all(script.as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Shell { device, wipe, image, timeout, script } => {
            let image = builds.image(image.name())?;
            let device = Device::open_or_create(builds.device(&device))?;
            if wipe {
                device.wipe()?;
            }
            shell(Machine::new(device, image), &script.join(" "), Duration::from_secs(timeout))
        }
    }
}

/// Prints a line of a report. The work continues if nobody reads it.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Whether standard output is a terminal that can redraw a line.
fn draws_on_terminal() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|name| name != "dumb")
}

fn shell(machine: Machine, script: &str, timeout: Duration) -> Result<ExitCode> {
    if script.is_empty() {
        let log = machine.console_log();
        let status = machine.interactive()?;
        ensure!(status.success(), "QEMU ended with {status}");
        let log = std::fs::read(&log).unwrap_or_default();
        return Ok(
            shell_status(&String::from_utf8_lossy(&log)).map_or(ExitCode::SUCCESS, Into::into)
        );
    }
    let mut guest = machine.boot()?;
    let output = guest.run_with(script, &[], timeout)?;
    guest.power_off()?;
    io::stdout().write_all(&output.stdout)?;
    io::stderr().write_all(&output.stderr)?;
    Ok(u8::try_from(output.status).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The exit status of the interactive shell, as qemu/guest/start logs it; none if the guest was turned off.
fn shell_status(log: &str) -> Option<u8> {
    let (_, status) = log.rsplit_once("start: the shell ended with status ")?;
    status.lines().next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_status_of_the_shell_is_in_the_log() {
        let log =
            "[    1.2] booted\r\nstart: the shell ended with status 3\r\n[    9.9] reboot\r\n";
        assert_eq!(shell_status(log), Some(3));
        assert_eq!(shell_status("[    1.2] booted\r\n"), None);
    }

    #[test]
    fn the_examples_of_all_help_texts_are_understood() {
        let mut examples = 0;
        for command in Arguments::command().get_subcommands_mut() {
            let help = command.render_long_help().to_string();
            for example in help.lines().map(str::trim).filter(|line| line.starts_with("otrp-qemu "))
            {
                Arguments::try_parse_from(example.split_whitespace())
                    .unwrap_or_else(|error| panic!("{example}: {error}"));
                examples += 1;
            }
        }
        assert!(examples >= 5, "{examples} examples");
        let outside = ["otrp-qemu", "shell", "--device", "../../x"];
        let refused = Arguments::try_parse_from(outside).err().unwrap().to_string();
        assert!(refused.contains("no slash in it"), "{refused}");
        for board in ["../x", "/etc", "", ".", "a/b", "a,b", "a\nb", "a b"] {
            let outside = ["otrp-qemu", "--board", board, "bench"];
            let refused = Arguments::try_parse_from(outside).err().unwrap().to_string();
            assert!(refused.contains("name of a file in qemu/boards"), "{refused}");
        }
    }
}
