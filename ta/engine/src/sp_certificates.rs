//! The certificates of a security domain's service provider, and their record.
//!
//! The record holds the DER of the certificates that the domain accepts, one behind the other.
//! Where applications are installed that a certificate signed which is accepted no more, a zero
//! octet follows, with which no certificate begins, and these *retired* certificates: they admit
//! nothing, but still tell who signed what is there. One whose last application is gone stays
//! until the record is written again.

use otrp_wire::ErrorCode;
use otrp_wire::copy::copy;
use otrp_wire::limits::{
    CERTIFICATE_LIMIT, REPLY_LIMIT, RETIRED_CERTIFICATE_LIMIT, SP_CERTIFICATE_LIMIT,
};

use crate::crypto::digest::sha256;
use crate::error::Error;
use crate::pki;
use crate::platform::{PortError, Store};
use crate::registry::SdNumber;

/// Stands between the accepted certificates and the retired ones.
const SEPARATOR: u8 = 0;

// A request may add and remove as many as there may be, and half a reply's buffer holds a record.
const LONGEST_RECORD: usize =
    (SP_CERTIFICATE_LIMIT + RETIRED_CERTIFICATE_LIMIT) * CERTIFICATE_LIMIT;
/// Octets that the certificates of a domain take while a request changes them.
pub(crate) const CERTIFICATES_SPACE: usize =
    LONGEST_RECORD + SP_CERTIFICATE_LIMIT * CERTIFICATE_LIMIT + 1;
const _: () = assert!(
    LONGEST_RECORD + SP_CERTIFICATE_LIMIT * CERTIFICATE_LIMIT < REPLY_LIMIT
        && LONGEST_RECORD < REPLY_LIMIT / 2,
    "raise REPLY_LIMIT with the counts"
);

/// The certificates of one domain, at the start of a working space.
#[derive(Debug)]
pub struct SpCertificates<'b> {
    /// The accepted ones, the retired ones, and free space.
    buffer: &'b mut [u8],
    /// Bytes of the accepted ones.
    accepted: usize,
    /// Bytes of all.
    length: usize,
}

impl<'b> SpCertificates<'b> {
    /// Loads the record of a domain into `buffer`.
    ///
    /// # Errors
    /// [`Error::Port`]; `Corrupt` if the record is damaged.
    pub fn load<S: Store>(
        store: &mut S,
        sd: SdNumber,
        buffer: &'b mut [u8],
    ) -> Result<Self, Error> {
        // Every domain has its record, if only an empty one.
        let record = store.read(sd.certificates(), buffer)?.ok_or(PortError::Corrupt)?;
        let accepted = extent(record);
        let (_, behind) = record.split_at_checked(accepted).ok_or(Error::Internal)?;
        let retired = match behind {
            [] => 0,
            [SEPARATOR, retired @ ..] if extent(retired) == retired.len() => retired.len(),
            _ => return Err(PortError::Corrupt.into()),
        };
        let end = record.len();
        buffer.copy_within(end.saturating_sub(retired)..end, accepted);
        Ok(Self { buffer, accepted, length: accepted.saturating_add(retired) })
    }

    /// Each certificate under which an image may be signed.
    pub fn accepted(&self) -> impl Iterator<Item = &[u8]> {
        each(self.part(0, self.accepted))
    }

    /// The certificate with this SHA-256, accepted or retired.
    #[must_use]
    pub fn signer(&self, hash: &[u8; 32]) -> Option<&[u8]> {
        each(self.part(0, self.length)).find(|der| sha256(der) == *hash)
    }

