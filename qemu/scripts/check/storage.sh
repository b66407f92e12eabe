#!/bin/bash
# Tests OP-TEE's secure storage, as patched for the image, and the OTrP store (ta/pta) on the host: over a normal
# world that fails, lies, loses power and puts files back, in each call of each change. Then takes each patch of
# the storage out again, and each of some lines of the store, and expects it to fail.
#   storage.sh [PATCH...]    with patches, only takes those out
#
# qemu/optee/host/README.md says what it claims.
set -euo pipefail
. "$(dirname "$0")/../common.sh"

HOST=$QEMU_DIR/optee/host
SOURCE=$BUILD/src/optee-core
STORE=$ROOT/ta/pta
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
# What the platform has against older files: see qemu/optee/host/platform.c. One of them keeps the data of removed TAs.
PLATFORMS=(hash rpmb counter bare reset rpmb-reset)

platform_flags() {
    case $1 in
    hash) echo -DPLATFORM_HASH ;;
    rpmb) echo -DPLATFORM_RPMB -DCFG_REE_FS_INTEGRITY_RPMB=1 -DCFG_RPMB_FS=1 ;;
    rpmb-reset) echo -DPLATFORM_RPMB -DCFG_REE_FS_INTEGRITY_RPMB=1 -DCFG_RPMB_FS=1 -DCFG_REE_FS_ALLOW_RESET=1 ;;
    counter) echo -DPLATFORM_COUNTER ;;
    bare) echo -DPLATFORM_BARE ;;
    reset) echo -DPLATFORM_HASH -DCFG_REE_FS_ALLOW_RESET=1 -DCFG_OTRP_STORE_KEEP_DATA=1 ;;
    esac
}

# Mutations of the store that a test must notice: a name, a file, and what sed does to it.
MUTATIONS=(
    'cache-kept-after-failure commit.c /res = root_write/,/was_committed/s/state_unload();/;/'
    'files-removed-too-early commit.c s/^	res = root_write(&new, .*;$/	erasure_finish();\n&/'
    'no-owner-check store.c s/!memcmp(library->entry.owner, ta->entry.owner,/!memcmp(ta->entry.owner, ta->entry.owner,/'
    'tombstone-not-kept erasure.c s/if (e->name.kind == TOMBSTONE) {/if (entry_is_tombstone(e)) {/'
    'tombstone-not-needed commit.c s/keeps_data(&node->entry) ? 0 : TOMBSTONE_DATA/0/'
    'gaps-left commit.c s/for (file = store_state.root.next_file;$/for (file = new->next_file;/'
    'pending-file-left blob.c s/^	blob_file_remove(blob->entry.file);$//'
    'stale-session commit.c s/ || session->sequence != store_state.root.sequence)/)/'
    'one-state-file commit.c s/new.state_file = !store_state.root.state_file;/new.state_file = store_state.root.state_file;/'
    'data-of-a-running-ta erasure.c s/if (tee_ta_has_instance(uuid))/if (false)/'
    'installed-over-data erasure.c s/return has_data_left(name) ? TEE_ERROR_BUSY/return false ? TEE_ERROR_BUSY/'
    'nothing-retired library.c s/^	tee_ta_retire(&uuid);$/	;/'
    'library-not-retired library.c s/^		tee_ta_retire(&ta);$/		;/'
    'data-of-a-reserved-ta erasure.c s/is_reserved_uuid(&uuid) || !remove_data/!remove_data/'
    'image-not-authenticated loader.c s/res = cipher_check(&h->cipher, h->entry.tag);/;/'
    'record-not-authenticated state.c s/res = cipher_check(&cipher, from->record_tag);/;/'
    'memory-requested-as-it-grows file.c s/{ WINDOW_SIZE_MAX, TEE_FS_NAME_MAX }/{ TEE_FS_NAME_MAX }/'
    'no-command-with-less-memory file.c s/{ WINDOW_SIZE_MAX, TEE_FS_NAME_MAX }/{ WINDOW_SIZE_MAX }/'
    'octets-left-in-a-buffer pta.c s/clear_memref(params + 1);/;/'
)

