//! Certification paths from a leaf to an anchor that is compiled in (RFC 5280, section 6).

use core::time::Duration;

use otrp_wire::id::TamId;
use otrp_wire::limits::CHAIN_LIMIT;
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest, Sha256};
use webpki::{
    EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, anchor_from_trusted_cert,
};

use super::certificate::{ANY_EXTENDED_KEY_USAGE, TEE_PURPOSE};
use super::key::algorithms;
use super::{Certificate, Error, Usage};
use crate::crypto::PublicKey;
use crate::platform::RsaPublic;
use crate::trust::{Anchor, Trust};

/// Whose path it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A TAM's: the leaf must carry a TAM identifier.
    Tam,
    /// A TEE's.
    Tee,
}

impl Role {
    /// What an extendedKeyUsage on its path must name one of.
    const fn purposes(self) -> &'static [&'static [u8]] {
        match self {
            Self::Tam => &[ANY_EXTENDED_KEY_USAGE],
            Self::Tee => &[ANY_EXTENDED_KEY_USAGE, TEE_PURPOSE],
        }
    }
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untrusted {
    /// There is no certificate below the anchor.
    Empty,
    /// More certificates than [`CHAIN_LIMIT`], the anchor included.
    TooMany,
    /// One of the certificates is refused for its own sake.
    Certificate(Error),
    /// A certificate is not issued by the next one's subject, or a name is repeated.
    Order,
    /// The last certificate is not by an anchor.
    UnknownIssuer,
    /// A signature is not by the issuer's key, or the algorithm is not one for this kind of key.
    Signature,
    /// Signed with an algorithm that is not accepted.
    Algorithm,
    /// A certificate is not valid yet.
    NotYetValid,
    /// A certificate has expired.
    Expired,
    /// The leaf is an authority, or an issuer is not one.
    Authority,
    /// More authorities below one than it allows.
    PathLength,
    /// keyUsage or extendedKeyUsage does not allow what the key is used for.
    Usage,
    /// A name is outside what an authority may certify.
    NameConstraint,
    /// A TAM's leaf without a usable identifier.
    Identity,
    /// The anchor does not speak for a TAM of this identifier.
    ForeignName,
    /// The image lists the TAM, or its anchor, as evicted.
    Evicted,
}

impl From<Error> for Untrusted {
    fn from(error: Error) -> Self {
        Self::Certificate(error)
    }
}

/// A path that was verified up to an anchor. Only [`verify_path`] makes one.
///
/// ```
/// use otrp_engine::pki::VerifiedPath;
/// fn pass(path: VerifiedPath<'_>) -> VerifiedPath<'_> { path }
/// ```
/// ```compile_fail,E0451
/// use otrp_engine::pki::VerifiedPath;
/// fn pass(path: VerifiedPath<'_>) -> VerifiedPath<'_> { VerifiedPath { ..path } }
/// ```
#[derive(Clone, Debug)]
pub struct VerifiedPath<'a> {
    leaf: Certificate<'a>,
    authorities: heapless::Vec<Certificate<'a>, CHAIN_LIMIT>,
    key: PublicKey<'a>,
    identity: Option<TamId>,
}

impl<'a> VerifiedPath<'a> {
    /// The leaf's certificate.
    #[must_use]
    pub const fn leaf(&self) -> &Certificate<'a> {
        &self.leaf
    }

    /// The leaf's key.
    #[must_use]
    pub const fn key(&self) -> &PublicKey<'a> {
        &self.key
    }

    /// The authorities from the leaf's issuer to the anchor, which is always the last.
    #[must_use]
    pub fn authorities(&self) -> &[Certificate<'a>] {
        &self.authorities
    }

    /// SHA-256 of the anchor's certificate, as it is compiled in.
    #[must_use]
    pub fn anchor_fingerprint(&self) -> [u8; 32] {
        // There always is one, see above.
        self.authorities.last().map_or([0; 32], Certificate::fingerprint)
    }

    /// Every certificate, from the leaf to the anchor.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate<'a>> {
        core::iter::once(&self.leaf).chain(&self.authorities)
    }

    /// SHA-256 of what is signed of each certificate, one behind the other: the path's identity,
    /// whichever of its forms an ECDSA signature has.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        self.certificates().for_each(|certificate| digest.update(certificate.tbs()));
        digest.finalize().into()
    }
}

/// A TAM that an anchor vouches for. Only [`verify_tam`] makes one.
///
/// ```
/// use otrp_engine::pki::TrustedTam;
/// fn pass(tam: TrustedTam<'_>) -> TrustedTam<'_> { tam }
/// ```
/// ```compile_fail,E0451
/// use otrp_engine::pki::TrustedTam;
/// fn pass(tam: TrustedTam<'_>) -> TrustedTam<'_> { TrustedTam { ..tam } }
/// ```
#[derive(Clone, Debug)]
pub struct TrustedTam<'a> {
    path: VerifiedPath<'a>,
    identity: TamId,
}

