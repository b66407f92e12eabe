//! The only ways to change the state, each with what shows that it may be gone.
//!
//! Outside of the registry nothing but [`Change`] writes to a [`State`], and each of its methods takes
//! a value that only the check which it stands for can make:
//!
//! | Method | Takes | Made by |
//! |---|---|---|
//! | `begin` | `FreshDevice` | the store, when it has no record |
//! | `follow` | [`Trust`] | the image |
//! | `take_back` | [`EvictedTam`] | the image's list |
//! | [`Change::certify`] | [`TeeChain`] | the check of a chain against the maker's root |
//! | [`Change::meet`] | [`StapledTam`] | the check of OCSP responses below a verified path |
//! | [`Change::give_dsi`], [`Change::withhold_dsi`] | [`KnownTam`] | `meet`, or a command's [`Owner`](super::Owner) |
//! | all others | [`Authorized`] | [`policy`](super::policy) |
//!
//! What these types do not show: that a witness is from the state that is changed, which the one
//! registry of an engine sees to.

use otrp_wire::id::SpId;

use super::found::FreshDevice;
use super::number::{SdNumber, TamNumber};
use super::policy::{
    Authorized, EvictedTam, Installation, KnownTam, NewSd, SdReference, SdUpdate, TaReference,
};
use super::state::{Aik, AnchorTime, FULL, Holder, RetiredUuid, Sd, State, Ta, Tam};
use crate::device::TeeChain;
use crate::error::Error;
use crate::platform::{Blob, KeyPair, PrivateKey};
use crate::revocation::{Authority, StapledTam};
use crate::trust::Trust;

/// A change of the state in memory, between [`super::Registry::change`] and its commit.
///
/// Each of its methods wants what shows that the change may be made:
///
/// ```
/// use otrp_engine::registry::{Authorized, Change, SdReference};
/// fn delete(change: &mut Change<'_>, sd: Authorized<SdReference>) {
///     let _ = change.delete_sd(sd);
/// }
/// ```
/// ```compile_fail,E0308
/// use otrp_engine::registry::{Authorized, Change, SdReference};
/// fn delete(change: &mut Change<'_>, sd: Authorized<SdReference>) {
///     let _ = change.delete_sd(sd.into_inner());
/// }
/// ```
#[derive(Debug)]
pub struct Change<'s>(&'s mut State);

impl<'s> Change<'s> {
    pub(super) const fn new(state: &'s mut State) -> Self {
        Self(state)
    }

    /// Gives a device without a record its first key pair, a secret that hides the numbers of device
    /// states, and the image's epoch.
    pub(super) fn begin(&mut self, _: FreshDevice, trust: &Trust, key: KeyPair, secret: [u8; 32]) {
        self.0.floor_epoch = trust.floor_epoch;
        self.0.tee_key = Some(key);
        self.0.secret = secret;
    }

    /// Follows the image: forgets the times of anchors that it does not have, and every time where
    /// its epoch is a later one.
    pub(super) fn follow(&mut self, trust: &Trust) {
        if trust.floor_epoch > self.0.floor_epoch {
            self.0.floor_epoch = trust.floor_epoch;
            self.0.times.clear();
        }
        self.0.times.retain(|known| trust.has_anchor(&known.anchor));
    }

    /// Takes back one thing from a TAM: a security domain with what is in it or, where it has none
    /// left, its entry. The versions and owners of its UUIDs stay.
    pub(super) fn take_back(&mut self, tam: &EvictedTam) -> Result<(), Error> {
        if let Some(sd) = self.0.sds.iter().find(|sd| sd.tam == tam.number()) {
            return self.0.remove_sd(sd.number);
        }
        let index = self.0.tams.iter().position(|known| known.number == tam.number());
        self.0.remove_tam(index.ok_or(Error::Internal)?)
    }

