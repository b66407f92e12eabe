//! Engines with the faults that the search of [`crate::power_cuts`] must find: it finds each.
//!
//! The engine carries nothing for tests, so its mistakes are made at the ports: an operation that
//! comes at another time, twice for once, or not at all is what an engine that is wrong there asks
//! for.

use std::cell::RefCell;
use std::rc::Rc;

use otrp_engine::Engine;
use otrp_engine::platform::{
    KeyType, Keys, Kind, Modulus, Name, OwnPublicKey, Platform, Point, PortError, Ports, Storage,
    StoredTa, TaStore, UuidBytes,
};
use otrp_engine::secret::Seed;
use otrp_sim::{SimClock, SimKeys, SimRng, SimRsa, SimStorage, SimTaStore, World};

use crate::bench::pki;
use crate::power_cuts::{Case, Effort, search};

/// What an engine does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutation {
    /// It commits an application, then announces it.
    CommitBeforeIntent,
    /// It announces nothing.
    NoIntent,
    /// It commits nothing.
    NoCommit,
    /// It empties the trash, then writes the record that lists it.
    TrashBeforeRecord,
    /// It writes the record, then the objects of this kind that the record mentions.
    RecordBefore(Kind),
    /// It writes objects of this kind under one number again and again.
    NumberReused(Kind),
    /// It takes a record for written although it is not.
    BelievesItsWrites,
    /// After a failure it goes on with what it has in memory.
    BelievesItsMemory,
    /// It takes an application for installed although the database says that it is not.
    BelievesTheCommit,
    /// It takes an application for begun and written although it is not.
    BelievesTheWrite,
    /// It takes what it was to remove for removed although it is there.
    BelievesItsRemovals,
    /// It leaves a transaction of the TA database open.
    NoAbort,
    /// It removes no objects of this kind.
    Keeps(Kind),
    /// It removes no applications.
    KeepsApplications,
    /// It removes no objects whose number is the next one.
    KeepsLeftovers,
    /// It finishes every installation that was announced.
    AlwaysFinishes,
    /// It undoes every installation that was announced.
    AlwaysUndoes,
    /// It removes the record, then writes the new one.
    Torn,
    /// It commits as soon as it begins.
    Eager,
    /// It uses the key in reserve and keeps it in reserve.
    KeepsTheReserve,
}

/// Each mistake, with requests of which one at least must show it. To write the registry's record before
/// a TAM's chain is none: the TAM's next question stores a chain that is missing.
const MUTANTS: &[(Mutation, &[&str])] = &[
    (Mutation::CommitBeforeIntent, INSTALLS),
    (Mutation::NoIntent, INSTALLS),
    (Mutation::NoCommit, INSTALLS),
    (Mutation::TrashBeforeRecord, &["data", "a key", "an application goes"]),
    (Mutation::RecordBefore(Kind::SpCertificates), &["a domain"]),
    (Mutation::RecordBefore(Kind::Personalization), &["data"]),
    (Mutation::RecordBefore(Kind::Aik), &["a key"]),
    (Mutation::NumberReused(Kind::SpCertificates), &["a signer retires"]),
    (Mutation::NumberReused(Kind::Personalization), &["data"]),
    (Mutation::NumberReused(Kind::TamChain), &["a new TAM's question"]),
    (Mutation::NumberReused(Kind::Aik), &["a key"]),
    (Mutation::BelievesItsWrites, &["a domain"]),
    (Mutation::BelievesItsMemory, &["a domain"]),
    (Mutation::BelievesTheCommit, INSTALLS),
    (Mutation::BelievesTheWrite, INSTALLS),
    (Mutation::BelievesItsRemovals, &["data", "an application goes"]),
    (Mutation::NoAbort, INSTALLS),
    (Mutation::Keeps(Kind::SpCertificates), &["an empty domain goes"]),
    (Mutation::Keeps(Kind::Personalization), &["data"]),
    (Mutation::Keeps(Kind::Aik), &["a key"]),
    (Mutation::KeepsApplications, &["an application goes"]),
    (Mutation::KeepsLeftovers, &["a domain", "data", "a key"]),
    (Mutation::AlwaysFinishes, INSTALLS),
    (Mutation::AlwaysUndoes, &["image and data"]),
    (Mutation::Torn, &["a name"]),
    (Mutation::Eager, INSTALLS),
    (Mutation::KeepsTheReserve, &["a domain of a new provider"]),
];

const INSTALLS: &[&str] = &["an application", "image and data"];

/// What the three ports of a mutant know together; it ends with the power.
struct Mutant {
    mutation: Mutation,
    world: World,
    storage: SimStorage,
    ta_store: SimTaStore,
    keys: SimKeys,
    /// Operations that come later than they were asked for.
    held: Vec<Held>,
    /// The record as the engine last wanted it.
    wanted: Option<Vec<u8>>,
    /// What the engine last began to install.
    begun: Option<(UuidBytes, StoredTa)>,
}

