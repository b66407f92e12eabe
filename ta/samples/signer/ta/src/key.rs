//! The key and the counter of its uses, in one object of this application's private storage.

use core::convert::Infallible;

use optee_utee::{
    DataFlag, Error, ErrorKind, ObjectStorageConstants, PersistentObject, Random, Result,
};
use p256::{
    ecdsa::{Signature, SigningKey, signature::hazmat::RandomizedPrehashSigner as _},
    elliptic_curve::{
        Generate as _,
        rand_core::{TryCryptoRng, TryRng},
    },
};
use zeroize::Zeroizing;

/// Octets of an uncompressed public key.
pub const PUBLIC_KEY_LENGTH: usize = 65;
/// Octets of a signature: r and s.
pub const SIGNATURE_LENGTH: usize = 64;

const IDENTIFIER: &[u8] = b"signer.key";

/// The object's contents: format, private scalar (big-endian), uses (big-endian). Version 2 of the
/// application reads what version 1 wrote.
const FORMAT: u8 = 1;
const RECORD_LENGTH: usize = 1 + 32 + 8;

/// The key with its counter, as stored.
pub struct SigningRecord {
    key: SigningKey,
    uses: u64,
}

impl SigningRecord {
    /// Generates and stores a new key, which replaces the old one and its counter.
    pub fn generate() -> Result<Self> {
        let Ok(key) = SigningKey::try_generate_from_rng(&mut TeeRng);
        let record = Self { key, uses: 0 };
        record.store()?;
        Ok(record)
    }

    /// The stored key; `NoData` if there is none.
    pub fn load() -> Result<Self> {
        let mut object = PersistentObject::open(
            ObjectStorageConstants::Private,
            IDENTIFIER,
            DataFlag::ACCESS_READ,
        )
        .map_err(|error| match error.kind() {
            ErrorKind::ItemNotFound => ErrorKind::NoData.into(),
            _ => error,
        })?;
        let mut record = Zeroizing::new([0; RECORD_LENGTH]);
        let length = object.read(record.as_mut_slice())?;
        if usize::try_from(length) != Ok(RECORD_LENGTH) {
            return Err(ErrorKind::CorruptObject.into());
        }
        Self::decode(&record).ok_or_else(|| ErrorKind::CorruptObject.into())
    }

    /// The public key: 4, x, y.
    pub fn public_key(&self) -> impl AsRef<[u8]> {
        self.key.verifying_key().to_sec1_point(false)
    }

    /// Signatures made with this key.
    pub const fn uses(&self) -> u64 {
        self.uses
    }

    /// The key, if it may be used again; `BadState` if not. A new key starts from 0.
    pub fn within(self, limit: Option<u64>) -> Result<Self> {
        if limit.is_some_and(|limit| self.uses >= limit) {
            return Err(ErrorKind::BadState.into());
        }
        Ok(self)
    }

    /// Counts one use and signs.
    pub fn sign(mut self, digest: &[u8; 32]) -> Result<[u8; SIGNATURE_LENGTH]> {
        self.uses = self.uses.checked_add(1).ok_or(ErrorKind::Overflow)?;
        // Before the signature exists: a power cut may count one that nobody got, never miss one.
        self.store()?;
        // RFC 6979 with random octets mixed in.
        let signature: Signature = self
            .key
            .sign_prehash_with_rng(&mut TeeRng, digest)
            .map_err(|_| Error::new(ErrorKind::Generic))?;
        Ok(signature.to_bytes().into())
    }

    fn decode(record: &[u8; RECORD_LENGTH]) -> Option<Self> {
        let [FORMAT, rest @ ..] = record else {
            return None;
        };
        let (scalar, uses) = rest.split_at(32);
        let key = SigningKey::from_slice(scalar).ok()?;
        Some(Self { key, uses: u64::from_be_bytes(uses.try_into().ok()?) })
    }

    /// Replaces the object: creating over an old one is atomic in OP-TEE.
    fn store(&self) -> Result<()> {
        let scalar = Zeroizing::new(self.key.to_bytes());
        let mut record = Zeroizing::new([0; RECORD_LENGTH]);
        let (format, rest) = record.split_at_mut(1);
        let (scalar_part, uses_part) = rest.split_at_mut(scalar.len());
        format.fill(FORMAT);
        scalar_part.copy_from_slice(&scalar);
        uses_part.copy_from_slice(&self.uses.to_be_bytes());
        PersistentObject::create(
            ObjectStorageConstants::Private,
            IDENTIFIER,
            DataFlag::ACCESS_WRITE | DataFlag::OVERWRITE,
            None,
            record.as_slice(),
        )
        .map(drop)
    }
}

/// OP-TEE's random number generator for RustCrypto; it panics instead of failing.
struct TeeRng;

impl TryRng for TeeRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> core::result::Result<u32, Infallible> {
        let mut bytes = [0; 4];
        Random::generate(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> core::result::Result<u64, Infallible> {
        let mut bytes = [0; 8];
        Random::generate(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, buffer: &mut [u8]) -> core::result::Result<(), Infallible> {
        Random::generate(buffer);
        Ok(())
    }
}

impl TryCryptoRng for TeeRng {}
