//! Who may do what: the only way to an [`Authorized`] command.
//!
//! A TAM owns the security domains that it created. A domain is named by (TAM, service provider,
//! name); that of another TAM cannot be told from one that does not exist.

use otrp_wire::ErrorCode;
use otrp_wire::id::{SdName, SpId, TaId, TamId};

use super::number::{SdNumber, TamNumber};
use super::shares::Resource;
use super::state::{Holder, Sd, State, Ta, Tam};
use crate::error::Error;
use crate::image::Application;
use crate::platform::{ImageOwner, StoredTa, UuidBytes};
use crate::revocation::UnrevokedTam;
use crate::trust::Trust;

/// A command whose sender may give it, on a state in which it makes sense.
///
/// The registry changes by nothing else. Only this module makes one:
///
/// ```
/// use otrp_engine::registry::Authorized;
/// fn pass<T>(command: Authorized<T>) -> Authorized<T> { command }
/// ```
/// ```compile_fail,E0451
/// use otrp_engine::registry::Authorized;
/// fn pass<T>(command: Authorized<T>) -> Authorized<T> { Authorized { ..command } }
/// ```
#[derive(Debug)]
pub struct Authorized<T>(T);

impl<T> Authorized<T> {
    /// The command.
    #[must_use]
    pub fn into_inner(self) -> T {
        self.0
    }

    /// The command, to look at.
    #[must_use]
    pub const fn get(&self) -> &T {
        &self.0
    }
}

/// A security domain to create.
#[derive(Debug)]
pub struct NewSd {
    /// The number of the owner.
    pub tam: TamNumber,
    /// The service provider.
    pub sp: SpId,
    /// Its name.
    pub name: SdName,
}

/// What an UpdateSD changes, checked.
#[derive(Debug)]
pub struct SdUpdate {
    /// The number of the security domain.
    pub sd: SdNumber,
    /// The service provider that it gets.
    pub sp: SpId,
    /// The name that it gets.
    pub name: SdName,
}

/// A security domain of the TAM that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SdReference {
    /// Its number.
    pub sd: SdNumber,
}

/// A trusted application of the TAM that asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaReference {
    /// Its UUID.
    pub uuid: UuidBytes,
}

/// An installation: the entry of an application, which replaces one of the same domain and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// The entry.
    pub ta: Ta,
    /// Whose its image is.
    pub owner: ImageOwner,
}

/// A TAM that has an entry, and of whom it is known that it is in good standing: what
/// [`Change::give_dsi`](super::Change::give_dsi) wants.
///
/// ```
/// use otrp_engine::registry::KnownTam;
/// fn pass(tam: KnownTam) -> KnownTam { tam }
/// ```
/// ```compile_fail,E0451
/// use otrp_engine::registry::KnownTam;
/// fn pass(tam: KnownTam) -> KnownTam { KnownTam { ..tam } }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct KnownTam {
    number: TamNumber,
}

impl KnownTam {
    /// The entry of a TAM in good standing.
    ///
    /// # Errors
    /// [`Error::Internal`] if it has none.
    pub fn of(state: &State, tam: &UnrevokedTam<'_>) -> Result<Self, Error> {
        let known = state.tam(tam.identity()).ok_or(Error::Internal)?;
        Ok(Self { number: known.number })
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> TamNumber {
        self.number
    }
}

/// A TAM from whom everything is to be taken back; only [`EvictedTam::first`] makes one.
///
/// ```
/// use otrp_engine::registry::EvictedTam;
/// fn pass(tam: EvictedTam) -> EvictedTam { tam }
/// ```
/// ```compile_fail,E0451
/// use otrp_engine::registry::EvictedTam;
/// fn pass(tam: EvictedTam) -> EvictedTam { EvictedTam { ..tam } }
/// ```
#[derive(Debug)]
pub struct EvictedTam(TamNumber);

impl EvictedTam {
    /// The first TAM that the image lists.
    #[must_use]
    pub fn first(state: &State, trust: &Trust) -> Option<Self> {
        let listed = |tam: &&Tam| trust.evicts(&tam.id, &tam.anchor);
        state.tams().iter().find(listed).map(|tam| Self(tam.number))
    }

