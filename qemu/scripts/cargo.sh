#!/bin/bash
# Runs cargo with the project's compiler, target directory and the settings of the arm64 build.
#   cargo.sh ARGUMENT...
set -euo pipefail
. "$(dirname "$0")/common.sh"
# shellcheck source=../boards/qemu.conf
. "$QEMU_DIR/boards/$BOARD.conf"

[ -e "$CACHE/rust.env" ] || "$SCRIPTS/rust.sh"
# shellcheck source=/dev/null
. "$CACHE/rust.env"
export CARGO_TARGET_DIR=$CACHE/target
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C target-feature=$BOARD_RUST_FEATURES"
export OTRP_HWCAP=$BOARD_HWCAP
export TA_DEV_KIT_DIR=$CACHE/optee/devkit/export-ta_arm64
export OPTEE_CLIENT_EXPORT=$CACHE/guest/client
export OTRP_TRUST_DIR=${OTRP_TRUST_DIR:-$CACHE/keys/dev/trust}
cd "$ROOT"
exec cargo "$@"
