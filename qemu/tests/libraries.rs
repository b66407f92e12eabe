//! Nobody else's code runs in an application, in real OP-TEE: neither the libraries that it is loaded
//! with nor those that it loads as it runs are another provider's.
//!
//! Libraries and applications are built here with OP-TEE's TA dev kit. Needs the images; run by `make
//! test`, and alone by `make test-device`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command as Process;

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

const PORT_TESTS: &str = "7fc3b03e-d5b8-45c5-94cb-5b36ec23a5da";
/// Libraries of the first provider and of the second.
const OWN: &str = "11111111-2222-3333-4444-0000000000a1";
const FOREIGN: &str = "11111111-2222-3333-4444-0000000000a2";
/// Applications that are loaded with one and with the other.
const NEEDS_OWN: &str = "11111111-2222-3333-4444-0000000000a3";
const NEEDS_FOREIGN: &str = "11111111-2222-3333-4444-0000000000a4";
/// The first provider's program that loads libraries as it runs.
const LOADER: &str = "11111111-2222-3333-4444-0000000000a5";
const ABSENT: &str = "11111111-2222-3333-4444-0000000000a6";
const INVALID: &str = "ERR_TA_INVALID";
const SUCCESS: &str = "0x00000000";
const ITEM_NOT_FOUND: &str = "0xffff0008";

fn uuid(text: &str) -> Uuid {
    text.parse().unwrap()
}

/// Has the dev kit make `product` of a source file in `folder`, which is there.
fn make(folder: &Path, source: &str, flags: &str, settings: &str, product: &str) -> Vec<u8> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/libraries");
    for name in [source, "library.h", "user_ta_header_defines.h"] {
        fs::copy(sources.join(name), folder.join(name)).unwrap();
    }
    let sub = format!("srcs-y += {source}\nglobal-incdirs-y += .\ncppflags-y += {flags}\n");
    fs::write(folder.join("sub.mk"), sub).unwrap();
    let makefile = format!("{settings}\ninclude $(TA_DEV_KIT_DIR)/mk/ta_dev_kit.mk\n");
    fs::write(folder.join("Makefile"), makefile).unwrap();
    let kit = fs::canonicalize(cache().join("optee/devkit/export-ta_arm64")).unwrap();
    let output = Process::new("make")
        .current_dir(folder)
        .env_remove("MAKEFLAGS")
        .arg(format!("TA_DEV_KIT_DIR={}", kit.display()))
        .args(["CROSS_COMPILE=aarch64-linux-gnu-", "O=out"])
        .arg(format!("out/{product}"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}{said}", String::from_utf8_lossy(&output.stdout));
    fs::read(folder.join("out").join(product)).unwrap()
}

/// A library that returns `value`; where it is for the linker, and what is installed.
fn library(folder: &Path, uuid: &str, value: u32) -> (PathBuf, Vec<u8>) {
    let folder = folder.join(uuid);
    fs::create_dir(&folder).unwrap();
    let flags = format!("-DLIBRARY_VALUE={value}");
    let settings = format!("SHLIBNAME = library\nSHLIBUUID = {uuid}");
    let stripped = make(&folder, "library.c", &flags, &settings, "library.stripped.so");
    (folder.join("out/library.so"), stripped)
}

/// An application that is loaded with a library.
fn application(folder: &Path, text: &str, library: &Path) -> Vec<u8> {
    let Uuid([a, b, c, d, e, f, g, h, rest @ ..]) = uuid(text);
    let rest: Vec<_> = rest.iter().map(|octet| format!("{octet:#x}")).collect();
    let uuid = format!(
        "#define TA_UUID {{ {:#x}, {:#x}, {:#x}, {{ {} }} }}\n",
        u32::from_be_bytes([a, b, c, d]),
        u16::from_be_bytes([e, f]),
        u16::from_be_bytes([g, h]),
        rest.join(", ")
    );
    let folder = folder.join(text);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("uuid.h"), uuid).unwrap();
    let settings = format!("BINARY = {text}\nLDADD = {}", library.display());
    let product = format!("{text}.stripped.elf");
    make(&folder, "application.c", "", &settings, &product)
}