    /// Its number.
    #[must_use]
    pub const fn number(&self) -> TamNumber {
        self.0
    }
}

/// A TAM that is trusted, claims to be itself, and knows the device's state.
///
/// ```
/// use otrp_engine::registry::Owner;
/// fn pass(owner: Owner) -> Owner { owner }
/// ```
/// ```compile_fail,E0451
/// use otrp_engine::registry::Owner;
/// fn pass(owner: Owner) -> Owner { Owner { ..owner } }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Owner {
    tam: TamNumber,
}

/// A trusted TAM whose request builds on the device's current state; see [`current`].
#[derive(Clone, Copy, Debug)]
pub struct Current<'s>(&'s Tam);

/// Checks that a request builds on the state that the TAM was given last (OTrP draft, section
/// 9.2.1.2): so a request is accepted once at most, and never out of order.
///
/// # Errors
/// `ERR_DEV_STATE_MISMATCH`.
pub fn current<'s>(
    state: &'s State,
    tam: &UnrevokedTam<'_>,
    dsi_hash: &[u8; 32],
) -> Result<Current<'s>, Error> {
    state
        .tam(tam.identity())
        .filter(|known| known.dsi_hash.as_ref() == Some(dsi_hash))
        .map(Current)
        .ok_or(Error::Refused(ErrorCode::DevStateMismatch))
}

impl Current<'_> {
    /// Checks the owner that the request claims: it must be that of the certificate.
    ///
    /// # Errors
    /// `ERR_TAM_NOT_AUTHORIZED`.
    pub fn claims(self, tam_id: &TamId) -> Result<Owner, Error> {
        if self.0.id == *tam_id {
            Ok(Owner { tam: self.0.number })
        } else {
            Err(ErrorCode::TamNotAuthorized.into())
        }
    }
}

impl Owner {
    /// The number of the TAM.
    #[must_use]
    pub const fn number(self) -> TamNumber {
        self.tam
    }

    /// The TAM, which has an entry.
    #[must_use]
    pub const fn known(self) -> KnownTam {
        KnownTam { number: self.tam }
    }

    /// A security domain that the TAM may create.
    ///
    /// # Errors
    /// `ERR_SD_ALREADY_EXISTS`, `ERR_TEE_RESOURCE_FULL`.
    pub fn new_sd(self, state: &State, sp: SpId, name: SdName) -> Result<Authorized<NewSd>, Error> {
        if state.sds_of(self.tam).any(|sd| sd.sp == sp && sd.name == name) {
            return Err(ErrorCode::SdAlreadyExists.into());
        }
        if !state.has_room(Resource::Sds, self.tam) {
            return Err(ErrorCode::TeeResourceFull.into());
        }
        Ok(Authorized(NewSd { tam: self.tam, sp, name }))
    }

