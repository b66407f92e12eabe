//! A request in memory that the normal world changes while the broker reads it.
//!
//! The image of a request is read twice. Here the second reading of each window finds other octets than
//! the first, in each way: nothing but a refusal may come of it, and nothing may stay.

use std::cell::Cell;

use otrp_engine::error::Unanswerable;
use otrp_engine::platform::{PortError, Source};
use otrp_engine::windows::WINDOW;
use otrp_tam::request::{Application, Command, Request, TaEncryption};

use crate::bench::{Device, Refused, elf, pki};
use crate::home::*;

/// What becomes of a reading: its place in the message, how often that was read before, the octets.
type Change<'c> = dyn Fn(usize, usize, &mut [u8]) -> Result<(), PortError> + 'c;

/// A message that changes.
struct Changing<'c> {
    message: &'c [u8],
    /// How often each window was read.
    readings: Vec<usize>,
    change: &'c Change<'c>,
}

impl<'c> Changing<'c> {
    fn new(message: &'c [u8], change: &'c Change<'c>) -> Self {
        Self { message, readings: vec![0; message.len().div_ceil(WINDOW)], change }
    }
}

impl Source for Changing<'_> {
    fn length(&self) -> usize {
        self.message.len()
    }

    fn read(&mut self, at: usize, buffer: &mut [u8]) -> Result<(), PortError> {
        let mut message = self.message;
        message.read(at, buffer)?;
        let before = self.readings[at / WINDOW];
        self.readings[at / WINDOW] += 1;
        (self.change)(at, before, buffer)
    }
}

/// An installation of an image that takes several windows, as the TAM makes it.
fn installation(encryption: TaEncryption) -> Request {
    let program = elf(FREE_UUID, 7, 50_000);
    let uuid = otrp_keys::Uuid(FREE_UUID);
    let image = otrp_keys::image::sign(&pki().sp_ec.key, None, uuid, 1, &program).unwrap().leak();
    let data = Application { personalization: Some(b"data"), ..application("new", image) };
    from_tam(Command::InstallTa(data)).ta_encryption(encryption).build().unwrap()
}

/// What the device answers to a message that changes; nothing is stored if it refuses.
fn outcome(message: &[u8], change: &Change<'_>) -> (Result<Refused, Unanswerable>, Vec<usize>) {
    let mut device = Device::from(&home().snapshot);
    let mut source = Changing::new(message, change);
    let reply = device.process_from(&mut source);
    let readings = source.readings;
    assert!(device.world.snapshot() == home().snapshot, "the device has changed");
    // Nothing is pending either that a later commit would take along.
    device.pass(&pki().tam, Base::CreateSd.builder());
    assert_eq!(device.world.images().len(), Device::from(&home().snapshot).world.images().len());
    let key = home().target.certificate.public_key().unwrap();
    (reply.map(|reply| Refused::read(&reply, &key)), readings)
}

/// Whether the TEE refuses for a reason of its own, before it knows who has signed or after that.
fn is_failure(refused: &Refused) -> bool {
    if refused.by_tee {
        refused.code.is_none()
    } else {
        refused.code.as_deref() == Some("ERR_TEE_FAIL")
    }
}

/// How often each window of an honest message is read.
fn honest(message: &[u8]) -> Vec<usize> {
    let mut device = Device::from(&home().snapshot);
    let mut source = Changing::new(message, &|_, _, _| Ok(()));
    device.process_from(&mut source).unwrap();
    let readings = source.readings;
    assert!(device.world.images().contains_key(&FREE_UUID), "it is installed");
    readings
}

#[test]
fn each_window_that_is_read_again_has_to_be_the_same() {
    for encryption in [TaEncryption::AesCbc, TaEncryption::A256Gcm] {
        let message = installation(encryption).message;
        let readings = honest(&message);
        assert!(readings.len() > 8 && readings.iter().filter(|count| **count > 1).count() > 8);
        for (window, count) in readings.iter().enumerate() {
            for reading in 1..*count {
                for octet in [0, WINDOW / 2, WINDOW - 1] {
                    let reached = Cell::new(false);
                    let change = |at: usize, before: usize, buffer: &mut [u8]| {
                        if at / WINDOW == window && before == reading {
                            let last = buffer.len() - 1;
                            buffer[octet.min(last)] ^= 1;
                            reached.set(true);
                        }
                        Ok(())
                    };
                    let (refused, _) = outcome(&message, &change);
                    let what = format!("window {window}, reading {reading}, octet {octet}");
                    let refused = refused.unwrap_or_else(|error| panic!("{what}: {error:?}"));
                    assert!(reached.get() && is_failure(&refused), "{what}: {}", refused.text);
                }
            }
        }
    }
}

#[test]
fn windows_do_not_change_their_places() {
    let message = installation(TaEncryption::AesCbc).message;
    for window in 1..message.len() / WINDOW {
        let change = |at: usize, before: usize, buffer: &mut [u8]| {
            let mut message = &message[..];
            match at / WINDOW {
                _ if before == 0 => Ok(()),
                found if found == window => message.read(at - WINDOW, buffer),
                found if found + 1 == window => message.read(at + WINDOW, buffer),
                _ => Ok(()),
            }
        };
        let (refused, _) = outcome(&message, &change);
        assert!(is_failure(&refused.unwrap()), "window {window}");
    }
}

#[test]
fn another_signed_message_does_not_take_the_place_of_the_first() {
    let message = installation(TaEncryption::A256Gcm).message;
    let other = installation(TaEncryption::A256Gcm).message;
    assert!(message.len() == other.len() && message != other);
    let change = |at: usize, before: usize, buffer: &mut [u8]| {
        let mut other = &other[..];
        if before > 0 { other.read(at, buffer) } else { Ok(()) }
    };
    let (refused, _) = outcome(&message, &change);
    assert!(is_failure(&refused.unwrap()));
}

#[test]
fn memory_that_cannot_be_read_is_a_refusal_or_no_answer() {
    let message = installation(TaEncryption::AesCbc).message;
    let readings: usize = honest(&message).iter().sum();
    for failing in 0..readings {
        let reading = Cell::new(0);
        let change = |_: usize, _: usize, _: &mut [u8]| {
            reading.set(reading.get() + 1);
            if reading.get() == failing + 1 { Err(PortError::Failed) } else { Ok(()) }
        };
        let (refused, _) = outcome(&message, &change);
        match refused {
            Ok(refused) => assert_ne!(refused.text, "", "reading {failing}"),
            Err(error) => assert_eq!(error, Unanswerable::Failed(PortError::Failed), "{failing}"),
        }
    }
}

#[test]
fn what_changes_before_it_is_read_is_what_was_sent() {
    let message = installation(TaEncryption::AesCbc).message;
    let payload = message.windows(11).position(|text| text == b"\"payload\":\"").unwrap() + 11;
    for window in payload / WINDOW + 1..message.len() / WINDOW {
        let change = |at: usize, _: usize, buffer: &mut [u8]| {
            if at / WINDOW == window {
                // Another character of the alphabet.
                buffer[7] = if buffer[7] == b'A' { b'B' } else { b'A' };
            }
            Ok(())
        };
        let (refused, _) = outcome(&message, &change);
        let refused = refused.unwrap();
        assert_eq!(refused.code.as_deref(), Some("ERR_TAM_NOT_TRUSTED"), "window {window}");
    }
}
