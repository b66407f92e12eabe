//! Key pairs of the broker: P-256 in software, RSA inside the TEE core.
//!
//! RustCrypto's P-256 arithmetic is constant time and, without a curve accelerator behind it, two
//! orders of magnitude faster than the GlobalPlatform API. The price: a private key passes through
//! this TA's memory while it is in use. It is wiped after each use and never leaves the two modules.
//! That takes the stack, too: moved values leave copies there, and what is built on the same place
//! next would carry them off in the unused part of a buffer. Such a pair is a record of the private
//! storage.
//!
//! An RSA pair is a persistent key object. Its private half never comes out of the TEE core, which
//! blinds its operations and checks their results: it may be used, and cannot be extracted.

use optee_utee::{
    AlgorithmId, Asymmetric, AttributeId, DataFlag, ErrorKind, GenericObject, ObjectHandle,
    ObjectStorageConstants, OperationMode, PersistentObject, TransientObject, TransientObjectType,
    UsageFlag,
};
use otrp_engine::{
    platform::{KeyType, Keys, Modulus, Name, OwnPublicKey, Point, PortError, Storage},
    point::p256_key,
    rsa::is_below,
    secret::Seed,
};
use p256::{
    SecretKey,
    ecdh::diffie_hellman,
    ecdsa::{Signature, SigningKey, signature::hazmat::RandomizedPrehashSigner},
    elliptic_curve::Generate,
};
use zeroize::Zeroizing;

use crate::{
    rng::TeeRng,
    rsa, stack,
    storage::{self, PrivateStorage, port_error},
};

/// The only format of a P-256 pair there is: version, private scalar (big-endian), public point.
/// Stable on disk.
const VERSION: u8 = 1;
const RECORD_LENGTH: usize = 1 + 32 + 65;
/// Bits of the RSA modulus.
const RSA_BITS: usize = 2048;
/// `TEE_TYPE_RSA_KEYPAIR`.
const RSA_KEY_PAIR: u32 = 0xa100_0030;

/// Key pairs of the trusted application's private storage.
#[derive(Debug)]
pub struct TeeKeys {
    storage: PrivateStorage,
    rng: TeeRng,
    makes: KeyType,
}

/// A stored key pair.
enum Stored {
    P256(SigningKey),
    Rsa(PersistentObject),
}

impl TeeKeys {
    /// The key pairs that this TA's private storage holds; new ones are of the kind `makes`.
    #[must_use]
    pub const fn new(makes: KeyType) -> Self {
        Self { storage: PrivateStorage, rng: TeeRng, makes }
    }

    fn load(&mut self, name: Name) -> Result<Option<Stored>, PortError> {
        let Some(mut object) = storage::open(name, storage::READ)? else { return Ok(None) };
        let info = object.info().map_err(|error| port_error(&error))?;
        if info.object_type() == RSA_KEY_PAIR {
            return Ok(Some(Stored::Rsa(object)));
        }
        let mut buffer = Zeroizing::new([0; RECORD_LENGTH]);
        let record = storage::read(&mut object, info.data_size(), buffer.as_mut_slice())?;
        decode(record).map(|key| Some(Stored::P256(key)))
    }

    fn p256(&mut self, name: Name) -> Result<SigningKey, PortError> {
        match self.load(name)? {
            Some(Stored::P256(key)) => Ok(key),
            Some(Stored::Rsa(_)) | None => Err(PortError::Failed),
        }
    }

    fn generate_p256(&mut self, name: Name) -> Result<OwnPublicKey, PortError> {
        let Ok(secret) = SecretKey::try_generate_from_rng(&mut self.rng);
        let key = SigningKey::from(secret);
        let point = public_point(&key)?;
        let mut record = Zeroizing::new([0; RECORD_LENGTH]);
        encode(&key, &point, &mut record);
        self.storage.replace(name, record.as_slice())?;
        Ok(OwnPublicKey::P256(point))
    }
}

impl Keys for TeeKeys {
    fn makes(&self) -> KeyType {
        self.makes
    }

    fn generate(&mut self, name: Name) -> Result<OwnPublicKey, PortError> {
        match self.makes {
            KeyType::P256 => and_wipe(|| self.generate_p256(name)),
            KeyType::Rsa2048 => {
                let key = generate_rsa().map_err(|error| port_error(&error))?;
                // Read before it is stored, so that a key which is none is not.
                let modulus = modulus(&key)?;
                store_rsa(name, key).map_err(|error| port_error(&error))?;
                Ok(OwnPublicKey::Rsa2048(modulus))
            }
        }
    }

    fn public(&mut self, name: Name) -> Result<Option<OwnPublicKey>, PortError> {
        and_wipe(|| {
            Ok(match self.load(name)? {
                Some(Stored::P256(key)) => Some(OwnPublicKey::P256(public_point(&key)?)),
                Some(Stored::Rsa(object)) => Some(OwnPublicKey::Rsa2048(modulus(&object)?)),
                None => None,
            })
        })
    }

