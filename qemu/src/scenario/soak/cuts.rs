//! Power cuts at random instants of a device's life.
//!
//! A [`cuts`] run uses up devices, one after another. Each starts empty and loses its power while its
//! TEE generates its key, while that key is certified, and then again and again while a TAM changes
//! what is installed. After each cut the device boots on the storage it had. It must then be in the
//! state before or after one of the TAM's commands, and everything must agree: what the broker
//! reports to the TAM, what the core's store contains, what loads and runs. Then the TAM tries again,
//! and must succeed. An application of a second TAM must survive all of this unchanged.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use otrp_check::fixture;
use otrp_keys::device::Authority;
use otrp_keys::{Uuid, file, image};
use otrp_tam::request::Command;

use crate::harness::device::Device;
use crate::harness::guest::{Guest, Output};
use crate::harness::image::{Builds, Image};
use crate::harness::machine::Machine;
use crate::harness::storage::Listing;
use crate::scenario::deployment::{
    DOMAIN, Deployment, Desired, SERVICE_PROVIDER, SIGNER, SIGNER_UUID, Suite,
};
use crate::scenario::operator::{Operator, provision};

use super::random::Random;
use super::{ITEM_NOT_FOUND, NEIGHBOUR, application, query};

/// How often a device loses its power before it is replaced by a new one.
const CUTS_OF_A_LIFE: u32 = 10;
/// How many of them fall into provisioning: while the key is generated, while it is certified.
const FIRST_CUTS: u32 = 2;
/// Files that cuts may leave behind until a command uses their names again: an image, personalization
/// data or certificates that were not committed.
const LEFT_BEHIND: usize = 2;

const NEIGHBOUR_DOMAIN: &str = "com.example.neighbour.domain";
/// What the service provider sends with the sample: the label that it tells then.
const LABELS: [(&str, &str); 2] = [("label=till 7\n", "till 7"), ("label=till 8\n", "till 8")];

/// Cuts the power `kills` times and reports a line for each.
pub fn cuts(cache: &Path, kills: u32, seed: u64, report: &mut dyn FnMut(&str)) -> Result<Figures> {
    let device = Device::open_or_create(cache.join("devices/soak"))?;
    cuts_on(cache, device, kills, seed, report)
}

/// The same with a device that the caller provides.
pub fn cuts_on(
    cache: &Path,
    device: Device,
    kills: u32,
    seed: u64,
    report: &mut dyn FnMut(&str),
) -> Result<Figures> {
    report(&format!("{kills} power cuts, seed {seed}"));
    let folder = device.directory().join("tam");
    let _ = std::fs::remove_dir_all(&folder);
    let start = Instant::now();
    let mut soak = Soak {
        deployment: Deployment::start(&Builds::new(cache), folder, Suite::Elliptic)?,
        image: Image::open(cache.join("image/lab"))?,
        keys: cache.join("keys/dev"),
        random: Random::new(seed),
        spans: BTreeMap::new(),
        figures: Figures::default(),
        kills,
    };
    let mut device = device;
    while soak.figures.cuts() < kills {
        // What is wrong comes first: whoever shortens a report cuts the TAM's log.
        device = soak.life(device, report).map_err(|error| {
            let cuts = soak.figures.cuts();
            anyhow!("{error:#}\nafter {cuts} cuts of seed {seed}\n{}", soak.deployment.tam_log())
        })?;
    }
    report(&format!("{} in {} s", soak.figures, start.elapsed().as_secs()));
    Ok(soak.figures)
}

/// How the cuts fell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// While the TEE generated its key or imported its certificate.
    pub provisioning: u32,
    /// The device came up as it was before the TAM's first command.
    pub before: u32,
    /// It came up between two of the TAM's commands.
    pub between: u32,
    /// It came up as after the last.
    pub after: u32,
    /// Of all these, those that fell while files of the storage were being changed.
    pub writing: u32,
    /// Devices that were used up.
    pub lives: u32,
}

