//! Fifty honest devices among hostile clients: all are served; the times are printed.
//!
//! `qemu/scripts/build/cargo.sh test -p otrp-tam --test load -- --nocapture`
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use common::Device;
use common::harness::{Server, connect, post};
use otrp_wire::limits::SD_LIMIT;

const DOMAIN: &str = "[[sd]]\nname = 'sd'\nspid = 'sp'\ncertificates = ['sp.der']\n\
                      [[sd.ta]]\nid = 'ta'\nfile = 'v1.ta'\n";
const HONEST: usize = 50;
/// How many honest devices connect at a time.
const AT_A_TIME: usize = 8;
/// How many connections a hostile device, or all strangers, have at a time.
const CONNECTIONS: usize = 4;

/// Answers whatever it is asked, and connects again, until it is to stop; returns how often it was
/// answered.
fn attack(address: SocketAddr, mut device: Device, stop: &AtomicBool) -> usize {
    let mut answered = 0;
    while !stop.load(Ordering::SeqCst) {
        device.faults.refuse = vec![("DeleteSD", "ERR_TEE_RESOURCE_FULL"); SD_LIMIT];
        let mut answer = connect(address);
        while answer.status == 200 && !stop.load(Ordering::SeqCst) {
            answer = post(address, &device.process(&answer.body));
            answered += 1;
        }
    }
    answered
}

/// The devices converge; how long each of their requests took, in order.
fn serve_honest(server: &Server) -> Vec<Duration> {
    let (next, times) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while next.fetch_add(1, Ordering::SeqCst) < HONEST {
                    let mut device = server.pki.device();
                    let timed = |send: &dyn Fn() -> common::harness::HttpAnswer| {
                        let start = Instant::now();
                        let answer = send();
                        times.lock().unwrap_or_else(PoisonError::into_inner).push(start.elapsed());
                        answer
                    };
                    let mut answer = timed(&|| connect(server.address));
                    while answer.status == 200 {
                        let reply = device.process(&answer.body);
                        answer = timed(&|| post(server.address, &reply));
                    }
                    assert_eq!(answer.status, 204);
                    assert_eq!(device.requests, ["GetDeviceState", "CreateSD", "InstallTA"]);
                }
            });
        }
    });
    let mut times = times.into_inner().unwrap();
    times.sort();
    times
}

#[test]
fn honest_devices_are_served_beside_hostile_ones() {
    for (hostile_devices, strangers) in [(0, 0), (1, 0), (6, 0), (0, CONNECTIONS)] {
        let server = Server::start(DOMAIN);
        let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (times, answered) = std::thread::scope(|scope| {
            let attacks: Vec<_> = (0..hostile_devices)
                .flat_map(|_| {
                    // The same device several times at once.
                    let first = server.pki.device().verbose();
                    let tee = first.tee.clone();
                    let mut devices = vec![first];
                    for _ in 1..CONNECTIONS {
                        let mut copy = server.pki.device().verbose();
                        copy.tee = tee.clone();
                        devices.push(copy);
                    }
                    devices
                })
                .map(|device| scope.spawn(|| attack(server.address, device, &stop)))
                .collect();
            for _ in 0..strangers {
                scope.spawn(|| {
                    while !stop.load(Ordering::SeqCst) {
                        assert_eq!(connect(server.address).status, 200);
                        asked.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            let times = serve_honest(&server);
            stop.store(true, Ordering::SeqCst);
            let answered: usize = attacks.into_iter().map(|it| it.join().unwrap()).sum();
            (times, answered)
        });
        let at = |part: usize| times[(times.len() - 1) * part / 100].as_millis();
        println!(
            "{HONEST} honest devices, {} requests: half within {} ms, 95 of 100 within {} ms, all \
             within {} ms; beside {hostile_devices} hostile devices with {answered} answers and \
             {} strangers; state file {} KiB",
            times.len(),
            at(50),
            at(95),
            at(100),
            asked.into_inner(),
            std::fs::metadata(server.path("tam.redb")).unwrap().len() >> 10
        );
    }
}