    /// The security domain of a name, and of a service provider where one is given.
    ///
    /// # Errors
    /// `ERR_SD_NOT_FOUND` if there is none, or several and no service provider to tell them apart.
    pub fn sd<'s>(
        self,
        state: &'s State,
        sp: Option<&SpId>,
        name: &SdName,
    ) -> Result<&'s Sd, Error> {
        let mut found = state
            .sds_of(self.tam)
            .filter(|sd| sd.name == *name && sp.is_none_or(|sp| sd.sp == *sp));
        match (found.next(), found.next()) {
            (Some(sd), None) => Ok(sd),
            _ => Err(ErrorCode::SdNotFound.into()),
        }
    }

    /// The security domain that an image goes to.
    ///
    /// # Errors
    /// `ERR_SD_NOT_FOUND`; `ERR_TA_INVALID` if the domain exists, but not for this service
    /// provider (OTrP draft, section 13.1.1).
    pub fn sd_for_image<'s>(
        self,
        state: &'s State,
        sp: &SpId,
        name: &SdName,
    ) -> Result<&'s Sd, Error> {
        self.sd(state, Some(sp), name).map_err(|error| {
            let others = state.sds_of(self.tam).any(|sd| sd.name == *name);
            if others { ErrorCode::TaInvalid.into() } else { error }
        })
    }

    /// A security domain that the TAM may delete, with its applications if the command asks for it.
    ///
    /// # Errors
    /// `ERR_SD_NOT_FOUND`, `ERR_SD_NOT_EMPTY`.
    pub fn sd_to_delete(
        self,
        state: &State,
        sp: Option<&SpId>,
        name: &SdName,
        with_tas: bool,
    ) -> Result<Authorized<SdReference>, Error> {
        let sd = self.sd(state, sp, name)?;
        if !with_tas && state.tas_of(sd.number).next().is_some() {
            return Err(ErrorCode::SdNotEmpty.into());
        }
        Ok(Authorized(SdReference { sd: sd.number }))
    }

    /// A change of a security domain's service provider and name. The provider may change while no
    /// application is in the domain: a UUID stays its provider's.
    ///
    /// # Errors
    /// `ERR_SD_NOT_EMPTY`, `ERR_SDNAME_ALREADY_USED`; [`Error::Internal`] for a domain that is not the
    /// TAM's.
    pub fn sd_update(self, state: &State, update: SdUpdate) -> Result<Authorized<SdUpdate>, Error> {
        let sd = state.sd(update.sd).filter(|sd| sd.tam == self.tam).ok_or(Error::Internal)?;
        if sd.sp != update.sp && state.tas_of(sd.number).next().is_some() {
            return Err(ErrorCode::SdNotEmpty.into());
        }
        let taken = state
            .sds_of(self.tam)
            .any(|sd| sd.number != update.sd && sd.sp == update.sp && sd.name == update.name);
        if taken {
            return Err(ErrorCode::SdNameAlreadyUsed.into());
        }
        Ok(Authorized(update))
    }

    /// A trusted application that the TAM may delete.
    ///
    /// # Errors
    /// `ERR_SD_NOT_FOUND`, `ERR_TA_NOT_FOUND`.
    pub fn ta_to_delete(
        self,
        state: &State,
        sp: Option<&SpId>,
        name: &SdName,
        ta: &TaId,
    ) -> Result<Authorized<TaReference>, Error> {
        let sd = self.sd(state, sp, name)?;
        let ta = state
            .tas_of(sd.number)
            .find(|known| known.id == *ta)
            .ok_or(Error::Refused(ErrorCode::TaNotFound))?;
        Ok(Authorized(TaReference { uuid: ta.uuid }))
    }
}

/// The entry that a request is to make or to replace.
#[derive(Debug)]
pub struct Target<'s> {
    sd: &'s Sd,
    id: TaId,
    installed: Option<&'s Ta>,
}

impl<'s> Target<'s> {
    /// A trusted application that is not in the security domain yet.
    ///
    /// # Errors
    /// `ERR_TA_ALREADY_INSTALLED`, `ERR_TEE_RESOURCE_FULL`.
    pub fn absent(state: &'s State, sd: &'s Sd, id: TaId) -> Result<Self, Error> {
        if state.tas_of(sd.number).any(|ta| ta.id == id) {
            return Err(ErrorCode::TaAlreadyInstalled.into());
        }
        if !state.has_room(Resource::Tas, sd.tam) {
            return Err(ErrorCode::TeeResourceFull.into());
        }
        Ok(Self { sd, id, installed: None })
    }

    /// A trusted application that is in the security domain.
    ///
    /// # Errors
    /// `ERR_TA_NOT_FOUND`.
    pub fn present(state: &'s State, sd: &'s Sd, id: TaId) -> Result<Self, Error> {
        let installed = state.tas_of(sd.number).find(|ta| ta.id == id);
        if installed.is_none() {
            return Err(ErrorCode::TaNotFound.into());
        }
        Ok(Self { sd, id, installed })
    }

    /// The lowest version of an image under `uuid` that may become the entry.
    fn lowest_version(&self, state: &State, uuid: &UuidBytes) -> Result<u32, Error> {
        if state.is_reserved(uuid) {
            return Err(ErrorCode::TaInvalid.into());
        }
        match (self.installed, state.ta_under(uuid), state.retired_uuid(uuid)) {
            (Some(installed), ..) if installed.uuid == *uuid => Ok(installed.stored.version),
            (Some(_), ..) | (None, Some(_), _) => Err(ErrorCode::TaInvalid.into()),
            (None, None, Some(retired)) => {
                let tam = state.tam_numbered(self.sd.tam).ok_or(Error::Internal)?;
                if retired.holder != Holder::new(&tam.id, &self.sd.sp) {
                    return Err(ErrorCode::TaInvalid.into());
                }
                Ok(retired.version)
            }
            (None, None, None) if state.has_room(Resource::Uuids, self.sd.tam) => Ok(0),
            (None, None, None) => Err(ErrorCode::TeeResourceFull.into()),
        }
    }

