//! What a broker is built to trust: anchors and options, as source for its build.
//!
//! Runs on the build machine only. A build without `ALLOW_DEV_KEYS=1` refuses the anchors of a
//! development PKI, because whoever can read that PKI's folder can command the devices that trust it.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::{self, Write as _};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub mod lists;
pub mod manifest;

use lists::{Evicted, Mistake, Name};
use otrp_wire::limits::ANCHOR_LIMIT;
use sha2::{Digest, Sha256};

/// The organization in every subject of a development PKI. It is part of the anchor, so an anchor is
/// recognized in any folder and under any name.
pub const DEVELOPMENT_ORGANIZATION: &str = "OTrP development PKI (not for production)";

/// The variable that allows development keys where it is `1`.
pub const ALLOW_DEVELOPMENT: &str = "ALLOW_DEV_KEYS";
/// The variable that names the folder of anchors.
pub const DIRECTORY: &str = "OTRP_TRUST_DIR";
/// The variable with the TEE's name; `optee` where it is not set.
pub const TEE_NAME: &str = "OTRP_TEE_NAME";
/// The variable with the kind of key pairs: `p256`, the default, or `rsa`.
pub const KEY_TYPE: &str = "OTRP_KEY_TYPE";
/// The variable that selects whether RSAES-PKCS1-v1_5 is accepted: `on`, the default, or `off`.
pub const RSA1_5: &str = "OTRP_RSA1_5";
/// The variable with the time of the build in seconds since 1970.
pub const BUILT_AT: &str = "SOURCE_DATE_EPOCH";

/// The environment variables that a [`Build`] depends on.
pub const VARIABLES: [&str; 6] =
    [ALLOW_DEVELOPMENT, DIRECTORY, TEE_NAME, KEY_TYPE, RSA1_5, BUILT_AT];

/// Whether a DER certificate names a development PKI, as its subject or its issuer.
///
/// Searches for the octets and does not parse the certificate, so that the name is found anywhere, even
/// in something that is not a certificate.
#[must_use]
pub fn is_development(certificate: &[u8]) -> bool {
    let name = DEVELOPMENT_ORGANIZATION.as_bytes();
    certificate.windows(name.len()).any(|octets| octets == name)
}

/// What is in a folder of anchors: `tam-roots/*.der` and `tee-root.der`; the lists `tam-roots/*.ids`,
/// `evicted.txt` and `reserved.txt`; and the number in `floor-epoch.txt`.
#[derive(Clone, Debug)]
pub struct Folder {
    tams: Vec<TamRoot>,
    tee: File,
    evicted: Vec<Evicted>,
    reserved: Vec<[u8; 16]>,
    floor_epoch: u32,
    /// Files that are ignored.
    others: Vec<PathBuf>,
}

/// A root of TAMs, and the names that it speaks for; every TAM if there are none.
#[derive(Clone, Debug)]
struct TamRoot {
    certificate: File,
    names: Vec<Name>,
}

#[derive(Clone, Debug)]
struct File {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Folder {
    /// Reads the folder `directory`, the roots of TAMs in the order of their names.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::NoTamRoot`], [`Error::TooManyRoots`], [`Error::NamesWithoutRoot`],
    /// [`Error::List`].
    pub fn read(directory: &Path) -> Result<Self, Error> {
        let folder = directory.join("tam-roots");
        let (roots, rest) = with_extension(files(&folder)?, "der");
        let (lists, mut others) = with_extension(rest, "ids");
        if roots.is_empty() {
            return Err(Error::NoTamRoot(folder));
        }
        if roots.len() > ANCHOR_LIMIT {
            return Err(Error::TooManyRoots { folder, count: roots.len() });
        }
        // A root whose list has another name by mistake would speak for everybody.
        if let Some(list) = lists.iter().find(|list| !roots.contains(&list.with_extension("der"))) {
            return Err(Error::NamesWithoutRoot(list.clone()));
        }
        let tams: Vec<TamRoot> = roots.into_iter().map(TamRoot::read).collect::<Result<_, _>>()?;
        let known = ["tee-root.der", "evicted.txt", "reserved.txt", "floor-epoch.txt", "tam-roots"];
        let is_known = |path: &PathBuf| known.iter().any(|name| path.ends_with(name));
        others.extend(files(directory)?.into_iter().filter(|path| !is_known(path)));

        let path = directory.join("evicted.txt");
        let evicted = list(&path, lists::evicted)?.unwrap_or_default();
        for (line, entry) in &evicted {
            let is_evicted = |root: &TamRoot| *entry == Evicted::Root(root.certificate.digest());
            if tams.iter().any(is_evicted) {
                let what = "this root is in tam-roots: what it vouches for cannot be taken back from \
                            it and given to it";
                return Err(Error::List { path, mistake: Mistake { line: *line, what } });
            }
        }
        Ok(Self {
            tams,
            tee: File::read(directory.join("tee-root.der"))?,
            evicted: evicted.into_iter().map(|(_, entry)| entry).collect(),
            reserved: list(&directory.join("reserved.txt"), lists::reserved)?.unwrap_or_default(),
            floor_epoch: list(&directory.join("floor-epoch.txt"), lists::floor_epoch)?
                .unwrap_or_default(),
            others,
        })
    }

