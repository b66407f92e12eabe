#!/bin/bash
# What the broker takes in the image and in memory, and from how many places it could panic.
set -euo pipefail
. "$(dirname "$0")/../common.sh"

BROKER=$CACHE/ta/development/9e043ec0-1043-415e-853d-690a6d341054
IMAGE_LIMIT=$((400 * 1000))
PANIC_SENTINEL=otrp_panic_sentinel
# The header of a signed image: shdr, digest, RSA-2048 signature, bootstrap header.
SIGNED_HEADER=$((20 + 32 + 256 + 20))

line() { printf '%-34s %8d %s\n' "$1" "$2" "${3:-}"; }

image=$(($(stat -c %s "$BROKER.stripped.elf") + SIGNED_HEADER))
line "broker image, signed (bytes)" "$image" "limit $IMAGE_LIMIT"
aarch64-linux-gnu-size -A "$BROKER.debug.elf" |
    awk '$1 ~ /^\.(text|rodata|data|bss|ta_head)$/ { printf "  %-32s %8d\n", $1, $2 }'

# What the TEE keeps for the broker as long as it is loaded, code, data and heap by whole pages, and the stack.
# There is nothing else: what a message takes is a part of the heap.
stack=$(aarch64-linux-gnu-objcopy -O binary -j .ta_head "$BROKER.debug.elf" /dev/stdout | od -An -tu4 -j16 -N4)
loaded=0
while read -r address size; do
    loaded=$((loaded + (address + size + 4095) / 4096 * 4096 - address / 4096 * 4096))
done < <(LC_ALL=C aarch64-linux-gnu-readelf -lW "$BROKER.debug.elf" | awk '$1 == "LOAD" { print $3, $6 }')
echo "secure-memory rest=$((loaded + stack)) peak=$((loaded + stack))"

# What a call is to that does not come back, in Rust's library and in libutee. The guards of the stack are
# no such calls of anybody's: __stack_chk_fail.
ENDS='panic|unwrap_failed|expect_failed|slice_index_fail|slice_error_fail|len_mismatch_fail|capacity_overflow|handle_error|handle_alloc_error|<abort>|_assert_break|'$PANIC_SENTINEL
sites=$(aarch64-linux-gnu-objdump -d "$BROKER.debug.elf" |
    awk -v ends="$ENDS" '/\tbl?\t/ { target = $NF } /\tbl?\t/ && target !~ /\+0x/ && target ~ ends { n++ } END { print n + 0 }')
line "panic call sites" "$sites"

core=$CACHE/optee/development/core/tee-pager_v2.bin
line "OP-TEE core with the broker (bytes)" "$(stat -c %s "$core")"

[ "$image" -le "$IMAGE_LIMIT" ] || fail "the broker's image is larger than its limit"
