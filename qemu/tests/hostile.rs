//! A hostile program of the normal world, in real OP-TEE: the short runs.
//!
//! `make soak` has the long ones. Needs `make lab`; run by `make test`.

use otrp_qemu::harness::cache;
use otrp_qemu::{harness::device::Device, scenario::hostile};

/// How often a message is raced for.
const RUNS: u32 = 60;

fn report(line: &str) {
    println!("{line}");
}

#[test]
#[ignore = "needs the images: make test-device"]
fn wrong_types_and_wrong_memory_are_refused_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::open_or_create(folder.path()).unwrap();
    hostile::abuse(&cache(), device, false, &mut report).unwrap();
}

#[test]
#[ignore = "needs the images: make test-device"]
fn a_message_that_is_rewritten_meanwhile_has_no_effect() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::open_or_create(folder.path()).unwrap();
    hostile::race(&cache(), device, RUNS, &mut report).unwrap();
}