struct Bench {
    guest: Guest,
    tam: Operator,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn boot() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let device = Device::open_or_create(folder.path()).unwrap();
        let image = Image::open(cache().join("image/lab")).unwrap();
        let mut guest = Machine::new(device, image).boot().unwrap();
        let keys = cache().join("keys/dev");
        provision(&mut guest, &keys).unwrap();
        let tam = Operator::read(&keys, "tam").unwrap();
        let certificate = fs::read(keys.join("sp-ec.der")).unwrap();
        for spid in ["one", "two"] {
            let create = Command::CreateSd { spid, name: spid, certificate: &certificate };
            tam.carry_out(&mut guest, create).unwrap();
        }
        Self { guest, tam, _folder: folder }
    }

    /// Has a provider's program installed under a UUID; the code of a refusal.
    fn install(&mut self, spid: &str, text: &str, version: u32, elf: &[u8]) -> Result<(), String> {
        let key = file::read_key(&cache().join("keys/dev/sp-ec.key.pem")).unwrap();
        let image = image::sign(&key, None, uuid(text), version, elf).unwrap();
        let install = Command::InstallTa(Application {
            spid,
            domain: spid,
            taid: text,
            certificate: None,
            image: Some(&image),
            personalization: None,
        });
        let Self { guest, tam, .. } = self;
        let target = Target::from(&tam.state(guest).unwrap());
        let request = Builder::command(&tam.identity, &target, install).build().unwrap();
        match tam.send(guest, &request, &target).unwrap() {
            Outcome::Pass(_) => Ok(()),
            Outcome::Fail(refusal) => Err(refusal.code.into_inner()),
        }
    }

    /// What an application returns, if it can be opened.
    fn value(&mut self, text: &str) -> Option<String> {
        let output = self.guest.run(&format!("echo | otrp-lab hold {text} 0")).unwrap();
        (output.status == 0).then(|| output.text().lines().last().unwrap().to_owned())
    }

    /// How loading a library ends for the program that does so.
    fn load(&mut self, library: &str) -> String {
        let command = format!("otrp-lab dlopen-from-ta {LOADER} {library}");
        self.guest.run(&command).unwrap().success().unwrap().text()
    }
}

#[test]
#[ignore = "needs the images: make test-device"]
fn an_application_has_no_code_but_its_owners() {
    let folder = tempfile::tempdir().unwrap();
    let (own_for_linker, own) = library(folder.path(), OWN, 11);
    let (foreign_for_linker, foreign) = library(folder.path(), FOREIGN, 22);
    let needs_own = application(folder.path(), NEEDS_OWN, &own_for_linker);
    let needs_foreign = application(folder.path(), NEEDS_FOREIGN, &foreign_for_linker);
    let loader = fs::read(cache().join("image/samples/port-tests.elf")).unwrap();
    let loader = fixture::renamed(&loader, uuid(PORT_TESTS).0, uuid(LOADER).0);

    let mut bench = Bench::boot();
    bench.install("one", OWN, 1, &own).unwrap();
    bench.install("one", LOADER, 1, &loader).unwrap();
    bench.install("two", FOREIGN, 1, &foreign).unwrap();

    // With its own it is installed and runs, and not with another's.
    let refused = bench.install("one", NEEDS_FOREIGN, 1, &needs_foreign);
    assert_eq!(refused.unwrap_err(), INVALID);
    bench.install("one", NEEDS_OWN, 1, &needs_own).unwrap();
    assert_eq!(bench.value(NEEDS_OWN).as_deref(), Some("11"));
    bench.install("two", NEEDS_FOREIGN, 1, &needs_foreign).unwrap();
    assert_eq!(bench.value(NEEDS_FOREIGN).as_deref(), Some("22"));

    // Nor as it runs. Another's library cannot be told from none.
    assert_eq!(bench.load(OWN), SUCCESS);
    for library in [FOREIGN, NEEDS_FOREIGN, ABSENT] {
        assert_eq!(bench.load(library), ITEM_NOT_FOUND, "{library}");
    }

    // Nobody puts his own where the application looks for its owner's.
    let delete = Command::DeleteTa { spid: Some("one"), name: "one", taid: OWN };
    bench.tam.carry_out(&mut bench.guest, delete).unwrap();
    let refused = bench.install("two", OWN, 9, &own);
    assert_eq!(refused.unwrap_err(), INVALID);
    assert_eq!(bench.value(NEEDS_OWN), None, "it runs without its library");
    assert_eq!(bench.load(OWN), ITEM_NOT_FOUND);

    // Were the broker wrong about that, OP-TEE's core would still not load it.
    bench.guest.put("/tmp/library", &own).unwrap();
    let install = format!("otrp-lab install {OWN} 9 /tmp/library 7");
    bench.guest.run(&install).unwrap().success().unwrap();
    assert_eq!(bench.value(NEEDS_OWN), None, "it runs with another owner's library");
    assert_eq!(bench.load(OWN), ITEM_NOT_FOUND);
    bench.guest.run(&format!("otrp-lab remove {OWN}")).unwrap().success().unwrap();

    bench.install("one", OWN, 2, &own).unwrap();
    assert_eq!(bench.value(NEEDS_OWN).as_deref(), Some("11"));
    assert_eq!(bench.load(OWN), SUCCESS);
    let log = bench.guest.secure_log().unwrap();
    assert!(!log.contains("Panic at"), "{log}");
    bench.guest.power_off().unwrap();
}
