//! What `otrp-keys vet` refuses, wherever it is copied and however it is called there.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use otrp_keys::certificate::{Purpose, Template, Validity, generate_p256};
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
    // The year 2000, and 2090.
    for (file, not_before) in [("past.der", 946_684_800), ("future.der", 3_786_912_000)] {
        let root = Template {
            organization: "Example",
            common_name: "root",
            purpose: Purpose::Root,
            validity: Validity { not_before, not_after: not_before + 31_622_400 },
            uri: None,
        };
        let root = root.self_sign(generate_p256().unwrap()).unwrap();
        fs::write(folder.join(file), root.certificate.to_der().unwrap()).unwrap();
    }
    let make = "mkdir -p own/tam-roots
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout own.key \
            -subj '/O=Example/CN=Example root' -outform DER -out own/tam-roots/root.der
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tee.key \
            -subj '/O=Example/CN=Example TEE root' -outform DER -out own/tee-root.der
        cp -r own shared; cp own/tam-roots/root.der shared/tee-root.der
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
        root() { # FOLDER FILE, then arguments of openssl
            cp -r own $1; file=$1/$2; shift 2
            openssl req -x509 -nodes -keyout key.pem -subj /CN=root -outform DER -out $file \"$@\"
        }
        p256='-newkey ec -pkeyopt ec_paramgen_curve:P-256'
        cp -r listed several; openssl req -x509 $p256 -nodes -keyout key.pem -subj /CN=second \
            -outform DER -out several/tam-roots/second.der
        # Anchors that no device can use.
        cp -r own garbage; echo garbage >garbage/tam-roots/root.der
        cp -r own pem; openssl x509 -in own/tee-root.der -out pem/tam-roots/root.der
        cp -r own trailing; echo >>trailing/tee-root.der
        cp -r own expired; cp past.der expired/tam-roots/root.der
        cp -r own future; cp future.der future/tee-root.der
        root leaf tam-roots/root.der $p256 -addext basicConstraints=critical,CA:FALSE
        root usage tee-root.der $p256 -addext keyUsage=digitalSignature
        root web tee-root.der $p256 -addext extendedKeyUsage=serverAuth
        root sha1 tam-roots/root.der -newkey rsa:2048 -sha1
        root weak tam-roots/root.der -newkey rsa:1024
        root edwards tee-root.der -newkey ed25519
        root forged tam-roots/root.der $p256
        head -c -1 forged/tam-roots/root.der >cut; last=$(tail -c 1 forged/tam-roots/root.der | od -An -tu1)
        (cat cut; printf \"\\\\$(printf %o $((last ^ 1)))\") >forged/tam-roots/root.der
        cp -r own twice; cp own/tam-roots/root.der twice/tam-roots/second.der
        cp -r own again; openssl req -x509 -key own.key -subj '/O=Example/CN=again' -outform DER \
            -out again/tam-roots/second.der
        # Private keys, under whatever name.
        cp -r own secret; cp own.key secret/root.key.pem
        cp -r own secret-der; openssl pkey -in own.key -outform DER -out secret-der/tam-roots/root.ids
        cp -r own locked; openssl pkcs8 -topk8 -in own.key -passout pass:x -out locked/tam-roots/root.txt
        # In any depth and length, and where something else in the file cannot be read.
        cp -r own deep; mkdir -p deep/tam-roots/old deep/.git/a; cp own.key deep/tam-roots/old/root.txt
        cp own.key deep/.git/a/b
        cp -r own long; (yes '# a comment' | head -c 9000000; cat own.key) >long/README
        cp -r own spoiled; (cat own.key; echo -----BEGIN CERTIFICATE-----) >spoiled/root.txt
        cp -r own commented; sed 's/^/# /' own.key >commented/root.txt
        cp -r own wide-text; iconv -t UTF-16 own.key >wide-text/root.txt
        cp -r own padded; openssl pkey -in own.key -outform DER -out padded/root; echo >>padded/root
        cp -r own behind; openssl x509 -in own/tee-root.der -outform DER -out behind/root
        openssl pkey -in own.key -outform DER >>behind/root
        cp -r own openssh; sed 's/ PRIVATE/ OPENSSH PRIVATE/' own.key >openssh/root
        cp -r own container; openssl pkcs12 -export -nocerts -inkey own.key -passout pass:x -out container/root
        cp -r own linked; ln -s ../own.key linked/root.txt
        # What is not searched.
        cp -r own huge; truncate -s 17M huge/image.bin
        cp -r own linked-folder; mkdir elsewhere; ln -s ../elsewhere linked-folder/more
        cp -r own pipe; mkfifo pipe/tam-roots/pipe
        # Links to what the build reads; and one to nothing.
        mkdir links; ln -s ../own/tam-roots ../own/tee-root.der links; ln -s nowhere links/old
        # TA keys that OP-TEE does not take.
        key() { openssl genpkey -algorithm RSA -out $1.key -pkeyopt rsa_keygen_bits:$2 -pkeyopt \
            rsa_keygen_pubexp:$3; openssl pkey -in $1.key -pubout -out $1.pub.pem; }
        key short 2040 65537; key long 4104 65537; key three 2048 3; key wide 2048 4294967297
        openssl pkey -in own.key.pem -outform DER -out own.key.der
        touch several/evict.txt
        echo nothing > empty.pem";
    succeed(folder, make);

    let development = "the TA signing key of a development PKI";
    let published = "the TA signing key that OP-TEE publishes with its source";
    for (trust, key, refusals) in [
        ("own", "own.pub.pem", &[][..]),
        ("own", "own.key.pem", &["own.key.pem: it holds a private key", "-pubout"]),
        (
            "own",
            "own-ec.pub.pem",
            &["own-ec.pub.pem: the key is an elliptic curve's", "rsa_keygen_bits"],
        ),
        ("own", "short.pub.pem", &["short.pub.pem: the key is not RSA of 2048 to 4096 bits"]),
        ("own", "long.pub.pem", &["long.pub.pem: the key is not RSA of 2048 to 4096 bits"]),
        ("own", "three.pub.pem", &["three.pub.pem: the key is not RSA", "odd exponent of 65537"]),
        ("own", "wide.pub.pem", &["wide.pub.pem: the key is not RSA", "to 4294967295"]),
        ("own", "own.key.der", &["own.key.der: it holds a private key"]),
        (
            "garbage",
            "own.pub.pem",
            &["garbage/tam-roots/root.der is not a certificate in strict DER"],
        ),
        ("pem", "own.pub.pem", &["pem/tam-roots/root.der is not a", "-outform DER"]),
        ("trailing", "own.pub.pem", &["trailing/tee-root.der is not a certificate in strict DER"]),
        ("expired", "own.pub.pem", &["expired/tam-roots/root.der has expired on 2001-"]),
        ("future", "own.pub.pem", &["future/tee-root.der is not valid before 2090-"]),
        ("leaf", "own.pub.pem", &["leaf/tam-roots/root.der is not a CA's", "CA:TRUE", "Put the"]),
        ("usage", "own.pub.pem", &["usage/tee-root.der is not for signing", "keyCertSign"]),
        ("web", "own.pub.pem", &["web/tee-root.der is for other purposes than TEEs"]),
        ("sha1", "own.pub.pem", &["sha1/tam-roots/root.der is signed with the algorithm"]),
        ("weak", "own.pub.pem", &["weak/tam-roots/root.der has a key that devices do not accept"]),
        ("edwards", "own.pub.pem", &["edwards/tee-root.der has a key that devices do not accept"]),
        ("forged", "own.pub.pem", &["forged/tam-roots/root.der has a signature that is not"]),
        (
            "twice",
            "own.pub.pem",
            &["twice/tam-roots/second.der has the same certificate as twice/tam-roots/root.der"],
        ),
        (
            "again",
            "own.pub.pem",
            &["again/tam-roots/second.der has the same key as again/tam-roots"],
        ),
        ("secret", "own.pub.pem", &["secret/root.key.pem contains a private key", "keep the key"]),
        ("secret-der", "own.pub.pem", &["secret-der/tam-roots/root.ids contains a private key"]),
        ("locked", "own.pub.pem", &["locked/tam-roots/root.txt contains a private key"]),
        (
            "deep",
            "own.pub.pem",
            &[
                "deep/tam-roots/old/root.txt contains a private key",
                "deep/.git/a/b contains a private key",
            ],
        ),
        ("long", "own.pub.pem", &["long/README contains a private key"]),
        ("spoiled", "own.pub.pem", &["spoiled/root.txt contains a private key"]),
        ("commented", "own.pub.pem", &["commented/root.txt contains a private key"]),
        ("wide-text", "own.pub.pem", &["wide-text/root.txt contains a private key"]),
        ("padded", "own.pub.pem", &["padded/root contains a private key"]),
        ("behind", "own.pub.pem", &["behind/root contains a private key"]),
        ("openssh", "own.pub.pem", &["openssh/root contains a private key"]),
        ("container", "own.pub.pem", &["container/root contains a private key"]),
        ("linked", "own.pub.pem", &["linked/root.txt contains a private key"]),
        ("huge", "own.pub.pem", &["huge/image.bin is longer than 16 MiB"]),
        ("linked-folder", "own.pub.pem", &["linked-folder/more is a link to a folder"]),
        ("pipe", "own.pub.pem", &["pipe/tam-roots/pipe is neither a file nor a folder"]),
        ("links", "own.pub.pem", &[]),
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
        ("shared", "own.pub.pem", &[]),
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
        let expected = match trust {
            "own" | "listed" => &[][..],
            "several" => &[
                "otrp-keys: warning: several/tam-roots/second.der speaks for every TAM",
                "otrp-keys: warning: several/evict.txt is not read",
            ],
            "shared" => &[
                "otrp-keys: warning: shared/tam-roots/root.der has the key of shared/tee-root.der",
            ],
            _ => continue,
        };
        let warnings: Vec<&str> =
            message.lines().filter(|line| line.contains("warning:")).collect();
        assert_eq!(warnings.len(), expected.len(), "{message}");
        for (warning, expected) in warnings.iter().zip(expected) {
            assert!(warning.starts_with(expected), "{warning}");
        }
    }

    // A development build runs the same checks but for whose keys these are.
    for (trust, key, refusals) in [
        ("dev/trust", "dev/ta-signing.pub.pem", &[][..]),
        ("tee-root", "published.pem", &[]),
        ("own", "own.pub.pem", &[]),
        ("dev/trust", "dev/ta-signing.key.pem", &["it holds a private key"]),
        ("dev/trust", "three.pub.pem", &["the key is not RSA of 2048 to 4096 bits"]),
        ("garbage", "own.pub.pem", &["is not a certificate in strict DER"]),
        ("expired", "published.pem", &["has expired on 2001-"]),
        ("secret", "published.pem", &["contains a private key"]),
        ("again", "published.pem", &["has the same key as"]),
    ] {
        let vet =
            format!("otrp-keys vet --allow-development --trust {trust} --ta-signing-key {key}");
        let output = sh(folder, &vet);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.success(), refusals.is_empty(), "{trust} {key}: {message}");
        for refusal in refusals {
            assert!(message.contains(refusal), "{trust} {key}: {message}");
        }
    }
}
