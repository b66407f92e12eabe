//! The algorithms of JOSE that OTrP uses, and the types of keys that they are for.

use josekit::jwe::alg::ecdh_es::EcdhEsJweAlgorithm;
use josekit::jwe::alg::rsaes::RsaesJweAlgorithm;
use josekit::jwe::{JweContentEncryption, JweDecrypter, JweEncrypter, enc};
use josekit::jws::{ES256, JwsSigner, JwsVerifier, RS256};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{HasPublic, Id, PKeyRef, Private, Public};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::error::{NotMade, NotOpened};

/// Lengths of RSA keys in bits: at least 112 bits of security (OTrP draft, section 14.1), and at most
/// what devices accept.
const RSA_BITS: std::ops::RangeInclusive<u32> = 2048..=4096;

/// AES key wrap adds an integrity block of this many bytes (RFC 3394).
const KEY_WRAP_OVERHEAD: usize = 8;

pub(super) const UNFIT_KEY: &str =
    "the key is neither on the curve P-256 nor RSA of 2048 to 4096 bits";

/// The types of keys that sign messages and receive wrapped keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// On the curve P-256.
    Elliptic,
    /// RSA of 2048 to 4096 bits.
    Rsa,
}

impl KeyType {
    /// The type of a key; `None` if the protocol does not use it.
    #[must_use]
    pub fn of<T: HasPublic>(key: &PKeyRef<T>) -> Option<Self> {
        match key.id() {
            Id::EC => {
                let curve = key.ec_key().ok()?.group().curve_name();
                (curve == Some(Nid::X9_62_PRIME256V1)).then_some(Self::Elliptic)
            }
            Id::RSA => RSA_BITS.contains(&key.bits()).then_some(Self::Rsa),
            _ => None,
        }
    }

    /// The signature algorithm of such a key.
    #[must_use]
    pub const fn signature_algorithm(self) -> SignatureAlgorithm {
        match self {
            Self::Elliptic => SignatureAlgorithm::Es256,
            Self::Rsa => SignatureAlgorithm::Rs256,
        }
    }
}

/// The signature algorithm of a message (`alg`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
}

impl SignatureAlgorithm {
    /// All algorithms that this TAM verifies, the preferred one first.
    pub const ALL: [Self; 2] = [Self::Es256, Self::Rs256];

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }

    pub(super) fn signer(self, key: &[u8]) -> Result<Box<dyn JwsSigner>, NotMade> {
        Ok(match self {
            Self::Es256 => Box::new(ES256.signer_from_der(key).map_err(NotMade::because)?),
            Self::Rs256 => Box::new(RS256.signer_from_der(key).map_err(NotMade::because)?),
        })
    }

    /// Verifies a signature over `text`, encoded as in JOSE, with a key of the algorithm's type.
    ///
    /// # Errors
    /// [`NotOpened::Algorithm`] for a key of another type, [`NotOpened::Signature`].
    pub fn verify(
        self,
        text: &[u8],
        signature: &[u8],
        key: &PKeyRef<Public>,
    ) -> Result<(), NotOpened> {
        if KeyType::of(key).map(KeyType::signature_algorithm) != Some(self) {
            return Err(NotOpened::Algorithm);
        }
        let key = key.public_key_to_der().map_err(|_| NotOpened::Signature)?;
        self.verifier(&key)?.verify(text, signature).map_err(|_| NotOpened::Signature)
    }

    pub(super) fn verifier(self, key: &[u8]) -> Result<Box<dyn JwsVerifier>, NotOpened> {
        let refused = |_| NotOpened::Algorithm;
        Ok(match self {
            Self::Es256 => Box::new(ES256.verifier_from_der(key).map_err(refused)?),
            Self::Rs256 => Box::new(RS256.verifier_from_der(key).map_err(refused)?),
        })
    }
}

/// The authenticated encryption of a JWE's content (`enc`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum ContentEncryption {
    /// AES-128-CBC with HMAC-SHA-256, which every TEE must support.
    #[default]
    #[serde(rename = "A128CBC-HS256")]
    A128CbcHs256,
    /// AES-256-CBC with HMAC-SHA-512.
    #[serde(rename = "A256CBC-HS512")]
    A256CbcHs512,
    /// AES-128-GCM.
    #[serde(rename = "A128GCM")]
    A128Gcm,
    /// AES-256-GCM.
    #[serde(rename = "A256GCM")]
    A256Gcm,
}

impl ContentEncryption {
    /// All algorithms.
    pub const ALL: [Self; 4] =
        [Self::A128CbcHs256, Self::A256CbcHs512, Self::A128Gcm, Self::A256Gcm];

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A128CbcHs256 => "A128CBC-HS256",
            Self::A256CbcHs512 => "A256CBC-HS512",
            Self::A128Gcm => "A128GCM",
            Self::A256Gcm => "A256GCM",
        }
    }

    /// The algorithm with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|encryption| encryption.name() == name)
    }

    pub(super) fn primitive(self) -> &'static dyn JweContentEncryption {
        match self {
            Self::A128CbcHs256 => &enc::A128CBC_HS256,
            Self::A256CbcHs512 => &enc::A256CBC_HS512,
            Self::A128Gcm => &enc::A128GCM,
            Self::A256Gcm => &enc::A256GCM,
        }
    }

    /// The hash of the HMAC, if there is one.
    pub(super) fn mac(self) -> Option<MessageDigest> {
        match self {
            Self::A128CbcHs256 => Some(MessageDigest::sha256()),
            Self::A256CbcHs512 => Some(MessageDigest::sha512()),
            Self::A128Gcm | Self::A256Gcm => None,
        }
    }

    pub(super) const fn tag_length(self) -> usize {
        match self {
            Self::A256CbcHs512 => 32,
            Self::A128CbcHs256 | Self::A128Gcm | Self::A256Gcm => 16,
        }
    }
}

