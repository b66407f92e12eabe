#!/bin/bash
# Builds what runs on the device: trusted applications and the programs of its Linux.
#   arm64.sh tas VARIANT    the early TAs of the image, into ta/VARIANT
#   arm64.sh samples        the sample's versions, into ta/samples
#   arm64.sh programs       into programs; what only development images have, into
#                                 programs/development, and the lab alone, into programs/lab
set -euo pipefail
. "$(dirname "$0")/../common.sh"
# shellcheck source=../../boards/qemu.conf
. "$QEMU_DIR/boards/$BOARD.conf"

TARGET=aarch64-unknown-linux-gnu
BROKER_UUID=9e043ec0-1043-415e-853d-690a6d341054
PORT_TESTS_UUID=7fc3b03e-d5b8-45c5-94cb-5b36ec23a5da
STAMPS=$BUILD/stamp
# Boards differ in the instructions that code is compiled for.
BUILT=$BUILD/target/$TARGET/release
TRUST=$(realpath -m "${OTRP_TRUST_DIR:-$CACHE/keys/dev/trust}")

# forget_other_kit: the bindings of OP-TEE hold libraries of the dev kit, and cargo does not notice another one.
forget_other_kit() {
    local kit
    kit=$(cat "$BUILD/stamp/optee-devkit")
    [ "$(cat "$BUILD/target/dev-kit" 2>/dev/null)" != "$kit" ] || return 0
    "$SCRIPTS/build/cargo.sh" clean --target-dir "$BUILD/target" --quiet --release --target "$TARGET" -p optee-utee-sys -p otrp-runtime -p otrp-ta -p otrp-signer-ta -p otrp-port-tests
    mkdir -p "$BUILD/target"
    printf '%s\n' "$kit" >"$BUILD/target/dev-kit"
}

# compile PACKAGE PROGRAM [FEATURE]: cargo decides what there is to do. The crates are built one by one, so
# that none gets a feature of a dependency because another asks for it.
compile() {
    "$SCRIPTS/build/cargo.sh" build --target-dir "$BUILD/target" --quiet --locked --release --target "$TARGET" -p "$1" --bin "$2" ${3:+--features "$3"}
}

# ta PACKAGE OUTPUT [FEATURE]: OUTPUT.stripped.elf is what goes into an image, OUTPUT.debug.elf what a crash in
# it is looked up in.
ta() {
    compile "$1" "$1" "${3:-}"
    "$SCRIPTS/check/ta.sh" "$BUILT/$1"
    mkdir -p "${2%/*}"
    copy_if_changed "$BUILT/$1" "$2.debug.elf"
    aarch64-linux-gnu-objcopy --strip-unneeded "$BUILT/$1" "$2.new"
    copy_if_changed "$2.new" "$2.stripped.elf"
    rm "$2.new"
}

# Everything that is compiled here is written in these folders.
sources() { key_of_tree "$ROOT"/{Cargo.toml,ta,host,keys} "$ROOT/Cargo.lock" "$CACHE/rust.env" "$QEMU_DIR/boards/$BOARD.conf" "$SCRIPTS/build/cargo.sh" "$0"; }
# each_elf OUTPUT...: what `ta` makes of each.
each_elf() { printf '%s\n' "${@/%/.debug.elf}" "${@/%/.stripped.elf}"; }

lock
case ${1:-} in
tas)
    variant=${2:?a variant} STAMPS=$KEYED/stamp
    [ -d "$TRUST" ] || fail "$TRUST is missing; make it with: make keys"
    key_type=${OTRP_KEY_TYPE:-} tas=("$KEYED/ta/$variant/$BROKER_UUID")
    [ "$variant" != rsa ] || key_type=rsa
    [ "$variant" != lab ] || tas+=("$KEYED/ta/lab/$PORT_TESTS_UUID")
        mapfile -t made < <(each_elf "${tas[@]}")
    inputs=$(key "$(sources)" "$(cat "$BUILD/stamp/optee-devkit")" "$TRUST" "$(contents "$TRUST")" "${OTRP_TEE_NAME:-}" "$key_type" "${OTRP_RSA1_5:-}" "${ALLOW_DEV_KEYS:-}" "$(source_date)")
    fresh "tas-$variant" "$inputs" "${made[@]}" && exit
    unmark "tas-$variant"
    say "compiling the trusted applications ($variant), about a minute the first time"
    forget_other_kit
    [ -z "$key_type" ] || export OTRP_KEY_TYPE=$key_type
    ta otrp-ta "$KEYED/ta/$variant/$BROKER_UUID"
    [ "$variant" != lab ] || ta otrp-port-tests "$KEYED/ta/lab/$PORT_TESTS_UUID" ta
    mark "tas-$variant" "$inputs" "${made[@]}"
    ;;
samples)
    mapfile -t made < <(each_elf "$BUILD"/ta/samples/signer-v{1,2})
    inputs=$(key "$(sources)" "$(cat "$STAMPS/optee-devkit")" "$(source_date)")
    fresh samples "$inputs" "${made[@]}" && exit
    unmark samples
    say "compiling the sample application, about 20 s the first time"
    forget_other_kit
    ta otrp-signer-ta "$BUILD/ta/samples/signer-v1"
    ta otrp-signer-ta "$BUILD/ta/samples/signer-v2" v2
    mark samples "$inputs" "${made[@]}"
    ;;
programs)
    made=("$BUILD/programs/otrp-agent" "$BUILD/programs/development/otrp-signer-client" "$BUILD"/programs/lab/{otrp-lab,failing_calls.so})
    inputs=$(key "$(sources)" "$(key_of_files "$QEMU_DIR/lab/failing_calls.c")" "$(compilers)" "$(cat "$CACHE/stamp/guest")")
    fresh programs "$inputs" "${made[@]}" && exit
    unmark programs
    say "compiling the programs of the device's Linux, about half a minute the first time"
    rm -rf "$BUILD/programs"
    mkdir -p "$BUILD"/programs/{development,lab}
    compile otrp-agent otrp-agent
    cp "$BUILT/otrp-agent" "$BUILD/programs/"
    compile otrp-signer-client otrp-signer-client
    cp "$BUILT/otrp-signer-client" "$BUILD/programs/development/"
    compile otrp-lab otrp-lab
    cp "$BUILT/otrp-lab" "$BUILD/programs/lab/"
    aarch64-linux-gnu-gcc -O2 -Wall -Wextra -Werror -shared -fPIC -o "$BUILD/programs/lab/failing_calls.so" "$QEMU_DIR/lab/failing_calls.c"
    mark programs "$inputs" "${made[@]}"
    ;;
*) fail "usage: arm64.sh tas VARIANT | samples | programs" ;;
esac
