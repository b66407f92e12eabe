//! Key pairs of the broker: P-256 in software, RSA inside the TEE core.
//!
//! RustCrypto's P-256 arithmetic is constant time and, without a curve accelerator behind it, two
//! orders of magnitude faster than the GlobalPlatform API. The price: while a command runs, private keys
//! lie in this TA's memory, in the registry and nowhere else. What an operation leaves of them is wiped,
//! and that takes the stack, too: moved values leave copies there, and what is built on the same place
//! next would carry them off in the unused part of a buffer.
//!
//! An RSA pair is a persistent key object of the TA's private storage. Its private half never comes
//! out of the TEE core, which blinds its operations and checks their results: it may be used, and
//! cannot be extracted. A damaged object is reported once and deleted; libutee ends the TA where the
//! core reports what the GlobalPlatform specification does not list, which is a power cut to the
//! engine. Nothing else touches that storage, so a build whose keys are on P-256 never does.

use optee_utee::{
    AlgorithmId, Asymmetric, AttributeId, DataFlag, Error, ErrorKind, GenericObject, ObjectHandle,
    ObjectStorageConstants, OperationMode, PersistentObject, TransientObject, TransientObjectType,
    UsageFlag,
};
use otrp_engine::{
    crypto::{ecdsa::p256_key, rsa::is_below},
    platform::{
        KeyName, KeyPair, KeyType, Keys, Modulus, OwnPublicKey, Point, PortError, PrivateKey,
    },
    secret::{Scalar, Seed},
};
use p256::{
    SecretKey,
    ecdh::diffie_hellman,
    ecdsa::{Signature, SigningKey, signature::hazmat::RandomizedPrehashSigner},
    elliptic_curve::Generate,
};
use zeroize::Zeroizing;

use crate::{rng::TeeRng, rsa, stack};

/// Bits of the RSA modulus.
const RSA_BITS: usize = 2048;
/// `TEE_TYPE_RSA_KEYPAIR`.
const RSA_KEY_PAIR: u32 = 0xa100_0030;
/// Several readers of an object at a time.
const READ: DataFlag = DataFlag::ACCESS_READ.union(DataFlag::SHARE_READ);

/// Arithmetic on P-256, and the RSA key pairs of the trusted application's private storage.
#[derive(Debug)]
pub struct TeeKeys {
    rng: TeeRng,
    makes: KeyType,
}

impl TeeKeys {
    /// Keys of which new ones are of the kind `makes`.
    #[must_use]
    pub const fn new(makes: KeyType) -> Self {
        Self { rng: TeeRng, makes }
    }

    fn generate_p256(&mut self) -> Result<KeyPair, PortError> {
        let Ok(secret) = SecretKey::try_generate_from_rng(&mut self.rng);
        let key = SigningKey::from(secret);
        let point = key.verifying_key().to_sec1_point(false);
        let point = point.as_bytes().try_into().map_err(|_| PortError::Failed)?;
        let mut scalar = Zeroizing::new([0; 32]);
        scalar.copy_from_slice(&Zeroizing::new(key.to_bytes()));
        let private = PrivateKey::P256(Scalar::new(*scalar));
        Ok(KeyPair { public: OwnPublicKey::P256(point), private })
    }

    fn sign_with(&mut self, key: &Scalar, digest: &[u8; 32]) -> Result<[u8; 64], PortError> {
        // RFC 6979 with random bytes mixed in: neither a bad generator nor a fault that is
        // repeated on the same digest gives the key away.
        let signature: Signature = signing_key(key)?
            .sign_prehash_with_rng(&mut self.rng, digest)
            .map_err(|_| PortError::Failed)?;
        Ok(signature.to_bytes().into())
    }
}

impl Keys for TeeKeys {
    fn makes(&self) -> KeyType {
        self.makes
    }

    fn generate(&mut self, name: KeyName) -> Result<KeyPair, PortError> {
        match self.makes {
            KeyType::P256 => and_wipe(|| self.generate_p256()),
            KeyType::Rsa2048 => {
                let key = generate_rsa().map_err(|error| port_error(&error))?;
                // Read before it is stored, so that a key which is none is not.
                let modulus = modulus_of(&key)?;
                store_rsa(name, key).map_err(|error| port_error(&error))?;
                let public = OwnPublicKey::Rsa2048(modulus);
                Ok(KeyPair { public, private: PrivateKey::Rsa2048(name) })
            }
        }
    }

    fn sign(&mut self, key: &Scalar, digest: &[u8; 32]) -> Result<[u8; 64], PortError> {
        and_wipe(|| self.sign_with(key, digest))
    }

