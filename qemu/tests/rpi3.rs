//! The Raspberry Pi 3: its firmware, OP-TEE and device tree in QEMU's `raspi3b`, and its SD card.
//!
//! Needs the images; run by `make test`, and alone by `make test-device`. The whole flow is `make run BOARD=rpi3`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command as Process;
use std::thread::sleep;
use std::time::{Duration, Instant};

use otrp_check::fixture;
use otrp_keys::{Uuid, file, image};
use otrp_qemu::harness::cache;
use otrp_qemu::harness::device::Device;
use otrp_qemu::harness::guest::Guest;
use otrp_qemu::harness::image::{Builds, Image};
use otrp_qemu::harness::machine::Machine;
use otrp_qemu::scenario::deployment::SIGNER_UUID;
use otrp_qemu::scenario::operator::{Operator, provision};
use otrp_tam::request::{Application, Command};

const SP: &str = "com.example";
const SD: &str = "com.example.domain";
const LARGE_UUID: &str = "11111111-2222-3333-4444-777777777777";
/// A boot takes 20 to 40 s, on a busy machine a multiple of it.
const TIMEOUT: Duration = Duration::from_secs(400);
/// Where the card's boot partition begins, for mtools.
const BOOT_PARTITION: u64 = 2048 * 512;

fn builds() -> Builds {
    Builds::new(cache()).board("rpi3")
}

/// A program signed by the service provider.
fn signed(uuid: &str, elf: &[u8]) -> Vec<u8> {
    let key = file::read_key(&cache().join("keys/dev/sp-ec.key.pem")).unwrap();
    image::sign(&key, None, uuid.parse().unwrap(), 1, elf).unwrap()
}

fn install(tam: &Operator, guest: &mut Guest, taid: &str, image: &[u8]) {
    let application = Application {
        spid: SP,
        domain: SD,
        taid,
        certificate: None,
        image: Some(image),
        personalization: None,
    };
    tam.carry_out(guest, Command::InstallTa(application)).unwrap();
}

#[test]
#[ignore = "needs the images: make test-device"]
fn applications_are_installed_and_stay() {
    let folder = tempfile::tempdir().unwrap();
    let boot =
        |device| Machine::new(device, builds().image("development").unwrap()).boot().unwrap();
    let mut guest = boot(Device::open_or_create(folder.path()).unwrap());

    let log = guest.secure_log().unwrap();
    assert!(log.contains("OP-TEE version: 4."), "{log}");
    // It says what this board lacks, and nothing but that stands in for anything.
    assert!(log.contains("no monotonic counter"), "{log}");
    assert!(log.contains("WARNING: development image"), "{log}");
    assert!(!log.to_lowercase().contains("insecure"), "{log}");

    // TF-A brings each core up where Linux has left it its code.
    assert_eq!(guest.run("nproc").unwrap().text(), "4");

    let keys = cache().join("keys/dev");
    provision(&mut guest, &keys).unwrap();
    let tam = Operator::read(&keys, "tam").unwrap();
    let certificate = fs::read(keys.join("sp-ec.der")).unwrap();
    let create = Command::CreateSd { spid: SP, name: SD, certificate: &certificate };
    tam.carry_out(&mut guest, create).unwrap();

    let sample = builds().sample("signer-v1.elf").unwrap();
    install(&tam, &mut guest, "signer", &signed(SIGNER_UUID, &sample));
    let version = guest.run("otrp-signer-client version").unwrap().success().unwrap();
    assert_eq!(version.text(), "1");

    let large = fixture::sized(LARGE_UUID.parse::<Uuid>().unwrap().0, 4 << 20, 0);
    install(&tam, &mut guest, "large", &signed(LARGE_UUID, &large));

    // The disk, and not the memory, has it all.
    let mut guest = boot(guest.power_off().unwrap());
    let version = guest.run("otrp-signer-client version").unwrap().success().unwrap();
    assert_eq!(version.text(), "1");
    let state = tam.state(&mut guest).unwrap();
    assert_eq!(state.dsi.tee.sdlist.sd[0].talist.len(), 2);
    guest.power_off().unwrap();
}