    /// Takes certificates that [`device::check`](crate::device::check) found good, and makes the device
    /// state that any TAM was given before an old one.
    ///
    /// # Errors
    /// [`Error::Internal`] if they are too long, which their check excludes.
    pub fn certify(&mut self, chain: &TeeChain<'_>) -> Result<(), Error> {
        self.0.tee_chain.clear();
        self.0.tee_chain.extend_from_slice(chain.der()).map_err(|_| Error::Internal)?;
        for tam in &mut self.0.tams {
            tam.dsi_hash = None;
        }
        Ok(())
    }

    /// Enters a TAM that an anchor and OCSP responses vouch for, or the certificates that a known
    /// one uses now: its chain is to be stored where `has_new_chain`. What the responses show is
    /// remembered, and the time under its anchor rises to what they say.
    ///
    /// If there is no space, a TAM without security domains whose responses have ended at the time
    /// `clock`, in seconds since 1970, is evicted.
    ///
    /// # Errors
    /// `Full` if none can be evicted, or if there is not enough left for the share of one more.
    pub fn meet(
        &mut self,
        stapled: &StapledTam<'_>,
        has_new_chain: bool,
        clock: u64,
    ) -> Result<KnownTam, Error> {
        let state = &mut *self.0;
        let (tam, good_until) = (stapled.tam(), stapled.good_until());
        let anchor = tam.path().anchor_fingerprint();
        state.raise_time(anchor, stapled.signed_at())?;
        for authority in stapled.authorities() {
            state.remember_authority(*authority)?;
        }
        if let Some(known) = state.tams.iter_mut().find(|known| known.id == *tam.identity()) {
            known.anchor = anchor;
            known.good_until = good_until;
            if has_new_chain {
                known.leaf = tam.path().leaf().fingerprint();
                known.chain_digest = tam.path().digest();
            }
            return KnownTam::of(state, tam);
        }
        // A TAM that is not known has no stored chain, so there always is one.
        if !has_new_chain {
            return Err(Error::Internal);
        }
        if let Some(leaving) = state.place_for(tam.identity(), clock)? {
            state.remove_tam(leaving)?;
        }
        let entry = Tam {
            number: TamNumber(state.next_number),
            id: tam.identity().clone(),
            leaf: tam.path().leaf().fingerprint(),
            anchor,
            chain_digest: tam.path().digest(),
            good_until,
            dsi_hash: None,
        };
        state.tams.push(entry).map_err(|_| FULL)?;
        state.take_number()?;
        KnownTam::of(state, tam)
    }

    /// Remembers the device state that a TAM is about to be given: `hash` computes its SHA-256 from the
    /// state as changed so far and its generation, which is used up and returned.
    ///
    /// # Errors
    /// That of `hash`; `Full` after 2^64 states.
    pub fn give_dsi(
        &mut self,
        to: KnownTam,
        hash: impl FnOnce(&State, u64) -> Result<[u8; 32], Error>,
    ) -> Result<u64, Error> {
        let generation = self.0.next_generation;
        let hash = hash(self.0, generation)?;
        self.0.next_generation = generation.checked_add(1).ok_or(FULL)?;
        self.0.tam_mut(to)?.dsi_hash = Some(hash);
        Ok(generation)
    }

    /// Remembers that a TAM does not know the device state any more.
    ///
    /// # Errors
    /// [`Error::Internal`] if the TAM has no entry, which the witness excludes.
    pub fn withhold_dsi(&mut self, from: KnownTam) -> Result<(), Error> {
        self.0.tam_mut(from)?.dsi_hash = None;
        Ok(())
    }

    /// Enters a security domain under the next number, with an attestation key where the service
    /// provider had none.
    ///
    /// # Errors
    /// `Full`.
    pub fn create_sd(&mut self, new: Authorized<NewSd>, key: Option<KeyPair>) -> Result<(), Error> {
        let NewSd { tam, sp, name } = new.into_inner();
        let (number, next_key) = (self.0.next_sd(), self.0.next_key());
        if let Some(key) = key {
            let aik = Aik { number: next_key, tam, sp: sp.clone(), key };
            self.0.aiks.push(aik).map_err(|_| FULL)?;
        }
        let sd = Sd { number, tam, sp, name };
        self.0.sds.push(sd).map_err(|_| FULL)?;
        self.0.take_number()
    }

