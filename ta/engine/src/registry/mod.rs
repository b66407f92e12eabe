//! Who owns what on the device: TAMs, security domains, attestation keys, trusted applications.
//!
//! The state is one record, replaced as a whole. It is read as a [`State`]; [`policy`] judges on it what
//! a TAM may do; [`Change`] changes it, each method for a value that shows that it may. In this order
//! the modules know each other, and the registry all of them.
//!
//! Certificates and personalization data are blobs of the same store. A commit changes record and
//! blobs at once, so a power cut or an error leaves all as it was or all done. Only RSA key pairs live
//! beside it, in the TEE core: they are made under the number that the registry uses next, and destroyed
//! after the commit that forgets them, which lists them as *retired*; [`Registry::open`] finishes both.
//!
//! A device without a record is a fresh one: the TEE's key is in the record, so with the record everything
//! is gone that it vouched for.

mod change;
mod codec;
mod found;
mod number;
pub mod policy;
mod shares;
mod state;

use core::cell::Cell;

use otrp_wire::limits::{CHAIN_BYTES_LIMIT, REPLY_LIMIT};

use crate::error::Error;
use crate::pki;
use crate::platform::{
    Blob, KeyName, KeyType, Keys, Platform, PortError, Ports, Properties, Rng, Store, UuidBytes,
};
use crate::secret::wipe_stack;
use crate::trust::Trust;

use found::{Found, FreshDevice};

pub use change::Change;
pub use codec::LONGEST_RECORD;
pub use number::{KeyNumber, SdNumber, TamNumber};
pub use policy::{
    Authorized, Current, EvictedTam, Installation, KnownTam, NewSd, Owner, SdReference, SdUpdate,
    TaReference, Target, current,
};
pub use state::{Aik, AnchorTime, Generation, Holder, NameHash, RetiredUuid, Sd, State, Ta, Tam};

// The record is built in the buffer of the reply.
const _: () = assert!(LONGEST_RECORD <= REPLY_LIMIT, "raise REPLY_LIMIT with the counts");

/// The state in memory, and whether it is the one in storage.
#[derive(Debug)]
pub struct Registry {
    state: State,
    /// A cell: what only writes blobs does not change the state, and may look at it.
    stale: Cell<bool>,
    trust: Trust,
}

impl Registry {
    /// The registry under an image that trusts so; it must be opened before it is used.
    #[must_use]
    pub const fn new(trust: Trust) -> Self {
        let mut state = State::new();
        state.reserved = trust.reserved;
        Self { state, stale: Cell::new(true), trust }
    }

    /// The state, as in storage.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Makes memory follow storage if it does not, and finishes what a power cut or an error
    /// interrupted; a fresh device gets its key and its record. Then follows the image: what its maker
    /// takes back is taken back before anything is served. `record_buffer` holds the record meanwhile.
    ///
    /// # Errors
    /// [`Error::Port`]; `Corrupt` if the record is damaged.
    pub fn open<P: Platform>(
        &mut self,
        ports: &mut Ports<P>,
        record_buffer: &mut [u8],
    ) -> Result<(), Error> {
        if !self.stale.get() {
            return Ok(());
        }
        self.state.clear();
        wipe_stack();
        let record = match Found::load(&mut ports.store, record_buffer)? {
            Found::Record(record) => record,
            Found::Nothing(fresh) => return self.create(fresh, ports, record_buffer),
        };
        let length = record.len();
        let decoded = codec::decode(record, &mut self.state);
        wipe(record_buffer, length);
        decoded.map_err(|_| PortError::Corrupt)?;
        if ports.keys.makes() == KeyType::Rsa2048 {
            ports.keys.destroy(self.state.next_key().name())?;
        }
        self.destroy_retired(ports)?;
        let trust = self.trust;
        self.change().follow(&trust);
        self.evict(ports, record_buffer)?;
        self.stale.set(false);
        Ok(())
    }

    /// Makes the TEE's key, and the record of a fresh device.
    fn create<P: Platform>(
        &mut self,
        fresh: FreshDevice,
        ports: &mut Ports<P>,
        record_buffer: &mut [u8],
    ) -> Result<(), Error> {
        let trust = self.trust;
        let mut secret = [0; 32];
        ports.rng.fill(&mut secret)?;
        let key = ports.keys.generate(KeyName::Tee)?;
        self.change().begin(fresh, &trust, key, secret);
        self.commit(ports, record_buffer)
    }

    /// Takes back what the TAMs hold that the image lists, thing by thing, each in one atomic commit.
    /// After a power cut a TAM that is not through is still there, and listed.
    fn evict<P: Platform>(
        &mut self,
        ports: &mut Ports<P>,
        record_buffer: &mut [u8],
    ) -> Result<(), Error> {
        let trust = self.trust;
        while let Some(tam) = EvictedTam::first(&self.state, &trust) {
            self.change().take_back(&tam)?;
            self.write(&mut ports.store, record_buffer)?;
            self.destroy_retired(ports)?;
        }
        Ok(())
    }

