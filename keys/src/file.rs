//! Reading and writing keys and certificates, private keys with mode 0600.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use openssl::pkey::{PKey, Private, Public};
use openssl::x509::X509;

use crate::certificate::Identity;
use crate::{Error, Result};

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

/// Writes a file that everybody may read, in one step: an old one is there until the new one is.
///
/// # Errors
/// `Write` names the file.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let new = beside(path, ".new");
    write(&new, bytes)?;
    fs::rename(&new, path).map_err(|reason| Error::Write { path: path.to_owned(), reason })
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

fn content<T>(
    path: &Path,
    reader: fn(&[u8]) -> std::result::Result<T, otrp_pem::Error>,
) -> Result<T> {
    reader(&read(path)?).map_err(|reason| Error::Content { path: path.to_owned(), reason })
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
