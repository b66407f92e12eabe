#!/bin/bash
# Makes the development PKI in .cache/keys/dev, once; it is for nothing but development.
set -euo pipefail
. "$(dirname "$0")/common.sh"

[ ! -e "$CACHE/keys/dev/ta-signing.pub.pem" ] || exit 0
lock
"$SCRIPTS/build-host.sh" otrp-keys
say "making development keys and certificates"
"$CACHE/target/debug/otrp-keys" init --out "$CACHE/keys/dev" >/dev/null
