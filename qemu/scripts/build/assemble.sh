#!/bin/bash
# Puts together what a device boots from, in image/VARIANT.
#   assemble.sh VARIANT
set -euo pipefail
. "$(dirname "$0")/../common.sh"
# shellcheck source=../../boards/qemu.conf
. "$QEMU_DIR/boards/$BOARD.conf"

VARIANT=${1:?a variant}
# Room in a device tree for what firmware, OP-TEE and the emulation's settings add.
DEVICE_TREE_ROOM=16384
DATA_SIZE=64M

# settings: what the harness has to know of the board, a line each.
settings() {
    local name argument
    for name in BOOT_FILE PACKAGE_OFFSET PACKAGE_LIMIT FLASH_SIZE FLASH_COUNTER_SIZE DISK CONTROL COMMAND_LINE INITRD_ADDRESS; do
        local -n value=BOARD_$name
        [ -z "${value:-}" ] || printf '%s=%s\n' "$(tr '[:upper:]_' '[:lower:]-' <<<"$name")" "$value"
    done
    [ -z "${BOARD_DEVICE_TREE:-}" ] || echo device-tree=device-tree.dtb
    for name in QEMU QEMU_DRIVEN QEMU_TERMINAL; do
        local -n arguments=BOARD_$name
        for argument in "${arguments[@]}"; do
            printf '%s=%s\n' "$(tr '[:upper:]_' '[:lower:]-' <<<"$name")" "$argument"
        done
    done
}

# device_tree FILE: the kernel's own tree for the board, with the board's changes.
device_tree() {
    local edit words
    dtc -q -I dtb -O dtb -p $DEVICE_TREE_ROOM -o "$1" "$CACHE"/guest/kernel/usr/lib/linux-image-*/"$BOARD_DEVICE_TREE"
    for edit in "${BOARD_DEVICE_TREE_EDITS[@]}"; do
        read -ra words <<<"$edit"
        # The options come before the file.
        case ${words[0]} in
        -t) fdtput -t "${words[1]}" "$1" "${words[@]:2}" ;;
        *) fdtput "${words[0]}" "$1" "${words[@]:1}" ;;
        esac
    done
}

lock
# A factory boots the product with a Linux of its own.
core=$VARIANT
[ "$core" != factory ] || core=product
image=$KEYED/image/$VARIANT
mkdir -p "$image"
for stage in bl1 bl2 bl31; do
    copy_if_changed "$BUILD"/tf-a/*/release/$stage.bin "$image/$stage.bin"
done
for part in tee-header_v2.bin tee-pager_v2.bin; do
    copy_if_changed "$KEYED/optee/$core/core/$part" "$image/$part"
done
copy_if_changed "$CACHE"/guest/kernel/boot/vmlinuz-* "$image/kernel"
copy_if_changed "$KEYED/guest/$VARIANT.cpio" "$image/initrd.cpio"
[ -z "${BOARD_ROOT_LABEL:-}" ] || copy_if_changed "$KEYED/guest/$VARIANT.img" "$image/root.img"
settings >"$image/board"
if [ -n "${BOARD_DEVICE_TREE:-}" ]; then
    device_tree "$image/device-tree.dtb"
fi
if [ -n "${BOARD_DISK:-}" ]; then
    "$SCRIPTS/build/ext4.sh" "$image/$BOARD_DISK" $DATA_SIZE "$BOARD_DATA_LABEL"
fi
