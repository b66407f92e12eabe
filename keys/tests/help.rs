//! Every example of every help text does what it says.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const COMMANDS: [&str; 7] = ["init", "sign-ta", "certify", "inventory", "ocsp", "vet", "show"];

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

/// The commands behind `Example:` or `Examples:`.
fn examples(help: &str) -> Vec<String> {
    let Some((_, text)) = help.split_once("\nExample") else { return Vec::new() };
    let text = text.replace("\\\n", " ");
    text.lines()
        .map(str::trim)
        .filter(|line| line.starts_with("otrp-"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_examples_of_all_help_texts_work() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let uuid: otrp_keys::Uuid = "7265664a-f108-4bd7-af1c-86d044babbac".parse().unwrap();
    let elf = otrp_check::fixture::application(uuid.0, b"");
    fs::write(folder.join("app.stripped.elf"), elf).unwrap();
    let given = "mkdir requests
        for name in device.csr requests/0001.csr requests/0002.csr; do
            openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem \
                -subj /CN=optee -out $name
        done
        mkdir -p trust/tam-roots
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout own.key \
            -subj '/O=Example/CN=Example root' -outform DER -out trust/tam-roots/root.der
        cp trust/tam-roots/root.der trust/tee-root.der
        openssl genpkey -algorithm RSA -out ta-signing.key.pem
        openssl pkey -in ta-signing.key.pem -pubout -out ta-signing.pub.pem";
    succeed(folder, given);
    let listed = succeed(folder, "otrp-keys --help");
    for command in COMMANDS {
        assert!(listed.contains(&format!("\n  {command} ")), "{command}: {listed}");
        let examples = examples(&succeed(folder, &format!("otrp-keys {command} --help")));
        assert!(!examples.is_empty(), "{command} has no example");
        for example in examples {
            succeed(folder, &example);
        }
    }
    // No command is without its row.
    let commands = listed.lines().filter(|line| {
        line.starts_with("  ")
            && line.chars().nth(2).is_some_and(|first| first.is_ascii_lowercase())
    });
    assert_eq!(commands.count(), COMMANDS.len() + 1, "all, and help: {listed}");
}