/// What a program prints, which has to succeed.
fn output(process: &mut Process) -> Vec<u8> {
    let output = process.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
#[ignore = "needs the images: make test-device"]
fn the_card_has_what_a_board_boots_from() {
    let card = cache().join("boards/rpi3/development/card-development.img");
    // It holds the device's key.
    assert_eq!(fs::metadata(&card).unwrap().permissions().mode() & 0o7777, 0o600);
    let content = fs::read(&card).unwrap();

    // The table: a FAT partition that is booted from, then two for Linux, and nothing else.
    assert_eq!(content[510..512], [0x55, 0xaa]);
    let entry = |n: usize| &content[446 + 16 * n..462 + 16 * n];
    let number = |bytes: &[u8]| u64::from(u32::from_le_bytes(bytes.try_into().unwrap()));
    assert_eq!([0, 1, 2].map(|n| (entry(n)[0], entry(n)[4])), [(0x80, 0x0c), (0, 0x83), (0, 0x83)]);
    assert!(entry(3).iter().all(|byte| *byte == 0));
    let start = |n: usize| number(&entry(n)[8..12]);
    let end = |n: usize| start(n) + number(&entry(n)[12..16]);
    assert_eq!(start(0) * 512, BOOT_PARTITION);
    assert_eq!([end(0), end(1), end(2) * 512], [start(1), start(2), content.len() as u64]);
    let from = |sector: u64| &content[usize::try_from(sector * 512).unwrap()..];

    let partition = format!("{}@@{BOOT_PARTITION}", card.display());
    let listing = output(Process::new("mdir").args(["-b", "-i", &partition, "::"]));
    let mut names: Vec<_> = std::str::from_utf8(&listing).unwrap().lines().collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "::/armstub8.bin",
            "::/bootcode.bin",
            "::/cmdline.txt",
            "::/config.txt",
            "::/copyright",
            "::/device-tree.dtb",
            "::/fixup.dat",
            "::/initrd.cpio",
            "::/kernel8.img",
            "::/start.elf",
        ]
    );

    // The same as the emulated board boots, but for the key.
    let file =
        |name: &str| output(Process::new("mtype").args(["-i", &partition, &format!("::{name}")]));
    let image = builds().image("development").unwrap();
    for (name, on_card) in [
        ("kernel", "kernel8.img"),
        ("initrd.cpio", "initrd.cpio"),
        ("device-tree.dtb", "device-tree.dtb"),
    ] {
        assert!(fs::read(image.file(name)).unwrap() == file(on_card), "{name} differs");
    }
    let programs = fs::read(image.file("root.img")).unwrap();
    assert_eq!(programs.len() as u64, (end(1) - start(1)) * 512);
    assert!(from(start(1)).starts_with(&programs), "the root file system differs");
    let stub = file("armstub8.bin");
    let mut marker = stub.windows(16).enumerate().filter(|(_, at)| at == b"@@DEVICE-HUK-01@");
    let place = marker.next().unwrap().0 + 16;
    assert!(marker.next().is_none());
    let key = <[u8; 16]>::try_from(&stub[place..place + 16]).unwrap();
    assert_ne!(key, [0; 16]);
    assert!(image.boot_file(&key).unwrap() == stub);

    // The file that the boot firmware reads names the files that are there.
    let config = String::from_utf8(file("config.txt")).unwrap();
    for line in [
        "armstub=armstub8.bin",
        "kernel=kernel8.img",
        "device_tree=device-tree.dtb",
        "initramfs initrd.cpio 0x12000000",
    ] {
        assert!(config.lines().any(|there| there == line), "{line}");
    }
    let command_line = String::from_utf8(file("cmdline.txt")).unwrap();
    assert!(!command_line.contains("otrp.control"), "anybody could drive the board");

    // ext4 (its magic number), with the labels that they are looked for by.
    for (word, label, sector) in
        [("root", "otrp-root", start(1)), ("storage", "otrp-data", start(2))]
    {
        let word = format!("otrp.{word}=LABEL={label}");
        assert!(command_line.split_whitespace().any(|there| there == word), "{word}");
        let partition = from(sector);
        assert_eq!(partition[1024 + 56..1024 + 58], [0x53, 0xef]);
        assert!(partition[1024 + 120..].starts_with(format!("{label}\0").as_bytes()));
    }
}

