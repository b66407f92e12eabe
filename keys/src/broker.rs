//! Checks that a broker's ELF, the one that goes into an image, trusts what it should.
//!
//! Its manifest states what it was built with, and its bytes show which certificates it contains: each
//! anchor must be there, and no other certificate.

use std::fmt;
use std::path::{Path, PathBuf};

use object::elf::{FileHeader32, FileHeader64};
use object::read::elf::{ElfFile, FileHeader};
use object::{Endianness, FileKind, Object as _, ObjectSection as _};
use openssl::sha::sha256;
use otrp_check::Certificate;
use otrp_trust::manifest::{HEADER, SECTION};
use otrp_trust::{Build, Folder, is_development};

use crate::file::read;
use crate::{Error, Result};

/// The choices of a broker's build, as the variables of that build name them; the build's own where
/// there is none.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// The TEE's name.
    pub tee_name: Option<String>,
    /// `p256` or `rsa`.
    pub key_type: Option<String>,
    /// `on` or `off`.
    pub rsa1_5: Option<String>,
    /// The time of the build in seconds since 1970; any where there is none.
    pub built_at: Option<u64>,
}

/// A difference between a broker and the expected one: a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference(String);

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The differences between the broker in the file `elf` and one that is built with the folder `trust`
/// and these choices.
///
/// # Errors
/// If a file cannot be read, or the build refuses folder or choices.
pub fn differences(elf: &Path, trust: &Path, choices: &Choices) -> Result<Vec<Difference>> {
    let octets = read(elf)?;
    let place = elf.display();
    let difference = |text: String| Difference(format!("{place}: {text}"));
    let manifest = match manifest(&octets) {
        Ok(manifest) => manifest,
        Err(why) => return Ok(vec![difference(why)]),
    };
    let expected = expected(trust, choices, &manifest)?;
    let folder = Folder::read(trust)?;
    let certificates = certificates(&octets);
    let mut texts =
        Comparison { trust, folder: &folder, certificates: &certificates }.of(&manifest, &expected);
    for (path, anchor) in folder.anchors() {
        if !certificates.iter().any(|(_, der)| *der == anchor) {
            texts.push(format!(
                "the certificate of {} is not in the broker's image",
                path.display()
            ));
        }
    }
    for (name, der) in &certificates {
        if !folder.anchors().any(|(_, anchor)| anchor == *der) {
            let kind = if is_development(der) { "development " } else { "" };
            texts.push(format!(
                "the broker's image contains the {kind}certificate {} ({name:?}), which is not in {}",
                hex::encode(sha256(der)),
                trust.display()
            ));
        }
    }
    Ok(texts.into_iter().map(difference).collect())
}

/// The lines of the manifest, or why there is none: the end of a sentence about the file.
fn manifest(elf: &[u8]) -> std::result::Result<Vec<String>, String> {
    let none = || {
        format!(
            "it has no manifest (section {SECTION}): it is not the ELF of a broker, or of one from \
             before there were manifests. Build it again, and vet what the build leaves"
        )
    };
    let sections = match FileKind::parse(elf) {
        Ok(FileKind::Elf32) => sections::<FileHeader32<Endianness>>(elf),
        Ok(FileKind::Elf64) => sections::<FileHeader64<Endianness>>(elf),
        _ => return Err("it is not an ELF file".into()),
    };
    let sections = sections.ok_or("it is a damaged ELF file")?;
    let [section] = sections[..] else { return Err(none()) };
    let damaged = "its manifest is damaged: build it again";
    let text = std::str::from_utf8(section).map_err(|_| damaged)?;
    let mut lines = text.strip_suffix('\n').ok_or(damaged)?.split('\n').map(String::from);
    match lines.next() {
        Some(header) if header == HEADER => Ok(lines.collect()),
        Some(header) if header.starts_with("otrp-broker ") => Err(format!(
            "its manifest is of another version ({header:?}), and this program knows {HEADER:?}: use \
             the otrp-keys of the same source"
        )),
        _ => Err(damaged.into()),
    }
}

/// The contents of the sections of that name.
fn sections<H: FileHeader<Endian = Endianness>>(elf: &[u8]) -> Option<Vec<&[u8]>> {
    let file = ElfFile::<H>::parse(elf).ok()?;
    let named = file.sections().filter(|section| section.name() == Ok(SECTION));
    named.map(|section| section.data().ok()).collect()
}

/// The manifest of a broker that is built with this folder and these choices, but for its header.
fn expected(trust: &Path, choices: &Choices, manifest: &[String]) -> Result<Vec<String>> {
    let built_at = match choices.built_at {
        Some(seconds) => Some(seconds.to_string()),
        None => manifest.iter().find_map(|line| line.strip_prefix("built-at ").map(String::from)),
    };
    let environment = |name: &str| match name {
        otrp_trust::DIRECTORY => trust.to_str().map(String::from),
        // Whether development keys are allowed is asked elsewhere.
        otrp_trust::ALLOW_DEVELOPMENT => Some("1".into()),
        otrp_trust::TEE_NAME => choices.tee_name.clone(),
        otrp_trust::KEY_TYPE => choices.key_type.clone(),
        otrp_trust::RSA1_5 => choices.rsa1_5.clone(),
        otrp_trust::BUILT_AT => built_at.clone(),
        _ => None,
    };
    let build = Build::read(environment, 0).map_err(Error::Trust)?;
    Ok(build.manifest().lines().skip(1).map(String::from).collect())
}

