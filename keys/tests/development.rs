//! The development PKI as it stands on disk, judged by the `openssl` program.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use otrp_keys::{Error, development};
use tempfile::TempDir;

const IDENTITIES: [&str; 17] = [
    "tam-root",
    "tam-root-ocsp",
    "tam-issuing-ca",
    "tam-ocsp",
    "tam",
    "other-tam",
    "tam-rsa-root",
    "tam-rsa-ca",
    "tam-rsa",
    "tam-rsa-root-ocsp",
    "tam-rsa-ocsp",
    "rogue-root",
    "rogue-tam",
    "tee-root",
    "tee-ca",
    "sp-rsa",
    "sp-ec",
];

fn create() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    development::create(directory.path(), false, &mut |_| {}).unwrap();
    directory
}

fn openssl(directory: &Path, arguments: &[&str]) -> Output {
    Command::new("openssl")
        .current_dir(directory)
        .args(arguments)
        .output()
        .expect("the openssl program")
}

fn text(directory: &Path, certificate: &str) -> String {
    let output = openssl(directory, &["x509", "-in", certificate, "-noout", "-text"]);
    assert!(output.status.success(), "{certificate}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn openssl_accepts_the_chains_and_no_others() {
    let directory = create();
    // The root, the certificates between, the leaf, and whether that is a path.
    let rows: &[(&str, Option<&str>, &str, bool)] = &[
        ("tam-root.pem", Some("tam-issuing-ca.pem"), "tam.pem", true),
        ("tam-root.pem", Some("tam-issuing-ca.pem"), "other-tam.pem", true),
        ("tam-root.pem", Some("tam.chain.pem"), "tam.chain.pem", true),
        ("tam-root.pem", Some("other-tam.chain.pem"), "other-tam.chain.pem", true),
        ("tam-rsa-root.pem", Some("tam-rsa-ca.pem"), "tam-rsa.pem", true),
        ("tam-rsa-root.pem", Some("tam-rsa.chain.pem"), "tam-rsa.chain.pem", true),
        ("tam-root.pem", Some("tam-rsa.chain.pem"), "tam-rsa.pem", false),
        ("tam-rsa-root.pem", Some("tam.chain.pem"), "tam.pem", false),
        ("rogue-root.pem", None, "rogue-tam.chain.pem", true),
        ("tee-root.pem", None, "tee-ca.chain.pem", true),
        ("tam-root.pem", None, "tam-root-ocsp.pem", true),
        ("tam-rsa-root.pem", None, "tam-rsa-root-ocsp.pem", true),
        ("tam-rsa-root.pem", Some("tam-rsa-ca.pem"), "tam-rsa-ocsp.pem", true),
        ("tam-root.pem", Some("tam-issuing-ca.pem"), "tam-ocsp.pem", true),
        ("sp-rsa.pem", None, "sp-rsa.pem", true),
        ("sp-ec.pem", None, "sp-ec.pem", true),
        ("tam-root.pem", None, "tam.pem", false),
        ("tam-root.pem", Some("rogue-tam.chain.pem"), "rogue-tam.pem", false),
        ("tam-root.pem", None, "tee-ca.pem", false),
        ("tee-root.pem", Some("tam.chain.pem"), "tam.pem", false),
        ("sp-rsa.pem", None, "sp-ec.pem", false),
    ];
    for (root, between, leaf, accepted) in rows {
        let mut arguments = vec!["verify", "-x509_strict", "-no-CApath", "-CAfile", root];
        if let Some(between) = between {
            arguments.extend(["-untrusted", between]);
        }
        arguments.push(leaf);
        let output = openssl(directory.path(), &arguments);
        assert_eq!(output.status.success(), *accepted, "{leaf} under {root}: {output:?}");
    }
}

#[test]
fn certificates_say_what_they_are_for() {
    let directory = create();
    let rows: &[(&str, &[&str])] = &[
        ("tam-root.pem", &["CA:TRUE\n", "Certificate Sign, CRL Sign"]),
        ("tee-root.pem", &["CA:TRUE\n", "Certificate Sign, CRL Sign"]),
        ("tam-issuing-ca.pem", &["CA:TRUE, pathlen:0\n", "Certificate Sign, CRL Sign"]),
        ("tee-ca.pem", &["CA:TRUE, pathlen:0\n", "Certificate Sign, CRL Sign"]),
        (
            "tam.pem",
            &[
                "CA:FALSE",
                "Digital Signature, Key Agreement\n",
                "URI:https://tam.example.org/otrp\n",
            ],
        ),
        (
            "rogue-tam.pem",
            &[
                "CA:FALSE",
                "Digital Signature, Key Agreement\n",
                "URI:https://tam.example.org/otrp\n",
            ],
        ),
        (
            "other-tam.pem",
            &[
                "CA:FALSE",
                "Digital Signature, Key Agreement\n",
                "URI:https://other-tam.example.org/otrp\n",
            ],
        ),
        ("tam-rsa-root.pem", &["CA:TRUE\n", "Certificate Sign, CRL Sign", "(3072 bit)"]),
        ("tam-rsa-ca.pem", &["CA:TRUE, pathlen:0\n", "(2048 bit)", "sha256WithRSAEncryption"]),
        (
            "tam-rsa.pem",
            &[
                "CA:FALSE",
                "Digital Signature, Key Encipherment\n",
                "(2048 bit)",
                "sha256WithRSAEncryption",
                "URI:https://tam-rsa.example.org/otrp\n",
            ],
        ),
        ("tam-ocsp.pem", &["CA:FALSE", "Digital Signature\n", "OCSP Signing", "OCSP No Check"]),
        (
            "tam-root-ocsp.pem",
            &["CA:FALSE", "Digital Signature\n", "OCSP Signing", "OCSP No Check"],
        ),
        ("tam-rsa-ocsp.pem", &["CA:FALSE", "(2048 bit)", "OCSP Signing", "OCSP No Check"]),
        ("tam-rsa-root-ocsp.pem", &["CA:FALSE", "(2048 bit)", "OCSP Signing", "OCSP No Check"]),
        ("sp-rsa.pem", &["CA:FALSE", "Digital Signature\n", "(2048 bit)", "Code Signing"]),
        ("sp-ec.pem", &["CA:FALSE", "Digital Signature\n", "NIST CURVE: P-256", "Code Signing"]),
    ];
    for (certificate, expected) in rows {
        let text = text(directory.path(), certificate);
        for line in *expected {
            assert!(text.contains(line), "{certificate} lacks {line}:\n{text}");
        }
        for line in ["Version: 3", "not for production", "Subject Key Identifier", "critical"] {
            assert!(text.contains(line), "{certificate} lacks {line}:\n{text}");
        }
        let subject = text.lines().find(|line| line.contains("Subject:")).unwrap();
        assert!(subject.contains("OTrP development"), "{subject}");
    }
}

#[test]
fn files_are_complete_and_private_keys_are_private() {
    let directory = create();
    let path = |name: &str| directory.path().join(name);
    for identity in IDENTITIES {
        let key = path(&format!("{identity}.key.pem"));
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600, "{identity}");
        assert!(fs::read_to_string(&key).unwrap().starts_with("-----BEGIN PRIVATE KEY-----"));
        // The key belongs to both forms of its certificate.
        let public =
            openssl(directory.path(), &["pkey", "-in", &format!("{identity}.key.pem"), "-pubout"]);
        for form in ["pem", "der"] {
            let certificate = format!("{identity}.{form}");
            let arguments = ["x509", "-inform", form, "-in", &certificate, "-noout", "-pubkey"];
            let certified = openssl(directory.path(), &arguments);
            assert!(certified.status.success());
            assert_eq!(certified.stdout, public.stdout, "{certificate}");
        }
    }
    let mode = fs::metadata(path("ta-signing.key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let public = openssl(directory.path(), &["pkey", "-in", "ta-signing.key.pem", "-pubout"]);
    assert_eq!(public.stdout, fs::read(path("ta-signing.pub.pem")).unwrap());

    let same = |one: &str, other: &str| {
        assert_eq!(fs::read(path(one)).unwrap(), fs::read(path(other)).unwrap());
    };
    same("trust/tam-roots/tam-root.der", "tam-root.der");
    same("trust/tam-roots/tam-rsa-root.der", "tam-rsa-root.der");
    same("trust/tee-root.der", "tee-root.der");
    assert_eq!(fs::read_dir(path("trust/tam-roots")).unwrap().count(), 2);
}

#[test]
fn serial_numbers_are_long_and_different() {
    let directory = create();
    let mut serials = Vec::new();
    for identity in IDENTITIES {
        let output = openssl(
            directory.path(),
            &["x509", "-in", &format!("{identity}.pem"), "-noout", "-serial"],
        );
        let serial = String::from_utf8(output.stdout).unwrap();
        let digits = serial.trim().strip_prefix("serial=").unwrap().to_owned();
        assert_eq!(digits.len(), 32, "{identity}: {digits}");
        serials.push(digits);
    }
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), IDENTITIES.len());
}

