//! Whether OP-TEE's loader finds in an ELF what it begins with.
//!
//! It takes position-independent ELFs for its processor, finds `struct ta_head` by the dynamic symbol
//! of that name, else at address 0, and starts at the ELF's entry (`ldelf/ta_elf.c`). A shared library
//! has no head; applications name it by its UUID, which its own name has to be.

use crate::platform::UuidBytes;

const ET_DYN: u16 = 3;
const EM_ARM: u16 = 40;
const EM_AARCH64: u16 = 183;
const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PF_X: u32 = 1;
const SHT_DYNSYM: u32 = 11;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_SONAME: u64 = 14;
/// The loader looks for program headers in the first page alone.
const PAGE: usize = 4096;
/// `sizeof(struct ta_head)`.
const HEAD_LENGTH: usize = 32;
/// In `depr_entry`: the entry is the ELF's. Applications from before 2019 have theirs here.
const NO_ENTRY: [u8; 8] = [0xff; 8];
/// Where the hyphens are in the text of a UUID, and its length.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];
const TEXT_LENGTH: usize = 36;

/// Whether it is an application or a library of this UUID. 64-bit ELFs are for a TEE of 64 bits only.
pub(crate) fn is_loadable(bytes: &[u8], uuid: &UuidBytes, elf64: bool) -> bool {
    Elf::parse(bytes, elf64).is_some_and(|elf| {
        elf.is_application(uuid).unwrap_or(false) || elf.is_library(uuid).unwrap_or(false)
    })
}

/// The libraries that the loader maps with it, by their UUIDs; `None` for a name that is no UUID, which
/// the loader knows no library of.
pub(crate) fn libraries(bytes: &[u8]) -> impl Iterator<Item = Option<UuidBytes>> {
    Elf::parse(bytes, true).into_iter().flat_map(|elf| {
        let strings = elf.dynamic(DT_STRTAB).last();
        elf.dynamic(DT_NEEDED).map(move |name| elf.uuid_text(strings?.checked_add(name)?))
    })
}

/// An ELF for this processor whose segments lie in the file.
#[derive(Clone, Copy)]
struct Elf<'a> {
    bytes: &'a [u8],
    /// 64 bits, else 32.
    wide: bool,
    /// Where the program headers start, and their number.
    segments: (usize, usize),
}

struct Segment<'a> {
    kind: u32,
    flags: u32,
    address: u64,
    memory: u64,
    file: &'a [u8],
}

impl<'a> Elf<'a> {
    fn parse(bytes: &'a [u8], elf64: bool) -> Option<Self> {
        // Class, little-endian, version, system; Arm's own number stands for the same system.
        let wide = match bytes.first_chunk()? {
            b"\x7fELF\x02\x01\x01\x00" if elf64 => true,
            b"\x7fELF\x01\x01\x01\x00" | b"\x7fELF\x01\x01\x01\x61" => false,
            _ => return None,
        };
        let mut elf = Self { bytes, wide, segments: (0, 0) };
        let machine = elf.pick(EM_ARM, EM_AARCH64);
        let start = elf.long(elf.pick(28, 32))?;
        let sizes: usize = elf.pick(42, 54);
        let number = usize::from(elf.half(sizes.checked_add(2)?)?);
        elf.segments = (usize::try_from(start).ok()?, number);
        let end = elf.segments.0.checked_add(number.checked_mul(elf.pick(32, 56))?)?;
        let fits = elf.half(16)? == ET_DYN
            && elf.half(18)? == machine
            && elf.half(sizes)? == elf.pick(32, 56)
            && elf.half(sizes.checked_add(4)?)? == elf.pick(40, 64)
            && end <= PAGE;
        let mut next = None;
        for number in 0..number {
            let segment = elf.segment(number)?;
            if segment.kind == PT_LOAD {
                // In order, from address 0.
                let in_order = next.map_or(segment.address == 0, |next| segment.address >= next);
                let length = u64::try_from(segment.file.len()).ok()?;
                if !in_order || length > segment.memory {
                    return None;
                }
                next = Some(segment.address.checked_add(segment.memory)?);
            }
        }
        fits.then_some(elf)
    }

    /// Whether its head is one of this UUID, and its entry is in code.
    fn is_application(&self, uuid: &UuidBytes) -> Option<bool> {
        let head = self.at(self.head_symbol().unwrap_or(0), HEAD_LENGTH)?;
        // `TEE_UUID` has three numbers of the machine's order in front.
        let [a, b, c, d, e, f, g, h, rest @ ..] = *uuid;
        let named = head.starts_with(&[d, c, b, a, f, e, h, g]) && head.get(8..16)? == rest;
        let stack = head.get(16..20)? != [0; 4];
        let entry = self.long(24)?;
        let starts = !head.ends_with(&NO_ENTRY)
            || self
                .loaded()
                .any(|segment| segment.flags & PF_X != 0 && segment.at(entry, 1).is_some());
        Some(named && stack && starts)
    }

    /// Whether its name is this UUID in text.
    fn is_library(&self, uuid: &UuidBytes) -> Option<bool> {
        let strings = self.dynamic(DT_STRTAB).last()?;
        let name = self.dynamic(DT_SONAME).last()?;
        Some(self.uuid_text(strings.checked_add(name)?)? == *uuid)
    }

