//! Libraries that an application is loaded with: nobody else's code runs in it.

use otrp_check::fixture;
use otrp_engine::Trust;
use otrp_engine::platform::{PortError, Source};
use otrp_keys::certificate::Identity as Signer;
use otrp_keys::image;
use otrp_tam::Identity;
use otrp_tam::request::{Application, Builder, Command, Target};

use crate::bench::{Device, der, pki, signed, uuid};
use crate::home::{FREE_UUID, application, from_tam, home};
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

/// A library with so many symbols, whose names are in another order than they are, as linkers leave them.
fn with_symbols(uuid: [u8; 16], count: usize) -> Vec<u8> {
    let mut strings = format!("\0{}\0", otrp_keys::Uuid(uuid)).into_bytes();
    let mut places: Vec<usize> = Vec::new();
    for number in 0..count {
        places.push(strings.len());
        strings.extend(format!("a_function_with_a_long_name_{number}\0").bytes());
    }
    // A step that has no divisor in common with the number goes through all of them.
    let mut symbols = vec![0; 24];
    for number in 0..count {
        symbols.extend(u32::try_from(places[number * 7919 % count]).unwrap().to_le_bytes());
        symbols.extend([0x12, 0, 1, 0]);
        symbols.extend([0; 16]);
    }
    let (dynamic_at, words) = (64 + 2 * 56, |words: &[u64]| -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    });
    let strings_at = dynamic_at + 3 * 16;
    let symbols_at = (strings_at + strings.len()).next_multiple_of(8);
    let sections_at = symbols_at + symbols.len();
    let length = sections_at + 3 * 64;

    let [dynamic_at, strings_at, symbols_at, sections_at, length] =
        [dynamic_at, strings_at, symbols_at, sections_at, length]
            .map(|at| u64::try_from(at).unwrap());
    let (strings_length, symbols_length) = (strings.len() as u64, symbols.len() as u64);
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\xb7\0\x01\0\0\0".to_vec();
    elf.extend(words(&[0, 64, sections_at]));
    elf.extend([0, 0, 0, 0, 64, 0, 56, 0, 2, 0, 64, 0, 3, 0, 2, 0]);
    elf.extend(words(&[1 | 4 << 32, 0, 0, 0, length, length, 0x1000]));
    elf.extend(words(&[2 | 4 << 32, dynamic_at, dynamic_at, 0, 48, 48, 8]));
    // DT_STRTAB, DT_SONAME, DT_NULL.
    elf.extend(words(&[5, strings_at, 14, 1, 0, 0]));
    elf.extend(&strings);
    elf.resize(usize::try_from(symbols_at).unwrap(), 0);
    elf.extend(&symbols);
    elf.extend([0; 64]);
    // SHT_DYNSYM with its strings in section 2, SHT_STRTAB.
    elf.extend(words(&[11 << 32, 2, symbols_at, symbols_at, symbols_length, 2, 8, 24]));
    elf.extend(words(&[3 << 32, 2, strings_at, strings_at, strings_length, 0, 1, 0]));
    elf
}

#[test]
fn a_library_may_have_many_symbols_in_any_order() {
    let elf = with_symbols(FREE_UUID, 6000);
    assert!(elf.len() > 300_000);
    otrp_check::image::check(FREE_UUID, &elf).unwrap();
    let uuid = otrp_keys::Uuid(FREE_UUID);
    let image = otrp_keys::image::sign(&pki().sp_ec.key, None, uuid, 1, &elf).unwrap().leak();
    let message = from_tam(Command::InstallTa(application("new", image))).build().unwrap().message;
    // Once with an escape, outside the signature, after which no octet is where it was.
    let at = message.windows(11).position(|text| text == b"\"payload\":\"").unwrap() + 11;
    let escape = format!("\\u{:04x}", message[at]);
    let escaped = [&message[..at], escape.as_bytes(), &message[at + 1..]].concat();
    for message in [message, escaped] {
        let mut device = Device::from(&home().snapshot);
        let mut source = Counting { message: &message, octets: 0 };
        device.process_from(&mut source).unwrap();
        assert!(device.world.images()[&FREE_UUID].bytes() == elf);
        let readings = source.octets.div_ceil(message.len());
        assert!(readings <= 50, "the message was read {readings} times");
    }
}

/// A message, and how many octets of it were read.
struct Counting<'m> {
    message: &'m [u8],
    octets: usize,
}

impl Source for Counting<'_> {
    fn length(&self) -> usize {
        self.message.len()
    }

    fn read(&mut self, at: usize, buffer: &mut [u8]) -> Result<(), PortError> {
        self.octets += buffer.len();
        let mut message = self.message;
        message.read(at, buffer)
    }
}
