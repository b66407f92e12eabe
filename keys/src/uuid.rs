//! UUIDs of trusted applications.

use std::fmt;
use std::str::FromStr;

use uuid::fmt::Hyphenated;

use crate::Error;

/// A UUID, as its 16 octets in the order of its text, which is also OP-TEE's order in images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Uuid(pub [u8; 16]);

impl FromStr for Uuid {
    type Err = Error;

    /// Reads the form with hyphens, in either case, and no other.
    fn from_str(text: &str) -> Result<Self, Error> {
        let uuid: Hyphenated = text.parse().map_err(|_| Error::Uuid(text.to_owned()))?;
        Ok(Self(uuid.into_uuid().into_bytes()))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).hyphenated().fmt(formatter)
    }
}
