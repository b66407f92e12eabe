//! Certificates made by OpenSSL, and taken apart to be spoiled.

use openssl::asn1::{Asn1Integer, Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::{X509, X509Extension, X509Name, X509NameBuilder};

/// Within the validity of every certificate here that does not say otherwise.
pub const NOW: i64 = 1_750_000_000;

pub const KEY_USAGE: &str = "2.5.29.15";
pub const ALTERNATIVE_NAME: &str = "2.5.29.17";
pub const BASIC_CONSTRAINTS: &str = "2.5.29.19";
pub const NAME_CONSTRAINTS: &str = "2.5.29.30";
pub const EXTENDED_KEY_USAGE: &str = "2.5.29.37";

pub const CA: &[u8] = &[0x30, 0x03, 0x01, 0x01, 0xff];
pub const NOT_CA: &[u8] = &[0x30, 0x00];
/// digitalSignature, keyAgreement.
pub const SIGN_AND_AGREE: &[u8] = &[0x03, 0x02, 0x03, 0x88];
/// digitalSignature, keyEncipherment.
pub const SIGN_AND_ENCIPHER: &[u8] = &[0x03, 0x02, 0x05, 0xa0];
pub const SIGN_ONLY: &[u8] = &[0x03, 0x02, 0x07, 0x80];
pub const AGREE_ONLY: &[u8] = &[0x03, 0x02, 0x03, 0x08];
/// keyCertSign, cRLSign.
pub const CERTIFY: &[u8] = &[0x03, 0x02, 0x01, 0x06];
pub const CRL_SIGN_ONLY: &[u8] = &[0x03, 0x02, 0x01, 0x02];
/// serverAuth.
pub const FOR_TLS: &[u8] = &[0x30, 0x0a, 0x06, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1];
/// codeSigning.
pub const FOR_CODE: &[u8] = &[0x30, 0x0a, 0x06, 8, 0x2b, 6, 1, 5, 5, 7, 3, 3];
/// serverAuth, anyExtendedKeyUsage.
pub const FOR_TLS_AND_ANY: &[u8] =
    &[0x30, 0x10, 0x06, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1, 0x06, 4, 0x55, 0x1d, 0x25, 0];

/// A DER element.
pub fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    match u16::try_from(contents.len()).unwrap().to_be_bytes() {
        [0, length @ 0..=0x7f] => der.push(length),
        [0, length] => der.extend([0x81, length]),
        [high, low] => der.extend([0x82, high, low]),
    }
    der.extend(contents);
    der
}

/// The elements that DER contents are made of.
pub fn elements(mut contents: &[u8]) -> Vec<Vec<u8>> {
    let mut elements = Vec::new();
    while !contents.is_empty() {
        let (header, length) = match contents[1] {
            length @ 0..=0x7f => (2, usize::from(length)),
            0x81 => (3, usize::from(contents[2])),
            0x82 => (4, usize::from(contents[2]) << 8 | usize::from(contents[3])),
            other => panic!("length {other:x}"),
        };
        let (first, rest) = contents.split_at(header + length);
        elements.push(first.to_vec());
        contents = rest;
    }
    elements
}

/// The contents of the one element that `der` is.
pub fn contents(der: &[u8]) -> &[u8] {
    match der[1] {
        0..=0x7f => &der[2..],
        0x81 => &der[3..],
        _ => &der[4..],
    }
}

