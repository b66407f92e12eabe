//! The registry's record on disk.
//!
//! Version 2, stable: big-endian integers; a text is its length in one byte and its bytes; a list
//! is its length in two bytes and its elements; an optional value is a byte 0 or 1 and the value;
//! a public key is an uncompressed point, which begins with 4, or a byte 1 and an RSA modulus.
//! A record is read completely or not at all: trailing bytes, a list that is too long and a
//! version that is not known are errors.
//!
//! Version 1 is read too. It has neither secret, epoch, times nor the anchors of TAMs, and names
//! of TAMs in the case of their certificates.

use otrp_wire::id::{SdName, SpId, TaId, TamId};
use otrp_wire::limits::{
    ANCHOR_LIMIT, AUTHORITY_LIMIT, NAME_LIMIT, SD_LIMIT, TA_LIMIT, TAM_ID_LIMIT, TAM_LIMIT,
    UUID_LIMIT,
};

use super::state::{
    Aik, AnchorTime, Authority, Floor, Holder, Intent, NameHash, Sd, State, TRASH_LIMIT, Ta, Tam,
    Trash, name_hash,
};
use crate::platform::{Kind, Modulus, Name, OwnPublicKey, StoredTa};

/// The version of the format.
const VERSION: u8 = 2;

const TEXT: usize = 1 + NAME_LIMIT;
const LONGEST_TAM: usize = 4 + 4 + 1 + TAM_ID_LIMIT + 32 + 32 + 32 + 8 + 33;
const ANCHOR_TIME: usize = 32 + 8;
const AUTHORITY: usize = 32 + 8;
const LONGEST_SD: usize = 4 + 4 + TEXT + TEXT + 4;
const LONGEST_AIK: usize = 4 + 4 + TEXT + 1 + size_of::<Modulus>();
const LONGEST_TA: usize = 4 + TEXT + 16 + 4 + 4 + 32 + 32 + 5;
const LONGEST_FLOOR: usize = 16 + 4 + 16 + 16;
const LONGEST_TRASH: usize = 1 + 16;
/// The most floors beside the most applications, each of which is longer than a floor.
const FLOORS_BESIDE_TAS: usize = UUID_LIMIT - TA_LIMIT;
const _: () = assert!(LONGEST_TA > LONGEST_FLOOR, "the longest record is another");

const FIXED: usize = 1 + 4 + 8 + 8 + 32 + 4;

/// The longest record in bytes.
pub const LONGEST_RECORD: usize = FIXED
    + (2 + ANCHOR_LIMIT * ANCHOR_TIME)
    + (2 + TAM_LIMIT * LONGEST_TAM)
    + (2 + AUTHORITY_LIMIT * AUTHORITY)
    + (2 + SD_LIMIT * LONGEST_SD)
    + (2 + SD_LIMIT * LONGEST_AIK)
    + (2 + TA_LIMIT * LONGEST_TA)
    + (2 + FLOORS_BESIDE_TAS * LONGEST_FLOOR)
    + (2 + TRASH_LIMIT * LONGEST_TRASH)
    + (1 + LONGEST_TA + 5 + 1);

/// The record is damaged, or does not fit its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

/// Writes the record to the start of `buffer`.
pub(super) fn encode<'b>(
    state: &State,
    intent: Option<&Intent>,
    buffer: &'b mut [u8],
) -> Result<&'b [u8], Damaged> {
    let mut out = Output { buffer, length: 0 };
    out.byte(VERSION)?;
    out.bytes(&state.next_number.to_be_bytes())?;
    encode_long(&mut out, state.next_generation)?;
    encode_long(&mut out, state.time_floor)?;
    out.bytes(&state.secret)?;
    encode_number(&mut out, &state.floor_epoch)?;
    out.list(&state.times, encode_anchor_time)?;
    out.list(&state.tams, encode_tam)?;
    out.list(&state.authorities, encode_authority)?;
    out.list(&state.sds, encode_sd)?;
    out.list(&state.aiks, encode_aik)?;
    out.list(&state.tas, encode_ta)?;
    out.list(&state.floors, encode_floor)?;
    out.list(&state.trash, encode_trash)?;
    out.option(intent, |out, intent| {
        encode_ta(out, &intent.ta)?;
        out.option(intent.certificates.as_ref(), encode_number)?;
        out.byte(u8::from(intent.numbered))
    })?;
    let Output { buffer, length } = out;
    buffer.get(..length).ok_or(Damaged)
}

