//! A Trusted Application Manager (TAM) that speaks OTrP over HTTP.
//!
//! It makes requests, verifies answers, and brings devices to a desired state. It is written
//! against the drafts and shares no code with the device except the names, codes and limits of
//! `otrp-wire`: JOSE is josekit's and OpenSSL's, certificate paths are OpenSSL's, JSON is serde's.
//! So a misreading of the protocol has to be made twice to go unnoticed.
//!
//! Modules do not import each other in a circle (`make lint` checks it). From the ground up:
//!
//! | Layer | Modules |
//! |---|---|
//! | text and encodings | [`encoding`], [`foreign`], [`log`] |
//! | JOSE, certificates, images | [`jose`], [`certificate`], [`identity`], [`image`], [`ocsp`] |
//! | messages | [`dsi`], [`request`], [`response`], [`ta_information`], [`firmware`] |
//! | knowledge about devices | `step`, [`memory`], [`record`] |
//! | configuration | [`desired`], [`admission`], [`check`], [`deletions`], [`configured`] |
//! | database | [`store`], `state_file`, [`damage`], [`listing`] |
//! | sessions | [`plan`], `session`, `order`, [`pending`], [`echo`], [`tam`] |
//! | server | [`http`] |
//!
//! [`request::Builder`] makes any request, including wrong ones for tests. [`tam::Tam`] takes a message
//! and returns the next one; [`http`] serves it.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test that panics has failed, which is what it is for"
    )
)]

pub mod admission;
pub mod certificate;
pub mod check;
pub mod configured;
pub mod damage;
pub mod deletions;
pub mod desired;
pub mod dsi;
pub mod echo;
pub mod encoding;
pub mod firmware;
pub mod foreign;
pub mod http;
pub mod identity;
pub mod image;
pub mod jose;
pub mod listing;
pub mod log;
pub mod memory;
pub mod ocsp;
mod order;
pub mod pending;
pub mod plan;
pub mod record;
pub mod request;
pub mod response;
mod session;
mod state_file;
pub mod step;
pub mod store;
pub mod ta_information;
pub mod tam;

pub use identity::Identity;
