//! Stapled OCSP: which responses show that a TAM is good, for how long, and what the clock does.
//!
//! Responses are made by `otrp-keys` and by the `openssl` program; OpenSSL judges the good ones.

use std::path::Path;
use std::process::Command as Process;

use openssl::asn1::{Asn1Object, Asn1OctetString};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::ocsp::{OcspCertId, OcspCertStatus, OcspFlag, OcspResponse};
use openssl::pkey::{PKey, PKeyRef, Private};
use openssl::sign::Signer as Signature;
use openssl::stack::Stack;
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509, X509Extension};
use otrp_engine::limits::{AUTHORITY_LIMIT, CLOCK_TOLERANCE_SECONDS, OCSP_RESPONSE_LIMIT};
use otrp_engine::pki::{Certificate, Unproven, verify_status};
use otrp_keys::certificate::{
    Identity as Signer, Purpose, Template, Validity, generate_p256, generate_rsa,
};
use otrp_keys::ocsp::{Period, Statement, Status};
use otrp_sim::{SimRsa, Snapshot};
use otrp_tam::Identity;
use otrp_tam::check;
use otrp_tam::desired::TamSettings;
use otrp_tam::message::{Builder, Command, SignerHeader, Target};
use serde_json::json;

use crate::bench::{
    self, Device, base64, der, now, pki, pki_folder, stapled, stapled_below_authority,
};
use crate::home::*;

const INVALID: &str = "ERR_REQUEST_INVALID";
const UNTRUSTED: &str = "ERR_TAM_NOT_TRUSTED";
const HOUR: i64 = 3600;

fn time() -> i64 {
    now().try_into().unwrap()
}

fn leaf() -> &'static X509 {
    &pki().tam.chain()[0]
}

/// From an hour ago to an hour from now.
fn current() -> Period {
    Period { this_update: time() - HOUR, next_update: time() + HOUR }
}

/// A response on the leaf of `tam` by the issuing CA's responder.
fn on_leaf(status: Status, period: Period) -> Vec<u8> {
    let issuer = &pki().tam_authority.certificate;
    Statement { certificate: leaf(), issuer, status, period }.sign(&pki().tam_responder).unwrap()
}

/// A response on the issuing CA by the root's responder.
fn on_authority(status: Status, period: Period) -> Vec<u8> {
    let certificate = &pki().tam_authority.certificate;
    let issuer = &pki().tam_root.certificate;
    Statement { certificate, issuer, status, period }.sign(&pki().tam_root_responder).unwrap()
}

/// A response on the leaf that claims to be by `signer`.
fn on_leaf_by(signer: &Signer) -> Vec<u8> {
    let issuer = &pki().tam_authority.certificate;
    let (status, period) = (Status::Good, current());
    Statement { certificate: leaf(), issuer, status, period }.sign(signer).unwrap()
}

fn good() -> [Vec<u8>; 2] {
    [on_leaf(Status::Good, current()), on_authority(Status::Good, current())]
}

/// GetDeviceState of `tam` with these responses.
fn question(responses: &[Vec<u8>]) -> Builder<'static> {
    let texts: Vec<String> = responses.iter().map(|response| base64(response)).collect();
    Builder::device_state(&pki().tam).edit_tbs(move |tbs| {
        tbs.insert("ocspdat".into(), texts.into());
    })
}

