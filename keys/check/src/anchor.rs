//! Checks a certificate as an anchor of devices, and a key as OP-TEE's TA key.

use crate::certificate::{ANY_PURPOSE, Certificate, KEY_CERT_SIGN, TEE_PURPOSE};
use crate::chain::AUTHORITY_KEY;
use crate::signature::{self, KeyKind};
use crate::time::utc;

/// Whose root an anchor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// TAMs'.
    Tam,
    /// TEEs'.
    Tee,
}

/// What is wrong with a DER certificate as an anchor that is compiled into devices now (in seconds
/// since 1970): each is the end of a sentence that begins with the certificate.
///
/// Devices refuse whatever leads to an anchor that they cannot read, that is not an authority or has an
/// unsupported key. They ignore its validity, its own signature and its extendedKeyUsage, which are
/// checked here because a wrong one indicates a mistake of whoever created it.
#[must_use]
pub fn check(der: &[u8], role: Role, now: u64) -> Vec<String> {
    let anchor = match Certificate::read(der) {
        Ok(anchor) => anchor,
        Err(flaw) => return vec![flaw],
    };
    let mut faults = Vec::new();
    let mut refuse = |condition: bool, fault: &str| {
        if condition {
            faults.push(fault.to_owned());
        }
    };
    refuse(
        !anchor.is_authority(),
        "is not a CA's: its basicConstraints do not say CA:TRUE, so nothing that leads to it is accepted",
    );
    refuse(
        !anchor.allows(KEY_CERT_SIGN),
        "is not for signing certificates: its keyUsage has no keyCertSign",
    );
    let key = signature::key(anchor.spki);
    refuse(key.is_none(), AUTHORITY_KEY);
    let purposes = match role {
        Role::Tam => &[ANY_PURPOSE][..],
        Role::Tee => &[ANY_PURPOSE, TEE_PURPOSE],
    };
    refuse(
        anchor.names_purpose(purposes) == Some(false),
        match role {
            Role::Tam => "is for other purposes than TAMs, as its extendedKeyUsage says",
            Role::Tee => "is for other purposes than TEEs, as its extendedKeyUsage says",
        },
    );
    if now > anchor.not_after {
        faults.push(format!("has expired on {}", utc(anchor.not_after)));
    }
    if now < anchor.not_before {
        faults.push(format!("is not valid before {}", utc(anchor.not_before)));
    }
    if key.is_some()
        && anchor.is_self_issued()
        && let Err(bad) = anchor.verify_signature(&anchor)
    {
        faults.push(bad.to_string());
    }
    faults
}

/// What speaks against the key of a DER SubjectPublicKeyInfo as the TA key of an OP-TEE image: the end
/// of a sentence that begins with the key.
#[must_use]
pub fn image_key_fault(spki: &[u8]) -> Option<&'static str> {
    match signature::key(spki) {
        Some((KeyKind::Rsa, _)) => None,
        Some((KeyKind::P256 | KeyKind::P384, _)) => {
            Some("is an elliptic curve's, and OP-TEE takes an RSA key as its TA key")
        }
        // OP-TEE computes with 4096 bits at most, and cuts an exponent to 32 bits
        // (scripts/pem_to_pub_c.py); FIPS 186-5, section 5.1, has the other bounds.
        None => Some(
            "is not RSA of 2048 to 4096 bits with an odd exponent of 65537 to 4294967295, as OP-TEE's \
             TA key has to be",
        ),
    }
}
