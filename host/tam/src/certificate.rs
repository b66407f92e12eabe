//! Certificates: files, names and path validation, with OpenSSL.

use std::path::Path;

use anyhow::Context as _;
use openssl::bn::{BigNum, BigNumContext};
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
use crate::foreign::Foreign;
use crate::jose::KeyType;

/// OpenSSL's level for 112 bits: RSA from 2048 bits, curves from 224, SHA-2 (draft, section 14.1).
const SECURITY_LEVEL: i32 = 2;

/// anyExtendedKeyUsage (RFC 5280, section 4.2.1.12).
const ANY_PURPOSE: &str = "2.5.29.37.0";
/// The extendedKeyUsage of TEEs.
pub const TEE_PURPOSE: &str = otrp_check::TEE_PURPOSE_DOTTED;

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
/// If OpenSSL runs out of memory.
pub fn device_id(certificate: &X509Ref) -> Result<String, ErrorStack> {
    Ok(base64(&sha256(&certificate.to_der()?)?))
}

/// `did` of the same certificate with the other form of its ECDSA signature: if (r, s) is valid, so is
/// (r, n - s), where n is the order of the issuer's curve, and anyone can compute one from the other.
/// `None` if the issuer's key is not on a curve.
fn other_device_id(certificate: &X509Ref, issuer: &X509Ref) -> Option<String> {
    let signature = certificate.signature().as_slice();
    let old = EcdsaSig::from_der(signature).ok()?;
    let mut order = BigNum::new().ok()?;
    let mut context = BigNumContext::new().ok()?;
    issuer.public_key().ok()?.ec_key().ok()?.group().order(&mut order, &mut context).ok()?;
    let other = EcdsaSig::from_private_components(old.r().to_owned().ok()?, &order - old.s());
    let other = other.ok()?.to_der().ok()?;
    // SEQUENCE { tbsCertificate, signatureAlgorithm, BIT STRING }; the length of the last is one octet.
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

/// The fingerprint of a certificate's key of any type, as it is encoded there: SHA-256 of the
/// SubjectPublicKeyInfo in hexadecimal. A key has several encodings, so a device that answers is
/// identified by its [`DeviceIdentity`] instead.
///
/// # Errors
/// If OpenSSL cannot read the key.
pub fn encoded_key_fingerprint(certificate: &X509Ref) -> Result<String, ErrorStack> {
    Ok(hex::encode(sha256(&certificate.public_key()?.public_key_to_der()?)?))
}

/// The identity of a device whose certificate leads to a root. Only [`TeeRoots::identify`]
/// constructs it.
///
/// ```
/// use otrp_tam::certificate::DeviceIdentity;
/// fn pass(identity: DeviceIdentity) -> DeviceIdentity { identity }
/// ```
/// ```compile_fail,E0451
/// use otrp_tam::certificate::DeviceIdentity;
/// fn pass(identity: DeviceIdentity) -> DeviceIdentity { DeviceIdentity { ..identity } }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceIdentity {
    key: String,
    other_id: Option<String>,
}

impl DeviceIdentity {
    /// The fingerprint of the device's key, whatever its certificate: SHA-256 of the
    /// SubjectPublicKeyInfo, in the one encoding that devices accept, in hexadecimal.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// `did` of the same certificate with the other form of its ECDSA signature; `None` if its signature
    /// is not ECDSA.
    #[must_use]
    pub fn other_id(&self) -> Option<&str> {
        self.other_id.as_deref()
    }
}

/// The TAM ID in a TAM's leaf certificate: its subject's URI, else its DNS name, normalized as devices
/// do it: scheme and host in lower case.
///
/// A registeredID would take precedence, but OpenSSL's bindings do not return it: the configuration of
/// such a TAM states the ID.
#[must_use]
pub fn tam_id(leaf: &X509Ref) -> Option<String> {
    let names = leaf.subject_alt_names()?;
    names
        .iter()
        .find_map(|name| name.uri())
        .or_else(|| names.iter().find_map(|name| name.dnsname()))
        .map(spelled)
}

/// A TAM ID, normalized as devices do it. Anything else is returned unchanged.
#[must_use]
pub fn spelled(id: &str) -> String {
    TamId::new(id).map_or_else(|| id.to_owned(), |id| id.as_str().to_owned())
}

