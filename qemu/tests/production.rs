//! An image is built with its maker's keys and of what is locked, or not at all, and does not tell where.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// `make image` with these variables and none of the machine's own.
fn make_image(variables: &[(&str, PathBuf)]) -> Output {
    let mut script = Command::new(root().join("qemu/scripts/build/image.sh"));
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

/// A copy of the scripts in which the compiler is one that writes down the anchors.
fn with_a_recording_compiler() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let run = |script: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-ec", script]).env("FROM", root()).env("TO", copy.path());
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run("cd \"$FROM\" && tar c Cargo.toml Cargo.lock host keys ta qemu | tar x -C \"$TO\"
        cd \"$TO\" && mkdir -p .cache/stamp bin
        echo devkit >.cache/stamp/optee-devkit && echo '#' >.cache/rust.env
        for keys in dev own; do
            mkdir -p $keys/trust/tam-roots
            echo \"anchors of $keys\" >$keys/trust/tam-roots/root.der
            touch -d @0 $keys/trust/tam-roots/root.der
        done");
    let stand_in = |name: &str, text: &str| {
        let path = copy.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    stand_in(
        "qemu/scripts/build/cargo.sh",
        "#!/bin/bash
         [ $1 = build ] || exit 0
         while [ $# -gt 0 ]; do
             case $1 in --target-dir) target=$2 ;; --bin) program=$2 ;; esac
             shift
         done
         folder=$target/aarch64-unknown-linux-gnu/release
         mkdir -p $folder
         cat $OTRP_TRUST_DIR/tam-roots/* >$folder/$program",
    );
    stand_in("qemu/scripts/check/ta.sh", "#!/bin/sh");
    stand_in("bin/aarch64-linux-gnu-objcopy", "#!/bin/sh\ncp \"$2\" \"$3\"");
    copy
}

#[test]
fn an_image_has_its_own_brokers_whatever_is_built_in_between() {
    let tree = with_a_recording_compiler();
    let tree = tree.path();
    let path = format!("{}:{}", tree.join("bin").display(), env::var("PATH").unwrap());
    let build = |variant: &str, keys: &str| {
        let output = Command::new(tree.join("qemu/scripts/build/arm64.sh"))
            .args(["tas", variant])
            .env("PATH", &path)
            .env("SOURCE_DATE_EPOCH", "1700000000")
            .env("OTRP_TRUST_DIR", tree.join(keys).join("trust"))
            .env_remove("OTRP_MAKER")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let message = String::from_utf8(output.stderr).unwrap();
        message.contains("compiling")
    };
    let broker = |variant: &str| {
        let name = "9e043ec0-1043-415e-853d-690a6d341054.stripped.elf";
        tree.join(".cache/ta").join(variant).join(name)
    };
    let anchors = |variant: &str| fs::read_to_string(broker(variant)).unwrap();

    assert!(build("product", "own"));
    assert!(build("lab", "dev"));
    assert!(!build("product", "own"), "it is up to date");
    assert_eq!(anchors("product"), "anchors of own\n");
    assert_eq!(anchors("lab"), "anchors of dev\n");
    // What another has put there is not what was built.
    fs::copy(broker("lab"), broker("product")).unwrap();
    assert!(build("product", "own"));
    assert_eq!(anchors("product"), "anchors of own\n");
    // Other anchors in the same place, as old as the ones before.
    let root = tree.join("own/trust/tam-roots/root.der");
    let time = fs::metadata(&root).unwrap().modified().unwrap();
    fs::write(&root, "anchors of him\n").unwrap();
    fs::File::open(&root).unwrap().set_modified(time).unwrap();
    assert!(build("product", "own"));
    assert_eq!(anchors("product"), "anchors of him\n");
}

/// fetch.sh with a lock in which one program has a version that no mirror has, or another digest.
fn fetch_with(lock: &str, locked: bool) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("packages.lock");
    fs::write(&file, lock).unwrap();
    let mut script = Command::new(root().join("qemu/scripts/setup/fetch.sh"));
    script.env("OTRP_LOCK_FILE", &file).env_remove("OTRP_LOCKED");
    if locked {
        script.env("OTRP_LOCKED", "1");
    }
    let output = script.output().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[test]
#[ignore = "needs the images: make test-device"]
fn a_product_has_what_the_lock_says_and_a_development_image_what_there_is() {
    let lock = fs::read_to_string(root().join("qemu/packages.lock")).unwrap();
    let line = lock.lines().find(|line| line.starts_with("program libgcc-s1 ")).unwrap();
    let [_, _, version, _, digest, file] = line.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{line}")
    };
    let gone = line
        .replace(version, "1.0-1")
        .replace(digest, &"0".repeat(64))
        .replace(file, "libgcc-s1_1.0-1_arm64.deb");
    let gone = lock.replace(line, &gone);

    let (made, message) = fetch_with(&gone, true);
    assert!(!made && message.contains("libgcc-s1 1.0-1"), "{message}");
    for remedy in ["a product takes nothing else", "make lock", "DEBIAN_MIRROR="] {
        assert!(message.contains(remedy), "{message}");
    }
    let (made, message) = fetch_with(&gone, false);
    assert!(made, "{message}");
    let said: Vec<_> =
        message.lines().filter(|line| line.contains("does not have any more")).collect();
    assert_eq!(said.len(), 1, "{message}");
    assert!(said[0].contains("libgcc-s1 1.0-1") && said[0].contains("takes libgcc-s1 "));

    // The same version with other contents is not what moved on.
    let changed = lock.replace(digest, &"0".repeat(64));
    for locked in [false, true] {
        let (made, message) = fetch_with(&changed, locked);
        assert!(!made && message.contains("is not the one that"), "{message}");
    }
    // As the others in this checkout need it.
    let (made, message) = fetch_with(&lock, true);
    assert!(made, "{message}");
}

#[test]
#[ignore = "needs the images: make test-device"]
fn a_core_with_other_contents_than_it_was_given_is_refused() {
    let cache = root().join(".cache");
    let ta = |name: &str| cache.join("ta").join(name);
    let broker = ta("lab/9e043ec0-1043-415e-853d-690a6d341054.stripped.elf");
    let port_tests = ta("lab/7fc3b03e-d5b8-45c5-94cb-5b36ec23a5da.stripped.elf");
    let sample = ta("samples/signer-v1.stripped.elf");
    let key = cache.join("keys/dev/ta-signing.pub.pem");
    let folder = tempfile::tempdir().unwrap();
    let other_key = folder.path().join("other.pub.pem");
    let other = otrp_keys::certificate::generate_rsa(2048).unwrap();
    fs::write(&other_key, other.public_key_to_pem().unwrap()).unwrap();
    for (key, applications, complaint) in [
        (&key, vec![&broker, &port_tests], None),
        (&key, vec![&port_tests, &broker], None),
        // A core that loads nothing from the normal world verifies with no key, and has none.
        (&other_key, vec![&broker, &port_tests], None),
        (&key, vec![&broker], Some("the core has 1 early TAs that it was not given")),
        (&key, vec![&broker, &port_tests, &sample], Some("is not in the core")),
        (&key, vec![&broker, &port_tests, &broker], Some("is not in the core")),
    ] {
        let output = Command::new("/usr/bin/python3")
            .arg(root().join("qemu/scripts/check/core.py"))
            .arg(cache.join("optee/lab/core"))
            .arg(key)
            .args(&applications)
            .output()
            .unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.success(), complaint.is_none(), "{applications:?}: {errors}");
        assert!(errors.contains(complaint.unwrap_or_default()), "{applications:?}: {errors}");
    }
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
    for folder in ["image/development", "image/rsa", "ta/development", "ta/rsa", "ta/samples"] {
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
