//! Requests: what a TAM sends to a TEE (OTrP draft, section 9).

mod command;
mod suite;

pub use command::{Application, Command, SdChanges, Target};
pub use suite::{Suite, TaEncryption};

use anyhow::{Context as _, ensure};
use openssl::pkey::{PKey, Public};
use openssl::rand::rand_bytes;
use otrp_wire::{RequestName, VERSION};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::certificate;
use crate::dsi::AttestationKey;
use crate::encoding::base64;
use crate::identity::Identity;
use crate::jose::{
    ContentEncryption, ContentKey, FlattenedJwe, Jwe, Jws, KeyManagement, KeyManagements,
    SignatureAlgorithm,
};

/// Length of the key that encrypts an image, for AES-256.
const TA_KEY_LENGTH: usize = 32;
/// How a request identifies its signer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignerHeader {
    /// By the whole chain: always possible, whatever the TEE has cached.
    #[default]
    Chain,
    /// By the hash of the certificate (`kid`), for a TEE that answered `signerreq` false.
    KeyId,
    /// Not at all: the TEE knows the signer of the transaction.
    Absent,
}

/// What is needed to verify the answer to a request.
#[derive(Debug)]
pub struct Exchange {
    /// The request's name.
    pub name: RequestName,
    /// The request's identifier.
    pub rid: String,
    /// The transaction's identifier.
    pub tid: String,
    /// The name of the security domain that the request creates.
    pub created: Option<String>,
    /// The content key of the request, under which the answer's content is encrypted too.
    pub content_key: Option<ContentKey>,
    /// The initialization vector of the request's content, which the answer must not reuse.
    pub content_iv: Option<String>,
}

/// A signed request.
#[derive(Debug)]
pub struct Request {
    /// The message to send.
    pub message: Vec<u8>,
    /// What is needed to verify its answer.
    pub exchange: Exchange,
}

/// A random identifier for `rid` and `tid`: 128 bits in hexadecimal.
///
/// # Errors
/// If OpenSSL has no randomness.
pub fn random_id() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    rand_bytes(&mut bytes)?;
    Ok(hex::encode(bytes))
}

type Edit<'a, T> = Option<Box<dyn FnOnce(&mut T) + 'a>>;

/// Builds one request. Tests can edit it at any stage to make it wrong.
///
/// The edits are applied in this order: `edit_content` before the content is encrypted, `edit_tbs`
/// before the payload is serialized, `edit_payload` and `edit_protected` before it is signed,
/// `edit_message` after that.
pub struct Builder<'a> {
    identity: &'a Identity,
    command: Option<(&'a Target, Command<'a>)>,
    tid: Option<String>,
    rid: Option<String>,
    tee: Option<String>,
    dsi_hash: Option<String>,
    tam_id: Option<String>,
    device_id: Option<String>,
    next_dsi: bool,
    signer: SignerHeader,
    content_encryption: ContentEncryption,
    key_managements: KeyManagements,
    ta_encryption: TaEncryption,
    content_edit: Edit<'a, Map<String, Value>>,
    tbs_edit: Edit<'a, Map<String, Value>>,
    payload_edit: Edit<'a, Vec<u8>>,
    protected_edit: Edit<'a, Vec<u8>>,
    message_edit: Edit<'a, Value>,
}

impl<'a> Builder<'a> {
    /// GetDeviceState, with the OCSP responses of the identity stapled.
    #[must_use]
    pub fn device_state(identity: &'a Identity) -> Self {
        Self::new(identity, None)
    }

    /// A command to a known device.
    #[must_use]
    pub fn command(identity: &'a Identity, target: &'a Target, command: Command<'a>) -> Self {
        Self::new(identity, Some((target, command)))
    }

    fn new(identity: &'a Identity, command: Option<(&'a Target, Command<'a>)>) -> Self {
        Self {
            identity,
            command,
            tid: None,
            rid: None,
            tee: None,
            dsi_hash: None,
            tam_id: None,
            device_id: None,
            next_dsi: true,
            signer: SignerHeader::default(),
            content_encryption: ContentEncryption::default(),
            key_managements: KeyManagements::default(),
            ta_encryption: TaEncryption::default(),
            content_edit: None,
            tbs_edit: None,
            payload_edit: None,
            protected_edit: None,
            message_edit: None,
        }
    }