impl Figures {
    /// All of them.
    pub const fn cuts(&self) -> u32 {
        self.provisioning + self.before + self.between + self.after
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { provisioning, before, between, after, writing, lives } = self;
        write!(
            formatter,
            "survived {} power cuts on {lives} devices: {provisioning} in provisioning; in commands \
             {before} came up as before, {between} between two, {after} as after; {writing} fell \
             among the writes",
            self.cuts()
        )
    }
}

/// What is on the device, as far as the TAM brings it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Nothing,
    Domain,
    Signer { version: u32, label: usize },
}

impl Standing {
    fn desired(self) -> Desired {
        match self {
            Self::Nothing => Desired::Nothing,
            Self::Domain => Desired::Domain,
            Self::Signer { version, label } => {
                Desired::Signer { version, personalization: Some(LABELS[label].0) }
            }
        }
    }

    const fn height(self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Domain => 1,
            Self::Signer { .. } => 2,
        }
    }

    /// Whether the TAM passes through `self`, or ends there, on its way between the two.
    fn lies_between(self, from: Self, to: Self) -> bool {
        let (low, high) = (from.height().min(to.height()), from.height().max(to.height()));
        self == from || self == to || (low < self.height() && self.height() < high)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => formatter.write_str("nothing"),
            Self::Domain => formatter.write_str("the domain"),
            Self::Signer { version, label } => {
                write!(formatter, "version {version} for {}", LABELS[*label].1)
            }
        }
    }
}

/// When to cut the power.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// This long after the start.
    Time(Duration),
    /// This long after the n-th change of the storage.
    Change(u32, Duration),
}

impl fmt::Display for Moment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => write!(formatter, "at {} ms", time.as_millis()),
            Self::Change(count, then) => {
                write!(formatter, "{} us after change {count} of the storage", then.as_micros())
            }
        }
    }
}

/// How long a script runs that is not cut, and how often the storage changes meanwhile.
#[derive(Clone, Copy)]
struct Span {
    time: Duration,
    changes: u32,
}

struct Cut {
    output: Option<Output>,
    device: Device,
    /// Its name in the report.
    moment: String,
    writing: bool,
}

struct Soak {
    deployment: Deployment,
    image: Image,
    keys: PathBuf,
    random: Random,
    /// By the kind of script, as long as none of the kind has ended.
    spans: BTreeMap<String, Span>,
    figures: Figures,
    kills: u32,
}

impl Soak {
    /// One device from its first boot until it is replaced.
    fn life(&mut self, device: Device, report: &mut dyn FnMut(&str)) -> Result<Device> {
        device.wipe()?;
        self.deployment.desire(Desired::Nothing)?;
        self.figures.lives += 1;
        let mut guest = self.first_cuts(device, report)?;
        let (tam, other) =
            (Operator::read(&self.keys, "tam")?, Operator::read(&self.keys, "other-tam")?);
        let neighbour = self.settle_neighbour(&mut guest, &other)?;
        let empty = Listing::of(&guest.device()?.storage())?.count();

        let mut standing = Standing::Nothing;
        let mut version = 1;
        let last = (self.figures.cuts() + CUTS_OF_A_LIFE - FIRST_CUTS).min(self.kills);
        while self.figures.cuts() < last {
            let goal = self.next(standing, &mut version);
            guest = self.cut_on_the_way(guest, standing, goal, &tam, report)?;
            neighbour.check(&mut guest, &other)?;
            self.deployment.desire(goal.desired())?;
            let lines = self.deployment.converge(&mut guest)?;
            let found = self.observe(&mut guest, &tam)?;
            ensure!(found == goal, "the TAM wanted {goal}, and there is {found}: {lines:?}");
            standing = goal;
        }

        // A further installation works, and all can be taken away again.
        version += 1;
        for goal in [Standing::Signer { version, label: 0 }, Standing::Nothing] {
            self.deployment.desire(goal.desired())?;
            self.deployment.converge(&mut guest)?;
            let found = self.observe(&mut guest, &tam)?;
            ensure!(found == goal, "the TAM wanted {goal}, and there is {found}");
        }
        neighbour.check(&mut guest, &other)?;
        let files = Listing::of(&guest.device()?.storage())?;
        ensure!(
            files.count() <= empty + LEFT_BEHIND,
            "of {empty} files there are {} now: {:?}",
            files.count(),
            files.lengths()
        );
        guest.power_off()
    }

