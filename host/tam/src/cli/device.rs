//! Which device a message is for, or from.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::Args;
use openssl::pkey::{PKey, Public};
use openssl::x509::X509;
use otrp_tam::certificate;
use otrp_tam::dsi::DeviceState;
use otrp_tam::encoding::from_base64;
use otrp_tam::record::DeviceRecord;
use otrp_tam::request::Target;
use otrp_tam::store;

/// A device: by a saved state, by the database, or by its certificate and keys.
#[derive(Args)]
pub struct DeviceArguments {
    /// Saved device state, as `open --dsi-out` writes it.
    #[arg(long, global = true, conflicts_with = "state")]
    dsi: Option<PathBuf>,
    /// Database of devices.
    #[arg(long, global = true)]
    state: Option<PathBuf>,
    /// Device in the database, if it has several: its identifier, or the fingerprint of its key.
    #[arg(long, global = true, requires = "state")]
    did: Option<String>,
    /// Certificate of the TEE, instead of the device's.
    #[arg(long, global = true)]
    tee_cert: Option<PathBuf>,
    /// Attestation key of the SP (PEM or DER), instead of the device's.
    #[arg(long, global = true)]
    aik: Option<PathBuf>,
}

impl DeviceArguments {
    fn record(&self) -> anyhow::Result<Option<DeviceRecord>> {
        let Some(path) = &self.state else { return Ok(None) };
        let mut devices = store::read_devices(path)?;
        if let Some(did) = &self.did {
            devices.retain(|device| device.key == *did || device.identifiers.contains(did));
        }
        match <[DeviceRecord; 1]>::try_from(devices) {
            Ok([record]) => Ok(Some(record)),
            Err(devices) if devices.is_empty() => bail!("no such device in {}", path.display()),
            Err(_) => bail!("several devices in {}: select one with --did", path.display()),
        }
    }

    /// The device as far as it is known: the name of the TEE and the hash of its state may be empty.
    pub fn target(&self) -> anyhow::Result<Target> {
        let mut target = if let Some(path) = &self.dsi {
            let document = std::fs::read(path)
                .with_context(|| format!("cannot read the device state {}", path.display()))?;
            Some(Target::from(&DeviceState::read(&document)?))
        } else if let Some(record) = self.record()? {
            let der = from_base64(&record.certificate).context("a damaged record")?;
            Some(Target {
                tee: record.tee,
                certificate: X509::from_der(&der)?,
                dsi_hash: record.dsi_hash,
                attestation_keys: record.attestation_keys,
            })
        } else {
            None
        };
        if let Some(path) = &self.tee_cert {
            let certificate = first_certificate(path)?;
            match &mut target {
                Some(target) => target.certificate = certificate,
                None => {
                    target = Some(Target {
                        tee: String::new(),
                        certificate,
                        dsi_hash: String::new(),
                        attestation_keys: Vec::new(),
                    });
                }
            }
        }
        target.context("which device? Give --dsi, --state or --tee-cert")
    }

    pub fn attestation_key(&self) -> anyhow::Result<Option<PKey<Public>>> {
        let Some(path) = &self.aik else { return Ok(None) };
        let bytes = std::fs::read(path)
            .with_context(|| format!("cannot read the attestation key {}", path.display()))?;
        let der = otrp_pem::public_key(&bytes).with_context(|| path.display().to_string())?;
        PKey::public_key_from_der(&der)
            .map(Some)
            .with_context(|| format!("{} holds a damaged public key", path.display()))
    }
}

fn first_certificate(path: &Path) -> anyhow::Result<X509> {
    certificate::read_file(path)?.into_iter().next().context("no certificate")
}

pub fn certificate_der(path: &Path) -> anyhow::Result<Vec<u8>> {
    Ok(first_certificate(path)?.to_der()?)
}