    /// Sets the transaction identifier; random by default.
    #[must_use]
    pub fn tid(mut self, tid: impl Into<String>) -> Self {
        self.tid = Some(tid.into());
        self
    }

    /// Sets the request identifier; random by default.
    #[must_use]
    pub fn rid(mut self, rid: impl Into<String>) -> Self {
        self.rid = Some(rid.into());
        self
    }

    /// Sets the name of the TEE; the target's by default.
    #[must_use]
    pub fn tee(mut self, tee: impl Into<String>) -> Self {
        self.tee = Some(tee.into());
        self
    }

    /// Sets the hash of the device state; the target's by default.
    #[must_use]
    pub fn dsi_hash(mut self, dsi_hash: impl Into<String>) -> Self {
        self.dsi_hash = Some(dsi_hash.into());
        self
    }

    /// Sets the TAM ID; the identity's by default.
    #[must_use]
    pub fn tam_id(mut self, tam_id: impl Into<String>) -> Self {
        self.tam_id = Some(tam_id.into());
        self
    }

    /// Sets the device identifier in CreateSD; the target's by default.
    #[must_use]
    pub fn device_id(mut self, device_id: impl Into<String>) -> Self {
        self.device_id = Some(device_id.into());
        self
    }

    /// Sets whether the answer is to contain the new state; `true` by default.
    #[must_use]
    pub const fn next_dsi(mut self, next_dsi: bool) -> Self {
        self.next_dsi = next_dsi;
        self
    }

    /// Sets how the request identifies its signer.
    #[must_use]
    pub const fn signer(mut self, signer: SignerHeader) -> Self {
        self.signer = signer;
        self
    }

    /// Sets the encryption of the content.
    #[must_use]
    pub const fn content_encryption(mut self, encryption: ContentEncryption) -> Self {
        self.content_encryption = encryption;
        self
    }

    /// Sets the algorithm that encrypts the keys of the content and of the image, for keys of the
    /// device of the algorithm's type.
    #[must_use]
    pub const fn key_management(mut self, management: KeyManagement) -> Self {
        self.key_managements = self.key_managements.with(management);
        self
    }

    /// Sets all algorithms of the encryption.
    #[must_use]
    pub const fn suite(mut self, suite: Suite) -> Self {
        self.content_encryption = suite.content_encryption;
        self.key_managements = suite.key_managements;
        self.ta_encryption = suite.ta_encryption;
        self
    }

    /// Sets the encryption of images and personalization data.
    #[must_use]
    pub const fn ta_encryption(mut self, encryption: TaEncryption) -> Self {
        self.ta_encryption = encryption;
        self
    }

    /// Changes the content before it is encrypted.
    #[must_use]
    pub fn edit_content(mut self, edit: impl FnOnce(&mut Map<String, Value>) + 'a) -> Self {
        self.content_edit = Some(Box::new(edit));
        self
    }

    /// Changes the members that are signed.
    #[must_use]
    pub fn edit_tbs(mut self, edit: impl FnOnce(&mut Map<String, Value>) + 'a) -> Self {
        self.tbs_edit = Some(Box::new(edit));
        self
    }

    /// Changes the bytes that are signed: `{"<name>TBSRequest":{...}}`.
    #[must_use]
    pub fn edit_payload(mut self, edit: impl FnOnce(&mut Vec<u8>) + 'a) -> Self {
        self.payload_edit = Some(Box::new(edit));
        self
    }

    /// Changes the bytes of the protected header before they are signed, such as `{"alg":"ES256"}`.
    #[must_use]
    pub fn edit_protected(mut self, edit: impl FnOnce(&mut Vec<u8>) + 'a) -> Self {
        self.protected_edit = Some(Box::new(edit));
        self
    }

    /// Changes the signed message: `{"<name>Request":{"payload",...}}`.
    #[must_use]
    pub fn edit_message(mut self, edit: impl FnOnce(&mut Value) + 'a) -> Self {
        self.message_edit = Some(Box::new(edit));
        self
    }

