//! What the TAM remembers of devices, in an embedded database that survives a crash.

use std::cell::RefCell;
use std::fs::{File, TryLockError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use redb::{
    Database, DatabaseError, ReadOnlyDatabase, ReadableDatabase as _, ReadableTable as _,
    StorageError, Table, TableDefinition, TableError,
};
use serde::{Deserialize, Serialize};

use crate::certificate;
use crate::dsi::{AttestationKey, DeviceState, Dsi};
use crate::encoding::base64;
use crate::plan::{DomainName, Step};

/// Device records in JSON, by device identifier.
const DEVICES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("devices");
/// Device identifiers by the fingerprint of the TEE's key, which stays when its certificate is
/// renewed.
const KEYS: TableDefinition<'_, &str, &str> = TableDefinition::new("keys");
/// The version of the record format; a newer one is refused, not guessed at.
const FORMAT: u32 = 1;

/// What the TAM knows of a device beyond what the device says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The signers of domains.
    pub domains: Vec<KnownDomain>,
    /// The versions of applications.
    pub applications: Vec<KnownTa>,
    /// Applications that may have personalization data or not: the device has not answered to the
    /// request that brings them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubtful_data: Vec<TaName>,
}

/// An application by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaName {
    /// The service provider.
    pub spid: String,
    /// The name of the security domain.
    pub domain: String,
    /// The application.
    pub taid: String,
}

impl TaName {
    fn new(domain: &DomainName, taid: &str) -> Self {
        Self { spid: domain.spid.clone(), domain: domain.name.clone(), taid: taid.into() }
    }
}

/// The signers that this TAM gave a security domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownDomain {
    /// The service provider.
    pub spid: String,
    /// The name.
    pub name: String,
    /// SHA-256 of the certificates, in hexadecimal.
    pub certificates: Vec<String>,
    /// The same of those that may be there or not: the device has not answered to the request that adds
    /// or removes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubtful: Vec<String>,
}

impl KnownDomain {
    fn doubt(&mut self, digests: &[String]) {
        self.forget(|digest| digests.contains(digest));
        self.doubtful.extend_from_slice(digests);
    }

    fn trust(&mut self, digests: &[String]) {
        self.forget(|digest| digests.contains(digest));
        self.certificates.extend_from_slice(digests);
    }

    fn forget(&mut self, is_meant: impl Fn(&String) -> bool) {
        self.certificates.retain(|digest| !is_meant(digest));
        self.doubtful.retain(|digest| !is_meant(digest));
    }
}

/// What this TAM installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownTa {
    /// The service provider.
    pub spid: String,
    /// The name of the security domain.
    pub domain: String,
    /// The application.
    pub taid: String,
    /// The version.
    pub version: u32,
    /// SHA-256 of the signed image, in hexadecimal.
    pub image: String,
    /// SHA-256 of the personalization data, in hexadecimal.
    pub personalization: Option<String>,
}

impl Memory {
    /// A domain, if this TAM gave it signers.
    #[must_use]
    pub fn domain(&self, spid: &str, name: &str) -> Option<&KnownDomain> {
        self.domains.iter().find(|domain| domain.spid == spid && domain.name == name)
    }

    fn change_domain(&mut self, name: &DomainName, change: impl FnOnce(&mut KnownDomain)) {
        let is_it = |domain: &KnownDomain| domain.spid == name.spid && domain.name == name.name;
        let place = self.domains.iter().position(is_it);
        let mut domain = place.map_or_else(
            || KnownDomain {
                spid: name.spid.clone(),
                name: name.name.clone(),
                certificates: Vec::new(),
                doubtful: Vec::new(),
            },
            |place| self.domains.remove(place),
        );
        change(&mut domain);
        self.domains.push(domain);
    }

    /// An application, if this TAM installed it.
    #[must_use]
    pub fn application(&self, spid: &str, domain: &str, taid: &str) -> Option<&KnownTa> {
        self.applications
            .iter()
            .find(|it| it.spid == spid && it.domain == domain && it.taid == taid)
    }

