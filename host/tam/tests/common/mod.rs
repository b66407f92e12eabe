//! Shared by the tests: a PKI, a device, and a server on the loopback.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

mod device;
mod fixture;
pub mod harness;
mod jose;

pub use device::{Device, Faults, InstalledTa, Opened, Sd, attestation_key};
pub use fixture::{
    Holder, P256_ORDER, P384_ORDER, Pki, Profile, image, issue, new_key, new_rsa_key, other_form,
    public_half,
};
pub use jose::{decrypter, from_standard, from_url, sign, text, url};

pub const TAM_ID: &str = "https://tam.test/otrp";
pub const MEDIA_TYPE: &str = "application/otrp+json";
