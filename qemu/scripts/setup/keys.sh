#!/bin/bash
# Makes the development PKI in .cache/keys/dev, once; it is for nothing but development. One whose TA
# signing key does not show what it is, is of an older kind, and is replaced.
set -euo pipefail
. "$(dirname "$0")/../common.sh"

! grep -qs ALLOW_DEV_KEYS "$CACHE/keys/dev/DEVELOPMENT-KEYS.txt" || exit 0
lock
"$SCRIPTS/build/host.sh" otrp-keys
say "making development keys and certificates"
"$CACHE/target/debug/otrp-keys" init --force --out "$CACHE/keys/dev" >/dev/null
