//! What a clock that is set back, runs ahead or stands still can and cannot do.

use otrp_engine::limits::CLOCK_TOLERANCE_SECONDS;
use otrp_keys::certificate::{Purpose, Template, Validity, generate_p256};
use otrp_keys::ocsp::{Period, Status};
use otrp_sim::Snapshot;
use otrp_tam::Identity;
use otrp_tam::request::{Builder, Command, Target};

use crate::bench::{Device, pki, stapled_below_authority};
use crate::home::*;

use super::fixture::*;

/// What a device says to GetDeviceState with these responses; it changes nothing if it refuses.
fn code(device: &mut Device, responses: &[Vec<u8>]) -> Option<String> {
    let before = device.world.snapshot();
    let message = question(responses).build().unwrap().message;
    let reply = device.process(&message).unwrap();
    let text = String::from_utf8_lossy(&reply);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let payload = value["GetDeviceTEEStateResponse"]["payload"].as_str().unwrap();
    let payload = otrp_tam::encoding::from_base64url(payload).unwrap();
    let inner: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    let tbs = &inner["GetDeviceTEEStateTBSResponse"];
    let code = tbs["reason"]["error-code"].as_str().map(String::from);
    assert_eq!(code.is_some(), device.world.snapshot() == before);
    code
}

#[test]
fn a_clock_set_back_revives_no_response_that_the_floor_has_passed() {
    let start = time();
    // The broker is built a minute before now.
    let ended = both(start - HOUR, start - 10);
    let mut fresh = Device::provisioned();
    set(&fresh, start - 30);
    // Before the device has seen anything later, nobody can know that it is over.
    assert_eq!(code(&mut fresh, &ended), None);

    let mut device = Device::provisioned();
    set(&device, start);
    assert_eq!(code(&mut device, &ended).as_deref(), Some(UNTRUSTED));
    assert_eq!(code(&mut device, &both(start, start + HOUR)), None);
    for back in [start - 30, 0] {
        set(&device, back);
        assert_eq!(code(&mut device, &ended).as_deref(), Some(UNTRUSTED));
        device.reboot();
        assert_eq!(code(&mut device, &ended).as_deref(), Some(UNTRUSTED), "after a reboot");
    }
    // Which the right clock does not need, and does not mind.
    assert_eq!(code(&mut device, &both(start, start + HOUR)), None);
    // Of the responses that are stapled the latest counts, and of each its later time.
    let produced_later = |at: i64| {
        let mut parts = Parts::read(&on_leaf(Status::Good, Period::hours_from(start, 1)));
        parts.data[1] = generalized(at);
        parts.sign(&pki().tam_responder.key)
    };
    let at = |time| on_authority(Status::Good, Period::hours_from(time, 1));
    let (first, second) = (start + 100, start + 200);
    for (latest, responses) in
        [(first, [produced_later(first), at(start)]), (second, [produced_later(start), at(second)])]
    {
        set(&device, latest);
        assert_eq!(code(&mut device, &responses), None);
        set(&device, 0);
        device.reboot();
        assert_eq!(code(&mut device, &both(start, latest)).as_deref(), Some(UNTRUSTED));
        // An older response that is still good does not take back what is known.
        assert_eq!(code(&mut device, &both(start, latest + 1)), None);
        device.reboot();
        assert_eq!(code(&mut device, &both(start, latest)).as_deref(), Some(UNTRUSTED));
    }
}

#[test]
fn a_clock_set_back_revives_no_certificate_that_the_floor_has_passed() {
    let start = time();
    let key = generate_p256().unwrap();
    let certificate = Template {
        organization: "OTrP tests (not for production)",
        common_name: "A TAM of a test",
        purpose: Purpose::Party,
        validity: Validity { not_before: start - HOUR, not_after: start + 100 },
        uri: Some("https://short-lived.example"),
    }
    .issue(&key, &pki().tam_authority)
    .unwrap();
    let mut chain = pki().tam.chain().to_vec();
    chain[0] = certificate;
    let short_lived = stapled_below_authority(Identity::new(key, chain, None).unwrap());
    let mut device = Device::provisioned();
    let target = Target::from(&device.state(&short_lived));
    // Time goes by, and another TAM brings the proof of it.
    set(&device, start + 101);
    assert_eq!(code(&mut device, &both(start + 101, start + HOUR)), None);
    set(&device, start);
    device.reboot();
    let message = Builder::device_state(&short_lived).build().unwrap().message;
    assert_eq!(device.refusal(&message).code.as_deref(), Some(UNTRUSTED));
    let create = Command::CreateSd { spid: SP, name: DOMAIN, certificate: &home().certificate };
    let command = Builder::command(&short_lived, &target, create).build().unwrap().message;
    assert_eq!(device.refusal(&command).code.as_deref(), Some(UNTRUSTED));
}

#[test]
fn a_clock_that_runs_ahead_or_stands_still_only_refuses() {
    let start = time();
    let mut device = Device::from(&home().snapshot);
    let responses = both(start, start + HOUR);
    for ahead in [start + HOUR, start + 30 * 365 * 24 * HOUR] {
        set(&device, ahead);
        assert_eq!(code(&mut device, &responses).as_deref(), Some(UNTRUSTED));
        device.reboot();
    }
    set(&device, start);
    assert_eq!(code(&mut device, &responses), None, "nothing of it is remembered");

    // A clock that stands still finds that later responses are from the future; a small difference
    // between two clocks is not held against anybody.
    let mut device = Device::provisioned();
    let tolerance = i64::try_from(CLOCK_TOLERANCE_SECONDS).unwrap();
    set(&device, start);
    let later = start + tolerance + 1;
    assert_eq!(code(&mut device, &both(later, later + HOUR)).as_deref(), Some(UNTRUSTED));
    assert_eq!(code(&mut device, &both(later - 1, later + HOUR)), None);
}

#[test]
fn nothing_is_tolerated_at_the_end() {
    let start = time();
    let mut device = Device::provisioned();
    set(&device, start);
    assert_eq!(code(&mut device, &both(start - HOUR, start)).as_deref(), Some(UNTRUSTED));
    assert_eq!(code(&mut device, &both(start - HOUR, start + 1)), None);
}

#[test]
fn no_other_record_is_written() {
    // The proof costs no storage of its own, so a power cut finds the state before or after.
    let before: Snapshot = home().snapshot.clone();
    let mut device = Device::from(&before);
    device.ask(&pki().tam, question(&good()));
    let after = device.world.snapshot();
    assert_ne!(after.record, before.record);
    assert!(Snapshot { record: before.record.clone(), ..after } == before);
}
