//! The ports over a [`World`].

use std::collections::BTreeMap;

use openssl::bn::BigNum;
use openssl::error::ErrorStack;
use openssl::pkey::Private;
use openssl::rsa::{Padding, Rsa};
use otrp_engine::crypto::rsa::is_below;
use otrp_engine::platform::{
    Blob, Clock, KeyName, KeyPair, KeyType, Keys, Modulus, OwnPublicKey, PENDING_LIMIT, Platform,
    Point, PortError, PrivateKey, Properties, Rng, RsaPublic, Store,
};
use otrp_engine::secret::{Scalar, Seed};
use p256::SecretKey;
use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::elliptic_curve::sec1::ToSec1Point;

use crate::fault::REMOVING_COMMIT;
use crate::world::{StoredBlob, World};

/// The simulated machine.
#[derive(Debug)]
pub struct SimPlatform;

impl Platform for SimPlatform {
    type Store = SimStore;
    type Keys = SimKeys;
    type Clock = SimClock;
    type Rng = SimRng;
    type Rsa = SimRsa;
}

/// A session with the store of a world.
#[derive(Debug)]
pub struct SimStore {
    world: World,
    /// What this session loaded or committed last.
    known: Option<u64>,
    open: Option<(Blob, Properties, Vec<u8>)>,
    pending: BTreeMap<Blob, StoredBlob>,
}

impl SimStore {
    /// A session in which nothing is pending.
    #[must_use]
    pub const fn new(world: World) -> Self {
        Self { world, known: None, open: None, pending: BTreeMap::new() }
    }

    /// Nothing is installed under a UUID while what its last application stored is there.
    fn require_free(&self, blob: Blob) -> Result<(), PortError> {
        let Blob::Image(uuid) = blob else { return Ok(()) };
        self.world.sweep();
        if self.world.stored.borrow().leaving.contains(&uuid) {
            return Err(PortError::Busy);
        }
        Ok(())
    }

    fn apply(&mut self, record: &[u8], removed: &[Blob]) {
        let mut stored = self.world.stored.borrow_mut();
        stored.record = Some(record.to_vec());
        for blob in removed.iter().filter(|blob| !self.pending.contains_key(blob)) {
            let was_there = stored.blobs.remove(blob).is_some();
            // What has taken a UUID since then may have data of its own under it.
            if let Blob::Image(uuid) = *blob
                && was_there
                && !self.world.reserved.borrow().contains(&uuid)
            {
                stored.leaving.insert(uuid);
            }
        }
        stored.blobs.append(&mut self.pending);
        drop(stored);
        self.world.sequence.set(self.world.sequence.get() + 1);
        self.world.sweep();
    }
}

impl Store for SimStore {
    const ELF64: bool = true;

    fn load<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, PortError> {
        self.abort();
        self.known = None;
        self.world.faults.ask("store.load")?;
        self.world.sweep();
        let stored = self.world.stored.borrow();
        let found = match &stored.record {
            None => None,
            Some(record) => {
                let target = buffer.get_mut(..record.len()).ok_or(PortError::Corrupt)?;
                target.copy_from_slice(record);
                Some(&*target)
            }
        };
        self.known = Some(self.world.sequence.get());
        Ok(found)
    }

    fn begin(&mut self, blob: Blob, properties: &Properties) -> Result<(), PortError> {
        self.open = None;
        let Self { world, open, pending, .. } = &mut *self;
        world.faults.run("store.begin", || {
            if let Blob::Image(uuid) = blob {
                if world.reserved.borrow().contains(&uuid) {
                    return Err(PortError::Denied);
                }
                if properties.size == 0 || uuid == [0; 16] {
                    return Err(PortError::Failed);
                }
            }
            if pending.len() >= PENDING_LIMIT {
                return Err(PortError::Failed);
            }
            *open = Some((blob, *properties, Vec::new()));
            Ok(())
        })?;
        self.require_free(blob).inspect_err(|_| self.open = None)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), PortError> {
        let Self { world, open, .. } = &mut *self;
        let result = world.faults.run("store.write", || {
            let (_, properties, written) = open.as_mut().ok_or(PortError::Failed)?;
            written.extend_from_slice(bytes);
            let length = u32::try_from(written.len()).map_err(|_| PortError::Failed)?;
            if length > properties.size { Err(PortError::Failed) } else { Ok(()) }
        });
        if result.is_err() {
            self.open = None;
        }
        result
    }

    fn seal(&mut self) -> Result<(), PortError> {
        let open = self.open.take();
        let Self { world, pending, .. } = &mut *self;
        world.faults.run("store.seal", || {
            let (blob, properties, written) = open.ok_or(PortError::Failed)?;
            if u32::try_from(written.len()) != Ok(properties.size) {
                return Err(PortError::Failed);
            }
            pending.insert(blob, StoredBlob::new(&properties, written));
            Ok(())
        })
    }

    fn abort(&mut self) {
        self.open = None;
        self.pending.clear();
    }

    fn commit(&mut self, record: &[u8], removed: &[Blob]) -> Result<(), PortError> {
        self.open = None;
        // What takes no more room than there was before has it also where storage is full.
        let frees = self.pending.is_empty() && !removed.is_empty();
        let name = if frees { REMOVING_COMMIT } else { "store.commit" };
        let faults = self.world.faults.clone();
        let result = faults.run(name, || {
            if self.known != Some(self.world.sequence.get()) || record.is_empty() {
                return Err(PortError::Failed);
            }
            self.pending.keys().try_for_each(|blob| self.require_free(*blob))?;
            self.apply(record, removed);
            Ok(())
        });
        self.known = result.is_ok().then(|| self.world.sequence.get());
        self.abort();
        result
    }

