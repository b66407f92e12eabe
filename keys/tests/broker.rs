//! What `otrp-keys vet --broker` says of an ELF, with small programs that are built as a broker is.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use otrp_trust::Build;

/// The types of the engine that the source of a build names, and a program that keeps its anchors.
const PROGRAM: &str = r#"
#![allow(dead_code)]
mod otrp_engine {
    pub mod trust {
        pub enum NamePattern { Uri(&'static str), Dns(&'static str), DnsBelow(&'static str) }
        pub enum Evicted { Tam(&'static str), Root([u8; 32]) }
        pub struct Anchor { pub certificate: &'static [u8], pub names: &'static [NamePattern] }
        pub struct Trust {
            pub tam_anchors: &'static [Anchor],
            pub tee_anchor: &'static [u8],
            pub evicted: &'static [Evicted],
            pub reserved: &'static [[u8; 16]],
            pub floor_epoch: u32,
            pub development: bool,
            pub tee_name: &'static str,
            pub rsa1_5: bool,
            pub built_at: u64,
        }
    }
    pub mod platform { pub enum KeyType { P256, Rsa2048 } }
}
mod trust {
    use super::otrp_engine;
    include!("trust.rs");
}
fn main() {
    std::hint::black_box((trust::TRUST, trust::KEY_TYPE));
}
"#;

fn sh(folder: &Path, script: &str) -> Output {
    let programs = Path::new(env!("CARGO_BIN_EXE_otrp-keys")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-euc", script]).current_dir(folder).env("PATH", path).output().unwrap()
}

fn succeed(folder: &Path, script: &str) -> String {
    let output = sh(folder, script);
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Builds the program with the anchors in `trust`, optimised, without what nothing refers to, and
/// stripped as the TAs are.
fn build(folder: &Path, trust: &str, program: &str) {
    let trust = folder.join(trust).display().to_string();
    let environment: HashMap<&str, &str> = HashMap::from([
        (otrp_trust::DIRECTORY, trust.as_str()),
        (otrp_trust::ALLOW_DEVELOPMENT, "1"),
        (otrp_trust::TEE_NAME, "acme \"1\""),
        (otrp_trust::KEY_TYPE, "rsa"),
        (otrp_trust::RSA1_5, "off"),
        (otrp_trust::BUILT_AT, "1800000000"),
    ]);
    let build = Build::read(|name| environment.get(name).map(|it| (*it).into()), 0).unwrap();
    fs::write(folder.join("trust.rs"), build.source()).unwrap();
    fs::write(folder.join("program.rs"), PROGRAM).unwrap();
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    succeed(
        folder,
        &format!(
            "'{compiler}' --edition 2024 -O -C lto=fat -C codegen-units=1 -C panic=abort \
                 -C link-arg=-Wl,--gc-sections program.rs -o {program}.debug
             objcopy --strip-unneeded {program}.debug {program}"
        ),
    );
}

#[test]
fn a_broker_trusts_what_it_is_meant_to() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let make = "mkdir -p own/tam-roots
        root() {
            openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem \
                -subj \"$2\" -outform DER -out $1
        }
        root own/tam-roots/a.der '/O=Example/CN=root a'
        root own/tam-roots/b.der '/O=Example/CN=root b'
        root own/tee-root.der '/O=Example/CN=root of TEEs'
        root other.der '/O=Example/CN=another root'
        root dev.der '/O=OTrP development PKI (not for production)/CN=dev root'
        printf 'uri:https://a.example/\\ndns:*.a.example\\n' >own/tam-roots/a.ids
        echo https://gone.example >own/evicted.txt
        echo 7265664a-f108-4bd7-af1c-86d044babbac >own/reserved.txt
        echo 3 >own/floor-epoch.txt
        openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out ta.key.pem
        openssl pkey -in ta.key.pem -pubout -out ta.pub.pem

        cp -r own fewer; rm fewer/tam-roots/b.der
        cp -r own more; cp other.der more/tam-roots/c.der
        cp -r own replaced; cp other.der replaced/tee-root.der
        cp -r own swapped; mv swapped/tam-roots/b.der swapped/tam-roots/0.der
        cp -r own names; echo dns:a.example >names/tam-roots/a.ids
        cp -r own everybody; rm everybody/tam-roots/a.ids
        cp -r own lists; rm lists/evicted.txt lists/reserved.txt; echo 4 >lists/floor-epoch.txt
        cp -r own evicting; echo 1.2.3 >>evicting/evicted.txt
        echo 00112233-4455-6677-8899-aabbccddeeff >>evicting/reserved.txt
        cp -r own dev; cp dev.der dev/tam-roots/dev.der";
    succeed(folder, make);
    build(folder, "own", "broker");
    build(folder, "dev", "dev-broker");
    let edits = "objcopy -O binary --only-section=.otrp.trust broker manifest --set-section-flags .otrp.trust=alloc
        test -s manifest
        objcopy --update-section .otrp.trust=manifest dev-broker lying
        objcopy --add-section .rest=other.der broker stowaway
        objcopy --remove-section .otrp.trust broker without
        sed 's/broker 1/broker 2/' manifest >second
        objcopy --update-section .otrp.trust=second broker later
        printf 'otrp-broker 1\\nkind' >cut; objcopy --update-section .otrp.trust=cut broker damaged
        head -c 300 broker >truncated";
    succeed(folder, edits);
    let manifest = fs::read_to_string(folder.join("manifest")).unwrap();
    // The fingerprint as another program computes it.
    let sha256 =
        |file: &str| succeed(folder, &format!("openssl dgst -sha256 -r {file}"))[..64].to_owned();
    let [a, b, tee, other, dev] =
        ["own/tam-roots/a.der", "own/tam-roots/b.der", "own/tee-root.der", "other.der", "dev.der"]
            .map(sha256);
    assert_eq!(
        manifest,
        format!(
            "otrp-broker 1\nkind production\ntam-root {a} uri:https://a.example/ dns:*.a.example\n\
             tam-root {b}\ntee-root {tee}\ntee-name acme \\\"1\\\"\nkey-type rsa\nrsa1_5 off\n\
             built-at 1800000000\nfloor-epoch 3\nevicted https://gone.example\n\
             reserved 7265664a-f108-4bd7-af1c-86d044babbac\n"
        )
    );
    // The section is not mapped.
    let headers = succeed(folder, "objdump -h broker");
    let flags = headers.lines().skip_while(|line| !line.contains(".otrp.trust")).nth(1).unwrap();
    assert!(!flags.contains("ALLOC"), "{headers}");

    const CHOICES: &str =
        "--tee-name 'acme \"1\"' --key-type rsa --rsa1_5 off --built-at 1800000000";
    let rows: &[(&str, &str, &str, &[String])] = &[
        ("broker", "own", CHOICES, &[]),
        ("broker.debug", "own", CHOICES, &[]),
        ("broker", "own", "--tee-name 'acme \"1\"' --key-type rsa --rsa1_5 off", &[]),
        (
            "broker",
            "own",
            "",
            &[
                "built with tee-name acme \\\"1\\\", and optee is asked for".into(),
                "built with key-type rsa, and p256 is asked for".into(),
                "built with rsa1_5 off, and on is asked for".into(),
            ],
        ),
        (
            "broker",
            "own",
            "--tee-name 'acme \"1\"' --key-type rsa --rsa1_5 off --built-at 1",
            &["built with built-at 1800000000, and 1 is asked for".into()],
        ),
        (
            "broker",
            "fewer",
            CHOICES,
            &[
                format!("trusts TAM root {b} (\"root b\"), which is not in fewer"),
                format!("contains the certificate {b} (\"root b\"), which is not in fewer"),
            ],
        ),
        (
            "broker",
            "more",
            CHOICES,
            &[
                format!("does not trust TAM root {other} (more/tam-roots/c.der), which is in more"),
                "the certificate of more/tam-roots/c.der is not in the broker's image".into(),
            ],
        ),
        (
            "broker",
            "replaced",
            CHOICES,
            &[
                format!(
                    "trusts TEE root {tee} (\"root of TEEs\"), and replaced has {other} \
                     (replaced/tee-root.der)"
                ),
                "the certificate of replaced/tee-root.der is not in the broker's image".into(),
                format!("contains the certificate {tee} (\"root of TEEs\")"),
            ],
        ),
        ("broker", "swapped", CHOICES, &["has the entries of swapped in another order".into()]),
        (
            "broker",
            "names",
            CHOICES,
            &[format!(
                "TAM root {a} (\"root a\") speaks for uri:https://a.example/ dns:*.a.example, and by \
                 names for dns:a.example"
            )],
        ),
        ("broker", "everybody", CHOICES, &["and by everybody for every TAM".into()]),
        (
            "broker",
            "lists",
            CHOICES,
            &[
                "built with floor-epoch 3, and 4 is asked for".into(),
                "evicts https://gone.example, which lists does not".into(),
                "the UUID 7265664a-f108-4bd7-af1c-86d044babbac free, which lists does not".into(),
            ],
        ),
        (
            "broker",
            "evicting",
            CHOICES,
            &[
                "does not evict 1.2.3, as evicting says".into(),
                "does not keep the UUID 00112233-4455-6677-8899-aabbccddeeff free".into(),
            ],
        ),
        (
            "dev-broker",
            "own",
            CHOICES,
            &[
                "built with kind development, and production is asked for".into(),
                format!("trusts TAM root {dev} (development: \"dev root\"), which is not in own"),
                format!("contains the development certificate {dev} (\"dev root\")"),
            ],
        ),
        (
            "lying",
            "own",
            CHOICES,
            &[format!("contains the development certificate {dev} (\"dev root\")")],
        ),
        (
            "stowaway",
            "own",
            CHOICES,
            &[format!("contains the certificate {other} (\"another root\")")],
        ),
        ("without", "own", CHOICES, &["has no manifest (section .otrp.trust)".into()]),
        ("later", "own", CHOICES, &["manifest is of another version (\"otrp-broker 2\")".into()]),
        ("damaged", "own", CHOICES, &["its manifest is damaged".into()]),
        ("truncated", "own", CHOICES, &["it is a damaged ELF file".into()]),
        ("ta.pub.pem", "own", CHOICES, &["it is not an ELF file".into()]),
        ("missing", "own", CHOICES, &["cannot read missing".into()]),
    ];
    for (elf, trust, choices, refusals) in rows {
        let vet = format!(
            "otrp-keys vet --trust {trust} --ta-signing-key ta.pub.pem --broker {elf} {choices}"
        );
        let output = sh(folder, &vet);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.success(), refusals.is_empty(), "{vet}: {message}");
        let said: Vec<&str> = message
            .lines()
            .filter(|line| !line.contains("warning:") && !line.ends_with(": refused"))
            .collect();
        assert_eq!(said.len(), refusals.len(), "{vet}: {message}");
        for refusal in *refusals {
            assert!(said.iter().any(|line| line.contains(refusal)), "{vet}: {refusal}: {message}");
        }
    }
}
