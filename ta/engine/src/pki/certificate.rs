//! Certificates, parsed once and strictly (RFC 5280, section 4.1).

use core::fmt::Write;

use der::asn1::{AnyRef, BitStringRef, GeneralizedTime, UtcTime};
use der::{Reader, SliceReader, Tag, TagNumber, Tagged};
use otrp_wire::id::TamId;
use otrp_wire::limits::{CERTIFICATE_LIMIT, TAM_ID_LIMIT};
use rustls_pki_types::DnsName;

use super::Error;
use super::asn1::{algorithm, contents, element, identifier, whole};
use super::key::verify_signed;
use crate::crypto::PublicKey;
use crate::crypto::digest::sha256;
use crate::platform::{OwnPublicKey, RsaPublic};

/// A version 3 certificate; nothing in it is verified.
///
/// Strict DER, and every extension is either understood or not critical.
#[derive(Clone, Debug)]
pub struct Certificate<'a> {
    der: &'a [u8],
    tbs: &'a [u8],
    signature_algorithm: &'a [u8],
    signature: &'a [u8],
    serial: &'a [u8],
    issuer: &'a [u8],
    validity: Validity,
    subject: &'a [u8],
    spki: &'a [u8],
    extensions: Extensions<'a>,
}

/// When a certificate is valid: seconds since 1970-01-01T00:00:00Z, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: u64,
    /// The last second.
    pub not_after: u64,
}

impl Validity {
    /// Whether it is valid in this second since 1970.
    #[must_use]
    pub const fn includes(&self, unix_seconds: u64) -> bool {
        self.not_before <= unix_seconds && unix_seconds <= self.not_after
    }
}

/// What a certificate may say its key is for (RFC 5280, section 4.2.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// To sign data.
    DigitalSignature,
    /// To have keys encrypted to it: RSA.
    KeyEncipherment,
    /// To agree on keys: Diffie-Hellman.
    KeyAgreement,
    /// To sign certificates.
    KeyCertSign,
}

impl Usage {
    /// The bit's number.
    const fn bit(self) -> usize {
        match self {
            Self::DigitalSignature => 0,
            Self::KeyEncipherment => 2,
            Self::KeyAgreement => 4,
            Self::KeyCertSign => 5,
        }
    }
}

/// The extensions that the broker understands.
#[derive(Clone, Debug, Default)]
struct Extensions<'a> {
    key_usage: Option<BitStringRef<'a>>,
    alternative_names: Option<&'a [u8]>,
    basic_constraints: Option<BasicConstraints>,
    name_constraints: Option<&'a [u8]>,
    extended_key_usage: Option<&'a [u8]>,
}

/// Whether the subject is a certification authority (RFC 5280, section 4.2.1.9).
#[derive(Clone, Copy, Debug)]
struct BasicConstraints {
    authority: bool,
    path_length: Option<u8>,
}

/// id-ce-*: 2.5.29.
const STANDARD_EXTENSION: [u8; 2] = [0x55, 0x1d];
/// anyExtendedKeyUsage: 2.5.29.37.0.
pub(super) const ANY_EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25, 0x00];
/// The purpose of a TEE's certificate, an arc made of the broker's UUID (X.667, section 7):
/// 2.25.210040065247686543256106716383694557268.1.
pub(super) const TEE_PURPOSE: &[u8] = &[
    0x69, 0x82, 0xbc, 0x84, 0x9f, 0xb0, 0x82, 0x84, 0x9a, 0x85, 0xbd, 0x85, 0x9e, 0xda, 0xa1, 0xa6,
    0xe9, 0xd0, 0xa0, 0x54, 0x01,
];
/// id-kp-codeSigning: 1.3.6.1.5.5.7.3.3.
const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];
/// id-kp-OCSPSigning: 1.3.6.1.5.5.7.3.9.
const OCSP_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x09];