fn certified(purpose: Purpose, validity: Validity, issuer: &Signer) -> Signer {
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
fn responder_with(extensions: &[(&str, bool, &[u8])]) -> Signer {
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

const KEY_USAGE: &str = "2.5.29.15";
const EXTENDED_KEY_USAGE: &str = "2.5.29.37";
/// id-kp-OCSPSigning, and serverAuth in front of it.
const FOR_OCSP: &[u8] =
    &[0x30, 0x14, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 1, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 9];
/// anyExtendedKeyUsage.
const FOR_ANYTHING: &[u8] = &[0x30, 6, 6, 4, 0x55, 0x1d, 0x25, 0];
/// digitalSignature; keyAgreement.
const SIGNS: &[u8] = &[3, 2, 7, 0x80];
const AGREES: &[u8] = &[3, 2, 3, 8];

// ---- DER, taken apart and put together -------------------------------------------------------

fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(contents.len()).unwrap().to_be_bytes();
    match (high, low) {
        (0, 0..=0x7f) => [&[tag, low], contents].concat(),
        (0, _) => [&[tag, 0x81, low], contents].concat(),
        _ => [&[tag, 0x82, high, low], contents].concat(),
    }
}

/// The element at the start, and where its contents begin.
fn first(der: &[u8]) -> (&[u8], usize) {
    let (start, length) = match der[1] {
        length @ 0..=0x7f => (2, usize::from(length)),
        0x81 => (3, usize::from(der[2])),
        _ => (4, usize::from(u16::from_be_bytes([der[2], der[3]]))),
    };
    (&der[..start + length], start)
}

fn contents(der: &[u8]) -> &[u8] {
    let (element, start) = first(der);
    &element[start..]
}

fn elements(mut contents: &[u8]) -> Vec<Vec<u8>> {
    let mut elements = Vec::new();
    while !contents.is_empty() {
        let (element, _) = first(contents);
        elements.push(element.to_vec());
        contents = &contents[element.len()..];
    }
    elements
}

/// The parts of a response, each an element with its tag.
struct Parts {
    status: Vec<u8>,
    kind: Vec<u8>,
    /// Responder, producedAt, and what stands behind the responses.
    data: Vec<Vec<u8>>,
    /// CertID, status, thisUpdate, nextUpdate; behind them the extensions.
    single: Vec<Vec<u8>>,
    /// More responses in front.
    others: Vec<Vec<u8>>,
    algorithm: Vec<u8>,
    /// What stands behind the signature.
    certificates: Vec<Vec<u8>>,
}

impl Parts {
    fn read(response: &[u8]) -> Self {
        let [status, bytes] = <[_; 2]>::try_from(elements(contents(response))).unwrap();
        let [kind, basic] = <[_; 2]>::try_from(elements(contents(contents(&bytes)))).unwrap();
        let mut basic = elements(contents(contents(&basic))).into_iter();
        let mut data = elements(contents(&basic.next().unwrap()));
        let single = elements(contents(contents(&data.pop().unwrap())));
        let algorithm = basic.next().unwrap();
        let certificates = basic.skip(1).collect();
        Self { status, kind, data, single, others: Vec::new(), algorithm, certificates }
    }

    fn sign(self, key: &PKeyRef<Private>) -> Vec<u8> {
        self.sign_with(key, MessageDigest::sha256())
    }

    fn sign_with(self, key: &PKeyRef<Private>, digest: MessageDigest) -> Vec<u8> {
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
fn altered(edit: impl FnOnce(&mut Parts)) -> Vec<u8> {
    let mut parts = Parts::read(&on_leaf(Status::Good, current()));
    edit(&mut parts);
    parts.sign(&pki().tam_responder.key)
}

/// The hashes that name certificates: the last arc of the identifier, and the digest.
fn hashes() -> [(&'static [u8], MessageDigest); 4] {
    [
        (&[0x2b, 0x0e, 3, 2, 0x1a], MessageDigest::sha1()),
        (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1], MessageDigest::sha256()),
        (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2], MessageDigest::sha384()),
        (&[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3], MessageDigest::sha512()),
    ]
}

/// The leaf's CertID (RFC 6960, section 4.1.1) by a hash, whose parameters are NULL or absent.
fn named_by((identifier, digest): (&[u8], MessageDigest), null: bool) -> Vec<u8> {
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
fn another(status: Status, period: Period) -> Vec<u8> {
    let mut single = Parts::read(&on_leaf(status, period)).single;
    single[0] = named_by(hashes()[0], true);
    element(0x30, &single.concat())
}

/// Extensions, under the tag [1], with one of an identifier that nobody knows.
fn extensions(critical: bool, value: &[u8]) -> Vec<u8> {
    let identifier = element(6, &[0x2a, 0x03, 0x04]);
    let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
    let extension = element(0x30, &[&identifier, critical, &element(4, value)].concat());
    element(0xa1, &element(0x30, &extension))
}

fn generalized(seconds: i64) -> Vec<u8> {
    let status = Status::Good;
    let period = Period { this_update: seconds, next_update: seconds };
    Parts::read(&on_leaf(status, period)).data.swap_remove(1)
}

// ---- what OpenSSL says -----------------------------------------------------------------------

/// Whether OpenSSL finds that a response shows `certificate` to be good now.
fn openssl_accepts(response: &[u8], certificate: &X509, issuer: &X509) -> bool {
    let response = OcspResponse::from_der(response).unwrap();
    let basic = response.basic().unwrap();
    let mut store = X509StoreBuilder::new().unwrap();
    store.add_cert(issuer.clone()).unwrap();
    store.set_flags(X509VerifyFlags::PARTIAL_CHAIN).unwrap();
    let mut certificates = Stack::new().unwrap();
    certificates.push(issuer.clone()).unwrap();
    basic.verify(&certificates, &store.build(), OcspFlag::empty()).is_ok()
        && [MessageDigest::sha1(), MessageDigest::sha256()].into_iter().any(|digest| {
            let identifier = OcspCertId::from_cert(digest, certificate, issuer).unwrap();
            basic.find_status(&identifier).is_some_and(|status| {
                status.status == OcspCertStatus::GOOD && status.check_validity(0, None).is_ok()
            })
        })
}

/// What the rules say that are written a second time for whoever runs a TAM, on a response on the
/// leaf.
fn checked(response: &[u8], now: u64) -> Result<u64, String> {
    let (leaf, issuer) = (der(leaf()), der(&pki().tam_authority.certificate));
    let read = |der| otrp_check::Certificate::read(der).unwrap();
    otrp_check::ocsp::check(response, &read(&leaf), &read(&issuer), now).map(|good| good.until)
}

#[test]
fn openssl_accepts_what_the_device_accepts() {
    let (authority, root) = (&pki().tam_authority, &pki().tam_root);
    let [leaf_response, authority_response] = good();
    assert!(openssl_accepts(&authority_response, &authority.certificate, &root.certificate));
    let direct = on_leaf_by(authority);
    // A responder that says no more than it has to, and one that says it critically.
    let bare = on_leaf_by(&responder_with(&[(EXTENDED_KEY_USAGE, false, FOR_OCSP)]));
    let critical =
        responder_with(&[(EXTENDED_KEY_USAGE, true, FOR_OCSP), (KEY_USAGE, true, SIGNS)]);
    let critical = on_leaf_by(&critical);
    let unaltered = altered(|_| ());
    let ignored = altered(|parts| parts.data.push(extensions(false, b"?")));
    for leaf_response in [leaf_response, direct, bare, critical, unaltered, ignored] {
        assert!(openssl_accepts(&leaf_response, leaf(), &authority.certificate));
        assert!(checked(&leaf_response, now()).is_ok());
        let mut device = Device::provisioned();
        device.ask(&pki().tam, question(&[leaf_response, authority_response.clone()]));
    }
}

#[test]
fn the_device_accepts_what_openssl_makes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let write = |name: &str, bytes: Vec<u8>| std::fs::write(path.join(name), bytes).unwrap();
    let signer = |name: &str, signer: &Signer| {
        write(&format!("{name}.pem"), signer.certificate.to_pem().unwrap());
        write(&format!("{name}.key.pem"), signer.key.private_key_to_pem_pkcs8().unwrap());
    };
    signer("tam-issuing-ca", &pki().tam_authority);
    signer("tam-ocsp", &pki().tam_responder);
    write("tam.pem", leaf().to_pem().unwrap());
    let serial = leaf().serial_number().to_bn().unwrap().to_hex_str().unwrap().to_string();
    let authority = on_authority(Status::Good, current());
    // The columns of the CA's database: status, end, revocation, serial, file, subject.
    let index = |status: &str, revoked: &str| {
        format!("{status}\t351231235959Z\t{revoked}\t{serial}\tunknown\t/CN=TAM\n")
    };
    let rows = [
        (index("V", ""), "tam-ocsp", "-sha1", true),
        (index("V", ""), "tam-ocsp", "-sha256", true),
        (index("V", ""), "tam-issuing-ca", "-sha1", true),
        (index("R", "250101000000Z"), "tam-ocsp", "-sha1", false),
        (String::new(), "tam-ocsp", "-sha1", false),
    ];
    for (index, responder, hash, accepted) in rows {
        for by_key in [false, true] {
            write("index.txt", index.clone().into_bytes());
            openssl(
                path,
                &[
                    "-issuer",
                    "tam-issuing-ca.pem",
                    hash,
                    "-cert",
                    "tam.pem",
                    "-no_nonce",
                    "-reqout",
                    "request.der",
                ],
            );
            let key = format!("{responder}.key.pem");
            let certificate = format!("{responder}.pem");
            let mut arguments = vec![
                "-index",
                "index.txt",
                "-CA",
                "tam-issuing-ca.pem",
                "-rsigner",
                &certificate,
                "-rkey",
                &key,
                "-reqin",
                "request.der",
                "-respout",
                "response.der",
                "-ndays",
                "1",
            ];
            if by_key {
                arguments.push("-resp_key_id");
            }
            openssl(path, &arguments);
            let response = std::fs::read(path.join("response.der")).unwrap();
            let mut device = Device::provisioned();
            let question = question(&[response, authority.clone()]);
            if accepted {
                device.ask(&pki().tam, question);
            } else {
                let message = question.build().unwrap().message;
                assert_eq!(device.refusal(&message).code.as_deref(), Some(UNTRUSTED));
            }
        }
    }
}

fn openssl(folder: &Path, arguments: &[&str]) {
    let output = Process::new("openssl").current_dir(folder).arg("ocsp").args(arguments).output();
    let output = output.expect("the openssl program");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

#[test]
fn responses_are_signed_with_every_algorithm_of_authorities() {
    let p384 = || {
        let group = EcGroup::from_curve_name(Nid::SECP384R1).unwrap();
        PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
    };
    let keys: [PKey<Private>; 3] = [generate_p256().unwrap(), p384(), generate_rsa(2048).unwrap()];
    let template = |purpose| Template {
        organization: "OTrP tests (not for production)",
        common_name: "An authority of a test",
        purpose,
        validity: Validity::years(1),
        uri: None,
    };
    for key in keys {
        let root = template(Purpose::Root).self_sign(key).unwrap();
        let key = generate_p256().unwrap();
        let certificate = Template { common_name: "A leaf of a test", ..template(Purpose::Party) };
        let certificate = certificate.issue(&key, &root).unwrap();
        let (leaf_der, root_der) = (der(&certificate), der(&root.certificate));
        let leaf = Certificate::parse(&leaf_der).unwrap();
        let issuer = Certificate::parse(&root_der).unwrap();
        let responder = certified(Purpose::OcspResponder, Validity::years(1), &root);
        for signer in [&root, &responder] {
            let (status, period) = (Status::Good, current());
            let issuer_certificate = &root.certificate;
            let statement =
                Statement { certificate: &certificate, issuer: issuer_certificate, status, period };
            let response = statement.sign(signer).unwrap();
            assert!(openssl_accepts(&response, &certificate, &root.certificate));
            let good = verify_status::<SimRsa>(&response, &leaf, &issuer, now()).unwrap();
            assert_eq!(good.until(), u64::try_from(period.next_update).unwrap());
            assert_eq!(good.signed_at(), u64::try_from(period.this_update).unwrap());
            let mut parts = Parts::read(&response);
            parts.data[1] = generalized(period.this_update + 1);
            let forged = parts.sign(&generate_p256().unwrap());
            let judged = verify_status::<SimRsa>(&forged, &leaf, &issuer, now());
            assert_eq!(judged, Err(Unproven::Signature));
            let read = |der| otrp_check::Certificate::read(der).unwrap();
            let check = |response: &[u8]| {
                otrp_check::ocsp::check(response, &read(&leaf_der), &read(&root_der), now())
            };
            assert_eq!(check(&response).unwrap().until, good.until());
            assert!(check(&forged).is_err());
            for (identifier, digest, accepted) in signature_algorithms(&signer.key) {
                let mut parts = Parts::read(&response);
                parts.algorithm.clone_from(&identifier);
                let response = parts.sign_with(&signer.key, digest);
                assert!(openssl_accepts(&response, &certificate, &root.certificate));
                let judged = verify_status::<SimRsa>(&response, &leaf, &issuer, now());
                let expected = if accepted { Ok(good) } else { Err(Unproven::Signature) };
                assert_eq!(judged, expected, "{identifier:x?}");
            }
        }
    }
}

/// AlgorithmIdentifiers of a key's signatures (RFC 5758, section 3.2; RFC 4055, section 5), and
/// whether they are accepted.
fn signature_algorithms(key: &PKeyRef<Private>) -> Vec<(Vec<u8>, MessageDigest, bool)> {
    let digests = [
        (2, 0x0b, MessageDigest::sha256()),
        (3, 0x0c, MessageDigest::sha384()),
        (4, 0x0d, MessageDigest::sha512()),
    ];
    let mut algorithms = Vec::new();
    for (ecdsa, rsa, digest) in digests {
        if key.rsa().is_err() {
            let identifier = element(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, ecdsa]);
            algorithms.push((element(0x30, &identifier), digest, ecdsa < 4));
            continue;
        }
        let identifier = element(6, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, rsa]);
        for parameters in [&[5, 0][..], &[]] {
            algorithms.push((element(0x30, &[&identifier, parameters].concat()), digest, true));
        }
    }
    algorithms
}

#[test]
fn a_certificate_is_named_by_every_hash() {
    for hash in hashes() {
        for null in [true, false] {
            let response = altered(|parts| parts.single[0] = named_by(hash, null));
            let mut device = Device::provisioned();
            let authority = on_authority(Status::Good, current());
            device.ask(&pki().tam, question(&[response, authority]));
        }
    }
}

#[test]
fn of_several_answers_on_one_certificate_the_earliest_end_counts() {
    let issuer = der(&pki().tam_authority.certificate);
    let issuer = Certificate::parse(&issuer).unwrap();
    let leaf_der = der(leaf());
    let certificate = Certificate::parse(&leaf_der).unwrap();
    let long = current();
    let late = Period { this_update: time() - 60, next_update: time() + 2 * HOUR };
    let short = Period { this_update: time() - 2 * HOUR, next_update: time() + 60 };
    // An answer on another certificate, and one under a hash that is not known, are skipped.
    let other = {
        let certificate = &pki().other_tam.chain()[0];
        let issuer = &pki().tam_authority.certificate;
        let statement = Statement { certificate, issuer, status: Status::Revoked, period: short };
        let response = statement.sign(&pki().tam_responder).unwrap();
        element(0x30, &Parts::read(&response).single.concat())
    };
    let unknown = {
        let mut single = Parts::read(&on_leaf(Status::Revoked, short)).single;
        let sha224: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 4];
        single[0] = named_by((sha224, MessageDigest::sha224()), true);
        element(0x30, &single.concat())
    };
    for (periods, end, signed_at) in [
        (vec![long, long], long, long),
        (vec![long, short], short, long),
        (vec![short, long], short, long),
        (vec![short, late, long], short, late),
        (vec![late, long, late], long, late),
    ] {
        let mut parts = Parts::read(&on_leaf(Status::Good, periods[0]));
        // What is produced may be older than what is said.
        parts.data[1] = generalized(short.this_update);
        parts.others = vec![other.clone(), unknown.clone()];
        for (number, period) in periods[1..].iter().enumerate() {
            parts.others.push(match number {
                0 => another(Status::Good, *period),
                _ => {
                    let response = on_leaf(Status::Good, *period);
                    element(0x30, &Parts::read(&response).single.concat())
                }
            });
        }
        let response = parts.sign(&pki().tam_responder.key);
        assert!(openssl_accepts(&response, leaf(), &pki().tam_authority.certificate));
        let good = verify_status::<SimRsa>(&response, &certificate, &issuer, now()).unwrap();
        assert_eq!(good.until(), u64::try_from(end.next_update).unwrap());
        assert_eq!(good.signed_at(), u64::try_from(signed_at.this_update).unwrap());
        // The device believes the TAM until then.
        let mut device = Device::from(&home().snapshot);
        device.ask(&pki().tam, question(&[response, on_authority(Status::Good, long)]));
    }
}

