//! A change of the desired state that deletes much is carried out only once somebody confirms it.
//!
//! What is missing in the desired state is deleted on every device, and half of a file is a valid
//! file. So whatever is installed and not desired counts as a deletion, on a device that is retired
//! everything, until the device has carried it out or somebody has confirmed it: several small
//! changes count as one large one. Where more than a tenth of what is installed would go, and more
//! than one application, the new state has to be named in the configuration, `allow_deletion`.
//!
//! What was confirmed is kept beside the state file, where it outlives the server, and with it what
//! was desired last: a server that starts there without knowing any device has lost its state file,
//! so it takes this for installed on one device, until a deletion is confirmed.
//!
//! It is no protection against somebody who takes a tenth away and waits for the devices each time,
//! nor does it count what a device has of which the TAM does not know.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::desired::{Configuration, DesiredState};
use crate::encoding::sha256;
use crate::foreign::Foreign;
use crate::record::DeviceRecord;

/// How much of what is installed may go without a question: one part of so many.
const PART: usize = 10;
/// How many applications may go in any case.
const ALWAYS: usize = 1;
/// How many applications are named.
const NAMED: usize = 5;
/// How much of the digest names a state: nobody chooses it to be mistaken for another.
const NAME_DIGITS: usize = 16;

/// Service provider, domain, application, and whether it has personalization data.
type Application = (String, String, String, bool);

fn applications_of(desired: &DesiredState) -> BTreeSet<Application> {
    let mut applications = BTreeSet::new();
    for domain in &desired.domains {
        for it in &domain.applications {
            let (spid, name) = (domain.spid.clone(), domain.name.clone());
            applications.insert((spid, name, it.id.clone(), it.personalization.is_some()));
        }
    }
    applications
}

fn installed_on(device: &DeviceRecord) -> impl Iterator<Item = Application> {
    device.memory.applications.iter().map(|it| {
        let has_data = device.memory.may_have_data(&it.spid, &it.domain, &it.taid);
        (it.spid.clone(), it.domain.clone(), it.taid.clone(), has_data)
    })
}

/// Whether desired applications leave one as it is installed: an application that shall have no
/// personalization data any more is deleted with them.
fn keep(desired: &BTreeSet<Application>, application: &Application) -> bool {
    let (spid, domain, taid, has_data) = application;
    let is_there = |data| desired.contains(&(spid.clone(), domain.clone(), taid.clone(), data));
    is_there(true) || !has_data && is_there(false)
}

/// The name of what a configuration deletes: of the applications and the retired devices in it.
fn name_of(configuration: &Configuration) -> anyhow::Result<String> {
    let named = (applications_of(&configuration.desired), configuration.tam.retired());
    let digest = hex::encode(sha256(&serde_json::to_vec(&named)?)?);
    Ok(digest.chars().take(NAME_DIGITS).collect())
}

/// What was accepted, as it is kept in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Accepted {
    /// The name of the last state.
    #[serde(default)]
    name: String,
    /// The applications of the last state.
    applications: BTreeSet<Application>,
    /// Those whose deletion was confirmed, and that some device has. A file of before has none: it
    /// confirmed whatever its applications do not keep.
    #[serde(default)]
    deleted: Option<BTreeSet<Application>>,
    /// The keys of the devices whose retirement was confirmed. A file of before has none: it confirmed
    /// all.
    #[serde(default)]
    retired: Option<BTreeSet<String>>,
    /// Those that were desired when the state file was lost, in place of what devices have that were
    /// forgotten with it.
    #[serde(default)]
    forgotten: BTreeSet<Application>,
}

impl Accepted {
    fn confirms_deletion_of(&self, application: &Application) -> bool {
        match &self.deleted {
            Some(deleted) => deleted.contains(application),
            None => !keep(&self.applications, application),
        }
    }

    fn confirms_retirement_of(&self, device: &DeviceRecord) -> bool {
        self.retired.as_ref().is_none_or(|retired| retired.contains(&device.key))
    }

    /// The state file was lost: each application is in one of the two forms.
    fn forget(&mut self) {
        let desired = self.applications.iter();
        let all = self.forgotten.iter().chain(desired).cloned().collect::<BTreeSet<_>>();
        let with_data = |(spid, domain, taid, _): &Application| {
            all.contains(&(spid.clone(), domain.clone(), taid.clone(), true))
        };
        self.forgotten = all.iter().filter(|it| it.3 || !with_data(it)).cloned().collect();
    }
}

/// What is installed on devices, as far as is known.
type Devices = dyn Fn() -> anyhow::Result<Vec<DeviceRecord>> + Send + Sync;

/// What was accepted last, and what is installed.
pub struct Guard {
    file: PathBuf,
    /// `None` where nobody can tell.
    accepted: Option<Accepted>,
    /// Whether the file says the same.
    is_written: bool,
    devices: Box<Devices>,
}