#[test]
fn keys_are_replaced_only_by_force_and_only_their_own() {
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("some/dev/");
    let root = out.join("tam-root.der");
    let create = |force| development::create(&out, force, &mut |_| {});

    create(false).unwrap();
    let first = fs::read(&root).unwrap();
    assert!(matches!(create(false), Err(Error::Exists(_))));
    assert_eq!(fs::read(&root).unwrap(), first);
    create(true).unwrap();
    assert_ne!(fs::read(&root).unwrap(), first);

    let photos = parent.path().join("photos");
    fs::create_dir(&photos).unwrap();
    fs::write(photos.join("cat"), "miaow").unwrap();
    for force in [false, true] {
        let refused = development::create(&photos, force, &mut |_| {});
        assert!(matches!(refused, Err(Error::NotOurs(_))));
    }
    assert_eq!(fs::read_to_string(photos.join("cat")).unwrap(), "miaow");

    let file = parent.path().join("file");
    fs::write(&file, "text").unwrap();
    assert!(matches!(development::create(&file, true, &mut |_| {}), Err(Error::Write { .. })));
    assert_eq!(fs::read_to_string(&file).unwrap(), "text");

    // Nothing half-made stays behind.
    let left: Vec<_> = fs::read_dir(parent.path().join("some")).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 3);
}
