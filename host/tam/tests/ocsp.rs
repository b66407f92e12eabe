//! What is stapled is what is in the files at that moment. `openssl ocsp` makes the responses.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::path::Path;
use std::process::Command;

use common::Pki;
use common::client::{Server, connect};
use openssl::base64::encode_block;
use serde_json::{Value, json};

/// Has OpenSSL answer that the TAM's certificate is good, or revoked, for an hour.
fn answer(folder: &Path, pki: &Pki, revoked: bool) -> Vec<u8> {
    let write = |name: &str, bytes: Vec<u8>| std::fs::write(folder.join(name), bytes).unwrap();
    write("root.pem", pki.tam_root.certificate.to_pem().unwrap());
    write("root.key.pem", pki.tam_root.key.private_key_to_pem_pkcs8().unwrap());
    write("tam.pem", pki.tam.certificate.to_pem().unwrap());
    let serial = pki.tam.certificate.serial_number().to_bn().unwrap().to_hex_str().unwrap();
    let status = if revoked { "R\t351231235959Z\t250101000000Z" } else { "V\t351231235959Z\t" };
    write("index.txt", format!("{status}\t{serial}\tunknown\t/CN=TAM\n").into_bytes());
    for arguments in [
        "-issuer root.pem -cert tam.pem -no_nonce -reqout request.der",
        "-index index.txt -CA root.pem -rsigner root.pem -rkey root.key.pem -nmin 60 \
         -reqin request.der -respout response.der",
    ] {
        let output = Command::new("openssl")
            .current_dir(folder)
            .arg("ocsp")
            .args(arguments.split_whitespace())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    std::fs::read(folder.join("response.der")).unwrap()
}

/// `ocspdat` of a GetDeviceState.
fn stapled(message: &[u8]) -> Value {
    let message: Value = serde_json::from_slice(message).unwrap();
    let payload = message["GetDeviceStateRequest"]["payload"].as_str().unwrap();
    let payload: Value = serde_json::from_slice(&common::from_url(payload)).unwrap();
    payload["GetDeviceStateTBSRequest"]["ocspdat"].clone()
}

#[test]
fn responses_are_read_anew_for_each_device() {
    let server = Server::start("");
    assert_eq!(stapled(&connect(server.address).body), json!([]), "none are configured");
    let configuration = std::fs::read_to_string(server.path("desired.toml")).unwrap();
    let configuration = format!("{configuration}ocsp = ['tam.ocsp']\n");
    std::fs::write(server.path("desired.toml"), configuration).unwrap();
    assert_eq!(connect(server.address).status, 500, "the file is missing");
    let work = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let response = answer(work.path(), &server.pki, false);
        std::fs::write(server.path("tam.ocsp"), &response).unwrap();
        assert_eq!(stapled(&connect(server.address).body), json!([encode_block(&response)]));
    }
    std::fs::write(server.path("tam.ocsp"), answer(work.path(), &server.pki, true)).unwrap();
    assert_eq!(connect(server.address).status, 500, "revoked");
}

#[test]
fn single_messages_staple_too() {
    let pki = Pki::new();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let section = pki.write(folder);
    std::fs::write(folder.join("desired.toml"), format!("{section}ocsp = ['tam.ocsp']\n")).unwrap();
    let work = tempfile::tempdir().unwrap();
    let (good, revoked) = (answer(work.path(), &pki, false), answer(work.path(), &pki, true));
    std::fs::write(folder.join("tam.ocsp"), &good).unwrap();
    std::fs::write(folder.join("revoked.ocsp"), &revoked).unwrap();
    let message = |arguments: &str| {
        Command::new(env!("CARGO_BIN_EXE_otrp-tam"))
            .current_dir(folder)
            .args(["message", "--config", "desired.toml", "get-device-state"])
            .args(arguments.split_whitespace())
            .output()
            .unwrap()
    };
    assert_eq!(stapled(&message("").stdout), json!([encode_block(&good)]));
    // What is said on the command line is stapled as it is, so that devices can be tried out.
    let both = json!([encode_block(&revoked), encode_block(&good)]);
    assert_eq!(stapled(&message("--ocsp revoked.ocsp --ocsp tam.ocsp").stdout), both);
    std::fs::write(folder.join("tam.ocsp"), &revoked).unwrap();
    let refused = message("");
    assert!(!refused.status.success() && refused.stdout.is_empty());
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("test TAM is good") && text.contains("is revoked"), "{text}");
}
