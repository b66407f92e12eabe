//! Sessions: answers belong to their request and their device, whoever else connects.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::harness::{DOMAIN, Server, connect, key_of_domain, post, with_ta};
use common::{Faults, new_key};
use otrp_tam::pending::SESSION_LIMIT;
use otrp_tam::response::Refused;
use otrp_tam::tam::{Rejection, Tam};
use serde_json::Value;

#[test]
fn devices_do_not_mix() {
    let server = Server::start(&with_ta("v1.ta"));
    let (mut one, mut other) = (server.pki.device(), server.pki.device());
    let mut to_one = connect(server.address).body;
    let mut to_other = connect(server.address).body;
    for _ in 0..2 {
        let from_one = one.process(&to_one);
        to_other = post(server.address, &other.process(&to_other)).body;
        to_one = post(server.address, &from_one).body;
    }
    // The last answers, each in the other's place: signed by the wrong TEE.
    let (from_one, from_other) = (one.process(&to_one), other.process(&to_other));
    let graft = |from: &[u8], ids_of: &[u8]| {
        let payload = |bytes: &[u8]| -> Value {
            let message: Value = serde_json::from_slice(bytes).unwrap();
            let payload = message["InstallTAResponse"]["payload"].as_str().unwrap().to_owned();
            serde_json::from_slice(&common::from_url(&payload)).unwrap()
        };
        let mut tbs = payload(from);
        let ids = payload(ids_of);
        for id in ["rid", "tid"] {
            tbs["InstallTATBSResponse"][id] = ids["InstallTATBSResponse"][id].clone();
        }
        tbs
    };
    let grafted = common::sign(&graft(&from_one, &from_other), None, &one.tee.key);
    let grafted = serde_json::json!({ "InstallTAResponse": grafted }).to_string();
    assert_eq!(post(server.address, grafted.as_bytes()).status, 400);
    assert_eq!(post(server.address, &from_one).status, 204);
    assert_eq!(post(server.address, &from_other).status, 204);
    assert_eq!(server.records().len(), 2);
}

#[test]
fn many_clients_evict_no_device() {
    let server = Server::start(DOMAIN);
    let tam = Tam::new(&server.path("desired.toml"), &server.path("own.redb")).unwrap();
    let (mut device, mut late) = (server.pki.device(), server.pki.device());
    let request = tam.connect("test").unwrap();
    let create = tam.process(&device.process(&request), "test").unwrap().unwrap();
    let late_request = tam.connect("test").unwrap();
    for _ in 0..=SESSION_LIMIT {
        tam.connect("test").unwrap();
    }
    let late_create = tam.process(&late.process(&late_request), "test").unwrap().unwrap();
    for (device, create) in [(&mut device, create), (&mut late, late_create)] {
        assert!(tam.process(&device.process(&create), "test").unwrap().is_none());
        assert!(device.domains.contains_key(&key_of_domain()));
    }
}

/// Two connections that only ask, as fast as they can, and eight devices that have work to do.
#[test]
fn devices_are_served_while_clients_connect_endlessly() {
    let server = Server::start(&with_ta("v1.ta"));
    let address = server.address;
    let stop = AtomicBool::new(false);
    let asked = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    assert_eq!(connect(address).status, 200);
                    asked.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let devices: Vec<_> = (0..8)
            .map(|_| {
                let mut device = server.pki.device();
                let asked = &asked;
                scope.spawn(move || {
                    let question = connect(address).body;
                    // A slow device: as many questions come as were remembered once, and more.
                    let before = asked.load(Ordering::SeqCst);
                    while asked.load(Ordering::SeqCst) < before + 200 {
                        std::thread::sleep(Duration::from_millis(10));
                    }
                    let mut answer = post(address, &device.process(&question));
                    while answer.status == 200 {
                        answer = post(address, &device.process(&answer.body));
                    }
                    (answer.status, device.requests)
                })
            })
            .collect();
        let ended: Vec<_> = devices.into_iter().map(|device| device.join().unwrap()).collect();
        stop.store(true, Ordering::SeqCst);
        for (status, requests) in ended {
            assert_eq!(status, 204);
            assert_eq!(requests, ["GetDeviceState", "CreateSD", "InstallTA"]);
        }
    });
    assert_eq!(server.records().len(), 8);
}

/// A device that answers every question that it can get has one session, the last.
#[test]
fn a_device_that_begins_many_sessions_has_one() {
    let server = Server::start(DOMAIN);
    let tam = Tam::new(&server.path("desired.toml"), &server.path("own.redb")).unwrap();
    let (mut greedy, mut modest) = (server.pki.device(), server.pki.device());
    let request = tam.connect("test").unwrap();
    let create = tam.process(&modest.process(&request), "test").unwrap().unwrap();
    let mut last = Vec::new();
    for _ in 0..20 {
        let request = tam.connect("test").unwrap();
        let before = last;
        last = tam.process(&greedy.process(&request), "test").unwrap().unwrap();
        if !before.is_empty() {
            let refused = tam.process(&greedy.process(&before), "test");
            assert!(matches!(refused, Err(Rejection::Refused(Refused::WrongExchange))));
        }
    }
    assert!(tam.process(&modest.process(&create), "test").unwrap().is_none());
    // Of two questions one answer counts; after the other one the state is asked for again, and the
    // session continues.
    let (first, second) = (tam.connect("test").unwrap(), tam.connect("test").unwrap());
    let (first, second) = (greedy.process(&first), greedy.process(&second));
    let create = tam.process(&second, "test").unwrap().unwrap();
    let again = tam.process(&first, "test").unwrap().unwrap();
    assert_eq!(greedy.open(&again).name, "GetDeviceState");
    assert!(tam.process(&greedy.process(&create), "test").unwrap().is_none());
    assert!(greedy.domains.contains_key(&key_of_domain()));
}

#[test]
fn another_device_cannot_answer_in_a_session() {
    let server = Server::start(DOMAIN);
    let tam = Tam::new(&server.path("desired.toml"), &server.path("own.redb")).unwrap();
    let (mut device, mut other) = (server.pki.device(), server.pki.device());
    let request = tam.connect("test").unwrap();
    let create = tam.process(&device.process(&request), "test").unwrap().unwrap();
    device.faults.refuse = vec![("CreateSD", "ERR_DEV_STATE_MISMATCH")];
    let again = tam.process(&device.process(&create), "test").unwrap().unwrap();
    let refused = tam.process(&other.process(&again), "test");
    assert!(matches!(refused, Err(Rejection::Refused(Refused::WrongExchange))), "{refused:?}");
    assert!(tam.process(&device.process(&again), "test").unwrap().is_some(), "it still waits");
}

#[test]
fn an_answer_counts_once_and_a_wrong_one_not_at_all() {
    let server = Server::start(DOMAIN);
    let mut device = server.pki.device();
    let request = connect(server.address).body;
    device.faults = Faults { sign_with: Some(new_key()), ..Faults::default() };
    assert_eq!(post(server.address, &device.process(&request)).status, 400);
    device.faults = Faults::default();
    let answer = device.process(&request);
    assert_eq!(post(server.address, &answer).status, 200);
    let before = server.records();
    let again = post(server.address, &answer);
    assert_eq!(device.open(&again.body).name, "GetDeviceState", "the same answer again");
    assert_eq!(server.records(), before);
    assert!(before[0].failures.is_empty());
}
