//! Records as persistent objects of the trusted application's private storage.
//!
//! OP-TEE encrypts and authenticates them under a key of this device and this TA, and creates an
//! object over an existing one atomically: the directory changes from the old to the new in one
//! step. A damaged object is reported once and deleted. libutee ends the TA where the TEE core
//! reports what the GlobalPlatform specification does not list; that is a power cut to the engine.

use optee_utee::{
    DataFlag, Error, ErrorKind, GenericObject, ObjectStorageConstants, PersistentObject,
};
use otrp_engine::platform::{Name, PortError, Storage};

/// The TA's private storage.
#[derive(Debug)]
pub struct PrivateStorage;

/// Several readers of an object at a time: one that is held open is read too.
pub(crate) const READ: DataFlag = DataFlag::ACCESS_READ.union(DataFlag::SHARE_READ);

/// An object that stays open for a while; see [`PrivateStorage::hold`].
#[must_use = "it is closed when it is dropped"]
pub struct Held(#[expect(dead_code, reason = "held, not used")] Option<PersistentObject>);

impl PrivateStorage {
    /// Keeps an object open, so that others are opened and written in half the time.
    ///
    /// OP-TEE reads and checks the directory of secure storage when the first object is opened, and
    /// forgets it when the last is closed: without an open object, at every access. It is not held
    /// for longer than a command, for a restarted tee-supplicant knows nothing of open files. That
    /// the object is absent or damaged is for its user to find.
    ///
    /// The object must not be replaced or removed meanwhile.
    pub fn hold(&self, name: Name) -> Held {
        Held(open(name, READ).unwrap_or_default())
    }
}

impl Storage for PrivateStorage {
    fn load<'b>(
        &mut self,
        name: Name,
        buffer: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, PortError> {
        let Some(mut object) = open(name, READ)? else {
            return Ok(None);
        };
        let size = object.info().map_err(|error| port_error(&error))?.data_size();
        read(&mut object, size, buffer).map(Some)
    }

    fn replace(&mut self, name: Name, record: &[u8]) -> Result<(), PortError> {
        let flags = DataFlag::ACCESS_WRITE | DataFlag::OVERWRITE;
        PersistentObject::create(
            ObjectStorageConstants::Private,
            &name.identifier(),
            flags,
            None,
            record,
        )
        .map(drop)
        .map_err(|error| port_error(&error))
    }

    fn remove(&mut self, name: Name) -> Result<(), PortError> {
        match delete(name) {
            // OP-TEE has just deleted the object that it found damaged: there is none now.
            Err(PortError::Corrupt) => delete(name),
            outcome => outcome,
        }
    }
}

/// Reads the `size` bytes of an object to the start of `buffer`.
pub(crate) fn read<'b>(
    object: &mut PersistentObject,
    size: usize,
    buffer: &'b mut [u8],
) -> Result<&'b [u8], PortError> {
    let record = buffer.get_mut(..size).ok_or(PortError::Corrupt)?;
    let mut filled = 0;
    while let Some(rest) = record.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let count = object.read(rest).map_err(|error| port_error(&error))?;
        let count = usize::try_from(count).map_err(|_| PortError::Failed)?;
        // The end of the data before its size.
        if count == 0 {
            return Err(PortError::Corrupt);
        }
        filled = filled.saturating_add(count);
    }
    Ok(record)
}

fn delete(name: Name) -> Result<(), PortError> {
    match open(name, DataFlag::ACCESS_WRITE_META)? {
        Some(object) => object.close_and_delete().map_err(|error| port_error(&error)),
        None => Ok(()),
    }
}

/// Opens an object; `None` if there is none.
pub(crate) fn open(name: Name, flags: DataFlag) -> Result<Option<PersistentObject>, PortError> {
    match PersistentObject::open(ObjectStorageConstants::Private, &name.identifier(), flags) {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.kind() == ErrorKind::ItemNotFound => Ok(None),
        Err(error) => Err(port_error(&error)),
    }
}

/// What a failure of the TEE means to the engine.
pub(crate) fn port_error(error: &Error) -> PortError {
    match error.kind() {
        ErrorKind::StorageNoSpace | ErrorKind::OutOfMemory => PortError::Full,
        ErrorKind::CorruptObject | ErrorKind::CorruptObject2 | ErrorKind::MacInvalid => {
            PortError::Corrupt
        }
        _ => PortError::Failed,
    }
}