    /// Whether an application has personalization data as far as is known, or may have.
    #[must_use]
    pub fn may_have_data(&self, spid: &str, domain: &str, taid: &str) -> bool {
        self.application(spid, domain, taid).is_some_and(|it| it.personalization.is_some())
            || self
                .doubtful_data
                .iter()
                .any(|it| it.spid == spid && it.domain == domain && it.taid == taid)
    }

    /// Takes over that a step will be asked for: until the answer comes, and if none comes, the signers
    /// that it adds and removes are doubtful, and whether an application has the data that it brings.
    pub fn announce(&mut self, step: &Step) {
        match step {
            Step::CreateSd { domain, certificate } => {
                self.change_domain(domain, |domain| {
                    domain.doubt(std::slice::from_ref(certificate))
                });
            }
            Step::UpdateSd { domain, add, remove } => {
                self.change_domain(domain, |domain| {
                    domain.doubt(add);
                    domain.doubt(remove);
                });
            }
            Step::InstallTa { domain, taid, personalization: Some(_), .. }
            | Step::UpdateTa { domain, taid, personalization: Some(_), .. } => {
                let application = TaName::new(domain, taid);
                if !self.doubtful_data.contains(&application) {
                    self.doubtful_data.push(application);
                }
            }
            _ => {}
        }
    }

    /// Takes over that a step was refused and the device is as it was: what it was to remove is there.
    /// Not so where a signer was to be removed alone, which is done when nobody knows whether it is.
    pub fn withdraw(&mut self, step: &Step) {
        if let Step::UpdateSd { domain, remove, .. } = step
            && !step.is_lone_removal()
        {
            self.change_domain(domain, |domain| domain.trust(remove));
        }
    }

    /// Takes over that a step succeeded. `version` is that of the image that it carried.
    pub fn record(&mut self, step: &Step, version: Option<u32>) {
        match step {
            Step::DeleteTa { domain, taid } => {
                self.forget_application(domain, taid);
                self.settle_data(domain, taid);
            }
            Step::DeleteSd { domain } => {
                self.domains.retain(|it| it.spid != domain.spid || it.name != domain.name);
                self.applications.retain(|it| it.spid != domain.spid || it.domain != domain.name);
                self.doubtful_data.retain(|it| it.spid != domain.spid || it.domain != domain.name);
            }
            Step::CreateSd { domain, certificate } => {
                self.change_domain(domain, |domain| {
                    domain.forget(|_| true);
                    domain.trust(std::slice::from_ref(certificate));
                });
            }
            Step::UpdateSd { domain, add, remove } => {
                self.change_domain(domain, |domain| {
                    domain.forget(|digest| remove.contains(digest));
                    domain.trust(add);
                });
            }
            Step::InstallTa { domain, taid, image, personalization } => {
                self.settle_data(domain, taid);
                self.replace_application(
                    domain,
                    taid,
                    Some(image),
                    personalization.as_ref(),
                    version,
                );
            }
            Step::UpdateTa { domain, taid, image, personalization } => {
                if personalization.is_some() {
                    self.settle_data(domain, taid);
                }
                self.replace_application(
                    domain,
                    taid,
                    image.as_ref(),
                    personalization.as_ref(),
                    version,
                );
            }
        }
    }

    fn forget_application(&mut self, domain: &DomainName, taid: &str) {
        self.applications
            .retain(|it| it.spid != domain.spid || it.domain != domain.name || it.taid != taid);
    }

    fn settle_data(&mut self, domain: &DomainName, taid: &str) {
        let application = TaName::new(domain, taid);
        self.doubtful_data.retain(|it| *it != application);
    }

    /// What an update did not carry stays as it was known; if it was not known, so it stays.
    fn replace_application(
        &mut self,
        domain: &DomainName,
        taid: &str,
        image: Option<&String>,
        personalization: Option<&String>,
        version: Option<u32>,
    ) {
        let before = self.application(&domain.spid, &domain.name, taid).cloned();
        self.forget_application(domain, taid);
        let image = image.cloned().or_else(|| before.as_ref().map(|it| it.image.clone()));
        let version = version.or_else(|| before.as_ref().map(|it| it.version));
        let (Some(image), Some(version)) = (image, version) else { return };
        self.applications.push(KnownTa {
            spid: domain.spid.clone(),
            domain: domain.name.clone(),
            taid: String::from(taid),
            version,
            image,
            personalization: personalization
                .cloned()
                .or_else(|| before.and_then(|it| it.personalization)),
        });
    }

