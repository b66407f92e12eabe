//! What `make image` packs runs by itself, without this tree.
//!
//! Needs the images; run by `make test`, and alone by `make test-device`.

use otrp_qemu::harness::cache;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// A boot takes 3 s, on a busy machine a multiple of it.
const TIMEOUT: Duration = Duration::from_secs(180);

#[test]
#[ignore = "needs the images: make test-device"]
fn the_packed_folder_boots_to_a_shell() {
    let archive = cache().join("development/otrp-qemu-development.tar.gz");
    let folder = tempfile::tempdir().unwrap();
    let mut unpack = Command::new("tar");
    unpack.arg("-xzf").arg(&archive).arg("-C").arg(folder.path());
    assert!(unpack.status().unwrap().success());

    // Both hold the device's key.
    let home = folder.path().join("otrp-qemu-development");
    for secret in [archive.as_path(), &home.join("device/flash.bin")] {
        let mode = fs::metadata(secret).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{}", secret.display());
    }

    let mut guest = Command::new("./run.sh")
        .current_dir(&home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut terminal = guest.stdin.take().unwrap();
    let mut screen = guest.stdout.take().unwrap();
    let (shown, output) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = screen.read(&mut buffer) {
            let _ = shown.send(buffer[..length].to_vec());
        }
    });
    // What the guest shows until it shows `awaited`, or ends if that is nothing.
    let mut read_to = |awaited: &str| {
        let mut text = String::new();
        while awaited.is_empty() || !text.contains(awaited) {
            match output.recv_timeout(TIMEOUT) {
                Ok(octets) => text.push_str(&String::from_utf8_lossy(&octets)),
                Err(mpsc::RecvTimeoutError::Disconnected) if awaited.is_empty() => break,
                Err(error) => {
                    guest.kill().unwrap();
                    panic!("{error} after {text}");
                }
            }
        }
        text
    };
    // Before there is a shell, nobody listens.
    let start = read_to("/ # ");
    assert!(start.contains("DEVELOPMENT IMAGE"), "{start}");
    terminal.write_all(b"otrp-agent status\nexit\n").unwrap();
    let text = start + &read_to("");
    assert!(text.contains("\"provisioned\":false"), "{text}");
    assert!(guest.wait().unwrap().success());
    // Secure storage is in the folder.
    let storage = home.join("device/storage");
    assert!(storage.read_dir().unwrap().next().is_some());
}
