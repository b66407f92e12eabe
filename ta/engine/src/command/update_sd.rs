//! UpdateSD (OTrP draft, section 9.2.2).

use otrp_wire::ErrorCode;
use otrp_wire::base64::{Form, decode_array};
use otrp_wire::limits::SP_CERTIFICATE_LIMIT;

use super::{Context, Done, INVALID, sd_name, sp_certificate, sp_id};
use crate::error::Error;
use crate::message::{Opened, sha256};
use crate::pki;
use crate::platform::Platform;
use crate::registry::SdUpdate;

/// Changes a security domain's name, service provider and certificates, and renews the service
/// provider's attestation key. A new service provider gets a key of its own.
pub(super) fn run<P: Platform>(
    context: &mut Context<'_, P>,
    opened: &mut Opened<'_>,
) -> Result<Done, Error> {
    let content = opened.content();
    let changes = content.changes.as_ref().ok_or(INVALID)?;
    let state = context.registry.state();
    let sd = context
        .owner
        .sd(state, opened.optional_text(content.sp_id), opened.text(content.sd_name))?
        .clone();
    let sp = match changes.sp_id {
        Some(_) => sp_id(opened, changes.sp_id)?,
        None => sd.sp.clone(),
    };
    let name = match changes.sd_name {
        Some(_) => sd_name(opened, changes.sd_name)?,
        None => sd.name.clone(),
    };
    let added = changes.certificates.clone();
    let removed = changes.old_certificates.clone();
    let renew = changes.renew_aik || state.aik(sd.tam, &sp).is_none();
    let number = state.next_number();
    let certificates = !added.is_empty() || !removed.is_empty();
    let update = SdUpdate { sd: sd.number, sp, name, certificates };
    let update = context.owner.sd_update(state, update)?;

    let mut length = 0;
    if certificates {
        length = context.load_certificates(&sd)?;
        for member in &removed {
            let hash = certificate_hash(opened.text(Some(*member)))?;
            length = remove(context.scratch, length, &hash)?;
        }
        for member in &added {
            let der = sp_certificate::<P>(opened, *member)?;
            length = append(context.scratch, length, opened.bytes(der))?;
        }
    }

    context.registry.distrust();
    if certificates {
        context.store_certificates(number, length)?;
    }
    let aik = if renew { Some(context.new_aik(number)?) } else { None };
    context.registry.change().update_sd(update, aik)?;
    let done = context.commit(opened)?;
    Ok(Done { aik, ..done })
}

/// `deloldspcert`: SHA-256 in hexadecimal or base64.
fn certificate_hash(text: &str) -> Result<[u8; 32], Error> {
    super::install_ta::hexadecimal(text)
        .or_else(|| decode_array(text.as_bytes(), Form::Any).ok())
        .ok_or(INVALID)
}

/// Takes the certificate with this hash out of those at the start of `buffer`.
fn remove(buffer: &mut [u8], length: usize, hash: &[u8; 32]) -> Result<usize, Error> {
    let refused = Error::Refused(ErrorCode::SpCertInvalid);
    let mut start: usize = 0;
    let mut found = None;
    for certificate in pki::split_der(buffer.get(..length).ok_or(Error::Internal)?) {
        let certificate = certificate.map_err(|_| Error::Internal)?;
        let end = start.saturating_add(certificate.len());
        if sha256(certificate) == *hash {
            found = Some((start, end));
        }
        start = end;
    }
    let (start, end) = found.ok_or(refused)?;
    buffer.copy_within(end..length, start);
    length.checked_sub(end.saturating_sub(start)).ok_or(Error::Internal)
}

/// Puts a certificate behind those at the start of `buffer`; one that is there stays alone.
pub(super) fn append(buffer: &mut [u8], length: usize, certificate: &[u8]) -> Result<usize, Error> {
    let known = buffer.get(..length).ok_or(Error::Internal)?;
    let mut count: usize = 0;
    for other in pki::split_der(known) {
        if other.map_err(|_| Error::Internal)? == certificate {
            return Ok(length);
        }
        count = count.saturating_add(1);
    }
    if count >= SP_CERTIFICATE_LIMIT {
        return Err(ErrorCode::TeeResourceFull.into());
    }
    let end = length.saturating_add(certificate.len());
    buffer.get_mut(length..end).ok_or(Error::Internal)?.copy_from_slice(certificate);
    Ok(end)
}
