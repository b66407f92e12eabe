//! The TAM's own key and certificates, with the OCSP responses that it staples.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use openssl::pkey::{PKey, PKeyRef, Private};
use openssl::x509::{X509, X509Ref};
use otrp_wire::limits::TAM_ID_LIMIT;
use zeroize::Zeroizing;

use crate::certificate;
use crate::encoding::{base64, base64url, sha256};
use crate::jose::{
    ContentEncryption, ContentKey, Jwe, KeyManagement, KeyType, NotOpened, SignatureAlgorithm,
};

/// A key of the TAM: it signs requests, and answers are encrypted for it.
#[derive(Clone)]
pub struct Identity {
    key: PKey<Private>,
    key_type: KeyType,
    chain: Vec<X509>,
    tam_id: String,
    responses: Vec<Vec<u8>>,
    taken: Taken,
}

/// The algorithms that this TAM accepts in answers.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Algorithms for the key of an answer. Those for other key types have no effect.
    pub key_managements: Vec<KeyManagement>,
    /// Algorithms for the content of a device state. An answer to a command is encrypted as the
    /// command.
    pub content_encryptions: Vec<ContentEncryption>,
}

impl Default for Taken {
    /// All algorithms.
    fn default() -> Self {
        Self {
            key_managements: KeyManagement::ALL.to_vec(),
            content_encryptions: ContentEncryption::ALL.to_vec(),
        }
    }
}

impl Identity {
    /// Reads the key and the chain, leaf first, each in PEM or DER. `tam_id` overrides the ID in
    /// the leaf, for a leaf that has it as registeredID, which OpenSSL's bindings do not return.
    ///
    /// # Errors
    /// If a file is missing, the key is not that of the leaf, or no ID is known.
    pub fn read(key: &Path, chain: &Path, tam_id: Option<&str>) -> anyhow::Result<Self> {
        let file = Zeroizing::new(
            std::fs::read(key)
                .with_context(|| format!("cannot read the TAM key {}", key.display()))?,
        );
        // Not by OpenSSL's reader, which prompts for a passphrase if the key is encrypted.
        let der = otrp_pem::private_key(&file)
            .with_context(|| format!("the TAM key {}", key.display()))?;
        let key = PKey::private_key_from_der(&der)
            .with_context(|| format!("{} holds a damaged private key", key.display()))?;
        Self::new(key, certificate::read_file(chain)?, tam_id)
    }

    /// The identity of a key and a chain that begins with its certificate.
    ///
    /// # Errors
    /// As [`Identity::read`].
    pub fn new(key: PKey<Private>, chain: Vec<X509>, tam_id: Option<&str>) -> anyhow::Result<Self> {
        let Some(leaf) = chain.first() else {
            bail!("the TAM's certificate chain is empty");
        };
        ensure!(
            leaf.public_key()?.public_eq(&key),
            "the TAM's key is not that of its first certificate: the chain begins with the TAM's \
             own, and each is followed by its issuer"
        );
        let key_type = KeyType::of(&key)
            .context("the TAM's key is neither on the curve P-256 nor RSA of 2048 to 4096 bits")?;
        let tam_id = match tam_id {
            Some(id) => certificate::spelled(id),
            None => certificate::tam_id(leaf).context(
                "the TAM's certificate names no URI and no DNS name, so the TAM ID is unknown",
            )?,
        };
        ensure!(tam_id.len() <= TAM_ID_LIMIT, "the TAM ID is longer than {TAM_ID_LIMIT} bytes");
        let (responses, taken) = (Vec::new(), Taken::default());
        Ok(Self { key, key_type, chain, tam_id, responses, taken })
    }

    /// The same identity, which accepts only these algorithms in answers.
    #[must_use]
    pub fn taking(self, taken: Taken) -> Self {
        Self { taken, ..self }
    }

    /// The algorithms accepted for the key of an answer.
    #[must_use]
    pub fn key_managements(&self) -> &[KeyManagement] {
        &self.taken.key_managements
    }

    /// Unwraps the key of a device state.
    ///
    /// # Errors
    /// As [`Identity::unwrap_key`]; also [`NotOpened::NotTaken`] for the encryption of the state.
    pub fn unwrap_state_key(&self, jwe: &Jwe) -> Result<ContentKey, NotOpened> {
        let (encryption, _) = jwe.algorithms()?;
        if !self.taken.content_encryptions.contains(&encryption) {
            return Err(NotOpened::NotTaken(encryption.name()));
        }
        self.unwrap_key(jwe)
    }

    /// Unwraps the key of an answer's content.
    ///
    /// # Errors
    /// [`NotOpened`]; [`NotOpened::NotTaken`] for an algorithm that fits the key and is not among those of
    /// [`Identity::taking`].
    pub fn unwrap_key(&self, jwe: &Jwe) -> Result<ContentKey, NotOpened> {
        let (_, management) = jwe.algorithms()?;
        if management.key_type() != self.key_type {
            return Err(NotOpened::Algorithm);
        }
        if !self.taken.key_managements.contains(&management) {
            return Err(NotOpened::NotTaken(management.name()));
        }
        jwe.unwrap_key(&self.key)
    }

    /// The same identity with OCSP responses to staple, in DER: the leaf's, then one for each CA
    /// below the root.
    #[must_use]
    pub fn staple(self, responses: Vec<Vec<u8>>) -> Self {
        Self { responses, ..self }
    }

    /// The private key.
    #[must_use]
    pub fn key(&self) -> &PKeyRef<Private> {
        &self.key
    }

    /// The algorithm of its signatures.
    #[must_use]
    pub const fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.key_type.signature_algorithm()
    }

    /// The TAM ID, as certified.
    #[must_use]
    pub fn tam_id(&self) -> &str {
        &self.tam_id
    }

    /// The chain, leaf first.
    #[must_use]
    pub fn chain(&self) -> &[X509] {
        &self.chain
    }

    /// The value of `ocspdat`: standard base64 of each stapled response (OTrP draft, section 9.1.1).
    #[must_use]
    pub fn ocsp_data(&self) -> Vec<String> {
        self.responses.iter().map(|response| base64(response)).collect()
    }

    /// The value of `x5c`: standard base64 of each certificate, leaf first.
    ///
    /// # Errors
    /// If OpenSSL runs out of memory.
    pub fn x5c(&self) -> anyhow::Result<Vec<String>> {
        Ok(self.ders()?.iter().map(|der| base64(der)).collect())
    }

    /// The DER of each certificate, leaf first.
    ///
    /// # Errors
    /// If OpenSSL runs out of memory.
    pub fn ders(&self) -> anyhow::Result<Vec<Vec<u8>>> {
        self.chain.iter().map(|certificate| Ok(certificate.to_der()?)).collect()
    }

    /// The value of `kid`: base64url SHA-256 of the leaf, by which a TEE finds a cached chain.
    ///
    /// # Errors
    /// If OpenSSL runs out of memory.
    pub fn key_id(&self) -> anyhow::Result<String> {
        let leaf: &X509Ref = self.chain.first().context("the chain is empty")?;
        Ok(base64url(&sha256(&leaf.to_der()?)?))
    }
}