/// Why a certificate does not identify a device, or firmware, of an OEM that this TAM serves.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Untrusted {
    /// The certificate does not lead to an anchor, or is for another purpose.
    #[error("certificate path: {0}")]
    Path(String),
    /// The TEE's key is not one that a device can have.
    #[error(
        "the TEE's key is neither an uncompressed point of P-256 nor RSA of 2048 to 4096 bits with \
         an odd exponent of 65537 to 4294967295"
    )]
    KeyType,
}

/// The message for OpenSSL's errors about an issuer that is missing or not among the roots. OpenSSL's
/// own message mentions self-signed certificates whatever the cause.
fn no_root(topmost: &X509Ref) -> String {
    format!(
        "it leads to none of the roots that are configured (`tee_roots`, or `firmware_roots`): \
         {}, issued by {}, is the last that the device shows",
        common_name(topmost.subject_name()),
        common_name(topmost.issuer_name())
    )
}

/// The common name in a device's certificate, in quotation marks.
fn common_name(name: &X509NameRef) -> String {
    let entry = name.entries_by_nid(Nid::COMMONNAME).next();
    let text = entry.and_then(|entry| entry.data().to_string().ok());
    format!("{:?}", Foreign::new(text.unwrap_or_default()))
}

/// The subjects whose certificates are validated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Tee { purpose_required: bool },
    Firmware,
}

/// The roots of the OEMs whose TEEs, or whose firmware, this TAM trusts.
pub struct TeeRoots {
    store: X509Store,
    role: Role,
}

impl TeeRoots {
    /// Trusts `roots` for TEEs. An intermediate authority may be given instead of its root; then the
    /// root's other authorities are not trusted.
    ///
    /// # Errors
    /// If OpenSSL runs out of memory.
    pub fn new(roots: Vec<X509>) -> Result<Self, ErrorStack> {
        let mut parameters = X509VerifyParam::new()?;
        parameters.set_auth_level(SECURITY_LEVEL);
        parameters.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
        let mut store = X509StoreBuilder::new()?;
        store.set_param(&parameters)?;
        for root in roots {
            store.add_cert(root)?;
        }
        Ok(Self { store: store.build(), role: Role::Tee { purpose_required: false } })
    }

    /// The same roots, but only certificates with [`TEE_PURPOSE`] are accepted.
    #[must_use]
    pub fn requiring_purpose(self) -> Self {
        Self { role: Role::Tee { purpose_required: true }, ..self }
    }

    /// The same roots for firmware, whose keys only sign.
    #[must_use]
    pub fn for_firmware(self) -> Self {
        Self { role: Role::Firmware, ..self }
    }

    /// Validates the path from `leaf` through any of `others` to a root at this time (RFC 5280),
    /// and the purposes of the certificates. A TEE's certificate is checked as a device does when
    /// it imports it: an authority also issues certificates for other purposes, such as its OCSP
    /// responder's, and their holders are not TEEs.
    ///
    /// # Errors
    /// [`Untrusted`] with the reason; OpenSSL's, if it is about the path.
    pub fn validate(&self, leaf: &X509Ref, others: &[X509]) -> Result<(), Untrusted> {
        self.path(leaf, others).map(drop)
    }

    /// Validates the path of a TEE as [`Self::validate`] does, and its keys and signatures by the
    /// rules of devices, because OpenSSL accepts more curves, exponents and encodings of points.
    /// The signature of the root is not checked; devices do not check it either.
    ///
    /// # Errors
    /// [`Untrusted::KeyType`] for the TEE's key, [`Untrusted::Path`] for everything else.
    pub fn identify(&self, leaf: &X509Ref, others: &[X509]) -> Result<DeviceIdentity, Untrusted> {
        let path = self.path(leaf, others)?;
        let ders: Result<Vec<_>, _> = path.iter().map(|it| it.to_der()).collect();
        let ders = ders.map_err(|error| Untrusted::Path(error.to_string()))?;
        let read: Vec<_> = ders.iter().map(|der| read_strictly(der)).collect::<Result<_, _>>()?;
        let spki = read.first().map(otrp_check::Certificate::spki).unwrap_or_default();
        if !otrp_check::chain::is_party_key(spki) {
            return Err(Untrusted::KeyType);
        }
        for (certificate, issuer) in read.iter().zip(read.iter().skip(1)) {
            certificate.check_signature(issuer).map_err(|flaw| {
                let name = Foreign::new(certificate.common_name());
                Untrusted::Path(format!("the certificate of {name:?} {flaw}"))
            })?;
        }
        let digest = sha256(spki).map_err(|error| Untrusted::Path(error.to_string()))?;
        let other_id = path.get(1).and_then(|issuer| other_device_id(leaf, issuer));
        Ok(DeviceIdentity { key: hex::encode(digest), other_id })
    }

