//! Storage that is not what the engine wrote: it is reported, and nothing is made up for it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use otrp_engine::device::ImportError;
use otrp_engine::error::{Error, Unanswerable};
use otrp_engine::information::QueryError;
use otrp_engine::limits::REPLY_LIMIT;
use otrp_engine::platform::{Kind, Name, PortError};
use otrp_sim::{Fault, Moment, Snapshot};
use otrp_tam::message::{Builder, Command, Target};

use crate::bench::{Device, Refused, pki, ta_query, uuid};
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
                let _ = device.engine.ta_information(&mut ta_query(SP, TA), &mut device.reply);
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
fn a_registry_that_is_damaged_or_lost_is_not_made_anew() {
    let name = Name { kind: Kind::Registry, number: 0 };
    let record = home().snapshot.records[&name].clone();
    let cut = record[..record.len() - 1].to_vec();
    let key = home().target.certificate.public_key().unwrap();
    for record in [Some(cut), Some(Vec::new()), Some(vec![0; 100_000]), None] {
        let damaged = with(name, record);
        let mut device = Device::from(&damaged);
        let malformed = br#"{"DeleteTARequest":{}}"#.to_vec();
        let question = Builder::device_state(&pki().tam).build().unwrap().message;
        let stranger = Builder::device_state(&pki().rogue_tam).build().unwrap().message;
        let command = Base::DeleteTa.builder().build().unwrap().message;
        // It says so to everybody, in the same words, and who they are is not known.
        for message in [&question, &command, &stranger, &malformed, &question] {
            let refused = Refused::read(&device.process(message).unwrap(), &key);
            assert_eq!(refused.code.as_deref(), Some("ERR_TEE_FAIL"));
            assert!(!refused.by_tee);
        }
        assert_eq!(device.process(b"{}"), Err(Unanswerable::NotARequest));
        let corrupt = Error::Port(PortError::Corrupt);
        let asked = device.engine.ta_information(&mut ta_query(SP, TA), &mut device.reply);
        assert_eq!(asked, Err(QueryError::Failed(corrupt)));
        // Certified and of no use: who looks at the device is to see it.
        assert_eq!(device.engine.status(&mut device.reply), Err(corrupt));
        // The certificates are no secret: whoever brings them again must gain nothing.
        let chain = device.records(Kind::TeeChain).remove(0);
        let import = device.engine.import_certificates(&chain, &mut device.reply);
        assert_eq!(import, Err(ImportError::Port(PortError::Corrupt)));
        device.reboot();
        assert_eq!(device.refusal(&question).code.as_deref(), Some("ERR_TEE_FAIL"));
        assert!(device.world.snapshot() == damaged);
    }
}

#[test]
fn a_key_never_comes_with_another_registry() {
    // The normal world may delete objects of storage that nothing protects from replay: whatever
    // it leaves, a TAM gets `ERR_TEE_FAIL` or sees another device.
    let registry = Name { kind: Kind::Registry, number: 0 };
    let chain_name = Name { kind: Kind::TeeChain, number: 0 };
    let key_name = Name { kind: Kind::TeeKey, number: 0 };
    let chain = home().snapshot.records[&chain_name].clone();
    let mut without = with(registry, None);
    without.records.remove(&chain_name);
    let mut device = Device::from(&without);
    let import = device.engine.import_certificates(&chain, &mut device.reply);
    assert_eq!(import, Err(ImportError::Port(PortError::Corrupt)));
    assert!(device.world.snapshot() == without);

    without.records.remove(&key_name);
    let mut device = Device::from(&without);
    let import = device.engine.import_certificates(&chain, &mut device.reply);
    assert_eq!(import, Err(ImportError::OtherKey));
    // Its maker may make it a device again, which has nothing in common with the one before.
    device.provision();
    let state = device.state(&pki().tam);
    assert!(state.dsi.tee.sdlist.sd.is_empty());
    assert_ne!(state.certificate, home().target.certificate);
    assert_ne!(device.world.records.borrow()[&key_name], home().snapshot.records[&key_name]);
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

/// Cuts the power at the commit of an update of `TA`, on either side of its effect.
fn cut_at_the_commit(moment: Moment) -> Device {
    let update = from_tam(Command::UpdateTa(application(TA, &home().newer_image)));
    let update = update.build().unwrap().message;
    let mut device = Device::from(&home().snapshot);
    device.process(&update).unwrap();
    let operations = device.world.faults.operations();
    let commit = operations.iter().position(|it| it.name == "ta_store.commit").unwrap();
    let mut device = Device::from(&home().snapshot);
    device.world.faults.plan(commit, moment, Fault::Cut);
    assert!(catch_unwind(AssertUnwindSafe(|| device.process(&update))).is_err());
    device.world.faults.clear();
    device
}

#[test]
fn an_altered_application_beside_a_pending_change_costs_that_application() {
    for moment in [Moment::Before, Moment::After] {
        let mut device = cut_at_the_commit(moment);
        device.world.images.borrow_mut().get_mut(&uuid(1)).unwrap().elf[9] ^= 1;
        for _ in 0..2 {
            device.reboot();
            assert_eq!(device.state(&pki().other_tam).dsi.tee.sdlist.sd.len(), 1);
            assert_eq!(device.state(&pki().tam).dsi.tee.sdlist.sd.len(), 2);
            device.engine.status(&mut device.reply).unwrap();
            // What was altered does not load, and does not come back with its file.
            assert!(!device.world.images.borrow().contains_key(&uuid(1)));
        }
        // Its TAM can bring it again.
        device.carry_out(&pki().tam, Command::UpdateTa(application(TA, &home().newer_image)));
        assert!(device.world.images.borrow().contains_key(&uuid(1)));
    }
}

#[test]
fn an_image_that_takes_the_uuid_of_an_application_keeps_nobody_from_service() {
    let tam = &pki().tam;
    let delete = Command::DeleteTa { spid: None, name: DOMAIN, taid: TA };
    // Deleted before the image took the UUID, in the middle of it, and afterwards.
    let mut before = Device::from(&home().snapshot);
    before.carry_out(tam, delete.clone());
    let image = home().snapshot.images[&uuid(1)].clone();
    let mut afterwards = Device::from(&home().snapshot);
    afterwards.world.reserved.borrow_mut().push(uuid(1));
    afterwards.reboot();
    let update = Command::UpdateTa(application(TA, &home().newer_image));
    let target = Target::from(&afterwards.state(tam));
    let refused = afterwards.fail(tam, Builder::command(tam, &target, update));
    assert_eq!(refused, "ERR_TA_INVALID");
    afterwards.carry_out(tam, delete);
    let updating = cut_at_the_commit(Moment::Before);
    for (what, mut device) in
        [("before", before), ("afterwards", afterwards), ("in the middle", updating)]
    {
        device.world.reserved.borrow_mut().push(uuid(1));
        for _ in 0..2 {
            device.reboot();
            for tam in [&pki().other_tam, &pki().tam] {
                device.state(tam);
            }
            device.engine.status(&mut device.reply).unwrap();
        }
        let left = device.world.images.borrow().get(&uuid(1)).cloned();
        let expected = (what == "in the middle").then(|| image.clone());
        assert_eq!(left, expected, "{what}");
    }
}
