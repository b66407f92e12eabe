//! A record written by hand, and each way in which one can be damaged.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has found something"
)]

use std::format;
use std::string::String;
use std::vec;
use std::vec::Vec;

use super::*;

/// A record of version 3, written by hand; it must stay readable for ever.
fn golden() -> Vec<u8> {
    let parts = [
        ("03", 1),               // version
        ("04", 65),              // the TEE's key: point
        ("5d", 32),              // scalar
        ("0003", 1),             // its certificates
        ("cc", 3),               //
        ("0000000a", 1),         // next number
        ("0000000000000102", 1), // next generation
        ("5e", 32),              // secret
        ("00000003", 1),         // epoch
        ("0001", 1),             // times
        ("a5", 32),              // anchor
        ("0000000065007000", 1), // time
        ("0001", 1),             // TAMs
        ("00000001", 1),         // number
        ("06753a2f74616d", 1),   // "u:/tam"
        ("a1", 32),              // leaf
        ("a5", 32),              // anchor
        ("a2", 32),              // chain
        ("0000000065008000", 1), // good until
        ("01", 1),               // with a device state
        ("a3", 32),              //
        ("0001", 1),             // authorities
        ("a4", 32),              // certificate
        ("0000000065009000", 1), // good until
        ("0001", 1),             // security domains
        ("0000000200000001", 1), // number, TAM
        ("027370", 1),           // "sp"
        ("027364", 1),           // "sd"
        ("0001", 1),             // attestation keys
        ("0000000200000001", 1), // number, TAM
        ("027370", 1),           // "sp"
        ("04", 65),              // point
        ("5f", 32),              // scalar
        ("0001", 1),             // trusted applications
        ("00000002", 1),         // security domain
        ("027461", 1),           // "ta"
        ("b1", 16),              // UUID
        ("0000000700001000", 1), // version, size
        ("c1", 32),              // ELF
        ("c2", 32),              // signer
        ("01", 1),               // with personalization data
        ("0001", 1),             // retired UUIDs
        ("b4", 16),              // UUID
        ("00000007", 1),         // version
        ("d1", 16),              // TAM
        ("d2", 16),              // service provider
        ("0001", 1),             // retired keys
        ("00000006", 1),         // number
    ];
    let record: String =
        parts.iter().map(|(hexadecimal, times)| hexadecimal.repeat(*times)).collect();
    hex::decode(record).unwrap()
}

fn pair(scalar: u8) -> KeyPair {
    let private = PrivateKey::P256(Scalar::new([scalar; 32]));
    KeyPair { public: OwnPublicKey::P256([4; 65]), private }
}

fn rsa(name: KeyName) -> KeyPair {
    KeyPair { public: OwnPublicKey::Rsa2048([0xd1; 256]), private: PrivateKey::Rsa2048(name) }
}

fn ta(uuid: u8) -> Ta {
    Ta {
        sd: SdNumber(2),
        id: TaId::new("ta").unwrap(),
        uuid: [uuid; 16],
        stored: StoredTa { version: 7, size: 0x1000, digest: [0xc1; 32] },
        signer: [0xc2; 32],
        has_data: true,
    }
}

fn golden_state() -> State {
    let sp = SpId::new("sp").unwrap();
    let mut state = State::new();
    state.tee_key = Some(pair(0x5d));
    state.tee_chain.extend_from_slice(&[0xcc; 3]).unwrap();
    state.next_number = 10;
    state.next_generation = 0x102;
    state.secret = [0x5e; 32];
    state.floor_epoch = 3;
    let time = AnchorTime { anchor: [0xa5; 32], time: 0x6500_7000 };
    state.times.push(time).unwrap();
    let tam = Tam {
        number: TamNumber(1),
        id: TamId::new("u:/tam").unwrap(),
        leaf: [0xa1; 32],
        anchor: [0xa5; 32],
        chain_digest: [0xa2; 32],
        good_until: 0x6500_8000,
        dsi_hash: Some([0xa3; 32]),
    };
    state.tams.push(tam).unwrap();
    let authority = Authority { fingerprint: [0xa4; 32], good_until: 0x6500_9000 };
    state.authorities.push(authority).unwrap();
    let name = SdName::new("sd").unwrap();
    state.sds.push(Sd { number: SdNumber(2), tam: TamNumber(1), sp: sp.clone(), name }).unwrap();
    state.aiks.push(Aik { number: KeyNumber(2), tam: TamNumber(1), sp, key: pair(0x5f) }).unwrap();
    state.tas.push(ta(0xb1)).unwrap();
    let holder = Holder { tam: [0xd1; 16], sp: [0xd2; 16] };
    state.retired_uuids.push(RetiredUuid { uuid: [0xb4; 16], version: 7, holder }).unwrap();
    state.retired_keys.push(KeyNumber(6)).unwrap();
    state
}

