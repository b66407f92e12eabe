//! Checks that a device installs and runs a trusted application, and suggests what to do if not.
//!
//! OP-TEE's loader accepts a position-independent ELF for its processor whose `struct ta_head` it finds
//! by the symbol of that name, or at address 0; or a shared library, which it finds by UUID. Both must
//! have the UUID that they are signed for.

use object::elf::{self, FileClass, FileHeader32, FileHeader64, Machine};
use object::read::elf::{Dyn as _, ElfFile, FileHeader, ProgramHeader as _};
use object::{Endianness, Object as _, ObjectSymbol as _};
use otrp_wire::command::BROKER;
use uuid::Uuid;

pub use otrp_wire::limits::ELF_LIMIT;
/// Versions from here on leave few or no higher ones.
const LAST_VERSIONS: u32 = u32::MAX - 0xff;
/// `sizeof(struct ta_head)`: the UUID, the sizes of stack and flags, an entry that is not used.
const HEAD_LENGTH: u64 = 32;

/// The kind of an ELF for OP-TEE's loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loadable {
    /// A trusted application, which clients open.
    Application,
    /// A shared library, which applications name.
    Library,
}

/// Why a device does not install an application: a clause about its file, with what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotLoadable {
    /// The UUID is the broker's.
    #[error(
        "its UUID {} is that of the OTrP broker itself, which no device replaces: give the application one of its own (uuidgen)",
        text(.0)
    )]
    Broker([u8; 16]),
    /// It is longer than a device accepts.
    #[error(
        "it has {0} octets, and a device takes up to {ELF_LIMIT}: strip it, or make it smaller"
    )]
    TooLong(usize),
    /// It is not an ELF.
    #[error("it is not an ELF file: sign what the TA dev kit links, such as UUID.stripped.elf")]
    NotElf,
    /// It is an ELF for something else.
    #[error(
        "it is for {0}, and OP-TEE runs AArch64 and 32-bit Arm, little-endian: build it with OP-TEE's TA dev kit and its cross compiler"
    )]
    Machine(String),
    /// It is an ELF of another type.
    #[error(
        "it is {0}, and OP-TEE loads what is linked to run anywhere: link it with the TA dev kit (-pie, or -shared for a library)"
    )]
    Type(&'static str),
    /// It is built under another UUID.
    #[error("it is built as {}, and is to be signed as {}: both must be the same", text(.built), text(.signed))]
    Uuid {
        /// The UUID in its `ta_head`.
        built: [u8; 16],
        /// The UUID it is signed for.
        signed: [u8; 16],
    },
    /// It is a library under another name.
    #[error("it is a shared library whose soname is '{soname}', and OP-TEE finds libraries by their UUID: link it with SHLIBUUID={} (-soname)", text(.signed))]
    Soname {
        /// Its soname.
        soname: String,
        /// The UUID it is signed for.
        signed: [u8; 16],
    },
    /// It is neither application nor library.
    #[error(
        "it has neither a ta_head, as trusted applications have, nor a soname, as libraries have: link it with OP-TEE's TA dev kit"
    )]
    Neither,
    /// Its contents are inconsistent.
    #[error("{0}: it is damaged, or not linked with OP-TEE's TA dev kit")]
    Damaged(String),
}

/// Checks that a device installs what is signed for `uuid`, and that OP-TEE's loader runs it.
///
/// # Errors
/// [`NotLoadable`], the first defect found.
pub fn check(uuid: [u8; 16], elf: &[u8]) -> Result<Loadable, NotLoadable> {
    if uuid == BROKER {
        return Err(NotLoadable::Broker(uuid));
    }
    if !elf.starts_with(b"\x7fELF") {
        return Err(NotLoadable::NotElf);
    }
    if elf.len() > ELF_LIMIT {
        return Err(NotLoadable::TooLong(elf.len()));
    }
    match elf.get(4).copied().map(FileClass) {
        Some(elf::ELFCLASS32) => File::<FileHeader32<Endianness>>::parse(elf)?.check(uuid),
        Some(elf::ELFCLASS64) => File::<FileHeader64<Endianness>>::parse(elf)?.check(uuid),
        _ => Err(NotLoadable::Damaged("its class is neither 32 nor 64 bits".into())),
    }
}

