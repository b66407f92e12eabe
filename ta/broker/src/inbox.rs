//! Reads of a client's memory, and the one write of it.
//!
//! A client in the normal world can change its memory at any time, also while a command runs. What is
//! short is copied once, after its length is bounded, and nothing looks at the original again. A TAM's
//! message is read in windows, some of them twice: the engine takes nothing at the second reading that was
//! not there at the first (`otrp_engine::windows`).

use alloc::vec::Vec;

use optee_utee::{
    Error, ErrorKind, ParameterMemref as _, ParameterMemrefInput, ParameterMemrefOutput,
    ParameterMemrefRead as _, ParameterMemrefWrite as _,
};
use otrp_engine::platform::{PortError, Source};
use zeroize::Zeroizing;

/// A message in the client's memory.
pub struct Message<'m, 'p>(&'m ParameterMemrefInput<'p>);

impl<'m, 'p> Message<'m, 'p> {
    /// A message of at most `limit` bytes.
    ///
    /// # Errors
    /// `ExcessData` if it is longer.
    pub fn new(memory: &'m ParameterMemrefInput<'p>, limit: usize) -> Result<Self, Error> {
        if memory.buffer_len() > limit {
            return Err(ErrorKind::ExcessData.into());
        }
        Ok(Self(memory))
    }
}

impl Source for Message<'_, '_> {
    fn length(&self) -> usize {
        self.0.buffer_len()
    }

    fn read(&mut self, at: usize, buffer: &mut [u8]) -> Result<(), PortError> {
        match self.0.read_at(at, buffer) {
            Ok(length) if length == buffer.len() => Ok(()),
            _ => Err(PortError::Failed),
        }
    }
}

/// Copies a request of at most `limit` bytes to memory of this TA, which is wiped when dropped.
///
/// # Errors
/// `ExcessData` if the request is longer, `OutOfMemory` if there is no room for it.
pub fn receive(
    memory: &ParameterMemrefInput<'_>,
    limit: usize,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let length = memory.buffer_len();
    if length > limit {
        return Err(ErrorKind::ExcessData.into());
    }
    let mut request = reserve(length)?;
    if memory.read_at(0, &mut request)? != length {
        return Err(ErrorKind::Generic.into());
    }
    Ok(request)
}

/// `length` bytes of zeros in memory of this TA, wiped when dropped.
///
/// # Errors
/// `OutOfMemory`.
pub fn reserve(length: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(length).map_err(|_| Error::new(ErrorKind::OutOfMemory))?;
    buffer.resize(length, 0);
    Ok(Zeroizing::new(buffer))
}

/// Makes sure that a reply of `length` bytes will fit, before a command changes anything.
///
/// # Errors
/// `ShortBuffer`; with the size `length` for the client.
pub fn require(memory: &mut ParameterMemrefOutput<'_>, length: usize) -> Result<(), Error> {
    if memory.buffer_len() < length {
        // SAFETY: the size is only reported; with `ShortBuffer` nobody reads the buffer by it.
        unsafe { memory.set_updated_size_unchecked(length) };
        return Err(ErrorKind::ShortBuffer.into());
    }
    Ok(())
}

/// Copies a reply to the client's memory.
///
/// # Errors
/// `ShortBuffer`; with the length for the client.
pub fn send(memory: &mut ParameterMemrefOutput<'_>, reply: &[u8]) -> Result<(), Error> {
    require(memory, reply.len())?;
    memory.set_output(reply)
}
