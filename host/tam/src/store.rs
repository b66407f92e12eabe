//! What the TAM remembers of devices, in an embedded database that survives a crash.
//!
//! A device is its TEE's key: its record is kept by the key's fingerprint, whatever certificate the
//! device shows. The server holds the file open and locked; whoever lists devices meanwhile asks the
//! server ([`crate::listing`]).
//!
//! Each answer that is accepted is one transaction, which is on the disk before anything is sent that
//! relies on it: the certificate, the memory with its doubts, the failures. Questions and sessions are
//! not stored: they end with the process.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use openssl::x509::X509;
use redb::{
    Builder, Database, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase,
    ReadableTable, Table, TableDefinition, TableError, WriteTransaction,
};
use serde::Deserialize;

use crate::certificate;
use crate::damage::{check_beginning, guarded};
use crate::dsi::AttestationKey;
use crate::encoding::from_base64;
use crate::listing;
use crate::memory::Memory;
use crate::record::{DeviceRecord, FORMAT, Failures};
use crate::state_file::{self, PATIENCE};

/// Device records in JSON, by the fingerprint of the TEE's key. In format 1 the table had another
/// type, so a program that knows only format 1 refuses the file.
const DEVICES: TableDefinition<'_, &str, &str> = TableDefinition::new("devices");
/// What devices refused last, a list in JSON, by the fingerprint of the TEE's key.
const FAILURES: TableDefinition<'_, &str, &str> = TableDefinition::new("failures");
/// Numbers by name: [`FORMAT_NUMBER`] and [`SEQUENCE`].
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const FORMAT_NUMBER: &str = "format";
const SEQUENCE: &str = "sequence";
/// Records of format 1 in JSON, by device identifier.
const DEVICES_1: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("devices");
/// The index of format 1: device identifiers by the fingerprint of the TEE's key.
const KEYS_1: TableDefinition<'_, &str, &str> = TableDefinition::new("keys");

/// Memory for pages of the database.
const CACHE_BYTES: usize = 32 << 20;
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
}