    fn boot(&self, device: Device) -> Result<Guest> {
        Machine::new(device, self.image.clone()).boot()
    }

    /// Cuts the power while the TEE generates its key, and while it imports its certificate.
    fn first_cuts(&mut self, device: Device, report: &mut dyn FnMut(&str)) -> Result<Guest> {
        let maker = Authority::read(&self.keys.join("tee-ca"))?;
        let guest = self.boot(device)?;
        let cut = self.cut(guest, "csr", "otrp-agent csr")?;
        let mut guest = self.boot(cut.device)?;
        ensure!(!provisioned(&mut guest)?, "certified by nobody");
        let request = guest.run("otrp-agent csr")?.success()?.stdout;
        let chain = maker.certify(&request)?;
        let leaf = chain.first().context("an empty chain")?;
        if let Some(output) = cut.output {
            let first = maker.certify(&output.success()?.stdout)?;
            let first = first.first().context("an empty chain")?;
            ensure!(
                first.public_key()?.public_eq(&*leaf.public_key()?),
                "the TEE made another key after it had given the first away"
            );
        }
        self.count_first(cut.writing, "the TEE's key", &cut.moment, "it has one", report);
        if self.figures.cuts() == self.kills {
            provision(&mut guest, &self.keys)?;
            return Ok(guest);
        }

        guest.put("/tmp/tee.chain.pem", &file::chain_pem(&chain)?)?;
        let import = "otrp-agent import-cert /tmp/tee.chain.pem";
        let cut = self.cut(guest, "import", import)?;
        let mut guest = self.boot(cut.device)?;
        let kept = provisioned(&mut guest)?;
        ensure!(kept || cut.output.is_none(), "an import that had succeeded is lost");
        // The key is the one that was certified: its chain is still good.
        guest.put("/tmp/tee.chain.pem", &file::chain_pem(&chain)?)?;
        guest.run(import)?.success()?;
        ensure!(provisioned(&mut guest)?, "the import has no effect");
        let outcome = if kept { "imported" } else { "not imported" };
        self.count_first(cut.writing, "the TEE's certificate", &cut.moment, outcome, report);
        Ok(guest)
    }

    fn count_first(
        &mut self,
        writing: bool,
        what: &str,
        moment: &str,
        outcome: &str,
        report: &mut dyn FnMut(&str),
    ) {
        self.figures.provisioning += 1;
        self.figures.writing += u32::from(writing);
        report(&format!("{:>4}  {what}; cut {moment}: {outcome}", self.figures.cuts()));
    }

    /// Cuts the power while the TAM brings the device from `from` to `to`; booted and judged.
    fn cut_on_the_way(
        &mut self,
        guest: Guest,
        from: Standing,
        to: Standing,
        tam: &Operator,
        report: &mut dyn FnMut(&str),
    ) -> Result<Guest> {
        self.deployment.desire(to.desired())?;
        let kind = format!("{} to {}", from.height(), to.height());
        let script = self.deployment.request()?;
        let cut = self.cut(guest, &kind, &script)?;
        let way = format!("{from} -> {to}; cut {}", cut.moment);
        let mut guest = self.boot(cut.device)?;
        let found = self.observe(&mut guest, tam).with_context(|| way.clone())?;
        ensure!(found.lies_between(from, to), "{way}: {found} is neither before nor after");
        if let Some(output) = cut.output {
            ensure!(output.status == 0, "{way}: the agent failed: {}", output.error_text());
            ensure!(found == to, "{way}: what was done is undone: {found}");
        }
        let place = if found == to {
            self.figures.after += 1;
            "after"
        } else if found == from {
            self.figures.before += 1;
            "before"
        } else {
            self.figures.between += 1;
            "between"
        };
        self.figures.writing += u32::from(cut.writing);
        report(&format!("{:>4}  {way}: {place}", self.figures.cuts()));
        Ok(guest)
    }

