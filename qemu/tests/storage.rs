//! An attacker who owns the files of secure storage, in real OP-TEE: bits flipped, files cut,
//! exchanged, deleted, moved to another device, the whole put back to an earlier moment.
//!
//! Whatever he does, the broker answers: it serves, or it says what is wrong. It never makes a key
//! where a certified one was, takes no recorded message, and gives no application away. With
//! `OTRP_SOAK` set each file is damaged in each way; without, each file in one way.
//!
//! Needs the images; run by `make test`, and alone by `make test-device`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use openssl::x509::X509Req;
use otrp_keys::{file, image};
use otrp_qemu::harness::cache;
use otrp_qemu::harness::counter::{
    self, BLOCK_SIZE, COUNTER_SIZE, FORMER_BLOCK, HASH_SIZE, RECORD_SIZE,
};
use otrp_qemu::harness::device::Device;
use otrp_qemu::harness::guest::Guest;
use otrp_qemu::harness::image::Image;
use otrp_qemu::harness::machine::Machine;
use otrp_qemu::scenario::deployment::SIGNER_UUID;
use otrp_qemu::scenario::operator::{Operator, carry, plain_error, provision};
use otrp_tam::request::{Application, Builder, Command, Target};
use otrp_tam::response::Outcome;

const SP: &str = "com.example";
const SD: &str = "com.example.domain";
const TA: &str = "com.example.signer";

fn keys() -> PathBuf {
    cache().join("keys/dev")
}

fn boot_image(device: Device, image: &str) -> Guest {
    Machine::new(device, Image::open(cache().join("image").join(image)).unwrap()).boot().unwrap()
}

fn boot(device: Device) -> Guest {
    boot_image(device, "development")
}

/// The sample in a version, signed by its service provider.
fn signed(version: u32) -> Vec<u8> {
    let number = version.min(2);
    let elf = fs::read(cache().join(format!("image/samples/signer-v{number}.elf"))).unwrap();
    let key = file::read_key(&keys().join("sp-rsa.key.pem")).unwrap();
    image::sign(&key, None, SIGNER_UUID.parse().unwrap(), version, &elf).unwrap()
}

fn application<'a>(domain: &'a str, image: &'a [u8]) -> Application<'a> {
    Application {
        spid: SP,
        domain,
        taid: TA,
        certificate: None,
        image: Some(image),
        personalization: None,
    }
}

/// What an attacker can copy and put back: the files; and what he cannot: the counter.
#[derive(Clone)]
struct Snapshot {
    files: BTreeMap<String, Vec<u8>>,
    counter: Vec<u8>,
}

impl Snapshot {
    fn take(device: &Device) -> Self {
        let entries = fs::read_dir(device.storage()).unwrap().map(Result::unwrap);
        let files = entries
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (name, fs::read(entry.path()).unwrap())
            })
            .collect();
        Self { files, counter: counter::read(device).unwrap() }
    }

    fn restore_files(&self, device: &Device) {
        let storage = device.storage();
        fs::remove_dir_all(&storage).unwrap();
        fs::create_dir(&storage).unwrap();
        for (name, content) in &self.files {
            fs::write(storage.join(name), content).unwrap();
        }
    }

    fn restore_counter(&self, device: &Device) {
        counter::write(device, &self.counter).unwrap();
    }

    fn restore(&self, device: &Device) {
        self.restore_files(device);
        self.restore_counter(device);
    }
}

/// What `otrp-agent status` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Status {
    Serving,
    Unprovisioned,
    Damaged,
}

fn status(guest: &mut Guest) -> Status {
    let output = guest.run("otrp-agent status").unwrap();
    let (text, error) = (output.text(), output.error_text());
    if text.contains("\"provisioned\":true") {
        Status::Serving
    } else if text.contains("\"provisioned\":false") {
        Status::Unprovisioned
    } else {
        assert!(error.contains("secure storage is damaged"), "{text}{error}");
        Status::Damaged
    }
}

/// The TEE's public key, DER, if it tells.
fn tee_key(guest: &mut Guest) -> Option<Vec<u8>> {
    let output = guest.run("otrp-agent csr").unwrap();
    if output.status != 0 {
        assert!(output.error_text().contains("damaged"), "{}", output.error_text());
        return None;
    }
    let request = X509Req::from_pem(&output.stdout).unwrap();
    Some(request.public_key().unwrap().public_key_to_der().unwrap())
}