// ---- what is refused -------------------------------------------------------------------------

/// Defective responses on the leaf, and why each is refused.
fn defects() -> Vec<(&'static str, Vec<u8>, Unproven)> {
    use Unproven as U;
    let valid = Validity::years(1);
    let (now, day) = (time(), 24 * HOUR);
    let authority = &pki().tam_authority;
    let responder = |purpose, validity, issuer| on_leaf_by(&certified(purpose, validity, issuer));
    let impostor =
        Signer { certificate: authority.certificate.clone(), key: generate_p256().unwrap() };
    let on = |certificate: &X509, issuer: &X509| {
        let (status, period) = (Status::Good, current());
        Statement { certificate, issuer, status, period }.sign(&pki().tam_responder).unwrap()
    };
    let hash = |place: usize| {
        altered(move |parts| {
            let mut identifier = elements(contents(&parts.single[0]));
            *identifier[place].last_mut().unwrap() ^= 1;
            parts.single[0] = element(0x30, &identifier.concat());
        })
    };
    let flipped = |needle: &[u8]| {
        let mut response = on_leaf(Status::Good, current());
        let place = response.windows(needle.len()).position(|window| window == needle).unwrap();
        response[place + needle.len() + 20] ^= 1;
        response
    };
    // The AlgorithmIdentifier before the signature, and the type before what is signed.
    let ecdsa = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    let whole = on_leaf(Status::Good, current());
    let period =
        |this_update, next_update| on_leaf(Status::Good, Period { this_update, next_update });
    let soon = now + i64::try_from(CLOCK_TOLERANCE_SECONDS).unwrap() + 60;
    let stale = Period { this_update: now - day, next_update: now - 1 };
    let future = Period { this_update: soon, next_update: soon + HOUR };
    let also = |status, period| altered(|parts| parts.others.push(another(status, period)));
    vec![
        ("revoked", on_leaf(Status::Revoked, current()), U::Revoked),
        ("unknown", on_leaf(Status::Unknown, current()), U::Unknown),
        ("stale", period(now - day, now - 1), U::Stale),
        ("from the future", period(soon, soon + HOUR), U::NotYetValid),
        (
            "produced in the future",
            altered(|parts| parts.data[1] = generalized(soon)),
            U::NotYetValid,
        ),
        ("without an end", altered(|parts| drop(parts.single.pop())), U::Endless),
        (
            "another serial",
            on(&pki().other_tam.chain()[0], &authority.certificate),
            U::OtherCertificate,
        ),
        ("another issuer's key", on(leaf(), &pki().tam_root.certificate), U::OtherCertificate),
        ("another name hash", hash(1), U::OtherCertificate),
        ("another key hash", hash(2), U::OtherCertificate),
        (
            "a hash that is not known",
            altered(|parts| {
                let mut identifier = elements(contents(&parts.single[0]));
                *identifier[0].last_mut().unwrap() = 4;
                parts.single[0] = element(0x30, &identifier.concat());
            }),
            U::OtherCertificate,
        ),
        (
            "the hashes of another hash",
            altered(|parts| {
                let mut identifier = elements(contents(&parts.single[0]));
                *identifier[0].last_mut().unwrap() = 2;
                parts.single[0] = element(0x30, &identifier.concat());
            }),
            U::OtherCertificate,
        ),
        (
            "on nothing",
            altered(|parts| {
                let other = Parts::read(&on(&pki().other_tam.chain()[0], &authority.certificate));
                parts.single = other.single;
            }),
            U::OtherCertificate,
        ),
        ("good, and revoked under another hash", also(Status::Revoked, current()), U::Revoked),
        ("good, and unknown under another hash", also(Status::Unknown, current()), U::Unknown),
        ("good, and stale under another hash", also(Status::Good, stale), U::Stale),
        ("good, and in the future under another hash", also(Status::Good, future), U::NotYetValid),
        (
            "good under another hash, and revoked",
            {
                let mut parts = Parts::read(&on_leaf(Status::Revoked, current()));
                parts.others.push(another(Status::Good, current()));
                parts.sign(&pki().tam_responder.key)
            },
            U::Revoked,
        ),
        (
            "good, and without an end the second time",
            altered(|parts| {
                parts.others.push(element(0x30, &parts.single[..3].concat()));
            }),
            U::Endless,
        ),
        ("the signature flipped", flipped(&ecdsa), U::Signature),
        (
            "the time flipped",
            {
                let mut response = whole.clone();
                let time = &contents(&Parts::read(&whole).data[1])[..8].to_vec();
                let place = response.windows(8).position(|window| window == time).unwrap();
                response[place + 11] ^= 1;
                response
            },
            U::Signature,
        ),
        ("the issuer's name and another key", on_leaf_by(&impostor), U::Signature),
        ("by another root", on_leaf_by(&pki().tam_root), U::Responder),
        (
            "by a responder without the purpose",
            responder(Purpose::Party, valid, authority),
            U::Responder,
        ),
        (
            "by one that names another issuer",
            responder(
                Purpose::OcspResponder,
                valid,
                &Signer {
                    certificate: pki().tam_root.certificate.clone(),
                    key: authority.key.clone(),
                },
            ),
            U::Responder,
        ),
        (
            "by one for any purpose",
            on_leaf_by(&responder_with(&[(EXTENDED_KEY_USAGE, false, FOR_ANYTHING)])),
            U::Responder,
        ),
        (
            "by one whose key does not sign",
            on_leaf_by(&responder_with(&[
                (EXTENDED_KEY_USAGE, false, FOR_OCSP),
                (KEY_USAGE, true, AGREES),
            ])),
            U::Responder,
        ),
        (
            "by one with a critical extension",
            on_leaf_by(&responder_with(&[
                (EXTENDED_KEY_USAGE, false, FOR_OCSP),
                ("1.2.3.4", true, &[5, 0]),
            ])),
            U::Responder,
        ),
        ("by one that signs code", responder(Purpose::TaSigning, valid, authority), U::Responder),
        (
            "by an expired responder",
            responder(
                Purpose::OcspResponder,
                Validity { not_before: now - 2 * day, not_after: now - 60 },
                authority,
            ),
            U::Responder,
        ),
        (
            "by a responder of tomorrow",
            responder(
                Purpose::OcspResponder,
                Validity { not_before: now + day, not_after: now + 2 * day },
                authority,
            ),
            U::Responder,
        ),
        ("by a responder of the root", on_leaf_by(&pki().tam_root_responder), U::Responder),
        (
            "by a responder under the authority's name",
            responder(Purpose::OcspResponder, valid, &impostor),
            U::Responder,
        ),
        (
            "without the responder's certificate",
            altered(|parts| parts.certificates.clear()),
            U::Responder,
        ),
        (
            "by the TAM itself",
            on_leaf_by(&Signer { key: pki().tam.key().to_owned(), certificate: leaf().clone() }),
            U::Responder,
        ),
        ("an internal error", element(0x30, &[0x0a, 1, 2]), U::Unsuccessful),
        (
            "an error with a good answer",
            altered(|parts| parts.status = vec![0x0a, 1, 3]),
            U::Unsuccessful,
        ),
        ("success without an answer", element(0x30, &[0x0a, 1, 0]), U::Malformed),
        ("another type", altered(|parts| *parts.kind.last_mut().unwrap() = 2), U::Kind),
        (
            "another version",
            altered(|parts| {
                parts.data[0] = [element(0xa0, &[2, 1, 1]), parts.data[0].clone()].concat();
            }),
            U::Malformed,
        ),
        (
            "a critical extension",
            altered(|parts| parts.data.push(extensions(true, b"?"))),
            U::CriticalExtension,
        ),
        (
            "a critical extension of the answer",
            altered(|parts| {
                parts.single.push(extensions(true, b"?"));
            }),
            U::CriticalExtension,
        ),
        ("another status", altered(|parts| parts.single[1] = vec![0x83, 0]), U::Malformed),
        (
            "good with something in it",
            altered(|parts| parts.single[1] = vec![0x80, 1, 0]),
            U::Malformed,
        ),
        ("no status", altered(|parts| drop(parts.single.remove(1))), U::Malformed),
        (
            "something behind the answer",
            altered(|parts| parts.single.push(vec![5, 0])),
            U::Malformed,
        ),
        (
            "something behind the certificates",
            altered(|parts| parts.certificates.push(vec![5, 0])),
            U::Malformed,
        ),
        ("nothing", Vec::new(), U::Malformed),
        ("not DER", vec![0; 100], U::Malformed),
        ("a certificate", der(leaf()), U::Malformed),
        ("a byte more", [&whole[..], &[0]].concat(), U::Malformed),
        ("a byte less", whole[..whole.len() - 1].to_vec(), U::Malformed),
        ("twice", whole.repeat(2), U::Malformed),
        ("too large", sized(OCSP_RESPONSE_LIMIT + 1), U::TooLong),
    ]
}

