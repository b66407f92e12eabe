//! The configuration: who this TAM is, and what every device is to have.
//!
//! ```toml
//! [tam]
//! key = "keys/tam.key.pem"
//! chain = "keys/tam.chain.pem"            # leaf first
//! ocsp = ["tam.ocsp", "tam-issuing-ca.ocsp"]  # DER; the leaf's, then each CA's below the root
//! tee_roots = ["keys/tee-root.pem"]       # OEMs whose TEEs are served
//! # require_tee_purpose = true           # only certificates with the extendedKeyUsage of TEEs
//! # tam_roots = ["keys/tam-root.pem"]     # what devices are built with; by default the root in `chain`
//! # id = "1.3.6.1.4.1.99999.1"            # if the certificate has it neither as URI nor as DNS name
//! # content_encryption = "A256GCM"        # or "A128CBC-HS256", the default
//! # key_management = ["RSA-OAEP-256"]     # see below
//! # ta_encryption = "A256GCM"             # the default; or "AESCBC", see below
//! # firmware_roots = ["keys/tfw-root.pem"]  # only devices whose firmware signs under these
//! # devices = "devices.csv"             # only these devices are served
//! # admit_new = false                     # only devices that were served before
//! # retired = ["5c6f…"]                   # keys of devices that get nothing more
//! # allow_deletion = "5d41402abc4b2a76"   # see [`crate::deletions`]
//!
//! # [tam.alternative]                     # the same TAM's key of the other type, EC or RSA
//! # key = "keys/tam-rsa.key.pem"
//! # chain = "keys/tam-rsa.chain.pem"
//! # ocsp = ["tam-rsa.ocsp", "tam-rsa-ca.ocsp"]
//!
//! [[sd]]
//! name = "com.example.domain"
//! spid = "com.example"
//! certificates = ["keys/sp-rsa.der"]      # signers of the TAs in this domain
//!
//! [[sd.ta]]
//! id = "com.example.signer"
//! file = "signer.ta"
//! # personalization = "signer.bin"
//! ```
//!
//! An algorithm may be a list, the preferred one first; the others are for devices that answer
//! `ERR_UNSUPPORTED_CRYPTO_ALG`. `key_management` lists algorithms for both types of device keys. The
//! defaults are `ECDH-ES+A128KW` and, for RSA, `RSA-OAEP-256`, then `RSA-OAEP`. `RSA1_5` is used
//! only if it is listed. The alternative key signs for TEEs that do not verify signatures of the
//! first one.
//!
//! `ta_encryption` is the encryption of images and personalization data. `AESCBC`, which the draft
//! requires of each TEE, is used only if it is listed, because it does not authenticate: with a stolen
//! TAM key, a device can be made to decrypt recorded requests. `A256GCM` is an addition to the draft.
//!
//! What a device has of this TAM and the file does not list is deleted. Paths are relative to the file.
//! The server reads the file again when it, or a file that it names, has changed
//! ([`crate::configured`]), and OCSP responses for each GetDeviceState. So replace each file in one
//! step (write a new one and rename it): half a file is valid, and desires less.
//!
//! Reading reports what is missing, malformed or contradictory; [`crate::check`] reports what a device
//! would refuse.

mod algorithms;
mod file;
mod mistakes;
mod settings;
mod state;

pub use algorithms::Algorithms;
pub use mistakes::sentence;
pub use settings::{IdentityFiles, TamSettings};
pub use state::{Blob, DesiredDomain, DesiredState, DesiredTa};

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use file::{File, folder};
use mistakes::Mistakes;
use state::read_domain;

/// The configuration with the contents of all files that it names.
pub struct Configuration {
    /// Who this TAM is.
    pub tam: TamSettings,
    /// What every device is to have.
    pub desired: DesiredState,
}

impl Configuration {
    /// Reads the file and all files that it names.
    ///
    /// # Errors
    /// One line for each mistake.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        Self::read_named(path).1
    }

    /// The same as [`Self::read`], and the paths of all files that were to be read.
    pub fn read_named(path: &Path) -> (Vec<PathBuf>, anyhow::Result<Self>) {
        let mut files = vec![path.to_path_buf()];
        let file = match File::read(path) {
            Ok(file) => file,
            Err(error) => return (files, Err(error)),
        };
        let folder = folder(path);
        files.extend(file.names().into_iter().map(|file| folder.join(file)));
        let mut mistakes = Mistakes::default();
        let mut names = HashSet::new();
        let mut domains = Vec::new();
        for section in file.sd {
            if !names.insert((section.spid.clone(), section.name.clone())) {
                mistakes.add(format!(
                    "the security domain {} of {} is listed twice",
                    section.name, section.spid
                ));
            }
            domains.extend(read_domain(folder, section, &mut mistakes));
        }
        let tam = TamSettings::of(folder, file.tam, &mut mistakes);
        let desired = DesiredState { domains };
        (files, mistakes.unless_none(tam.map(|tam| Self { tam, desired })))
    }
}
