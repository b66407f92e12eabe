//! Responses, good ones and ones with a part replaced, and the DER they are made of.

use openssl::asn1::{Asn1Object, Asn1OctetString};
use openssl::hash::MessageDigest;
use openssl::pkey::{PKeyRef, Private};
use openssl::sign::Signer as Signature;
use openssl::x509::{X509, X509Extension};
use otrp_keys::certificate::{Identity as Signer, Purpose, Template, Validity, generate_p256};
use otrp_keys::ocsp::{Period, Statement, Status};
use otrp_tam::request::Builder;

use crate::bench::{Device, base64, der, now, pki};

pub const INVALID: &str = "ERR_REQUEST_INVALID";
pub const UNTRUSTED: &str = "ERR_TAM_NOT_TRUSTED";
pub const HOUR: i64 = 3600;

pub fn time() -> i64 {
    now().try_into().unwrap()
}

pub fn leaf() -> &'static X509 {
    &pki().tam.chain()[0]
}

/// From an hour ago to an hour from now.
pub fn current() -> Period {
    Period { this_update: time() - HOUR, next_update: time() + HOUR }
}

/// A response on the leaf of `tam` by the issuing CA's responder.
pub fn on_leaf(status: Status, period: Period) -> Vec<u8> {
    let issuer = &pki().tam_authority.certificate;
    Statement { certificate: leaf(), issuer, status, period }.sign(&pki().tam_responder).unwrap()
}

/// A response on the issuing CA by the root's responder.
pub fn on_authority(status: Status, period: Period) -> Vec<u8> {
    let certificate = &pki().tam_authority.certificate;
    let issuer = &pki().tam_root.certificate;
    Statement { certificate, issuer, status, period }.sign(&pki().tam_root_responder).unwrap()
}

/// A response on the leaf that claims to be by `signer`.
pub fn on_leaf_by(signer: &Signer) -> Vec<u8> {
    let issuer = &pki().tam_authority.certificate;
    let (status, period) = (Status::Good, current());
    Statement { certificate: leaf(), issuer, status, period }.sign(signer).unwrap()
}

pub fn good() -> [Vec<u8>; 2] {
    [on_leaf(Status::Good, current()), on_authority(Status::Good, current())]
}

/// GetDeviceState of `tam` with these responses.
pub fn question(responses: &[Vec<u8>]) -> Builder<'static> {
    let texts: Vec<String> = responses.iter().map(|response| base64(response)).collect();
    Builder::device_state(&pki().tam).edit_tbs(move |tbs| {
        tbs.insert("ocspdat".into(), texts.into());
    })
}

pub fn certified(purpose: Purpose, validity: Validity, issuer: &Signer) -> Signer {
    let key = generate_p256().unwrap();
    let template = Template {
        organization: "OTrP tests (not for production)",
        common_name: "A responder of a test",
        purpose,
        validity,
        uri: None,
    };
    let certificate = template.issue(&key, issuer).unwrap();
    Signer { key, certificate }
}

/// A responder under the issuing CA with these extensions: identifier, criticality, value.
pub fn responder_with(extensions: &[(&str, bool, &[u8])]) -> Signer {
    let authority = &pki().tam_authority;
    let template = certified(Purpose::OcspResponder, Validity::years(1), authority);
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(template.certificate.serial_number()).unwrap();
    builder.set_subject_name(template.certificate.subject_name()).unwrap();
    builder.set_issuer_name(template.certificate.issuer_name()).unwrap();
    builder.set_not_before(template.certificate.not_before()).unwrap();
    builder.set_not_after(template.certificate.not_after()).unwrap();
    builder.set_pubkey(&template.key).unwrap();
    for (identifier, critical, value) in extensions {
        let identifier = Asn1Object::from_str(identifier).unwrap();
        let value = Asn1OctetString::new_from_bytes(value).unwrap();
        let extension = X509Extension::new_from_der(&identifier, *critical, &value).unwrap();
        builder.append_extension(extension).unwrap();
    }
    builder.sign(&authority.key, MessageDigest::sha256()).unwrap();
    Signer { certificate: builder.build(), ..template }
}

