//! The registry's record on disk.
//!
//! Version 1, stable: big-endian integers; a text is its length in one byte and its bytes; a list
//! is its length in two bytes and its elements; an optional value is a byte 0 or 1 and the value.
//! A record is read completely or not at all: trailing bytes, a list that is too long and a
//! version that is not known are errors.

use otrp_wire::id::{SdName, SpId, TaId, TamId};
use otrp_wire::limits::{
    NAME_LIMIT, SD_LIMIT, TA_LIMIT, TAM_ID_LIMIT, TAM_LIMIT, VERSION_FLOOR_LIMIT,
};

use super::state::{Aik, Floor, Intent, Sd, State, TRASH_LIMIT, Ta, Tam, Trash};
use crate::platform::{Kind, Name, StoredTa};

/// The version of the format.
const VERSION: u8 = 1;

const TEXT: usize = 1 + NAME_LIMIT;
const LONGEST_TAM: usize = 4 + 4 + 1 + TAM_ID_LIMIT + 32 + 32 + 33;
const LONGEST_SD: usize = 4 + 4 + TEXT + TEXT + 4;
const LONGEST_AIK: usize = 4 + 4 + TEXT + 65;
const LONGEST_TA: usize = 4 + TEXT + 16 + 4 + 4 + 32 + 32 + 5;
const LONGEST_TRASH: usize = 1 + 16;

/// The longest record in bytes.
pub const LONGEST_RECORD: usize = 1
    + 4
    + 8
    + 8
    + (2 + TAM_LIMIT * LONGEST_TAM)
    + (2 + SD_LIMIT * LONGEST_SD)
    + (2 + SD_LIMIT * LONGEST_AIK)
    + (2 + TA_LIMIT * LONGEST_TA)
    + (2 + VERSION_FLOOR_LIMIT * 20)
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
    out.bytes(&state.next_generation.to_be_bytes())?;
    out.bytes(&state.time_floor.to_be_bytes())?;
    out.list(&state.tams, encode_tam)?;
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
    if input.byte()? != VERSION {
        return Err(Damaged);
    }
    state.next_number = input.number()?;
    state.next_generation = u64::from_be_bytes(input.array()?);
    state.time_floor = u64::from_be_bytes(input.array()?);
    input.list(&mut state.tams, decode_tam)?;
    input.list(&mut state.sds, decode_sd)?;
    input.list(&mut state.aiks, decode_aik)?;
    input.list(&mut state.tas, decode_ta)?;
    input.list(&mut state.floors, decode_floor)?;
    input.list(&mut state.trash, decode_trash)?;
    let intent = input.option(|input| {
        let ta = decode_ta(input)?;
        let certificates = input.option(Input::number)?;
        Ok(Intent { ta, certificates, numbered: input.flag()? })
    })?;
    if input.rest.is_empty() { Ok(intent) } else { Err(Damaged) }
}

fn encode_number(out: &mut Output<'_>, number: &u32) -> Result<(), Damaged> {
    out.bytes(&number.to_be_bytes())
}

fn encode_tam(out: &mut Output<'_>, tam: &Tam) -> Result<(), Damaged> {
    encode_number(out, &tam.number)?;
    encode_number(out, &tam.chain)?;
    out.text(tam.id.as_str())?;
    out.bytes(&tam.leaf)?;
    out.bytes(&tam.chain_digest)?;
    out.option(tam.dsi_hash.as_ref(), |out, hash| out.bytes(hash))
}

fn decode_tam(input: &mut Input<'_>) -> Result<Tam, Damaged> {
    Ok(Tam {
        number: input.number()?,
        chain: input.number()?,
        id: TamId::new(input.text()?).ok_or(Damaged)?,
        leaf: input.array()?,
        chain_digest: input.array()?,
        dsi_hash: input.option(Input::array)?,
    })
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
    out.bytes(&aik.public)
}

fn decode_aik(input: &mut Input<'_>) -> Result<Aik, Damaged> {
    Ok(Aik {
        number: input.number()?,
        tam: input.number()?,
        sp: SpId::new(input.text()?).ok_or(Damaged)?,
        public: input.array()?,
    })
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
    encode_number(out, &floor.version)
}

fn decode_floor(input: &mut Input<'_>) -> Result<Floor, Damaged> {
    Ok(Floor { uuid: input.array()?, version: input.number()? })
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
        Kind::TeeKey | Kind::Aik => Trash::Key(name),
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
        decode: impl Fn(&mut Self) -> Result<T, Damaged>,
    ) -> Result<(), Damaged> {
        let count = u16::from_be_bytes(self.array()?);
        for _ in 0..count {
            list.push(decode(self)?).map_err(|_| Damaged)?;
        }
        Ok(())
    }
}
