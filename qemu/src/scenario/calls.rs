//! What a command costs in calls to the normal world: numbers that no busy machine changes.
//!
//! Each command takes its calls to tee-supplicant, of which those that write are synchronous, a
//! commit of secure storage's directory, and a step of the platform's counter. How many is measured
//! on a device with few and with many applications, which the longest record and the longest list of
//! entries show in.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use otrp_check::fixture;
use otrp_keys::{Uuid, file, image};
use otrp_tam::request::{Application, Builder, Command, Target};
use otrp_tam::response::Outcome;

use crate::harness::counter;
use crate::harness::device::Device;
use crate::harness::guest::Guest;
use crate::harness::image::Image;
use crate::harness::machine::Machine;
use crate::harness::supplicant::{self, Fault};
use crate::scenario::operator::{Operator, carry, provision};

const SP: &str = "com.example";
const SD: &str = "com.example.calls";
const MEASURED: &str = "com.example.calls.measured";
const TA: &str = "measured";
const UUID: &str = "11111111-2222-3333-4444-777777777777";
const SIZE: usize = 64 << 10;
/// How many applications there are when commands are measured.
const INSTALLED: [u8; 3] = [0, 48, 100];
/// Octets of the applications that are only there.
const FILLER: usize = 4096;
/// What a TAM can count on: none of those that make the device full may need more.
const SHARE: u8 = 10;

/// By `struct tee_fs_htree_image` of OP-TEE's fs_htree.h: where the directory's two heads have the
/// number of their commit.
const COMMITS: [usize; 2] = [HEAD - 4, 2 * HEAD - 4];
const HEAD: usize = 16 + 16 + 16 + 16 + 4;

/// Measures each command at each number of applications, and reports a line for each.
pub fn run(cache: &Path, report: &mut dyn FnMut(&str)) -> Result<()> {
    let device = Device::open_or_create(cache.join("devices/bench"))?;
    device.wipe()?;
    run_on(cache, device, &INSTALLED, report)
}

/// The same with a device of the caller's, which is new.
pub fn run_on(
    cache: &Path,
    device: Device,
    installed: &[u8],
    report: &mut dyn FnMut(&str),
) -> Result<()> {
    let mut bench = Bench::boot(cache, device)?;
    let mut count = 0;
    for &installed in installed {
        while count < installed {
            bench.fill(count)?;
            count += 1;
        }
        bench.measure(installed, report)?;
    }
    bench.guest.power_off()?;
    Ok(())
}

struct Bench {
    guest: Guest,
    keys: PathBuf,
    tam: Operator,
    /// Who fills the device.
    filler: Option<Operator>,
}

/// What was counted before and after a command.
#[derive(Clone, Copy)]
struct Counts {
    commits: u32,
    steps: usize,
}

impl Bench {
    fn boot(cache: &Path, device: Device) -> Result<Self> {
        let keys = cache.join("keys/dev");
        let mut guest = Machine::new(device, Image::open(cache.join("image/lab"))?).boot()?;
        provision(&mut guest, &keys)?;
        supplicant::start(&mut guest)?;
        let tam = Operator::read(&keys, "tam")?;
        let mut bench = Self { guest, keys, tam, filler: None };
        let certificate = bench.certificate()?;
        let create = Command::CreateSd { spid: SP, name: SD, certificate: &certificate };
        bench.tam.carry_out(&mut bench.guest, create)?;
        Ok(bench)
    }

    fn certificate(&self) -> Result<Vec<u8>> {
        Ok(fs::read(self.keys.join("sp-ec.der"))?)
    }

    fn signed(&self, uuid: Uuid, version: u32, elf: &[u8]) -> Result<Vec<u8>> {
        let signer = file::read_key(&self.keys.join("sp-ec.key.pem"))?;
        Ok(image::sign(&signer, None, uuid, version, elf)?)
    }