    /// Runs a script and cuts the power at a random moment of it.
    fn cut(&mut self, guest: Guest, kind: &str, script: &str) -> Result<Cut> {
        let unknown = Span { time: Duration::from_millis(2500), changes: 24 };
        let span = self.spans.get(kind).copied().unwrap_or(unknown);
        // Half of them by the clock, and half by what they may tear apart.
        let moment = if self.random.below(2) == 0 {
            let limit = u64::try_from(span.time.as_micros())?;
            Moment::Time(Duration::from_micros(self.random.below(limit.max(1))))
        } else {
            let count = self.random.below(u64::from(span.changes.max(1)));
            let then = Duration::from_micros(self.random.below(4000));
            Moment::Change(u32::try_from(count)? + 1, then)
        };
        let storage = guest.device()?.storage();
        let mut seen = Listing::of(&storage)?;
        let (mut changes, mut unreadable) = (0, None);
        let (output, device) = guest.run_and_cut(script, |elapsed| {
            match Listing::of(&storage) {
                Ok(now) if now != seen => {
                    seen = now;
                    changes += 1;
                }
                Ok(_) => {}
                Err(error) => unreadable = Some(error),
            }
            match moment {
                Moment::Time(time) => elapsed >= time,
                Moment::Change(count, then) if changes >= count => {
                    std::thread::sleep(then);
                    true
                }
                Moment::Change(..) => unreadable.is_some(),
            }
        })?;
        if let Some(error) = unreadable {
            return Err(error.context("cannot look at the storage"));
        }
        let ended = output.is_some();
        if let Some(output) = &output {
            self.spans.insert(kind.to_owned(), Span { time: output.elapsed, changes });
        }
        let moment =
            if ended { format!("at its end ({changes} changes)") } else { moment.to_string() };
        Ok(Cut { output, device, moment, writing: changes > 0 && !ended })
    }

    /// The TAM's next desired state. Versions only rise.
    fn next(&mut self, now: Standing, version: &mut u32) -> Standing {
        let label = usize::from(self.random.below(2) == 1);
        let rise = |version: &mut u32| {
            *version += 1;
            *version
        };
        match (now, self.random.below(4)) {
            (Standing::Nothing, 0) => Standing::Domain,
            (Standing::Nothing | Standing::Domain, 1) => {
                Standing::Signer { version: rise(version), label }
            }
            (Standing::Domain, 0) => Standing::Nothing,
            (Standing::Nothing | Standing::Domain, _) => {
                Standing::Signer { version: *version, label }
            }
            (Standing::Signer { .. }, 0) => Standing::Signer { version: rise(version), label },
            (Standing::Signer { version, label }, 1) => {
                Standing::Signer { version, label: 1 - label }
            }
            (Standing::Signer { .. }, 2) => Standing::Domain,
            (Standing::Signer { .. }, _) => Standing::Nothing,
        }
    }

