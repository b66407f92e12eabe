//! The production line: many devices certified at once, and the list of those that are.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use openssl::base64::encode_block;
use openssl::pkey::{HasPublic, Id, PKeyRef};
use openssl::sha::sha256;
use openssl::x509::X509;

use crate::certificate::seconds;
use crate::device::{Authority, check_chain_ever, requested_key};
use crate::file::{beside, chain_pem, read, read_certificates, replace};
use crate::show::distinguished_name;
use crate::{Error, Result};

/// What the name of a chain file ends with.
const CHAIN_SUFFIX: &str = ".chain.pem";

/// What became of one request.
#[derive(Debug)]
pub enum Outcome {
    /// It has a chain now.
    Certified(Device),
    /// It had a chain for the same key already, which stays.
    Kept,
    /// It was refused, and has none.
    Refused(Error),
}

/// One request of many, after it was handled.
#[derive(Debug)]
pub struct Progress<'a> {
    /// The how-manieth it is, from 1.
    pub number: usize,
    /// How many there are.
    pub total: usize,
    /// The request.
    pub request: &'a Path,
    /// What became of it.
    pub outcome: &'a Outcome,
}

/// How many requests came to which end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Certified.
    pub certified: usize,
    /// Left with the chain that they had.
    pub kept: usize,
    /// Refused.
    pub refused: usize,
}

/// Certifies every request in the folder `requests`: `NAME.csr`, or with any other ending, becomes
/// `NAME.chain.pem` in the folder `chains`, which is made where it is missing. A bad request does not keep the others waiting.
///
/// A chain that is there stays, so that an interrupted run goes on where it was; with `renew` it is
/// replaced. A chain for another key is never replaced, and no key gets chains under two names:
/// that would be two devices with one identity.
///
/// # Errors
/// If one of the folders cannot be read, or there is no request.
pub fn certify_all(
    authority: &Authority,
    requests: &Path,
    chains: &Path,
    renew: bool,
    report: &mut dyn FnMut(&Progress<'_>),
) -> Result<Totals> {
    let requests = {
        let files = files(requests)?;
        if files.is_empty() {
            return Err(Error::NothingIn { folder: requests.to_owned(), what: "request" });
        }
        files
    };
    fs::create_dir_all(chains)
        .map_err(|reason| Error::Write { path: chains.to_owned(), reason })?;
    let mut line = Line { authority, chains, renew, known: known_keys(chains)? };
    let mut totals = Totals::default();
    for (index, request) in requests.iter().enumerate() {
        let outcome = line.certify(request).unwrap_or_else(Outcome::Refused);
        match outcome {
            Outcome::Certified(_) => totals.certified += 1,
            Outcome::Kept => totals.kept += 1,
            Outcome::Refused(_) => totals.refused += 1,
        }
        let (number, total) = (index + 1, requests.len());
        report(&Progress { number, total, request, outcome: &outcome });
    }
    Ok(totals)
}

/// SHA-256 of a SubjectPublicKeyInfo.
type Fingerprint = [u8; 32];

struct Line<'a> {
    authority: &'a Authority,
    chains: &'a Path,
    renew: bool,
    /// The chain file of every key that has one.
    known: HashMap<Fingerprint, PathBuf>,
}

impl Line<'_> {
    fn certify(&mut self, request: &Path) -> Result<Outcome> {
        let out = beside(&self.chains.join(request.file_stem().unwrap_or_default()), CHAIN_SUFFIX);
        let bytes = read(request)?;
        let fingerprint = fingerprint(&*requested_key(&bytes)?)?;
        match self.known.get(&fingerprint) {
            Some(known) if *known != out => return Err(Error::KeyTaken(known.clone())),
            Some(_) if !self.renew => return Ok(Outcome::Kept),
            Some(_) => {}
            None if out.symlink_metadata().is_ok() => return Err(Error::ChainOfAnother(out)),
            None => {}
        }
        let chain = self.authority.certify(&bytes)?;
        replace(&out, &chain_pem(&chain)?)?;
        let device = Device::of(&chain, &out)?;
        self.known.insert(fingerprint, out);
        Ok(Outcome::Certified(device))
    }
}

/// The chain files in a folder by their devices' keys. A damaged one has no key, and is not
/// replaced either.
fn known_keys(chains: &Path) -> Result<HashMap<Fingerprint, PathBuf>> {
    let mut known = HashMap::new();
    for file in chain_files(chains)? {
        if let Some(leaf) = read_certificates(&file).ok().and_then(|chain| chain.into_iter().next())
        {
            known.insert(fingerprint(&*leaf.public_key()?)?, file);
        }
    }
    Ok(known)
}

