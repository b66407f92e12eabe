//! The database: records, revisions, formats, and damaged files.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

fn record(key: &str) -> DeviceRecord {
    DeviceRecord { first_seen: 1, last_seen: 2, ..DeviceRecord::new(key.into()) }
}

fn scene() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.redb");
    (folder, path)
}

#[test]
fn records_survive() {
    let (_folder, path) = scene();
    assert!(read_devices(&path).is_err());
    let store = Store::open(&path).unwrap();
    assert_eq!(store.devices().unwrap(), []);
    let mut failures = Failures::default();
    failures.push("no");
    let revision = store.replace(&record("a"), Some(&failures)).unwrap().unwrap();
    let other = store.replace(&record("b"), None).unwrap().unwrap();
    assert!(other > revision && store.sequence() == other);
    let changed = DeviceRecord { last_seen: 7, revision, ..record("a") };
    let changed_to = store.replace(&changed, None).unwrap().unwrap();
    let expected = [
        DeviceRecord { revision: changed_to, failures: vec!["no".into()], ..changed },
        DeviceRecord { revision: other, ..record("b") },
    ];
    assert_eq!(store.devices().unwrap(), expected);
    drop(store);
    assert_eq!(read_devices(&path).unwrap(), expected);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.sequence(), changed_to);
    let found = store.find("b").unwrap().unwrap();
    assert_eq!(found, expected[1]);
    store.replace(&found, Some(&Failures::default())).unwrap().unwrap();
    assert_eq!(store.find("c").unwrap(), None);
}

#[test]
fn a_record_that_changed_meanwhile_is_not_replaced() {
    let (_folder, path) = scene();
    let store = Store::open(&path).unwrap();
    assert_eq!(store.replace(&DeviceRecord { revision: 1, ..record("a") }, None).unwrap(), None);
    let first = store.replace(&record("a"), None).unwrap().unwrap();
    assert_eq!(store.replace(&record("a"), None).unwrap(), None, "it is there by now");
    let of = |revision| DeviceRecord { revision, ..record("a") };
    let second = store.replace(&of(first), None).unwrap().unwrap();
    let mut failures = Failures::default();
    failures.push("late");
    assert_eq!(store.replace(&of(first), Some(&failures)).unwrap(), None);
    assert_eq!(store.devices().unwrap(), [of(second)]);
    assert_eq!(store.sequence(), second);
    // Of many changes at the same time one is made.
    let made = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                if store.replace(&of(second), None).unwrap().is_some() {
                    made.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(made.into_inner(), 1);
}

#[test]
fn a_database_of_format_1_is_read_and_converted() {
    let (_folder, path) = scene();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/format-1.redb");
    let golden = std::fs::read(golden).unwrap();
    let (pages, last) = golden.split_at(golden.len() - 4096);
    let mut whole = pages.to_vec();
    whole.resize(1_052_672, 0);
    whole.extend(last);
    std::fs::write(&path, whole).unwrap();
    let before = read_devices(&path).unwrap();
    let store = Store::open(&path).unwrap();
    assert_eq!(store.devices().unwrap(), before);
    let [record] = &before[..] else { panic!("{before:?}") };
    assert_eq!(record.key, "260394d2094ac036dbd2ead31fa21729df4ab9f6dfe2b13fca916ed260306c03");
    assert_eq!(record.device_id, "0IpfKZ9a9oZExusxvpuNUa4pEaCAFYIuBWjian7b1Qo=");
    assert_eq!(record.identifiers, std::slice::from_ref(&record.device_id));
    assert_eq!((record.tee.as_str(), record.revision), ("mock", 1));
    assert_eq!(record.memory.applications[0].version, 1);
    assert_eq!(record.memory.domains[0].certificates.len(), 1);
    assert_eq!(record.failures, ["UpdateTA sp/sd/ta: ERR_TEE_RESOURCE_FULL \"refused\""]);
    let revision = store.replace(record, None).unwrap().unwrap();
    assert_eq!(revision, 2);
    drop(store);
    // A program that knows only format 1 does not take it for an empty database.
    let database = Database::open(&path).unwrap();
    let transaction = database.begin_read().unwrap();
    let refused = transaction.open_table(format_1::DEVICES).err().unwrap();
    assert!(matches!(refused, TableError::TableTypeMismatch { .. }), "{refused}");
}

#[test]
fn a_later_format_is_refused() {
    let (_folder, path) = scene();
    let store = Store::open(&path).unwrap();
    let transaction = store.database.begin_write().unwrap();
    transaction.open_table(NUMBERS).unwrap().insert(FORMAT_NUMBER, 3).unwrap();
    transaction.commit().unwrap();
    drop(store);
    for refused in [Store::open(&path).map(drop), read_devices(&path).map(drop)] {
        assert!(format!("{:#}", refused.unwrap_err()).contains("format 3"));
    }
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn the_file_is_its_owners() {
    let (_folder, path) = scene();
    drop(Store::open(&path).unwrap());
    assert_eq!(mode(&path), 0o600);
    std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    drop(Store::open(&path).unwrap());
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn a_file_has_one_server_by_whatever_name() {
    let (folder, path) = scene();
    let link = folder.path().join("link.redb");
    let hard = folder.path().join("hard.redb");
    let _store = Store::open(&path).unwrap();
    symlink(&path, &link).unwrap();
    std::fs::hard_link(&path, &hard).unwrap();
    std::thread::scope(|scope| {
        for name in [path, link, hard, folder.path().join("./state.redb")] {
            scope.spawn(move || {
                let refused = format!("{:#}", Store::open(&name).err().unwrap());
                assert!(refused.contains("needs one of its own"), "{refused}");
            });
        }
    });
}

#[test]
fn a_file_that_is_not_a_database_is_reported_in_one_sentence() {
    let (_folder, path) = scene();
    let store = Store::open(&path).unwrap();
    for number in 0..50 {
        store.replace(&record(&number.to_string()), None).unwrap();
    }
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    let zeroed = vec![0; whole.len()];
    let half_zeroed = [&whole[..4096], &zeroed[4096..]].concat();
    let rows: [(&[u8], &str); 10] = [
        (&[], "is empty"),
        (&zeroed, "holds zeros in place of a database"),
        (&zeroed[..1], "holds zeros in place of a database"),
        (b"{\"devices\":[]}", "is not a database of this program"),
        (&whole[..5], "is damaged or cut short"),
        (&whole[..9], "is damaged or cut short"),
        (&whole[..4096], "is damaged or cut short"),
        (&whole[..whole.len() / 2], "is damaged or cut short"),
        (&whole[..whole.len() - 1], "is damaged or cut short"),
        (&half_zeroed, "is damaged or cut short"),
    ];
    for (bytes, expected) in rows {
        for open in
            [|path: &Path| Store::open(path).map(drop), |path: &Path| read_devices(path).map(drop)]
        {
            std::fs::write(&path, bytes).unwrap();
            let refused = match open(&path) {
                Ok(()) => panic!("{} bytes: not {expected}", bytes.len()),
                Err(refused) => format!("{refused:#}"),
            };
            assert!(refused.contains(expected), "{} bytes: {refused}", bytes.len());
            assert!(refused.contains("Restore it from a copy"), "{refused}");
        }
    }
}
