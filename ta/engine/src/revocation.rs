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
use crate::message::Request;
use crate::pki::{self, Certificate, TrustedTam, VerifiedPath};
use crate::platform::RsaPublic;
use crate::registry::{Authority, State};

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

/// How a TAM's good standing is known.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one, and it lives on the stack")]
pub enum Standing<'c> {
    /// By the responses that GetDeviceState brings.
    Stapled(StapledTam<'c>),
    /// By those of the TAM's last GetDeviceState, for any other request.
    Remembered(UnrevokedTam<'c>),
}

impl<'c> Standing<'c> {
    /// Judges the TAM that a GetDeviceState is from by the responses in it.
    ///
    /// # Errors
    /// `ERR_TAM_NOT_TRUSTED`; `ERR_REQUEST_INVALID` for responses that are not base64.
    pub fn stapled<R: RsaPublic>(
        request: &mut Request<'_>,
        tam: TrustedTam<'c>,
        state: &State,
        clock: u64,
    ) -> Result<Self, Error> {
        staple::<R>(tam, &request.ocsp_responses()?, state, clock).map(Self::Stapled)
    }

    /// Judges the TAM that a command is from by what its last GetDeviceState showed.
    ///
    /// # Errors
    /// `ERR_TAM_NOT_TRUSTED`.
    pub fn remembered(tam: TrustedTam<'c>, state: &State, clock: u64) -> Result<Self, Error> {
        remember(tam, state, clock).map(Self::Remembered)
    }

    /// The TAM.
    #[must_use]
    pub const fn tam(&self) -> &UnrevokedTam<'c> {
        match self {
            Self::Stapled(stapled) => stapled.tam(),
            Self::Remembered(tam) => tam,
        }
    }
}

/// Judges `responses`: the leaf's, then one for each authority below the root, in the order of the
/// path. The last ones may be missing where they are remembered.
fn staple<'c, R: RsaPublic>(
    tam: TrustedTam<'c>,
    responses: &[&[u8]],
    state: &State,
    clock: u64,
) -> Result<StapledTam<'c>, Error> {
    let path = tam.path();
    let now = state.time_under(&path.anchor_fingerprint(), clock);
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
            None => {
                let remembered = state.authority_good_until(&fingerprint);
                remembered.filter(|until| now < *until).ok_or(UNTRUSTED)?
            }
        };
        good_until = good_until.min(authority_until);
    }
    if responses.next().is_some() {
        return Err(UNTRUSTED);
    }
    Ok(StapledTam { tam: UnrevokedTam(tam), good_until, signed_at, authorities })
}

/// Finds what the TAM's last GetDeviceState showed, which must have come by the very same path.
fn remember<'c>(tam: TrustedTam<'c>, state: &State, clock: u64) -> Result<UnrevokedTam<'c>, Error> {
    let now = state.time_under(&tam.path().anchor_fingerprint(), clock);
    let known = state.tam(tam.identity()).ok_or(UNTRUSTED)?;
    if known.chain_digest == tam.path().digest() && now < known.good_until {
        Ok(UnrevokedTam(tam))
    } else {
        Err(UNTRUSTED)
    }
}