/// The version that the sample answers with, if it can be opened.
fn sample(guest: &mut Guest) -> Option<String> {
    let output = guest.run("otrp-signer-client version").unwrap();
    (output.status == 0).then(|| output.text())
}

fn assert_no_panic(guest: &Guest) {
    let log = guest.secure_log().unwrap();
    assert!(!log.to_lowercase().contains("panic"), "{log}");
}

/// A device in the middle of its life, and all that an attacker has recorded of it.
struct Life {
    _folder: tempfile::TempDir,
    tam: Operator,
    other: Operator,
    images: [Vec<u8>; 2],
    key: Vec<u8>,
    /// The commands that made it what it is.
    messages: Vec<Vec<u8>>,
    /// With version 1 of the sample.
    old: Snapshot,
    /// With version 2: the present.
    new: Snapshot,
}

impl Life {
    fn live() -> (Self, Device) {
        let folder = tempfile::tempdir().unwrap();
        let device = Device::open_or_create(folder.path()).unwrap();
        let mut guest = boot(device);
        provision(&mut guest, &keys()).unwrap();
        let tam = Operator::read(&keys(), "tam").unwrap();
        let other = Operator::read(&keys(), "other-tam").unwrap();
        let images = [signed(1), signed(2)];
        let certificate = fs::read(keys().join("sp-rsa.der")).unwrap();
        let mut messages = Vec::new();
        let mut pass = |guest: &mut Guest, command| {
            let target = Target::from(&tam.state(guest).unwrap());
            let request = Builder::command(&tam.identity, &target, command).build().unwrap();
            let outcome = tam.send(guest, &request, &target).unwrap();
            assert!(matches!(outcome, Outcome::Pass(_)), "{outcome:?}");
            messages.push(request.message);
        };
        pass(&mut guest, Command::CreateSd { spid: SP, name: SD, certificate: &certificate });
        pass(&mut guest, Command::InstallTa(application(SD, &images[0])));
        assert_eq!(sample(&mut guest).as_deref(), Some("1"));
        let key = tee_key(&mut guest).unwrap();
        let device = guest.power_off().unwrap();
        let old = Snapshot::take(&device);

        let mut guest = boot(device);
        pass(&mut guest, Command::UpdateTa(application(SD, &images[1])));
        assert_eq!(sample(&mut guest).as_deref(), Some("2"));
        let device = guest.power_off().unwrap();
        let new = Snapshot::take(&device);
        (Self { _folder: folder, tam, other, images, key, messages, old, new }, device)
    }

    /// Boots what the attacker has left, and asserts that he gained nothing; what the status was
    /// at the first and the second question, and the sample's version.
    fn examine(&self, device: Device) -> (Device, [Status; 2], Option<String>) {
        let mut guest = boot(device);
        let first = status(&mut guest);
        let version = sample(&mut guest);
        let statuses = [first, status(&mut guest)];
        if let Some(key) = tee_key(&mut guest) {
            assert!(key == self.key, "another key in the place of the certified one");
        }
        self.assert_nothing_recorded_works(&mut guest);
        self.assert_applications_are_safe(&mut guest);
        assert!(matches!(version.as_deref(), None | Some("2")), "version {version:?} came back");
        assert_no_panic(&guest);
        (guest.power_off().unwrap(), statuses, version)
    }

    /// A lost application comes back by its TAM.
    fn send_again(&self, device: Device) -> Device {
        let mut guest = boot(device);
        let image = signed(3);
        self.tam.carry_out(&mut guest, Command::UpdateTa(application(SD, &image))).unwrap();
        assert_eq!(sample(&mut guest).as_deref(), Some("2"));
        guest.power_off().unwrap()
    }

    fn assert_nothing_recorded_works(&self, guest: &mut Guest) {
        for message in &self.messages {
            let answer = carry(guest, message).unwrap().answer;
            // Fails where the message passed.
            plain_error(&answer).unwrap();
        }
    }