    /// Whether an image that claims this UUID and version could become the entry, as far as these say;
    /// before the image is here, so that nothing is written for one that could not.
    #[must_use]
    pub fn could_be(&self, state: &State, uuid: &UuidBytes, version: u32) -> bool {
        self.lowest_version(state, uuid).is_ok_and(|lowest| version >= lowest)
    }

    /// Whose image it is to be.
    ///
    /// # Errors
    /// [`Error::Internal`] if the owner of its domain is not known, which cannot be.
    pub fn image_owner(&self, state: &State) -> Result<ImageOwner, Error> {
        let tam = state.tam_numbered(self.sd.tam).ok_or(Error::Internal)?;
        Ok(Holder::new(&tam.id, &self.sd.sp).image_owner())
    }

    /// What is installed, if anything.
    #[must_use]
    pub const fn installed(&self) -> Option<&'s Ta> {
        self.installed
    }

    /// The entry for an image that the domain's service provider signed, under the certificate with
    /// the SHA-256 `signer`. The personalization data stay only if `same_signer` says that its key
    /// signed the image before, too: another key may be somebody else's, whose program they were
    /// not sent for.
    ///
    /// # Errors
    /// `ERR_TA_INVALID` if the UUID is another application's or not the one that this name stands
    /// for, if it was another's before it was deleted, if the image keeps it free, if the version
    /// is below the highest that was ever installed under it, or if it needs a library that neither its
    /// owner has installed nor the image reserves: another owner's would run in it;
    /// `ERR_TEE_RESOURCE_FULL`.
    pub fn with_image(
        self,
        state: &State,
        image: &Application,
        signer: [u8; 32],
        same_signer: bool,
    ) -> Result<Authorized<Ta>, Error> {
        let uuid = *image.uuid();
        let lowest = self.lowest_version(state, &uuid)?;
        if image.version() < lowest {
            return Err(ErrorCode::TaInvalid.into());
        }
        let may_need = |library: &UuidBytes| {
            let Some(installed) = state.ta_under(library) else {
                // Nobody can install one there.
                return state.is_reserved(library);
            };
            state.sd(installed.sd).is_some_and(|sd| sd.tam == self.sd.tam && sd.sp == self.sd.sp)
        };
        if !image.libraries().is_some_and(|libraries| libraries.iter().all(may_need)) {
            return Err(ErrorCode::TaInvalid.into());
        }
        let stored =
            StoredTa { version: image.version(), size: image.size(), digest: *image.digest() };
        Ok(Authorized(Ta {
            sd: self.sd.number,
            id: self.id,
            uuid,
            stored,
            signer,
            has_data: same_signer && self.installed.is_some_and(|ta| ta.has_data),
        }))
    }

    /// The entry as it is, for new personalization data.
    ///
    /// # Errors
    /// `ERR_TA_NOT_FOUND` if nothing is installed; `ERR_TA_INVALID` if the image keeps its UUID free.
    pub fn as_installed(self, state: &State) -> Result<Authorized<Ta>, Error> {
        let installed = self.installed.ok_or(Error::Refused(ErrorCode::TaNotFound))?;
        if state.is_reserved(&installed.uuid) {
            return Err(ErrorCode::TaInvalid.into());
        }
        Ok(Authorized(installed.clone()))
    }
}

impl Authorized<Ta> {
    /// The installation of this entry; with `new_data` its personalization data are pending.
    ///
    /// # Errors
    /// [`Error::Internal`] if its domain is not known, which its authorization excludes.
    pub fn into_installation(
        self,
        state: &State,
        new_data: bool,
    ) -> Result<Authorized<Installation>, Error> {
        let Self(mut ta) = self;
        ta.has_data |= new_data;
        let sd = state.sd(ta.sd).ok_or(Error::Internal)?;
        let tam = state.tam_numbered(sd.tam).ok_or(Error::Internal)?;
        let owner = Holder::new(&tam.id, &sd.sp).image_owner();
        Ok(Authorized(Installation { ta, owner }))
    }
}
