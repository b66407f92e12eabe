//! The one read of a client's memory, and the one write of it.
//!
//! A client in the normal world can change its memory at any time, also while a command runs. So a
//! request is copied once, after its length is bounded, and nothing looks at the original again.

use alloc::vec::Vec;

use optee_utee::{
    Error, ErrorKind, ParameterMemref as _, ParameterMemrefInput, ParameterMemrefOutput,
    ParameterMemrefRead as _, ParameterMemrefWrite as _,
};
use zeroize::Zeroizing;

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
/// `ShortBuffer`; the client is told `length`.
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
/// `ShortBuffer`; the client is told the length.
pub fn send(memory: &mut ParameterMemrefOutput<'_>, reply: &[u8]) -> Result<(), Error> {
    require(memory, reply.len())?;
    memory.set_output(reply)
}
