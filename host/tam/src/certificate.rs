//! Certificates: files, names and path validation, all with OpenSSL.

use std::path::Path;

use anyhow::Context as _;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::EcGroup;
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509KeyUsage, X509NameRef, X509Ref, X509StoreContext};
use otrp_wire::id::TamId;
use thiserror::Error;

use crate::encoding::{base64, sha256};

/// OpenSSL's level for 112 bits: RSA from 2048 bits, curves from 224, SHA-2 (draft, section 14.1).
const SECURITY_LEVEL: i32 = 2;

/// Reads the certificates of a file, PEM or DER, as [`otrp_pem::certificates`] does.
///
/// # Errors
/// If the file cannot be read or holds no certificate.
pub fn read_file(path: &Path) -> anyhow::Result<Vec<X509>> {
    let bytes = std::fs::read(path)
        .with_context(|| format!("cannot read certificate {}", path.display()))?;
    let certificates =
        otrp_pem::certificates(&bytes).with_context(|| path.display().to_string())?;
    certificates
        .iter()
        .map(|der| X509::from_der(der))
        .collect::<Result<_, _>>()
        .with_context(|| format!("{} holds a damaged certificate", path.display()))
}

/// `did`: base64 SHA-256 of the TEE certificate (OTrP draft, section 9.2.1.1).
///
/// # Errors
/// When OpenSSL has no memory.
pub fn device_id(certificate: &X509Ref) -> Result<String, ErrorStack> {
    Ok(base64(&sha256(&certificate.to_der()?)?))
}

/// `did` of the same certificate with its ECDSA signature in the other form: with (r, s) also
/// (r, n - s) is valid, and whoever has the one can write the other. `None` if the signature is
/// another one, or of a curve that authorities of TEEs do not use.
#[must_use]
pub fn other_device_id(certificate: &X509Ref) -> Option<String> {
    let signature = certificate.signature().as_slice();
    let old = EcdsaSig::from_der(signature).ok()?;
    let curve = match old.r().num_bytes().max(old.s().num_bytes()) {
        ..=32 => Nid::X9_62_PRIME256V1,
        33..=48 => Nid::SECP384R1,
        _ => return None,
    };
    let mut order = BigNum::new().ok()?;
    let mut context = BigNumContext::new().ok()?;
    EcGroup::from_curve_name(curve).ok()?.order(&mut order, &mut context).ok()?;
    let other = EcdsaSig::from_private_components(old.r().to_owned().ok()?, &order - old.s());
    let other = other.ok()?.to_der().ok()?;
    // SEQUENCE { tbsCertificate, signatureAlgorithm, BIT STRING }: the last has a short length.
    let der = certificate.to_der().ok()?;
    let head = match der.get(1)? {
        0x82 => 4,
        0x81 => 3,
        _ => 2,
    };
    let signed = der.get(head..der.len().checked_sub(signature.len() + 3)?)?;
    let bits = [&[0x03, u8::try_from(other.len() + 1).ok()?, 0][..], &other].concat();
    let length = u16::try_from(signed.len() + bits.len()).ok()?;
    let length = match length {
        0..0x80 => vec![length.to_be_bytes()[1]],
        0x80..0x100 => vec![0x81, length.to_be_bytes()[1]],
        _ => [&[0x82][..], &length.to_be_bytes()].concat(),
    };
    Some(base64(&sha256(&[&[0x30][..], &length, signed, &bits].concat()).ok()?))
}

/// The device by its key, whatever certificate it has: SHA-256 of the SubjectPublicKeyInfo in
/// hexadecimal.
///
/// # Errors
/// When OpenSSL cannot read the key.
pub fn key_fingerprint(certificate: &X509Ref) -> Result<String, ErrorStack> {
    Ok(hex::encode(sha256(&certificate.public_key()?.public_key_to_der()?)?))
}

/// The TAM ID of a TAM's leaf certificate: its subject's URI, else its DNS name, in the spelling in
/// which devices compare it: scheme and host in lower case.
///
/// A registeredID would come before them, but OpenSSL's bindings do not give it out: a TAM with
/// one says its ID in the configuration.
#[must_use]
pub fn tam_id(leaf: &X509Ref) -> Option<String> {
    let names = leaf.subject_alt_names()?;
    names
        .iter()
        .find_map(|name| name.uri())
        .or_else(|| names.iter().find_map(|name| name.dnsname()))
        .map(spelled)
}

/// A TAM ID in the spelling in which devices compare it; what is no TAM ID stays as it is.
#[must_use]
pub fn spelled(id: &str) -> String {
    TamId::new(id).map_or_else(|| id.to_owned(), |id| id.as_str().to_owned())
}

/// Why a certificate does not lead to an anchor.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("certificate path: {0}")]
pub struct Untrusted(String);

/// The sentence for OpenSSL's errors on an issuer that is not among the roots, or not there at all.
/// OpenSSL's own is about self-signed certificates, whatever was wrong.
fn no_root(topmost: &X509Ref) -> String {
    let name = |name: &X509NameRef| {
        let entry = name.entries_by_nid(Nid::COMMONNAME).next();
        let text = entry.and_then(|entry| entry.data().to_string().ok());
        text.unwrap_or_default()
    };
    format!(
        "it leads to none of the roots that are configured (`tee_roots`, or `firmware_roots`): \
         {:?}, issued by {:?}, is the last that the device shows",
        name(topmost.subject_name()),
        name(topmost.issuer_name())
    )
}

/// The roots of the OEMs whose TEEs, or whose firmware, this TAM trusts.
pub struct TeeRoots(X509Store);

impl TeeRoots {
    /// Trusts `roots`, and nothing that a device sends. An authority below a root may be one of
    /// them: then the root's other authorities are not trusted.
    ///
    /// # Errors
    /// When OpenSSL has no memory.
    pub fn new(roots: Vec<X509>) -> Result<Self, ErrorStack> {
        let mut parameters = X509VerifyParam::new()?;
        parameters.set_auth_level(SECURITY_LEVEL);
        parameters.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
        let mut store = X509StoreBuilder::new()?;
        store.set_param(&parameters)?;
        for root in roots {
            store.add_cert(root)?;
        }
        Ok(Self(store.build()))
    }

    /// Validates the path from `leaf` through any of `others` to a root, now (RFC 5280), and that
    /// `leaf` is a certificate for signing messages, not one of those that issue others.
    ///
    /// # Errors
    /// [`Untrusted`] with the reason, OpenSSL's if it is about the path.
    pub fn validate(&self, leaf: &X509Ref, others: &[X509]) -> Result<(), Untrusted> {
        if let Some(usage) = leaf.key_usage() {
            if !usage.contains(X509KeyUsage::DIGITAL_SIGNATURE) {
                return Err(Untrusted(String::from("the key is not for signatures")));
            }
            if usage.contains(X509KeyUsage::KEY_CERT_SIGN) {
                return Err(Untrusted(String::from("the certificate is an authority's")));
            }
        }
        let verify = || {
            let mut chain = Stack::new()?;
            for certificate in others {
                chain.push(certificate.clone())?;
            }
            X509StoreContext::new()?.init(&self.0, leaf, &chain, |context| {
                Ok(if context.verify_cert()? { None } else { Some(context.error()) })
            })
        };
        let refused: Result<_, ErrorStack> = verify();
        match refused {
            Ok(None) => Ok(()),
            Ok(Some(reason)) => Err(Untrusted(match reason.as_raw() {
                2 | 18..=21 => no_root(others.last().map_or(leaf, |last| last)),
                _ => String::from(reason.error_string()),
            })),
            Err(error) => Err(Untrusted(error.to_string())),
        }
    }
}