    /// Forgets what the device does not have any more.
    pub fn keep_only(&mut self, dsi: &Dsi) {
        let find = |spid: &str, name: &str| {
            dsi.tee.sdlist.sd.iter().find(|sd| sd.spid == spid && sd.name == name)
        };
        self.domains.retain(|it| find(&it.spid, &it.name).is_some());
        let is_there = |spid: &str, domain: &str, taid: &str| {
            find(spid, domain)
                .is_some_and(|sd| sd.talist.iter().any(|installed| installed.taid == taid))
        };
        self.applications.retain(|it| is_there(&it.spid, &it.domain, &it.taid));
        self.doubtful_data.retain(|it| is_there(&it.spid, &it.domain, &it.taid));
    }
}

/// A device that once showed its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    format: u32,
    /// `did`: base64 SHA-256 of the TEE's certificate.
    pub device_id: String,
    /// The TEE's certificate, base64.
    pub certificate: String,
    /// The certificates above it, base64.
    pub authorities: Vec<String>,
    /// The TEE's name.
    pub tee: String,
    /// The TEE's version.
    pub tee_version: String,
    /// Seconds since 1970.
    pub first_seen: u64,
    /// Seconds since 1970.
    pub last_seen: u64,
    /// The hash of the last state seen.
    pub dsi_hash: String,
    /// The attestation keys of the SPs.
    pub attestation_keys: Vec<AttestationKey>,
    /// What this TAM did to it.
    pub memory: Memory,
    /// What the device refused since it last connected, a line each.
    pub failures: Vec<String>,
}

impl DeviceRecord {
    /// A device that is seen for the first time.
    ///
    /// # Errors
    /// When OpenSSL has no memory.
    pub fn new(state: &DeviceState) -> anyhow::Result<Self> {
        let mut record = Self {
            format: FORMAT,
            device_id: String::new(),
            certificate: String::new(),
            authorities: Vec::new(),
            tee: String::new(),
            tee_version: String::new(),
            first_seen: now(),
            last_seen: 0,
            dsi_hash: String::new(),
            attestation_keys: Vec::new(),
            memory: Memory::default(),
            failures: Vec::new(),
        };
        record.see(state)?;
        Ok(record)
    }

    /// Takes over a state that was verified.
    ///
    /// # Errors
    /// When OpenSSL has no memory.
    pub fn see(&mut self, state: &DeviceState) -> anyhow::Result<()> {
        let tee = &state.dsi.tee;
        self.device_id.clone_from(&state.device_id);
        self.certificate = base64(&state.certificate.to_der()?);
        self.authorities.clone_from(&tee.cacert);
        self.tee.clone_from(&tee.name);
        self.tee_version.clone_from(&tee.ver);
        self.last_seen = now();
        self.dsi_hash.clone_from(&state.hash);
        self.attestation_keys.clone_from(&tee.teeaiklist);
        self.memory.keep_only(&state.dsi);
        Ok(())
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// How long to wait for another process to finish with the database.
const PATIENCE: Duration = Duration::from_secs(5);

/// That no other server uses a database: it would not know of the sessions of this one. A person may
/// look at the devices all the same. It ends with this value, or the process.
pub struct Exclusive {
    _file: File,
}

impl Exclusive {
    /// Takes the database at `path` for this server, by a lock on a file beside it.
    ///
    /// # Errors
    /// If another server has it, or the file cannot be made.
    pub fn take(path: &Path) -> anyhow::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let lock = PathBuf::from(name);
        let file = File::create(&lock).with_context(|| {
            format!("cannot make {}, which keeps other servers away", lock.display())
        })?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => bail!(
                "another server uses the state file {}: a server needs one of its own (--state)",
                path.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock {}", lock.display()))
            }
        }
    }
}