    fn sign(&mut self, name: Name, digest: &[u8; 32]) -> Result<[u8; 64], PortError> {
        and_wipe(|| self.sign_with(name, digest))
    }

    fn agree(&mut self, name: Name, peer: &Point) -> Result<Seed, PortError> {
        and_wipe(|| self.agree_with(name, peer))
    }

    fn rsa(&mut self, name: Name, number: &mut Modulus) -> Result<(), PortError> {
        let Some(Stored::Rsa(key)) = self.load(name)? else { return Err(PortError::Failed) };
        // The core takes no other number, and libutee ends the TA for what the core does not take.
        if !is_below(number, &modulus(&key)?) {
            return Err(PortError::Failed);
        }
        let result = decrypt(&key, number).map_err(|error| port_error(&error))?;
        rsa::place(&result, number)
    }

    fn rename(&mut self, name: Name, to: Name) -> Result<Option<OwnPublicKey>, PortError> {
        let Some(public) = self.public(name)? else { return Ok(None) };
        // The core refuses a name that is taken, and changes its directory in one step.
        let flags = DataFlag::ACCESS_WRITE_META;
        let mut object = storage::open(name, flags)?.ok_or(PortError::Failed)?;
        object.rename(&to.identifier()).map_err(|error| port_error(&error))?;
        Ok(Some(public))
    }

    fn destroy(&mut self, name: Name) -> Result<(), PortError> {
        self.storage.remove(name)
    }
}

impl TeeKeys {
    fn sign_with(&mut self, name: Name, digest: &[u8; 32]) -> Result<[u8; 64], PortError> {
        let key = self.p256(name)?;
        // RFC 6979 with random bytes mixed in: neither a bad generator nor a fault that is
        // repeated on the same digest gives the key away.
        let signature: Signature =
            key.sign_prehash_with_rng(&mut self.rng, digest).map_err(|_| PortError::Failed)?;
        Ok(signature.to_bytes().into())
    }

    fn agree_with(&mut self, name: Name, peer: &Point) -> Result<Seed, PortError> {
        let key = self.p256(name)?;
        // Refuses what is not a point of the curve.
        let peer = p256_key(peer).ok_or(PortError::Failed)?;
        let shared = diffie_hellman(key.as_nonzero_scalar(), peer.as_affine());
        let mut bytes = Zeroizing::new([0; 32]);
        bytes.copy_from_slice(shared.raw_secret_bytes());
        Ok(Seed::new(*bytes))
    }
}

/// Does what takes a private key, and wipes what it leaves on the stack.
fn and_wipe<T>(operation: impl FnOnce() -> T) -> T {
    let outcome = out_of_line(operation);
    stack::wipe::<{ stack::KEY_OPERATION }>();
    outcome
}

/// In a frame of its own, which lies where the wiping begins.
#[inline(never)]
fn out_of_line<T>(operation: impl FnOnce() -> T) -> T {
    operation()
}

/// Makes an RSA key pair whose private half can be used and not be extracted. Takes seconds.
fn generate_rsa() -> Result<TransientObject, optee_utee::Error> {
    let mut key = TransientObject::allocate(TransientObjectType::RsaKeypair, RSA_BITS)?;
    // Without an exponent among the parameters it is 65537.
    key.generate_key(RSA_BITS, &[])?;
    key.restrict_usage(UsageFlag::DECRYPT | UsageFlag::SIGN)?;
    Ok(key)
}

/// Makes a key pair the persistent one of a name, atomically.
fn store_rsa(name: Name, key: TransientObject) -> Result<(), optee_utee::Error> {
    // SAFETY: the handle is copied for one other owner, and this one is forgotten below.
    let handle = unsafe { *key.as_raw_ref() };
    core::mem::forget(key);
    PersistentObject::create(
        ObjectStorageConstants::Private,
        &name.identifier(),
        DataFlag::ACCESS_WRITE | DataFlag::OVERWRITE,
        Some(ObjectHandle::from_raw(handle)?),
        &[],
    )
    .map(drop)
}

/// The modulus of an RSA key pair, which has all its bits.
fn modulus(key: &impl GenericObject) -> Result<Modulus, PortError> {
    let mut modulus = [0; size_of::<Modulus>()];
    let length = key.ref_attribute(AttributeId::RsaModulus, &mut modulus).map_err(|error| {
        match error.kind() {
            // A longer one than any that this TA makes.
            ErrorKind::ShortBuffer => PortError::Corrupt,
            _ => port_error(&error),
        }
    })?;
    match modulus {
        [0x80..=0xff, ..] if length == modulus.len() => Ok(modulus),
        _ => Err(PortError::Corrupt),
    }
}

/// The private-key operation, without padding. The core leaves leading zeros out.
fn decrypt(
    key: &PersistentObject,
    number: &Modulus,
) -> Result<Zeroizing<alloc::vec::Vec<u8>>, optee_utee::Error> {
    let mut operation =
        Asymmetric::allocate(AlgorithmId::RsaNopad, OperationMode::Decrypt, RSA_BITS)?;
    operation.set_key(key)?;
    operation.decrypt(&[], number).map(Zeroizing::new)
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
