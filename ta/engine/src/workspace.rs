//! The buffer of an answer, used as working space by a command before there is an answer.

use otrp_wire::limits::REPLY_LIMIT;

use crate::intake::READING;
use crate::plaintext::LEAST_BUFFER;
use crate::sp_certificates::CERTIFICATES_SPACE;

// An image is read beside the certificates of its domain.
const _: () = assert!(
    CERTIFICATES_SPACE + READING + LEAST_BUFFER <= REPLY_LIMIT,
    "raise REPLY_LIMIT with the certificates"
);

/// The buffer, for one purpose at a time: each overwrites what another left.
#[derive(Debug)]
pub struct Workspace<'b>(&'b mut [u8]);

impl<'b> Workspace<'b> {
    /// Lends a buffer of [`REPLY_LIMIT`](otrp_wire::limits::REPLY_LIMIT) bytes.
    #[must_use]
    pub const fn new(buffer: &'b mut [u8]) -> Self {
        Self(buffer)
    }

    /// For the registry's record.
    pub const fn record(&mut self) -> &mut [u8] {
        self.0
    }

    /// For the certificates of a security domain's service provider.
    pub const fn certificates(&mut self) -> &mut [u8] {
        self.0
    }

    /// For the certificates of a TAM, the new ones and those that are stored.
    pub const fn chains(&mut self) -> &mut [u8] {
        self.0
    }

    /// For the text of a device state.
    pub const fn device_state(&mut self) -> &mut [u8] {
        self.0
    }
}
