//! Power cuts at random instants, and installations in a row, in real OP-TEE: the short runs.
//!
//! `make soak` has the long ones. Needs `make lab`; run by `make test`.

use std::time::{SystemTime, UNIX_EPOCH};

use otrp_qemu::harness::cache;
use otrp_qemu::{harness::device::Device, scenario::soak};

const KILLS: u32 = 20;
const CYCLES: u32 = 20;

#[test]
#[ignore = "needs the images: make test-device"]
fn a_device_comes_up_in_the_state_before_or_after_a_command() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::open_or_create(folder.path()).unwrap();
    // Another one each time, which the first line states; a failure shows all lines. With the same
    // one in OTRP_SEED the TAM wants the same again, though the power fails at other instants.
    let given = std::env::var("OTRP_SEED").ok().filter(|seed| !seed.is_empty());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let seed = given.map_or_else(now, |seed| seed.parse().unwrap());
    let mut lines = Vec::new();
    let outcome =
        soak::cuts_on(&cache(), device, KILLS, seed, &mut |line| lines.push(line.to_owned()));
    let figures = outcome.unwrap_or_else(|error| panic!("{error:#}\n{}", lines.join("\n")));
    assert_eq!(figures.cuts(), KILLS);
    println!("{}", lines.join("\n"));
}

#[test]
#[ignore = "needs the images: make test-device"]
fn installing_and_deleting_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::open_or_create(folder.path()).unwrap();
    let mut lines = Vec::new();
    let outcome =
        soak::cycles_on(&cache(), device, CYCLES, &mut |line| lines.push(line.to_owned()));
    outcome.unwrap_or_else(|error| panic!("{error:#}\n{}", lines.join("\n")));
    println!("{}", lines.join("\n"));
}
