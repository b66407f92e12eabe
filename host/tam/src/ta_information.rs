//! TAInformation of an installed application (OTrP draft, section 6.4.2).

use openssl::bn::{BigNum, BigNumContext};
use openssl::error::ErrorStack;
use openssl::pkey::{PKeyRef, Public};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::encoding::{Single, base64url};
use crate::jose::{Jws, KeyType, NotOpened};
use crate::response::Refused;

/// Information about an application, verified with the attestation key of its SP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaInformation {
    /// The application.
    pub taid: String,
    /// The TAM whose security domain it is in.
    pub tamid: String,
    /// The service provider.
    pub spid: String,
    /// The certificate of the application's signer, base64.
    pub signercert: String,
    /// The certificates above it, if there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signercacerts: Vec<String>,
    /// The certificate of the TAM, base64.
    pub tamcert: String,
    /// The certificates above it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tamcacerts: Vec<String>,
}

impl TaInformation {
    /// Reads the message `{"TAInformation":...}` and verifies that it is signed by the key that is
    /// known to be the SP's on this device. If the message contains a key, it must be the same one.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn verify(message: &[u8], attestation_key: &PKeyRef<Public>) -> Result<Self, Refused> {
        let outer: Single<Jws> = serde_json::from_slice(message).map_err(Refused::unread)?;
        if outer.name != "TAInformation" {
            return Err(Refused::WrongName);
        }
        let jws = outer.value;
        jws.verify(attestation_key)?;
        if let Some(shown) = jws.header.as_ref().and_then(|header| header.get("signer"))
            && !is_jwk_of(shown, attestation_key)
        {
            return Err(Refused::Jose(NotOpened::Signature));
        }
        let payload = jws.unverified_payload()?;
        let inner: Single<Self> = serde_json::from_slice(&payload).map_err(Refused::unread)?;
        if inner.name != "TAInformationTBS" {
            return Err(Refused::WrongName);
        }
        Ok(inner.value)
    }
}

/// Whether a JSON Web Key is the public key (RFC 7518, sections 6.2.1 and 6.3.1).
fn is_jwk_of(jwk: &Value, key: &PKeyRef<Public>) -> bool {
    let members = match KeyType::of(key) {
        Some(KeyType::Elliptic) => elliptic_members(key),
        Some(KeyType::Rsa) => rsa_members(key),
        None => return false,
    };
    members.is_ok_and(|members| {
        members.iter().all(|(name, value)| jwk.get(name).and_then(Value::as_str) == Some(value))
    })
}

type Members = Vec<(&'static str, String)>;

fn elliptic_members(key: &PKeyRef<Public>) -> Result<Members, ErrorStack> {
    let key = key.ec_key()?;
    let (mut x, mut y) = (BigNum::new()?, BigNum::new()?);
    let mut context = BigNumContext::new()?;
    key.public_key().affine_coordinates(key.group(), &mut x, &mut y, &mut context)?;
    Ok(vec![
        ("kty", "EC".into()),
        ("crv", "P-256".into()),
        ("x", base64url(&x.to_vec_padded(32)?)),
        ("y", base64url(&y.to_vec_padded(32)?)),
    ])
}

fn rsa_members(key: &PKeyRef<Public>) -> Result<Members, ErrorStack> {
    let key = key.rsa()?;
    Ok(vec![
        ("kty", "RSA".into()),
        ("n", base64url(&key.n().to_vec())),
        ("e", base64url(&key.e().to_vec())),
    ])
}
