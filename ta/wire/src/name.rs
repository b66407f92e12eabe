//! Names of messages (OTrP draft, section 7.2).

macro_rules! names {
    ($($(#[$meta:meta])* $variant:ident = $name:literal, $answer:literal;)*) => {
        /// The requests that a TAM sends.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum RequestName {
            $($(#[$meta])* $variant,)*
        }

        impl RequestName {
            /// Every request.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The outer member of the request, `<name>Request`.
            #[must_use]
            pub const fn request(self) -> &'static str {
                match self { $(Self::$variant => concat!($name, "Request"),)* }
            }

            /// The member that is signed, `<name>TBSRequest`.
            #[must_use]
            pub const fn tbs_request(self) -> &'static str {
                match self { $(Self::$variant => concat!($name, "TBSRequest"),)* }
            }

            /// The outer member of the TEE's answer, `<name>Response`.
            #[must_use]
            pub const fn response(self) -> &'static str {
                match self { $(Self::$variant => concat!($answer, "Response"),)* }
            }

            /// The member of the answer that is signed, `<name>TBSResponse`.
            #[must_use]
            pub const fn tbs_response(self) -> &'static str {
                match self { $(Self::$variant => concat!($answer, "TBSResponse"),)* }
            }
        }
    };
}

names! {
    /// Asks for the device's state. The TEE's answer has a name of its own, because the agent
    /// gathers the answers of several TEEs under `GetDeviceStateResponse`.
    GetDeviceState = "GetDeviceState", "GetDeviceTEEState";
    /// Creates a security domain.
    CreateSd = "CreateSD", "CreateSD";
    /// Changes a security domain.
    UpdateSd = "UpdateSD", "UpdateSD";
    /// Deletes a security domain.
    DeleteSd = "DeleteSD", "DeleteSD";
    /// Installs a trusted application.
    InstallTa = "InstallTA", "InstallTA";
    /// Replaces a trusted application or its personalization data.
    UpdateTa = "UpdateTA", "UpdateTA";
    /// Deletes a trusted application.
    DeleteTa = "DeleteTA", "DeleteTA";
}

/// The name under which the agent gathers the TEEs' answers (OTrP draft, section 9.1.5).
pub const GET_DEVICE_STATE_RESPONSE: &str = "GetDeviceStateResponse";
/// A name of `GetDeviceStateRequest` that TAMs in the field use.
const GET_DEVICE_STATE_ALIAS: &str = "GetDeviceTEEStateRequest";
/// The name of the signed member that goes with the alias.
const GET_DEVICE_STATE_TBS_ALIAS: &str = "GetDeviceTEEStateTBSRequest";

impl RequestName {
    /// The request whose outer member is `text`.
    #[must_use]
    pub fn from_request(text: &str) -> Option<Self> {
        if text == GET_DEVICE_STATE_ALIAS {
            return Some(Self::GetDeviceState);
        }
        Self::ALL.iter().copied().find(|name| name.request() == text)
    }

    /// The request whose signed member is `text`.
    #[must_use]
    pub fn from_tbs_request(text: &str) -> Option<Self> {
        if text == GET_DEVICE_STATE_TBS_ALIAS {
            return Some(Self::GetDeviceState);
        }
        Self::ALL.iter().copied().find(|name| name.tbs_request() == text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_draft() {
        let name = RequestName::InstallTa;
        assert_eq!(name.request(), "InstallTARequest");
        assert_eq!(name.tbs_request(), "InstallTATBSRequest");
        assert_eq!(name.response(), "InstallTAResponse");
        assert_eq!(name.tbs_response(), "InstallTATBSResponse");
        assert_eq!(RequestName::GetDeviceState.response(), "GetDeviceTEEStateResponse");
    }

    #[test]
    fn names_round_trip_and_the_alias_is_known() {
        for name in RequestName::ALL {
            assert_eq!(RequestName::from_request(name.request()), Some(*name));
            assert_eq!(RequestName::from_tbs_request(name.tbs_request()), Some(*name));
        }
        assert_eq!(
            RequestName::from_request("GetDeviceTEEStateRequest"),
            Some(RequestName::GetDeviceState)
        );
        assert_eq!(RequestName::from_request("createsdrequest"), None);
    }
}
