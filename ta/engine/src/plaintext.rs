//! The image in clear: once from front to back, then again where it is asked for.
//!
//! It is never whole in memory. The second look sees what the first saw, for both are at windows of the
//! message that have the same tags.

use otrp_wire::copy::copy;

use crate::ciphertext::{Ciphertext, ReadError};
use crate::crypto;
use crate::elf::ReadAt;
use crate::error::Error;
use crate::jose::content::{DataAlgorithm, DataKey};
use crate::jose::data_stream::{DataStream, decrypt_part};

/// Octets of an AES block.
const BLOCK: usize = 16;
/// Octets that are decrypted for one look.
const PAGE: usize = 4096;
/// A page behind the block before it.
const SLOT: usize = BLOCK + PAGE;

/// How an image is encrypted.
#[derive(Clone, Copy)]
pub(crate) struct Lock<'k> {
    pub key: &'k DataKey,
    pub algorithm: DataAlgorithm,
    pub iv: &'k [u8],
}

/// Why the image does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Base64, padding or tag are wrong.
    Undecipherable,
    /// A port failed, or whoever takes the image did not take it.
    Failed(Error),
}

impl From<ReadError> for Unreadable {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotBase64 => Self::Undecipherable,
            ReadError::Failed(error) => Self::Failed(error),
        }
    }
}

impl From<Error> for Unreadable {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<crypto::Error> for Unreadable {
    fn from(error: crypto::Error) -> Self {
        match error {
            crypto::Error::Crypto | crypto::Error::Unsupported => Self::Undecipherable,
            crypto::Error::Port(error) => Self::Failed(Error::Port(error)),
            crypto::Error::Internal => Self::Failed(Error::Internal),
        }
    }
}

/// How long a decrypted image is, in octets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengths {
    pub ciphertext: usize,
    pub plaintext: usize,
}

/// Decrypts all of an image; `take` is given each piece, and the last block with its padding whether that
/// is right or not. The first piece has at least a quarter of `buffer`, or is all.
///
/// What was taken is worth nothing unless this succeeds, and with [`DataAlgorithm::AesCbc`] not even
/// then.
pub(crate) fn decrypt(
    ciphertext: &mut Ciphertext<'_, '_>,
    lock: Lock<'_>,
    aad: &[u8],
    buffer: &mut [u8],
    take: &mut impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<Lengths, Unreadable> {
    let mut stream = DataStream::new(lock.key, lock.algorithm, lock.iv, aad)?;
    let held_back = DataStream::held_back(lock.algorithm);
    // The start of the buffer is plaintext, then there is ciphertext.
    let (mut plain, mut filled) = (0_usize, 0_usize);
    let mut lengths = Lengths { ciphertext: 0, plaintext: 0 };
    loop {
        if buffer.len().saturating_sub(filled) < Ciphertext::LONGEST {
            take(buffer.get(..plain).unwrap_or_default())?;
            lengths.plaintext = lengths.plaintext.saturating_add(plain);
            buffer.copy_within(plain..filled, 0);
            filled = filled.saturating_sub(plain);
            plain = 0;
        }
        let read = ciphertext.next(buffer.get_mut(filled..).unwrap_or_default())?;
        if read == 0 {
            break;
        }
        filled = filled.saturating_add(read);
        lengths.ciphertext = lengths.ciphertext.saturating_add(read);
        let blocks = filled.saturating_sub(plain).saturating_sub(held_back).div_euclid(BLOCK);
        let end = plain.saturating_add(blocks.saturating_mul(BLOCK));
        stream.push(buffer.get_mut(plain..end).unwrap_or_default())?;
        plain = end;
    }
    let rest = buffer.get_mut(plain..filled).unwrap_or_default();
    let (shown, verdict) = stream.finish(rest);
    take(buffer.get(..plain.saturating_add(shown)).unwrap_or_default())?;
    let rest = plain.saturating_add(verdict?);
    lengths.plaintext = lengths.plaintext.saturating_add(rest);
    Ok(lengths)
}

/// The ELF of an image that was decrypted, to look at.
pub(crate) struct ElfPages<'p, 't, 'm> {
    ciphertext: &'p mut Ciphertext<'t, 'm>,
    lock: Lock<'p>,
    /// Octets of the ciphertext, the tag not among them.
    ciphertext_length: usize,
    /// Where in the image the ELF starts, and its octets.
    start: usize,
    length: usize,
    /// Two pages, the one that was used last in front, and what is read at a time.
    memory: &'p mut [u8],
    pages: [Option<usize>; 2],
    front: usize,
    /// What was read last, behind the pages: where in the ciphertext it starts, and its octets.
    read: (usize, usize),
    /// How many more pages may be decrypted.
    budget: usize,
    /// How many more times the message may be read from its start, because there are escapes in it.
    restarts: usize,
}

/// More than the headers of an ELF take, of which each may lie before the one that was read last.
const RESTARTS: usize = 48;

/// Octets that the plaintext takes at a time: what is decrypted, then the pages of the ELF.
pub(crate) const LEAST_BUFFER: usize = 2 * SLOT + Ciphertext::LONGEST;

