//! Complete requests, mutated before they are signed.
//!
//! The bytes choose an accepted request and what is changed in each of its layers, from the image in
//! it to the message around it. Inner layers are encrypted and signed after the change.

use std::cell::RefCell;
use std::sync::OnceLock;

use arbitrary::{Result, Unstructured};
use otrp_engine::error::Unanswerable;
use otrp_sim::Snapshot;
use otrp_tam::jose::{ContentEncryption, KeyManagement};
use otrp_tam::request::{
    Application, Builder, Command, SdChanges, SignerHeader, TaEncryption, Target,
};
use otrp_wire::RequestName;

use crate::mutate::{bytes, members, once_in, value};
use crate::stage::{Device, only_member, program, stage};

const SP: &str = "sp.example";
const DOMAIN: &str = "payments";
const EMPTY_DOMAIN: &str = "vouchers";
const TA: &str = "wallet";
const UUID: [u8; 16] = [1; 16];
const FREE_UUID: [u8; 16] = [2; 16];

/// A device that is lived on.
pub(crate) struct Home {
    pub(crate) snapshot: Snapshot,
    pub(crate) target: Target,
    certificate: Vec<u8>,
    new_image: Vec<u8>,
    newer_image: Vec<u8>,
}

pub(crate) fn home() -> &'static Home {
    static HOME: OnceLock<Home> = OnceLock::new();
    HOME.get_or_init(|| {
        let tam = &stage().tams[0];
        let mut device = Device::provisioned();
        let certificate = stage().provider_certificate();
        let image = stage().image(UUID, 5, &program(UUID, 5));
        let wallet = Application {
            spid: SP,
            domain: DOMAIN,
            taid: TA,
            certificate: None,
            image: Some(&image),
            personalization: Some(b"secret"),
        };
        for command in [
            Command::CreateSd { spid: SP, name: DOMAIN, certificate: &certificate },
            Command::CreateSd { spid: SP, name: EMPTY_DOMAIN, certificate: &certificate },
            Command::InstallTa(wallet),
        ] {
            let target = Target::from(&device.state(tam).expect("a state"));
            let request = Builder::command(tam, &target, command).build().expect("a request");
            device.send(tam, &request).expect("carried out");
        }
        let target = Target::from(&device.state(tam).expect("a state"));
        Home {
            snapshot: device.world.snapshot(),
            target,
            certificate,
            new_image: stage().image(FREE_UUID, 6, &program(FREE_UUID, 6)),
            newer_image: stage().image(UUID, 6, &program(UUID, 6)),
        }
    })
}

/// One command of each name, which the device at home accepts.
pub(crate) fn every_command() -> [Command<'static>; 6] {
    let home = home();
    let application = |taid, image| Application {
        spid: SP,
        domain: DOMAIN,
        taid,
        certificate: Some(&home.certificate),
        image: Some(image),
        personalization: Some(b"new data"),
    };
    let changes = SdChanges {
        new_name: Some("renamed"),
        new_spid: Some("other-sp.example"),
        add: vec![&home.certificate],
        renew_attestation_key: true,
        ..SdChanges::default()
    };
    [
        Command::CreateSd { spid: SP, name: "new", certificate: &home.certificate },
        Command::UpdateSd { spid: SP, name: DOMAIN, changes },
        Command::DeleteSd { spid: None, name: DOMAIN, delete_tas: true },
        Command::InstallTa(application("new", &home.new_image)),
        Command::UpdateTa(application(TA, &home.newer_image)),
        Command::DeleteTa { spid: None, name: DOMAIN, taid: TA },
    ]
}

/// An installation that the device at home accepts.
pub(crate) fn installation() -> Vec<u8> {
    let [.., install, _, _] = every_command();
    let request = Builder::command(&stage().tams[0], &home().target, install).build();
    request.expect("a request").message
}

/// The byte that chooses the command.
pub(crate) const COMMAND_CHOICE: usize = 8;

/// Sends a changed request to a device. Whatever it is: the answer is signed, and a refusal leaves
/// what is stored as it was.
pub fn process(data: &[u8]) {
    let mut choices = Unstructured::new(data);
    // Out of bytes, all choices are the first: the request goes as far as it was changed.
    let Ok((name, message)) = request(&mut choices) else { return };
    let mut device = Device::from(&home().snapshot);
    let refused = match device.process(&message) {
        Ok(reply) => {
            let payload = stage().verified(&reply);
            let (signed_name, members) = only_member(&payload);
            let names = RequestName::ALL.iter().map(|name| name.tbs_response());
            assert!(names.into_iter().any(|name| name == signed_name), "{signed_name}");
            match members["status"].as_str() {
                Some("pass") => {
                    assert_eq!(signed_name, name.tbs_response());
                    false
                }
                Some("fail") => true,
                other => panic!("status {other:?}"),
            }
        }
        Err(Unanswerable::NotARequest) => true,
        Err(error) => panic!("no answer: {error:?}"),
    };
    let unchanged = device.world.snapshot() == home().snapshot;
    assert_eq!(refused, unchanged, "refused if and only if nothing is changed");
    // Memory is as it was, too: what would have been accepted before is accepted still.
    if refused && once_in(&mut choices, 8).unwrap_or_default() {
        let delete = Command::DeleteTa { spid: None, name: DOMAIN, taid: TA };
        let tam = &stage().tams[0];
        let request = Builder::command(tam, &home().target, delete).build().expect("a request");
        device.send(tam, &request).expect("still accepted");
    }
}

