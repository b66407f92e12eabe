//! UUIDs of trusted applications.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// A UUID, as its 16 octets in the order of its text, which is also OP-TEE's order in images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Uuid(pub [u8; 16]);

/// Where the hyphens stand in the text.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

impl FromStr for Uuid {
    type Err = Error;

    /// Reads the form with hyphens, in either case, and no other.
    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = || Error::Uuid(text.to_owned());
        if text.len() != 36 {
            return Err(refused());
        }
        let mut digits = Vec::with_capacity(32);
        for (position, character) in text.char_indices() {
            match (HYPHENS.contains(&position), character.to_digit(16)) {
                (true, None) if character == '-' => {}
                (false, Some(digit)) => digits.push(digit as u8),
                _ => return Err(refused()),
            }
        }
        let mut octets = [0; 16];
        for (octet, pair) in octets.iter_mut().zip(digits.chunks_exact(2)) {
            *octet = pair[0] << 4 | pair[1];
        }
        Ok(Self(octets))
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, octet) in self.0.iter().enumerate() {
            if matches!(position, 4 | 6 | 8 | 10) {
                formatter.write_str("-")?;
            }
            write!(formatter, "{octet:02x}")?;
        }
        Ok(())
    }
}