impl<'a> Certificate<'a> {
    /// Parses a certificate that takes all of `der`.
    ///
    /// # Errors
    /// [`Error::TooLong`] beyond [`CERTIFICATE_LIMIT`], [`Error::CriticalExtension`] for a critical
    /// extension that is not understood, else [`Error::Malformed`].
    pub fn parse(der: &'a [u8]) -> Result<Self, Error> {
        if der.len() > CERTIFICATE_LIMIT {
            return Err(Error::TooLong);
        }
        let (tbs, signature_algorithm, signature) = whole(der, |reader| {
            reader.sequence(|reader| {
                let tbs = element(reader, Tag::Sequence)?;
                let algorithm = algorithm(reader)?;
                let signature = reader.decode::<BitStringRef<'a>>()?;
                der::Result::Ok((tbs, algorithm, signature))
            })
        })?;
        let signature = signature.as_bytes().ok_or(Error::Malformed)?;
        whole(tbs, |reader| {
            reader.sequence(|reader| {
                version_3(reader)?;
                let serial = serial_number(reader)?;
                // Not covered by the signature outside, so the copy inside must be the same.
                if contents(reader, Tag::Sequence)? != signature_algorithm {
                    return Err(Error::Malformed);
                }
                let issuer = name(reader)?;
                let validity = validity(reader)?;
                let subject = name(reader)?;
                let spki = element(reader, Tag::Sequence)?;
                // Unique identifiers would come here. Nobody has issued them since 1999.
                let extensions = extensions(reader)?;
                Ok(Self {
                    der,
                    tbs,
                    signature_algorithm,
                    signature,
                    serial,
                    issuer,
                    validity,
                    subject,
                    spki,
                    extensions,
                })
            })
        })
    }

    /// The whole certificate.
    #[must_use]
    pub const fn der(&self) -> &'a [u8] {
        self.der
    }

    /// SHA-256 of the certificate.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        sha256(self.der)
    }

    /// SHA-256 of what is signed.
    ///
    /// Unlike [`Certificate::fingerprint`] it is one for all forms of an ECDSA signature, so nobody
    /// but the issuer can give a certificate a second one.
    #[must_use]
    pub fn content_digest(&self) -> [u8; 32] {
        sha256(self.tbs)
    }

    /// What is signed, with tag and length.
    pub(super) const fn tbs(&self) -> &'a [u8] {
        self.tbs
    }

    /// The serial number: the contents of the INTEGER, at most 20 octets, never negative.
    #[must_use]
    pub const fn serial(&self) -> &'a [u8] {
        self.serial
    }

    /// The issuer's name: a DER Name with its tag and length.
    #[must_use]
    pub const fn issuer(&self) -> &'a [u8] {
        self.issuer
    }

    /// The subject's name: a DER Name with its tag and length.
    #[must_use]
    pub const fn subject(&self) -> &'a [u8] {
        self.subject
    }

    /// The key: a DER SubjectPublicKeyInfo with its tag and length.
    #[must_use]
    pub const fn spki(&self) -> &'a [u8] {
        self.spki
    }

    /// When the certificate is valid.
    #[must_use]
    pub const fn validity(&self) -> Validity {
        self.validity
    }

    /// The key.
    ///
    /// # Errors
    /// As [`PublicKey::from_spki`]: an authority may have a key that the broker cannot use.
    pub fn public_key(&self) -> Result<PublicKey<'a>, Error> {
        PublicKey::from_spki(self.spki)
    }

    /// Whether issuer and subject have one name.
    #[must_use]
    pub fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }

    /// Whether the subject is a certification authority.
    #[must_use]
    pub fn is_authority(&self) -> bool {
        self.extensions.basic_constraints.is_some_and(|constraints| constraints.authority)
    }

    /// How many authorities may stand between this one and a leaf; `None` where it does not say.
    #[must_use]
    pub fn path_length(&self) -> Option<u8> {
        self.extensions.basic_constraints.and_then(|constraints| constraints.path_length)
    }

    /// Whether the key may be used so. A certificate without keyUsage allows everything.
    #[must_use]
    pub fn allows(&self, usage: Usage) -> bool {
        self.extensions.key_usage.is_none_or(|bits| bits.get(usage.bit()).unwrap_or(false))
    }

    /// Whether the certificate is for one of these purposes: one without extendedKeyUsage is for each.
    pub(super) fn is_for_purpose(&self, wanted: &[&[u8]]) -> bool {
        self.extensions.extended_key_usage.is_none_or(|purposes| names_purpose(purposes, wanted))
    }

    /// Whether the key may sign code, going by keyUsage and extendedKeyUsage where present.
    pub(super) fn allows_code_signing(&self) -> bool {
        self.allows(Usage::DigitalSignature)
            && self.is_for_purpose(&[CODE_SIGNING, ANY_EXTENDED_KEY_USAGE])
    }

    /// Whether the key may sign OCSP responses for the certificate's issuer, which has to be said
    /// in so many words (RFC 6960, section 4.2.2.2).
    pub(super) fn allows_ocsp_signing(&self) -> bool {
        self.allows(Usage::DigitalSignature)
            && self
                .extensions
                .extended_key_usage
                .is_some_and(|purposes| names_purpose(purposes, &[OCSP_SIGNING]))
    }

    /// Whether the subject of `issuer` issued this certificate: by name and by signature.
    pub(super) fn is_issued_by<R: RsaPublic>(&self, issuer: &Certificate<'_>) -> bool {
        self.issuer == issuer.subject
            && verify_signed::<R>(issuer.spki, self.signature_algorithm, self.tbs, self.signature)
    }

    /// Whether the certificate is for this key of this TEE.
    #[must_use]
    pub fn is_for(&self, own: &OwnPublicKey) -> bool {
        self.public_key().is_ok_and(|key| key.is(own))
    }

    /// The TAM identifier: of the subject's alternative names the first registeredID, else the
    /// first uniformResourceIdentifier, else the first dNSName.
    ///
    /// `None` where there is no such name, and where the one found is not what its kind demands or
    /// no [`TamId`]. The three kinds cannot be confused: a registeredID has digits and full stops
    /// only, a URI has a colon, and a dNSName has no colon and does not end in a number.
    #[must_use]
    pub fn tam_id(&self) -> Option<TamId> {
        let names = self.extensions.alternative_names?;
        let first = |kind: u32| {
            let tag = Tag::ContextSpecific { constructed: false, number: TagNumber(kind) };
            elements(names).flatten().find(|name| name.tag() == tag).map(AnyRef::value)
        };
        if let Some(identifier) = first(8) {
            TamId::new(&dotted_decimal(identifier)?)
        } else if let Some(uri) = first(6) {
            TamId::new(absolute_uri(uri)?)
        } else {
            let name = core::str::from_utf8(first(2)?).ok()?;
            TamId::new(DnsName::try_from(name).ok()?.as_ref())
        }
    }
}