/// Reads a record into `state`, which must be clear. On an error `state` is a mixture.
pub(super) fn decode(record: &[u8], state: &mut State) -> Result<Option<Intent>, Damaged> {
    let mut input = Input { rest: record };
    let is_current = match input.byte()? {
        VERSION => true,
        1 => false,
        _ => return Err(Damaged),
    };
    state.next_number = input.number()?;
    state.next_generation = input.long()?;
    state.time_floor = input.long()?;
    if is_current {
        state.secret = input.array()?;
        state.floor_epoch = input.number()?;
        input.list(&mut state.times, decode_anchor_time)?;
    }
    let mut renamed = heapless::Vec::<_, TAM_LIMIT>::new();
    input.list(&mut state.tams, |input| {
        let (tam, name) = decode_tam(input, is_current)?;
        if name != tam.id.as_str() {
            let names = (name_hash(name), name_hash(tam.id.as_str()));
            renamed.push(names).map_err(|_| Damaged)?;
        }
        Ok(tam)
    })?;
    if is_current && !renamed.is_empty() {
        return Err(Damaged);
    }
    input.list(&mut state.authorities, decode_authority)?;
    input.list(&mut state.sds, decode_sd)?;
    input.list(&mut state.aiks, decode_aik)?;
    input.list(&mut state.tas, decode_ta)?;
    input.list(&mut state.floors, |input| {
        let mut floor = decode_floor(input)?;
        floor.holder.tam = current_name(&renamed, floor.holder.tam);
        Ok(floor)
    })?;
    if state.tas.len().saturating_add(state.floors.len()) > UUID_LIMIT {
        return Err(Damaged);
    }
    input.list(&mut state.trash, decode_trash)?;
    let intent = input.option(|input| {
        let ta = decode_ta(input)?;
        let certificates = input.option(Input::number)?;
        Ok(Intent { ta, certificates, numbered: input.flag()? })
    })?;
    if input.rest.is_empty() { Ok(intent) } else { Err(Damaged) }
}

/// The hash of a TAM's name in the spelling that it is compared in.
fn current_name(renamed: &[(NameHash, NameHash)], name: NameHash) -> NameHash {
    renamed.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| *new)
}

fn encode_number(out: &mut Output<'_>, number: &u32) -> Result<(), Damaged> {
    out.bytes(&number.to_be_bytes())
}

fn encode_long(out: &mut Output<'_>, number: u64) -> Result<(), Damaged> {
    out.bytes(&number.to_be_bytes())
}

fn encode_tam(out: &mut Output<'_>, tam: &Tam) -> Result<(), Damaged> {
    encode_number(out, &tam.number)?;
    encode_number(out, &tam.chain)?;
    out.text(tam.id.as_str())?;
    out.bytes(&tam.leaf)?;
    out.bytes(&tam.anchor)?;
    out.bytes(&tam.chain_digest)?;
    encode_long(out, tam.good_until)?;
    out.option(tam.dsi_hash.as_ref(), |out, hash| out.bytes(hash))
}

/// A TAM, and its name as it stands in the record.
fn decode_tam<'r>(input: &mut Input<'r>, is_current: bool) -> Result<(Tam, &'r str), Damaged> {
    let (number, chain) = (input.number()?, input.number()?);
    let name = input.text()?;
    let tam = Tam {
        number,
        chain,
        id: TamId::new(name).ok_or(Damaged)?,
        leaf: input.array()?,
        anchor: if is_current { input.array()? } else { [0; 32] },
        chain_digest: input.array()?,
        good_until: input.long()?,
        dsi_hash: input.option(Input::array)?,
    };
    Ok((tam, name))
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
    out.text(sd.name.as_str())?;
    encode_number(out, &sd.certificates)
}

fn decode_sd(input: &mut Input<'_>) -> Result<Sd, Damaged> {
    Ok(Sd {
        number: input.number()?,
        tam: input.number()?,
        sp: SpId::new(input.text()?).ok_or(Damaged)?,
        name: SdName::new(input.text()?).ok_or(Damaged)?,
        certificates: input.number()?,
    })
}

