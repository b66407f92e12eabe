//! The database of device records, embedded and crash-safe.
//!
//! A device is identified by its TEE's key: its record is stored under the key's fingerprint, whatever
//! certificate the device shows. The server keeps the file open and locked; a tool that lists devices
//! meanwhile asks the server ([`crate::listing`]).
//!
//! Each accepted answer is one transaction, which is on disk before anything that relies on it is sent:
//! the certificate, the memory with its doubts, the failures. Questions and sessions are not stored;
//! they end with the process.

mod format_1;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use redb::{
    Builder, Database, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase,
    ReadableTable, Table, TableDefinition, TableError, WriteTransaction,
};

use crate::damage::{check_beginning, guarded};
use crate::listing;
use crate::record::{DeviceRecord, FORMAT, Failures};
use crate::state_file::{self, PATIENCE};

/// Device records in JSON, by the fingerprint of the TEE's key. In format 1 the table had another
/// type, so a program that knows only format 1 refuses the file.
const DEVICES: TableDefinition<'_, &str, &str> = TableDefinition::new("devices");
/// Failures of each device's last session, a list in JSON, by the fingerprint of the TEE's key.
const FAILURES: TableDefinition<'_, &str, &str> = TableDefinition::new("failures");
/// Numbers by name: [`FORMAT_NUMBER`] and [`SEQUENCE`].
const NUMBERS: TableDefinition<'_, &str, u64> = TableDefinition::new("numbers");
const FORMAT_NUMBER: &str = "format";
const SEQUENCE: &str = "sequence";
/// Cache for pages of the database.
const CACHE_BYTES: usize = 32 << 20;
/// The database of a server, which uses it exclusively from its start to its end.
pub struct Store {
    path: PathBuf,
    database: Database,
    /// The number of the last change that is on disk.
    sequence: AtomicU64,
}

impl Store {
    /// Opens the database at `path`, and creates it, readable by its owner only, if it is missing. The
    /// file itself is locked, whatever name or link leads to it.
    ///
    /// # Errors
    /// If the file is not a database, is damaged, cannot be created, or belongs to another server.
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

    /// The path of the file, links resolved.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of the last change to any record. A question that is asked now is about a record
    /// whose revision is not higher than this.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::SeqCst)
    }

    /// The record of a device, by the fingerprint of its key.
    ///
    /// # Errors
    /// If the disk fails or the record is damaged.
    pub fn find(&self, key: &str) -> anyhow::Result<Option<DeviceRecord>> {
        guarded(&self.path, || {
            let transaction = self.database.begin_read()?;
            let found = transaction.open_table(DEVICES)?.get(key)?;
            found.map(|text| parse(text.value())).transpose()
        })
    }

    /// Replaces a record if it still has the revision of `record`; a device without a record has
    /// revision 0. Returns the new revision, or `None` if the record has changed meanwhile. `failures`,
    /// if given, replace those of the device. Everything is one transaction, which is on disk when
    /// this returns.
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
            // Only now: the answer to a question asked earlier may show the state before this change.
            self.sequence.fetch_max(revision, Ordering::SeqCst);
            Ok(Some(revision))
        })
    }

    /// Every device, with its failures.
    ///
    /// # Errors
    /// If the disk fails or a record is damaged.
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

/// Creates the tables, from those of format 1 if they exist.
fn convert(transaction: &WriteTransaction) -> anyhow::Result<()> {
    let format = number(&transaction.open_table(NUMBERS)?, FORMAT_NUMBER)?;
    check_format(format)?;
    if format == FORMAT {
        return Ok(());
    }
    let old = {
        let devices = transaction.open_table(format_1::DEVICES)?;
        let keys = transaction.open_table(format_1::KEYS)?;
        format_1::records(&devices, &format_1::current_identifiers(&keys)?)?
    };
    transaction.delete_table(format_1::DEVICES)?;
    transaction.delete_table(format_1::KEYS)?;
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

fn check_format(format: u64) -> anyhow::Result<()> {
    ensure!(
        format <= FORMAT,
        "it is of format {format}, and this program knows formats up to {FORMAT}"
    );
    Ok(())
}

/// Every device, with its failures, from a database of any format.
fn list(transaction: &ReadTransaction) -> anyhow::Result<Vec<DeviceRecord>> {
    let format = match transaction.open_table(NUMBERS) {
        Err(TableError::TableDoesNotExist(_)) => 0,
        numbers => number(&numbers?, FORMAT_NUMBER)?,
    };
    check_format(format)?;
    if format < FORMAT {
        let devices = match transaction.open_table(format_1::DEVICES) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            devices => devices?,
        };
        let current = match transaction.open_table(format_1::KEYS) {
            Err(TableError::TableDoesNotExist(_)) => BTreeMap::new(),
            keys => format_1::current_identifiers(&keys?)?,
        };
        return format_1::records(&devices, &current);
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

/// Every device in the database at `path`. If a server has it open, the list comes from the server.
///
/// # Errors
/// If there is no database, it is damaged, or another process has it locked and does not answer.
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
        // A writer was killed. Opening for writing recovers what it committed.
        Err(DatabaseError::RepairAborted) => {
            drop(Database::open(path)?);
            ReadOnlyDatabase::open(path)
        }
        opened => opened,
    }
}

#[cfg(test)]
mod tests;
