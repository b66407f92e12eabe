//! Which devices are served: those certified as TEEs, and of these the ones on the list.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use common::harness::{Server, connect, converge, post};
use common::{Device, Holder, Profile, issue, new_key, new_rsa_key};
use openssl::base64::encode_block;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::sha::sha256;
use openssl::x509::X509;
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage};
use otrp_tam::certificate::TeeRoots;

/// As `python3 -c 'import uuid; print(uuid.UUID("9e043ec0-1043-415e-853d-690a6d341054").int)'` has it.
const TEE: &str = "2.25.210040065247686543256106716383694557268.1";

/// The extensions of a certificate.
#[derive(Clone, Copy, Default)]
struct Extensions {
    authority: bool,
    /// `None`: there is no keyUsage.
    usage: Option<fn(&mut KeyUsage) -> &mut KeyUsage>,
    purposes: &'static [&'static str],
}

fn certify(extensions: Extensions, key: PKey<Private>, name: &str, issuer: &Holder) -> Holder {
    let plain = issue(&Profile::leaf(name), key.clone(), Some(issuer)).certificate;
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_serial_number(plain.serial_number()).unwrap();
    builder.set_subject_name(plain.subject_name()).unwrap();
    builder.set_issuer_name(plain.issuer_name()).unwrap();
    builder.set_not_before(plain.not_before()).unwrap();
    builder.set_not_after(plain.not_after()).unwrap();
    builder.set_pubkey(&key).unwrap();
    if extensions.authority {
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    }
    if let Some(usage) = extensions.usage {
        let usage = usage(KeyUsage::new().critical()).build().unwrap();
        builder.append_extension(usage).unwrap();
    }
    if !extensions.purposes.is_empty() {
        let mut purposes = ExtendedKeyUsage::new();
        for purpose in extensions.purposes {
            purposes.other(purpose);
        }
        builder.append_extension(purposes.build().unwrap()).unwrap();
    }
    builder.sign(&issuer.key, MessageDigest::sha256()).unwrap();
    Holder { certificate: builder.build(), key }
}

/// Of a TEE on a curve.
const PLAIN: Extensions = Extensions {
    authority: false,
    usage: Some(|it| it.digital_signature().key_agreement()),
    purposes: &[],
};

#[test]
fn a_certificate_for_another_purpose_is_not_a_tees() {
    let server = Server::start("");
    let ca = &server.pki.tee_ca;
    let with = |purposes| Extensions { purposes, ..PLAIN };
    let usage = |usage| Extensions { usage: Some(usage), ..PLAIN };
    let authority = Extensions { authority: true, usage: None, purposes: &[] };
    let rows = [
        ("nothing special", PLAIN, true),
        ("no keyUsage", Extensions { usage: None, ..PLAIN }, true),
        ("any purpose", with(&["2.5.29.37.0"]), true),
        ("the purpose of TEEs", with(&[TEE]), true),
        ("the purpose of TEEs and another", with(&["clientAuth", TEE]), true),
        ("an OCSP responder", with(&["OCSPSigning"]), false),
        (
            "an OCSP responder without key agreement",
            Extensions { usage: Some(|it| it.digital_signature()), ..with(&["OCSPSigning"]) },
            false,
        ),
        ("a TLS client", with(&["clientAuth"]), false),
        ("code signing", with(&["codeSigning"]), false),
        (
            "a purpose beside that of TEEs",
            with(&["2.25.210040065247686543256106716383694557268.2"]),
            false,
        ),
        (
            "a purpose above that of TEEs",
            with(&["2.25.210040065247686543256106716383694557268"]),
            false,
        ),
        ("an authority without keyUsage", authority, false),
        ("an authority with a TEE's keyUsage", Extensions { authority: true, ..PLAIN }, false),
        (
            "a key that issues certificates",
            usage(|it| it.digital_signature().key_agreement().key_cert_sign()),
            false,
        ),
        ("a key that signs nothing", usage(|it| it.key_agreement()), false),
        ("a key that receives no keys", usage(|it| it.digital_signature()), false),
        (
            "a key that receives keys as RSA does",
            usage(|it| it.digital_signature().key_encipherment()),
            false,
        ),
    ];
    for (what, extensions, is_tee) in rows {
        let mut device = Device::new(certify(extensions, new_key(), "a TEE", ca), ca);
        let answer = device.process(&connect(server.address).body);
        let expected = if is_tee { 204 } else { 400 };
        assert_eq!(post(server.address, &answer).status, expected, "{what}");
    }
    assert_eq!(server.records().len(), 5);
    for (what, extensions, is_tee) in [
        ("RSA", usage(|it| it.digital_signature().key_encipherment()), true),
        ("RSA without key encipherment", PLAIN, false),
    ] {
        let key = new_rsa_key(2048);
        let mut device = Device::new(certify(extensions, key, "a TEE", ca), ca);
        let answer = device.process(&connect(server.address).body);
        let expected = if is_tee { 204 } else { 400 };
        assert_eq!(post(server.address, &answer).status, expected, "{what}");
    }
}

