//! Clients beside each other, in real OP-TEE.
//!
//! Needs the images; run by `make test`, and alone by `make test-device`.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use otrp_qemu::harness::cache;
use otrp_qemu::harness::device::Device;
use otrp_qemu::harness::guest::{Guest, HOST};
use otrp_qemu::harness::image::{Builds, Image};
use otrp_qemu::harness::machine::Machine;
use otrp_qemu::scenario::deployment::{DOMAIN, Deployment, Desired, Suite};
use otrp_qemu::scenario::operator::{Operator, provision};
use otrp_tam::request::Builder;

/// What the clients of one crowd may take together.
const TIMEOUT: Duration = Duration::from_secs(300);
/// What the TAMs and the TEE may say to clients that come in each other's way.
const CLEAN: [&str; 3] = ["pass", "ERR_DEV_STATE_MISMATCH", "ERR_AGENT_TEE_BUSY"];

fn keys() -> PathBuf {
    cache().join("keys/dev")
}

/// A client of the guest, as it ended.
#[derive(Debug)]
struct Client {
    name: String,
    status: i32,
    /// Seconds of the guest's uptime.
    times: [f64; 2],
    output: Vec<u8>,
    errors: String,
}

/// How a client ended that was dealt with as it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Answered,
    /// The answer was to try again later, or that somebody else had changed the device.
    Turned,
}

impl Client {
    /// How it ended; an error if that is neither an answer nor a clean refusal.
    fn end(&self) -> Result<End> {
        let text = String::from_utf8_lossy(&self.output);
        let mut turned = false;
        if self.name.starts_with("request") {
            ensure!(!text.is_empty() || self.status != 0, "no message of the TAM: {self:?}");
            for line in text.lines() {
                let result = line.split_whitespace().nth(1).unwrap_or_default();
                ensure!(CLEAN.contains(&result), "{line:?} of {self:?}");
                turned |= result != "pass";
            }
        }
        match self.status {
            0 if text.trim().is_empty() => bail!("success without an answer: {self:?}"),
            0 if turned => Ok(End::Turned),
            0 => Ok(End::Answered),
            1 if turned => Ok(End::Turned),
            1 | 75
                if self.errors.contains("the TEE is busy")
                    || self.errors.contains("too little memory")
                    // A device has one session at a TAM, and one answer in work there: a newer session
                    // took its place, or another answer was faster.
                    || self.name.starts_with("request-")
                        && ["HTTP error 400", "HTTP error 503"]
                            .iter()
                            .any(|error| self.errors.contains(error)) =>
            {
                Ok(End::Turned)
            }
            _ => bail!("neither an answer nor a clean refusal: {self:?}"),
        }
    }
}

/// Has the guest run all commands at the same time, each by its name; how they ended.
fn crowd(guest: &mut Guest, commands: &[(String, String)]) -> Vec<Client> {
    let mut script = String::from("rm -rf /tmp/crowd; mkdir /tmp/crowd; cd /tmp/crowd\n");
    for (name, command) in commands {
        script += &format!(
            "(read start rest </proc/uptime\n\
             {{ {command}; }} </dev/null >{name}.out 2>{name}.err; status=$?\n\
             read end rest </proc/uptime\n\
             echo $status $start $end >{name}.end) &\n"
        );
    }
    script += "wait";
    guest.run_with(&script, &[], TIMEOUT).unwrap().success().unwrap();
    let mut read = |name: &str, suffix: &str| {
        guest.get(&format!("/tmp/crowd/{name}.{suffix}")).expect("it has ended")
    };
    let clients = commands.iter().map(|(name, _)| {
        let end = String::from_utf8(read(name, "end")).unwrap();
        let mut words = end.split_whitespace();
        let mut next = || words.next().expect("three words");
        Client {
            name: name.clone(),
            status: next().parse().unwrap(),
            times: [next().parse().unwrap(), next().parse().unwrap()],
            output: read(name, "out"),
            errors: String::from_utf8_lossy(&read(name, "err")).into_owned(),
        }
    });
    clients.collect()
}

/// How many pairs of them ran at the same time.
fn overlaps(clients: &[Client]) -> usize {
    let pairs = clients.iter().enumerate().flat_map(|(index, one)| {
        clients[index + 1..].iter().map(move |other| (one.times, other.times))
    });
    pairs.filter(|([a, b], [c, d])| a < d && c < b).count()
}

/// The judgement itself: what it must not let through.
#[test]
fn clients_without_an_answer_are_distinguished() {
    let client = |name: &str, status: i32, output: &str, errors: &str| Client {
        name: name.into(),
        status,
        times: [1.0, 2.0],
        output: output.into(),
        errors: errors.into(),
    };
    let crashed = "otrp-agent: the OTrP broker in the TEE crashed; whatever it was doing";
    for (client, expected) in [
        (client("status-1", 0, "{\"name\":\"optee\"}\n", ""), Some(End::Answered)),
        (client("status-1", 1, "", "otrp-agent: the TEE is busy; try again"), Some(End::Turned)),
        (client("status-1", 0, "", ""), None),
        (client("status-1", 1, "", crashed), None),
        (client("status-1", 137, "", ""), None),
        (client("request-1", 0, "CreateSD   pass   12 ms\n", ""), Some(End::Answered)),
        (client("request-1", 0, "CreateSD ERR_DEV_STATE_MISMATCH 12 ms", ""), Some(End::Turned)),
        (client("request-1", 0, "CreateSD   ERR_TEE_FAIL   12 ms\n", ""), None),
        (client("request-1", 0, "", ""), None),
        (client("request-1", 75, "", "answers with the HTTP error 503 Service"), Some(End::Turned)),
        (client("status-1", 75, "", "answers with the HTTP error 503 Service"), None),
        (client("request-1", 69, "", "answers with the HTTP error 502 Bad"), None),
    ] {
        assert_eq!(client.end().ok(), expected, "{client:?}");
    }
    let mut others = [client("a", 0, "", ""), client("b", 0, "", ""), client("c", 0, "", "")];
    others[1].times = [1.5, 3.0];
    others[2].times = [2.0, 4.0];
    assert_eq!(overlaps(&others), 2);
}

