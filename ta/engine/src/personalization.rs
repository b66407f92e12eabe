//! Personalization data on its way to the trusted application that it was sent for.

use crate::error::Error;
use crate::platform::{Blob, Platform, PortError, Ports, Store, UuidBytes};
use crate::registry::State;

/// Why an application gets no personalization data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PersonalizationError {
    /// No application of this UUID is installed through the broker.
    NotInstalled,
    /// The application was sent none.
    NoData,
    /// The buffer is shorter than [`otrp_wire::limits::REPLY_LIMIT`].
    ShortBuffer,
    /// The engine or a port failed.
    Failed(Error),
}

impl From<Error> for PersonalizationError {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Loads what was sent for the application of a UUID, and nothing else, to the start of `out`.
///
/// # Errors
/// [`PersonalizationError`]; a record that is mentioned and not there is damage, not
/// [`PersonalizationError::NoData`], which might lift what the data restrict.
pub fn load<'o, P: Platform>(
    ports: &mut Ports<P>,
    state: &State,
    client: &UuidBytes,
    out: &'o mut [u8],
) -> Result<&'o [u8], PersonalizationError> {
    let ta = state.ta_under(client).ok_or(PersonalizationError::NotInstalled)?;
    if !ta.has_data {
        return Err(PersonalizationError::NoData);
    }
    let data = ports.store.read(Blob::Personalization(ta.uuid), out).map_err(Error::Port)?;
    Ok(data.ok_or(Error::Port(PortError::Corrupt))?)
}
