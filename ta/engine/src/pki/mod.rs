//! Certificates, paths of them, and public keys: X.509 for the broker.
//!
//! [`verify_tam`] and [`verify_path`] are the only ways to a type that says somebody is trusted.
//! Everything borrows from the DER that came in; nothing allocates, and every loop is bounded by
//! [`CERTIFICATE_LIMIT`](otrp_wire::limits::CERTIFICATE_LIMIT) and
//! [`CHAIN_LIMIT`](otrp_wire::limits::CHAIN_LIMIT).

mod asn1;
mod certificate;
mod error;
mod key;
mod ocsp;
mod path;
mod request;
mod split;

pub use certificate::{Certificate, Usage, Validity, check_sp_certificate, is_same};
pub use error::Error;
pub use key::{EncodedKey, attestation_key, spki};
pub use ocsp::{Good, Unproven, verify_status};
pub use path::{Role, TrustedTam, Untrusted, VerifiedPath, verify_path, verify_tam};
pub use request::{COMMON_NAME_LIMIT, REQUEST_LIMIT, RequestError, certification_request};
pub(crate) use split::split_first;
pub use split::{Chain, split_chain, split_der};
