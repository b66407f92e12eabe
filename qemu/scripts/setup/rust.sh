#!/bin/bash
# Finds or unpacks a Rust that compiles for this machine and for arm64; writes .cache/rust.env.
#
# The user's own cargo and rustc serve when they are new enough and have the arm64 standard library, clippy
# and rustfmt (`rustup target add aarch64-unknown-linux-gnu`, `rustup component add clippy rustfmt`).
# Otherwise the distribution's cargo-web and rustc-web, both standard libraries, clippy and rustfmt are
# unpacked into .cache/rust: neither the system nor ~/.rustup changes, and one compiler builds everything
# (libraries of two do not mix).
set -euo pipefail
. "$(dirname "$0")/../common.sh"
# shellcheck source=qemu/scripts/setup/private-apt.sh
. "$SCRIPTS/setup/private-apt.sh"

TARGET=aarch64-unknown-linux-gnu
NEEDED=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")
RUST=$CACHE/rust

# serves COMMAND...: COMMAND is a rustc that is new enough and has both standard libraries.
serves() {
    local version libraries
    version=$("$@" --version 2>/dev/null | awk '{ print $2 }')
    [ -n "$version" ] || return 1
    [ "$(printf '%s\n' "$NEEDED" "$version" | sort -V | head -n 1)" = "$NEEDED" ] || return 1
    libraries=$("$@" --print target-libdir --target $TARGET 2>/dev/null) || return 1
    compgen -G "$libraries/libcore-*.rlib" >/dev/null
}

# installed_cargo: the user's cargo and rustc serve.
installed_cargo() {
    { cargo --version && cargo clippy --version && cargo fmt --version; } >/dev/null 2>&1 && serves rustc
}
unpacked_cargo() {
    local run=(env LD_LIBRARY_PATH="$RUST/lib")
    "${run[@]}" "$RUST/bin/cargo" --version >/dev/null 2>&1 && serves "${run[@]}" "$RUST/bin/rustc"
}

unpack() {
    local work=$CACHE/rust.new machine multiarch packages=() package
    machine=$(dpkg --print-architecture)
    multiarch=$(gcc -print-multiarch 2>/dev/null || true)
    [ -n "$multiarch" ] || multiarch=$(uname -m)-linux-gnu
    say "this machine has no Rust $NEEDED with the arm64 standard library, clippy and rustfmt; unpacking the distribution's into .cache/rust, about 30 s"
    rm -rf "$work"
    mkdir -p "$work/root"
    repositories | awk -v key="$DEBIAN_KEYRING" '{ print "deb [signed-by=" key "] " $1 " " $2 " main" }' >"$work/sources"
    [ -s "$work/sources" ] || fail "apt knows no Debian mirror on this machine, so Rust $NEEDED with $TARGET has to be installed by hand"
    private_apt "$work/apt" "$machine" "$machine,arm64" <"$work/sources"
    packages=(cargo-web rustc-web libstd-rust-web-dev rust-web-clippy rustfmt-web)
    # What is installed need not be unpacked; an installed rustc would only be in conflict.
    awk 'BEGIN { RS = ""; ORS = "\n\n" } !/^Package: (rust|cargo|libstd-rust)/' /var/lib/dpkg/status >"$work/apt/status"
    if ! apt-get install -qq -y --download-only --no-install-recommends "${packages[@]}" >"$work/apt/log" 2>&1; then
        tail -n 5 "$work/apt/log" >&2
        fail "the distribution's Rust packages cannot be downloaded; is there a network?"
    fi
    download "$work/apt/cache/archives" libstd-rust-web-dev:arm64
    for package in "$work"/apt/cache/archives/*.deb; do
        dpkg-deb -x "$package" "$work/root"
    done
    mkdir -p "$work/rust/lib"
    mv "$work/root/usr/bin" "$work/rust/bin"
    # rustc looks for its standard libraries beside the directory its own library lies in.
    for package in "$work/root/usr/lib/$multiarch" "$work/root/lib/$multiarch" "$work/root/usr/lib"; do
        find "$package" -maxdepth 1 \( -name '*.so*' -o -name rustlib \) -exec mv -t "$work/rust/lib" -- {} + 2>/dev/null || true
    done
    rm -rf "$RUST"
    mv "$work/rust" "$RUST"
    unset APT_CONFIG
    rm -rf "$work"
    unpacked_cargo || fail "the Rust in .cache/rust is older than $NEEDED or does not run; install Rust $NEEDED with the target $TARGET"
}

lock
if installed_cargo; then
    environment="# the installed cargo and rustc serve"
else
    unpacked_cargo || unpack
    environment="export PATH='$RUST/bin':\$PATH LD_LIBRARY_PATH='$RUST/lib' RUSTC='$RUST/bin/rustc' RUSTDOC='$RUST/bin/rustdoc'"
fi
# Libraries of different compilers must not meet in one target directory.
compiler=$(eval "$environment"; rustc --version)
if [ "$(cat "$CACHE/target/compiler" 2>/dev/null)" != "$compiler" ]; then
    rm -rf "$CACHE/target"
    mkdir -p "$CACHE/target"
    printf '%s\n' "$compiler" >"$CACHE/target/compiler"
fi
printf '%s\n' "$environment" >"$CACHE/rust.env.new"
copy_if_changed "$CACHE/rust.env.new" "$CACHE/rust.env"
rm -f "$CACHE/rust.env.new"
