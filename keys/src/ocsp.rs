//! OCSP responses (RFC 6960), which a TAM staples to show that its certificates are not revoked.

use std::path::Path;
use std::time::Duration;

use der::asn1::{AnyRef, GeneralizedTime};
use der::{DateTime, Encode as _, Reader as _, SliceReader, Tag, Tagged as _};
use openssl::bn::BigNumRef;
use openssl::pkey::{Id, PKeyRef, Private};
use openssl::sha::sha256;
use openssl::sign::Signer;
use openssl::x509::{X509, X509Ref};

use crate::certificate::{Identity, digest_for, now};
use crate::file::{beside, read_certificates, read_key};
use crate::{Error, Result};

/// The status that a responder gives a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is not revoked.
    Good,
    /// It is revoked since `thisUpdate`.
    Revoked,
    /// The responder does not know it.
    Unknown,
}

/// When a response is current, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Period {
    /// `producedAt` and `thisUpdate`.
    pub this_update: i64,
    /// `nextUpdate`: from this second on the response is not accepted.
    pub next_update: i64,
}

impl Period {
    /// From now, for this number of hours.
    #[must_use]
    pub fn hours(hours: u16) -> Self {
        Self::hours_from(now(), hours)
    }

    /// From a time, for this number of hours.
    #[must_use]
    pub fn hours_from(this_update: i64, hours: u16) -> Self {
        Self { this_update, next_update: this_update + i64::from(hours) * 3600 }
    }
}

/// A time like 2027-03-01T00:00:00Z, in seconds since 1970.
///
/// # Errors
/// `Time`.
pub fn parse_time(text: &str) -> Result<i64> {
    let time = text.parse::<DateTime>().map_err(|_| Error::Time(text.to_owned()))?;
    i64::try_from(time.unix_duration().as_secs()).map_err(|_| Error::Time(text.to_owned()))
}

/// Signs responses for the certificates of one authority: the authority itself, or a responder that
/// it certified for OCSP signing.
#[derive(Debug)]
pub struct Responder {
    identity: Identity,
    issuer: X509,
}

impl Responder {
    /// Reads `stem.key.pem` and `stem.pem`, the responder for certificates of `issuer`.
    ///
    /// # Errors
    /// `KeyMismatch`; `NotResponder` if devices would not accept its responses.
    pub fn read(stem: &Path, issuer: X509) -> Result<Self> {
        let key = read_key(&beside(stem, ".key.pem"))?;
        let certificate = read_certificates(&beside(stem, ".pem"))?.remove(0);
        if !certificate.public_key()?.public_eq(&key) {
            return Err(Error::KeyMismatch);
        }
        let is_issuer = certificate.to_der()? == issuer.to_der()?;
        let is_delegated = is_issued_by(&certificate, &issuer)?
            && certificate.extended_key_usage().is_some_and(|usage| {
                usage.contains(openssl::x509::X509ExtendedKeyUsage::OCSP_SIGN)
            });
        if !is_issuer && !is_delegated {
            return Err(Error::NotResponder);
        }
        Ok(Self { identity: Identity { key, certificate }, issuer })
    }

    /// Signs a response about `certificate`, in DER.
    ///
    /// # Errors
    /// `OtherIssuer`, or as [`Statement::sign`].
    pub fn answer(&self, certificate: &X509Ref, status: Status, period: Period) -> Result<Vec<u8>> {
        if !is_issued_by(certificate, &self.issuer)? {
            return Err(Error::OtherIssuer);
        }
        Statement { certificate, issuer: &self.issuer, status, period }.sign(&self.identity)
    }
}

fn is_issued_by(certificate: &X509Ref, issuer: &X509Ref) -> Result<bool> {
    Ok(issuer.issued(certificate) == openssl::x509::X509VerifyResult::OK
        && certificate.verify(&*issuer.public_key()?)?)
}

/// What a response states about a certificate, true or not.
#[derive(Clone, Copy)]
pub struct Statement<'a> {
    /// The certificate.
    pub certificate: &'a X509Ref,
    /// Its issuer.
    pub issuer: &'a X509Ref,
    /// What it is.
    pub status: Status,
    /// When the statement is valid.
    pub period: Period,
}

