#!/usr/bin/python3
"""Compares what a core was to be built from with what is in it.

    core.py FOLDER TA_KEY.pem EARLY_TA.elf...

FOLDER has tee.elf and tee-pager_v2.bin. OP-TEE's make decides by file times which of its parts are up to
date. The finished core has to hold these early TAs and no other; and the modulus of the TA signing key, if
anything in it verifies with one: a core that loads no TA from files of the normal world does not.
"""
import os
import sys
import zlib

from cryptography.hazmat.primitives.serialization import load_pem_public_key
from elftools.elf.elffile import ELFFile


def embedded(core):
    """The early TAs in a core: zlib streams of ELF files."""
    for level in (b"\x01", b"\x5e", b"\x9c", b"\xda"):
        start = core.find(b"\x78" + level)
        while start >= 0:
            stream = zlib.decompressobj()
            try:
                head = stream.decompress(core[start:start + 4096], 4)
                if head == b"\x7fELF":
                    yield zlib.decompressobj().decompress(core[start:])
            except zlib.error:
                pass
            start = core.find(b"\x78" + level, start + 1)


def has_key(elf_path):
    """Whether the linker left the TA signing key in."""
    with open(elf_path, "rb") as file:
        symbols = ELFFile(file).get_section_by_name(".symtab")
        return bool(symbols.get_symbol_by_name("ta_pub_key_modulus"))


def main():
    folder, key_path, *elf_paths = sys.argv[1:]
    with open(os.path.join(folder, "tee-pager_v2.bin"), "rb") as file:
        core = file.read()
    with open(key_path, "rb") as file:
        modulus = load_pem_public_key(file.read()).public_numbers().n
    problems = []
    octets = modulus.to_bytes((modulus.bit_length() + 7) // 8, "big")
    if has_key(os.path.join(folder, "tee.elf")) and octets not in core:
        problems.append(f"the core's TA signing key is not that of {key_path}")
    found = list(embedded(core))
    for path in elf_paths:
        with open(path, "rb") as file:
            elf = file.read()
        if elf in found:
            found.remove(elf)
        else:
            problems.append(f"{path} is not in the core")
    if found:
        problems.append(f"the core has {len(found)} early TAs that it was not given")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
