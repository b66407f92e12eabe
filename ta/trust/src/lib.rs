//! What a broker is built to trust: anchors and choices, as source for its build.
//!
//! It runs on the machine that builds, and nothing of it is in a device. A build that does not say
//! `ALLOW_DEV_KEYS=1` refuses the anchors of a development PKI, because whoever can read that PKI's
//! folder can command the devices that trust them.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::{self, Write as _};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The organization in every subject of a development PKI. An anchor carries it itself, so neither a
/// copy nor another folder or name hides it.
pub const DEVELOPMENT_ORGANIZATION: &str = "OTrP development PKI (not for production)";

/// The variable that allows development keys where it is `1`.
pub const ALLOW_DEVELOPMENT: &str = "ALLOW_DEV_KEYS";
/// The variable that names the folder of anchors.
pub const DIRECTORY: &str = "OTRP_TRUST_DIR";
const TEE_NAME: &str = "OTRP_TEE_NAME";
const KEY_TYPE: &str = "OTRP_KEY_TYPE";
const RSA1_5: &str = "OTRP_RSA1_5";
const BUILT_AT: &str = "SOURCE_DATE_EPOCH";

/// The environment variables that a [`Build`] depends on.
pub const VARIABLES: [&str; 6] =
    [ALLOW_DEVELOPMENT, DIRECTORY, TEE_NAME, KEY_TYPE, RSA1_5, BUILT_AT];

/// Whether a DER certificate names a development PKI, as its subject or its issuer.
///
/// The octets are looked for, and the certificate is not read: what is no certificate, or hides the
/// name where a reader would not look, is refused rather than let through.
#[must_use]
pub fn is_development(certificate: &[u8]) -> bool {
    let name = DEVELOPMENT_ORGANIZATION.as_bytes();
    certificate.windows(name.len()).any(|octets| octets == name)
}

/// The anchors in a folder: `tam-roots/*.der` and `tee-root.der`.
#[derive(Clone, Debug)]
pub struct Anchors {
    tams: Vec<Anchor>,
    tee: Anchor,
}

#[derive(Clone, Debug)]
struct Anchor {
    path: PathBuf,
    der: Vec<u8>,
}

impl Anchors {
    /// Reads the anchors in `directory`, those of TAMs in the order of their names.
    ///
    /// # Errors
    /// [`Error::Read`] or [`Error::NoTamRoot`].
    pub fn read(directory: &Path) -> Result<Self, Error> {
        let folder = directory.join("tam-roots");
        let unreadable = |source| Error::Read { path: folder.clone(), source };
        let mut paths = Vec::new();
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|extension| extension == "der") {
                paths.push(path);
            }
        }
        // The order of a directory is arbitrary, that of a reproducible build is not.
        paths.sort();
        if paths.is_empty() {
            return Err(Error::NoTamRoot(folder));
        }
        let tams = paths.into_iter().map(Anchor::read).collect::<Result<_, _>>()?;
        Ok(Self { tams, tee: Anchor::read(directory.join("tee-root.der"))? })
    }

    /// The files of the anchors that are a development PKI's.
    #[must_use]
    pub fn development(&self) -> Vec<PathBuf> {
        self.tams
            .iter()
            .chain([&self.tee])
            .filter(|anchor| is_development(&anchor.der))
            .map(|anchor| anchor.path.clone())
            .collect()
    }
}

impl Anchor {
    fn read(path: PathBuf) -> Result<Self, Error> {
        match fs::read(&path) {
            Ok(der) => Ok(Self { path, der }),
            Err(source) => Err(Error::Read { path, source }),
        }
    }
}

/// A broker's anchors and choices, all of which were checked.
#[derive(Clone, Debug)]
pub struct Build {
    anchors: Anchors,
    development: bool,
    tee_name: String,
    key_type: &'static str,
    rsa1_5: bool,
    built_at: u64,
}

