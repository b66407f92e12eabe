//! A change of the desired state that deletes a lot waits for a confirmation.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;

use common::harness::{Server, connect, converge, serve};
use common::{Device, image};
use otrp_tam::tam::Tam;

/// One server at a time: each of them says a lot.
static ONE: Mutex<()> = Mutex::new(());

const SD: &str = "[[sd]]\nname = 'sd'\nspid = 'sp'\ncertificates = ['sp.der']\n";

/// A desired state with these applications, each with data if it is in upper case.
fn desired(applications: &str) -> String {
    let mut text = String::from(SD);
    for name in applications.chars() {
        text += &format!("[[sd.ta]]\nid = '{name}'\nfile = '{}.ta'\n", name.to_lowercase());
        if name.is_uppercase() {
            text += "personalization = 'data.bin'\n";
        }
    }
    text
}

fn installed(device: &Device) -> String {
    device.domains.values().flat_map(|sd| sd.applications.keys().cloned()).collect()
}

/// A server with images `a.ta` to `l.ta`.
fn start() -> Server {
    let server = Server::start("");
    std::fs::write(server.path("data.bin"), b"data").unwrap();
    for (at, name) in ('a'..='l').enumerate() {
        let uuid = u8::try_from(at).unwrap() + 0x80;
        let bytes = image(&server.pki.sp.key, uuid, 1, b"code");
        std::fs::write(server.path(&format!("{name}.ta")), bytes).unwrap();
    }
    server
}

/// What `check` says of the configuration.
fn check(server: &Server) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_otrp-tam"))
        .current_dir(server.folder.path())
        .args(["check", "--config", "desired.toml", "--state", "tam.redb"])
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

/// The member that confirms, as a sentence names it.
fn confirmation(sentence: &str) -> String {
    let (_, rest) = sentence.split_once("add `").unwrap();
    rest.split_once('`').unwrap().0.to_owned()
}

#[test]
fn a_half_written_file_deletes_nothing() {
    let _one = ONE.lock();
    let server = start();
    let whole = desired("abcd");
    server.configure(&whole);
    let mut device = server.pki.device();
    converge(server.address, &mut device);
    // Cut behind each line: many of these files are valid.
    let (mut valid, mut part) = (0, String::new());
    for line in whole.split_inclusive('\n') {
        part += line;
        server.configure(&part);
        let path = server.path("desired.toml");
        valid += usize::from(otrp_tam::desired::Configuration::read(&path).is_ok());
        converge(server.address, &mut device);
        assert!(installed(&device).len() >= 3, "{part}");
    }
    assert!(valid >= 4);
    server.configure("");
    converge(server.address, &mut device);
    assert_eq!(installed(&device), "abcd");
}

#[test]
fn a_large_deletion_is_confirmed_by_its_name() {
    let _one = ONE.lock();
    let server = start();
    server.configure(&desired("abcd"));
    let mut device = server.pki.device();
    converge(server.address, &mut device);
    assert_eq!(check(&server), (true, String::new()));
    server.configure(&desired("ab"));
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState"]);
    let (good, sentence) = check(&server);
    assert!(!good);
    assert!(sentence.contains("deletes 2 of the 4 applications"), "{sentence}");
    assert!(sentence.contains("(sp/sd/c on 1, sp/sd/d on 1)"), "{sentence}");
    let member = confirmation(&sentence);
    let confirmed = |applications: &str| {
        let text = format!("{}{member}\n{}", server.tam_section, desired(applications));
        std::fs::write(server.path("desired.toml"), text).unwrap();
    };
    // Another state than the one that was confirmed is refused as before.
    confirmed("a");
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState"]);
    assert!(!check(&server).0);
    // So it is after a restart, where the server has nothing else to serve.
    let Err(error) = Tam::new(&server.path("desired.toml"), &copy_of_state(&server, "copy.redb"))
    else {
        panic!("the server starts");
    };
    assert!(format!("{error:#}").contains("deletes 3 of the 4 applications"), "{error:#}");
    confirmed("ab");
    assert_eq!(check(&server), (true, String::new()));
    converge(server.address, &mut device);
    assert_eq!(installed(&device), "ab");
    // It was accepted: devices that connect later are not asked about again.
    server.configure(&desired("ab"));
    assert_eq!(check(&server), (true, String::new()));
}

/// The state file and what is kept beside it, under another name: a server has the first one.
fn copy_of_state(server: &Server, name: &str) -> PathBuf {
    for ending in ["", ".desired"] {
        let from = server.path(&format!("tam.redb{ending}"));
        std::fs::copy(from, server.path(&format!("{name}{ending}"))).unwrap();
    }
    server.path(name)
}

