//! Who gets personalization data in real OP-TEE, and what the sample makes of them.
//!
//! The rows in full, with power cuts, are those of the simulator; here it is OP-TEE that says who
//! asks. Needs `make lab`, but for the sample's format; run by `make test`.

extern crate alloc;

#[path = "../../ta/samples/signer/ta/src/settings.rs"]
mod settings;

use otrp_qemu::harness::cache;
use otrp_qemu::harness::device::Device;
use otrp_qemu::harness::guest::Guest;
use otrp_qemu::harness::image::{Builds, Image};
use otrp_qemu::harness::machine::Machine;
use otrp_qemu::scenario::deployment::{Deployment, Desired, Suite};
use otrp_qemu::scenario::flow::expect_messages;
use otrp_wire::limits::PERSONALIZATION_LIMIT;

use settings::Settings;

/// The broker's commands, by their numbers.
const PROCESS: u32 = 0;
const TA_INFORMATION: u32 = 1;
const EXPORT_CSR: u32 = 2;
const IMPORT_CERTIFICATES: u32 = 3;
const STATUS: u32 = 4;
const PERSONALIZATION: u32 = 6;
const NO_COMMAND: u32 = 1000;

/// GlobalPlatform's results.
const SUCCESS: &str = "0x00000000";
const ACCESS_DENIED: &str = "0xffff0001";
const BAD_PARAMETERS: &str = "0xffff0006";
const NOT_IMPLEMENTED: &str = "0xffff0009";

/// GlobalPlatform's logins.
const PUBLIC: u32 = 0;
const USER: u32 = 1;
const TRUSTED_APPLICATION: u32 = 0xf000_0000;

struct Bench {
    guest: Guest,
    deployment: Deployment,
    _folder: tempfile::TempDir,
}

impl Bench {
    /// A certified device with the lab image, and a TAM that wants nothing on it yet.
    fn boot() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let device = Device::open_or_create(folder.path().join("device")).unwrap();
        let image = Image::open(cache().join("image/lab")).unwrap();
        let deployment =
            Deployment::start(&Builds::new(cache()), folder.path().join("tam"), Suite::Elliptic)
                .unwrap();
        let mut guest = Machine::new(device, image).boot().unwrap();
        deployment.provision(&mut guest).unwrap();
        Self { guest, deployment, _folder: folder }
    }

    /// Has the TAM bring the device to a state, by these commands.
    fn converge(&mut self, desired: Desired, commands: &[&str]) {
        self.deployment.desire(desired).unwrap();
        let lines = self.deployment.converge(&mut self.guest).unwrap();
        expect_messages(&lines, &[&["GetDeviceState"], commands].concat()).unwrap();
    }

    /// Exit status and output of a command in the guest.
    fn run(&mut self, command: &str) -> (i32, String) {
        let output = self.guest.run(command).unwrap();
        (output.status, output.text())
    }
}

/// The sample in version 2, for whose signer the domain has to be updated once.
fn signer(personalization: Option<&'static str>) -> Desired {
    Desired::Signer { version: 2, personalization }
}

#[test]
#[ignore = "needs the images: make test-device"]
fn nobody_but_the_application_gets_its_data() {
    let mut bench = Bench::boot();
    let done = |result: &str| (0, result.to_owned());
    bench.converge(signer(Some("label=mine\n")), &["CreateSD", "UpdateSD", "InstallTA"]);
    assert_eq!(bench.run("otrp-signer-client label"), done("mine"));

    // The normal world, whatever it logs in as; what is its own it gets.
    for login in [PUBLIC, USER] {
        let row = |command| format!("otrp-lab broker {login} {command}");
        assert_eq!(bench.run(&row(PERSONALIZATION)), done(ACCESS_DENIED), "login {login}");
        assert_eq!(bench.run(&row(STATUS)), done(SUCCESS), "login {login}");
        assert_eq!(bench.run(&row(PROCESS)), done(BAD_PARAMETERS), "login {login}");
        assert_eq!(bench.run(&row(NO_COMMAND)), done(NOT_IMPLEMENTED), "login {login}");
    }
    let (status, output) = bench.run(&format!("otrp-lab broker {TRUSTED_APPLICATION} {STATUS}"));
    // libteec says what it failed to open, the driver prints a result where there was a session.
    assert!(status != 0 && !output.contains("0x"), "logged in as an application: {output}");

    // An application that is in the image, and not installed: neither data nor any other command.
    assert_eq!(bench.run("otrp-lab personalization"), done(ACCESS_DENIED));
    let normal_worlds = [PROCESS, TA_INFORMATION, EXPORT_CSR, IMPORT_CERTIFICATES, STATUS];
    for command in normal_worlds.into_iter().chain([PERSONALIZATION, NO_COMMAND]) {
        let row = format!("otrp-lab broker-from-ta {command}");
        assert_eq!(bench.run(&row), done(ACCESS_DENIED), "command {command}");
    }

    // All that took nothing away.
    assert_eq!(bench.run("otrp-signer-client label"), done("mine"));
    let log = bench.guest.secure_log().unwrap();
    assert!(!log.to_lowercase().contains("panic"), "{log}");
    bench.guest.power_off().unwrap();
}

