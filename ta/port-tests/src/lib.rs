//! Conformance tests of the engine's ports, generic over the implementation.
//!
//! The same functions run against the simulated TEE and, in the lab image, inside OP-TEE. Expected
//! values come from published vectors, from mathematics, or from an oracle that the caller brings.
#![no_std]
#![forbid(unsafe_code)]

mod ports;
mod report;
mod rsa_vectors;
mod store;

pub use ports::{clock, keys, rng, rsa};
pub use report::Report;
pub use store::{STORE_ROOM, TEST_TAS, store};