#[test]
#[ignore = "needs the images: make test-device"]
fn clients_at_the_same_time_get_their_answers_and_an_idle_session_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let start = |name: &'static str| {
        let folder = folder.path().join(name);
        Deployment::start_as(name, &Builds::new(cache()), folder, Suite::Elliptic).unwrap()
    };
    let (one, two) = (start("tam"), start("other-tam"));
    let device = Device::open_or_create(folder.path().join("device")).unwrap();
    let image = Image::open(cache().join("image/development")).unwrap();
    let mut guest = Machine::new(device, image).cpus(2).boot().unwrap();
    provision(&mut guest, &keys()).unwrap();

    // An agent asks a TAM that takes the call and says nothing; meanwhile it has a session.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    let hold = format!(
        "(otrp-agent request http://{HOST}:{port}/otrp </dev/null >/tmp/held.out 2>&1; \
         echo $? >/tmp/held.end) & echo"
    );
    guest.run(&hold).unwrap().success().unwrap();
    let (connection, _) = silent.accept().unwrap();
    // Stopped, it cannot lose its patience either.
    let stop =
        "pid=$(pidof otrp-agent) && ls -l /proc/$pid/fd | grep -o /dev/tee0 && kill -STOP $pid";
    assert_eq!(guest.run(stop).unwrap().success().unwrap().text(), "/dev/tee0");

    let tam = Operator::read(&keys(), "tam").unwrap();
    let question = Builder::device_state(&tam.identity).build().unwrap();
    guest.put("/tmp/question", &question.message).unwrap();
    let signer = Desired::Signer { version: 1, personalization: None };
    let rounds = [(signer, Desired::Domain), (Desired::Nothing, Desired::Nothing)];
    for (index, (of_one, of_two)) in rounds.into_iter().enumerate() {
        one.desire(of_one).unwrap();
        two.desire(of_two).unwrap();
        // Two agents for one TAM, one for the other, one whose message comes slowly, and questions.
        let slowly = "(head -c 1000 /tmp/question; sleep 3; tail -c +1001 /tmp/question) \
                      | otrp-agent process";
        let mut commands = vec![
            ("request-1".to_owned(), one.request().unwrap()),
            ("request-2".to_owned(), two.request().unwrap()),
            ("request-3".to_owned(), one.request().unwrap()),
        ];
        if index == 0 {
            commands.push(("process".into(), slowly.into()));
        }
        commands
            .extend((0..6).map(|number| (format!("status-{number}"), "otrp-agent status".into())));
        let clients = crowd(&mut guest, &commands);
        let ends: Vec<_> = clients.iter().map(|client| client.end().unwrap()).collect();
        let turned = ends.iter().filter(|end| **end == End::Turned).count();
        println!("{} clients, {} pairs at once, {turned} turned", ends.len(), overlaps(&clients));
        assert!(overlaps(&clients) >= clients.len(), "they came one after another: {clients:?}");
        for client in clients.iter().filter(|client| client.name == "process") {
            if client.end().unwrap() == End::Answered {
                tam.read_state(&client.output, &question.exchange).unwrap();
            }
        }

        // The TAMs have what they want at once, or with one request more.
        for (deployment, name, desired) in [(&one, "tam", of_one), (&two, "other-tam", of_two)] {
            deployment.converge(&mut guest).unwrap();
            let operator = Operator::read(&keys(), name).unwrap();
            let domains = operator.state(&mut guest).unwrap().dsi.tee.sdlist.sd;
            let found = match domains.as_slice() {
                [] => Desired::Nothing,
                [domain] if domain.name == DOMAIN && domain.talist.is_empty() => Desired::Domain,
                [domain] if domain.name == DOMAIN && domain.talist.len() == 1 => signer,
                other => panic!("{other:?}"),
            };
            assert_eq!(found, desired, "{name}");
        }
    }

    // All this time the session was open.
    let held =
        "test -e /tmp/held.end && exit 1; ls -l /proc/$(pidof otrp-agent)/fd | grep -o /dev/tee0";
    assert_eq!(guest.run(held).unwrap().success().unwrap().text(), "/dev/tee0");
    drop(connection);
    let end = "kill -CONT $(pidof otrp-agent); \
               for i in $(seq 60); do test -e /tmp/held.end && break; sleep 1; done; cat /tmp/held.end";
    // Its TAM went away before it answered, which is unreachable.
    assert_eq!(guest.run(end).unwrap().success().unwrap().text(), "69");
    let log = guest.secure_log().unwrap();
    assert!(!log.to_lowercase().contains("panic"), "a panic in the secure world:\n{log}");
    guest.power_off().unwrap();
}
