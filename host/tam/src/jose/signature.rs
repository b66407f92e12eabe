//! JWS: signing and verification.

use openssl::pkey::{PKeyRef, Private, Public};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Map;
use zeroize::Zeroizing;

use super::Header;
use super::algorithm::{KeyType, UNFIT_KEY};
use super::error::{NotMade, NotOpened};
use crate::encoding::{base64url, from_base64url, unambiguous_object};

/// A flattened JWS (RFC 7515, section 7.2.2).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jws {
    /// The protected header, base64url. It stands first, so that a device hashes the signing input as
    /// it reads the message, and not once more.
    pub protected: String,
    /// What is signed, base64url.
    pub payload: String,
    /// The unprotected header.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "unambiguous_header"
    )]
    pub header: Option<Header>,
    /// The signature, base64url.
    pub signature: String,
}

fn unambiguous_header<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Header>, D::Error> {
    unambiguous_object(deserializer).map(Some)
}

impl Jws {
    /// Signs `payload` with the algorithm of the key's type. `protected` is the protected header as
    /// JSON text.
    ///
    /// # Errors
    /// [`NotMade`] if the key is of an unsupported type.
    pub fn sign(
        payload: &[u8],
        protected: &[u8],
        header: Option<Header>,
        key: &PKeyRef<Private>,
    ) -> Result<Self, NotMade> {
        let key_type = KeyType::of(key).ok_or_else(|| NotMade::because(UNFIT_KEY))?;
        let key = Zeroizing::new(key.private_key_to_pkcs8().map_err(NotMade::because)?);
        let signer = key_type.signature_algorithm().signer(&key)?;
        let (payload, protected) = (base64url(payload), base64url(protected));
        let input = format!("{protected}.{payload}");
        let signature = signer.sign(input.as_bytes()).map_err(NotMade::because)?;
        Ok(Self { payload, protected, header, signature: base64url(&signature) })
    }

    /// The payload, unverified.
    ///
    /// # Errors
    /// [`NotOpened::Malformed`].
    pub fn unverified_payload(&self) -> Result<Vec<u8>, NotOpened> {
        from_base64url(&self.payload).ok_or(NotOpened::Malformed)
    }

    /// Verifies the signature over the texts as received. Only the algorithm of the key's type is
    /// accepted.
    ///
    /// # Errors
    /// [`NotOpened`].
    pub fn verify(&self, key: &PKeyRef<Public>) -> Result<(), NotOpened> {
        /// Any other member of a protected header would have to be understood.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Protected {
            alg: String,
            kid: Option<String>,
            typ: Option<String>,
        }
        let protected = from_base64url(&self.protected).ok_or(NotOpened::Malformed)?;
        let protected: Protected =
            serde_json::from_slice(&protected).map_err(|_| NotOpened::Malformed)?;
        // The two headers must not have a member in common, and `crit` must be protected (RFC 7515,
        // sections 4 and 4.1.11).
        let twice = |name: &String| match name.as_str() {
            "alg" | "crit" => true,
            "kid" => protected.kid.is_some(),
            "typ" => protected.typ.is_some(),
            _ => false,
        };
        if self.header.iter().flat_map(Map::keys).any(twice) {
            return Err(NotOpened::Malformed);
        }
        let algorithm = KeyType::of(key).ok_or(NotOpened::Algorithm)?.signature_algorithm();
        if protected.alg != algorithm.name() {
            return Err(NotOpened::Algorithm);
        }
        let signature = from_base64url(&self.signature).ok_or(NotOpened::Malformed)?;
        let input = format!("{}.{}", self.protected, self.payload);
        algorithm.verify(input.as_bytes(), &signature, key)
    }
}
