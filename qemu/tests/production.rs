//! An image is built with its maker's keys, or not at all, and does not tell where.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// `make image` with these variables and none of the machine's own.
fn make_image(variables: &[(&str, PathBuf)]) -> Output {
    let mut script = Command::new(root().join("qemu/scripts/build-image.sh"));
    script.arg("product");
    for name in ["ALLOW_DEV_KEYS", "OTRP_TRUST_DIR", "TA_SIGNING_KEY"] {
        script.env_remove(name);
    }
    script.envs(variables.iter().map(|(name, value)| (*name, value))).output().unwrap()
}

fn refused(variables: &[(&str, PathBuf)], reasons: &[&str]) {
    let output = make_image(variables);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{variables:?}: {message}");
    for reason in reasons {
        assert!(message.contains(reason), "{variables:?}: {reason} is not in {message}");
    }
}

#[test]
fn an_image_has_no_keys_by_default() {
    let trust = || ("OTRP_TRUST_DIR", "trust".into());
    let key = || ("TA_SIGNING_KEY", "ta-signing.pub.pem".into());
    let reasons = ["an image needs keys", "keys/CEREMONY.md", "ALLOW_DEV_KEYS=1"];
    for variables in [
        vec![],
        vec![trust()],
        vec![key()],
        vec![trust(), ("TA_SIGNING_KEY", "".into())],
        vec![("ALLOW_DEV_KEYS", "0".into())],
        vec![("ALLOW_DEV_KEYS", "yes".into()), key()],
    ] {
        refused(&variables, &reasons);
    }
}

#[test]
#[ignore = "needs the program otrp-keys: make test-device"]
fn development_keys_make_no_image_where_they_are_not_allowed() {
    let keys = root().join(".cache/keys/dev");
    let variables = [
        ("OTRP_TRUST_DIR", keys.join("trust")),
        ("TA_SIGNING_KEY", keys.join("ta-signing.pub.pem")),
    ];
    let reasons = [
        "development anchors: ",
        "trust/tam-roots/tam-root.der",
        "trust/tam-roots/tam-rsa-root.der",
        "trust/tee-root.der",
        "ta-signing.pub.pem: the TA signing key of a development PKI",
        "error: nothing was built",
    ];
    refused(&variables, &reasons);
}

/// What differs between two folders would be seen in `make reproducible`, after minutes.
#[test]
#[ignore = "needs the images: make test-device"]
fn images_name_no_folder_of_the_machine() {
    let cache = root().join(".cache");
    let cargo = env::var_os("CARGO_HOME")
        .map_or_else(|| Path::new(&env::var_os("HOME").unwrap()).join(".cargo"), PathBuf::from);
    let names = [cache.clone(), root().join("ta/"), cargo];
    let mut seen = 0;
    for folder in ["image/product", "image/rsa", "ta", "ta/rsa"] {
        for file in fs::read_dir(cache.join(folder)).unwrap() {
            let path = file.unwrap().path();
            // The kernel is the distribution's.
            if path.is_dir() || path.ends_with("kernel") {
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            for name in &names {
                let name = name.as_os_str().as_encoded_bytes();
                let named = bytes.windows(name.len()).any(|octets| octets == name);
                assert!(!named, "{} names {}", path.display(), name.escape_ascii());
            }
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen} files");
}
