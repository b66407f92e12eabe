//! Every example of every help text does what it says.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
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

/// The programs print no target that the Makefile does not have, and no document names one.
#[test]
fn all_targets_of_make_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let makefile = fs::read_to_string(root.join("Makefile")).unwrap();
    let rules = makefile.lines().filter_map(|line| line.split_once(':'));
    let rules = rules.filter(|(names, rest)| {
        names.starts_with(|first: char| first.is_ascii_lowercase()) && !rest.starts_with('=')
    });
    let targets: HashSet<&str> = rules.flat_map(|(names, _)| names.split(' ')).collect();
    let unknown = |text: &str, file: &str| -> Vec<String> {
        let commands = text.lines().flat_map(|line| make_commands(line, file));
        let words = commands.flat_map(str::split_whitespace);
        let unknown = words.filter(|word| !is_assignment(word) && !targets.contains(word));
        unknown.map(|word| format!("{file}: make {word}")).collect()
    };
    // What it notices, and what is prose.
    for (text, file, expected) in [
        ("`make product` builds it", "a.rs", 1),
        ("`make run BOARD=rpi3`", "a.md", 0),
        ("build it: make product A_B=1 \\\\", "a.rs", 1),
        ("\"it is missing; make it with: make kees\"", "a.sh", 1),
        ("build it: make lab development rsa\",", "a.rs", 0),
        ("make lab images", "a.md", 1),
        ("make lab      # some images", "a.md", 0),
        ("say make product X=1", "a.rs", 1),
        ("# as a rule: make builds it", "a.sh", 0),
        ("none: make a new one", "a.md", 0),
        ("they make the images", "a.rs", 0),
    ] {
        assert_eq!(unknown(text, file).len(), expected, "{text}");
    }
    let mut files = Vec::new();
    texts(root, &mut files);
    let mut count = 0;
    for file in files.iter().filter(|file| !file.ends_with(file!())) {
        let (text, name) = (fs::read_to_string(file).unwrap(), file.to_str().unwrap());
        count += text.lines().flat_map(|line| make_commands(line, name)).count();
        assert_eq!(unknown(&text, name), <[String; 0]>::default());
    }
    assert!(count > 100, "only {count} commands were found");
}

/// What a reader may take for arguments of `make` in a line: what follows it in quotes of code,
/// at the beginning of a line, after a colon, or with variables.
fn make_commands<'a>(line: &'a str, file: &str) -> Vec<&'a str> {
    // A script prints no comments.
    let line = match file.ends_with(".sh").then(|| line.find("# ")).flatten() {
        Some(comment) => &line[..comment],
        None => line,
    };
    let commands = line.match_indices("make ").filter_map(|(start, make)| {
        let (before, behind) = (&line[..start], &line[start + make.len()..]);
        let command = behind.split(['`', '"', '\\', ';', ')', '#', '|']).next()?;
        let is_command = before.is_empty() && file.ends_with(".md")
            || before.ends_with('`')
            || before.ends_with(": ") && !before.ends_with("  ") && !file.ends_with(".md")
            || command.split(' ').any(is_assignment);
        is_command.then_some(command)
    });
    commands.collect()
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|char| char.is_ascii_uppercase() || char == '_')
    })
}

/// The sources, scripts and documents in a folder; hidden folders have what was downloaded and built.
fn texts(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && !name.starts_with('.') && name != "target" {
            texts(&path, found);
        } else if [".rs", ".sh", ".md"].iter().any(|end| name.ends_with(end)) {
            found.push(path);
        }
    }
}
