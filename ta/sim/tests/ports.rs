//! The simulated ports keep the contracts that the real ones keep.

use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::ecdsa::EcdsaSig;
use openssl::nid::Nid;
use otrp_engine::platform::{Blob, KeyType, Point, Store as _};
use otrp_port_tests::{Report, STORE_ROOM};
use otrp_sim::{SimClock, SimKeys, SimRng, SimRsa, SimStore, World};

/// A UUID of the TEE's own.
const RESERVED: [u8; 16] = [7; 16];

/// OpenSSL's judgement of a signature.
fn verify(point: &Point, digest: &[u8; 32], signature: &[u8; 64]) -> bool {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let point = EcPoint::from_bytes(&group, point, &mut BigNumContext::new().unwrap()).unwrap();
    let key = EcKey::from_public_key(&group, &point).unwrap();
    let (r, s) = signature.split_at(32);
    let number = |octets| BigNum::from_slice(octets).unwrap();
    EcdsaSig::from_private_components(number(r), number(s)).unwrap().verify(digest, &key).unwrap()
}

fn conforms(test: impl FnOnce(World, &mut Report<'_>)) {
    let mut text = String::new();
    let mut report = Report::new(&mut text);
    test(World::new(1_800_000_000), &mut report);
    let (passed, failed) = report.counts();
    assert!(passed > 5 && failed == 0, "{passed} held, {failed} did not:\n{text}");
}

#[test]
fn store() {
    conforms(|world, report| {
        world.reserved.borrow_mut().push(RESERVED);
        let [mut store, mut other] = [world.clone(), world].map(SimStore::new);
        let mut room = vec![0; STORE_ROOM];
        otrp_port_tests::store(&mut store, &mut other, &[RESERVED], &mut room, report);
    });
}

/// A device in use has its record, and what is stored beside the tests', as before.
#[test]
fn store_in_use() {
    conforms(|world, report| {
        let mut store = SimStore::new(world.clone());
        assert_eq!(store.load(&mut []), Ok(None));
        store.put(Blob::TamChain(7), b"certificates").unwrap();
        store.commit(&[0x5a; 50_000], &[]).unwrap();
        let before = world.snapshot();
        let mut other = SimStore::new(world.clone());
        let mut room = vec![0; STORE_ROOM];
        otrp_port_tests::store(&mut store, &mut other, &[], &mut room, report);
        assert_eq!(world.snapshot(), before);
    });
}

#[test]
fn elliptic_keys() {
    conforms(|world, report| {
        otrp_port_tests::keys::<_, SimRsa>(&mut SimKeys::new(world), verify, report);
    });
}

#[test]
fn rsa_keys() {
    conforms(|world, report| {
        world.key_type.set(KeyType::Rsa2048);
        otrp_port_tests::keys::<_, SimRsa>(&mut SimKeys::new(world), verify, report);
    });
}

#[test]
fn rsa_on_public_keys() {
    conforms(|_, report| otrp_port_tests::rsa::<SimRsa>(report));
}

#[test]
fn clock_and_random_bytes() {
    conforms(|world, report| {
        otrp_port_tests::clock(&mut SimClock::new(world.clone()), report);
        otrp_port_tests::rng(&mut SimRng::new(world), report);
    });
}
