//! A hostile program in the normal world: wrong calls of the broker, and memory that changes.
//!
//! The program is `otrp-lab`; the checks are here: every call must return an error and have no other
//! effect. The hash of the state shows that nothing changed: a command for the initial state is still
//! accepted.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use otrp_check::fixture;
use otrp_keys::{Uuid, file, image};
use otrp_tam::request::{Application, Builder, Command, Request, Target};
use otrp_tam::response::Outcome;

use crate::harness::device::Device;
use crate::harness::guest::Guest;
use crate::harness::image::Image;
use crate::harness::machine::Machine;
use crate::scenario::deployment::{DOMAIN, SERVICE_PROVIDER};
use crate::scenario::operator::{Operator, provision};

const UUID: &str = "11111111-2222-3333-4444-999999999999";
/// Time limit for a program in the guest.
const TIMEOUT: Duration = Duration::from_secs(1800);
/// With fewer calls than this the test is incomplete.
const CALLS: u32 = 600;

/// Both, at length.
pub fn run(cache: &Path, races: u32, report: &mut dyn FnMut(&str)) -> Result<()> {
    abuse(cache, Device::open_or_create(cache.join("devices/soak"))?, true, report)?;
    race(cache, Device::open_or_create(cache.join("devices/soak"))?, races, report)
}

/// Calls the broker with wrong types and wrong memory, `all` with every combination of four types.
pub fn abuse(cache: &Path, device: Device, all: bool, report: &mut dyn FnMut(&str)) -> Result<()> {
    let mut bench = Bench::boot(cache, device, 1)?;
    let script = format!("otrp-lab abuse{}", if all { " all" } else { "" });
    let text = bench.guest.run_with(&script, &[], TIMEOUT)?.success()?.text();
    // Calls that are not made would pass for calls that are refused.
    let calls = text.split(' ').next().and_then(|count| count.parse::<u32>().ok());
    ensure!(calls.is_some_and(|calls| calls >= CALLS), "the lab says {text:?}");
    report(&text);
    bench.unchanged()
}

/// Passes a message to the broker `runs` times while another thread rewrites it.
pub fn race(cache: &Path, device: Device, runs: u32, report: &mut dyn FnMut(&str)) -> Result<()> {
    let mut bench = Bench::boot(cache, device, 2)?;
    // Nobody has a certificate of this signer: the broker does all its work, and then refuses.
    let message = bench.install("ta-signing")?.message;
    bench.guest.put("/tmp/message", &message)?;
    let script = format!("otrp-lab race /tmp/message {runs}");
    let text = bench.guest.run_with(&script, &[], TIMEOUT)?.success()?.text();
    // Some are answered as if nobody had touched them, some as torn ones: else there is no race.
    let mut counted = 0;
    for line in text.lines() {
        let count = line.rsplit(' ').next().context("no count")?;
        counted += count.parse::<u32>()?;
    }
    ensure!(counted == runs && text.lines().count() > 1, "the lab says {text:?}");
    report(&format!(
        "a message processed {runs} times while it was rewritten: result, length, count"
    ));
    text.lines().for_each(|line| report(&format!("  {line}")));
    bench.unchanged()
}

/// A certified device with a security domain.
struct Bench {
    guest: Guest,
    keys: std::path::PathBuf,
    tam: Operator,
    target: Target,
}

impl Bench {
    fn boot(cache: &Path, device: Device, cpus: u32) -> Result<Self> {
        let keys = cache.join("keys/dev");
        device.wipe()?;
        let image = Image::open(cache.join("image/lab"))?;
        let mut guest = Machine::new(device, image).cpus(cpus).boot()?;
        provision(&mut guest, &keys)?;
        let tam = Operator::read(&keys, "tam")?;
        let certificate = std::fs::read(keys.join("sp-ec.der"))?;
        let (spid, name) = (SERVICE_PROVIDER, DOMAIN);
        tam.carry_out(&mut guest, Command::CreateSd { spid, name, certificate: &certificate })?;
        let target = Target::from(&tam.state(&mut guest)?);
        Ok(Self { guest, keys, tam, target })
    }

    /// A message that installs a small application, for the initial state.
    fn install(&self, signer: &str) -> Result<Request> {
        let key = file::read_key(&self.keys.join(format!("{signer}.key.pem")))?;
        let uuid: Uuid = UUID.parse()?;
        let image = image::sign(&key, None, uuid, 1, &fixture::sized(uuid.0, 260, 0))?;
        let application = Application {
            spid: SERVICE_PROVIDER,
            domain: DOMAIN,
            taid: "raced",
            certificate: None,
            image: Some(&image),
            personalization: None,
        };
        let command = Command::InstallTa(application);
        Builder::command(&self.tam.identity, &self.target, command).build()
    }

    /// Checks that the state is the initial one, and that nothing has panicked.
    fn unchanged(mut self) -> Result<()> {
        let request = self.install("sp-ec")?;
        match self.tam.send(&mut self.guest, &request, &self.target)? {
            Outcome::Pass(_) => {}
            Outcome::Fail(refusal) => bail!("a command for the state from before: {refusal:?}"),
        }
        let log = self.guest.secure_log()?;
        ensure!(!log.to_lowercase().contains("panic"), "a panic in the secure world:\n{log}");
        self.guest.power_off()?;
        Ok(())
    }
}