/// A warning about a version, as a clause; `None` if it is unproblematic.
#[must_use]
pub const fn warning(version: u32) -> Option<&'static str> {
    match version {
        0 => Some(
            "is the dev kit's silent default where none is given, and leaves no lower one to go back to on a new device: begin with 1",
        ),
        u32::MAX => {
            Some("is the last one: a device that saw it never takes another update under this UUID")
        }
        LAST_VERSIONS.. => Some(
            "leaves fewer than 256 higher ones: a device that saw it takes nothing lower, also after the application was deleted",
        ),
        _ => None,
    }
}

struct File<'a, H: FileHeader<Endian = Endianness>> {
    file: ElfFile<'a, H>,
    bytes: &'a [u8],
    endian: Endianness,
}

impl<'a, H: FileHeader<Endian = Endianness>> File<'a, H> {
    fn parse(bytes: &'a [u8]) -> Result<Self, NotLoadable> {
        let damaged = |error: object::Error| NotLoadable::Damaged(error.to_string());
        let header = H::parse(bytes).map_err(damaged)?;
        let endian = header.endian().map_err(damaged)?;
        let machine = header.e_machine(endian);
        let expected = if header.is_class_64() { elf::EM_AARCH64 } else { elf::EM_ARM };
        if machine != expected || !header.is_little_endian() {
            return Err(NotLoadable::Machine(machine_name(machine, header.is_little_endian())));
        }
        let kind = match header.e_type(endian) {
            elf::ET_DYN => None,
            elf::ET_REL => Some("an object file that is not linked"),
            elf::ET_EXEC => Some("a program for fixed addresses"),
            elf::ET_CORE => Some("a core dump"),
            _ => Some("of an unknown type"),
        };
        match kind {
            Some(kind) => Err(NotLoadable::Type(kind)),
            None => ElfFile::parse(bytes).map(|file| Self { file, bytes, endian }).map_err(damaged),
        }
    }

    fn check(&self, uuid: [u8; 16]) -> Result<Loadable, NotLoadable> {
        self.check_segments()?;
        let symbol = self
            .file
            .dynamic_symbols()
            .find(|symbol| symbol.name_bytes() == Ok(b"ta_head") && !symbol.is_undefined());
        let soname = self.soname();
        let head = match (&symbol, &soname) {
            (Some(symbol), _) => self.at(symbol.address(), HEAD_LENGTH),
            // An application from before OP-TEE had the symbol begins with its head, a library with
            // the header of the ELF.
            (None, Some(soname)) => return library(uuid, soname),
            (None, None) => self.at(0, HEAD_LENGTH).filter(|head| !head.starts_with(b"\x7fELF")),
        };
        let head = head.ok_or(NotLoadable::Neither)?;
        self.check_head(uuid, head)
    }

    fn check_head(&self, uuid: [u8; 16], head: &[u8]) -> Result<Loadable, NotLoadable> {
        let Some((built, rest)) = head.split_first_chunk::<16>() else {
            return Err(NotLoadable::Neither);
        };
        let built = text_order(*built);
        if built != uuid {
            return Err(NotLoadable::Uuid { built, signed: uuid });
        }
        if rest.starts_with(&[0; 4]) {
            return Err(NotLoadable::Damaged("its ta_head says that it needs no stack".into()));
        }
        // Before 2019 the entry stood in the head, today it is the ELF's.
        let entry = self.file.entry();
        if rest.ends_with(&[0xff; 8]) && !self.is_code(entry) {
            let sentence = format!("its entry point {entry:#x} is not in code");
            return Err(NotLoadable::Damaged(sentence));
        }
        Ok(Loadable::Application)
    }

