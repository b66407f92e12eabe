//! P-256 key pairs in software, kept as records of the private storage.
//!
//! RustCrypto's arithmetic is constant time and, without a curve accelerator behind it, two orders
//! of magnitude faster than the GlobalPlatform API. The price: a private key passes through this
//! TA's memory while it is in use. It is wiped after each use and never leaves the two modules.

use otrp_engine::{
    platform::{Keys, Name, Point, PortError, Storage},
    secret::Seed,
};
use p256::{
    PublicKey, SecretKey,
    ecdh::diffie_hellman,
    ecdsa::{Signature, SigningKey, signature::hazmat::RandomizedPrehashSigner},
    elliptic_curve::Generate,
};
use zeroize::Zeroizing;

use crate::{rng::TeeRng, storage::PrivateStorage};

/// The only format there is: version, private scalar (big-endian), public point. Stable on disk.
const VERSION: u8 = 1;
const RECORD_LENGTH: usize = 1 + 32 + 65;

/// Key pairs of the trusted application's private storage.
#[derive(Debug)]
pub struct SoftwareKeys {
    storage: PrivateStorage,
    rng: TeeRng,
}

impl SoftwareKeys {
    /// The key pairs that this TA's private storage holds.
    #[must_use]
    pub const fn new() -> Self {
        Self { storage: PrivateStorage, rng: TeeRng }
    }

    fn load(&mut self, name: Name) -> Result<Option<SigningKey>, PortError> {
        let mut buffer = Zeroizing::new([0; RECORD_LENGTH]);
        match self.storage.load(name, buffer.as_mut_slice())? {
            Some(record) => decode(record).map(Some),
            None => Ok(None),
        }
    }

    fn existing(&mut self, name: Name) -> Result<SigningKey, PortError> {
        self.load(name)?.ok_or(PortError::Failed)
    }
}

impl Default for SoftwareKeys {
    fn default() -> Self {
        Self::new()
    }
}

impl Keys for SoftwareKeys {
    fn generate(&mut self, name: Name) -> Result<Point, PortError> {
        let Ok(secret) = SecretKey::try_generate_from_rng(&mut self.rng);
        let key = SigningKey::from(secret);
        let point = public_point(&key)?;
        let mut record = Zeroizing::new([0; RECORD_LENGTH]);
        encode(&key, &point, &mut record);
        self.storage.replace(name, record.as_slice())?;
        Ok(point)
    }

    fn public(&mut self, name: Name) -> Result<Option<Point>, PortError> {
        self.load(name)?.map(|key| public_point(&key)).transpose()
    }

    fn sign(&mut self, name: Name, digest: &[u8; 32]) -> Result<[u8; 64], PortError> {
        let key = self.existing(name)?;
        // RFC 6979 with random bytes mixed in: neither a bad generator nor a fault that is
        // repeated on the same digest gives the key away.
        let signature: Signature =
            key.sign_prehash_with_rng(&mut self.rng, digest).map_err(|_| PortError::Failed)?;
        Ok(signature.to_bytes().into())
    }

    fn agree(&mut self, name: Name, peer: &Point) -> Result<Seed, PortError> {
        let key = self.existing(name)?;
        // Refuses what is not a point of the curve.
        let peer = PublicKey::from_sec1_bytes(peer).map_err(|_| PortError::Failed)?;
        let shared = diffie_hellman(key.as_nonzero_scalar(), peer.as_affine());
        let mut bytes = Zeroizing::new([0; 32]);
        bytes.copy_from_slice(shared.raw_secret_bytes());
        Ok(Seed::new(*bytes))
    }

    fn destroy(&mut self, name: Name) -> Result<(), PortError> {
        self.storage.remove(name)
    }
}

fn public_point(key: &SigningKey) -> Result<Point, PortError> {
    key.verifying_key().to_sec1_point(false).as_bytes().try_into().map_err(|_| PortError::Failed)
}

fn encode(key: &SigningKey, point: &Point, record: &mut [u8; RECORD_LENGTH]) {
    let scalar = Zeroizing::new(key.to_bytes());
    let (version, rest) = record.split_at_mut(1);
    let (scalar_part, point_part) = rest.split_at_mut(scalar.len());
    version.fill(VERSION);
    scalar_part.copy_from_slice(&scalar);
    point_part.copy_from_slice(point);
}

fn decode(record: &[u8]) -> Result<SigningKey, PortError> {
    let record: &[u8; RECORD_LENGTH] = record.try_into().map_err(|_| PortError::Corrupt)?;
    let [VERSION, rest @ ..] = record else {
        return Err(PortError::Corrupt);
    };
    let (scalar, point) = rest.split_first_chunk::<32>().ok_or(PortError::Corrupt)?;
    let key = SigningKey::from_slice(scalar).map_err(|_| PortError::Corrupt)?;
    // A scalar that does not belong to the certified public key must not sign anything.
    if public_point(&key)? != point {
        return Err(PortError::Corrupt);
    }
    Ok(key)
}