/// The files below a folder of a file system, each with its mode; all belong to root.
fn list(image: &Path, folder: &str, files: &mut Vec<String>) {
    let command = format!("ls -p {folder}/");
    let listing = output(Process::new("debugfs").args(["-R", &command]).arg(image));
    for line in std::str::from_utf8(&listing).unwrap().lines().filter(|line| !line.is_empty()) {
        // "/<inode>/<mode>/<user>/<group>/<name>/<size>/", without the size of a folder.
        let [_, _, mode, user, group, name, ..] = line.split('/').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        assert_eq!((user, group), ("0", "0"), "{folder}/{name}");
        let path = format!("{folder}/{name}");
        match mode {
            _ if [".", "..", "lost+found"].contains(&name) => {}
            "040755" => list(image, &path, files),
            _ => files.push(format!("{mode} {path}")),
        }
    }
}

#[test]
#[ignore = "needs the images: make test-device"]
fn the_root_file_system_has_the_programs_and_no_application() {
    let mut files = Vec::new();
    list(&builds().image("development").unwrap().file("root.img"), "", &mut files);
    files.sort_unstable();
    assert_eq!(
        files,
        [
            "100644 /etc/group",
            "100644 /etc/otrp-image",
            "100644 /etc/passwd",
            "100644 /usr/lib/aarch64-linux-gnu/libgcc_s.so.1",
            "100644 /usr/lib/aarch64-linux-gnu/libm.so.6",
            "100644 /usr/lib/aarch64-linux-gnu/libteec.so.2",
            "100644 /usr/lib/otrp/console",
            "100644 /usr/lib/otrp/functions",
            "100755 /bin/busybox",
            "100755 /usr/bin/otrp-agent",
            "100755 /usr/bin/otrp-signer-client",
            "100755 /usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1",
            "100755 /usr/lib/aarch64-linux-gnu/libc.so.6",
            "100755 /usr/lib/otrp/dhcp",
            "100755 /usr/sbin/start",
            "100755 /usr/sbin/tee-supplicant",
            "120777 /bin/sh",
            "120777 /etc/resolv.conf",
            "120777 /lib",
            "120777 /usr/lib/ld-linux-aarch64.so.1",
        ]
    );
}

/// The emulated board's image with a product's file systems, as `guest.sh` packs them.
fn product(folder: &Path) -> Image {
    let built = cache().join("boards/rpi3");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/build/guest.sh");
    let mut packing = Process::new(script);
    packing.arg("product").arg(built.join("programs/otrp-agent"));
    packing.env("BOARD", "rpi3").env("OTRP_MAKER", "of-the-card-tests");
    output(&mut packing);
    let packed = built.join("makers/of-the-card-tests/guest");
    for file in fs::read_dir(builds().image("development").unwrap().directory()).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    for (from, to) in [("product.cpio", "initrd.cpio"), ("product.img", "root.img")] {
        fs::copy(packed.join(from), folder.join(to)).unwrap();
    }
    Image::open(folder).unwrap()
}

/// What a started product shows until it shows `awaited`.
fn shown(image: &Image, device: Device, awaited: &str) -> (String, Device) {
    let start = Instant::now();
    let mut product = Machine::new(device, image.clone()).start("").unwrap();
    loop {
        let screen = product.log("screen.log").unwrap();
        if screen.contains(awaited) {
            return (screen, product.kill().unwrap());
        }
        let is_waiting = product.is_running().unwrap() && start.elapsed() < TIMEOUT;
        assert!(is_waiting, "{awaited:?} is not in {screen}");
        sleep(Duration::from_millis(200));
    }
}

#[test]
#[ignore = "needs the images: make test-device"]
fn a_product_starts_its_own_root_file_system_and_no_other() {
    const STARTED: &str = "start: product image: no shell, no commands";
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("image")).unwrap();
    let image = product(&path("image"));
    let device = Device::open_or_create(path("device")).unwrap();
    let (screen, device) = shown(&image, device, STARTED);
    assert!(!screen.contains("init: the file system"), "{screen}");

    // The same label, and somebody else's contents: one octet of a program is another one.
    let root = image.file("root.img");
    let mut other = fs::read(&root).unwrap();
    let elf = other.windows(4).position(|octets| octets == b"\x7fELF").unwrap();
    other[elf + 4096] ^= 1;
    fs::write(&root, other).unwrap();
    let refused = "init: the file system LABEL=otrp-root is not this image's";
    let (screen, _) = shown(&image, device, refused);
    assert!(!screen.contains(STARTED), "{screen}");
}
