//! Personalization data reach the application that they were sent for, and nobody else.

use openssl::pkey::{PKey, Private};
use otrp_engine::error::Error;
use otrp_engine::personalization::PersonalizationError::{Failed, NoData, NotInstalled};
use otrp_engine::platform::{Blob, PortError, Properties};
use otrp_keys::certificate::{
    Identity as Signer, Purpose, Template, Validity, generate_p256, generate_rsa,
};
use otrp_sim::{Fault, Moment, StoredBlob};
use otrp_tam::request::{Application, Command, SdChanges};

use crate::bench::{Device, Kind, der, pki, sha256, signed, uuid};
use crate::home::*;

fn device() -> Device {
    Device::from(&home().snapshot)
}

fn update(image: &'static [u8], personalization: Option<&'static [u8]>) -> Command<'static> {
    let image = (!image.is_empty()).then_some(image);
    Command::UpdateTa(Application { image, personalization, ..application(TA, &[]) })
}

#[test]
fn who_asks_decides() {
    let mut device = device();
    let rows = [
        (uuid(1), Ok(b"secret".to_vec())),
        // Installed by another TAM, without data.
        (uuid(2), Err(NoData)),
        (DELETED_UUID, Err(NotInstalled)),
        (RESERVED_UUID, Err(NotInstalled)),
        (FREE_UUID, Err(NotInstalled)),
    ];
    for (client, expected) in rows {
        // Also right after a start, when nobody has opened the registry.
        for _ in 0..2 {
            assert_eq!(device.personalization(&client), expected, "{client:?}");
        }
        device.reboot();
    }
    assert!(device.world.snapshot() == home().snapshot, "asking changes nothing");
}

#[test]
fn an_update_shows_at_the_next_question() {
    let mut device = device();
    device.carry_out(&pki().tam, update(&[], Some(b"new")));
    assert_eq!(device.personalization(&uuid(1)), Ok(b"new".to_vec()));
    // An image alone leaves them, a pair replaces both.
    device.carry_out(&pki().tam, update(&home().newer_image, None));
    assert_eq!(device.personalization(&uuid(1)), Ok(b"new".to_vec()));
    let image = signed(&pki().sp_ec, uuid(1), 7).leak();
    device.carry_out(&pki().tam, update(image, Some(b"newer")));
    assert_eq!(device.personalization(&uuid(1)), Ok(b"newer".to_vec()));
    assert_eq!(device.personalization(&uuid(2)), Err(NoData));
    assert_eq!(device.records(Kind::Personalization), [b"newer"]);
}

/// A certificate of a service provider's signer.
fn signer(key: PKey<Private>) -> Signer {
    let template = Template {
        organization: "OTrP tests (not for production)",
        common_name: "A signer of a test",
        purpose: Purpose::TaSigning,
        validity: Validity::years(1),
        uri: None,
    };
    template.self_sign(key).unwrap()
}

/// The domain takes images by `signer`, and no more by whoever signed what is there.
fn replace_signer(device: &mut Device, signer: &Signer, keep_old: bool) {
    let (old, new) = (hex::encode(sha256(&home().certificate)), der(&signer.certificate));
    let remove = if keep_old { Vec::new() } else { vec![old.as_str()] };
    let changes = SdChanges { add: vec![&new], remove, ..SdChanges::default() };
    device.carry_out(&pki().tam, Command::UpdateSd { spid: SP, name: DOMAIN, changes });
}

#[test]
fn the_program_of_another_signer_gets_no_data() {
    let (ec, rsa) = (generate_p256().unwrap(), generate_rsa(2048).unwrap());
    for (thief, keep_old) in [(ec.clone(), true), (ec, false), (rsa, true)] {
        let thief = signer(thief);
        let image = signed(&thief, uuid(1), 6);
        let mut device = device();
        replace_signer(&mut device, &thief, keep_old);
        assert_eq!(device.personalization(&uuid(1)), Ok(b"secret".to_vec()), "not yet");
        device.carry_out(&pki().tam, Command::UpdateTa(application(TA, &image)));
        // Nor does the right signer find them again.
        for _ in 0..2 {
            assert_eq!(device.personalization(&uuid(1)), Err(NoData));
            assert!(device.records(Kind::Personalization).is_empty());
            device.reboot();
        }
        if keep_old {
            let image = signed(&pki().sp_ec, uuid(1), 7);
            device.carry_out(&pki().tam, Command::UpdateTa(application(TA, &image)));
            assert_eq!(device.personalization(&uuid(1)), Err(NoData));
        }
    }
    // One that comes with the image itself.
    let (thief, mut device) = (signer(generate_p256().unwrap()), device());
    let (image, certificate) = (signed(&thief, uuid(1), 6), der(&thief.certificate));
    let stolen = Application { certificate: Some(&certificate), ..application(TA, &image) };
    device.carry_out(&pki().tam, Command::UpdateTa(stolen));
    assert_eq!(device.personalization(&uuid(1)), Err(NoData));
}