/// A good response of a length, filled up with an extension that is not critical.
fn sized(length: usize) -> Vec<u8> {
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

#[test]
fn responses_that_are_defective() {
    let authority = on_authority(Status::Good, current());
    let issuer = der(&pki().tam_authority.certificate);
    let issuer = Certificate::parse(&issuer).unwrap();
    let leaf_der = der(leaf());
    let certificate = Certificate::parse(&leaf_der).unwrap();
    let mut refusals = Refusals::begin();
    for (what, response, reason) in defects() {
        // Refused for the right reason, by which one row differs from another.
        let judged = verify_status::<SimRsa>(&response, &certificate, &issuer, now());
        assert_eq!(judged, Err(reason), "{what}");
        assert!(checked(&response, now()).is_err(), "{what}: not said before");
        refusals.refused(
            what,
            UNTRUSTED,
            Answer::Anonymous,
            question(&[response, authority.clone()]),
        );
    }
    // One of the largest size is taken.
    let largest = sized(OCSP_RESPONSE_LIMIT);
    assert!(verify_status::<SimRsa>(&largest, &certificate, &issuer, now()).is_ok());
    assert!(checked(&largest, now()).is_ok());
    refusals.end(Base::CreateSd);
}

#[test]
fn responses_with_a_byte_changed() {
    let issuer = der(&pki().tam_authority.certificate);
    let issuer = Certificate::parse(&issuer).unwrap();
    let leaf_der = der(leaf());
    let certificate = Certificate::parse(&leaf_der).unwrap();
    let judge = |response: &[u8]| {
        let judged = verify_status::<SimRsa>(response, &certificate, &issuer, now());
        assert_eq!(judged.is_ok(), checked(response, now()).is_ok());
        judged
    };
    for whole in [on_leaf(Status::Good, current()), on_leaf_by(&pki().tam_authority)] {
        assert!(judge(&whole).is_ok());
        for length in 0..whole.len() {
            assert!(judge(&whole[..length]).is_err(), "cut to {length}");
        }
        for position in 0..whole.len() {
            for change in [1, 0x20, 0x80] {
                let mut changed = whole.clone();
                changed[position] ^= change;
                assert!(judge(&changed).is_err(), "{position} changed by {change:#x}");
            }
        }
    }
}

#[test]
fn authorities_that_are_not_good() {
    let now = time();
    let leaf_response = on_leaf(Status::Good, current());
    let whole = on_authority(Status::Good, current());
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let on_itself = {
        let certificate = &pki().tam_authority.certificate;
        let (status, period) = (Status::Good, current());
        let statement = Statement { certificate, issuer: certificate, status, period };
        statement.sign(&pki().tam_authority).unwrap()
    };
    let rows = [
        ("revoked", on_authority(Status::Revoked, current())),
        ("unknown", on_authority(Status::Unknown, current())),
        ("stale", on_authority(Status::Good, Period::hours_from(now - 2 * HOUR, 1))),
        ("by itself", on_itself),
        ("the leaf's again", leaf_response.clone()),
        ("empty", Vec::new()),
    ];
    // At home the authority is known to be good; a word against it, or nonsense, counts all the same.
    let mut refusals = Refusals::begin();
    for (what, response) in rows {
        let question = question(&[leaf_response.clone(), response]);
        refusals.refused(what, UNTRUSTED, Answer::Anonymous, question);
    }
    refusals.end(Base::CreateSd);
}

#[test]
fn lists_that_are_not_those_of_the_path() {
    let [leaf_response, authority] = good();
    let mut refusals = Refusals::begin();
    let lists: [(&str, &[&Vec<u8>]); 5] = [
        ("none", &[]),
        ("the authority's alone", &[&authority]),
        ("the wrong order", &[&authority, &leaf_response]),
        ("one more", &[&leaf_response, &authority, &authority]),
        ("the leaf's twice", &[&leaf_response, &leaf_response]),
    ];
    for (what, list) in lists {
        let list: Vec<Vec<u8>> = list.iter().map(|response| (*response).clone()).collect();
        refusals.refused(what, UNTRUSTED, Answer::Anonymous, question(&list));
    }
    let many = vec![leaf_response.clone(); 5];
    refusals.refused("more than any path has", INVALID, Answer::Anonymous, question(&many));
    for (what, code, value) in [
        ("an empty text", UNTRUSTED, json!("")),
        ("a text in a list", UNTRUSTED, json!([""])),
        ("not base64", INVALID, json!(["%%%%"])),
        ("a number", INVALID, json!([7])),
        (
            "the dummy of the samples",
            UNTRUSTED,
            json!("c2FtcGxlIG9jc3BkYXQgQjY0IGVuY29kZWQgQVNOMQ=="),
        ),
    ] {
        let request = Builder::device_state(&pki().tam).edit_tbs(|tbs| {
            tbs.insert("ocspdat".into(), value);
        });
        refusals.refused(what, code, Answer::Anonymous, request);
    }
    let both = question(&[leaf_response, authority.clone()]).build();
    assert!(both.is_ok());
    // In its other member too it is one too many.
    let samples = Builder::device_state(&pki().tam).edit_tbs(|tbs| {
        tbs.insert("icaocspdat".into(), base64(&authority).into());
    });
    refusals.refused("the authority's in both members", UNTRUSTED, Answer::Anonymous, samples);
    refusals.end(Base::CreateSd);
}

#[test]
fn a_stranger_is_told_the_same_with_and_without_a_certificate_for_the_device() {
    // Revoked, it learns neither that the device has no certificate nor which algorithms it has.
    let revoked = || {
        question(&[on_leaf(Status::Revoked, current()), on_authority(Status::Good, current())])
            .edit_message(|_| ())
    };
    let mut refusals = Refusals::begin();
    refusals.refused("revoked", UNTRUSTED, Answer::Anonymous, revoked());
    refusals.end(Base::CreateSd);
    let mut blank = Device::blank();
    let reply = blank.process(&revoked().build().unwrap().message).unwrap();
    let payload: serde_json::Value = serde_json::from_slice(&reply).unwrap();
    let payload = payload["GetDeviceTEEStateResponse"]["payload"].as_str().unwrap();
    let payload = otrp_tam::encoding::from_base64url(payload).unwrap();
    assert!(String::from_utf8(payload).unwrap().contains(UNTRUSTED));
}

// ---- what is remembered ----------------------------------------------------------------------

#[test]
fn an_authority_is_remembered_while_it_is_good() {
    let tam = &pki().tam;
    let until = time() + HOUR;
    let alone = || question(&[on_leaf(Status::Good, current())]);
    let refused = |device: &mut Device, what: &str| {
        let before = device.world.snapshot();
        let message = alone().build().unwrap().message;
        assert_eq!(device.refusal(&message).code.as_deref(), Some(UNTRUSTED), "{what}");
        assert!(device.world.snapshot() == before, "{what}");
    };
    let mut device = Device::provisioned();
    refused(&mut device, "nothing is known of the authority");
    let both = [
        on_leaf(Status::Good, current()),
        on_authority(Status::Good, Period { this_update: time(), next_update: until }),
    ];
    device.ask(tam, question(&both));
    device.ask(tam, alone());
    device.reboot();
    device.ask(tam, alone());
    // Another TAM of the same authority needs its own response only.
    let other = &pki().other_tam;
    let others = Builder::device_state(other).edit_tbs(|tbs| {
        tbs["ocspdat"].as_array_mut().unwrap().truncate(1);
    });
    device.ask(other, others);
    // A word that ends sooner does not shorten what is known.
    let shorter = Period { this_update: time(), next_update: until - HOUR / 2 };
    device.ask(
        tam,
        question(&[on_leaf(Status::Good, current()), on_authority(Status::Good, shorter)]),
    );

    let later = Period { this_update: time() - HOUR, next_update: until + HOUR };
    let alone = || question(&[on_leaf(Status::Good, later)]);
    *device.world.clock.borrow_mut() = u64::try_from(until - 1).unwrap();
    device.ask(tam, alone());
    *device.world.clock.borrow_mut() = u64::try_from(until).unwrap();
    let before = device.world.snapshot();
    let message = alone().build().unwrap().message;
    assert_eq!(device.refusal(&message).code.as_deref(), Some(UNTRUSTED));
    assert!(device.world.snapshot() == before);
    device.ask(tam, question(&[on_leaf(Status::Good, later), on_authority(Status::Good, later)]));
    device.ask(tam, alone());
}

#[test]
fn so_many_authorities_are_remembered() {
    let mut device = Device::provisioned();
    let authorities: Vec<Signer> = (0..=AUTHORITY_LIMIT)
        .map(|_| certified(Purpose::IssuingAuthority, Validity::years(1), &pki().tam_root))
        .collect();
    let tams: Vec<Identity> = authorities
        .iter()
        .enumerate()
        .map(|(number, authority)| {
            let key = generate_p256().unwrap();
            let certificate = Template {
                organization: "OTrP tests (not for production)",
                common_name: "A TAM of a test",
                purpose: Purpose::Party,
                validity: Validity::years(1),
                // One TAM, so that the number of TAMs is no limit.
                uri: Some("https://tam.example"),
            }
            .issue(&key, authority)
            .unwrap();
            let root = pki().tam_root.certificate.clone();
            let chain = vec![certificate, authority.certificate.clone(), root];
            let tam = Identity::new(key, chain, None).unwrap();
            // The first of them has the response that ends first.
            let hours = u16::try_from(number + 1).unwrap();
            let status = Status::Good;
            let leaf_response = Statement {
                certificate: &tam.chain()[0],
                issuer: &authority.certificate,
                status,
                period: Period::hours(hours),
            };
            let authority_response = Statement {
                certificate: &authority.certificate,
                issuer: &pki().tam_root.certificate,
                status,
                period: Period::hours(hours),
            };
            let responses = vec![
                leaf_response.sign(authority).unwrap(),
                authority_response.sign(&pki().tam_root).unwrap(),
            ];
            tam.staple(responses)
        })
        .collect();
    let alone = |tam| {
        Builder::device_state(tam).edit_tbs(|tbs| {
            tbs["ocspdat"].as_array_mut().unwrap().truncate(1);
        })
    };
    for tam in &tams {
        device.state(tam);
    }
    let message = alone(&tams[0]).build().unwrap().message;
    assert_eq!(device.refusal(&message).code.as_deref(), Some(UNTRUSTED));
    for tam in &tams[1..] {
        device.ask(tam, alone(tam));
    }
}

#[test]
fn commands_are_believed_as_long_as_the_responses() {
    let tam = &pki().tam;
    for (leaf_hours, authority_hours) in [(1, 2), (2, 1)] {
        let start = time();
        let mut device = Device::from(&home().snapshot);
        // At home the authority is known to be good for longer; what is stapled counts.
        let responses = [
            on_leaf(Status::Good, Period::hours_from(start, leaf_hours)),
            on_authority(Status::Good, Period::hours_from(start, authority_hours)),
        ];
        let target = Target::from(&device.ask(tam, question(&responses)));
        let end = u64::try_from(start + HOUR).unwrap();
        *device.world.clock.borrow_mut() = end;
        let before = device.world.snapshot();
        for header in [SignerHeader::Chain, SignerHeader::KeyId, SignerHeader::Absent] {
            let late = Builder::command(tam, &target, Base::DeleteTa.command()).signer(header);
            assert_eq!(device.fail(tam, late), UNTRUSTED);
        }
        assert!(device.world.snapshot() == before);
        *device.world.clock.borrow_mut() = end - 1;
        device.pass(tam, Builder::command(tam, &target, Base::DeleteTa.command()));
    }
}

/// `tam` with a certificate of its own for the key that it had, or for another.
fn renewed(key: PKey<Private>, issuer: &Signer) -> Identity {
    let certificate = Template {
        organization: "OTrP tests (not for production)",
        common_name: "A TAM of a test, renewed",
        purpose: Purpose::Party,
        validity: Validity::years(2),
        uri: Some(pki().tam.tam_id()),
    }
    .issue(&key, issuer)
    .unwrap();
    let root = pki().tam_root.certificate.clone();
    let chain = vec![certificate, issuer.certificate.clone(), root];
    stapled(Identity::new(key, chain, None).unwrap(), &[issuer, &pki().tam_root])
}

#[test]
fn a_renewed_tam_keeps_what_is_its_own() {
    let old = &pki().tam;
    let other_authority = certified(Purpose::IssuingAuthority, Validity::years(1), &pki().tam_root);
    // The same authority certified again: the same leaf, by another path.
    let again = {
        let template = Template {
            organization: otrp_keys::development::ORGANIZATION,
            common_name: "OTrP development TAM issuing CA",
            purpose: Purpose::IssuingAuthority,
            validity: Validity::years(3),
            uri: None,
        };
        let key = pki().tam_authority.key.clone();
        let certificate = template.issue(&key, &pki().tam_root).unwrap();
        let mut chain = old.chain().to_vec();
        chain[1] = certificate.clone();
        let issuer = Signer { key, certificate };
        stapled(
            Identity::new(old.key().to_owned(), chain, None).unwrap(),
            &[&issuer, &pki().tam_root],
        )
    };
    let new_tams = [
        ("another certificate", renewed(old.key().to_owned(), &pki().tam_authority)),
        ("another key", renewed(generate_p256().unwrap(), &pki().tam_authority)),
        ("another authority", renewed(generate_p256().unwrap(), &other_authority)),
        ("another path", again),
    ];
    for (what, new) in new_tams {
        let mut device = Device::from(&home().snapshot);
        let delete = || Command::DeleteTa { spid: None, name: DOMAIN, taid: TA };
        // Not before its own responses were seen.
        let early = Builder::command(&new, &home().target, delete());
        assert_eq!(device.fail(&new, early), UNTRUSTED, "{what}");
        assert!(device.world.snapshot() == home().snapshot, "{what}");
        let target = Target::from(&device.state(&new));
        // And the old certificate not after them.
        let late = Builder::command(old, &target, delete());
        assert_eq!(device.fail(old, late), UNTRUSTED, "{what}");
        device.pass(&new, Builder::command(&new, &target, delete()));
        // It may come back, with its own.
        device.carry_out(old, Base::CreateSd.command());
    }
}

// ---- the clock -------------------------------------------------------------------------------

fn set(device: &Device, seconds: i64) {
    *device.world.clock.borrow_mut() = seconds.try_into().unwrap();
}

/// What a device says to GetDeviceState with these responses; it changes nothing if it refuses.
fn code(device: &mut Device, responses: &[Vec<u8>]) -> Option<String> {
    let before = device.world.snapshot();
    let message = question(responses).build().unwrap().message;
    let reply = device.process(&message).unwrap();
    let text = String::from_utf8_lossy(&reply);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let payload = value["GetDeviceTEEStateResponse"]["payload"].as_str().unwrap();
    let payload = otrp_tam::encoding::from_base64url(payload).unwrap();
    let inner: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    let tbs = &inner["GetDeviceTEEStateTBSResponse"];
    let code = tbs["reason"]["error-code"].as_str().map(String::from);
    assert_eq!(code.is_some(), device.world.snapshot() == before);
    code
}

/// Both responses for a time.
fn both(this_update: i64, next_update: i64) -> [Vec<u8>; 2] {
    let period = Period { this_update, next_update };
    [on_leaf(Status::Good, period), on_authority(Status::Good, period)]
}

#[test]
fn a_clock_set_back_revives_no_response_that_the_floor_has_passed() {
    let start = time();
    // The broker is built a minute before now.
    let ended = both(start - HOUR, start - 10);
    let mut fresh = Device::provisioned();
    set(&fresh, start - 30);
    // Before the device has seen anything later, nobody can know that it is over.
    assert_eq!(code(&mut fresh, &ended), None);

    let mut device = Device::provisioned();
    set(&device, start);
    assert_eq!(code(&mut device, &ended).as_deref(), Some(UNTRUSTED));
    assert_eq!(code(&mut device, &both(start, start + HOUR)), None);
    for back in [start - 30, 0] {
        set(&device, back);
        assert_eq!(code(&mut device, &ended).as_deref(), Some(UNTRUSTED));
        device.reboot();
        assert_eq!(code(&mut device, &ended).as_deref(), Some(UNTRUSTED), "after a reboot");
    }
    // Which the right clock does not need, and does not mind.
    assert_eq!(code(&mut device, &both(start, start + HOUR)), None);
    // Of the responses that are stapled the latest counts, and of each its later time.
    let produced_later = |at: i64| {
        let mut parts = Parts::read(&on_leaf(Status::Good, Period::hours_from(start, 1)));
        parts.data[1] = generalized(at);
        parts.sign(&pki().tam_responder.key)
    };
    let at = |time| on_authority(Status::Good, Period::hours_from(time, 1));
    let (first, second) = (start + 100, start + 200);
    for (latest, responses) in
        [(first, [produced_later(first), at(start)]), (second, [produced_later(start), at(second)])]
    {
        set(&device, latest);
        assert_eq!(code(&mut device, &responses), None);
        set(&device, 0);
        device.reboot();
        assert_eq!(code(&mut device, &both(start, latest)).as_deref(), Some(UNTRUSTED));
        // An older response that is still good does not take back what is known.
        assert_eq!(code(&mut device, &both(start, latest + 1)), None);
        device.reboot();
        assert_eq!(code(&mut device, &both(start, latest)).as_deref(), Some(UNTRUSTED));
    }
}

#[test]
fn a_clock_set_back_revives_no_certificate_that_the_floor_has_passed() {
    let start = time();
    let key = generate_p256().unwrap();
    let certificate = Template {
        organization: "OTrP tests (not for production)",
        common_name: "A TAM of a test",
        purpose: Purpose::Party,
        validity: Validity { not_before: start - HOUR, not_after: start + 100 },
        uri: Some("https://short-lived.example"),
    }
    .issue(&key, &pki().tam_authority)
    .unwrap();
    let mut chain = pki().tam.chain().to_vec();
    chain[0] = certificate;
    let short_lived = stapled_below_authority(Identity::new(key, chain, None).unwrap());
    let mut device = Device::provisioned();
    let target = Target::from(&device.state(&short_lived));
    // Time goes by, and another TAM brings the proof of it.
    set(&device, start + 101);
    assert_eq!(code(&mut device, &both(start + 101, start + HOUR)), None);
    set(&device, start);
    device.reboot();
    let message = Builder::device_state(&short_lived).build().unwrap().message;
    assert_eq!(device.refusal(&message).code.as_deref(), Some(UNTRUSTED));
    let create = Command::CreateSd { spid: SP, name: DOMAIN, certificate: &home().certificate };
    let command = Builder::command(&short_lived, &target, create).build().unwrap().message;
    assert_eq!(device.refusal(&command).code.as_deref(), Some(UNTRUSTED));
}

#[test]
fn a_clock_that_runs_ahead_or_stands_still_only_refuses() {
    let start = time();
    let mut device = Device::from(&home().snapshot);
    let responses = both(start, start + HOUR);
    for ahead in [start + HOUR, start + 30 * 365 * 24 * HOUR] {
        set(&device, ahead);
        assert_eq!(code(&mut device, &responses).as_deref(), Some(UNTRUSTED));
        device.reboot();
    }
    set(&device, start);
    assert_eq!(code(&mut device, &responses), None, "nothing of it is remembered");

    // A clock that stands still finds that later responses are from the future; a small difference
    // between two clocks is not held against anybody.
    let mut device = Device::provisioned();
    let tolerance = i64::try_from(CLOCK_TOLERANCE_SECONDS).unwrap();
    set(&device, start);
    let later = start + tolerance + 1;
    assert_eq!(code(&mut device, &both(later, later + HOUR)).as_deref(), Some(UNTRUSTED));
    assert_eq!(code(&mut device, &both(later - 1, later + HOUR)), None);
}

#[test]
fn nothing_is_tolerated_at_the_end() {
    let start = time();
    let mut device = Device::provisioned();
    set(&device, start);
    assert_eq!(code(&mut device, &both(start - HOUR, start)).as_deref(), Some(UNTRUSTED));
    assert_eq!(code(&mut device, &both(start - HOUR, start + 1)), None);
}

#[test]
fn no_other_record_is_written() {
    // The proof costs no storage of its own, so a power cut finds the state before or after.
    let before: Snapshot = home().snapshot.clone();
    let mut device = Device::from(&before);
    device.ask(&pki().tam, question(&good()));
    let after = device.world.snapshot();
    assert_ne!(after.record, before.record);
    assert!(Snapshot { record: before.record.clone(), ..after } == before);
}

// ---- the TAM ---------------------------------------------------------------------------------

/// Times at which the device and whoever runs the TAM must agree, in every form.
#[test]
fn times_are_judged_alike() {
    let issuer = der(&pki().tam_authority.certificate);
    let issuer = Certificate::parse(&issuer).unwrap();
    let leaf_der = der(leaf());
    let certificate = Certificate::parse(&leaf_der).unwrap();
    let at = time();
    let tolerance = i64::try_from(CLOCK_TOLERANCE_SECONDS).unwrap();
    let text = |text: &str| element(0x18, text.as_bytes());
    let fraction = || text("20200101000000.5Z");
    let rows = [
        ("a minute ahead", on_leaf(Status::Good, Period::hours_from(at + 60, 1)), true),
        (
            "as much as is tolerated",
            on_leaf(Status::Good, Period::hours_from(at + tolerance, 1)),
            true,
        ),
        ("more", on_leaf(Status::Good, Period::hours_from(at + tolerance + 1, 1)), false),
        ("produced ahead", altered(|parts| parts.data[1] = generalized(at + tolerance)), true),
        ("and more", altered(|parts| parts.data[1] = generalized(at + tolerance + 1)), false),
        (
            "its last second",
            on_leaf(Status::Good, Period { this_update: at - 9, next_update: at + 1 }),
            true,
        ),
        ("its end", on_leaf(Status::Good, Period { this_update: at - 9, next_update: at }), false),
        ("a fraction", altered(|parts| parts.data[1] = fraction()), false),
        ("a fraction of thisUpdate", altered(|parts| parts.single[2] = fraction()), false),
        ("another zone", altered(|parts| parts.data[1] = text("20200101000000+0100")), false),
        ("no seconds", altered(|parts| parts.data[1] = text("202001010000Z")), false),
        ("no such day", altered(|parts| parts.data[1] = text("20200230000000Z")), false),
        ("before 1970", altered(|parts| parts.data[1] = text("19691231235959Z")), false),
        ("UTCTime", altered(|parts| parts.data[1] = element(0x17, b"200101000000Z")), false),
    ];
    for (what, response, accepted) in rows {
        let now = u64::try_from(at).unwrap();
        let judged = verify_status::<SimRsa>(&response, &certificate, &issuer, now);
        assert_eq!(judged.is_ok(), accepted, "{what}: {judged:?}");
        let checked = checked(&response, now);
        assert_eq!(
            checked.as_ref().ok().copied(),
            judged.ok().map(otrp_engine::pki::Good::until),
            "{what}: {checked:?}"
        );
    }
}

/// One certificate may be named in several ways (RFC 9919).
#[test]
fn two_identifiers_of_one_certificate_are_judged_alike() {
    let issuer = der(&pki().tam_authority.certificate);
    let issuer = Certificate::parse(&issuer).unwrap();
    let leaf_der = der(leaf());
    let certificate = Certificate::parse(&leaf_der).unwrap();
    let single = |status, next_update| {
        let period = Period { this_update: time() - HOUR, next_update };
        element(0x30, &Parts::read(&on_leaf(status, period)).single.concat())
    };
    let soon = time() + 60;
    for (what, other, expected) in [
        ("both good", single(Status::Good, soon), Some(soon)),
        ("one revoked", single(Status::Revoked, soon), None),
        ("one unknown", single(Status::Unknown, soon), None),
        ("one over", single(Status::Good, time() - 1), None),
    ] {
        let response = altered(move |parts| parts.others.push(other));
        let expected = expected.map(|end| u64::try_from(end).unwrap());
        let checked = checked(&response, now());
        assert_eq!(checked.as_ref().ok().copied(), expected, "{what}: {checked:?}");
        let judged = verify_status::<SimRsa>(&response, &certificate, &issuer, now());
        assert_eq!(judged.ok().map(otrp_engine::pki::Good::until), expected, "{what}");
    }
}

#[test]
fn the_tam_says_what_is_wrong_before_a_device_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let now = time();
    let past = Period { this_update: now - 2 * HOUR, next_update: now - HOUR };
    let future = Period { this_update: now + HOUR, next_update: now + 2 * HOUR };
    let mut forged = on_leaf(Status::Good, current());
    *forged.last_mut().unwrap() ^= 1;
    let standing = |ocsp: &str| {
        let key = |file: &str| pki_folder().join(file).display().to_string();
        let text = format!(
            "[tam]\nkey = '{}'\nchain = '{}'\ntee_roots = ['{}']\nocsp = {ocsp}\n",
            key("tam.key.pem"),
            key("tam.chain.pem"),
            key("tee-root.pem"),
        );
        std::fs::write(path("desired.toml"), text).unwrap();
        let settings = TamSettings::read(&path("desired.toml")).unwrap();
        check::standing(&settings, &settings.identity, bench::now())
    };
    for (name, response) in ["a", "b"].into_iter().zip(good()) {
        std::fs::write(path(name), response).unwrap();
    }
    let rows = [
        (on_leaf(Status::Revoked, current()), "the certificate is revoked"),
        (on_leaf(Status::Unknown, current()), "does not know the certificate"),
        (on_leaf(Status::Good, past), "only; get a new one"),
        (on_leaf(Status::Good, future), "it is from the future"),
        (altered(|parts| drop(parts.single.pop())), "does not say when it ends"),
        (on_authority(Status::Good, current()), "not signed by the issuer or its responder"),
        (on_leaf_by(&pki().tam_root), "not signed by the issuer or its responder"),
        (forged, "not signed by the issuer or its responder"),
        (sized(OCSP_RESPONSE_LIMIT + 1), "and a device takes 4096"),
        (element(0x30, &[0x0a, 1, 3]), "the responder could not answer"),
        (b"PEM".to_vec(), "not an OCSP response in strict DER"),
    ];
    for (response, expected) in rows {
        std::fs::write(path("leaf.ocsp"), response).unwrap();
        let [text] = &standing("['leaf.ocsp', 'b']").faults[..] else { panic!("{expected}") };
        assert!(text.contains(expected) && text.contains("leaf.ocsp"), "{text}");
        assert!(text.contains("OTrP development TAM"), "{text}");
    }
    let faults = |ocsp: &str| standing(ocsp).faults.join("\n");
    assert_eq!(faults("['a', 'b']"), "");
    assert_eq!(standing("['a', 'b']").responses.len(), 2);
    assert!(faults("['missing.ocsp', 'b']").starts_with("cannot read the OCSP response"));
    assert!(faults("['a']").contains("no OCSP response for certificate 2"));
    assert_eq!(faults("[]").lines().count(), 2);
    assert_eq!(faults("['b', 'a']").lines().count(), 2);
    assert!(faults("['a', 'b', 'b']").contains("there are 3 OCSP responses"));
}
