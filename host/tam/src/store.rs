//! What the TAM remembers of devices, in an embedded database that survives a crash.
//!
//! A device is its TEE's key: its record is kept by the key's fingerprint, whatever certificate the
//! device shows. The server holds the file open and locked; whoever lists devices meanwhile asks the
//! server ([`crate::listing`]).
//!
//! Each answer that is accepted is one transaction, which is on the disk before anything is sent that
//! relies on it: the certificate, the memory with its doubts, the failures. Questions and sessions are
//! not stored: they end with the process.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use openssl::x509::X509;
use redb::{
    Builder, Database, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase,
    ReadableTable, StorageError, Table, TableDefinition, TableError, WriteTransaction,
};
use serde::{Deserialize, Serialize};

use crate::certificate::{self, DeviceIdentity};
use crate::dsi::{AttestationKey, DeviceState, Dsi};
use crate::encoding::{base64, from_base64};
use crate::listing;
use crate::log;
use crate::state_file;
use crate::step::{DomainName, Step};

/// Device records in JSON, by the fingerprint of the TEE's key. In format 1 the table had another
/// type, so a program that knows only format 1 refuses the file.
const DEVICES: TableDefinition<'_, &str, &str> = TableDefinition::new("devices");
/// What devices refused last, a list in JSON, by the fingerprint of the TEE's key.
const FAILURES: TableDefinition<'_, &str, &str> = TableDefinition::new("failures");
/// Numbers by name: [`FORMAT_NUMBER`] and [`SEQUENCE`].
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const FORMAT_NUMBER: &str = "format";
const SEQUENCE: &str = "sequence";
/// The version of the record format; a newer one is refused, not guessed at. Format 1, whose records
/// were kept by device identifier, is converted when a server opens it.
const FORMAT: u64 = 2;
/// Records of format 1 in JSON, by device identifier.
const DEVICES_1: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("devices");
/// The index of format 1: device identifiers by the fingerprint of the TEE's key.
const KEYS_1: TableDefinition<'_, &str, &str> = TableDefinition::new("keys");

/// Most identifiers of one device that are remembered: a certificate a year, each in the two forms
/// that an ECDSA signature has, for longer than a device lives.
const IDENTIFIER_LIMIT: usize = 64;
/// Most failures of one device that are remembered; the oldest goes.
const FAILURE_LIMIT: usize = 32;
/// Most characters of a failure that are remembered.
const FAILURE_LENGTH: usize = 512;
/// Memory for pages of the database.
const CACHE_BYTES: usize = 32 << 20;
/// How a file of redb begins.
const MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";

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
    /// Whether another image may be there: the device has not answered to the request that brings it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub doubtful_image: bool,
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
            || self.doubts_data(spid, domain, taid)
    }

    /// Whether the personalization data of an application may be others than those that are known.
    #[must_use]
    pub fn doubts_data(&self, spid: &str, domain: &str, taid: &str) -> bool {
        self.doubtful_data
            .iter()
            .any(|it| it.spid == spid && it.domain == domain && it.taid == taid)
    }

    fn change_application(
        &mut self,
        domain: &DomainName,
        taid: &str,
        change: impl FnOnce(&mut KnownTa),
    ) {
        let mut applications = self.applications.iter_mut();
        let found = applications
            .find(|it| it.spid == domain.spid && it.domain == domain.name && it.taid == taid);
        if let Some(found) = found {
            change(found);
        }
    }

    /// Takes over that a step will be asked for: until the answer comes, and if none comes, the signers
    /// that it adds and removes are doubtful, and whether an application has the image and the data that
    /// it brings.
    pub fn announce(&mut self, step: &Step) {
        if let Step::UpdateTa { domain, taid, image: Some(_), .. } = step {
            self.change_application(domain, taid, |it| it.doubtful_image = true);
        }
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
    /// Images and data stay doubtful, for they may have been before: they are sent once more.
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
        let doubtful_image = image.is_none() && before.as_ref().is_some_and(|it| it.doubtful_image);
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
            doubtful_image,
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
    format: u64,
    /// The device: SHA-256 of the SubjectPublicKeyInfo of the TEE's key, in lower-case hexadecimal.
    pub key: String,
    /// Rises with each change of this record; no two changes in a database have the same.
    pub revision: u64,
    /// `did`: base64 SHA-256 of the TEE's certificate.
    pub device_id: String,
    /// Each `did` that the device had or could have written its certificates to have, the oldest
    /// first: it stays known by any of them.
    pub identifiers: Vec<String>,
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
    /// What the device refused since it last connected, a line each, the newest at the end. They have
    /// a table of their own, so only a list of devices has them.
    #[serde(default)]
    pub failures: Vec<String>,
}

