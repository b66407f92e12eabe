//! A change of the desired state that deletes much is carried out only once somebody confirms it.
//!
//! What is missing in the desired state is deleted on every device, and half of a file is a valid
//! file. So the server keeps what was desired last beside its state file, where it outlives the
//! server, and compares: a change that would delete more than a tenth of the applications which the
//! TAM knows to be installed, counted on each device that is not retired, and more than one, needs
//! the name of the new state in the configuration, `allow_deletion`.

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
use crate::store::DeviceRecord;

/// How much of what is installed may go without a question: one part of so many.
const PART: usize = 10;
/// How many applications may go in any case.
const ALWAYS: usize = 1;
/// How many applications are named.
const NAMED: usize = 5;
/// How much of the digest names a state: nobody chooses it to be mistaken for another.
const NAME_DIGITS: usize = 16;

/// What matters of a desired state when another one follows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Summary {
    /// Service provider, domain, application, and whether it has personalization data.
    applications: BTreeSet<(String, String, String, bool)>,
}

impl Summary {
    fn of(desired: &DesiredState) -> Self {
        let mut applications = BTreeSet::new();
        for domain in &desired.domains {
            for it in &domain.applications {
                let (spid, name) = (domain.spid.clone(), domain.name.clone());
                applications.insert((spid, name, it.id.clone(), it.personalization.is_some()));
            }
        }
        Self { applications }
    }

    fn name(&self) -> anyhow::Result<String> {
        let digest = hex::encode(sha256(&serde_json::to_vec(self)?)?);
        Ok(digest.chars().take(NAME_DIGITS).collect())
    }

    /// Whether it leaves an application as it is installed: an application that shall have no
    /// personalization data any more is deleted with them.
    fn keeps(&self, application: &(String, String, String), has_data: bool) -> bool {
        let (spid, domain, taid) = application;
        let is_there =
            |data| self.applications.contains(&(spid.clone(), domain.clone(), taid.clone(), data));
        is_there(true) || !has_data && is_there(false)
    }
}

/// What is installed on devices, as far as is known.
type Devices = dyn Fn() -> anyhow::Result<Vec<DeviceRecord>> + Send + Sync;

/// The desired state that was accepted last, and what is installed.
pub struct Guard {
    file: PathBuf,
    accepted: Option<Summary>,
    devices: Box<Devices>,
}

impl Guard {
    /// The guard of a server with the state file at `store`, where the last state is kept beside it.
    /// If there is none, or nobody can read it, everything that is installed counts as desired until
    /// now. `devices` gives what is installed.
    #[must_use]
    pub fn beside(
        store: &Path,
        devices: impl Fn() -> anyhow::Result<Vec<DeviceRecord>> + Send + Sync + 'static,
    ) -> Self {
        let mut name = store.as_os_str().to_owned();
        name.push(".desired");
        let file = PathBuf::from(name);
        let accepted = fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { file, accepted, devices: Box::new(devices) }
    }

    /// What the configuration deletes if that needs to be confirmed, and is not: a sentence that says
    /// how.
    ///
    /// # Errors
    /// If nobody can tell what is installed.
    pub fn objection(&self, configuration: &Configuration) -> anyhow::Result<Option<String>> {
        let desired = Summary::of(&configuration.desired);
        if self.accepted.as_ref() == Some(&desired) {
            return Ok(None);
        }
        let name = desired.name()?;
        if configuration.tam.allowed_deletion() == Some(&name) {
            return Ok(None);
        }
        let (mut installed, mut deleted) = (0, BTreeMap::<_, usize>::new());
        for device in (self.devices)()? {
            if configuration.tam.retires(&device) {
                continue;
            }
            for it in &device.memory.applications {
                installed += 1;
                let has_data = device.memory.may_have_data(&it.spid, &it.domain, &it.taid);
                let application = (it.spid.clone(), it.domain.clone(), it.taid.clone());
                let before = self.accepted.as_ref();
                let was_kept = before.is_none_or(|before| before.keeps(&application, has_data));
                if was_kept && !desired.keeps(&application, has_data) {
                    *deleted.entry(application).or_default() += 1;
                }
            }
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
        Ok(Some(format!(
            "it deletes {count} of the {installed} applications that are installed on devices ({}): \
             if that is meant, add `allow_deletion = \"{name}\"` to [tam]",
            named.join(", ")
        )))
    }

    /// Keeps a desired state as the one that was accepted last.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn accept(&mut self, desired: &DesiredState) -> anyhow::Result<()> {
        let summary = Summary::of(desired);
        if self.accepted.as_ref() != Some(&summary) {
            replace(&self.file, &serde_json::to_vec(&summary)?)
                .with_context(|| format!("cannot write {}", self.file.display()))?;
            self.accepted = Some(summary);
        }
        Ok(())
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
