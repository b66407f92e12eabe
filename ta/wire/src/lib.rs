//! OTrP messages: names, identifiers, JSON and base64, without cryptography.
//!
//! Everything a peer of the protocol shares with the broker: the names of messages and members,
//! the error codes, the capacities, and a strict reader that turns bytes into [`Span`]s of the one
//! buffer that holds a message. Nothing here allocates, recurses or copies what it reads.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::arithmetic_side_effects,
        reason = "a test that panics has failed, which is what it is for"
    )
)]

#[cfg(test)]
extern crate std;

pub mod base64;
pub mod code;
pub mod command;
pub mod copy;
pub mod dsi;
pub mod envelope;
pub mod id;
pub mod json;
pub mod jwe;
pub mod limits;
pub mod name;
pub mod request;
pub mod response;
pub mod span;
pub mod stream;

pub use code::ErrorCode;
pub use name::RequestName;
pub use span::Span;

/// The version of the protocol: the only value of `ver`.
pub const VERSION: &str = "1.0";

/// The media type of OTrP messages (OTrP draft, section 13).
pub const MEDIA_TYPE: &str = "application/otrp+json";
