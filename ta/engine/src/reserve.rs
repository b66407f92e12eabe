//! A key pair in reserve, where making one takes long.
//!
//! An RSA key pair takes seconds, a request should not. So one is made when nobody waits, and gets
//! its name when it is needed. The registry does not know it: after a power cut in the middle it
//! is in reserve still, or under the number that the registry uses next and clears at its opening.

use crate::platform::{KeyName, KeyPair, KeyType, Keys, OwnPublicKey, PortError, PrivateKey};

/// Generates the key pair in reserve if there is none, on a platform where generation takes long.
///
/// # Errors
/// The port's.
pub fn fill<K: Keys>(keys: &mut K) -> Result<(), PortError> {
    match keys.modulus(KeyName::Spare) {
        Ok(Some(_)) => Ok(()),
        // Nobody knows the public half of a damaged one, so nobody misses it.
        Ok(None) | Err(PortError::Corrupt) => keys.generate(KeyName::Spare).map(drop),
        Err(error) => Err(error),
    }
}

/// A new key pair under `name`, which no key pair has: the one in reserve, or one that is made.
///
/// # Errors
/// The port's.
pub fn draw<K: Keys>(keys: &mut K, name: KeyName) -> Result<KeyPair, PortError> {
    if keys.makes() != KeyType::P256 {
        match keys.rename(KeyName::Spare, name) {
            Ok(Some(modulus)) => {
                let public = OwnPublicKey::Rsa2048(modulus);
                return Ok(KeyPair { public, private: PrivateKey::Rsa2048(name) });
            }
            Ok(None) | Err(PortError::Corrupt) => {}
            Err(error) => return Err(error),
        }
    }
    keys.generate(name)
}
