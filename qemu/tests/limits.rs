//! The largest application, and a disk that is full, in real OP-TEE.
//!
//! Needs the images; run by `make test`, and alone by `make test-device`.

use otrp_check::fixture;
use otrp_keys::{Uuid, file, image};
use otrp_qemu::harness::cache;
use otrp_qemu::harness::device::Device;
use otrp_qemu::harness::guest::Guest;
use otrp_qemu::harness::image::Image;
use otrp_qemu::harness::machine::Machine;
use otrp_qemu::scenario::operator::{Operator, provision};
use otrp_tam::request::{Application, Builder, Command, Target};
use otrp_tam::response::Outcome;

const SP: &str = "com.example";
const SD: &str = "com.example.domain";
const UUID: &str = "11111111-2222-3333-4444-777777777777";

fn boot(device: Device) -> Guest {
    Machine::new(device, Image::open(cache().join("image/development")).unwrap()).boot().unwrap()
}

/// The file system of secure storage gets this size, in KiB, and begins empty.
fn limit_storage(guest: &mut Guest, size: u32) {
    let script = format!("mount -t tmpfs -o size={size}k tmpfs /var/lib/tee");
    guest.run(&script).unwrap().success().unwrap();
}

/// A program of `size` bytes, signed, that differs by `seed`.
fn signed(size: usize, seed: u8) -> Vec<u8> {
    let uuid: Uuid = UUID.parse().unwrap();
    let elf = fixture::sized(uuid.0, size, seed);
    let key = file::read_key(&cache().join("keys/dev/sp-ec.key.pem")).unwrap();
    image::sign(&key, None, uuid, u32::from(seed), &elf).unwrap()
}

fn application(image: &[u8]) -> Application<'_> {
    Application {
        spid: SP,
        domain: SD,
        taid: "large",
        certificate: None,
        image: Some(image),
        personalization: None,
    }
}

/// A TAM at a certified device, with a security domain.
fn begin(guest: &mut Guest) -> (Operator, Target) {
    let keys = cache().join("keys/dev");
    provision(guest, &keys).unwrap();
    let tam = Operator::read(&keys, "tam").unwrap();
    let certificate = std::fs::read(keys.join("sp-ec.der")).unwrap();
    tam.carry_out(guest, Command::CreateSd { spid: SP, name: SD, certificate: &certificate })
        .unwrap();
    let target = Target::from(&tam.state(guest).unwrap());
    (tam, target)
}

#[test]
#[ignore = "needs the images: make test-device"]
fn an_application_of_six_mebibytes_is_installed_and_updated() {
    let folder = tempfile::tempdir().unwrap();
    let mut guest = boot(Device::open_or_create(folder.path()).unwrap());
    let (tam, _) = begin(&mut guest);
    let (first, second) = (signed(6 << 20, 1), signed(6 << 20, 2));
    tam.carry_out(&mut guest, Command::InstallTa(application(&first))).unwrap();
    tam.carry_out(&mut guest, Command::UpdateTa(application(&second))).unwrap();
    let state = tam.state(&mut guest).unwrap();
    assert_eq!(state.dsi.tee.sdlist.sd[0].talist.len(), 1);

    // The database holds all of it: two images would not fit beside each other in less.
    let storage = guest.run("du -sk /var/lib/tee").unwrap().text();
    let size: u32 = storage.split_whitespace().next().unwrap().parse().unwrap();
    assert!((6144..12288).contains(&size), "{storage}");
    tam.carry_out(&mut guest, Command::DeleteTa { spid: None, name: SD, taid: "large" }).unwrap();
    guest.power_off().unwrap();
}

#[test]
#[ignore = "needs the images: make test-device"]
fn a_full_disk_is_told_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut guest = boot(Device::open_or_create(folder.path()).unwrap());

    // Not even the TEE's own key has room.
    limit_storage(&mut guest, 8);
    let output = guest.run("otrp-agent csr").unwrap();
    assert_eq!(output.status, 1);
    assert!(output.error_text().contains("storage is full"), "{}", output.error_text());

    // All but the image has room. It is the same file system: another one would lack the directory whose hash
    // the device has.
    guest.run("mount -o remount,size=400k /var/lib/tee").unwrap().success().unwrap();
    let (tam, target) = begin(&mut guest);
    let large = signed(1 << 20, 1);
    let install = Command::InstallTa(application(&large));
    let request = Builder::command(&tam.identity, &target, install).build().unwrap();
    match tam.send(&mut guest, &request, &target).unwrap() {
        Outcome::Fail(refusal) => assert_eq!(refusal.code, "ERR_TEE_RESOURCE_FULL"),
        Outcome::Pass(passed) => panic!("there was room: {passed:?}"),
    }
    // The state is the one from before: a smaller image is accepted on it.
    let small = signed(64 << 10, 1);
    let install = Command::InstallTa(application(&small));
    let request = Builder::command(&tam.identity, &target, install).build().unwrap();
    match tam.send(&mut guest, &request, &target).unwrap() {
        Outcome::Pass(_) => {}
        Outcome::Fail(refusal) => panic!("{refusal:?}"),
    }
    guest.power_off().unwrap();
}
