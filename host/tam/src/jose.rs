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

use josekit::jwe::alg::ecdh_es::EcdhEsJweAlgorithm;
use josekit::jwe::alg::rsaes::RsaesJweAlgorithm;
use josekit::jwe::{JweContentEncryption, JweDecrypter, JweEncrypter, JweHeader, enc};
use josekit::jws::{ES256, JwsSigner, JwsVerifier, RS256};
use openssl::hash::MessageDigest;
use openssl::memcmp;
use openssl::nid::Nid;
use openssl::pkey::{HasPublic, Id, PKey, PKeyRef, Private, Public};
use openssl::rand::rand_bytes;
use openssl::rsa::Padding;
use openssl::sign::Signer;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::encoding::{Unambiguous, base64url, from_base64url, unambiguous_object};

/// Lengths of RSA keys in bits: 112 bits of security at least (OTrP draft, section 14.1), and no
/// more than certificates of the protocol have.
const RSA_BITS: std::ops::RangeInclusive<u32> = 2048..=4096;

/// The types of keys that sign messages and receive wrapped keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// On the curve P-256.
    Elliptic,
    /// RSA of 2048 to 4096 bits.
    Rsa,
}

impl KeyType {
    /// The type of a key; `None` if the protocol has no use for it.
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

    /// The algorithm of signatures by such a key.
    #[must_use]
    pub const fn signature_algorithm(self) -> SignatureAlgorithm {
        match self {
            Self::Elliptic => SignatureAlgorithm::Es256,
            Self::Rsa => SignatureAlgorithm::Rs256,
        }
    }
}

/// The signature of a message (`alg`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
}

impl SignatureAlgorithm {
    /// Every one that this TAM verifies, the preferred one first.
    pub const ALL: [Self; 2] = [Self::Es256, Self::Rs256];

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }

    fn signer(self, key: &[u8]) -> Result<Box<dyn JwsSigner>, NotMade> {
        Ok(match self {
            Self::Es256 => Box::new(ES256.signer_from_der(key).map_err(NotMade::because)?),
            Self::Rs256 => Box::new(RS256.signer_from_der(key).map_err(NotMade::because)?),
        })
    }

    /// Verifies a signature in the form of JOSE over `text`, by a key of the algorithm's type.
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

    fn verifier(self, key: &[u8]) -> Result<Box<dyn JwsVerifier>, NotOpened> {
        let refused = |_| NotOpened::Algorithm;
        Ok(match self {
            Self::Es256 => Box::new(ES256.verifier_from_der(key).map_err(refused)?),
            Self::Rs256 => Box::new(RS256.verifier_from_der(key).map_err(refused)?),
        })
    }
}

/// A member of a JOSE header, with its value.
pub type Header = Map<String, Value>;

/// Why a JWS or JWE could not be made: the key does not fit, or OpenSSL failed.
#[derive(Debug, Error)]
#[error("cannot sign or encrypt: {0}")]
pub struct NotMade(String);

impl NotMade {
    fn because(reason: impl ToString) -> Self {
        Self(reason.to_string())
    }
}

/// Why a JWS or JWE was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotOpened {
    /// Not base64url, not JSON, a header member that is not understood, or one twice.
    #[error("malformed JOSE")]
    Malformed,
    /// An algorithm that is not known, or not for the recipient's key.
    #[error("unsupported JOSE algorithm")]
    Algorithm,
    /// An algorithm that the recipient knows and does not take.
    #[error("{0} is not among the algorithms that this TAM is configured to take in answers")]
    NotTaken(&'static str),
    /// The signature is wrong.
    #[error("wrong signature")]
    Signature,
    /// The key, the tag or the padding is wrong; which one is nobody's business.
    #[error("cannot be decrypted")]
    Decryption,
}

/// Authenticated encryption of a JWE's content (`enc`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum ContentEncryption {
    /// AES-128-CBC with HMAC-SHA-256, what every TEE must have.
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
    /// Every one.
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

    /// The one of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|encryption| encryption.name() == name)
    }

    fn primitive(self) -> &'static dyn JweContentEncryption {
        match self {
            Self::A128CbcHs256 => &enc::A128CBC_HS256,
            Self::A256CbcHs512 => &enc::A256CBC_HS512,
            Self::A128Gcm => &enc::A128GCM,
            Self::A256Gcm => &enc::A256GCM,
        }
    }

    /// The hash of the HMAC, where there is one.
    fn mac(self) -> Option<MessageDigest> {
        match self {
            Self::A128CbcHs256 => Some(MessageDigest::sha256()),
            Self::A256CbcHs512 => Some(MessageDigest::sha512()),
            Self::A128Gcm | Self::A256Gcm => None,
        }
    }

    const fn tag_length(self) -> usize {
        match self {
            Self::A256CbcHs512 => 32,
            Self::A128CbcHs256 | Self::A128Gcm | Self::A256Gcm => 16,
        }
    }
}

/// How a content encryption key reaches its recipient (`alg`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum KeyManagement {
    /// Ephemeral-static key agreement, then AES-128 key wrap.
    #[serde(rename = "ECDH-ES+A128KW")]
    EcdhEsA128Kw,
    /// Ephemeral-static key agreement, then AES-256 key wrap.
    #[serde(rename = "ECDH-ES+A256KW")]
    EcdhEsA256Kw,
    /// RSAES-PKCS1-v1_5, the draft's, which JOSE is giving up.
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
    /// Every one.
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

    /// The one of a name.
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

    fn encrypter(self, recipient: &PKeyRef<Public>) -> Result<Box<dyn JweEncrypter>, NotMade> {
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

    fn decrypter(self, recipient: &PKeyRef<Private>) -> Result<Box<dyn JweDecrypter>, NotOpened> {
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
    fn wrapped_length(self, recipient: &PKeyRef<Private>, length: usize) -> usize {
        match self.key_type() {
            KeyType::Elliptic => length + KEY_WRAP_OVERHEAD,
            KeyType::Rsa => recipient.size(),
        }
    }
}

/// josekit's algorithm, of either kind.
enum Primitive {
    Agreement(EcdhEsJweAlgorithm),
    Encryption(RsaesJweAlgorithm),
}

/// Which algorithm brings a key to a recipient whose key is of either type.
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
    /// The same, but with `management` for the keys that it fits.
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
    /// [`NotMade`] if the recipient's key is of a type without any.
    pub fn for_key(self, recipient: &PKeyRef<Public>) -> Result<KeyManagement, NotMade> {
        match KeyType::of(recipient) {
            Some(KeyType::Elliptic) => Ok(self.elliptic),
            Some(KeyType::Rsa) => Ok(self.rsa),
            None => Err(NotMade::because(UNFIT_KEY)),
        }
    }
}

