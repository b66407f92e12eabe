//! What a broker's build takes and refuses, with certificates that the `openssl` program made.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use otrp_trust::{Build, Error};
use tempfile::TempDir;

const DEVELOPMENT: &str = "/O=OTrP development PKI (not for production)/CN=root";
const PRODUCT: &str = "/O=Example/CN=Example root";
const NOW: u64 = 1_800_000_000;

/// A self-signed certificate in DER.
fn root(folder: &Path, file: &str, subject: &str) {
    openssl(
        folder,
        &format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key \
             -subj '{subject}' -outform DER -out {file}"
        ),
    );
}

fn openssl(folder: &Path, script: &str) {
    let output = Command::new("sh").current_dir(folder).args(["-euc", script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A folder with two TAM roots and a TEE root of these subjects.
fn folder([first, second, tee]: [&str; 3]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tam-roots")).unwrap();
    root(folder.path(), "tam-roots/a.der", first);
    root(folder.path(), "tam-roots/b.der", second);
    root(folder.path(), "tee-root.der", tee);
    folder
}

fn read(folder: &Path, variables: &[(&str, &str)]) -> Result<String, Error> {
    let mut environment: HashMap<_, _> = variables.iter().copied().collect();
    environment.insert("OTRP_TRUST_DIR", folder.to_str().unwrap());
    let variable = |name: &str| environment.get(name).map(|text| (*text).to_owned());
    Build::read(variable, NOW).map(|build| build.source())
}

#[test]
fn development_anchors_are_refused_by_name() {
    for (subjects, refused) in [
        ([DEVELOPMENT, PRODUCT, PRODUCT], &["tam-roots/a.der"][..]),
        ([PRODUCT, DEVELOPMENT, PRODUCT], &["tam-roots/b.der"]),
        ([PRODUCT, PRODUCT, DEVELOPMENT], &["tee-root.der"]),
        ([DEVELOPMENT; 3], &["tam-roots/a.der", "tam-roots/b.der", "tee-root.der"]),
    ] {
        let folder = folder(subjects);
        let paths: Vec<_> =
            refused.iter().map(|file| folder.path().join(file).display().to_string()).collect();
        for allowance in [None, Some(""), Some("0"), Some("yes"), Some("true"), Some("11")] {
            let variables: Vec<_> =
                allowance.map(|text| ("ALLOW_DEV_KEYS", text)).into_iter().collect();
            let message = read(folder.path(), &variables).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("development anchors: {}. ", paths.join(", "))),
                "{allowance:?}: {message}"
            );
            for remedy in ["OTRP_TRUST_DIR", "keys/CEREMONY.md", "ALLOW_DEV_KEYS=1"] {
                assert!(message.contains(remedy), "{message}");
            }
        }
        let source = read(folder.path(), &[("ALLOW_DEV_KEYS", "1")]).unwrap();
        assert!(source.contains("development: true,"), "{source}");
    }
}

/// An authority of a development PKI is as open as its root.
#[test]
fn what_a_development_root_has_issued_is_refused() {
    let folder = folder([PRODUCT; 3]);
    read(folder.path(), &[]).unwrap();
    root(folder.path(), "root.der", DEVELOPMENT);
    let issue = format!(
        "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout other \
             -subj '{PRODUCT}' -out request
         openssl x509 -req -in request -CA root.der -CAform DER -CAkey key -outform DER \
             -out tam-roots/b.der"
    );
    openssl(folder.path(), &issue);
    let message = read(folder.path(), &[]).unwrap_err().to_string();
    assert!(message.contains("tam-roots/b.der"), "{message}");
}

#[test]
fn the_source_has_the_anchors_and_choices_and_no_place() {
    let folder = folder([PRODUCT; 3]);
    let octets = |file: &str| format!("{:?}", fs::read(folder.path().join(file)).unwrap());
    let plain = read(folder.path(), &[]).unwrap();
    for expected in [
        format!("&{},\n        &{},\n", octets("tam-roots/a.der"), octets("tam-roots/b.der")),
        format!("tee_anchor: &{},", octets("tee-root.der")),
        "development: false,".to_owned(),
        "tee_name: \"optee\",".to_owned(),
        "rsa1_5: true,".to_owned(),
        format!("built_at: {NOW},"),
        "KeyType::P256;".to_owned(),
    ] {
        assert!(plain.contains(&expected), "{expected} is not in {plain}");
    }
    assert!(!plain.contains(folder.path().to_str().unwrap()));

    for (variable, text, expected) in [
        ("OTRP_TEE_NAME", "acme \"1\"", "tee_name: \"acme \\\"1\\\"\","),
        ("OTRP_RSA1_5", "on", "rsa1_5: true,"),
        ("OTRP_RSA1_5", "off", "rsa1_5: false,"),
        ("OTRP_RSA1_5", "", "rsa1_5: true,"),
        ("OTRP_KEY_TYPE", "rsa", "KeyType::Rsa2048;"),
        ("OTRP_KEY_TYPE", "p256", "KeyType::P256;"),
        ("SOURCE_DATE_EPOCH", "1700000000", "built_at: 1700000000,"),
    ] {
        let source = read(folder.path(), &[(variable, text)]).unwrap();
        assert!(source.contains(expected), "{variable}={text}: {source}");
    }
}

#[test]
fn what_is_missing_or_misspelt_is_named() {
    let complete = folder([PRODUCT; 3]);
    for (variable, text, expected) in [
        ("OTRP_KEY_TYPE", "p384", "OTRP_KEY_TYPE=p384 is neither p256 nor rsa"),
        ("OTRP_RSA1_5", "no", "OTRP_RSA1_5=no is neither on nor off"),
        ("SOURCE_DATE_EPOCH", "today", "SOURCE_DATE_EPOCH=today is no number"),
        ("SOURCE_DATE_EPOCH", "-1", "SOURCE_DATE_EPOCH=-1 is no number"),
    ] {
        let message = read(complete.path(), &[(variable, text)]).unwrap_err().to_string();
        assert_eq!(message, expected);
    }

    let message = Build::read(|_| None, NOW).unwrap_err().to_string();
    assert!(message.starts_with("set OTRP_TRUST_DIR to the folder"), "{message}");
    for (removed, expected) in [
        ("tee-root.der", "cannot read "),
        ("tam-roots/*.der", "no .der file in "),
        ("tam-roots", "cannot read "),
    ] {
        let folder = folder([PRODUCT; 3]);
        openssl(folder.path(), &format!("rm -r {removed}"));
        let message = read(folder.path(), &[]).unwrap_err().to_string();
        assert!(message.starts_with(expected), "{message}");
    }
}
