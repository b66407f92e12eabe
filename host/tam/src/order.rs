//! The request that carries out a step of a plan.

use anyhow::{Context as _, ensure};
use otrp_wire::limits::MESSAGE_LIMIT;

use crate::desired::{Configuration, DesiredState};
use crate::dsi::Dsi;
use crate::request::{Application, Builder, Command, Request, SdChanges, SignerHeader, Target};
use crate::session::Session;
use crate::step::{DomainName, Step};

/// The request for a step, and the version of the image in it.
///
/// # Errors
/// If the step is not in the configuration, the request cannot be encrypted, or it is too long.
pub(crate) fn make(
    configuration: &Configuration,
    session: &Session,
    dsi: &Dsi,
    target: &Target,
    step: &Step,
) -> anyhow::Result<(Request, Option<u32>)> {
    let (command, version) = command(&configuration.desired, dsi, step)
        .context("the configuration does not contain it")?;
    let settings = &configuration.tam;
    let suites = settings.algorithms.suites(target);
    let suite = suites.get(session.suite).or(suites.last()).copied();
    let signer = match session.signer_required {
        true => SignerHeader::Chain,
        false => SignerHeader::KeyId,
    };
    let request = Builder::command(session.identity(settings)?, target, command)
        .tid(&session.tid)
        .suite(suite.unwrap_or_default())
        .signer(signer)
        .build()?;
    ensure!(
        request.message.len() <= MESSAGE_LIMIT,
        "the message is {} bytes long, and a device takes {MESSAGE_LIMIT}",
        request.message.len()
    );
    Ok((request, version))
}

/// The command of a step that was planned from this desired state and this device state; `None` if the
/// desired state does not contain it.
fn command<'a>(
    desired: &'a DesiredState,
    dsi: &Dsi,
    step: &'a Step,
) -> Option<(Command<'a>, Option<u32>)> {
    let wanted = |domain: &DomainName| desired.domain(&domain.spid, &domain.name);
    // Deletions in the draft name no SP, but must if the name of the domain alone is ambiguous.
    let spid_if_ambiguous = |domain: &'a DomainName| {
        let same = dsi.tee.sdlist.sd.iter().filter(|sd| sd.name == domain.name).count();
        (same > 1).then_some(domain.spid.as_str())
    };
    Some(match step {
        Step::DeleteTa { domain, taid } => {
            let spid = spid_if_ambiguous(domain);
            (Command::DeleteTa { spid, name: &domain.name, taid }, None)
        }
        Step::DeleteSd { domain } => {
            let spid = spid_if_ambiguous(domain);
            (Command::DeleteSd { spid, name: &domain.name, delete_tas: false }, None)
        }
        Step::CreateSd { domain, certificate } => {
            let certificate = &wanted(domain)?.certificate(certificate)?.bytes;
            (Command::CreateSd { spid: &domain.spid, name: &domain.name, certificate }, None)
        }
        Step::UpdateSd { domain, add, remove } => {
            let wanted = wanted(domain)?;
            let add = add.iter().map(|digest| Some(wanted.certificate(digest)?.bytes.as_slice()));
            let changes = SdChanges {
                add: add.collect::<Option<Vec<_>>>()?,
                remove: remove.iter().map(String::as_str).collect(),
                ..SdChanges::default()
            };
            (Command::UpdateSd { spid: &domain.spid, name: &domain.name, changes }, None)
        }
        Step::InstallTa { domain, taid, .. } => {
            let wanted = wanted(domain)?.application(taid)?;
            let application = Application {
                spid: &domain.spid,
                domain: &domain.name,
                taid,
                certificate: None,
                image: Some(&wanted.image.bytes),
                personalization: wanted.personalization.as_ref().map(|it| it.bytes.as_slice()),
            };
            (Command::InstallTa(application), Some(wanted.version))
        }
        Step::UpdateTa { domain, taid, image, personalization } => {
            let wanted = wanted(domain)?.application(taid)?;
            let data = wanted.personalization.as_ref().map(|it| it.bytes.as_slice());
            let application = Application {
                spid: &domain.spid,
                domain: &domain.name,
                taid,
                certificate: None,
                image: image.as_ref().map(|_| wanted.image.bytes.as_slice()),
                personalization: personalization.as_ref().and(data),
            };
            (Command::UpdateTa(application), image.as_ref().map(|_| wanted.version))
        }
    })
}
