//! Engines with the faults that the search of [`crate::power_cuts`] must find: it finds each.
//!
//! The engine carries nothing for tests, so its mistakes are made at the ports: an operation that
//! comes at another time, twice for once, or not at all is what an engine that is wrong there asks
//! for.

use std::cell::RefCell;
use std::rc::Rc;

use otrp_engine::Engine;
use otrp_engine::platform::{
    Blob, KeyName, KeyPair, KeyType, Keys, Modulus, Platform, Point, PortError, Ports, Properties,
    Store,
};
use otrp_engine::secret::{Scalar, Seed};
use otrp_sim::{SimClock, SimKeys, SimRng, SimRsa, SimStore, World};

use crate::bench::{Kind, pki};
use crate::power_cuts::{Case, Effort, search};

/// What an engine does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutation {
    /// It commits nothing.
    NoCommit,
    /// It takes a change for committed although it is not.
    BelievesItsCommits,
    /// After a failure it continues with what it has in memory.
    BelievesItsMemory,
    /// It takes a blob for written although it is not.
    BelievesItsWrites,
    /// It writes no blobs of this kind.
    Forgets(Kind),
    /// It writes no images.
    ForgetsImages,
    /// It commits the record, then the blobs that the record mentions.
    BlobsLater,
    /// It commits each blob as soon as it is sealed.
    BlobsFirst,
    /// It commits the record, then removes.
    RemovesLater,
    /// It removes, then commits the record.
    RemovesFirst,
    /// It removes no blobs of this kind.
    Keeps(Kind),
    /// It removes no images.
    KeepsImages,
    /// It does not destroy RSA key pairs.
    KeepsKeys,
    /// It uses the key in reserve and keeps it in reserve.
    KeepsTheReserve,
}

/// Each mistake, with requests of which one at least must show it.
const MUTANTS: &[(Mutation, &[&str])] = &[
    (Mutation::NoCommit, &["a name"]),
    (Mutation::BelievesItsCommits, &["a domain"]),
    (Mutation::BelievesItsMemory, &["a domain"]),
    (Mutation::BelievesItsWrites, INSTALLS),
    (Mutation::Forgets(Kind::SpCertificates), &["a domain"]),
    (Mutation::Forgets(Kind::Personalization), &["data"]),
    (Mutation::Forgets(Kind::TamChain), &["a new TAM's question"]),
    (Mutation::ForgetsImages, INSTALLS),
    (Mutation::BlobsLater, INSTALLS),
    (Mutation::BlobsLater, &["a domain"]),
    (Mutation::BlobsFirst, INSTALLS),
    (Mutation::BlobsFirst, &["data"]),
    (Mutation::RemovesLater, &["an application goes"]),
    (Mutation::RemovesLater, &["an empty domain goes"]),
    (Mutation::RemovesFirst, &["an application goes"]),
    (Mutation::RemovesFirst, &["a domain with its application goes"]),
    (Mutation::Keeps(Kind::SpCertificates), &["an empty domain goes"]),
    (Mutation::Keeps(Kind::Personalization), &["an application goes"]),
    (Mutation::KeepsImages, &["an application goes"]),
    (Mutation::KeepsKeys, &["a key"]),
    (Mutation::KeepsTheReserve, &["a domain of a new provider"]),
];

const INSTALLS: &[&str] = &["an application", "image and data"];

/// A blob on its way.
type Written = (Blob, Properties, Vec<u8>);

/// What the ports of a mutant know together; it ends with the power.
struct Mutant {
    mutation: Mutation,
    world: World,
    store: SimStore,
    keys: SimKeys,
    /// The record as the engine last wanted it.
    wanted: Option<Vec<u8>>,
    open: Option<Written>,
    pending: Vec<Written>,
}

impl Mutant {
    /// Makes what the engine has pending pending again.
    fn again(&mut self) -> Result<(), PortError> {
        for (blob, properties, bytes) in &self.pending {
            self.store.begin(*blob, properties)?;
            self.store.write(bytes)?;
            self.store.seal()?;
        }
        Ok(())
    }

