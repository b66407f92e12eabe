//! Checks what an image is to be built with: refuses anchors that devices cannot use, weak keys, and
//! keys whose private halves others have.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use openssl::bn::BigNum;
use openssl::pkey::{PKeyRef, Public};
use openssl::sha::sha256;
use otrp_check::Certificate;
use otrp_check::anchor::{self, Role};
use otrp_trust::Folder;

use crate::certificate::now;
use crate::development::TA_SIGNING_EXPONENT;
use crate::file::{read, read_public_key};
use crate::{Error, Result};

/// SHA-256 of the SubjectPublicKeyInfo of `keys/default_ta.pem`, which is in every source of OP-TEE.
const OPTEE_DEFAULT: [u8; 32] = [
    0xca, 0xc7, 0xbc, 0xfa, 0xf8, 0x67, 0x4a, 0x57, 0xe5, 0xea, 0xa8, 0xef, 0x1a, 0x7c, 0x9b, 0x67,
    0xaf, 0x1f, 0xd5, 0x56, 0x2a, 0x06, 0x44, 0x0d, 0x88, 0xd5, 0xe3, 0xc6, 0x32, 0xe8, 0x8c, 0x48,
];
/// Longest file that is searched for private keys, in bytes.
const SEARCH_LIMIT: u64 = 16 * 1024 * 1024;

/// Everything wrong with an image that has the anchors in the folder `trust` and the public key in
/// `ta_signing_key` (PEM) as OP-TEE's TA key, a sentence each, including what cannot be read. With
/// `allow_development`, for emulated devices, keys that others have are accepted.
#[must_use]
pub fn refusals(trust: &Path, ta_signing_key: &Path, allow_development: bool) -> Vec<Error> {
    let mut refusals = private_keys(trust);
    match Folder::read(trust) {
        Ok(folder) => refusals.extend(anchors(&folder, allow_development)),
        Err(error) => refusals.push(error.into()),
    }
    refusals.extend(signing_key(ta_signing_key, allow_development).err());
    refusals
}

/// What is allowed in the folder `trust` but may not be intended, a sentence each. Nothing about a
/// folder that is refused.
#[must_use]
pub fn warnings(trust: &Path) -> Vec<String> {
    let Ok(folder) = Folder::read(trust) else { return Vec::new() };
    let mut warnings = folder.warnings();
    let anchors: Vec<_> = folder.anchors().collect();
    if let Some(((tee, tee_root), tams)) = anchors.split_last()
        && let Some((tam, _)) = tams.iter().find(|(_, tam)| key(tam) == key(tee_root))
    {
        warnings.push(format!(
            "{} has the key of {}: whoever certifies TAMs can make TEEs, and the other way round",
            tam.display(),
            tee.display()
        ));
    }
    warnings
}

fn anchors(folder: &Folder, allow_development: bool) -> Vec<Error> {
    let mut refusals = Vec::new();
    let anchors: Vec<_> = folder.anchors().collect();
    let now = u64::try_from(now()).unwrap_or_default();
    for (position, (path, der)) in anchors.iter().enumerate() {
        // The root of the TEEs is the last.
        let is_tee_root = position + 1 == anchors.len();
        let role = if is_tee_root { Role::Tee } else { Role::Tam };
        refusals.extend(anchor::check(der, role, now).into_iter().map(|fault| Error::Anchor {
            path: (*path).to_owned(),
            remedy: anchor_remedy(der),
            fault,
        }));
        let before = anchors.iter().take(position);
        let twin = before.filter(|_| !is_tee_root).find(|(_, other)| key(other) == key(der));
        if let Some((first, other)) = twin {
            let what = if other == der { "certificate" } else { "key" };
            refusals.push(Error::SameRoot {
                path: (*path).to_owned(),
                first: (*first).to_owned(),
                what,
            });
        }
    }
    let development = folder.development();
    if !development.is_empty() && !allow_development {
        refusals.push(otrp_trust::Error::Development(development).into());
    }
    refusals
}

/// The key of a certificate; where it cannot be read, the octets have to do.
fn key(der: &[u8]) -> &[u8] {
    Certificate::read(der).map_or(der, |certificate| certificate.spki())
}

/// What to do about a file that is not usable as an anchor.
fn anchor_remedy(file: &[u8]) -> &'static str {
    match otrp_pem::certificates(file) {
        Ok(certificates) if !certificates.iter().any(|der| der == file) => {
            "It is a certificate in PEM: openssl x509 -in FILE -outform DER -out FILE.der"
        }
        Ok(_) => "Put the certificate of a CA of your own in its place (keys/CEREMONY.md)",
        Err(_) => "Put the certificate of a CA in DER in its place (keys/CEREMONY.md)",
    }
}

/// The private keys in the folder of anchors and in all below it, and what cannot be searched for them.
fn private_keys(trust: &Path) -> Vec<Error> {
    let mut faults = Vec::new();
    let mut folders = vec![trust.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match entries(&folder) {
            Ok(entries) => entries,
            // Whoever reads the anchors says so.
            Err(_) if folder == trust => continue,
            Err(reason) => {
                faults.push(Error::Read { path: folder, reason });
                continue;
            }
        };
        for path in entries {
            match search(&path, path == trust.join("tam-roots")) {
                Ok(Found::Folder) => folders.push(path),
                Ok(Found::Nothing) => {}
                Err(fault) => faults.push(fault),
            }
        }
    }
    faults
}

/// The entries of a folder in the order of their names.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// What is in a folder of anchors, where it is not a private key.
enum Found {
    /// Another folder, which is still to be searched.
    Folder,
    /// Nothing secret.
    Nothing,
}

/// Looks at one entry of a folder of anchors. The build `reads` some; a link to any other folder may
/// lead anywhere, and is not followed.
fn search(path: &Path, reads: bool) -> Result<Found> {
    let not_searched = |why| Err(Error::NotSearched { path: path.to_owned(), why });
    let kind = match fs::metadata(path) {
        Ok(kind) => kind,
        // A link to nothing.
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(reason) => return Err(Error::Read { path: path.to_owned(), reason }),
    };
    if kind.is_dir() {
        return match path.is_symlink() && !reads {
            true => not_searched("is a link to a folder"),
            false => Ok(Found::Folder),
        };
    }
    if !kind.is_file() {
        return not_searched("is neither a file nor a folder");
    }
    if kind.len() > SEARCH_LIMIT {
        return not_searched("is longer than 16 MiB");
    }
    match otrp_pem::has_private_key(&read(path)?) {
        true => Err(Error::PrivateKeyInTrust(path.to_owned())),
        false => Ok(Found::Nothing),
    }
}

fn signing_key(path: &Path, allow_development: bool) -> Result<()> {
    // OP-TEE's build takes the private key as well, whose place is not where images are built.
    let key = read_public_key(path)?;
    let spki = key.public_key_to_der()?;
    if let Some(fault) = anchor::image_key_fault(&spki) {
        return Err(Error::ImageKey { path: path.to_owned(), fault });
    }
    let why = if allow_development {
        return Ok(());
    } else if sha256(&spki) == OPTEE_DEFAULT {
        "the TA signing key that OP-TEE publishes with its source"
    } else if is_development(&key)? {
        "the TA signing key of a development PKI"
    } else {
        return Ok(());
    };
    Err(Error::SigningKeyOfOthers { path: path.to_owned(), why })
}

fn is_development(key: &PKeyRef<Public>) -> Result<bool> {
    Ok(*key.rsa()?.e() == *BigNum::from_u32(TA_SIGNING_EXPONENT)?)
}