    /// Each part that is loaded lies in the file, in order, the first at address 0.
    fn check_segments(&self) -> Result<(), NotLoadable> {
        let damaged = |sentence: &str| Err(NotLoadable::Damaged(sentence.to_owned()));
        let mut end = None;
        for segment in self.loaded() {
            let (address, length) = self.range(segment);
            let memory: u64 = segment.p_memsz(self.endian).into();
            let missing = length > 0 && segment.data(self.endian, self.bytes).is_err();
            if missing || length > memory {
                return damaged("a segment of it does not lie in the file");
            }
            let in_order = end.map_or(address == 0, |end| address >= end);
            let (true, Some(next)) = (in_order, address.checked_add(memory)) else {
                return damaged("its segments are not in order from address 0");
            };
            end = Some(next);
        }
        if end.is_none() { damaged("it has nothing to load") } else { Ok(()) }
    }

    fn loaded(&self) -> impl Iterator<Item = &'a H::ProgramHeader> {
        let endian = self.endian;
        let segments = self.file.elf_program_headers().iter();
        segments.filter(move |segment| segment.p_type(endian) == elf::PT_LOAD)
    }

    /// Address and length in the file.
    fn range(&self, segment: &H::ProgramHeader) -> (u64, u64) {
        (segment.p_vaddr(self.endian).into(), segment.p_filesz(self.endian).into())
    }

    /// So many octets of the file by the address that they are loaded at.
    fn at(&self, address: u64, length: u64) -> Option<&'a [u8]> {
        self.loaded().find_map(|segment| {
            segment.data_range(self.endian, self.bytes, address, length).ok().flatten()
        })
    }

    fn is_code(&self, address: u64) -> bool {
        self.loaded().any(|segment| {
            let (start, length) = self.range(segment);
            let inside = address.checked_sub(start).is_some_and(|offset| offset < length);
            inside && segment.p_flags(self.endian).contains(elf::PF_X)
        })
    }

    fn soname(&self) -> Option<String> {
        let segments = self.file.elf_program_headers().iter();
        let entries = segments
            .filter_map(|segment| segment.dynamic(self.endian, self.bytes).ok().flatten())
            .flatten();
        let (mut strings, mut name) = (None, None);
        for entry in entries {
            match entry.tag(self.endian) {
                elf::DT_STRTAB => strings = Some(entry.d_val(self.endian).into()),
                elf::DT_SONAME => name = Some(entry.d_val(self.endian).into()),
                _ => {}
            }
        }
        let address = u64::checked_add(strings?, name?)?;
        let longest = (1..=64).rev().find_map(|length| self.at(address, length))?;
        let name = longest.split(|octet| *octet == 0).next()?;
        Some(String::from_utf8_lossy(name).escape_debug().to_string())
    }
}

fn library(uuid: [u8; 16], soname: &str) -> Result<Loadable, NotLoadable> {
    if soname.eq_ignore_ascii_case(&text(&uuid)) {
        return Ok(Loadable::Library);
    }
    Err(NotLoadable::Soname { soname: soname.to_owned(), signed: uuid })
}

/// `TEE_UUID` in the memory of a little-endian machine as the octets of its text, and back.
const fn text_order(uuid: [u8; 16]) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = uuid;
    [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]
}

fn text(uuid: &[u8; 16]) -> String {
    Uuid::from_bytes_ref(uuid).hyphenated().to_string()
}

fn machine_name(machine: Machine, little_endian: bool) -> String {
    let name = match machine {
        elf::EM_386 => "x86",
        elf::EM_X86_64 => "x86-64",
        elf::EM_ARM => "32-bit Arm",
        elf::EM_AARCH64 => "AArch64",
        elf::EM_RISCV => "RISC-V",
        Machine(other) => return format!("machine {other}"),
    };
    if little_endian { name.to_owned() } else { format!("big-endian {name}") }
}
