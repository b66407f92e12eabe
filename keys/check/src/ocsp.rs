//! Checks OCSP responses by the rules of devices: the second implementation of
//! `ta/engine/src/pki/ocsp.rs`.

use openssl::sha::{sha1, sha256};
use otrp_wire::limits::{
    CERTIFICATE_LIMIT, CHAIN_LIMIT, CLOCK_TOLERANCE_SECONDS, OCSP_RESPONSE_LIMIT,
};

use crate::certificate::{Certificate, DIGITAL_SIGNATURE, OCSP_SIGNING};
use crate::chain::Chain;
use crate::der::{
    self, ENUMERATED, GENERALIZED_TIME, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE,
    explicit, implicit,
};
use crate::signature::{self, BadSignature, key_bits};
use crate::time::{self, utc};

/// id-pkix-ocsp-basic.
const BASIC: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
/// SHA-1 and SHA-256 as algorithms, without parameters.
const SHA1: &[u8] = &[0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a];
const SHA256: &[u8] = &[0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
const MALFORMED: &str = "it is not an OCSP response in strict DER";

/// A response that shows that a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Good {
    /// The end of its validity in seconds since 1970, exclusive.
    pub until: u64,
}

/// Checks that a response, in DER, shows to a device at the time `now` (in seconds since 1970) that
/// `certificate`, issued by `issuer`, is good.
///
/// # Errors
/// Why it does not: a sentence about the response.
pub fn check(
    response: &[u8],
    certificate: &Certificate<'_>,
    issuer: &Certificate<'_>,
    now: u64,
) -> Result<Good, String> {
    if response.len() > OCSP_RESPONSE_LIMIT {
        return Err(format!(
            "it is {} bytes long, and a device takes {OCSP_RESPONSE_LIMIT}",
            response.len()
        ));
    }
    let basic = Basic::read(response)?;
    basic.verify(issuer, now)?;
    let about: Vec<&Single<'_>> =
        basic.singles.iter().filter(|single| single.is_about(certificate, issuer)).collect();
    let mut until = None;
    for single in about {
        let good = single.check(basic.produced_at, now)?;
        // One certificate may be named in several ways (RFC 9919): all must be good, and the
        // earliest end counts.
        until = Some(until.map_or(good, |until: u64| until.min(good)));
    }
    until.map(|until| Good { until }).ok_or_else(|| {
        format!(
            "it is on another certificate than {:?} issued by {:?}",
            certificate.common_name(),
            issuer.common_name()
        )
    })
}

/// Checks the responses that a TAM staples for its chain: the leaf's first, then one for each
/// authority below the root.
///
/// # Errors
/// What is wrong with each, by its position in `responses`; `None` if one is missing or left over.
pub fn check_all(
    responses: &[&[u8]],
    chain: &Chain<'_>,
    now: u64,
) -> Result<Good, Vec<(Option<usize>, String)>> {
    let mut faults = Vec::new();
    let mut until = u64::MAX;
    for (position, (certificate, issuer)) in chain.issued().enumerate() {
        let Some(response) = responses.get(position) else {
            faults.push((
                None,
                format!(
                    "there is no OCSP response for certificate {} ({:?}): a device wants one for \
                     each certificate below the root, the leaf's first",
                    position + 1,
                    certificate.common_name()
                ),
            ));
            continue;
        };
        match check(response, certificate, issuer, now) {
            Ok(good) => until = until.min(good.until),
            Err(sentence) => faults.push((Some(position), sentence)),
        }
    }
    let wanted = chain.issued().count();
    if responses.len() > wanted {
        faults.push((
            None,
            format!(
                "there are {} OCSP responses, and the chain has {wanted} certificates below its \
                 root",
                responses.len()
            ),
        ));
    }
    if faults.is_empty() { Ok(Good { until }) } else { Err(faults) }
}

struct Basic<'a> {
    tbs: &'a [u8],
    responder: Responder<'a>,
    produced_at: u64,
    singles: Vec<Single<'a>>,
    algorithm: &'a [u8],
    signature: &'a [u8],
    certificates: &'a [u8],
}

enum Responder<'a> {
    Name(&'a [u8]),
    Key(&'a [u8]),
}

impl Responder<'_> {
    fn is(&self, certificate: &Certificate<'_>) -> bool {
        match self {
            Self::Name(name) => *name == certificate.subject,
            Self::Key(hash) => {
                key_bits(certificate.spki).is_some_and(|key| sha1(key).as_slice() == *hash)
            }
        }
    }
}