    /// The files of the anchors that belong to a development PKI.
    #[must_use]
    pub fn development(&self) -> Vec<PathBuf> {
        self.anchors()
            .filter(|(_, certificate)| is_development(certificate))
            .map(|(path, _)| path.to_owned())
            .collect()
    }

    /// Each anchor's file and certificate, the roots of TAMs first.
    pub fn anchors(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        let tams = self.tams.iter().map(|root| &root.certificate);
        tams.chain([&self.tee]).map(|file| (file.path.as_path(), file.bytes.as_slice()))
    }

    /// What is allowed but may not be intended, a sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let everybody =
            self.tams.iter().filter(|root| self.tams.len() > 1 && root.names.is_empty());
        let everybody = everybody.map(|root| {
            let path = &root.certificate.path;
            format!(
                "{} speaks for every TAM, those of the other roots too: list its names in {}",
                path.display(),
                path.with_extension("ids").display()
            )
        });
        let others = self.others.iter().map(|path| {
            format!("{} is not read: no anchor and no list has such a name", path.display())
        });
        everybody.chain(others).collect()
    }
}

impl TamRoot {
    fn read(path: PathBuf) -> Result<Self, Error> {
        let names = list(&path.with_extension("ids"), lists::names)?.unwrap_or_default();
        Ok(Self { certificate: File::read(path)?, names })
    }
}

impl File {
    fn read(path: PathBuf) -> Result<Self, Error> {
        match fs::read(&path) {
            Ok(bytes) => Ok(Self { path, bytes }),
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.bytes).into()
    }

    /// The digest in hexadecimal.
    fn fingerprint(&self) -> String {
        hex::encode(self.digest())
    }
}

/// The kind of key pairs that a broker generates.
#[derive(Clone, Copy, Debug)]
enum KeyType {
    P256,
    Rsa,
}

impl KeyType {
    /// As the variable chooses it.
    const fn choice(self) -> &'static str {
        match self {
            Self::P256 => "p256",
            Self::Rsa => "rsa",
        }
    }

    /// An `otrp_engine::platform::KeyType`.
    const fn source(self) -> &'static str {
        match self {
            Self::P256 => "P256",
            Self::Rsa => "Rsa2048",
        }
    }
}

/// The entries of a folder, sorted by name: the order of a directory is arbitrary, and a build must be
/// reproducible.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |source| Error::Read { path: folder.to_owned(), source };
    let entries = fs::read_dir(folder).map_err(unreadable)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<io::Result<Vec<_>>>().map_err(unreadable)?;
    paths.sort();
    Ok(paths)
}

/// Those files that have an extension, and the others.
fn with_extension(paths: Vec<PathBuf>, extension: &str) -> (Vec<PathBuf>, Vec<PathBuf>) {
    paths.into_iter().partition(|path| path.extension().is_some_and(|it| it == extension))
}

/// The contents of a file; `None` if there is none.
fn list<T>(path: &Path, read: impl Fn(&str) -> Result<T, Mistake>) -> Result<Option<T>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => match read(&text) {
            Ok(list) => Ok(Some(list)),
            Err(mistake) => Err(Error::List { path: path.to_owned(), mistake }),
        },
        // A link to nothing is a list that is lost.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => Ok(None),
        Err(source) => Err(Error::Read { path: path.to_owned(), source }),
    }
}

/// A broker's anchors and options, all checked.
#[derive(Clone, Debug)]
pub struct Build {
    folder: Folder,
    development: bool,
    tee_name: String,
    key_type: KeyType,
    rsa1_5: bool,
    built_at: u64,
}

