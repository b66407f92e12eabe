//! JWS and JWE in the forms of OTrP, around the primitives of josekit and OpenSSL.
//!
//! josekit's serializer generates the content encryption key and does not return it, but an answer is
//! encrypted under the key of its request (OTrP draft, section 9.2.1.2). So the JSON is assembled here,
//! and josekit signs, agrees, wraps and encrypts.
//!
//! Three of its properties are unsafe for untrusted messages, and are compensated here: it decrypts CBC
//! before it compares the tag, and not in constant time (a padding oracle); it reports wrong RSA1_5
//! padding (another); and it accepts GCM tags of any length and wrapped keys that are too short.

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
