//! Certificates, paths of them, and public keys: X.509 for the broker.
//!
//! [`verify_tam`] and [`verify_path`] are the only ways to a type that says somebody is trusted.
//! Everything borrows from the DER that came in; nothing allocates, and every loop is bounded by
//! [`CERTIFICATE_LIMIT`] and [`CHAIN_LIMIT`].

use der::{Header, Reader, SliceReader, Tag};
use otrp_wire::limits::{CERTIFICATE_LIMIT, CHAIN_LIMIT};

mod asn1;
mod certificate;
mod key;
mod ocsp;
mod path;
mod request;

pub use certificate::{Certificate, Usage, Validity, check_sp_certificate, is_same};
pub use key::{EncodedKey, attestation_key, spki};
pub use ocsp::{Good, Unproven, verify_status};
pub use path::{Role, TrustedTam, Untrusted, VerifiedPath, verify_path, verify_tam};
pub use request::{COMMON_NAME_LIMIT, REQUEST_LIMIT, RequestError, certification_request};

/// Why a certificate or a key is refused, whoever signed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not the strict DER of a version 3 certificate or of a SubjectPublicKeyInfo.
    Malformed,
    /// Longer than [`CERTIFICATE_LIMIT`].
    TooLong,
    /// More certificates than [`CHAIN_LIMIT`].
    TooMany,
    /// A critical extension that is not understood.
    CriticalExtension,
    /// A key of a kind, curve or strength that is not accepted.
    Key,
    /// The certificate says that its key is not for this use.
    Usage,
    /// A self-issued certificate is not signed by its own key.
    Signature,
}

impl From<der::Error> for Error {
    fn from(_: der::Error) -> Self {
        Self::Malformed
    }
}

/// The certificates of a chain, leaf first: the DER of each.
pub type Chain<'a> = heapless::Vec<&'a [u8], CHAIN_LIMIT>;

/// Splits DER certificates that stand one after the other into a [`Chain`].
///
/// # Errors
/// That of [`split_der`]; [`Error::Malformed`] also where there is no certificate at all.
pub fn split_chain(bytes: &[u8]) -> Result<Chain<'_>, Error> {
    let mut chain = Chain::new();
    for certificate in split_der(bytes) {
        chain.push(certificate?).map_err(|_| Error::TooMany)?;
    }
    if chain.is_empty() { Err(Error::Malformed) } else { Ok(chain) }
}

/// Splits DER certificates that stand one after the other, without parsing them.
///
/// Ends after the first error: [`Error::Malformed`] for anything that is not a SEQUENCE or is cut
/// off, [`Error::TooLong`] for one longer than [`CERTIFICATE_LIMIT`], [`Error::TooMany`] for one
/// more than [`CHAIN_LIMIT`].
pub fn split_der(bytes: &[u8]) -> impl Iterator<Item = Result<&[u8], Error>> {
    let mut rest = bytes;
    let mut room = CHAIN_LIMIT;
    core::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let next = match room.checked_sub(1) {
            None => Err(Error::TooMany),
            Some(left) => {
                room = left;
                split_first(rest)
            }
        };
        rest = next.map_or(&[], |(_, rest)| rest);
        Some(next.map(|(certificate, _)| certificate))
    })
}

/// The first SEQUENCE, and what follows it.
pub(crate) fn split_first(bytes: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    let mut reader = SliceReader::new(bytes)?;
    Header::peek(&reader)?.tag().assert_eq(Tag::Sequence)?;
    let certificate = reader.tlv_bytes()?;
    if certificate.len() > CERTIFICATE_LIMIT {
        return Err(Error::TooLong);
    }
    bytes.split_at_checked(certificate.len()).ok_or(Error::Malformed)
}