    /// Changes a security domain. With `key` the service provider that it ends up with gets a new
    /// attestation key, of the next number, in place of the one it had.
    ///
    /// # Errors
    /// `Full`.
    pub fn update_sd(
        &mut self,
        update: Authorized<SdUpdate>,
        key: Option<KeyPair>,
    ) -> Result<(), Error> {
        let SdUpdate { sd: number, sp, name } = update.into_inner();
        let state = &mut *self.0;
        let next = state.next_key();
        let sd = state.sds.iter_mut().find(|sd| sd.number == number).ok_or(Error::Internal)?;
        let tam = sd.tam;
        let old_sp = core::mem::replace(&mut sd.sp, sp.clone());
        sd.name = name;
        state.release_aik(tam, &old_sp)?;
        let Some(key) = key else { return Ok(()) };
        state.discard_aik(tam, &sp)?;
        state.aiks.push(Aik { number: next, tam, sp, key }).map_err(|_| FULL)?;
        state.take_number()
    }

    /// Forgets a security domain, its trusted applications and, with the last domain of its
    /// service provider, the provider's attestation key.
    ///
    /// # Errors
    /// [`Error::Internal`] if there is no such domain, which its authorization excludes.
    pub fn delete_sd(&mut self, sd: Authorized<SdReference>) -> Result<(), Error> {
        let number = sd.into_inner().sd;
        self.0.remove_sd(number)
    }

    /// Enters an application whose image, or new personalization data, are pending.
    ///
    /// # Errors
    /// `Full`, which the authorization excludes.
    pub fn install(&mut self, new: Authorized<Installation>) -> Result<(), Error> {
        self.0.install(new.into_inner().ta)
    }

    /// Forgets a trusted application, but not its version and whose UUID it is.
    ///
    /// # Errors
    /// [`Error::Internal`] if more is removed than one change can, which its limit excludes.
    pub fn delete_ta(&mut self, ta: Authorized<TaReference>) -> Result<(), Error> {
        let uuid = ta.into_inner().uuid;
        self.0.remove_tas(|ta| ta.uuid == uuid)
    }
}

impl State {
    /// Forgets the private keys, in their places.
    pub(super) fn forget_keys(&mut self) {
        self.tee_key = None;
        self.aiks.iter_mut().for_each(|aik| aik.key.private.forget());
    }

    /// The entry of a TAM that has one.
    fn tam_mut(&mut self, tam: KnownTam) -> Result<&mut Tam, Error> {
        let found = self.tams.iter_mut().find(|known| known.number == tam.number());
        found.ok_or(Error::Internal)
    }

    /// Remembers a time that was verified under an anchor.
    fn raise_time(&mut self, anchor: [u8; 32], time: u64) -> Result<(), Error> {
        if let Some(known) = self.times.iter_mut().find(|known| known.anchor == anchor) {
            known.time = known.time.max(time);
            return Ok(());
        }
        // There is space for each anchor of the image, and the others were removed.
        self.times.push(AnchorTime { anchor, time }).map_err(|_| Error::Internal)
    }

    fn remove_tam(&mut self, index: usize) -> Result<(), Error> {
        let old = self.tams.remove(index);
        self.remove_blob(old.number.chain())
    }

    fn remove_sd(&mut self, number: SdNumber) -> Result<(), Error> {
        self.remove_tas(|ta| ta.sd == number)?;
        let index = self.sds.iter().position(|sd| sd.number == number).ok_or(Error::Internal)?;
        let sd = self.sds.remove(index);
        self.remove_blob(sd.number.certificates())?;
        self.release_aik(sd.tam, &sd.sp)
    }

