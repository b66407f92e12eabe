//! Certification requests (PKCS #10, RFC 2986).

use super::asn1::{Backwards, Full};
use super::key::spki;
use crate::crypto::Signature;
use crate::crypto::digest::sha256;
use crate::platform::OwnPublicKey;

/// The longest common name in bytes: `ub-common-name` of X.520.
pub const COMMON_NAME_LIMIT: usize = 64;
/// Room for any request that [`certification_request`] makes.
pub const REQUEST_LIMIT: usize = 704;

const ORGANIZATION: &[u8] = b"OTrP";
/// id-at-commonName: 2.5.4.3, with tag and length.
const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];
/// id-at-organizationName: 2.5.4.10, with tag and length.
const ORGANIZATION_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x0a];
/// AlgorithmIdentifier of ecdsa-with-SHA256.
const ECDSA_WITH_SHA256: [u8; 12] =
    [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// AlgorithmIdentifier of sha256WithRSAEncryption.
const RSA_WITH_SHA256: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00];

const BIT_STRING: u8 = 0x03;
const UTF8_STRING: u8 = 0x0c;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// `attributes`: [0], empty.
const NO_ATTRIBUTES: [u8; 2] = [0xa0, 0x00];

/// Why there is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError<E> {
    /// The common name is empty or longer than [`COMMON_NAME_LIMIT`].
    CommonName,
    /// The request does not fit; [`REQUEST_LIMIT`] bytes are always enough.
    Full,
    /// The key did not sign.
    Sign(E),
}

impl<E> From<Full> for RequestError<E> {
    fn from(Full: Full) -> Self {
        Self::Full
    }
}

/// Writes a request for a certificate of a key of this TEE to the start of `out`; returns its
/// length.
///
/// The subject is O=OTrP, CN=`common_name`. `sign` gets a SHA-256 digest and returns the key's
/// signature, which proves possession of the key.
///
/// # Errors
/// See [`RequestError`].
pub fn certification_request<E>(
    public: &OwnPublicKey,
    common_name: &str,
    sign: impl FnOnce(&[u8; 32]) -> Result<Signature, E>,
    out: &mut [u8],
) -> Result<usize, RequestError<E>> {
    if common_name.is_empty() || common_name.len() > COMMON_NAME_LIMIT {
        return Err(RequestError::CommonName);
    }
    let mut writer = Backwards::new(out);
    request_info(&mut writer, public, common_name)?;
    let digest = sha256(writer.written());
    let signature = sign(&digest).map_err(RequestError::Sign)?;

    // The signature comes last and its length varies, so everything is written again before it.
    let mut writer = Backwards::new(out);
    writer.wrap(SEQUENCE, |writer| {
        writer.wrap(BIT_STRING, |writer| {
            match &signature {
                Signature::Es256(signature) => writer.wrap(SEQUENCE, |writer| {
                    let (r, s) = signature.split_at(32);
                    writer.integer(s)?;
                    writer.integer(r)
                })?,
                Signature::Rs256(signature) => writer.bytes(signature)?,
            }
            writer.bytes(&[0])
        })?;
        writer.bytes(match &signature {
            Signature::Es256(_) => &ECDSA_WITH_SHA256,
            Signature::Rs256(_) => &RSA_WITH_SHA256,
        })?;
        request_info(writer, public, common_name)
    })?;
    Ok(writer.finish())
}

/// CertificationRequestInfo: what is signed.
fn request_info(
    writer: &mut Backwards<'_>,
    public: &OwnPublicKey,
    common_name: &str,
) -> Result<(), Full> {
    writer.wrap(SEQUENCE, |writer| {
        writer.bytes(&NO_ATTRIBUTES)?;
        writer.bytes(&spki(public))?;
        writer.wrap(SEQUENCE, |writer| {
            attribute(writer, &COMMON_NAME, common_name.as_bytes())?;
            attribute(writer, &ORGANIZATION_NAME, ORGANIZATION)
        })?;
        // Version 1.
        writer.integer(&[0])
    })
}

/// A RelativeDistinguishedName of one attribute.
fn attribute(writer: &mut Backwards<'_>, identifier: &[u8], value: &[u8]) -> Result<(), Full> {
    writer.wrap(SET, |writer| {
        writer.wrap(SEQUENCE, |writer| {
            writer.wrap(UTF8_STRING, |writer| writer.bytes(value))?;
            writer.bytes(identifier)
        })
    })
}
