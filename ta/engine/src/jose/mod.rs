//! The cryptography of JOSE messages.
//!
//! Decoded octets in, decoded octets out, except for [`open`], which decrypts a JWE in place in its
//! message. Nothing here decides whom to trust.

pub mod content;
#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has found something"
)]
mod cookbook;
pub mod data_stream;
pub mod key_management;
pub mod open;
pub mod signature;