impl DeviceRecord {
    /// The device of this key, before anything is known of it.
    #[must_use]
    pub fn new(key: String) -> Self {
        Self {
            format: FORMAT,
            key,
            revision: 0,
            device_id: String::new(),
            identifiers: Vec::new(),
            certificate: String::new(),
            authorities: Vec::new(),
            tee: String::new(),
            tee_version: String::new(),
            first_seen: log::now(),
            last_seen: 0,
            dsi_hash: String::new(),
            attestation_keys: Vec::new(),
            memory: Memory::default(),
            failures: Vec::new(),
        }
    }

    /// Takes over by which identifiers the device is known now. Of too many identifiers the oldest is
    /// forgotten that `matters` does not keep.
    pub fn identify(
        &mut self,
        device_id: &str,
        identity: &DeviceIdentity,
        matters: impl Fn(&str) -> bool,
    ) {
        self.device_id = String::from(device_id);
        for identifier in identity.other_id().into_iter().chain([device_id]) {
            if !self.identifiers.iter().any(|it| it == identifier) {
                self.identifiers.push(String::from(identifier));
            }
        }
        while self.identifiers.len() > IDENTIFIER_LIMIT {
            let oldest = self.identifiers.iter().position(|it| !matters(it));
            self.identifiers.remove(oldest.unwrap_or_default());
        }
    }

    /// Takes over a state that was verified, of the device with the certificate by which it was
    /// identified last.
    ///
    /// # Errors
    /// When OpenSSL has no memory.
    pub fn see(&mut self, state: &DeviceState) -> anyhow::Result<()> {
        let tee = &state.dsi.tee;
        self.certificate = base64(&state.certificate.to_der()?);
        self.authorities.clone_from(&tee.cacert);
        self.tee.clone_from(&tee.name);
        self.tee_version.clone_from(&tee.ver);
        self.last_seen = log::now();
        self.dsi_hash.clone_from(&state.hash);
        self.attestation_keys.clone_from(&tee.teeaiklist);
        self.memory.keep_only(&state.dsi);
        Ok(())
    }
}

/// The last failures of a device, each cut to a length that is worth reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures(Vec<String>);

