//! JWE: encryption, decryption, and the wrapped content encryption key.

use josekit::jwe::JweHeader;
use openssl::pkey::{PKeyRef, Private, Public};
use openssl::rsa::Padding;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use zeroize::Zeroizing;

use super::Header;
use super::algorithm::{ContentEncryption, KeyManagement};
use super::content::{ContentKey, Sealed};
use super::error::{NotMade, NotOpened};
use crate::encoding::{Unambiguous, base64url, from_base64url, unambiguous_object};

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
    /// The recipient's header: `alg` and `epk`, unless the protected header has them.
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
    /// [`NotMade`] if the recipient's key does not fit `management`.
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
    /// If RSA1_5 unwrapping fails, the result is a random key, so that wrong padding cannot be told
    /// from a wrong tag (RFC 7516, section 11.5).
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

    /// The algorithms of the content and its key. Unverified.
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

    /// The algorithms, and the joined header: protected and recipient's, which must be disjoint and
    /// must not contain a member (`crit`, `zip`) that would have to be understood.
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

/// The key in the last bytes of an RSA1_5 block, or a random one if the padding is wrong (RFC 8017,
/// section 7.2.2), in constant time. OpenSSL does this itself only since version 3.2.
fn unwrap_rsa1_5(
    wrapped: &[u8],
    encryption: ContentEncryption,
    recipient: &PKeyRef<Private>,
) -> Result<ContentKey, NotOpened> {
    let mut key = ContentKey::random(encryption).map_err(|_| NotOpened::Decryption)?;
    let mut block = Zeroizing::new(vec![0; recipient.size()]);
    // Without padding it fails only for a number larger than the modulus, which is public.
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
