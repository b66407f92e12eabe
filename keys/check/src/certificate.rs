//! Parses a certificate as a device does (RFC 5280, section 4.1).

use otrp_wire::limits::CERTIFICATE_LIMIT;

use crate::der::{
    self, GENERALIZED_TIME, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE, SET,
    UTC_TIME, explicit,
};
use crate::signature::{self, BadSignature, has_bit, named_bits};
use crate::time;

/// anyExtendedKeyUsage, id-kp-codeSigning, id-kp-OCSPSigning.
pub(crate) const ANY_PURPOSE: &[u8] = &[0x55, 0x1d, 0x25, 0x00];
pub(crate) const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];
pub(crate) const OCSP_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x09];
/// The purpose (extendedKeyUsage) of TEEs' certificates: the contents of the OBJECT IDENTIFIER, an arc
/// made of the broker's UUID (X.667, section 7).
pub const TEE_PURPOSE: &[u8] = &[
    0x69, 0x82, 0xbc, 0x84, 0x9f, 0xb0, 0x82, 0x84, 0x9a, 0x85, 0xbd, 0x85, 0x9e, 0xda, 0xa1, 0xa6,
    0xe9, 0xd0, 0xa0, 0x54, 0x01,
];
/// [`TEE_PURPOSE`] in digits and full stops.
pub const TEE_PURPOSE_DOTTED: &str = "2.25.210040065247686543256106716383694557268.1";
/// id-at-commonName, id-at-organizationName.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0a];

/// Bits of keyUsage (RFC 5280, section 4.2.1.3).
pub(crate) const DIGITAL_SIGNATURE: usize = 0;
pub(crate) const KEY_ENCIPHERMENT: usize = 2;
pub(crate) const KEY_AGREEMENT: usize = 4;
pub(crate) const KEY_CERT_SIGN: usize = 5;

/// A parsed certificate; nothing in it is verified.
#[derive(Clone, Debug)]
pub struct Certificate<'a> {
    pub(crate) der: &'a [u8],
    pub(crate) tbs: &'a [u8],
    pub(crate) algorithm: &'a [u8],
    pub(crate) signature: &'a [u8],
    pub(crate) serial: &'a [u8],
    pub(crate) issuer: &'a [u8],
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    pub(crate) subject: &'a [u8],
    pub(crate) spki: &'a [u8],
    pub(crate) extensions: Extensions<'a>,
}

/// What devices understand of the extensions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extensions<'a> {
    pub(crate) key_usage: Option<&'a [u8]>,
    /// Tags and contents of the subject's alternative names.
    pub(crate) names: Option<Vec<(u8, &'a [u8])>>,
    /// Whether it is an authority's, and how many authorities may be below.
    pub(crate) authority: Option<(bool, Option<u8>)>,
    pub(crate) name_constraints: Option<&'a [u8]>,
    pub(crate) purposes: Option<Vec<&'a [u8]>>,
    distribution_points: Option<()>,
}

/// Why devices cannot read a certificate: the end of a sentence that begins with it.
pub(crate) type Flaw = String;

impl<'a> Certificate<'a> {
    /// Parses a certificate that must take all of `der`.
    ///
    /// # Errors
    /// Why a device would refuse it, as the end of a sentence that begins with the certificate.
    pub fn read(der: &'a [u8]) -> Result<Self, Flaw> {
        if der.len() > CERTIFICATE_LIMIT {
            return Err(format!(
                "is {} bytes long, and a device takes {CERTIFICATE_LIMIT}",
                der.len()
            ));
        }
        let outer = |der| {
            let mut reader = Reader::new(der::only(der, SEQUENCE)?);
            let parts =
                (reader.whole(SEQUENCE)?, algorithm(&mut reader)?, reader.octets_of_bits()?);
            reader.finish()?;
            Some(parts)
        };
        let (tbs, algorithm, signature) = outer(der).ok_or("is not a certificate in strict DER")?;
        let mut reader = Reader::new(der::only(tbs, SEQUENCE).unwrap_or_default());
        let version = reader.contents(explicit(0)).and_then(|version| der::only(version, INTEGER));
        if version != Some(&[2]) {
            return Err(String::from("is not a certificate of version 3"));
        }
        let serial = reader.contents(INTEGER).filter(|serial| is_serial(serial));
        let serial = serial.ok_or("has a serial number that is not of 1 to 20 octets")?;
        if reader.contents(SEQUENCE) != Some(algorithm) {
            return Err(String::from("names two algorithms for its signature"));
        }
        let issuer = name(&mut reader).ok_or("has an issuer that is no name")?;
        let (not_before, not_after) = reader
            .contents(SEQUENCE)
            .and_then(validity)
            .ok_or("has times that are not as RFC 5280 wants them")?;
        let subject = name(&mut reader).ok_or("has a subject that is no name")?;
        let spki = reader.whole(SEQUENCE).ok_or("has no key")?;
        let extensions = Extensions::read(&mut reader)?;
        Ok(Self {
            der,
            tbs,
            algorithm,
            signature,
            serial,
            issuer,
            not_before,
            not_after,
            subject,
            spki,
            extensions,
        })
    }

