//! Two agents of one device, in the orders of their messages: the TAM never takes for certain what is
//! not so.
//!
//! All orders in which the agents take turns up to [`SWITCHES`] times are tried at each run; all that
//! there are with `cargo test -p otrp-tam --test interleavings -- --ignored`, which takes long.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod common;

use common::harness::Server;
use common::{Device, Profile, issue, new_key};
use openssl::sha::sha256;
use otrp_tam::record::DeviceRecord;
use otrp_tam::tam::{Rejection, Tam};

/// How often one agent is stopped in its work for the other.
const SWITCHES: usize = 2;

/// An agent and what it carries.
enum Agent {
    Connects,
    ToDevice(Vec<u8>),
    ToTam(Vec<u8>),
    Done,
}

impl Agent {
    /// Carries one message, or connects. An answer that the TAM does not wait for is the end.
    fn step(&mut self, tam: &Tam, device: &mut Device, answers: &mut Vec<Vec<u8>>) {
        *self = match std::mem::replace(self, Self::Done) {
            Self::Connects => Self::ToDevice(tam.connect("test").unwrap()),
            Self::ToDevice(request) => {
                let answer = device.process(&request);
                answers.push(answer.clone());
                Self::ToTam(answer)
            }
            Self::ToTam(answer) => match tam.process(&answer, "test") {
                Ok(Some(request)) => Self::ToDevice(request),
                Ok(None) | Err(Rejection::Refused(_)) => Self::Done,
                Err(error) => panic!("{error}"),
            },
            Self::Done => Self::Done,
        };
    }
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(sha256(bytes))
}

/// What the TAM takes for certain is so, and what is so it takes for possible.
fn assert_not_more_optimistic(records: &[DeviceRecord], device: &Device, order: &[usize]) {
    let Some(DeviceRecord { memory, .. }) = records.first() else {
        assert!(device.domains.is_empty());
        return;
    };
    for ((spid, name), domain) in &device.domains {
        let known = memory.domain(spid, name).unwrap_or_else(|| panic!("{order:?}: {name}"));
        let signers: Vec<_> = domain.certificates.iter().map(|it| digest(it)).collect();
        for signer in &signers {
            let possible = known.certificates.contains(signer) || known.doubtful.contains(signer);
            assert!(possible, "{order:?}: a signer that the TAM does not know of");
        }
        for signer in &known.certificates {
            assert!(signers.contains(signer), "{order:?}: a signer that is not there");
        }
        for (taid, installed) in &domain.applications {
            let data = installed.personalization.as_ref().map(|data| digest(data));
            let may_have_data = memory.may_have_data(spid, name, taid);
            assert!(data.is_none() || may_have_data, "{order:?}: data that the TAM does not know");
            let Some(known) = memory.application(spid, name, taid) else { continue };
            let image = known.image == digest(&installed.image);
            assert!(image || known.doubtful_image, "{order:?}: another image");
            let doubtful = memory.doubts_data(spid, name, taid);
            assert!(doubtful || known.personalization == data, "{order:?}: other data");
        }
    }
}

struct Scene {
    server: Server,
    /// What is desired while the agents are at work: from the start, and from some step on.
    desired: [String; 2],
    /// What was desired before them.
    before: String,
    /// What is desired in the end.
    after: String,
    /// How often one agent is stopped for the other at most.
    switches: usize,
}

fn converge(tam: &Tam, device: &mut Device) {
    let mut answers = Vec::new();
    let mut agent = Agent::Connects;
    for _ in 0..100 {
        agent.step(tam, device, &mut answers);
        if matches!(agent, Agent::Done) {
            return;
        }
    }
    panic!("no end: {:?}", device.requests);
}

impl Scene {
    /// Has two agents work in the order that `order` begins with: at each step at which there is a
    /// choice, 1 stops the one that is at work for the other. Returns all choices.
    fn run(&self, order: &[usize], change_at: usize) -> Vec<usize> {
        // In memory where there is such a folder: thousands of transactions wait for no disk.
        let state = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        self.server.configure(&self.before);
        let config = self.server.path("desired.toml");
        let tam = Tam::new(&config, &state.path().join("tam.redb")).unwrap();
        let mut device = self.server.pki.device();
        if !self.before.is_empty() {
            converge(&tam, &mut device);
        }
        self.server.configure(&self.desired[0]);
        let mut agents = [Agent::Connects, Agent::Connects];
        let (mut chosen, mut answers) = (Vec::new(), Vec::new());
        let (mut at_work, mut switches) = (0, 0);
        for step in 0.. {
            if step == change_at {
                self.server.configure(&self.desired[1]);
            }
            assert!(step < 100, "no end: {chosen:?}");
            match &agents {
                [Agent::Done, Agent::Done] => break,
                [Agent::Done, _] => at_work = 1,
                [_, Agent::Done] => at_work = 0,
                // Which one connects first is the same.
                [Agent::Connects, Agent::Connects] => {}
                _ if switches < self.switches => {
                    let choice = order.get(chosen.len()).copied().unwrap_or(0);
                    chosen.push(choice);
                    switches += choice;
                    at_work ^= choice;
                }
                _ => {}
            }
            agents[at_work].step(&tam, &mut device, &mut answers);
            assert_not_more_optimistic(&tam.devices().unwrap(), &device, &chosen);
        }
        // All answers once more change nothing, and then everything comes to be as desired.
        for answer in &answers {
            let _ = tam.process(answer, "test");
            assert_not_more_optimistic(&tam.devices().unwrap(), &device, &chosen);
        }
        self.server.configure(&self.after);
        converge(&tam, &mut device);
        self.assert_as_desired(&device, &chosen);
        chosen
    }