impl<'a> TrustedTam<'a> {
    /// Who it is.
    #[must_use]
    pub const fn identity(&self) -> &TamId {
        &self.identity
    }

    /// The key that signs its requests and to which answers are encrypted.
    #[must_use]
    pub const fn key(&self) -> &PublicKey<'a> {
        &self.path.key
    }

    /// The path by which it is trusted.
    #[must_use]
    pub const fn path(&self) -> &VerifiedPath<'a> {
        &self.path
    }
}

/// Verifies a TAM's path, see [`verify_path`], to an anchor that speaks for it. A TAM that the image
/// evicts is refused.
///
/// # Errors
/// See [`Untrusted`].
pub fn verify_tam<'a, R: RsaPublic>(
    chain: &[&'a [u8]],
    trust: &Trust,
    now_unix_seconds: impl Fn(&[u8; 32]) -> u64,
) -> Result<TrustedTam<'a>, Untrusted> {
    let mut path = verify_path::<R>(chain, trust.tam_anchors, now_unix_seconds, Role::Tam)?;
    let identity = path.identity.take().ok_or(Untrusted::Identity)?;
    if trust.evicts(&identity, &path.anchor_fingerprint()) {
        return Err(Untrusted::Evicted);
    }
    Ok(TrustedTam { path, identity })
}

/// Verifies the path of `chain`, the DER of certificates with the leaf first, to one of `anchors`,
/// whose certificates are trusted without proof. What leads to one is judged at the time that
/// `now_unix_seconds` has for the SHA-256 of its certificate. A TAM's anchor must speak for it.
///
/// Stricter than RFC 5280 where that is simpler and no OTrP certificate needs the leeway:
/// - The chain is the path: each certificate is by the next one, nothing is missing, left over or
///   out of order, and no name is repeated, which excludes key rollover by self-issued certificates.
///   The anchor itself may be the last one. This keeps the work linear in the length of the chain.
/// - keyUsage, where present, must let the leaf's key both sign and receive keys (keyAgreement or
///   keyEncipherment, after its kind): OTrP uses one key pair for both.
/// - extendedKeyUsage, where present, must include anyExtendedKeyUsage, on authorities too: a
///   certificate for TLS or for code does not make a TAM. On a TEE's path the purpose that the makers'
///   CAs give to TEEs will do, so an authority that is restricted to it makes TEEs, and no TAMs.
/// - Name constraints of dNSName and iPAddress are applied; of any other form, a certificate with
///   a name of that form is refused.
///
/// An anchor's keyUsage, pathLenConstraint and name constraints bind as in any other certificate.
/// Its validity does not: it is compiled in, and leaves with the firmware.
///
/// # Errors
/// See [`Untrusted`].
pub fn verify_path<'a, R: RsaPublic>(
    chain: &[&'a [u8]],
    anchors: &[Anchor],
    now_unix_seconds: impl Fn(&[u8; 32]) -> u64,
    role: Role,
) -> Result<VerifiedPath<'a>, Untrusted> {
    let mut certificates = heapless::Vec::<_, CHAIN_LIMIT>::new();
    for der in chain {
        certificates.push(Certificate::parse(der)?).map_err(|_| Untrusted::TooMany)?;
    }
    let is_one = |last| anchors.iter().any(|anchor| is_anchor(last, anchor.certificate));
    if certificates.last().is_some_and(is_one) {
        certificates.pop();
    }
    // The anchor counts, whether it was presented or not.
    if certificates.is_full() {
        return Err(Untrusted::TooMany);
    }
    check_order(&certificates)?;
    let (leaf, intermediates) = certificates.split_first().ok_or(Untrusted::Empty)?;
    let key = leaf.public_key()?;

    let topmost = certificates.last().ok_or(Untrusted::Empty)?;
    let mut refusal = Untrusted::UnknownIssuer;
    for compiled in anchors {
        // What is compiled in and does not parse was never an anchor.
        let Ok(anchor) = Certificate::parse(compiled.certificate) else { continue };
        if anchor.subject() != topmost.issuer() {
            continue;
        }
        let now = now_unix_seconds(&anchor.fingerprint());
        match verify_to_anchor::<R>(leaf, intermediates, &anchor, now, role) {
            Ok(()) => {
                let mut authorities = heapless::Vec::new();
                for authority in intermediates.iter().chain([&anchor]) {
                    authorities.push(authority.clone()).map_err(|_| Untrusted::TooMany)?;
                }
                check_leaf_usage(leaf, &key)?;
                let identity = match role {
                    Role::Tam => Some(leaf.tam_id().ok_or(Untrusted::Identity)?),
                    Role::Tee => None,
                };
                if identity.as_ref().is_some_and(|identity| !compiled.speaks_for(identity)) {
                    refusal = Untrusted::ForeignName;
                    continue;
                }
                return Ok(VerifiedPath { leaf: leaf.clone(), authorities, key, identity });
            }
            // Another anchor may have the same name and another key.
            Err(error) => refusal = error,
        }
    }
    Err(refusal)
}

