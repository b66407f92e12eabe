//! The current content of the files is stapled. `openssl ocsp` makes the responses.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::process::Command;

use common::Pki;
use common::harness::{Server, connect};
use openssl::base64::encode_block;
use serde_json::{Value, json};

/// `ocspdat` of a GetDeviceState.
fn stapled(message: &[u8]) -> Value {
    let message: Value = serde_json::from_slice(message).unwrap();
    let payload = message["GetDeviceStateRequest"]["payload"].as_str().unwrap();
    let payload: Value = serde_json::from_slice(&common::from_url(payload)).unwrap();
    payload["GetDeviceStateTBSRequest"]["ocspdat"].clone()
}

#[test]
fn responses_are_read_again_for_each_device() {
    let server = Server::start("");
    for _ in 0..2 {
        let response = server.pki.ocsp(&server.pki.tam, false);
        std::fs::write(server.path("tam.ocsp"), &response).unwrap();
        assert_eq!(stapled(&connect(server.address).body), json!([encode_block(&response)]));
    }
    let revoked = server.pki.ocsp(&server.pki.tam, true);
    std::fs::write(server.path("tam.ocsp"), revoked).unwrap();
    assert_eq!(connect(server.address).status, 500, "revoked");
    std::fs::remove_file(server.path("tam.ocsp")).unwrap();
    assert_eq!(connect(server.address).status, 500, "the file is missing");
}

#[test]
fn single_messages_staple_too() {
    let pki = Pki::new();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let section = pki.write(folder);
    std::fs::write(folder.join("desired.toml"), section).unwrap();
    let (good, revoked) = (pki.ocsp(&pki.tam, false), pki.ocsp(&pki.tam, true));
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
    assert!(text.contains("\"test TAM\" is good") && text.contains("is revoked"), "{text}");
}