    fn is_forgotten(&self, blob: Blob) -> bool {
        match self.mutation {
            Mutation::Forgets(kind) => Kind::of(blob) == Some(kind),
            Mutation::ForgetsImages => Kind::of(blob).is_none(),
            _ => false,
        }
    }

    fn is_kept(&self, blob: Blob) -> bool {
        match self.mutation {
            Mutation::Keeps(kind) => Kind::of(blob) == Some(kind),
            Mutation::KeepsImages => Kind::of(blob).is_none(),
            _ => false,
        }
    }

    /// The record that is stored.
    fn present(&self) -> Vec<u8> {
        self.world.stored.borrow().record.clone().unwrap_or_else(|| b"none".to_vec())
    }

    fn commit(&mut self, record: &[u8], removed: &[Blob]) -> Result<(), PortError> {
        let removed: Vec<_> = removed.iter().copied().filter(|blob| !self.is_kept(*blob)).collect();
        match self.mutation {
            Mutation::NoCommit => {
                self.store.abort();
                Ok(())
            }
            Mutation::BlobsLater => {
                self.store.abort();
                self.store.commit(record, &removed)?;
                self.again()?;
                self.store.commit(record, &[])
            }
            Mutation::RemovesLater => {
                self.store.commit(record, &[])?;
                self.store.commit(record, &removed)
            }
            Mutation::RemovesFirst => {
                self.store.abort();
                let present = self.present();
                self.store.commit(&present, &removed)?;
                self.again()?;
                self.store.commit(record, &[])
            }
            _ => self.store.commit(record, &removed),
        }
    }
}

struct Port(Rc<RefCell<Mutant>>);

impl Port {
    /// What the engine takes from a step of writing a blob.
    fn believed(&self, result: Result<(), PortError>) -> Result<(), PortError> {
        match self.0.borrow().mutation {
            Mutation::BelievesItsWrites => Ok(()),
            _ => result,
        }
    }
}

impl Store for Port {
    const ELF64: bool = true;

    fn load<'b>(&mut self, buffer: &'b mut [u8]) -> Result<Option<&'b [u8]>, PortError> {
        let mut mutant = self.0.borrow_mut();
        mutant.open = None;
        mutant.pending.clear();
        if let (Mutation::BelievesItsMemory, Some(wanted)) =
            (mutant.mutation, mutant.wanted.clone())
        {
            let target = &mut buffer[..wanted.len()];
            target.copy_from_slice(&wanted);
            return Ok(Some(target));
        }
        mutant.store.load(buffer)
    }

    fn begin(&mut self, blob: Blob, properties: &Properties) -> Result<(), PortError> {
        let result = {
            let mut mutant = self.0.borrow_mut();
            mutant.open = Some((blob, *properties, Vec::new()));
            if mutant.is_forgotten(blob) {
                return Ok(());
            }
            mutant.store.begin(blob, properties)
        };
        self.believed(result)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), PortError> {
        let result = {
            let mut mutant = self.0.borrow_mut();
            let (blob, _, written) = mutant.open.as_mut().ok_or(PortError::Failed)?;
            written.extend_from_slice(bytes);
            let blob = *blob;
            if mutant.is_forgotten(blob) {
                return Ok(());
            }
            mutant.store.write(bytes)
        };
        self.believed(result)
    }

    fn seal(&mut self) -> Result<(), PortError> {
        let result = {
            let mut mutant = self.0.borrow_mut();
            let written = mutant.open.take().ok_or(PortError::Failed)?;
            let blob = written.0;
            mutant.pending.push(written);
            if mutant.is_forgotten(blob) {
                return Ok(());
            }
            let result = mutant.store.seal();
            if mutant.mutation == Mutation::BlobsFirst {
                let present = mutant.present();
                result.and_then(|()| mutant.store.commit(&present, &[]))
            } else {
                result
            }
        };
        self.believed(result)
    }

    fn abort(&mut self) {
        self.0.borrow_mut().store.abort();
    }

    fn commit(&mut self, record: &[u8], removed: &[Blob]) -> Result<(), PortError> {
        let mut mutant = self.0.borrow_mut();
        let result = mutant.commit(record, removed);
        mutant.pending.clear();
        mutant.wanted = Some(record.to_vec());
        if mutant.mutation == Mutation::BelievesItsCommits { Ok(()) } else { result }
    }

    fn read<'b>(
        &mut self,
        blob: Blob,
        buffer: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, PortError> {
        self.0.borrow_mut().store.read(blob, buffer)
    }
}

