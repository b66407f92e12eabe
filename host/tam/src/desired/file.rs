//! The configuration as it is written: TOML, and the files that it names.

use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::de::value::{SeqAccessDeserializer, StrDeserializer};
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, de};

use crate::jose::{ContentEncryption, KeyManagement};
use crate::request::TaEncryption;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub tam: TamSection,
    #[serde(default)]
    pub sd: Vec<SdSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TamSection {
    pub key: PathBuf,
    pub chain: PathBuf,
    pub tee_roots: Vec<PathBuf>,
    #[serde(default)]
    pub require_tee_purpose: bool,
    #[serde(default)]
    pub tam_roots: Vec<PathBuf>,
    #[serde(default)]
    pub ocsp: Vec<PathBuf>,
    pub id: Option<String>,
    #[serde(default)]
    pub content_encryption: Preferred<ContentEncryption>,
    #[serde(default)]
    pub key_management: Preferred<KeyManagement>,
    #[serde(default)]
    pub ta_encryption: Preferred<TaEncryption>,
    pub firmware_roots: Option<Vec<PathBuf>>,
    pub devices: Option<PathBuf>,
    #[serde(default = "yes")]
    pub admit_new: bool,
    #[serde(default)]
    pub retired: Vec<String>,
    pub allow_deletion: Option<String>,
    pub alternative: Option<AlternativeSection>,
}

const fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AlternativeSection {
    pub key: PathBuf,
    pub chain: PathBuf,
    #[serde(default)]
    pub ocsp: Vec<PathBuf>,
}

/// One value or a list, the preferred one first; empty if the key is missing.
#[derive(Debug)]
pub(super) struct Preferred<T>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Preferred<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore<T>(PhantomData<T>);

        // By hand, because the error of an untagged enum would not list the valid names.
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMore<T> {
            type Value = Vec<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a name or a list of names")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<T>, E> {
                Ok(vec![T::deserialize(StrDeserializer::new(text))?])
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<T>, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list))
            }
        }

        deserializer.deserialize_any(OneOrMore(PhantomData)).map(Self)
    }
}

impl<T> Default for Preferred<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy> Preferred<T> {
    pub(super) fn or(self, default: &[T]) -> Vec<T> {
        if self.0.is_empty() { default.to_vec() } else { self.0 }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SdSection {
    pub name: String,
    pub spid: String,
    pub certificates: Vec<PathBuf>,
    #[serde(default)]
    pub ta: Vec<TaSection>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaSection {
    pub id: String,
    pub file: PathBuf,
    pub personalization: Option<PathBuf>,
}

impl File {
    /// Reads the file at `path`, and nothing that it names.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration {}", path.display()))?;
        toml::from_str(&text)
            .with_context(|| format!("the configuration {} is malformed", path.display()))
    }

    /// All files that are read with the configuration. OCSP responses are read when they are needed.
    pub(super) fn names(&self) -> Vec<&PathBuf> {
        let tam = &self.tam;
        let mut names = vec![&tam.key, &tam.chain];
        names.extend(tam.tee_roots.iter().chain(&tam.tam_roots));
        names.extend(tam.firmware_roots.iter().flatten().chain(&tam.devices));
        names.extend(tam.alternative.iter().flat_map(|other| [&other.key, &other.chain]));
        for domain in &self.sd {
            names.extend(&domain.certificates);
            for application in &domain.ta {
                names.push(&application.file);
                names.extend(&application.personalization);
            }
        }
        names
    }
}

/// The folder to which the paths in the file at `path` are relative.
pub(super) fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}
