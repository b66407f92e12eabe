//! The OTrP broker's core: bytes of a request in, bytes of a reply out.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod jose;
pub mod image;
pub mod pki;
pub mod platform;
pub mod secret;