    /// A lower version, and another TAM's application under the same UUID, do not come in.
    fn assert_applications_are_safe(&self, guest: &mut Guest) {
        if let Ok(state) = self.tam.state(guest) {
            let target = Target::from(&state);
            let lower = Command::UpdateTa(application(SD, &self.images[0]));
            let request = Builder::command(&self.tam.identity, &target, lower).build().unwrap();
            let outcome = self.tam.send(guest, &request, &target);
            assert!(!matches!(outcome, Ok(Outcome::Pass(_))), "a lower version came in");
        }
        let Ok(state) = self.other.state(guest) else { return };
        let mut target = Target::from(&state);
        let certificate = fs::read(keys().join("sp-rsa.der")).unwrap();
        let name = "com.example.other";
        let create = Command::CreateSd { spid: SP, name, certificate: &certificate };
        let request = Builder::command(&self.other.identity, &target, create).build().unwrap();
        let Ok(Outcome::Pass(passed)) = self.other.send(guest, &request, &target) else { return };
        target = Target::from(&passed.state.unwrap());
        let theft = signed(9);
        let theft = Command::InstallTa(application(name, &theft));
        let request = Builder::command(&self.other.identity, &target, theft).build().unwrap();
        let outcome = self.other.send(guest, &request, &target);
        assert!(!matches!(outcome, Ok(Outcome::Pass(_))), "another TAM took the UUID");
    }
}

/// Whether the file is a blob's: everything else is needed for all that is stored.
fn is_blob(name: &str) -> bool {
    name.strip_prefix("otrp.").is_some_and(|number| number.parse::<u32>().is_ok())
}

/// What can be done to one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    FlipHead,
    FlipMiddle,
    Truncate,
    Swap,
    Delete,
}

const DAMAGES: [Damage; 5] =
    [Damage::FlipMiddle, Damage::Delete, Damage::Truncate, Damage::Swap, Damage::FlipHead];

impl Damage {
    fn inflict(self, files: &mut BTreeMap<String, Vec<u8>>, name: &str) {
        let content = files.get_mut(name).unwrap();
        match self {
            // Both copies of the head of a file, of which the older may be unused.
            Self::FlipHead => content.iter_mut().step_by(16).take(24).for_each(|octet| *octet ^= 1),
            // All over, since a file of blocks has two versions of each.
            Self::FlipMiddle => {
                let skip = content.len() / 4;
                content.iter_mut().skip(skip).step_by(64).for_each(|octet| *octet ^= 0x80);
            }
            Self::Truncate => content.truncate(content.len() / 3),
            Self::Swap => {
                // One of its kind, where there is one.
                let mut others = files.keys().filter(|key| *key != name);
                let alike = others.clone().find(|key| is_blob(key) == is_blob(name));
                let other = alike.or_else(|| others.next()).unwrap().clone();
                let (one, two) = (files[name].clone(), files[&other].clone());
                files.extend([(name.to_owned(), two), (other, one)]);
            }
            Self::Delete => drop(files.remove(name)),
        }
    }
}

#[test]
#[ignore = "needs the images: make test-device"]
fn damaged_files_are_reported_and_gain_nothing() {
    let (life, mut device) = Life::live();
    let names: Vec<_> = life.new.files.keys().cloned().collect();
    let mut outcomes = BTreeSet::new();
    let length = fs::read(cache().join("image/samples/signer-v2.elf")).unwrap().len();
    let mut images = 0;
    for (index, name) in names.iter().enumerate() {
        let damages = match std::env::var_os("OTRP_SOAK") {
            Some(_) => DAMAGES.to_vec(),
            // The directory's own heads are checked by nothing but themselves.
            None if name == "dirf.db" => vec![Damage::FlipHead, Damage::Delete],
            None => vec![DAMAGES[index % 4]],
        };
        for damage in damages {
            let mut attacked = life.new.clone();
            damage.inflict(&mut attacked.files, name);
            attacked.restore(&device);
            let statuses;
            let version;
            (device, statuses, version) = life.examine(device);
            println!("{name} {damage:?}: {statuses:?}, sample {version:?}");
            outcomes.insert(statuses);
            if name == "dirf.db" && matches!(damage, Damage::FlipHead | Damage::Delete) {
                assert_eq!(statuses, [Status::Damaged; 2]);
            }
            if is_blob(name) {
                assert_eq!(statuses, [Status::Serving; 2], "a blob's damage spreads");
            }
            if life.new.files[name].len() == length {
                assert_eq!(version, None, "a damaged application runs");
                device = life.send_again(device);
                images += 1;
            } else if statuses == [Status::Serving; 2] && damage != Damage::Swap {
                assert_eq!(version.as_deref(), Some("2"), "{name} {damage:?}");
            }
        }
    }
    assert!(images > 0, "no file is as long as the image");
    // What is said does not change by being asked: nothing is deleted for being damaged.
    assert_eq!(outcomes, BTreeSet::from([[Status::Serving; 2], [Status::Damaged; 2]]));
}