pub const KEY_USAGE: &str = "2.5.29.15";
pub const EXTENDED_KEY_USAGE: &str = "2.5.29.37";
/// id-kp-OCSPSigning, and serverAuth in front of it.
pub const FOR_OCSP: &[u8] =
    &[0x30, 0x14, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 9];
/// anyExtendedKeyUsage.
pub const FOR_ANYTHING: &[u8] = &[0x30, 6, 6, 4, 0x55, 0x1d, 0x25, 0];
/// digitalSignature; keyAgreement.
pub const SIGNS: &[u8] = &[3, 2, 7, 0x80];
pub const AGREES: &[u8] = &[3, 2, 3, 8];

pub fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(contents.len()).unwrap().to_be_bytes();
    match (high, low) {
        (0, 0..=0x7f) => [&[tag, low], contents].concat(),
        (0, _) => [&[tag, 0x81, low], contents].concat(),
        _ => [&[tag, 0x82, high, low], contents].concat(),
    }
}

/// The element at the start, and where its contents begin.
pub fn first(der: &[u8]) -> (&[u8], usize) {
    let (start, length) = match der[1] {
        length @ 0..=0x7f => (2, usize::from(length)),
        0x81 => (3, usize::from(der[2])),
        _ => (4, usize::from(u16::from_be_bytes([der[2], der[3]]))),
    };
    (&der[..start + length], start)
}

pub fn contents(der: &[u8]) -> &[u8] {
    let (element, start) = first(der);
    &element[start..]
}

pub fn elements(mut contents: &[u8]) -> Vec<Vec<u8>> {
    let mut elements = Vec::new();
    while !contents.is_empty() {
        let (element, _) = first(contents);
        elements.push(element.to_vec());
        contents = &contents[element.len()..];
    }
    elements
}

/// The parts of a response, each an element with its tag.
pub struct Parts {
    pub status: Vec<u8>,
    pub kind: Vec<u8>,
    /// Responder, producedAt, and what follows the responses.
    pub data: Vec<Vec<u8>>,
    /// CertID, status, thisUpdate, nextUpdate; behind them the extensions.
    pub single: Vec<Vec<u8>>,
    /// More responses in front.
    pub others: Vec<Vec<u8>>,
    pub algorithm: Vec<u8>,
    /// What follows the signature.
    pub certificates: Vec<Vec<u8>>,
}

impl Parts {
    pub fn read(response: &[u8]) -> Self {
        let [status, bytes] = <[_; 2]>::try_from(elements(contents(response))).unwrap();
        let [kind, basic] = <[_; 2]>::try_from(elements(contents(contents(&bytes)))).unwrap();
        let mut basic = elements(contents(contents(&basic))).into_iter();
        let mut data = elements(contents(&basic.next().unwrap()));
        let single = elements(contents(contents(&data.pop().unwrap())));
        let algorithm = basic.next().unwrap();
        let certificates = basic.skip(1).collect();
        Self { status, kind, data, single, others: Vec::new(), algorithm, certificates }
    }

    pub fn sign(self, key: &PKeyRef<Private>) -> Vec<u8> {
        self.sign_with(key, MessageDigest::sha256())
    }

    pub fn sign_with(self, key: &PKeyRef<Private>, digest: MessageDigest) -> Vec<u8> {
        let single = element(0x30, &self.single.concat());
        let responses = element(0x30, &[self.others.concat(), single].concat());
        let mut data = self.data;
        data.insert(2, responses);
        let data = element(0x30, &data.concat());
        let mut signature = Signature::new(digest, key).unwrap();
        let signature = signature.sign_oneshot_to_vec(&data).unwrap();
        let signature = element(3, &[&[0], &signature[..]].concat());
        let basic = [data, self.algorithm, signature, self.certificates.concat()].concat();
        let basic = element(4, &element(0x30, &basic));
        let bytes = element(0xa0, &element(0x30, &[self.kind, basic].concat()));
        element(0x30, &[self.status, bytes].concat())
    }
}

