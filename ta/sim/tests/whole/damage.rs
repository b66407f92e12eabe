//! Storage that is not what the engine wrote: it is reported, and nothing is made up for it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use otrp_engine::device::ImportError;
use otrp_engine::error::{Error, Unanswerable};
use otrp_engine::information::QueryError;
use otrp_engine::limits::REPLY_LIMIT;
use otrp_engine::personalization::PersonalizationError;
use otrp_engine::platform::{Blob, PortError};
use otrp_sim::{Fault, Moment, Snapshot};
use otrp_tam::request::{Builder, Command, SignerHeader, Target};

use crate::bench::{Device, Kind, Refused, pki, ta_query, uuid};
use crate::home::*;

/// The snapshot of the device at home with another record.
fn with(record: Option<Vec<u8>>) -> Snapshot {
    Snapshot { record, ..home().snapshot.clone() }
}

/// What may have become of some bytes.
fn damages(bytes: &[u8]) -> [Vec<u8>; 6] {
    let mut flipped = bytes.to_vec();
    flipped[0] ^= 0xff;
    [
        Vec::new(),
        bytes[..bytes.len() - 1].to_vec(),
        [bytes, &[0]].concat(),
        flipped,
        vec![0; bytes.len()],
        vec![0xff; REPLY_LIMIT + 1],
    ]
}

/// The device at home with one thing damaged or gone: the record, or a blob.
fn damaged() -> Vec<(String, Snapshot)> {
    let home = &home().snapshot;
    let mut found = vec![("no record".to_owned(), with(None))];
    for record in damages(home.record.as_ref().unwrap()) {
        found.push((format!("a record of {} octets", record.len()), with(Some(record))));
    }
    for (blob, stored) in &home.blobs {
        let mut gone = home.clone();
        gone.blobs.remove(blob);
        found.push((format!("{blob:?} is gone"), gone));
        for bytes in damages(stored.bytes()) {
            let mut altered = home.clone();
            *altered.blobs.get_mut(blob).unwrap().bytes_mut() = bytes;
            found.push((format!("{blob:?} is altered"), altered));
        }
    }
    found
}

#[test]
fn whatever_is_damaged_nothing_panics() {
    let question = Builder::device_state(&pki().tam).build().unwrap().message;
    let mut messages = vec![question];
    messages.extend(Base::ALL.map(|base| base.builder().build().unwrap().message));
    for (what, snapshot) in damaged() {
        for message in &messages {
            let mut device = Device::from(&snapshot);
            let _ = device.process(message);
            let _ = device.engine.ta_information(&mut ta_query(SP, TA), &mut device.reply);
            let _ = device.engine.status(&mut device.reply);
            let _ = device.engine.certification_request(&mut device.reply);
            // A record that says nothing stays, for its maker to look at.
            let record = device.world.snapshot().record;
            let malformed =
                !what.contains("no record") && snapshot.record != home().snapshot.record;
            assert!(!malformed || record == snapshot.record, "{what}");
        }
    }
}

#[test]
fn a_damaged_record_is_not_recreated() {
    let record = home().snapshot.record.clone().unwrap();
    let key = home().target.certificate.public_key().unwrap();
    for record in damages(&record) {
        let damaged = with(Some(record));
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
        assert_eq!(device.engine.certification_request(&mut device.reply), Err(corrupt));
        // The certificates are no secret: whoever brings them again must gain nothing.
        let chain = Device::from(&home().snapshot).records(Kind::TeeChain).remove(0);
        let import = device.engine.import_certificates(&chain, &mut device.reply);
        assert_eq!(import, Err(ImportError::Port(PortError::Corrupt)));
        device.reboot();
        let refused = Refused::read(&device.process(&question).unwrap(), &key);
        assert_eq!(refused.code.as_deref(), Some("ERR_TEE_FAIL"));
        assert!(device.world.snapshot() == damaged);
    }
}

#[test]
fn a_device_without_a_record_is_another_one() {
    // The normal world may delete a store that nothing protects from replay: a TAM sees another device.
    let chain = Device::from(&home().snapshot).records(Kind::TeeChain).remove(0);
    let mut device = Device::from(&with(None));
    let import = device.engine.import_certificates(&chain, &mut device.reply);
    assert_eq!(import, Err(ImportError::OtherKey));
    // Its maker may make it a device again, which has nothing in common with the one before.
    device.provision();
    let state = device.state(&pki().tam);
    assert!(state.dsi.tee.sdlist.sd.is_empty());
    assert_ne!(state.certificate, home().target.certificate);
    let old = Device::from(&home().snapshot).records(Kind::TeeKey);
    assert_ne!(device.records(Kind::TeeKey), old);
    // What was installed before is nobody's, and given to nobody.
    assert_eq!(device.personalization(&uuid(1)), Err(PersonalizationError::NotInstalled));
}

#[test]
fn a_damaged_blob_costs_nobody_else() {
    let (tam, other) = (&pki().tam, &pki().other_tam);
    for (what, snapshot) in damaged() {
        if snapshot.record != home().snapshot.record {
            continue;
        }
        let mut device = Device::from(&snapshot);
        for _ in 0..2 {
            // Both are served, and shown what they have.
            assert_eq!(device.state(other).dsi.tee.sdlist.sd.len(), 1, "{what}");
            assert_eq!(device.state(tam).dsi.tee.sdlist.sd.len(), 2, "{what}");
            device.engine.status(&mut device.reply).unwrap();
            device.reboot();
        }
        // A new domain can be made, and one that has lost something deleted, with all that is in it.
        device.carry_out(tam, Base::CreateSd.command());
        for (tam, name) in [(tam, DOMAIN), (other, OTHER_DOMAIN)] {
            device.carry_out(tam, Command::DeleteSd { spid: None, name, delete_tas: true });
        }
        assert!(device.world.images().is_empty(), "{what}");
        assert!(device.records(Kind::Personalization).is_empty(), "{what}");
    }
}

