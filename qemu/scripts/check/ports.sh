#!/bin/bash
# Links the broker with the TA dev kits of other platforms, which the distribution packages: it depends on
# nothing that only QEMU's has. Nothing boots here.
set -euo pipefail
. "$(dirname "$0")/../common.sh"
# shellcheck source=qemu/scripts/setup/private-apt.sh
. "$SCRIPTS/setup/private-apt.sh"

PLATFORMS=(k3-am62x rockchip-rk3588)
KIT_FILE=pool/main/o/optee-os/optee-os-dev_4.10.0-2_arm64.deb
KIT_SHA256=c32de6b28fc6b0acdbba714e502f03ecbf47a0d51baf874202c77ec166298cad
PORTS=$CACHE/ports
TARGET=aarch64-unknown-linux-gnu

fetch_kits() {
    fresh ports-kits "$KIT_SHA256" "$PORTS/root" && return
    unmark ports-kits
    say "downloading the TA dev kits of ${PLATFORMS[*]}, 1.4 MB"
    rm -rf "$PORTS"
    mkdir -p "$PORTS/root" "$CACHE/log"
    logged ports-kits /usr/lib/apt/apt-helper download-file "$(mirror | sed 's,/*$,,')/$KIT_FILE" "$PORTS/kits.deb" "SHA256:$KIT_SHA256"
    dpkg-deb -x "$PORTS/kits.deb" "$PORTS/root"
    rm "$PORTS/kits.deb"
    mark ports-kits "$KIT_SHA256" "$PORTS/root"
}

lock
fetch_kits
inputs=$(key "$KIT_SHA256" "$(key_of_tree "$ROOT"/{Cargo.toml,Cargo.lock,ta} "$CACHE/rust.env")" "$(key_of_files "$0" "$SCRIPTS/build/cargo.sh")")
made=("${PLATFORMS[@]/#/$PORTS/}")
fresh ports "$inputs" "${made[@]/%/.elf}" && exit
unmark ports
export OTRP_TARGET_DIR=$PORTS/target
for platform in "${PLATFORMS[@]}"; do
    say "linking the broker for $platform, about a minute"
    export OTRP_DEV_KIT=$PORTS/root/usr/lib/optee-os-dev/$platform
    # OP-TEE's bindings do not notice another kit.
    "$SCRIPTS/build/cargo.sh" clean --quiet --release --target $TARGET -p optee-utee-sys -p otrp-ta
    "$SCRIPTS/build/cargo.sh" build --quiet --locked --release --target $TARGET -p otrp-ta --bin otrp-ta
    "$SCRIPTS/check/ta.sh" "$OTRP_TARGET_DIR/$TARGET/release/otrp-ta"
    copy_if_changed "$OTRP_TARGET_DIR/$TARGET/release/otrp-ta" "$PORTS/$platform.elf"
    say "$platform: $(stat -c %s "$PORTS/$platform.elf") bytes, no library and no symbol missing"
done
mark ports "$inputs" "${made[@]/%/.elf}"
