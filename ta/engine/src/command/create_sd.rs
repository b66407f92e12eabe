//! CreateSD (OTrP draft, section 9.2.1).

use super::context::{Context, Done, INVALID, sp_certificate};
use crate::error::Error;
use crate::platform::Platform;
use crate::registry::Owner;
use crate::request::Opened;

/// Creates a security domain, and an attestation key for a new service provider.
pub(super) fn run<P: Platform>(
    context: &mut Context<'_, P>,
    owner: Owner,
    opened: &mut Opened<'_>,
) -> Result<Done, Error> {
    let content = opened.content();
    let sp = content.sp_id.clone().ok_or(INVALID)?;
    let name = content.sd_name.clone().ok_or(INVALID)?;
    let certificate = content.sp_certificate.ok_or(INVALID)?;
    let certificate = sp_certificate::<P>(opened, certificate)?;
    if !opened.is_for_device(&context.identity()?.device_id) {
        return Err(INVALID);
    }
    let state = context.registry.state();
    let new = owner.new_sd(state, sp.clone(), name.clone())?;
    let has_aik = state.aik(owner.number(), &sp).is_some();
    let (number, key_number) = (state.next_sd(), state.next_key());

    let mut staging = context.registry.stage(&mut context.ports.store);
    staging.put(number.certificates(), opened.bytes(certificate))?;
    let key = if has_aik { None } else { Some(context.new_aik(key_number)?) };
    let aik = key.as_ref().map(|key| key.public);
    context.registry.change().create_sd(new, key)?;
    let done = context.commit(owner, opened)?;
    Ok(Done { sd_name: Some(name), aik, ..done })
}
