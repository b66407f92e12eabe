//! What survives a power cut: storage and the TA database.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use otrp_engine::platform::{KeyType, Kind, Name, Ports, StoredTa, UuidBytes};
use otrp_engine::{Engine, Trust};
use p256::SecretKey;
use p256::elliptic_curve::Generate;

use crate::fault::Faults;
use crate::platform::{SimClock, SimKeys, SimPlatform, SimRng, SimStorage, SimTaStore};

/// An installed trusted application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// What the database knows of it.
    pub stored: StoredTa,
    /// The ELF.
    pub elf: Vec<u8>,
}

/// A device's persistent state and its faults. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Records and, under their own kinds, private keys.
    pub records: Rc<RefCell<BTreeMap<Name, Vec<u8>>>>,
    /// Installed trusted applications.
    pub images: Rc<RefCell<BTreeMap<UuidBytes, Image>>>,
    /// The open transaction of the TA database; it ends with the power.
    pub transaction: Rc<RefCell<Option<(UuidBytes, Image)>>>,
    /// UUIDs that belong to the TEE's image.
    pub reserved: Rc<RefCell<Vec<UuidBytes>>>,
    /// Planned faults.
    pub faults: Faults,
    /// What kind of key pairs the device makes.
    pub key_type: Rc<Cell<KeyType>>,
    /// The normal world's clock, in seconds since 1970.
    pub clock: Rc<RefCell<u64>>,
    keys_made: Rc<Cell<u64>>,
}

/// Everything that a power cut leaves, for comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Records and keys.
    pub records: BTreeMap<Name, Vec<u8>>,
    /// Installed trusted applications.
    pub images: BTreeMap<UuidBytes, Image>,
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
        let ports = Ports {
            storage: SimStorage::new(self.clone()),
            ta_store: SimTaStore::new(self.clone()),
            keys: SimKeys::new(self.clone()),
            clock: SimClock::new(self.clone()),
            rng: SimRng::new(self.clone()),
        };
        Box::new(Engine::new(ports, trust))
    }

    /// A new key pair. An attestation key follows from everything that is stored, the random TEE key
    /// among it, and from how many were made before: so equal lives of one device leave equal
    /// snapshots, and what thousands of faults leave needs to be looked at a few times only.
    pub(crate) fn make_key(&self, kind: Kind) -> SecretKey {
        if kind == Kind::TeeKey {
            return SecretKey::generate();
        }
        let made = self.keys_made.get() + 1;
        self.keys_made.set(made);
        let mut hash = openssl::sha::Sha256::new();
        hash.update(&made.to_be_bytes());
        for (name, record) in self.records.borrow().iter() {
            hash.update(&name.identifier());
            hash.update(record);
        }
        SecretKey::from_slice(&hash.finish()).expect("a scalar, but for one hash in 2^128")
    }

    /// What is stored now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { records: self.records.borrow().clone(), images: self.images.borrow().clone() }
    }

    /// Puts back what was stored.
    pub fn restore(&self, snapshot: &Snapshot) {
        *self.records.borrow_mut() = snapshot.records.clone();
        *self.images.borrow_mut() = snapshot.images.clone();
    }
}
