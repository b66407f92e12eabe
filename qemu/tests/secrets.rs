//! What is left in the broker's memory after an installation, in real OP-TEE.
//!
//! The lab's core gives out all memory that the broker can write to: its data, its heap, its stack.
//! Needs the images; run by `make test`, and alone by `make test-device`.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Public};
use openssl::symm::{Cipher, encrypt_aead};
use otrp_check::fixture;
use otrp_keys::{Uuid, file, image};
use otrp_qemu::harness::cache;
use otrp_qemu::harness::device::Device;
use otrp_qemu::harness::guest::Guest;
use otrp_qemu::harness::image::Image;
use otrp_qemu::harness::machine::Machine;
use otrp_qemu::scenario::operator::{Operator, carry, provision};
use otrp_tam::jose::{ContentEncryption, ContentKey, FlattenedJwe, Jwe, KeyManagements};
use otrp_tam::request::{Application, Builder, Command, Target};
use otrp_wire::command::BROKER_TEXT;
use serde_json::json;

const SP: &str = "com.example";
const SD: &str = "com.example.domain";
const TA: &str = "com.example.secret";
const UUID: &str = "11111111-2222-3333-4444-aaaaaaaaaaaa";

fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    openssl::rand::rand_bytes(&mut bytes).unwrap();
    bytes
}

/// All memory that the broker can write to.
fn dump(guest: &mut Guest) -> Vec<u8> {
    let memory =
        guest.run(&format!("otrp-lab dump {BROKER_TEXT}")).unwrap().success().unwrap().stdout;
    assert!(memory.len() > 160 << 10, "less than the broker's heap: {} bytes", memory.len());
    memory
}

/// Where the pattern is first.
fn find(memory: &[u8], pattern: &[u8]) -> Option<usize> {
    memory.windows(pattern.len()).position(|window| window == pattern)
}

/// The secrets that are there, each with the place where it is first.
fn left<'n>(memory: &[u8], secrets: &[(&'n str, &[u8])]) -> Vec<(&'n str, usize)> {
    let found = secrets.iter().map(|(what, secret)| Some((*what, find(memory, secret)?)));
    found.flatten().collect()
}

/// Where 32 bytes, in either order, are first the private key of one of `points` on P-256.
fn find_private_key(memory: &[u8], points: &HashSet<Vec<u8>>) -> Option<usize> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let mut context = BigNumContext::new().unwrap();
    let mut seen = HashSet::new();
    for (offset, window) in memory.windows(32).enumerate() {
        // A random scalar has fewer than 20 different bytes once in 10^9 times.
        let different = window.iter().fold([0_u64; 4], |mut set, byte| {
            set[usize::from(byte >> 6)] |= 1 << (byte & 63);
            set
        });
        if different.iter().map(|set| set.count_ones()).sum::<u32>() < 20 || !seen.insert(window) {
            continue;
        }
        let reversed: Vec<u8> = window.iter().rev().copied().collect();
        for scalar in [window, &reversed] {
            let scalar = BigNum::from_slice(scalar).unwrap();
            let mut point = EcPoint::new(&group).unwrap();
            point.mul_generator2(&group, &scalar, &mut context).unwrap();
            let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
            if point.affine_coordinates(&group, &mut x, &mut y, &mut context).is_ok()
                && points.contains(&x.to_vec_padded(32).unwrap())
            {
                return Some(offset);
            }
        }
    }
    None
}

/// The x coordinate of a key on P-256.
fn x_coordinate(key: &PKey<Public>) -> Vec<u8> {
    let key = key.ec_key().unwrap();
    let (mut x, mut y) = (BigNum::new().unwrap(), BigNum::new().unwrap());
    let mut context = BigNumContext::new().unwrap();
    key.public_key().affine_coordinates(key.group(), &mut x, &mut y, &mut context).unwrap();
    x.to_vec_padded(32).unwrap()
}

/// The search itself: it finds each secret at an odd place, and none where none is.
#[test]
fn secrets_in_memory_are_found() {
    let [one, other] = [random(16), random(64)];
    let secrets = [("one", &one[..]), ("the other", &other[..])];
    let mut memory = random(100_000);
    assert_eq!(left(&memory, &secrets), []);
    memory[77_777..][..16].copy_from_slice(&one);
    assert_eq!(left(&memory, &secrets), [("one", 77_777)]);
    memory[99_936..].copy_from_slice(&other);
    assert_eq!(left(&memory, &secrets), [("one", 77_777), ("the other", 99_936)]);
    memory[77_793] ^= 1;
    memory[99_936] ^= 1;
    assert_eq!(left(&memory, &secrets), [("one", 77_777)]);
}

/// The search itself: it finds a key at an odd place, in either order, and none where none is.
#[test]
fn a_private_key_in_memory_is_found() {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = EcKey::generate(&group).unwrap();
    let public = EcKey::from_public_key(&group, key.public_key()).unwrap();
    let points = HashSet::from([x_coordinate(&PKey::from_ec_key(public).unwrap())]);
    let scalar = key.private_key().to_vec_padded(32).unwrap();
    let mut memory = [vec![0; 77], random(100)].concat();
    assert_eq!(find_private_key(&memory, &points), None);
    memory[101..133].copy_from_slice(&scalar);
    assert_eq!(find_private_key(&memory, &points), Some(101));
    memory[101..133].reverse();
    assert_eq!(find_private_key(&memory, &points), Some(101));
}

