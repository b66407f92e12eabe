//! State that belongs to a TA's one thread.

use core::cell::{RefCell, RefMut};

use optee_utee::{ErrorKind, Result};

/// A value in a static that is borrowed as a whole.
pub struct Exclusive<T>(RefCell<T>);

// SAFETY: OP-TEE runs the entry points of a TA instance one after another, so the value has one
// user at a time and never two threads (GlobalPlatform TEE Internal Core API, section 2.1.3).
unsafe impl<T> Sync for Exclusive<T> {}

impl<T> Exclusive<T> {
    /// Takes the value.
    pub const fn new(value: T) -> Self {
        Self(RefCell::new(value))
    }

    /// The value; `Busy` if it is in use, which cannot happen unless an entry point calls another.
    pub fn borrow(&self) -> Result<RefMut<'_, T>> {
        self.0.try_borrow_mut().map_err(|_| ErrorKind::Busy.into())
    }
}