    fn read<'b>(
        &mut self,
        blob: Blob,
        buffer: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, PortError> {
        self.world.faults.ask("store.read")?;
        let stored = self.world.stored.borrow();
        let Some(found) = stored.blobs.get(&blob) else { return Ok(None) };
        if self.world.unreadable.borrow().contains(&blob) {
            return Err(PortError::Failed);
        }
        let bytes = found.open()?;
        let target = buffer.get_mut(..bytes.len()).ok_or(PortError::Corrupt)?;
        target.copy_from_slice(bytes);
        Ok(Some(target))
    }
}

/// RSA key pairs in memory, and arithmetic with the others.
#[derive(Debug)]
pub struct SimKeys(World);

impl SimKeys {
    /// The keys of a world.
    #[must_use]
    pub const fn new(world: World) -> Self {
        Self(world)
    }

    fn pair(&self, name: KeyName) -> Result<Option<Rsa<Private>>, PortError> {
        let stored = self.0.stored.borrow();
        let Some(record) = stored.rsa_keys.get(&name) else { return Ok(None) };
        Rsa::private_key_from_der(record).map(Some).map_err(|_| PortError::Corrupt)
    }
}

fn modulus_of(pair: &Rsa<Private>) -> Modulus {
    pair.n().to_vec().try_into().expect("2048 bits")
}

fn secret(key: &Scalar) -> Result<SecretKey, PortError> {
    SecretKey::from_slice(key.bytes()).map_err(|_| PortError::Failed)
}

impl Keys for SimKeys {
    fn makes(&self) -> KeyType {
        self.0.key_type.get()
    }

    fn generate(&mut self, name: KeyName) -> Result<KeyPair, PortError> {
        if self.makes() == KeyType::P256 {
            // It is nowhere but in the caller's hands.
            self.0.faults.ask("keys.generate")?;
            let key = self.0.make_key(name);
            let point = key.public_key().to_sec1_point(false);
            let point = point.as_bytes().try_into().expect("an uncompressed point");
            let private = PrivateKey::P256(Scalar::new(key.to_bytes().into()));
            return Ok(KeyPair { public: OwnPublicKey::P256(point), private });
        }
        self.0.faults.run("keys.generate", || {
            let pair = Rsa::generate(2048).expect("an RSA key pair");
            let record = pair.private_key_to_der().expect("an RSA key pair as DER");
            self.0.stored.borrow_mut().rsa_keys.insert(name, record);
            let public = OwnPublicKey::Rsa2048(modulus_of(&pair));
            Ok(KeyPair { public, private: PrivateKey::Rsa2048(name) })
        })
    }

    fn sign(&mut self, key: &Scalar, digest: &[u8; 32]) -> Result<[u8; 64], PortError> {
        self.0.faults.ask("keys.sign")?;
        let key = SigningKey::from(secret(key)?);
        let signature: p256::ecdsa::Signature =
            key.sign_prehash(digest).map_err(|_| PortError::Failed)?;
        Ok(signature.to_bytes().into())
    }

    fn agree(&mut self, key: &Scalar, peer: &Point) -> Result<Seed, PortError> {
        self.0.faults.ask("keys.agree")?;
        let peer = p256::PublicKey::from_sec1_bytes(peer).map_err(|_| PortError::Failed)?;
        let shared = secret(key)?.diffie_hellman(&peer);
        let bytes: [u8; 32] =
            shared.raw_secret_bytes().as_slice().try_into().map_err(|_| PortError::Failed)?;
        Ok(Seed::new(bytes))
    }

    fn rsa(&mut self, name: KeyName, number: &mut Modulus) -> Result<(), PortError> {
        self.0.faults.ask("keys.rsa")?;
        let key = self.pair(name)?.ok_or(PortError::Failed)?;
        let input = *number;
        let result = key.private_decrypt(&input, number, Padding::NONE);
        result.map(drop).map_err(|_| PortError::Failed)
    }

    fn modulus(&mut self, name: KeyName) -> Result<Option<Modulus>, PortError> {
        self.0.faults.ask("keys.modulus")?;
        Ok(self.pair(name)?.as_ref().map(modulus_of))
    }

    fn rename(&mut self, name: KeyName, to: KeyName) -> Result<Option<Modulus>, PortError> {
        let Some(pair) = self.pair(name)? else {
            self.0.faults.ask("keys.rename")?;
            return Ok(None);
        };
        self.0.faults.run("keys.rename", || {
            let keys = &mut self.0.stored.borrow_mut().rsa_keys;
            if keys.contains_key(&to) {
                return Err(PortError::Failed);
            }
            let record = keys.remove(&name).ok_or(PortError::Failed)?;
            keys.insert(to, record);
            Ok(Some(modulus_of(&pair)))
        })
    }

    fn destroy(&mut self, name: KeyName) -> Result<(), PortError> {
        self.0.faults.run("keys.destroy", || {
            self.0.stored.borrow_mut().rsa_keys.remove(&name);
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
