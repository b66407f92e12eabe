//! Conformance tests of the engine's ports, generic over the implementation.
//!
//! The same functions run against the simulated TEE and, in the lab image, inside OP-TEE. Expected
//! values come from published vectors, from mathematics, or from an oracle that the caller brings.
#![no_std]
#![forbid(unsafe_code)]

mod ports;
mod report;
mod rsa_vectors;

pub use ports::{TEST_TAS, clock, keys, rng, rsa, storage, ta_store};
pub use report::Report;