/// The encryption of a content encryption key for its recipient (`alg`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum KeyManagement {
    /// Ephemeral-static key agreement, then AES-128 key wrap.
    #[serde(rename = "ECDH-ES+A128KW")]
    EcdhEsA128Kw,
    /// Ephemeral-static key agreement, then AES-256 key wrap.
    #[serde(rename = "ECDH-ES+A256KW")]
    EcdhEsA256Kw,
    /// RSAES-PKCS1-v1_5: the draft's algorithm, deprecated in JOSE.
    #[serde(rename = "RSA1_5")]
    Rsa15,
    /// RSAES-OAEP with SHA-1 and MGF1 with SHA-1.
    #[serde(rename = "RSA-OAEP")]
    RsaOaep,
    /// RSAES-OAEP with SHA-256 and MGF1 with SHA-256.
    #[serde(rename = "RSA-OAEP-256")]
    RsaOaep256,
}

impl KeyManagement {
    /// All algorithms.
    pub const ALL: [Self; 5] =
        [Self::EcdhEsA128Kw, Self::EcdhEsA256Kw, Self::Rsa15, Self::RsaOaep, Self::RsaOaep256];

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EcdhEsA128Kw => "ECDH-ES+A128KW",
            Self::EcdhEsA256Kw => "ECDH-ES+A256KW",
            Self::Rsa15 => "RSA1_5",
            Self::RsaOaep => "RSA-OAEP",
            Self::RsaOaep256 => "RSA-OAEP-256",
        }
    }

    /// The algorithm with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }

    /// The type of the recipient's key.
    #[must_use]
    pub const fn key_type(self) -> KeyType {
        match self {
            Self::EcdhEsA128Kw | Self::EcdhEsA256Kw => KeyType::Elliptic,
            Self::Rsa15 | Self::RsaOaep | Self::RsaOaep256 => KeyType::Rsa,
        }
    }

    fn primitive(self) -> Primitive {
        match self {
            Self::EcdhEsA128Kw => Primitive::Agreement(EcdhEsJweAlgorithm::EcdhEsA128kw),
            Self::EcdhEsA256Kw => Primitive::Agreement(EcdhEsJweAlgorithm::EcdhEsA256kw),
            #[expect(deprecated, reason = "the draft's mandatory algorithm")]
            Self::Rsa15 => Primitive::Encryption(RsaesJweAlgorithm::Rsa1_5),
            Self::RsaOaep => Primitive::Encryption(RsaesJweAlgorithm::RsaOaep),
            Self::RsaOaep256 => Primitive::Encryption(RsaesJweAlgorithm::RsaOaep256),
        }
    }

    pub(super) fn encrypter(
        self,
        recipient: &PKeyRef<Public>,
    ) -> Result<Box<dyn JweEncrypter>, NotMade> {
        let key = recipient.public_key_to_der().map_err(NotMade::because)?;
        Ok(match self.primitive() {
            Primitive::Agreement(primitive) => {
                Box::new(primitive.encrypter_from_der(key).map_err(NotMade::because)?)
            }
            Primitive::Encryption(primitive) => {
                Box::new(primitive.encrypter_from_der(key).map_err(NotMade::because)?)
            }
        })
    }

    pub(super) fn decrypter(
        self,
        recipient: &PKeyRef<Private>,
    ) -> Result<Box<dyn JweDecrypter>, NotOpened> {
        let key = recipient.private_key_to_pkcs8().map_err(|_| NotOpened::Decryption)?;
        let key = Zeroizing::new(key);
        let refused = |_| NotOpened::Algorithm;
        Ok(match self.primitive() {
            Primitive::Agreement(primitive) => {
                Box::new(primitive.decrypter_from_der(&*key).map_err(refused)?)
            }
            Primitive::Encryption(primitive) => {
                Box::new(primitive.decrypter_from_der(&*key).map_err(refused)?)
            }
        })
    }

    /// The length of a wrapped content encryption key of `length` bytes.
    pub(super) fn wrapped_length(self, recipient: &PKeyRef<Private>, length: usize) -> usize {
        match self.key_type() {
            KeyType::Elliptic => length + KEY_WRAP_OVERHEAD,
            KeyType::Rsa => recipient.size(),
        }
    }
}

/// An algorithm of josekit.
enum Primitive {
    Agreement(EcdhEsJweAlgorithm),
    Encryption(RsaesJweAlgorithm),
}

/// One key management algorithm for each type of recipient key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyManagements {
    elliptic: KeyManagement,
    rsa: KeyManagement,
}

impl Default for KeyManagements {
    fn default() -> Self {
        Self { elliptic: KeyManagement::EcdhEsA128Kw, rsa: KeyManagement::RsaOaep256 }
    }
}

impl KeyManagements {
    /// Replaces the algorithm for the key type of `management`.
    #[must_use]
    pub const fn with(mut self, management: KeyManagement) -> Self {
        match management.key_type() {
            KeyType::Elliptic => self.elliptic = management,
            KeyType::Rsa => self.rsa = management,
        }
        self
    }

    /// The algorithm for a recipient.
    ///
    /// # Errors
    /// [`NotMade`] if the recipient's key is of an unsupported type.
    pub fn for_key(self, recipient: &PKeyRef<Public>) -> Result<KeyManagement, NotMade> {
        match KeyType::of(recipient) {
            Some(KeyType::Elliptic) => Ok(self.elliptic),
            Some(KeyType::Rsa) => Ok(self.rsa),
            None => Err(NotMade::because(UNFIT_KEY)),
        }
    }
}
