#!/bin/bash
# Tests OP-TEE's secure storage, as patched for the image, on the host: over a normal world that fails, lies, loses
# power and puts files back, in each call of each change. Counts the calls that an operation costs. Then takes each
# patch of the storage out again, and expects it to fail.
#   test-storage.sh [PATCH...]    with patches, only takes those out
#
# qemu/optee/host/README.md says what it claims.
set -euo pipefail
. "$(dirname "$0")/common.sh"

HOST=$QEMU_DIR/optee/host
SOURCE=$BUILD/src/optee-core
WORK=$BUILD/storage-test
FLAGS=(
    -std=gnu11 -g -O2 -include "$HOST/prelude.h" -I"$HOST" -I"$HOST/stubs"
    -D__KERNEL__ -DCFG_REE_FS=1 -DCFG_INSECURE=1 -DCFG_REE_FS_HTREE_HASH_SIZE_COMPAT=1
)
SANITIZERS=(-fsanitize=address -fsanitize=undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
# Many small allocations: a short memory of them is faster.
export ASAN_OPTIONS=malloc_context_size=2:quarantine_size_mb=4:max_malloc_fill_size=64
# GCC 12's address sanitizer finds no place for its shadow where the kernel randomizes addresses more than it knew.
RUN=()
if setarch "$(uname -m)" -R true 2>/dev/null; then
    RUN=(setarch "$(uname -m)" -R)
fi
WARNINGS=(-Wall -Wextra -Wno-clobbered -Werror)
# What the platform has against older files: see qemu/optee/host/platform.c.
PLATFORMS=(reset hash rpmb counter bare)

platform_flags() {
    case $1 in
    hash) echo -DPLATFORM_HASH ;;
    rpmb) echo -DPLATFORM_RPMB -DCFG_REE_FS_INTEGRITY_RPMB=1 -DCFG_RPMB_FS=1 ;;
    counter) echo -DPLATFORM_COUNTER ;;
    bare) echo -DPLATFORM_BARE ;;
    reset) echo -DPLATFORM_HASH -DCFG_REE_FS_ALLOW_RESET=1 ;;
    esac
}

# compile TREE PLATFORM FOLDER: the storage code of an OP-TEE tree with the tests, as FOLDER/calls and FOLDER/test.
compile() {
    local tree=$1 folder=$3 core=$1/core flags file
    read -ra flags <<<"$(platform_flags "$2")"
    flags+=("${FLAGS[@]}" -I"$core/include" -I"$core/tee" -I"$tree/lib/libutils/ext/include" -I"$tree/lib/libutee/include")
    mapfile -t -O ${#flags[@]} flags < <(sed -n 's/^\(CFG_REE_FS_CACHED_BLOCKS\) ?= /-D\1=/p' "$tree/mk/config.mk")
    mkdir -p "$folder"
    for file in "$HOST"/{fs_htree,ree_fs,store}_unit.c "$store"/{file,pta,loader}.c "$core"/tee/{fs_dirfile,tee_fs_rpc,uuid}.c "$core/kernel/nv_counter.c"; do
        gcc "${flags[@]}" "${SANITIZERS[@]}" -include "$HOST/core.h" -c "$file" -o "$folder/$(basename "$file" .c).o"
    done
    gcc "${flags[@]}" "${SANITIZERS[@]}" "${WARNINGS[@]}" -c "$HOST/platform.c" -o "$folder/platform.o"
    gcc "${flags[@]}" "${WARNINGS[@]}" -c "$HOST/world.c" -o "$folder/world.o"
    for file in calls storage; do
        gcc "${flags[@]}" "${SANITIZERS[@]}" "${WARNINGS[@]}" "$HOST/${file}_test.c" "$folder"/*.o -o "$folder/$file"
    done
}

# try TREE PLATFORM FOLDER [first]
try() {
    compile "$1" "$2" "$3" >"$3.log" 2>&1 || { cat "$3.log" >&2; fail "the test does not compile for $2"; }
    "${RUN[@]}" "$3/calls" >"$3.calls" 2>"$3.log" && "${RUN[@]}" "$3/storage" "${@:4}" >>"$3.log" 2>&1
}

test_platform() {
    local start=$SECONDS
    try "$SOURCE" "$1" "$WORK/$1" || { cat "$WORK/$1.log" >&2; fail "secure storage on a platform with $1"; }
    say "secure storage, $1: $(tail -n 1 "$WORK/$1.log"), $((SECONDS - start)) s"
}

test_flash() {
    gcc "${FLAGS[@]}" "${SANITIZERS[@]}" "${WARNINGS[@]}" -I"$SOURCE/core/include" -I"$SOURCE/lib/libutils/ext/include" \
        -I"$SOURCE/lib/libutee/include" "$HOST/flash_test.c" -o "$WORK/flash"
    say "the counter's flash: $("${RUN[@]}" "$WORK/flash")"
}

# take_out PATCH: the test fails without it, on one platform at least.
take_out() {
    local name tree platform status
    name=$(basename "$1" .patch)
    tree=$WORK/without-$name
    mkdir -p "$tree"/{core/kernel,lib/libutee,lib/libutils/ext,mk}
    cp -r "$SOURCE"/core/{include,tee} "$tree/core/"
    cp "$SOURCE/core/kernel/nv_counter.c" "$tree/core/kernel/"
    cp "$SOURCE/mk/config.mk" "$tree/mk/"
    cp -r "$SOURCE/lib/libutee/include" "$tree/lib/libutee/"
    cp -r "$SOURCE/lib/libutils/ext/include" "$tree/lib/libutils/ext/"
    patch -s -f -R -p1 -d "$tree" -i "$(realpath "$1")" || fail "$name cannot be taken out"
    for platform in "${PLATFORMS[@]}"; do
        status=0
        try "$tree" "$platform" "$tree/$platform" first || status=$?
        if [ "$status" = 1 ]; then
            say "without $name, $platform: $(head -n 1 "$tree/$platform.log"), as expected"
            return
        fi
        [ "$status" = 0 ] || fail "the test without $name ends with $status"
    done
    fail "nothing fails without $name"
}

# in_turn COMMAND ARGUMENT...: the command for each argument, as many at once as there are processors.
in_turn() {
    local command=$1 argument pids=() failed=0
    shift
    for argument; do
        while [ "$(jobs -pr | wc -l)" -ge "$JOBS" ]; do
            sleep 0.2
        done
        "$command" "$argument" &
        pids+=($!)
    done
    for argument in "${pids[@]}"; do
        wait "$argument" || failed=1
    done
    return $failed
}

lock
"$SCRIPTS/fetch.sh"
"$SCRIPTS/build-optee.sh" source
rm -rf "$WORK"
mkdir -p "$WORK"
if [ $# = 0 ]; then
    test_flash
    in_turn test_platform "${PLATFORMS[@]}"
    cat "$WORK/hash.calls" >&2
    set -- "$QEMU_DIR"/optee/fs_*.patch
fi
in_turn take_out "$@"
