//! Certificates, paths, keys and requests: OpenSSL generates them or checks them.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that panics has failed, which is what it is for"
)]
#![allow(missing_docs, reason = "nobody links a test")]

mod certificate;
mod fixture;
mod key;
mod path;
mod profile;
mod request;
mod signature;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/x509.rs"]
mod x509;