impl Failures {
    /// Adds one; the oldest goes where there are too many.
    pub fn push(&mut self, failure: &str) {
        if self.0.len() >= FAILURE_LIMIT {
            self.0.remove(0);
        }
        self.0.push(failure.chars().take(FAILURE_LENGTH).collect());
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How long to wait for another process to finish with the database.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

thread_local! {
    /// The database in which this thread is at work.
    static AT_WORK: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

/// What to say of a panic on this thread, if it is one in the database: redb trusts its file, so one
/// that is damaged can end that way. The program says it where panics do not unwind.
#[must_use]
pub fn damage() -> Option<String> {
    let path = AT_WORK.try_with(|path| path.try_borrow().ok()?.clone()).ok()??;
    Some(unusable(&path, "is damaged or cut short"))
}

fn unusable(path: &Path, how: &str) -> String {
    let path = path.display();
    format!(
        "the state file {path} {how}. Restore it from a copy, or move it away, without \
         {path}.desired, and start again: nothing on any device is lost with it, but the TAM then knows no device until \
         it connects, sends each its applications and signers once more, and does not take back \
         signers and personalization data that were taken out of the configuration meanwhile"
    )
}

/// Works with the database at `path`, and says of every failure in which file it was.
fn guarded<T>(path: &Path, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    AT_WORK.with(|at| at.replace(Some(path.to_path_buf())));
    let worked = catch_unwind(AssertUnwindSafe(work));
    AT_WORK.with(|at| at.replace(None));
    let Ok(worked) = worked else { bail!("{}", unusable(path, "is damaged or cut short")) };
    worked.map_err(|error| match error.downcast_ref::<Unusable>() {
        Some(Unusable(how)) => anyhow::anyhow!("{}", unusable(path, how)),
        None if error.chain().any(is_damage) => {
            error.context(unusable(path, "is damaged or cut short"))
        }
        None => error.context(format!("the state file {}", path.display())),
    })
}

fn is_damage(cause: &(dyn std::error::Error + 'static)) -> bool {
    let of_storage = |error: &StorageError| match error {
        StorageError::Corrupted(_) => true,
        StorageError::Io(error) => {
            matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
        }
        _ => false,
    };
    cause.downcast_ref().is_some_and(of_storage)
        || matches!(cause.downcast_ref(), Some(DatabaseError::Storage(error)) if of_storage(error))
        || matches!(cause.downcast_ref(), Some(TableError::Storage(error)) if of_storage(error))
}

/// A file that is no database, and what it is.
#[derive(Debug, thiserror::Error)]
#[error("it {0}")]
struct Unusable(&'static str);

/// What a file is that cannot be a database, by its beginning.
pub(crate) fn check_beginning(file: &mut File) -> anyhow::Result<()> {
    let mut beginning = Vec::new();
    file.rewind()?;
    file.take(4096).read_to_end(&mut beginning)?;
    if beginning.starts_with(MAGIC) {
        return Ok(());
    }
    Err(Unusable(if beginning.is_empty() {
        "is empty"
    } else if beginning.iter().all(|byte| *byte == 0) {
        "holds zeros in place of a database"
    } else if MAGIC.starts_with(&beginning) {
        "is damaged or cut short"
    } else {
        "is not a database of this program"
    })
    .into())
}

/// The database of a server, which has it alone from its start to its end.
pub struct Store {
    path: PathBuf,
    database: Database,
    /// The number of the last change that is on the disk.
    sequence: AtomicU64,
}

impl Store {
    /// The database at `path`, which is made, for its owner only, if it is not there. The lock is on
    /// the file, whatever name or link leads to it.
    ///
    /// # Errors
    /// If the file is none, is damaged, cannot be made, or another server has it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        guarded(path, || {
            let file = state_file::own(path)?;
            let database = Builder::new().set_cache_size(CACHE_BYTES).create_file(file)?;
            let transaction = database.begin_write()?;
            convert(&transaction)?;
            let sequence = number(&transaction.open_table(NUMBERS)?, SEQUENCE)?;
            transaction.commit()?;
            let path = path.canonicalize()?;
            Ok(Self { path, database, sequence: AtomicU64::new(sequence) })
        })
    }

    /// The file, without links.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of the last change to any record: what is asked of a device now is about the record
    /// as it is, if its revision is not higher than this.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::SeqCst)
    }

    /// The record of a device, by the fingerprint of its key.
    ///
    /// # Errors
    /// If the disk fails, or the record is damaged.
    pub fn find(&self, key: &str) -> anyhow::Result<Option<DeviceRecord>> {
        guarded(&self.path, || {
            let transaction = self.database.begin_read()?;
            let found = transaction.open_table(DEVICES)?.get(key)?;
            found.map(|text| parse(text.value())).transpose()
        })
    }

    /// Replaces a record in one transaction, which is on the disk when this returns, if it is still of
    /// the revision that `record` was made from; 0 is that of a device without a record. Gives the new
    /// revision, or `None` if the record is another one by now. `failures`, if given, replace those
    /// of the device.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn replace(
        &self,
        record: &DeviceRecord,
        failures: Option<&Failures>,
    ) -> anyhow::Result<Option<u64>> {
        guarded(&self.path, || {
            let transaction = self.database.begin_write()?;
            let revision = {
                let mut devices = transaction.open_table(DEVICES)?;
                let mut numbers = transaction.open_table(NUMBERS)?;
                let current = match devices.get(record.key.as_str())? {
                    Some(text) => parse(text.value())?.revision,
                    None => 0,
                };
                if current != record.revision {
                    return Ok(None);
                }
                let revision = number(&numbers, SEQUENCE)?.saturating_add(1);
                numbers.insert(SEQUENCE, revision)?;
                insert(&mut devices, &DeviceRecord { revision, ..record.clone() })?;
                if let Some(failures) = failures {
                    replace_failures(&transaction, &record.key, failures)?;
                }
                revision
            };
            transaction.commit()?;
            // Only now: a question that is asked before may be answered from before.
            self.sequence.fetch_max(revision, Ordering::SeqCst);
            Ok(Some(revision))
        })
    }