/// Whether an extendedKeyUsage, the contents of its SEQUENCE, names one of `wanted`.
fn names_purpose(purposes: &[u8], wanted: &[&[u8]]) -> bool {
    elements(purposes).any(|element| {
        element.is_ok_and(|element| {
            element.tag() == Tag::ObjectIdentifier && wanted.contains(&element.value())
        })
    })
}

/// Whether two certificates are the same one but for their signatures, of which anybody can write an
/// ECDSA signature in two ways: (r, s) and (r, n - s). What does not parse is the same as nothing else.
#[must_use]
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    let tbs = |der| Certificate::parse(der).map(|certificate| certificate.tbs());
    one == other || tbs(one).is_ok_and(|one| tbs(other) == Ok(one))
}

/// Checks a certificate under which a service provider signs its trusted applications.
///
/// It need not chain anywhere and may have expired: to vet service providers is the TAM's part
/// (OTrP draft, section 14.6), which vouches for the certificate by sending it. So only what the
/// certificate says of itself is checked: its form, a key that the broker can use, that the key may
/// sign code, and, where it is self-issued, that it is signed by its own key.
///
/// # Errors
/// As [`Certificate::parse`]; [`Error::Key`], [`Error::Usage`], [`Error::Signature`].
pub fn check_sp_certificate<R: RsaPublic>(der: &[u8]) -> Result<Certificate<'_>, Error> {
    let certificate = Certificate::parse(der)?;
    certificate.public_key()?;
    if !certificate.allows_code_signing() {
        return Err(Error::Usage);
    }
    if certificate.is_self_issued() && !certificate.is_issued_by::<R>(&certificate) {
        return Err(Error::Signature);
    }
    Ok(certificate)
}

