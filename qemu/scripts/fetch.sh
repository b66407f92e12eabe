#!/bin/bash
# Downloads and unpacks what is not ours: the sources of OP-TEE and TF-A and the guest's programs.
#
# Sources are the distribution's packages with its security fixes, pinned by SHA-256. OPTEE_OS_DIR
# and TF_A_DIR name own trees to use instead. What is in .cache is never downloaded again.
set -euo pipefail
. "$(dirname "$0")/common.sh"
. "$SCRIPTS/private-apt.sh"
# shellcheck source=../boards/qemu.conf
. "$QEMU_DIR/boards/$BOARD.conf"

OPTEE_OS_VERSION=4.10.0-2
TF_A_VERSION=2.12.1+dfsg-1
OPTEE_OS_FILES='18633691cb075ff2249422251f1cd77c30439a95b564b46682dea1fb6580a5af  optee-os_4.10.0.orig.tar.gz
4f0bad3d39b5623da371845a337bfcae826916e871c54f35017c9931178f01d4  optee-os_4.10.0-2.debian.tar.xz'
TF_A_FILES='332c08d71867b7f0dce0bce4cb2abd80f19cb3e0a2de6fe07245c111189d6fb7  arm-trusted-firmware_2.12.1+dfsg.orig.tar.xz
b553d2ae6149784736979ee1bb6e391a579edc1551ec57618a486b6a1783cbe9  arm-trusted-firmware_2.12.1+dfsg-1.debian.tar.xz'

# The guest's user space and kernel come from the stable suite, which does not move.
GUEST_SUITE=trixie
GUEST_PACKAGES=(busybox-static libc6 libgcc-s1)
# The TEE client may be any version from 4.5 on; should the stable one be gone, the newest serves.
CLIENT_PACKAGES=(libteec2 tee-supplicant)

DOWNLOADS=$CACHE/download
SOURCES=$CACHE/src
GUEST=$CACHE/guest

present() { (cd "$DOWNLOADS" 2>/dev/null && sha256sum -c --status <<<"$1") 2>/dev/null; }

# The lists are read once, and only when something has to be downloaded.
use_apt() {
    [ -z "${APT_CONFIG:-}" ] || return 0
    local mirror suite
    mirror=$(mirror)
    say "reading the package lists of $GUEST_SUITE and sid, about 15 s"
    for suite in "$GUEST_SUITE" sid; do
        printf '%s [signed-by=%s] %s %s main\n' deb "$DEBIAN_KEYRING" "$mirror" "$suite" deb-src "$DEBIAN_KEYRING" "$mirror" "$suite"
    done >"$CACHE/sources.list"
    private_apt "$CACHE/apt" arm64 arm64 <"$CACHE/sources.list"
    rm "$CACHE/sources.list"
}

# fetch_source PACKAGE VERSION FILES VARIABLE: the pinned files of a source package.
fetch_source() {
    present "$3" && return
    use_apt
    mkdir -p "$DOWNLOADS" "$CACHE/log"
    say "downloading the source of $1 $2"
    (cd "$DOWNLOADS" && apt-get source -qq --download-only "$1=$2") >"$CACHE/log/download-$1.log" 2>&1 || {
        tail -n 5 "$CACHE/log/download-$1.log" >&2
        fail "the mirror has no source of $1 $2 (or there is no network); set $4 to a tree of your own"
    }
    present "$3" || fail "the source of $1 $2 is not the one pinned by SHA-256 in qemu/scripts/fetch.sh"
}

# unpack_source NAME FILES: into .cache/src/NAME, with the distribution's security fixes.
unpack_source() {
    local name=$1 target=$SOURCES/$1 upstream debian patch
    fresh "source-$name" "$(key "$2")" && [ -d "$target" ] && return
    unmark "source-$name"
    upstream=$(awk 'NR == 1 { print $2 }' <<<"$2")
    debian=$(awk 'NR == 2 { print $2 }' <<<"$2")
    rm -rf "$target"
    mkdir -p "$target"
    tar xf "$DOWNLOADS/$upstream" -C "$target" --strip-components=1
    tar xf "$DOWNLOADS/$debian" -C "$target"
    while read -r patch; do
        patch -d "$target" -p1 -s <"$target/debian/patches/$patch" >&2 || fail "$patch does not apply to $name"
    done < <(sed -E '/^(#|$)/d; s/ .*//' "$target/debian/patches/series")
    mark "source-$name" "$(key "$2")"
}