const UNFIT_KEY: &str = "the key is neither on the curve P-256 nor RSA of 2048 to 4096 bits";

/// AES key wrap adds an integrity block of this many bytes (RFC 3394).
const KEY_WRAP_OVERHEAD: usize = 8;

/// A flattened JWS (RFC 7515, section 7.2.2).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jws {
    /// What is signed, base64url.
    pub payload: String,
    /// The protected header, base64url.
    pub protected: String,
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
    /// Signs `payload` with the algorithm of the key's type; `protected` is the protected header as
    /// JSON text.
    ///
    /// # Errors
    /// [`NotMade`] if the key is of a type that signs no messages.
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

    /// The payload, of which nothing is verified.
    ///
    /// # Errors
    /// [`NotOpened::Malformed`].
    pub fn unverified_payload(&self) -> Result<Vec<u8>, NotOpened> {
        from_base64url(&self.payload).ok_or(NotOpened::Malformed)
    }

    /// Verifies the signature over the texts as received. The key alone decides which algorithm
    /// may make it.
    ///
    /// # Errors
    /// [`NotOpened`].
    pub fn verify(&self, key: &PKeyRef<Public>) -> Result<(), NotOpened> {
        /// Whatever else is in a protected header would have to be understood.
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
        // The two headers are one, in which nothing is twice, and `crit` has to be signed (RFC 7515,
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

/// A content encryption key and its algorithm. Not `Clone`, not printed.
pub struct ContentKey {
    encryption: ContentEncryption,
    bytes: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for ContentKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ContentKey").field("encryption", &self.encryption).finish()
    }
}

impl ContentKey {
    /// A random key.
    ///
    /// # Errors
    /// [`NotMade`] if there is no randomness.
    pub fn random(encryption: ContentEncryption) -> Result<Self, NotMade> {
        let mut bytes = Zeroizing::new(vec![0; encryption.primitive().key_len()]);
        rand_bytes(&mut bytes).map_err(NotMade::because)?;
        Ok(Self { encryption, bytes })
    }

    /// The key of these bytes; `None` if they are not as many as the algorithm needs.
    #[must_use]
    pub fn new(encryption: ContentEncryption, bytes: Vec<u8>) -> Option<Self> {
        let bytes = Zeroizing::new(bytes);
        (bytes.len() == encryption.primitive().key_len()).then_some(Self { encryption, bytes })
    }

    /// Its algorithm.
    #[must_use]
    pub const fn encryption(&self) -> ContentEncryption {
        self.encryption
    }

    /// Whether both are the same key of the same algorithm, in constant time.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.encryption == other.encryption
            && self.bytes.len() == other.bytes.len()
            && memcmp::eq(&self.bytes, &other.bytes)
    }

    /// Encrypts; the additional data are the protected header's text, as in every JWE of OTrP.
    fn seal(&self, plaintext: &[u8], protected: &str) -> Result<Sealed, NotMade> {
        let primitive = self.encryption.primitive();
        let mut iv = vec![0; primitive.iv_len()];
        rand_bytes(&mut iv).map_err(NotMade::because)?;
        let (ciphertext, tag) = primitive
            .encrypt(&self.bytes, Some(&iv), plaintext, protected.as_bytes())
            .map_err(NotMade::because)?;
        Ok(Sealed { iv, ciphertext, tag: tag.unwrap_or_default() })
    }

    fn open(&self, sealed: &Sealed, protected: &str) -> Result<Vec<u8>, NotOpened> {
        let primitive = self.encryption.primitive();
        if sealed.iv.len() != primitive.iv_len()
            || sealed.tag.len() != self.encryption.tag_length()
            || !self.has_authentic_mac(sealed, protected)
        {
            return Err(NotOpened::Decryption);
        }
        primitive
            .decrypt(
                &self.bytes,
                Some(&sealed.iv),
                &sealed.ciphertext,
                protected.as_bytes(),
                Some(&sealed.tag),
            )
            .map_err(|_| NotOpened::Decryption)
    }

    /// Checks the tag of a CBC mode (RFC 7518, section 5.2.2.2); GCM needs no second check.
    fn has_authentic_mac(&self, sealed: &Sealed, protected: &str) -> bool {
        let Some(digest) = self.encryption.mac() else {
            return true;
        };
        let Some(mac_key) = self.bytes.get(..self.bytes.len() / 2) else {
            return false;
        };
        let Some(bits) = u64::try_from(protected.len()).ok().and_then(|len| len.checked_mul(8))
        else {
            return false;
        };
        let mac = PKey::hmac(mac_key).and_then(|key| {
            let mut signer = Signer::new(digest, &key)?;
            signer.update(protected.as_bytes())?;
            signer.update(&sealed.iv)?;
            signer.update(&sealed.ciphertext)?;
            signer.update(&bits.to_be_bytes())?;
            signer.sign_to_vec()
        });
        mac.is_ok_and(|mac| {
            mac.get(..self.encryption.tag_length()).is_some_and(|tag| memcmp::eq(tag, &sealed.tag))
        })
    }
}

struct Sealed {
    iv: Vec<u8>,
    ciphertext: Vec<u8>,
    tag: Vec<u8>,
}