/// A purpose on an authority binds those below it, as it does for a device that imports its chain.
#[test]
fn an_authority_for_another_purpose_issues_no_tee_certificates() {
    let server = Server::start("");
    for (purposes, is_tee) in [
        (&[][..], true),
        (&["2.5.29.37.0"], true),
        (&[TEE], true),
        (&["serverAuth"], false),
        (&["OCSPSigning", "codeSigning"], false),
    ] {
        let usage: fn(&mut KeyUsage) -> &mut KeyUsage = |it| it.key_cert_sign();
        let extensions = Extensions { authority: true, usage: Some(usage), purposes };
        let ca = certify(extensions, new_key(), "another TEE CA", &server.pki.tee_root);
        let mut device = Device::new(certify(PLAIN, new_key(), "a TEE", &ca), &ca);
        let answer = device.process(&connect(server.address).body);
        let expected = if is_tee { 204 } else { 400 };
        assert_eq!(post(server.address, &answer).status, expected, "{purposes:?}");
    }
}

#[test]
fn the_purpose_of_tees_can_be_required() {
    let server = Server::start("");
    let text = format!("{}require_tee_purpose = true\n", server.tam_section);
    std::fs::write(server.path("desired.toml"), text).unwrap();
    let ca = &server.pki.tee_ca;
    for (purposes, is_tee) in [
        (&[][..], false),
        (&["2.5.29.37.0"], false),
        (&["clientAuth"], false),
        (&[TEE], true),
        (&["clientAuth", TEE], true),
    ] {
        let extensions = Extensions { purposes, ..PLAIN };
        let mut device = Device::new(certify(extensions, new_key(), "a TEE", ca), ca);
        let answer = device.process(&connect(server.address).body);
        let expected = if is_tee { 204 } else { 400 };
        assert_eq!(post(server.address, &answer).status, expected, "{purposes:?}");
    }
}

#[test]
fn firmware_is_certified_for_every_purpose_or_none() {
    let server = Server::start("");
    let ca = &server.pki.tee_ca;
    let roots = TeeRoots::new(vec![ca.certificate.clone()]).unwrap().for_firmware();
    let signs: fn(&mut KeyUsage) -> &mut KeyUsage = |it| it.digital_signature();
    let plain = Extensions { usage: Some(signs), ..PLAIN };
    for (what, extensions, is_good) in [
        ("a key that only signs", plain, true),
        ("any purpose", Extensions { purposes: &["2.5.29.37.0"], ..plain }, true),
        ("an OCSP responder", Extensions { purposes: &["OCSPSigning"], ..plain }, false),
        ("a TEE", Extensions { purposes: &[TEE], ..plain }, false),
        ("an authority", Extensions { authority: true, ..plain }, false),
    ] {
        let leaf = certify(extensions, new_key(), "firmware", ca);
        assert_eq!(roots.validate(&leaf.certificate, &[]).is_ok(), is_good, "{what}");
    }
}

/// The fingerprint by which an inventory names a device: SHA-256 of the key in DER.
fn fingerprint(device: &Device) -> String {
    hex::encode(sha256(&device.tee.key.public_key_to_der().unwrap()))
}

/// The status that a device gets for its state.
fn status(server: &Server, device: &mut Device) -> u16 {
    let answer = device.process(&connect(server.address).body);
    post(server.address, &answer).status
}

fn configure(server: &Server, members: &str) {
    let text = format!("{}{members}", server.tam_section);
    std::fs::write(server.path("desired.toml"), text).unwrap();
}

