//! What an application stored itself goes with it, in real OP-TEE: at once, after its last instance has
//! ended, or after the power was cut.
//!
//! Needs the images; run by `make test`, and alone by `make test-device`.

use std::fs;
use std::path::PathBuf;

use otrp_check::fixture;
use otrp_keys::{Uuid, file, image};
use otrp_qemu::harness::cache;
use otrp_qemu::harness::device::Device;
use otrp_qemu::harness::guest::Guest;
use otrp_qemu::harness::image::Image;
use otrp_qemu::harness::machine::Machine;
use otrp_qemu::harness::storage::Listing;
use otrp_qemu::scenario::deployment::SIGNER_UUID;
use otrp_qemu::scenario::operator::{Operator, provision};
use otrp_tam::request::{Application, Builder, Command, Target};
use otrp_tam::response::Outcome;

const SP: &str = "com.example";
const SD: &str = "com.example.domain";
const TA: &str = "com.example.signer";
/// The sample's command that tells its version.
const STATUS: u32 = 5;
/// In the lab's image, and in no other.
const PORT_TESTS: &str = "7fc3b03e-d5b8-45c5-94cb-5b36ec23a5da";

fn keys() -> PathBuf {
    cache().join("keys/dev")
}

fn boot(device: Device, variant: &str) -> Guest {
    let image = Image::open(cache().join("image").join(variant)).unwrap();
    Machine::new(device, image).cpus(2).boot().unwrap()
}

fn sign(uuid: &str, version: u32, elf: &[u8]) -> Vec<u8> {
    let key = file::read_key(&keys().join("sp-rsa.key.pem")).unwrap();
    image::sign(&key, None, uuid.parse().unwrap(), version, elf).unwrap()
}

fn application(image: &[u8]) -> Application<'_> {
    Application {
        spid: SP,
        domain: SD,
        taid: TA,
        certificate: None,
        image: Some(image),
        personalization: None,
    }
}

struct Bench {
    guest: Option<Guest>,
    tam: Operator,
    version: u32,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn boot(variant: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut guest = boot(Device::open_or_create(folder.path()).unwrap(), variant);
        provision(&mut guest, &keys()).unwrap();
        let tam = Operator::read(&keys(), "tam").unwrap();
        Self { guest: Some(guest), tam, version: 0, _folder: folder }
    }

    fn guest(&mut self) -> &mut Guest {
        self.guest.as_mut().unwrap()
    }

    fn power_off(&mut self) -> Device {
        self.guest.take().unwrap().power_off().unwrap()
    }

    fn create_domain(&mut self) {
        let certificate = fs::read(keys().join("sp-rsa.der")).unwrap();
        let create = Command::CreateSd { spid: SP, name: SD, certificate: &certificate };
        self.tam.carry_out(self.guest.as_mut().unwrap(), create).unwrap();
    }

    /// Has the sample installed, in a version that was not there before; the code of a refusal.
    fn install(&mut self) -> Result<(), String> {
        let elf = fs::read(cache().join("image/samples/signer-v1.elf")).unwrap();
        self.version += 1;
        self.install_as(SIGNER_UUID, self.version, &elf)
    }

    fn install_as(&mut self, uuid: &str, version: u32, elf: &[u8]) -> Result<(), String> {
        let image = sign(uuid, version, elf);
        let install = Command::InstallTa(application(&image));
        let Self { guest, tam, .. } = self;
        let guest = guest.as_mut().unwrap();
        let target = Target::from(&tam.state(guest).unwrap());
        let request = Builder::command(&tam.identity, &target, install).build().unwrap();
        match tam.send(guest, &request, &target).unwrap() {
            Outcome::Pass(_) => Ok(()),
            Outcome::Fail(refusal) => Err(refusal.code.into_inner()),
        }
    }

    fn delete(&mut self) {
        let delete = Command::DeleteTa { spid: None, name: SD, taid: TA };
        self.tam.carry_out(self.guest.as_mut().unwrap(), delete).unwrap();
    }

    fn delete_domain(&mut self) {
        let delete = Command::DeleteSd { spid: None, name: SD, delete_tas: true };
        self.tam.carry_out(self.guest.as_mut().unwrap(), delete).unwrap();
    }

    /// Has the sample make and store a key; the public one.
    fn make_key(&mut self) -> String {
        self.guest().run("otrp-signer-client generate").unwrap().success().unwrap().text()
    }

    fn stored_key(&mut self) -> Option<String> {
        let output = self.guest().run("otrp-signer-client public-key").unwrap();
        (output.status == 0).then(|| output.text())
    }

    /// Objects of OP-TEE's storage: that of the store, and those of applications.
    fn objects(&self) -> usize {
        let files = Listing::of(&self.guest.as_ref().unwrap().device().unwrap().storage()).unwrap();
        files.lengths().keys().filter(|name| name.parse::<u32>().is_ok()).count()
    }

