//! Who owns what on the device: TAMs, security domains, attestation keys, trusted applications.
//!
//! The state is one record, replaced as a whole. Its changes are methods that take an
//! [`Authorized`] command, so that nothing changes it unchecked.
//!
//! Objects that live beside the record (certificates, keys, personalization data) are written
//! under numbers that no record mentions before the record that mentions them, and are removed
//! after the record that forgets them, which lists them as *trash*. A power cut in between leaves
//! objects under the next number or in the trash; [`Registry::open`] removes both.
//! The record is there before the TEE's key is made ([`Registry::create`]). One that is missing
//! beside a key was lost or taken away, and is never taken for a fresh one: it held the versions
//! and owners of UUIDs whose applications' data may still be there, and the count of states.
//! The TEE core's TA database is a second store, so an installation is announced by an
//! [`Intent`] first; the database then tells which side of its commit a power cut was on.

mod codec;
mod shares;
mod state;

use otrp_wire::limits::{CHAIN_BYTES_LIMIT, REPLY_LIMIT};

use crate::error::Error;
use crate::message::sha256;
use crate::pki;
use crate::platform::{Keys, Kind, Name, Platform, PortError, Ports, Rng, Storage, TaStore};
use crate::trust::Trust;

pub use codec::LONGEST_RECORD;
pub use shares::Resource;
pub use state::{
    Aik, AnchorTime, Authority, Change, Floor, Generation, Holder, Intent, NameHash, NewSd, Sd,
    SdReference, SdUpdate, State, Ta, TaReference, Tam, Trash,
};

// The record is built in the buffer of the reply.
const _: () = assert!(LONGEST_RECORD <= REPLY_LIMIT, "raise REPLY_LIMIT with the counts");

/// The record's name.
const RECORD: Name = Name { kind: Kind::Registry, number: 0 };

/// Kinds of objects that one change may write under the next number.
const NUMBERED: [Kind; 3] = [Kind::SpCertificates, Kind::TamChain, Kind::Personalization];

/// The state in memory, and whether it is the one in storage.
#[derive(Debug)]
pub struct Registry {
    state: State,
    stale: bool,
    trust: Trust,
}

impl Registry {
    /// The registry under an image that trusts so; it must be opened before it is used.
    #[must_use]
    pub const fn new(trust: Trust) -> Self {
        let mut state = State::new();
        state.reserved = trust.reserved;
        Self { state, stale: true, trust }
    }

    /// The state, as in storage.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Writes the record of a fresh device unless there is a record, whatever it says.
    ///
    /// # Errors
    /// [`Error::Port`].
    pub fn create<P: Platform>(
        &mut self,
        ports: &mut Ports<P>,
        scratch: &mut [u8],
    ) -> Result<(), Error> {
        match ports.storage.load(RECORD, scratch)? {
            Some(_) => return Ok(()),
            None => self.distrust(),
        }
        self.state.clear();
        self.state.floor_epoch = self.trust.floor_epoch;
        ports.rng.fill(&mut self.state.secret)?;
        self.write(&mut ports.storage, None, scratch)
    }

    /// Makes memory follow storage if it does not, and finishes or undoes what a power cut or an
    /// error interrupted. Then follows the image: what its maker takes back is taken back before
    /// anything is served. `scratch` holds the record meanwhile.
    ///
    /// # Errors
    /// [`Error::Port`]; `Corrupt` if the record is damaged or missing.
    pub fn open<P: Platform>(
        &mut self,
        ports: &mut Ports<P>,
        scratch: &mut [u8],
    ) -> Result<(), Error> {
        if !self.stale {
            return Ok(());
        }
        self.state.clear();
        let record = ports.storage.load(RECORD, scratch)?.ok_or(PortError::Corrupt)?;
        let intent = codec::decode(record, &mut self.state).map_err(|_| PortError::Corrupt)?;
        ports.ta_store.abort();
        if let Some(intent) = intent {
            self.resolve(ports, intent, scratch)?;
        }
        let next = self.state.next_number();
        for kind in NUMBERED {
            ports.storage.remove(Name { kind, number: next })?;
        }
        ports.keys.destroy(Name { kind: Kind::Aik, number: next })?;
        self.empty_trash(ports)?;
        self.migrate(ports, scratch)?;
        self.state.follow(&self.trust);
        self.evict(ports, scratch)?;
        self.stale = false;
        Ok(())
    }

    /// Gives a state that was read from a record of version 1 what that did not have. It is stored
    /// with the next change, before which nothing depends on it.
    fn migrate<P: Platform>(
        &mut self,
        ports: &mut Ports<P>,
        scratch: &mut [u8],
    ) -> Result<(), Error> {
        if self.state.secret == [0; 32] {
            ports.rng.fill(&mut self.state.secret)?;
        }
        for tam in self.state.tams.iter_mut().filter(|tam| tam.anchor == [0; 32]) {
            // The anchor is the last certificate of the stored chain.
            let chain = load_chain(&mut ports.storage, tam.chain, scratch)?;
            if let Some(anchor) = chain.and_then(|chain| chain.last().copied()) {
                tam.anchor = sha256(anchor);
            }
        }
        Ok(())
    }

