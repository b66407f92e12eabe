//! The ports over a [`World`].

use openssl::bn::BigNum;
use openssl::error::ErrorStack;
use openssl::pkey::Private;
use openssl::rsa::{Padding, Rsa};
use otrp_engine::platform::{
    Clock, KeyType, Keys, Modulus, Name, OwnPublicKey, Platform, Point, PortError, Rng, RsaPublic,
    Storage, StoredTa, TaStore, UuidBytes,
};
use otrp_engine::rsa::is_below;
use otrp_engine::secret::Seed;
use p256::SecretKey;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::elliptic_curve::sec1::ToSec1Point;

use crate::world::{Image, World};

/// The simulated machine.
#[derive(Debug)]
pub struct SimPlatform;

impl Platform for SimPlatform {
    type Storage = SimStorage;
    type TaStore = SimTaStore;
    type Keys = SimKeys;
    type Clock = SimClock;
    type Rng = SimRng;
    type Rsa = SimRsa;
}

/// Records in memory.
#[derive(Debug)]
pub struct SimStorage(World);

impl SimStorage {
    /// The records of a world.
    #[must_use]
    pub const fn new(world: World) -> Self {
        Self(world)
    }
}

impl Storage for SimStorage {
    fn load<'b>(
        &mut self,
        name: Name,
        buffer: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, PortError> {
        self.0.faults.ask("storage.load")?;
        let records = self.0.records.borrow();
        let Some(record) = records.get(&name) else { return Ok(None) };
        let target = buffer.get_mut(..record.len()).ok_or(PortError::Corrupt)?;
        target.copy_from_slice(record);
        Ok(Some(target))
    }

    fn replace(&mut self, name: Name, record: &[u8]) -> Result<(), PortError> {
        self.0.faults.run("storage.replace", || {
            self.0.records.borrow_mut().insert(name, record.to_vec());
            Ok(())
        })
    }

    fn remove(&mut self, name: Name) -> Result<(), PortError> {
        self.0.faults.run("storage.remove", || {
            self.0.records.borrow_mut().remove(&name);
            Ok(())
        })
    }
}

/// A TA database in memory.
#[derive(Debug)]
pub struct SimTaStore(World);

impl SimTaStore {
    /// A session with the TA database of a world, without a transaction.
    #[must_use]
    pub fn new(world: World) -> Self {
        *world.transaction.borrow_mut() = None;
        Self(world)
    }
}

impl TaStore for SimTaStore {
    const ELF64: bool = true;

