//! The OTrP agent: carries messages between a TAM and the broker in the TEE.
//!
//! The agent is not trusted by either side and holds no secret. What it reads of a message, it
//! reads to tell its user what happens.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod cli;
pub mod exchange;
pub mod http;
pub mod message;
#[cfg(feature = "optee")]
pub mod optee;
pub mod tee;
pub mod time;