impl Keys for Port {
    fn makes(&self) -> KeyType {
        self.0.borrow().keys.makes()
    }

    fn generate(&mut self, name: KeyName) -> Result<KeyPair, PortError> {
        self.0.borrow_mut().keys.generate(name)
    }

    fn sign(&mut self, key: &Scalar, digest: &[u8; 32]) -> Result<[u8; 64], PortError> {
        self.0.borrow_mut().keys.sign(key, digest)
    }

    fn agree(&mut self, key: &Scalar, peer: &Point) -> Result<Seed, PortError> {
        self.0.borrow_mut().keys.agree(key, peer)
    }

    fn rsa(&mut self, name: KeyName, number: &mut Modulus) -> Result<(), PortError> {
        self.0.borrow_mut().keys.rsa(name, number)
    }

    fn modulus(&mut self, name: KeyName) -> Result<Option<Modulus>, PortError> {
        self.0.borrow_mut().keys.modulus(name)
    }

    fn rename(&mut self, name: KeyName, to: KeyName) -> Result<Option<Modulus>, PortError> {
        let mut mutant = self.0.borrow_mut();
        let kept = mutant.world.stored.borrow().rsa_keys.get(&name).cloned();
        let renamed = mutant.keys.rename(name, to);
        if mutant.mutation == Mutation::KeepsTheReserve {
            mutant.world.stored.borrow_mut().rsa_keys.extend(kept.map(|key| (name, key)));
        }
        renamed
    }

    fn destroy(&mut self, name: KeyName) -> Result<(), PortError> {
        let mut mutant = self.0.borrow_mut();
        if mutant.mutation == Mutation::KeepsKeys { Ok(()) } else { mutant.keys.destroy(name) }
    }
}

/// The simulated machine with an engine that is wrong.
struct MutantPlatform;

impl Platform for MutantPlatform {
    type Store = Port;
    type Keys = Port;
    type Clock = SimClock;
    type Rng = SimRng;
    type Rsa = SimRsa;
}

fn boot(mutation: Mutation, world: &World) -> Box<Engine<MutantPlatform>> {
    let mutant = Rc::new(RefCell::new(Mutant {
        mutation,
        world: world.clone(),
        store: SimStore::new(world.clone()),
        keys: SimKeys::new(world.clone()),
        wanted: None,
        open: None,
        pending: Vec::new(),
    }));
    let ports = Ports {
        store: Port(mutant.clone()),
        keys: Port(mutant),
        clock: SimClock::new(world.clone()),
        rng: SimRng::new(world.clone()),
    };
    Box::new(Engine::new(ports, pki().trust))
}

#[test]
fn every_mutant_is_found_out() {
    let mut survivors = Vec::new();
    for (mutation, requests) in MUTANTS {
        let mutation = *mutation;
        let found = requests.iter().find_map(|what| {
            let boot = Rc::new(move |world: &World| boot(mutation, world));
            let case = match mutation {
                Mutation::KeepsTheReserve => Case::with_reserve(what),
                Mutation::KeepsKeys => Case::with_rsa_key(what),
                _ => Case::at_home(what),
            };
            search(&case, boot, Effort::Start).err().map(|problem| (what, problem))
        });
        match found {
            Some((what, problem)) => {
                let problem: String = problem.chars().take(200).collect();
                println!("{mutation:?}: {what}: {problem}");
            }
            None => survivors.push(mutation),
        }
    }
    assert!(survivors.is_empty(), "not found out: {survivors:?}");
    println!("{} mutants", MUTANTS.len());
}
