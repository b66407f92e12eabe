//! Certificates, requests and keys out of the files that people have, in PEM or DER.
//!
//! The one reader of all programs here. It takes what `openssl` and other tools write: PEM with text,
//! comments or blank lines before, between and inside the blocks, with a byte order mark, with CR and LF, with the bag
//! attributes of `openssl pkcs12`; or DER. No block is skipped silently: a function documents which
//! other kinds it ignores, and names any further one in its error. Nothing here asks for a passphrase.
//!
//! The libraries for PEM skip blocks that they do not know or that lack their end, so this crate reads
//! the lines itself. Base64, DER and the writing of PEM are left to libraries.

mod armor;
mod shape;

use std::fmt;

use pem_rfc7468::LineEnding;
use zeroize::Zeroizing;

pub use pem_rfc7468::Error as EncodeError;

/// What a file can contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An X.509 certificate.
    Certificate,
    /// A certification request (PKCS #10).
    Request,
    /// A private key: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    PrivateKey,
    /// A private key under a passphrase.
    EncryptedKey,
    /// A SubjectPublicKeyInfo.
    PublicKey,
    /// An RSA public key without its algorithm (PKCS #1).
    RsaPublicKey,
    /// The name of a curve, which `openssl ecparam` writes before a key.
    EcParameters,
    /// A certificate revocation list.
    RevocationList,
    /// An OCSP response.
    OcspResponse,
    /// A PKCS #7 container.
    Pkcs7,
    /// A PKCS #12 container.
    Pkcs12,
    /// A block with another label, or DER of another structure.
    Other(String),
}

impl fmt::Display for Kind {
    /// The kind with its article.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Certificate => "a certificate",
            Self::Request => "a certification request",
            Self::PrivateKey => "a private key",
            Self::EncryptedKey => "a private key under a passphrase",
            Self::PublicKey => "a public key",
            Self::RsaPublicKey => "an RSA public key of PKCS #1",
            Self::EcParameters => "the parameters of a curve",
            Self::RevocationList => "a revocation list",
            Self::OcspResponse => "an OCSP response",
            Self::Pkcs7 => "a PKCS #7 container",
            Self::Pkcs12 => "a PKCS #12 container",
            Self::Other(name) => return write!(formatter, "a {name}"),
        })
    }
}

/// One thing in a file.
#[derive(Clone)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Its DER; an encrypted key stays encrypted.
    pub der: Zeroizing<Vec<u8>>,
    /// The line that it begins at, from 1; `None` in DER.
    pub line: Option<usize>,
}

impl fmt::Debug for Item {
    /// Without the DER, which may be a secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?} at {:?}", self.kind, self.line)
    }
}

/// Why a file does not contain what is wanted. Each is a clause about the file, printed after its name
/// and a colon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is nothing of the kind.
    #[error("it holds {}, and {wanted} is wanted{}", listed(.found), remedy(.found, .wanted))]
    Absent {
        /// What was looked for.
        wanted: Kind,
        /// What the file contains.
        found: Vec<Kind>,
    },
    /// The file contains something that is neither wanted nor ignored.
    #[error("beside {wanted} it holds {found}{}; take that out of the file", at(*.line))]
    Unexpected {
        /// What was looked for.
        wanted: Kind,
        /// What else is there.
        found: Kind,
        /// Its line.
        line: Option<usize>,
    },
    /// There are several where there can be one.
    #[error("it holds {count} times {wanted}, and one is wanted")]
    Several {
        /// What was looked for.
        wanted: Kind,
        /// How many there are.
        count: usize,
    },
    /// The private key is under a passphrase.
    #[error(
        "its private key is under a passphrase, which is not asked for here; write the key without: openssl pkey -in FILE -out KEY.pem, for its owner alone"
    )]
    Encrypted,
    /// A block, or DER, cannot be read.
    #[error("the block {label}{} {why}", at(*.line))]
    Damaged {
        /// The block's label.
        label: String,
        /// The line of its beginning.
        line: Option<usize>,
        /// What is wrong.
        why: &'static str,
    },
    /// A text in UTF-16.
    #[error("it is a text in UTF-16; save it as ASCII or UTF-8")]
    Utf16,
}

fn at(line: Option<usize>) -> String {
    line.map(|line| format!(" (line {line})")).unwrap_or_default()
}

fn listed(kinds: &[Kind]) -> String {
    let mut names: Vec<String> = kinds.iter().map(Kind::to_string).collect();
    names.dedup();
    if names.is_empty() { "nothing in PEM or DER".to_owned() } else { names.join(", ") }
}

/// How to make what is wanted of what is there.
fn remedy(kinds: &[Kind], wanted: &Kind) -> &'static str {
    match (kinds, wanted) {
        ([Kind::Pkcs12], _) => "; take it apart: openssl pkcs12 -in FILE -nodes -out FILE.pem",
        ([Kind::Pkcs7], Kind::Certificate) => {
            "; take it apart: openssl pkcs7 -in FILE -print_certs -out FILE.pem"
        }
        ([.., Kind::PrivateKey | Kind::EncryptedKey], Kind::PublicKey) => {
            "; its public half: openssl pkey -in FILE -pubout -out PUBLIC.pem"
        }
        ([Kind::Certificate, ..], Kind::PublicKey) => {
            "; its key: openssl x509 -in FILE -noout -pubkey -out PUBLIC.pem"
        }
        ([Kind::RsaPublicKey], Kind::PublicKey) => {
            "; wrap it: openssl rsa -RSAPublicKey_in -in FILE -pubout -out PUBLIC.pem"
        }
        _ => "",
    }
}

