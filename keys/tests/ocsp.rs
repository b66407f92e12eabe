//! OCSP responses as the program makes them, judged by `openssl ocsp`.

use std::path::Path;
use std::process::{Command, Output};

use otrp_keys::ocsp::{Period, parse_time};

fn keys(directory: &Path, arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_otrp-keys"))
        .current_dir(directory)
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

/// What `openssl ocsp` says of `out.ocsp` for a certificate, trusting the TAM root alone.
fn judge(directory: &Path, issuer: &str, certificate: &str, hash: &str) -> Output {
    Command::new("openssl")
        .current_dir(directory)
        .args(["ocsp", "-respin", "out.ocsp", "-CAfile", "dev/tam-root.pem"])
        .args(["-verify_other", "dev/tam-issuing-ca.pem", "-no_nonce"])
        .args([hash, "-issuer", issuer, "-cert", certificate])
        .output()
        .expect("the openssl program")
}

#[test]
fn openssl_reads_the_status_and_who_signed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    keys(path, &["init", "--out", "dev"]);
    let (leaf, authority, root) = ("dev/tam.pem", "dev/tam-issuing-ca.pem", "dev/tam-root.pem");
    // The certificate, its issuer, who answers, what is said, and how OpenSSL puts it.
    let rows = [
        (leaf, authority, "dev/tam-ocsp", "good", "dev/tam.pem: good"),
        (leaf, authority, "dev/tam-ocsp", "revoked", "dev/tam.pem: revoked"),
        (leaf, authority, "dev/tam-ocsp", "unknown", "dev/tam.pem: unknown"),
        (leaf, authority, "dev/tam-issuing-ca", "good", "dev/tam.pem: good"),
        (authority, root, "dev/tam-root-ocsp", "good", "dev/tam-issuing-ca.pem: good"),
        (authority, root, "dev/tam-root", "revoked", "dev/tam-issuing-ca.pem: revoked"),
    ];
    for (certificate, issuer, responder, status, expected) in rows {
        let arguments = [
            "ocsp",
            "--cert",
            certificate,
            "--issuer",
            issuer,
            "--responder",
            responder,
            "--status",
            status,
            "--hours",
            "2",
            "--out",
            "out.ocsp",
        ];
        keys(path, &arguments);
        let output = judge(path, issuer, certificate, "-sha256");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let notes = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && notes.contains("Response verify OK"), "{text}{notes}");
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("WARNING"), "{text}");
    }
}

#[test]
fn a_response_of_another_time_is_stale_or_early() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    keys(path, &["init", "--out", "dev"]);
    for at in ["2020-01-01T00:00:00Z", "2049-01-01T00:00:00Z"] {
        let arguments = [
            "ocsp",
            "--cert",
            "dev/tam.der",
            "--issuer",
            "dev/tam-issuing-ca.der",
            "--responder",
            "dev/tam-ocsp",
            "--at",
            at,
            "--out",
            "out.ocsp",
        ];
        keys(path, &arguments);
        let output = judge(path, "dev/tam-issuing-ca.pem", "dev/tam.pem", "-sha256");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("WARNING: Status times invalid"), "{text}");
    }
}

#[test]
fn times_are_read_as_they_are_written() {
    // From `date --utc --date=... +%s`.
    for (text, seconds) in [
        ("1970-01-01T00:00:00Z", 0),
        ("2000-02-29T23:59:59Z", 951_868_799),
        ("2027-03-01T00:00:00Z", 1_803_859_200),
    ] {
        assert_eq!(parse_time(text).unwrap(), seconds);
    }
    for text in ["", "2027-03-01", "2027-03-01T00:00:00", "2027-02-29T00:00:00Z", "1803859200"] {
        assert!(parse_time(text).is_err(), "{text}");
    }
    let period = Period::hours_from(1_803_859_200, 24);
    assert_eq!(period.next_update, parse_time("2027-03-02T00:00:00Z").unwrap());
}