enum Held {
    Record(Name, Vec<u8>),
    Key(Name, Vec<u8>),
}

impl Mutant {
    /// Catches up on what was held back.
    fn release(&mut self) -> Result<(), PortError> {
        for held in std::mem::take(&mut self.held) {
            match held {
                Held::Record(name, record) => self.storage.replace(name, &record)?,
                Held::Key(name, key) => self.world.faults.run("keys.generate", || {
                    self.world.records.borrow_mut().insert(name, key);
                    Ok(())
                })?,
            }
        }
        Ok(())
    }

    /// Something that removes: in front of what was held back, if that is the mistake.
    fn remove(
        &mut self,
        kept: bool,
        remove: impl FnOnce(&mut Self) -> Result<(), PortError>,
    ) -> Result<(), PortError> {
        let result = if kept { Ok(()) } else { remove(self) };
        self.release()?;
        if self.mutation == Mutation::BelievesItsRemovals { Ok(()) } else { result }
    }

    /// The name under which an object really is.
    fn place(&self, name: Name) -> Name {
        match self.mutation {
            Mutation::NumberReused(kind) if kind == name.kind => Name { kind, number: 1 },
            _ => name,
        }
    }

    /// Whether the engine is cleaning up what a number left that nothing mentions.
    fn is_leftover(&self, name: Name) -> bool {
        !self.held.is_empty() || self.wanted.is_none() && name.number != 0
    }
}

struct Port(Rc<RefCell<Mutant>>);

impl Storage for Port {
    fn load<'b>(
        &mut self,
        name: Name,
        buffer: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, PortError> {
        let mut mutant = self.0.borrow_mut();
        mutant.release()?;
        let wanted = mutant.wanted.clone();
        if let (Mutation::BelievesItsMemory, Kind::Registry, Some(wanted)) =
            (mutant.mutation, name.kind, wanted)
        {
            let target = &mut buffer[..wanted.len()];
            target.copy_from_slice(&wanted);
            return Ok(Some(target));
        }
        let place = mutant.place(name);
        mutant.storage.load(place, buffer)
    }

    fn replace(&mut self, name: Name, record: &[u8]) -> Result<(), PortError> {
        let mut mutant = self.0.borrow_mut();
        let place = mutant.place(name);
        let registry = name.kind == Kind::Registry;
        let hold = |mutant: &mut Mutant| {
            mutant.held.push(Held::Record(place, record.to_vec()));
            Ok(())
        };
        let announced = registry && mutant.world.transaction.borrow().is_some();
        match mutant.mutation {
            Mutation::CommitBeforeIntent if announced => return hold(&mut mutant),
            Mutation::NoIntent if announced => return Ok(()),
            Mutation::TrashBeforeRecord if registry => {
                mutant.release()?;
                return hold(&mut mutant);
            }
            Mutation::RecordBefore(kind) if kind == name.kind => return hold(&mut mutant),
            Mutation::Torn if registry => mutant.storage.remove(name)?,
            _ => {}
        }
        if registry {
            mutant.wanted = Some(record.to_vec());
        }
        let result = mutant.storage.replace(place, record);
        if registry {
            mutant.release()?;
        }
        if mutant.mutation == Mutation::BelievesItsWrites { Ok(()) } else { result }
    }

    fn remove(&mut self, name: Name) -> Result<(), PortError> {
        let mut mutant = self.0.borrow_mut();
        let place = mutant.place(name);
        let kept = mutant.mutation == Mutation::Keeps(name.kind)
            || mutant.mutation == Mutation::KeepsLeftovers && mutant.is_leftover(name);
        mutant.remove(kept, |mutant| mutant.storage.remove(place))
    }
}

impl TaStore for Port {
    const ELF64: bool = true;

