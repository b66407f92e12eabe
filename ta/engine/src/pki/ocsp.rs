//! OCSP responses: what an authority says of a certificate that it issued (RFC 6960).

use der::asn1::{BitStringRef, GeneralizedTime};
use der::{Reader, SliceReader, Tag, TagNumber};
use otrp_wire::limits::{CLOCK_TOLERANCE_SECONDS, OCSP_RESPONSE_LIMIT};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

use super::asn1::{contents, element, whole};
use super::certificate::boolean_default_false;
use super::key::{split_spki, verify_signed};
use super::{Certificate, Error, split_der};
use crate::crypto::digest::{HashValue, digest};
use crate::platform::RsaPublic;

/// id-pkix-ocsp-basic: 1.3.6.1.5.5.7.48.1.1.
const BASIC_RESPONSE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
/// The object identifier of SHA-1, with tag and length: 1.3.14.3.2.26.
const SHA1: &[u8] = &[0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a];
/// The object identifier of SHA-256, with tag and length: 2.16.840.1.101.3.4.2.1.
const SHA256: &[u8] = &[0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
/// That of SHA-384: 2.16.840.1.101.3.4.2.2.
const SHA384: &[u8] = &[0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
/// That of SHA-512: 2.16.840.1.101.3.4.2.3.
const SHA512: &[u8] = &[0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03];
/// `responseStatus`: successful.
const SUCCESSFUL: &[u8] = &[0];

/// Why a response does not show that a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unproven {
    /// Not the strict DER of an OCSPResponse.
    Malformed,
    /// Longer than [`OCSP_RESPONSE_LIMIT`].
    TooLong,
    /// The responder could not answer.
    Unsuccessful,
    /// Not a basic response.
    Kind,
    /// A critical extension; none is understood.
    CriticalExtension,
    /// Not by the certificate's issuer, nor by a responder that it delegated this to.
    Responder,
    /// The signature is not by the responder's key, or by an algorithm that is not accepted.
    Signature,
    /// On other certificates only.
    OtherCertificate,
    /// The certificate is revoked.
    Revoked,
    /// The responder does not know the certificate.
    Unknown,
    /// Without `nextUpdate`, so nobody could tell when it is old.
    Endless,
    /// Made, or true, only in the future.
    NotYetValid,
    /// There is newer information.
    Stale,
}

impl From<der::Error> for Unproven {
    fn from(_: der::Error) -> Self {
        Self::Malformed
    }
}

impl From<Error> for Unproven {
    fn from(_: Error) -> Self {
        Self::Malformed
    }
}

/// That a certificate is good, for a while. Only [`verify_status`] makes one.
///
/// ```
/// use otrp_engine::pki::Good;
/// fn pass(good: Good) -> Good { good }
/// ```
/// ```compile_fail,E0451
/// use otrp_engine::pki::Good;
/// fn pass(good: Good) -> Good { Good { ..good } }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Good {
    until: u64,
    signed_at: u64,
}

impl Good {
    /// The earliest `nextUpdate`: from this second on, since 1970, it is not known to be good any
    /// more.
    #[must_use]
    pub const fn until(self) -> u64 {
        self.until
    }

    /// The latest of `producedAt` and `thisUpdate`, in seconds since 1970: a time that has passed.
    #[must_use]
    pub const fn signed_at(self) -> u64 {
        self.signed_at
    }
}

/// Verifies that `response`, a DER OCSPResponse, shows now that `certificate` is good.
///
/// `issuer` must have issued it, which a verified path shows. The response is signed by the issuer
/// itself, whatever its keyUsage (it could certify a responder at any time), or by a responder
/// whose certificate it issued for nothing else (RFC 6960, section 4.2.2.2). Whether that
/// certificate is revoked in turn is not asked, as with `id-pkix-ocsp-nocheck`: nobody staples it.
///
/// A responder may answer for one certificate several times, as under identifiers by SHA-1 and by
/// SHA-256 (RFC 9919): then each must say that it is good and be current, and the earliest end
/// counts. What it says under a hash that is not known, or of other certificates, is skipped.
///
/// A response from the future is refused (RFC 6960, section 4.2.2.1), within
/// [`CLOCK_TOLERANCE_SECONDS`]; one at its end is refused at that second.
///
/// # Errors
/// See [`Unproven`].
pub fn verify_status<R: RsaPublic>(
    response: &[u8],
    certificate: &Certificate<'_>,
    issuer: &Certificate<'_>,
    now_unix_seconds: u64,
) -> Result<Good, Unproven> {
    let response = BasicResponse::parse(response)?;
    let spki = response.signer_spki::<R>(issuer, now_unix_seconds)?;
    if !verify_signed::<R>(spki, response.algorithm, response.tbs, response.signature) {
        return Err(Unproven::Signature);
    }
    let mut good: Option<Good> = None;
    let mut reader = SliceReader::new(response.responses)?;
    while !reader.is_finished() {
        let single = reader.sequence(SingleResponse::read)?;
        if single.identifier.is_of(certificate, issuer) {
            let Good { until, signed_at } = single.good(response.produced_at, now_unix_seconds)?;
            let other = good.unwrap_or(Good { until, signed_at });
            let (until, signed_at) = (until.min(other.until), signed_at.max(other.signed_at));
            good = Some(Good { until, signed_at });
        }
    }
    good.ok_or(Unproven::OtherCertificate)
}