    /// The subject's common name, or else its organization.
    #[must_use]
    pub fn common_name(&self) -> String {
        called(self.subject)
    }

    /// The first second, since 1970, and the last one of its validity.
    #[must_use]
    pub const fn validity(&self) -> (u64, u64) {
        (self.not_before, self.not_after)
    }

    /// The key: a DER SubjectPublicKeyInfo.
    #[must_use]
    pub const fn spki(&self) -> &'a [u8] {
        self.spki
    }

    /// Whether the extendedKeyUsage names the purpose of TEEs, or any purpose; `None` without one.
    #[must_use]
    pub fn names_tee_purpose(&self) -> Option<bool> {
        self.names_purpose(&[ANY_PURPOSE, TEE_PURPOSE])
    }

    /// Whether `issuer` signed it, with an algorithm and a key that a device accepts.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence that begins with the certificate.
    pub fn check_signature(&self, issuer: &Certificate<'_>) -> Result<(), Flaw> {
        self.verify_signature(issuer).map_err(|bad| bad.to_string())
    }

    pub(crate) const fn includes(&self, now: u64) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    pub(crate) fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }

    /// Whether basicConstraints makes it an authority's.
    #[must_use]
    pub fn is_authority(&self) -> bool {
        self.extensions.authority.is_some_and(|(authority, _)| authority)
    }

    pub(crate) fn path_length(&self) -> Option<u8> {
        self.extensions.authority.and_then(|(_, length)| length)
    }

    /// Whether the key may be used so; without keyUsage it may.
    pub(crate) fn allows(&self, bit: usize) -> bool {
        self.extensions.key_usage.is_none_or(|bits| has_bit(bits, bit))
    }

    /// The identifiers in its extendedKeyUsage, in digits; `None` if it has no such extension.
    #[must_use]
    pub fn purposes(&self) -> Option<Vec<String>> {
        let purposes = self.extensions.purposes.as_ref()?;
        Some(purposes.iter().map(|purpose| der::dotted(purpose).unwrap_or_default()).collect())
    }

    pub(crate) fn names_purpose(&self, wanted: &[&[u8]]) -> Option<bool> {
        let purposes = self.extensions.purposes.as_ref()?;
        Some(purposes.iter().any(|purpose| wanted.contains(purpose)))
    }

    pub(crate) fn verify_signature(&self, issuer: &Certificate<'_>) -> Result<(), BadSignature> {
        signature::verify(issuer.spki, self.algorithm, self.tbs, self.signature)
    }
}

/// The common name in a name, or else the organization, or else an empty text.
pub(crate) fn called(name: &[u8]) -> String {
    let value = |wanted: &[u8]| {
        let mut sets = Reader::new(der::only(name, SEQUENCE)?);
        while let Some(set) = sets.contents(SET) {
            let mut attributes = Reader::new(set);
            while let Some(attribute) = attributes.contents(SEQUENCE) {
                let mut attribute = Reader::new(attribute);
                if attribute.identifier()? == wanted {
                    let value = attribute.next()?.contents;
                    return Some(String::from_utf8_lossy(value).into_owned());
                }
            }
        }
        None
    };
    value(COMMON_NAME).or_else(|| value(ORGANIZATION)).unwrap_or_default()
}

/// The contents of an AlgorithmIdentifier.
pub(crate) fn algorithm<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let contents = reader.contents(SEQUENCE)?;
    let mut inner = Reader::new(contents);
    inner.identifier()?;
    if !inner.is_finished() {
        inner.next()?;
    }
    inner.finish()?;
    Some(contents)
}

fn is_serial(serial: &[u8]) -> bool {
    serial.len() <= 20 && der::unsigned(serial).is_some()
}

fn name<'a>(reader: &mut Reader<'a>) -> Option<&'a [u8]> {
    let whole = reader.whole(SEQUENCE)?;
    let mut sets = Reader::new(der::only(whole, SEQUENCE)?);
    while !sets.is_finished() {
        let mut attributes = Reader::new(sets.contents(SET)?);
        loop {
            let mut attribute = Reader::new(attributes.contents(SEQUENCE)?);
            attribute.identifier()?;
            attribute.next()?;
            attribute.finish()?;
            if attributes.is_finished() {
                break;
            }
        }
    }
    Some(whole)
}