fetch_guest() {
    local kernel release
    fresh guest "$1" && return
    unmark guest
    use_apt
    kernel=$(apt-cache show "linux-image-arm64/$GUEST_SUITE" 2>/dev/null | sed -n 's/^Depends: .*\(linux-image-[0-9][^ ,]*\).*/\1/p' | head -n 1)
    [ -n "$kernel" ] || fail "$GUEST_SUITE has no arm64 kernel on this mirror"
    say "downloading the guest's kernel and programs (arm64), about 70 MB"
    rm -rf "$GUEST"
    mkdir -p "$GUEST"/{packages,root,kernel,client/usr/lib}
    download "$GUEST/packages" "$kernel/$GUEST_SUITE" "${GUEST_PACKAGES[@]/%//$GUEST_SUITE}"
    (download "$GUEST/packages" "${CLIENT_PACKAGES[@]/%//$GUEST_SUITE}") 2>/dev/null ||
        download "$GUEST/packages" "${CLIENT_PACKAGES[@]/%//sid}"

    dpkg-deb -x "$GUEST/packages/$kernel"_*.deb "$GUEST/kernel"
    rm "$GUEST/packages/$kernel"_*.deb
    for release in "$GUEST"/packages/*.deb; do
        dpkg-deb -x "$release" "$GUEST/root"
    done
    # modprobe and depmod look in /lib
    [ -e "$GUEST/kernel/lib" ] || ln -s usr/lib "$GUEST/kernel/lib"
    depmod -b "$GUEST/kernel" "$(basename "$GUEST"/kernel/lib/modules/*)"
    # Linked by name when the arm64 programs are built; has no other user.
    cp -L "$GUEST"/root/usr/lib/aarch64-linux-gnu/libteec.so.2 "$GUEST/client/usr/lib/libteec.so"
    mark guest "$1"
}

# fetch_firmware: what the board's maker has for its boot partition, and Debian beside `main`.
fetch_firmware() {
    local package=$BOARD_FIRMWARE_PACKAGE STAMPS=$BUILD/stamp
    fresh firmware "$(key "$GUEST_SUITE" "$package")" && return
    unmark firmware
    say "downloading the board's boot firmware, about 10 s"
    # Lists of its own, that cost nothing: those of `main` may be in use.
    private_apt "$CACHE/apt-firmware" arm64 arm64 <<<"deb [signed-by=$DEBIAN_KEYRING] $(mirror) $GUEST_SUITE non-free-firmware"
    rm -rf "$BUILD/firmware"
    mkdir -p "$BUILD/firmware/root"
    download "$BUILD/firmware" "$package/$GUEST_SUITE"
    dpkg-deb -x "$BUILD"/firmware/*.deb "$BUILD/firmware/root"
    unset APT_CONFIG
    mark firmware "$(key "$GUEST_SUITE" "$package")"
}

lock
if [ -z "${OPTEE_OS_DIR:-}" ]; then
    fetch_source optee-os "$OPTEE_OS_VERSION" "$OPTEE_OS_FILES" OPTEE_OS_DIR
    unpack_source optee-os "$OPTEE_OS_FILES"
elif [ ! -e "$OPTEE_OS_DIR/core/core.mk" ]; then
    fail "OPTEE_OS_DIR=$OPTEE_OS_DIR is no OP-TEE source tree"
fi
if [ -z "${TF_A_DIR:-}" ]; then
    fetch_source arm-trusted-firmware "$TF_A_VERSION" "$TF_A_FILES" TF_A_DIR
    unpack_source arm-trusted-firmware "$TF_A_FILES"
elif [ ! -e "$TF_A_DIR/bl31/bl31.mk" ]; then
    fail "TF_A_DIR=$TF_A_DIR is no TF-A source tree"
fi
fetch_guest "$(key "$GUEST_SUITE" "${GUEST_PACKAGES[@]}" "${CLIENT_PACKAGES[@]}")"
[ -z "${BOARD_FIRMWARE_PACKAGE:-}" ] || fetch_firmware
