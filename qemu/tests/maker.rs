//! What a maker builds with keys of his own, and what of it goes to whom.
//!
//! Builds the images; run by `make test`, and alone by `make test-device`.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use otrp_keys::certificate::{Purpose, Template, Validity, generate_p256, generate_rsa};
use otrp_keys::file;
use otrp_qemu::harness::device::Device;
use otrp_qemu::harness::guest::HOST;
use otrp_qemu::harness::image::Image;
use otrp_qemu::harness::machine::Machine;
use otrp_qemu::scenario::operator::provision;

/// What this maker's images are kept under, apart from those of whoever runs the tests.
const MAKER: &str = "of-the-tests";
/// A boot takes 3 s, on a busy machine a multiple of it.
const TIMEOUT: Duration = Duration::from_secs(180);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn built() -> PathBuf {
    root().join(".cache/makers").join(MAKER)
}

/// A maker's anchors, his CA for devices, and his TA key; none of a development PKI.
struct Maker {
    folder: tempfile::TempDir,
    roots: Vec<Vec<u8>>,
}

impl Maker {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let template = |common_name, purpose| Template {
            organization: "Example Devices",
            common_name,
            purpose,
            validity: Validity::years(1),
            uri: None,
        };
        let root = |common_name| {
            template(common_name, Purpose::Root).self_sign(generate_p256().unwrap()).unwrap()
        };
        let (tam_root, tee_root) = (root("TAM root"), root("TEE root"));
        let key = generate_p256().unwrap();
        let tee_ca = template("TEE CA", Purpose::IssuingAuthority);
        let certificate = tee_ca.issue(&key, &tee_root).unwrap();
        let chain = file::chain_pem([&certificate, &tee_root.certificate]).unwrap();
        let pem = key.private_key_to_pem_pkcs8().unwrap();

        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("trust/tam-roots")).unwrap();
        let roots = [tam_root, tee_root].map(|root| root.certificate.to_der().unwrap());
        for (name, octets) in [
            ("trust/tam-roots/tam-root.der", &roots[0]),
            ("trust/tee-root.der", &roots[1]),
            ("tee-ca.chain.pem", &chain),
            ("tee-ca.key.pem", &pem),
            ("ta-signing.pub.pem", &generate_rsa(3072).unwrap().public_key_to_pem().unwrap()),
        ] {
            fs::write(path(name), octets).unwrap();
        }
        Self { folder, roots: roots.into() }
    }

    /// Runs a script of the build with these keys, which succeeds.
    fn script(&self, script: &str, arguments: &[&str]) {
        let output = self.run(script, arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn run(&self, script: &str, arguments: &[&str]) -> Output {
        Command::new(root().join("qemu/scripts").join(script))
            .args(arguments)
            .env_remove("ALLOW_DEV_KEYS")
            .env("OTRP_MAKER", MAKER)
            .env("OTRP_TRUST_DIR", self.folder.path().join("trust"))
            .env("TA_SIGNING_KEY", self.folder.path().join("ta-signing.pub.pem"))
            .output()
            .unwrap()
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|octets| octets == part)
}

/// What is in a cpio archive in the new ASCII format: names with contents.
fn archived(cpio: &[u8]) -> Vec<(String, Vec<u8>)> {
    let aligned = |at: usize| at.div_ceil(4) * 4;
    let mut entries = Vec::new();
    let mut at = 0;
    loop {
        let head = std::str::from_utf8(&cpio[at..at + 110]).unwrap();
        assert!(head.starts_with("070701"), "{head}");
        let field = |n: usize| usize::from_str_radix(&head[6 + 8 * n..14 + 8 * n], 16).unwrap();
        let (size, name_size) = (field(6), field(11));
        let name = std::str::from_utf8(&cpio[at + 110..at + 109 + name_size]).unwrap();
        if name == "TRAILER!!!" {
            return entries;
        }
        let content = aligned(at + 110 + name_size);
        entries.push((name.to_owned(), cpio[content..content + size].to_vec()));
        at = aligned(content + size);
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The hardware key of what was packed, behind its marker in the flash.
fn packed_key(archive: &Path) -> Vec<u8> {
    let name = "otrp-qemu/device/flash.bin";
    let output = Command::new("tar").arg("-xOzf").arg(archive).arg(name).output().unwrap();
    let marker = b"@@DEVICE-HUK-01@";
    let flash = output.stdout;
    let place = flash.windows(marker.len()).position(|octets| octets == marker).unwrap();
    flash[place + marker.len()..place + 2 * marker.len()].to_vec()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < TIMEOUT, "{what}");
        sleep(Duration::from_millis(100));
    }
}

#[test]
#[ignore = "builds images: make test-device"]
fn a_makers_images_have_his_anchors_and_the_product_nobody_elses_way_in() {
    let maker = Maker::new();
    maker.script("build/image.sh", &["product", "factory"]);
    let image = |name: &str| built().join("image").join(name);

    // What was built with development keys before is not what these are.
    let broker = "9e043ec0-1043-415e-853d-690a6d341054.stripped.elf";
    let broker = fs::read(built().join("ta/product").join(broker)).unwrap();
    for anchor in &maker.roots {
        assert!(contains(&broker, anchor), "an anchor is missing");
    }
    assert!(!contains(&broker, otrp_keys::development::ORGANIZATION.as_bytes()));

    // Each packing is a device of its own.
    let archive = built().join("release/otrp-qemu.tar.gz");
    let keys: std::collections::BTreeSet<_> = (0..2)
        .map(|_| {
            maker.script("build/release.sh", &["product"]);
            packed_key(&archive)
        })
        .collect();
    assert!(keys.len() == 2 && !keys.contains(&vec![0; 16]), "one key for two devices");
    // And of what was built with these keys.
    let other = Maker::new();
    let refused = other.run("build/release.sh", &["product"]);
    assert!(!refused.status.success(), "another maker's image was packed");

    // The factory has another Linux, and nothing else of its own.
    for file in ["bl1.bin", "bl2.bin", "bl31.bin", "tee-pager_v2.bin", "kernel"] {
        let [product, factory] =
            ["product", "factory"].map(|name| fs::read(image(name).join(file)));
        assert!(product.unwrap() == factory.unwrap(), "{file}");
    }

    // A product's file system: one program of ours, and nothing that takes commands.
    let files = archived(&fs::read(image("product").join("initrd.cpio")).unwrap());
    let programs: Vec<_> = files
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| name.contains("bin/") || name.contains("lib/otrp/"))
        .collect();
    assert_eq!(
        programs,
        [
            "bin/busybox",
            "bin/sh",
            "usr/bin/otrp-agent",
            "usr/lib/otrp/dhcp",
            "usr/lib/otrp/functions",
            "usr/sbin/start",
            "usr/sbin/tee-supplicant",
        ]
    );
    for (name, content) in &files {
        if !["init", "usr/sbin/start", "usr/lib/otrp/functions"].contains(&name.as_str()) {
            continue;
        }
        let text = String::from_utf8_lossy(content);
        for way_in in ["word control", "otrp.control", "virtio-ports", "setsid", "sh -l"] {
            assert!(!text.contains(way_in), "{name} has {way_in}");
        }
    }
    let named = |files: &[(String, Vec<u8>)], name: &str| files.iter().any(|file| file.0 == name);
    let factory = archived(&fs::read(image("factory").join("initrd.cpio")).unwrap());
    assert!(named(&factory, "usr/lib/otrp/console") && !named(&files, "usr/lib/otrp/console"));

    // The Raspberry Pi's product, likewise.
    let agent = root().join(".cache/boards/rpi3/programs/otrp-agent");
    let output = Command::new(root().join("qemu/scripts/build/guest.sh"))
        .args(["product", agent.to_str().unwrap()])
        .env("BOARD", "rpi3")
        .env("OTRP_MAKER", MAKER)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let card = root().join(".cache/boards/rpi3/makers").join(MAKER).join("guest/product.img");
    let initial = archived(&fs::read(card.with_extension("cpio")).unwrap());
    let (_, digest) = initial.iter().find(|(name, _)| name == "root.sha256").unwrap();
    let expected = hex(&openssl::sha::sha256(&fs::read(&card).unwrap()));
    assert_eq!(String::from_utf8_lossy(digest).trim(), expected, "it starts another root");
    let listing = Command::new("debugfs").args(["-R", "ls -p /usr/lib/otrp"]).arg(card).output();
    let listing = String::from_utf8(listing.unwrap().stdout).unwrap();
    assert!(listing.contains("/functions/") && !listing.contains("/console/"), "{listing}");

    // In the factory the device is certified, by hand or by a machine.
    let folder = tempfile::tempdir().unwrap();
    let device = Device::open_or_create(folder.path()).unwrap();
    let mut guest = Machine::new(device, Image::open(image("factory")).unwrap()).boot().unwrap();
    assert!(guest.console_log().unwrap().contains("FACTORY IMAGE"));
    provision(&mut guest, maker.folder.path()).unwrap();
    let status = guest.run("otrp-agent status").unwrap().success().unwrap().text();
    assert!(status.contains("\"provisioned\":true"), "{status}");
    assert!(!status.contains("\"development\":true"), "{status}");
    let device = guest.power_off().unwrap();

    // Then it has the product, which asks its TAM and nobody else, and listens to nobody.
    let [tam, control] = [0; 2].map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap());
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let words = format!(
        "otrp.tam=http://{HOST}:{}/otrp otrp.control={HOST}:{}",
        port(&tam),
        port(&control)
    );
    let machine = Machine::new(device, Image::open(image("product")).unwrap());
    let mut product = machine.start(&words).unwrap();
    for listener in [&tam, &control] {
        listener.set_nonblocking(true).unwrap();
    }
    let mut request = None;
    wait_until("the product asks no TAM", || {
        assert!(product.is_running().unwrap(), "{}", product.log("console.log").unwrap());
        request = tam.accept().ok();
        request.is_some()
    });
    let (mut connection, _) = request.unwrap();
    connection.set_nonblocking(false).unwrap();
    let mut head = [0; 512];
    let length = connection.read(&mut head).unwrap();
    assert!(head[..length].starts_with(b"POST /otrp "));
    connection.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").unwrap();
    drop(connection);

    let screen = product.log("screen.log").unwrap();
    assert!(screen.contains("product image: no shell, no commands"), "{screen}");
    product.type_in("\n\necho it'' listens\n").unwrap();
    sleep(Duration::from_secs(3));
    assert!(product.is_running().unwrap());
    let screen = product.log("screen.log").unwrap();
    assert!(!screen.contains("it listens") && !screen.contains("# "), "{screen}");
    assert_eq!(control.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    let log = product.log("secure.log").unwrap();
    assert!(log.contains("OP-TEE version: 4.") && !log.contains("development image"), "{log}");
    product.kill().unwrap();
}

/// Somebody else's key, or the all-zero one that an image has before it is given to a device.
#[test]
#[ignore = "needs the images: make test-device"]
fn a_device_without_a_hardware_key_does_not_boot() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::open_or_create(folder.path()).unwrap();
    fs::write(folder.path().join("huk"), [0; 16]).unwrap();
    let image = Image::open(root().join(".cache/image/development")).unwrap();
    let started = Machine::new(device, image).boot_timeout(Duration::from_secs(40)).boot();
    let error = format!("{:#}", started.unwrap_err());
    assert!(error.contains("This device has no hardware key"), "{error}");
}
