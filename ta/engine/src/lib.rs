//! The OTrP broker's core: bytes of a request in, bytes of a reply out.
//!
//! A message goes through [`Engine::process`] in states. Each step consumes the state before it and can
//! fail, and nothing inside a message is looked at before the signature around it is checked:
//!
//! ```text
//!  message                        in memory that its sender can change
//!    |  Received::read            the envelope: a name, a signature, certificates
//!  Received
//!    |  authenticate              path to an anchor, signature of the leaf's key
//!  Verified
//!    |  read                      members, as its name has them
//!  Request + TrustedTam
//!    |
//!    |  GetDeviceState                      any other request
//!    |  revocation::staple                  revocation::remember
//!    |      by the responses in it              by those of the last GetDeviceState
//!  StapledTam                             UnrevokedTam
//!    |                                      |  registry::current      dsihash: the state given last
//!    |                                    Current
//!    |                                      |  Request::open          content decrypted; its owner signed
//!    |                                    Opened + Owner
//!    |                                      |  Owner, Target          may it, and does it make sense
//!    |                                    Authorized
//!    |  Change::meet                        |  Change::create_sd, install, ...
//!    +---------------> Change <-------------+
//!                        |  Registry::commit      record and blobs at once
//!                      Given, Done
//!                        |  reply                 encrypted for the TAM, signed by the TEE
//!                      reply                      bytes in the caller's buffer
//! ```
//!
//! The stages: [`Received`](request::Received), [`Verified`](request::Verified),
//! [`Request`](request::Request), [`TrustedTam`](pki::TrustedTam),
//! [`StapledTam`](revocation::StapledTam) or [`UnrevokedTam`](revocation::UnrevokedTam),
//! [`Current`](registry::Current), [`Opened`](request::Opened), [`Owner`](registry::Owner),
//! [`Target`](registry::Target), [`Authorized`](registry::Authorized), [`Change`](registry::Change),
//! and [`Registry::commit`](registry::Registry::commit).
//!
//! Whoever is refused before there is a [`Transaction`](request::Transaction) is a stranger and learns
//! nothing of the device; who is refused before there is a [`SealingKey`](request::SealingKey) gets the
//! error in the open.
//!
//! Modules know each other in one direction, which `make lint` checks:
//!
//! ```text
//!  secret <- platform <- crypto <- jose, image
//!                               <- trust <- pki <- chain, device, revocation
//!  platform <- windows <- intake <- ciphertext <- plaintext -> jose, elf <- image
//!                                                    ^
//!  registry                  state <- policy <- change <- Registry
//!                                                    ^
//!                             request, dsi, sp_certificates <- command, reply <- engine
//! ```
//!
//! What the machine has to give is in [`platform`], the capacities in [`limits`].
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod chain;
mod ciphertext;
mod command;
pub mod crypto;
pub mod device;
mod dsi;
pub mod elf;
pub mod engine;
pub mod error;
pub mod image;
pub mod information;
pub mod intake;
pub mod jose;
pub mod personalization;
pub mod pki;
mod plaintext;
pub mod platform;
pub mod registry;
mod reply;
pub mod request;
mod reserve;
pub mod revocation;
pub mod secret;
mod sp_certificates;
pub mod trust;
pub mod windows;
mod workspace;

pub use engine::Engine;
pub use otrp_wire::limits;
pub use trust::{Anchor, Evicted, NamePattern, Trust};
