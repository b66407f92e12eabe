//! What ends in the middle of a command, in real OP-TEE: clients and tee-supplicants that are killed,
//! and calls to the supplicant that fail.
//!
//! Needs the images; run by `make test`, and alone by `make test-device`. With `OTRP_SOAK` set each
//! call to the supplicant fails once, as `make soak` has it; without, a part of them.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use otrp_check::fixture;
use otrp_keys::{Uuid, file, image};
use otrp_qemu::harness::cache;
use otrp_qemu::harness::device::Device;
use otrp_qemu::harness::guest::Guest;
use otrp_qemu::harness::image::Image;
use otrp_qemu::harness::machine::Machine;
use otrp_qemu::harness::storage::Listing;
use otrp_qemu::harness::supplicant::{self, Fault};
use otrp_qemu::scenario::deployment::{DOMAIN, SERVICE_PROVIDER};
use otrp_qemu::scenario::operator::{Operator, carry, plain_error, provision};
use otrp_tam::request::{Application, Builder, Command, Request, Target};
use otrp_tam::response::Outcome;
use tempfile::TempDir;

/// A client that comes after one that was killed may be the one that ends with it, and the next one
/// may find the broker starting again.
const ATTEMPTS: u32 = 5;
/// Files that lost transactions may leave until the next one takes their places.
const LEFT_BEHIND: usize = 2;
/// Where a script leaves the answer in the guest.
const ANSWER: &str = "/tmp/answer";
const APPLICATION: (&str, &str) = ("com.example.killed", "11111111-2222-3333-4444-bbbbbbbbbbbb");

fn keys() -> PathBuf {
    cache().join("keys/dev")
}

/// Does something as often as it needs after something was killed.
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

/// A device with a security domain, and an application to install there and to delete.
struct Bench {
    guest: Guest,
    tam: Operator,
    image: Vec<u8>,
    /// The files of secure storage without the application, when it has been there once.
    files: usize,
    _folder: TempDir,
}