    /// Every device that is remembered, with its failures.
    ///
    /// # Errors
    /// If the disk fails, or a record is damaged.
    pub fn devices(&self) -> anyhow::Result<Vec<DeviceRecord>> {
        guarded(&self.path, || list(&self.database.begin_read()?))
    }
}

fn number(numbers: &impl ReadableTable<&'static str, u64>, name: &str) -> anyhow::Result<u64> {
    Ok(numbers.get(name)?.map_or(0, |number| number.value()))
}

fn insert(
    devices: &mut Table<'_, &'static str, &'static str>,
    record: &DeviceRecord,
) -> anyhow::Result<()> {
    devices.insert(record.key.as_str(), serde_json::to_string(record)?.as_str())?;
    Ok(())
}

fn replace_failures(
    transaction: &WriteTransaction,
    key: &str,
    Failures(failures): &Failures,
) -> anyhow::Result<()> {
    let mut table = transaction.open_table(FAILURES)?;
    if failures.is_empty() {
        table.remove(key)?;
    } else {
        table.insert(key, serde_json::to_string(failures)?.as_str())?;
    }
    Ok(())
}

fn parse(text: &str) -> anyhow::Result<DeviceRecord> {
    serde_json::from_str(text).context("damaged device record")
}

/// Makes the tables, from those of format 1 if they are there.
fn convert(transaction: &WriteTransaction) -> anyhow::Result<()> {
    let format = number(&transaction.open_table(NUMBERS)?, FORMAT_NUMBER)?;
    check_format(format)?;
    if format == FORMAT {
        return Ok(());
    }
    let old = {
        let devices = transaction.open_table(DEVICES_1)?;
        let keys = transaction.open_table(KEYS_1)?;
        records_of_format_1(&devices, &current_identifiers(&keys)?)?
    };
    transaction.delete_table(DEVICES_1)?;
    transaction.delete_table(KEYS_1)?;
    let mut devices = transaction.open_table(DEVICES)?;
    let mut numbers = transaction.open_table(NUMBERS)?;
    transaction.open_table(FAILURES)?;
    for mut record in old {
        let failures = Failures(std::mem::take(&mut record.failures));
        insert(&mut devices, &record)?;
        replace_failures(transaction, &record.key, &failures)?;
    }
    numbers.insert(SEQUENCE, 1)?;
    numbers.insert(FORMAT_NUMBER, FORMAT)?;
    Ok(())
}

/// Device identifiers by key, as the index of format 1 has them.
fn current_identifiers(
    keys: &impl ReadableTable<&'static str, &'static str>,
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut current = BTreeMap::new();
    for entry in keys.iter()? {
        let (key, device_id) = entry?;
        current.insert(String::from(key.value()), String::from(device_id.value()));
    }
    Ok(current)
}

fn check_format(format: u64) -> anyhow::Result<()> {
    ensure!(
        format <= FORMAT,
        "it is of format {format}, and this program knows formats up to {FORMAT}"
    );
    Ok(())
}