    /// Accepts a certificate; whether it was not accepted before.
    ///
    /// # Errors
    /// `ERR_SPCERT_INVALID` if one is there, accepted or retired, that differs in its signature only:
    /// certificates are removed by the hash of their octets, so one removal would leave the other in
    /// force. [`Error::Internal`] if there is no room, which the limits exclude.
    pub fn add(&mut self, certificate: &[u8]) -> Result<bool, Error> {
        let same = |der: &[u8]| der == certificate;
        if self.accepted().any(same) {
            return Ok(false);
        }
        let other_form = |der: &[u8]| !same(der) && pki::is_same(der, certificate);
        if each(self.part(0, self.length)).any(other_form) {
            return Err(ErrorCode::SpCertInvalid.into());
        }
        let length = certificate.len();
        let start = match find(self.part(self.accepted, self.length), same) {
            Some((start, _)) => self.accepted.saturating_add(start),
            None => {
                let start = self.length;
                self.length = start.saturating_add(length);
                let room = self.buffer.get_mut(start..self.length).ok_or(Error::Internal)?;
                copy(room, certificate).ok_or(Error::Internal)?;
                start
            }
        };
        // To the end of the accepted ones; the retired ones move behind it.
        let end = start.saturating_add(length);
        self.buffer.get_mut(self.accepted..end).ok_or(Error::Internal)?.rotate_right(length);
        self.accepted = self.accepted.saturating_add(length);
        Ok(true)
    }

    /// Retires the certificate with this SHA-256.
    ///
    /// # Errors
    /// `ERR_SPCERT_INVALID` if it is not an accepted one.
    pub fn remove(&mut self, hash: &[u8; 32]) -> Result<(), Error> {
        let (start, length) = find(self.part(0, self.accepted), |der| sha256(der) == *hash)
            .ok_or(Error::Refused(ErrorCode::SpCertInvalid))?;
        self.buffer.get_mut(start..self.length).ok_or(Error::Internal)?.rotate_left(length);
        self.accepted = self.accepted.saturating_sub(length);
        Ok(())
    }

    /// Forgets the retired certificates that nothing installed was signed by.
    ///
    /// # Errors
    /// `ERR_TEE_RESOURCE_FULL` beyond [`SP_CERTIFICATE_LIMIT`] or [`RETIRED_CERTIFICATE_LIMIT`].
    pub fn settle(&mut self, is_signer: impl Fn(&[u8; 32]) -> bool) -> Result<(), Error> {
        let unused = |der: &[u8]| !is_signer(&sha256(der));
        while let Some((start, length)) = find(self.part(self.accepted, self.length), unused) {
            let start = self.accepted.saturating_add(start);
            self.buffer.copy_within(start.saturating_add(length)..self.length, start);
            self.length = self.length.saturating_sub(length);
        }
        let retired = each(self.part(self.accepted, self.length)).count();
        if self.accepted().count() > SP_CERTIFICATE_LIMIT || retired > RETIRED_CERTIFICATE_LIMIT {
            return Err(ErrorCode::TeeResourceFull.into());
        }
        Ok(())
    }

    /// Takes the memory behind the certificates; no more can be added then.
    pub fn spare(&mut self) -> &'b mut [u8] {
        let buffer = core::mem::take(&mut self.buffer);
        // The record has a separator more.
        let own = self.length.saturating_add(1).min(buffer.len());
        let (own, spare) = buffer.split_at_mut_checked(own).unwrap_or_default();
        self.buffer = own;
        spare
    }

    /// The record.
    ///
    /// # Errors
    /// [`Error::Internal`] if there is no room, which the limits exclude.
    pub fn into_record(self) -> Result<&'b [u8], Error> {
        let Self { buffer, accepted, mut length } = self;
        if length > accepted {
            buffer.copy_within(accepted..length, accepted.saturating_add(1));
            *buffer.get_mut(accepted).ok_or(Error::Internal)? = SEPARATOR;
            length = length.saturating_add(1);
        }
        buffer.get(..length).ok_or(Error::Internal)
    }

    fn part(&self, start: usize, end: usize) -> &[u8] {
        self.buffer.get(start..end).unwrap_or_default()
    }
}

/// Each certificate in `bytes`, up to the first malformed one.
fn each(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    core::iter::from_fn(move || {
        let (certificate, behind) = pki::split_first(rest).ok()?;
        rest = behind;
        Some(certificate)
    })
}

/// How many bytes of `bytes` are certificates.
fn extent(bytes: &[u8]) -> usize {
    each(bytes).map(<[u8]>::len).sum()
}

/// Where the first certificate begins that is wanted, and its length.
fn find(bytes: &[u8], wanted: impl Fn(&[u8]) -> bool) -> Option<(usize, usize)> {
    let mut start: usize = 0;
    for certificate in each(bytes) {
        if wanted(certificate) {
            return Some((start, certificate.len()));
        }
        start = start.saturating_add(certificate.len());
    }
    None
}