#[test]
fn what_was_accepted_outlives_the_server() {
    let _one = ONE.lock();
    let server = start();
    server.configure(&desired("abcd"));
    let mut device = server.pki.device();
    converge(server.address, &mut device);
    server.configure(&desired("ab"));
    let member = confirmation(&check(&server).1);
    let text = format!("{}{member}\n{}", server.tam_section, desired("ab"));
    std::fs::write(server.path("desired.toml"), text).unwrap();
    converge(server.address, &mut server.pki.device());
    // The deletions that were confirmed still wait for their device, and are no news.
    server.configure(&desired("abe"));
    let address = serve(&server.path("desired.toml"), &copy_of_state(&server, "first.redb"));
    converge(address, &mut device);
    assert_eq!(installed(&device), "abe");
    // Where it is lost, what is installed counts as desired until then.
    let state = copy_of_state(&server, "second.redb");
    std::fs::remove_file(server.path("second.redb.desired")).unwrap();
    let Err(error) = Tam::new(&server.path("desired.toml"), &state) else { panic!("it starts") };
    assert!(format!("{error:#}").contains("deletes 2 of the 6 applications"), "{error:#}");
    std::fs::write(server.path("second.redb.desired"), "garbage").unwrap();
    assert!(Tam::new(&server.path("desired.toml"), &state).is_err());
}

#[test]
fn a_tenth_of_what_is_installed_may_be_deleted() {
    let _one = ONE.lock();
    let server = start();
    server.configure(&desired("abcdefghij"));
    let mut devices: Vec<_> = (0..2).map(|_| server.pki.device()).collect();
    for device in &mut devices {
        converge(server.address, device);
    }
    // Two of twenty are a tenth, four are more.
    server.configure(&desired("abcdefgh"));
    assert!(check(&server).1.contains("deletes 4 of the 20 applications"));
    server.configure(&desired("abcdefghi"));
    assert_eq!(check(&server), (true, String::new()));
    converge(server.address, &mut devices[0]);
    assert_eq!(installed(&devices[0]), "abcdefghi");
    // What a retired device has is to go, and counts until that is confirmed.
    let retired = format!("retired = ['{}']\n", devices[1].device_id());
    let write = |members: &str, applications: &str| {
        let text = format!("{}{members}{}", server.tam_section, desired(applications));
        std::fs::write(server.path("desired.toml"), text).unwrap();
    };
    write(&retired, "abcdefghi");
    let (_, sentence) = check(&server);
    assert!(sentence.contains("deletes 10 of the 19 applications"), "{sentence}");
    assert_eq!(converge(server.address, &mut devices[1]).len(), 2, "the deletion of before");
    let (_, sentence) = check(&server);
    assert!(sentence.contains("deletes 9 of the 18 applications"), "{sentence}");
    write(&format!("{retired}{}\n", confirmation(&sentence)), "abcdefghi");
    assert_eq!(check(&server), (true, String::new()));
    converge(server.address, &mut devices[0]);
    assert_eq!(installed(&devices[1]), "abcdefghi", "it has not connected");
    write(&retired, "abcdefgh");
    assert_eq!(check(&server), (true, String::new()), "one of nine");
    write(&retired, "abcdefg");
    assert!(check(&server).1.contains("deletes 2 of the 9 applications"));
    converge(server.address, &mut devices[1]);
    assert_eq!(installed(&devices[1]), "");
}

#[test]
fn small_changes_count_together_until_the_devices_have_followed() {
    let _one = ONE.lock();
    let server = start();
    let mut devices: Vec<_> = (0..2).map(|_| server.pki.device()).collect();
    server.configure(&desired("abcdefghij"));
    for device in &mut devices {
        converge(server.address, device);
    }
    server.configure(&desired("abcdefghi"));
    assert_eq!(check(&server), (true, String::new()));
    assert_eq!(connect(server.address).status, 200);
    // Whatever is written meanwhile: the server reads it when somebody connects, and nobody follows.
    for (applications, deleted) in [("abcdefgh", 4), ("abcdefg", 6), ("a", 18)] {
        server.configure(&desired(applications));
        assert_eq!(connect(server.address).status, 200);
        let (_, sentence) = check(&server);
        let expected = format!("deletes {deleted} of the 20 applications");
        assert!(sentence.contains(&expected), "{sentence}");
    }
    for device in &mut devices {
        converge(server.address, device);
        assert_eq!(installed(device), "abcdefghi", "what was accepted");
    }
    server.configure(&desired("abcdefgh"));
    assert!(check(&server).1.contains("deletes 2 of the 18 applications"));
}

