//! The registry's record on disk.
//!
//! Version 3, stable: big-endian integers; a text is its length in one byte and its bytes; a list
//! is its length in two bytes and its elements; an optional value is a byte 0 or 1 and the value;
//! a key pair is an uncompressed point, which begins with 4, and its scalar, or a byte 1 and an RSA
//! modulus. A record is read completely or not at all: trailing bytes, a list that is too long and a
//! version that is not known are errors.
//!
//! Versions 1 and 2 were objects of secure storage, which this broker does not look for.

use otrp_wire::id::{SdName, SpId, TaId, TamId};
use otrp_wire::limits::{
    ANCHOR_LIMIT, AUTHORITY_LIMIT, NAME_LIMIT, SD_LIMIT, TA_LIMIT, TAM_ID_LIMIT, TAM_LIMIT,
    TEE_CHAIN_BYTES_LIMIT, UUID_LIMIT,
};

use super::state::{
    Aik, AnchorTime, Authority, Floor, Holder, RETIRED_KEY_LIMIT, Sd, State, Ta, Tam,
};
use crate::platform::{KeyName, KeyPair, Modulus, OwnPublicKey, Point, PrivateKey, StoredTa};
use crate::secret::Scalar;

/// The version of the format.
const VERSION: u8 = 3;

const TEXT: usize = 1 + NAME_LIMIT;
const LONGEST_TAM: usize = 4 + 1 + TAM_ID_LIMIT + 32 + 32 + 32 + 8 + 33;
const ANCHOR_TIME: usize = 32 + 8;
const AUTHORITY: usize = 32 + 8;
const LONGEST_SD: usize = 4 + 4 + TEXT + TEXT;
const LONGEST_KEY: usize = 1 + size_of::<Modulus>();
const _: () =
    assert!(LONGEST_KEY > size_of::<Point>() + size_of::<Scalar>(), "the longest key is another");
const LONGEST_AIK: usize = 4 + 4 + TEXT + LONGEST_KEY;
const LONGEST_TA: usize = 4 + TEXT + 16 + 4 + 4 + 32 + 32 + 1;
const LONGEST_FLOOR: usize = 16 + 4 + 16 + 16;
/// The most floors beside the most applications, each of which is longer than a floor.
const FLOORS_BESIDE_TAS: usize = UUID_LIMIT - TA_LIMIT;
const _: () = assert!(LONGEST_TA > LONGEST_FLOOR, "the longest record is another");

const FIXED: usize = 1 + 4 + 8 + 32 + 4;

/// The longest record in bytes.
pub const LONGEST_RECORD: usize = FIXED
    + LONGEST_KEY
    + (2 + TEE_CHAIN_BYTES_LIMIT)
    + (2 + ANCHOR_LIMIT * ANCHOR_TIME)
    + (2 + TAM_LIMIT * LONGEST_TAM)
    + (2 + AUTHORITY_LIMIT * AUTHORITY)
    + (2 + SD_LIMIT * LONGEST_SD)
    + (2 + SD_LIMIT * LONGEST_AIK)
    + (2 + TA_LIMIT * LONGEST_TA)
    + (2 + FLOORS_BESIDE_TAS * LONGEST_FLOOR)
    + (2 + RETIRED_KEY_LIMIT * 4);

/// The record is damaged, or does not fit its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

/// Writes the record to the start of `buffer`. It holds private keys: the caller wipes it.
pub(super) fn encode<'b>(state: &State, buffer: &'b mut [u8]) -> Result<&'b mut [u8], Damaged> {
    let mut out = Output { buffer, length: 0 };
    out.byte(VERSION)?;
    encode_key(&mut out, state.tee_key.as_ref().ok_or(Damaged)?)?;
    out.list(&state.tee_chain, |out, byte| out.byte(*byte))?;
    out.bytes(&state.next_number.to_be_bytes())?;
    encode_long(&mut out, state.next_generation)?;
    out.bytes(&state.secret)?;
    encode_number(&mut out, &state.floor_epoch)?;
    out.list(&state.times, encode_anchor_time)?;
    out.list(&state.tams, encode_tam)?;
    out.list(&state.authorities, encode_authority)?;
    out.list(&state.sds, encode_sd)?;
    out.list(&state.aiks, encode_aik)?;
    out.list(&state.tas, encode_ta)?;
    out.list(&state.floors, encode_floor)?;
    out.list(&state.retired_keys, encode_number)?;
    let Output { buffer, length } = out;
    buffer.get_mut(..length).ok_or(Damaged)
}