#[test]
#[ignore = "needs the images: make test-device"]
fn storage_of_an_earlier_moment_does_not_open_and_a_deleted_one_is_no_new_device() {
    let (life, device) = Life::live();

    // The files alone are put back: the counter knows better.
    life.old.restore_files(&device);
    let (device, statuses, version) = life.examine(device);
    assert_eq!((statuses, version), ([Status::Damaged; 2], None));

    // That was not in vain: the present is still good.
    life.new.restore_files(&device);
    let (device, statuses, version) = life.examine(device);
    assert_eq!((statuses, version.as_deref()), ([Status::Serving; 2], Some("2")));
    let present = Snapshot::take(&device);

    // Where the counter goes back with the files, which is to say where there is none, OP-TEE opens
    // what was.
    life.old.restore(&device);
    let mut guest = boot(device);
    assert_eq!(status(&mut guest), Status::Serving);
    assert_eq!(sample(&mut guest).as_deref(), Some("1"));
    let device = guest.power_off().unwrap();

    // All files deleted: not the factory's state either.
    let nothing = Snapshot { files: BTreeMap::new(), ..present.clone() };
    nothing.restore(&device);
    let (device, statuses, version) = life.examine(device);
    assert_eq!((statuses, version), ([Status::Damaged; 2], None));

    // The maker's way back: an image that takes a missing storage for a new one, once.
    let mut guest = boot_image(device, "lab");
    assert_eq!(status(&mut guest), Status::Unprovisioned);
    let new_key = tee_key(&mut guest).unwrap();
    assert!(new_key != life.key, "the same key after all was deleted");
    let mut guest = boot(guest.power_off().unwrap());
    assert_eq!(status(&mut guest), Status::Unprovisioned);
    assert!(tee_key(&mut guest).unwrap() == new_key);
    life.assert_nothing_recorded_works(&mut guest);
    provision(&mut guest, &keys()).unwrap();
    life.assert_nothing_recorded_works(&mut guest);
    // A TAM sees another device, with nothing on it.
    let state = life.tam.state(&mut guest).unwrap();
    assert!(state.dsi.tee.sdlist.sd.is_empty());
    assert_eq!(sample(&mut guest), None);
    assert_no_panic(&guest);

    // And the storage from before that stays out.
    let device = guest.power_off().unwrap();
    present.restore_files(&device);
    let mut guest = boot(device);
    assert_eq!([status(&mut guest), status(&mut guest)], [Status::Damaged; 2]);
    assert_eq!(sample(&mut guest), None);
    assert_no_panic(&guest);
    guest.power_off().unwrap();
}

#[test]
#[ignore = "needs the images: make test-device"]
fn storage_of_one_device_does_not_open_on_another() {
    let folder = tempfile::tempdir().unwrap();
    let mut devices = ["one", "two"].map(|name| {
        let mut guest = boot(Device::open_or_create(folder.path().join(name)).unwrap());
        assert_eq!(status(&mut guest), Status::Unprovisioned);
        let key = tee_key(&mut guest).unwrap();
        if name == "one" {
            provision(&mut guest, &keys()).unwrap();
        }
        let device = guest.power_off().unwrap();
        Some((Snapshot::take(&device), key, device))
    });
    let (one, key, _) = devices[0].take().unwrap();
    let (two, own_key, device) = devices[1].take().unwrap();
    assert!(key != own_key);

    // With the other's counter, too: it is the key that keeps them apart.
    one.restore(&device);
    let mut guest = boot(device);
    assert_eq!([status(&mut guest), status(&mut guest)], [Status::Damaged; 2]);
    assert_eq!(tee_key(&mut guest), None);
    assert_no_panic(&guest);
    let device = guest.power_off().unwrap();
    two.restore(&device);
    let mut guest = boot(device);
    assert_eq!(status(&mut guest), Status::Unprovisioned);
    assert!(tee_key(&mut guest).unwrap() == own_key);
    guest.power_off().unwrap();
}