    /// Builds the request.
    ///
    /// # Errors
    /// If the target's or the SP's key is of an unsupported type, or the target has no attestation
    /// key of the SP.
    pub fn build(mut self) -> anyhow::Result<Request> {
        let rid = self.rid.take().map_or_else(random_id, Ok)?;
        let tid = self.tid.take().map_or_else(random_id, Ok)?;
        let mut tbs = Map::new();
        tbs.insert("ver".into(), VERSION.into());
        tbs.insert("rid".into(), rid.as_str().into());
        tbs.insert("tid".into(), tid.as_str().into());
        let mut exchange = Exchange {
            name: RequestName::GetDeviceState,
            rid,
            tid,
            created: None,
            content_key: None,
            content_iv: None,
        };
        match self.command.take() {
            None => {
                tbs.insert("ocspdat".into(), self.identity.ocsp_data().into());
                // In the draft this lists signature algorithms. Key management algorithms are added, so
                // that a TEE knows which to use if the request does not show it.
                let signatures = SignatureAlgorithm::ALL.map(SignatureAlgorithm::name);
                let keys = self.identity.key_managements().iter().map(|it| it.name());
                let algorithms: Vec<_> = signatures.into_iter().chain(keys).collect();
                tbs.insert("supportedsigalgs".into(), json!(algorithms));
            }
            Some((target, command)) => {
                exchange.name = command.name();
                if let Command::CreateSd { name, .. } = command {
                    exchange.created = Some(String::from(name));
                }
                let (content, key) = self.add_command(&mut tbs, target, &command)?;
                exchange.content_iv = Some(content.iv);
                exchange.content_key = Some(key);
            }
        }
        if let Some(edit) = self.tbs_edit.take() {
            edit(&mut tbs);
        }
        let message = self.sign(exchange.name, tbs)?;
        Ok(Request { message, exchange })
    }

    /// Adds the members of a command, and the image if there is one.
    fn add_command(
        &mut self,
        tbs: &mut Map<String, Value>,
        target: &Target,
        command: &Command<'_>,
    ) -> anyhow::Result<(Jwe, ContentKey)> {
        let tee = self.tee.take().unwrap_or_else(|| target.tee.clone());
        let dsi_hash = self.dsi_hash.take().unwrap_or_else(|| target.dsi_hash.clone());
        tbs.insert("tee".into(), tee.into());
        tbs.insert("nextdsi".into(), self.next_dsi.into());
        tbs.insert("dsihash".into(), dsi_hash.into());
        let mut content = self.content(target, command)?;
        if let Some(edit) = self.content_edit.take() {
            edit(&mut content);
        }
        let plaintext = Zeroizing::new(serde_json::to_vec(&content)?);
        let key = ContentKey::random(self.content_encryption)?;
        let recipient = target.certificate.public_key()?;
        let content = self
            .key_managements
            .for_key(&recipient)
            .and_then(|management| Jwe::seal(&plaintext, &key, management, &recipient))
            .context("encrypting for the TEE")?;
        tbs.insert("content".into(), serde_json::to_value(&content)?);
        if let Command::InstallTa(application) | Command::UpdateTa(application) = command {
            let attestation_key = target
                .attestation_keys
                .iter()
                .find(|key| key.spid == application.spid)
                .and_then(AttestationKey::public_key)
                .with_context(|| format!("no attestation key of the SP {}", application.spid))?;
            let encrypted = self.encrypt_application(command.name(), application, &attestation_key);
            tbs.insert("encrypted_ta".into(), encrypted.context("encrypting for the SP's key")?);
        }
        Ok((content, key))
    }

