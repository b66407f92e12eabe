//! What `otrp-keys vet` refuses, wherever it is copied and however it is called there.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use otrp_keys::development;

/// `keys/default_ta.pem` of OP-TEE 4.10, without its private half.
const OPTEE_DEFAULT: &str = include_str!("data/optee-default-ta.pub.pem");

fn sh(folder: &Path, script: &str) -> Output {
    let programs = Path::new(env!("CARGO_BIN_EXE_otrp-keys")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-euc", script]).current_dir(folder).env("PATH", path).output().unwrap()
}

fn succeed(folder: &Path, script: &str) {
    let output = sh(folder, script);
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_product_is_built_with_its_own_keys() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    development::create(&folder.join("dev"), false, &mut |_| {}).unwrap();
    fs::write(folder.join("published.pem"), OPTEE_DEFAULT).unwrap();
    let make = "mkdir -p own/tam-roots
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout own.key \
            -subj '/O=Example/CN=Example root' -outform DER -out own/tam-roots/root.der
        cp own/tam-roots/root.der own/tee-root.der
        openssl genpkey -algorithm RSA -out own.key.pem
        openssl pkey -in own.key.pem -pubout -out own.pub.pem
        openssl pkey -in own.key -pubout -out own-ec.pub.pem
        # Copies under other names, and in other forms.
        cp -r own tam-root; cp dev/trust/tam-roots/tam-root.der tam-root/tam-roots/example.der
        cp -r own rsa-root; cp dev/trust/tam-roots/tam-rsa-root.der rsa-root/tam-roots/example.der
        cp -r own tee-root; cp dev/trust/tee-root.der tee-root/
        cp -r own authority; cp dev/tam-issuing-ca.der authority/tam-roots/example.der
        openssl rsa -pubin -in dev/ta-signing.pub.pem -RSAPublicKey_out -outform DER -out example.der
        openssl rsa -RSAPublicKey_in -inform DER -in example.der -pubout -out example.pem
        cp dev/ta-signing.key.pem example.key.pem
        # With lists, with mistakes in them, and with roots that speak for everybody.
        cp -r own listed; echo uri:https://tam.example/ >listed/tam-roots/root.ids
        echo https://gone.example >listed/evicted.txt
        cp -r own mistaken; echo '*.example' >mistaken/evicted.txt
        cp -r own nameless; echo dns:tam.example >nameless/tam-roots/roots.ids
        cp -r listed several; cp own/tam-roots/root.der several/tam-roots/second.der
        touch several/evict.txt
        echo nothing > empty.pem";
    succeed(folder, make);

    let development = "the TA signing key of a development PKI";
    let published = "the TA signing key that OP-TEE publishes with its source";
    for (trust, key, refusals) in [
        ("own", "own.pub.pem", &[][..]),
        ("own", "own.key.pem", &["own.key.pem: it holds a private key", "-pubout"]),
        ("own", "own-ec.pub.pem", &[]),
        (
            "dev/trust",
            "own.pub.pem",
            &["dev/trust/tam-roots/tam-root.der", "dev/trust/tee-root.der"],
        ),
        ("tam-root", "own.pub.pem", &["development anchors: tam-root/tam-roots/example.der."]),
        ("rsa-root", "own.pub.pem", &["development anchors: rsa-root/tam-roots/example.der."]),
        ("authority", "own.pub.pem", &["development anchors: authority/tam-roots/example.der."]),
        ("tee-root", "own.pub.pem", &["development anchors: tee-root/tee-root.der."]),
        ("own", "dev/ta-signing.pub.pem", &["dev/ta-signing.pub.pem: ", development]),
        ("own", "example.pem", &["example.pem: ", development]),
        ("own", "example.key.pem", &["example.key.pem: it holds a private key"]),
        ("own", "published.pem", &["published.pem: ", published]),
        ("tee-root", "published.pem", &["tee-root/tee-root.der", published]),
        ("missing", "own.pub.pem", &["cannot read missing/tam-roots"]),
        ("own", "missing.pem", &["cannot read missing.pem"]),
        ("listed", "own.pub.pem", &[]),
        ("mistaken", "own.pub.pem", &["mistaken/evicted.txt, line 1: a line is one TAM's"]),
        ("nameless", "own.pub.pem", &["nameless/tam-roots/roots.ids is for no root"]),
        ("several", "own.pub.pem", &[]),
        (
            "own",
            "empty.pem",
            &["empty.pem: it holds nothing in PEM or DER, and a public key is wanted"],
        ),
    ] {
        let output = sh(folder, &format!("otrp-keys vet --trust {trust} --ta-signing-key {key}"));
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.success(), refusals.is_empty(), "{trust} {key}: {message}");
        for refusal in refusals {
            assert!(message.contains(refusal), "{trust} {key}: {message}");
        }
        // Each says what to do instead.
        if message.contains("development") || message.contains("publishes") {
            assert!(message.contains("keys/CEREMONY.md"), "{message}");
            assert!(message.contains("ALLOW_DEV_KEYS=1"), "{message}");
        }
        if !["own", "listed", "several"].contains(&trust) {
            continue;
        }
        let warnings: Vec<&str> =
            message.lines().filter(|line| line.contains("warning:")).collect();
        let expected = [
            "otrp-keys: warning: several/tam-roots/second.der speaks for every TAM",
            "otrp-keys: warning: several/evict.txt is not read",
        ];
        assert_eq!(
            warnings.len(),
            if trust == "several" { expected.len() } else { 0 },
            "{message}"
        );
        for (warning, expected) in warnings.iter().zip(expected) {
            assert!(warning.starts_with(expected), "{warning}");
        }
    }
}
