//! What survives a power cut: the store, RSA key pairs, and what applications stored.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use otrp_engine::platform::{Blob, KeyName, KeyType, PortError, Ports, Properties, UuidBytes};
use otrp_engine::{Engine, Trust};
use p256::SecretKey;
use p256::elliptic_curve::Generate;

use crate::fault::Faults;
use crate::platform::{SimClock, SimKeys, SimPlatform, SimRng, SimStore};

/// A blob of the store. Nobody alters one without its being found out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredBlob {
    /// What was announced of it.
    pub properties: (u32, u32, [u8; 32]),
    bytes: Vec<u8>,
    digest: [u8; 32],
}

impl StoredBlob {
    /// A blob of these bytes.
    #[must_use]
    pub fn new(properties: &Properties, bytes: Vec<u8>) -> Self {
        let Properties { size, version, owner } = *properties;
        let digest = openssl::sha::sha256(&bytes);
        Self { properties: (size, version, owner), bytes, digest }
    }

    /// The bytes.
    ///
    /// # Errors
    /// `Corrupt` if they were altered.
    pub fn open(&self) -> Result<&[u8], PortError> {
        if openssl::sha::sha256(&self.bytes) == self.digest {
            Ok(&self.bytes)
        } else {
            Err(PortError::Corrupt)
        }
    }

    /// The bytes, altered or not.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Alters the bytes, as the normal world can.
    pub const fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// The version that was announced.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.properties.1
    }
}

/// A device's persistent state and its faults. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// What is stored.
    pub stored: Rc<RefCell<Snapshot>>,
    /// Rises with each commit, so that a port knows whether what it loaded is still what is stored.
    pub(crate) sequence: Rc<Cell<u64>>,
    /// Applications that run; they end with the power.
    pub running: Rc<RefCell<BTreeSet<UuidBytes>>>,
    /// UUIDs that belong to the TEE's image.
    pub reserved: Rc<RefCell<Vec<UuidBytes>>>,
    /// Blobs whose files the normal world cannot read: each time, not only once.
    pub unreadable: Rc<RefCell<BTreeSet<Blob>>>,
    /// Planned faults.
    pub faults: Faults,
    /// What kind of key pairs the device makes.
    pub key_type: Rc<Cell<KeyType>>,
    /// The normal world's clock, in seconds since 1970.
    pub clock: Rc<RefCell<u64>>,
    keys_made: Rc<Cell<u64>>,
}

/// Everything that a power cut leaves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// The store's record.
    pub record: Option<Vec<u8>>,
    /// The store's blobs.
    pub blobs: BTreeMap<Blob, StoredBlob>,
    /// RSA key pairs, as the DER of an RSAPrivateKey.
    pub rsa_keys: BTreeMap<KeyName, Vec<u8>>,
    /// What applications stored themselves.
    pub data: BTreeMap<UuidBytes, Vec<u8>>,
    /// Removed applications whose data are still to be removed.
    pub leaving: BTreeSet<UuidBytes>,
}

impl Snapshot {
    /// The images by UUID.
    #[must_use]
    pub fn images(&self) -> BTreeMap<UuidBytes, StoredBlob> {
        let image = |(name, blob): (&Blob, &StoredBlob)| match *name {
            Blob::Image(uuid) => Some((uuid, blob.clone())),
            _ => None,
        };
        self.blobs.iter().filter_map(image).collect()
    }
}

impl World {
    /// An empty device whose clock shows `now`.
    #[must_use]
    pub fn new(now: u64) -> Self {
        let world = Self::default();
        *world.clock.borrow_mut() = now;
        world
    }

    /// Starts the broker on this device: after a power cut, start it again.
    #[must_use]
    pub fn boot(&self, trust: Trust) -> Box<Engine<SimPlatform>> {
        self.running.borrow_mut().clear();
        let ports = Ports {
            store: SimStore::new(self.clone()),
            keys: SimKeys::new(self.clone()),
            clock: SimClock::new(self.clone()),
            rng: SimRng::new(self.clone()),
        };
        Box::new(Engine::new(ports, trust))
    }

    /// A new key pair. But for the TEE's, the first on a device, it follows from everything that is
    /// stored and from how many were made before: so equal lives of one device leave equal snapshots,
    /// and what thousands of faults leave needs to be looked at a few times only.
    pub(crate) fn make_key(&self, name: KeyName) -> SecretKey {
        if name == KeyName::Tee {
            return SecretKey::generate();
        }
        let made = self.keys_made.get() + 1;
        self.keys_made.set(made);
        let mut hash = openssl::sha::Sha256::new();
        hash.update(&made.to_be_bytes());
        let stored = self.stored.borrow();
        hash.update(stored.record.as_deref().unwrap_or_default());
        for (name, blob) in &stored.blobs {
            hash.update(&name.identifier());
            hash.update(blob.bytes());
        }
        SecretKey::from_slice(&hash.finish()).expect("a scalar, but for one hash in 2^128")
    }

    /// The images that are installed, by UUID.
    #[must_use]
    pub fn images(&self) -> BTreeMap<UuidBytes, StoredBlob> {
        self.stored.borrow().images()
    }

    /// What is stored now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.stored.borrow().clone()
    }

    /// Puts back what was stored.
    pub fn restore(&self, snapshot: &Snapshot) {
        *self.stored.borrow_mut() = snapshot.clone();
    }

    /// Removes the data of removed applications that do not run.
    pub(crate) fn sweep(&self) {
        let mut stored = self.stored.borrow_mut();
        let running = self.running.borrow();
        let (still, gone): (BTreeSet<_>, BTreeSet<_>) =
            std::mem::take(&mut stored.leaving).into_iter().partition(|it| running.contains(it));
        stored.leaving = still;
        stored.data.retain(|uuid, _| !gone.contains(uuid));
    }
}
