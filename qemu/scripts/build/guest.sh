#!/bin/bash
# Packs the guest's file systems: busybox, tee-supplicant, kernel modules and our programs.
#   guest.sh VARIANT PROGRAM...    into guest/VARIANT.cpio; PROGRAMs go to /usr/bin
#
# All variants but the product get guest/console too: a root shell, and a channel that the host drives them
# through. A product has neither, whatever its kernel's command line says.
#
# For a board that has BOARD_ROOT_LABEL the programs are in a root file system, guest/VARIANT.img (ext4),
# and the initial file system only finds that.
#
# No trusted application is in it: whatever runs in the TEE came through the broker or the image.
set -euo pipefail
. "$(dirname "$0")/../common.sh"
# shellcheck source=../../boards/qemu.conf
. "$QEMU_DIR/boards/$BOARD.conf"

GUEST=$CACHE/guest
LIBRARIES=usr/lib/aarch64-linux-gnu
ROOT_SIZE=32M
VARIANT=${1:?a variant}
shift
STAMPS=$KEYED/stamp

# The files' modes are the guest's, not the builder's.
umask 022
lock
inputs=$(key "$(cat "$CACHE/stamp/guest")" "${BOARD_MODULES[*]}" "${BOARD_ROOT_LABEL:-}" "$(key_of_files "$0" "$SCRIPTS/build/ext4.sh" "$QEMU_DIR"/guest/* "$@")")
made=("$KEYED/guest/$VARIANT.cpio")
[ -z "${BOARD_ROOT_LABEL:-}" ] || made+=("$KEYED/guest/$VARIANT.img")
fresh "guest-$VARIANT" "$inputs" "${made[@]}" && exit
unmark "guest-$VARIANT"
say "packing the guest's file systems ($VARIANT), about 2 s"

work=$KEYED/guest/$VARIANT
initial=$work/initial root=$work/initial
[ -z "${BOARD_ROOT_LABEL:-}" ] || root=$work/root

# skeleton FOLDER: what the initial and the root file system both have.
skeleton() {
    mkdir -p "$1"/{bin,dev,mnt,proc,root,run,sys,tmp,usr/lib/otrp}
    cp "$GUEST/root/usr/bin/busybox" "$1/bin/busybox"
    chmod 755 "$1/bin/busybox"
    # The other names of busybox are links in /run, made at each start.
    ln -sf busybox "$1/bin/sh"
    cp "$QEMU_DIR/guest/functions" "$1/usr/lib/otrp/"
}

# drivers FOLDER: kernel modules, and the order that they are loaded in.
drivers() {
    local kernel module file name
    mkdir "$1/modules"
    kernel=$(basename "$GUEST"/kernel/lib/modules/*)
    for module in "${BOARD_MODULES[@]}"; do
        modprobe -d "$GUEST/kernel" -S "$kernel" --show-depends "$module"
    done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
        name=${file##*/}
        case $name in
        *.xz) xz -dc "$file" >"$1/modules/${name%.xz}" ;;
        *) cp "$file" "$1/modules/$name" ;;
        esac
        echo "${name%.xz}" >>"$1/modules/order"
    done
}

# programs FOLDER PROGRAM...: tee-supplicant and the programs, with their libraries.
programs() {
    local folder=$1 library program
    shift
    mkdir -p "$folder"/{usr/bin,usr/sbin,$LIBRARIES,etc,var/lib/tee}
    ln -s usr/lib "$folder/lib"
    ln -s aarch64-linux-gnu/ld-linux-aarch64.so.1 "$folder/usr/lib/ld-linux-aarch64.so.1"
    cp "$GUEST/root/usr/sbin/tee-supplicant" "$folder/usr/sbin/"
    for library in ld-linux-aarch64.so.1 libc.so.6 libm.so.6 libgcc_s.so.1 libteec.so.2; do
        cp -L "$GUEST/root/$LIBRARIES/$library" "$folder/$LIBRARIES/"
    done
    install -m 755 "$QEMU_DIR/guest/dhcp" "$folder/usr/lib/otrp/dhcp"
    ln -s ../run/resolv.conf "$folder/etc/resolv.conf"
    echo 'root:x:0:0:root:/root:/bin/sh' >"$folder/etc/passwd"
    echo 'root:x:0:' >"$folder/etc/group"
    for program; do
        install -m 755 "$program" "$folder/usr/bin/"
        aarch64-linux-gnu-strip "$folder/usr/bin/${program##*/}"
    done

    # A program whose library is not there would only be noticed in the guest.
    for program in "$folder"/usr/{bin,sbin}/*; do
        while read -r library; do
            [ -e "$folder/$LIBRARIES/$library" ] || fail "${program##*/} needs $library, which the guest does not have"
        done < <(aarch64-linux-gnu-readelf -d "$program" 2>/dev/null | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
    done
    install -m 755 "$QEMU_DIR/guest/start" "$folder/usr/sbin/start"
    [ "$VARIANT" = product ] || cp "$QEMU_DIR/guest/console" "$folder/usr/lib/otrp/console"
    # The first line on the console.
    echo "$VARIANT" >"$folder/etc/otrp-image"
}

rm -rf "$work"
skeleton "$initial"
drivers "$initial"
install -m 755 "$QEMU_DIR/guest/init" "$initial/init"
[ "$root" = "$initial" ] || skeleton "$root"
programs "$root" "$@"
find "$work" -exec touch -h -d @0 {} +
if [ "$root" != "$initial" ]; then
    "$SCRIPTS/build/ext4.sh" "$work.img" $ROOT_SIZE "$BOARD_ROOT_LABEL" "$root"
    # A product takes no other, whatever disk has its label.
    if [ "$VARIANT" = product ]; then
        sha256sum <"$work.img" | cut -c1-64 >"$initial/root.sha256"
        touch -d @0 "$initial/root.sha256" "$initial"
    fi
fi
(cd "$initial" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --reproducible --quiet) >"$work.cpio"
rm -rf "$work"
mark "guest-$VARIANT" "$inputs" "${made[@]}"
