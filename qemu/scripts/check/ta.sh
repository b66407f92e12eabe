#!/bin/bash
# Refuses trusted applications that OP-TEE cannot load.
#   ta.sh ELF...
#
# The linker is content with a TA that needs a library of Linux or leaves a symbol open; OP-TEE would
# tell on the device, with an error that says nothing.
set -euo pipefail
. "$(dirname "$0")/../common.sh"

for elf; do
    needed=$(aarch64-linux-gnu-readelf -d "$elf" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
    [ -z "$needed" ] || fail "${elf##*/} needs $(echo "$needed" | paste -sd ' '), which OP-TEE does not have"
    # The first symbol of each table is the empty one.
    open=$(aarch64-linux-gnu-readelf -W --syms "$elf" | awk '$7 == "UND" && $8 != "" { print $8 }' | sort -u)
    [ -z "$open" ] || fail "${elf##*/} leaves symbols open: $(echo "$open" | paste -sd ' ')"
done
