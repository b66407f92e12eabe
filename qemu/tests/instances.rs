//! No code of before an update or a deletion takes new sessions after it.
//!
//! Needs the images; run by `make test`, and alone by `make test-device`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

use otrp_keys::{file, image};
use otrp_qemu::harness::cache;
use otrp_qemu::harness::device::Device;
use otrp_qemu::harness::guest::Guest;
use otrp_qemu::harness::image::Image;
use otrp_qemu::harness::machine::Machine;
use otrp_qemu::scenario::deployment::SIGNER_UUID;
use otrp_qemu::scenario::operator::{Operator, provision};
use otrp_tam::request::{Application, Command};

const SP: &str = "com.example";
const SD: &str = "com.example.domain";
const TA: &str = "com.example.signer";
/// The flags of OP-TEE's user_ta_header.h.
const SINGLE_INSTANCE: u32 = 1 << 2;
const MULTI_SESSION: u32 = 1 << 3;
const KEEP_ALIVE: u32 = 1 << 4;
const KEEP_CRASHED: u32 = 1 << 13;
/// The sample's command that tells its version.
const STATUS: u32 = 5;
/// The exit code of a client when there is no trusted application of that UUID.
const ITEM_NOT_FOUND: i32 = 4;

fn keys() -> PathBuf {
    cache().join("keys/dev")
}

/// What a program of the cross compiler says of a file.
fn readelf(options: &str, file: &Path) -> String {
    let output = Process::new("aarch64-linux-gnu-readelf").arg(options).arg(file).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn hexadecimal(text: &str) -> usize {
    usize::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
}

/// The sample's code with other flags in its header; `crashing` ends it at the first command.
fn elf(version: u32, flags: u32, crashing: bool) -> Vec<u8> {
    let samples = cache().join("ta/samples");
    let path = samples.join(format!("signer-v{version}.stripped.elf"));
    let mut elf = fs::read(&path).unwrap();
    let sections = readelf("-SW", &path);
    let columns = |line: &str| -> Vec<String> {
        line.replace(['[', ']'], " ").split_whitespace().map(String::from).collect()
    };
    // Number, name, type, address, offset.
    let section = |name: &str| {
        let line = sections.lines().map(columns).find(|it| it.get(1).is_some_and(|it| it == name));
        let line = line.unwrap();
        (hexadecimal(&line[3]), hexadecimal(&line[4]))
    };
    // A struct ta_head: UUID, stack size, flags.
    let (_, head) = section(".ta_head");
    elf[head + 20..head + 24].copy_from_slice(&flags.to_le_bytes());
    if crashing {
        let symbols = readelf("-sW", &samples.join(format!("signer-v{version}.debug.elf")));
        let entry = symbols
            .lines()
            .map(columns)
            .find(|line| line.last().is_some_and(|name| name == "TA_InvokeCommandEntryPoint"));
        let (address, offset) = section(".text");
        let place = hexadecimal(&entry.unwrap()[1]) - address + offset;
        // An undefined instruction.
        elf[place..place + 4].fill(0);
    }
    elf
}

struct Bench {
    guest: Guest,
    tam: Operator,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn boot() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let device = Device::open_or_create(folder.path()).unwrap();
        let image = Image::open(cache().join("image/lab")).unwrap();
        let mut guest = Machine::new(device, image).cpus(2).boot().unwrap();
        provision(&mut guest, &keys()).unwrap();
        let tam = Operator::read(&keys(), "tam").unwrap();
        let certificate = fs::read(keys().join("sp-rsa.der")).unwrap();
        let create = Command::CreateSd { spid: SP, name: SD, certificate: &certificate };
        tam.carry_out(&mut guest, create).unwrap();
        Self { guest, tam, _folder: folder }
    }

    fn bring(&mut self, version: u32, elf: &[u8], installs: bool) {
        let key = file::read_key(&keys().join("sp-rsa.key.pem")).unwrap();
        let image = image::sign(&key, None, SIGNER_UUID.parse().unwrap(), version, elf).unwrap();
        let application = Application {
            spid: SP,
            domain: SD,
            taid: TA,
            certificate: None,
            image: Some(&image),
            personalization: None,
        };
        let command =
            if installs { Command::InstallTa(application) } else { Command::UpdateTa(application) };
        self.tam.carry_out(&mut self.guest, command).unwrap();
    }

    fn delete(&mut self) {
        let command = Command::DeleteTa { spid: Some(SP), name: SD, taid: TA };
        self.tam.carry_out(&mut self.guest, command).unwrap();
    }

    /// What a new session says of itself; the client's exit code where there is none.
    fn version(&mut self) -> Result<u32, i32> {
        let output = self.guest.run("otrp-signer-client version").unwrap();
        match output.status {
            0 => Ok(output.text().parse().unwrap()),
            status => Err(status),
        }
    }

    /// Opens a session that stays.
    fn hold(&mut self) {
        let script = format!(
            "rm -f /tmp/asked; mkfifo /tmp/asked; sleep 600 >/tmp/asked & echo $! >/tmp/holder
             otrp-lab hold {SIGNER_UUID} {STATUS} </tmp/asked >/tmp/held 2>&1 & echo"
        );
        self.guest.run(&script).unwrap().success().unwrap();
        self.wait_for_lines(1);
    }

    /// What it says of itself.
    fn held_version(&mut self) -> u32 {
        let before = self.lines();
        self.guest.run("echo >/tmp/asked").unwrap().success().unwrap();
        self.wait_for_lines(before + 1);
        self.guest.run("tail -n 1 /tmp/held").unwrap().text().parse().unwrap()
    }

    fn release(&mut self) {
        let script = "kill $(cat /tmp/holder); while pidof otrp-lab >/dev/null; do sleep 0.1; done";
        self.guest.run(script).unwrap().success().unwrap();
    }

    fn lines(&mut self) -> usize {
        self.guest.run("wc -l </tmp/held").unwrap().text().parse().unwrap()
    }

    fn wait_for_lines(&mut self, count: usize) {
        for _ in 0..600 {
            if self.lines() >= count {
                return;
            }
            self.guest.run("sleep 0.1").unwrap();
        }
        panic!("{}", self.guest.run("cat /tmp/held").unwrap().text());
    }
}