fn version_3(reader: &mut SliceReader<'_>) -> Result<(), Error> {
    let tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };
    match whole(contents(reader, tag)?, |reader| reader.decode::<u8>())? {
        2 => Ok(()),
        _ => Err(Error::Malformed),
    }
}

fn serial_number<'a>(reader: &mut SliceReader<'a>) -> Result<&'a [u8], Error> {
    let serial = contents(reader, Tag::Integer)?;
    match serial {
        // Padding that is not minimal is not DER; zero is not conforming, and not rare.
        [0, 0..=0x7f, ..] | [0x80..=0xff, ..] | [] => Err(Error::Malformed),
        _ if serial.len() > 20 => Err(Error::Malformed),
        _ => Ok(serial),
    }
}

/// A Name (RFC 5280, section 4.1.2.4) with its tag and length. Names are compared octet by octet,
/// but whoever is shown the certificate must be able to read it.
fn name<'a>(reader: &mut SliceReader<'a>) -> der::Result<&'a [u8]> {
    let name = element(reader, Tag::Sequence)?;
    let sets = whole(name, |reader| contents(reader, Tag::Sequence))?;
    whole(sets, |reader| {
        while !reader.is_finished() {
            whole(contents(reader, Tag::Set)?, attributes)?;
        }
        Ok(name)
    })
}

/// One or more AttributeTypeAndValue.
fn attributes(reader: &mut SliceReader<'_>) -> der::Result<()> {
    loop {
        reader.sequence(|reader| {
            identifier(reader)?;
            reader.decode::<AnyRef<'_>>().map(drop)
        })?;
        if reader.is_finished() {
            return Ok(());
        }
    }
}

fn validity(reader: &mut SliceReader<'_>) -> Result<Validity, Error> {
    reader.sequence(|reader| {
        let validity = Validity { not_before: time(reader)?, not_after: time(reader)? };
        if validity.not_before > validity.not_after {
            return Err(Error::Malformed);
        }
        Ok(validity)
    })
}

fn time(reader: &mut SliceReader<'_>) -> der::Result<u64> {
    let time = match Tag::peek(reader)? {
        Tag::UtcTime => reader.decode::<UtcTime>()?.to_unix_duration(),
        _ => reader.decode::<GeneralizedTime>()?.to_unix_duration(),
    };
    Ok(time.as_secs())
}

fn extensions<'a>(reader: &mut SliceReader<'a>) -> Result<Extensions<'a>, Error> {
    let mut extensions = Extensions::default();
    if reader.is_finished() {
        return Ok(extensions);
    }
    let tag = Tag::ContextSpecific { constructed: true, number: TagNumber(3) };
    whole(contents(reader, tag)?, |reader| {
        reader.sequence(|reader| {
            while !reader.is_finished() {
                reader.sequence(|reader| extension(reader, &mut extensions))?;
            }
            Ok::<_, Error>(())
        })
    })?;
    Ok(extensions)
}

/// Reads one extension; one that is not understood must not be critical.
fn extension<'a>(
    reader: &mut SliceReader<'a>,
    extensions: &mut Extensions<'a>,
) -> Result<(), Error> {
    let identifier = identifier(reader)?;
    let critical = boolean_default_false(reader)?;
    let value = contents(reader, Tag::OctetString)?;
    match identifier.strip_prefix(&STANDARD_EXTENSION) {
        Some([15]) => once(&mut extensions.key_usage, key_usage(value)?),
        Some([17]) => once(&mut extensions.alternative_names, alternative_names(value)?),
        Some([19]) => once(&mut extensions.basic_constraints, basic_constraints(value)?),
        // Left to webpki, which applies it or refuses the certificate.
        Some([30]) => once(&mut extensions.name_constraints, sequence(value)?),
        Some([37]) => once(&mut extensions.extended_key_usage, sequence(value)?),
        _ if critical => Err(Error::CriticalExtension),
        _ => Ok(()),
    }
}

