//! The production line: certifies many devices at once, and lists those that are certified.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use openssl::base64::encode_block;
use openssl::bn::BigNumContext;
use openssl::ec::{Asn1Flag, EcGroup, EcKey, EcPoint, PointConversionForm};
use openssl::pkey::{HasPublic, Id, PKey, PKeyRef};
use openssl::sha::sha256;
use openssl::x509::X509;
use otrp_check::chain::check_device_keys;
use otrp_pem::Kind;

use crate::certificate::seconds;
use crate::device::{Authority, check_chain_ever, requested_key};
use crate::file::{
    beside, chain_pem, create, discard_aside, folder_of, is_aside, is_break, is_plain, read,
    read_certificates, replace,
};
use crate::show::distinguished_name;
use crate::{Error, Result};

/// Suffix of the name of a chain file.
const CHAIN_SUFFIX: &str = ".chain.pem";
/// The file that processes lock while they write into a folder of chains.
const LOCK: &str = ".otrp-keys.lock";
/// Longest file that is searched for a chain, in bytes.
const CHAIN_FILE_LIMIT: u64 = 16 * 1024 * 1024;

/// The outcome of one request.
#[derive(Debug)]
pub enum Outcome {
    /// It was certified.
    Certified(Device),
    /// It already had a chain for the same key, which stays.
    Kept,
    /// It was refused, and has no chain.
    Refused(Error),
    /// It is not a request, and was left alone.
    Foreign(String),
}

/// One request of many, after it was handled.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Position in the batch, starting at 1.
    pub number: usize,
    /// Size of the batch.
    pub total: usize,
    /// The request.
    pub request: &'a Path,
    /// Its outcome.
    pub outcome: &'a Outcome,
}

/// What is reported while requests are certified.
#[derive(Debug)]
pub enum Event<'a> {
    /// Another process is working in this folder of chains, and has to finish first.
    Waiting(&'a Path),
    /// This file is or may be a chain whose key cannot be read. The reason is the end of a sentence
    /// about it.
    Unreadable(&'a Path, &'static str),
    /// A request was handled.
    Request(Progress<'a>),
}

/// How many requests had which outcome.
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
/// `NAME.chain.pem` in the folder `chains`, which is created if it is missing. A bad request does not
/// stop the others, and what is not a request is left alone: a folder, and a file with another ending
/// than `csr` that cannot be read or contains no complete request.
///
/// An existing chain stays, so that an interrupted run continues where it stopped; with `renew` it is
/// replaced. A chain for another key is never replaced, and no key gets chains under two names:
/// that would be two devices with one identity. Only one process at a time works in a folder of
/// chains; others wait.
///
/// # Errors
/// If one of the folders cannot be read, or there is no request.
pub fn certify_all(
    authority: &Authority,
    requests: &Path,
    chains: &Path,
    renew: bool,
    report: &mut dyn FnMut(Event<'_>),
) -> Result<Totals> {
    let nothing = || Error::NothingIn { folder: requests.to_owned(), what: "request" };
    let requests = entries(requests)?;
    if requests.is_empty() {
        return Err(nothing());
    }
    fs::create_dir_all(chains)
        .map_err(|reason| Error::Write { path: chains.to_owned(), reason })?;
    let mut line = Line::start(authority, chains, renew, report)?;
    let mut totals = Totals::default();
    for (index, request) in requests.iter().enumerate() {
        let outcome = match no_file(request) {
            Some(what) => Outcome::Foreign(what.to_owned()),
            None => {
                let stem = Path::new(request.file_stem().unwrap_or_default());
                let outcome = line.certify(request, &chains.join(beside(stem, CHAIN_SUFFIX)));
                outcome.unwrap_or_else(|error| refused_or_foreign(request, error))
            }
        };
        match outcome {
            Outcome::Certified(_) => totals.certified += 1,
            Outcome::Kept => totals.kept += 1,
            Outcome::Refused(_) => totals.refused += 1,
            Outcome::Foreign(_) => {}
        }
        let (number, total) = (index + 1, requests.len());
        report(Event::Request(Progress { number, total, request, outcome: &outcome }));
    }
    if totals == Totals::default() { Err(nothing()) } else { Ok(totals) }
}

/// Certifies one request; its chain becomes the file `out`, by the rules of [`certify_all`] for the
/// folder that `out` is in. Whether it was certified, or has had its chain already.
///
/// # Errors
/// Why it is refused, or what cannot be read or written.
pub fn certify_one(
    authority: &Authority,
    request: &Path,
    out: &Path,
    renew: bool,
    report: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome> {
    Line::start(authority, folder_of(out), renew, report)?.certify(request, out)
}

/// What is in a folder of requests in place of a file, if it is something else.
fn no_file(entry: &Path) -> Option<&'static str> {
    let kind = entry.metadata().ok()?;
    match (kind.is_file(), kind.is_dir()) {
        (true, _) => None,
        (false, true) => Some("it is a folder, and what is in it is not read"),
        (false, false) => Some("it is neither a file nor a folder"),
    }
}

/// What is not a request, and does not claim to be one by its name, is left alone.
fn refused_or_foreign(file: &Path, error: Error) -> Outcome {
    if file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csr")) {
        return Outcome::Refused(error);
    }
    match error {
        Error::Read { path, reason } if path == file => {
            Outcome::Foreign(format!("it cannot be read: {reason}"))
        }
        Error::RequestMalformed(
            reason @ (otrp_pem::Error::Absent { .. }
            | otrp_pem::Error::Damaged { .. }
            | otrp_pem::Error::Utf16),
        ) => Outcome::Foreign(reason.to_string()),
        error => Outcome::Refused(error),
    }
}

/// SHA-256 of a SubjectPublicKeyInfo.
type Fingerprint = [u8; 32];

/// The only process that writes into a folder of chains.
struct Line<'a> {
    authority: &'a Authority,
    renew: bool,
    /// The files with a chain of every key that has one.
    known: HashMap<Fingerprint, Vec<PathBuf>>,
    /// Locked until it is closed.
    _lock: File,
}

