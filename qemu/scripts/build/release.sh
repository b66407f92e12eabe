#!/bin/bash
# Packs an image as what a board or QEMU takes: into release/ in the board's part of .cache what is
# delivered, into factory/ and development/ what is not.
#   release.sh product|factory|development
#
# Each packing has a hardware key of its own, that nobody else knows but who reads the file: so only its
# owner may. What is delivered is therefore packed at each call; a development image only when something
# changed. Needs no root: the tools write into the image file.
set -euo pipefail
. "$(dirname "$0")/../common.sh"
# shellcheck source=../../boards/qemu.conf
. "$QEMU_DIR/boards/$BOARD.conf"

VARIANT=${1:?an image}
STAMPS=$KEYED/stamp
IMAGE=$KEYED/image/$VARIANT
case $VARIANT in
product) RELEASE=$KEYED/release suffix='' ;;
factory | development) RELEASE=$KEYED/$VARIANT suffix=-$VARIANT ;;
*) fail "an image $VARIANT is not packed" ;;
esac
PROGRAM=$CACHE/target/debug/otrp-qemu
# Sectors of 512 octets: the first MiB is left to the table, as partitioning tools do.
BOOT_START=2048
BOOT_SECTORS=$((96 << 11))
DATA_SECTORS=$((64 << 11))

# card: an image file with a boot partition (FAT), one with the programs (ext4, mounted read-only) and one
# for secure storage (ext4, empty).
card() {
    local work=$RELEASE/new file root_start=$((BOOT_START + BOOT_SECTORS)) root_sectors data_start
    root_sectors=$(($(stat -c %s "$IMAGE/root.img") / 512))
    data_start=$((root_start + root_sectors))
    local card=$work/card$suffix.img boot=$work/boot data=$work/data
    mkfs.vfat -F 32 -n OTRP-BOOT -C "$boot" $((BOOT_SECTORS / 2)) >/dev/null
    for file in "${BOARD_FIRMWARE_FILES[@]/#/$BUILD/firmware/root/}" "${BOARD_CARD_FILES[@]/#/$QEMU_DIR/}" \
        "$IMAGE/device-tree.dtb" "$IMAGE/initrd.cpio"; do
        mcopy -i "$boot" "$file" ::
    done
    mcopy -i "$boot" "$IMAGE/kernel" ::kernel8.img
    "$PROGRAM" --board "$BOARD" boot-file --image "$IMAGE" "$work/$BOARD_BOOT_FILE"
    mcopy -i "$boot" "$work/$BOARD_BOOT_FILE" ::
    "$SCRIPTS/build/ext4.sh" "$data" $((DATA_SECTORS / 2)) "$BOARD_DATA_LABEL"

    truncate -s $(((data_start + DATA_SECTORS) * 512)) "$card"
    # The identifier would be random, and nothing asks for it.
    sfdisk -q "$card" <<TABLE
label: dos
label-id: 0x4f547250
start=$BOOT_START, size=$BOOT_SECTORS, type=c, bootable
start=$root_start, size=$root_sectors, type=83
start=$data_start, size=$DATA_SECTORS, type=83
TABLE
    dd if="$boot" of="$card" seek=$BOOT_START conv=notrunc,sparse status=none
    dd if="$IMAGE/root.img" of="$card" seek=$root_start conv=notrunc,sparse status=none
    dd if="$data" of="$card" seek=$data_start conv=notrunc,sparse status=none
    rm "$boot" "$data" "$work/$BOARD_BOOT_FILE"
}

# folder: what QEMU needs, and a script that starts it.
folder() {
    local name=otrp-$BOARD$suffix folder
    folder=$RELEASE/new/$name
    mkdir -p "$folder/device/storage"
    cp "$IMAGE/kernel" "$IMAGE/initrd.cpio" "$folder/"
    "$PROGRAM" --board "$BOARD" boot-file --image "$IMAGE" "$folder/device/$BOARD_BOOT_FILE"
    "$PROGRAM" --board "$BOARD" script --image "$IMAGE" >"$folder/run.sh"
    chmod 755 "$folder/run.sh"
    # Sparse: most of a flash is nothing.
    tar -C "$RELEASE/new" -cSzf "$RELEASE/new/$name.tar.gz" "$name"
    rm -r "$folder"
}

lock
# Another maker's image may have taken the place of the one that was asked for.
[ "$(cat "$STAMPS/image-$VARIANT" 2>/dev/null)" = "$(key "$(contents "$IMAGE")" "$(keys_of_image)")" ] ||
    fail "${IMAGE#"$ROOT/"} is not what was built with these keys; build it again, and give each maker a name (OTRP_MAKER)"
# What is in the image, and what is put beside it.
mapfile -t files < <(find "$IMAGE" "$QEMU_DIR/boards" -type f | LC_ALL=C sort)
inputs=$(key "$(key_of_files "$0" "$PROGRAM" "${files[@]}")" "$(cat "$BUILD/stamp/firmware" 2>/dev/null)")
[ "$VARIANT" != development ] || ! fresh "release-$VARIANT" "$inputs" "$RELEASE" || exit 0
unmark "release-$VARIANT"
"$SCRIPTS/setup/host-packages.sh" "$BOARD_RELEASE"
umask 077
rm -rf "$RELEASE"
mkdir -p "$RELEASE/new"
case $BOARD_RELEASE in
card)
    say "making the card's image ($VARIANT), about 5 s"
    card
    ;;
folder)
    say "packing what runs without this tree ($VARIANT), about 5 s"
    folder
    ;;
*) fail "nobody knows how to make a $BOARD_RELEASE" ;;
esac
mv "$RELEASE"/new/* "$RELEASE/"
rmdir "$RELEASE/new"
mark "release-$VARIANT" "$inputs" "$RELEASE"
say "made: $(find "$RELEASE" -type f -printf "${RELEASE#"$ROOT/"}/%f\n")"
