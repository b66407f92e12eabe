//! Whether OP-TEE's loader finds in an ELF what it begins with.
//!
//! It takes position-independent ELFs for its processor, finds `struct ta_head` by the dynamic symbol
//! of that name, else at address 0, and starts at the ELF's entry (`ldelf/ta_elf.c`). A shared library
//! has no head; applications name it by its UUID, which its own name has to be.

use otrp_wire::copy::copy;

use crate::platform::UuidBytes;

/// Most libraries that an application may need.
pub const LIBRARY_LIMIT: usize = 16;

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
const PAGE: u64 = 4096;
/// `sizeof(struct ta_head)`.
const HEAD_LENGTH: usize = 32;
/// In `depr_entry`: the entry is the ELF's. Applications from before 2019 have theirs here.
const NO_ENTRY: [u8; 8] = [0xff; 8];
/// Where the hyphens are in the text of a UUID, and its length.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];
const TEXT_LENGTH: usize = 36;

/// The octets of a file, by their place.
pub trait ReadAt {
    /// Why they are not available.
    type Error;

    /// Octets in the file.
    fn length(&self) -> u64;

    /// Copies the octets from `at` on to all of `buffer`; they are all in the file.
    ///
    /// # Errors
    /// Whatever keeps the reader from it.
    fn read_at(&mut self, at: u64, buffer: &mut [u8]) -> Result<(), Self::Error>;
}

/// A file in memory.
impl ReadAt for &[u8] {
    /// It lies outside.
    type Error = OutOfRange;

    fn length(&self) -> u64 {
        self.len().try_into().unwrap_or(u64::MAX)
    }

    fn read_at(&mut self, at: u64, buffer: &mut [u8]) -> Result<(), OutOfRange> {
        let octets = usize::try_from(at).ok().and_then(|at| self.get(at..)?.get(..buffer.len()));
        copy(buffer, octets.ok_or(OutOfRange)?).ok_or(OutOfRange)
    }
}

/// Octets that are not in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfRange;

/// The libraries that the loader maps with an ELF, by their UUIDs; `None` if one has a name that is no
/// UUID, or there are too many.
pub(crate) type Libraries = Option<heapless::Vec<UuidBytes, LIBRARY_LIMIT>>;

/// Whether it is an application or a library of this UUID, with the libraries that it needs. 64-bit ELFs
/// are for a TEE of 64 bits only.
pub(crate) fn judge<F: ReadAt>(
    file: &mut F,
    uuid: &UuidBytes,
    elf64: bool,
) -> Result<Option<Libraries>, F::Error> {
    let judged = Elf::parse(file, elf64).and_then(|mut elf| {
        let dynamic = elf.dynamic()?;
        let loads = elf.is_application(uuid).or_not()?.unwrap_or_default()
            || elf.is_library(&dynamic, uuid).or_not()?.unwrap_or_default();
        if loads { elf.libraries(&dynamic) } else { Err(Stop::NotLoadable) }
    });
    judged.or_not()
}

/// Why an ELF is not read on.
enum Stop<E> {
    NotLoadable,
    Read(E),
}

type Read<T, F> = Result<T, Stop<<F as ReadAt>::Error>>;

/// Tells what the ELF has not from what cannot be read.
trait OrNot<T, E> {
    fn or_not(self) -> Result<Option<T>, E>;
}

impl<T, E> OrNot<T, E> for Result<T, Stop<E>> {
    fn or_not(self) -> Result<Option<T>, E> {
        match self {
            Ok(found) => Ok(Some(found)),
            Err(Stop::NotLoadable) => Ok(None),
            Err(Stop::Read(error)) => Err(error),
        }
    }
}

impl<E> From<E> for Stop<E> {
    fn from(error: E) -> Self {
        Self::Read(error)
    }
}

/// A number that arithmetic gave, if it did.
fn sum<T, E>(number: Option<T>) -> Result<T, Stop<E>> {
    number.ok_or(Stop::NotLoadable)
}

/// An ELF for this processor whose segments lie in the file.
struct Elf<'f, F> {
    file: &'f mut F,
    /// 64 bits, else 32.
    wide: bool,
    /// Where the program headers start, and their number.
    segments: (u64, u16),
}

