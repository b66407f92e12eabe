//! What is signed and served: applications of OP-TEE's dev kit, and each reason against others.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a test that panics has found something"
)]

use otrp_check::fixture::{application, library, sized};
use otrp_check::image::{ELF_LIMIT, Loadable, NotLoadable, check, warning};
use otrp_wire::command::BROKER;

/// 8aaaf200-2450-11e4-abe2-0002a5d5c51b.
const UUID: [u8; 16] = [
    0x8a, 0xaa, 0xf2, 0x00, 0x24, 0x50, 0x11, 0xe4, 0xab, 0xe2, 0x00, 0x02, 0xa5, 0xd5, 0xc5, 0x1b,
];
/// As binutils link them with OP-TEE's linker script and options.
const LINKED: &[u8] = include_bytes!("../../../ta/engine/tests/fixtures/linked.elf");
const LIBRARY: &[u8] = include_bytes!("../../../ta/engine/tests/fixtures/library.so");

/// The application with the program header of its stack made one of zeros alone, which may lie behind
/// the end of the file.
fn with_zeros() -> Vec<u8> {
    let mut elf = LINKED.to_vec();
    let mut header = [1_u32, 6].map(u32::to_le_bytes).concat();
    header.extend([0x10_0000_u64, 0x2000, 0x2000, 0, 0x100, 0x1000].map(u64::to_le_bytes).concat());
    elf[64 + 3 * 56..64 + 4 * 56].copy_from_slice(&header);
    elf
}

#[test]
fn what_op_tee_loads_passes() {
    for (elf, expected) in [
        (LINKED, Loadable::Application),
        (LIBRARY, Loadable::Library),
        (&with_zeros(), Loadable::Application),
        (&application(UUID, b"contents"), Loadable::Application),
        (&sized(UUID, ELF_LIMIT, 1), Loadable::Application),
        (&library(UUID), Loadable::Library),
    ] {
        assert_eq!(check(UUID, elf), Ok(expected));
    }
}

#[test]
fn each_reason_is_a_sentence_with_what_to_do() {
    let whole = application(UUID, b"contents");
    let changed = |offset: usize, octets: &[u8]| {
        let mut elf = whole.clone();
        elf[offset..offset + octets.len()].copy_from_slice(octets);
        elf
    };
    let mut big_endian = changed(5, &[2]);
    big_endian[18..20].reverse();
    let this_machine = std::fs::read("/bin/ls").unwrap();
    let rows: &[(&str, Vec<u8>, &str)] = &[
        ("a program of this machine", this_machine, "TA dev kit"),
        ("text", b"#!/bin/sh".to_vec(), "it is not an ELF file"),
        ("empty", Vec::new(), "it is not an ELF file"),
        ("cut", whole[..40].to_vec(), "damaged"),
        ("too long", sized(UUID, ELF_LIMIT + 1, 1), "a device takes up to 8388608"),
        ("class", changed(4, &[3]), "neither 32 nor 64 bits"),
        ("big-endian", big_endian, "it is for big-endian AArch64"),
        ("x86-64", changed(18, &[62]), "it is for x86-64, and OP-TEE runs AArch64"),
        ("RISC-V", changed(18, &[243]), "it is for RISC-V"),
        ("Arm in 64 bits", changed(18, &[40]), "it is for 32-bit Arm"),
        ("not linked", changed(16, &[1]), "an object file that is not linked"),
        ("for fixed addresses", changed(16, &[2]), "a program for fixed addresses"),
        ("a core dump", changed(16, &[4]), "a core dump"),
        ("nothing to load", changed(64, &[2]), "it has nothing to load"),
        ("not at address 0", changed(80, &[1]), "not in order"),
        ("behind the end", changed(96, &[0xff]), "does not lie in the file"),
        ("no stack", changed(136, &[0; 4]), "no stack"),
        ("entry", changed(24, &[0xff]), "its entry point 0xff is not in code"),
        ("no code", changed(68, &[4]), "is not in code"),
    ];
    for (what, elf, sentence) in rows {
        let refused = check(UUID, elf).expect_err(what).to_string();
        assert!(refused.contains(sentence), "{what}: {refused}");
    }
    assert!(check(BROKER, &application(BROKER, b"")).unwrap_err().to_string().contains("uuidgen"));
}

#[test]
fn the_uuid_is_that_of_the_signature() {
    let mut other = UUID;
    other[3] ^= 1;
    for elf in [LINKED, &application(UUID, b"")] {
        let refused = check(other, elf).unwrap_err();
        assert_eq!(refused, NotLoadable::Uuid { built: UUID, signed: other });
        let sentence = refused.to_string();
        assert!(sentence.contains("8aaaf200-2450-11e4-abe2-0002a5d5c51b"), "{sentence}");
        assert!(sentence.contains("8aaaf201-2450-11e4-abe2-0002a5d5c51b"), "{sentence}");
    }
    for elf in [LIBRARY, &library(UUID)] {
        let sentence = check(other, elf).unwrap_err().to_string();
        assert!(sentence.contains("SHLIBUUID=8aaaf201-2450"), "{sentence}");
    }
}

#[test]
fn versions_that_cost_others_are_warned_of() {
    for (version, warned) in
        [(0, true), (1, false), (0xffff_feff, false), (0xffff_ff00, true), (u32::MAX, true)]
    {
        assert_eq!(warning(version).is_some(), warned, "{version:#x}");
    }
    assert!(warning(0).unwrap().contains("default"));
}