#[test]
#[ignore = "needs the images: make test-device"]
fn an_installation_leaves_no_secret_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let device = Device::open_or_create(folder.path()).unwrap();
    let image = Image::open(cache().join("image/lab")).unwrap();
    let mut guest = Machine::new(device, image).boot().unwrap();
    let keys = cache().join("keys/dev");
    provision(&mut guest, &keys).unwrap();
    let tam = Operator::read(&keys, "tam").unwrap();
    let certificate = std::fs::read(keys.join("sp-ec.der")).unwrap();
    let create = Command::CreateSd { spid: SP, name: SD, certificate: &certificate };
    tam.carry_out(&mut guest, create).unwrap();
    let state = tam.state(&mut guest).unwrap();
    let target = Target::from(&state);

    // An InstallTA of which every key is known here: of the content, of the image's key, of the image.
    let signer = file::read_key(&keys.join("sp-ec.key.pem")).unwrap();
    let uuid: Uuid = UUID.parse().unwrap();
    let elf = fixture::application(uuid.0, &random(300_000 - fixture::SMALLEST));
    let personalization = random(500);
    let image = image::sign(&signer, None, uuid, 1, &elf).unwrap();
    let application = Application {
        spid: SP,
        domain: SD,
        taid: TA,
        certificate: None,
        image: Some(&image),
        personalization: Some(&personalization),
    };
    let encryption = ContentEncryption::A128CbcHs256;
    let (content_key, wrapping_key, image_key) = (random(32), random(32), random(32));
    let seal = |plaintext: &[u8], key: &[u8], recipient: &PKey<Public>| {
        let key = ContentKey::new(encryption, key.to_vec()).unwrap();
        let management = KeyManagements::default().for_key(recipient).unwrap();
        Jwe::seal(plaintext, &key, management, recipient).unwrap()
    };
    let attestation_key = state.dsi.tee.teeaiklist[0].public_key().unwrap();
    let tee_key = target.certificate.public_key().unwrap();
    let content =
        json!({ "tamid": tam.identity.tam_id(), "spid": SP, "sdname": SD, "taid": TA }).to_string();
    let content = seal(content.as_bytes(), &content_key, &tee_key);
    let wrapped = FlattenedJwe::from(seal(&image_key, &wrapping_key, &attestation_key));
    let gcm = |role: &str, plaintext: &[u8], iv: &[u8]| {
        let aad = [role, SP, SD, TA].join("\0");
        let mut tag = [0; 16];
        let cipher = Cipher::aes_256_gcm();
        let mut text =
            encrypt_aead(cipher, &image_key, Some(iv), aad.as_bytes(), plaintext, &mut tag)
                .unwrap();
        text.extend(tag);
        STANDARD.encode(text)
    };
    let ivs = [random(12), random(12)];
    let encrypted = json!({
        "key": wrapped,
        "alg": "A256GCM",
        "iv": hex::encode_upper(&ivs[0]),
        "ciphertadata": gcm("image", &image, &ivs[0]),
        "ivp": hex::encode_upper(&ivs[1]),
        "cipherpdata": gcm("data", &personalization, &ivs[1]),
    });
    let request = Builder::command(&tam.identity, &target, Command::InstallTa(application))
        .edit_tbs(|tbs| {
            tbs.insert("content".into(), serde_json::to_value(&content).unwrap());
            tbs.insert("encrypted_ta".into(), encrypted);
        })
        .build()
        .unwrap();
    carry(&mut guest, &request.message).unwrap();
    let memory = dump(&mut guest);

    // It was installed, so all of these were there.
    let secrets = [
        ("the beginning of the image", &elf[..64]),
        ("the middle of the image", &elf[150_000..150_064]),
        ("the end of the image", &elf[299_936..]),
        ("personalization data", &personalization[..64]),
        ("the end of personalization data", &personalization[436..]),
        ("the content's MAC key", &content_key[..16]),
        ("the content's key", &content_key[16..]),
        ("the MAC key of the image's key", &wrapping_key[..16]),
        ("the key of the image's key", &wrapping_key[16..]),
        ("a half of the image's key", &image_key[..16]),
        ("the other half of the image's key", &image_key[16..]),
        ("the middle of the message", &request.message[200_000..200_064]),
    ];
    let left = left(&memory, &secrets);
    assert!(left.is_empty(), "in the broker's {} bytes, with offsets: {left:?}", memory.len());
    for (whose, key) in [("the provider's", &attestation_key), ("the TEE's", &tee_key)] {
        let found = find_private_key(&memory, &HashSet::from([x_coordinate(key)]));
        assert_eq!(found, None, "{whose} private key is in the broker's memory");
    }

    // What is no secret is there: the registry's entry of the application.
    assert!(find(&memory, TA.as_bytes()).is_some(), "the memory is not the broker's");
    let state = tam.state(&mut guest).unwrap();
    assert_eq!(state.dsi.tee.sdlist.sd[0].talist[0].taid, TA);
    guest.power_off().unwrap();
}