/// A file on a bad sector fails each time it is read: nothing authenticates differently, and waiting does not
/// help. The other TAM's commands are carried out, in each form, and the TAM itself is helped by GetDeviceState.
#[test]
fn a_chain_that_cannot_be_read_costs_nobody_else() {
    let (tam, other) = (&pki().tam, &pki().other_tam);
    let number = 1;
    let chain = Blob::TamChain(number);
    assert!(home().snapshot.blobs.contains_key(&chain));
    let device = || {
        let device = Device::from(&home().snapshot);
        device.world.unreadable.borrow_mut().insert(chain);
        device
    };
    let mut problems = Vec::new();
    for header in [SignerHeader::Chain, SignerHeader::KeyId, SignerHeader::Absent] {
        let delete = Command::DeleteTa { spid: None, name: OTHER_DOMAIN, taid: OTHER_TA };
        let request = Builder::command(other, &home().other_target, delete).signer(header);
        if let Err(code) = device().try_to(other, request) {
            problems.push(format!("the other TAM's command, {header:?}: {code}"));
        }
    }
    let mut asked = device();
    if catch_unwind(AssertUnwindSafe(|| asked.state(tam))).is_err() {
        problems.push("its own GetDeviceState".to_owned());
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn an_altered_application_is_brought_again() {
    let mut device = Device::from(&home().snapshot);
    let alter = |device: &Device| {
        let blobs = &mut device.world.stored.borrow_mut().blobs;
        blobs.get_mut(&Blob::Image(uuid(1))).unwrap().bytes_mut()[9] ^= 1;
    };
    alter(&device);
    device.carry_out(&pki().tam, Command::UpdateTa(application(TA, &home().newer_image)));
    assert!(device.world.images()[&uuid(1)].open().is_ok());
}

/// Cuts the power at the commit of an update of `TA`, on either side of its effect.
fn cut_at_the_commit(moment: Moment) -> Device {
    let update = from_tam(Command::UpdateTa(application(TA, &home().newer_image)));
    let update = update.build().unwrap().message;
    let mut device = Device::from(&home().snapshot);
    device.process(&update).unwrap();
    let operations = device.world.faults.operations();
    let commit = operations.iter().position(|it| it.name == "store.commit").unwrap();
    let mut device = Device::from(&home().snapshot);
    device.world.faults.plan(commit, moment, Fault::Cut);
    assert!(catch_unwind(AssertUnwindSafe(|| device.process(&update))).is_err());
    device.world.faults.clear();
    device
}

/// Deletes `TA` on a device where it has stored something; what is left of that.
fn deleted_with_data(running: bool, deletion: Command<'static>) -> Device {
    let mut device = Device::from(&home().snapshot);
    device.world.stored.borrow_mut().data.insert(uuid(1), b"stored".to_vec());
    if running {
        device.world.running.borrow_mut().insert(uuid(1));
    }
    device.carry_out(&pki().tam, deletion);
    device
}

#[test]
fn what_an_application_stored_goes_with_it() {
    let with_domain = Command::DeleteSd { spid: None, name: DOMAIN, delete_tas: true };
    for deletion in [Base::DeleteTa.command(), with_domain] {
        let device = deleted_with_data(false, deletion);
        assert!(device.world.stored.borrow().data.is_empty());
    }
    // An update is the same application.
    let mut device = Device::from(&home().snapshot);
    device.world.stored.borrow_mut().data.insert(uuid(1), b"stored".to_vec());
    device.carry_out(&pki().tam, Command::UpdateTa(application(TA, &home().newer_image)));
    assert!(device.world.stored.borrow().data.contains_key(&uuid(1)));
}

#[test]
fn nothing_is_installed_while_a_running_application_has_data() {
    let tam = &pki().tam;
    let mut device = deleted_with_data(true, Base::DeleteTa.command());
    let install = || Command::InstallTa(application(TA, &home().newer_image));
    assert!(device.world.stored.borrow().data.contains_key(&uuid(1)));
    let target = Target::from(&device.state(tam));
    let refused = device.fail(tam, Builder::command(tam, &target, install()));
    assert_eq!(refused, "ERR_TEE_FAIL");
    assert!(!device.world.images().contains_key(&uuid(1)));
    // It ends, or the power does.
    for restart in [false, true] {
        let mut device = deleted_with_data(true, Base::DeleteTa.command());
        if restart {
            device.reboot();
        } else {
            device.world.running.borrow_mut().clear();
        }
        device.carry_out(tam, install());
        assert!(device.world.stored.borrow().data.is_empty());
        assert!(device.world.images().contains_key(&uuid(1)));
    }
}

#[test]
fn an_image_that_takes_the_uuid_of_an_application_keeps_nobody_from_service() {
    let tam = &pki().tam;
    let delete = Command::DeleteTa { spid: None, name: DOMAIN, taid: TA };
    // Deleted before the image took the UUID, in the middle of it, and afterwards.
    let mut before = Device::from(&home().snapshot);
    before.carry_out(tam, delete.clone());
    let image = home().snapshot.images()[&uuid(1)].clone();
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
        let left = device.world.images().get(&uuid(1)).cloned();
        let expected = (what == "in the middle").then(|| image.clone());
        assert_eq!(left, expected, "{what}");
    }
}