    /// The device's state as seen by the broker, the core's store, the loader and the sample.
    fn observe(&self, guest: &mut Guest, tam: &Operator) -> Result<Standing> {
        let state = tam.state(guest)?;
        let domains = &state.dsi.tee.sdlist.sd;
        let listed: Vec<_> = domains
            .iter()
            .flat_map(|domain| domain.talist.iter().map(|ta| ta.taid.as_str()))
            .collect();
        let installed = query(guest, SIGNER_UUID)?;
        let runs = guest.run("otrp-signer-client version")?;
        ensure!(
            !guest.secure_log()?.to_lowercase().contains("panic"),
            "a panic in the secure world:\n{}",
            guest.secure_log()?
        );
        let keys = state.dsi.tee.teeaiklist.len();
        match (domains.as_slice(), listed.as_slice(), installed) {
            ([], [], None) if runs.status == ITEM_NOT_FOUND && keys == 0 => Ok(Standing::Nothing),
            ([domain], [], None) if runs.status == ITEM_NOT_FOUND => {
                ensure!(domain.name == DOMAIN && keys == 1, "another domain: {domain:?}");
                Ok(Standing::Domain)
            }
            ([domain], [SIGNER], Some(installed)) => {
                ensure!(domain.name == DOMAIN && keys == 1, "another domain: {domain:?}");
                let version = installed.version;
                let elf = self.deployment.sample(version)?;
                ensure!(installed.is(&elf), "the store holds other bytes: {installed:?}");
                let runs = runs.success()?.text();
                ensure!(runs == version.min(2).to_string(), "version {runs} runs, not {version}");
                let told = guest.run("otrp-signer-client label")?.success()?.text();
                let label = LABELS.iter().position(|(_, label)| *label == told);
                let label = label.with_context(|| format!("an unknown label {told:?}"))?;
                Ok(Standing::Signer { version, label })
            }
            (_, _, installed) => bail!(
                "they disagree: listed {listed:?} in {} domains with {keys} keys, installed \
                 {installed:?}, the client says {}",
                domains.len(),
                runs.status
            ),
        }
    }

    /// Installs an application of a second TAM.
    fn settle_neighbour(&mut self, guest: &mut Guest, other: &Operator) -> Result<Neighbour> {
        let size = 1 << (10 + self.random.below(8));
        let (taid, uuid) = NEIGHBOUR;
        let uuid: Uuid = uuid.parse()?;
        let contents: Vec<u8> = (0..size).map(|_| (self.random.below(256)) as u8).collect();
        let elf = fixture::application(uuid.0, &contents);
        let certificate = std::fs::read(self.keys.join("sp-ec.der"))?;
        let (spid, name) = (SERVICE_PROVIDER, NEIGHBOUR_DOMAIN);
        other.carry_out(guest, Command::CreateSd { spid, name, certificate: &certificate })?;
        let key = file::read_key(&self.keys.join("sp-ec.key.pem"))?;
        let image = image::sign(&key, None, uuid, 1, &elf)?;
        other.carry_out(guest, Command::InstallTa(application(name, taid, &image)))?;
        Ok(Neighbour { elf })
    }
}

struct Neighbour {
    elf: Vec<u8>,
}

impl Neighbour {
    fn check(&self, guest: &mut Guest, other: &Operator) -> Result<()> {
        let (taid, uuid) = NEIGHBOUR;
        let domains = other.state(guest)?.dsi.tee.sdlist.sd;
        let listed = matches!(
            domains.as_slice(),
            [domain] if matches!(domain.talist.as_slice(), [ta] if ta.taid == taid)
        );
        ensure!(listed, "the second TAM's application is not listed: {domains:?}");
        let installed = query(guest, uuid)?.context("the second TAM's application is gone")?;
        ensure!(installed.is(&self.elf), "the second TAM's application has changed");
        Ok(())
    }
}

fn provisioned(guest: &mut Guest) -> Result<bool> {
    let status = guest.run("otrp-agent status")?.success()?.text();
    Ok(status.contains("\"provisioned\":true"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_is_what_the_tam_passes() {
        let one = Standing::Signer { version: 1, label: 0 };
        let two = Standing::Signer { version: 2, label: 0 };
        for (found, from, to, expected) in [
            (Standing::Domain, Standing::Nothing, one, true),
            (Standing::Nothing, Standing::Nothing, one, true),
            (two, Standing::Nothing, one, false),
            (Standing::Domain, one, two, false),
            (one, one, two, true),
            (Standing::Domain, one, Standing::Nothing, true),
            (one, Standing::Domain, Standing::Nothing, false),
        ] {
            assert_eq!(found.lies_between(from, to), expected, "{found}: {from} -> {to}");
        }
    }
}