struct Segment {
    kind: u32,
    flags: u32,
    address: u64,
    memory: u64,
    /// Where its octets in the file start, and their number.
    offset: u64,
    length: u64,
}

/// What the dynamic section says.
#[derive(Default)]
struct Dynamic {
    strings: Option<u64>,
    name: Option<u64>,
    needed: heapless::Vec<u64, LIBRARY_LIMIT>,
    needs_more: bool,
}

/// Octets of the longest header of a segment, a section or a symbol.
const LONGEST_HEADER: usize = 64;

impl<'f, F: ReadAt> Elf<'f, F> {
    fn parse(file: &'f mut F, elf64: bool) -> Read<Self, F> {
        let mut elf = Self { file, wide: false, segments: (0, 0) };
        // Class, little-endian, version, system; Arm's own number stands for the same system.
        elf.wide = match &elf.octets(0)? {
            b"\x7fELF\x02\x01\x01\x00" if elf64 => true,
            b"\x7fELF\x01\x01\x01\x00" | b"\x7fELF\x01\x01\x01\x61" => false,
            _ => return Err(Stop::NotLoadable),
        };
        let machine = elf.pick(EM_ARM, EM_AARCH64);
        let start = elf.long(elf.pick(28, 32))?;
        let sizes: u64 = elf.pick(42, 54);
        let number = elf.half(sizes.saturating_add(2))?;
        let (segment, section): (u16, u16) = (elf.pick(32, 56), elf.pick(40, 64));
        elf.segments = (start, number);
        let length = u64::from(number).saturating_mul(segment.into());
        let fits = elf.half(16)? == ET_DYN
            && elf.half(18)? == machine
            && elf.half(sizes)? == segment
            && elf.half(sizes.saturating_add(4))? == section
            && start.checked_add(length).is_some_and(|end| end <= PAGE);
        let mut next = None;
        for number in 0..number {
            let segment = elf.segment(number)?;
            if segment.kind == PT_LOAD {
                // In order, from address 0.
                let in_order = next.map_or(segment.address == 0, |next| segment.address >= next);
                if !in_order || segment.length > segment.memory {
                    return Err(Stop::NotLoadable);
                }
                next = Some(sum(segment.address.checked_add(segment.memory))?);
            }
        }
        if fits { Ok(elf) } else { Err(Stop::NotLoadable) }
    }

    /// Whether its head is one of this UUID, and its entry is in code.
    fn is_application(&mut self, uuid: &UuidBytes) -> Read<bool, F> {
        let address = self.head_symbol().or_not()?.unwrap_or(0);
        let at = self.locate(address, HEAD_LENGTH)?;
        let mut head = [0; HEAD_LENGTH];
        self.read(at, &mut head)?;
        // `TEE_UUID` has three numbers of the machine's order in front.
        let [a, b, c, d, e, f, g, h, rest @ ..] = *uuid;
        let named =
            head.starts_with(&[d, c, b, a, f, e, h, g]) && head.get(8..16) == Some(&rest[..]);
        let stack = head.get(16..20) != Some(&[0; 4]);
        let entry = self.long(24)?;
        let starts = !head.ends_with(&NO_ENTRY)
            || self
                .find_segment(|segment| {
                    segment.kind == PT_LOAD
                        && segment.flags & PF_X != 0
                        && segment.at(entry, 1).is_some()
                })?
                .is_some();
        Ok(named && stack && starts)
    }

    /// Whether its name is this UUID in text.
    fn is_library(&mut self, dynamic: &Dynamic, uuid: &UuidBytes) -> Read<bool, F> {
        let (strings, name) = (sum(dynamic.strings)?, sum(dynamic.name)?);
        Ok(self.uuid_text(sum(strings.checked_add(name))?)? == *uuid)
    }

    fn libraries(&mut self, dynamic: &Dynamic) -> Read<Libraries, F> {
        let mut libraries = heapless::Vec::new();
        if dynamic.needs_more {
            return Ok(None);
        }
        for name in &dynamic.needed {
            let address = dynamic.strings.and_then(|strings| strings.checked_add(*name));
            let Some(address) = address else { return Ok(None) };
            let Some(library) = self.uuid_text(address).or_not()? else { return Ok(None) };
            // There is room for as many as there are names.
            let _ = libraries.push(library);
        }
        Ok(Some(libraries))
    }