impl Statement<'_> {
    /// The response by which `signer` says so, in DER: with the signer's certificate where it is
    /// not the issuer, and naming the certificate by SHA-256.
    ///
    /// # Errors
    /// `ResponderKey` for a key that is neither P-256, P-384 nor RSA; OpenSSL's.
    pub fn sign(&self, signer: &Identity) -> Result<Vec<u8>> {
        let data = self.response_data(&signer.certificate)?;
        let algorithm = signature_algorithm(&signer.key)?;
        let mut signature = Signer::new(digest_for(&signer.key), &signer.key)?;
        let signature = signature.sign_oneshot_to_vec(&data)?;
        let mut basic = vec![data, algorithm.to_vec(), element(BIT_STRING, &[&[0], &signature])];
        let signer = signer.certificate.to_der()?;
        if signer != self.issuer.to_der()? {
            basic.push(element(explicit(0), &[&element(SEQUENCE, &[&signer])]));
        }
        let basic: Vec<&[u8]> = basic.iter().map(Vec::as_slice).collect();
        let basic = element(OCTET_STRING, &[&element(SEQUENCE, &basic)]);
        let bytes = element(explicit(0), &[&element(SEQUENCE, &[BASIC_RESPONSE, &basic])]);
        Ok(element(SEQUENCE, &[SUCCESSFUL, &bytes]))
    }

    /// ResponseData.
    fn response_data(&self, signer: &X509Ref) -> Result<Vec<u8>> {
        let this_update = time(self.period.this_update)?;
        let next_update = element(explicit(0), &[&time(self.period.next_update)?]);
        let status = match self.status {
            Status::Good => element(implicit(0), &[]),
            Status::Revoked => element(explicit(1), &[&this_update]),
            Status::Unknown => element(implicit(2), &[]),
        };
        let single = element(SEQUENCE, &[&self.cert_id()?, &status, &this_update, &next_update]);
        let responder = element(explicit(1), &[&signer.subject_name().to_der()?]);
        let responses = element(SEQUENCE, &[&single]);
        Ok(element(SEQUENCE, &[&responder, &this_update, &responses]))
    }

    /// CertID.
    fn cert_id(&self) -> Result<Vec<u8>> {
        let name_hash = sha256(&self.certificate.issuer_name().to_der()?);
        let spki = self.issuer.public_key()?.public_key_to_der()?;
        let key_hash = sha256(&key_bits(&spki)?);
        let serial = integer(&*self.certificate.serial_number().to_bn()?);
        Ok(element(
            SEQUENCE,
            &[
                SHA256,
                &element(OCTET_STRING, &[&name_hash]),
                &element(OCTET_STRING, &[&key_hash]),
                &serial,
            ],
        ))
    }
}

/// A response in words: what it says of which certificate, and until when; `None` if it is damaged.
/// Whether its signature is right is not looked at.
#[must_use]
pub fn describe(response: &[u8]) -> Option<String> {
    let [whole] = elements(response)?.try_into().ok()?;
    let bytes = match elements(whole.value())?.as_slice() {
        [_, bytes] => elements(bytes.value())?,
        // Without an answer there is the reason alone.
        [_] => return Some("OCSP response that answers nothing\n".to_owned()),
        _ => return None,
    };
    let [_, basic] = elements(bytes.first()?.value())?.try_into().ok()?;
    let [basic] = elements(basic.value())?.try_into().ok()?;
    let data = elements(elements(basic.value())?.first()?.value())?;
    let produced = data.iter().position(|part| part.tag() == Tag::GeneralizedTime)?;
    let mut text = format!("OCSP response\n  produced    {}\n", shown(data.get(produced)?)?);
    for single in elements(data.get(produced + 1)?.value())? {
        let parts = elements(single.value())?;
        let [id, status, this_update, rest @ ..] = parts.as_slice() else { return None };
        let serial = elements(id.value())?;
        let digits = hex::encode(serial.last()?.value());
        let status = match status.tag().number().value() {
            0 => "good",
            1 => "REVOKED",
            _ => "unknown",
        };
        let until = match rest.first().filter(|part| part.tag().is_context_specific()) {
            Some(next) => format!("until {}", shown(elements(next.value())?.first()?)?),
            None => "without an end, which devices refuse".to_owned(),
        };
        let from = shown(this_update)?;
        text += &format!("  serial      {digits}\n  status      {status}, from {from} {until}\n");
    }
    Some(text)
}

