#!/bin/bash
# Installs the Debian packages the build needs and the machine lacks; silent when there are none.
#   host-packages.sh [lint|fuzz|32|card]    adds what only `make lint`, `make fuzz`, `make test-32` or an
#                                           image of a card needs
set -euo pipefail
. "$(dirname "$0")/../common.sh"

packages() {
    cat <<'LIST'
qemu-system-arm         runs the emulated device
gcc-aarch64-linux-gnu   compiles TF-A and OP-TEE, links the arm64 programs
libc6-dev-arm64-cross   C library to link the arm64 programs with
gcc                     links the host programs, compiles the test of secure storage
libc6-dev               C library to link the host programs with
make                    builds TF-A and OP-TEE
patch                   applies the distribution's security fixes to OP-TEE and TF-A
device-tree-compiler    OP-TEE's build; changes the device trees of boards
e2fsprogs               makes the disks of boards
python3                 OP-TEE's build
python3-pyelftools      OP-TEE's build
python3-cryptography    OP-TEE's build
cpio                    packs the guest's file system
kmod                    orders the guest's kernel modules
xz-utils                unpacks sources and kernel modules
libssl-dev              OpenSSL, for the TAM's JOSE library
pkg-config              finds OpenSSL
ca-certificates         cargo's downloads
LIST
    if [ "${1:-}" = lint ]; then
        echo "shellcheck              checks the shell scripts"
        echo "codespell               finds misspelled words"
    elif [ "${1:-}" = card ]; then
        echo "fdisk                   partitions the image of a card"
        echo "dosfstools              makes its boot partition"
        echo "mtools                  writes its boot partition"
    elif [ "${1:-}" = fuzz ]; then
        echo "g++                     compiles LLVM's fuzzer, which libfuzzer-sys brings as source"
    elif [ "${1:-}" = 32 ]; then
        echo "gcc-arm-linux-gnueabihf links the tests for 32-bit ARM"
        echo "libc6-dev-armhf-cross   C library to link them with"
        echo "qemu-user               runs them"
    fi
}

installed() { [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
# pkgconf provides pkg-config on newer Debian; a program in PATH serves as well as its package.
present() { installed "$1" || { [ "$1" = pkg-config ] && command -v pkg-config >/dev/null; }; }

command -v apt-get >/dev/null ||
    fail "this set-up installs Debian packages (Debian 12 or 13); on another system install the list in qemu/scripts/setup/host-packages.sh by hand"

missing=() reasons=()
while read -r package reason; do
    if ! present "$package"; then
        missing+=("$package")
        reasons+=("$(printf '  %-23s %s' "$package" "$reason")")
    fi
done < <(packages "$@")
[ ${#missing[@]} -gt 0 ] || exit 0

lock
as_root=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null ||
        fail "packages are missing and there is no sudo; as root, run: apt-get install --no-install-recommends ${missing[*]}"
    as_root=(sudo)
fi

say "installing ${#missing[@]} Debian packages, about a minute:"
printf '%s\n' "${reasons[@]}" >&2
install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}")
log=$CACHE/log/host-packages.log
mkdir -p "$CACHE/log"
# The lists may be missing or point to superseded files: try with what is there, then update once.
if ! "${as_root[@]}" "${install[@]}" >"$log" 2>&1; then
    say "updating the package lists"
    "${as_root[@]}" apt-get update -qq >>"$log" 2>&1 || true
    if ! "${as_root[@]}" "${install[@]}" >>"$log" 2>&1; then
        tail -n 8 "$log" >&2
        fail "apt-get could not install ${missing[*]}; is there a network? The whole log is in .cache/log/host-packages.log"
    fi
fi
