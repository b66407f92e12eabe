//! The port tests inside OP-TEE, and who may use the pseudo TA.
//!
//! Needs the images; run by `make test`, and alone by `make test-device`.

use std::time::Duration;

use openssl::x509::X509Req;
use otrp_check::fixture;
use otrp_keys::{Uuid, file, image};
use otrp_qemu::harness::cache;
use otrp_qemu::scenario::operator::{Operator, provision};
use otrp_qemu::{
    harness::device::Device, harness::guest::Guest, harness::image::Image,
    harness::machine::Machine, harness::storage::Listing,
};
use otrp_tam::request::{Application, Command};

const STORE: &str = "6b6f0f23-8b46-4e9a-921a-c14b106fec81";
const PORT_TESTS: &str = "7fc3b03e-d5b8-45c5-94cb-5b36ec23a5da";
/// Under which the broker installs the port tests' TA as anybody's application.
const ANOTHER: &str = "11111111-2222-3333-4444-bbbbbbbbbbbb";
const NOTHING: &str = "11111111-2222-3333-4444-cccccccccccc";

fn boot(variant: &str) -> (tempfile::TempDir, Guest) {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::open_or_create(folder.path()).unwrap();
    let guest = boot_device(device, variant);
    (folder, guest)
}

fn boot_device(device: Device, variant: &str) -> Guest {
    let image = cache().join("image").join(variant);
    Machine::new(device, Image::open(image).unwrap()).boot().unwrap()
}

#[test]
#[ignore = "needs the images: make test-device"]
fn the_ports_keep_their_contracts_in_op_tee() {
    let (_folder, mut guest) = boot("lab");
    let request = guest.run("otrp-agent csr").unwrap().success().unwrap().stdout;
    let key = |request: &[u8]| {
        let key = X509Req::from_pem(request).unwrap().public_key().unwrap();
        key.public_key_to_der().unwrap()
    };
    // It makes four RSA key pairs, each of which may take a minute under emulation.
    let output = guest.run_with("otrp-lab run", &[], Duration::from_secs(900)).unwrap();
    let report = output.text();
    assert_eq!(output.status, 0, "{report}\n{}", output.error_text());
    // A report without checks would pass for one without failures.
    let held = report.lines().last().and_then(|line| line.split(' ').next());
    let held: u32 = held.and_then(|count| count.parse().ok()).unwrap_or_default();
    assert!(held >= 500, "{report}");
    println!("{report}");

    // What the broker stores it has as before.
    let device = guest.power_off().unwrap();
    let mut guest = boot_device(device, "lab");
    let again = guest.run("otrp-agent csr").unwrap().success().unwrap().stdout;
    assert!(key(&request) == key(&again), "another key");
    guest.power_off().unwrap();
}

#[test]
#[ignore = "needs the images: make test-device"]
fn the_pseudo_ta_is_closed_to_the_normal_world() {
    let (_folder, mut guest) = boot("lab");
    let output = guest.run(&format!("otrp-lab open {STORE}")).unwrap();
    assert_ne!(output.status, 0);
    // Denied, and not merely absent.
    let error = output.error_text().to_lowercase();
    assert!(error.contains("denied") || error.contains("0xffff0001"), "{error}");
    guest.power_off().unwrap();
}

#[test]
#[ignore = "needs the images: make test-device"]
fn the_pseudo_ta_is_closed_to_other_applications() {
    let (_folder, mut guest) = boot("lab");
    let cache = cache();
    let keys = cache.join("keys/dev");
    provision(&mut guest, &keys).unwrap();
    let tam = Operator::read(&keys, "tam").unwrap();
    let (spid, name) = ("com.example", "com.example.domain");
    let certificate = std::fs::read(keys.join("sp-ec.der")).unwrap();
    let create = Command::CreateSd { spid, name, certificate: &certificate };
    tam.carry_out(&mut guest, create).unwrap();
    let key = file::read_key(&keys.join("sp-ec.key.pem")).unwrap();
    let elf = std::fs::read(cache.join("image/samples/port-tests.elf")).unwrap();
    let [own, another]: [Uuid; 2] = [PORT_TESTS, ANOTHER].map(|uuid| uuid.parse().unwrap());
    let elf = fixture::renamed(&elf, own.0, another.0);
    let image = image::sign(&key, None, another, 1, &elf).unwrap();
    let application = Application {
        spid,
        domain: name,
        taid: "another",
        certificate: None,
        image: Some(&image),
        personalization: None,
    };
    tam.carry_out(&mut guest, Command::InstallTa(application)).unwrap();

    // The same program opens the same session, and only the UUID that it was loaded under differs.
    let mut open = |caller: &str, uuid: &str| {
        let command = format!("otrp-lab open-from-ta {caller} {uuid}");
        guest.run(&command).unwrap().success().unwrap().text()
    };
    assert_eq!(open(PORT_TESTS, STORE), "0x00000000");
    assert_eq!(open(ANOTHER, STORE), "0xffff0001", "denied");
    // It can open sessions: with an application that may be called by others.
    assert_eq!(open(ANOTHER, PORT_TESTS), "0x00000000");
    assert_eq!(open(ANOTHER, NOTHING), "0xffff0008", "not found");
    guest.power_off().unwrap();
}

#[test]
#[ignore = "needs the images: make test-device"]
fn a_session_that_is_lost_in_the_middle_leaves_nothing() {
    let (_folder, mut guest) = boot("lab");
    guest.run("otrp-agent csr").unwrap().success().unwrap();
    // One installation first, so that there has been all that there ever is.
    guest.put("/tmp/small", b"\x7fELF").unwrap();
    let run = |guest: &mut Guest, command: &str| guest.run(command).unwrap().success().unwrap();
    run(&mut guest, &format!("otrp-lab install {NOTHING} 1 /tmp/small"));
    run(&mut guest, &format!("otrp-lab remove {NOTHING}"));
    let files = |guest: &Guest| Listing::of(&guest.device().unwrap().storage()).unwrap().lengths();
    let before = files(&guest);
    assert!(!before.is_empty());

    for (end, result) in [("close", "0x00000000"), ("panic", "0xffff3024")] {
        let said = run(&mut guest, &format!("otrp-lab interrupt {end}")).text();
        assert_eq!(said, result, "{end}");
        assert_eq!(files(&guest), before, "{end}");
    }
    guest.power_off().unwrap();
}