fn fingerprint<T: HasPublic>(key: &PKeyRef<T>) -> Result<Fingerprint> {
    Ok(sha256(&key.public_key_to_der()?))
}

/// A certified device, as the inventory lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// `did`, by which TAMs know it: base64 SHA-256 of its certificate (OTrP draft, section
    /// 9.2.1.1).
    pub did: String,
    /// The certificate's serial number in hexadecimal.
    pub serial: String,
    /// The certificate's subject.
    pub subject: String,
    /// The type of its key, such as `P-256`.
    pub key: String,
    /// The first second of its validity, in seconds since 1970.
    pub not_before: i64,
    /// The last second of its validity, in seconds since 1970.
    pub not_after: i64,
    /// The chain's file.
    pub chain: PathBuf,
}

impl Device {
    /// Reads a chain file: the device first, its root last.
    ///
    /// # Errors
    /// `Malformed`, or `AuthorityChain` if the certificates do not belong to each other. One that
    /// has expired is a device all the same.
    pub fn read(file: &Path) -> Result<Self> {
        Self::of(&read_certificates(file)?, file)
    }

    fn of(chain: &[X509], file: &Path) -> Result<Self> {
        let Some((leaf, above)) = chain.split_first() else {
            return Err(Error::Malformed {
                path: file.to_owned(),
                expected: "a certificate chain",
            });
        };
        check_chain_ever(leaf, above)?;
        let key = leaf.public_key()?;
        Ok(Self {
            did: encode_block(&sha256(&leaf.to_der()?)),
            serial: leaf.serial_number().to_bn()?.to_hex_str()?.to_lowercase(),
            subject: distinguished_name(leaf.subject_name()),
            key: match key.id() {
                Id::RSA => format!("RSA-{}", key.bits()),
                _ => format!("P-{}", key.bits()),
            },
            not_before: seconds(leaf.not_before())?,
            not_after: seconds(leaf.not_after())?,
            chain: file.to_owned(),
        })
    }

    /// The first line of the inventory.
    pub const CSV_HEADER: &'static str = "did,serial,subject,key,not_before,not_after,chain";

    /// The device's line of the inventory (RFC 4180), times as in RFC 3339.
    #[must_use]
    pub fn csv(&self) -> String {
        [
            quoted(&self.did),
            quoted(&self.serial),
            quoted(&self.subject),
            quoted(&self.key),
            quoted(&date_and_time(self.not_before)),
            quoted(&date_and_time(self.not_after)),
            quoted(&self.chain.display().to_string()),
        ]
        .join(",")
    }
}

/// Reads every chain file in a folder, `NAME.chain.pem`, in the order of their names.
///
/// # Errors
/// If the folder cannot be read, or there is no chain file. A bad file is an error of its own.
pub fn inventory(folder: &Path) -> Result<Vec<(PathBuf, Result<Device>)>> {
    let files = chain_files(folder)?;
    if files.is_empty() {
        return Err(Error::NothingIn { folder: folder.to_owned(), what: "chain file" });
    }
    Ok(files
        .into_iter()
        .map(|file| {
            let device = Device::read(&file);
            (file, device)
        })
        .collect())
}

fn chain_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = files(folder)?;
    files.retain(|file| {
        file.file_name().and_then(OsStr::to_str).is_some_and(|name| name.ends_with(CHAIN_SUFFIX))
    });
    Ok(files)
}

/// The files in a folder that are not hidden, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |reason| Error::Read { path: folder.to_owned(), reason };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// `2026-11-24T21:10:35Z` of seconds since 1970.
fn date_and_time(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since the first of March of the year 0, in eras of 400 years.
    let shifted = days + 719_468;
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // A year that begins in March has months of 31, 30, 31, 30, 31 days, over and over.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = match month < 10 {
        true => (era * 400 + year, month + 3),
        false => (era * 400 + year + 1, month - 9),
    };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_date_program() {
        // From: date -u -d @SECONDS +%Y-%m-%dT%H:%M:%SZ
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_583_020_800, "2020-03-01T00:00:00Z"),
            (1_795_554_635, "2026-11-24T21:10:35Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(date_and_time(seconds), expected);
        }
    }

    #[test]
    fn fields_with_commas_and_quotes_are_quoted() {
        assert_eq!(quoted("plain text"), "plain text");
        assert_eq!(quoted("a, b"), "\"a, b\"");
        assert_eq!(quoted("a \"b\""), "\"a \"\"b\"\"\"");
    }
}