/// Whether a certificate is an anchor: by name and key (RFC 5280, section 6.1.1), so that a root
/// that was issued again passes for the one that is compiled in.
fn is_anchor(certificate: &Certificate<'_>, anchor: &[u8]) -> bool {
    Certificate::parse(anchor).is_ok_and(|anchor| {
        certificate.is_self_issued()
            && certificate.subject() == anchor.subject()
            && certificate.spki() == anchor.spki()
    })
}

/// Each certificate is issued by the next one's subject; no name is repeated, the last issuer's included.
fn check_order(certificates: &[Certificate<'_>]) -> Result<(), Untrusted> {
    let mut rest = certificates;
    while let [certificate, above @ ..] = rest {
        if above.is_empty() && certificate.is_self_issued() {
            // A root, and not one of ours.
            return Err(Untrusted::UnknownIssuer);
        }
        if above.first().is_some_and(|issuer| issuer.subject() != certificate.issuer())
            || rest.iter().any(|other| other.issuer() == certificate.subject())
        {
            return Err(Untrusted::Order);
        }
        rest = above;
    }
    Ok(())
}

/// Lets webpki verify the path, and checks what webpki leaves out.
fn verify_to_anchor<R: RsaPublic>(
    leaf: &Certificate<'_>,
    intermediates: &[Certificate<'_>],
    anchor: &Certificate<'_>,
    now_unix_seconds: u64,
    role: Role,
) -> Result<(), Untrusted> {
    let mut below = core::iter::once(leaf).chain(intermediates);
    if !below.all(|certificate| certificate.is_for_purpose(role.purposes())) {
        return Err(Untrusted::Usage);
    }
    for authority in intermediates.iter().chain([anchor]) {
        if !authority.is_authority() {
            return Err(Untrusted::Authority);
        }
        if !authority.allows(Usage::KeyCertSign) {
            return Err(Untrusted::Usage);
        }
    }
    // webpki knows an anchor as a name and a key only.
    if anchor.path_length().is_some_and(|limit| intermediates.len() > usize::from(limit)) {
        return Err(Untrusted::PathLength);
    }

    let anchor = CertificateDer::from(anchor.der());
    let anchor = anchor_from_trusted_cert(&anchor).map_err(refusal)?;
    let leaf = CertificateDer::from(leaf.der());
    let leaf = EndEntityCert::try_from(&leaf).map_err(refusal)?;
    let mut above = heapless::Vec::<_, CHAIN_LIMIT>::new();
    for certificate in intermediates {
        above.push(CertificateDer::from(certificate.der())).map_err(|_| Untrusted::TooMany)?;
    }
    let path = leaf
        .verify_for_usage(
            algorithms::<R>(),
            core::slice::from_ref(&anchor),
            &above,
            UnixTime::since_unix_epoch(Duration::from_secs(now_unix_seconds)),
            WellFormed,
            None,
            None,
        )
        .map_err(refusal)?;
    // With every name once there is one path only. If webpki found a shorter one, the certificates
    // that it left out would be unverified, and must not be taken for verified.
    if path.intermediate_certificates().count() != intermediates.len() {
        return Err(Untrusted::Order);
    }
    Ok(())
}

/// Lets webpki read purposes, which were checked before: it knows one that is required, and here there
/// are two.
struct WellFormed;

impl ExtendedKeyUsageValidator for WellFormed {
    fn validate(&self, mut purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        purposes.try_for_each(|purpose| purpose.map(drop))
    }
}

/// The leaf's key signs messages and receives keys.
fn check_leaf_usage(leaf: &Certificate<'_>, key: &PublicKey<'_>) -> Result<(), Untrusted> {
    let receives = match key {
        PublicKey::P256(_) => Usage::KeyAgreement,
        PublicKey::Rsa { .. } => Usage::KeyEncipherment,
    };
    if leaf.allows(Usage::DigitalSignature) && leaf.allows(receives) {
        Ok(())
    } else {
        Err(Untrusted::Usage)
    }
}

/// What webpki's errors mean here. Its enum may grow, and what it does not name is malformed.
fn refusal(error: webpki::Error) -> Untrusted {
    use webpki::Error as E;
    match error {
        E::CertExpired { .. } => Untrusted::Expired,
        E::CertNotValidYet { .. } => Untrusted::NotYetValid,
        E::UnknownIssuer => Untrusted::UnknownIssuer,
        E::InvalidSignatureForPublicKey
        | E::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => Untrusted::Signature,
        E::UnsupportedSignatureAlgorithmContext(_) => Untrusted::Algorithm,
        E::CaUsedAsEndEntity | E::EndEntityUsedAsCa => Untrusted::Authority,
        E::PathLenConstraintViolated => Untrusted::PathLength,
        E::NameConstraintViolation => Untrusted::NameConstraint,
        E::UnsupportedCriticalExtension => Untrusted::Certificate(Error::CriticalExtension),
        _ => Untrusted::Certificate(Error::Malformed),
    }
}
