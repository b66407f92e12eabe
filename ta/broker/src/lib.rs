//! The engine's ports on OP-TEE's Internal Core API.
#![no_std]

extern crate alloc;

pub mod client;
pub mod clock;
pub mod inbox;
pub mod keys;
pub mod rng;
pub mod rsa;
pub mod stack;
pub mod store;