#[test]
fn another_signer_brings_data_of_its_own() {
    let (other, mut device) = (signer(generate_p256().unwrap()), device());
    replace_signer(&mut device, &other, false);
    let image = signed(&other, uuid(1), 6).leak();
    device.carry_out(&pki().tam, update(image, Some(b"new")));
    assert_eq!(device.personalization(&uuid(1)), Ok(b"new".to_vec()));
    assert_eq!(device.records(Kind::Personalization), [b"new"]);
}

#[test]
fn a_renewed_certificate_keeps_the_data() {
    let renewed = signer(pki().sp_ec.key.clone());
    assert_ne!(der(&renewed.certificate), home().certificate);
    let image = signed(&renewed, uuid(1), 6);
    for keep_old in [true, false] {
        let mut device = device();
        replace_signer(&mut device, &renewed, keep_old);
        device.carry_out(&pki().tam, Command::UpdateTa(application(TA, &image)));
        assert_eq!(device.personalization(&uuid(1)), Ok(b"secret".to_vec()), "{keep_old}");
    }
    // Whose key it was, the old certificate tells, and nothing else.
    let mut device = device();
    replace_signer(&mut device, &renewed, false);
    let mut found = 0;
    for (name, blob) in &mut device.world.stored.borrow_mut().blobs {
        let record = blob.bytes();
        let retired = record.windows(home().certificate.len()).any(|it| it == home().certificate);
        if matches!(name, Blob::SpCertificates(_))
            && retired
            && record.len() > home().certificate.len()
        {
            let bytes = der(&renewed.certificate);
            let size = bytes.len().try_into().unwrap();
            let properties = Properties { size, version: 0, owner: [0; 32] };
            *blob = StoredBlob::new(&properties, bytes);
            found += 1;
        }
    }
    assert_eq!(found, 1);
    device.carry_out(&pki().tam, Command::UpdateTa(application(TA, &image)));
    assert_eq!(device.personalization(&uuid(1)), Err(NoData));
}

#[test]
fn a_refused_update_leaves_the_data() {
    let mut device = device();
    // An image of a lower version, with new data beside it.
    let image = signed(&pki().sp_ec, uuid(1), 4);
    let refused = Application { personalization: Some(b"new"), ..application(TA, &image) };
    let builder =
        otrp_tam::request::Builder::command(&pki().tam, &home().target, Command::UpdateTa(refused));
    assert_eq!(device.fail(&pki().tam, builder), "ERR_TA_INVALID");
    assert_eq!(device.personalization(&uuid(1)), Ok(b"secret".to_vec()));
}

#[test]
fn they_go_with_the_application() {
    let with_domain = Command::DeleteSd { spid: None, name: DOMAIN, delete_tas: true };
    for deletion in [Base::DeleteTa.command(), with_domain] {
        let mut device = device();
        device.carry_out(&pki().tam, deletion);
        assert_eq!(device.personalization(&uuid(1)), Err(NotInstalled));
        device.reboot();
        assert_eq!(device.personalization(&uuid(1)), Err(NotInstalled));
        assert_eq!(device.records(Kind::Personalization).len(), 0);
    }
    // Under the same UUID, but not the same application any more.
    let mut device = device();
    device.carry_out(&pki().tam, Base::DeleteTa.command());
    let install = Command::InstallTa(application(TA, &home().newer_image));
    device.carry_out(&pki().tam, install);
    assert_eq!(device.personalization(&uuid(1)), Err(NoData));
}

#[test]
fn what_is_lost_is_not_what_was_never_sent() {
    let mut device = device();
    let corrupt = Failed(Error::Port(PortError::Corrupt));
    // The registry's record is the first that is read, and the data are the second.
    device.world.faults.plan(1, Moment::Before, Fault::Error(PortError::Corrupt));
    assert_eq!(device.personalization(&uuid(1)), Err(corrupt));
    device.world.faults.clear();
    assert_eq!(device.personalization(&uuid(1)), Ok(b"secret".to_vec()));
    device.world.stored.borrow_mut().blobs.remove(&Blob::Personalization(uuid(1)));
    assert_eq!(device.personalization(&uuid(1)), Err(corrupt));
    // Data that are sent again heal it.
    device.carry_out(&pki().tam, update(&[], Some(b"again")));
    assert_eq!(device.personalization(&uuid(1)), Ok(b"again".to_vec()));
}