    /// Takes back what the TAMs hold that the image lists, thing by thing, each in one atomic commit.
    /// After a power cut a TAM that is not through is still there, and listed.
    fn evict<P: Platform>(
        &mut self,
        ports: &mut Ports<P>,
        scratch: &mut [u8],
    ) -> Result<(), Error> {
        let trust = self.trust;
        let listed = |tam: &&Tam| trust.evicts(&tam.id, &tam.anchor);
        while let Some(tam) = self.state.tams.iter().find(listed).map(|tam| tam.number) {
            self.state.take_back(tam)?;
            self.write(&mut ports.storage, None, scratch)?;
            self.empty_trash(ports)?;
        }
        Ok(())
    }

    /// Finds out whether the TA database committed an installation, and follows it.
    fn resolve<P: Platform>(
        &mut self,
        ports: &mut Ports<P>,
        intent: Intent,
        scratch: &mut [u8],
    ) -> Result<(), Error> {
        let found = match ports.ta_store.query(&intent.ta.uuid) {
            Ok(Some(found)) => found,
            // Either nothing was committed, or the normal world hides or altered the file of what
            // was. An entry that the registry does not know must not come back with its file, and
            // one that was altered cannot load: it costs this application and no other.
            Ok(None) | Err(PortError::Corrupt) => {
                return Ok(ports.ta_store.remove(&intent.ta.uuid)?);
            }
            Err(error) => return Err(error.into()),
        };
        if !intent.is_committed(&found) {
            return Ok(());
        }
        let tam = self.state.sd(intent.ta.sd).map(|sd| sd.tam);
        self.state.install(intent)?;
        // The answer that would have carried the new state was never given.
        if let Some(tam) = tam {
            self.state.forget_dsi(tam);
        }
        self.write(&mut ports.storage, None, scratch)
    }

    /// Begins a change: the state in memory is no longer that of storage until it is committed.
    pub const fn change(&mut self) -> Change<'_> {
        self.stale = true;
        Change::new(&mut self.state)
    }

    /// Marks memory as not that of storage, so that the next use reads it anew.
    pub const fn distrust(&mut self) {
        self.stale = true;
    }

    /// Announces an installation: the stored state stays, with the intent beside it.
    ///
    /// # Errors
    /// [`Error::Port`].
    pub fn announce<P: Platform>(
        &mut self,
        ports: &mut Ports<P>,
        intent: &Intent,
        scratch: &mut [u8],
    ) -> Result<(), Error> {
        self.stale = true;
        self.write(&mut ports.storage, Some(intent), scratch)
    }

    /// Commits the change in memory, then removes what it forgot.
    ///
    /// # Errors
    /// [`Error::Port`]; the change may have been committed or not, and is found out when the
    /// registry is opened again.
    pub fn commit<P: Platform>(
        &mut self,
        ports: &mut Ports<P>,
        scratch: &mut [u8],
    ) -> Result<(), Error> {
        self.write(&mut ports.storage, None, scratch)?;
        self.empty_trash(ports)?;
        self.stale = false;
        Ok(())
    }

    fn write<S: Storage>(
        &self,
        storage: &mut S,
        intent: Option<&Intent>,
        scratch: &mut [u8],
    ) -> Result<(), Error> {
        // The scratch holds the longest record, which is checked when it is compiled.
        let record = codec::encode(&self.state, intent, scratch).map_err(|_| Error::Internal)?;
        Ok(storage.replace(RECORD, record)?)
    }

    /// Removes what the record in storage lists as trash. The list in storage stays until the
    /// next commit; removing twice is harmless, because numbers are never used again and because
    /// a UUID that is installed again leaves the list before.
    fn empty_trash<P: Platform>(&mut self, ports: &mut Ports<P>) -> Result<(), Error> {
        for trash in self.state.trash() {
            match trash {
                Trash::Record(name) => ports.storage.remove(*name)?,
                Trash::Key(name) => ports.keys.destroy(*name)?,
                Trash::Ta(uuid) => ports.ta_store.remove(uuid)?,
            }
        }
        self.state.clear_trash();
        Ok(())
    }
}

/// The certificates of a TAM's stored chain, leaf first; `None` where the record is missing or damaged,
/// which the TAM's next GetDeviceState repairs.
///
/// # Errors
/// [`Error::Port`]; [`Error::Internal`] if `scratch` is too short.
pub fn load_chain<'b, S: Storage>(
    storage: &mut S,
    number: u32,
    scratch: &'b mut [u8],
) -> Result<Option<pki::Chain<'b>>, Error> {
    let room = scratch.get_mut(..CHAIN_BYTES_LIMIT).ok_or(Error::Internal)?;
    match storage.load(Name { kind: Kind::TamChain, number }, room) {
        Ok(chain) => Ok(chain.and_then(|chain| pki::split_chain(chain).ok())),
        Err(PortError::Corrupt) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