impl Bench {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let device = Device::open_or_create(folder.path()).unwrap();
        let image = Image::open(cache().join("image/lab")).unwrap();
        let mut guest = Machine::new(device, image).boot().unwrap();
        provision(&mut guest, &keys()).unwrap();
        let tam = Operator::read(&keys(), "tam").unwrap();
        let certificate = std::fs::read(keys().join("sp-ec.der")).unwrap();
        let (spid, name) = (SERVICE_PROVIDER, DOMAIN);
        let create = Command::CreateSd { spid, name, certificate: &certificate };
        tam.carry_out(&mut guest, create).unwrap();
        let key = file::read_key(&keys().join("sp-ec.key.pem")).unwrap();
        let uuid: Uuid = APPLICATION.1.parse().unwrap();
        let elf = fixture::sized(uuid.0, 300_000, 0);
        let image = image::sign(&key, None, uuid, 1, &elf).unwrap();
        let mut bench = Self { guest, tam, image, files: 0, _folder: folder };
        for installed in [false, true] {
            bench.carry_out(installed);
        }
        bench.files = bench.count_files();
        bench
    }

    /// What there is to do: to delete the application where it is installed, else to install it.
    fn command(&self, installed: bool) -> Command<'_> {
        let (taid, name) = (APPLICATION.0, DOMAIN);
        if installed {
            return Command::DeleteTa { spid: None, name, taid };
        }
        Command::InstallTa(Application {
            spid: SERVICE_PROVIDER,
            domain: name,
            taid,
            certificate: None,
            image: Some(&self.image),
            personalization: Some(b"something of its own"),
        })
    }

    /// Does it; how long it took in the guest.
    fn carry_out(&mut self, installed: bool) -> Duration {
        let (_, target) = self.state().unwrap();
        let request = self.request(installed, &target);
        let carried = carry(&mut self.guest, &request.message).unwrap();
        let outcome = self.tam.read_outcome(&carried.answer, &request.exchange, &target).unwrap();
        assert!(matches!(outcome, Outcome::Pass(_)), "{outcome:?}");
        assert_ne!(self.state().unwrap().0, installed, "nothing was done");
        carried.elapsed
    }

    fn request(&self, installed: bool, target: &Target) -> Request {
        Builder::command(&self.tam.identity, target, self.command(installed)).build().unwrap()
    }

    /// Gives a command to the agent with a script that leaves the answer in [`ANSWER`] and says the
    /// agent's exit status.
    fn process(&mut self, request: &Request, target: &Target, script: &str) -> End {
        self.guest.put("/tmp/message", &request.message).unwrap();
        let status = self.guest.run(script).unwrap().success().unwrap().text();
        match status.as_str() {
            "0" | "1" | "75" => {
                let answer = self.guest.get(ANSWER).unwrap();
                // The agent's own message, where the TEE has none.
                if answer.is_empty() || answer.starts_with(b"{\"OTrPBrokerError\"") {
                    return End::Failed;
                }
                match self.tam.read_outcome(&answer, &request.exchange, target) {
                    Ok(Outcome::Pass(_)) => End::Passed,
                    Ok(Outcome::Fail(refusal)) => End::Refused(refusal.code.into_inner()),
                    // The TEE could not read the request.
                    Err(_) => End::Refused(plain_error(&answer).unwrap()),
                }
            }
            "137" => End::Killed,
            other => panic!("the agent ended with {other}"),
        }
    }

    /// Whether the broker tells the TAM of the application, and the store has it; an error
    /// also where they disagree.
    fn state(&mut self) -> Result<(bool, Target)> {
        let Self { tam, guest, .. } = self;
        let state = tam.state(guest)?;
        let listed = state.dsi.tee.sdlist.sd.iter().any(|domain| !domain.talist.is_empty());
        let output = guest.run(&format!("otrp-lab query {}", APPLICATION.1))?;
        let stored = match output.status {
            0 => true,
            4 => false,
            _ => bail!("{}", output.error_text()),
        };
        assert_eq!(listed, stored, "the broker and the store disagree");
        Ok((listed, Target::from(&state)))
    }

    fn count_files(&self) -> usize {
        Listing::of(&self.guest.device().unwrap().storage()).unwrap().count()
    }

    fn assert_no_damage(&self, after: impl std::fmt::Debug) {
        let log = self.guest.secure_log().unwrap();
        assert!(!log.contains("orrupt"), "{after:?}: what failed was taken for damage:\n{log}");
    }

    /// All of it works as before, and can be taken away again.
    fn end(mut self) {
        let (installed, _) = self.state().unwrap();
        for installed in [installed, !installed, installed, !installed] {
            self.carry_out(installed);
        }
        if installed {
            self.carry_out(true);
        }
        assert!(
            self.count_files() <= self.files + LEFT_BEHIND,
            "{} files became {}",
            self.files,
            self.count_files()
        );
        self.guest.power_off().unwrap();
    }
}

/// How a command ended for the TAM.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Passed,
    /// With this code, by the TEE.
    Refused(String),
    /// The agent says that the TEE failed.
    Failed,
    /// The agent was killed.
    Killed,
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
    let mut bench = Bench::start();
    let mut time = [false, true].map(|installed| bench.carry_out(installed).as_micros());

    let (mut ended, mut done) = (0, 0);
    for kill in 0..kills {
        let (installed, target) = again("the state", || bench.state());
        let request = bench.request(installed, &target);
        // Spread over the time that the command takes and a little more, in no order of it.
        let place = u128::from(kill * 7 % kills) * 115 / u128::from(kills);
        let microseconds = time[usize::from(installed)] * place / 100;
        let process = match victim {
            Victim::Client => "$client",
            Victim::Supplicant => "$(pidof tee-supplicant)",
        };
        let script = format!(
            "otrp-agent process </tmp/message >{ANSWER} 2>/tmp/error & client=$!; \
             usleep {microseconds}; kill -9 {process}; wait $client; echo $?"
        );
        let end = bench.process(&request, &target, &script);
        let (now, _) = again("the state", || bench.state());
        match end {
            End::Passed => {
                assert_ne!(now, installed, "nothing was done");
                // The machine may be less busy than when the time was taken.
                let time = &mut time[usize::from(installed)];
                *time -= *time / 5;
            }
            other if victim == Victim::Client && other != End::Killed => panic!("{other:?}"),
            // Without a supplicant the TEE fails, or the guest ends the client.
            _ => {
                ended += 1;
                done += u32::from(now != installed);
            }
        }
    }
    println!("{victim:?}: {ended} of {kills} commands were ended; {done} of these carried out");
    // Between its few calls a command does not notice that there is no supplicant.
    let enough = if victim == Victim::Client { kills / 2 } else { kills / 4 };
    assert!(ended >= enough, "most commands had ended before: {ended} of {kills}");
    bench.assert_no_damage(victim);
    bench.end();
}