impl Build {
    /// Reads the choices from the variables that `environment` knows, and the anchors from the folder that one
    /// of them names. `now` is the time of the build where they tell none, in seconds since 1970.
    ///
    /// # Errors
    /// [`Error::Development`] for anchors that [`ALLOW_DEVELOPMENT`] does not allow; the others for
    /// what is missing or not one of the choices.
    pub fn read(environment: impl Fn(&str) -> Option<String>, now: u64) -> Result<Self, Error> {
        let directory = environment(DIRECTORY).ok_or(Error::NoDirectory)?;
        let anchors = Anchors::read(Path::new(&directory))?;
        let development = anchors.development();
        if !development.is_empty() && environment(ALLOW_DEVELOPMENT).as_deref() != Some("1") {
            return Err(Error::Development(development));
        }
        Ok(Self {
            anchors,
            development: !development.is_empty(),
            tee_name: environment(TEE_NAME).unwrap_or_else(|| "optee".to_owned()),
            key_type: choice(&environment, KEY_TYPE, [("p256", "P256"), ("rsa", "Rsa2048")])?,
            rsa1_5: choice(&environment, RSA1_5, [("on", true), ("off", false)])?,
            built_at: built_at(&environment)?.unwrap_or(now),
        })
    }

    /// The Rust source of `TRUST`, an `otrp_engine::trust::Trust`, and of `KEY_TYPE`. It names no file,
    /// so the place of the anchors does not show in what is built.
    #[must_use]
    pub fn source(&self) -> String {
        let mut tams = String::new();
        for anchor in &self.anchors.tams {
            // Writing to a string cannot fail.
            let _ = writeln!(tams, "        &{:?},", anchor.der);
        }
        let Self { anchors, development, tee_name, key_type, rsa1_5, built_at } = self;
        format!(
            "/// What this broker trusts, from its build.
pub const TRUST: otrp_engine::trust::Trust = otrp_engine::trust::Trust {{
    tam_anchors: &[
{tams}    ],
    tee_anchor: &{tee:?},
    development: {development},
    tee_name: {tee_name:?},
    rsa1_5: {rsa1_5},
    built_at: {built_at},
}};
/// What kind of key pairs this broker makes, from its build.
pub const KEY_TYPE: otrp_engine::platform::KeyType = otrp_engine::platform::KeyType::{key_type};
",
            tee = anchors.tee.der,
        )
    }
}

/// What a variable chooses; the first where it is not set or empty.
fn choice<T: Copy>(
    environment: impl Fn(&str) -> Option<String>,
    name: &'static str,
    choices: [(&'static str, T); 2],
) -> Result<T, Error> {
    let [first, second] = choices;
    match environment(name).as_deref() {
        None | Some("") => Ok(first.1),
        Some(text) if text == first.0 => Ok(first.1),
        Some(text) if text == second.0 => Ok(second.1),
        Some(text) => {
            Err(Error::Choice { name, text: text.to_owned(), choices: [first.0, second.0] })
        }
    }
}

/// The build time in seconds since 1970: the floor under the normal world's clock.
fn built_at(environment: impl Fn(&str) -> Option<String>) -> Result<Option<u64>, Error> {
    let Some(text) = environment(BUILT_AT) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| Error::Time { name: BUILT_AT, text })
}

/// Why there is nothing to build.
#[derive(Debug)]
pub enum Error {
    /// No folder of anchors is named.
    NoDirectory,
    /// The folder has no anchor for TAMs.
    NoTamRoot(PathBuf),
    /// A file could not be read.
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// These anchors are a development PKI's, and nothing allows them.
    Development(Vec<PathBuf>),
    /// A variable is none of the two things that it may be.
    Choice {
        /// The variable.
        name: &'static str,
        /// What it is.
        text: String,
        /// What it may be.
        choices: [&'static str; 2],
    },
    /// A variable is no number of seconds.
    Time {
        /// The variable.
        name: &'static str,
        /// What it is.
        text: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDirectory => write!(
                formatter,
                "set {DIRECTORY} to the folder with tam-roots/*.der and tee-root.der (see keys/)"
            ),
            Self::NoTamRoot(folder) => write!(formatter, "no .der file in {}", folder.display()),
            Self::Read { path, source } => {
                write!(formatter, "cannot read {}: {source}", path.display())
            }
            Self::Development(paths) => {
                let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
                write!(
                    formatter,
                    "development anchors: {}. Anybody may have their private keys, so no device may \
                     trust them. Set {DIRECTORY} to a folder with the product's own (keys/CEREMONY.md), \
                     or {ALLOW_DEVELOPMENT}=1 for an emulated device",
                    paths.join(", ")
                )
            }
            Self::Choice { name, text, choices: [first, second] } => {
                write!(formatter, "{name}={text} is neither {first} nor {second}")
            }
            Self::Time { name, text } => write!(formatter, "{name}={text} is no number"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            _ => None,
        }
    }
}
