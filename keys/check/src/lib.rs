//! What a device will refuse, and why, said before a device does.
//!
//! A broker tells a TAM that it does not trust nothing but that: whoever is not trusted is not to
//! learn why. So whoever runs a TAM must hear it from its own tools. The rules are those of the
//! broker, written a second time, with OpenSSL's signatures and a DER reader of their own; a test in
//! `ta/sim` compares the two on chains and responses with one thing spoiled each.
//!
//! What only a device knows stays with it: which anchors it is built with, and what time it is there.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test that panics has failed, which is what it is for"
    )
)]

pub mod anchor;
mod certificate;
pub mod chain;
mod der;
#[cfg(feature = "fixture")]
pub mod fixture;
pub mod image;
pub mod ocsp;
mod signature;
pub mod time;

pub use certificate::{Certificate, TEE_PURPOSE, TEE_PURPOSE_DOTTED};