    /// Opens a session that stays.
    fn hold(&mut self) {
        let script = format!(
            "rm -f /tmp/asked; mkfifo /tmp/asked; sleep 600 >/tmp/asked & echo $! >/tmp/holder
             otrp-lab hold {SIGNER_UUID} {STATUS} </tmp/asked >/tmp/held 2>&1 &
             until grep -q open /tmp/held 2>/dev/null; do sleep 0.1; done; echo"
        );
        self.guest().run(&script).unwrap().success().unwrap();
    }

    fn release(&mut self) {
        let script = "kill $(cat /tmp/holder); while pidof otrp-lab >/dev/null; do sleep 0.1; done";
        self.guest().run(script).unwrap().success().unwrap();
    }

    fn assert_no_panic(&self) {
        let log = self.guest.as_ref().unwrap().secure_log().unwrap();
        assert!(!log.to_lowercase().contains("panic"), "{log}");
    }
}

#[test]
#[ignore = "needs the images: make test-device"]
fn what_an_application_stored_goes_with_it() {
    let mut bench = Bench::boot("lab");
    let mut keys = Vec::new();
    bench.create_domain();
    // The second one is installed in the domain that the first was in.
    for ends_with_domain in [false, true] {
        bench.install().unwrap();
        assert_eq!((bench.stored_key(), bench.objects()), (None, 1));
        let key = bench.make_key();
        assert!(!keys.contains(&key));
        assert_eq!(bench.stored_key().as_ref(), Some(&key));
        assert_eq!(bench.objects(), 2);
        keys.push(key);
        if ends_with_domain {
            bench.delete_domain();
        } else {
            bench.delete();
        }
        assert_eq!(bench.objects(), 1, "with the domain: {ends_with_domain}");
    }
    // An update takes nothing away.
    bench.create_domain();
    bench.install().unwrap();
    let key = bench.make_key();
    let elf = fs::read(cache().join("image/samples/signer-v2.elf")).unwrap();
    let image = sign(SIGNER_UUID, bench.version + 1, &elf);
    let update = Command::UpdateTa(application(&image));
    bench.tam.carry_out(bench.guest.as_mut().unwrap(), update).unwrap();
    assert_eq!(bench.stored_key(), Some(key));
    bench.assert_no_panic();
    bench.power_off();
}

#[test]
#[ignore = "needs the images: make test-device"]
fn what_a_running_application_stored_goes_when_it_has_ended() {
    let mut bench = Bench::boot("lab");
    bench.create_domain();
    bench.install().unwrap();
    bench.make_key();
    bench.hold();
    bench.delete();
    assert_eq!(bench.objects(), 2, "it runs");
    assert_eq!(bench.stored_key(), None, "it takes no new session");
    // Until then there is no other application of this UUID, which could read it.
    for _ in 0..2 {
        assert_eq!(bench.install().unwrap_err(), "ERR_TEE_FAIL");
        assert_eq!(bench.objects(), 2);
    }
    bench.release();
    bench.install().unwrap();
    assert_eq!((bench.stored_key(), bench.objects()), (None, 1));
    bench.make_key();

    // A power cut ends it, too. It comes right after the answer.
    bench.hold();
    bench.delete_domain();
    assert_eq!(bench.objects(), 2, "it runs");
    let device = bench.guest.take().unwrap().kill().unwrap();
    bench.guest = Some(boot(device, "lab"));
    assert_eq!(bench.objects(), 2, "nobody has asked the broker yet");
    bench.guest().run("otrp-agent status").unwrap().success().unwrap();
    assert_eq!(bench.objects(), 1);
    bench.create_domain();
    bench.install().unwrap();
    assert_eq!(bench.stored_key(), None);
    bench.assert_no_panic();
    bench.power_off();
}

/// The image's own come first, and are not in the way of what the broker had installed there.
#[test]
#[ignore = "needs the images: make test-device"]
fn an_image_may_bring_an_application_of_an_installed_ones_uuid() {
    let mut bench = Bench::boot("development");
    bench.create_domain();
    let uuid: Uuid = PORT_TESTS.parse().unwrap();
    let elf = fixture::sized(uuid.0, 5000, 1);
    bench.install_as(PORT_TESTS, 1, &elf).unwrap();

    let device = bench.power_off();
    bench.guest = Some(boot(device, "lab"));
    let open = format!("otrp-lab open {PORT_TESTS}");
    bench.guest().run(&open).unwrap().success().unwrap();
    let listed = |bench: &mut Bench| {
        let state = bench.tam.state(bench.guest.as_mut().unwrap()).unwrap();
        state.dsi.tee.sdlist.sd.iter().map(|domain| domain.talist.len()).sum::<usize>()
    };
    assert_eq!(listed(&mut bench), 1);
    // Neither replaced nor installed anew, but deleted.
    bench.delete();
    assert_eq!(listed(&mut bench), 0);
    assert_eq!(bench.install_as(PORT_TESTS, 2, &elf).unwrap_err(), "ERR_TA_INVALID");
    bench.install().unwrap();
    bench.guest().run(&open).unwrap().success().unwrap();
    bench.assert_no_panic();
    bench.power_off();
}