impl Guard {
    /// The guard of a server with the state file at `store`, beside which it keeps what was accepted.
    /// If there is none, or nobody can read it, nothing was confirmed. `devices` gives what is
    /// installed.
    #[must_use]
    pub fn beside(
        store: &Path,
        devices: impl Fn() -> anyhow::Result<Vec<DeviceRecord>> + Send + Sync + 'static,
    ) -> Self {
        let mut name = store.as_os_str().to_owned();
        name.push(".desired");
        let file = PathBuf::from(name);
        let read = fs::read(&file).ok();
        let mut accepted: Option<Accepted> =
            read.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut is_written = true;
        if let Some(accepted) = &mut accepted
            && devices().is_ok_and(|devices| devices.is_empty())
        {
            accepted.forget();
            is_written = false;
        }
        Self { file, accepted, is_written, devices: Box::new(devices) }
    }

    /// What the configuration deletes if that needs to be confirmed, and is not: a sentence that says
    /// how.
    ///
    /// # Errors
    /// If nobody can tell what is installed.
    pub fn objection(&self, configuration: &Configuration) -> anyhow::Result<Option<String>> {
        let name = name_of(configuration)?;
        let nothing = Accepted {
            deleted: Some(BTreeSet::new()),
            retired: Some(BTreeSet::new()),
            ..Accepted::default()
        };
        let accepted = self.accepted.as_ref().unwrap_or(&nothing);
        if accepted.name == name || configuration.tam.allowed_deletion() == Some(&name) {
            return Ok(None);
        }
        let desired = applications_of(&configuration.desired);
        let (mut installed, mut deleted) = (0, BTreeMap::<_, usize>::new());
        let mut count = |(spid, domain, taid, _): Application, is_deleted: bool| {
            installed += 1;
            if is_deleted {
                *deleted.entry((spid, domain, taid)).or_default() += 1;
            }
        };
        for device in (self.devices)()? {
            let is_retired = configuration.tam.retires(&device);
            if is_retired && accepted.confirms_retirement_of(&device) {
                continue;
            }
            for it in installed_on(&device) {
                let goes = is_retired || !keep(&desired, &it);
                let is_news = goes && !accepted.confirms_deletion_of(&it);
                count(it, is_news);
            }
        }
        for it in &accepted.forgotten {
            count(it.clone(), !keep(&desired, it));
        }
        let count: usize = deleted.values().sum();
        if count <= ALWAYS || count.saturating_mul(PART) <= installed {
            return Ok(None);
        }
        let mut named: Vec<String> = deleted
            .iter()
            .take(NAMED)
            .map(|((spid, domain, taid), devices)| {
                let [spid, domain, taid] = [spid, domain, taid].map(Foreign::new);
                format!("{spid}/{domain}/{taid} on {devices}")
            })
            .collect();
        if deleted.len() > NAMED {
            named.push(format!("{} others", deleted.len() - NAMED));
        }
        let forgotten = match accepted.forgotten.is_empty() {
            true => "",
            false => {
                ", where the devices that this server does not know, because its state file is new, \
                 count as one"
            }
        };
        Ok(Some(format!(
            "it deletes {count} of the {installed} applications that are installed on devices ({}{forgotten}): \
             if that is meant, add `allow_deletion = \"{name}\"` to [tam]",
            named.join(", ")
        )))
    }

    /// Keeps a configuration as the one that was accepted last, and what it confirms.
    ///
    /// # Errors
    /// If it cannot be written, or nobody can tell what is installed. Then what was confirmed before
    /// is what the next start knows.
    pub fn accept(&mut self, configuration: &Configuration) -> anyhow::Result<()> {
        let next = self.after(configuration)?;
        if !self.is_written || self.accepted.as_ref() != Some(&next) {
            replace(&self.file, &serde_json::to_vec(&next)?)
                .with_context(|| format!("cannot write {}", self.file.display()))?;
            self.accepted = Some(next);
            self.is_written = true;
        }
        Ok(())
    }

    fn after(&self, configuration: &Configuration) -> anyhow::Result<Accepted> {
        let name = name_of(configuration)?;
        let applications = applications_of(&configuration.desired);
        let is_confirmed = configuration.tam.allowed_deletion() == Some(&name);
        let before = self.accepted.as_ref();
        let (mut deleted, mut retired) = (BTreeSet::new(), BTreeSet::new());
        for device in (self.devices)()? {
            let is_retired = configuration.tam.retires(&device);
            let was_confirmed = before.is_some_and(|it| it.confirms_retirement_of(&device));
            if is_retired && (is_confirmed || was_confirmed) {
                retired.insert(device.key.clone());
                continue;
            }
            deleted.extend(installed_on(&device).filter(|it| {
                let was_confirmed = before.is_some_and(|before| before.confirms_deletion_of(it));
                !keep(&applications, it) && (is_confirmed || was_confirmed)
            }));
        }
        let mut forgotten = before.map(|before| before.forgotten.clone()).unwrap_or_default();
        if is_confirmed {
            forgotten.retain(|it| keep(&applications, it));
        }
        let (deleted, retired) = (Some(deleted), Some(retired));
        Ok(Accepted { name, applications, deleted, retired, forgotten })
    }
}

/// Writes a file in one step.
fn replace(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut written =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    written.write_all(bytes)?;
    written.sync_all()?;
    Ok(fs::rename(&new, file)?)
}