/// The records of format 1, each by the key in its certificate. Where several are of one key, that
/// counts which the index names, and they are one device with several identifiers.
fn records_of_format_1(
    devices: &impl ReadableTable<&'static str, &'static [u8]>,
    current: &BTreeMap<String, String>,
) -> anyhow::Result<Vec<DeviceRecord>> {
    #[derive(Deserialize)]
    struct Record1 {
        format: u64,
        device_id: String,
        certificate: String,
        authorities: Vec<String>,
        tee: String,
        tee_version: String,
        first_seen: u64,
        last_seen: u64,
        dsi_hash: String,
        attestation_keys: Vec<AttestationKey>,
        memory: Memory,
        failures: Vec<String>,
    }
    let mut records = BTreeMap::<String, DeviceRecord>::new();
    for entry in devices.iter()? {
        let old: Record1 =
            serde_json::from_slice(entry?.1.value()).context("damaged device record")?;
        ensure!(old.format == 1, "a record of format {} among those of format 1", old.format);
        let der = from_base64(&old.certificate).context("damaged device record")?;
        let certificate = X509::from_der(&der).context("damaged device record")?;
        let key = certificate::encoded_key_fingerprint(&certificate)?;
        let mut failures = Failures::default();
        old.failures.iter().for_each(|failure| failures.push(failure));
        let record = DeviceRecord {
            format: FORMAT,
            key: key.clone(),
            revision: 1,
            identifiers: vec![old.device_id.clone()],
            device_id: old.device_id,
            certificate: old.certificate,
            authorities: old.authorities,
            tee: old.tee,
            tee_version: old.tee_version,
            first_seen: old.first_seen,
            last_seen: old.last_seen,
            dsi_hash: old.dsi_hash,
            attestation_keys: old.attestation_keys,
            memory: old.memory,
            failures: failures.0,
        };
        let Some(other) = records.remove(&key) else {
            records.insert(key, record);
            continue;
        };
        let (mut first, mut last) = match current.get(&key) {
            Some(current) if *current == other.device_id => (record, other),
            _ => (other, record),
        };
        first.identifiers.append(&mut last.identifiers);
        last.identifiers = first.identifiers;
        last.first_seen = last.first_seen.min(first.first_seen);
        records.insert(key, last);
    }
    Ok(records.into_values().collect())
}

/// Every device, with its failures, from a database of any format.
fn list(transaction: &ReadTransaction) -> anyhow::Result<Vec<DeviceRecord>> {
    let format = match transaction.open_table(NUMBERS) {
        Err(TableError::TableDoesNotExist(_)) => 0,
        numbers => number(&numbers?, FORMAT_NUMBER)?,
    };
    check_format(format)?;
    if format < FORMAT {
        let devices = match transaction.open_table(DEVICES_1) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            devices => devices?,
        };
        let current = match transaction.open_table(KEYS_1) {
            Err(TableError::TableDoesNotExist(_)) => BTreeMap::new(),
            keys => current_identifiers(&keys?)?,
        };
        return records_of_format_1(&devices, &current);
    }
    let failures = transaction.open_table(FAILURES)?;
    let mut records = Vec::new();
    for entry in transaction.open_table(DEVICES)?.iter()? {
        let mut record = parse(entry?.1.value())?;
        if let Some(text) = failures.get(record.key.as_str())? {
            record.failures =
                serde_json::from_str(text.value()).context("damaged list of failures")?;
        }
        records.push(record);
    }
    Ok(records)
}

/// Every device in a database, also while a server has it: then the server says them.
///
/// # Errors
/// If there is no database, it is damaged, or another process has it and says nothing.
pub fn read_devices(path: &Path) -> anyhow::Result<Vec<DeviceRecord>> {
    guarded(path, || {
        check_beginning(&mut File::open(path).context("it cannot be opened")?)?;
        let start = Instant::now();
        let database = loop {
            match open_to_read(path) {
                Err(DatabaseError::DatabaseAlreadyOpen) => {
                    if let Some(devices) = listing::ask(path)? {
                        return Ok(devices);
                    }
                    ensure!(
                        start.elapsed() < PATIENCE,
                        "another process has held it for {} seconds",
                        PATIENCE.as_secs()
                    );
                    sleep(Duration::from_millis(20));
                }
                opened => break opened.context("it cannot be opened")?,
            }
        };
        list(&database.begin_read()?)
    })
}

