//! What `make image` packs runs by itself, without this tree.
//!
//! Needs `make image`; run by `make test`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A boot takes 3 s, on a busy machine a multiple of it.
const TIMEOUT: Duration = Duration::from_secs(180);

#[test]
#[ignore = "needs the image: make image"]
fn the_packed_folder_boots_to_a_shell() {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/release/otrp-qemu.tar.gz");
    let folder = tempfile::tempdir().unwrap();
    let mut unpack = Command::new("tar");
    unpack.arg("-xzf").arg(archive).arg("-C").arg(folder.path());
    assert!(unpack.status().unwrap().success());

    let mut guest = Command::new("./run.sh")
        .current_dir(folder.path().join("otrp-qemu"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut terminal = guest.stdin.take().unwrap();
    terminal.write_all(b"otrp-agent status\nexit\n").unwrap();
    let start = Instant::now();
    while guest.try_wait().unwrap().is_none() {
        if start.elapsed() > TIMEOUT {
            guest.kill().unwrap();
            panic!("the guest does not end");
        }
        thread::sleep(Duration::from_millis(50));
    }
    drop(terminal);
    let output = guest.wait_with_output().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("\"provisioned\":false"), "{shown}");
    // Secure storage is in the folder.
    let storage = folder.path().join("otrp-qemu/device/storage");
    assert!(storage.read_dir().unwrap().next().is_some());
}
