//! Every capacity of the broker, in one place, with its reason.
//!
//! A vendor changes them here. The sizes of the reply and of the registry record follow from the
//! counts; `otrp-engine` checks at compile time that they fit into [`REPLY_LIMIT`].

/// Longest request in bytes. An image of [`ELF_LIMIT`] is base64 twice on the wire (x 16/9), of which an
/// encoder may have escaped `+` and `/`, with room for a certificate chain and the personalization data.
///
/// The TEE's memory holds of it two octets in a KiB, so that a longer one costs little.
pub const MESSAGE_LIMIT: usize = 16 * 1024 * 1024;
/// Longest ELF of a trusted application in bytes: more than OP-TEE has memory for on most boards.
pub const ELF_LIMIT: usize = 8 * 1024 * 1024;
/// Longest reply in bytes, and the engine's working space: a device that holds the largest number
/// of the longest names and of RSA keys, its state encrypted and signed.
pub const REPLY_LIMIT: usize = 61 * 1024;
/// Most security domains on a device.
pub const SD_LIMIT: usize = 32;
/// Most installed trusted applications on a device.
pub const TA_LIMIT: usize = 128;
/// Most TAMs that a device remembers; one without a security domain is replaced by a new one when its
/// OCSP responses have ended.
pub const TAM_LIMIT: usize = 16;
/// Most UUIDs that a device remembers: those of installed trusted applications and, with version
/// and owner, those of deleted ones. They are never forgotten: client applications know a TA by its
/// UUID, so another owner's, or an older version, must not take its place.
pub const UUID_LIMIT: usize = 256;
/// Security domains that each of [`TAM_LIMIT`] TAMs can count on, however many the others use: one, without
/// which a TAM can do nothing. What is left of [`SD_LIMIT`] is for those that come first.
pub const SD_SHARE: usize = 1;
/// Installed trusted applications that each TAM can count on: those of a small service provider. What
/// is left of [`TA_LIMIT`] is for those that come first.
pub const TA_SHARE: usize = 4;
/// UUIDs that each TAM can count on: twice [`TA_SHARE`], so that each application can be replaced by
/// one under another UUID. What is left of [`UUID_LIMIT`] is for those that come first.
pub const UUID_SHARE: usize = 8;
/// Most roots that TAM certificates may lead to: a few operators, each with an old and a new root.
/// The device keeps a time for each.
pub const ANCHOR_LIMIT: usize = 8;
/// Most certificates of the service provider in one security domain.
pub const SP_CERTIFICATE_LIMIT: usize = 4;
/// Most certificates that a security domain accepts no more although applications are installed
/// that they signed: as many as there may be of the others, so that all can be replaced once.
pub const RETIRED_CERTIFICATE_LIMIT: usize = SP_CERTIFICATE_LIMIT;
/// Longest certificate in bytes; one with an RSA-4096 key and usual extensions takes 1.5 KiB.
pub const CERTIFICATE_LIMIT: usize = 2048;
/// Most certificates in a chain, the root included.
pub const CHAIN_LIMIT: usize = 5;
/// Longest chain of a TAM in bytes: a leaf with an RSA-2048 key, 1.1 KiB, below three authorities
/// with RSA-4096 keys, 1.3 KiB each.
pub const CHAIN_BYTES_LIMIT: usize = 6 * 1024;
/// Longest chain of the TEE in bytes: three certificates with RSA-2048 keys. It is a part of every
/// device state, whose base64 makes it 2.4 times as long.
pub const TEE_CHAIN_BYTES_LIMIT: usize = 2816;
/// Most OCSP responses in a request: the leaf's and one for each CA below the root.
pub const OCSP_LIMIT: usize = CHAIN_LIMIT.saturating_sub(1);
/// Longest OCSP response in bytes: one with a delegated responder's certificate of
/// [`CERTIFICATE_LIMIT`], an RSA-4096 signature, and the status of a few certificates.
pub const OCSP_RESPONSE_LIMIT: usize = 4096;
/// Most CAs whose good standing is remembered: the issuing CA of every TAM.
pub const AUTHORITY_LIMIT: usize = TAM_LIMIT;
/// How many seconds a clock may be behind that of an OCSP responder, so that a response that was
/// made just now is not from the future: what `openssl ocsp` allows too.
pub const CLOCK_TOLERANCE_SECONDS: u64 = 300;
/// Most algorithm names in `supportedsigalgs`.
pub const ALGORITHM_LIMIT: usize = 8;
/// Longest TAM identifier in bytes: a URL.
pub const TAM_ID_LIMIT: usize = 128;
/// Longest SP identifier, SD name or TA identifier in bytes: a reverse domain name.
pub const NAME_LIMIT: usize = 64;
/// Longest `rid` or `tid` in bytes.
pub const TRANSACTION_ID_LIMIT: usize = 128;
/// Longest personalization data of a trusted application in bytes.
pub const PERSONALIZATION_LIMIT: usize = 16 * 1024;
/// Longest JOSE header in bytes, decoded from base64: algorithm names, an ephemeral key, party
/// information.
pub const JOSE_HEADER_LIMIT: usize = 768;
/// Longest party information (`apu`, `apv`) in bytes, decoded.
pub const PARTY_LIMIT: usize = 64;