    /// The certificates from `leaf` to a root.
    fn path(&self, leaf: &X509Ref, others: &[X509]) -> Result<Vec<X509>, Untrusted> {
        self.check_leaf(leaf)?;
        let verify = || {
            let mut chain = Stack::new()?;
            for certificate in others {
                chain.push(certificate.clone())?;
            }
            X509StoreContext::new()?.init(&self.store, leaf, &chain, |context| {
                if !context.verify_cert()? {
                    return Ok(Err(context.error()));
                }
                let path = context.chain().into_iter().flatten();
                Ok(Ok(path.map(X509Ref::to_owned).collect::<Vec<_>>()))
            })
        };
        let verified: Result<_, ErrorStack> = verify();
        match verified {
            Ok(Ok(path)) => {
                // The root is trusted by configuration; devices do not check its purpose either.
                let below_root = path.split_last().map_or(&[][..], |(_, below_root)| below_root);
                below_root
                    .iter()
                    .skip(1)
                    .try_for_each(|authority| self.check_purpose(authority))?;
                Ok(path)
            }
            Ok(Err(reason)) => Err(Untrusted::Path(match reason.as_raw() {
                2 | 18..=21 => no_root(others.last().map_or(leaf, |last| last)),
                _ => String::from(reason.error_string()),
            })),
            Err(error) => Err(Untrusted::Path(error.to_string())),
        }
    }

    /// Checks that the leaf's key may be used: a TEE signs with it, and keys are encrypted for it.
    fn check_leaf(&self, leaf: &X509Ref) -> Result<(), Untrusted> {
        let refused = |why: &str| Err(Untrusted::Path(String::from(why)));
        let der = leaf.to_der().map_err(|error| Untrusted::Path(error.to_string()))?;
        let read = read_strictly(&der)?;
        if read.is_authority() {
            return refused("the certificate is an authority's");
        }
        if let Some(usage) = leaf.key_usage() {
            if !usage.contains(X509KeyUsage::DIGITAL_SIGNATURE) {
                return refused("the key is not for signatures");
            }
            if usage.contains(X509KeyUsage::KEY_CERT_SIGN) {
                return refused("the certificate is an authority's");
            }
            let receives = match leaf.public_key().map(|key| KeyType::of(&key)) {
                Ok(Some(KeyType::Elliptic)) => X509KeyUsage::KEY_AGREEMENT,
                Ok(Some(KeyType::Rsa)) => X509KeyUsage::KEY_ENCIPHERMENT,
                // Refused later, for its type.
                _ => X509KeyUsage::DIGITAL_SIGNATURE,
            };
            if self.role != Role::Firmware && !usage.contains(receives) {
                return refused("the key is not for receiving keys");
            }
        }
        self.check_purpose(leaf)?;
        let is_tee = |purposes: Vec<String>| purposes.iter().any(|purpose| purpose == TEE_PURPOSE);
        if self.role == (Role::Tee { purpose_required: true })
            && !read.purposes().is_some_and(is_tee)
        {
            return Err(Untrusted::Path(format!(
                "the certificate does not name the purpose of TEEs, {TEE_PURPOSE}, which \
                 `require_tee_purpose` asks for"
            )));
        }
        Ok(())
    }

    /// Checks that the certificate is for any purpose or for that of the role.
    fn check_purpose(&self, certificate: &X509Ref) -> Result<(), Untrusted> {
        let allowed = match self.role {
            Role::Tee { .. } => &[ANY_PURPOSE, TEE_PURPOSE][..],
            Role::Firmware => &[ANY_PURPOSE],
        };
        let der = certificate.to_der().map_err(|error| Untrusted::Path(error.to_string()))?;
        match read_strictly(&der)?.purposes() {
            Some(purposes) if !purposes.iter().any(|it| allowed.contains(&it.as_str())) => {
                Err(Untrusted::Path(format!(
                    "the certificate of {} is for other purposes, as its extendedKeyUsage says",
                    common_name(certificate.subject_name())
                )))
            }
            _ => Ok(()),
        }
    }
}

/// Reads a certificate as devices do.
fn read_strictly(der: &[u8]) -> Result<otrp_check::Certificate<'_>, Untrusted> {
    otrp_check::Certificate::read(der)
        .map_err(|flaw| Untrusted::Path(format!("a certificate {}", Foreign::new(flaw))))
}