fn encode_aik(out: &mut Output<'_>, aik: &Aik) -> Result<(), Damaged> {
    encode_number(out, &aik.number)?;
    encode_number(out, &aik.tam)?;
    out.text(aik.sp.as_str())?;
    encode_public(out, &aik.public)
}

fn decode_aik(input: &mut Input<'_>) -> Result<Aik, Damaged> {
    Ok(Aik {
        number: input.number()?,
        tam: input.number()?,
        sp: SpId::new(input.text()?).ok_or(Damaged)?,
        public: decode_public(input)?,
    })
}

/// The first octet of an uncompressed point.
const POINT: u8 = 4;
/// Stands before an RSA modulus, where a point would begin.
const RSA: u8 = 1;

fn encode_public(out: &mut Output<'_>, key: &OwnPublicKey) -> Result<(), Damaged> {
    match key {
        OwnPublicKey::P256(point @ [POINT, ..]) => out.bytes(point),
        OwnPublicKey::P256(_) => Err(Damaged),
        OwnPublicKey::Rsa2048(modulus) => {
            out.byte(RSA)?;
            out.bytes(modulus)
        }
    }
}

fn decode_public(input: &mut Input<'_>) -> Result<OwnPublicKey, Damaged> {
    match input.byte()? {
        POINT => {
            let mut point = [POINT; 65];
            let (_, coordinates) = point.split_at_mut(1);
            coordinates.copy_from_slice(input.bytes(coordinates.len())?);
            Ok(OwnPublicKey::P256(point))
        }
        RSA => Ok(OwnPublicKey::Rsa2048(input.array()?)),
        _ => Err(Damaged),
    }
}