/// Every certificate in `octets`, with the name of its holder.
fn certificates(octets: &[u8]) -> Vec<(String, &[u8])> {
    let mut found: Vec<(String, &[u8])> = Vec::new();
    let mut start = 0;
    while let Some(rest) = octets.get(start..)
        && let Some(next) = rest.iter().position(|octet| *octet == 0x30)
    {
        let candidate = rest.get(next..).unwrap_or_default();
        start += next + 1;
        // A SEQUENCE, too long for a length of one octet.
        let length = match *candidate {
            [_, 0x81, length, ..] => 3 + usize::from(length),
            [_, 0x82, high, low, ..] => 4 + usize::from(u16::from_be_bytes([high, low])),
            _ => continue,
        };
        let Some(der) = candidate.get(..length) else { continue };
        if let Ok(certificate) = Certificate::read(der) {
            if !found.iter().any(|(_, known)| *known == der) {
                found.push((certificate.common_name(), der));
            }
            start += length - 1;
        }
    }
    found
}

/// Compares manifests, and names what is in folder and image.
struct Comparison<'a> {
    trust: &'a Path,
    folder: &'a Folder,
    certificates: &'a [(String, &'a [u8])],
}

impl Comparison<'_> {
    fn of(&self, manifest: &[String], expected: &[String]) -> Vec<String> {
        let missing = expected.iter().filter(|line| !manifest.contains(line));
        let missing: Vec<(&str, &str)> = missing.map(|line| split(line)).collect();
        let extra = manifest.iter().filter(|line| !expected.contains(line));
        let extra: Vec<(&str, &str)> = extra.map(|line| split(line)).collect();
        let mut texts: Vec<String> =
            extra.iter().map(|(word, rest)| self.extra(word, rest, &missing)).collect();
        // What has changed was said with what it has changed to.
        let changed = |word: &str, rest: &str| {
            extra.iter().any(|(other, other_rest)| is_same_thing((word, rest), (other, other_rest)))
        };
        let missing = missing.iter().filter(|(word, rest)| !changed(word, rest));
        texts.extend(missing.map(|(word, rest)| self.missing(word, rest)));
        if texts.is_empty() && manifest != expected {
            texts.push(format!(
                "the broker's image has the entries of {} in another order, or one twice",
                self.trust.display()
            ));
        }
        texts
    }

    /// What is in the image only.
    fn extra(&self, word: &str, rest: &str, missing: &[(&str, &str)]) -> String {
        let trust = self.trust.display();
        let meant = missing.iter().find(|line| is_same_thing((word, rest), **line));
        let (first, names) = split(rest);
        match (word, meant) {
            ("tam-root", Some((_, meant))) => format!(
                "in the broker's image TAM root {first}{} speaks for {}, and by {trust} for {}",
                self.called(first),
                speaks_for(names),
                speaks_for(split(meant).1)
            ),
            ("tam-root", None) => format!(
                "the broker's image trusts TAM root {first}{}, which is not in {trust}",
                self.called(first)
            ),
            ("tee-root", Some((_, meant))) => format!(
                "the broker's image trusts TEE root {first}{}, and {trust} has {meant}{}",
                self.called(first),
                self.called(meant)
            ),
            ("evicted", _) => format!("the broker's image evicts {rest}, which {trust} does not"),
            ("reserved", _) => {
                format!("the broker's image keeps the UUID {rest} free, which {trust} does not")
            }
            (_, Some((_, meant))) => {
                format!("the broker's image was built with {word} {rest}, and {meant} is asked for")
            }
            (_, None) => format!("the broker's image says {word} {rest:?}, which nothing asks for"),
        }
    }

    /// What is not in the image.
    fn missing(&self, word: &str, rest: &str) -> String {
        let trust = self.trust.display();
        let (first, _) = split(rest);
        match word {
            "tam-root" => format!(
                "the broker's image does not trust TAM root {first}{}, which is in {trust}",
                self.called(first)
            ),
            "evicted" => format!("the broker's image does not evict {rest}, as {trust} says"),
            "reserved" => {
                format!("the broker's image does not keep the UUID {rest} free, as {trust} says")
            }
            _ => format!("the broker's image does not say {word}, and {rest} is asked for"),
        }
    }

    /// Whose certificate has a SHA-256, in brackets behind a space; nothing where that is not known.
    fn called(&self, digest: &str) -> String {
        let is_it = |der: &[u8]| hex::encode(sha256(der)) == digest;
        let in_image = self.certificates.iter().find(|(_, der)| is_it(der));
        let kind = |der| if is_development(der) { "development: " } else { "" };
        if let Some((name, der)) = in_image {
            return format!(" ({}{name:?})", kind(der));
        }
        let in_folder = self.folder.anchors().find(|(_, der)| is_it(der));
        let path = in_folder.map(|(path, der)| (PathBuf::from(path), kind(der)));
        path.map_or_else(String::new, |(path, kind)| format!(" ({kind}{})", path.display()))
    }
}

/// Word and rest of a line, or of a rest.
fn split(line: &str) -> (&str, &str) {
    line.split_once(' ').unwrap_or((line, ""))
}

/// Whether two lines are about the same item, possibly with different values.
fn is_same_thing((word, rest): (&str, &str), (other, other_rest): (&str, &str)) -> bool {
    word == other
        && match word {
            "tam-root" => split(rest).0 == split(other_rest).0,
            "evicted" | "reserved" => false,
            _ => true,
        }
}

fn speaks_for(names: &str) -> &str {
    if names.is_empty() { "every TAM" } else { names }
}
