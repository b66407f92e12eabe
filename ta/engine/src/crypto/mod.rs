//! Cryptography that messages ([`jose`](crate::jose)) and certificates ([`pki`](crate::pki)) share.
//!
//! Octets in, octets out: nothing here reads JSON, base64 or X.509, and nothing decides whom to trust.
//! Secrets are in [`secret`](crate::secret), below the ports that this module is built on.

pub mod digest;
pub mod ecdsa;
mod error;
mod key;
pub mod rsa;
mod scheme;

pub use error::Error;
pub use key::PublicKey;
pub use scheme::{Scheme, Signature, sign};
