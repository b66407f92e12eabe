//! The store in the TEE core, through the pseudo TA `otrp_store`.
//!
//! The record holds private keys. It is copied by nothing here; libutee passes it to the core in
//! memory that it maps for the call and takes away after it, and that the core fills with zeros
//! before anybody else gets it.

use alloc::vec::Vec;

use optee_utee::{Error, ErrorKind, ParamIndex, TaSession, TaSessionBuilder, TeeParams, Uuid};
use otrp_engine::platform::{Blob, PortError, Properties, Store, UuidBytes};

/// The pseudo TA's UUID.
pub const STORE_UUID: UuidBytes = [
    0x6b, 0x6f, 0x0f, 0x23, 0x8b, 0x46, 0x4e, 0x9a, 0x92, 0x1a, 0xc1, 0x4b, 0x10, 0x6f, 0xec, 0x81,
];

const LOAD: u32 = 0;
const BEGIN: u32 = 1;
const WRITE: u32 = 2;
const SEAL: u32 = 3;
const ABORT: u32 = 4;
const COMMIT: u32 = 5;
const READ: u32 = 6;

/// A session with the pseudo TA, opened at its first use.
pub struct PtaStore {
    session: Option<TaSession>,
}

impl core::fmt::Debug for PtaStore {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("PtaStore").field("open", &self.session.is_some()).finish()
    }
}

impl PtaStore {
    /// The store; nothing is opened yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { session: None }
    }

    fn invoke(&mut self, command: u32, parameters: &mut TeeParams<'_>) -> Result<(), PortError> {
        self.call(command, parameters).map_err(|error| port_error(&error))
    }

    fn call(&mut self, command: u32, parameters: &mut TeeParams<'_>) -> Result<(), Error> {
        let session = match &mut self.session {
            Some(session) => session,
            closed @ None => {
                closed.insert(TaSessionBuilder::new(Uuid::from_bytes(STORE_UUID)).build()?)
            }
        };
        session.invoke_command(command, parameters)
    }

    /// Has the core fill a buffer whose parameter is `index`; the number of bytes, `None` if there is
    /// nothing to read.
    fn fetch(
        &mut self,
        command: u32,
        mut parameters: TeeParams<'_>,
        index: ParamIndex,
    ) -> Result<Option<usize>, PortError> {
        match self.call(command, &mut parameters) {
            Ok(()) => parameters[index]
                .written_slice()
                .map(|written| Some(written.len()))
                .ok_or(PortError::Failed),
            Err(error) => match error.kind() {
                ErrorKind::ItemNotFound => Ok(None),
                // It is longer than the caller takes for possible.
                ErrorKind::ShortBuffer => Err(PortError::Corrupt),
                _ => Err(port_error(&error)),
            },
        }
    }
}

impl Default for PtaStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for PtaStore {
    const ELF64: bool = cfg!(target_pointer_width = "64");

    fn load<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, PortError> {
        let parameters = TeeParams::new().with_memref_out(ParamIndex::Arg0, buffer);
        let length = self.fetch(LOAD, parameters, ParamIndex::Arg0);
        // What the core was not asked for it has not dropped.
        let length = length.inspect_err(|_| self.abort())?;
        length.map(|length| buffer.get(..length).ok_or(PortError::Failed)).transpose()
    }

    fn begin(&mut self, blob: Blob, properties: &Properties) -> Result<(), PortError> {
        let Properties { size, version, owner } = properties;
        let mut name = [0; Blob::IDENTIFIER + 32];
        let (identifier, place) = name.split_at_mut(Blob::IDENTIFIER);
        identifier.copy_from_slice(&blob.identifier());
        place.copy_from_slice(owner);
        let mut parameters = TeeParams::new()
            .with_memref_in(ParamIndex::Arg0, &name)
            .with_value_in(ParamIndex::Arg1, *size, *version);
        self.invoke(BEGIN, &mut parameters)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), PortError> {
        // The pseudo TA takes an empty write for a mistake; here it is a slice like any other.
        if bytes.is_empty() {
            return Ok(());
        }
        self.invoke(WRITE, &mut TeeParams::new().with_memref_in(ParamIndex::Arg0, bytes))
    }

    fn seal(&mut self) -> Result<(), PortError> {
        self.invoke(SEAL, &mut TeeParams::new())
    }

    fn abort(&mut self) {
        if self.session.is_some() && self.invoke(ABORT, &mut TeeParams::new()).is_err() {
            // Closing the session aborts, too.
            self.session = None;
        }
    }

    fn commit(&mut self, record: &[u8], removed: &[Blob]) -> Result<(), PortError> {
        let mut names = Vec::new();
        let outcome = names
            .try_reserve_exact(removed.len().saturating_mul(Blob::IDENTIFIER))
            .map_err(|_| PortError::Full)
            .and_then(|()| {
                for blob in removed {
                    names.extend_from_slice(&blob.identifier());
                }
                let mut parameters = TeeParams::new()
                    .with_memref_in(ParamIndex::Arg0, record)
                    .with_memref_in(ParamIndex::Arg1, &names);
                self.invoke(COMMIT, &mut parameters)
            });
        // Where memory is short the core may not have been asked, and has what is pending still.
        outcome.inspect_err(|_| self.abort())
    }

    fn read<'b>(
        &mut self,
        blob: Blob,
        buffer: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, PortError> {
        let name = blob.identifier();
        let parameters = TeeParams::new()
            .with_memref_in(ParamIndex::Arg0, &name)
            .with_memref_out(ParamIndex::Arg1, buffer);
        let length = self.fetch(READ, parameters, ParamIndex::Arg1)?;
        length.map(|length| buffer.get(..length).ok_or(PortError::Failed)).transpose()
    }
}

/// What a failure of the pseudo TA means to the engine.
fn port_error(error: &Error) -> PortError {
    match error.kind() {
        ErrorKind::StorageNoSpace | ErrorKind::OutOfMemory => PortError::Full,
        ErrorKind::CorruptObject => PortError::Corrupt,
        ErrorKind::AccessConflict => PortError::Denied,
        ErrorKind::Busy => PortError::Busy,
        _ => PortError::Failed,
    }
}