impl Build {
    /// Reads the options from the variables of `environment`, and the anchors from the folder that one of
    /// them names. `now` is the time of the build if no variable sets it, in seconds since 1970.
    ///
    /// # Errors
    /// [`Error::Development`] for anchors that [`ALLOW_DEVELOPMENT`] does not allow; the others for a
    /// missing or invalid value.
    pub fn read(environment: impl Fn(&str) -> Option<String>, now: u64) -> Result<Self, Error> {
        let directory = environment(DIRECTORY).ok_or(Error::NoDirectory)?;
        let folder = Folder::read(Path::new(&directory))?;
        let development = folder.development();
        if !development.is_empty() && environment(ALLOW_DEVELOPMENT).as_deref() != Some("1") {
            return Err(Error::Development(development));
        }
        Ok(Self {
            folder,
            development: !development.is_empty(),
            tee_name: environment(TEE_NAME).unwrap_or_else(|| "optee".to_owned()),
            key_type: choice(
                &environment,
                KEY_TYPE,
                [("p256", KeyType::P256), ("rsa", KeyType::Rsa)],
            )?,
            rsa1_5: choice(&environment, RSA1_5, [("on", true), ("off", false)])?,
            built_at: built_at(&environment)?.unwrap_or(now),
        })
    }

    /// The Rust source of `TRUST`, an `otrp_engine::trust::Trust`, of `KEY_TYPE`, and of the [`manifest`].
    /// It contains no file names, so the location of the anchors does not affect the build.
    #[must_use]
    pub fn source(&self) -> String {
        let Self { folder, development, tee_name, key_type, rsa1_5, built_at } = self;
        let list = |entries: Vec<String>| entries.join(", ");
        let mut tams = String::new();
        for root in &folder.tams {
            let names = list(root.names.iter().map(Name::source).collect());
            let certificate = &root.certificate.bytes;
            // Writing to a string cannot fail.
            let _ = writeln!(
                tams,
                "        otrp_engine::trust::Anchor {{ certificate: &{certificate:?}, names: &[{names}] }},"
            );
        }
        format!(
            "/// What this broker trusts, from its build.
pub const TRUST: otrp_engine::trust::Trust = otrp_engine::trust::Trust {{
    tam_anchors: &[
{tams}    ],
    tee_anchor: &{tee:?},
    evicted: &[{evicted}],
    reserved: &{reserved:?},
    floor_epoch: {floor_epoch},
    development: {development},
    tee_name: {tee_name:?},
    rsa1_5: {rsa1_5},
    built_at: {built_at},
}};
/// What kind of key pairs this broker makes, from its build.
pub const KEY_TYPE: otrp_engine::platform::KeyType = otrp_engine::platform::KeyType::{key_type};
{manifest}",
            key_type = key_type.source(),
            manifest = self.manifest_source(),
            tee = folder.tee.bytes,
            evicted = list(folder.evicted.iter().map(Evicted::source).collect()),
            reserved = folder.reserved,
            floor_epoch = folder.floor_epoch,
        )
    }
}

/// The value that a variable selects; the first one if it is not set or empty.
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

/// Why a broker cannot be built.
#[derive(Debug)]
pub enum Error {
    /// No folder of anchors is named.
    NoDirectory,
    /// The folder has no anchor for TAMs.
    NoTamRoot(PathBuf),
    /// The folder has more anchors for TAMs than a device stores times for.
    TooManyRoots {
        /// The folder.
        folder: PathBuf,
        /// How many.
        count: usize,
    },
    /// A list of names without the root that it is for.
    NamesWithoutRoot(PathBuf),
    /// A line of a list is not understood.
    List {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        mistake: Mistake,
    },
    /// A file could not be read.
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// These anchors belong to a development PKI, which is not allowed.
    Development(Vec<PathBuf>),
    /// A variable has neither of its two possible values.
    Choice {
        /// The variable.
        name: &'static str,
        /// What it is.
        text: String,
        /// What it may be.
        choices: [&'static str; 2],
    },
    /// A variable is not a number of seconds.
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
            Self::TooManyRoots { folder, count } => write!(
                formatter,
                "{count} .der files in {}: a device can have {ANCHOR_LIMIT} roots of TAMs",
                folder.display()
            ),
            Self::NamesWithoutRoot(list) => write!(
                formatter,
                "{} is for no root: there is no {}",
                list.display(),
                list.with_extension("der").display()
            ),
            Self::List { path, mistake: Mistake { line, what } } => {
                write!(formatter, "{}, line {line}: {what}", path.display())
            }
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
