//! Installs and deletes an application many times, and measures what stays behind.

use std::fmt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use otrp_check::fixture;
use otrp_keys::{Uuid, file, image};
use otrp_tam::request::{Application, Command};
use otrp_wire::command::BROKER_TEXT;

use crate::harness::device::Device;
use crate::harness::guest::Guest;
use crate::harness::image::Image;
use crate::harness::machine::Machine;
use crate::harness::storage::Listing;
use crate::scenario::deployment::{DOMAIN, SERVICE_PROVIDER};
use crate::scenario::operator::{Operator, provision};

use super::{NEIGHBOUR, application, query};

/// Installs and deletes an application `count` times; fails if that leaves anything behind.
pub fn cycles(cache: &Path, count: u32, report: &mut dyn FnMut(&str)) -> Result<()> {
    cycles_on(cache, Device::open_or_create(cache.join("devices/soak"))?, count, report)
}

/// The same with a device that the caller provides.
pub fn cycles_on(
    cache: &Path,
    device: Device,
    count: u32,
    report: &mut dyn FnMut(&str),
) -> Result<()> {
    /// After this many cycles everything that is created once exists.
    const FIRST: usize = 3;
    let keys = cache.join("keys/dev");
    device.wipe()?;
    let mut guest = Machine::new(device, Image::open(cache.join("image/lab"))?).boot()?;
    provision(&mut guest, &keys)?;
    let tam = Operator::read(&keys, "tam")?;
    let certificate = std::fs::read(keys.join("sp-ec.der"))?;
    let (spid, name) = (SERVICE_PROVIDER, DOMAIN);
    tam.carry_out(&mut guest, Command::CreateSd { spid, name, certificate: &certificate })?;
    let key = file::read_key(&keys.join("sp-ec.key.pem"))?;
    let uuid: Uuid = NEIGHBOUR.1.parse()?;
    let image = image::sign(&key, None, uuid, 1, &fixture::sized(uuid.0, 100_000, 0))?;

    let mut remains = Vec::new();
    let mut times = Vec::new();
    for cycle in 1..=count {
        let start = Instant::now();
        let taid = NEIGHBOUR.0;
        let install = Application {
            personalization: Some(b"something of its own"),
            ..application(DOMAIN, taid, &image)
        };
        tam.carry_out(&mut guest, Command::InstallTa(install))?;
        ensure!(query(&mut guest, NEIGHBOUR.1)?.is_some(), "cycle {cycle} installed nothing");
        tam.carry_out(&mut guest, Command::DeleteTa { spid: None, name, taid })?;
        ensure!(query(&mut guest, NEIGHBOUR.1)?.is_none(), "cycle {cycle} deleted nothing");
        times.push(start.elapsed().as_millis());
        remains.push(Remains::of(&mut guest)?);
        if cycle % 20 == 0 || cycle == count {
            report(&format!("{cycle} installations and deletions: {}", remains[remains.len() - 1]));
        }
    }
    let (Some(first), Some(last)) = (remains.get(FIRST), remains.last()) else {
        bail!("at least {} cycles", FIRST + 1)
    };
    ensure!(last.grew_by_nothing_since(first), "after {FIRST} cycles {first}, after all {last}");
    let tenth = (times.len() / 10).max(1);
    let mean = |times: &[u128]| times.iter().sum::<u128>() / times.len() as u128;
    report(&format!(
        "no growth; a cycle took {} ms in the first tenth, {} ms in the last",
        mean(&times[..tenth]),
        mean(&times[times.len() - tenth..])
    ));
    guest.power_off()?;
    Ok(())
}

/// What is in use between two commands.
#[derive(Debug)]
struct Remains {
    broker_heap: u64,
    core_heap: u64,
    files: usize,
    octets: u64,
}

impl Remains {
    fn of(guest: &mut Guest) -> Result<Self> {
        let text = guest.run(&format!("otrp-lab memory {BROKER_TEXT}"))?.success()?.text();
        let number = |name: &str| -> Result<u64> {
            let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
            let numbers = lines.next().with_context(|| format!("the lab says {text:?}"))?;
            Ok(numbers.trim().split(' ').next().unwrap_or_default().parse()?)
        };
        let files = Listing::of(&guest.device()?.storage())?;
        Ok(Self {
            broker_heap: number("heap-in-use ")?,
            core_heap: number("core-heap-in-use ")?,
            files: files.count(),
            octets: files.octets(),
        })
    }

    const fn grew_by_nothing_since(&self, first: &Self) -> bool {
        self.broker_heap <= first.broker_heap
            && self.core_heap <= first.core_heap
            && self.files <= first.files
            && self.octets <= first.octets
    }
}

impl fmt::Display for Remains {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { broker_heap, core_heap, files, octets } = self;
        write!(
            formatter,
            "{broker_heap} bytes of the broker's heap and {core_heap} of the core's, {files} files \
             of {octets} bytes"
        )
    }
}