/// A BasicOCSPResponse (RFC 6960, section 4.2.1); nothing in it is verified.
struct BasicResponse<'a> {
    tbs: &'a [u8],
    responder: ResponderId<'a>,
    produced_at: u64,
    responses: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
    certificates: &'a [u8],
}

/// Who signed.
enum ResponderId<'a> {
    /// A DER Name with its tag and length.
    Name(&'a [u8]),
    /// SHA-1 of the key.
    Key(&'a [u8]),
}

impl ResponderId<'_> {
    fn is(&self, certificate: &Certificate<'_>) -> bool {
        match self {
            Self::Name(name) => *name == certificate.subject(),
            Self::Key(hash) => {
                split_spki(certificate.spki()).is_ok_and(|(_, key)| digest::<Sha1>(key) == *hash)
            }
        }
    }
}

impl<'a> BasicResponse<'a> {
    fn parse(response: &'a [u8]) -> Result<Self, Unproven> {
        if response.len() > OCSP_RESPONSE_LIMIT {
            return Err(Unproven::TooLong);
        }
        let basic = whole(response, |reader| reader.sequence(response_bytes))?;
        let (tbs, algorithm, signature, certificates) = whole(basic, |reader| {
            reader.sequence(|reader| {
                let tbs = element(reader, Tag::Sequence)?;
                let algorithm = contents(reader, Tag::Sequence)?;
                let signature = reader.decode::<BitStringRef<'a>>()?;
                der::Result::Ok((tbs, algorithm, signature, optional(reader, 0)?))
            })
        })?;
        let signature = signature.as_bytes().ok_or(Unproven::Malformed)?;
        let certificates = match certificates {
            Some(list) => whole(list, |reader| contents(reader, Tag::Sequence))?,
            None => &[],
        };
        whole(tbs, |reader| {
            reader.sequence(|reader| {
                // Version 1 is left out, and there is no other.
                let responder = responder_id(reader)?;
                let produced_at = time(reader)?;
                let responses = contents(reader, Tag::Sequence)?;
                refuse_critical(optional(reader, 1)?)?;
                Ok(Self {
                    tbs,
                    responder,
                    produced_at,
                    responses,
                    algorithm,
                    signature,
                    certificates,
                })
            })
        })
    }

    /// The key that must have signed: the issuer's, or that of a responder it delegated to.
    ///
    /// Of the certificates in the response only the first that the responder's identifier names is
    /// judged, so that a response costs two signature checks at most.
    fn signer_spki<'i: 's, 's, R: RsaPublic>(
        &'s self,
        issuer: &Certificate<'i>,
        now: u64,
    ) -> Result<&'s [u8], Unproven> {
        if self.responder.is(issuer) {
            return Ok(issuer.spki());
        }
        let responder = split_der(self.certificates)
            .filter_map(|der| Certificate::parse(der.ok()?).ok())
            .find(|certificate| self.responder.is(certificate))
            .ok_or(Unproven::Responder)?;
        let delegated = responder.allows_ocsp_signing()
            && responder.validity().includes(now)
            && responder.is_issued_by::<R>(issuer);
        if delegated { Ok(responder.spki()) } else { Err(Unproven::Responder) }
    }
}

/// The BasicOCSPResponse inside an OCSPResponse.
fn response_bytes<'a>(reader: &mut SliceReader<'a>) -> Result<&'a [u8], Unproven> {
    let successful = contents(reader, Tag::Enumerated)? == SUCCESSFUL;
    let bytes = optional(reader, 0)?;
    if !successful {
        return Err(Unproven::Unsuccessful);
    }
    whole(bytes.ok_or(Unproven::Malformed)?, |reader| {
        reader.sequence(|reader| {
            if contents(reader, Tag::ObjectIdentifier)? != BASIC_RESPONSE {
                return Err(Unproven::Kind);
            }
            Ok(contents(reader, Tag::OctetString)?)
        })
    })
}

fn responder_id<'a>(reader: &mut SliceReader<'a>) -> der::Result<ResponderId<'a>> {
    if let Some(name) = optional(reader, 1)? {
        return whole(name, |reader| element(reader, Tag::Sequence)).map(ResponderId::Name);
    }
    let hash = contents(reader, explicit(2))?;
    whole(hash, |reader| contents(reader, Tag::OctetString)).map(ResponderId::Key)
}

/// What a response says of one certificate.
struct SingleResponse<'a> {
    identifier: CertId<'a>,
    status: Status,
    this_update: u64,
    next_update: Option<u64>,
}

#[derive(Clone, Copy)]
enum Status {
    Good,
    Revoked,
    Unknown,
}