fn read(record: &[u8]) -> Result<State, Damaged> {
    let mut state = State::new();
    decode(record, &mut state)?;
    Ok(state)
}

/// What `Debug` does not show, the scalars, is seen where a state is written.
fn write(state: &State) -> Vec<u8> {
    let mut buffer = vec![0; LONGEST_RECORD];
    encode(state, &mut buffer).unwrap().to_vec()
}

#[test]
fn a_record_is_that_written_by_hand() {
    let state = golden_state();
    assert_eq!(hex::encode(write(&state)), hex::encode(golden()));
    let read_state = read(&golden()).unwrap();
    assert_eq!(format!("{read_state:?}"), format!("{state:?}"));
    assert_eq!(write(&read_state), golden());
}

#[test]
fn names_of_tams_have_one_spelling() {
    let record = hex::encode(golden()).replace("06753a2f74616d", "06553a2f74616d");
    assert!(read(&hex::decode(record).unwrap()).is_err());
}

#[test]
fn an_rsa_key_is_written_behind_a_one() {
    let mut state = golden_state();
    state.aiks[0].key = rsa(KeyName::Aik(2));
    let (pair, rsa) = ("04".repeat(65) + &"5f".repeat(32), String::from("01") + &"d1".repeat(256));
    assert_eq!(hex::encode(write(&state)), hex::encode(golden()).replace(&pair, &rsa));
    assert_eq!(format!("{:?}", read(&write(&state)).unwrap()), format!("{state:?}"));
}

#[test]
fn the_record_of_a_fresh_device_is_short() {
    let mut state = State::new();
    let mut buffer = [0; 256];
    assert_eq!(encode(&state, &mut buffer), Err(Damaged), "without a key there is no record");
    state.tee_key = Some(pair(0x5d));
    // The numbers begin at 1; there are no certificates, no secret, no epoch, eight empty lists.
    let expected = String::from("03")
        + &"04".repeat(65)
        + &"5d".repeat(32)
        + "0000"
        + "000000010000000000000001"
        + &"00".repeat(32 + 4 + 8 * 2);
    assert_eq!(hex::encode(write(&state)), expected);
}

#[test]
fn a_cut_or_longer_record_is_damaged() {
    let golden = golden();
    for length in 0..golden.len() {
        assert!(read(&golden[..length]).is_err(), "{length}");
    }
    for more in [&[0][..], &golden] {
        assert!(read(&[&golden, more].concat()).is_err());
    }
    let mut short = vec![0; golden.len() - 1];
    assert_eq!(encode(&golden_state(), &mut short), Err(Damaged));
}

#[test]
fn a_byte_changed_is_damage_or_another_record() {
    // Whatever is read can be written again, and is the same then.
    let golden = golden();
    for position in 0..golden.len() {
        for change in [1, 0x20, 0x80, 0xff] {
            let mut changed = golden.clone();
            changed[position] ^= change;
            if let Ok(state) = read(&changed) {
                assert_eq!(write(&state), changed);
            }
        }
    }
}