    fn begin(&mut self, uuid: &UuidBytes, ta: &StoredTa) -> Result<(), PortError> {
        let mut mutant = self.0.borrow_mut();
        mutant.begun = Some((*uuid, *ta));
        let result = mutant.ta_store.begin(uuid, ta);
        match mutant.mutation {
            Mutation::Eager => {
                let image = mutant.world.transaction.borrow().clone();
                mutant.world.images.borrow_mut().extend(image);
                result
            }
            Mutation::BelievesTheWrite => Ok(()),
            _ => result,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), PortError> {
        let mut mutant = self.0.borrow_mut();
        let result = mutant.ta_store.write(bytes);
        if mutant.mutation == Mutation::BelievesTheWrite { Ok(()) } else { result }
    }

    fn commit(&mut self) -> Result<(), PortError> {
        let mut mutant = self.0.borrow_mut();
        if mutant.mutation == Mutation::NoCommit {
            mutant.ta_store.abort();
            return Ok(());
        }
        let result = mutant.ta_store.commit();
        mutant.release()?;
        match mutant.mutation {
            Mutation::BelievesTheCommit | Mutation::BelievesTheWrite => Ok(()),
            _ => result,
        }
    }

    fn abort(&mut self) {
        let mut mutant = self.0.borrow_mut();
        if mutant.mutation != Mutation::NoAbort {
            mutant.ta_store.abort();
        }
    }

    fn remove(&mut self, uuid: &UuidBytes) -> Result<(), PortError> {
        let mut mutant = self.0.borrow_mut();
        let kept = mutant.mutation == Mutation::KeepsApplications;
        mutant.remove(kept, |mutant| mutant.ta_store.remove(uuid))
    }

    fn query(&mut self, uuid: &UuidBytes) -> Result<Option<StoredTa>, PortError> {
        let mut mutant = self.0.borrow_mut();
        let found = mutant.ta_store.query(uuid)?;
        Ok(match mutant.mutation {
            Mutation::AlwaysUndoes => None,
            // What was announced is what was begun before.
            Mutation::AlwaysFinishes => mutant.begun.map(|(_, ta)| ta).or(found),
            _ => found,
        })
    }
}

impl Keys for Port {
    fn makes(&self) -> KeyType {
        self.0.borrow().keys.makes()
    }

    fn generate(&mut self, name: Name) -> Result<OwnPublicKey, PortError> {
        let mut mutant = self.0.borrow_mut();
        let place = mutant.place(name);
        if mutant.mutation != Mutation::RecordBefore(name.kind) {
            return mutant.keys.generate(place);
        }
        let public = mutant.keys.generate(place)?;
        let key = mutant.world.records.borrow_mut().remove(&place).ok_or(PortError::Failed)?;
        mutant.held.push(Held::Key(place, key));
        Ok(public)
    }

    fn public(&mut self, name: Name) -> Result<Option<OwnPublicKey>, PortError> {
        self.0.borrow_mut().keys.public(name)
    }

    fn sign(&mut self, name: Name, digest: &[u8; 32]) -> Result<[u8; 64], PortError> {
        let mut mutant = self.0.borrow_mut();
        mutant.release()?;
        let place = mutant.place(name);
        mutant.keys.sign(place, digest)
    }

    fn agree(&mut self, name: Name, peer: &Point) -> Result<Seed, PortError> {
        let mut mutant = self.0.borrow_mut();
        let place = mutant.place(name);
        mutant.keys.agree(place, peer)
    }

    fn rsa(&mut self, name: Name, number: &mut Modulus) -> Result<(), PortError> {
        let mut mutant = self.0.borrow_mut();
        let place = mutant.place(name);
        mutant.keys.rsa(place, number)
    }

    fn rename(&mut self, name: Name, to: Name) -> Result<Option<OwnPublicKey>, PortError> {
        let mut mutant = self.0.borrow_mut();
        let (place, to) = (mutant.place(name), mutant.place(to));
        let kept = mutant.world.records.borrow().get(&place).cloned();
        let renamed = mutant.keys.rename(place, to);
        if mutant.mutation == Mutation::KeepsTheReserve {
            mutant.world.records.borrow_mut().extend(kept.map(|key| (place, key)));
        }
        renamed
    }

    fn destroy(&mut self, name: Name) -> Result<(), PortError> {
        let mut mutant = self.0.borrow_mut();
        let place = mutant.place(name);
        let kept = mutant.mutation == Mutation::Keeps(name.kind)
            || mutant.mutation == Mutation::KeepsLeftovers && mutant.is_leftover(name);
        mutant.remove(kept, |mutant| mutant.keys.destroy(place))
    }
}

/// The simulated machine with an engine that is wrong.
struct MutantPlatform;

impl Platform for MutantPlatform {
    type Storage = Port;
    type TaStore = Port;
    type Keys = Port;
    type Clock = SimClock;
    type Rng = SimRng;
    type Rsa = SimRsa;
}

fn boot(mutation: Mutation, world: &World) -> Box<Engine<MutantPlatform>> {
    let mutant = Rc::new(RefCell::new(Mutant {
        mutation,
        world: world.clone(),
        storage: SimStorage::new(world.clone()),
        ta_store: SimTaStore::new(world.clone()),
        keys: SimKeys::new(world.clone()),
        held: Vec::new(),
        wanted: None,
        begun: None,
    }));
    let ports = Ports {
        storage: Port(mutant.clone()),
        ta_store: Port(mutant.clone()),
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
