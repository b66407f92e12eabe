//! Reading and writing keys and certificates, private keys with mode 0600.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use openssl::pkey::{PKey, Private, Public};
use openssl::x509::X509;

use crate::certificate::Identity;
use crate::{Error, Result};

/// Prefix and suffix of a file's name until its contents are stored.
const ASIDE: (&str, &str) = (".", ".new");

/// Reads a whole file.
///
/// # Errors
/// `Read` names the file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|reason| Error::Read { path: path.to_owned(), reason })
}

/// Writes a file that everybody may read, replacing an old one.
///
/// # Errors
/// `Write` names the file.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with_mode(path, bytes, 0o644)
}

/// Writes a file that everybody may read, atomically: after a power cut either the old or the new
/// contents are there, complete. Nobody else may write the file at the same time.
///
/// # Errors
/// `Write` names the file.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    write_aside(path, bytes)
        .and_then(|new| fs::rename(new, path))
        .and_then(|()| sync_folder(path))
        .map_err(|reason| Error::Write { path: path.to_owned(), reason })
}

/// As [`replace`], but an existing file stays, and is an error.
///
/// # Errors
/// `Write` names the file.
pub fn create(path: &Path, bytes: &[u8]) -> Result<()> {
    let link = |new: PathBuf| {
        match fs::hard_link(&new, path) {
            Ok(()) => fs::remove_file(new),
            Err(error) if path.symlink_metadata().is_ok() => {
                // What counts is that error.
                let _ = fs::remove_file(new);
                Err(error)
            }
            // A file system without links, such as that of a memory stick.
            Err(_) => fs::rename(new, path),
        }
    };
    write_aside(path, bytes)
        .and_then(link)
        .and_then(|()| sync_folder(path))
        .map_err(|reason| Error::Write { path: path.to_owned(), reason })
}

/// Writes the contents for `path` to a hidden file in the same folder, and waits until they are stored.
///
/// Its name is fixed, unlike that of a `tempfile`, so that what an interrupted run left is recognized
/// ([`is_aside`]) and replaced.
fn write_aside(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    discard_aside(path);
    let new = aside(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).inspect_err(|_| {
        let _ = fs::remove_file(&new);
    })?;
    Ok(new)
}

/// Removes what an interrupted [`create`] or [`replace`] of `path` left, if anything: also where it was
/// interrupted after the contents had their name.
pub(crate) fn discard_aside(path: &Path) {
    let _ = fs::remove_file(aside(path));
}

fn aside(path: &Path) -> PathBuf {
    let mut name = OsString::from(ASIDE.0);
    name.push(path.file_name().unwrap_or_default());
    name.push(ASIDE.1);
    path.with_file_name(name)
}

/// Whether a file's name is that of one that an interrupted [`create`] or [`replace`] left.
pub(crate) fn is_aside(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let name = name.strip_prefix(ASIDE.0.as_bytes());
    name.and_then(|name| name.strip_suffix(ASIDE.1.as_bytes())).is_some_and(|name| !name.is_empty())
}

/// Waits until the directory entry of a file is stored.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

/// The folder that a file is in.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Writes a file that only its owner may read; one that exists is not overwritten.
///
/// # Errors
/// `Write` names the file.
pub fn write_secret(path: &Path, bytes: &[u8]) -> Result<()> {
    // `create_new`: an existing file would keep its own, perhaps wider, mode.
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(|reason| Error::Write { path: path.to_owned(), reason })
}

/// Reads the private key in a file, which may hold its certificates, too.
///
/// # Errors
/// `Content` where the file holds none, or one under a passphrase; `Malformed`.
pub fn read_key(path: &Path) -> Result<PKey<Private>> {
    let der = content(path, otrp_pem::private_key)?;
    PKey::private_key_from_der(&der)
        .map_err(|_| Error::Malformed { path: path.to_owned(), expected: "a private key" })
}

/// Reads the public key in a file.
///
/// # Errors
/// `Content` where the file holds something else, such as the private key; `Malformed`.
pub fn read_public_key(path: &Path) -> Result<PKey<Public>> {
    let der = content(path, otrp_pem::public_key)?;
    PKey::public_key_from_der(&der)
        .map_err(|_| Error::Malformed { path: path.to_owned(), expected: "a public key" })
}

/// Reads the certificates in a file, at least one, in their order.
///
/// # Errors
/// `Content` where there is none, or something else beside them; `Malformed`.
pub fn read_certificates(path: &Path) -> Result<Vec<X509>> {
    let certificates = content(path, otrp_pem::certificates)?;
    certificates
        .iter()
        .map(|der| X509::from_der(der))
        .collect::<std::result::Result<_, _>>()
        .map_err(|_| Error::Malformed { path: path.to_owned(), expected: "a certificate" })
}

/// Reads the one certificate in a file.
///
/// # Errors
/// `Content` where there is none, or several, or something else beside it; `Malformed`.
pub fn read_certificate(path: &Path) -> Result<X509> {
    X509::from_der(&content(path, otrp_pem::certificate)?)
        .map_err(|_| Error::Malformed { path: path.to_owned(), expected: "a certificate" })
}

/// Reads the one OCSP response in a file, as DER.
///
/// # Errors
/// `Content` where there is none, or several, or something else beside it.
pub fn read_ocsp_response(path: &Path) -> Result<Vec<u8>> {
    content(path, otrp_pem::ocsp_response)
}

fn content<T>(
    path: &Path,
    reader: fn(&[u8]) -> std::result::Result<T, otrp_pem::Error>,
) -> Result<T> {
    reader(&read(path)?).map_err(|reason| Error::Content { path: path.to_owned(), reason })
}

/// A file's name for a line of output: quoted and escaped if it contains characters that end a line.
#[must_use]
pub fn shown(path: &Path) -> String {
    if is_plain(path) { path.display().to_string() } else { format!("{path:?}") }
}

/// Whether a file's name can be shown in one line as it is.
pub(crate) fn is_plain(path: &Path) -> bool {
    path.to_str().is_some_and(|name| !name.chars().any(is_break))
}

/// Control characters, and what ends a line or turns the direction of the text.
pub(crate) fn is_break(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Appends `suffix` to the last component of `stem`: `dev/tee-ca` and `.key.pem`.
#[must_use]
pub fn beside(stem: &Path, suffix: &str) -> PathBuf {
    let mut path = stem.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Writes `stem.key.pem`, `stem.der` and `stem.pem`.
///
/// # Errors
/// `Write` names the file.
pub fn write_identity(stem: &Path, identity: &Identity) -> Result<()> {
    write_secret(&beside(stem, ".key.pem"), &identity.key.private_key_to_pem_pkcs8()?)?;
    write(&beside(stem, ".der"), &identity.certificate.to_der()?)?;
    write(&beside(stem, ".pem"), &identity.certificate.to_pem()?)
}

/// A certificate chain as concatenated PEM, in the order given.
///
/// # Errors
/// OpenSSL's.
pub fn chain_pem<'a>(chain: impl IntoIterator<Item = &'a X509>) -> Result<Vec<u8>> {
    let mut pem = Vec::new();
    for certificate in chain {
        pem.extend(certificate.to_pem()?);
    }
    Ok(pem)
}

fn write_with_mode(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(|reason| Error::Write { path: path.to_owned(), reason })
}
