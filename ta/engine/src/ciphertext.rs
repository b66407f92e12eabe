//! The second reading of a message: the encrypted image, out of two layers of base64.

use otrp_wire::base64::{Decoder, Form, NotBase64};
use otrp_wire::stream::{LongString, Step, Unescape};

use crate::error::Error;
use crate::intake::{DECODED, READING};
use crate::windows::{WINDOW, Windows};

/// The encrypted image in a message.
#[derive(Debug)]
pub struct ImageText<'m> {
    pub(crate) windows: Windows<'m>,
    /// The payload in the message.
    pub(crate) payload: LongString,
    /// The image in what the payload decodes to.
    pub(crate) image: LongString,
}

/// Why the ciphertext does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// Its text is not base64.
    NotBase64,
    /// The message has changed, or cannot be read.
    Failed(Error),
}

impl From<NotBase64> for ReadError {
    fn from(_: NotBase64) -> Self {
        Self::NotBase64
    }
}

impl From<Error> for ReadError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Reads the ciphertext from front to back, and from other places.
#[derive(Debug)]
pub struct Ciphertext<'t, 'm> {
    text: &'t mut ImageText<'m>,
    window: &'t mut [u8],
    decoded: &'t mut [u8],
    /// Where in the message the next character of the payload is.
    at: usize,
    outer: Layer,
    /// Where in what is signed the next octet of that belongs.
    signed_at: usize,
    /// Where in what is signed the reading starts.
    from: usize,
    inner: Layer,
    /// The octet of the ciphertext that comes next.
    position: usize,
    ended: bool,
}

/// A string of base64, with escapes.
#[derive(Debug)]
struct Layer {
    unescape: Unescape,
    decoder: Decoder,
}

impl Layer {
    const fn new(form: Form) -> Self {
        Self { unescape: Unescape::new(), decoder: Decoder::new(form) }
    }

    /// Goes to the start of a group of characters.
    fn jump(&mut self) {
        self.unescape = Unescape::new();
        self.decoder.jump();
    }

    /// Decodes characters; how many octets they gave.
    fn push(&mut self, mut text: &[u8], out: &mut [u8]) -> Result<usize, NotBase64> {
        let mut written = 0;
        while !text.is_empty() {
            let mut pushed = Ok(0);
            let place = out.get_mut(written..).unwrap_or_default();
            let step = self.unescape.step(text, |value| pushed = self.decoder.push(value, place));
            let Step::Taken(taken) = step else { return Err(NotBase64) };
            written = written.saturating_add(pushed?);
            text = text.get(taken..).unwrap_or_default();
        }
        Ok(written)
    }

    fn finish(&mut self, out: &mut [u8]) -> Result<usize, NotBase64> {
        self.decoder.finish(out.first_chunk_mut().ok_or(NotBase64)?)
    }
}

impl<'t, 'm> Ciphertext<'t, 'm> {
    /// The most octets that [`Ciphertext::next`] gives.
    pub const LONGEST: usize = Decoder::longest(DECODED) + 3;

    /// A reader at the start. `reading` has [`READING`] octets.
    ///
    /// # Errors
    /// [`Error::Internal`] if it has not.
    pub fn new(text: &'t mut ImageText<'m>, reading: &'t mut [u8]) -> Result<Self, Error> {
        let reading = reading.get_mut(..READING).ok_or(Error::Internal)?;
        let (window, decoded) = reading.split_at_mut_checked(WINDOW).ok_or(Error::Internal)?;
        let (at, from) = (text.payload.raw.start(), text.image.raw.start());
        Ok(Self {
            text,
            window,
            decoded,
            at,
            outer: Layer::new(Form::Url),
            signed_at: 0,
            from,
            inner: Layer::new(Form::Any),
            position: 0,
            ended: false,
        })
    }

    /// Whether there are escapes in the text, so that to go back means to read it from its start.
    pub const fn has_escapes(&self) -> bool {
        self.text.payload.has_escapes || self.text.image.has_escapes
    }

    /// Goes to the octet `at` of the ciphertext or to one before it; which one that is.
    pub fn seek(&mut self, at: usize) -> usize {
        let (payload, image) = (self.text.payload, self.text.image);
        let has_escapes = self.has_escapes();
        if has_escapes && at >= self.position && !self.ended {
            return self.position;
        }
        self.outer.jump();
        self.inner.jump();
        self.ended = false;
        if has_escapes {
            // Where an octet is shows only when all escapes before it were read.
            (self.at, self.from, self.signed_at) = (payload.raw.start(), image.raw.start(), 0);
            self.position = 0;
            return 0;
        }
        let group = at.div_euclid(3);
        self.from = image.raw.start().saturating_add(group.saturating_mul(4));
        let outer_group = self.from.div_euclid(3);
        self.signed_at = outer_group.saturating_mul(3);
        self.at = payload.raw.start().saturating_add(outer_group.saturating_mul(4));
        self.position = group.saturating_mul(3);
        self.position
    }

    /// Reads the next octets to the start of `out`, which has [`Ciphertext::LONGEST`]; how many they
    /// are, 0 at the end.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn next(&mut self, out: &mut [u8]) -> Result<usize, ReadError> {
        let mut written = 0;
        while written == 0 && !self.ended {
            let end = self.text.payload.raw.end();
            let length = if self.at < end {
                let piece = self.text.windows.piece(self.at, end, self.window)?;
                self.at = self.at.saturating_add(piece.len());
                self.outer.push(piece, self.decoded)?
            } else {
                self.ended = true;
                self.outer.finish(self.decoded)?
            };
            written = self.take(length, out)?;
        }
        self.position = self.position.saturating_add(written);
        Ok(written)
    }

    /// Takes the characters of the image from what is signed, of which so many octets were decoded.
    fn take(&mut self, length: usize, out: &mut [u8]) -> Result<usize, ReadError> {
        let start = self.signed_at;
        let end = start.saturating_add(length);
        self.signed_at = end;
        let image_end = self.text.image.raw.end();
        let text = self.decoded.get(..length).unwrap_or_default();
        let text = text.get(..image_end.saturating_sub(start).min(length)).unwrap_or_default();
        let text = text.get(self.from.saturating_sub(start)..).unwrap_or_default();
        let mut written = self.inner.push(text, out)?;
        if end >= image_end {
            let rest = out.get_mut(written..).unwrap_or_default();
            written = written.saturating_add(self.inner.finish(rest)?);
            self.ended = true;
        }
        Ok(written)
    }
}
