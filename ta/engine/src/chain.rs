//! A certificate chain in memory of its own: DER certificates, leaf first.

use otrp_wire::limits::CHAIN_BYTES_LIMIT;
use sha2::{Digest, Sha256};

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

    /// SHA-256 of the whole chain.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.der).into()
    }
}