/// Reads a record into `state`, which must be clear. On an error `state` is a mixture.
pub(super) fn decode(record: &[u8], state: &mut State) -> Result<(), Damaged> {
    let mut input = Input { rest: record };
    if input.byte()? != VERSION {
        return Err(Damaged);
    }
    let (key, scalar) = decode_key(&mut input, KeyName::Tee)?;
    state.tee_key.insert(key).private.fill(scalar);
    input.list(&mut state.tee_chain, Input::byte)?;
    state.next_number = input.number()?;
    state.next_generation = input.long()?;
    state.secret = input.array()?;
    state.floor_epoch = input.number()?;
    input.list(&mut state.times, decode_anchor_time)?;
    input.list(&mut state.tams, decode_tam)?;
    input.list(&mut state.authorities, decode_authority)?;
    input.list(&mut state.sds, decode_sd)?;
    for _ in 0..input.count()? {
        let (aik, scalar) = decode_aik(&mut input)?;
        state.aiks.push(aik).map_err(|_| Damaged)?;
        state.aiks.last_mut().ok_or(Damaged)?.key.private.fill(scalar);
    }
    input.list(&mut state.tas, decode_ta)?;
    input.list(&mut state.floors, decode_floor)?;
    if state.tas.len().saturating_add(state.floors.len()) > UUID_LIMIT {
        return Err(Damaged);
    }
    input.list(&mut state.retired_keys, Input::number)?;
    if input.rest.is_empty() { Ok(()) } else { Err(Damaged) }
}

fn encode_number(out: &mut Output<'_>, number: &u32) -> Result<(), Damaged> {
    out.bytes(&number.to_be_bytes())
}

fn encode_long(out: &mut Output<'_>, number: u64) -> Result<(), Damaged> {
    out.bytes(&number.to_be_bytes())
}

fn encode_tam(out: &mut Output<'_>, tam: &Tam) -> Result<(), Damaged> {
    encode_number(out, &tam.number)?;
    out.text(tam.id.as_str())?;
    out.bytes(&tam.leaf)?;
    out.bytes(&tam.anchor)?;
    out.bytes(&tam.chain_digest)?;
    encode_long(out, tam.good_until)?;
    out.option(tam.dsi_hash.as_ref(), |out, hash| out.bytes(hash))
}

fn decode_tam(input: &mut Input<'_>) -> Result<Tam, Damaged> {
    let number = input.number()?;
    let name = input.text()?;
    let id = TamId::new(name).ok_or(Damaged)?;
    // There is one spelling of it.
    if id.as_str() != name {
        return Err(Damaged);
    }
    Ok(Tam {
        number,
        id,
        leaf: input.array()?,
        anchor: input.array()?,
        chain_digest: input.array()?,
        good_until: input.long()?,
        dsi_hash: input.option(Input::array)?,
    })
}

fn encode_anchor_time(out: &mut Output<'_>, known: &AnchorTime) -> Result<(), Damaged> {
    out.bytes(&known.anchor)?;
    encode_long(out, known.time)
}

fn decode_anchor_time(input: &mut Input<'_>) -> Result<AnchorTime, Damaged> {
    Ok(AnchorTime { anchor: input.array()?, time: input.long()? })
}

fn encode_authority(out: &mut Output<'_>, authority: &Authority) -> Result<(), Damaged> {
    out.bytes(&authority.fingerprint)?;
    encode_long(out, authority.good_until)
}

fn decode_authority(input: &mut Input<'_>) -> Result<Authority, Damaged> {
    Ok(Authority { fingerprint: input.array()?, good_until: input.long()? })
}

fn encode_sd(out: &mut Output<'_>, sd: &Sd) -> Result<(), Damaged> {
    encode_number(out, &sd.number)?;
    encode_number(out, &sd.tam)?;
    out.text(sd.sp.as_str())?;
    out.text(sd.name.as_str())
}

fn decode_sd(input: &mut Input<'_>) -> Result<Sd, Damaged> {
    Ok(Sd {
        number: input.number()?,
        tam: input.number()?,
        sp: SpId::new(input.text()?).ok_or(Damaged)?,
        name: SdName::new(input.text()?).ok_or(Damaged)?,
    })
}

fn encode_aik(out: &mut Output<'_>, aik: &Aik) -> Result<(), Damaged> {
    encode_number(out, &aik.number)?;
    encode_number(out, &aik.tam)?;
    out.text(aik.sp.as_str())?;
    encode_key(out, &aik.key)
}

