//! The commands of CEREMONY.md do what they say, in the order of the document.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const PAGE: &str = include_str!("../CEREMONY.md");

/// The contents of the page's blocks in this language.
fn blocks(language: &str) -> Vec<&'static str> {
    PAGE.split("\n```")
        .filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'))
        .collect()
}

fn run(folder: &Path, script: &str) -> Output {
    let programs = Path::new(env!("CARGO_BIN_EXE_otrp-keys")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    Command::new("sh")
        .args(["-euc", script])
        .current_dir(folder)
        .env("PATH", path)
        .output()
        .unwrap()
}

fn succeed(folder: &Path, script: &str) -> String {
    let output = run(folder, script);
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_commands_make_a_pki_that_openssl_accepts() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let [settings] = blocks("ini")[..] else { panic!("one otrp.cnf") };
    fs::write(folder.join("otrp.cnf"), settings).unwrap();
    // What comes from the devices.
    let requests = "mkdir requests
        for name in 0001 0002; do
            openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out $name.key
            openssl req -new -config otrp.cnf -key $name.key -subj /CN=optee -out requests/$name.csr
        done";
    succeed(folder, requests);
    let scripts = blocks("sh");
    assert_eq!(scripts.len(), 7);
    for script in scripts {
        succeed(folder, script);
    }

    let verify = "openssl verify -x509_strict -CAfile tam-root.pem -untrusted tam-issuing-ca.pem \
                  tam.pem tam-issuing-ca.ocsp.pem tam-root.ocsp.pem
                  openssl verify -x509_strict -CAfile tee-root.pem -untrusted tee-ca.pem \
                  chains/0001.chain.pem chains/0002.chain.pem";
    assert_eq!(succeed(folder, verify).matches(": OK").count(), 5);
    assert!(!run(folder, "openssl verify -CAfile tee-root.pem tam.chain.pem").status.success());
    assert!(succeed(folder, "otrp-keys show tam.pem").contains("https://tam.example.com/otrp"));
    let responder = succeed(folder, "openssl x509 -in tam-issuing-ca.ocsp.pem -noout -text");
    assert!(responder.contains("OCSP Signing") && responder.contains("OCSP No Check"));
    let inventory = fs::read_to_string(folder.join("devices.csv")).unwrap();
    assert_eq!(inventory.lines().count(), 3);
    let trust = succeed(folder, "find trust -type f | sort");
    assert_eq!(
        trust,
        "trust/tam-roots/tam-root-1.der\ntrust/tam-roots/tam-root-1.ids\ntrust/tee-root.der\n"
    );
}
