//! The platform's monotonic counter, seen from outside: its log in the device's flash.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

use anyhow::Result;

use crate::harness::device::Device;

/// Octets of an erase block.
pub const BLOCK_SIZE: usize = 256 << 10;
/// The erase blocks at the end of the flash: two of records, and two that former images wrote, of
/// values and complements alone.
pub const COUNTER_SIZE: usize = 4 * BLOCK_SIZE;
/// The first block of former images.
pub const FORMER_BLOCK: usize = 2;
/// Octets of a record: a hash, a value and its complement.
pub const RECORD_SIZE: usize = 40;
/// Octets of the hash.
pub const HASH_SIZE: usize = 32;

/// The log, block by block.
pub fn read(device: &Device) -> Result<Vec<u8>> {
    let mut flash = File::open(flash(device))?;
    flash.seek(SeekFrom::End(-(i64::try_from(COUNTER_SIZE)?)))?;
    let mut counter = Vec::new();
    flash.read_to_end(&mut counter)?;
    Ok(counter)
}

/// Replaces the log.
pub fn write(device: &Device, counter: &[u8]) -> Result<()> {
    let mut flash = OpenOptions::new().write(true).open(flash(device))?;
    flash.seek(SeekFrom::End(-(i64::try_from(COUNTER_SIZE)?)))?;
    Ok(flash.write_all(counter)?)
}

/// The values of the whole records in one block.
pub fn values(counter: &[u8], block: usize) -> impl Iterator<Item = u32> {
    let block = &counter[block * BLOCK_SIZE..][..BLOCK_SIZE];
    block.chunks_exact(RECORD_SIZE).filter_map(|record| {
        let (_, words) = record.split_at(HASH_SIZE);
        let (value, complement) = words.split_first_chunk()?;
        let value = u32::from_le_bytes(*value);
        (value == !u32::from_le_bytes(complement.try_into().ok()?)).then_some(value)
    })
}

fn flash(device: &Device) -> PathBuf {
    device.directory().join("flash.bin")
}
