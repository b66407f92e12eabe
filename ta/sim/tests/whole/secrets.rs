//! What is left of secrets in memory after a message was processed: nothing.
//!
//! The secrets are chosen by the test in the TAM's place, or taken from the simulated key store.
//! They are looked for in the message, in the reply's buffer, in the engine itself, and in every
//! block of the heap that is given back meanwhile. The stack is the broker's shell's to wipe, and
//! is looked at in OP-TEE. Nothing here is part of a firmware, so the test may read memory that no
//! safe code can.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use openssl::pkey::{PKeyRef, Public};
use openssl::symm::{Cipher, encrypt_aead};
use otrp_engine::Engine;
use otrp_engine::intake::memory_for;
use otrp_engine::platform::{Platform, PortError, Ports, Rng};
use otrp_sim::{SimClock, SimKeys, SimRng, SimRsa, SimStore, World};
use otrp_tam::jose::{ContentEncryption, ContentKey, Jwe, KeyManagement};
use otrp_tam::request::{Application, Command, SdChanges, TaEncryption};
use serde_json::Value;

use crate::bench::{Device, Kind, base64, now, pki};
use crate::home::*;

/// How much is compared at once.
const BLOCK: usize = 1024;

/// A secret and its name.
type Needle = (&'static str, Vec<u8>);

thread_local! {
    static NEEDLES: RefCell<Vec<Needle>> = const { RefCell::new(Vec::new()) };
    static FREED_WITH: Cell<Option<&'static str>> = const { Cell::new(None) };
    static FREED: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, which looks at what is given back by threads that have needles.
struct Watchful;

// SAFETY: everything is the system allocator's; blocks are read before they are given back.
unsafe impl GlobalAlloc for Watchful {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let _ = NEEDLES.try_with(|needles| {
            let Ok(needles) = needles.try_borrow() else { return };
            if needles.is_empty() {
                return;
            }
            // SAFETY: the block is the caller's until it is given back, and was zeroed at first.
            let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
            FREED.set(FREED.get() + 1);
            if let Some(name) = find(bytes, &needles) {
                FREED_WITH.set(Some(name));
            }
        });
        // SAFETY: the caller's.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watchful = Watchful;

/// The first secret of which 16 bytes in a row are there.
fn find(bytes: &[u8], needles: &[Needle]) -> Option<&'static str> {
    // Most of it is zeros, which are no secret and are compared fast.
    let blocks = (0..bytes.len())
        .step_by(BLOCK)
        .map(|start| &bytes[start..bytes.len().min(start + BLOCK + 15)]);
    let mut blocks = blocks.filter(|block| **block != [0; BLOCK + 15][..block.len()]);
    blocks.find_map(|block| {
        needles.iter().find_map(|(name, secret)| {
            let is_piece = |window: &[u8]| secret.chunks_exact(16).any(|piece| piece == window);
            block.windows(16).any(is_piece).then_some(*name)
        })
    })
}

/// The memory of a value, whatever it is.
fn memory_of<T>(value: &T) -> Vec<u8> {
    let mut bytes = vec![0; size_of::<T>()];
    // SAFETY: as many bytes are read as there are; padding may hold anything, and is bytes too.
    unsafe {
        std::ptr::copy_nonoverlapping(
            std::ptr::from_ref(value).cast(),
            bytes.as_mut_ptr(),
            bytes.len(),
        );
    }
    bytes
}

/// A request whose keys are known, and all that it keeps secret.
struct Sealed {
    message: Vec<u8>,
    needles: Vec<Needle>,
}

fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    openssl::rand::rand_bytes(&mut bytes).unwrap();
    bytes
}

fn seal(plaintext: &[u8], key: &ContentKey, recipient: &PKeyRef<Public>) -> Jwe {
    Jwe::seal(plaintext, key, KeyManagement::EcdhEsA128Kw, recipient).unwrap()
}

/// A command at home under a content key and a data key of the test's choice.
fn sealed(command: Command<'static>, encryption: ContentEncryption, key: Vec<u8>) -> Sealed {
    let mut needles = vec![("the content key", key.clone())];
    let key = ContentKey::new(encryption, key).expect("a key of its length");
    let content = Rc::new(RefCell::new(Vec::new()));
    let into = content.clone();
    let builder = from_tam(command.clone()).content_encryption(encryption);
    let builder = builder.ta_encryption(TaEncryption::A256Gcm);
    let builder = builder.edit_content(move |members| {
        *into.borrow_mut() = serde_json::to_vec(members).unwrap();
    });
    let data_key = random(32);
    needles.push(("the data key", data_key.clone()));
    let mut plain = Vec::new();
    let mut names = [""; 3];
    if let Command::InstallTa(application) | Command::UpdateTa(application) = &command {
        names = [application.spid, application.domain, application.taid];
        for (member, iv, data) in
            [("data", "iv", application.image), ("pdata", "ivp", application.personalization)]
        {
            if let Some(data) = data {
                let name = if member == "data" { "the image" } else { "the data" };
                // Its end: an image begins with what is no secret.
                needles.push((name, data[data.len() - 64..].to_vec()));
                plain.push((member, iv, data.to_vec()));
            }
        }
    }
    let builder = builder.edit_tbs(move |tbs| {
        let tee = home().target.certificate.public_key().unwrap();
        let jwe = seal(&content.borrow(), &key, &tee);
        tbs.insert("content".into(), serde_json::to_value(jwe).unwrap());
        let Some(encrypted) = tbs.get_mut("encrypted_ta") else { return };
        let encrypted = encrypted.as_object_mut().unwrap();
        let aik = home().target.attestation_keys[0].public_key().unwrap();
        let around = ContentKey::random(ContentEncryption::A256Gcm).unwrap();
        let jwe = seal(&data_key, &around, &aik);
        encrypted.insert("key".into(), serde_json::to_value(jwe).unwrap());
        for (member, iv, data) in &plain {
            let role = if *member == "data" { "image" } else { "data" };
            let aad = [role, names[0], names[1], names[2]].join("\0");
            let iv = hex::decode(encrypted[*iv].as_str().unwrap()).unwrap();
            let mut tag = [0; 16];
            let ciphertext = encrypt_aead(
                Cipher::aes_256_gcm(),
                &data_key,
                Some(&iv),
                aad.as_bytes(),
                data,
                &mut tag,
            );
            let text = Value::from(base64(&[&ciphertext.unwrap()[..], &tag].concat()));
            let names = [format!("cipherta{member}"), format!("ciphernewta{member}")];
            let names = match *member {
                "data" => names,
                _ => ["cipherpdata".into(), "ciphernewpdata".into()],
            };
            let name = names.iter().find(|name| encrypted.contains_key(*name)).unwrap().clone();
            encrypted.insert(name, text);
        }
    });
    Sealed { message: builder.build().unwrap().message, needles }
}

/// A command at home with keys of its own.
fn sealed_at_random(command: Command<'static>, encryption: ContentEncryption) -> Sealed {
    let length = match encryption {
        ContentEncryption::A128Gcm => 16,
        ContentEncryption::A128CbcHs256 | ContentEncryption::A256Gcm => 32,
        ContentEncryption::A256CbcHs512 => 64,
    };
    sealed(command, encryption, random(length))
}

/// The private keys of a device.
fn private_keys<P: Platform>(device: &Device<P>) -> Vec<Needle> {
    let own = device.records(Kind::TeeKey).into_iter().map(|key| ("the TEE's key", key));
    let aiks = device.records(Kind::Aik).into_iter().map(|key| ("an attestation key", key));
    own.chain(aiks).collect()
}

/// Processes a request, and tells where a secret is left.
fn remains<P: Platform>(device: &mut Device<P>, sealed: Sealed, accepted: bool) -> Vec<String> {
    let Sealed { message, mut needles } = sealed;
    let _ = device.process(b"{}");
    // What the simulated store gives back of its own stands for its disk.
    NEEDLES.set(needles.clone());
    needles.extend(private_keys(device));
    FREED_WITH.set(None);
    FREED.set(0);
    let mut memory = vec![0; memory_for(message.len())];
    let reply = device
        .engine
        .process(&mut &message[..], &mut memory, &mut device.reply)
        .expect("an answer")
        .len();
    NEEDLES.set(Vec::new());
    assert!(FREED.get() > 0, "nothing was given back, so nothing was looked at");
    let text = String::from_utf8_lossy(&device.reply[..reply]);
    assert_eq!(device.world.snapshot() != home().snapshot, accepted, "{text}");
    needles.extend(private_keys(device));
    PLANTED.with_borrow(|planted| match planted {
        Some((Place::Memory, piece)) => memory[77..][..piece.len()].copy_from_slice(piece),
        Some((Place::Reply, piece)) => {
            device.reply[reply + 77..][..piece.len()].copy_from_slice(piece);
        }
        _ => {}
    });
    let mut remains = Vec::new();
    if memory.iter().any(|byte| *byte != 0) {
        remains.push("the memory".into());
    }
    let places =
        [("the reply's buffer", device.reply.clone()), ("the engine", memory_of(&*device.engine))];
    for (place, bytes) in &places {
        remains.extend(find(bytes, &needles).map(|name| format!("{name} in {place}")));
    }
    remains.extend(FREED_WITH.get().map(|name| format!("{name} on the heap")));
    remains
}

/// An image of a new application, signed, and data for it.
fn new_application() -> Application<'static> {
    let elf = otrp_check::fixture::application(FREE_UUID, &random(4000));
    let uuid = otrp_keys::Uuid(FREE_UUID);
    let image = otrp_keys::image::sign(&pki().sp_ec.key, None, uuid, 1, &elf).unwrap().leak();
    Application { personalization: Some(random(100).leak()), ..application("new", image) }
}

