//! The record of a device, as it is kept and listed.

use serde::{Deserialize, Serialize};

use crate::certificate::DeviceIdentity;
use crate::dsi::{AttestationKey, DeviceState};
use crate::encoding::base64;
use crate::log;
use crate::memory::Memory;

/// The version of the record format; a newer one is refused, not guessed at. Format 1, whose records
/// were kept by device identifier, is converted when a server opens it.
pub(crate) const FORMAT: u64 = 2;

/// Most identifiers of one device that are remembered: a certificate a year, each in the two forms
/// that an ECDSA signature has, for longer than a device lives.
const IDENTIFIER_LIMIT: usize = 64;
/// Most failures of one device that are remembered; the oldest goes.
const FAILURE_LIMIT: usize = 32;
/// Most characters of a failure that are remembered.
const FAILURE_LENGTH: usize = 512;

/// A device that once showed its state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    pub(crate) format: u64,
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
pub struct Failures(pub(crate) Vec<String>);

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
