//! The TEE's own key and certificates: made in the TEE, certified by its manufacturer.

use otrp_wire::limits::TEE_CHAIN_BYTES_LIMIT;

use crate::crypto;
use crate::crypto::digest::sha256;
use crate::error::Error;
use crate::pki::{self, Certificate, Role};
use crate::platform::{KeyPair, OwnPublicKey, Platform, PortError, Ports};
use crate::trust::{Anchor, Trust};

/// Why certificates for the TEE are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportError {
    /// They are no chain, or longer than [`TEE_CHAIN_BYTES_LIMIT`].
    Malformed,
    /// They do not lead to the compiled-in root, or are not valid now.
    Untrusted,
    /// The leaf is for another key.
    OtherKey,
    /// The leaf is older than the one that the TEE has, or the same one with another signature.
    Superseded,
    /// A port failed.
    Port(PortError),
}

impl From<Error> for ImportError {
    fn from(error: Error) -> Self {
        match error {
            Error::Port(error) => Self::Port(error),
            Error::Refused(_) | Error::NoCommonSignature | Error::Internal => {
                Self::Port(PortError::Failed)
            }
        }
    }
}

/// What a TAM learns about the TEE.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'d> {
    /// Its name.
    pub name: &'static str,
    /// SHA-256 of its certificate, `did`.
    pub device_id: [u8; 32],
    /// Its certificate.
    pub certificate: &'d [u8],
    chain: &'d [u8],
}

impl<'d> Identity<'d> {
    /// The certificates above the TEE's, one by one.
    pub fn authorities(self) -> impl Iterator<Item = &'d [u8]> {
        // The chain was split when it was taken, so every part is a certificate.
        pki::split_der(self.chain).skip(1).filter_map(Result::ok)
    }
}

/// The identity that the TEE's certificates give it, DER, one behind the other, once there are any.
///
/// # Errors
/// `ERR_TEE_FAIL` before (OTrP draft, section 9.1.6).
pub fn identity<'d>(chain: &'d [u8], trust: &Trust) -> Result<Identity<'d>, Error> {
    let not_provisioned = Error::Refused(otrp_wire::ErrorCode::TeeFail);
    let certificate = pki::split_der(chain).next().ok_or(not_provisioned)?;
    let certificate = certificate.map_err(|_| not_provisioned)?;
    Ok(Identity { name: trust.tee_name, device_id: sha256(certificate), certificate, chain })
}

/// Writes a certification request for the TEE's key; returns its length.
///
/// # Errors
/// A port's; [`Error::Internal`] if `out` is too short.
pub fn certification_request<P: Platform>(
    pair: &KeyPair,
    ports: &mut Ports<P>,
    trust: &Trust,
    out: &mut [u8],
) -> Result<usize, Error> {
    let sign = |digest: &[u8; 32]| crypto::sign(&mut ports.keys, pair, digest);
    pki::certification_request(&pair.public, trust.tee_name, sign, out).map_err(|error| match error
    {
        pki::RequestError::Sign(error) => Error::Port(error),
        pki::RequestError::CommonName | pki::RequestError::Full => Error::Internal,
    })
}

/// Checks that a chain's leaf is for `own`, this TEE's key, and that its root is the compiled-in one;
/// `None` if these are the `present` certificates of the TEE.
///
/// `did` is a hash over the leaf with its signature, and whoever has an ECDSA signature (r, s) can
/// write it as (r, n - s) too. So the leaf must not be the present one in another form, nor one
/// from before it, which may be another form of that one: only the maker's CA gives the TEE a new
/// `did`.
///
/// # Errors
/// [`ImportError`].
pub fn check<'c, P: Platform>(
    own: &OwnPublicKey,
    present: &[u8],
    trust: &Trust,
    now: u64,
    der: &'c [u8],
) -> Result<Option<TeeChain<'c>>, ImportError> {
    if der.len() > TEE_CHAIN_BYTES_LIMIT {
        return Err(ImportError::Malformed);
    }
    let chain = pki::split_chain(der).map_err(|_| ImportError::Malformed)?;
    let anchors = [Anchor::of(trust.tee_anchor)];
    let path = pki::verify_path::<P::Rsa>(&chain, &anchors, |_| now, Role::Tee)
        .map_err(|_| ImportError::Untrusted)?;
    if !path.leaf().is_for(own) {
        return Err(ImportError::OtherKey);
    }
    Ok(is_new(present, &chain, path.leaf())?.then_some(TeeChain(der)))
}

/// Whether a verified chain is not the one there is.
fn is_new(present: &[u8], chain: &[&[u8]], leaf: &Certificate<'_>) -> Result<bool, ImportError> {
    let known = pki::split_chain(present).unwrap_or_default();
    let Some(Ok(present)) = known.first().map(|der| Certificate::parse(der)) else {
        return Ok(true);
    };
    if present.der() == leaf.der() {
        let same = known.iter().zip(chain).all(|(known, new)| pki::is_same(known, new));
        return Ok(!same || known.len() != chain.len());
    }
    let older = leaf.validity().not_before < present.validity().not_before;
    if older || pki::is_same(present.der(), leaf.der()) {
        return Err(ImportError::Superseded);
    }
    Ok(true)
}

/// A certificate chain of this TEE that [`check`] found good.
///
/// ```
/// use otrp_engine::device::TeeChain;
/// fn pass(chain: TeeChain<'_>) -> TeeChain<'_> { chain }
/// ```
/// ```compile_fail,E0451
/// use otrp_engine::device::TeeChain;
/// fn pass(chain: TeeChain<'_>) -> TeeChain<'_> { TeeChain { ..chain } }
/// ```
#[derive(Debug)]
pub struct TeeChain<'c>(&'c [u8]);

impl TeeChain<'_> {
    /// DER certificates, one behind the other, leaf first.
    #[must_use]
    pub const fn der(&self) -> &[u8] {
        self.0
    }
}
