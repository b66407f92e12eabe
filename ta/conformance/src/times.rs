//! What one operation of a port costs in this TEE.

use core::fmt::Write;

use otrp_engine::platform::{KeyType, Keys, Kind, Name, PortError, Storage};
use otrp_ta::{keys::TeeKeys, storage::PrivateStorage};

use crate::{elapsed, milliseconds};

/// How often each operation is done; the clock counts milliseconds.
const TIMES: u32 = 20;
/// Far above the numbers that the conformance tests take.
const NUMBER: u32 = 0xffff_ff00;
/// The size of a registry's record with a few entries.
const RECORD: [u8; 1024] = [0x5a; 1024];
/// The base point of P-256 (SEC 2, section 2.4.2): a public key like any other.
const BASE: [u8; 65] = [
    0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40,
    0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2,
    0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e,
    0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51,
    0xf5,
];

/// Writes a line for each operation: its name, a space, microseconds.
///
/// As in the broker, another object is open meanwhile.
///
/// # Errors
/// A port's.
pub fn measure(text: &mut dyn Write) -> Result<(), PortError> {
    let key = Name { kind: Kind::Aik, number: NUMBER };
    let held = Name { kind: Kind::TeeKey, number: NUMBER };
    let record = Name { kind: Kind::Registry, number: NUMBER };
    let mut keys = TeeKeys::new(KeyType::P256);
    keys.generate(held)?;
    keys.generate(key)?;
    let guard = PrivateStorage.hold(held);
    let mut buffer = [0; RECORD.len()];
    time(text, "replace", || PrivateStorage.replace(record, &RECORD))?;
    time(text, "load", || PrivateStorage.load(record, &mut buffer).map(drop))?;
    time(text, "sign", || keys.sign(key, &[1; 32]).map(drop))?;
    time(text, "agree", || keys.agree(key, &BASE).map(drop))?;
    drop(guard);
    PrivateStorage.remove(record)?;
    keys.destroy(key)?;
    keys.destroy(held)
}

fn time(
    text: &mut dyn Write,
    name: &str,
    mut operation: impl FnMut() -> Result<(), PortError>,
) -> Result<(), PortError> {
    let started = milliseconds();
    for _ in 0..TIMES {
        operation()?;
    }
    let microseconds = elapsed(started).saturating_mul(1000).checked_div(TIMES).unwrap_or_default();
    // A text in memory takes everything.
    let _ = writeln!(text, "{name} {microseconds}");
    Ok(())
}