impl<'a> Line<'a> {
    fn start(
        authority: &'a Authority,
        chains: &Path,
        renew: bool,
        report: &mut dyn FnMut(Event<'_>),
    ) -> Result<Self> {
        let lock = lock(chains, || report(Event::Waiting(chains)))?;
        let known = known_keys(chains, |file, why| report(Event::Unreadable(file, why)))?;
        Ok(Self { authority, renew, known, _lock: lock })
    }

    fn certify(&mut self, request: &Path, out: &Path) -> Result<Outcome> {
        let bytes = read(request)?;
        let fingerprint = fingerprint(&*requested_key(&bytes)?)?;
        if !is_plain(out) {
            return Err(Error::Name(out.to_owned()));
        }
        if is_hidden(out) {
            return Err(Error::HiddenName(out.to_owned()));
        }
        let out = folder_of(out).join(out.file_name().unwrap_or_default());
        let known = self.known.get(&fingerprint).map(Vec::as_slice).unwrap_or_default();
        if let Some(other) = known.iter().find(|known| **known != out) {
            return Err(Error::KeyTaken(other.clone()));
        }
        let renews = !known.is_empty();
        if renews && !self.renew {
            discard_aside(&out);
            return Ok(Outcome::Kept);
        }
        if !renews && out.symlink_metadata().is_ok() {
            return Err(Error::ChainOfAnother(out));
        }
        let chain = self.authority.certify(&bytes)?;
        // Nothing is written that could not be listed.
        let device = Device::of(&chain, &out)?;
        let pem = chain_pem(&chain)?;
        if renews {
            replace(&out, &pem)?;
        } else {
            create(&out, &pem)?;
        }
        self.known.insert(fingerprint, vec![out]);
        Ok(Outcome::Certified(device))
    }
}

/// Locks a folder of chains for this process.
fn lock(chains: &Path, waiting: impl FnOnce()) -> Result<File> {
    let path = chains.join(LOCK);
    let lock = || {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                waiting();
                file.lock()?;
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(file)
    };
    lock().map_err(|reason| Error::Lock { path: path.clone(), reason })
}

/// The files with chains in a folder by their devices' keys, under whatever name. A damaged one has no
/// key, and is not replaced either.
fn known_keys(
    chains: &Path,
    mut unreadable: impl FnMut(&Path, &'static str),
) -> Result<HashMap<Fingerprint, Vec<PathBuf>>> {
    let mut known = HashMap::<_, Vec<_>>::new();
    for file in entries(chains)?.into_iter().filter(|file| !is_aside(file)) {
        match device_key(&file) {
            Ok(Some(key)) => known.entry(key).or_default().push(file),
            Ok(None) => {}
            Err(why) => unreadable(&file, why),
        }
    }
    Ok(known)
}

/// The key of the device whose chain is in a file; `None` if the file is something else. What else is in
/// it does not matter.
///
/// # Errors
/// Why it is not known of a file that is or may be a chain: the end of a sentence about the file.
fn device_key(file: &Path) -> std::result::Result<Option<Fingerprint>, &'static str> {
    let is_chain_file = is_chain_file(file);
    let bytes = match file.metadata() {
        Ok(metadata) if !metadata.is_file() => return Ok(None),
        Ok(metadata) if metadata.len() > CHAIN_FILE_LIMIT => return Err("is longer than 16 MiB"),
        Ok(_) => read(file).map_err(|_| "cannot be read")?,
        Err(_) if is_chain_file => return Err("cannot be read"),
        Err(_) => return Ok(None),
    };
    let Ok(mut items) = otrp_pem::items(&bytes) else {
        let names_certificate = || bytes.windows(12).any(|octets| octets == b"CERTIFICATE-");
        return if is_chain_file || names_certificate() { Err("is damaged") } else { Ok(None) };
    };
    items.retain(|item| item.kind == Kind::Certificate);
    // A certificate alone is a copy, and not what a device is given.
    if !is_chain_file && items.len() < 2 {
        return Ok(None);
    }
    let leaf = items.first().and_then(|item| X509::from_der(&item.der).ok());
    let key = leaf.and_then(|leaf| fingerprint(&*leaf.public_key().ok()?).ok());
    key.map(Some).ok_or("is damaged")
}

/// SHA-256 of a key in the one form that devices accept: a point of an elliptic curve has others, in
/// which OpenSSL leaves it.
fn fingerprint<T: HasPublic>(key: &PKeyRef<T>) -> Result<Fingerprint> {
    let of_curve = key.ec_key().ok().and_then(|key| Some((key.group().curve_name()?, key)));
    let Some((curve, key)) = of_curve else { return Ok(sha256(&key.public_key_to_der()?)) };
    let mut context = BigNumContext::new()?;
    let form = PointConversionForm::UNCOMPRESSED;
    let point = key.public_key().to_bytes(key.group(), form, &mut context)?;
    let mut group = EcGroup::from_curve_name(curve)?;
    group.set_asn1_flag(Asn1Flag::NAMED_CURVE);
    let point = EcPoint::from_bytes(&group, &point, &mut context)?;
    let key = PKey::from_ec_key(EcKey::from_public_key(&group, &point)?)?;
    Ok(sha256(&key.public_key_to_der()?))
}

/// Whether a name begins with a dot: programs that list files leave such out.
fn is_hidden(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
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
    /// SHA-256 of its key, the DER SubjectPublicKeyInfo in the one form that devices accept: it stays
    /// when the certificate is renewed.
    pub key_sha256: [u8; 32],
}

impl Device {
    /// Reads a chain file: the device first, its root last.
    ///
    /// # Errors
    /// `Malformed`, or `AuthorityChain` if the certificates do not belong to each other. One that
    /// has expired is a device all the same. `DeviceFlaw` for keys in forms that devices refuse. `Name` for
    /// a file whose name would break its line.
    pub fn read(file: &Path) -> Result<Self> {
        if !is_plain(file) {
            return Err(Error::Name(file.to_owned()));
        }
        Self::of(&read_certificates(file)?, file)
    }

