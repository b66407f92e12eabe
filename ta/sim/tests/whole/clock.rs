//! The clock, set back, set forward and stopped, at every step of a life.

use otrp_keys::ocsp::{Period, Statement, Status};
use otrp_tam::Identity;
use otrp_tam::request::{Builder, Command, Target};

use crate::bench::{Device, now, pki, signed, ta_query, uuid};
use crate::home::*;
use crate::power_cuts::steps_at_home;

const UNTRUSTED: &str = "ERR_TAM_NOT_TRUSTED";
const DAY: i64 = 24 * 3600;

fn set(device: &Device, seconds: i64) {
    *device.world.clock.borrow_mut() = seconds.try_into().unwrap();
}

fn time() -> i64 {
    now().try_into().unwrap()
}

/// A TAM with responses that are good for a time.
fn stapled_for(tam: &Identity, this_update: i64, next_update: i64) -> Identity {
    let period = Period { this_update, next_update };
    let chain = tam.chain().to_vec();
    let pki = pki();
    let issuers = [
        (&pki.tam_authority.certificate, &pki.tam_responder),
        (&pki.tam_root.certificate, &pki.tam_root_responder),
    ];
    let responses = chain.iter().zip(issuers).map(|(certificate, (issuer, responder))| {
        let status = Status::Good;
        Statement { certificate, issuer, status, period }.sign(responder).unwrap()
    });
    let responses = responses.collect();
    Identity::new(tam.key().to_owned(), chain, None).unwrap().staple(responses)
}

#[test]
fn every_request_under_every_clock() {
    // At home the responses are good for a day from the start.
    let start = time();
    let steps = steps_at_home().iter().filter(|step| step.after(&home().model).is_some());
    for step in steps {
        let is_new = step.what == "a new TAM's question";
        let rows = [
            (0, !is_new),
            (start - 30 * 365 * DAY, !is_new),
            // What it shows when it is stopped.
            (start, true),
            (start + DAY - 600, true),
            (start + DAY + 600, false),
            (start + 30 * 365 * DAY, false),
        ];
        for (clock, accepted) in rows {
            for reboot in [false, true] {
                let what = format!("{} at {}, {reboot}", step.what, clock - start);
                let mut device = Device::from(&home().snapshot);
                let _ = device.process(b"{}");
                set(&device, clock);
                if reboot {
                    device.reboot();
                }
                let before = device.world.snapshot();
                // What is installed works, whatever the time.
                assert_eq!(device.personalization(&uuid(1)), Ok(b"secret".to_vec()));
                let mut query = ta_query(SP, TA);
                assert!(
                    device.engine.ta_information(&mut query, &mut device.reply).is_ok(),
                    "{what}"
                );
                let reply = device.process(&step.message).unwrap();
                // A clock before the certificate of the new TAM is none of the device's: its time
                // is that of the latest response, which may be before it or not.
                if is_new && clock < start {
                    continue;
                }
                assert_eq!(device.world.snapshot() != before, accepted, "{what}");
                if !accepted {
                    let key = home().target.certificate.public_key().unwrap();
                    let refused = crate::bench::Refused::read(&reply, &key);
                    assert_eq!(refused.code.as_deref(), Some(UNTRUSTED), "{what}");
                    // Nothing is remembered of a wrong time.
                    set(&device, start);
                    let reply = device.process(&step.message).unwrap();
                    assert!(device.world.snapshot() != before, "{what}: {}", reply.len());
                }
            }
        }
    }
}

#[test]
fn a_clock_set_back_gives_no_command_its_time_back() {
    // The responses of `tam` end in an hour; a day later the other TAM shows what time it is.
    let start = time();
    let tam = stapled_for(&pki().tam, start, start + 3600);
    let other = stapled_for(&pki().other_tam, start + 3601, start + 2 * DAY);
    for base in Base::ALL {
        let mut device = Device::from(&home().snapshot);
        let target = Target::from(&device.state(&tam));
        let request = || Builder::command(&tam, &target, base.command());
        set(&device, start + 3601);
        device.state(&other);
        for clock in [0, start, start + 3599] {
            set(&device, clock);
            for _ in 0..2 {
                let before = device.world.snapshot();
                assert_eq!(device.fail(&tam, request()), UNTRUSTED, "{base:?} at {clock}");
                assert!(device.world.snapshot() == before);
                device.reboot();
            }
        }
        // With responses of the time that it is, the clock does not matter.
        let renewed = stapled_for(&pki().tam, start + 3601, start + 2 * DAY);
        set(&device, 0);
        let target = Target::from(&device.state(&renewed));
        device.pass(&renewed, Builder::command(&renewed, &target, base.command()));
    }
}

#[test]
fn a_whole_life_under_a_clock_that_jumps() {
    let tam = &pki().tam;
    let start = time();
    let mut device = Device::from(&home().snapshot);
    let delete = Command::DeleteTa { spid: None, name: DOMAIN, taid: "new" };
    let commands = [
        Base::CreateSd.command(),
        Base::InstallTa.command(),
        Base::UpdateTa.command(),
        delete.clone(),
        Command::InstallTa(application("new", &home().new_image)),
        delete,
        Command::DeleteSd { spid: None, name: "new", delete_tas: false },
    ];
    let mut target = home().target.clone();
    for (turn, command) in commands.into_iter().enumerate() {
        let request = || Builder::command(tam, &target, command.clone());
        for ahead in [start + 2 * DAY, start + 9999 * DAY] {
            set(&device, ahead);
            let before = device.world.snapshot();
            // Then the certificate has ended too, and nobody's identifiers are repeated.
            let refused = device.refusal(&request().build().unwrap().message);
            assert_eq!(refused.code.as_deref(), Some(UNTRUSTED));
            assert!(device.world.snapshot() == before);
            device.reboot();
        }
        // Back, stopped or right: it is carried out, once.
        set(&device, [0, start - DAY, start, start + 600][turn % 4]);
        let passed = device.pass(tam, request());
        assert_eq!(device.fail(tam, request()), "ERR_DEV_STATE_MISMATCH");
        device.reboot();
        target = Target::from(&passed.state.unwrap());
    }
    // An older version stays refused, whatever the clock says.
    set(&device, 0);
    let image = signed(&pki().sp_ec, DELETED_UUID, 8);
    let install = Command::InstallTa(application("old", &image));
    assert_eq!(device.fail(tam, Builder::command(tam, &target, install)), "ERR_TA_INVALID");
}
