//! What the agent asks of a TEE with an OTrP broker in it.

use crate::message::TaName;

/// A TEE in which an OTrP broker runs.
pub trait Tee {
    /// Passes one request of a TAM to the broker, and returns its reply.
    ///
    /// # Errors
    /// If the broker cannot answer the request with a message.
    fn process(&mut self, request: &[u8]) -> Result<Vec<u8>, TeeError>;

    /// The broker's signed statement about one installed trusted application.
    ///
    /// # Errors
    /// `NotFound` where there is no such application here, `Ambiguous` where there are several.
    fn ta_information(&mut self, name: TaName<'_>) -> Result<Vec<u8>, TeeError>;

    /// A PKCS#10 request, DER, for a certificate of the TEE's key.
    ///
    /// # Errors
    /// If the TEE cannot create it.
    fn certification_request(&mut self) -> Result<Vec<u8>, TeeError>;

    /// Imports the certificates of the TEE's key: concatenated DER, the leaf first.
    ///
    /// # Errors
    /// `Refused` where they are not for this TEE, do not end at its maker's root, or are older than
    /// those that it has.
    fn import_certificates(&mut self, chain: &[u8]) -> Result<(), TeeError>;

    /// Lets the broker generate in advance what a later request needs and what takes long.
    ///
    /// # Errors
    /// If the TEE cannot; the later request then takes longer.
    fn prepare(&mut self) -> Result<(), TeeError>;

    /// The broker's description of itself, a JSON object.
    ///
    /// # Errors
    /// If the TEE does not answer.
    fn status(&mut self) -> Result<Vec<u8>, TeeError>;

    /// Whether the trusted application with this UUID can be opened.
    ///
    /// # Errors
    /// If the TEE does not answer.
    fn application(&mut self, uuid: &str) -> Result<Presence, TeeError>;
}

/// Whether a session with a trusted application can be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// The application is installed and runs, whether or not it accepts this client.
    Opens,
    /// The TEE finds nothing of this UUID, or not what the application needs.
    Absent,
    /// The TEE has it and cannot run it: the GlobalPlatform result.
    Unloadable(u32),
}

/// The name of a GlobalPlatform result, where it has one for what fails at loading.
#[must_use]
pub fn result_name(code: u32) -> String {
    let name = match code {
        0xf010_0001 => "TEE_ERROR_CORRUPT_OBJECT",
        0xffff_0000 => "TEE_ERROR_GENERIC",
        0xffff_0001 => "TEE_ERROR_ACCESS_DENIED",
        0xffff_0005 => "TEE_ERROR_BAD_FORMAT",
        0xffff_0006 => "TEE_ERROR_BAD_PARAMETERS",
        0xffff_0007 => "TEE_ERROR_BAD_STATE",
        0xffff_0008 => "TEE_ERROR_ITEM_NOT_FOUND",
        0xffff_000a => "TEE_ERROR_NOT_SUPPORTED",
        0xffff_000f => "TEE_ERROR_SECURITY",
        0xffff_3024 => "TEE_ERROR_TARGET_DEAD",
        other => return format!("result {other:#010x}"),
    };
    name.to_owned()
}

/// Why a TEE gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TeeError {
    /// There is no TEE driver, or this user may not use it.
    #[error("the TEE cannot be reached: is there a /dev/tee0, and may this user open it?")]
    NoDevice,
    /// The TEE is there, the broker is not.
    #[error("the TEE does not contain the OTrP broker; is its firmware image the right one?")]
    NoBroker,
    /// The TEE has too much to do, or too little memory at this moment.
    #[error("the TEE is busy; try again later")]
    Busy,
    /// The TEE ran out of memory.
    #[error("the TEE has too little memory for this message at the moment")]
    OutOfMemory,
    /// The broker stopped in the middle.
    #[error(
        "the OTrP broker in the TEE crashed; an interrupted command is completed or undone at its next use"
    )]
    Crashed,
    /// The message is not one of OTrP.
    #[error("the message is not an OTrP request")]
    NotOtrp,
    /// The message is longer than the broker takes.
    #[error("the message is longer than the TEE accepts")]
    TooLong,
    /// The reply is longer than any that this agent expects.
    #[error("the TEE's reply is longer than this agent accepts")]
    ReplyTooLong,
    /// The TEE's secure storage is damaged.
    #[error(
        "the TEE's secure storage is damaged, or is not the latest; if the latest cannot be restored, the device has to start over as its maker documents it: delete all of its storage, generate a new key, import a new certificate"
    )]
    Damaged,
    /// The TEE's secure storage has no space left, or cannot be written.
    #[error("the TEE's secure storage is full")]
    Full,
    /// The TEE has nothing under that name.
    #[error("the TEE has no such trusted application")]
    NotFound,
    /// The TEE has several under that name.
    #[error(
        "the TEE has several trusted applications of this name: select the TAM with --tam, or the security domain with --sd"
    )]
    Ambiguous,
    /// The TEE does not accept what it was given.
    #[error(
        "the TEE refuses: the certificates are not for its key, do not end at its maker's root, or are older than those it has"
    )]
    Refused,
    /// The name is not a UUID.
    #[error("not a UUID like 7265664a-f108-4bd7-af1c-86d044babbac")]
    Uuid,
    /// Anything else, with the GlobalPlatform result.
    #[error("the TEE failed with result 0x{0:08x}")]
    Other(u32),
}

impl TeeError {
    /// Whether the same may succeed later.
    #[must_use]
    pub const fn is_temporary(self) -> bool {
        matches!(self, Self::Busy | Self::OutOfMemory)
    }

    /// The code that stands for this failure in an answer to the TAM (OTrP draft, section 10).
    ///
    /// `ERR_AGENT_TEE_BUSY` tells the TAM that the same request may succeed later.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Busy | Self::OutOfMemory => "ERR_AGENT_TEE_BUSY",
            Self::NoDevice
            | Self::NoBroker
            | Self::Crashed
            | Self::NotOtrp
            | Self::TooLong
            | Self::ReplyTooLong
            | Self::Damaged
            | Self::Full
            | Self::NotFound
            | Self::Ambiguous
            | Self::Refused
            | Self::Uuid
            | Self::Other(_) => "ERR_AGENT_TEE_UNKNOWN",
        }
    }
}