/// A power cut in the first write of all is no damage, as long as the counter has not moved.
#[test]
#[ignore = "needs the images: make test-device"]
fn a_first_start_that_was_cut_off_is_a_first_start() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::open_or_create(folder.path()).unwrap();
    let mut device = Some(device);
    for content in [&b""[..], &[0; 30], &[0; 700], &[0xa5; 700]] {
        let cut = device.take().unwrap();
        cut.wipe().unwrap();
        fs::write(cut.storage().join("dirf.db"), content).unwrap();
        let mut guest = boot(cut);
        assert_eq!([status(&mut guest), status(&mut guest)], [Status::Unprovisioned; 2]);
        let key = tee_key(&mut guest).unwrap();
        let cut = guest.power_off().unwrap();

        // From then on it is damage.
        fs::write(cut.storage().join("dirf.db"), content).unwrap();
        let mut guest = boot(cut);
        assert_eq!([status(&mut guest), status(&mut guest)], [Status::Damaged; 2]);
        assert!(tee_key(&mut guest).is_none_or(|found| found == key));
        assert_no_panic(&guest);
        device = Some(guest.power_off().unwrap());
    }
}

/// Nor are power cuts in the counter's first records, however many.
#[test]
#[ignore = "needs the images: make test-device"]
fn power_cuts_before_the_first_whole_record_leave_a_new_device() {
    let folder = tempfile::tempdir().unwrap();
    let mut guest = boot(Device::open_or_create(folder.path()).unwrap());
    assert_eq!(status(&mut guest), Status::Unprovisioned);
    let mut device = guest.kill().unwrap();
    // Programming clears bits, the hash's first and the complement's last.
    let torn = [
        record(0x7f, !0, !0),
        record(0x11, 0x7fff_ffff, !0),
        record(0x11, 1, !0),
        record(0x11, 3, !1),
    ];
    let rows = [
        (vec![torn[0]; 2], Status::Unprovisioned),
        (torn.to_vec(), Status::Unprovisioned),
        (vec![torn[1]; 256], Status::Unprovisioned),
        // More than that, or for a value that no new device gets to: a counter is lost.
        (vec![torn[1]; 257], Status::Damaged),
        (vec![torn[1], record(0x11, 0x1337, 0x7fff_ecc8)], Status::Damaged),
    ];
    for (records, expected) in rows {
        let mut counter = vec![0xff; COUNTER_SIZE];
        for (place, record) in counter.chunks_exact_mut(RECORD_SIZE).zip(&records) {
            place.copy_from_slice(record);
        }
        Snapshot { files: BTreeMap::new(), counter }.restore(&device);
        let mut guest = boot(device);
        assert_eq!([status(&mut guest), status(&mut guest)], [expected; 2], "{records:x?}");
        assert_no_panic(&guest);
        device = guest.power_off().unwrap();
        if expected == Status::Unprovisioned {
            assert!(counted(&Snapshot::take(&device).counter, 0).is_some());
        }
    }
}

/// A record whose hash is of one octet.
fn record(hash: u8, value: u32, complement: u32) -> [u8; RECORD_SIZE] {
    let mut record = [hash; RECORD_SIZE];
    record[HASH_SIZE..HASH_SIZE + 4].copy_from_slice(&value.to_le_bytes());
    record[HASH_SIZE + 4..].copy_from_slice(&complement.to_le_bytes());
    record
}

/// The largest value of any whole record in one of the counter's blocks.
fn counted(counter: &[u8], block: usize) -> Option<u32> {
    counter::values(counter, block).max()
}

