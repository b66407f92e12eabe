//! Records of format 1, which were keyed by device identifier. They are only read.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use openssl::x509::X509;
use redb::{ReadableTable, TableDefinition};
use serde::Deserialize;

use crate::certificate;
use crate::dsi::AttestationKey;
use crate::encoding::from_base64;
use crate::memory::Memory;
use crate::record::{DeviceRecord, FORMAT, Failures};

/// Records of format 1 in JSON, by device identifier.
pub(super) const DEVICES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("devices");
/// The index of format 1: device identifiers by the fingerprint of the TEE's key.
pub(super) const KEYS: TableDefinition<'_, &str, &str> = TableDefinition::new("keys");

/// Device identifiers by key, from the index of format 1.
pub(super) fn current_identifiers(
    keys: &impl ReadableTable<&'static str, &'static str>,
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut current = BTreeMap::new();
    for entry in keys.iter()? {
        let (key, device_id) = entry?;
        current.insert(String::from(key.value()), String::from(device_id.value()));
    }
    Ok(current)
}

/// The records of format 1, keyed by the key in their certificates. Several records with one key
/// are one device with several identifiers; its data is that of the record that the index names.
pub(super) fn records(
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
