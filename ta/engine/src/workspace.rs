//! The buffer of an answer, lent to what a command needs room for before there is one.

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