/// A general JWE for one recipient, the form of `content` and `edsi` (OTrP draft, section 7.5).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwe {
    /// The protected header, base64url.
    pub protected: String,
    /// The recipient.
    pub recipients: [Recipient; 1],
    /// The initialization vector, base64url.
    pub iv: String,
    /// The ciphertext, base64url.
    pub ciphertext: String,
    /// The authentication tag, base64url.
    pub tag: String,
}

/// The recipient of a JWE.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipient {
    /// The recipient's header: `alg` and `epk`, unless they are in the protected one.
    #[serde(default, deserialize_with = "unambiguous_object")]
    pub header: Header,
    /// The wrapped content encryption key, base64url.
    pub encrypted_key: String,
}

/// A flattened JWE, the form of `encrypted_ta.key` here.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlattenedJwe {
    /// The protected header, base64url.
    pub protected: String,
    /// The recipient's header.
    #[serde(deserialize_with = "unambiguous_object")]
    pub header: Header,
    /// The wrapped content encryption key, base64url.
    pub encrypted_key: String,
    /// The initialization vector, base64url.
    pub iv: String,
    /// The ciphertext, base64url.
    pub ciphertext: String,
    /// The authentication tag, base64url.
    pub tag: String,
}

impl From<Jwe> for FlattenedJwe {
    fn from(jwe: Jwe) -> Self {
        let [recipient] = jwe.recipients;
        Self {
            protected: jwe.protected,
            header: recipient.header,
            encrypted_key: recipient.encrypted_key,
            iv: jwe.iv,
            ciphertext: jwe.ciphertext,
            tag: jwe.tag,
        }
    }
}

impl From<FlattenedJwe> for Jwe {
    fn from(jwe: FlattenedJwe) -> Self {
        Self {
            protected: jwe.protected,
            recipients: [Recipient { header: jwe.header, encrypted_key: jwe.encrypted_key }],
            iv: jwe.iv,
            ciphertext: jwe.ciphertext,
            tag: jwe.tag,
        }
    }
}