/// An attestation key without its scalar, and that.
fn decode_aik<'r>(input: &mut Input<'r>) -> Result<(Aik, &'r [u8; 32]), Damaged> {
    let number = input.number()?;
    let (tam, sp) = (input.number()?, SpId::new(input.text()?).ok_or(Damaged)?);
    let (key, scalar) = decode_key(input, KeyName::Aik(number))?;
    Ok((Aik { number, tam, sp, key }, scalar))
}

/// The first octet of an uncompressed point.
const POINT: u8 = 4;
/// Stands before an RSA modulus, where a point would begin.
const RSA: u8 = 1;

fn encode_key(out: &mut Output<'_>, key: &KeyPair) -> Result<(), Damaged> {
    match (&key.public, &key.private) {
        (OwnPublicKey::P256(point @ [POINT, ..]), PrivateKey::P256(scalar)) => {
            out.bytes(point)?;
            out.bytes(scalar.bytes())
        }
        (OwnPublicKey::Rsa2048(modulus), PrivateKey::Rsa2048(_)) => {
            out.byte(RSA)?;
            out.bytes(modulus)
        }
        _ => Err(Damaged),
    }
}

/// A key pair without its scalar, and that; one that the TEE core keeps has this name there.
fn decode_key<'r>(
    input: &mut Input<'r>,
    name: KeyName,
) -> Result<(KeyPair, &'r [u8; 32]), Damaged> {
    match input.byte()? {
        POINT => {
            let mut point = [POINT; 65];
            let (_, coordinates) = point.split_at_mut(1);
            coordinates.copy_from_slice(input.bytes(coordinates.len())?);
            let private = PrivateKey::P256(Scalar::new(NO_SCALAR));
            let scalar = input.bytes(size_of::<Scalar>())?.try_into().map_err(|_| Damaged)?;
            Ok((KeyPair { public: OwnPublicKey::P256(point), private }, scalar))
        }
        RSA => {
            let public = OwnPublicKey::Rsa2048(input.array()?);
            Ok((KeyPair { public, private: PrivateKey::Rsa2048(name) }, &NO_SCALAR))
        }
        _ => Err(Damaged),
    }
}

/// Stands for a scalar until it is filled in.
const NO_SCALAR: [u8; 32] = [0; 32];

fn encode_ta(out: &mut Output<'_>, ta: &Ta) -> Result<(), Damaged> {
    encode_number(out, &ta.sd)?;
    out.text(ta.id.as_str())?;
    out.bytes(&ta.uuid)?;
    encode_number(out, &ta.stored.version)?;
    encode_number(out, &ta.stored.size)?;
    out.bytes(&ta.stored.digest)?;
    out.bytes(&ta.signer)?;
    out.byte(u8::from(ta.has_data))
}

fn decode_ta(input: &mut Input<'_>) -> Result<Ta, Damaged> {
    Ok(Ta {
        sd: input.number()?,
        id: TaId::new(input.text()?).ok_or(Damaged)?,
        uuid: input.array()?,
        stored: StoredTa {
            version: input.number()?,
            size: input.number()?,
            digest: input.array()?,
        },
        signer: input.array()?,
        has_data: input.flag()?,
    })
}

fn encode_floor(out: &mut Output<'_>, floor: &Floor) -> Result<(), Damaged> {
    out.bytes(&floor.uuid)?;
    encode_number(out, &floor.version)?;
    out.bytes(&floor.holder.tam)?;
    out.bytes(&floor.holder.sp)
}

fn decode_floor(input: &mut Input<'_>) -> Result<Floor, Damaged> {
    Ok(Floor {
        uuid: input.array()?,
        version: input.number()?,
        holder: Holder { tam: input.array()?, sp: input.array()? },
    })
}

struct Output<'b> {
    buffer: &'b mut [u8],
    length: usize,
}