    fn of(chain: &[X509], file: &Path) -> Result<Self> {
        let Some((leaf, above)) = chain.split_first() else {
            return Err(Error::Malformed {
                path: file.to_owned(),
                expected: "a certificate chain",
            });
        };
        let ders =
            chain.iter().map(|it| it.to_der()).collect::<std::result::Result<Vec<_>, _>>()?;
        let views: Vec<&[u8]> = ders.iter().map(Vec::as_slice).collect();
        let key_sha256 = sha256(check_device_keys(&views).map_err(Error::DeviceFlaw)?.spki());
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
            key_sha256,
        })
    }

    /// The first line of the inventory.
    pub const CSV_HEADER: &'static str =
        "did,serial,subject,key,not_before,not_after,chain,key_sha256";

    /// The device's line of the inventory (RFC 4180), times as in RFC 3339.
    #[must_use]
    pub fn csv(&self) -> String {
        [
            &self.did,
            &self.serial,
            &self.subject,
            &self.key,
            &date_and_time(self.not_before),
            &date_and_time(self.not_after),
            &self.chain.display().to_string(),
            &hex::encode(self.key_sha256),
        ]
        .map(|text| cell(text))
        .join(",")
    }
}

/// Reads every chain file in a folder, `NAME.chain.pem`, hidden or not, in the order of their names.
///
/// # Errors
/// If the folder cannot be read, or there is no chain file. A bad file is an error of its own, and so is
/// each of several with one key, `KeyTwice`: all files in the folder are searched for it.
pub fn inventory(folder: &Path) -> Result<Vec<(PathBuf, Result<Device>)>> {
    let mut files = entries(folder)?;
    files.retain(|file| is_chain_file(file) && !file.is_dir());
    if files.is_empty() {
        return Err(Error::NothingIn { folder: folder.to_owned(), what: "chain file" });
    }
    let known = known_keys(folder, |_, _| {})?;
    let listed = files.into_iter().map(|file| {
        let device = Device::read(&file).and_then(|device| {
            let named = known.get(&device.key_sha256).map(Vec::as_slice).unwrap_or_default();
            let others: Vec<_> = named.iter().filter(|name| **name != file).cloned().collect();
            if others.is_empty() { Ok(device) } else { Err(Error::KeyTwice(others)) }
        });
        (file, device)
    });
    Ok(listed.collect())
}