/// A good response on the leaf with one thing changed, and signed by the issuing CA's responder.
pub fn altered(edit: impl FnOnce(&mut Parts)) -> Vec<u8> {
    let mut parts = Parts::read(&on_leaf(Status::Good, current()));
    edit(&mut parts);
    parts.sign(&pki().tam_responder.key)
}

/// The hashes that name certificates: the last arc of the identifier, and the digest.
pub fn hashes() -> [(&'static [u8], MessageDigest); 4] {
    [
        (&[0x2b, 0x0e, 3, 2, 0x1a], MessageDigest::sha1()),
        (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1], MessageDigest::sha256()),
        (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2], MessageDigest::sha384()),
        (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3], MessageDigest::sha512()),
    ]
}

/// The leaf's CertID (RFC 6960, section 4.1.1) by a hash, whose parameters are NULL or absent.
pub fn named_by((identifier, digest): (&[u8], MessageDigest), null: bool) -> Vec<u8> {
    let issuer = &pki().tam_authority.certificate;
    let spki = issuer.public_key().unwrap().public_key_to_der().unwrap();
    let key = contents(&elements(contents(&spki))[1])[1..].to_vec();
    let hash = |bytes: &[u8]| element(4, &openssl::hash::hash(digest, bytes).unwrap());
    let null: &[u8] = if null { &[5, 0] } else { &[] };
    let serial = elements(contents(&Parts::read(&on_leaf(Status::Good, current())).single[0]));
    let parts = [
        element(0x30, &[&element(6, identifier), null].concat()),
        hash(&issuer.subject_name().to_der().unwrap()),
        hash(&key),
        serial[3].clone(),
    ];
    element(0x30, &parts.concat())
}

/// Another answer on the leaf, which names it by SHA-1.
pub fn another(status: Status, period: Period) -> Vec<u8> {
    let mut single = Parts::read(&on_leaf(status, period)).single;
    single[0] = named_by(hashes()[0], true);
    element(0x30, &single.concat())
}

/// Extensions, under the tag [1], with one of an identifier that nobody knows.
pub fn extensions(critical: bool, value: &[u8]) -> Vec<u8> {
    let identifier = element(6, &[0x2a, 0x03, 0x04]);
    let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
    let extension = element(0x30, &[&identifier, critical, &element(4, value)].concat());
    element(0xa1, &element(0x30, &extension))
}

pub fn generalized(seconds: i64) -> Vec<u8> {
    let status = Status::Good;
    let period = Period { this_update: seconds, next_update: seconds };
    Parts::read(&on_leaf(status, period)).data.swap_remove(1)
}

/// What the rules say that are written a second time for whoever runs a TAM, on a response on the
/// leaf.
pub fn checked(response: &[u8], now: u64) -> Result<u64, String> {
    let (leaf, issuer) = (der(leaf()), der(&pki().tam_authority.certificate));
    let read = |der| otrp_check::Certificate::read(der).unwrap();
    otrp_check::ocsp::check(response, &read(&leaf), &read(&issuer), now).map(|good| good.until)
}

pub fn set(device: &Device, seconds: i64) {
    *device.world.clock.borrow_mut() = seconds.try_into().unwrap();
}

/// Both responses for a time.
pub fn both(this_update: i64, next_update: i64) -> [Vec<u8>; 2] {
    let period = Period { this_update, next_update };
    [on_leaf(Status::Good, period), on_authority(Status::Good, period)]
}

/// A good response of a length, filled up with an extension that is not critical.
pub fn sized(length: usize) -> Vec<u8> {
    let with =
        |filler: usize| altered(|parts| parts.data.push(extensions(false, &vec![0; filler])));
    // The length of an ECDSA signature varies by a few bytes.
    let mut filler = length - with(1000).len() + 1000;
    loop {
        let response = with(filler);
        match response.len().cmp(&length) {
            std::cmp::Ordering::Equal => return response,
            std::cmp::Ordering::Less => filler += 1,
            std::cmp::Ordering::Greater => filler -= 1,
        }
    }
}