impl<'a> Basic<'a> {
    fn read(response: &'a [u8]) -> Result<Self, String> {
        let mut reader = Reader::new(der::only(response, SEQUENCE).ok_or(MALFORMED)?);
        let status = reader.contents(ENUMERATED).ok_or(MALFORMED)?;
        if status != [0] {
            return Err(String::from("the responder could not answer"));
        }
        let bytes = reader.contents(explicit(0)).ok_or(MALFORMED)?;
        reader.finish().ok_or(MALFORMED)?;
        let mut reader = Reader::new(der::only(bytes, SEQUENCE).ok_or(MALFORMED)?);
        if reader.contents(OBJECT_IDENTIFIER).ok_or(MALFORMED)? != BASIC {
            return Err(String::from("it is not a basic response"));
        }
        let basic = reader.contents(OCTET_STRING).ok_or(MALFORMED)?;
        reader.finish().ok_or(MALFORMED)?;
        Self::read_basic(basic)
    }

    fn read_basic(basic: &'a [u8]) -> Result<Self, String> {
        let outer = |basic| {
            let mut reader = Reader::new(der::only(basic, SEQUENCE)?);
            let tbs = reader.whole(SEQUENCE)?;
            let algorithm = reader.contents(SEQUENCE)?;
            let signature = reader.octets_of_bits()?;
            let certificates = match reader.optional(explicit(0))? {
                None => &[][..],
                Some(list) => der::only(list, SEQUENCE)?,
            };
            reader.finish()?;
            Some((tbs, algorithm, signature, certificates))
        };
        let (tbs, algorithm, signature, certificates) = outer(basic).ok_or(MALFORMED)?;
        let mut reader = Reader::new(der::only(tbs, SEQUENCE).ok_or(MALFORMED)?);
        let responder = responder(&mut reader).ok_or(MALFORMED)?;
        let produced_at = read_time(&mut reader)?;
        let mut list = Reader::new(reader.contents(SEQUENCE).ok_or(MALFORMED)?);
        refuse_critical(reader.optional(explicit(1)).ok_or(MALFORMED)?)?;
        reader.finish().ok_or(MALFORMED)?;
        let mut singles = Vec::new();
        while !list.is_finished() {
            singles.push(Single::read(list.contents(SEQUENCE).ok_or(MALFORMED)?)?);
        }
        Ok(Self { tbs, responder, produced_at, singles, algorithm, signature, certificates })
    }

    /// Verifies the signature of the issuer, or of a responder that it certified for OCSP signing only.
    fn verify(&self, issuer: &Certificate<'_>, now: u64) -> Result<(), String> {
        let by = |spki: &[u8]| {
            signature::verify(spki, self.algorithm, self.tbs, self.signature).map_err(|bad| {
                match bad {
                    BadSignature::Wrong => {
                        String::from("it is not signed by the issuer or its responder")
                    }
                    other => format!("it {other}"),
                }
            })
        };
        if self.responder.is(issuer) {
            return by(issuer.spki);
        }
        let stranger = || {
            format!(
                "it is not signed by the issuer or its responder: whoever signed it is not {:?}, \
                 and shows no certificate of it",
                issuer.common_name()
            )
        };
        let mut list = Reader::new(self.certificates);
        let mut responder = None;
        for _ in 0..CHAIN_LIMIT {
            // A device looks no further than what it cannot take apart.
            let Some(der) = list.whole(SEQUENCE).filter(|der| der.len() <= CERTIFICATE_LIMIT)
            else {
                break;
            };
            let named = Certificate::read(der).ok().filter(|it| self.responder.is(it));
            if named.is_some() {
                responder = named;
                break;
            }
        }
        let responder = responder.ok_or_else(stranger)?;
        let name = responder.common_name();
        let refused = |why: &str| {
            Err(format!(
                "it is not signed by the issuer or its responder: {name:?}, who signed it, {why}"
            ))
        };
        if responder.names_purpose(&[OCSP_SIGNING]) != Some(true)
            || !responder.allows(DIGITAL_SIGNATURE)
        {
            return refused("is not certified for OCSP signing");
        }
        if !responder.includes(now) {
            let (from, to) = responder.validity();
            return refused(&format!("has a certificate from {} to {}", utc(from), utc(to)));
        }
        if responder.issuer != issuer.subject || responder.verify_signature(issuer).is_err() {
            return refused(&format!("is not certified by {:?}", issuer.common_name()));
        }
        by(responder.spki)
    }
}

fn responder<'a>(reader: &mut Reader<'a>) -> Option<Responder<'a>> {
    if let Some(name) = reader.optional(explicit(1))? {
        let mut name = Reader::new(name);
        let whole = name.whole(SEQUENCE)?;
        name.finish()?;
        return Some(Responder::Name(whole));
    }
    let hash = reader.contents(explicit(2))?;
    der::only(hash, OCTET_STRING).map(Responder::Key)
}

/// A response's statement about one certificate.
struct Single<'a> {
    hash: &'a [u8],
    name_hash: &'a [u8],
    key_hash: &'a [u8],
    serial: &'a [u8],
    status: Status,
    this_update: u64,
    next_update: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    Good,
    Revoked(u64),
    Unknown,
}

