//! Why a key, certificate or signed image could not be created or read.

use std::io;
use std::path::PathBuf;

use openssl::error::ErrorStack;

use crate::file::shown;

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// One sentence per failure; the text is for the person at the terminal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason; no `source`, which would be printed a second time.
        reason: io::Error,
    },
    /// A file or directory could not be written.
    #[error("cannot write {}: {reason}", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
    /// The place for new development keys is taken by older ones.
    #[error("{} contains development keys already; --force replaces them, and devices provisioned under them must be reset", .0.display())]
    Exists(PathBuf),
    /// The place for new development keys is taken by something else.
    #[error("{} exists and was not made by otrp-keys init, so it is left alone", .0.display())]
    NotOurs(PathBuf),
    /// A private key, certificate or request could not be decoded.
    #[error("{} is not {expected}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should have been, with its article.
        expected: &'static str,
    },
    /// A file does not contain what is wanted.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it contains instead.
        reason: otrp_pem::Error,
    },
    /// The file contains no certification request.
    #[error("{0}")]
    RequestMalformed(otrp_pem::Error),
    /// A certification request is not signed by the key it carries.
    #[error("the request is not signed by the key it asks a certificate for")]
    RequestSignature,
    /// A certification request contains a key that no TEE generates.
    #[error(
        "the request's key is neither P-256 nor RSA of 2048 to 4096 bits with an odd exponent from 65537 to 4294967295, and devices accept no other"
    )]
    RequestKey,
    /// A key that asks for a certificate has one under another name.
    #[error("the same key has a chain already, {}: two devices never have the same key", shown(.0))]
    KeyTaken(PathBuf),
    /// The inventory has one key under several names.
    #[error("the same key is in {}: two devices never have the same key, so keep one chain and certify the other device's own key", listed(.0))]
    KeyTwice(Vec<PathBuf>),
    /// A certificate of a device's chain, or its key, is not one that devices read.
    #[error("{0}, so the device cannot be provisioned with it")]
    DeviceFlaw(otrp_check::chain::Fault),
    /// The place for a chain is taken by that of another key.
    #[error("{} exists and is for another key; if the device has generated a new key, remove that file first", .0.display())]
    ChainOfAnother(PathBuf),
    /// A name would break its line in a list of devices.
    #[error("{path:?} is a name with control characters, or not UTF-8, so it does not fit into one line of a list of devices: rename the file", path = .0)]
    Name(PathBuf),
    /// The name of a chain would hide it.
    #[error("{} begins with a dot, and hidden files are easily overlooked: give the chain another name", .0.display())]
    HiddenName(PathBuf),
    /// A folder of chains cannot be locked.
    #[error("cannot lock {}: {reason}. The lock prevents two processes from giving one key two names; use a file system that supports locks", path.display())]
    Lock {
        /// The file that is locked.
        path: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
    /// A folder does not contain what it should.
    #[error("{} contains no {what}", folder.display())]
    NothingIn {
        /// The folder.
        folder: PathBuf,
        /// What it should contain.
        what: &'static str,
    },
    /// The certificate that should issue is not a CA certificate.
    #[error("the issuing certificate is not a certification authority's")]
    NotAuthority,
    /// A certificate of the authority's chain is not one that a device reads.
    #[error("a certificate of the authority's chain {0}, so no device accepts what it issues")]
    AuthorityFlaw(String),
    /// A certificate of the authority's chain is for something else.
    #[error(
        "{0} is for other purposes than TEEs, as its extendedKeyUsage says: certify TEEs with the CA of the TEEs"
    )]
    OtherPurpose(String),
    /// Nothing shows that the authority is that of the TEEs.
    #[error(
        "nothing shows that it is the CA of the TEEs: name the folder of anchors that the devices are built with (--trust), or give the CA a certificate with the extendedKeyUsage {}",
        otrp_check::TEE_PURPOSE_DOTTED
    )]
    NotForTees,
    /// Devices do not import certificates of this authority.
    #[error("it leads to {found}, but devices that are built with {} accept only what leads to {expected}: is it the CA of the TEEs?", trust.display())]
    OtherRoot {
        /// The subject of the authority's root.
        found: String,
        /// The subject of the devices' root.
        expected: String,
        /// The folder of anchors.
        trust: PathBuf,
    },
    /// The issuing key and certificate do not belong together.
    #[error("the issuing key is not the key of the issuing certificate")]
    KeyMismatch,
    /// The issuing certificate is not valid at present.
    #[error("the issuing certificate is expired or not valid yet")]
    AuthorityExpired,
    /// The issuing certificate's chain does not lead to its root.
    #[error("the issuing certificate's chain does not lead to its root: {0}")]
    AuthorityChain(&'static str),
    /// A certificate was not issued by the authority whose responder is asked.
    #[error("the certificate is not issued by that authority")]
    OtherIssuer,
    /// Devices would not accept answers of this responder.
    #[error(
        "the responder is neither the certificate's issuer nor certified by it for OCSP signing"
    )]
    NotResponder,
    /// A key cannot sign OCSP responses.
    #[error("OCSP responses are signed with P-256, P-384 or RSA, not with this key")]
    ResponderKey,
    /// The text is not a time, or a time that no response can contain.
    #[error("'{0}' is not a time like 2027-03-01T00:00:00Z")]
    Time(String),
    /// A key is of another kind than the signature algorithm asked for.
    #[error(
        "{asked} is not a signature that this key can create: it creates {makes}, which needs no --algorithm"
    )]
    Algorithm {
        /// What was asked for.
        asked: &'static str,
        /// What the key makes by itself.
        makes: &'static str,
    },
    /// A key cannot sign trusted applications.
    #[error(
        "trusted applications are signed with P-256 or with RSA of 2048 to 4096 bits, not with this key"
    )]
    SigningKey,
    /// The image is longer than the signed header can say.
    #[error("the image is longer than 4 GiB, or empty")]
    ImageSize,
    /// A signed trusted application does not have the form OP-TEE gives it.
    #[error("not an OP-TEE signed trusted application: {0}")]
    ImageFormat(&'static str),
    /// The text is not a UUID.
    #[error("'{0}' is not a UUID like 7265664a-f108-4bd7-af1c-86d044babbac")]
    Uuid(String),
    /// The folder of a broker's anchors cannot be read as one, or has anchors for no product.
    #[error("{0}")]
    Trust(otrp_trust::Error),
    /// An anchor is of no use to devices.
    #[error("{} {fault}. {remedy}", path.display())]
    Anchor {
        /// The anchor's file.
        path: PathBuf,
        /// What is wrong with it: the end of a sentence about it.
        fault: String,
        /// What to do instead.
        remedy: &'static str,
    },
    /// Two roots of TAMs are one.
    #[error("{} has the same {what} as {}: one root decides for both. Take one of them out, and join their lists of names", path.display(), first.display())]
    SameRoot {
        /// The second one's file.
        path: PathBuf,
        /// The first one's file.
        first: PathBuf,
        /// What they share.
        what: &'static str,
    },
    /// A private key is in the folder of anchors.
    #[error("{} contains a private key, but the folder of anchors is copied to where images are built: keep the key only where it is used", .0.display())]
    PrivateKeyInTrust(PathBuf),
    /// Something in the folder of anchors cannot be searched for private keys.
    #[error("{} {why}, so it is not searched for private keys: take it out of the folder of anchors", path.display())]
    NotSearched {
        /// What it is.
        path: PathBuf,
        /// Why: the end of a sentence about it.
        why: &'static str,
    },
    /// A key cannot be OP-TEE's TA key.
    #[error("{}: the key {fault}. Generate one of your own (keys/CEREMONY.md): openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:3072", path.display())]
    ImageKey {
        /// The file of the public key.
        path: PathBuf,
        /// What is wrong with it: the end of a sentence about it.
        fault: &'static str,
    },
    /// Somebody other than the maker has the private half of a TA signing key.
    #[error("{}: {why}. Whoever has the private half could sign for the image. Set TA_SIGNING_KEY to the public half of a key of your own (keys/CEREMONY.md), or ALLOW_DEV_KEYS=1 for an emulated device", path.display())]
    SigningKeyOfOthers {
        /// The file of the public key.
        path: PathBuf,
        /// What key it is.
        why: &'static str,
    },
    /// OpenSSL refused an operation.
    #[error("OpenSSL: {0}")]
    OpenSsl(ErrorStack),
}

fn listed(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|path| shown(path)).collect();
    names.join(", ")
}

// By hand: a cause that is in the sentence already would be printed a second time.
impl From<ErrorStack> for Error {
    fn from(reason: ErrorStack) -> Self {
        Self::OpenSsl(reason)
    }
}

impl From<otrp_trust::Error> for Error {
    fn from(reason: otrp_trust::Error) -> Self {
        Self::Trust(reason)
    }
}
