//! The OTrP agent: carries messages between a TAM and the broker in the TEE.
//!
//! Neither side trusts the agent, and it holds no secret. It reads messages only to report progress to
//! its user.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod cli;
pub mod exchange;
pub mod http;
pub mod message;
#[cfg(feature = "optee")]
pub mod optee;
pub mod tee;
pub mod time;
