//! What `otrp-keys vet --chain` says of a TAM's certificates and OCSP responses.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that panics has failed")]

use std::path::Path;
use std::process::{Command, Output};

use otrp_keys::development;
use otrp_keys::ocsp::Period;

fn vet(folder: &Path, arguments: &str) -> (Option<i32>, String) {
    let output = run(folder, arguments);
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn run(folder: &Path, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_otrp-keys"))
        .current_dir(folder)
        .arg("vet")
        .args(arguments.split(' '))
        .output()
        .unwrap()
}

#[test]
fn a_chain_is_vetted_as_a_device_does() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    development::create(&folder.join("dev"), false, &mut |_| ()).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).unwrap();
    let read = |name: &str| std::fs::read(folder.join("dev").join(name)).unwrap();
    let [leaf, authority] =
        development::responses(&folder.join("dev"), "tam", Period::hours(24)).unwrap();
    let past = Period { this_update: 1_000_000_000, next_update: 1_000_003_600 };
    let [old, _] = development::responses(&folder.join("dev"), "tam", past).unwrap();
    write("leaf.ocsp", &leaf);
    write("ca.ocsp", &authority);
    write("old.ocsp", &old);
    let body = openssl::base64::encode_block(&leaf);
    let pem = format!("-----BEGIN OCSP RESPONSE-----\n{body}\n-----END OCSP RESPONSE-----\n");
    write("leaf.ocsp.pem", pem.as_bytes());
    write("two.ocsp.pem", format!("{pem}{pem}").as_bytes());
    write("order.pem", &[read("tam-issuing-ca.pem"), read("tam.pem")].concat());
    write("short.pem", &[read("tam.pem"), read("tam-issuing-ca.pem")].concat());
    write("tls.pem", &[read("sp-ec.pem"), read("tam-root.pem")].concat());
    let good = [
        "--chain dev/tam.chain.pem",
        "--chain dev/tam-rsa.chain.pem --tam-root dev/tam-rsa-root.pem --tam-root dev/tam-root.der",
        "--chain dev/tam.chain.pem --ocsp leaf.ocsp --ocsp ca.ocsp --tam-root dev/tam-root.pem",
        "--chain short.pem --ocsp leaf.ocsp --ocsp ca.ocsp --tam-root dev/tam-root.pem",
        "--chain short.pem --ocsp leaf.ocsp.pem --ocsp ca.ocsp --tam-root dev/tam-root.pem",
    ];
    for arguments in good {
        assert_eq!(vet(folder, arguments), (Some(0), String::new()), "{arguments}");
        let said = String::from_utf8(run(folder, arguments).stdout).unwrap();
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("accepts the certificates of TAM https://tam"), "{said}");
        let responses = if arguments.contains("--ocsp") {
            ", and its OCSP responses now\n"
        } else {
            "; OCSP responses were not given\n"
        };
        assert!(said.ends_with(responses), "{said}");
    }
    let bad = [
        ("--chain short.pem", "is not in the chain: add it"),
        ("--chain order.pem --tam-root dev/tam-root.pem", "the leaf comes first"),
        ("--chain dev/tam.chain.pem --tam-root dev/rogue-root.pem", "is a root, and not one of"),
        ("--chain short.pem --tam-root dev/rogue-root.pem", "\"OTrP development rogue root\""),
        ("--chain dev/tam.chain.pem --ocsp leaf.ocsp", "no OCSP response for certificate 2"),
        ("--chain dev/tam.chain.pem --ocsp ca.ocsp --ocsp leaf.ocsp", "leaf.ocsp: it is not"),
        ("--chain dev/tam.chain.pem --ocsp old.ocsp --ocsp ca.ocsp", "2001-09-09T02:46:40Z only"),
        ("--chain tls.pem", "tls.pem: "),
        ("--chain dev/sp-ec.pem", "a root and nothing below it"),
        ("--chain none.pem", "cannot read none.pem"),
        (
            "--chain dev/tam.chain.pem --ocsp two.ocsp.pem --ocsp ca.ocsp",
            "two.ocsp.pem: it holds 2 times an OCSP response, and one is wanted",
        ),
        (
            "--chain dev/tam.chain.pem --ocsp dev/tam.pem --ocsp ca.ocsp",
            "dev/tam.pem: it holds a certificate, and an OCSP response is wanted",
        ),
    ];
    for (arguments, expected) in bad {
        let (code, errors) = vet(folder, arguments);
        assert_eq!(code, Some(1), "{arguments}: {errors}");
        assert!(errors.contains(expected), "{arguments}: {errors}");
    }
    assert_eq!(vet(folder, "--ocsp leaf.ocsp").0, Some(2));
}
