//! Fixtures: applications to sign in tests, which pass every check and do nothing.

/// Octets of the header, the program header and the head, without code.
const HEADERS: usize = 64 + 56 + 32;
/// The length of the smallest one.
pub const SMALLEST: usize = HEADERS + 4;

/// An application of this UUID for AArch64 with an instruction and `contents` behind it, in all
/// [`SMALLEST`] octets more than `contents`.
///
/// By elf(5): a header, one program header, and the segment with `struct ta_head` at address 0, of
/// OP-TEE's user_ta_header.h.
#[must_use]
pub fn application(uuid: [u8; 16], contents: &[u8]) -> Vec<u8> {
    let segment = u64::try_from(32 + 4 + contents.len()).unwrap_or(u64::MAX);
    let [a, b, c, d, e, f, g, h, rest @ ..] = uuid;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // ET_DYN, EM_AARCH64, EV_CURRENT.
    elf.extend([3, 0, 183, 0, 1, 0, 0, 0]);
    // The entry behind the head; program headers behind this header; no section headers.
    elf.extend([32_u64, 64, 0].map(u64::to_le_bytes).as_flattened());
    elf.extend([0; 4]);
    // The sizes of this header and of program headers, one of those; no section header.
    elf.extend([64_u16, 56, 1, 64, 0, 0].map(u16::to_le_bytes).as_flattened());
    // PT_LOAD, readable and executable, from its offset to address 0.
    elf.extend([1_u32, 5].map(u32::to_le_bytes).as_flattened());
    elf.extend([64 + 56, 0, 0, segment, segment, 4096].map(u64::to_le_bytes).as_flattened());
    // ta_head: UUID, stack, flags, no entry of its own.
    elf.extend([d, c, b, a, f, e, h, g]);
    elf.extend(rest);
    elf.extend([4096_u32, 8].map(u32::to_le_bytes).as_flattened());
    elf.extend([0xff; 8]);
    // ret
    elf.extend([0xc0, 0x03, 0x5f, 0xd6]);
    elf.extend(contents);
    elf
}

/// An application of this UUID and length, at least [`SMALLEST`], that differs by `seed`.
#[must_use]
pub fn sized(uuid: [u8; 16], length: usize, seed: u8) -> Vec<u8> {
    let filler = (0..=u8::MAX).cycle().map(|octet| octet ^ seed);
    application(uuid, &filler.take(length.saturating_sub(SMALLEST)).collect::<Vec<_>>())
}

/// An application of this UUID that is loaded with libraries of these names.
#[must_use]
pub fn needing(uuid: [u8; 16], names: &[&str]) -> Vec<u8> {
    let head = application(uuid, b"");
    let code = head.get(64 + 56..).unwrap_or_default();
    let mut strings = vec![0];
    let mut entries = Vec::new();
    for name in names {
        // DT_NEEDED.
        entries.extend([1, u64::try_from(strings.len()).unwrap_or(u64::MAX)]);
        strings.extend(name.as_bytes());
        strings.push(0);
    }
    // In the segment at address 0: code, dynamic section, names. DT_STRTAB and DT_NULL are two more.
    let number = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    let dynamic_at = number(code.len().next_multiple_of(8));
    let dynamic_size = number((entries.len() + 4) * 8);
    let strings_at = dynamic_at + dynamic_size;
    let length = strings_at + number(strings.len());
    entries.extend([5, strings_at, 0, 0]);

    let mut elf = head.get(..64).unwrap_or_default().to_vec();
    // Two program headers.
    if let Some(count) = elf.get_mut(56) {
        *count = 2;
    }
    let start = 64 + 2 * 56;
    elf.extend([1_u32, 5].map(u32::to_le_bytes).as_flattened());
    elf.extend([start, 0, 0, length, length, 4096].map(u64::to_le_bytes).as_flattened());
    elf.extend([2_u32, 4].map(u32::to_le_bytes).as_flattened());
    let (from, size) = (start + dynamic_at, dynamic_size);
    elf.extend([from, dynamic_at, dynamic_at, size, size, 8].map(u64::to_le_bytes).as_flattened());
    elf.extend(code);
    elf.resize(usize::try_from(from).unwrap_or_default(), 0);
    elf.extend(entries.iter().flat_map(|entry| entry.to_le_bytes()));
    elf.extend(strings);
    elf
}

/// A shared library of this UUID: with `.dynamic` and `.dynstr`, in which its soname is the UUID's text.
#[must_use]
pub fn library(uuid: [u8; 16]) -> Vec<u8> {
    let dynamic_at = 64 + 2 * 56;
    let strings_at = dynamic_at + 3 * 16;
    let name = uuid::Uuid::from_bytes(uuid).hyphenated().to_string();
    let end = strings_at + 1 + 36 + 1;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    elf.extend([3, 0, 183, 0, 1, 0, 0, 0]);
    elf.extend([0_u64, 64, 0].map(u64::to_le_bytes).as_flattened());
    elf.extend([0; 4]);
    elf.extend([64_u16, 56, 2, 64, 0, 0].map(u16::to_le_bytes).as_flattened());
    // PT_LOAD of the whole file, and PT_DYNAMIC in it.
    elf.extend([1_u32, 5].map(u32::to_le_bytes).as_flattened());
    elf.extend([0, 0, 0, end, end, 4096].map(u64::to_le_bytes).as_flattened());
    elf.extend([2_u32, 4].map(u32::to_le_bytes).as_flattened());
    let (at, size) = (dynamic_at, 48);
    elf.extend([at, at, at, size, size, 8].map(u64::to_le_bytes).as_flattened());
    // DT_STRTAB, DT_SONAME, DT_NULL.
    elf.extend([5, strings_at, 14, 1, 0, 0].map(u64::to_le_bytes).as_flattened());
    elf.push(0);
    elf.extend(name.as_bytes());
    elf.push(0);
    elf
}

/// An application that was built as `from` as it would be when built as `to`.
#[must_use]
pub fn renamed(elf: &[u8], from: [u8; 16], to: [u8; 16]) -> Vec<u8> {
    let stored = |[a, b, c, d, e, f, g, h, rest @ ..]: [u8; 16]| {
        [&[d, c, b, a, f, e, h, g][..], &rest[..]].concat()
    };
    let (from, to) = (stored(from), stored(to));
    let mut renamed = elf.to_vec();
    let found = elf.windows(from.len()).position(|octets| octets == from);
    if let Some(place) = found.and_then(|start| renamed.get_mut(start..)?.get_mut(..to.len())) {
        place.copy_from_slice(&to);
    }
    renamed
}