/// Everything in a file, in its order.
///
/// # Errors
/// `Damaged` for a block that cannot be read, `Utf16`. A file without PEM and DER has no items.
pub fn items(file: &[u8]) -> Result<Vec<Item>, Error> {
    if file.starts_with(&[0xff, 0xfe]) || file.starts_with(&[0xfe, 0xff]) {
        return Err(Error::Utf16);
    }
    if let Some(items) = shape::items(file) {
        return Ok(items);
    }
    let items = armor::items(file)?;
    if items.is_empty() && shape::begins_as_der(file) {
        let why = "is cut off or damaged";
        return Err(Error::Damaged { label: "of DER".into(), line: None, why });
    }
    Ok(items)
}

/// The certificates in a file, one or more, as DER, in their order. Private keys beside them are
/// ignored.
///
/// # Errors
/// If there is none, or the file contains something else.
pub fn certificates(file: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let ignored = [Kind::PrivateKey, Kind::EncryptedKey, Kind::EcParameters];
    let found = select(items(file)?, Kind::Certificate, &ignored)?;
    Ok(found.into_iter().map(|item| item.der.to_vec()).collect())
}

/// The one certificate in a file, as DER. Private keys beside it are ignored.
///
/// # Errors
/// If there is none or several, or the file contains something else.
pub fn certificate(file: &[u8]) -> Result<Vec<u8>, Error> {
    let mut certificates = certificates(file)?;
    match (certificates.pop(), certificates.len()) {
        (Some(certificate), 0) => Ok(certificate),
        (_, others) => Err(Error::Several { wanted: Kind::Certificate, count: others + 1 }),
    }
}

/// The one OCSP response in a file, as DER.
///
/// # Errors
/// If there is none or several, or the file contains something else.
pub fn ocsp_response(file: &[u8]) -> Result<Vec<u8>, Error> {
    Ok(only(select(items(file)?, Kind::OcspResponse, &[])?)?.to_vec())
}

/// The one private key in a file, as DER of PKCS #8, PKCS #1 or SEC 1. Certificates beside it are
/// ignored.
///
/// # Errors
/// If there is none or several, if it is under a passphrase, or the file contains something else.
pub fn private_key(file: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let items = items(file)?;
    if items.iter().any(|item| item.kind == Kind::EncryptedKey) {
        return Err(Error::Encrypted);
    }
    only(select(items, Kind::PrivateKey, &[Kind::Certificate, Kind::EcParameters])?)
}

/// The one SubjectPublicKeyInfo in a file, as DER.
///
/// # Errors
/// If there is none or several, or the file contains something else, above all a private key.
pub fn public_key(file: &[u8]) -> Result<Vec<u8>, Error> {
    Ok(only(select(items(file)?, Kind::PublicKey, &[])?)?.to_vec())
}

/// The one certification request in a file, as DER.
///
/// # Errors
/// If there is none or several, or the file contains something else.
pub fn request(file: &[u8]) -> Result<Vec<u8>, Error> {
    Ok(only(select(items(file)?, Kind::Request, &[])?)?.to_vec())
}

/// Whether a file contains a private key, under a passphrase or not, or a PKCS #12 container, which
/// may have one.
///
/// For those who keep keys out of a place: unlike the other functions this one does not need the rest
/// of the file to be readable, and takes a block in a comment, in UTF-16 or of another tool, such as
/// `OPENSSH PRIVATE KEY`, for a key.
#[must_use]
pub fn has_private_key(file: &[u8]) -> bool {
    let secret = |kind: &Kind| matches!(kind, Kind::PrivateKey | Kind::EncryptedKey | Kind::Pkcs12);
    shape::leading(file).iter().any(secret)
        || items(file).is_ok_and(|items| items.iter().any(|item| secret(&item.kind)))
        || armor::names_private_key(file)
}

/// DER as one block of PEM (RFC 7468).
///
/// # Errors
/// If the label has a character that RFC 7468 does not allow.
pub fn encode(label: &str, der: &[u8]) -> Result<String, EncodeError> {
    pem_rfc7468::encode_string(label, LineEnding::LF, der)
}

fn select(items: Vec<Item>, wanted: Kind, ignored: &[Kind]) -> Result<Vec<Item>, Error> {
    if !items.iter().any(|item| item.kind == wanted) {
        let found = items.into_iter().map(|item| item.kind).collect();
        return Err(Error::Absent { wanted, found });
    }
    let (selected, rest): (Vec<_>, Vec<_>) =
        items.into_iter().partition(|item| item.kind == wanted);
    match rest.into_iter().find(|item| !ignored.contains(&item.kind)) {
        Some(Item { kind: found, line, .. }) => Err(Error::Unexpected { wanted, found, line }),
        None => Ok(selected),
    }
}

fn only(items: Vec<Item>) -> Result<Zeroizing<Vec<u8>>, Error> {
    let count = items.len();
    match <[Item; 1]>::try_from(items) {
        Ok([item]) => Ok(item.der),
        Err(items) => {
            let wanted = items.into_iter().next().map_or(Kind::PrivateKey, |item| item.kind);
            Err(Error::Several { wanted, count })
        }
    }
}
