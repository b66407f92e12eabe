//! What each request does, once its sender is known to own what it is about.

mod create_sd;
mod delete;
mod install_ta;
mod update_sd;

use otrp_wire::id::SdName;
use otrp_wire::{ErrorCode, RequestName, Span};

use crate::device::{self, Identity};
use crate::dsi::View;
use crate::error::Error;
use crate::message::Opened;
use crate::pki;
use crate::platform::{KeyName, KeyPair, OwnPublicKey, Platform, Ports};
use crate::policy::Owner;
use crate::registry::Registry;
use crate::reserve;
use crate::secret::wipe_stack;
use crate::trust::Trust;

/// What a command works on and with.
pub struct Context<'e, P: Platform> {
    /// The machine.
    pub ports: &'e mut Ports<P>,
    /// The state.
    pub registry: &'e mut Registry,
    /// The image.
    pub trust: &'e Trust,
    /// The sender.
    pub owner: Owner,
    /// Working space of [`otrp_wire::limits::REPLY_LIMIT`] bytes.
    pub scratch: &'e mut [u8],
}

/// A command that was carried out; the new state is in storage.
#[derive(Debug, Default)]
pub struct Done {
    /// The name of a domain that was created.
    pub sd_name: Option<SdName>,
    /// An attestation key that was made.
    pub aik: Option<OwnPublicKey>,
    /// The generation of the device state that the answer is to carry.
    pub generation: Option<u64>,
}

const INVALID: Error = Error::Refused(ErrorCode::RequestInvalid);

/// Carries out the request `name`.
///
/// # Errors
/// The code of the refusal, with nothing changed; or a port's error, after which the registry
/// finds out which side of the change it is on.
pub fn run<P: Platform>(
    name: RequestName,
    context: &mut Context<'_, P>,
    opened: &mut Opened<'_>,
) -> Result<Done, Error> {
    wipe_stack();
    match name {
        // It has no content and is answered elsewhere.
        RequestName::GetDeviceState => Err(Error::Internal),
        RequestName::CreateSd => create_sd::run(context, opened),
        RequestName::UpdateSd => update_sd::run(context, opened),
        RequestName::DeleteSd => delete::sd(context, opened),
        RequestName::InstallTa => install_ta::install(context, opened),
        RequestName::UpdateTa => install_ta::update(context, opened),
        RequestName::DeleteTa => delete::ta(context, opened),
    }
}

impl<P: Platform> Context<'_, P> {
    /// Commits the change in memory and names the state that the TAM is given with the answer.
    fn commit(&mut self, opened: &Opened<'_>) -> Result<Done, Error> {
        let tam = self.owner.number();
        let state = self.registry.state();
        let generation = state.next_generation();
        let hash = if opened.next_dsi {
            let view =
                View { state, identity: device::identity(state, self.trust)?, tam, generation };
            Some(view.hash(self.scratch)?)
        } else {
            None
        };
        self.registry.change().give_dsi(tam, hash)?;
        self.registry.commit(self.ports, self.scratch)?;
        Ok(Done { generation: opened.next_dsi.then_some(generation), ..Done::default() })
    }

    /// The TEE.
    fn identity(&self) -> Result<Identity<'_>, Error> {
        device::identity(self.registry.state(), self.trust)
    }

    /// Makes an attestation key pair of this number.
    fn new_aik(&mut self, number: u32) -> Result<KeyPair, Error> {
        wipe_stack();
        Ok(reserve::draw(&mut self.ports.keys, KeyName::Aik(number))?)
    }
}

/// Decodes and checks a service provider's certificate; the span of its DER in the content.
fn sp_certificate<P: Platform>(opened: &mut Opened<'_>, member: Span) -> Result<Span, Error> {
    let refused = Error::Refused(ErrorCode::SpCertInvalid);
    let der = opened.decode(member).map_err(|_| refused)?;
    pki::check_sp_certificate::<P::Rsa>(opened.bytes(der)).map_err(|_| refused)?;
    Ok(der)
}
