#!/bin/bash
# Packs the guest's file system: busybox, tee-supplicant, kernel modules and our programs.
#   build-guest.sh VARIANT PROGRAM...    into guest/VARIANT.cpio; PROGRAMs go to /usr/bin
#
# No trusted application is in it: whatever runs in the TEE came through the broker or the image.
set -euo pipefail
. "$(dirname "$0")/common.sh"
# shellcheck source=../boards/qemu.conf
. "$QEMU_DIR/boards/$BOARD.conf"

GUEST=$CACHE/guest
LIBRARIES=usr/lib/aarch64-linux-gnu
VARIANT=${1:?a variant}
shift
STAMPS=$BUILD/stamp

# The files' modes are the guest's, not the builder's.
umask 022
lock
inputs=$(key "$(cat "$CACHE/stamp/guest")" "${BOARD_MODULES[*]}" "$(key_of_files "$0" "$QEMU_DIR"/guest/* "$@")")
fresh "guest-$VARIANT" "$inputs" && exit
unmark "guest-$VARIANT"
say "packing the guest's file system ($VARIANT), about 2 s"

root=$BUILD/guest/$VARIANT
rm -rf "$root"
mkdir -p "$root"/{bin,usr/bin,usr/sbin,$LIBRARIES,etc,root,modules}
ln -s usr/lib "$root/lib"
ln -s aarch64-linux-gnu/ld-linux-aarch64.so.1 "$root/usr/lib/ld-linux-aarch64.so.1"
cp "$QEMU_DIR/guest/init" "$root/init"
cp "$GUEST/root/usr/bin/busybox" "$root/bin/busybox"
cp "$GUEST/root/usr/sbin/tee-supplicant" "$root/usr/sbin/"
for library in ld-linux-aarch64.so.1 libc.so.6 libm.so.6 libgcc_s.so.1 libteec.so.2; do
    cp -L "$GUEST/root/$LIBRARIES/$library" "$root/$LIBRARIES/"
done
cp "$QEMU_DIR/guest/dhcp" "$root/etc/dhcp"
chmod 755 "$root/etc/dhcp"
echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
echo 'root:x:0:' >"$root/etc/group"
for program; do
    install -m 755 "$program" "$root/usr/bin/"
    aarch64-linux-gnu-strip "$root/usr/bin/${program##*/}"
done

# A program whose library is not there would only be noticed in the guest.
for program in "$root"/usr/{bin,sbin}/*; do
    while read -r library; do
        [ -e "$root/$LIBRARIES/$library" ] || fail "${program##*/} needs $library, which the guest does not have"
    done < <(aarch64-linux-gnu-readelf -d "$program" 2>/dev/null | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
done

kernel=$(basename "$GUEST"/kernel/lib/modules/*)
for module in "${BOARD_MODULES[@]}"; do
    modprobe -d "$GUEST/kernel" -S "$kernel" --show-depends "$module"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
    name=${file##*/}
    case $name in
    *.xz) xz -dc "$file" >"$root/modules/${name%.xz}" ;;
    *) cp "$file" "$root/modules/$name" ;;
    esac
    echo "${name%.xz}" >>"$root/modules/order"
done
chmod 755 "$root/init" "$root/bin/busybox"
find "$root" -exec touch -h -d @0 {} +
(cd "$root" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --reproducible --quiet) >"$BUILD/guest/$VARIANT.cpio"
rm -rf "$root"
mark "guest-$VARIANT" "$inputs"
