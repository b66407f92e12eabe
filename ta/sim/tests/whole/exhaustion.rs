//! Storage that is full in the middle of a request, and many lives of one application.

use std::collections::BTreeMap;
use std::time::Instant;

use otrp_tam::request::{Builder, Command, Target};
use otrp_tam::response::{Outcome, Reply, StateAnswer};

use crate::bench::{Device, Kind, pki, signed, stored, uuid};
use crate::home::*;
use crate::model::{look, public};
use crate::power_cuts::steps_at_home;

const FULL: &str = "ERR_TEE_RESOURCE_FULL";

#[test]
fn storage_that_is_full_from_any_operation_on() {
    let old_keys = stored(&home().snapshot, Kind::Aik);
    let old_keys: Vec<_> = old_keys.iter().map(|key| public(key)).collect();
    let tams = [&pki().tam, &pki().other_tam];
    let steps = steps_at_home().iter().filter(|step| step.after(&home().model).is_some());
    let mut tried = 0;
    for step in steps {
        let mut device = Device::from(&home().snapshot);
        device.process(&step.message).unwrap();
        let operations = device.world.faults.operations();
        let commit = operations.iter().position(|operation| operation.name == "store.commit");
        // What only removes is done however full storage is.
        let Some(commit) = commit else { continue };
        for (first, operation) in operations.iter().enumerate().take(commit + 1) {
            let what = format!("{} from {first} ({})", step.what, operation.name);
            let mut device = Device::from(&home().snapshot);
            device.world.faults.fill(first);
            let request = match &step.command {
                None => Builder::device_state(step.tam),
                Some(command) if step.tam.tam_id() == tams[0].tam_id() => from_tam(command.clone()),
                Some(command) => Builder::command(step.tam, &home().other_target, command.clone()),
            };
            let request = request.build().unwrap();
            let reply = device.process(&request.message).unwrap();
            let Reply::Answer(answer) = Reply::read(&reply).unwrap() else { panic!("{what}") };
            let exchange = Some(&request.exchange);
            let code = if step.command.is_none() {
                match answer.device_state(exchange, step.tam, &pki().tee_roots) {
                    Ok(StateAnswer::Refused(refusal)) => refusal.code.into_inner(),
                    other => panic!("{what}: {other:?}"),
                }
            } else {
                match answer.outcome(exchange, step.tam, &home().target.certificate) {
                    Ok(Outcome::Fail(refusal)) => refusal.code.into_inner(),
                    other => panic!("{what}: {other:?}"),
                }
            };
            assert_eq!(code, FULL, "{what}");
            tried += 1;
            device.world.faults.clear();
            let left = device.world.snapshot();
            assert!(left == home().snapshot, "{what}");
            let model = &home().model;
            for _ in 0..2 {
                let seen = look(&mut device, &tams, &old_keys).expect(&what);
                assert!(seen == model.seen(), "{what}: {seen:?}");
                device.reboot();
            }
        }
    }
    println!("storage was full {tried} times");
}

/// Installs and deletes an application so many times; nothing may grow.
fn live(cycles: usize) {
    let tam = &pki().tam;
    let mut device = Device::from(&home().snapshot);
    let image = signed(&pki().sp_ec, uuid(9), 1);
    let install = Command::InstallTa(otrp_tam::request::Application {
        personalization: Some(b"data"),
        ..application("often", &image)
    });
    let delete = Command::DeleteTa { spid: None, name: DOMAIN, taid: "often" };
    let mut target = Target::from(&device.state(tam));
    // What there is after each cycle but the first: lengths of records, applications, operations.
    let mut expected = None;
    let begun = Instant::now();
    for cycle in 0..cycles {
        let mut operations = Vec::new();
        for command in [&install, &delete] {
            device.world.faults.clear();
            let passed = device.pass(tam, Builder::command(tam, &target, command.clone()));
            operations.extend(device.world.faults.operations());
            target = Target::from(&passed.state.unwrap());
        }
        let lengths: BTreeMap<Kind, Vec<usize>> = Kind::ALL
            .map(|kind| (kind, device.records(kind).iter().map(Vec::len).collect()))
            .into_iter()
            .collect();
        let found = (lengths, device.world.images().len(), operations);
        if cycle == 0 {
            continue;
        }
        match &expected {
            None => expected = Some(found),
            Some(expected) => assert!(*expected == found, "cycle {cycle}: {found:?}"),
        }
    }
    let (lengths, images, operations) = expected.unwrap();
    let operations = operations.len();
    println!("{cycles} cycles in {:?}: {operations} operations each", begun.elapsed());
    println!("{images} applications, records of {lengths:?}");
}

#[test]
fn hundreds_of_lives_leave_nothing() {
    live(500);
}

#[test]
#[ignore = "minutes: `make soak`"]
fn ten_thousand_lives_leave_nothing() {
    live(10_000);
}
