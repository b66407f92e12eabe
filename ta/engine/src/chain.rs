//! A certificate chain in memory of its own: DER certificates, leaf first.

use otrp_wire::limits::CHAIN_BYTES_LIMIT;

use crate::pki;

/// Room for one chain.
#[derive(Debug, Default)]
pub struct ChainBuffer {
    der: heapless::Vec<u8, CHAIN_BYTES_LIMIT>,
}

/// The chain is longer than [`CHAIN_BYTES_LIMIT`], or no chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAChain;

impl ChainBuffer {
    /// No chain.
    #[must_use]
    pub const fn new() -> Self {
        Self { der: heapless::Vec::new() }
    }

    /// Empties it.
    pub fn clear(&mut self) {
        self.der.clear();
    }

    /// Whether there is no chain.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.der.is_empty()
    }

    /// Appends a certificate.
    ///
    /// # Errors
    /// [`NotAChain`] if there is no room.
    pub fn push(&mut self, certificate: &[u8]) -> Result<(), NotAChain> {
        self.der.extend_from_slice(certificate).map_err(|_| NotAChain)
    }

    /// Takes certificates that stand one behind the other.
    ///
    /// # Errors
    /// [`NotAChain`] if there is no room.
    pub fn set(&mut self, der: &[u8]) -> Result<(), NotAChain> {
        self.clear();
        self.push(der)
    }

    /// Takes what `load` writes to the start of the room for a chain, and says the length of;
    /// whether there is anything.
    ///
    /// # Errors
    /// That of `load`; there is then no chain.
    pub fn fill<E>(
        &mut self,
        load: impl FnOnce(&mut [u8]) -> Result<Option<usize>, E>,
    ) -> Result<bool, E> {
        self.der.clear();
        // Up to its capacity it cannot fail.
        let _ = self.der.resize(CHAIN_BYTES_LIMIT, 0);
        let length = load(&mut self.der);
        self.der.truncate(length.as_ref().map_or(0, |length| length.unwrap_or(0)));
        Ok(length?.is_some())
    }

    /// The certificates, one behind the other.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Each certificate.
    ///
    /// # Errors
    /// [`NotAChain`] if the bytes are not certificates, or too many.
    pub fn certificates(&self) -> Result<pki::Chain<'_>, NotAChain> {
        pki::split_chain(&self.der).map_err(|_| NotAChain)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that panics has found something")]
mod tests {
    use super::*;

    #[test]
    fn a_chain_has_its_length() {
        let mut chain = ChainBuffer::new();
        assert_eq!(chain.set(&[7; CHAIN_BYTES_LIMIT]), Ok(()));
        assert_eq!(chain.push(&[7]), Err(NotAChain));
        assert_eq!(chain.set(&[7; CHAIN_BYTES_LIMIT + 1]), Err(NotAChain));
    }

    #[test]
    fn a_chain_is_what_was_loaded() {
        let mut chain = ChainBuffer::new();
        let loaded = chain.fill(|room| {
            assert_eq!(room.len(), CHAIN_BYTES_LIMIT);
            room.fill(7);
            Ok::<_, u8>(Some(3))
        });
        assert_eq!((loaded, chain.der()), (Ok(true), &[7; 3][..]));
        assert_eq!(chain.fill(|_| Ok::<_, u8>(None)), Ok(false));
        assert!(chain.is_empty());
        chain.set(&[7; 3]).unwrap();
        assert_eq!(chain.fill(|_| Err(9_u8)), Err(9));
        assert!(chain.is_empty());
    }
}
