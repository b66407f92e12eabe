//! Reports what a device will refuse, and why, before a device does.
//!
//! A broker gives a TAM that it does not trust no reason, so the operator of a TAM has to learn it from
//! the TAM's own tools. The rules are those of the broker, implemented a second time, with OpenSSL's
//! signatures and a DER reader of their own; tests in `ta/engine` and `ta/sim` compare the two on chains
//! and responses with one defect each.
//!
//! Not known here are the anchors that a device is built with, and its time.
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