impl Output<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), Damaged> {
        let end = self.length.checked_add(bytes.len()).ok_or(Damaged)?;
        self.buffer.get_mut(self.length..end).ok_or(Damaged)?.copy_from_slice(bytes);
        self.length = end;
        Ok(())
    }

    fn byte(&mut self, byte: u8) -> Result<(), Damaged> {
        self.bytes(&[byte])
    }

    fn text(&mut self, text: &str) -> Result<(), Damaged> {
        self.byte(text.len().try_into().map_err(|_| Damaged)?)?;
        self.bytes(text.as_bytes())
    }

    fn option<T>(
        &mut self,
        value: Option<&T>,
        encode: impl FnOnce(&mut Self, &T) -> Result<(), Damaged>,
    ) -> Result<(), Damaged> {
        let Some(value) = value else { return self.byte(0) };
        self.byte(1)?;
        encode(self, value)
    }

    fn list<T>(
        &mut self,
        list: &[T],
        encode: impl Fn(&mut Self, &T) -> Result<(), Damaged>,
    ) -> Result<(), Damaged> {
        let count: u16 = list.len().try_into().map_err(|_| Damaged)?;
        self.bytes(&count.to_be_bytes())?;
        list.iter().try_for_each(|element| encode(self, element))
    }
}

struct Input<'r> {
    rest: &'r [u8],
}

impl<'r> Input<'r> {
    fn bytes(&mut self, length: usize) -> Result<&'r [u8], Damaged> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Damaged)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        self.bytes(N)?.try_into().map_err(|_| Damaged)
    }

    fn byte(&mut self) -> Result<u8, Damaged> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u32, Damaged> {
        self.array().map(u32::from_be_bytes)
    }

    fn long(&mut self) -> Result<u64, Damaged> {
        self.array().map(u64::from_be_bytes)
    }

    fn flag(&mut self) -> Result<bool, Damaged> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Damaged),
        }
    }

    fn text(&mut self) -> Result<&'r str, Damaged> {
        let length = self.byte()?;
        core::str::from_utf8(self.bytes(length.into())?).map_err(|_| Damaged)
    }

    fn option<T>(
        &mut self,
        decode: impl FnOnce(&mut Self) -> Result<T, Damaged>,
    ) -> Result<Option<T>, Damaged> {
        if self.flag()? { decode(self).map(Some) } else { Ok(None) }
    }

    fn count(&mut self) -> Result<u16, Damaged> {
        self.array().map(u16::from_be_bytes)
    }

    fn list<T, const N: usize>(
        &mut self,
        list: &mut heapless::Vec<T, N>,
        mut decode: impl FnMut(&mut Self) -> Result<T, Damaged>,
    ) -> Result<(), Damaged> {
        for _ in 0..self.count()? {
            list.push(decode(self)?).map_err(|_| Damaged)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has found something"
)]
mod tests {
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
            ("0001", 1),             // version floors
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
            sd: 2,
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
            number: 1,
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
        state.sds.push(Sd { number: 2, tam: 1, sp: sp.clone(), name }).unwrap();
        state.aiks.push(Aik { number: 2, tam: 1, sp, key: pair(0x5f) }).unwrap();
        state.tas.push(ta(0xb1)).unwrap();
        let holder = Holder { tam: [0xd1; 16], sp: [0xd2; 16] };
        state.floors.push(Floor { uuid: [0xb4; 16], version: 7, holder }).unwrap();
        state.retired_keys.push(6).unwrap();
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
        let (pair, rsa) =
            ("04".repeat(65) + &"5f".repeat(32), String::from("01") + &"d1".repeat(256));
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
        let tam =
            Tam { id: TamId::new(&"x".repeat(TAM_ID_LIMIT)).unwrap(), ..state.tams[0].clone() };
        let name = SdName::new(&text).unwrap();
        let sd = Sd { sp: sp.clone(), name, ..state.sds[0].clone() };
        let ta = Ta { id: TaId::new(&text).unwrap(), ..ta(0xb1) };
        let floor = state.floors[0];
        state.clear();
        state.tee_key = Some(rsa(KeyName::Tee));
        while state.tee_chain.push(7).is_ok() {}
        while state.tams.push(tam.clone()).is_ok() {}
        while state.times.push(AnchorTime { anchor: [7; 32], time: 7 }).is_ok() {}
        let authority = Authority { fingerprint: [7; 32], good_until: 7 };
        while state.authorities.push(authority).is_ok() {}
        while state.sds.push(sd.clone()).is_ok() {}
        let aik = || Aik { number: 2, tam: 1, sp: sp.clone(), key: rsa(KeyName::Aik(2)) };
        while state.aiks.push(aik()).is_ok() {}
        while state.tas.push(ta.clone()).is_ok() {}
        for _ in 0..FLOORS_BESIDE_TAS {
            state.floors.push(floor).unwrap();
        }
        while state.retired_keys.push(7).is_ok() {}
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
            (FLOORS_BESIDE_TAS, LONGEST_FLOOR),
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
}
