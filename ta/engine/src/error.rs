//! What can go wrong, and the one place where it becomes a code on the wire.

use otrp_wire::ErrorCode;
use otrp_wire::json::Malformed;

use crate::crypto;
use crate::platform::PortError;

/// Why the engine could not do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The request is refused with this code.
    Refused(ErrorCode),
    /// The TAM takes none of the signatures that the TEE's key makes.
    NoCommonSignature,
    /// A port failed.
    Port(PortError),
    /// An internal invariant was violated; the call site explains why this is unreachable.
    Internal,
}

impl Error {
    /// The error code in the answer to a TAM.
    #[must_use]
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Refused(code) => code,
            Self::NoCommonSignature => ErrorCode::UnsupportedCryptoAlg,
            Self::Port(PortError::Full) => ErrorCode::TeeResourceFull,
            Self::Port(PortError::Denied) => ErrorCode::TaInvalid,
            Self::Port(PortError::Corrupt | PortError::Busy | PortError::Failed)
            | Self::Internal => ErrorCode::TeeFail,
        }
    }
}

impl Error {
    /// What an error of the cryptography means to a message that is refused with `refused`, in one and
    /// the same way, for everything that is wrong with it.
    #[must_use]
    pub const fn of_message(error: crypto::Error, refused: ErrorCode) -> Self {
        match error {
            crypto::Error::Crypto => Self::Refused(refused),
            crypto::Error::Unsupported => Self::Refused(ErrorCode::UnsupportedCryptoAlg),
            crypto::Error::Port(error) => Self::Port(error),
            crypto::Error::Internal => Self::Internal,
        }
    }

    /// What an error of the cryptography means to an answer: its keys and buffers are our own, so only
    /// a port can fail.
    #[must_use]
    pub const fn of_answer(error: crypto::Error) -> Self {
        match error {
            crypto::Error::Port(error) => Self::Port(error),
            crypto::Error::Crypto | crypto::Error::Unsupported | crypto::Error::Internal => {
                Self::Internal
            }
        }
    }
}

impl From<PortError> for Error {
    fn from(error: PortError) -> Self {
        Self::Port(error)
    }
}

impl From<ErrorCode> for Error {
    fn from(code: ErrorCode) -> Self {
        Self::Refused(code)
    }
}

impl From<Malformed> for Error {
    fn from(Malformed: Malformed) -> Self {
        Self::Refused(ErrorCode::RequestInvalid)
    }
}

impl From<otrp_wire::base64::NotBase64> for Error {
    fn from(_: otrp_wire::base64::NotBase64) -> Self {
        Self::Refused(ErrorCode::RequestInvalid)
    }
}

impl From<otrp_wire::response::Full> for Error {
    /// The reply's buffer is sized for the largest state, so running out of it is a defect.
    fn from(_: otrp_wire::response::Full) -> Self {
        Self::Internal
    }
}

/// Why a message got no reply; the shell turns it into a TEE result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswerable {
    /// The bytes are no OTrP request: there is no name that a reply could have.
    NotARequest,
    /// The buffer for the reply is shorter than [`otrp_wire::limits::REPLY_LIMIT`]; nothing was
    /// looked at.
    ShortBuffer,
    /// The TEE cannot sign a reply: storage is damaged or a port failed.
    Failed(PortError),
    /// An internal invariant was violated.
    Internal,
}

impl From<Error> for Unanswerable {
    fn from(error: Error) -> Self {
        match error {
            Error::Port(error) => Self::Failed(error),
            Error::Refused(_) | Error::NoCommonSignature | Error::Internal => Self::Internal,
        }
    }
}
