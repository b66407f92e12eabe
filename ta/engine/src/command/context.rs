//! What all commands share.

use otrp_wire::id::SdName;
use otrp_wire::{ErrorCode, Span};

use crate::device::{self, Identity};
use crate::dsi::View;
use crate::error::Error;
use crate::pki;
use crate::platform::{KeyPair, OwnPublicKey, Platform, Ports};
use crate::registry::{KeyNumber, KnownTam, Owner, Registry, TamNumber};
use crate::request::Opened;
use crate::reserve;
use crate::secret::wipe_stack;
use crate::trust::Trust;
use crate::workspace::Workspace;

/// What a command works on and with.
pub struct Context<'e, P: Platform> {
    /// The machine.
    pub ports: &'e mut Ports<P>,
    /// The state.
    pub registry: &'e mut Registry,
    /// The image.
    pub trust: &'e Trust,
    /// The buffer of the answer, until that is written.
    pub workspace: Workspace<'e>,
}

/// A device state that is in storage as the one that its TAM was given last.
#[derive(Clone, Copy, Debug)]
pub struct Given {
    /// The TAM.
    pub tam: TamNumber,
    /// The number of the state.
    pub generation: u64,
}

/// A command that was carried out; the new state is in storage.
#[derive(Debug, Default)]
pub struct Done {
    /// The name of a domain that was created.
    pub sd_name: Option<SdName>,
    /// An attestation key that was made.
    pub aik: Option<OwnPublicKey>,
    /// The device state that the answer is to carry.
    pub given: Option<Given>,
}

pub(super) const INVALID: Error = Error::Refused(ErrorCode::RequestInvalid);

impl<P: Platform> Context<'_, P> {
    /// Commits the change in memory, and the state that the TAM is given with the answer.
    pub(super) fn commit(&mut self, owner: Owner, opened: &Opened<'_>) -> Result<Done, Error> {
        let given = if opened.next_dsi {
            Some(self.give_state(owner.known())?)
        } else {
            self.registry.change().withhold_dsi(owner.known())?;
            None
        };
        self.registry.commit(self.ports, self.workspace.record())?;
        Ok(Done { given, ..Done::default() })
    }

    /// Gives a TAM the device state as changed so far, which is to be committed.
    pub(super) fn give_state(&mut self, to: KnownTam) -> Result<Given, Error> {
        let Self { registry, trust, workspace, .. } = self;
        let tam = to.number();
        let generation = registry.change().give_dsi(to, |state, generation| {
            let identity = device::identity(state.tee_chain(), trust)?;
            View { state, identity, tam, generation }.hash(workspace.device_state())
        })?;
        Ok(Given { tam, generation })
    }

    /// The TEE.
    pub(super) fn identity(&self) -> Result<Identity<'_>, Error> {
        device::identity(self.registry.state().tee_chain(), self.trust)
    }

    /// Makes an attestation key pair of this number.
    pub(super) fn new_aik(&mut self, number: KeyNumber) -> Result<KeyPair, Error> {
        wipe_stack();
        Ok(reserve::draw(&mut self.ports.keys, number.name())?)
    }
}

/// Decodes and checks a service provider's certificate; the span of its DER in the content.
pub(super) fn sp_certificate<P: Platform>(
    opened: &mut Opened<'_>,
    member: Span,
) -> Result<Span, Error> {
    let refused = Error::Refused(ErrorCode::SpCertInvalid);
    let der = opened.decode(member).map_err(|_| refused)?;
    pki::check_sp_certificate::<P::Rsa>(opened.bytes(der)).map_err(|_| refused)?;
    Ok(der)
}