    /// Reads its dynamic section; without one it says nothing.
    fn dynamic(&mut self) -> Read<Dynamic, F> {
        let mut dynamic = Dynamic::default();
        let table = self.find_segment(|segment| segment.kind == PT_DYNAMIC)?;
        let Some(Segment { offset, length, .. }) = table else { return Ok(dynamic) };
        let size: u64 = self.pick(8, 16);
        for number in 0..length.div_euclid(size) {
            let at = offset.saturating_add(number.saturating_mul(size));
            let value = self.long(at.saturating_add(size.div_euclid(2)))?;
            match self.long(at)? {
                DT_STRTAB => dynamic.strings = Some(value),
                DT_SONAME => dynamic.name = Some(value),
                DT_NEEDED => dynamic.needs_more |= dynamic.needed.push(value).is_err(),
                _ => {}
            }
        }
        Ok(dynamic)
    }

    /// The UUID whose text is loaded at this address, with a zero behind it.
    fn uuid_text(&mut self, address: u64) -> Read<UuidBytes, F> {
        let mut text = [0; TEXT_LENGTH + 1];
        let at = self.locate(address, text.len())?;
        self.read(at, &mut text)?;
        sum(uuid_of(&text))
    }

    /// The address of the dynamic symbol `ta_head`. The loader reads that table by its section.
    fn head_symbol(&mut self) -> Read<u64, F> {
        let number = self.half(self.pick(48, 60))?;
        let mut found = None;
        for number in 0..number {
            let section = self.section(number.into());
            let Some(section) = section.or_not()? else { continue };
            if word(&section, 4) == Some(SHT_DYNSYM) {
                found = Some(section);
                break;
            }
        }
        let table = sum(found)?;
        let link = sum(word(&table, self.pick(24, 40)))?;
        let strings = self.section(link.into())?;
        let (strings, strings_length) = self.contents(&strings)?;
        let (symbols, symbols_length) = self.contents(&table)?;
        let names = self.find_names(strings, strings_length)?;
        let size: u64 = self.pick(16, 24);
        for number in 0..symbols_length.div_euclid(size) {
            if names.is_empty() {
                break;
            }
            let mut symbol = [0; LONGEST_HEADER];
            let symbol = sum(symbol.get_mut(..self.pick(16, 24)))?;
            self.read(symbols.saturating_add(number.saturating_mul(size)), symbol)?;
            let name = u64::from(sum(word(symbol, 0))?);
            let defined = symbol.get(self.pick(14..16, 6..8)) != Some(&[0, 0]);
            if defined && names.contains(&name) {
                return sum(self.field(symbol, 4, 8));
            }
        }
        Err(Stop::NotLoadable)
    }

    /// Where in a table of strings the name `ta_head` is, also at the end of a longer one. Symbols are not
    /// in the order of their names, so names are looked for first: both tables are read once.
    fn find_names(&mut self, strings: u64, length: u64) -> Read<heapless::Vec<u64, 4>, F> {
        const NAME: &[u8] = b"ta_head\0";
        const PIECE: usize = 256;
        // A name may begin at the end of a piece.
        const STEP: u64 = 256 - 7;
        let mut found = heapless::Vec::new();
        let mut at = 0;
        while at < length {
            let mut piece = [0; PIECE];
            let rest = usize::try_from(length.saturating_sub(at)).unwrap_or(PIECE);
            let piece = sum(piece.get_mut(..rest.min(PIECE)))?;
            self.read(strings.saturating_add(at), piece)?;
            for (offset, name) in (0_u64..).zip(piece.windows(NAME.len())) {
                if name == NAME {
                    // Nobody has so many.
                    sum(found.push(at.saturating_add(offset)).ok())?;
                }
            }
            at = at.saturating_add(STEP);
        }
        Ok(found)
    }

    /// The header of a section.
    fn section(&mut self, number: u64) -> Read<[u8; LONGEST_HEADER], F> {
        let size: u64 = self.pick(40, 64);
        let start = self.long(self.pick(32, 40))?;
        let at = number.checked_mul(size).and_then(|offset| start.checked_add(offset));
        let mut header = [0; LONGEST_HEADER];
        self.read(sum(at)?, sum(header.get_mut(..self.pick(40, 64)))?)?;
        Ok(header)
    }