/// Sets what may be set once (RFC 5280, section 4.2).
fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), Error> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::Malformed),
    }
}

/// `BOOLEAN DEFAULT FALSE`, where DER leaves the default out.
pub(super) fn boolean_default_false(reader: &mut SliceReader<'_>) -> Result<bool, Error> {
    match reader.decode::<Option<bool>>()? {
        None => Ok(false),
        Some(true) => Ok(true),
        Some(false) => Err(Error::Malformed),
    }
}

/// The contents of a SEQUENCE that is the whole of `der` and not empty.
fn sequence(der: &[u8]) -> Result<&[u8], Error> {
    match whole(der, |reader| contents(reader, Tag::Sequence))? {
        [] => Err(Error::Malformed),
        contents => Ok(contents),
    }
}

fn key_usage(der: &[u8]) -> Result<BitStringRef<'_>, Error> {
    let bits = whole(der, |reader| reader.decode::<BitStringRef<'_>>())?;
    // At least one bit must be set (RFC 5280, section 4.2.1.3).
    if bits.bits().any(|bit| bit) { Ok(bits) } else { Err(Error::Malformed) }
}

fn basic_constraints(der: &[u8]) -> Result<BasicConstraints, Error> {
    whole(der, |reader| {
        reader.sequence(|reader| {
            let authority = boolean_default_false(reader)?;
            let path_length = reader.decode::<Option<u8>>()?;
            if !authority && path_length.is_some() {
                return Err(Error::Malformed);
            }
            Ok(BasicConstraints { authority, path_length })
        })
    })
}

/// GeneralNames (RFC 5280, section 4.2.1.6), each at least a well-formed element of a known kind.
fn alternative_names(der: &[u8]) -> Result<&[u8], Error> {
    let names = sequence(der)?;
    for name in elements(names) {
        match name?.tag() {
            Tag::ContextSpecific { number: TagNumber(0..=8), .. } => (),
            _ => return Err(Error::Malformed),
        }
    }
    Ok(names)
}

/// The elements that `contents` is made of; ends after the first error.
fn elements<'a>(contents: &'a [u8]) -> impl Iterator<Item = der::Result<AnyRef<'a>>> {
    let mut reader = SliceReader::new(contents).ok();
    core::iter::from_fn(move || {
        let element = match reader.as_mut()? {
            reader if reader.is_finished() => return None,
            reader => reader.decode::<AnyRef<'a>>(),
        };
        if element.is_err() {
            reader = None;
        }
        Some(element)
    })
}

/// An object identifier's contents (X.690, section 8.19) as text; arcs up to those made of UUIDs.
fn dotted_decimal(identifier: &[u8]) -> Option<heapless::String<TAM_ID_LIMIT>> {
    let mut text = heapless::String::new();
    let mut arc = None::<u128>;
    for octet in identifier {
        // An arc that starts with zeros is not DER.
        if arc.is_none() && *octet == 0x80 {
            return None;
        }
        let value = arc.unwrap_or(0).checked_mul(128)?.checked_add(u128::from(octet & 0x7f))?;
        if octet & 0x80 != 0 {
            arc = Some(value);
            continue;
        }
        arc = None;
        if text.is_empty() {
            let root = (value / 40).min(2);
            write!(text, "{root}.{}", value.checked_sub(root.checked_mul(40)?)?).ok()?;
        } else {
            write!(text, ".{value}").ok()?;
        }
    }
    (arc.is_none() && !text.is_empty()).then_some(text)
}

/// A URI with a scheme (RFC 3986, section 3), as RFC 5280, section 4.2.1.6 demands.
fn absolute_uri(uri: &[u8]) -> Option<&str> {
    let uri = core::str::from_utf8(uri).ok()?;
    let (scheme, rest) = uri.split_once(':')?;
    let well_formed = scheme.starts_with(|char: char| char.is_ascii_alphabetic())
        && scheme.chars().all(|char| char.is_ascii_alphanumeric() || "+-.".contains(char))
        && !rest.is_empty()
        && rest.chars().all(|char| char.is_ascii_graphic());
    well_formed.then_some(uri)
}
