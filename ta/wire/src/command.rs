//! The broker's interface to its clients: UUID, commands, parameters, results.
//!
//! Messages are octets in GlobalPlatform memory references; numbers are `value` parameters. A
//! command whose parameters have other types than its row says gets `TEE_ERROR_BAD_PARAMETERS`, an
//! unknown command `TEE_ERROR_NOT_IMPLEMENTED`.
//!
//! | Command | Parameters | Client | Results other than `TEE_SUCCESS` |
//! |---|---|---|---|
//! | [`PROCESS`] | p0 memref in: request; p1 memref out: reply | normal world | `BAD_FORMAT`: not an OTrP request |
//! | [`TA_INFORMATION`] | p0 memref in: query; p1 memref out: reply | normal world | `BAD_FORMAT`: not a query; `ITEM_NOT_FOUND`: no such TA; `BAD_STATE`: several TAs match |
//! | [`EXPORT_CSR`] | p0 memref out: PKCS #10 request, DER | normal world | |
//! | [`IMPORT_CERTIFICATES`] | p0 memref in: certificates, DER after DER, the TEE's first | normal world | `BAD_FORMAT`: not certificates; `SECURITY`: no path to the TEE's root; `ACCESS_DENIED`: for another key, or older than the present ones |
//! | [`STATUS`] | p0 memref out: JSON | normal world | |
//! | [`PREPARE`] | none | normal world | |
//! | [`PERSONALIZATION`] | p0 memref out: data; or p0 value out: their length, 0 | a TA, for its own data | `NO_DATA`: installed without data; `ACCESS_DENIED`: not installed by the broker |
//!
//! Each command can also end with one of these, and has then changed nothing, unless the row says so:
//!
//! | Result | Meaning |
//! |---|---|
//! | `TEE_ERROR_ACCESS_DENIED` | the command is not for this kind of client |
//! | `TEE_ERROR_SHORT_BUFFER` | the output buffer is too short; its size parameter states what is needed. A request is not looked at before its reply has space |
//! | `TEE_ERROR_EXCESS_DATA` | the input is longer than the broker's limit ([`limits`](crate::limits)) |
//! | `TEE_ERROR_OUT_OF_MEMORY`, `TEE_ERROR_BUSY` | try again later |
//! | `TEE_ERROR_STORAGE_NO_SPACE` | secure storage is full |
//! | `TEE_ERROR_CORRUPT_OBJECT` | secure storage is damaged, or older than its counter |
//! | `TEE_ERROR_ACCESS_CONFLICT` | the core does not let the broker use the store |
//! | `TEE_ERROR_GENERIC` | storage failed; a commit may be done, and GetDeviceState shows whether it is |
//! | `TEE_ERROR_TARGET_DEAD` | the broker crashed: treat it as a power cut |

/// The broker's UUID, as RFC 9562 orders its octets.
pub const BROKER: [u8; 16] = [
    0x9e, 0x04, 0x3e, 0xc0, 0x10, 0x43, 0x41, 0x5e, 0x85, 0x3d, 0x69, 0x0a, 0x6d, 0x34, 0x10, 0x54,
];

/// The same as text.
pub const BROKER_TEXT: &str = "9e043ec0-1043-415e-853d-690a6d341054";

/// Carries out one request of a TAM. The output buffer has at least
/// [`REPLY_LIMIT`](crate::limits::REPLY_LIMIT) octets, so that no reply is lost after a change.
pub const PROCESS: u32 = 0;

/// The TEE's signed statement about one installed TA (OTrP draft, section 6.4).
pub const TA_INFORMATION: u32 = 1;

/// A PKCS #10 request for a certificate of the TEE's key, which is generated at first use.
pub const EXPORT_CSR: u32 = 2;

/// Imports the TEE's certificate chain, the first or a renewed one.
pub const IMPORT_CERTIFICATES: u32 = 3;

/// The broker's description of itself.
pub const STATUS: u32 = 4;

/// Generates an RSA key pair in reserve, where the build has RSA keys: no request has to wait for it.
pub const PREPARE: u32 = 5;

/// The personalization data of the calling TA.
pub const PERSONALIZATION: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use std::{format, string::String};

    #[test]
    fn the_uuid_is_the_same_in_both_forms() {
        let digits: String = BROKER.iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(BROKER_TEXT.replace('-', ""), digits);
        assert_eq!(
            BROKER_TEXT.split('-').map(str::len).collect::<std::vec::Vec<_>>(),
            [8, 4, 4, 4, 12]
        );
    }
}