impl<'p, 't, 'm> ElfPages<'p, 't, 'm> {
    /// `start` is where in the image the ELF begins, `memory` has [`LEAST_BUFFER`] octets.
    pub fn new(
        ciphertext: &'p mut Ciphertext<'t, 'm>,
        lock: Lock<'p>,
        ciphertext_length: usize,
        start: usize,
        length: usize,
        memory: &'p mut [u8],
    ) -> Self {
        let tag = match lock.algorithm {
            DataAlgorithm::AesCbc => 0,
            DataAlgorithm::A256Gcm => BLOCK,
        };
        // The names of symbols and the symbols are each read once, from front to back.
        let budget = length.div_euclid(PAGE).saturating_mul(3).saturating_add(64);
        Self {
            ciphertext,
            lock,
            ciphertext_length: ciphertext_length.saturating_sub(tag),
            start,
            length,
            memory,
            pages: [None; 2],
            front: 0,
            read: (0, 0),
            budget,
            restarts: RESTARTS,
        }
    }

    /// A page of the image, in clear.
    fn page(&mut self, number: usize) -> Result<&[u8], Unreadable> {
        let found = self.pages.iter().position(|page| *page == Some(number));
        let slot = match found {
            Some(slot) => slot,
            None => {
                // The one that was not used last.
                let slot = usize::from(self.front == 0);
                self.load(number, slot)?;
                slot
            }
        };
        self.front = slot;
        let start = slot.saturating_mul(SLOT).saturating_add(BLOCK);
        self.memory
            .get(start..start.saturating_add(PAGE))
            .ok_or(Unreadable::Failed(Error::Internal))
    }

    fn load(&mut self, number: usize, slot: usize) -> Result<(), Unreadable> {
        self.budget = self.budget.checked_sub(1).ok_or(Unreadable::Undecipherable)?;
        if let Some(page) = self.pages.get_mut(slot) {
            *page = None;
        }
        let internal = Unreadable::Failed(Error::Internal);
        let (slots, reading) = self.memory.split_at_mut_checked(2 * SLOT).ok_or(internal)?;
        let offset = slot.saturating_mul(SLOT);
        let memory = slots.get_mut(offset..offset.saturating_add(SLOT)).ok_or(internal)?;
        memory.fill(0);
        let start = number.saturating_mul(PAGE);
        let end = start.saturating_add(PAGE).min(self.ciphertext_length);
        let length = BLOCK.saturating_add(end.saturating_sub(start));
        // From the block before on; the first page has none, and its place stays empty.
        let first = start.saturating_sub(BLOCK);
        let empty = if start == 0 { BLOCK } else { 0 };
        let wanted = memory.get_mut(empty..length).ok_or(internal)?;
        // A page often begins where the one before it ends, in the middle of what was read.
        let (mut at, mut read) = self.read;
        if first < at || first >= at.saturating_add(read) {
            at = self.ciphertext.seek(first);
            if at == 0 && self.ciphertext.has_escapes() {
                self.restarts = self.restarts.checked_sub(1).ok_or(Unreadable::Undecipherable)?;
            }
            read = self.ciphertext.next(reading)?;
        }
        loop {
            let octets = reading.get(..read).unwrap_or_default();
            let from = first.saturating_sub(at).min(octets.len());
            let to = end.saturating_sub(at).min(octets.len());
            let octets = octets.get(from..to).unwrap_or_default();
            let place = at.saturating_add(from).saturating_sub(first);
            let target = wanted.get_mut(place..place.saturating_add(octets.len()));
            if read == 0 || copy(target.ok_or(internal)?, octets).is_none() {
                return Err(internal);
            }
            self.read = (at, read);
            if at.saturating_add(read) >= end {
                break;
            }
            at = at.saturating_add(read);
            read = self.ciphertext.next(reading)?;
        }
        let Lock { key, algorithm, iv } = self.lock;
        decrypt_part(key, algorithm, iv, start, memory.get_mut(..length).ok_or(internal)?)?;
        if let Some(page) = self.pages.get_mut(slot) {
            *page = Some(number);
        }
        Ok(())
    }
}

impl ReadAt for ElfPages<'_, '_, '_> {
    type Error = Unreadable;

    fn length(&self) -> u64 {
        u64::try_from(self.length).unwrap_or_default()
    }

    fn read_at(&mut self, at: u64, buffer: &mut [u8]) -> Result<(), Unreadable> {
        let internal = Unreadable::Failed(Error::Internal);
        let at = usize::try_from(at).map_err(|_| internal)?;
        let mut at = self.start.saturating_add(at);
        let mut rest = buffer;
        while !rest.is_empty() {
            let page = self.page(at.div_euclid(PAGE))?;
            let octets = page.get(at.rem_euclid(PAGE)..).unwrap_or_default();
            let length = octets.len().min(rest.len());
            let (target, behind) = rest.split_at_mut_checked(length).ok_or(internal)?;
            copy(target, octets.get(..length).unwrap_or_default()).ok_or(internal)?;
            at = at.saturating_add(length);
            rest = behind;
        }
        Ok(())
    }
}
