//! A request read twice, from memory that its sender can change between the two times.
//!
//! The first reading tags each window of the message; the second takes only what has the same tag. So
//! every octet that is used is one that was there when the signature was checked, whatever the memory
//! has held in between.

use ghash::universal_hash::UniversalHash as _;
use ghash::{GHash, Key};
use otrp_wire::copy::copy;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::platform::{PortError, Rng, Source};

/// Octets of a window: what is read at a time.
pub const WINDOW: usize = 8 * 1024;
/// Octets of a tag.
const TAG: usize = 16;

/// Where a changed message is noticed: it is the normal world that has changed it.
const CHANGED: Error = Error::Port(PortError::Failed);

/// A message whose windows have tags.
///
/// A tag is GHASH of the window under a key of this message. Key and tags stay in the TEE, so all that
/// an attacker can do is to guess: two windows of this length have the same tag under fewer than one
/// in 2^118 keys.
pub struct Windows<'m> {
    source: &'m mut dyn Source,
    hash: GHash,
    tags: &'m mut [u8],
}

impl core::fmt::Debug for Windows<'_> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("Windows").field("length", &self.source.length()).finish()
    }
}

impl<'m> Windows<'m> {
    /// Octets of the tags of a message of this length.
    #[must_use]
    pub const fn tags_length(message: usize) -> usize {
        message.div_ceil(WINDOW).saturating_mul(TAG)
    }

    /// A message of which nothing was read yet. `tags` has [`Windows::tags_length`] octets.
    ///
    /// # Errors
    /// [`Error::Port`] if there are no random bytes.
    pub fn new<R: Rng>(
        source: &'m mut dyn Source,
        tags: &'m mut [u8],
        rng: &mut R,
    ) -> Result<Self, Error> {
        let mut key = Zeroizing::new([0; 16]);
        rng.fill(key.as_mut_slice())?;
        let hash = GHash::new(&Key::from(*key));
        Ok(Self { source, hash, tags })
    }

    /// How many windows there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.source.length().div_ceil(WINDOW)
    }

    /// Reads a window for the first time.
    ///
    /// # Errors
    /// [`Error::Port`] if the memory cannot be read.
    pub fn first<'w>(&mut self, index: usize, window: &'w mut [u8]) -> Result<&'w [u8], Error> {
        let text = self.read(index, window)?;
        let tag = self.tag(text);
        copy(self.place(index).ok_or(Error::Internal)?, &tag).ok_or(Error::Internal)?;
        Ok(text)
    }

    /// Reads a window again.
    ///
    /// # Errors
    /// [`Error::Port`] if the memory cannot be read, or has changed.
    pub fn again<'w>(&mut self, index: usize, window: &'w mut [u8]) -> Result<&'w [u8], Error> {
        let text = self.read(index, window)?;
        let tag = self.tag(text);
        let before = self.place(index).ok_or(Error::Internal)?;
        if bool::from(tag.as_slice().ct_eq(before)) { Ok(text) } else { Err(CHANGED) }
    }

    /// The octets from `at` on, up to `end` or the end of their window, read again.
    ///
    /// # Errors
    /// As [`Windows::again`].
    pub fn piece<'w>(
        &mut self,
        at: usize,
        end: usize,
        window: &'w mut [u8],
    ) -> Result<&'w [u8], Error> {
        let index = at.div_euclid(WINDOW);
        let start = index.saturating_mul(WINDOW);
        let text = self.again(index, window)?;
        let end = end.saturating_sub(start).min(text.len());
        text.get(at.saturating_sub(start)..end).filter(|piece| !piece.is_empty()).ok_or(CHANGED)
    }

    fn read<'w>(&mut self, index: usize, window: &'w mut [u8]) -> Result<&'w [u8], Error> {
        let start = index.checked_mul(WINDOW).ok_or(Error::Internal)?;
        let rest = self.source.length().checked_sub(start).ok_or(Error::Internal)?;
        let text = window.get_mut(..rest.min(WINDOW)).ok_or(Error::Internal)?;
        self.source.read(start, text)?;
        Ok(text)
    }

    fn tag(&self, text: &[u8]) -> [u8; TAG] {
        let mut hash = self.hash.clone();
        hash.update_padded(text);
        hash.finalize().into()
    }

    fn place(&mut self, index: usize) -> Option<&mut [u8]> {
        let start = index.checked_mul(TAG)?;
        self.tags.get_mut(start..start.checked_add(TAG)?)
    }
}