    fn begin(&mut self, uuid: &UuidBytes, ta: &StoredTa) -> Result<(), PortError> {
        self.abort();
        self.0.faults.run("ta_store.begin", || {
            if self.0.reserved.borrow().contains(uuid) {
                return Err(PortError::Denied);
            }
            if ta.size == 0 {
                return Err(PortError::Failed);
            }
            let image = Image { stored: *ta, elf: Vec::new() };
            *self.0.transaction.borrow_mut() = Some((*uuid, image));
            Ok(())
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), PortError> {
        let result = self.0.faults.run("ta_store.write", || {
            let mut transaction = self.0.transaction.borrow_mut();
            let (_, image) = transaction.as_mut().ok_or(PortError::Failed)?;
            image.elf.extend_from_slice(bytes);
            let length = u32::try_from(image.elf.len()).map_err(|_| PortError::Failed)?;
            if length > image.stored.size { Err(PortError::Failed) } else { Ok(()) }
        });
        if result.is_err() {
            self.abort();
        }
        result
    }

    fn commit(&mut self) -> Result<(), PortError> {
        let transaction = self.0.transaction.borrow_mut().take();
        self.0.faults.run("ta_store.commit", || {
            let (uuid, image) = transaction.ok_or(PortError::Failed)?;
            let whole = u32::try_from(image.elf.len()) == Ok(image.stored.size)
                && openssl::sha::sha256(&image.elf) == image.stored.digest;
            if !whole {
                return Err(PortError::Failed);
            }
            self.0.images.borrow_mut().insert(uuid, image);
            Ok(())
        })
    }

    fn abort(&mut self) {
        *self.0.transaction.borrow_mut() = None;
    }

    fn remove(&mut self, uuid: &UuidBytes) -> Result<(), PortError> {
        self.0.faults.run("ta_store.remove", || {
            self.0.images.borrow_mut().remove(uuid);
            Ok(())
        })
    }

    fn query(&mut self, uuid: &UuidBytes) -> Result<Option<StoredTa>, PortError> {
        self.0.faults.ask("ta_store.query")?;
        let images = self.0.images.borrow();
        let Some(image) = images.get(uuid) else { return Ok(None) };
        // The pseudo TA reads the entry to its end, where its tag is.
        let intact = openssl::sha::sha256(&image.elf) == image.stored.digest;
        if intact { Ok(Some(image.stored)) } else { Err(PortError::Corrupt) }
    }
}

/// Key pairs in memory.
#[derive(Debug)]
pub struct SimKeys(World);

impl SimKeys {
    /// The keys of a world.
    #[must_use]
    pub const fn new(world: World) -> Self {
        Self(world)
    }

    fn pair(&self, name: Name) -> Result<Option<Pair>, PortError> {
        let records = self.0.records.borrow();
        let Some(record) = records.get(&name) else { return Ok(None) };
        Pair::read(record).map(Some).ok_or(PortError::Corrupt)
    }

    fn elliptic(&self, name: Name) -> Result<SecretKey, PortError> {
        match self.pair(name)? {
            Some(Pair::P256(key)) => Ok(key),
            Some(Pair::Rsa2048(_)) | None => Err(PortError::Failed),
        }
    }
}

/// A key pair, as it is stored: a scalar, or the DER of an RSAPrivateKey.
enum Pair {
    P256(SecretKey),
    Rsa2048(Rsa<Private>),
}

impl Pair {
    fn read(record: &[u8]) -> Option<Self> {
        // The library takes shorter scalars as well, with zeros in front.
        if let Ok(scalar) = <&[u8; 32]>::try_from(record) {
            return SecretKey::from_slice(scalar).ok().map(Self::P256);
        }
        Rsa::private_key_from_der(record).ok().map(Self::Rsa2048)
    }

    fn record(&self) -> Vec<u8> {
        match self {
            Self::P256(key) => key.to_bytes().to_vec(),
            Self::Rsa2048(key) => key.private_key_to_der().expect("an RSA key pair as DER"),
        }
    }

    fn public(&self) -> OwnPublicKey {
        match self {
            Self::P256(key) => {
                let point = key.public_key().to_sec1_point(false);
                OwnPublicKey::P256(point.as_bytes().try_into().expect("an uncompressed point"))
            }
            Self::Rsa2048(key) => {
                OwnPublicKey::Rsa2048(key.n().to_vec().try_into().expect("2048 bits"))
            }
        }
    }
}

impl Keys for SimKeys {
    fn makes(&self) -> KeyType {
        self.0.key_type.get()
    }

    fn generate(&mut self, name: Name) -> Result<OwnPublicKey, PortError> {
        self.0.faults.run("keys.generate", || {
            let pair = match self.makes() {
                KeyType::P256 => Pair::P256(self.0.make_key(name.kind)),
                KeyType::Rsa2048 => Pair::Rsa2048(Rsa::generate(2048).expect("an RSA key pair")),
            };
            self.0.records.borrow_mut().insert(name, pair.record());
            Ok(pair.public())
        })
    }

    fn public(&mut self, name: Name) -> Result<Option<OwnPublicKey>, PortError> {
        self.0.faults.ask("keys.public")?;
        Ok(self.pair(name)?.as_ref().map(Pair::public))
    }

    fn sign(&mut self, name: Name, digest: &[u8; 32]) -> Result<[u8; 64], PortError> {
        self.0.faults.ask("keys.sign")?;
        let key = SigningKey::from(self.elliptic(name)?);
        let signature: p256::ecdsa::Signature =
            key.sign_prehash(digest).map_err(|_| PortError::Failed)?;
        Ok(signature.to_bytes().into())
    }

    fn agree(&mut self, name: Name, peer: &Point) -> Result<Seed, PortError> {
        self.0.faults.ask("keys.agree")?;
        let key = self.elliptic(name)?;
        let peer = p256::PublicKey::from_sec1_bytes(peer).map_err(|_| PortError::Failed)?;
        let shared = key.diffie_hellman(&peer);
        let bytes: [u8; 32] =
            shared.raw_secret_bytes().as_slice().try_into().map_err(|_| PortError::Failed)?;
        Ok(Seed::new(bytes))
    }

    fn rsa(&mut self, name: Name, number: &mut Modulus) -> Result<(), PortError> {
        self.0.faults.ask("keys.rsa")?;
        let Some(Pair::Rsa2048(key)) = self.pair(name)? else { return Err(PortError::Failed) };
        let input = *number;
        let result = key.private_decrypt(&input, number, Padding::NONE);
        result.map(drop).map_err(|_| PortError::Failed)
    }

    fn rename(&mut self, name: Name, to: Name) -> Result<Option<OwnPublicKey>, PortError> {
        let Some(pair) = self.pair(name)? else {
            self.0.faults.ask("keys.rename")?;
            return Ok(None);
        };
        self.0.faults.run("keys.rename", || {
            let mut records = self.0.records.borrow_mut();
            if records.contains_key(&to) {
                return Err(PortError::Failed);
            }
            let record = records.remove(&name).ok_or(PortError::Failed)?;
            records.insert(to, record);
            Ok(Some(pair.public()))
        })
    }

    fn destroy(&mut self, name: Name) -> Result<(), PortError> {
        self.0.faults.run("keys.destroy", || {
            self.0.records.borrow_mut().remove(&name);
            Ok(())
        })
    }
}

/// The clock that a test sets.
#[derive(Debug)]
pub struct SimClock(World);

impl SimClock {
    /// The clock of a world.
    #[must_use]
    pub const fn new(world: World) -> Self {
        Self(world)
    }
}

impl Clock for SimClock {
    fn now(&mut self) -> u64 {
        *self.0.clock.borrow()
    }
}

/// The host's random numbers.
#[derive(Debug)]
pub struct SimRng(World);

impl SimRng {
    /// Random numbers with the faults of a world.
    #[must_use]
    pub const fn new(world: World) -> Self {
        Self(world)
    }
}

impl Rng for SimRng {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), PortError> {
        self.0.faults.ask("rng.fill")?;
        openssl::rand::rand_bytes(buffer).map_err(|_| PortError::Failed)
    }
}

/// RSA by OpenSSL.
#[derive(Debug)]
pub struct SimRsa;

impl RsaPublic for SimRsa {
    fn raise(modulus: &[u8], exponent: &[u8], number: &mut [u8]) -> Result<(), PortError> {
        let odd = |octets: &[u8]| octets.last().is_some_and(|octet| octet & 1 == 1);
        let plain = |octets: &[u8]| octets.first().is_some_and(|octet| *octet != 0);
        let usable = (256..=512).contains(&modulus.len())
            && (1..=4).contains(&exponent.len())
            && exponent != [1]
            && [modulus, exponent].into_iter().all(|octets| odd(octets) && plain(octets));
        if !usable || !is_below(number, modulus) {
            return Err(PortError::Failed);
        }
        let input = number.to_vec();
        let mut compute = || {
            let key = Rsa::from_public_components(
                BigNum::from_slice(modulus)?,
                BigNum::from_slice(exponent)?,
            )?;
            key.public_encrypt(&input, number, Padding::NONE)
        };
        compute().map(drop).map_err(|_: ErrorStack| PortError::Failed)
    }
}
