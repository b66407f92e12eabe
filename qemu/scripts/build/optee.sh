#!/bin/bash
# Builds OP-TEE from a copy of its source with our pseudo TA and the board's key, monotonic counter and
# entropy added.
#   optee.sh source                 nothing but the source with ours added, in src/optee-core
#   optee.sh devkit                 the TA dev kit, into optee/devkit
#   optee.sh VARIANT EARLY_TA...    the core with these early TAs, into optee/VARIANT:
#     product       the broker is the only way to install a TA
#     development   the same, and it says at each start what it is
#     rsa           the same as development; its broker has RSA keys
#     lab           the same as development with what tests and benchmarks need. It takes a deleted secure
#                   storage for a new one, as a vendor's service image would
#
# TA_SIGNING_KEY names the public key (PEM) of the image's own TA signing key.
set -euo pipefail
. "$(dirname "$0")/../common.sh"
# shellcheck source=../../boards/qemu.conf
. "$QEMU_DIR/boards/$BOARD.conf"

SOURCE=$BUILD/src/optee-core
STAMPS=$BUILD/stamp
VARIANT=${1:?source, devkit or a variant}
shift
TA_SIGNING_KEY=$(realpath -m "${TA_SIGNING_KEY:-$CACHE/keys/dev/ta-signing.pub.pem}")

# Files that some variants have, below qemu/.
VARIANT_FILES=(optee/lab_memory.c optee/development.c)

# repair PATCH: a tree that has the repair already stays as it is.
repair() {
    local patch=(patch -s -f -p1 -d "$SOURCE" -i "$1")
    if "${patch[@]}" --dry-run >/dev/null; then
        "${patch[@]}"
    elif ! "${patch[@]}" -R --dry-run >/dev/null; then
        fail "${1#"$ROOT/"} does not fit this OP-TEE: adapt it, or drop it if its first lines tell of no fault that is left"
    fi
}

# prepare_source: src/optee-core is the upstream tree plus our files. Ours are copied only when
# they differ, so that a change to the pseudo TA compiles that file and not everything.
prepare_source() {
    local upstream=${OPTEE_OS_DIR:-$CACHE/src/optee-os} platform=$SOURCE/core/arch/arm/plat-$BOARD_OPTEE_PLATFORM file
    local inputs
    inputs=$(key "$upstream" "$(key_of_tree "$upstream")" "$(declare -f prepare_source repair)" "${BOARD_OPTEE_FILES[*]}" "$(key_of_files "$QEMU_DIR"/optee/*.patch)")
    if ! fresh optee-source "$inputs" "$SOURCE/core/core.mk"; then
        unmark optee-source
        # What was built from it goes too: make believes in times, and a file that is as upstream again has
        # its old one.
        rm -rf "$SOURCE" "$BUILD/optee" "$BUILD"/makers/*/optee
        mkdir -p "${SOURCE%/*}"
        cp -a "$upstream" "$SOURCE"
        for file in "$QEMU_DIR"/optee/*.patch; do
            repair "$file"
        done
        mkdir -p "$SOURCE/core/pta/otrp"
        # shellcheck disable=SC2016  # make expands them
        printf '\nsubdirs-$(CFG_OTRP_STORE) += otrp\n' >>"$SOURCE/core/pta/sub.mk"
        # shellcheck disable=SC2016
        printf '\nsrcs-y += %s\nsrcs-$(CFG_LAB_MEMORY) += lab_memory.c\nsrcs-$(CFG_OTRP_DEVELOPMENT) += development.c\n' "${BOARD_OPTEE_FILES[*]##*/}" >>"$platform/sub.mk"
        mark optee-source "$inputs" "$SOURCE/core/core.mk"
    fi
    for file in "${BOARD_OPTEE_FILES[@]}" "${VARIANT_FILES[@]}"; do
        copy_if_changed "$QEMU_DIR/$file" "$platform/${file##*/}"
    done
    for file in "$ROOT"/ta/pta/*.[ch] "$ROOT/ta/pta/sub.mk"; do
        copy_if_changed "$file" "$SOURCE/core/pta/otrp/${file##*/}"
    done
    for file in "$SOURCE"/core/pta/otrp/*; do
        [ -e "$ROOT/ta/pta/${file##*/}" ] || rm "$file"
    done
}

# What all variants share.
COMMON=(
    CROSS_COMPILE64=aarch64-linux-gnu-
    CFLAGS="$(prefix_maps -ffile-prefix-map)"
    PYTHON3="$PYTHON3"
    DEBUG=0
    "${BOARD_OPTEE_FLAGS[@]}"
    CFG_BUILD_IN_TREE_TA=n
    CFG_PKCS11_TA=n
    CFG_EARLY_TA=y
    CFG_TEE_CORE_LOG_LEVEL=2
    CFG_TEE_TA_LOG_LEVEL=2
    CFG_DT_DRIVER_EMBEDDED_TEST=n
    # A message of 16 MiB in the client's memory takes nine tables, and TAs one or two each.
    CFG_PGT_CACHE_ENTRIES=16
    # No stand-in for what a board must have: key, counter and entropy are ours, or it does not link.
    CFG_INSECURE=n
)

