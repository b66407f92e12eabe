//! DeleteSD and DeleteTA (OTrP draft, sections 9.2.3 and 9.3.3).

use super::context::{Context, Done, INVALID};
use crate::error::Error;
use crate::platform::Platform;
use crate::registry::Owner;
use crate::request::Opened;

/// Deletes a security domain; with `deleteta` also what is installed in it.
pub(super) fn sd<P: Platform>(
    context: &mut Context<'_, P>,
    owner: Owner,
    opened: &Opened<'_>,
) -> Result<Done, Error> {
    let content = opened.content();
    let sd = owner.sd_to_delete(
        context.registry.state(),
        content.sp_id.as_ref(),
        content.sd_name.as_ref().ok_or(INVALID)?,
        content.delete_tas.unwrap_or_default(),
    )?;
    context.registry.change().delete_sd(sd)?;
    context.commit(owner, opened)
}

/// Deletes a trusted application and its personalization data.
pub(super) fn ta<P: Platform>(
    context: &mut Context<'_, P>,
    owner: Owner,
    opened: &Opened<'_>,
) -> Result<Done, Error> {
    let content = opened.content();
    let ta = owner.ta_to_delete(
        context.registry.state(),
        content.sp_id.as_ref(),
        content.sd_name.as_ref().ok_or(INVALID)?,
        content.ta_id.as_ref().ok_or(INVALID)?,
    )?;
    context.registry.change().delete_ta(ta)?;
    context.commit(owner, opened)
}