impl<'a> SingleResponse<'a> {
    fn read(reader: &mut SliceReader<'a>) -> Result<Self, Unproven> {
        let identifier = reader.sequence(CertId::read)?;
        let status = status(reader)?;
        let this_update = time(reader)?;
        let next_update = match optional(reader, 0)? {
            Some(next) => Some(whole(next, time)?),
            None => None,
        };
        refuse_critical(optional(reader, 1)?)?;
        Ok(Self { identifier, status, this_update, next_update })
    }

    /// Checks that it says good, and its times.
    fn good(&self, produced_at: u64, now: u64) -> Result<Good, Unproven> {
        match self.status {
            Status::Good => {}
            Status::Revoked => return Err(Unproven::Revoked),
            Status::Unknown => return Err(Unproven::Unknown),
        }
        let until = self.next_update.ok_or(Unproven::Endless)?;
        let signed_at = self.this_update.max(produced_at);
        if signed_at > now.saturating_add(CLOCK_TOLERANCE_SECONDS) {
            return Err(Unproven::NotYetValid);
        }
        if until <= now {
            return Err(Unproven::Stale);
        }
        Ok(Good { until, signed_at })
    }
}

/// CertStatus; of a revocation neither time nor reason matter.
fn status(reader: &mut SliceReader<'_>) -> der::Result<Status> {
    if let Some(revoked) = optional(reader, 1)? {
        whole(revoked, |reader| {
            time(reader)?;
            optional(reader, 0).map(drop)
        })?;
        return Ok(Status::Revoked);
    }
    // NULL, under the tag of the choice.
    let choice = |number| Tag::ContextSpecific { constructed: false, number: TagNumber(number) };
    let tag = Tag::peek(reader)?;
    let status = if tag == choice(0) { Status::Good } else { Status::Unknown };
    let expected = if tag == choice(0) { choice(0) } else { choice(2) };
    match contents(reader, expected)? {
        [] => Ok(status),
        _ => Err(der::ErrorKind::Failed.into()),
    }
}

/// Which certificate is meant: its serial number under the hashes of its issuer.
struct CertId<'a> {
    algorithm: &'a [u8],
    name_hash: &'a [u8],
    key_hash: &'a [u8],
    serial: &'a [u8],
}

impl<'a> CertId<'a> {
    fn read(reader: &mut SliceReader<'a>) -> der::Result<Self> {
        Ok(Self {
            algorithm: contents(reader, Tag::Sequence)?,
            name_hash: contents(reader, Tag::OctetString)?,
            key_hash: contents(reader, Tag::OctetString)?,
            serial: contents(reader, Tag::Integer)?,
        })
    }

    /// SHA-1 only names the issuer here, as most responders do it; the signature proves.
    fn is_of(&self, certificate: &Certificate<'_>, issuer: &Certificate<'_>) -> bool {
        let Ok((_, key)) = split_spki(issuer.spki()) else { return false };
        let name = certificate.issuer();
        // The parameters are NULL or absent (RFC 5754, section 2).
        let algorithm = self.algorithm.strip_suffix(&[0x05, 0x00]).unwrap_or(self.algorithm);
        self.serial == certificate.serial()
            && match algorithm {
                SHA1 => self.hashes_are(digest::<Sha1>, name, key),
                SHA256 => self.hashes_are(digest::<Sha256>, name, key),
                SHA384 => self.hashes_are(digest::<Sha384>, name, key),
                SHA512 => self.hashes_are(digest::<Sha512>, name, key),
                _ => false,
            }
    }

    fn hashes_are(&self, hash: fn(&[u8]) -> HashValue, name: &[u8], key: &[u8]) -> bool {
        hash(name) == self.name_hash && hash(key) == self.key_hash
    }
}

/// Refuses Extensions with a critical one.
fn refuse_critical(extensions: Option<&[u8]>) -> Result<(), Unproven> {
    let Some(extensions) = extensions else { return Ok(()) };
    whole(extensions, |reader| {
        reader.sequence(|reader| {
            while !reader.is_finished() {
                let critical = reader.sequence(|reader| {
                    contents(reader, Tag::ObjectIdentifier)?;
                    let critical = boolean_default_false(reader)?;
                    contents(reader, Tag::OctetString)?;
                    Ok::<_, Unproven>(critical)
                })?;
                if critical {
                    return Err(Unproven::CriticalExtension);
                }
            }
            Ok(())
        })
    })
}

const fn explicit(number: u32) -> Tag {
    Tag::ContextSpecific { constructed: true, number: TagNumber(number) }
}

/// The contents of the next element if it has this explicit tag.
fn optional<'a>(reader: &mut SliceReader<'a>, number: u32) -> der::Result<Option<&'a [u8]>> {
    if reader.is_finished() || Tag::peek(reader)? != explicit(number) {
        return Ok(None);
    }
    contents(reader, explicit(number)).map(Some)
}

fn time(reader: &mut SliceReader<'_>) -> der::Result<u64> {
    Ok(reader.decode::<GeneralizedTime>()?.to_unix_duration().as_secs())
}
