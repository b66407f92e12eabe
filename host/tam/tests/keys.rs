//! The TAM accepts the keys and signatures of TEEs that devices accept, each key in one encoding.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::process::Command;

use common::harness::{DOMAIN, Server, connect, converge, post};
use common::{Holder, P384_ORDER, Profile, issue, new_key, new_rsa_key, other_form};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;

fn on_curve(curve: Nid) -> PKey<Private> {
    let group = EcGroup::from_curve_name(curve).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn rsa_with_exponent(exponent: u32) -> PKey<Private> {
    let exponent = BigNum::from_u32(exponent).unwrap();
    PKey::from_rsa(Rsa::generate_with_e(2048, &exponent).unwrap()).unwrap()
}

/// The same key, its point in another form (SEC 1, section 2.3.3).
fn in_form(server: &Server, form: &str, key: &PKey<Private>) -> PKey<Private> {
    let (from, to) = (server.path("from.pem"), server.path("to.pem"));
    std::fs::write(&from, key.private_key_to_pem_pkcs8().unwrap()).unwrap();
    let converted = Command::new("openssl")
        .args(["pkey", "-ec_conv_form", form, "-in"])
        .arg(&from)
        .arg("-out")
        .arg(&to)
        .output()
        .unwrap();
    assert!(converted.status.success(), "{converted:?}");
    let converted = PKey::private_key_from_pem(&std::fs::read(&to).unwrap()).unwrap();
    assert!(converted.public_eq(key));
    converted
}

/// The status that a device gets for its state.
fn status(server: &Server, tee: Holder, authority: &Holder) -> u16 {
    let mut device = common::Device::new(tee, authority);
    let answer = device.process(&connect(server.address).body);
    post(server.address, &answer).status
}

#[test]
fn a_retired_key_does_not_return_in_another_form() {
    let server = Server::start(DOMAIN);
    for form in ["compressed", "hybrid"] {
        server.configure(DOMAIN);
        let key = new_key();
        let mut device = server.pki.device_with(key.clone());
        assert_eq!(converge(server.address, &mut device), ["GetDeviceState", "CreateSD"]);
        let retired = format!("retired = ['{}']\n", device.key_fingerprint());
        let text = format!("{}{retired}{DOMAIN}", server.tam_section);
        std::fs::write(server.path("desired.toml"), text).unwrap();
        assert_eq!(converge(server.address, &mut device), ["GetDeviceState", "DeleteSD"]);
        let before = server.records();
        let tee = server.pki.certify(in_form(&server, form, &key));
        assert_eq!(status(&server, tee, &server.pki.tee_ca), 400, "{form}");
        assert_eq!(server.records(), before, "{form}");
        // In the form that devices accept OpenSSL writes the key as it was.
        let tee = server.pki.certify(in_form(&server, "uncompressed", &key));
        assert_eq!(status(&server, tee, &server.pki.tee_ca), 204, "{form}");
        assert_eq!(server.records().len(), before.len(), "{form}");
    }
}

#[test]
fn a_tee_has_a_key_that_a_device_can_have() {
    let server = Server::start("");
    for (what, key, is_good) in [
        ("P-256", new_key(), true),
        ("RSA of 2048 bits", new_rsa_key(2048), true),
        ("RSA with the exponent 3", rsa_with_exponent(3), false),
        ("RSA with an exponent below 65537", rsa_with_exponent(65_535), false),
        ("RSA of 2047 bits", new_rsa_key(2047), false),
    ] {
        let expected = if is_good { 204 } else { 400 };
        let tee = server.pki.certify(key);
        assert_eq!(status(&server, tee, &server.pki.tee_ca), expected, "{what}");
    }
}

/// The keys of authorities, each once below the root and once as the root.
#[test]
fn authorities_have_keys_that_devices_accept() {
    for (what, key, is_good) in [
        ("P-256", new_key(), true),
        ("P-384", on_curve(Nid::SECP384R1), true),
        ("RSA of 3072 bits", new_rsa_key(3072), true),
        ("P-521", on_curve(Nid::SECP521R1), false),
        ("secp256k1", on_curve(Nid::SECP256K1), false),
        ("brainpoolP256r1", on_curve(Nid::BRAINPOOL_P256R1), false),
        ("brainpoolP384r1", on_curve(Nid::BRAINPOOL_P384R1), false),
        ("RSA with the exponent 3", rsa_with_exponent(3), false),
    ] {
        let server = Server::start("");
        let expected = if is_good { 204 } else { 400 };
        let name = Profile::ca("an authority of TEEs");
        let below = issue(&name, key.clone(), Some(&server.pki.tee_root));
        let tee = issue(&Profile::leaf("a TEE"), new_key(), Some(&below));
        assert_eq!(status(&server, tee, &below), expected, "{what} below the root");
        let root = issue(&name, key, None);
        std::fs::write(server.path("tee-root.der"), root.certificate.to_der().unwrap()).unwrap();
        let tee = issue(&Profile::leaf("a TEE"), new_key(), Some(&root));
        assert_eq!(status(&server, tee, &root), expected, "{what} as the root");
    }
}

#[test]
fn an_authoritys_point_has_the_form_that_devices_accept() {
    for form in ["compressed", "hybrid", "uncompressed"] {
        let server = Server::start("");
        let key = in_form(&server, form, &on_curve(Nid::SECP384R1));
        let name = Profile::ca("an authority of TEEs");
        let authority = issue(&name, key, Some(&server.pki.tee_root));
        let tee = issue(&Profile::leaf("a TEE"), new_key(), Some(&authority));
        let expected = if form == "uncompressed" { 204 } else { 400 };
        assert_eq!(status(&server, tee, &authority), expected, "{form}");
    }
}

/// A device that this TAM never met, retired by its identifier, whose owner wrote its certificate
/// anew with the signature (r, n - s).
#[test]
fn the_other_form_of_a_signature_has_the_order_of_the_issuers_curve() {
    let mut server = Server::start("");
    let authority = Profile::ca("an authority of TEEs");
    server.pki.tee_ca = issue(&authority, on_curve(Nid::SECP384R1), Some(&server.pki.tee_root));
    let mut device = server.pki.device();
    let retired = format!("retired = ['{}']\n", device.device_id());
    let text = format!("{}{retired}{DOMAIN}", server.tam_section);
    std::fs::write(server.path("desired.toml"), text).unwrap();
    device.tee = other_form(&device.tee, &server.pki.tee_ca, P384_ORDER);
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState"]);
}
