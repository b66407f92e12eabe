//! What the registry finds in storage.

use crate::platform::{PortError, Store};

/// What [`Store::load`] gave.
pub(super) enum Found<'b> {
    /// The record.
    Record(&'b [u8]),
    /// None: nothing was ever committed.
    Nothing(FreshDevice),
}

/// The witness of a store without a record: only [`Found::load`] makes one.
pub(super) struct FreshDevice(());

impl<'b> Found<'b> {
    /// Reads the record to the start of `record_buffer`.
    pub(super) fn load<S: Store>(
        store: &mut S,
        record_buffer: &'b mut [u8],
    ) -> Result<Self, PortError> {
        let record = store.load(record_buffer)?;
        Ok(record.map_or(Self::Nothing(FreshDevice(())), Self::Record))
    }
}
