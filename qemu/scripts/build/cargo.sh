#!/bin/bash
# Runs cargo with the project's compiler, target directory and the settings of the arm64 build.
#   cargo.sh ARGUMENT...
set -euo pipefail
. "$(dirname "$0")/../common.sh"
# shellcheck source=../../boards/qemu.conf
. "$QEMU_DIR/boards/$BOARD.conf"

[ -e "$CACHE/rust.env" ] || "$SCRIPTS/setup/rust.sh"
# shellcheck source=/dev/null
. "$CACHE/rust.env"
# Builds with the dev kit of another platform are elsewhere (ports.sh).
export CARGO_TARGET_DIR=${OTRP_TARGET_DIR:-$CACHE/target}
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
# Where the CPU hashes with SHA-256, software only hashes certificates with SHA-384 and SHA-512: a
# loop serves that, and is 8 KiB shorter than its rounds one after the other. The quotes are rustc's.
features=${BOARD_RUST_FEATURES:+-C target-feature=$BOARD_RUST_FEATURES }
# shellcheck disable=SC2089
case $BOARD_RUST_FEATURES in
*+sha2*) features+='--cfg sha2_backend_soft="compact" ' ;;
esac
# A toolchain with the standard library's source names that by its own place.
CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="$features$(prefix_maps --remap-path-prefix)\
--remap-path-prefix=$(rustc --print sysroot)/lib/rustlib/src=/rust"
# shellcheck disable=SC2090
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS
CFLAGS_aarch64_unknown_linux_gnu=$(prefix_maps -ffile-prefix-map)
SOURCE_DATE_EPOCH=$(source_date)
export CFLAGS_aarch64_unknown_linux_gnu SOURCE_DATE_EPOCH
export OTRP_HWCAP=$BOARD_HWCAP
export TA_DEV_KIT_DIR=${OTRP_DEV_KIT:-$BUILD/optee/devkit/export-ta_arm64}
export OPTEE_CLIENT_EXPORT=$CACHE/guest/client
OTRP_TRUST_DIR=$(realpath -m "${OTRP_TRUST_DIR:-$CACHE/keys/dev/trust}")
export OTRP_TRUST_DIR
# Cargo looks at the times of the anchors' files, which another folder's may share: at this, too.
[ ! -d "$OTRP_TRUST_DIR" ] || OTRP_TRUST_CONTENTS=$(contents "$OTRP_TRUST_DIR")
export OTRP_TRUST_CONTENTS=${OTRP_TRUST_CONTENTS:-}
cd "$ROOT"
exec cargo "$@"