    /// Where in the file the octets are that a section has in memory, and their number.
    fn contents(&mut self, section: &[u8]) -> Read<(u64, u64), F> {
        let (address, length) =
            (sum(self.field(section, 12, 16))?, sum(self.field(section, 20, 32))?);
        let at = self.locate(address, sum(usize::try_from(length).ok())?)?;
        Ok((at, length))
    }

    /// Where in the file the octets are that are loaded at this address.
    fn locate(&mut self, address: u64, length: usize) -> Read<u64, F> {
        let found = self.find_segment(|segment| {
            segment.kind == PT_LOAD && segment.at(address, length).is_some()
        })?;
        sum(found.and_then(|segment| segment.at(address, length)))
    }

    fn find_segment(&mut self, wanted: impl Fn(&Segment) -> bool) -> Read<Option<Segment>, F> {
        for number in 0..self.segments.1 {
            let segment = self.segment(number)?;
            if wanted(&segment) {
                return Ok(Some(segment));
            }
        }
        Ok(None)
    }

    fn segment(&mut self, number: u16) -> Read<Segment, F> {
        let size: u64 = self.pick(32, 56);
        let offset = u64::from(number).saturating_mul(size);
        let mut header = [0; LONGEST_HEADER];
        let header = sum(header.get_mut(..self.pick(32, 56)))?;
        self.read(sum(self.segments.0.checked_add(offset))?, header)?;
        let (offset, length) = (sum(self.field(header, 4, 8))?, sum(self.field(header, 16, 32))?);
        // What has nothing in the file may be said to be anywhere in it.
        let end = if length == 0 { Some(0) } else { offset.checked_add(length) };
        if sum(end)? > self.file.length() {
            return Err(Stop::NotLoadable);
        }
        Ok(Segment {
            kind: sum(word(header, 0))?,
            flags: sum(word(header, self.pick(24, 4)))?,
            address: sum(self.field(header, 8, 16))?,
            memory: sum(self.field(header, 20, 40))?,
            offset,
            length,
        })
    }

    /// What differs between 32 and 64 bits.
    fn pick<T>(&self, narrow: T, wide: T) -> T {
        if self.wide { wide } else { narrow }
    }

    /// An address or a size in a header, by where it is in the two classes.
    fn field(&self, header: &[u8], narrow: usize, wide: usize) -> Option<u64> {
        let octets = header.get(self.pick(narrow, wide)..)?;
        match self.wide {
            true => octets.first_chunk().copied().map(u64::from_le_bytes),
            false => word(octets, 0).map(u64::from),
        }
    }

    fn long(&mut self, at: u64) -> Read<u64, F> {
        match self.wide {
            true => self.octets(at).map(u64::from_le_bytes),
            false => Ok(u32::from_le_bytes(self.octets(at)?).into()),
        }
    }

    fn half(&mut self, at: u64) -> Read<u16, F> {
        self.octets(at).map(u16::from_le_bytes)
    }

    fn octets<const N: usize>(&mut self, at: u64) -> Read<[u8; N], F> {
        let mut octets = [0; N];
        self.read(at, &mut octets)?;
        Ok(octets)
    }

    fn read(&mut self, at: u64, buffer: &mut [u8]) -> Read<(), F> {
        let length = u64::try_from(buffer.len()).ok();
        let end = sum(length.and_then(|length| at.checked_add(length)))?;
        if end > self.file.length() {
            return Err(Stop::NotLoadable);
        }
        Ok(self.file.read_at(at, buffer)?)
    }
}

impl Segment {
    /// Where in the file so many octets are that it has at this address.
    fn at(&self, address: u64, length: usize) -> Option<u64> {
        let start = address.checked_sub(self.address)?;
        let end = start.checked_add(length.try_into().ok()?)?;
        if end <= self.length { self.offset.checked_add(start) } else { None }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

/// The UUID of a text with a zero behind it.
fn uuid_of(text: &[u8]) -> Option<UuidBytes> {
    let (text, end) = text.split_last_chunk::<1>()?;
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
