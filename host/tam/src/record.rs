//! The record of a device, as it is stored and listed.

use serde::{Deserialize, Serialize};

use crate::certificate::DeviceIdentity;
use crate::dsi::{AttestationKey, DeviceState};
use crate::encoding::base64;
use crate::log;
use crate::memory::Memory;

/// The version of the record format. Newer formats are refused. Format 1, whose records were keyed by
/// device identifier, is converted when a server opens the file.
pub(crate) const FORMAT: u64 = 2;

/// Identifiers stored for one device: one certificate a year, each with the two forms that an ECDSA
/// signature has, for longer than the life of a device.
const IDENTIFIER_LIMIT: usize = 64;
/// Failures stored for one device; beyond that the oldest is dropped.
const FAILURE_LIMIT: usize = 32;
/// Characters stored of a failure.
const FAILURE_LENGTH: usize = 512;

/// A device that has shown its state at least once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    pub(crate) format: u64,
    /// The device: SHA-256 of the SubjectPublicKeyInfo of the TEE's key, in lower-case hexadecimal.
    pub key: String,
    /// Number of the last change of this record, unique among all changes in a database; 0 before the
    /// first.
    pub revision: u64,
    /// `did`: base64 SHA-256 of the TEE's certificate.
    pub device_id: String,
    /// Each `did` that the device had, or could have had by rewriting the signature of its certificate;
    /// the oldest first. The device stays known by any of them.
    pub identifiers: Vec<String>,
    /// The TEE's certificate, base64.
    pub certificate: String,
    /// The certificates above it, base64.
    pub authorities: Vec<String>,
    /// The TEE's name.
    pub tee: String,
    /// The TEE's version.
    pub tee_version: String,
    /// When it first connected, in seconds since 1970.
    pub first_seen: u64,
    /// When it last showed its state, in seconds since 1970.
    pub last_seen: u64,
    /// The hash of the last state seen.
    pub dsi_hash: String,
    /// The attestation keys of the SPs.
    pub attestation_keys: Vec<AttestationKey>,
    /// What this TAM knows from the steps it took.
    pub memory: Memory,
    /// What failed in the device's last session, one line each, the newest at the end. Stored in a
    /// table of its own, so it is empty except in lists of devices.
    #[serde(default)]
    pub failures: Vec<String>,
}

impl DeviceRecord {
    /// A new device with this key.
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

    /// Adds the identifiers by which the device is known now. If there are too many, the oldest one for
    /// which `matters` is false is dropped.
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

    /// Takes over a verified state of the device, with the certificate of the last [`Self::identify`].
    ///
    /// # Errors
    /// If OpenSSL runs out of memory.
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

/// The last failures of a device, each cut to a readable length.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures(pub(crate) Vec<String>);

impl Failures {
    /// Adds a failure; drops the oldest if there are too many.
    pub fn push(&mut self, failure: &str) {
        if self.0.len() >= FAILURE_LIMIT {
            self.0.remove(0);
        }
        self.0.push(failure.chars().take(FAILURE_LENGTH).collect());
    }

    /// Whether there are no failures.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