    /// Installs one application more, by as many TAMs as that takes.
    fn fill(&mut self, number: u8) -> Result<()> {
        if number.is_multiple_of(SHARE) {
            let name = format!("https://tam{}.example", number / SHARE);
            let filler = Operator::issued(&self.keys, &name)?;
            let certificate = self.certificate()?;
            let create = Command::CreateSd { spid: SP, name: SD, certificate: &certificate };
            filler.carry_out(&mut self.guest, create)?;
            self.filler = Some(filler);
        }
        let mut uuid: Uuid = UUID.parse()?;
        (uuid.0[0], uuid.0[15]) = (0x22, number);
        let image = self.signed(uuid, 1, &fixture::sized(uuid.0, FILLER, number))?;
        let taid = number.to_string();
        let filler = self.filler.as_ref().context("nobody fills the device")?;
        filler.carry_out(&mut self.guest, Command::InstallTa(application(&taid, &image)))?;
        Ok(())
    }

    fn measure(&mut self, installed: u8, report: &mut dyn FnMut(&str)) -> Result<()> {
        let uuid: Uuid = UUID.parse()?;
        // A deleted application comes back in no lower version.
        let version = u32::from(installed) + 1;
        let images = [0, 1].map(|more| {
            self.signed(uuid, version + more, &fixture::sized(uuid.0, SIZE, more as u8))
        });
        let [image, next] = images;
        let (image, next) = (image?, next?);
        let certificate = self.certificate()?;
        self.count("GetDeviceState", installed, None, report)?;
        let create = Command::CreateSd { spid: SP, name: MEASURED, certificate: &certificate };
        self.count("CreateSD", installed, Some(create), report)?;
        let install = Command::InstallTa(application(TA, &image));
        self.count("InstallTA-64K", installed, Some(install), report)?;
        let update = Command::UpdateTa(application(TA, &next));
        self.count("UpdateTA-64K", installed, Some(update), report)?;
        let delete = Command::DeleteTa { spid: None, name: SD, taid: TA };
        self.count("DeleteTA", installed, Some(delete), report)?;
        let delete = Command::DeleteSd { spid: None, name: MEASURED, delete_tas: false };
        self.tam.carry_out(&mut self.guest, delete)?;
        Ok(())
    }

    /// Counts what a command takes, or GetDeviceState.
    fn count(
        &mut self,
        name: &str,
        installed: u8,
        command: Option<Command<'_>>,
        report: &mut dyn FnMut(&str),
    ) -> Result<()> {
        let Self { guest, tam, .. } = self;
        let state = tam.state(guest)?;
        let target = Target::from(&state);
        let asks = command.is_none();
        let builder = match command {
            Some(command) => Builder::command(&tam.identity, &target, command),
            None => Builder::device_state(&tam.identity),
        };
        let request = builder.build()?;
        guest.run(&Fault::NONE.plan())?.success()?;
        let before = Counts::of(guest)?;
        let carried = carry(guest, &request.message)?;
        let after = Counts::of(guest)?;
        let kinds = supplicant::trace(guest)?;
        if asks {
            tam.read_state(&carried.answer, &request.exchange)?;
        } else {
            match tam.read_outcome(&carried.answer, &request.exchange, &target)? {
                Outcome::Pass(_) => {}
                Outcome::Fail(refusal) => bail!("{name} is refused: {refusal:?}"),
            }
        }
        ensure!(!kinds.is_empty(), "no calls were counted");
        let writes = kinds.iter().filter(|kind| **kind == b'w').count();
        report(&format!(
            "{name} tas={installed} calls={} writes={writes} commits={} steps={}",
            kinds.len(),
            after.commits - before.commits,
            after.steps - before.steps
        ));
        Ok(())
    }
}

impl Counts {
    fn of(guest: &Guest) -> Result<Self> {
        let device = guest.device()?;
        let directory = fs::read(device.storage().join("dirf.db"))?;
        let commits = COMMITS.map(|at| {
            let number = directory.get(at..)?.first_chunk()?;
            Some(u32::from_le_bytes(*number))
        });
        let commits = commits.into_iter().max().flatten().context("the directory has no head")?;
        let log = counter::read(device)?;
        let steps = [0, 1].map(|block| counter::values(&log, block).count()).iter().sum();
        Ok(Self { commits, steps })
    }
}

const fn application<'a>(taid: &'a str, image: &'a [u8]) -> Application<'a> {
    Application {
        spid: SP,
        domain: SD,
        taid,
        certificate: None,
        image: Some(image),
        personalization: None,
    }
}
