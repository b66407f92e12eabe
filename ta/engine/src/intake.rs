//! The first reading of a message: its short parts come to memory, its long string passes through.
//!
//! ```text
//! {"InstallTARequest": {"payload": "...", "protected": ..., "header": ..., "signature": ...}}
//!                                   |
//!                  base64url of     |   in the clear but not in memory: a few KiB or many MiB
//!                                   v
//! {"InstallTATBSRequest": {..., "encrypted_ta": {..., "ciphertadata": "..."}}}
//!                                                                      |
//!                                                    base64 of         v   not even looked at
//!                                                                    the encrypted image
//! ```
//!
//! The two skeletons, the texts without these two strings, are in memory. Each window of the message has
//! a tag by which it is known when it is read again.

use otrp_wire::Span;
use otrp_wire::base64::{Decoder, Form};
use otrp_wire::envelope::{Envelope, EnvelopeError};
use otrp_wire::stream::{LongString, Splitter, Step, Unescape};

use crate::error::Error;
use crate::jose::signature::SigningInput;
use crate::platform::{Rng, Source};
use crate::windows::{WINDOW, Windows};

/// Octets of the longest skeleton of what is signed: the content and the personalization data of a
/// request, or the OCSP responses of the longest chain; in base64.
pub const SKELETON_LIMIT: usize = 36 * 1024;
/// Octets that a window of base64 decodes to.
pub const DECODED: usize = Decoder::longest(WINDOW);
/// What the two readings need at a time.
pub const READING: usize = WINDOW + DECODED;

/// The members that are not kept in memory.
const PAYLOAD: &[&str] = &["payload"];
const IMAGES: &[&str] = &["ciphertadata", "ciphernewtadata"];

/// How much memory, besides that of a reply, a message of this length takes to be processed.
#[must_use]
pub const fn memory_for(message: usize) -> usize {
    Windows::tags_length(message).saturating_add(skeleton_length(message))
}

const fn skeleton_length(message: usize) -> usize {
    let longest = Decoder::longest(message);
    if longest < SKELETON_LIMIT { longest } else { SKELETON_LIMIT }
}

/// A message that was read once. Nothing in it is verified.
pub(crate) struct Intake<'m, 'o> {
    /// The skeleton of the envelope, at the start of the buffer for the reply.
    pub out: &'o mut [u8],
    pub envelope: Envelope,
    pub payload: Payload<'m>,
    /// The signing input, if the protected header stood before the payload, and where it stood.
    signed: Option<(Span, SigningInput)>,
}

/// The payload of a message.
#[derive(Debug)]
pub(crate) struct Payload<'m> {
    /// The skeleton of what is signed; `None` if the payload is not base64url.
    pub skeleton: Option<&'m mut [u8]>,
    /// The encrypted image, if there is one.
    pub image: Option<LongString>,
    /// The message, to be read again.
    pub windows: Windows<'m>,
    /// The text of the payload in the message.
    pub text: LongString,
}

/// Why a message is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntakeError {
    /// It has no structure of a request.
    Envelope(EnvelopeError),
    /// The memory cannot be read, or there are no random bytes.
    Failed(Error),
}

impl From<Error> for IntakeError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl<'m, 'o> Intake<'m, 'o> {
    /// Reads a message. `memory` has [`memory_for`] octets, `out` those of a reply.
    pub(crate) fn read<R: Rng>(
        source: &'m mut dyn Source,
        memory: &'m mut [u8],
        rng: &mut R,
        out: &'o mut [u8],
    ) -> Result<Self, IntakeError> {
        let tags = Windows::tags_length(source.length());
        let (tags, skeleton) = memory.split_at_mut_checked(tags).ok_or(Error::Internal)?;
        let mut windows = Windows::new(source, tags, rng)?;
        let reading = out.len().checked_sub(READING).ok_or(Error::Internal)?;
        let (envelope, reading) = out.split_at_mut_checked(reading).ok_or(Error::Internal)?;
        let (window, decoded) = reading.split_at_mut_checked(WINDOW).ok_or(Error::Internal)?;

        let mut outer = Splitter::new(PAYLOAD, "protected", envelope);
        let mut inner = Inner::new(skeleton, decoded);
        for index in 0..windows.count() {
            let text = windows.first(index, window)?;
            outer.push(text, &mut |outer, piece| inner.push(outer, piece));
        }
        let (envelope, text) = outer.finish();
        let read = Envelope::read(envelope).map_err(IntakeError::Envelope)?;
        let malformed = IntakeError::Envelope(EnvelopeError::Malformed(read.name));
        // No other string is the payload, whatever its member is called.
        let text = text.filter(|text| text.at == read.payload.start()).ok_or(malformed)?;
        let signed = inner.signed.take().filter(|(span, _)| *span == read.protected);
        let (skeleton, image) = inner.finish();
        Ok(Self {
            out,
            envelope: read,
            payload: Payload { skeleton, image, windows, text },
            signed,
        })
    }