#[test]
fn a_retirement_of_all_devices_is_confirmed() {
    let _one = ONE.lock();
    let server = start();
    server.configure(&desired("abc"));
    let mut devices: Vec<_> = (0..3).map(|_| server.pki.device()).collect();
    for device in &mut devices {
        converge(server.address, device);
    }
    let keys: Vec<_> = devices.iter().map(Device::key_fingerprint).collect();
    let write = |keys: &[String], confirmation: &str| {
        let members = format!("retired = {keys:?}\n{confirmation}\n");
        let text = format!("{}{members}{}", server.tam_section, desired("abc"));
        std::fs::write(server.path("desired.toml"), text).unwrap();
    };
    write(&keys, "");
    let (_, sentence) = check(&server);
    assert!(sentence.contains("deletes 9 of the 9 applications"), "{sentence}");
    for device in &mut devices {
        converge(server.address, device);
        assert_eq!(installed(device), "abc");
    }
    // The name of one list is not that of another.
    write(&keys[..1], "");
    let (_, one) = check(&server);
    assert!(one.contains("deletes 3 of the 9 applications"), "{one}");
    write(&keys, &confirmation(&one));
    assert!(check(&server).1.contains("deletes 9 of the 9 applications"));
    write(&keys[..1], &confirmation(&one));
    assert_eq!(check(&server), (true, String::new()));
    converge(server.address, &mut devices[0]);
    assert_eq!(installed(&devices[0]), "");
    // A device that is off the list is asked about when it is on it again.
    server.configure(&desired("abc"));
    converge(server.address, &mut devices[0]);
    assert_eq!(installed(&devices[0]), "abc");
    write(&keys[..1], "");
    assert!(check(&server).1.contains("deletes 3 of the 9 applications"));
}

#[test]
fn a_lost_state_file_does_not_allow_deletions() {
    let _one = ONE.lock();
    let server = start();
    server.configure(&desired("abCd"));
    let mut device = server.pki.device();
    converge(server.address, &mut device);
    let config = server.path("desired.toml");
    let state = server.path("new.redb");
    std::fs::copy(server.path("tam.redb.desired"), server.path("new.redb.desired")).unwrap();
    let refused = |expected: &str| {
        let Err(error) = Tam::new(&config, &state) else { panic!("it starts: {expected}") };
        assert!(format!("{error:#}").contains(expected), "{error:#}");
        format!("{error:#}")
    };
    let one_session = |device: &mut Device| {
        let tam = Tam::new(&config, &state).unwrap();
        let mut request = Some(tam.connect("test").unwrap());
        while let Some(message) = request {
            request = tam.process(&device.process(&message), "test").unwrap();
        }
    };
    // However often it is tried: the state file is there then, and empty.
    server.configure(&desired("a"));
    for _ in 0..2 {
        let sentence = refused("deletes 3 of the 4 applications");
        assert!(sentence.contains("its state file is new"), "{sentence}");
    }
    // What was desired last starts, and does not become forgotten with the first device.
    server.configure(&desired("abCd"));
    one_session(&mut device);
    assert_eq!(installed(&device), "Cabd");
    server.configure(&desired("a"));
    let sentence = refused("deletes 6 of the 8 applications");
    let text = format!("{}{}\n{}", server.tam_section, confirmation(&sentence), desired("a"));
    std::fs::write(&config, text).unwrap();
    one_session(&mut device);
    assert_eq!(installed(&device), "a");
    // That settles it: one of one, and no other is forgotten.
    server.configure(&desired(""));
    refused("deletes 2 of the 2 applications");
}

/// A file of the version before, which had the applications alone: nothing of it is asked again.
#[test]
fn what_an_earlier_version_accepted_stays_accepted() {
    let _one = ONE.lock();
    let server = start();
    server.configure(&desired("abcd"));
    let mut devices: Vec<_> = (0..2).map(|_| server.pki.device()).collect();
    for device in &mut devices {
        converge(server.address, device);
    }
    let state = copy_of_state(&server, "old.redb");
    let accepted = r#"{"applications":[["sp","sd","a",false],["sp","sd","b",false]]}"#;
    std::fs::write(server.path("old.redb.desired"), accepted).unwrap();
    let list = format!("retired = ['{}']\n", devices[0].key_fingerprint());
    let start = |applications: &str| {
        let text = format!("{}{list}{}", server.tam_section, desired(applications));
        std::fs::write(server.path("desired.toml"), text).unwrap();
        Tam::new(&server.path("desired.toml"), &state).map(drop)
    };
    start("ab").unwrap();
    let error = format!("{:#}", start("").unwrap_err());
    assert!(error.contains("deletes 2 of the 4 applications"), "{error}");
}

/// Data can be taken away only together with what the application stored.
#[test]
fn removed_data_counts_as_a_deletion() {
    let _one = ONE.lock();
    let server = start();
    server.configure(&desired("AB"));
    let mut device = server.pki.device();
    converge(server.address, &mut device);
    server
        .configure(&desired("ab").replace("id = 'a'", "id = 'A'").replace("id = 'b'", "id = 'B'"));
    assert!(check(&server).1.contains("deletes 2 of the 2 applications"));
    assert_eq!(converge(server.address, &mut device), ["GetDeviceState"]);
    assert!(device.domains.values().all(|sd| sd.applications["A"].personalization.is_some()));
}
