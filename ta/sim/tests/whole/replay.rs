//! Recorded traffic of a long life, sent again in every order; and TAMs that talk at once.

use otrp_sim::Snapshot;
use otrp_tam::Identity;
use otrp_tam::request::{Application, Builder, Command, SdChanges, Target};
use otrp_tam::response::Outcome;

use crate::bench::{Device, pki, signed};
use crate::home::*;
use crate::model::{ask, look};

const MISMATCH: &str = "ERR_DEV_STATE_MISMATCH";

/// A message as it went by.
struct Recorded {
    tam: &'static Identity,
    is_question: bool,
    message: Vec<u8>,
}

/// A device with everything that was ever sent to it.
struct Life {
    device: Device,
    record: Vec<Recorded>,
}

impl Life {
    /// Asks for the state, unless the TAM was given one, and has a command carried out. Some
    /// commands bring no new state, so that the next one must ask.
    fn carry_out(
        &mut self,
        tam: &'static Identity,
        target: &mut Option<Target>,
        command: Command<'_>,
    ) {
        let target_now = target.take().unwrap_or_else(|| {
            let request = Builder::device_state(tam).build().unwrap();
            self.note(tam, true, &request.message);
            let reply = self.device.process(&request.message).unwrap();
            let otrp_tam::response::Reply::Answer(answer) =
                otrp_tam::response::Reply::read(&reply).unwrap()
            else {
                panic!("no answer")
            };
            let exchange = Some(&request.exchange);
            match answer.device_state(exchange, tam, &pki().tee_roots).unwrap() {
                otrp_tam::response::StateAnswer::State { state, .. } => Target::from(&*state),
                refused => panic!("{refused:?}"),
            }
        });
        let next_dsi = !self.record.len().is_multiple_of(3);
        let request = Builder::command(tam, &target_now, command).next_dsi(next_dsi);
        let request = request.build().unwrap();
        self.note(tam, false, &request.message);
        match self.device.send(tam, &request) {
            Outcome::Pass(passed) => *target = passed.state.as_ref().map(Target::from),
            Outcome::Fail(refusal) => panic!("{refusal:?}"),
        }
    }

    fn note(&mut self, tam: &'static Identity, is_question: bool, message: &[u8]) {
        self.record.push(Recorded { tam, is_question, message: message.to_vec() });
    }
}

/// Two TAMs in turns; twice each one's part of the device becomes what it was before.
fn lived() -> Life {
    let mut life = Life { device: Device::from(&home().snapshot), record: Vec::new() };
    let (mut target, mut other_target) = (None, None);
    let image = signed(&pki().sp_ec, uuid_of_other(), 1);
    for _ in 0..2 {
        let changes = SdChanges { renew_attestation_key: true, ..SdChanges::default() };
        let own = [
            Base::CreateSd.command(),
            Base::InstallTa.command(),
            Base::UpdateTa.command(),
            Command::DeleteTa { spid: None, name: DOMAIN, taid: "new" },
            Command::InstallTa(application("new", &home().new_image)),
            Command::UpdateSd { spid: SP, name: DOMAIN, changes },
            Command::DeleteTa { spid: None, name: DOMAIN, taid: "new" },
            Command::DeleteSd { spid: None, name: "new", delete_tas: false },
        ];
        let others = [
            Command::CreateSd { spid: OTHER_SP, name: "more", certificate: &home().certificate },
            Command::InstallTa(Application {
                spid: OTHER_SP,
                domain: "more",
                ..application("more", &image)
            }),
            Command::DeleteTa { spid: None, name: "more", taid: "more" },
            Command::DeleteSd { spid: None, name: "more", delete_tas: true },
        ];
        let mut others = others.into_iter();
        for (turn, command) in own.into_iter().enumerate() {
            life.carry_out(&pki().tam, &mut target, command);
            if let Some(command) = (turn % 2 == 0).then(|| others.next()).flatten() {
                life.carry_out(&pki().other_tam, &mut other_target, command);
            }
        }
    }
    life
}

const fn uuid_of_other() -> [u8; 16] {
    [0x77; 16]
}

/// A sequence of numbers that is the same in every run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(bound).unwrap()).unwrap()
    }

    fn shuffled(&mut self, length: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..length).collect();
        for place in (1..length).rev() {
            order.swap(place, self.below(place + 1));
        }
        order
    }
}

/// The orders in which a record of this length is played again.
fn orders(length: usize) -> Vec<Vec<usize>> {
    let mut numbers = Numbers(0x5eed);
    let mut orders = vec![(0..length).collect(), (0..length).rev().collect()];
    orders.extend((0..3).map(|_| numbers.shuffled(length)));
    orders
}

/// Sends a recorded message again.
///
/// A command is refused and leaves every byte as it was. A question is answered, to the TAM's key
/// alone, and what it leaves is one number of a state and one hash in the record: no more than any
/// other question, which everybody can replay and nobody but the TAM can read the answer to.
fn replay(device: &mut Device, recorded: &Recorded) {
    let before = device.world.snapshot();
    if !recorded.is_question {
        assert_eq!(device.refusal(&recorded.message).code.as_deref(), Some(MISMATCH));
        assert!(device.world.snapshot() == before);
        return;
    }
    device.process(&recorded.message).expect("an answer");
    let after = device.world.snapshot();
    let (old, new) = (before.record.as_ref().unwrap(), after.record.as_ref().unwrap());
    assert_eq!(old.len(), new.len());
    let differences = old.iter().zip(new).filter(|(old, new)| old != new).count();
    assert!((1..=8 + 32).contains(&differences), "{differences} bytes");
    assert!(without_registry(after) == without_registry(before));
}

fn without_registry(mut snapshot: Snapshot) -> Snapshot {
    snapshot.record = None;
    snapshot
}