#[test]
fn no_secret_outlives_its_message() {
    let application = new_application();
    let install = Command::InstallTa(application.clone());
    let refused =
        Command::InstallTa(Application { domain: "absent", personalization: None, ..application });
    let renew = Command::UpdateSd {
        spid: SP,
        name: DOMAIN,
        changes: SdChanges { renew_attestation_key: true, ..SdChanges::default() },
    };
    let [first, others @ ..] = ContentEncryption::ALL;
    let mut rows = vec![
        ("a refused installation", refused, first, false),
        ("a new key", renew, first, true),
        ("a domain", Base::CreateSd.command(), first, true),
        ("an installation", install.clone(), first, true),
    ];
    rows.extend(others.map(|other| ("an installation", install.clone(), other, true)));
    for (what, command, encryption, accepted) in rows {
        let mut device = Device::from(&home().snapshot);
        let remains = remains(&mut device, sealed_at_random(command, encryption), accepted);
        assert!(remains.is_empty(), "{what} with {}: {remains:?}", encryption.name());
    }
}

/// Where a secret can be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Memory,
    Reply,
    Engine,
    Heap,
}

thread_local! {
    /// What is to be left where, by [`remains`] or by [`LeakyRng`].
    static PLANTED: RefCell<Option<(Place, Vec<u8>)>> = const { RefCell::new(None) };
}

