//! Clients beside each other, and clients and tee-supplicants that are killed, in real OP-TEE.
//!
//! Needs the images; run by `make test`, and alone by `make test-device`.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use otrp_keys::{file, image};
use otrp_qemu::deployment::{DOMAIN, Deployment, Desired, SERVICE_PROVIDER, Suite};
use otrp_qemu::device::Device;
use otrp_qemu::guest::{Guest, HOST};
use otrp_qemu::image::{Builds, Image};
use otrp_qemu::machine::Machine;
use otrp_qemu::operator::{Operator, carry, provision};
use otrp_qemu::storage::Listing;
use otrp_tam::message::{Application, Builder, Command, Target};

/// What the clients of one crowd may take together.
const TIMEOUT: Duration = Duration::from_secs(300);
/// What the TAMs and the TEE may say to clients that come in each other's way.
const CLEAN: [&str; 3] = ["pass", "ERR_DEV_STATE_MISMATCH", "ERR_AGENT_TEE_BUSY"];

fn cache() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache")
}

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
    /// It was told to come again later, or that somebody else had changed the device.
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
            1 if self.errors.contains("the TEE is busy")
                || self.errors.contains("too little memory") =>
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
fn clients_that_got_no_answer_are_told_from_others() {
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
    let image = Image::open(cache().join("image/product")).unwrap();
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
    assert_eq!(guest.run(end).unwrap().success().unwrap().text(), "1");
    let log = guest.secure_log().unwrap();
    assert!(!log.to_lowercase().contains("panic"), "a panic in the secure world:\n{log}");
    guest.power_off().unwrap();
}

/// A client that comes after one that was killed may be the one that ends with it, and the next one
/// may find the broker starting again.
const ATTEMPTS: u32 = 5;
/// Files that lost transactions may leave until the next one takes their places.
const LEFT_BEHIND: usize = 2;
const APPLICATION: (&str, &str) = ("com.example.killed", "11111111-2222-3333-4444-bbbbbbbbbbbb");

/// Does something as often as it needs after a client was killed.
fn again<T>(what: &str, mut attempt: impl FnMut() -> Result<T>) -> T {
    let mut problems = Vec::new();
    for _ in 0..ATTEMPTS {
        match attempt() {
            Ok(value) => return value,
            Err(problem) => {
                println!("{what}: {problem:#}");
                problems.push(problem);
            }
        }
    }
    panic!("{what}: no service after {ATTEMPTS} attempts: {problems:#?}")
}

/// What the broker tells the TAM and what the core's database holds; they must agree.
fn is_installed(guest: &mut Guest, tam: &Operator) -> (bool, Target) {
    let state = again("the state", || tam.state(guest));
    let listed = state.dsi.tee.sdlist.sd.iter().any(|domain| !domain.talist.is_empty());
    let stored = again("the database", || {
        let output = guest.run(&format!("otrp-lab query {}", APPLICATION.1))?;
        match output.status {
            0 => Ok(true),
            4 => Ok(false),
            _ => bail!("{}", output.error_text()),
        }
    });
    assert_eq!(listed, stored, "the broker and the database disagree");
    (listed, Target::from(&state))
}

/// What is killed in the middle of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Client,
    Supplicant,
}

#[test]
#[ignore = "needs the images: make test-device"]
fn a_client_that_is_killed_takes_at_most_the_next_call_with_it() {
    kill_in_commands(Victim::Client, 24);
}

#[test]
#[ignore = "needs the images: make test-device"]
fn a_supplicant_that_is_killed_and_started_again_costs_at_most_a_call() {
    // Fewer: each time a second passes before there is another one.
    kill_in_commands(Victim::Supplicant, 12);
}

/// Kills it at so many instants of installations and deletions.
fn kill_in_commands(victim: Victim, kills: u32) {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::open_or_create(folder.path()).unwrap();
    let image = Image::open(cache().join("image/lab")).unwrap();
    let mut guest = Machine::new(device, image).boot().unwrap();
    provision(&mut guest, &keys()).unwrap();
    let tam = Operator::read(&keys(), "tam").unwrap();
    let certificate = std::fs::read(keys().join("sp-ec.der")).unwrap();
    let (spid, name, (taid, uuid)) = (SERVICE_PROVIDER, DOMAIN, APPLICATION);
    tam.carry_out(&mut guest, Command::CreateSd { spid, name, certificate: &certificate }).unwrap();
    let key = file::read_key(&keys().join("sp-ec.key.pem")).unwrap();
    let elf: Vec<u8> =
        b"\x7fELF".iter().copied().chain((0..=u8::MAX).cycle().take(300_000)).collect();
    let image = image::sign(&key, None, uuid.parse().unwrap(), 1, &elf).unwrap();
    let install = Command::InstallTa(Application {
        spid,
        domain: name,
        taid,
        certificate: None,
        image: Some(&image),
        personalization: Some(b"something of its own"),
    });
    let delete = Command::DeleteTa { spid: None, name, taid };
    let time = [&install, &delete].map(|command| {
        let target = Target::from(&tam.state(&mut guest).unwrap());
        let request = Builder::command(&tam.identity, &target, command.clone()).build().unwrap();
        let carried = carry(&mut guest, &request.message).unwrap();
        assert_eq!(carried.status, 0);
        carried.elapsed.as_micros()
    });
    let files = |guest: &Guest| Listing::of(&guest.device().unwrap().storage()).unwrap();
    let before = files(&guest);

    let (mut ended, mut done) = (0, 0);
    for kill in 0..kills {
        let (installed, target) = is_installed(&mut guest, &tam);
        let command = if installed { delete.clone() } else { install.clone() };
        let request = Builder::command(&tam.identity, &target, command).build().unwrap();
        guest.put("/tmp/message", &request.message).unwrap();
        // Spread over the time that the command takes and a little more, in no order of it.
        let place = u128::from(kill * 7 % kills) * 115 / u128::from(kills);
        let microseconds = time[usize::from(installed)] * place / 100;
        let victim = match victim {
            Victim::Client => "$client",
            Victim::Supplicant => "$(pidof tee-supplicant)",
        };
        let script = format!(
            "otrp-agent process </tmp/message >/tmp/answer 2>/tmp/error & client=$!; \
             usleep {microseconds}; kill -9 {victim}; wait $client; echo $?"
        );
        let status = guest.run(&script).unwrap().success().unwrap().text();
        let (now, _) = is_installed(&mut guest, &tam);
        if status == "0" {
            assert_ne!(now, installed, "the client had its answer, and nothing was done");
        } else {
            ended += 1;
            done += u32::from(now != installed);
        }
    }
    println!("{victim:?}: {ended} of {kills} commands were ended; {done} of these carried out");
    assert!(ended >= kills / 2, "most commands had ended before: {ended} of {kills}");
    let log = guest.secure_log().unwrap();
    assert!(!log.contains("orrupt"), "what failed was taken for damage:\n{log}");

    // All of it works as before, and can be taken away again.
    for command in [&install, &delete] {
        let wanted = matches!(command, Command::InstallTa(_));
        if is_installed(&mut guest, &tam).0 != wanted {
            again("a command", || tam.carry_out(&mut guest, command.clone()));
        }
        assert_eq!(is_installed(&mut guest, &tam).0, wanted);
    }
    let after = files(&guest);
    assert!(
        after.count() <= before.count() + LEFT_BEHIND,
        "{:?} became {:?}",
        before.lengths(),
        after.lengths()
    );
    guest.power_off().unwrap();
}
