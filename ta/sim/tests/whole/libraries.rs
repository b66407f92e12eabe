//! Libraries that an application is loaded with: nobody else's code runs in it.

use otrp_check::fixture;
use otrp_engine::Trust;
use otrp_keys::certificate::Identity as Signer;
use otrp_keys::image;
use otrp_tam::Identity;
use otrp_tam::request::{Application, Builder, Command, Target};

use crate::bench::{Device, der, pki, signed, uuid};
use crate::tams::under;

const INVALID: &str = "ERR_TA_INVALID";
/// The library of the first provider, and that of another one of the same TAM.
const LIBRARY: [u8; 16] = uuid(0x11);
const OTHER_LIBRARY: [u8; 16] = uuid(0x12);
const APPLICATION: [u8; 16] = uuid(0x13);

fn text(uuid: [u8; 16]) -> String {
    otrp_keys::Uuid(uuid).to_string()
}

fn signed_elf(signer: &Signer, uuid: [u8; 16], version: u32, elf: &[u8]) -> Vec<u8> {
    image::sign(&signer.key, None, otrp_keys::Uuid(uuid), version, elf).unwrap()
}

/// An application that needs these libraries, signed.
fn needing(uuid: [u8; 16], version: u32, names: &[&str]) -> Vec<u8> {
    signed_elf(&pki().sp_ec, uuid, version, &fixture::needing(uuid, names))
}

fn of<'a>(spid: &'a str, taid: &'a str, image: &'a [u8]) -> Application<'a> {
    Application {
        spid,
        domain: "domain",
        taid,
        certificate: None,
        image: Some(image),
        personalization: None,
    }
}

fn attempt(device: &mut Device, tam: &Identity, command: Command<'_>) -> Result<(), String> {
    let target = Target::from(&device.state(tam));
    device.try_to(tam, Builder::command(tam, &target, command))
}

/// Two providers of one TAM and one of another, each with a domain; the first two have a library.
fn device() -> Device {
    let mut device = Device::provisioned();
    let certificate = der(&pki().sp_ec.certificate);
    let providers = [(&pki().tam, "one"), (&pki().tam, "two"), (&pki().other_tam, "one")];
    for (tam, spid) in providers {
        let create = Command::CreateSd { spid, name: "domain", certificate: &certificate };
        device.carry_out(tam, create);
    }
    for (spid, library) in [("one", LIBRARY), ("two", OTHER_LIBRARY)] {
        let image = signed_elf(&pki().sp_ec, library, 1, &fixture::library(library));
        device.carry_out(&pki().tam, Command::InstallTa(of(spid, "library", &image)));
    }
    device
}

#[test]
fn an_application_needs_libraries_of_its_owner_alone() {
    let mut device = device();
    let (tam, other_tam) = (&pki().tam, &pki().other_tam);
    let (own, others) = (text(LIBRARY), text(OTHER_LIBRARY));
    let upper = own.to_uppercase();
    let absent = text(uuid(0x14));
    let longer = format!("{own}0");
    for names in [
        &[others.as_str()][..],
        &[&own, &others],
        &[&absent],
        &["libc.so.6"],
        &[""],
        &[&own[..35]],
        &[&longer],
    ] {
        let image = needing(APPLICATION, 1, names);
        let refused = attempt(&mut device, tam, Command::InstallTa(of("one", "ta", &image)));
        assert_eq!(refused.unwrap_err(), INVALID, "{names:?}");
    }
    // Nor is one TAM's provider another TAM's of the same name.
    let image = needing(APPLICATION, 1, &[&own]);
    let refused = attempt(&mut device, other_tam, Command::InstallTa(of("one", "ta", &image)));
    assert_eq!(refused.unwrap_err(), INVALID);

    // Its own it may have, by whatever letters; and none.
    attempt(&mut device, tam, Command::InstallTa(of("one", "ta", &image))).unwrap();
    for (version, names) in [(2, vec![]), (3, vec![upper.as_str(), own.as_str()])] {
        let image = needing(APPLICATION, version, &names);
        attempt(&mut device, tam, Command::UpdateTa(of("one", "ta", &image))).unwrap();
    }
    let image = needing(APPLICATION, 4, &[&others]);
    let refused = attempt(&mut device, tam, Command::UpdateTa(of("one", "ta", &image)));
    assert_eq!(refused.unwrap_err(), INVALID);
}

/// What an installed application needs stays its owner's when it is deleted.
#[test]
fn nobody_puts_a_library_where_anothers_was() {
    let mut device = device();
    let (tam, other_tam) = (&pki().tam, &pki().other_tam);
    let image = needing(APPLICATION, 1, &[&text(LIBRARY)]);
    attempt(&mut device, tam, Command::InstallTa(of("one", "ta", &image))).unwrap();
    let delete = Command::DeleteTa { spid: Some("one"), name: "domain", taid: "library" };
    attempt(&mut device, tam, delete).unwrap();

    let library = signed_elf(&pki().sp_ec, LIBRARY, 2, &fixture::library(LIBRARY));
    let application = signed(&pki().sp_ec, LIBRARY, 2);
    for image in [&library, &application] {
        for (tam, spid) in [(tam, "two"), (other_tam, "one")] {
            let refused = attempt(&mut device, tam, Command::InstallTa(of(spid, "evil", image)));
            assert_eq!(refused.unwrap_err(), INVALID, "{spid}");
        }
    }
    // Without it, nothing that needs it is installed.
    let newer = needing(APPLICATION, 2, &[&text(LIBRARY)]);
    let refused = attempt(&mut device, tam, Command::UpdateTa(of("one", "ta", &newer)));
    assert_eq!(refused.unwrap_err(), INVALID);
    attempt(&mut device, tam, Command::InstallTa(of("one", "library", &library))).unwrap();
    attempt(&mut device, tam, Command::UpdateTa(of("one", "ta", &newer))).unwrap();
}

/// Those of the maker's image are everybody's, where the image keeps their UUIDs for itself.
#[test]
fn an_application_may_need_what_the_image_reserves() {
    let before = device();
    let reserved = vec![uuid(0x15), OTHER_LIBRARY].leak();
    let mut device = under(&before.world.snapshot(), Trust { reserved, ..pki().trust });
    let (tam, other_tam) = (&pki().tam, &pki().other_tam);
    let image = needing(APPLICATION, 1, &[&text(uuid(0x15))]);
    attempt(&mut device, tam, Command::InstallTa(of("one", "ta", &image))).unwrap();
    let image = needing(uuid(0x16), 1, &[&text(uuid(0x15))]);
    attempt(&mut device, other_tam, Command::InstallTa(of("one", "ta", &image))).unwrap();
    // One that a provider had there before is still the provider's alone.
    let image = needing(uuid(0x17), 1, &[&text(OTHER_LIBRARY)]);
    let refused = attempt(&mut device, tam, Command::InstallTa(of("one", "third", &image)));
    assert_eq!(refused.unwrap_err(), INVALID);
}