    /// Begins a change: the state in memory is no longer that of storage until it is committed.
    pub fn change(&mut self) -> Change<'_> {
        self.stale.set(true);
        wipe_stack();
        Change::new(&mut self.state)
    }

    /// Forgets the private keys until the next use, which reads the record anew: they are in memory
    /// during a command only.
    pub fn close(&mut self) {
        self.state.forget_keys();
        self.stale.set(true);
    }

    /// Begins to write blobs: they are pending in the store until a commit, or until the next use
    /// reads the record anew, which drops them.
    pub fn stage<'s, S: Store>(&self, store: &'s mut S) -> Staging<'s, S> {
        self.stale.set(true);
        Staging(store)
    }

    /// Commits the change in memory with the blobs that are pending, and without those that it removes.
    ///
    /// # Errors
    /// [`Error::Port`]; the change may have been committed or not, and is found out when the
    /// registry is opened again.
    pub fn commit<P: Platform>(
        &mut self,
        ports: &mut Ports<P>,
        record_buffer: &mut [u8],
    ) -> Result<(), Error> {
        self.write(&mut ports.store, record_buffer)?;
        self.destroy_retired(ports)?;
        self.stale.set(false);
        Ok(())
    }

    fn write<S: Store>(&mut self, store: &mut S, record_buffer: &mut [u8]) -> Result<(), Error> {
        // The buffer holds the longest record, which is checked when it is compiled.
        let record = codec::encode(&self.state, record_buffer).map_err(|_| Error::Internal)?;
        let outcome = store.commit(record, &self.state.removed);
        let length = record.len();
        wipe(record_buffer, length);
        outcome?;
        self.state.removed.clear();
        Ok(())
    }

    /// Destroys the RSA key pairs that the record in storage lists as retired. The list in storage
    /// stays until the next commit; destroying twice is harmless, for numbers are never used again.
    fn destroy_retired<P: Platform>(&mut self, ports: &mut Ports<P>) -> Result<(), Error> {
        for number in &self.state.retired_keys {
            ports.keys.destroy(number.name())?;
        }
        self.state.retired_keys.clear();
        Ok(())
    }
}

/// Writes blobs, while memory counts as not that of storage: after an error in the middle the store is
/// read anew, which drops what is pending, or the next commit would take it along.
///
/// The engine writes blobs by nothing else. No type sees to that, for the store is a public port.
#[derive(Debug)]
pub struct Staging<'s, S: Store>(&'s mut S);

impl<S: Store> Staging<'_, S> {
    /// Makes `bytes` a pending blob, not an image.
    ///
    /// # Errors
    /// Those of [`Store::put`].
    pub fn put(&mut self, blob: Blob, bytes: &[u8]) -> Result<(), PortError> {
        self.0.put(blob, bytes)
    }

    /// Begins the image under a UUID.
    ///
    /// # Errors
    /// Those of [`Store::begin`].
    pub fn begin_image(
        &mut self,
        uuid: UuidBytes,
        properties: &Properties,
    ) -> Result<(), PortError> {
        self.0.begin(Blob::Image(uuid), properties)
    }

    /// Appends to the image.
    ///
    /// # Errors
    /// Those of [`Store::write`].
    pub fn write(&mut self, piece: &[u8]) -> Result<(), PortError> {
        self.0.write(piece)
    }

    /// Makes the image a pending one, once it is known to be good.
    ///
    /// # Errors
    /// Those of [`Store::seal`].
    pub fn seal_image(&mut self) -> Result<(), PortError> {
        self.0.seal()
    }
}

/// Wipes a record, which holds private keys. `black_box` keeps the compiler from seeing that nobody
/// reads the zeros.
fn wipe(record_buffer: &mut [u8], length: usize) {
    let record = record_buffer.get_mut(..length).unwrap_or_default();
    record.fill(0);
    core::hint::black_box(record);
}

/// The certificates of a TAM's stored chain, leaf first; `None` where the record is missing or damaged,
/// which the TAM's next GetDeviceState repairs.
///
/// # Errors
/// [`Error::Port`]; [`Error::Internal`] if `chain_buffer` is too short.
pub fn load_chain<'b, S: Store>(
    store: &mut S,
    tam: TamNumber,
    chain_buffer: &'b mut [u8],
) -> Result<Option<pki::Chain<'b>>, Error> {
    let room = chain_buffer.get_mut(..CHAIN_BYTES_LIMIT).ok_or(Error::Internal)?;
    match store.read(tam.chain(), room) {
        Ok(chain) => Ok(chain.and_then(|chain| pki::split_chain(chain).ok())),
        Err(PortError::Corrupt) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