#[test]
fn each_defect_is_damage() {
    let position = |hexadecimal: &str| {
        let text = hex::encode(golden());
        text.find(hexadecimal).unwrap() / 2
    };
    let sp = position("027370");
    let rows = [
        ("version 0", 0, vec![0]),
        ("version 2", 0, vec![2]),
        ("version 4", 0, vec![4]),
        ("an option that is neither there nor absent", position(&"a3".repeat(32)) - 1, vec![2]),
        ("an empty name", sp, vec![0]),
        ("a name that is not UTF-8", sp, vec![2, 0xff, 0xfe]),
        ("a name with a quote", sp, vec![2, b'"', b'p']),
        ("a key of an unknown kind", position(&"04".repeat(65)), vec![2]),
        ("data neither there nor absent", position(&"c2".repeat(32)) + 32, vec![2]),
    ];
    for (what, position, bytes) in rows {
        let mut changed = golden();
        assert_ne!(changed[position..position + bytes.len()], bytes, "{what}");
        changed[position..position + bytes.len()].copy_from_slice(&bytes);
        assert!(read(&changed).is_err(), "{what}");
    }
}

/// A state with everything that there is room for, with the longest names.
fn largest() -> State {
    let mut state = golden_state();
    let text = "x".repeat(NAME_LIMIT);
    let sp = SpId::new(&text).unwrap();
    let tam = Tam { id: TamId::new(&"x".repeat(TAM_ID_LIMIT)).unwrap(), ..state.tams[0].clone() };
    let name = SdName::new(&text).unwrap();
    let sd = Sd { sp: sp.clone(), name, ..state.sds[0].clone() };
    let ta = Ta { id: TaId::new(&text).unwrap(), ..ta(0xb1) };
    let retired = state.retired_uuids[0];
    state.clear();
    state.tee_key = Some(rsa(KeyName::Tee));
    while state.tee_chain.push(7).is_ok() {}
    while state.tams.push(tam.clone()).is_ok() {}
    while state.times.push(AnchorTime { anchor: [7; 32], time: 7 }).is_ok() {}
    let authority = Authority { fingerprint: [7; 32], good_until: 7 };
    while state.authorities.push(authority).is_ok() {}
    while state.sds.push(sd.clone()).is_ok() {}
    let aik = || Aik {
        number: KeyNumber(2),
        tam: TamNumber(1),
        sp: sp.clone(),
        key: rsa(KeyName::Aik(2)),
    };
    while state.aiks.push(aik()).is_ok() {}
    while state.tas.push(ta.clone()).is_ok() {}
    for _ in 0..RETIRED_BESIDE_TAS {
        state.retired_uuids.push(retired).unwrap();
    }
    while state.retired_keys.push(KeyNumber(7)).is_ok() {}
    state
}

#[test]
fn the_longest_record_is_as_long_as_it_says() {
    let state = largest();
    let record = write(&state);
    assert_eq!(record.len(), LONGEST_RECORD);
    assert_eq!(format!("{:?}", read(&record).unwrap()), format!("{state:?}"));
}

#[test]
fn a_list_with_one_more_is_damage() {
    let key = 1 + 256;
    let between = 4 + 8 + 32 + 4;
    let lists = [
        (TEE_CHAIN_BYTES_LIMIT, 1),
        (ANCHOR_LIMIT, ANCHOR_TIME),
        (TAM_LIMIT, LONGEST_TAM),
        (AUTHORITY_LIMIT, AUTHORITY),
        (SD_LIMIT, LONGEST_SD),
        (SD_LIMIT, LONGEST_AIK),
        (TA_LIMIT, LONGEST_TA),
        (RETIRED_BESIDE_TAS, LONGEST_RETIRED_UUID),
        (RETIRED_KEY_LIMIT, 4),
    ];
    let buffer = write(&largest());
    let mut start = 1 + key;
    for (limit, length) in lists {
        let first = start + 2;
        let count = u16::from_be_bytes([buffer[start], buffer[start + 1]]);
        assert_eq!(usize::from(count), limit);
        let mut longer = buffer.clone();
        longer[start..first].copy_from_slice(&(count + 1).to_be_bytes());
        let element = buffer[first..first + length].to_vec();
        longer.splice(first..first, element);
        assert!(read(&longer).is_err(), "{limit}");
        start = first + limit * length;
        if limit == TEE_CHAIN_BYTES_LIMIT {
            start += between;
        }
    }
}
