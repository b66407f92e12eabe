//! The ports' conformance inside OP-TEE, and who may use the pseudo TA.
//!
//! Needs `make lab`; run by `make test`.

use std::path::Path;
use std::time::Duration;

use otrp_qemu::{device::Device, guest::Guest, image::Image, machine::Machine};

const TA_STORE: &str = "6b6f0f23-8b46-4e9a-921a-c14b106fec81";

fn boot(variant: &str) -> (tempfile::TempDir, Guest) {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::open_or_create(folder.path()).unwrap();
    let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/image").join(variant);
    (folder, Machine::new(device, Image::open(image).unwrap()).boot().unwrap())
}

#[test]
#[ignore = "needs the lab image: make lab"]
fn the_ports_keep_their_contracts_in_op_tee() {
    let (_folder, mut guest) = boot("lab");
    // It makes four RSA key pairs, each of which may take a minute under emulation.
    let output = guest.run_with("otrp-lab run", &[], Duration::from_secs(900)).unwrap();
    let report = output.text();
    assert_eq!(output.status, 0, "{report}\n{}", output.error_text());
    // A report without checks would pass for one without failures.
    let held = report.lines().last().and_then(|line| line.split(' ').next());
    let held: u32 = held.and_then(|count| count.parse().ok()).unwrap_or_default();
    assert!(held >= 50, "{report}");
    guest.power_off().unwrap();
}

#[test]
#[ignore = "needs the lab image: make lab"]
fn the_pseudo_ta_is_closed_to_the_normal_world() {
    let (_folder, mut guest) = boot("lab");
    let output = guest.run(&format!("otrp-lab open {TA_STORE}")).unwrap();
    assert_ne!(output.status, 0);
    // Denied, and not merely absent.
    let error = output.error_text().to_lowercase();
    assert!(error.contains("denied") || error.contains("0xffff0001"), "{error}");
    guest.power_off().unwrap();
}
