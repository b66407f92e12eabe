//! Several `certify` at a time, and one that is killed: no key has two names, no chain is cut off.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::x509::{X509, X509Req};
use otrp_keys::certificate::generate_p256;
use otrp_keys::development;

fn write_request(file: &Path, key: &PKey<Private>) {
    let mut request = X509Req::builder().unwrap();
    request.set_pubkey(key).unwrap();
    request.sign(key, MessageDigest::sha256()).unwrap();
    fs::write(file, request.build().to_pem().unwrap()).unwrap();
}

fn start(folder: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_otrp-keys"))
        .current_dir(folder)
        .args(["certify", "--ca", "dev/tee-ca"])
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The chain files in a folder; each must be whole.
fn chains(folder: &Path) -> Vec<(PathBuf, X509)> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let shown = files.filter(|file| !file.file_name().unwrap().to_str().unwrap().starts_with('.'));
    let chains = shown.map(|file| {
        let mut chain = X509::stack_from_pem(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(chain.len(), 3, "{file:?}");
        for pair in chain.windows(2) {
            assert!(pair[0].verify(&pair[1].public_key().unwrap()).unwrap(), "{file:?}");
        }
        (file, chain.remove(0))
    });
    chains.collect()
}

#[test]
fn one_key_has_one_name_however_many_certify_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    development::create(&folder.join("dev"), false, &mut |_| {}).unwrap();
    let lines = ["a", "b", "c", "d"];
    for round in 0..5 {
        let keys: Vec<_> = (0..4).map(|_| generate_p256().unwrap()).collect();
        for line in lines {
            let requests = folder.join(format!("requests-{round}-{line}"));
            fs::create_dir(&requests).unwrap();
            for (number, key) in keys.iter().enumerate() {
                write_request(&requests.join(format!("{line}{number}.csr")), key);
            }
        }
        let out = format!("chains-{round}");
        fs::create_dir(folder.join(&out)).unwrap();
        let mut running = Vec::new();
        for line in lines {
            let requests = format!("requests-{round}-{line}");
            running.push(start(folder, &["--csr-dir", &requests, "--out-dir", &out]));
            // The same rules for one request.
            let (csr, chain) = (format!("{requests}/{line}0.csr"), format!("{out}/{line}.pem"));
            running.push(start(folder, &["--csr", &csr, "--out", &chain]));
        }
        let succeeded =
            running.into_iter().map(|mut it| it.wait().unwrap()).filter(|it| it.success()).count();
        assert!(succeeded > 0);
        let mut names = HashMap::<Vec<u8>, Vec<PathBuf>>::new();
        for (file, leaf) in chains(&folder.join(&out)) {
            let key = leaf.public_key().unwrap().public_key_to_der().unwrap();
            names.entry(key).or_default().push(file);
        }
        assert_eq!(names.len(), keys.len());
        for (_, files) in names {
            assert_eq!(files.len(), 1, "{files:?}");
        }
    }
}

#[test]
fn a_run_that_is_killed_leaves_whole_chains_and_is_taken_up() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    development::create(&folder.join("dev"), false, &mut |_| {}).unwrap();
    let (requests, out) = (folder.join("requests"), folder.join("chains"));
    fs::create_dir(&requests).unwrap();
    let count = 150;
    for number in 0..count {
        let key = generate_p256().unwrap();
        write_request(&requests.join(format!("{number:03}.csr")), &key);
    }
    let entries = || fs::read_dir(&out).map_or(0, |entries| entries.count());
    let mut killed = 0;
    // At another point of the work each time: when the lock, a hidden file or a chain appears.
    for step in 1..=12 {
        let enough = entries() + step;
        let mut child = start(folder, &["--csr-dir", "requests", "--out-dir", "chains"]);
        let began = Instant::now();
        while entries() < enough && began.elapsed() < Duration::from_secs(20) {
            if child.try_wait().unwrap().is_some() {
                break;
            }
        }
        child.kill().unwrap();
        killed += usize::from(!child.wait().unwrap().success());
        chains(&out);
    }
    assert!(killed > 0, "the work was done before it could be interrupted");
    // Nobody holds the lock of one that was killed.
    let finished = start(folder, &["--csr-dir", "requests", "--out-dir", "chains"]).wait().unwrap();
    assert!(finished.success());
    assert_eq!(chains(&out).len(), count);
    let left: Vec<_> = fs::read_dir(&out).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left.len(), count + 1, "chains and the lock: {left:?}");
}

/// A run that is killed after a chain has its name, and before the hidden name is removed.
#[test]
fn what_a_killed_run_left_of_a_whole_chain_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    development::create(&folder.join("dev"), false, &mut |_| {}).unwrap();
    write_request(&folder.join("one.csr"), &generate_p256().unwrap());
    fs::create_dir(folder.join("chains")).unwrap();
    let certify = || {
        let run = start(folder, &["--csr", "one.csr", "--out", "chains/one.pem"]).wait();
        assert!(run.unwrap().success());
    };
    certify();
    let (chain, aside) = (folder.join("chains/one.pem"), folder.join("chains/.one.pem.new"));
    fs::hard_link(&chain, &aside).unwrap();
    certify();
    assert!(chain.exists() && !aside.exists());
}

#[test]
fn a_single_request_replaces_no_other_devices_chain() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    development::create(&folder.join("dev"), false, &mut |_| {}).unwrap();
    let (one, two) = (generate_p256().unwrap(), generate_p256().unwrap());
    write_request(&folder.join("one.csr"), &one);
    write_request(&folder.join("two.csr"), &two);
    fs::create_dir(folder.join("chains")).unwrap();
    let run = |arguments: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_otrp-keys"))
            .current_dir(folder)
            .args(["certify", "--ca", "dev/tee-ca"])
            .args(arguments.split(' '))
            .output()
            .unwrap();
        let text = |octets| String::from_utf8(octets).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let file = folder.join("chains/device.pem");
    assert_eq!(run("--csr one.csr --out chains/device.pem").0, Some(0));
    let first = fs::read(&file).unwrap();
    for (arguments, code, expected) in [
        ("--csr one.csr --out chains/device.pem", 0, "has the chain of this key already"),
        ("--csr two.csr --out chains/device.pem", 1, "exists and is for another key"),
        ("--csr two.csr --out chains/device.pem --renew", 1, "exists and is for another key"),
        (
            "--csr one.csr --out chains/other.pem",
            1,
            "the same key has a chain already, chains/device.pem",
        ),
        ("--csr one.csr --out chains/other.pem --renew", 1, "two devices never have the same key"),
        ("--csr one.csr --out chains/.other.chain.pem", 1, "begins with a dot"),
        ("--csr two.csr --out chains/.two.chain.pem", 1, "begins with a dot"),
    ] {
        let (status, output, errors) = run(arguments);
        assert_eq!(status, Some(code), "{arguments}: {errors}");
        assert!(format!("{output}{errors}").contains(expected), "{arguments}: {output}{errors}");
        assert_eq!(fs::read(&file).unwrap(), first, "{arguments}");
    }
    assert_eq!(run("--csr one.csr --out chains/device.pem --renew").0, Some(0));
    assert_ne!(fs::read(&file).unwrap(), first);
    assert_eq!(chains(&folder.join("chains")).len(), 1);
}
