#!/bin/bash
# Runs the tests of the platform-free crates on 32-bit ARM, under QEMU's user emulation.
#   arm32.sh CRATE...
#
# The standard library is the compiler's own where it has one (`rustup target add
# armv7-unknown-linux-gnueabihf`), else the distribution's for that compiler. It and OpenSSL, which the
# tests compare with, are unpacked into .cache/armhf.
set -euo pipefail
. "$(dirname "$0")/../common.sh"
# shellcheck source=qemu/scripts/setup/private-apt.sh
. "$SCRIPTS/setup/private-apt.sh"

TARGET=armv7-unknown-linux-gnueabihf
ARMHF=$CACHE/armhf
STD=$ARMHF/root/usr/lib/rustlib/$TARGET/lib
# Mirrors may lag with the lists of architectures that few use, so what Debian 12 has is named here.
STD_RUSTC=1.96.0
STD_SUITE=bookworm-security
STD_FILE=pool/updates/main/r/rustc-web/libstd-rust-web-dev_1.96.0+dfsg1-1~deb12u2_armhf.deb
STD_SHA256=b9f9dd1d03a903680f918cb2bba00a2a3d76558545d5e6a8061072ab461bb989

# armhf_apt PATTERN: the lists of the machine's repositories whose addresses match.
armhf_apt() {
    repositories | awk -v key="$DEBIAN_KEYRING" -v pattern="$1" '$1 ~ pattern { print "deb [signed-by=" key "] " $1 " " $2 " main" }' >"$ARMHF/sources"
    private_apt "$ARMHF/apt" armhf armhf <"$ARMHF/sources"
}

fetch_std() {
    local mirror
    mirror=$(repositories | awk -v suite="$STD_SUITE" '$2 == suite { print $1; exit }')
    if [ "$(rustc --version | awk '{ print $2 }')" = "$STD_RUSTC" ] && [ -n "$mirror" ]; then
        /usr/lib/apt/apt-helper download-file "${mirror%/}/$STD_FILE" "$ARMHF/packages/std.deb" "SHA256:$STD_SHA256" >"$ARMHF/log" 2>&1 && return
        tail -n 3 "$ARMHF/log" >&2
        fail "$STD_FILE cannot be downloaded; is there a network?"
    fi
    armhf_apt .
    download "$ARMHF/packages" libstd-rust-web-dev
}

fetch() {
    local package
    say "downloading OpenSSL and the standard library for 32-bit ARM, about 45 MB"
    rm -rf "$ARMHF"
    mkdir -p "$ARMHF"/{packages,root}
    [ "$own_std" = yes ] || fetch_std
    armhf_apt '/debian/?$'
    if ! apt-get install -qq -y --download-only --no-install-recommends libssl-dev >"$ARMHF/log" 2>&1; then
        tail -n 5 "$ARMHF/log" >&2
        fail "OpenSSL for 32-bit ARM cannot be downloaded; is there a network?"
    fi
    for package in "$ARMHF"/packages/*.deb "$ARMHF"/apt/cache/archives/*.deb; do
        [ ! -e "$package" ] || dpkg-deb -x "$package" "$ARMHF/root"
    done
    # Where Debian has two folders, OpenSSL's crate knows one.
    mkdir "$ARMHF/include"
    cp -r "$ARMHF"/root/usr/include/{,arm-linux-gnueabihf/}openssl "$ARMHF/include/"
    # The emulator looks for the loader where Linux has it.
    [ -e "$ARMHF/root/lib" ] || ln -s usr/lib "$ARMHF/root/lib"
    unset APT_CONFIG
    rm -rf "$ARMHF/apt" "$ARMHF/packages"
}

lock
"$SCRIPTS/setup/host-packages.sh" 32
# shellcheck source=/dev/null
. "$CACHE/rust.env"
own_std=no
if compgen -G "$(rustc --print target-libdir --target $TARGET)/libcore-*.rlib" >/dev/null; then
    own_std=yes
fi
inputs=$(key "$(rustc --version)" "$own_std" "$(key_of_files "$0")")
if ! fresh armhf "$inputs" "$ARMHF"/{root,include}; then
    unmark armhf
    fetch
    mark armhf "$inputs" "$ARMHF"/{root,include}
fi

flags=(-C linker=arm-linux-gnueabihf-gcc)
[ "$own_std" = yes ] || flags+=(-L "$STD")
echo '#![no_std]' | rustc "${flags[@]}" --target $TARGET --crate-type lib --emit=metadata -o "$ARMHF/probe" - 2>"$ARMHF/log" ||
    fail "the standard library for $TARGET is not this compiler's; with rustup: rustup target add $TARGET"

libraries=$ARMHF/root/usr/lib/arm-linux-gnueabihf
export CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_RUSTFLAGS=${flags[*]}
export CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_RUNNER="qemu-arm -L $ARMHF/root"
export ARMV7_UNKNOWN_LINUX_GNUEABIHF_OPENSSL_LIB_DIR=$libraries
export ARMV7_UNKNOWN_LINUX_GNUEABIHF_OPENSSL_INCLUDE_DIR=$ARMHF/include
packages=()
for crate; do
    packages+=(-p "$crate")
done
say "testing $* on 32-bit ARM"
if "$SCRIPTS/build/cargo.sh" nextest --version >/dev/null 2>&1; then
    "$SCRIPTS/build/cargo.sh" nextest run --locked --target $TARGET "${packages[@]}"
else
    "$SCRIPTS/build/cargo.sh" test --quiet --locked --target $TARGET "${packages[@]}" --tests
fi
