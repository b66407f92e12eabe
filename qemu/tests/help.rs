//! The smallest configuration that `otrp-tam serve --help` prints, as printed, against the image
//! that `make run` builds.
//!
//! Needs the images; run by `make test`, and alone by `make test-device`.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use otrp_qemu::harness::device::Device;
use otrp_qemu::harness::image::Image;
use otrp_qemu::harness::machine::Machine;
use otrp_qemu::scenario::operator::provision;

fn cache() -> PathBuf {
    otrp_qemu::harness::cache().canonicalize().unwrap()
}

/// Runs a line of the help in `folder`, with the programs that the project builds.
fn command(folder: &Path, line: &str) -> Command {
    let programs = cache().join("target/debug");
    let mut words = line.split_whitespace();
    let mut command = Command::new(programs.join(words.next().unwrap()));
    command.args(words).current_dir(folder);
    command
}

/// A server that ends with this value.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs the images: make test-device"]
fn the_smallest_configuration_serves_a_device_as_printed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    symlink(cache(), folder.join(".cache")).unwrap();
    let help = command(folder, "otrp-tam serve --help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap().replace("\\\n", " ");
    let (_, example) = help.split_once("in the folder of the project:\n").unwrap();
    let (example, _) = example.split_once("\nThe OCSP responses").unwrap();
    std::fs::write(folder.join("desired.toml"), example).unwrap();

    let device = Device::open_or_create(folder.join("device")).unwrap();
    let image = Image::open(cache().join("image/development")).unwrap();
    let mut guest = Machine::new(device, image).boot().unwrap();
    provision(&mut guest, &cache().join("keys/dev")).unwrap();

    let mut server = None;
    let mut requests = 0;
    for line in help.lines().map(str::trim) {
        if line.starts_with("otrp-tam serve ") {
            // Several tests run at a time.
            let line = line.replace("0.0.0.0:8080", "127.0.0.1:0");
            let mut process = command(folder, &line).stdout(Stdio::piped()).spawn().unwrap();
            let mut printed = String::new();
            BufReader::new(process.stdout.take().unwrap()).read_line(&mut printed).unwrap();
            let port = printed.trim().rsplit_once(':').unwrap().1.to_owned();
            server = Some((Serving(process), port));
        } else if line.starts_with("otrp-tam ") || line.starts_with("otrp-keys ") {
            let output = command(folder, line).output().unwrap();
            assert!(output.status.success(), "{line}: {output:?}");
        } else if line.starts_with("otrp-agent ") {
            // The host as the guest reaches it.
            let (_, port) = server.as_ref().unwrap();
            let line = line.replace("TAM-HOST:8080", &format!("10.0.2.2:{port}"));
            guest.run(&line).unwrap().success().unwrap();
            requests += 1;
        }
    }
    assert_eq!(requests, 1);
    assert_eq!(guest.run("otrp-signer-client version").unwrap().text(), "1");
    guest.power_off().unwrap();
}
