//! Whether a TAM that an anchor vouches for is in good standing (OTrP draft, section 14.9).
//!
//! GetDeviceState brings OCSP responses: the leaf's, and those of the authorities above it that
//! are not remembered any more. What they show holds for the TAM's commands until the first of
//! them ends; then it has to ask for the state again. So a TAM that is revoked in the middle of
//! its work is out when the responses are, as it would be if each command brought them.

use otrp_wire::ErrorCode;
use otrp_wire::limits::CHAIN_LIMIT;

use crate::crypto::PublicKey;
use crate::error::Error;
use crate::pki::{self, Certificate, TrustedTam, VerifiedPath};
use crate::platform::RsaPublic;

/// A certification authority that an OCSP response showed to be good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authority {
    /// Its certificate's [`content_digest`](Certificate::content_digest).
    pub fingerprint: [u8; 32],
    /// When the response ends, in seconds since 1970.
    pub good_until: u64,
}

/// What the last GetDeviceState of a TAM showed of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastProof {
    /// [`VerifiedPath::digest`] of its path.
    pub chain_digest: [u8; 32],
    /// When the first of the OCSP responses ends, in seconds since 1970.
    pub good_until: u64,
}

const UNTRUSTED: Error = Error::Refused(ErrorCode::TamNotTrusted);

/// A trusted TAM none of whose certificates is revoked, as far as is known now.
///
/// Only this module makes one:
///
/// ```
/// use otrp_engine::revocation::UnrevokedTam;
/// fn pass(tam: UnrevokedTam<'_>) -> UnrevokedTam<'_> { tam }
/// ```
/// ```compile_fail,E0451
/// use otrp_engine::revocation::UnrevokedTam;
/// fn pass(tam: UnrevokedTam<'_>) -> UnrevokedTam<'_> { UnrevokedTam { ..tam } }
/// ```
#[derive(Debug)]
pub struct UnrevokedTam<'c>(TrustedTam<'c>);

impl<'c> UnrevokedTam<'c> {
    /// Who it is.
    #[must_use]
    pub const fn identity(&self) -> &otrp_wire::id::TamId {
        self.0.identity()
    }

    /// The key that signs its requests and to which answers are encrypted.
    #[must_use]
    pub const fn key(&self) -> &PublicKey<'c> {
        self.0.key()
    }

    /// The path by which it is trusted.
    #[must_use]
    pub const fn path(&self) -> &VerifiedPath<'c> {
        self.0.path()
    }
}

/// A TAM whose standing was proven with this very request, and what there is to remember of it.
///
/// ```
/// use otrp_engine::revocation::StapledTam;
/// fn pass(tam: StapledTam<'_>) -> StapledTam<'_> { tam }
/// ```
/// ```compile_fail,E0451
/// use otrp_engine::revocation::StapledTam;
/// fn pass(tam: StapledTam<'_>) -> StapledTam<'_> { StapledTam { ..tam } }
/// ```
#[derive(Debug)]
pub struct StapledTam<'c> {
    tam: UnrevokedTam<'c>,
    good_until: u64,
    signed_at: u64,
    authorities: heapless::Vec<Authority, CHAIN_LIMIT>,
}

impl<'c> StapledTam<'c> {
    /// The TAM.
    #[must_use]
    pub const fn tam(&self) -> &UnrevokedTam<'c> {
        &self.tam
    }

    /// When the first of the responses that it depends on ends, in seconds since 1970.
    #[must_use]
    pub const fn good_until(&self) -> u64 {
        self.good_until
    }

    /// The latest time that the stapled responses speak of, in seconds since 1970.
    #[must_use]
    pub const fn signed_at(&self) -> u64 {
        self.signed_at
    }

    /// The authorities that stapled responses vouch for.
    #[must_use]
    pub fn authorities(&self) -> &[Authority] {
        &self.authorities
    }
}

/// Judges a TAM at the time `now` by the `responses` in its GetDeviceState: the leaf's, then one for each authority below the root, in the order of the
/// path. The last ones may be missing where `remembered` knows until when the authority whose
/// certificate has this [`content_digest`](Certificate::content_digest) is good.
///
/// # Errors
/// `ERR_TAM_NOT_TRUSTED`.
pub fn staple<'c, R: RsaPublic>(
    tam: TrustedTam<'c>,
    responses: &[&[u8]],
    remembered: impl Fn(&[u8; 32]) -> Option<u64>,
    now: u64,
) -> Result<StapledTam<'c>, Error> {
    let path = tam.path();
    let verify = |response: &[u8], certificate: &Certificate<'_>, issuer: &Certificate<'_>| {
        pki::verify_status::<R>(response, certificate, issuer, now).map_err(|_| UNTRUSTED)
    };
    let issuer = path.authorities().first().ok_or(Error::Internal)?;
    let (response, responses) = responses.split_first().ok_or(UNTRUSTED)?;
    let leaf = verify(response, path.leaf(), issuer)?;
    let (mut good_until, mut signed_at) = (leaf.until(), leaf.signed_at());

    let mut responses = responses.iter();
    let mut authorities = heapless::Vec::new();
    // Each is issued by the next one; the last is the anchor, whose standing is that of the image.
    for pair in path.authorities().windows(2) {
        let [certificate, issuer] = pair else { return Err(Error::Internal) };
        let fingerprint = certificate.content_digest();
        let authority_until = match responses.next() {
            Some(response) => {
                let good = verify(response, certificate, issuer)?;
                signed_at = signed_at.max(good.signed_at());
                let authority = Authority { fingerprint, good_until: good.until() };
                authorities.push(authority).map_err(|_| Error::Internal)?;
                good.until()
            }
            None => remembered(&fingerprint).filter(|until| now < *until).ok_or(UNTRUSTED)?,
        };
        good_until = good_until.min(authority_until);
    }
    if responses.next().is_some() {
        return Err(UNTRUSTED);
    }
    Ok(StapledTam { tam: UnrevokedTam(tam), good_until, signed_at, authorities })
}

/// Judges a TAM at the time `now` by what its `last` GetDeviceState showed, which must have come by
/// the very same path.
///
/// # Errors
/// `ERR_TAM_NOT_TRUSTED`.
pub fn remember(
    tam: TrustedTam<'_>,
    last: Option<LastProof>,
    now: u64,
) -> Result<UnrevokedTam<'_>, Error> {
    let last = last.ok_or(UNTRUSTED)?;
    if last.chain_digest == tam.path().digest() && now < last.good_until {
        Ok(UnrevokedTam(tam))
    } else {
        Err(UNTRUSTED)
    }
}
