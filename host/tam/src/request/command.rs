//! Commands, and the device that they are for.

use openssl::x509::X509;
use otrp_wire::RequestName;
use serde_json::{Map, Value};

use crate::dsi::{AttestationKey, DeviceState};
use crate::encoding::base64;
use crate::jose::KeyType;

/// A command to a device.
#[derive(Clone, Debug)]
pub enum Command<'a> {
    /// Creates a security domain.
    CreateSd {
        /// The service provider.
        spid: &'a str,
        /// The name of the domain.
        name: &'a str,
        /// The certificate of the SP's signer, DER.
        certificate: &'a [u8],
    },
    /// Changes a security domain.
    UpdateSd {
        /// The service provider.
        spid: &'a str,
        /// The name of the domain.
        name: &'a str,
        /// What changes.
        changes: SdChanges<'a>,
    },
    /// Deletes a security domain.
    DeleteSd {
        /// The service provider, if the name alone is ambiguous. Not in the draft.
        spid: Option<&'a str>,
        /// The name of the domain.
        name: &'a str,
        /// Whether the applications in it are deleted, too.
        delete_tas: bool,
    },
    /// Installs a trusted application.
    InstallTa(Application<'a>),
    /// Replaces a trusted application, its personalization data, or both.
    UpdateTa(Application<'a>),
    /// Deletes a trusted application.
    DeleteTa {
        /// The service provider, if the name alone is ambiguous. Not in the draft.
        spid: Option<&'a str>,
        /// The name of the domain.
        name: &'a str,
        /// The application.
        taid: &'a str,
    },
}

/// The changes of an UpdateSD. What is empty or `None` is omitted from the request.
#[derive(Clone, Debug, Default)]
pub struct SdChanges<'a> {
    /// The domain's new name.
    pub new_name: Option<&'a str>,
    /// The domain's new service provider.
    pub new_spid: Option<&'a str>,
    /// Certificates of signers to add, DER.
    pub add: Vec<&'a [u8]>,
    /// SHA-256 of certificates to remove, in hexadecimal.
    pub remove: Vec<&'a str>,
    /// Whether a new attestation key of the SP is generated.
    pub renew_attestation_key: bool,
}

/// A trusted application to install or update.
#[derive(Clone, Debug)]
pub struct Application<'a> {
    /// The service provider.
    pub spid: &'a str,
    /// The name of the security domain.
    pub domain: &'a str,
    /// The application.
    pub taid: &'a str,
    /// The certificate of a signer that the domain does not have yet, DER.
    pub certificate: Option<&'a [u8]>,
    /// The signed image; only an update may omit it.
    pub image: Option<&'a [u8]>,
    /// The personalization data.
    pub personalization: Option<&'a [u8]>,
}

impl Command<'_> {
    /// The name of the request.
    #[must_use]
    pub const fn name(&self) -> RequestName {
        match self {
            Self::CreateSd { .. } => RequestName::CreateSd,
            Self::UpdateSd { .. } => RequestName::UpdateSd,
            Self::DeleteSd { .. } => RequestName::DeleteSd,
            Self::InstallTa(_) => RequestName::InstallTa,
            Self::UpdateTa(_) => RequestName::UpdateTa,
            Self::DeleteTa { .. } => RequestName::DeleteTa,
        }
    }
}

/// The device that a command is for.
#[derive(Clone, Debug)]
pub struct Target {
    /// The name of its TEE.
    pub tee: String,
    /// The certificate of its TEE.
    pub certificate: X509,
    /// The hash of the device's current state.
    pub dsi_hash: String,
    /// The attestation keys of the SPs, for which images are encrypted.
    pub attestation_keys: Vec<AttestationKey>,
}

impl Target {
    /// The types of the keys that requests to the device are encrypted for.
    #[must_use]
    pub fn key_types(&self) -> Vec<KeyType> {
        let attestation_keys = self.attestation_keys.iter().filter_map(AttestationKey::public_key);
        let keys = self.certificate.public_key().into_iter().chain(attestation_keys);
        keys.filter_map(|key| KeyType::of(&key)).collect()
    }
}

impl From<&DeviceState> for Target {
    fn from(state: &DeviceState) -> Self {
        Self {
            tee: state.dsi.tee.name.clone(),
            certificate: state.certificate.clone(),
            dsi_hash: state.hash.clone(),
            attestation_keys: state.dsi.tee.teeaiklist.clone(),
        }
    }
}

impl SdChanges<'_> {
    pub(super) fn members(&self) -> Value {
        let mut members = Map::new();
        if let Some(name) = self.new_name {
            members.insert("newsdname".into(), name.into());
        }
        if let Some(spid) = self.new_spid {
            members.insert("newspid".into(), spid.into());
        }
        if !self.add.is_empty() {
            let certificates: Vec<String> = self.add.iter().map(|der| base64(der)).collect();
            members.insert("spcert".into(), certificates.into());
        }
        if !self.remove.is_empty() {
            members.insert("deloldspcert".into(), self.remove.clone().into());
        }
        if self.renew_attestation_key {
            members.insert("renewteespaik".into(), true.into());
        }
        Value::Object(members)
    }
}
