//! What no product may be built with: keys whose private halves others have.

use std::path::Path;

use openssl::bn::BigNum;
use openssl::pkey::{PKeyRef, Public};
use openssl::sha::sha256;

use crate::development::TA_SIGNING_EXPONENT;
use crate::file::read_public_key;
use crate::{Error, Result};

/// SHA-256 of the SubjectPublicKeyInfo of `keys/default_ta.pem`, which is in every source of OP-TEE.
const OPTEE_DEFAULT: [u8; 32] = [
    0xca, 0xc7, 0xbc, 0xfa, 0xf8, 0x67, 0x4a, 0x57, 0xe5, 0xea, 0xa8, 0xef, 0x1a, 0x7c, 0x9b, 0x67,
    0xaf, 0x1f, 0xd5, 0x56, 0x2a, 0x06, 0x44, 0x0d, 0x88, 0xd5, 0xe3, 0xc6, 0x32, 0xe8, 0x8c, 0x48,
];

/// Everything that speaks against an image with the anchors in the folder `trust` and the public key
/// in `ta_signing_key` (PEM) as OP-TEE's TA key. What cannot be read speaks against it, too.
#[must_use]
pub fn refusals(trust: &Path, ta_signing_key: &Path) -> Vec<Error> {
    [anchors(trust), signing_key(ta_signing_key)].into_iter().filter_map(Result::err).collect()
}

/// What is allowed in the folder `trust` and may not be what the maker wants: a sentence each. Nothing
/// about a folder that is refused.
#[must_use]
pub fn warnings(trust: &Path) -> Vec<String> {
    otrp_trust::Folder::read(trust).map(|folder| folder.warnings()).unwrap_or_default()
}

fn anchors(trust: &Path) -> Result<()> {
    let development = otrp_trust::Folder::read(trust)?.development();
    if development.is_empty() {
        Ok(())
    } else {
        Err(otrp_trust::Error::Development(development).into())
    }
}

fn signing_key(path: &Path) -> Result<()> {
    // OP-TEE's build takes the private key as well, whose place is not where images are built.
    let key = read_public_key(path)?;
    let why = if sha256(&key.public_key_to_der()?) == OPTEE_DEFAULT {
        "the TA signing key that OP-TEE publishes with its source"
    } else if is_development(&key)? {
        "the TA signing key of a development PKI"
    } else {
        return Ok(());
    };
    Err(Error::SigningKeyOfOthers { path: path.to_owned(), why })
}

fn is_development(key: &PKeyRef<Public>) -> Result<bool> {
    // OP-TEE takes RSA keys only.
    let Ok(rsa) = key.rsa() else { return Ok(false) };
    Ok(*rsa.e() == *BigNum::from_u32(TA_SIGNING_EXPONENT)?)
}