/// A request and its changes.
fn request(u: &mut Unstructured<'_>) -> Result<(RequestName, Vec<u8>)> {
    let tam = &stage().tams[0];
    let certificate = changed(u, stage().provider_certificate())?;
    let personalization = changed(u, b"new data".to_vec())?;
    let version = if once_in(u, 8)? { u.arbitrary()? } else { 6 };
    let new = *u.choose(&[false, true])?;
    let uuid = if new { FREE_UUID } else { UUID };
    let program = changed(u, program(uuid, 6))?;
    let signed = stage().image(uuid, version, if program.is_empty() { b"\0" } else { &program });
    let image = changed(u, signed)?;
    let application = Application {
        spid: SP,
        domain: DOMAIN,
        taid: if new { "new" } else { TA },
        certificate: u.arbitrary::<bool>()?.then_some(&certificate),
        image: Some(&image),
        personalization: u.arbitrary::<bool>()?.then_some(&personalization),
    };
    let command = match u.int_in_range(0..=6)? {
        0 => None,
        1 => Some(Command::CreateSd { spid: SP, name: "new", certificate: &certificate }),
        2 => Some(Command::UpdateSd {
            spid: SP,
            name: DOMAIN,
            changes: SdChanges {
                new_name: u.arbitrary::<bool>()?.then_some("renamed"),
                new_spid: u.arbitrary::<bool>()?.then_some("other-sp.example"),
                add: vec![&certificate],
                remove: Vec::new(),
                renew_attestation_key: u.arbitrary()?,
            },
        }),
        3 => {
            let name = if u.arbitrary()? { EMPTY_DOMAIN } else { DOMAIN };
            Some(Command::DeleteSd { spid: None, name, delete_tas: u.arbitrary()? })
        }
        4 => Some(Command::InstallTa(application)),
        5 => Some(Command::UpdateTa(Application {
            image: (!once_in(u, 4)?).then_some(&image[..]),
            personalization: Some(&personalization),
            ..application
        })),
        _ => Some(Command::DeleteTa { spid: None, name: DOMAIN, taid: TA }),
    };
    let name = command.as_ref().map_or(RequestName::GetDeviceState, Command::name);
    let builder = match command {
        None => Builder::device_state(tam),
        Some(command) => Builder::command(tam, &home().target, command),
    };
    let builder = builder
        .content_encryption(*u.choose(&ContentEncryption::ALL)?)
        .key_management(*u.choose(&[KeyManagement::EcdhEsA128Kw, KeyManagement::EcdhEsA256Kw])?)
        .ta_encryption(*u.choose(&[TaEncryption::AesCbc, TaEncryption::A256Gcm])?)
        .next_dsi(u.arbitrary()?)
        .signer(*u.choose(&[SignerHeader::Chain, SignerHeader::KeyId, SignerHeader::Absent])?);

    // The edits run one after the other, in the order of their bits.
    let layers = if once_in(u, 4)? { u.arbitrary()? } else { 1_u8 << u.int_in_range(0..=5)? };
    let u = RefCell::new(u);
    let edit = |bit: u8, change: &mut dyn FnMut(&mut Unstructured<'_>) -> Result<()>| {
        if layers & 1 << bit != 0 {
            // Bytes never run out: then they are zeros.
            let _ = change(&mut u.borrow_mut());
        }
    };
    let built = builder
        .edit_content(|map| edit(0, &mut |u| members(u, map)))
        .edit_tbs(|map| edit(1, &mut |u| members(u, map)))
        .edit_payload(|text| edit(2, &mut |u| bytes(u, text)))
        .edit_protected(|text| edit(3, &mut |u| bytes(u, text)))
        .edit_message(|json| edit(4, &mut |u| value(u, json)))
        .build();
    // A message that the TAM cannot make is none, as where its image is not there.
    let mut text = built.map_err(|_| arbitrary::Error::IncorrectFormat)?.message;
    edit(5, &mut |u| bytes(u, &mut text));
    Ok((name, text))
}

/// Some bytes, changed once in a while.
fn changed(u: &mut Unstructured<'_>, mut original: Vec<u8>) -> Result<Vec<u8>> {
    if once_in(u, 8)? {
        bytes(u, &mut original)?;
    }
    Ok(original)
}