fn open_to_read(path: &Path) -> Result<ReadOnlyDatabase, DatabaseError> {
    match ReadOnlyDatabase::open(path) {
        // A writer was killed: opening for writing recovers what it committed.
        Err(DatabaseError::RepairAborted) => {
            drop(Database::open(path)?);
            ReadOnlyDatabase::open(path)
        }
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn record(key: &str) -> DeviceRecord {
        DeviceRecord { first_seen: 1, last_seen: 2, ..DeviceRecord::new(key.into()) }
    }

    fn scene() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.redb");
        (folder, path)
    }

    #[test]
    fn records_survive() {
        let (_folder, path) = scene();
        assert!(read_devices(&path).is_err());
        let store = Store::open(&path).unwrap();
        assert_eq!(store.devices().unwrap(), []);
        let mut failures = Failures::default();
        failures.push("no");
        let revision = store.replace(&record("a"), Some(&failures)).unwrap().unwrap();
        let other = store.replace(&record("b"), None).unwrap().unwrap();
        assert!(other > revision && store.sequence() == other);
        let changed = DeviceRecord { last_seen: 7, revision, ..record("a") };
        let changed_to = store.replace(&changed, None).unwrap().unwrap();
        let expected = [
            DeviceRecord { revision: changed_to, failures: vec!["no".into()], ..changed },
            DeviceRecord { revision: other, ..record("b") },
        ];
        assert_eq!(store.devices().unwrap(), expected);
        drop(store);
        assert_eq!(read_devices(&path).unwrap(), expected);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.sequence(), changed_to);
        let found = store.find("b").unwrap().unwrap();
        assert_eq!(found, expected[1]);
        store.replace(&found, Some(&Failures::default())).unwrap().unwrap();
        assert_eq!(store.find("c").unwrap(), None);
    }

    #[test]
    fn a_record_that_changed_meanwhile_is_not_replaced() {
        let (_folder, path) = scene();
        let store = Store::open(&path).unwrap();
        assert_eq!(
            store.replace(&DeviceRecord { revision: 1, ..record("a") }, None).unwrap(),
            None
        );
        let first = store.replace(&record("a"), None).unwrap().unwrap();
        assert_eq!(store.replace(&record("a"), None).unwrap(), None, "it is there by now");
        let of = |revision| DeviceRecord { revision, ..record("a") };
        let second = store.replace(&of(first), None).unwrap().unwrap();
        let mut failures = Failures::default();
        failures.push("late");
        assert_eq!(store.replace(&of(first), Some(&failures)).unwrap(), None);
        assert_eq!(store.devices().unwrap(), [of(second)]);
        assert_eq!(store.sequence(), second);
        // Of many changes at the same time one is made.
        let made = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    if store.replace(&of(second), None).unwrap().is_some() {
                        made.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }

    #[test]
    fn failures_are_few_and_short() {
        let mut failures = Failures::default();
        for number in 0..FAILURE_LIMIT * 2 {
            failures.push(&format!("{number}{}", "x".repeat(FAILURE_LENGTH * 2)));
        }
        assert_eq!(failures.0.len(), FAILURE_LIMIT);
        assert!(failures.0.iter().all(|it| it.len() == FAILURE_LENGTH));
        assert!(failures.0[FAILURE_LIMIT - 1].starts_with("63x"));
    }

    #[test]
    fn a_database_of_format_1_is_read_and_converted() {
        let (_folder, path) = scene();
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/format-1.redb");
        let golden = std::fs::read(golden).unwrap();
        let (pages, last) = golden.split_at(golden.len() - 4096);
        let mut whole = pages.to_vec();
        whole.resize(1_052_672, 0);
        whole.extend(last);
        std::fs::write(&path, whole).unwrap();
        let before = read_devices(&path).unwrap();
        let store = Store::open(&path).unwrap();
        assert_eq!(store.devices().unwrap(), before);
        let [record] = &before[..] else { panic!("{before:?}") };
        assert_eq!(record.key, "260394d2094ac036dbd2ead31fa21729df4ab9f6dfe2b13fca916ed260306c03");
        assert_eq!(record.device_id, "0IpfKZ9a9oZExusxvpuNUa4pEaCAFYIuBWjian7b1Qo=");
        assert_eq!(record.identifiers, std::slice::from_ref(&record.device_id));
        assert_eq!((record.tee.as_str(), record.revision), ("mock", 1));
        assert_eq!(record.memory.applications[0].version, 1);
        assert_eq!(record.memory.domains[0].certificates.len(), 1);
        assert_eq!(record.failures, ["UpdateTA sp/sd/ta: ERR_TEE_RESOURCE_FULL \"refused\""]);
        let revision = store.replace(record, None).unwrap().unwrap();
        assert_eq!(revision, 2);
        drop(store);
        // A program that knows only format 1 does not take it for an empty database.
        let database = Database::open(&path).unwrap();
        let transaction = database.begin_read().unwrap();
        let refused = transaction.open_table(DEVICES_1).err().unwrap();
        assert!(matches!(refused, TableError::TableTypeMismatch { .. }), "{refused}");
    }

    #[test]
    fn a_later_format_is_refused() {
        let (_folder, path) = scene();
        let store = Store::open(&path).unwrap();
        let transaction = store.database.begin_write().unwrap();
        transaction.open_table(NUMBERS).unwrap().insert(FORMAT_NUMBER, 3).unwrap();
        transaction.commit().unwrap();
        drop(store);
        for refused in [Store::open(&path).map(drop), read_devices(&path).map(drop)] {
            assert!(format!("{:#}", refused.unwrap_err()).contains("format 3"));
        }
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_file_is_its_owners() {
        let (_folder, path) = scene();
        drop(Store::open(&path).unwrap());
        assert_eq!(mode(&path), 0o600);
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        drop(Store::open(&path).unwrap());
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_file_has_one_server_by_whatever_name() {
        let (folder, path) = scene();
        let link = folder.path().join("link.redb");
        let hard = folder.path().join("hard.redb");
        let _store = Store::open(&path).unwrap();
        symlink(&path, &link).unwrap();
        std::fs::hard_link(&path, &hard).unwrap();
        std::thread::scope(|scope| {
            for name in [path, link, hard, folder.path().join("./state.redb")] {
                scope.spawn(move || {
                    let refused = format!("{:#}", Store::open(&name).err().unwrap());
                    assert!(refused.contains("needs one of its own"), "{refused}");
                });
            }
        });
    }

    #[test]
    fn what_is_no_database_is_said_in_one_sentence() {
        let (_folder, path) = scene();
        let store = Store::open(&path).unwrap();
        for number in 0..50 {
            store.replace(&record(&number.to_string()), None).unwrap();
        }
        drop(store);
        let whole = std::fs::read(&path).unwrap();
        let zeroed = vec![0; whole.len()];
        let half_zeroed = [&whole[..4096], &zeroed[4096..]].concat();
        let rows: [(&[u8], &str); 10] = [
            (&[], "is empty"),
            (&zeroed, "holds zeros in place of a database"),
            (&zeroed[..1], "holds zeros in place of a database"),
            (b"{\"devices\":[]}", "is not a database of this program"),
            (&whole[..5], "is damaged or cut short"),
            (&whole[..9], "is damaged or cut short"),
            (&whole[..4096], "is damaged or cut short"),
            (&whole[..whole.len() / 2], "is damaged or cut short"),
            (&whole[..whole.len() - 1], "is damaged or cut short"),
            (&half_zeroed, "is damaged or cut short"),
        ];
        for (bytes, expected) in rows {
            for open in [
                |path: &Path| Store::open(path).map(drop),
                |path: &Path| read_devices(path).map(drop),
            ] {
                std::fs::write(&path, bytes).unwrap();
                let refused = match open(&path) {
                    Ok(()) => panic!("{} bytes: not {expected}", bytes.len()),
                    Err(refused) => format!("{refused:#}"),
                };
                assert!(refused.contains(expected), "{} bytes: {refused}", bytes.len());
                assert!(refused.contains("Restore it from a copy"), "{refused}");
            }
        }
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
