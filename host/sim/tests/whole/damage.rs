//! Storage that is not what the engine wrote: it is reported, and nothing is made up for it.

use otrp_engine::error::Unanswerable;
use otrp_engine::limits::REPLY_LIMIT;
use otrp_engine::platform::{Kind, Name, PortError};
use otrp_sim::Snapshot;
use otrp_tam::message::Builder;

use crate::bench::{Device, pki, ta_query};
use crate::home::*;

/// A snapshot with one record changed, or removed.
fn with(name: Name, record: Option<Vec<u8>>) -> Snapshot {
    let mut snapshot = home().snapshot.clone();
    match record {
        Some(record) => drop(snapshot.records.insert(name, record)),
        None => drop(snapshot.records.remove(&name)),
    }
    snapshot
}

#[test]
fn damaged_records_are_reported_and_kept() {
    let names: Vec<Name> = home().snapshot.records.keys().copied().collect();
    let question = Builder::device_state(&pki().tam).build().unwrap().message;
    let mut messages = vec![question];
    messages.extend(Base::ALL.map(|base| base.builder().build().unwrap().message));
    for name in names {
        let record = home().snapshot.records[&name].clone();
        let mut flipped = record.clone();
        flipped[0] ^= 0xff;
        let damaged = [
            None,
            Some(Vec::new()),
            Some(record[..record.len() - 1].to_vec()),
            Some([&record[..], &[0]].concat()),
            Some(flipped),
            Some(vec![0; record.len()]),
            Some(vec![0xff; REPLY_LIMIT + 1]),
        ];
        for record in damaged {
            let snapshot = with(name, record);
            for message in &messages {
                let mut device = Device::from(&snapshot);
                // Whatever it says: it says it, and never panics.
                let _ = device.process(message);
                let _ = device.engine.ta_information(&ta_query(SP, TA), &mut device.reply);
                let _ = device.engine.status(&mut device.reply);
                let _ = device.engine.certification_request(&mut device.reply);
                let kept = device.world.records.borrow().get(&name).cloned();
                let record = snapshot.records.get(&name);
                if matches!(name.kind, Kind::TeeKey | Kind::Registry | Kind::TeeChain)
                    && record.is_some()
                {
                    assert!(kept.as_ref() == record, "{name:?} is not kept");
                }
            }
        }
    }
}

#[test]
fn a_damaged_registry_is_not_answered_for() {
    let name = Name { kind: Kind::Registry, number: 0 };
    let record = home().snapshot.records[&name].clone();
    for record in [record[..record.len() - 1].to_vec(), Vec::new(), vec![0; 100_000]] {
        let mut device = Device::from(&with(name, Some(record)));
        for _ in 0..2 {
            let message = Base::DeleteTa.builder().build().unwrap().message;
            let corrupt = Err(Unanswerable::Failed(PortError::Corrupt));
            assert_eq!(device.process(&message), corrupt);
        }
    }
}

#[test]
fn a_certified_key_is_never_made_anew() {
    let name = Name { kind: Kind::TeeKey, number: 0 };
    for record in [None, Some(vec![0; 32]), Some(vec![7; 31])] {
        let mut device = Device::from(&with(name, record.clone()));
        let message = Base::DeleteTa.builder().build().unwrap().message;
        let corrupt = Err(Unanswerable::Failed(PortError::Corrupt));
        assert_eq!(device.process(&message), corrupt);
        assert!(device.engine.certification_request(&mut device.reply).is_err());
        assert_eq!(device.world.records.borrow().get(&name).cloned(), record);
    }
}
