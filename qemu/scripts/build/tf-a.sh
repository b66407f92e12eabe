#!/bin/bash
# Builds TF-A's boot stages BL1, BL2 and BL31 for the board, into tf-a.
set -euo pipefail
. "$(dirname "$0")/../common.sh"
# shellcheck source=../../boards/qemu.conf
. "$QEMU_DIR/boards/$BOARD.conf"

STAMPS=$BUILD/stamp
source=${TF_A_DIR:-$CACHE/src/arm-trusted-firmware}
inputs=$(key "${BOARD_TF_A_FLAGS[*]}" "$(compilers)" "$(key_of_files "$0")" "$(key_of_tree "$source")")
# The folder between is named for TF-A's platform.
stages() { printf '%s\n' "$BUILD"/tf-a/*/release/bl{1,2,31}.bin; }

lock
mapfile -t made < <(stages)
fresh tf-a "$inputs" "${made[@]}" && exit
unmark tf-a
say "building TF-A, about 10 s"
rm -rf "$BUILD/tf-a"
# It needs no time of its own, and this repository's commit is not its version.
logged tf-a env GIT_CEILING_DIRECTORIES="$CACHE" CPPFLAGS="$(prefix_maps -ffile-prefix-map)" make -j"$JOBS" -C "$source" CROSS_COMPILE=aarch64-linux-gnu- DEBUG=0 LOG_LEVEL=10 \
    BUILD_BASE="$BUILD/tf-a" BUILD_MESSAGE_TIMESTAMP='"reproducibly"' "${BOARD_TF_A_FLAGS[@]}" bl1 bl2 bl31
mapfile -t made < <(stages)
mark tf-a "$inputs" "${made[@]}"