impl Jwe {
    /// Encrypts `plaintext` under `key`, and `key` for `recipient`.
    ///
    /// # Errors
    /// [`NotMade`] if the recipient's key is of another type than `management` needs.
    pub fn seal(
        plaintext: &[u8],
        key: &ContentKey,
        management: KeyManagement,
        recipient: &PKeyRef<Public>,
    ) -> Result<Self, NotMade> {
        let encrypter = management.encrypter(recipient)?;
        let mut header = JweHeader::new();
        header.set_algorithm(management.name());
        let wrapped = encrypter
            .encrypt(&key.bytes, &JweHeader::new(), &mut header)
            .map_err(NotMade::because)?
            .ok_or_else(|| NotMade::because("the algorithm wraps no key"))?;
        let protected = base64url(format!(r#"{{"enc":"{}"}}"#, key.encryption.name()).as_bytes());
        let sealed = key.seal(plaintext, &protected)?;
        Ok(Self {
            protected,
            recipients: [Recipient {
                header: header.claims_set().clone(),
                encrypted_key: base64url(&wrapped),
            }],
            iv: base64url(&sealed.iv),
            ciphertext: base64url(&sealed.ciphertext),
            tag: base64url(&sealed.tag),
        })
    }

    /// Unwraps the content encryption key with the recipient's private key.
    ///
    /// A key that RSA1_5 wraps wrongly is a random one, so that only the content's tag tells (RFC
    /// 7516, section 11.5).
    ///
    /// # Errors
    /// [`NotOpened`].
    pub fn unwrap_key(&self, recipient: &PKeyRef<Private>) -> Result<ContentKey, NotOpened> {
        let (encryption, management, header) = self.headers()?;
        let [Recipient { encrypted_key, .. }] = &self.recipients;
        let wrapped = from_base64url(encrypted_key).ok_or(NotOpened::Malformed)?;
        let primitive = encryption.primitive();
        let decrypter = management.decrypter(recipient)?;
        if wrapped.len() != management.wrapped_length(recipient, primitive.key_len()) {
            return Err(NotOpened::Decryption);
        }
        if management == KeyManagement::Rsa15 {
            return unwrap_rsa1_5(&wrapped, encryption, recipient);
        }
        let bytes = decrypter
            .decrypt(Some(&wrapped), primitive, &header)
            .map_err(|_| NotOpened::Decryption)?;
        ContentKey::new(encryption, bytes.into_owned()).ok_or(NotOpened::Decryption)
    }

    /// The algorithms by which the content and its key are encrypted; nothing of it is verified.
    ///
    /// # Errors
    /// [`NotOpened::Malformed`], [`NotOpened::Algorithm`].
    pub fn algorithms(&self) -> Result<(ContentEncryption, KeyManagement), NotOpened> {
        self.headers().map(|(encryption, management, _)| (encryption, management))
    }

    /// Decrypts the content under `key`.
    ///
    /// # Errors
    /// [`NotOpened`].
    pub fn open(&self, key: &ContentKey) -> Result<Vec<u8>, NotOpened> {
        let (encryption, ..) = self.headers()?;
        if encryption != key.encryption {
            return Err(NotOpened::Decryption);
        }
        let part = |text: &str| from_base64url(text).ok_or(NotOpened::Malformed);
        let sealed = Sealed {
            iv: part(&self.iv)?,
            ciphertext: part(&self.ciphertext)?,
            tag: part(&self.tag)?,
        };
        key.open(&sealed, &self.protected)
    }

    /// The algorithms, and the header that they come from: protected and recipient's, disjoint,
    /// with no member (`crit`, `zip`) that would have to be understood.
    fn headers(&self) -> Result<(ContentEncryption, KeyManagement, JweHeader), NotOpened> {
        const KNOWN: [&str; 7] = ["enc", "alg", "epk", "apu", "apv", "kid", "typ"];
        let protected = from_base64url(&self.protected).ok_or(NotOpened::Malformed)?;
        let Ok(Unambiguous(Value::Object(mut header))) = serde_json::from_slice(&protected) else {
            return Err(NotOpened::Malformed);
        };
        let encryption = match header.get("enc") {
            Some(Value::String(name)) => {
                ContentEncryption::from_name(name).ok_or(NotOpened::Algorithm)?
            }
            _ => return Err(NotOpened::Malformed),
        };
        let [recipient] = &self.recipients;
        for (name, value) in &recipient.header {
            if header.insert(name.clone(), value.clone()).is_some() {
                return Err(NotOpened::Malformed);
            }
        }
        if header.keys().any(|name| !KNOWN.contains(&name.as_str())) {
            return Err(NotOpened::Malformed);
        }
        let management = match header.get("alg") {
            Some(Value::String(name)) => {
                KeyManagement::from_name(name).ok_or(NotOpened::Algorithm)?
            }
            _ => return Err(NotOpened::Malformed),
        };
        let header = JweHeader::from_map(header).map_err(|_| NotOpened::Malformed)?;
        Ok((encryption, management, header))
    }
}

/// The key in the last bytes of an RSA1_5 block, or a random one if the block is none (RFC 8017,
/// section 7.2.2). Which of them takes as long; OpenSSL only rejects so from version 3.2 on.
fn unwrap_rsa1_5(
    wrapped: &[u8],
    encryption: ContentEncryption,
    recipient: &PKeyRef<Private>,
) -> Result<ContentKey, NotOpened> {
    let mut key = ContentKey::random(encryption).map_err(|_| NotOpened::Decryption)?;
    let mut block = Zeroizing::new(vec![0; recipient.size()]);
    // Without padding it fails for a number that is too large, which everybody sees anyway.
    recipient
        .rsa()
        .and_then(|rsa| rsa.private_decrypt(wrapped, &mut block, Padding::NONE))
        .map_err(|_| NotOpened::Decryption)?;
    // 0x00, 0x02, padding without zeros, 0x00, the key.
    let parts = block.split_at_checked(block.len().saturating_sub(key.bytes.len()));
    let Some(([zero, two, padding @ .., end], message)) = parts else {
        return Err(NotOpened::Decryption);
    };
    let good = padding.iter().fold(
        zero.ct_eq(&0) & two.ct_eq(&2) & end.ct_eq(&0) & Choice::from(u8::from(padding.len() >= 8)),
        |good, byte| good & !byte.ct_eq(&0),
    );
    for (byte, wrapped) in key.bytes.iter_mut().zip(message) {
        byte.conditional_assign(wrapped, good);
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use josekit::jwk::Jwk;
    use josekit::jwk::alg::ec::{EcCurve, EcKeyPair};
    use josekit::jwk::alg::rsa::RsaKeyPair;
    use openssl::bn::BigNum;
    use openssl::ec::{EcGroup, EcKey};
    use openssl::rsa::Rsa;
    use openssl::sign::Verifier;
    use serde_json::json;

    use super::*;

    fn jwk(value: &Value) -> Jwk {
        Jwk::from_map(value.as_object().unwrap().clone()).unwrap()
    }

    fn rsa_private_key(value: &Value) -> PKey<Private> {
        let pair = RsaKeyPair::from_jwk(&jwk(value)).unwrap();
        PKey::private_key_from_der(&pair.to_der_private_key()).unwrap()
    }

    fn new_rsa_key(bits: u32) -> PKey<Private> {
        PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap()
    }

    fn private_key(jwk: Value) -> PKey<Private> {
        let pair =
            EcKeyPair::from_jwk(&Jwk::from_map(jwk.as_object().unwrap().clone()).unwrap()).unwrap();
        PKey::private_key_from_der(&pair.to_der_private_key()).unwrap()
    }

    fn public_half(key: &PKeyRef<Private>) -> PKey<Public> {
        PKey::public_key_from_der(&key.public_key_to_der().unwrap()).unwrap()
    }

    fn new_key() -> PKey<Private> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
    }

    /// RFC 7515, appendix A.3.
    fn rfc7515_a3() -> (Jws, PKey<Public>) {
        let key = private_key(json!({
            "kty": "EC", "crv": "P-256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
            "d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"
        }));
        let jws = Jws {
            payload: String::from(
                "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt\
                 cGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
            ),
            protected: String::from("eyJhbGciOiJFUzI1NiJ9"),
            header: None,
            signature: String::from(
                "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSA\
                 pmWQxfKTUJqPP3-Kg6NU1Q",
            ),
        };
        (jws, public_half(&key))
    }

    fn rfc7515_a2() -> (Jws, PKey<Public>) {
        let vector: Value =
            serde_json::from_str(include_str!("../tests/data/rfc7515-a2.json")).unwrap();
        let number = |name: &str| {
            let text = vector["key"][name].as_str().unwrap();
            BigNum::from_slice(&from_base64url(text).unwrap()).unwrap()
        };
        let key = Rsa::from_public_components(number("n"), number("e")).unwrap();
        (serde_json::from_value(vector["jws"].clone()).unwrap(), PKey::from_rsa(key).unwrap())
    }

    #[test]
    fn the_signatures_of_rfc_7515_are_verified() {
        for (jws, key) in [rfc7515_a3(), rfc7515_a2()] {
            assert_eq!(jws.verify(&key), Ok(()));
            assert!(jws.unverified_payload().unwrap().starts_with(br#"{"iss":"joe""#));
        }
    }

    #[test]
    fn the_key_decides_which_algorithm_signs() {
        let (elliptic, elliptic_key) = rfc7515_a3();
        let (rsa, rsa_key) = rfc7515_a2();
        let protected = |text: &str| base64url(text.as_bytes());
        let flipped = {
            let mut signature = from_base64url(&rsa.signature).unwrap();
            signature[255] ^= 1;
            base64url(&signature)
        };
        let short = base64url(&from_base64url(&rsa.signature).unwrap()[1..]);
        let rows = [
            (elliptic.clone(), &rsa_key, NotOpened::Algorithm),
            (rsa.clone(), &elliptic_key, NotOpened::Algorithm),
            (
                Jws { protected: protected(r#"{"alg":"ES256"}"#), ..rsa.clone() },
                &rsa_key,
                NotOpened::Algorithm,
            ),
            (
                Jws { protected: protected(r#"{"alg":"PS256"}"#), ..rsa.clone() },
                &rsa_key,
                NotOpened::Algorithm,
            ),
            (
                Jws { protected: protected(r#"{"alg":"HS256"}"#), ..rsa.clone() },
                &rsa_key,
                NotOpened::Algorithm,
            ),
            (Jws { signature: flipped, ..rsa.clone() }, &rsa_key, NotOpened::Signature),
            (Jws { signature: short, ..rsa.clone() }, &rsa_key, NotOpened::Signature),
            (Jws { signature: String::new(), ..rsa.clone() }, &rsa_key, NotOpened::Signature),
            (Jws { payload: elliptic.payload + "AA", ..rsa }, &rsa_key, NotOpened::Signature),
        ];
        for (number, (jws, key, error)) in rows.into_iter().enumerate() {
            assert_eq!(jws.verify(key), Err(error), "row {number}");
        }
    }

    #[test]
    fn rsa_signatures_are_verified_by_openssl_alone() {
        let key = new_rsa_key(2048);
        let jws = Jws::sign(b"payload", br#"{"alg":"RS256"}"#, None, &key).unwrap();
        let mut verifier = Verifier::new(MessageDigest::sha256(), &key).unwrap();
        verifier.update(format!("{}.{}", jws.protected, jws.payload).as_bytes()).unwrap();
        assert!(verifier.verify(&from_base64url(&jws.signature).unwrap()).unwrap());
        assert_eq!(jws.verify(&public_half(&key)), Ok(()));
    }

    #[test]
    fn rsa_keys_have_2048_to_4096_bits() {
        for (bits, fits) in [(2040, false), (2048, true), (3072, true), (4104, false)] {
            let key = new_rsa_key(bits);
            assert_eq!(KeyType::of(&key).is_some(), fits, "{bits}");
            assert_eq!(Jws::sign(b"", b"{}", None, &key).is_ok(), fits, "{bits}");
            let public = public_half(&key);
            assert_eq!(KeyManagements::default().for_key(&public).is_ok(), fits, "{bits}");
        }
    }

    #[test]
    fn each_defect_of_a_signature_is_refused() {
        let (jws, key) = rfc7515_a3();
        let none = base64url(br#"{"alg":"none"}"#);
        let critical = base64url(br#"{"alg":"ES256","crit":["exp"]}"#);
        let mut flipped = from_base64url(&jws.signature).unwrap();
        flipped[63] ^= 1;
        let other = new_key();
        let with_header =
            |header: Value| Jws { header: header.as_object().cloned(), ..jws.clone() };
        let rows: [(Jws, NotOpened); 10] = [
            (
                Jws { payload: jws.payload.replacen('e', "f", 1), ..jws.clone() },
                NotOpened::Signature,
            ),
            (Jws { signature: base64url(&flipped), ..jws.clone() }, NotOpened::Signature),
            (Jws { signature: String::new(), ..jws.clone() }, NotOpened::Signature),
            (Jws { signature: jws.signature.clone() + "=", ..jws.clone() }, NotOpened::Malformed),
            (Jws { protected: none, ..jws.clone() }, NotOpened::Algorithm),
            (Jws { protected: critical, ..jws.clone() }, NotOpened::Malformed),
            (
                Jws { protected: base64url(br#"{"alg":"ES256","alg":"ES256"}"#), ..jws.clone() },
                NotOpened::Malformed,
            ),
            (with_header(json!({"alg": "ES256"})), NotOpened::Malformed),
            (with_header(json!({"crit": ["x"]})), NotOpened::Malformed),
            (
                Jws { protected: base64url(br#"{"alg":"ES256"} x"#), ..jws.clone() },
                NotOpened::Malformed,
            ),
        ];
        for (jws, error) in rows {
            assert_eq!(jws.verify(&key), Err(error), "{jws:?}");
        }
        assert_eq!(jws.verify(&public_half(&other)), Err(NotOpened::Signature));
    }

    #[test]
    fn what_is_signed_is_verified_by_openssl_alone() {
        let key = new_key();
        let jws = Jws::sign(b"payload", br#"{"alg":"ES256"}"#, None, &key).unwrap();
        assert_eq!(jws.protected, "eyJhbGciOiJFUzI1NiJ9");
        let signature = from_base64url(&jws.signature).unwrap();
        let number = |bytes: &[u8]| BigNum::from_slice(bytes).unwrap();
        let signature = openssl::ecdsa::EcdsaSig::from_private_components(
            number(&signature[..32]),
            number(&signature[32..]),
        )
        .unwrap();
        let input = format!("{}.{}", jws.protected, jws.payload);
        let digest = crate::encoding::sha256(input.as_bytes()).unwrap();
        assert!(signature.verify(&digest, &key.ec_key().unwrap()).unwrap());
        assert_eq!(jws.verify(&public_half(&key)), Ok(()));
    }

    #[test]
    fn authenticated_cbc_is_that_of_rfc_7518_appendix_b() {
        let key = ContentKey::new(ContentEncryption::A128CbcHs256, (0..32).collect()).unwrap();
        let sealed = Sealed {
            iv: hex::decode("1af38c2dc2b96ffdd86694092341bc04").unwrap(),
            ciphertext: hex::decode(concat!(
                "c80edfa32ddf39d5ef00c0b468834279a2e46a1b8049f792f76bfe54b903a9c9",
                "a94ac9b47ad2655c5f10f9aef71427e2fc6f9b3f399a221489f16362c7032336",
                "09d45ac69864e3321cf82935ac4096c86e133314c54019e8ca7980dfa4b9cf1b",
                "384c486f3a54c51078158ee5d79de59fbd34d848b3d69550a67646344427ade5",
                "4b8851ffb598f7f80074b9473c82e2db"
            ))
            .unwrap(),
            tag: hex::decode("652c3fa36b0a7c5b3219fab3a30bc1c4").unwrap(),
        };
        let additional = "The second principle of Auguste Kerckhoffs";
        let plaintext = key.open(&sealed, additional).unwrap();
        assert_eq!(
            plaintext,
            b"A cipher system must not be required to be secret, and it must be able to fall into \
              the hands of the enemy without inconvenience"
        );
        assert_eq!(key.open(&sealed, "another header"), Err(NotOpened::Decryption));
    }

    /// RFC 7520, section 5.4: on P-384, which tells the two sides' fields apart.
    fn rfc7520_5_4() -> (Jwe, PKey<Private>) {
        let key = private_key(json!({
            "kty": "EC", "crv": "P-384",
            "x": "YU4rRUzdmVqmRtWOs2OpDE_T5fsNIodcG8G5FWPrTPMyxpzsSOGaQLpe2FpxBmu2",
            "y": "A8-yxCHxkfBz3hKZfI1jUYMjUhsEveZ9THuwFjH2sCNdtksRJU7D5-SkgaFL1ETP",
            "d": "iTx2pk7wW-GqJkHcEkFQb2EFyYcO7RugmaW3mRrQVAOUiPommT0IdnYK2xDlZh-j"
        }));
        let jwe = json!({
            "recipients": [{ "encrypted_key": "0DJjBXri_kBcC46IkU5_Jk9BqaQeHdv2" }],
            "protected": concat!(
                "eyJhbGciOiJFQ0RILUVTK0ExMjhLVyIsImtpZCI6InBlcmVncmluLnRvb2tAdHVja2Jvcm91Z2guZXhh",
                "bXBsZSIsImVwayI6eyJrdHkiOiJFQyIsImNydiI6IlAtMzg0IiwieCI6InVCbzRrSFB3Nmtiang1bDB4",
                "b3dyZF9vWXpCbWF6LUdLRlp1NHhBRkZrYllpV2d1dEVLNml1RURzUTZ3TmROZzMiLCJ5Ijoic3AzcDVT",
                "R2haVkMyZmFYdW1JLWU5SlUyTW84S3BvWXJGRHI1eVBOVnRXNFBnRXdaT3lRVEEtSmRhWTh0YjdFMCJ9",
                "LCJlbmMiOiJBMTI4R0NNIn0"
            ),
            "iv": "mH-G2zVqgztUtnW_",
            "ciphertext": concat!(
                "tkZuOO9h95OgHJmkkrfLBisku8rGf6nzVxhRM3sVOhXgz5NJ76oID7lpnAi_cPWJRCjSpAaUZ5dOR3Sp",
                "y7QuEkmKx8-3RCMhSYMzsXaEwDdXta9Mn5B7cCBoJKB0IgEnj_qfo1hIi-uEkUpOZ8aLTZGHfpl05jMw",
                "bKkTe2yK3mjF6SBAsgicQDVCkcY9BLluzx1RmC3ORXaM0JaHPB93YcdSDGgpgBWMVrNU1ErkjcMqMoT_",
                "wtCex3w03XdLkjXIuEr2hWgeP-nkUZTPU9EoGSPj6fAS-bSz87RCPrxZdj_iVyC6QWcqAu07WNhjzJEP",
                "c4jVntRJ6K53NgPQ5p99l3Z408OUqj4ioYezbS6vTPlQ"
            ),
            "tag": "WuGzxmcreYjpHGJoa17EBg"
        });
        (serde_json::from_value(jwe).unwrap(), key)
    }

    #[test]
    fn key_agreement_is_that_of_rfc_7520() {
        let (jwe, key) = rfc7520_5_4();
        let content_key = jwe.unwrap_key(&key).unwrap();
        assert_eq!(base64url(&content_key.bytes), "Nou2ueKlP70ZXDbq9UrRwg");
        let plaintext = String::from_utf8(jwe.open(&content_key).unwrap()).unwrap();
        assert!(plaintext.starts_with("You can trust us to stick with you"), "{plaintext}");
    }

    /// RFC 7516, appendices A.1 and A.2.
    fn rfc7516(text: &str) -> (Jwe, PKey<Private>) {
        let vector: Value = serde_json::from_str(text).unwrap();
        let jwe = serde_json::from_value(vector["jwe"].clone()).unwrap();
        (jwe, rsa_private_key(&vector["key"]))
    }

    fn rfc7516_a2() -> (Jwe, PKey<Private>) {
        rfc7516(include_str!("../tests/data/rfc7516-a2.json"))
    }

    #[test]
    fn the_rsa_examples_of_rfc_7516_are_opened() {
        let (jwe, key) = rfc7516(include_str!("../tests/data/rfc7516-a1.json"));
        let content_key = jwe.unwrap_key(&key).unwrap();
        assert_eq!(
            jwe.open(&content_key).unwrap(),
            b"The true sign of intelligence is not knowledge but imagination."
        );
        let (jwe, key) = rfc7516_a2();
        let content_key = jwe.unwrap_key(&key).unwrap();
        assert_eq!(jwe.open(&content_key).unwrap(), b"Live long and prosper.");
    }

    /// The example of RSA1_5 with this block, or this wrapped key, instead of its own.
    fn with_wrapped(wrapped: &[u8]) -> Jwe {
        let (jwe, _) = rfc7516_a2();
        let encrypted_key = base64url(wrapped);
        Jwe { recipients: [Recipient { header: Header::new(), encrypted_key }], ..jwe }
    }

    #[test]
    fn a_wrong_block_of_rsa1_5_is_a_random_key() {
        let (jwe, key) = rfc7516_a2();
        let rsa = key.rsa().unwrap();
        let wrapped = from_base64url(&jwe.recipients[0].encrypted_key).unwrap();
        let mut block = vec![0; 256];
        rsa.private_decrypt(&wrapped, &mut block, Padding::NONE).unwrap();
        assert_eq!((block[0], block[1], block[223]), (0, 2, 0));
        let wrap = |edit: &dyn Fn(&mut Vec<u8>)| {
            let mut block = block.clone();
            edit(&mut block);
            let mut wrapped = vec![0; 256];
            rsa.public_encrypt(&block, &mut wrapped, Padding::NONE).unwrap();
            with_wrapped(&wrapped)
        };
        let same = jwe.unwrap_key(&key).unwrap();
        assert!(wrap(&|_| ()).unwrap_key(&key).unwrap().is_same(&same));
        for (position, byte) in [(0, 1), (1, 1), (2, 0), (222, 0), (223, 7)] {
            let damaged = wrap(&|block| block[position] = byte);
            let (one, two) = (damaged.unwrap_key(&key).unwrap(), damaged.unwrap_key(&key).unwrap());
            assert!(!one.is_same(&same) && !one.is_same(&two), "byte {position}");
            assert_eq!(damaged.open(&one), Err(NotOpened::Decryption), "byte {position}");
        }
        // As long as the modulus, but larger.
        let large = with_wrapped(&[0xff; 256]);
        assert_eq!(large.unwrap_key(&key).err(), Some(NotOpened::Decryption));
    }

    #[test]
    fn each_defect_of_an_rsa_jwe_is_refused() {
        let (_, other) = rfc7516(include_str!("../tests/data/rfc7516-a1.json"));
        let (rsa1_5, key) = rfc7516_a2();
        let wrapped = from_base64url(&rsa1_5.recipients[0].encrypted_key).unwrap();
        let rows = [
            ("too short", with_wrapped(&wrapped[1..]), &key, NotOpened::Decryption),
            ("too long", with_wrapped(&[&[0], &wrapped[..]].concat()), &key, NotOpened::Decryption),
            ("nothing", with_wrapped(&[]), &key, NotOpened::Decryption),
            ("another's", rsa1_5.clone(), &other, NotOpened::Decryption),
            ("for an EC key", rsa1_5.clone(), &new_key(), NotOpened::Algorithm),
        ];
        for (what, jwe, key, error) in rows {
            let opened = jwe.unwrap_key(key).and_then(|key| jwe.open(&key));
            assert_eq!(opened, Err(error), "{what}");
        }
        let content_key = ContentKey::random(ContentEncryption::A128Gcm).unwrap();
        for management in [KeyManagement::RsaOaep, KeyManagement::RsaOaep256] {
            let mut jwe = Jwe::seal(b"x", &content_key, management, &public_half(&key)).unwrap();
            let mut wrapped = from_base64url(&jwe.recipients[0].encrypted_key).unwrap();
            wrapped[200] ^= 1;
            jwe.recipients[0].encrypted_key = base64url(&wrapped);
            assert_eq!(jwe.unwrap_key(&key).err(), Some(NotOpened::Decryption));
        }
        // A key of 128 bits where one of 256 is needed.
        let jwe =
            Jwe::seal(b"x", &content_key, KeyManagement::RsaOaep, &public_half(&key)).unwrap();
        let longer = Jwe { protected: base64url(br#"{"enc":"A256GCM"}"#), ..jwe };
        assert_eq!(longer.unwrap_key(&key).err(), Some(NotOpened::Decryption));
    }

    /// Which of two members counts would be up to the reader.
    #[test]
    fn a_member_twice_is_refused_in_every_header() {
        let (jwe, key) = rfc7520_5_4();
        for protected in [
            r#"{"enc":"A128CBC-HS256","enc":"A128GCM","alg":"ECDH-ES+A128KW"}"#,
            r#"{"enc":"A128GCM","enc":"A128GCM","alg":"ECDH-ES+A128KW"}"#,
            r#"{"enc":"A128GCM","alg":"dir","alg":"ECDH-ES+A128KW"}"#,
            r#"{"enc":"A128GCM","\u0065nc":"A128GCM","alg":"ECDH-ES+A128KW"}"#,
            r#"{"enc":"A128GCM","alg":"ECDH-ES+A128KW","epk":{"kty":"EC","kty":"EC"}}"#,
        ] {
            let jwe = Jwe { protected: base64url(protected.as_bytes()), ..jwe.clone() };
            assert_eq!(jwe.unwrap_key(&key).err(), Some(NotOpened::Malformed), "{protected}");
            assert_eq!(jwe.algorithms().err(), Some(NotOpened::Malformed), "{protected}");
        }
        // The same where the header is a part of the message.
        let text = serde_json::to_string(&jwe).unwrap();
        assert!(serde_json::from_str::<Jwe>(&text).is_ok());
        let (jws, _) = rfc7515_a3();
        let signed = serde_json::to_string(&jws).unwrap();
        for header in [
            r#"{"kid":"a","kid":"b"}"#,
            r#"{"alg":"dir","alg":"ECDH-ES+A128KW"}"#,
            r#"{"epk":{"x":"","x":""}}"#,
        ] {
            let twice = text.replace(r#""header":{}"#, &format!(r#""header":{header}"#));
            assert!(twice != text && serde_json::from_str::<Jwe>(&twice).is_err(), "{twice}");
            let jws = signed.replacen('{', &format!(r#"{{"header":{header},"#), 1);
            assert!(serde_json::from_str::<Jws>(&jws).is_err(), "{jws}");
            let once = jws.replace(header, r#"{"kid":"a"}"#);
            assert!(serde_json::from_str::<Jws>(&once).is_ok(), "{once}");
        }
        let flattened = serde_json::to_string(&FlattenedJwe::from(jwe)).unwrap();
        let twice = flattened.replace(r#""header":{}"#, r#""header":{"kid":"a","kid":"b"}"#);
        assert!(twice != flattened && serde_json::from_str::<FlattenedJwe>(&twice).is_err());
    }

    #[test]
    fn each_defect_of_a_jwe_is_refused() {
        let (jwe, key) = rfc7520_5_4();
        let open = |jwe: &Jwe| jwe.unwrap_key(&key).and_then(|key| jwe.open(&key));
        let with_recipient = |header: Value, encrypted_key: &str| Jwe {
            recipients: [Recipient {
                header: header.as_object().unwrap().clone(),
                encrypted_key: String::from(encrypted_key),
            }],
            ..jwe.clone()
        };
        let wrapped = jwe.recipients[0].encrypted_key.clone();
        let tag = from_base64url(&jwe.tag).unwrap();
        let rows = [
            // A GCM tag of one byte would be right once in 256 times.
            (Jwe { tag: base64url(&tag[..1]), ..jwe.clone() }, NotOpened::Decryption),
            (Jwe { tag: base64url(&tag[..15]), ..jwe.clone() }, NotOpened::Decryption),
            (Jwe { tag: base64url(&[0; 16]), ..jwe.clone() }, NotOpened::Decryption),
            (Jwe { iv: base64url(&[0; 12]), ..jwe.clone() }, NotOpened::Decryption),
            (Jwe { iv: base64url(&[0; 16]), ..jwe.clone() }, NotOpened::Decryption),
            (with_recipient(json!({}), ""), NotOpened::Decryption),
            (with_recipient(json!({}), "0DJjBXri"), NotOpened::Decryption),
            (with_recipient(json!({}), &base64url(&[7; 24])), NotOpened::Decryption),
            (with_recipient(json!({"alg": "ECDH-ES+A128KW"}), &wrapped), NotOpened::Malformed),
            (with_recipient(json!({"zip": "DEF"}), &wrapped), NotOpened::Malformed),
            (with_recipient(json!({"crit": ["x"]}), &wrapped), NotOpened::Malformed),
            (Jwe { protected: base64url(b"{}"), ..jwe.clone() }, NotOpened::Malformed),
            (
                Jwe { protected: base64url(br#"{"enc":"A192GCM","alg":"dir"}"#), ..jwe.clone() },
                NotOpened::Algorithm,
            ),
            (
                Jwe { protected: base64url(br#"{"enc":"A128GCM","alg":"dir"}"#), ..jwe.clone() },
                NotOpened::Algorithm,
            ),
        ];
        for (jwe, error) in rows {
            assert_eq!(open(&jwe), Err(error), "{jwe:?}");
        }
    }

    #[test]
    fn what_is_sealed_is_opened_by_josekit_alone() {
        let (elliptic, rsa) = (new_key(), new_rsa_key(2048));
        for encryption in ContentEncryption::ALL {
            for management in KeyManagement::ALL {
                let key = match management.key_type() {
                    KeyType::Elliptic => &elliptic,
                    KeyType::Rsa => &rsa,
                };
                let content_key = ContentKey::random(encryption).unwrap();
                let jwe =
                    Jwe::seal(b"plaintext", &content_key, management, &public_half(key)).unwrap();
                let text = serde_json::to_string(&jwe).unwrap();
                let decrypter = management.decrypter(key).unwrap();
                let (plaintext, _) = josekit::jwe::deserialize_json(&text, &*decrypter).unwrap();
                assert_eq!(plaintext, b"plaintext", "{text}");
                let unwrapped = jwe.unwrap_key(key).unwrap();
                assert!(unwrapped.is_same(&content_key));
                assert_eq!(jwe.open(&unwrapped).unwrap(), b"plaintext");
            }
        }
    }

    #[test]
    fn the_members_stand_where_the_draft_has_them() {
        let content_key = ContentKey::random(ContentEncryption::A128CbcHs256).unwrap();
        let jwe =
            Jwe::seal(b"x", &content_key, KeyManagement::EcdhEsA128Kw, &public_half(&new_key()))
                .unwrap();
        let jwe = serde_json::to_value(&jwe).unwrap();
        // The value that section 7.5 of the draft prints.
        assert_eq!(jwe["protected"], "eyJlbmMiOiJBMTI4Q0JDLUhTMjU2In0");
        assert_eq!(jwe["recipients"][0]["header"]["alg"], "ECDH-ES+A128KW");
        assert_eq!(jwe["recipients"][0]["header"]["epk"]["crv"], "P-256");
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&jwe), ["protected", "recipients", "iv", "ciphertext", "tag"]);
        assert_eq!(keys(&jwe["recipients"][0]), ["header", "encrypted_key"]);
        assert_eq!(keys(&jwe["recipients"][0]["header"]), ["alg", "epk"]);
        assert_eq!(keys(&jwe["recipients"][0]["header"]["epk"]), ["kty", "crv", "x", "y"]);
    }

    #[test]
    fn a_bit_flipped_anywhere_is_refused() {
        let key = new_key();
        for encryption in ContentEncryption::ALL {
            let content_key = ContentKey::random(encryption).unwrap();
            let jwe = Jwe::seal(
                b"plaintext",
                &content_key,
                KeyManagement::EcdhEsA128Kw,
                &public_half(&key),
            )
            .unwrap();
            let flip = |text: &str| {
                let mut bytes = from_base64url(text).unwrap();
                bytes[0] ^= 0x10;
                base64url(&bytes)
            };
            for jwe in [
                Jwe { iv: flip(&jwe.iv), ..jwe.clone() },
                Jwe { ciphertext: flip(&jwe.ciphertext), ..jwe.clone() },
                Jwe { tag: flip(&jwe.tag), ..jwe.clone() },
            ] {
                assert_eq!(jwe.open(&content_key), Err(NotOpened::Decryption));
            }
        }
    }

    #[test]
    fn keys_of_another_curve_are_not_used() {
        let pair = EcKeyPair::generate(EcCurve::P384).unwrap();
        let key = PKey::private_key_from_der(&pair.to_der_private_key()).unwrap();
        assert!(Jws::sign(b"", br#"{"alg":"ES256"}"#, None, &key).is_err());
        let (jws, _) = rfc7515_a3();
        assert_eq!(jws.verify(&public_half(&key)), Err(NotOpened::Algorithm));
    }
}