/// A device whose image knew no hash keeps its storage, and an older one stays out.
#[test]
#[ignore = "needs the images: make test-device"]
fn a_counter_of_a_former_image_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut guest = boot(Device::open_or_create(folder.path()).unwrap());
    assert_eq!(status(&mut guest), Status::Unprovisioned);
    let key = tee_key(&mut guest).unwrap();
    let mut device = guest.power_off().unwrap();
    let present = Snapshot::take(&device);
    let value = counted(&present.counter, 0).unwrap();

    // The blocks that the former image did not know were erased, or never written to.
    for unknown in [0xff, 0] {
        for (former, expected) in [(value, Status::Unprovisioned), (value + 1, Status::Damaged)] {
            let mut counter = vec![0xff; COUNTER_SIZE];
            counter[..FORMER_BLOCK * BLOCK_SIZE].fill(unknown);
            let at = FORMER_BLOCK * BLOCK_SIZE;
            counter[at..at + 4].copy_from_slice(&former.to_le_bytes());
            counter[at + 4..at + 8].copy_from_slice(&(!former).to_le_bytes());
            Snapshot { counter, ..present.clone() }.restore(&device);
            let mut guest = boot(device);
            assert_eq!(
                [status(&mut guest), status(&mut guest)],
                [expected; 2],
                "{unknown} {former}"
            );
            assert!(tee_key(&mut guest).is_none_or(|found| found == key));
            assert_no_panic(&guest);
            device = guest.power_off().unwrap();
            let counter = Snapshot::take(&device).counter;
            let blocks = [0, 1].map(|block| counted(&counter, block));
            let found = blocks.into_iter().flatten().max();
            match expected {
                Status::Unprovisioned => assert!(found >= Some(value), "{found:?}"),
                _ => assert_eq!(found, None),
            }
        }
    }
}

#[test]
#[ignore = "needs the images: make test-device"]
fn the_counter_survives_power_cuts_and_goes_on_when_its_log_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let mut guest = boot(Device::open_or_create(folder.path()).unwrap());
    assert_eq!(status(&mut guest), Status::Unprovisioned);
    let key = tee_key(&mut guest).unwrap();
    // Linux neither reads nor writes it: the machine has nothing there for the normal world.
    for access in ["devmem 0x03f00000 32", "devmem 0x03f00000 32 0"] {
        assert_ne!(guest.run(access).unwrap().status, 0, "{access}");
    }
    let device = guest.kill().unwrap();
    let early = Snapshot::take(&device);
    let before = counted(&early.counter, 0).unwrap();

    // Records that a power cut broke off fill the first block but for one place, and an erasure
    // that was cut off has left its traces in the second.
    let mut full = early.clone();
    let torn = record(0x11, 0x7fff_ffff, !0);
    let last = BLOCK_SIZE / RECORD_SIZE - 1;
    let (first, rest) = full.counter.split_at_mut(BLOCK_SIZE);
    first
        .chunks_exact_mut(RECORD_SIZE)
        .take(last)
        .filter(|place| **place == [0xff; RECORD_SIZE])
        .for_each(|place| place.copy_from_slice(&torn));
    rest[..BLOCK_SIZE].chunks_exact_mut(RECORD_SIZE).for_each(|place| place.copy_from_slice(&torn));
    full.restore_counter(&device);
    let mut guest = boot(device);
    assert_eq!(status(&mut guest), Status::Unprovisioned);
    assert!(tee_key(&mut guest).unwrap() == key);
    // Two commits: the import, for which there is a place, and the TAM's first request.
    provision(&mut guest, &keys()).unwrap();
    assert_eq!(status(&mut guest), Status::Serving);
    Operator::read(&keys(), "tam").unwrap().state(&mut guest).unwrap();
    let device = guest.kill().unwrap();
    let late = Snapshot::take(&device);
    assert!(counted(&late.counter, 0).unwrap() > before);
    assert!(counted(&late.counter, 1) > counted(&late.counter, 0), "the log continued");
    let erased = &late.counter[BLOCK_SIZE + BLOCK_SIZE / 2..2 * BLOCK_SIZE];
    assert!(erased.iter().all(|octet| *octet == 0xff), "the second block was erased");

    // It is still a counter.
    early.restore_files(&device);
    let mut guest = boot(device);
    assert_eq!(status(&mut guest), Status::Damaged);
    let device = guest.kill().unwrap();
    late.restore_files(&device);
    let mut guest = boot(device);
    assert_eq!(status(&mut guest), Status::Serving);
    let device = guest.power_off().unwrap();

    // A flash without any whole record that is not new is no zero.
    let lost = Snapshot { counter: vec![0; COUNTER_SIZE], ..late };
    lost.restore(&device);
    let mut guest = boot(device);
    assert_eq!([status(&mut guest), status(&mut guest)], [Status::Damaged; 2]);
    assert_no_panic(&guest);
    guest.power_off().unwrap();
}