# Neither files of the normal world nor the stock installer can bring a TA in, and nothing is left that exists
# for tests alone.
PRODUCT=(
    CFG_REE_FS_TA=n CFG_SECSTOR_TA=n CFG_OTRP_STORE=y
    CFG_ENABLE_EMBEDDED_TESTS=n CFG_WITH_STATS=n
)

flags() {
    printf '%s\n' "${PRODUCT[@]}"
    case $VARIANT in
    product) ;;
    development | rsa) echo CFG_OTRP_DEVELOPMENT=y ;;
    lab)
        printf '%s\n' CFG_OTRP_DEVELOPMENT=y CFG_OTRP_STORE_TEST_CLIENT=y CFG_WITH_STATS=y \
            CFG_TA_STATS=y CFG_LAB_MEMORY=y CFG_REE_FS_ALLOW_RESET=y
        ;;
    *) fail "unknown OP-TEE variant $VARIANT" ;;
    esac
}

# build FOLDER ARGUMENT...
build() {
    local folder=$1
    shift
    # The core says how often it was built in this folder.
    rm -f "$folder/core/.buildcount"
    # Without a limit, OP-TEE's make would take this repository's commit for its own version.
    logged "optee-${folder##*/}" env GIT_CEILING_DIRECTORIES="$BUILD" SOURCE_DATE_EPOCH="$date" make -j"$JOBS" -C "$SOURCE" O="$folder" "${COMMON[@]}" "$@"
}

lock
prepare_source
[ "$VARIANT" != source ] || exit 0
date=$(source_date)
COMMON+=(TEE_IMPL_VERSION="$(sed -n 's/^CFG_OPTEE_REVISION_\(MAJOR\|MINOR\) ?= //p' "$SOURCE/mk/config.mk" | paste -sd .)")
if [ "$VARIANT" = devkit ]; then
    # With the statistics of the heap, which cost nothing until a core asks: so what the lab measures is
    # the product's broker and no other.
    COMMON+=(CFG_WITH_STATS=y CFG_TA_STATS=y)
    folder=$BUILD/optee/devkit kit=$BUILD/optee/devkit/export-ta_arm64
    inputs=$(key "$(cat "$STAMPS/optee-source")" "${COMMON[*]}" "$(compilers)")
    fresh optee-devkit "$inputs" "$kit" && exit
    unmark optee-devkit
    say "building OP-TEE's TA dev kit, about 15 s"
    rm -rf "$folder"
    build "$folder" ta_dev_kit
    # The private key everybody has must not be at hand.
    rm -f "$kit/keys/default_ta.pem"
    mark optee-devkit "$inputs" "$kit"
else
    [ -e "$TA_SIGNING_KEY" ] || fail "$TA_SIGNING_KEY is missing; make it with: make keys"
    source_key=$(cat "$STAMPS/optee-source") STAMPS=$KEYED/stamp
    mapfile -t variant_flags < <(flags)
    own=("${BOARD_OPTEE_FILES[@]/#/$QEMU_DIR/}" "${VARIANT_FILES[@]/#/$QEMU_DIR/}" "$ROOT"/ta/pta/*.[ch] "$ROOT/ta/pta/sub.mk")
    folder=$KEYED/optee/$VARIANT
    made=("$folder"/core/tee-{header,pager}_v2.bin)
    inputs=$(key "$source_key" "${COMMON[*]}" "$(compilers)" "${variant_flags[*]}" "$date" "$(key_of_files "$0" "$SCRIPTS/check/core.py" "${own[@]}" "$TA_SIGNING_KEY" "$@")")
    fresh "optee-$VARIANT" "$inputs" "${made[@]}" && exit
    unmark "optee-$VARIANT"
    # make does not know the compiler that it had.
    [ "$(cat "$folder/compilers" 2>/dev/null)" = "$(compilers)" ] || rm -rf "$folder"
    say "building OP-TEE core ($VARIANT), $([ -d "$folder" ] && echo "about 10 s when little changed" || echo "about 40 s")"
    # OP-TEE's make goes by the key's time, and an older key with other contents would not be noticed.
    mkdir -p "$folder"
    compilers >"$folder/compilers"
    copy_if_changed "$TA_SIGNING_KEY" "$folder/ta-signing.pub.pem"
    build "$folder" "${variant_flags[@]}" TA_PUBLIC_KEY="$folder/ta-signing.pub.pem" EARLY_TA_PATHS="$*" all
    "$PYTHON3" "$SCRIPTS/check/core.py" "$folder/core" "$TA_SIGNING_KEY" "$@" || fail "nothing was built"
    mark "optee-$VARIANT" "$inputs" "${made[@]}"
fi
