//! A Trusted Application Manager: makes OTrP requests, judges answers, converges devices.
//!
//! It is written against the drafts and nothing of the device's code: JOSE is josekit's and
//! OpenSSL's, certificate paths are OpenSSL's, JSON is serde's. It shares with the device only the
//! names, codes and limits of `otrp-wire`, so a mistake in the protocol must be made twice,
//! differently, to pass.
//!
//! [`request::Builder`] makes any request, also a wrong one; [`response`] judges answers; [`plan`]
//! compares a device with the desired state; [`tam::Tam`] does all that for whoever connects, and
//! [`http`] lets them connect.
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
/// The name under which other crates know [`request`].
pub use request as message;