    fn agree(&mut self, key: &Scalar, peer: &Point) -> Result<Seed, PortError> {
        and_wipe(|| agree_with(key, peer))
    }

    fn rsa(&mut self, name: KeyName, number: &mut Modulus) -> Result<(), PortError> {
        let key = open_pair(name)?.ok_or(PortError::Failed)?;
        // The core takes no other number, and libutee ends the TA for what the core does not take.
        if !is_below(number, &modulus_of(&key)?) {
            return Err(PortError::Failed);
        }
        let result = decrypt(&key, number).map_err(|error| port_error(&error))?;
        rsa::place(&result, number)
    }

    fn modulus(&mut self, name: KeyName) -> Result<Option<Modulus>, PortError> {
        open_pair(name)?.map(|pair| modulus_of(&pair)).transpose()
    }

    fn rename(&mut self, name: KeyName, to: KeyName) -> Result<Option<Modulus>, PortError> {
        let Some(modulus) = self.modulus(name)? else { return Ok(None) };
        // The core refuses a name that is taken, and changes its directory in one step.
        let mut object = open(name, DataFlag::ACCESS_WRITE_META)?.ok_or(PortError::Failed)?;
        object.rename(&to.identifier()).map_err(|error| port_error(&error))?;
        Ok(Some(modulus))
    }

    fn destroy(&mut self, name: KeyName) -> Result<(), PortError> {
        match delete(name) {
            // OP-TEE has just deleted the object that it found damaged: there is none now.
            Err(PortError::Corrupt) => delete(name),
            outcome => outcome,
        }
    }
}

fn signing_key(key: &Scalar) -> Result<SigningKey, PortError> {
    SigningKey::from_slice(key.bytes()).map_err(|_| PortError::Failed)
}

fn agree_with(key: &Scalar, peer: &Point) -> Result<Seed, PortError> {
    let key = signing_key(key)?;
    // Refuses what is not a point of the curve.
    let peer = p256_key(peer).ok_or(PortError::Failed)?;
    let shared = diffie_hellman(key.as_nonzero_scalar(), peer.as_affine());
    let mut bytes = Zeroizing::new([0; 32]);
    bytes.copy_from_slice(shared.raw_secret_bytes());
    Ok(Seed::new(*bytes))
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
fn generate_rsa() -> Result<TransientObject, Error> {
    let mut key = TransientObject::allocate(TransientObjectType::RsaKeypair, RSA_BITS)?;
    // Without an exponent among the parameters it is 65537.
    key.generate_key(RSA_BITS, &[])?;
    key.restrict_usage(UsageFlag::DECRYPT | UsageFlag::SIGN)?;
    Ok(key)
}

/// Makes a key pair the persistent one of a name, atomically.
fn store_rsa(name: KeyName, key: TransientObject) -> Result<(), Error> {
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
fn modulus_of(key: &impl GenericObject) -> Result<Modulus, PortError> {
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
) -> Result<Zeroizing<alloc::vec::Vec<u8>>, Error> {
    let mut operation =
        Asymmetric::allocate(AlgorithmId::RsaNopad, OperationMode::Decrypt, RSA_BITS)?;
    operation.set_key(key)?;
    operation.decrypt(&[], number).map(Zeroizing::new)
}

/// Opens an RSA key pair; `None` if there is none.
fn open_pair(name: KeyName) -> Result<Option<PersistentObject>, PortError> {
    let Some(object) = open(name, READ)? else { return Ok(None) };
    let info = object.info().map_err(|error| port_error(&error))?;
    if info.object_type() == RSA_KEY_PAIR { Ok(Some(object)) } else { Err(PortError::Corrupt) }
}

/// Opens an object; `None` if there is none.
fn open(name: KeyName, flags: DataFlag) -> Result<Option<PersistentObject>, PortError> {
    match PersistentObject::open(ObjectStorageConstants::Private, &name.identifier(), flags) {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.kind() == ErrorKind::ItemNotFound => Ok(None),
        Err(error) => Err(port_error(&error)),
    }
}

fn delete(name: KeyName) -> Result<(), PortError> {
    match open(name, DataFlag::ACCESS_WRITE_META)? {
        Some(object) => object.close_and_delete().map_err(|error| port_error(&error)),
        None => Ok(()),
    }
}

/// What a failure of the TEE means to the engine.
fn port_error(error: &Error) -> PortError {
    match error.kind() {
        ErrorKind::StorageNoSpace | ErrorKind::OutOfMemory => PortError::Full,
        ErrorKind::CorruptObject | ErrorKind::CorruptObject2 | ErrorKind::MacInvalid => {
            PortError::Corrupt
        }
        _ => PortError::Failed,
    }
}