/// Random numbers from a port that keeps a secret, or gives it back on the heap.
struct LeakyRng {
    numbers: SimRng,
    kept: [u8; 16],
}

impl Rng for LeakyRng {
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), PortError> {
        PLANTED.with_borrow(|planted| match planted {
            Some((Place::Engine, piece)) => self.kept.copy_from_slice(piece),
            Some((Place::Heap, piece)) => {
                drop(std::hint::black_box([&[1; 77], &piece[..]].concat()))
            }
            _ => {}
        });
        self.numbers.fill(buffer)
    }
}

/// The simulated machine with such a port in it.
struct LeakyPlatform;

impl Platform for LeakyPlatform {
    type Store = SimStore;
    type Keys = SimKeys;
    type Clock = SimClock;
    type Rng = LeakyRng;
    type Rsa = SimRsa;
}

fn leaky_device() -> Device<LeakyPlatform> {
    let world = World::new(now());
    world.restore(&home().snapshot);
    let boot = |world: &World| {
        let ports = Ports {
            store: SimStore::new(world.clone()),
            keys: SimKeys::new(world.clone()),
            clock: SimClock::new(world.clone()),
            rng: LeakyRng { numbers: SimRng::new(world.clone()), kept: [0; 16] },
        };
        Box::new(Engine::new(ports, pki().trust))
    };
    Device::on(world, Rc::new(boot))
}

/// The search itself: it finds 16 bytes of any secret at each place, and names both.
#[test]
fn a_secret_that_is_left_anywhere_is_found() {
    let install = Command::InstallTa(new_application());
    let sealed = || sealed_at_random(install.clone(), ContentEncryption::A128CbcHs256);
    assert_eq!(remains(&mut leaky_device(), sealed(), true), [""; 0]);

    let mut found = 0;
    for place in [Place::Memory, Place::Reply, Place::Engine, Place::Heap] {
        for index in 0.. {
            let (mut device, sealed) = (leaky_device(), sealed());
            let mut secrets = sealed.needles.clone();
            if place != Place::Heap {
                secrets.extend(private_keys(&device));
            }
            let Some((name, secret)) = secrets.get(index) else { break };
            let piece = secret.chunks_exact(16).next_back().expect("16 bytes").to_vec();
            PLANTED.set(Some((place, piece)));
            let remains = remains(&mut device, sealed, true);
            PLANTED.set(None);
            let expected = match place {
                Place::Memory => "the memory".into(),
                Place::Reply => format!("{name} in the reply's buffer"),
                Place::Engine => format!("{name} in the engine"),
                Place::Heap => format!("{name} on the heap"),
            };
            assert_eq!(remains, [expected], "{name} at {place:?}");
            found += 1;
        }
    }
    println!("{found} secrets were left, and found");
}
