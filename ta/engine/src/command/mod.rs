//! What each request does, once its sender is known to own what it is about.

mod context;
mod create_sd;
mod delete;
pub mod get_device_state;
mod image;
mod install_ta;
mod update_sd;

use otrp_wire::RequestName;

use crate::error::Error;
use crate::platform::Platform;
use crate::registry::Owner;
use crate::request::Opened;
use crate::secret::wipe_stack;

pub use context::{Context, Done, Given};

/// Carries out the request `name` of `owner`.
///
/// # Errors
/// The code of the refusal, with nothing changed; or a port's error, after which the registry
/// finds out which side of the change it is on.
pub fn run<P: Platform>(
    name: RequestName,
    context: &mut Context<'_, P>,
    owner: Owner,
    opened: &mut Opened<'_>,
) -> Result<Done, Error> {
    wipe_stack();
    match name {
        // It has no content: get_device_state::run.
        RequestName::GetDeviceState => Err(Error::Internal),
        RequestName::CreateSd => create_sd::run(context, owner, opened),
        RequestName::UpdateSd => update_sd::run(context, owner, opened),
        RequestName::DeleteSd => delete::sd(context, owner, opened),
        RequestName::InstallTa => install_ta::install(context, owner, opened),
        RequestName::UpdateTa => install_ta::update(context, owner, opened),
        RequestName::DeleteTa => delete::ta(context, owner, opened),
    }
}