    fn assert_as_desired(&self, device: &Device, order: &[usize]) {
        let read = |name: &str| std::fs::read(self.server.path(name)).unwrap();
        let domain = device.domains.values().next().unwrap();
        let mut signers = domain.certificates.clone();
        signers.sort();
        let mut wanted: Vec<_> = ["sp.der", "sp2.der"]
            .into_iter()
            .filter(|name| self.after.contains(name))
            .map(read)
            .collect();
        wanted.sort();
        assert_eq!(signers, wanted, "{order:?}: {:?}", device.requests);
        let installed = domain.applications.get("ta");
        assert_eq!(installed.is_some(), self.after.contains("sd.ta"), "{order:?}");
        let Some(installed) = installed else { return };
        let data = ["data", "data2"].into_iter().find(|it| self.after.contains(&format!("'{it}'")));
        assert_eq!(installed.personalization, data.map(read), "{order:?}: {:?}", device.requests);
        let image = ["v1.ta", "other.ta"].into_iter().find(|name| self.after.contains(name));
        assert_eq!(installed.image, read(image.unwrap()), "{order:?}: {:?}", device.requests);
    }

    /// Runs every order, with the change of what is desired at this step; returns how many.
    fn run_all(&self, change_at: usize) -> usize {
        let (mut order, mut orders) = (Vec::new(), 0);
        loop {
            order = self.run(&order, change_at);
            orders += 1;
            while order.pop_if(|chosen| *chosen == 1).is_some() {}
            match order.last_mut() {
                Some(last) => *last = 1,
                None => return orders,
            }
        }
    }
}

fn domain(signers: &str) -> String {
    format!("[[sd]]\nname = 'sd'\nspid = 'sp'\ncertificates = [{signers}]\n")
}

fn application(file: &str, data: Option<&str>) -> String {
    let data = data.map_or_else(String::new, |data| format!("personalization = '{data}'\n"));
    format!("{}[[sd.ta]]\nid = 'ta'\nfile = '{file}'\n{data}", domain("'sp.der'"))
}

fn server() -> Server {
    let server = Server::start("");
    let second = issue(&Profile::leaf("second signer"), new_key(), None);
    std::fs::write(server.path("sp2.der"), second.certificate.to_der().unwrap()).unwrap();
    std::fs::write(server.path("data"), b"may spend 1000").unwrap();
    std::fs::write(server.path("data2"), b"may spend 10").unwrap();
    // Of the same version as v1.ta.
    std::fs::write(server.path("other.ta"), server.pki.image(0x72, 1, b"another")).unwrap();
    server
}

fn signers_that_are_taken_back(switches: usize) {
    let both = domain("'sp.der', 'sp2.der'");
    let one = domain("'sp.der'");
    let desired = [both, one.clone()];
    try_orders(Scene { server: server(), before: String::new(), desired, after: one, switches });
}

fn data_that_are_taken_back(switches: usize) {
    let before = domain("'sp.der'");
    let without = application("v1.ta", None);
    let desired = [application("v1.ta", Some("data")), without.clone()];
    try_orders(Scene { server: server(), before, desired, after: without, switches });
}

fn an_update_that_is_taken_back(switches: usize) {
    let first = application("v1.ta", Some("data"));
    let desired = [application("other.ta", Some("data2")), first.clone()];
    let before = first.clone();
    try_orders(Scene { server: server(), before, desired, after: first, switches });
}

/// With what is desired changed in the end, or while the agents are at work.
fn try_orders(scene: Scene) {
    let orders: usize = [usize::MAX, 5, 8].into_iter().map(|at| scene.run_all(at)).sum();
    println!("{orders} orders");
    assert!(orders > 30, "{orders}");
}

#[test]
fn signers_follow_whatever_the_order() {
    signers_that_are_taken_back(SWITCHES);
}

#[test]
fn data_follow_whatever_the_order() {
    data_that_are_taken_back(SWITCHES);
}

#[test]
fn an_update_follows_whatever_the_order() {
    an_update_that_is_taken_back(SWITCHES);
}

#[test]
#[ignore = "takes long"]
fn all_orders() {
    signers_that_are_taken_back(usize::MAX);
    data_that_are_taken_back(usize::MAX);
    an_update_that_is_taken_back(usize::MAX);
}
