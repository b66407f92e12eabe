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

use super::number::{KeyNumber, SdNumber, TamNumber};
use super::state::{Aik, AnchorTime, Holder, RETIRED_KEY_LIMIT, RetiredUuid, Sd, State, Ta, Tam};
use crate::platform::{KeyName, KeyPair, Modulus, OwnPublicKey, Point, PrivateKey, StoredTa};
use crate::revocation::Authority;
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
const LONGEST_RETIRED_UUID: usize = 16 + 4 + 16 + 16;
/// The most retired UUIDs in addition to the most applications, each of which is longer than one.
const RETIRED_BESIDE_TAS: usize = UUID_LIMIT - TA_LIMIT;
const _: () = assert!(LONGEST_TA > LONGEST_RETIRED_UUID, "the longest record is another");

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
    + (2 + RETIRED_BESIDE_TAS * LONGEST_RETIRED_UUID)
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
    encode_number(&mut out, state.next_number)?;
    encode_long(&mut out, state.next_generation)?;
    out.bytes(&state.secret)?;
    encode_number(&mut out, state.floor_epoch)?;
    out.list(&state.times, encode_anchor_time)?;
    out.list(&state.tams, encode_tam)?;
    out.list(&state.authorities, encode_authority)?;
    out.list(&state.sds, encode_sd)?;
    out.list(&state.aiks, encode_aik)?;
    out.list(&state.tas, encode_ta)?;
    out.list(&state.retired_uuids, encode_retired_uuid)?;
    out.list(&state.retired_keys, |out, number| encode_number(out, number.0))?;
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
    input.list(&mut state.retired_uuids, decode_retired_uuid)?;
    if state.tas.len().saturating_add(state.retired_uuids.len()) > UUID_LIMIT {
        return Err(Damaged);
    }
    input.list(&mut state.retired_keys, |input| input.number().map(KeyNumber))?;
    if input.rest.is_empty() { Ok(()) } else { Err(Damaged) }
}

fn encode_number(out: &mut Output<'_>, number: u32) -> Result<(), Damaged> {
    out.bytes(&number.to_be_bytes())
}

fn encode_long(out: &mut Output<'_>, number: u64) -> Result<(), Damaged> {
    out.bytes(&number.to_be_bytes())
}

fn encode_tam(out: &mut Output<'_>, tam: &Tam) -> Result<(), Damaged> {
    encode_number(out, tam.number.0)?;
    out.text(tam.id.as_str())?;
    out.bytes(&tam.leaf)?;
    out.bytes(&tam.anchor)?;
    out.bytes(&tam.chain_digest)?;
    encode_long(out, tam.good_until)?;
    out.option(tam.dsi_hash.as_ref(), |out, hash| out.bytes(hash))
}

fn decode_tam(input: &mut Input<'_>) -> Result<Tam, Damaged> {
    let number = TamNumber(input.number()?);
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
    encode_number(out, sd.number.0)?;
    encode_number(out, sd.tam.0)?;
    out.text(sd.sp.as_str())?;
    out.text(sd.name.as_str())
}

fn decode_sd(input: &mut Input<'_>) -> Result<Sd, Damaged> {
    Ok(Sd {
        number: SdNumber(input.number()?),
        tam: TamNumber(input.number()?),
        sp: SpId::new(input.text()?).ok_or(Damaged)?,
        name: SdName::new(input.text()?).ok_or(Damaged)?,
    })
}

fn encode_aik(out: &mut Output<'_>, aik: &Aik) -> Result<(), Damaged> {
    encode_number(out, aik.number.0)?;
    encode_number(out, aik.tam.0)?;
    out.text(aik.sp.as_str())?;
    encode_key(out, &aik.key)
}

/// An attestation key without its scalar, and that.
fn decode_aik<'r>(input: &mut Input<'r>) -> Result<(Aik, &'r [u8; 32]), Damaged> {
    let number = KeyNumber(input.number()?);
    let (tam, sp) = (TamNumber(input.number()?), SpId::new(input.text()?).ok_or(Damaged)?);
    let (key, scalar) = decode_key(input, number.name())?;
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
    encode_number(out, ta.sd.0)?;
    out.text(ta.id.as_str())?;
    out.bytes(&ta.uuid)?;
    encode_number(out, ta.stored.version)?;
    encode_number(out, ta.stored.size)?;
    out.bytes(&ta.stored.digest)?;
    out.bytes(&ta.signer)?;
    out.byte(u8::from(ta.has_data))
}

fn decode_ta(input: &mut Input<'_>) -> Result<Ta, Damaged> {
    Ok(Ta {
        sd: SdNumber(input.number()?),
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

fn encode_retired_uuid(out: &mut Output<'_>, retired: &RetiredUuid) -> Result<(), Damaged> {
    out.bytes(&retired.uuid)?;
    encode_number(out, retired.version)?;
    out.bytes(&retired.holder.tam)?;
    out.bytes(&retired.holder.sp)
}

fn decode_retired_uuid(input: &mut Input<'_>) -> Result<RetiredUuid, Damaged> {
    Ok(RetiredUuid {
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
mod tests;