# compile TREE STORE PLATFORM FOLDER: the storage code of an OP-TEE tree and a store with the tests, as FOLDER/storage_test,
# FOLDER/calls_test, FOLDER/store_test and FOLDER/store_fuzz. Of objects that are in the folder only the store's are made again.
compile() {
    local tree=$1 store=$2 folder=$4 core=$1/core flags options file object
    read -ra flags <<<"$(platform_flags "$3")"
    flags+=("${FLAGS[@]}" -I"$store" -I"$core/include" -I"$core/tee" -I"$tree/lib/libutils/ext/include" -I"$tree/lib/libutee/include")
    mapfile -t -O ${#flags[@]} flags < <(sed -n 's/^\(CFG_REE_FS_CACHED_BLOCKS\) ?= /-D\1=/p' "$tree/mk/config.mk")
    mkdir -p "$folder/units" "$folder/tests"
    for file in "$HOST"/store_unit.c "$store"/{commit,erasure,file,loader,pta,root,store}.c "$HOST"/{ree_fs,fs_htree}_unit.c "$core"/tee/{fs_dirfile,tee_fs_rpc,uuid}.c \
        "$core/kernel/nv_counter.c" "$HOST"/{world,heap,crypto,tas,platform,client,calls_test,store_test,storage_test,store_fuzz}.c; do
        object=$folder/units/$(basename "$file" .c).o
        options=("${SANITIZERS[@]}" "${WARNINGS[@]}")
        case $file in
        # Without sanitizers, because it is what takes the time.
        "$HOST"/world.c | "$HOST"/heap.c | "$HOST"/crypto.c | "$HOST"/tas.c) options=("${WARNINGS[@]}") ;;
        */store_unit.c | "$store"/*) options=("${SANITIZERS[@]}" -Wall -include "$HOST/core.h") ;;
        */ree_fs_unit.c | */fs_htree_unit.c | "$core"/*) options=("${SANITIZERS[@]}" -include "$HOST/core.h") ;;
        */*_test.c | */store_fuzz.c) object=$folder/tests/$(basename "$file" .c).o ;;
        esac
        case $file in
        */store_unit.c | "$store"/*) ;;
        *) [ ! -e "$object" ] || continue ;;
        esac
        gcc "${flags[@]}" "${options[@]}" -c "$file" -o "$object"
    done
    for file in calls_test store_test storage_test store_fuzz; do
        gcc "${SANITIZERS[@]}" "$folder/tests/$file.o" "$folder"/units/*.o -o "$folder/$file"
    done
}

# try TREE STORE PLATFORM FOLDER [first]
try() {
    compile "${@:1:4}" >"$4.log" 2>&1 || { cat "$4.log" >&2; fail "the test does not compile for $3"; }
    {
        "${RUN[@]}" "$4/calls_test" >"$4.calls" && "${RUN[@]}" "$4/store_test" && "${RUN[@]}" "$4/storage_test" "${@:5}"
    } >"$4.log" 2>&1
}

test_platform() {
    local start=$SECONDS
    try "$SOURCE" "$STORE" "$1" "$WORK/$1" || { cat "$WORK/$1.log" >&2; fail "secure storage on a platform with $1"; }
    say "secure storage, $1: $(paste -sd ';' "$WORK/$1.log"), $((SECONDS - start)) s"
}

test_fuzz() {
    local start=$SECONDS
    "${RUN[@]}" "$WORK/hash/store_fuzz" >"$WORK/fuzz.log" 2>&1 || { cat "$WORK/fuzz.log" >&2; fail "the store with altered contents"; }
    say "the store with altered contents: $(tail -n 1 "$WORK/fuzz.log"), $((SECONDS - start)) s"
}

test_flash() {
    gcc "${FLAGS[@]}" "${SANITIZERS[@]}" "${WARNINGS[@]}" -I"$SOURCE/core/include" -I"$SOURCE/lib/libutils/ext/include" \
        -I"$SOURCE/lib/libutee/include" "$HOST/flash_test.c" -o "$WORK/flash"
    say "the counter's flash: $("${RUN[@]}" "$WORK/flash")"
}

# take_out PATCH: the test fails without it, on one platform at least.
take_out() {
    local name tree
    name=$(basename "$1" .patch)
    tree=$WORK/without-$name
    mkdir -p "$tree"/{core/kernel,lib/libutee,lib/libutils/ext,mk}
    cp -r "$SOURCE"/core/{include,tee} "$tree/core/"
    cp "$SOURCE/core/kernel/nv_counter.c" "$tree/core/kernel/"
    cp "$SOURCE/mk/config.mk" "$tree/mk/"
    cp -r "$SOURCE/lib/libutee/include" "$tree/lib/libutee/"
    cp -r "$SOURCE/lib/libutils/ext/include" "$tree/lib/libutils/ext/"
    patch -s -f -R -p1 -d "$tree" -i "$(realpath "$1")" || fail "$name cannot be taken out"
    expect_failure "without $name" "$tree" "$STORE" "$tree"
}

# expect_failure WHAT TREE STORE FOLDER: the platform that WHAT names comes first.
expect_failure() {
    local platform status first=()
    for platform in "${PLATFORMS[@]}"; do
        [[ $1 != *"$platform"* ]] || first=("$platform")
    done
    for platform in "${first[@]}" "${PLATFORMS[@]}"; do
        [ "$2" != "$SOURCE" ] || cp -r "$WORK/$platform" "$4/"
        status=0
        try "$2" "$3" "$platform" "$4/$platform" first || status=$?
        if [ "$status" = 1 ]; then
            say "$1, $platform: $(grep -v '^[0-9]* entries:' "$4/$platform.log" | head -n 1), as expected"
            return
        fi
        [ "$status" = 0 ] || fail "the test $1 ends with $status"
    done
    fail "nothing fails $1"
}

# mutate MUTATION: the test fails with it, on one platform at least.
mutate() {
    local name file script folder
    read -r name file script <<<"$1"
    folder=$WORK/mutation-$name
    mkdir -p "$folder"
    cp -r "$STORE" "$folder/store"
    sed -i "$script" "$folder/store/$file"
    ! cmp -s "$STORE/$file" "$folder/store/$file" || fail "the mutation $name fits nowhere"
    expect_failure "with the mutation $name" "$SOURCE" "$folder/store" "$folder"
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
"$SCRIPTS/setup/fetch.sh"
"$SCRIPTS/build/optee.sh" source
rm -rf "$WORK"
mkdir -p "$WORK"
if [ $# = 0 ]; then
    test_flash
    in_turn test_platform "${PLATFORMS[@]}"
    cat "$WORK/hash.calls" >&2
    test_fuzz
    in_turn mutate "${MUTATIONS[@]}"
    set -- "$QEMU_DIR"/optee/fs_*.patch
fi
in_turn take_out "$@"