#[test]
fn recorded_traffic_is_accepted_in_no_order() {
    let mut life = lived();
    let (tam, other) = (&pki().tam, &pki().other_tam);
    // Both TAMs have a state, and nothing waits to be removed.
    let mut target = Target::from(&life.device.state(tam));
    let _ = life.device.state(other);
    let seen = look(&mut life.device, &[tam, other], &[]).unwrap();
    for (turn, order) in orders(life.record.len()).into_iter().enumerate() {
        for place in order {
            replay(&mut life.device, &life.record[place]);
            if turn > 1 && place % 5 == 0 {
                life.device.reboot();
            }
        }
        // The TAM's own next command finds that somebody asked in its name, and asks again.
        let stale = Builder::command(tam, &target, Base::CreateSd.command());
        assert_eq!(life.device.fail(tam, stale), MISMATCH);
        target = Target::from(&life.device.state(tam));
    }
    assert!(look(&mut life.device, &[tam, other], &[]).unwrap() == seen);
    println!("{} messages in {} orders", life.record.len(), orders(1).len());
}

#[test]
fn recorded_traffic_between_fresh_traffic() {
    let Life { mut device, record } = lived();
    let tams: [&'static Identity; 2] = [&pki().tam, &pki().other_tam];
    let mut targets = tams.map(|tam| Target::from(&device.state(tam)));
    let mut numbers = Numbers(0xf4e54);
    let mut current = [true; 2];
    let mut exists = [false; 2];
    let mut refused = 0;
    for place in orders(record.len()).concat() {
        let recorded = &record[place];
        let index = usize::from(recorded.tam.tam_id() != tams[0].tam_id());
        let before = device.world.snapshot();
        device.process(&recorded.message).expect("an answer");
        if recorded.is_question {
            assert!(without_registry(device.world.snapshot()) == without_registry(before));
            current[index] = false;
        } else {
            assert!(device.world.snapshot() == before);
        }
        let fresh = numbers.below(4);
        if fresh > 1 {
            continue;
        }
        let (tam, provider) = (tams[fresh], [SP, OTHER_SP][fresh]);
        let certificate = &home().certificate;
        let command = || match exists[fresh] {
            false => Command::CreateSd { spid: provider, name: "fresh", certificate },
            true => Command::DeleteSd { spid: None, name: "fresh", delete_tas: true },
        };
        // Only a question in its own name costs a TAM its state; the other one's never does.
        if !current[fresh] {
            let late = Builder::command(tam, &targets[fresh], command());
            assert_eq!(device.fail(tam, late), MISMATCH);
            targets[fresh] = Target::from(&device.state(tam));
            refused += 1;
        }
        let passed = device.pass(tam, Builder::command(tam, &targets[fresh], command()));
        targets[fresh] = Target::from(&passed.state.unwrap());
        current[fresh] = true;
        exists[fresh] = !exists[fresh];
    }
    assert!(refused > 5, "{refused} fresh commands had to be sent again");
    look(&mut device, &tams, &[]).unwrap();
}

/// One conversation of a TAM with the device, through an agent of its own.
struct Session {
    tam: &'static Identity,
    target: Option<Target>,
    name: &'static str,
    /// Commands that were carried out.
    done: usize,
    mismatches: usize,
}

#[test]
fn conversations_at_once_all_come_to_their_end() {
    let image = signed(&pki().sp_ec, uuid_of_other(), 1);
    for seed in 1..=6 {
        let mut device = Device::from(&home().snapshot);
        let mut numbers = Numbers(seed);
        let session = |tam, name| Session { tam, target: None, name, done: 0, mismatches: 0 };
        // In the first rounds one conversation for each TAM, then two of one.
        let mut sessions = vec![session(&pki().tam, "one"), session(&pki().other_tam, "two")];
        if seed > 3 {
            sessions.push(session(&pki().tam, "three"));
        }
        let mut turns = 0;
        while sessions.iter().any(|session| session.done < 4) {
            turns += 1;
            assert!(turns < 400, "it does not come to an end");
            let index = numbers.below(sessions.len());
            let session = &mut sessions[index];
            let (tam, name) = (session.tam, session.name);
            let spid = if tam.tam_id() == pki().tam.tam_id() { SP } else { OTHER_SP };
            if numbers.below(9) == 0 {
                device.reboot();
            }
            let Some(target) = session.target.take() else {
                session.target = Some(Target::from(&ask(&mut device, tam).unwrap()));
                continue;
            };
            let certificate = &home().certificate;
            let command = match session.done {
                0 => Command::CreateSd { spid, name, certificate },
                // The image is for one provider only: the others have nothing to install.
                1 if name == "one" => Command::InstallTa(Application {
                    domain: name,
                    ..application("racing", &image)
                }),
                1 => Command::UpdateSd { spid, name, changes: SdChanges::default() },
                2 => Command::UpdateSd {
                    spid,
                    name,
                    changes: SdChanges { renew_attestation_key: true, ..SdChanges::default() },
                },
                3 => Command::DeleteSd { spid: None, name, delete_tas: true },
                _ => continue,
            };
            match device.try_to(tam, Builder::command(tam, &target, command)) {
                Ok(()) => session.done += 1,
                Err(code) => {
                    assert_eq!(code, MISMATCH);
                    session.mismatches += 1;
                }
            }
        }
        let tams = [&pki().tam, &pki().other_tam];
        let mismatches: usize = sessions.iter().map(|session| session.mismatches).sum();
        assert_eq!(mismatches > 0, sessions.len() > 2, "a TAM is in nobody's way but its own");
        let seen = look(&mut device, &tams, &[]).unwrap();
        assert!(format!("{seen:?}").contains(DOMAIN));
        assert!(!format!("{seen:?}").contains("racing"));
    }
}
