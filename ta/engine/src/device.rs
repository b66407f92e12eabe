//! The TEE's own key and certificates: made in the TEE, certified by its manufacturer.

use otrp_wire::limits::TEE_CHAIN_BYTES_LIMIT;
use sha2::{Digest, Sha256};

use crate::chain::ChainBuffer;
use crate::error::Error;
use crate::jose::signature;
use crate::pki::{self, Certificate, Role};
use crate::platform::{
    KeyPair, Keys, Kind, Name, OwnPublicKey, Platform, PortError, Ports, Storage,
};
use crate::registry::Registry;
use crate::trust::{Anchor, Trust};

/// The TEE's key pair.
pub const TEE_KEY: Name = Name { kind: Kind::TeeKey, number: 0 };
/// The record of its certificates.
const TEE_CHAIN: Name = Name { kind: Kind::TeeChain, number: 0 };

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

/// The TEE's key pair and certificates.
#[derive(Debug)]
pub struct Device {
    key: Option<OwnPublicKey>,
    chain: ChainBuffer,
}

/// What a TAM is told of the TEE.
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

impl Device {
    /// A device that must be opened.
    #[must_use]
    pub const fn new() -> Self {
        Self { key: None, chain: ChainBuffer::new() }
    }

    /// Loads the key and certificates; makes the registry's record and the key at the first use.
    ///
    /// # Errors
    /// [`Error::Port`]. A key that is damaged, or missing although there is a certificate for it,
    /// is `Corrupt`: it is never replaced silently.
    pub fn open<P: Platform>(
        &mut self,
        ports: &mut Ports<P>,
        registry: &mut Registry,
        scratch: &mut [u8],
    ) -> Result<(), Error> {
        if self.key.is_some() {
            return Ok(());
        }
        match ports.storage.load(TEE_CHAIN, scratch)? {
            Some(chain) => self.chain.set(chain).map_err(|_| PortError::Corrupt)?,
            None => self.chain.clear(),
        }
        let key = match ports.keys.public(TEE_KEY)? {
            Some(key) => key,
            None if self.chain.is_empty() => {
                registry.create(ports, scratch)?;
                ports.keys.generate(TEE_KEY)?
            }
            None => return Err(PortError::Corrupt.into()),
        };
        self.key = Some(key);
        Ok(())
    }

    /// The identity, once there is a certificate.
    ///
    /// # Errors
    /// `ERR_TEE_FAIL` before (OTrP draft, section 9.1.6).
    pub fn identity(&self, trust: &Trust) -> Result<Identity<'_>, Error> {
        let not_provisioned = Error::Refused(otrp_wire::ErrorCode::TeeFail);
        let chain = self.chain.certificates().map_err(|_| not_provisioned)?;
        let certificate = *chain.first().ok_or(not_provisioned)?;
        Ok(Identity {
            name: trust.tee_name,
            device_id: Sha256::digest(certificate).into(),
            certificate,
            chain: self.chain.der(),
        })
    }

    /// The TEE's key pair.
    ///
    /// # Errors
    /// [`Error::Internal`] unless the device is open.
    pub fn key_pair(&self) -> Result<KeyPair<'_>, Error> {
        let public = self.key.as_ref().ok_or(Error::Internal)?;
        Ok(KeyPair { name: TEE_KEY, public })
    }

    /// Whether there is a certificate.
    #[must_use]
    pub fn is_provisioned(&self) -> bool {
        !self.chain.is_empty()
    }

    /// Writes a certification request for the key; returns its length.
    ///
    /// # Errors
    /// A port's; [`Error::Internal`] if `out` is too short.
    pub fn certification_request<P: Platform>(
        &self,
        ports: &mut Ports<P>,
        trust: &Trust,
        out: &mut [u8],
    ) -> Result<usize, Error> {
        let pair = self.key_pair()?;
        let sign = |digest: &[u8; 32]| signature::sign(&mut ports.keys, pair, digest);
        pki::certification_request(pair.public, trust.tee_name, sign, out).map_err(|error| {
            match error {
                pki::RequestError::Sign(error) => Error::Port(error),
                pki::RequestError::CommonName | pki::RequestError::Full => Error::Internal,
            }
        })
    }

    /// Checks that a chain's leaf is for this TEE's key and that its root is the compiled-in one;
    /// `None` if these are the certificates that the TEE has.
    ///
    /// `did` is a hash over the leaf with its signature, and whoever has an ECDSA signature (r, s) can
    /// write it as (r, n - s) too. So the leaf must not be the present one in another form, nor one
    /// from before it, which may be another form of that one: only the maker's CA gives the TEE a new
    /// `did`.
    ///
    /// # Errors
    /// [`ImportError`].
    pub fn check<'c, P: Platform>(
        &self,
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
        if !self.key.as_ref().is_some_and(|key| path.leaf().is_for(key)) {
            return Err(ImportError::OtherKey);
        }
        Ok(self.is_new(&chain, path.leaf())?.then_some(TeeChain(der)))
    }

    /// Whether a verified chain is not the one there is.
    fn is_new(&self, chain: &[&[u8]], leaf: &Certificate<'_>) -> Result<bool, ImportError> {
        let known = self.chain.certificates().unwrap_or_default();
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

    /// Takes a chain in place of the one there is.
    ///
    /// # Errors
    /// [`ImportError::Port`]; which chain is stored is then found out at the next use.
    pub fn set_chain<P: Platform>(
        &mut self,
        ports: &mut Ports<P>,
        TeeChain(der): TeeChain<'_>,
    ) -> Result<(), ImportError> {
        self.key = None;
        ports.storage.replace(TEE_CHAIN, der).map_err(ImportError::Port)
    }
}

/// A certificate chain of this TEE that [`Device::check`] found good.
#[derive(Debug)]
pub struct TeeChain<'c>(&'c [u8]);

impl Default for Device {
    fn default() -> Self {
        Self::new()
    }
}