    /// SHA-256 of the JWS signing input.
    ///
    /// # Errors
    /// [`Error::Port`] if the message has changed.
    pub(crate) fn signing_digest(&mut self) -> Result<[u8; 32], Error> {
        if let Some((_, input)) = self.signed.take() {
            return Ok(input.digest());
        }
        // The payload stood before the protected header: read it again.
        let mut input = SigningInput::new(self.envelope.protected.of(self.out));
        let reading = self.out.len().checked_sub(WINDOW).ok_or(Error::Internal)?;
        let window = self.out.get_mut(reading..).ok_or(Error::Internal)?;
        let Payload { windows, text, .. } = &mut self.payload;
        let mut at = text.raw.start();
        let mut unescape = Unescape::new();
        while at < text.raw.end() {
            let mut piece = windows.piece(at, text.raw.end(), window)?;
            at = at.saturating_add(piece.len());
            while !piece.is_empty() {
                let Step::Taken(taken) = unescape.step(piece, |value| input.push(value)) else {
                    return Err(Error::Internal);
                };
                piece = piece.get(taken..).unwrap_or_default();
            }
        }
        Ok(input.digest())
    }
}

/// What is signed, as it comes out of the payload.
struct Inner<'m, 'd> {
    splitter: Splitter<'m>,
    decoder: Decoder,
    decoded: &'d mut [u8],
    is_base64: bool,
    started: bool,
    signed: Option<(Span, SigningInput)>,
}

impl<'m, 'd> Inner<'m, 'd> {
    const fn new(skeleton: &'m mut [u8], decoded: &'d mut [u8]) -> Self {
        Self {
            splitter: Splitter::new(IMAGES, "", skeleton),
            decoder: Decoder::new(Form::Url),
            decoded,
            is_base64: true,
            started: false,
            signed: None,
        }
    }

    fn push(&mut self, outer: &Splitter<'_>, piece: &[u8]) {
        if !self.started {
            self.started = true;
            // With escapes it is not the text that was signed.
            let protected = outer.noted().filter(|(_, protected)| !protected.contains(&b'\\'));
            self.signed = protected.map(|(span, text)| (span, SigningInput::new(text)));
        }
        if let Some((_, input)) = &mut self.signed {
            input.push(piece);
        }
        if !self.is_base64 {
            return;
        }
        // The long string of the skeleton passes by.
        match self.decoder.push(piece, self.decoded) {
            Ok(length) => {
                let decoded = self.decoded.get(..length).unwrap_or_default();
                self.splitter.push(decoded, &mut |_, _| ());
            }
            Err(_) => self.is_base64 = false,
        }
    }

    fn finish(self) -> (Option<&'m mut [u8]>, Option<LongString>) {
        let Self { mut splitter, mut decoder, mut is_base64, .. } = self;
        let mut last = [0; 3];
        match decoder.finish(&mut last) {
            Ok(length) => {
                splitter.push(last.get(..length).unwrap_or_default(), &mut |_, _| ());
            }
            Err(_) => is_base64 = false,
        }
        let (skeleton, image) = splitter.finish();
        if is_base64 { (Some(skeleton), image) } else { (None, None) }
    }
}