#[test]
fn only_devices_on_the_list_are_served() {
    let server = Server::start("");
    let mut listed = server.pki.device();
    let mut by_certificate = server.pki.device();
    let mut imitation = server.pki.device();
    let write = |text: String| std::fs::write(server.path("devices.csv"), text).unwrap();
    let header = "did,serial,subject,key,not_before,not_after,chain\n";
    let old = format!("{header}{},1,\"CN=a, b\",P-256,,,x\n", by_certificate.device_id());
    write(format!("{old}key_sha256,did\n{},\n", fingerprint(&listed)));
    configure(&server, "devices = 'devices.csv'\n");
    assert_eq!(status(&server, &mut listed), 204);
    assert_eq!(status(&server, &mut by_certificate), 204);
    assert_eq!(status(&server, &mut imitation), 403);
    assert_eq!(server.records().len(), 2, "nothing is remembered of a device that is not served");
    // A renewed certificate is for the same key. A list by certificates has to name it.
    for (device, expected) in [(&mut listed, 204), (&mut by_certificate, 403)] {
        device.tee = server.pki.certify(device.tee.key.clone());
        assert_eq!(status(&server, device), expected);
    }
    // The list is followed, and one that is broken leaves the one of before in force.
    write(format!("key_sha256\n{}\n", fingerprint(&imitation)));
    assert_eq!(status(&server, &mut imitation), 204);
    assert_eq!(status(&server, &mut listed), 403);
    for broken in ["", "key_sha256\n", "key_sha256\nxyz\n", &fingerprint(&listed)] {
        write(broken.to_owned());
        assert_eq!(status(&server, &mut imitation), 204, "{broken}");
        assert_eq!(status(&server, &mut listed), 403, "{broken}");
    }
    std::fs::remove_file(server.path("devices.csv")).unwrap();
    assert_eq!(status(&server, &mut listed), 403);
    configure(&server, "");
    assert_eq!(status(&server, &mut listed), 204);
}

#[test]
fn a_device_that_leaves_the_list_gets_no_further_command() {
    let domain = "[[sd]]\nname = 'sd'\nspid = 'sp'\ncertificates = ['sp.der']\n";
    let server = Server::start(domain);
    let mut device = server.pki.device();
    let create = post(server.address, &device.process(&connect(server.address).body)).body;
    let other = server.pki.device();
    let list = format!("key_sha256\n{}\n", fingerprint(&other));
    std::fs::write(server.path("devices.csv"), list).unwrap();
    configure(
        &server,
        &format!("devices = 'devices.csv'\n{domain}[[sd.ta]]\nid = 'ta'\nfile = 'v1.ta'\n"),
    );
    let answer = device.process(&create);
    assert_eq!(device.requests.last().unwrap(), "CreateSD");
    assert_eq!(post(server.address, &answer).status, 204);
    assert_eq!(server.records()[0].memory.domains[0].name, "sd", "what was done is remembered");
}

#[test]
fn new_devices_can_be_kept_out() {
    let server = Server::start("");
    let (mut known, mut new) = (server.pki.device(), server.pki.device());
    assert_eq!(status(&server, &mut known), 204);
    configure(&server, "admit_new = false\n");
    assert_eq!(status(&server, &mut known), 204);
    assert_eq!(status(&server, &mut new), 403);
    known.tee = server.pki.certify(known.tee.key.clone());
    assert_eq!(status(&server, &mut known), 204, "the key is known");
    // With a list a device has to be on it as well.
    let list = format!("key_sha256\n{}\n", fingerprint(&new));
    std::fs::write(server.path("devices.csv"), list).unwrap();
    configure(&server, "admit_new = false\ndevices = 'devices.csv'\n");
    assert_eq!(status(&server, &mut known), 403);
    assert_eq!(status(&server, &mut new), 403);
    configure(&server, "devices = 'devices.csv'\n");
    converge(server.address, &mut new);
    configure(&server, "admit_new = false\ndevices = 'devices.csv'\n");
    assert_eq!(status(&server, &mut new), 204);
}

#[test]
fn a_list_of_identifiers_is_that_of_the_draft() {
    // `did` is the base64 of the certificate's SHA-256 (OTrP draft, section 9.2.1.1).
    let server = Server::start("");
    let mut device = server.pki.device();
    let did = encode_block(&sha256(&device.tee.certificate.to_der().unwrap()));
    std::fs::write(server.path("devices.csv"), format!("did\n{did}\n")).unwrap();
    configure(&server, "devices = 'devices.csv'\n");
    assert_eq!(status(&server, &mut device), 204);
}
