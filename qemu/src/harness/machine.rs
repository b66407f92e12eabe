//! Runs QEMU with the arguments of a board, for one device and one image.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};

use crate::harness::board::{Control, Words};
use crate::harness::device::Device;
use crate::harness::guest::{Guest, HOST, Link, quoted};
use crate::harness::image::Image;

/// What is the same for all boards.
const GENERAL: [&str; 6] = ["-nodefaults", "-display", "none", "-monitor", "none", "-no-reboot"];
const QEMU: &str = "qemu-system-aarch64";
/// Changes device trees; a package that the build needs has it.
const FDTPUT: &str = "fdtput";
/// A boot takes 3 s, that of a Raspberry Pi 40 s; a busy machine may need a multiple of it.
const BOOT_TIMEOUT: Duration = Duration::from_secs(240);

/// A device with an image to boot.
#[derive(Debug)]
pub struct Machine {
    device: Device,
    image: Image,
    cpus: u32,
    boot_timeout: Duration,
}

impl Machine {
    /// With one CPU: fastest to boot, and enough unless concurrency is tested.
    pub fn new(device: Device, image: Image) -> Self {
        Self { device, image, cpus: 1, boot_timeout: BOOT_TIMEOUT }
    }

    /// With this many CPUs, four at most.
    pub fn cpus(self, cpus: u32) -> Self {
        Self { cpus, ..self }
    }

    /// With another limit to the time a boot may take.
    pub fn boot_timeout(self, boot_timeout: Duration) -> Self {
        Self { boot_timeout, ..self }
    }

    /// Boots and waits until the guest takes commands.
    pub fn boot(self) -> Result<Guest> {
        let messages = File::create(self.device.directory().join("qemu.log"))?;
        let driven = &self.image.board().driven;
        let (mut qemu, link) = match self.image.board().control {
            Control::Descriptor => {
                let (ours, theirs) = UnixStream::pair()?;
                let mut qemu = self.command(driven, "")?;
                // QEMU's standard input is its end of the control port: no socket file, and an
                // orphaned guest sees the port close and powers off.
                qemu.stdin(OwnedFd::from(theirs));
                (qemu, Link::Open(ours))
            }
            Control::Network => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                let control = format!("otrp.control={HOST}:{}", listener.local_addr()?.port());
                let mut qemu = self.command(driven, &control)?;
                qemu.stdin(Stdio::null());
                (qemu, Link::Expected(listener))
            }
        };
        qemu.stdout(messages.try_clone()?)
            .stderr(messages)
            // Ctrl-C at the terminal is for us; the guest is powered off in order.
            .process_group(0);
        let process = qemu.spawn().map_err(|error| cannot_start(QEMU, error))?;
        drop(qemu);
        Guest::wait_for(process, link, self.device, self.boot_timeout)
    }

    /// What the normal world logs to during the next boot.
    pub fn console_log(&self) -> PathBuf {
        self.device.directory().join("console.log")
    }

    /// Boots an image without a control channel, such as a product; `words` go to the guest's command line.
    pub fn start(self, words: &str) -> Result<Appliance> {
        let messages = File::create(self.device.directory().join("qemu.log"))?;
        let screen = File::create(self.device.directory().join("screen.log"))?;
        let mut qemu = self.command(&self.image.board().terminal, words)?;
        qemu.stdin(Stdio::piped()).stdout(screen).stderr(messages).process_group(0);
        let process = qemu.spawn().map_err(|error| cannot_start(QEMU, error))?;
        Ok(Appliance { process, device: Some(self.device) })
    }

    /// Boots to a shell at this terminal; returns when the shell ends.
    pub fn interactive(self) -> Result<ExitStatus> {
        self.command(&self.image.board().terminal, "")?
            .stdin(Stdio::inherit())
            .status()
            .map_err(|error| cannot_start(QEMU, error))
    }

    /// QEMU with the board's arguments and `more` of them; `control` goes to the guest.
    fn command(&self, more: &[String], control: &str) -> Result<Command> {
        let board = self.image.board();
        let boot = self.image.boot_file(&self.device.hardware_key()?)?;
        self.device.write_boot_file(board, &boot)?;
        if let Some(disk) = &board.disk {
            self.device.make_disk(&self.image.file(disk))?;
        }
        let initrd_size = initrd_size(&self.image)?;
        let words = words(&self.image, self.cpus, initrd_size)
            .word("control", control)
            .word("time", SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
            .path("device", self.device.directory())?
            .path("image", self.image.directory())?;
        let command_line = words.fill(&board.command_line)?;
        if let Some(tree) = &board.device_tree {
            let place = board.initrd_address..board.initrd_address + initrd_size;
            let copy = self.device.directory().join(tree);
            fs::copy(self.image.file(tree), &copy)?;
            set_chosen(&copy, &command_line, place)?;
        }
        // A comma in it would end an option, but it is an argument of its own.
        let words = words.word("command-line", command_line);
        let mut qemu = Command::new(QEMU);
        qemu.args(GENERAL);
        for argument in board.arguments.iter().chain(more) {
            qemu.arg(words.fill(argument)?);
        }
        Ok(qemu)
    }
}

