//! The registry's record on disk.

use std::panic::{AssertUnwindSafe, catch_unwind};

use otrp_engine::limits::REPLY_LIMIT;
use otrp_engine::platform::Ports;
use otrp_engine::registry::Registry;
use otrp_sim::{Fault, Moment, SimClock, SimKeys, SimPlatform, SimRng, SimStore, World};

use crate::process::{home, installation};
use crate::stage::{Device, stage};

/// Opens a registry with this record, and writes it again: the same bytes, unless opening had
/// something to finish.
pub fn record(data: &[u8]) {
    let Some(first) = rewritten(data) else { return };
    if first.len() == data.len() {
        assert!(first == data, "written again, it is another record");
    }
    assert!(rewritten(&first).as_ref() == Some(&first), "what was written cannot be read");
}

/// The record after it was opened; `None` if it is damaged.
fn rewritten(record: &[u8]) -> Option<Vec<u8>> {
    let world = World::new(0);
    world.stored.borrow_mut().record = Some(record.to_vec());
    let mut ports = Ports::<SimPlatform> {
        store: SimStore::new(world.clone()),
        keys: SimKeys::new(world.clone()),
        clock: SimClock::new(world.clone()),
        rng: SimRng::new(world.clone()),
    };
    let mut scratch = vec![0; REPLY_LIMIT];
    let mut registry = Box::new(Registry::new(stage().trust));
    registry.open(&mut ports, &mut scratch).ok()?;
    registry.commit(&mut ports, &mut scratch).expect("what was read can be written");
    world.stored.borrow_mut().record.take()
}

/// Records as a life leaves them: at rest, and with an installation that a power cut interrupted at
/// each of its operations.
pub(crate) fn interrupted() -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    for operation in 0.. {
        let mut device = Device::from(&home().snapshot);
        let request = installation();
        device.world.faults.plan(operation, Moment::Before, Fault::Cut);
        let cut = catch_unwind(AssertUnwindSafe(|| device.process(&request))).is_err();
        let record = device.world.snapshot().record.expect("a record");
        if !records.contains(&record) {
            records.push(record);
        }
        if !cut {
            return records;
        }
    }
    records
}
