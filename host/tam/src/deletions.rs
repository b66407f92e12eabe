//! A change of the desired state that deletes a lot needs a confirmation.
//!
//! What the desired state does not contain is deleted on every device, and half of a file is a
//! valid file. So everything that is installed and not desired counts as a deletion, and so does
//! everything on a retired device, until the device has carried it out or the operator has
//! confirmed it: several small changes count as one large one. If more than a tenth of what is
//! installed would be deleted, and more than one application, the configuration must name the new
//! state in `allow_deletion`.
//!
//! What was confirmed, and what was desired last, is kept in a file beside the state file. A server
//! that starts there without knowing any device has lost its state file, and counts what was
//! desired last as installed on one device, until a deletion is confirmed.
//!
//! This is no protection against removing a tenth each time the devices have followed, and applications
//! that the TAM does not know of are not counted.

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

/// The fraction of what is installed that may be deleted without confirmation: one in this many.
const PART: usize = 10;
/// Number of applications that may be deleted in any case.
const ALWAYS: usize = 1;
/// Number of applications that are named in the objection.
const NAMED: usize = 5;
/// Digits of the digest that name a state. Collisions are not an attack: the operator writes both
/// states.
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

/// Whether an installed application stays. One that is desired without the personalization data that it
/// has is deleted, because data cannot be removed alone.
fn keep(desired: &BTreeSet<Application>, application: &Application) -> bool {
    let (spid, domain, taid, has_data) = application;
    let is_there = |data| desired.contains(&(spid.clone(), domain.clone(), taid.clone(), data));
    is_there(true) || !has_data && is_there(false)
}

/// The name of a configuration, as far as deletions depend on it: its applications and retired devices.
fn name_of(configuration: &Configuration) -> anyhow::Result<String> {
    let named = (applications_of(&configuration.desired), configuration.tam.retired());
    let digest = hex::encode(sha256(&serde_json::to_vec(&named)?)?);
    Ok(digest.chars().take(NAME_DIGITS).collect())
}

/// What was accepted, as it is stored in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Accepted {
    /// The name of the last state.
    #[serde(default)]
    name: String,
    /// The applications of the last state.
    applications: BTreeSet<Application>,
    /// Applications whose deletion was confirmed and that some device still has. Missing in files of
    /// older versions, which confirmed everything that is not in `applications`.
    #[serde(default)]
    deleted: Option<BTreeSet<Application>>,
    /// Keys of the devices whose retirement was confirmed. Missing in files of older versions, which
    /// confirmed all.
    #[serde(default)]
    retired: Option<BTreeSet<String>>,
    /// Applications that were desired when the state file was lost. They stand for what the devices
    /// have that were forgotten with it.
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

    /// Notes that the state file was lost. Each application is kept once, with data if it has any.
    fn forget(&mut self) {
        let desired = self.applications.iter();
        let all = self.forgotten.iter().chain(desired).cloned().collect::<BTreeSet<_>>();
        let with_data = |(spid, domain, taid, _): &Application| {
            all.contains(&(spid.clone(), domain.clone(), taid.clone(), true))
        };
        self.forgotten = all.iter().filter(|it| it.3 || !with_data(it)).cloned().collect();
    }
}

/// Returns the known devices.
type Devices = dyn Fn() -> anyhow::Result<Vec<DeviceRecord>> + Send + Sync;

/// Compares new configurations with what was accepted last and what is installed.
pub struct Guard {
    file: PathBuf,
    /// `None` if nothing was accepted yet, or the file cannot be read.
    accepted: Option<Accepted>,
    /// Whether the file contains the same.
    is_written: bool,
    devices: Box<Devices>,
}

impl Guard {
    /// The guard of a server with the state file at `store`, beside which it stores what was
    /// accepted. If that file is missing or unreadable, nothing was confirmed. `devices` returns
    /// the known devices.
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

    /// The objection to a configuration that deletes a lot without confirmation: what it deletes,
    /// and how to confirm it.
    ///
    /// # Errors
    /// If the known devices cannot be read.
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

    /// Stores a configuration as the one accepted last, with what it confirms.
    ///
    /// # Errors
    /// If the file cannot be written or the known devices cannot be read. Then the next start knows
    /// only what was confirmed before.
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

/// Replaces a file in one step.
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