fn validity(contents: &[u8]) -> Option<(u64, u64)> {
    let mut reader = Reader::new(contents);
    let mut next = || {
        let time = reader.next()?;
        match time.tag {
            UTC_TIME => time::utc_time(time.contents),
            GENERALIZED_TIME => time::generalized(time.contents),
            _ => None,
        }
    };
    let (not_before, not_after) = (next()?, next()?);
    reader.finish()?;
    (not_before <= not_after).then_some((not_before, not_after))
}

impl<'a> Extensions<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Flaw> {
        let mut extensions = Self::default();
        if reader.is_finished() {
            return Ok(extensions);
        }
        let malformed = "has something behind its key that is not extensions";
        let list = reader.contents(explicit(3)).and_then(|list| der::only(list, SEQUENCE));
        let mut list = Reader::new(list.ok_or(malformed)?);
        if !reader.is_finished() {
            return Err(String::from(malformed));
        }
        while !list.is_finished() {
            let extension = |list: &mut Reader<'a>| {
                let mut extension = Reader::new(list.contents(SEQUENCE)?);
                let parts = (
                    extension.identifier()?,
                    extension.boolean_default_false()?,
                    extension.contents(OCTET_STRING)?,
                );
                extension.finish()?;
                Some(parts)
            };
            let (identifier, critical, value) =
                extension(&mut list).ok_or("has an extension that is malformed")?;
            extensions.take(identifier, critical, value)?;
        }
        Ok(extensions)
    }

    fn take(&mut self, identifier: &[u8], critical: bool, value: &'a [u8]) -> Result<(), Flaw> {
        match identifier {
            [0x55, 0x1d, 15] => once("keyUsage", &mut self.key_usage, named_bits(value)),
            [0x55, 0x1d, 17] => once("subjectAltName", &mut self.names, names(value)),
            [0x55, 0x1d, 19] => {
                once("basicConstraints", &mut self.authority, basic_constraints(value))
            }
            [0x55, 0x1d, 30] => once("nameConstraints", &mut self.name_constraints, filled(value)),
            [0x55, 0x1d, 37] => once("extendedKeyUsage", &mut self.purposes, purposes(value)),
            [0x55, 0x1d, 31] if !critical => {
                once("cRLDistributionPoints", &mut self.distribution_points, Some(()))
            }
            _ if critical => Err(format!(
                "has the critical extension {}, which devices do not know",
                der::dotted(identifier).unwrap_or_default()
            )),
            _ => Ok(()),
        }
    }
}

fn once<T>(what: &str, slot: &mut Option<T>, value: Option<T>) -> Result<(), Flaw> {
    let value = value.ok_or_else(|| format!("has a malformed {what}"))?;
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("has {what} twice")),
    }
}

/// The contents of a SEQUENCE with something in it.
fn filled(value: &[u8]) -> Option<&[u8]> {
    der::only(value, SEQUENCE).filter(|contents| !contents.is_empty())
}

/// GeneralNames (RFC 5280, section 4.2.1.6).
fn names(value: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut reader = Reader::new(filled(value)?);
    let mut names = Vec::new();
    while !reader.is_finished() {
        let name = reader.next()?;
        // The forms 0, 3, 4 and 5 are constructed.
        let known = match name.tag & 0x1f {
            0 | 3 | 4 | 5 => name.tag & 0xe0 == 0xa0,
            1 | 2 | 6..=8 => name.tag & 0xe0 == 0x80,
            _ => false,
        };
        if !known {
            return None;
        }
        names.push((name.tag, name.contents));
    }
    Some(names)
}

fn basic_constraints(value: &[u8]) -> Option<(bool, Option<u8>)> {
    let mut reader = Reader::new(der::only(value, SEQUENCE)?);
    let authority = reader.boolean_default_false()?;
    let length = match reader.optional(INTEGER)? {
        None => None,
        Some(length) => match der::unsigned(length)? {
            [] => Some(0),
            [length] => Some(*length),
            _ => return None,
        },
    };
    reader.finish()?;
    (authority || length.is_none()).then_some((authority, length))
}

fn purposes(value: &[u8]) -> Option<Vec<&[u8]>> {
    let mut reader = Reader::new(filled(value)?);
    let mut purposes = Vec::new();
    while !reader.is_finished() {
        purposes.push(reader.contents(OBJECT_IDENTIFIER)?);
    }
    Some(purposes)
}
