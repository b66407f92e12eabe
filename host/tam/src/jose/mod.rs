//! JWS and JWE in the forms of OTrP, around the primitives of josekit and OpenSSL.
//!
//! josekit's own serializer chooses the content encryption key itself and does not give it out,
//! but an answer is encrypted under the key of its request (OTrP draft, section 9.2.1.2). So the
//! JSON is assembled here, and josekit signs, agrees, wraps and encrypts.
//!
//! Three of its habits are unfit for what strangers send, and are made up for here: it decrypts
//! CBC before it compares the tag, byte by byte (a padding oracle), it tells when the padding of
//! RSA1_5 is wrong (another), and it takes a GCM tag of any length and a wrapped key too short to
//! be one.

mod algorithm;
mod content;
mod encryption;
mod error;
mod signature;
#[cfg(test)]
mod tests;

pub use algorithm::{
    ContentEncryption, KeyManagement, KeyManagements, KeyType, SignatureAlgorithm,
};
pub use content::ContentKey;
pub use encryption::{FlattenedJwe, Jwe, Recipient};
pub use error::{NotMade, NotOpened};
pub use signature::Jws;

use serde_json::{Map, Value};

/// A JOSE header: its members with their values.
pub type Header = Map<String, Value>;
