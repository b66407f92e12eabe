//! The OTrP broker's core: bytes of a request in, bytes of a reply out.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod chain;
mod command;
pub mod crypto;
pub mod device;
mod dsi;
mod elf;
pub mod engine;
pub mod error;
pub mod image;
pub mod information;
pub mod jose;
pub mod personalization;
pub mod pki;
pub mod platform;
pub mod registry;
mod reply;
pub mod request;
mod reserve;
pub mod revocation;
pub mod secret;
mod sp_certificates;
pub mod trust;
mod workspace;

pub use engine::Engine;
pub use otrp_wire::limits;
pub use trust::{Anchor, Evicted, NamePattern, Trust};
