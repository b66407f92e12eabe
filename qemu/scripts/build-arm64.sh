#!/bin/bash
# Builds what runs on the device: trusted applications and the programs of its Linux.
#   build-arm64.sh tas VARIANT    into ta: the early TAs of the image, and the sample's versions;
#                                 for "rsa" the broker with RSA keys alone, into ta/rsa
#   build-arm64.sh programs       into programs; what only the lab has, into programs/lab
set -euo pipefail
. "$(dirname "$0")/common.sh"
# shellcheck source=../boards/qemu.conf
. "$QEMU_DIR/boards/$BOARD.conf"

TARGET=aarch64-unknown-linux-gnu
BROKER_UUID=9e043ec0-1043-415e-853d-690a6d341054
CONFORMANCE_UUID=7fc3b03e-d5b8-45c5-94cb-5b36ec23a5da
STAMPS=$BUILD/stamp
# Boards differ in the instructions that code is compiled for.
BUILT=$BUILD/target/$TARGET/release
TRUST=$(realpath -m "${OTRP_TRUST_DIR:-$CACHE/keys/dev/trust}")

# compile PACKAGE PROGRAM [FEATURE]: cargo decides what there is to do. The crates are built one by one, so
# that none gets a feature of a dependency because another asks for it.
compile() {
    "$SCRIPTS/cargo.sh" build --target-dir "$BUILD/target" --quiet --locked --release --target "$TARGET" -p "$1" --bin "$2" ${3:+--features "$3"}
}

# ta PACKAGE OUTPUT [FEATURE]
ta() {
    compile "$1" "$1" "${3:-}"
    "$SCRIPTS/check-ta.sh" "$BUILT/$1"
    copy_if_changed "$BUILT/$1" "$BUILD/ta/$2.debug.elf"
    aarch64-linux-gnu-objcopy --strip-unneeded "$BUILT/$1" "$BUILD/ta/new.elf"
    copy_if_changed "$BUILD/ta/new.elf" "$BUILD/ta/$2.stripped.elf"
    rm "$BUILD/ta/new.elf"
}

sources() { key_of_tree "$ROOT/Cargo.toml" "$ROOT/Cargo.lock" "$CACHE/rust.env" "$QEMU_DIR/boards/$BOARD.conf" "$SCRIPTS/cargo.sh" "$@"; }

lock
case ${1:-} in
tas)
    variant=${2:?a variant}
    [ -d "$TRUST" ] || fail "$TRUST is missing; make it with: make keys"
    mapfile -t anchors < <(find "$TRUST" -type f | LC_ALL=C sort)
    inputs=$(key "$(sources "$ROOT/ta")" "$(cat "$STAMPS/optee-devkit")" "$TRUST" "$(key_of_files "${anchors[@]}")" "${OTRP_TEE_NAME:-}" "${OTRP_KEY_TYPE:-}" "${OTRP_RSA1_5:-}" "$(source_date)")
    fresh "tas-$variant" "$inputs" && exit
    say "compiling the trusted applications ($variant), about a minute the first time"
    mkdir -p "$BUILD/ta/rsa"
    if [ "$variant" = rsa ]; then
        OTRP_KEY_TYPE=rsa ta otrp-ta rsa/$BROKER_UUID
    else
        ta otrp-ta $BROKER_UUID
        ta otrp-signer-ta signer-v1
        ta otrp-signer-ta signer-v2 v2
    fi
    if [ "$variant" = lab ]; then
        ta otrp-conformance $CONFORMANCE_UUID ta
    fi
    mark "tas-$variant" "$inputs"
    ;;
programs)
    inputs=$(key "$(sources "$ROOT/host" "$ROOT/ta/wire")" "$(key_of_files "$0" "$QEMU_DIR/lab/failing_calls.c")" "$(cat "$CACHE/stamp/guest")")
    fresh programs "$inputs" && exit
    say "compiling the programs of the device's Linux, about half a minute the first time"
    mkdir -p "$BUILD/programs/lab"
    for package in otrp-agent otrp-signer-client; do
        compile "$package" "$package"
        copy_if_changed "$BUILT/$package" "$BUILD/programs/$package"
    done
    compile otrp-signer-client otrp-lab
    copy_if_changed "$BUILT/otrp-lab" "$BUILD/programs/lab/otrp-lab"
    aarch64-linux-gnu-gcc -O2 -Wall -Wextra -Werror -shared -fPIC -o "$BUILD/programs/lab/failing_calls.so" "$QEMU_DIR/lab/failing_calls.c"
    mark programs "$inputs"
    ;;
*) fail "usage: build-arm64.sh tas VARIANT | programs" ;;
esac