    /// The values in its dynamic section under this tag.
    fn dynamic(&self, tag: u64) -> impl Iterator<Item = u64> + use<'a> {
        let elf = *self;
        let table = elf.segments().find(|segment| segment.kind == PT_DYNAMIC);
        let size: usize = elf.pick(8, 16);
        let entries = table.map_or(&[][..], |table| table.file).chunks_exact(size);
        entries.filter_map(move |entry| {
            let (found, value) = entry.split_at_checked(size.div_euclid(2))?;
            if elf.number(found)? == tag { elf.number(value) } else { None }
        })
    }

    /// The UUID whose text is loaded at this address, with a zero behind it.
    fn uuid_text(&self, address: u64) -> Option<UuidBytes> {
        let (text, end) = self.at(address, TEXT_LENGTH.checked_add(1)?)?.split_last_chunk::<1>()?;
        let hyphens_fit = HYPHENS.iter().all(|position| text.get(*position) == Some(&b'-'));
        let mut digits = text
            .iter()
            .enumerate()
            .filter(|(position, _)| !HYPHENS.contains(position))
            .map(|(_, character)| char::from(*character).to_digit(16));
        let mut uuid = UuidBytes::default();
        for octet in &mut uuid {
            let (high, low) = (digits.next()??, digits.next()??);
            *octet = u8::try_from(high << 4 | low).ok()?;
        }
        (hyphens_fit && *end == [0]).then_some(uuid)
    }

    /// The address of the dynamic symbol `ta_head`. The loader reads that table by its section.
    fn head_symbol(&self) -> Option<u64> {
        let start = self.long(self.pick(32, 40))?;
        let number = self.half(self.pick(48, 60))?;
        let section = |number: u64| {
            let size: u64 = self.pick(40, 64);
            let start = usize::try_from(start.checked_add(number.checked_mul(size)?)?).ok()?;
            self.bytes.get(start..)?.get(..self.pick(40, 64))
        };
        let contents = |header: &[u8]| {
            let address = self.field(header, 12, 16)?;
            self.at(address, usize::try_from(self.field(header, 20, 32)?).ok()?)
        };
        let table = (0..u64::from(number))
            .filter_map(section)
            .find(|header| word(header, 4) == Some(SHT_DYNSYM))?;
        let strings = contents(section(word(table, self.pick(24, 40))?.into())?)?;
        let symbol = contents(table)?.chunks_exact(self.pick(16, 24)).find(|symbol| {
            let name = word(symbol, 0).and_then(|at| strings.get(usize::try_from(at).ok()?..));
            let defined = symbol.get(self.pick(14..16, 6..8)) != Some(&[0, 0]);
            defined && name.is_some_and(|name| name.starts_with(b"ta_head\0"))
        })?;
        self.field(symbol, 4, 8)
    }

    /// The octets of the file that are loaded at this address.
    fn at(&self, address: u64, length: usize) -> Option<&'a [u8]> {
        self.loaded().find_map(|segment| segment.at(address, length))
    }

    fn loaded(&self) -> impl Iterator<Item = Segment<'a>> {
        self.segments().filter(|segment| segment.kind == PT_LOAD)
    }

    fn segments(&self) -> impl Iterator<Item = Segment<'a>> {
        (0..self.segments.1).filter_map(|number| self.segment(number))
    }

    fn segment(&self, number: usize) -> Option<Segment<'a>> {
        let size = self.pick(32, 56);
        let start = self.segments.0.checked_add(number.checked_mul(size)?)?;
        let header = self.bytes.get(start..)?.get(..size)?;
        let offset = usize::try_from(self.field(header, 4, 8)?).ok()?;
        let length = usize::try_from(self.field(header, 16, 32)?).ok()?;
        Some(Segment {
            kind: word(header, 0)?,
            flags: word(header, self.pick(24, 4))?,
            address: self.field(header, 8, 16)?,
            memory: self.field(header, 20, 40)?,
            // What has nothing in the file may be said to be anywhere in it.
            file: if length == 0 { &[] } else { self.bytes.get(offset..)?.get(..length)? },
        })
    }

    /// What differs between 32 and 64 bits.
    fn pick<T>(&self, narrow: T, wide: T) -> T {
        if self.wide { wide } else { narrow }
    }

    /// An address or a size in a header, by where it is in the two classes.
    fn field(&self, header: &[u8], narrow: usize, wide: usize) -> Option<u64> {
        self.number(header.get(self.pick(narrow, wide)..)?)
    }

    fn long(&self, at: usize) -> Option<u64> {
        self.number(self.bytes.get(at..)?)
    }

    fn number(&self, bytes: &[u8]) -> Option<u64> {
        match self.wide {
            true => bytes.first_chunk().copied().map(u64::from_le_bytes),
            false => word(bytes, 0).map(u64::from),
        }
    }

    fn half(&self, at: usize) -> Option<u16> {
        self.bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
    }
}

impl<'a> Segment<'a> {
    fn at(&self, address: u64, length: usize) -> Option<&'a [u8]> {
        let offset = usize::try_from(address.checked_sub(self.address)?).ok()?;
        self.file.get(offset..)?.get(..length)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}