#[test]
#[ignore = "needs the images: make test-device"]
fn new_data_show_in_the_next_session_and_go_with_the_application() {
    let mut bench = Bench::boot();
    let digest = "00".repeat(32);
    let sign = format!("otrp-signer-client sign {digest}");
    let refused = |status: i32| (status, String::new());

    // Installed without data: no label, no limit.
    bench.converge(signer(None), &["CreateSD", "UpdateSD", "InstallTA"]);
    assert_eq!(bench.run("otrp-signer-client label"), refused(1));
    bench.guest.run("otrp-signer-client generate").unwrap().success().unwrap();
    assert_eq!(bench.run(&sign).0, 0);

    // One signature was made, so that there is none left, then one, then as many as one wants.
    bench.converge(signer(Some("use-limit=1")), &["UpdateTA"]);
    assert_eq!(bench.run(&sign), refused(5));
    bench.converge(signer(Some("label=t\u{fc}r\nuse-limit=2\n")), &["UpdateTA"]);
    assert_eq!(bench.run("otrp-signer-client label"), (0, "t\u{fc}r".into()));
    assert_eq!(bench.run(&sign).0, 0);
    assert_eq!(bench.run(&sign), refused(5));
    bench.converge(signer(Some("label=1\n")), &["UpdateTA"]);
    assert_eq!(bench.run(&sign).0, 0);

    // What the sample cannot read, or has no room for, closes it; better data open it again.
    let long: &'static str = format!("{:x<PERSONALIZATION_LIMIT$}", "label=").leak();
    for data in ["use-limit=1000000\n\n", "", long] {
        bench.converge(signer(Some(data)), &["UpdateTA"]);
        assert_eq!(bench.run("otrp-signer-client version"), refused(1), "{} bytes", data.len());
        assert_eq!(bench.run(&sign), refused(1), "{} bytes", data.len());
    }
    bench.converge(signer(Some("label=again")), &["UpdateTA"]);
    assert_eq!(bench.run("otrp-signer-client label"), (0, "again".into()));

    // Deleted, and installed without: what was sent before is not given to what comes later, nor what
    // the application stored.
    bench.converge(Desired::Domain, &["DeleteTA"]);
    assert_eq!(bench.run("otrp-signer-client label"), refused(4));
    bench.converge(signer(None), &["InstallTA"]);
    assert_eq!(bench.run("otrp-signer-client label"), refused(1));
    assert_eq!(bench.run("otrp-signer-client counter"), refused(1));

    let log = bench.guest.secure_log().unwrap();
    assert!(!log.to_lowercase().contains("panic"), "{log}");
    bench.guest.power_off().unwrap();
}

#[test]
fn the_sample_reads_its_format_strictly() {
    let longest = "x".repeat(Settings::LABEL_LIMIT);
    let label = |text: &str| Settings { label: Some(text.into()), use_limit: None };
    let limit = |use_limit| Settings { label: None, use_limit: Some(use_limit) };
    let both = Settings { use_limit: Some(7), ..label("A B") };
    let complete = format!("label={longest}\nuse-limit=18446744073709551615\n");
    assert!(complete.len() <= Settings::DATA_LIMIT);
    let read = [
        ("label=A B", label("A B")),
        ("label=A B\n", label("A B")),
        ("label==", label("=")),
        ("label= ", label(" ")),
        ("label=\u{e9}", label("\u{e9}")),
        ("use-limit=0", limit(0)),
        ("use-limit=10\n", limit(10)),
        ("label=A B\nuse-limit=7\n", both),
        ("use-limit=7\nlabel=x", Settings { use_limit: Some(7), ..label("x") }),
        (&complete, Settings { use_limit: Some(u64::MAX), ..label(&longest) }),
    ];
    for (text, settings) in read {
        assert_eq!(Settings::read(text.as_bytes()), Some(settings), "{text:?}");
    }
    let too_long = format!("label={longest}x");
    let refused = [
        "",
        "\n",
        "label",
        "label=",
        "Label=x",
        " label=x",
        "label =x",
        "label=x\n\n",
        "\nlabel=x",
        "label=x\r\n",
        "label=a\tb",
        "label=a\0",
        "label=x\nlabel=x",
        "use-limit=",
        "use-limit=-1",
        "use-limit=+1",
        "use-limit= 1",
        "use-limit=1 ",
        "use-limit=01",
        "use-limit=0x10",
        "use-limit=\u{663}",
        "use-limit=18446744073709551616",
        "use-limit=1\nuse-limit=2",
        "color=red",
        "label=x\ncolor=red",
        &too_long,
    ];
    for text in refused {
        assert_eq!(Settings::read(text.as_bytes()), None, "{text:?}");
    }
    assert_eq!(Settings::read(b"label=\xff"), None, "no UTF-8");
}
