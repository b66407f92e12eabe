#!/bin/bash
# Makes the development PKI in .cache/keys/dev, once; it is for nothing but development. One that
# lacks the youngest of its keys is of an older kind, and is made anew.
set -euo pipefail
. "$(dirname "$0")/common.sh"

[ ! -e "$CACHE/keys/dev/tam-ocsp.key.pem" ] || exit 0
lock
"$SCRIPTS/build-host.sh" otrp-keys
say "making development keys and certificates"
"$CACHE/target/debug/otrp-keys" init --force --out "$CACHE/keys/dev" >/dev/null
