//! Secrets: wiped when dropped, never copied, printed or compared with `==`.

use zeroize::ZeroizeOnDrop;

/// Overwrites what earlier calls have left on the stack below the caller's frame. What is built there
/// and moved to a longer life would carry secrets off in its unused parts.
///
/// Not with zeros, so that it can still be seen how deep the stack has been used.
#[inline(never)]
pub fn wipe_stack() {
    let mut below = [1_u8; STACK_BELOW];
    core::hint::black_box(&mut below);
}

/// More than the frames take that have seen a key, and not so much that the stack gets deeper by it.
const STACK_BELOW: usize = 16 * 1024;

/// A private key on the curve P-256: a scalar, big-endian.
#[derive(ZeroizeOnDrop)]
pub struct Scalar([u8; 32]);

impl Scalar {
    /// Takes the bytes; the caller wipes its own copy.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Takes other bytes, without a copy of them on the stack.
    pub const fn fill(&mut self, bytes: &[u8; 32]) {
        self.0.copy_from_slice(bytes);
    }
}

impl core::fmt::Debug for Scalar {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("Scalar")
    }
}

/// 32 secret bytes that a key is derived from.
#[derive(ZeroizeOnDrop)]
pub struct Seed([u8; 32]);

impl Seed {
    /// Takes the bytes; the caller wipes its own copy.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}
