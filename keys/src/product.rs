//! What no image may be built with: anchors that devices cannot use, keys that are too weak, and keys
//! whose private halves others have.

use std::fs;
use std::path::{Path, PathBuf};

use openssl::bn::BigNum;
use openssl::pkey::{PKeyRef, Public};
use openssl::sha::sha256;
use otrp_check::Certificate;
use otrp_check::anchor::{self, Role};
use otrp_pem::Kind;
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
/// No key or certificate is in a longer file.
const KEY_FILE_LIMIT: u64 = 64 * 1024;

/// Everything that speaks against an image with the anchors in the folder `trust` and the public key
/// in `ta_signing_key` (PEM) as OP-TEE's TA key, a sentence each. What cannot be read speaks against it,
/// too. With `allow_development` keys that others have do not, which is for emulated devices.
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

/// What is allowed in the folder `trust` and may not be what the maker wants: a sentence each. Nothing
/// about a folder that is refused.
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

/// What to do about a file that is no good as an anchor.
fn anchor_remedy(file: &[u8]) -> &'static str {
    match otrp_pem::certificates(file) {
        Ok(certificates) if !certificates.iter().any(|der| der == file) => {
            "It is a certificate in PEM: openssl x509 -in FILE -outform DER -out FILE.der"
        }
        Ok(_) => "Put the certificate of a CA of your own in its place (keys/CEREMONY.md)",
        Err(_) => "Put the certificate of a CA in DER in its place (keys/CEREMONY.md)",
    }
}

/// The files in the folder of anchors, and in the one below it, that hold a private key.
fn private_keys(trust: &Path) -> Vec<Error> {
    let is_secret = |path: &PathBuf| {
        let short =
            path.metadata().is_ok_and(|file| file.is_file() && file.len() <= KEY_FILE_LIMIT);
        let items =
            if short { read(path).ok().and_then(|file| otrp_pem::items(&file).ok()) } else { None };
        let secret = |kind: &Kind| matches!(kind, Kind::PrivateKey | Kind::EncryptedKey);
        items.unwrap_or_default().iter().any(|item| secret(&item.kind))
    };
    let mut paths: Vec<PathBuf> = [trust.to_owned(), trust.join("tam-roots")]
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flat_map(|entries| entries.flatten().map(|entry| entry.path()))
        .filter(is_secret)
        .collect();
    paths.sort();
    paths.into_iter().map(Error::PrivateKeyInTrust).collect()
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
