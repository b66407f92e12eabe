//! The PKI of an OTrP deployment: certificates, keys and signed applications.
//!
//! Runs on a trusted machine of whoever holds the key in question: the TAM's operator, the device
//! maker, a service provider. Nothing of it is linked into a device.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod broker;
pub mod certificate;
pub mod development;
pub mod device;
mod error;
pub mod factory;
pub mod file;
pub mod image;
pub mod ocsp;
pub mod product;
pub mod show;
mod uuid;
pub mod vet;

pub use error::{Error, Result};
pub use uuid::Uuid;
