//! Error codes that a TEE or the agent reports (OTrP draft, section 13.1).

macro_rules! codes {
    ($($(#[$meta:meta])* $variant:ident = $text:literal,)*) => {
        /// Why a TEE refused a request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$meta])* $variant,)*
        }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

codes! {
    /// The DSI hash does not name the device's state.
    DevStateMismatch = "ERR_DEV_STATE_MISMATCH",
    /// The security domain to create exists.
    SdAlreadyExists = "ERR_SD_ALREADY_EXISTS",
    /// The security domain to delete holds trusted applications.
    SdNotEmpty = "ERR_SD_NOT_EMPTY",
    /// There is no such security domain of this TAM.
    SdNotFound = "ERR_SD_NOT_FOUND",
    /// The new name of a security domain is taken.
    SdNameAlreadyUsed = "ERR_SDNAME_ALREADY_USED",
    /// The message's structure, signature or encryption is wrong.
    RequestInvalid = "ERR_REQUEST_INVALID",
    /// The service provider's certificate is malformed or contradicts itself.
    SpCertInvalid = "ERR_SPCERT_INVALID",
    /// The trusted application to install is installed.
    TaAlreadyInstalled = "ERR_TA_ALREADY_INSTALLED",
    /// The image's format, encryption, signer, identity or version is not acceptable.
    TaInvalid = "ERR_TA_INVALID",
    /// There is no such trusted application in the security domain.
    TaNotFound = "ERR_TA_NOT_FOUND",
    /// The TEE failed, or is not provisioned yet.
    TeeFail = "ERR_TEE_FAIL",
    /// A capacity of the device is used up.
    TeeResourceFull = "ERR_TEE_RESOURCE_FULL",
    /// The firmware below the TEE is not trusted.
    TfwNotTrusted = "ERR_TFW_NOT_TRUSTED",
    /// The TAM is trusted but does not own what it names.
    TamNotAuthorized = "ERR_TAM_NOT_AUTHORIZED",
    /// The TAM's certificate does not lead to a trust anchor, or is not valid now.
    TamNotTrusted = "ERR_TAM_NOT_TRUSTED",
    /// The message uses an algorithm that this TEE does not have.
    UnsupportedCryptoAlg = "ERR_UNSUPPORTED_CRYPTO_ALG",
    /// The message's version is not 1.0.
    UnsupportedMsgVersion = "ERR_UNSUPPORTED_MSG_VERSION",
}

impl ErrorCode {
    /// The code of a text on the wire.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == text)
    }

    /// One sentence for the person who reads `error-message`.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::DevStateMismatch => "the device state changed, ask for it with GetDeviceState",
            Self::SdAlreadyExists => "the security domain exists",
            Self::SdNotEmpty => "the security domain holds trusted applications",
            Self::SdNotFound => "there is no such security domain",
            Self::SdNameAlreadyUsed => "the name of the security domain is taken",
            Self::RequestInvalid => "the request is malformed or its protection is broken",
            Self::SpCertInvalid => "the certificate of the service provider is not valid",
            Self::TaAlreadyInstalled => "the trusted application is installed",
            Self::TaInvalid => "the image of the trusted application is not acceptable",
            Self::TaNotFound => "there is no such trusted application",
            Self::TeeFail => "the TEE failed or holds no certificate yet",
            Self::TeeResourceFull => "the device has no room left",
            Self::TfwNotTrusted => "the firmware is not trusted",
            Self::TamNotAuthorized => "the TAM does not own what it names",
            Self::TamNotTrusted => "the certificate of the TAM is not trusted",
            Self::UnsupportedCryptoAlg => "the algorithm is not supported",
            Self::UnsupportedMsgVersion => "the version of the message is not supported",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_round_trip() {
        for (index, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(ErrorCode::from_text(code.as_str()), Some(*code));
            for other in &ErrorCode::ALL[index + 1..] {
                assert_ne!(code.as_str(), other.as_str());
            }
        }
        assert_eq!(ErrorCode::from_text("ERR_NONE"), None);
    }

    #[test]
    fn messages_need_no_escaping() {
        for code in ErrorCode::ALL {
            assert!(code.message().bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
            assert!(!code.message().contains(['"', '\\']));
        }
    }
}
