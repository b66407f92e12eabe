//! What commands cost in calls to the normal world: each is one commit, whatever is installed.
//!
//! Needs the images; run by `make test`, and alone by `make test-device`. `otrp-qemu calls` has the long
//! version.

use std::collections::BTreeMap;

use otrp_qemu::harness::cache;
use otrp_qemu::{harness::device::Device, scenario::calls};

/// What the most expensive command may take, so that a change that costs more is noticed.
const CALLS: u32 = 30;
/// Of an image of 64 KiB there are two writes.
const WRITES: u32 = 9;

#[test]
#[ignore = "needs the images: make test-device"]
fn a_command_is_one_commit() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::open_or_create(folder.path()).unwrap();
    let cache = cache();
    let mut lines = Vec::new();
    calls::run_on(&cache, device, &[0, 3], &mut |line| lines.push(line.to_owned())).unwrap();
    assert_eq!(lines.len(), 2 * 5, "{lines:#?}");
    for line in &lines {
        println!("{line}");
        let numbers: BTreeMap<_, u32> = line
            .split(' ')
            .filter_map(|word| word.split_once('='))
            .map(|(name, number)| (name, number.parse().unwrap()))
            .collect();
        assert_eq!((numbers["commits"], numbers["steps"]), (1, 1), "{line}");
        assert!(numbers["calls"] <= CALLS && numbers["writes"] <= WRITES, "{line}");
    }
}
