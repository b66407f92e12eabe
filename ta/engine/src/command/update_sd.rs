//! UpdateSD (OTrP draft, section 9.2.2).

use otrp_wire::base64::{Form, decode_array};

use super::context::{Context, Done, INVALID, sp_certificate};
use crate::error::Error;
use crate::platform::Platform;
use crate::registry::{Owner, SdUpdate};
use crate::request::Opened;
use crate::sp_certificates::SpCertificates;

/// Changes a security domain's name, service provider and certificates, and renews the service
/// provider's attestation key. A new service provider gets a key of its own.
pub(super) fn run<P: Platform>(
    context: &mut Context<'_, P>,
    owner: Owner,
    opened: &mut Opened<'_>,
) -> Result<Done, Error> {
    let content = opened.content();
    let changes = content.changes.as_ref().ok_or(INVALID)?;
    let state = context.registry.state();
    let name = content.sd_name.as_ref().ok_or(INVALID)?;
    let sd = owner.sd(state, content.sp_id.as_ref(), name)?.clone();
    let sp = changes.sp_id.clone().unwrap_or_else(|| sd.sp.clone());
    let name = changes.sd_name.clone().unwrap_or_else(|| sd.name.clone());
    let added = changes.certificates.clone();
    let removed = changes.old_certificates.clone();
    let renew = changes.renew_aik || state.aik(sd.tam, &sp).is_none();
    let number = state.next_key();
    let certificates = !added.is_empty() || !removed.is_empty();
    let update = SdUpdate { sd: sd.number, sp, name };
    let update = owner.sd_update(state, update)?;

    let record = if certificates {
        let mut certificates = SpCertificates::load(
            &mut context.ports.store,
            sd.number,
            context.workspace.certificates(),
        )?;
        for member in &added {
            let der = sp_certificate::<P>(opened, *member)?;
            certificates.add(opened.bytes(der))?;
        }
        for member in &removed {
            certificates.remove(&certificate_hash(opened.text(Some(*member)))?)?;
        }
        certificates.settle(|hash| state.signs(sd.number, hash))?;
        Some(certificates.into_record()?)
    } else {
        None
    };

    if let Some(record) = record {
        let mut staging = context.registry.stage(&mut context.ports.store);
        staging.put(sd.number.certificates(), record)?;
    }
    let key = if renew { Some(context.new_aik(number)?) } else { None };
    let aik = key.as_ref().map(|key| key.public);
    context.registry.change().update_sd(update, key)?;
    let done = context.commit(owner, opened)?;
    Ok(Done { aik, ..done })
}

/// `deloldspcert`: SHA-256 in hexadecimal or base64.
fn certificate_hash(text: &str) -> Result<[u8; 32], Error> {
    super::install_ta::hexadecimal(text)
        .or_else(|| decode_array(text.as_bytes(), Form::Any).ok())
        .ok_or(INVALID)
}
