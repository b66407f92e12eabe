//! DeleteSD and DeleteTA (OTrP draft, sections 9.2.3 and 9.3.3).

use super::{Context, Done};
use crate::error::Error;
use crate::message::Opened;
use crate::platform::Platform;

/// Deletes a security domain; with `deleteta` also what is installed in it.
pub(super) fn sd<P: Platform>(
    context: &mut Context<'_, P>,
    opened: &Opened<'_>,
) -> Result<Done, Error> {
    let content = opened.content();
    let sd = context.owner.sd_to_delete(
        context.registry.state(),
        opened.optional_text(content.sp_id),
        opened.text(content.sd_name),
        content.delete_tas.unwrap_or_default(),
    )?;
    context.registry.change().delete_sd(sd)?;
    context.commit(opened)
}

/// Deletes a trusted application and its personalization data.
pub(super) fn ta<P: Platform>(
    context: &mut Context<'_, P>,
    opened: &Opened<'_>,
) -> Result<Done, Error> {
    let content = opened.content();
    let ta = context.owner.ta_to_delete(
        context.registry.state(),
        opened.optional_text(content.sp_id),
        opened.text(content.sd_name),
        opened.text(content.ta_id),
    )?;
    context.registry.change().delete_ta(ta)?;
    context.commit(opened)
}