thread_local! {
    /// The database in which this thread is at work.
    static AT_WORK: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

/// What to say of a panic on this thread, if it is one in the database: redb trusts its file, so one
/// that is damaged can end that way. The program says it where panics do not unwind.
#[must_use]
pub fn damage() -> Option<String> {
    let path = AT_WORK.try_with(|path| path.try_borrow().ok()?.clone()).ok()??;
    Some(damaged(&path))
}

fn damaged(path: &Path) -> String {
    let path = path.display();
    format!(
        "the state file {path} is damaged or cut short. Restore it from a copy, or move it away and \
         start again: nothing on any device is lost with it, but the TAM then knows no device until \
         it connects, sends each its applications and signers once more, and does not take back \
         signers and personalization data that were taken out of the configuration meanwhile"
    )
}

/// Works with the database at `path`, and says of every failure in which file it was.
fn guarded<T>(path: &Path, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    AT_WORK.with(|at| at.replace(Some(path.to_path_buf())));
    let worked = catch_unwind(AssertUnwindSafe(work));
    AT_WORK.with(|at| at.replace(None));
    let Ok(worked) = worked else { bail!("{}", damaged(path)) };
    worked.map_err(|error| {
        let is_damage = error.chain().any(|cause| {
            matches!(cause.downcast_ref(), Some(StorageError::Corrupted(_)))
                || matches!(
                    cause.downcast_ref(),
                    Some(DatabaseError::Storage(StorageError::Corrupted(_)))
                )
        });
        if is_damage {
            error.context(damaged(path))
        } else {
            error.context(format!("the state file {}", path.display()))
        }
    })
}

/// The database. It is open, and so locked, only during a transaction: a person can look at the
/// devices while the server runs.
pub struct Store(PathBuf);

impl Store {
    /// The database at `path`, which is made if it is not there.
    ///
    /// # Errors
    /// If it is none, is damaged, or cannot be made.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let store = Self(path.to_path_buf());
        guarded(path, || store.database().map(drop))?;
        Ok(store)
    }

    fn database(&self) -> anyhow::Result<Database> {
        patiently(|| Database::create(&self.0))
    }

    /// Takes over a state that was verified, from a device that is new or known, in one transaction.
    /// Known is one with the same key: a renewed certificate makes another device identifier, under
    /// which the record goes on. Gives the record, and the identifier from before if it changed.
    ///
    /// # Errors
    /// If the disk fails, or OpenSSL.
    pub fn meet(
        &self,
        state: &DeviceState,
        change: impl FnOnce(&mut DeviceRecord),
    ) -> anyhow::Result<(DeviceRecord, Option<String>)> {
        let key = certificate::key_fingerprint(&state.certificate)?;
        let device_id = state.device_id.as_str();
        guarded(&self.0, || {
            let database = self.database()?;
            let transaction = database.begin_write()?;
            let met = {
                let mut keys = transaction.open_table(KEYS)?;
                let mut devices = transaction.open_table(DEVICES)?;
                let known_as = keys.get(key.as_str())?.map(|known| String::from(known.value()));
                let renewed = known_as.filter(|known| known != device_id);
                let mut before = take(&mut devices, device_id)?;
                if let Some(known) = &renewed {
                    let known = take(&mut devices, known)?;
                    before = before.or(known);
                }
                let mut record = match before {
                    Some(record) => record,
                    None => DeviceRecord::new(state)?,
                };
                record.see(state)?;
                change(&mut record);
                devices.insert(device_id, serde_json::to_vec(&record)?.as_slice())?;
                keys.insert(key.as_str(), device_id)?;
                (record, renewed)
            };
            transaction.commit()?;
            Ok(met)
        })
    }

    /// Changes the record of a device in one transaction, which is on the disk when this returns.
    /// `change` gets the record if there is one, and makes the new one.
    ///
    /// # Errors
    /// If `change` fails, or the disk does.
    pub fn update(
        &self,
        device_id: &str,
        change: impl FnOnce(Option<DeviceRecord>) -> anyhow::Result<DeviceRecord>,
    ) -> anyhow::Result<DeviceRecord> {
        guarded(&self.0, || {
            let database = self.database()?;
            let transaction = database.begin_write()?;
            let record = {
                let mut table = transaction.open_table(DEVICES)?;
                let before = match table.get(device_id)? {
                    Some(bytes) => Some(parse(bytes.value())?),
                    None => None,
                };
                let record = change(before)?;
                table.insert(device_id, serde_json::to_vec(&record)?.as_slice())?;
                record
            };
            transaction.commit()?;
            Ok(record)
        })
    }
}

