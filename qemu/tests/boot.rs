//! Boots the development image: what every other test in the guest builds upon.
//!
//! Needs the images; run by `make test`, and alone by `make test-device`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use otrp_qemu::harness::cache;
use otrp_qemu::{
    harness::device::Device, harness::guest::Guest, harness::image::Image,
    harness::machine::Machine,
};

fn boot(device: Device) -> Guest {
    let image = cache().join("image/development");
    Machine::new(device, Image::open(image).unwrap()).boot().unwrap()
}

fn new_device() -> (tempfile::TempDir, Device) {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::open_or_create(folder.path()).unwrap();
    (folder, device)
}

#[test]
#[ignore = "needs the images: make test-device"]
fn a_guest_takes_commands_and_files() {
    let (_folder, device) = new_device();
    let mut guest = boot(device);

    let output = guest.run("echo out; echo err >&2; exit 7").unwrap();
    assert_eq!(
        (output.status, output.text(), output.error_text()),
        (7, "out".into(), "err".into())
    );
    // Nothing, everything and the ends of a page: the port must carry any content.
    for length in [0, 1, 4095, 4096, 4097, 3 << 20] {
        let content: Vec<u8> = (0..length).map(|n: u32| (n * 31 % 251) as u8).collect();
        guest.put("/tmp/it's a file", &content).unwrap();
        assert!(guest.get("/tmp/it's a file").unwrap() == content, "{length} octets");
    }
    let error = guest.get("/tmp/missing").unwrap_err();
    assert!(format!("{error:#}").contains("No such file"), "{error:#}");
    guest.power_off().unwrap();
}

#[test]
#[ignore = "needs the images: make test-device"]
fn the_tee_is_up_and_nothing_but_the_image_feeds_it() {
    let (_folder, device) = new_device();
    let mut guest = boot(device);

    guest
        .run("test -c /dev/tee0 && test -c /dev/teepriv0 && pidof tee-supplicant")
        .unwrap()
        .success()
        .unwrap();
    let log = guest.secure_log().unwrap();
    assert!(log.contains("OP-TEE version: 4."), "{log}");
    // What OP-TEE says of a build in which something stands in for a key, a counter or entropy.
    assert!(!log.to_lowercase().contains("insecure"), "{log}");
    // Nobody takes it for a product.
    assert!(log.contains("WARNING: development image: not for a device"), "{log}");
    assert!(guest.console_log().unwrap().contains("DEVELOPMENT IMAGE (development)"));
    assert_eq!(guest.run("find / -xdev -name '*.ta'").unwrap().success().unwrap().text(), "");

    // Certificates are judged by this clock.
    let there: i64 = guest.run("date +%s").unwrap().text().parse().unwrap();
    let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    assert!((there - here).abs() <= 2, "guest {there}, host {here}");
    guest.power_off().unwrap();
}

#[test]
#[ignore = "needs the images: make test-device"]
fn the_secure_world_alone_knows_what_its_keys_are_made_of() {
    let public_key = || {
        let (_folder, device) = new_device();
        let mut guest = boot(device);
        // Linux sees the node that the seeds came in, without them.
        let left = guest.run("ls /proc/device-tree/secure-chosen").unwrap().text();
        assert_eq!(left, "name\nstdout-path");
        let csr = guest.run("otrp-agent csr").unwrap().success().unwrap().stdout;
        guest.power_off().unwrap();
        openssl::x509::X509Req::from_pem(&csr)
            .unwrap()
            .public_key()
            .unwrap()
            .public_key_to_pem()
            .unwrap()
    };
    let keys: std::collections::BTreeSet<_> = (0..3).map(|_| public_key()).collect();
    assert_eq!(keys.len(), 3, "new devices have the same key");
}

#[test]
#[ignore = "needs the images: make test-device"]
fn the_guest_reaches_a_server_on_the_host() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut connection, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let length = connection.read(&mut request).unwrap();
        connection.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let (_folder, device) = new_device();
    let mut guest = boot(device);
    let url = format!("http://{}:{port}/path", otrp_qemu::harness::guest::HOST);
    assert_eq!(
        guest.run(&format!("wget -q -O - {url}")).unwrap().success().unwrap().text(),
        "hello"
    );
    assert!(server.join().unwrap().starts_with("GET /path "));
    guest.power_off().unwrap();
}

#[test]
#[ignore = "needs the images: make test-device"]
fn storage_survives_power_off_and_power_cut() {
    let (_folder, device) = new_device();
    let mut guest = boot(device);
    guest.run("echo one >/var/lib/tee/one").unwrap().success().unwrap();
    let mut guest = boot(guest.power_off().unwrap());
    guest.run("echo two >/var/lib/tee/two && sync").unwrap().success().unwrap();
    let mut guest = boot(guest.kill().unwrap());
    assert_eq!(guest.run("cat /var/lib/tee/one /var/lib/tee/two").unwrap().text(), "one\ntwo");
    guest.power_off().unwrap();
}

#[test]
#[ignore = "needs the images: make test-device"]
fn a_lost_guest_is_an_error_with_its_logs() {
    let (_folder, device) = new_device();
    let mut guest = boot(device);
    let error =
        guest.run_with("sleep 60", &[], Duration::from_millis(300)).unwrap_err().to_string();
    assert!(error.contains("`sleep 60`") && error.contains("no answer in time"), "{error}");
    assert!(error.contains("end of secure.log") && error.contains("OP-TEE"), "{error}");
    assert!(guest.run("true").unwrap_err().to_string().contains("down"));
}