/// The faults to try in a command that makes calls of these kinds: all, or each fifth of those at the end
/// of a run of calls of one kind.
fn faults_of(kinds: &[u8], all: bool) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (number, kind) in (1..).zip(kinds) {
        let next = kinds.get(usize::try_from(number).unwrap());
        if all || next != Some(kind) {
            // Whether it was done makes a difference for what changes something.
            let done: &[bool] = if b"ocrf".contains(kind) { &[false] } else { &[false, true] };
            for (done, lasting) in done.iter().flat_map(|done| [(*done, false), (*done, true)]) {
                faults.push(Fault { number, done, lasting });
            }
        }
    }
    faults.into_iter().step_by(if all { 1 } else { 5 }).collect()
}

/// Has the agent process a command while a call fails; the kinds of the calls that it took.
fn fail_in(bench: &mut Bench, fault: Fault, request: &Request, target: &Target) -> (End, Vec<u8>) {
    let script = format!(
        "{}; otrp-agent process </tmp/message >{ANSWER} 2>/tmp/error; echo $?",
        fault.plan()
    );
    let end = bench.process(request, target, &script);
    let kinds = supplicant::trace(&mut bench.guest).unwrap();
    bench.guest.run(&Fault::NONE.plan()).unwrap().success().unwrap();
    (end, kinds)
}

#[test]
#[ignore = "needs the images: make test-device"]
fn a_call_to_the_supplicant_that_fails_costs_at_most_the_command() {
    let all = std::env::var_os("OTRP_SOAK").is_some();
    let mut bench = Bench::start();
    supplicant::start(&mut bench.guest).unwrap();

    let mut faults = [false, true].map(|installed| {
        let (_, target) = bench.state().unwrap();
        let request = bench.request(installed, &target);
        let (end, kinds) = fail_in(&mut bench, Fault::NONE, &request, &target);
        assert_eq!(end, End::Passed);
        faults_of(&kinds, all)
    });
    let tried = faults[0].len() + faults[1].len();
    println!("{} and {} faults", faults[0].len(), faults[1].len());

    let (mut failed, mut done) = (0, 0);
    let (mut installed, mut target) = bench.state().unwrap();
    while faults.iter().any(|faults| !faults.is_empty()) {
        let fault = faults[usize::from(installed)].pop();
        let request = bench.request(installed, &target);
        let (end, kinds) = fail_in(&mut bench, fault.unwrap_or(Fault::NONE), &request, &target);
        // The next call is served: nothing has to be tried again.
        let (now, next) = bench.state().unwrap_or_else(|error| panic!("{fault:?}: {error:#}"));
        match end {
            End::Passed => assert_ne!(now, installed, "{fault:?}: nothing was done"),
            End::Killed => panic!("{fault:?}: the client was killed"),
            End::Refused(_) | End::Failed => {
                failed += 1;
                done += u32::from(now != installed);
            }
        }
        let reached = fault.is_none_or(|fault| kinds.len() >= fault.number.try_into().unwrap());
        assert!(reached, "{fault:?}: there were {} calls", kinds.len());
        bench.assert_no_damage(fault);
        (installed, target) = (now, next);
    }
    println!("{failed} commands failed; {done} of these carried out");
    assert!(failed > tried / 2, "of {tried} faults {failed} were noticed");
    bench.end();
}