fn is_chain_file(file: &Path) -> bool {
    let suffix = CHAIN_SUFFIX.as_bytes();
    file.file_name().is_some_and(|name| name.as_encoded_bytes().ends_with(suffix))
}

/// What is in a folder, sorted.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |reason| Error::Read { path: folder.to_owned(), reason };
    let entries = fs::read_dir(folder).map_err(unreadable)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<io::Result<Vec<_>>>().map_err(unreadable)?;
    paths.sort();
    Ok(paths)
}

/// The text as a cell that no spreadsheet takes for a formula: where it begins like one, an apostrophe
/// stands before it.
fn cell(text: &str) -> String {
    let apostrophe =
        if text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) { "'" } else { "" };
    match text.contains([',', '"', ';']) || text.contains(is_break) {
        true => format!("\"{apostrophe}{}\"", text.replace('"', "\"\"")),
        false => format!("{apostrophe}{text}"),
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
    fn a_cell_is_a_text_in_its_row() {
        for (text, expected) in [
            ("plain text", "plain text"),
            ("a, b", "\"a, b\""),
            ("a \"b\"", "\"a \"\"b\"\"\""),
            ("a\r\nb", "\"a\r\nb\""),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@a", "'@a"),
            ("\t=1", "\"'\t=1\""),
            ("\r=1", "\"'\r=1\""),
            ("=a(\"b\", c)", "\"'=a(\"\"b\"\", c)\""),
        ] {
            assert_eq!(cell(text), expected);
        }
    }
}