fn take(
    devices: &mut Table<'_, &'static str, &'static [u8]>,
    device_id: &str,
) -> anyhow::Result<Option<DeviceRecord>> {
    match devices.remove(device_id)? {
        Some(bytes) => Ok(Some(parse(bytes.value())?)),
        None => Ok(None),
    }
}

fn parse(bytes: &[u8]) -> anyhow::Result<DeviceRecord> {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let Version { format } = serde_json::from_slice(bytes).context("damaged device record")?;
    ensure!(format == FORMAT, "the state file is of format {format}, this TAM's is {FORMAT}");
    serde_json::from_slice(bytes).context("damaged device record")
}

/// Opens, and waits while another process has it open.
fn patiently<T>(mut open: impl FnMut() -> Result<T, DatabaseError>) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        match open() {
            Err(DatabaseError::DatabaseAlreadyOpen) if start.elapsed() < PATIENCE => {
                sleep(Duration::from_millis(5));
            }
            Err(DatabaseError::DatabaseAlreadyOpen) => {
                bail!("another process has held it for {} seconds", PATIENCE.as_secs())
            }
            other => return other.context("it cannot be opened"),
        }
    }
}

/// Every device in a database, also while another process serves with it.
///
/// # Errors
/// If there is no database, or it is damaged.
pub fn read_devices(path: &Path) -> anyhow::Result<Vec<DeviceRecord>> {
    guarded(path, || {
        let database = patiently(|| match ReadOnlyDatabase::open(path) {
            // A writer was killed: opening for writing recovers what it committed.
            Err(DatabaseError::RepairAborted) => {
                drop(Database::open(path)?);
                ReadOnlyDatabase::open(path)
            }
            other => other,
        })?;
        let transaction = database.begin_read()?;
        let table = match transaction.open_table(DEVICES) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            other => other?,
        };
        let mut records = Vec::new();
        for entry in table.iter()? {
            records.push(parse(entry?.1.value())?);
        }
        Ok(records)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(device_id: &str) -> DeviceRecord {
        DeviceRecord {
            format: FORMAT,
            device_id: device_id.into(),
            certificate: String::new(),
            authorities: vec![],
            tee: "optee".into(),
            tee_version: "1".into(),
            first_seen: 1,
            last_seen: 2,
            dsi_hash: String::new(),
            attestation_keys: vec![],
            memory: Memory::default(),
            failures: vec![],
        }
    }

    #[test]
    fn records_survive_and_can_be_read_beside_the_writer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.redb");
        assert!(read_devices(&path).is_err());
        let store = Store::open(&path).unwrap();
        assert_eq!(read_devices(&path).unwrap(), []);
        store.update("a", |before| Ok(before.unwrap_or(record("a")))).unwrap();
        store.update("b", |_| Ok(record("b"))).unwrap();
        store.update("a", |before| Ok(DeviceRecord { last_seen: 7, ..before.unwrap() })).unwrap();
        let expected = [DeviceRecord { last_seen: 7, ..record("a") }, record("b")];
        assert_eq!(read_devices(&path).unwrap(), expected);
        let again = Store::open(&path).unwrap();
        again.update("b", |before| Ok(before.unwrap())).unwrap();
        assert_eq!(read_devices(&path).unwrap(), expected);
    }

    #[test]
    fn changes_at_the_same_time_wait_for_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.redb");
        let store = Store::open(&path).unwrap();
        store.update("a", |_| Ok(DeviceRecord { last_seen: 0, ..record("a") })).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        store
                            .update("a", |before| {
                                let before = before.unwrap();
                                Ok(DeviceRecord { last_seen: before.last_seen + 1, ..before })
                            })
                            .unwrap();
                    }
                });
            }
        });
        assert_eq!(read_devices(&path).unwrap()[0].last_seen, 20);
    }

    #[test]
    fn a_failed_change_changes_nothing_and_a_later_format_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.redb");
        let store = Store::open(&path).unwrap();
        store.update("a", |_| Ok(record("a"))).unwrap();
        assert!(store.update("a", |_| anyhow::bail!("no")).is_err());
        assert_eq!(read_devices(&path).unwrap(), [record("a")]);
        store.update("a", |_| Ok(DeviceRecord { format: 2, ..record("a") })).unwrap();
        assert!(format!("{:#}", read_devices(&path).unwrap_err()).contains("format 2"));
    }

    #[test]
    fn signers_are_doubtful_until_there_is_an_answer() {
        let domain = DomainName { spid: "sp".into(), name: "a".into() };
        let mut memory = Memory::default();
        let check = |memory: &Memory, certificates: &[&str], doubtful: &[&str]| {
            let domain = memory.domain("sp", "a").unwrap();
            assert_eq!(domain.certificates, certificates);
            assert_eq!(domain.doubtful, doubtful);
        };
        let create = Step::CreateSd { domain: domain.clone(), certificate: "c1".into() };
        memory.announce(&create);
        check(&memory, &[], &["c1"]);
        memory.record(&create, None);
        check(&memory, &["c1"], &[]);

        let update = |add: &[&str], remove: &[&str]| Step::UpdateSd {
            domain: domain.clone(),
            add: add.iter().copied().map(String::from).collect(),
            remove: remove.iter().copied().map(String::from).collect(),
        };
        let replace = update(&["c2"], &["c1"]);
        memory.announce(&replace);
        check(&memory, &[], &["c2", "c1"]);
        memory.withdraw(&replace);
        check(&memory, &["c1"], &["c2"]);
        memory.announce(&replace);
        memory.record(&replace, None);
        check(&memory, &["c2"], &[]);

        // Whether it is there is not known, and a refusal for another reason does not tell.
        let remove = update(&[], &["c2"]);
        memory.announce(&remove);
        memory.withdraw(&remove);
        check(&memory, &[], &["c2"]);
        memory.record(&remove, None);
        check(&memory, &[], &[]);
    }

    #[test]
    fn memory_follows_the_steps() {
        let domain = DomainName { spid: "sp".into(), name: "a".into() };
        let mut memory = Memory::default();
        memory.record(&Step::CreateSd { domain: domain.clone(), certificate: "c1".into() }, None);
        let update = Step::UpdateSd {
            domain: domain.clone(),
            add: vec!["c2".into()],
            remove: vec!["c1".into()],
        };
        memory.record(&update, None);
        assert_eq!(memory.domain("sp", "a").unwrap().certificates, ["c2"]);
        let install = Step::InstallTa {
            domain: domain.clone(),
            taid: "x".into(),
            image: "i1".into(),
            personalization: Some("d1".into()),
        };
        memory.record(&install, Some(1));
        let update = Step::UpdateTa {
            domain: domain.clone(),
            taid: "x".into(),
            image: Some("i2".into()),
            personalization: None,
        };
        memory.record(&update, Some(2));
        let known = memory.application("sp", "a", "x").unwrap();
        assert_eq!((known.version, known.image.as_str()), (2, "i2"));
        assert_eq!(known.personalization.as_deref(), Some("d1"));
        // Data alone, of an application that is not known: the image stays unknown.
        let update = Step::UpdateTa {
            domain: domain.clone(),
            taid: "y".into(),
            image: None,
            personalization: Some("d".into()),
        };
        memory.record(&update, None);
        assert!(memory.application("sp", "a", "y").is_none());
        memory.record(&Step::DeleteTa { domain: domain.clone(), taid: "x".into() }, None);
        assert!(memory.applications.is_empty());
        memory.record(&Step::DeleteSd { domain }, None);
        assert_eq!(memory, Memory::default());
    }
}