    /// What one change removes has room, by the limit of that list.
    fn remove_blob(&mut self, blob: Blob) -> Result<(), Error> {
        self.removed.push(blob).map_err(|_| Error::Internal)
    }

    /// Uses up the next number.
    fn take_number(&mut self) -> Result<(), Error> {
        self.next_number = self.next_number.checked_add(1).ok_or(FULL)?;
        Ok(())
    }

    /// Remembers a good authority; if there is no space, the one whose response ends first is
    /// evicted.
    fn remember_authority(&mut self, authority: Authority) -> Result<(), Error> {
        let mut known = self.authorities.iter_mut();
        if let Some(known) = known.find(|known| known.fingerprint == authority.fingerprint) {
            known.good_until = known.good_until.max(authority.good_until);
            return Ok(());
        }
        if self.authorities.is_full() {
            let ends = |index: &usize| self.authorities.get(*index).map(|known| known.good_until);
            let first = (0..self.authorities.len()).min_by_key(ends).ok_or(Error::Internal)?;
            self.authorities.swap_remove(first);
        }
        self.authorities.push(authority).map_err(|_| Error::Internal)
    }

    fn install(&mut self, ta: Ta) -> Result<(), Error> {
        self.retired_uuids.retain(|retired| retired.uuid != ta.uuid);
        let known = self.tas.iter_mut().find(|known| known.sd == ta.sd && known.id == ta.id);
        let Some(known) = known else { return self.tas.push(ta).map_err(|_| FULL) };
        let new_has_data = ta.has_data;
        let old = core::mem::replace(known, ta);
        if old.has_data && !new_has_data {
            self.remove_blob(Blob::Personalization(old.uuid))?;
        }
        Ok(())
    }

    fn remove_tas(&mut self, mut which: impl FnMut(&Ta) -> bool) -> Result<(), Error> {
        for index in (0..self.tas.len()).rev() {
            if !self.tas.get(index).is_some_and(&mut which) {
                continue;
            }
            let ta = self.tas.remove(index);
            let sd = self.sd(ta.sd).ok_or(Error::Internal)?;
            let tam = self.tam_numbered(sd.tam).ok_or(Error::Internal)?;
            let holder = Holder::new(&tam.id, &sd.sp);
            let retired = RetiredUuid { uuid: ta.uuid, version: ta.stored.version, holder };
            // An installation reserves the space that its deletion needs.
            self.retired_uuids.push(retired).map_err(|_| Error::Internal)?;
            self.remove_blob(Blob::Image(ta.uuid))?;
            if ta.has_data {
                self.remove_blob(Blob::Personalization(ta.uuid))?;
            }
        }
        Ok(())
    }

    /// Forgets the attestation key of a service provider that has no security domain left.
    fn release_aik(&mut self, tam: TamNumber, sp: &SpId) -> Result<(), Error> {
        if self.sds.iter().any(|sd| sd.tam == tam && sd.sp == *sp) {
            return Ok(());
        }
        self.discard_aik(tam, sp)
    }

    fn discard_aik(&mut self, tam: TamNumber, sp: &SpId) -> Result<(), Error> {
        let Some(index) = self.aiks.iter().position(|aik| aik.tam == tam && aik.sp == *sp) else {
            return Ok(());
        };
        // Removed from its place, the last one would leave a copy of its key there.
        self.aiks.get_mut(index..).ok_or(Error::Internal)?.rotate_left(1);
        let aik = self.aiks.last_mut().ok_or(Error::Internal)?;
        let is_rsa = matches!(aik.key.private, PrivateKey::Rsa2048(_));
        aik.key.private.forget();
        let aik = self.aiks.pop().ok_or(Error::Internal)?;
        if is_rsa {
            self.retired_keys.push(aik.number).map_err(|_| Error::Internal)
        } else {
            Ok(())
        }
    }
}