/// A booted machine that nobody drives, with its terminal. Dropped, it loses power.
#[derive(Debug)]
pub struct Appliance {
    process: Child,
    /// Taken when the power is off.
    device: Option<Device>,
}

impl Appliance {
    /// Types something at its terminal.
    pub fn type_in(&mut self, text: &str) -> Result<()> {
        let terminal = self.process.stdin.as_mut().context("it has no terminal")?;
        Ok(terminal.write_all(text.as_bytes())?)
    }

    /// What it has logged to `console.log` or `secure.log`, or shown at its terminal, `screen.log`.
    pub fn log(&self, name: &str) -> Result<String> {
        let device = self.device.as_ref().context("it is off")?;
        Ok(String::from_utf8_lossy(&fs::read(device.directory().join(name))?).into_owned())
    }

    /// Whether it has not ended by itself.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.process.try_wait()?.is_none())
    }

    /// Cuts the power, and hands the device back.
    pub fn kill(mut self) -> Result<Device> {
        self.cut_power();
        self.device.take().context("it is off")
    }

    fn cut_power(&mut self) {
        // Fails only when the process has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        self.cut_power();
    }
}

/// Placeholder for the TAM in a script's arguments, until they are quoted.
const TAM: &str = "@TAM@";

/// A shell script that starts the image at the terminal, from a folder that contains its kernel and
/// file system, and the device's files in `device`. Its argument is the TAM that the device asks for
/// work.
pub fn script(image: &Image) -> Result<String> {
    let board = image.board();
    ensure!(board.device_tree.is_none(), "the board's device tree changes at each start");
    let words = words(image, 1, initrd_size(image)?)
        .word("control", TAM)
        .path("device", Path::new("device"))?
        .path("image", Path::new("."))?;
    let words = words.clone().word("command-line", words.fill(&board.command_line)?);
    let mut script = String::from(
        "#!/bin/sh\n# Boots OP-TEE with the OTrP broker, and Linux.\n\
         #   run.sh [TAM]    TAM: the URL of the TAM that the device asks for work, every minute\n\
         set -e\ncd \"$(dirname \"$0\")\"\nexec ",
    );
    script.push_str(QEMU);
    let general = GENERAL.map(str::to_owned);
    for argument in general.iter().chain(&board.arguments).chain(&board.terminal) {
        script.push_str(" \\\n    ");
        let argument = quoted(&words.fill(argument)?);
        script.push_str(&argument.replace(TAM, "'\"${1:+otrp.tam=$1}\"'"));
    }
    script.push('\n');
    Ok(script)
}

fn initrd_size(image: &Image) -> Result<u64> {
    Ok(fs::metadata(image.file("initrd.cpio"))?.len())
}

/// The words of an image, without those whose values are known only at a start.
fn words(image: &Image, cpus: u32, initrd_size: u64) -> Words {
    Words::default()
        .word("cpus", cpus)
        .word("initrd-address", format_args!("{:#x}", image.board().initrd_address))
        .word("initrd-size", initrd_size)
}

/// Writes the kernel's command line and the place of its initial file system into the device tree, as
/// a board's boot firmware does.
fn set_chosen(tree: &Path, command_line: &str, initrd: std::ops::Range<u64>) -> Result<()> {
    let put = |kind: &str, name: &str, value: &str| {
        let status = Command::new(FDTPUT)
            .args(["-t", kind])
            .arg(tree)
            .args(["/chosen", name, value])
            .status()
            .map_err(|error| cannot_start(FDTPUT, error))?;
        ensure!(status.success(), "{FDTPUT} cannot set {name}");
        Ok(())
    };
    put("s", "bootargs", command_line)?;
    put("x", "linux,initrd-start", &format!("{:x}", initrd.start))?;
    put("x", "linux,initrd-end", &format!("{:x}", initrd.end))
        .with_context(|| format!("cannot change {}", tree.display()))
}

fn cannot_start(program: &str, error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            anyhow!("{program} is not installed; `make setup` installs what is missing")
        }
        _ => anyhow!(error).context(format!("cannot start {program}")),
    }
}