    /// The plaintext of `content`, its members in the draft's order.
    fn content(
        &mut self,
        target: &Target,
        command: &Command<'_>,
    ) -> anyhow::Result<Map<String, Value>> {
        let tam_id = self.tam_id.take().unwrap_or_else(|| String::from(self.identity.tam_id()));
        let mut content = Map::new();
        let mut add = |name: &str, value: Value| {
            content.insert(name.into(), value);
        };
        match command {
            Command::CreateSd { spid, name, certificate } => {
                let device_id = match self.device_id.take() {
                    Some(other) => other,
                    None => certificate::device_id(&target.certificate)?,
                };
                add("spid", (*spid).into());
                add("sdname", (*name).into());
                add("spcert", base64(certificate).into());
                add("tamid", tam_id.into());
                add("did", device_id.into());
            }
            Command::UpdateSd { spid, name, changes } => {
                add("tamid", tam_id.into());
                add("spid", (*spid).into());
                add("sdname", (*name).into());
                add("changes", changes.members());
            }
            Command::DeleteSd { spid, name, delete_tas } => {
                add("tamid", tam_id.into());
                if let Some(spid) = spid {
                    add("spid", (*spid).into());
                }
                add("sdname", (*name).into());
                add("deleteta", (*delete_tas).into());
            }
            Command::InstallTa(application) | Command::UpdateTa(application) => {
                add("tamid", tam_id.into());
                add("spid", application.spid.into());
                add("sdname", application.domain.into());
                if let Some(certificate) = application.certificate {
                    add("spcert", base64(certificate).into());
                }
                add("taid", application.taid.into());
            }
            Command::DeleteTa { spid, name, taid } => {
                add("tamid", tam_id.into());
                if let Some(spid) = spid {
                    add("spid", (*spid).into());
                }
                add("sdname", (*name).into());
                add("taid", (*taid).into());
            }
        }
        Ok(content)
    }

    /// `encrypted_ta` (OTrP draft, sections 9.3.1.1, 9.3.2.1 and 14.4).
    fn encrypt_application(
        &self,
        name: RequestName,
        application: &Application<'_>,
        attestation_key: &PKey<Public>,
    ) -> anyhow::Result<Value> {
        let (image_member, personalization_member) = match name {
            RequestName::UpdateTa => ("ciphernewtadata", "ciphernewpdata"),
            _ => ("ciphertadata", "cipherpdata"),
        };
        let mut key = Zeroizing::new(vec![0; TA_KEY_LENGTH]);
        rand_bytes(&mut key)?;
        let wrapping_key = ContentKey::random(self.content_encryption)?;
        let management = self.key_managements.for_key(attestation_key)?;
        let wrapped = Jwe::seal(&key, &wrapping_key, management, attestation_key)?;
        let mut members = Map::new();
        members.insert("key".into(), serde_json::to_value(FlattenedJwe::from(wrapped))?);
        members.insert("alg".into(), self.ta_encryption.name().into());
        // The draft has one `iv`. A second text under the same key needs another one: `ivp`.
        let mut iv_members = ["iv", "ivp"].into_iter();
        for (member, role, plaintext) in [
            (image_member, "image", application.image),
            (personalization_member, "data", application.personalization),
        ] {
            let Some(plaintext) = plaintext else { continue };
            let mut iv = vec![0; self.ta_encryption.iv_length()];
            rand_bytes(&mut iv)?;
            let Application { spid, domain, taid, .. } = application;
            let purpose = [role, spid, domain, taid].join("\0");
            let ciphertext = self.ta_encryption.encrypt(&key, &iv, &purpose, plaintext)?;
            let iv_member = iv_members.next().context("more texts than IVs")?;
            members.insert(iv_member.into(), hex::encode_upper(&iv).into());
            members.insert(member.into(), base64(&ciphertext).into());
        }
        ensure!(members.contains_key("iv"), "neither an image nor personalization data");
        Ok(Value::Object(members))
    }

    fn sign(mut self, name: RequestName, tbs: Map<String, Value>) -> anyhow::Result<Vec<u8>> {
        let mut payload = serde_json::to_vec(&json!({ name.tbs_request(): tbs }))?;
        if let Some(edit) = self.payload_edit.take() {
            edit(&mut payload);
        }
        let algorithm = self.identity.signature_algorithm().name();
        let mut protected = serde_json::to_vec(&json!({ "alg": algorithm }))?;
        if let Some(edit) = self.protected_edit.take() {
            edit(&mut protected);
        }
        let header = match self.signer {
            SignerHeader::Chain => Some(json!({ "x5c": self.identity.x5c()? })),
            SignerHeader::KeyId => Some(json!({ "kid": self.identity.key_id()? })),
            SignerHeader::Absent => None,
        };
        let header = header.as_ref().and_then(Value::as_object).cloned();
        let jws = Jws::sign(&payload, &protected, header, self.identity.key())?;
        let mut message = json!({ name.request(): jws });
        if let Some(edit) = self.message_edit.take() {
            edit(&mut message);
        }
        Ok(serde_json::to_vec(&message)?)
    }
}