fn encode_ta(out: &mut Output<'_>, ta: &Ta) -> Result<(), Damaged> {
    encode_number(out, &ta.sd)?;
    out.text(ta.id.as_str())?;
    out.bytes(&ta.uuid)?;
    encode_number(out, &ta.stored.version)?;
    encode_number(out, &ta.stored.size)?;
    out.bytes(&ta.stored.digest)?;
    out.bytes(&ta.signer)?;
    out.option(ta.personalization.as_ref(), encode_number)
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
        personalization: input.option(Input::number)?,
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

fn encode_trash(out: &mut Output<'_>, trash: &Trash) -> Result<(), Damaged> {
    match trash {
        Trash::Record(name) | Trash::Key(name) => {
            out.byte(name.kind.letter())?;
            encode_number(out, &name.number)
        }
        Trash::Ta(uuid) => {
            out.byte(TA_LETTER)?;
            out.bytes(uuid)
        }
    }
}

/// Stands for a trusted application among the letters of the kinds.
const TA_LETTER: u8 = b'u';

fn decode_trash(input: &mut Input<'_>) -> Result<Trash, Damaged> {
    let letter = input.byte()?;
    if letter == TA_LETTER {
        return Ok(Trash::Ta(input.array()?));
    }
    let kind = Kind::ALL.into_iter().find(|kind| kind.letter() == letter).ok_or(Damaged)?;
    let name = Name { kind, number: input.number()? };
    Ok(match kind {
        Kind::TeeKey | Kind::Aik | Kind::SpareKey => Trash::Key(name),
        _ => Trash::Record(name),
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

    fn list<T, const N: usize>(
        &mut self,
        list: &mut heapless::Vec<T, N>,
        mut decode: impl FnMut(&mut Self) -> Result<T, Damaged>,
    ) -> Result<(), Damaged> {
        let count = u16::from_be_bytes(self.array()?);
        for _ in 0..count {
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

    /// A record of version 1, written by hand; it must stay readable for ever.
    fn golden_of_version_1(name: &str, holder: &str) -> Vec<u8> {
        let times = [("01", 1), ("0000000a", 1), ("0000000000000102", 1), ("0000000065000000", 1)];
        written(&times, name, &[], holder)
    }

    /// A record of version 2, written by hand; it must stay readable for ever.
    fn golden() -> Vec<u8> {
        let times = [
            ("02", 1),               // version
            ("0000000a", 1),         // next number
            ("0000000000000102", 1), // next generation
            ("0000000065000000", 1), // time under every anchor
            ("5e", 32),              // secret
            ("00000003", 1),         // epoch
            ("0001", 1),             // times
            ("a5", 32),              // anchor
            ("0000000065007000", 1), // time
        ];
        written(&times, "06753a2f74616d", &[("a5", 32)], &"d1".repeat(16))
    }

    /// A record whose beginning, TAM's name and anchor, and holder of a UUID are these.
    fn written(
        times: &[(&str, usize)],
        name: &str,
        anchor: &[(&str, usize)],
        holder: &str,
    ) -> Vec<u8> {
        let tam = [
            ("0001", 1),             // TAMs
            ("0000000100000009", 1), // number, chain
            (name, 1),               // "u:/tam"
            ("a1", 32),              // leaf
        ];
        let rest = [
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
            ("00000003", 1),         // certificates
            ("0001", 1),             // attestation keys
            ("0000000200000001", 1), // number, TAM
            ("027370", 1),           // "sp"
            ("04", 65),              // point
            ("0001", 1),             // trusted applications
            ("00000002", 1),         // security domain
            ("027461", 1),           // "ta"
            ("b1", 16),              // UUID
            ("0000000700001000", 1), // version, size
            ("c1", 32),              // ELF
            ("c2", 32),              // signer
            ("0100000004", 1),       // personalization
            ("0001", 1),             // version floors
            ("b4", 16),              // UUID
            ("00000007", 1),         // version
            (holder, 1),             // TAM
            ("d2", 16),              // service provider
            ("0003", 1),             // trash
            ("7000000005", 1),       // "p", number
            ("6100000006", 1),       // "a", number
            ("75", 1),               // "u"
            ("b2", 16),              // UUID
            ("01", 1),               // an intent
            ("00000002027461", 1),   // security domain, "ta"
            ("b3", 16),              // UUID
            ("0000000100000002", 1), // version, size
            ("c3", 64),              // ELF, signer
        ];
        let mut record = String::new();
        for (hexadecimal, times) in times.iter().chain(&tam).chain(anchor).chain(&rest) {
            record.push_str(&hexadecimal.repeat(*times));
        }
        record.push_str("00"); // no personalization
        record.push_str("0100000008"); // certificates
        record.push_str("01"); // numbered
        hex::decode(record).unwrap()
    }

    fn ta(uuid: u8) -> Ta {
        Ta {
            sd: 2,
            id: TaId::new("ta").unwrap(),
            uuid: [uuid; 16],
            stored: StoredTa { version: 7, size: 0x1000, digest: [0xc1; 32] },
            signer: [0xc2; 32],
            personalization: Some(4),
        }
    }

    fn golden_state() -> (State, Intent) {
        let sp = SpId::new("sp").unwrap();
        let mut state = State::new();
        state.next_number = 10;
        state.next_generation = 0x102;
        state.time_floor = 0x6500_0000;
        state.secret = [0x5e; 32];
        state.floor_epoch = 3;
        let time = AnchorTime { anchor: [0xa5; 32], time: 0x6500_7000 };
        state.times.push(time).unwrap();
        let tam = Tam {
            number: 1,
            chain: 9,
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
        let sd = Sd { number: 2, tam: 1, sp: sp.clone(), name, certificates: 3 };
        state.sds.push(sd).unwrap();
        let public = OwnPublicKey::P256([4; 65]);
        state.aiks.push(Aik { number: 2, tam: 1, sp, public }).unwrap();
        state.tas.push(ta(0xb1)).unwrap();
        let holder = Holder { tam: [0xd1; 16], sp: [0xd2; 16] };
        state.floors.push(Floor { uuid: [0xb4; 16], version: 7, holder }).unwrap();
        for trash in [
            Trash::Record(Name { kind: Kind::Personalization, number: 5 }),
            Trash::Key(Name { kind: Kind::Aik, number: 6 }),
            Trash::Ta([0xb2; 16]),
        ] {
            state.trash.push(trash).unwrap();
        }
        let stored = StoredTa { version: 1, size: 2, digest: [0xc3; 32] };
        let ta = Ta { stored, signer: [0xc3; 32], personalization: None, ..ta(0xb3) };
        (state, Intent { ta, certificates: Some(8), numbered: true })
    }

    fn read(record: &[u8]) -> Result<(State, Option<Intent>), Damaged> {
        let mut state = State::new();
        let intent = decode(record, &mut state)?;
        Ok((state, intent))
    }

    #[test]
    fn a_record_is_that_written_by_hand() {
        let (state, intent) = golden_state();
        let mut buffer = [0; 1024];
        let record = encode(&state, Some(&intent), &mut buffer).unwrap();
        assert_eq!(hex::encode(record), hex::encode(golden()));
        let (read_state, read_intent) = read(&golden()).unwrap();
        assert_eq!(read_intent, Some(intent));
        assert_eq!(format!("{read_state:?}"), format!("{state:?}"));
    }

    #[test]
    fn a_record_of_version_1_is_read() {
        let (mut expected, intent) = golden_state();
        expected.secret = [0; 32];
        expected.floor_epoch = 0;
        expected.times.clear();
        expected.tams[0].anchor = [0; 32];
        let record = golden_of_version_1("06753a2f74616d", &"d1".repeat(16));
        let (state, read_intent) = read(&record).unwrap();
        assert_eq!(read_intent, Some(intent));
        assert_eq!(format!("{state:?}"), format!("{expected:?}"));
        for length in 0..record.len() {
            assert!(read(&record[..length]).is_err(), "{length}");
        }
        // Names come in the case of their certificates, and UUIDs are held by them: "U://Tam", and
        // the first halves of what sha256sum makes of it and of "u://tam".
        let [mixed, lower] =
            ["8c882fa47e3433d26a66899f8f1e161f", "a6e41d420a680a9701a5117c363d87e6"];
        let (state, _) = read(&golden_of_version_1("07553a2f2f54616d", mixed)).unwrap();
        assert_eq!(state.tams[0].id.as_str(), "u://tam");
        assert_eq!(hex::encode(state.floors[0].holder.tam), lower);
        // A record of version 2 has none but the one spelling.
        let record = hex::encode(golden()).replace("06753a2f74616d", "06553a2f74616d");
        assert!(read(&hex::decode(record).unwrap()).is_err());
    }

    #[test]
    fn an_rsa_key_is_written_behind_a_one() {
        let (mut state, intent) = golden_state();
        state.aiks[0].public = OwnPublicKey::Rsa2048([0xd1; 256]);
        let mut buffer = [0; 1024];
        let record = encode(&state, Some(&intent), &mut buffer).unwrap();
        let (point, rsa) = ("04".repeat(65), String::from("01") + &"d1".repeat(256));
        assert_eq!(hex::encode(record), hex::encode(golden()).replace(&point, &rsa));
        assert_eq!(format!("{:?}", read(record).unwrap().0), format!("{state:?}"));
    }

    #[test]
    fn the_record_of_a_fresh_device_is_short() {
        let mut buffer = [0; 128];
        let record = encode(&State::new(), None, &mut buffer).unwrap();
        // The numbers begin at 1; then no time, no secret, no epoch, eight empty lists and no intent.
        let zeros = "00".repeat(8 + 32 + 4 + 8 * 2 + 1);
        let expected = String::from("02000000010000000000000001") + &zeros;
        assert_eq!(hex::encode(record), expected);
        assert_eq!(read(record).unwrap().1, None);
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
        let (state, intent) = golden_state();
        let mut short = vec![0; golden.len() - 1];
        assert_eq!(encode(&state, Some(&intent), &mut short), Err(Damaged));
    }

    #[test]
    fn a_byte_changed_is_damage_or_another_record() {
        // Whatever is read can be written again, and is the same then.
        let golden = golden();
        let mut buffer = vec![0; golden.len()];
        for position in 0..golden.len() {
            for change in [1, 0x20, 0x80, 0xff] {
                let mut changed = golden.clone();
                changed[position] ^= change;
                if let Ok((state, intent)) = read(&changed) {
                    assert_eq!(encode(&state, intent.as_ref(), &mut buffer).unwrap(), changed);
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
            ("version 3", 0, vec![3]),
            ("an option that is neither there nor absent", position(&"a3".repeat(32)) - 1, vec![2]),
            ("an empty name", sp, vec![0]),
            ("a name that is not UTF-8", sp, vec![2, 0xff, 0xfe]),
            ("a name with a quote", sp, vec![2, b'"', b'p']),
            ("a key of an unknown kind", position(&"04".repeat(65)), vec![2]),
            ("trash of an unknown kind", position("7000000005"), vec![b'x']),
        ];
        for (what, position, bytes) in rows {
            let mut changed = golden();
            assert_ne!(changed[position..position + bytes.len()], bytes, "{what}");
            changed[position..position + bytes.len()].copy_from_slice(&bytes);
            assert!(read(&changed).is_err(), "{what}");
        }
    }

    /// A state with everything that there is room for, with the longest names.
    fn largest() -> (State, Intent) {
        let (mut state, mut intent) = golden_state();
        let text = "x".repeat(NAME_LIMIT);
        let sp = SpId::new(&text).unwrap();
        let tam =
            Tam { id: TamId::new(&"x".repeat(TAM_ID_LIMIT)).unwrap(), ..state.tams[0].clone() };
        let name = SdName::new(&text).unwrap();
        let sd = Sd { sp: sp.clone(), name, ..state.sds[0].clone() };
        let public = OwnPublicKey::Rsa2048([0xd1; 256]);
        let aik = Aik { sp, public, ..state.aiks[0].clone() };
        let ta = Ta { id: TaId::new(&text).unwrap(), ..ta(0xb1) };
        let floor = state.floors[0];
        state.clear();
        while state.tams.push(tam.clone()).is_ok() {}
        while state.times.push(AnchorTime { anchor: [7; 32], time: 7 }).is_ok() {}
        let authority = Authority { fingerprint: [7; 32], good_until: 7 };
        while state.authorities.push(authority).is_ok() {}
        while state.sds.push(sd.clone()).is_ok() {}
        while state.aiks.push(aik.clone()).is_ok() {}
        while state.tas.push(ta.clone()).is_ok() {}
        for _ in 0..FLOORS_BESIDE_TAS {
            state.floors.push(floor).unwrap();
        }
        while state.trash.push(Trash::Ta([7; 16])).is_ok() {}
        intent.ta = ta;
        (state, intent)
    }

    #[test]
    fn the_longest_record_is_as_long_as_it_says() {
        let (state, intent) = largest();
        let mut buffer = vec![0; LONGEST_RECORD];
        let length = encode(&state, Some(&intent), &mut buffer).unwrap().len();
        assert_eq!(length, LONGEST_RECORD);
        let (read_state, read_intent) = read(&buffer).unwrap();
        assert_eq!(read_intent, Some(intent));
        assert_eq!(format!("{read_state:?}"), format!("{state:?}"));
    }

    #[test]
    fn a_list_with_one_more_is_damage() {
        let fixed = 1 + 4 + 8 + 8 + 32 + 4;
        let lists = [
            (ANCHOR_LIMIT, ANCHOR_TIME),
            (TAM_LIMIT, LONGEST_TAM),
            (AUTHORITY_LIMIT, AUTHORITY),
            (SD_LIMIT, LONGEST_SD),
            (SD_LIMIT, LONGEST_AIK),
            (TA_LIMIT, LONGEST_TA),
            (FLOORS_BESIDE_TAS, LONGEST_FLOOR),
            (TRASH_LIMIT, LONGEST_TRASH),
        ];
        let (state, intent) = largest();
        let mut buffer = vec![0; LONGEST_RECORD];
        encode(&state, Some(&intent), &mut buffer).unwrap();
        let mut start = fixed;
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
        }
    }

    #[test]
    fn a_uuid_that_is_installed_again_leaves_the_trash() {
        let mut state = State::new();
        state.trash.push(Trash::Ta([0xb1; 16])).unwrap();
        state.trash.push(Trash::Ta([0xb2; 16])).unwrap();
        let intent = Intent { ta: ta(0xb1), certificates: None, numbered: false };
        state.install(intent).unwrap();
        assert_eq!(state.trash(), [Trash::Ta([0xb2; 16])]);
    }
}