/// Takes a certificate apart, lets `change` at the parts of its TBSCertificate (version, serial,
/// algorithm, issuer, validity, subject, key, extensions), puts it together and signs it again.
pub fn rebuild(
    der: &[u8],
    change: impl FnOnce(&mut Vec<Vec<u8>>),
    sign: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Vec<u8> {
    let outer = elements(contents(der));
    let mut parts = elements(contents(&outer[0]));
    change(&mut parts);
    let tbs = element(0x30, &parts.concat());
    let signature = element(0x03, &[&[0], &sign(&tbs)[..]].concat());
    // The first SEQUENCE inside, whatever stands before it.
    let algorithm = parts.iter().find(|part| part[0] == 0x30).unwrap();
    element(0x30, &[&tbs[..], algorithm, &signature].concat())
}

/// SubjectAltName of GeneralNames.
pub fn names(names: &[(u8, &[u8])]) -> Vec<u8> {
    let names: Vec<_> = names.iter().map(|(tag, name)| element(*tag, name)).collect();
    element(0x30, &names.concat())
}

pub const DNS: u8 = 0x82;
pub const URI: u8 = 0x86;
pub const ADDRESS: u8 = 0x87;
pub const REGISTERED: u8 = 0x88;

/// NameConstraints with one permitted (0xa0) or excluded (0xa1) subtree.
pub fn name_constraints(kind: u8, tag: u8, name: &[u8]) -> Vec<u8> {
    element(0x30, &element(kind, &element(0x30, &element(tag, name))))
}

/// What a certificate shall say.
#[derive(Clone)]
pub struct Template {
    pub subject: &'static str,
    pub issuer: &'static str,
    pub key: PKey<Private>,
    pub not_before: i64,
    pub not_after: i64,
    pub extensions: Vec<(&'static str, bool, Vec<u8>)>,
}

impl Template {
    pub fn new(
        subject: &'static str,
        issuer: &'static str,
        key: PKey<Private>,
        extensions: &[(&'static str, bool, &[u8])],
    ) -> Self {
        Self {
            subject,
            issuer,
            key,
            not_before: NOW - 1000,
            not_after: NOW + 1000,
            extensions: extensions
                .iter()
                .map(|(id, critical, der)| (*id, *critical, der.to_vec()))
                .collect(),
        }
    }

    /// Sets an extension to `value`, or takes it away.
    pub fn set(&mut self, identifier: &'static str, critical: bool, value: Option<&[u8]>) {
        self.extensions.retain(|(other, ..)| *other != identifier);
        self.extensions.extend(value.map(|value| (identifier, critical, value.to_vec())));
    }

    /// The certificate, signed by `issuer` with SHA-256, or SHA-384 for P-384.
    pub fn sign(&self, issuer: &PKey<Private>) -> Vec<u8> {
        let digest = match issuer.bits() {
            384 => MessageDigest::sha384(),
            _ => MessageDigest::sha256(),
        };
        self.sign_with(issuer, digest)
    }

    pub fn sign_with(&self, issuer: &PKey<Private>, digest: MessageDigest) -> Vec<u8> {
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        let serial = BigNum::from_u32(0x1234_5678).unwrap();
        builder.set_serial_number(&Asn1Integer::from_bn(&serial).unwrap()).unwrap();
        builder.set_subject_name(&name(self.subject)).unwrap();
        builder.set_issuer_name(&name(self.issuer)).unwrap();
        builder.set_not_before(&asn1_time(self.not_before)).unwrap();
        builder.set_not_after(&asn1_time(self.not_after)).unwrap();
        builder.set_pubkey(&self.key).unwrap();
        for (identifier, critical, value) in &self.extensions {
            let identifier = Asn1Object::from_str(identifier).unwrap();
            let value = Asn1OctetString::new_from_bytes(value).unwrap();
            let extension = X509Extension::new_from_der(&identifier, *critical, &value).unwrap();
            builder.append_extension(extension).unwrap();
        }
        builder.sign(issuer, digest).unwrap();
        builder.build().to_der().unwrap()
    }
}

fn name(common_name: &str) -> X509Name {
    let mut builder: X509NameBuilder = X509Name::builder().unwrap();
    builder.append_entry_by_nid(Nid::COMMONNAME, common_name).unwrap();
    builder.build()
}

/// Seconds since 1970, by way of a date: OpenSSL counts seconds in the target's `time_t`, which ends
/// in 2038 where it has 32 bits.
fn asn1_time(seconds: i64) -> Asn1Time {
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let (mut year, mut month, mut day) = (1970, 1, seconds / 86_400);
    while day >= 365 + i64::from(is_leap(year)) {
        day -= 365 + i64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + i64::from(is_leap(year));
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if day < days {
            break;
        }
        day -= days;
        month += 1;
    }
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let day = day + 1;
    let text = format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}Z");
    Asn1Time::from_str_x509(&text).unwrap()
}
