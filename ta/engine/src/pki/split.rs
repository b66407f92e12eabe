//! Certificates that stand one behind the other.

use der::{Header, Reader, SliceReader, Tag};
use otrp_wire::limits::{CERTIFICATE_LIMIT, CHAIN_LIMIT};

use super::Error;

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
