//! The TEE core's TA database, through the pseudo TA `otrp_ta_store`.

use optee_utee::{Error, ErrorKind, ParamIndex, TaSession, TaSessionBuilder, TeeParams, Uuid};
use otrp_engine::platform::{PortError, StoredTa, TaStore, UuidBytes};

/// The pseudo TA's UUID.
pub const TA_STORE_UUID: UuidBytes = [
    0x6b, 0x6f, 0x0f, 0x23, 0x8b, 0x46, 0x4e, 0x9a, 0x92, 0x1a, 0xc1, 0x4b, 0x10, 0x6f, 0xec, 0x81,
];

const BEGIN: u32 = 0;
const WRITE: u32 = 1;
const COMMIT: u32 = 2;
const ABORT: u32 = 3;
const DELETE: u32 = 4;
const QUERY: u32 = 5;
const CHECK: u32 = 6;

/// A session to the pseudo TA, opened at its first use.
pub struct PtaStore {
    session: Option<TaSession>,
}

impl core::fmt::Debug for PtaStore {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("PtaStore").field("open", &self.session.is_some()).finish()
    }
}

impl PtaStore {
    /// The TA database; nothing is opened yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { session: None }
    }

    /// Whether secure storage as a whole can be opened.
    ///
    /// # Errors
    /// `Corrupt` if its directory is damaged, missing or older than the TEE's counter: to open an
    /// object would end this TA then.
    pub fn check_storage(&mut self) -> Result<(), PortError> {
        self.invoke(CHECK, &mut TeeParams::new())
    }

    fn invoke(&mut self, command: u32, parameters: &mut TeeParams<'_>) -> Result<(), PortError> {
        self.call(command, parameters).map_err(|error| port_error(&error))
    }

    fn call(&mut self, command: u32, parameters: &mut TeeParams<'_>) -> Result<(), Error> {
        let session = match &mut self.session {
            Some(session) => session,
            closed @ None => {
                closed.insert(TaSessionBuilder::new(Uuid::from_bytes(TA_STORE_UUID)).build()?)
            }
        };
        session.invoke_command(command, parameters)
    }
}

impl Default for PtaStore {
    fn default() -> Self {
        Self::new()
    }
}

impl TaStore for PtaStore {
    const ELF64: bool = cfg!(target_pointer_width = "64");

    fn begin(&mut self, uuid: &UuidBytes, ta: &StoredTa) -> Result<(), PortError> {
        let mut name = [0; 48];
        let (uuid_part, digest_part) = name.split_at_mut(uuid.len());
        uuid_part.copy_from_slice(uuid);
        digest_part.copy_from_slice(&ta.digest);
        let mut parameters = TeeParams::new()
            .with_value_in(ParamIndex::Arg0, ta.size, ta.version)
            .with_memref_in(ParamIndex::Arg1, &name);
        self.invoke(BEGIN, &mut parameters)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), PortError> {
        // The pseudo TA takes an empty write for a mistake; here it is a slice like any other.
        if bytes.is_empty() {
            return Ok(());
        }
        self.invoke(WRITE, &mut TeeParams::new().with_memref_in(ParamIndex::Arg0, bytes))
    }

    fn commit(&mut self) -> Result<(), PortError> {
        self.invoke(COMMIT, &mut TeeParams::new())
    }

    fn abort(&mut self) {
        if self.session.is_some() && self.invoke(ABORT, &mut TeeParams::new()).is_err() {
            // Closing the session aborts, too.
            self.session = None;
        }
    }

    fn remove(&mut self, uuid: &UuidBytes) -> Result<(), PortError> {
        self.invoke(DELETE, &mut TeeParams::new().with_memref_in(ParamIndex::Arg0, uuid))
    }

    fn query(&mut self, uuid: &UuidBytes) -> Result<Option<StoredTa>, PortError> {
        let mut digest = [0; 32];
        let mut parameters = TeeParams::new()
            .with_memref_in(ParamIndex::Arg0, uuid)
            .with_memref_out(ParamIndex::Arg1, &mut digest)
            .with_value_out(ParamIndex::Arg2, 0, 0);
        match self.call(QUERY, &mut parameters) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::ItemNotFound => return Ok(None),
            Err(error) => return Err(port_error(&error)),
        }
        let (size, version) =
            parameters[ParamIndex::Arg2].output_value().ok_or(PortError::Failed)?;
        Ok(Some(StoredTa { version, size, digest }))
    }
}

/// What a failure of the pseudo TA means to the engine.
fn port_error(error: &Error) -> PortError {
    match error.kind() {
        ErrorKind::StorageNoSpace | ErrorKind::OutOfMemory => PortError::Full,
        ErrorKind::CorruptObject | ErrorKind::CorruptObject2 => PortError::Corrupt,
        ErrorKind::AccessConflict => PortError::Denied,
        _ => PortError::Failed,
    }
}