#[test]
#[ignore = "needs the images: make test-device"]
fn what_was_replaced_or_deleted_takes_no_new_session() {
    let mut bench = Bench::boot();
    let mut next = 1;
    for flags in [
        0,
        SINGLE_INSTANCE,
        SINGLE_INSTANCE | MULTI_SESSION,
        SINGLE_INSTANCE | KEEP_ALIVE,
        SINGLE_INSTANCE | MULTI_SESSION | KEEP_ALIVE,
        SINGLE_INSTANCE | MULTI_SESSION | KEEP_ALIVE | KEEP_CRASHED,
    ] {
        // Without a session, and with one that stays as it was.
        for held in [false, true] {
            bench.bring(next, &elf(1, flags, false), true);
            assert_eq!(bench.version(), Ok(1), "{flags:#x}");
            if held {
                bench.hold();
                assert_eq!(bench.held_version(), 1);
            }
            bench.bring(next + 1, &elf(2, flags, false), false);
            assert_eq!(bench.version(), Ok(2), "{flags:#x}, held {held}");
            if held {
                assert_eq!(bench.held_version(), 1, "its own session continues");
                bench.release();
                assert_eq!(bench.version(), Ok(2));
                bench.hold();
            }
            bench.delete();
            assert_eq!(bench.version(), Err(ITEM_NOT_FOUND), "{flags:#x}, held {held}");
            if held {
                bench.release();
                assert_eq!(bench.version(), Err(ITEM_NOT_FOUND));
            }
            next += 2;
        }
    }

    // One that must not be started again after it has crashed is so until there is another.
    let flags = SINGLE_INSTANCE | MULTI_SESSION | KEEP_ALIVE | KEEP_CRASHED;
    bench.bring(next, &elf(1, flags, true), true);
    assert!(bench.version().is_err());
    let crashed = bench.version().unwrap_err();
    assert_ne!(crashed, ITEM_NOT_FOUND);
    bench.bring(next + 1, &elf(2, flags, false), false);
    assert_eq!(bench.version(), Ok(2), "the update");
    bench.bring(next + 2, &elf(2, flags, true), false);
    assert!(bench.version().is_err());
    bench.delete();
    assert_eq!(bench.version(), Err(ITEM_NOT_FOUND));
    bench.bring(next + 3, &elf(1, flags, false), true);
    assert_eq!(bench.version(), Ok(1), "the new installation");

    let log = bench.guest.secure_log().unwrap();
    assert!(!log.contains("Panic at"), "{log}");
    bench.guest.power_off().unwrap();
}
