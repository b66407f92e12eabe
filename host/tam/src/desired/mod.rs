//! The configuration: who this TAM is, and what it wants on every device.
//!
//! ```toml
//! [tam]
//! key = "keys/tam.key.pem"
//! chain = "keys/tam.chain.pem"            # leaf first
//! ocsp = ["tam.ocsp", "tam-issuing-ca.ocsp"]  # DER; the leaf's, then each CA's below the root
//! tee_roots = ["keys/tee-root.pem"]       # OEMs whose TEEs are served
//! # require_tee_purpose = true           # only certificates that name the purpose of TEEs
//! # tam_roots = ["keys/tam-root.pem"]     # what devices are built with; else the chain's own root
//! # id = "1.3.6.1.4.1.99999.1"            # if the certificate does not say it as URI or DNS name
//! # content_encryption = "A256GCM"        # or "A128CBC-HS256", the default
//! # key_management = ["RSA-OAEP-256"]     # see below
//! # ta_encryption = "A256GCM"             # the default; or "AESCBC", see below
//! # firmware_roots = ["keys/tfw-root.pem"]  # only devices whose firmware signs under these
//! # devices = "devices.csv"             # only these devices are served
//! # admit_new = false                     # only devices that were served before
//! # retired = ["5c6f…"]                   # keys of devices that shall have nothing more
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
//! certificates = ["keys/sp-rsa.der"]      # whose signatures count in this domain
//!
//! [[sd.ta]]
//! id = "com.example.signer"
//! file = "signer.ta"
//! # personalization = "signer.bin"
//! ```
//!
//! An algorithm may be a list, the preferred one first: the next ones are for a device that answers
//! `ERR_UNSUPPORTED_CRYPTO_ALG`. `key_management` lists algorithms for both types of device keys;
//! those that it does not mention are `ECDH-ES+A128KW` and, for RSA, `RSA-OAEP-256`, then
//! `RSA-OAEP`. `RSA1_5` is used only if it is listed. The alternative key signs for a TEE that does
//! not verify signatures of the first one.
//!
//! `ta_encryption` is how images and personalization data are encrypted. `AESCBC`, which the draft
//! has of each TEE, is used only if it is listed, because it authenticates nothing: whoever steals
//! the TAM's key can have a device open what he recorded of it. `A256GCM` is an addition to the draft.
//!
//! What a device has of this TAM and the file does not list, is deleted. Paths are relative to the
//! file. The server reads it anew when it, or a file that it names, has changed ([`crate::configured`]),
//! and OCSP responses for each GetDeviceState, so replace each in one step (write a new file and
//! rename it): half a file is a state too, only not the desired one.
//!
//! Reading finds what is missing, malformed or contradicts itself; [`crate::check`] what a device
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

/// The configuration with everything that it names read and checked.
pub struct Configuration {
    /// Who this TAM is.
    pub tam: TamSettings,
    /// What every device shall have.
    pub desired: DesiredState,
}

impl Configuration {
    /// Reads the file and all that it names.
    ///
    /// # Errors
    /// A line for each thing that is missing or wrong.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        Self::read_named(path).1
    }

    /// The same, with the file and those that it names, as far as it could be read.
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
                    "the security domain {} of {} is there twice",
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