/// A GeneralizedTime as RFC 3339 has it.
fn shown(time: &AnyRef<'_>) -> Option<String> {
    Some(time.decode_as::<GeneralizedTime>().ok()?.to_date_time().to_string())
}

fn elements(der: &[u8]) -> Option<Vec<AnyRef<'_>>> {
    let mut reader = SliceReader::new(der).ok()?;
    let mut elements = Vec::new();
    while !reader.is_finished() {
        elements.push(reader.decode().ok()?);
    }
    Some(elements)
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
/// `responseStatus`: successful.
const SUCCESSFUL: &[u8] = &[0x0a, 0x01, 0x00];
/// id-pkix-ocsp-basic: 1.3.6.1.5.5.7.48.1.1.
const BASIC_RESPONSE: &[u8] = &[0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
/// AlgorithmIdentifier of SHA-256.
const SHA256: &[u8] =
    &[0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
/// AlgorithmIdentifier of ecdsa-with-SHA256.
const ECDSA_SHA256: &[u8] =
    &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// AlgorithmIdentifier of ecdsa-with-SHA384.
const ECDSA_SHA384: &[u8] =
    &[0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];
/// AlgorithmIdentifier of sha256WithRSAEncryption.
const RSA_SHA256: &[u8] =
    &[0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00];

/// The AlgorithmIdentifier of a key's signatures.
fn signature_algorithm(key: &PKeyRef<Private>) -> Result<&'static [u8]> {
    match (key.id(), key.bits()) {
        (Id::EC, 256) => Ok(ECDSA_SHA256),
        (Id::EC, 384) => Ok(ECDSA_SHA384),
        (Id::RSA, _) => Ok(RSA_SHA256),
        _ => Err(Error::ResponderKey),
    }
}

/// The key in a SubjectPublicKeyInfo, without the octet that counts unused bits.
fn key_bits(spki: &[u8]) -> Result<Vec<u8>> {
    use der::asn1::BitStringRef;

    let read = || {
        SliceReader::new(spki)?.sequence(|reader| {
            reader.decode::<AnyRef<'_>>()?;
            der::Result::Ok(reader.decode::<BitStringRef<'_>>()?.raw_bytes().to_vec())
        })
    };
    // OpenSSL has just written it.
    read().map_err(|_| Error::ResponderKey)
}

/// A DER element.
fn element(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let contents = contents.concat();
    let length = contents.len().to_be_bytes();
    let length: &[u8] = match length.iter().position(|octet| *octet != 0) {
        Some(first) => &length[first..],
        None => &[0],
    };
    let mut der = vec![tag];
    match length {
        [short @ 0..=0x7f] => der.push(*short),
        // At most eight octets.
        long => {
            der.push(0x80 | long.len().to_le_bytes()[0]);
            der.extend(long);
        }
    }
    der.extend(contents);
    der
}

const fn explicit(number: u8) -> u8 {
    0xa0 | number
}

const fn implicit(number: u8) -> u8 {
    0x80 | number
}

/// A non-negative INTEGER.
fn integer(number: &BigNumRef) -> Vec<u8> {
    let octets = number.to_vec();
    match octets.first() {
        Some(0..=0x7f) => element(INTEGER, &[&octets]),
        _ => element(INTEGER, &[&[0], &octets]),
    }
}

fn time(seconds: i64) -> Result<Vec<u8>> {
    u64::try_from(seconds)
        .ok()
        .and_then(|seconds| GeneralizedTime::from_unix_duration(Duration::from_secs(seconds)).ok())
        .and_then(|time| time.to_der().ok())
        .ok_or_else(|| Error::Time(seconds.to_string()))
}