impl<'a> Single<'a> {
    fn read(contents: &'a [u8]) -> Result<Self, String> {
        let mut reader = Reader::new(contents);
        let identifier = |reader: &mut Reader<'a>| {
            let mut identifier = Reader::new(reader.contents(SEQUENCE)?);
            let parts = (
                identifier.contents(SEQUENCE)?,
                identifier.contents(OCTET_STRING)?,
                identifier.contents(OCTET_STRING)?,
                identifier.contents(INTEGER)?,
            );
            identifier.finish()?;
            Some(parts)
        };
        let (hash, name_hash, key_hash, serial) = identifier(&mut reader).ok_or(MALFORMED)?;
        let status = read_status(&mut reader)?;
        let this_update = read_time(&mut reader)?;
        let next_update = match reader.optional(explicit(0)).ok_or(MALFORMED)? {
            None => None,
            Some(next) => {
                let mut next = Reader::new(next);
                let time = read_time(&mut next)?;
                next.finish().ok_or(MALFORMED)?;
                Some(time)
            }
        };
        refuse_critical(reader.optional(explicit(1)).ok_or(MALFORMED)?)?;
        reader.finish().ok_or(MALFORMED)?;
        Ok(Self { hash, name_hash, key_hash, serial, status, this_update, next_update })
    }

    fn is_about(&self, certificate: &Certificate<'_>, issuer: &Certificate<'_>) -> bool {
        let Some(key) = key_bits(issuer.spki) else { return false };
        // The parameters are NULL or absent (RFC 5754, section 2).
        let is = |known| matches!(self.hash.strip_prefix(known), Some([] | [5, 0]));
        let hashes = if is(SHA1) {
            (sha1(certificate.issuer).to_vec(), sha1(key).to_vec())
        } else if is(SHA256) {
            (sha256(certificate.issuer).to_vec(), sha256(key).to_vec())
        } else {
            return false;
        };
        self.serial == certificate.serial
            && (self.name_hash, self.key_hash) == (&*hashes.0, &*hashes.1)
    }

    /// The end of a good certificate's current response.
    fn check(&self, produced_at: u64, now: u64) -> Result<u64, String> {
        match self.status {
            Status::Good => {}
            Status::Revoked(since) => {
                return Err(format!("the certificate is revoked, since {}", utc(since)));
            }
            Status::Unknown => {
                return Err(String::from("the responder does not know the certificate"));
            }
        }
        let next = self
            .next_update
            .ok_or("it does not say when it ends, and a device would take it for ever")?;
        let made = self.this_update.max(produced_at);
        if made > now.saturating_add(CLOCK_TOLERANCE_SECONDS) {
            return Err(format!(
                "it is from the future, {}: a device takes {CLOCK_TOLERANCE_SECONDS} seconds by \
                 its clock, and this one says {}",
                utc(made),
                utc(now)
            ));
        }
        if next <= now {
            return Err(format!(
                "it is good from {} to {} only; get a new one from the responder",
                utc(self.this_update),
                utc(next)
            ));
        }
        Ok(next)
    }
}

fn read_status(reader: &mut Reader<'_>) -> Result<Status, String> {
    if let Some(revoked) = reader.optional(explicit(1)).ok_or(MALFORMED)? {
        let mut revoked = Reader::new(revoked);
        let since = read_time(&mut revoked)?;
        revoked.optional(explicit(0)).ok_or(MALFORMED)?;
        revoked.finish().ok_or(MALFORMED)?;
        return Ok(Status::Revoked(since));
    }
    let choice = reader.next().ok_or(MALFORMED)?;
    match (choice.tag, choice.contents) {
        (tag, []) if tag == implicit(0) => Ok(Status::Good),
        (tag, []) if tag == implicit(2) => Ok(Status::Unknown),
        _ => Err(String::from(MALFORMED)),
    }
}

fn read_time(reader: &mut Reader<'_>) -> Result<u64, String> {
    let text = reader.contents(GENERALIZED_TIME).ok_or(MALFORMED)?;
    time::generalized(text).ok_or_else(|| {
        format!(
            "it has the time {:?}, and RFC 5280 has whole seconds in UTC, such as 20270301000000Z",
            String::from_utf8_lossy(text)
        )
    })
}

/// Refuses Extensions with a critical one: devices support none.
fn refuse_critical(extensions: Option<&[u8]>) -> Result<(), String> {
    let Some(extensions) = extensions else { return Ok(()) };
    let mut list = Reader::new(der::only(extensions, SEQUENCE).ok_or(MALFORMED)?);
    while !list.is_finished() {
        let extension = |list: &mut Reader<'_>| {
            let mut extension = Reader::new(list.contents(SEQUENCE)?);
            extension.contents(OBJECT_IDENTIFIER)?;
            let critical = extension.boolean_default_false()?;
            extension.contents(OCTET_STRING)?;
            extension.finish()?;
            Some(critical)
        };
        if extension(&mut list).ok_or(MALFORMED)? {
            return Err(String::from("it has a critical extension, which devices do not know"));
        }
    }
    Ok(())
}
