//! What one operation of a port costs in this TEE.

use core::fmt::Write;

use otrp_engine::platform::{Blob, KeyName, KeyType, Keys as _, PortError, PrivateKey, Store as _};
use otrp_ta::{inbox, keys::TeeKeys, store::PtaStore};

use crate::{door, elapsed, milliseconds};

/// How often each operation is done; the clock counts milliseconds.
const TIMES: u32 = 20;
/// Far above the numbers that an engine takes.
const NUMBER: u32 = 0xffff_ff00;
/// A service provider's certificates.
const CERTIFICATES: [u8; 1024] = [0x5a; 1024];
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
/// The broker's record is replaced by itself: there must be one.
///
/// # Errors
/// A port's.
pub fn measure(text: &mut dyn Write) -> Result<(), PortError> {
    let mut keys = TeeKeys::new(KeyType::P256);
    let pair = keys.generate(KeyName::Aik(NUMBER))?;
    let PrivateKey::P256(key) = pair.private else { return Err(PortError::Failed) };
    let mut store = PtaStore::new();
    let record = door::record(&mut store).map_err(|_| PortError::Failed)?;
    let blob = Blob::SpCertificates(NUMBER);
    store.put(blob, &CERTIFICATES)?;
    store.commit(&record, &[])?;
    let mut place =
        inbox::reserve(record.len().max(CERTIFICATES.len())).map_err(|_| PortError::Full)?;
    time(text, "commit", || store.commit(&record, &[]))?;
    time(text, "load", || store.load(&mut place).map(drop))?;
    time(text, "read", || store.read(blob, &mut place).map(drop))?;
    time(text, "sign", || keys.sign(&key, &[1; 32]).map(drop))?;
    time(text, "agree", || keys.agree(&key, &BASE).map(drop))?;
    store.commit(&record, &[blob])
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
