#!/bin/bash
# Licences, bans and sources of the dependencies, and what is known of their faults.
#
# Where the database of advisories cannot be reached the rest still counts: that they were not looked at is
# said, and with OTRP_ADVISORIES=required it is a failure, as in a release.
set -euo pipefail
. "$(dirname "$0")/../common.sh"

CARGO=$SCRIPTS/build/cargo.sh
CARGO_DENY_VERSION=0.20.2
TOOLS=$CACHE/tools

lock
mkdir -p "$CACHE/log"
export PATH=$TOOLS/bin:$PATH
if ! "$CARGO" deny --version >/dev/null 2>&1; then
    say "installing cargo-deny $CARGO_DENY_VERSION into .cache/tools, about 3 minutes"
    logged cargo-deny "$CARGO" install --quiet --debug --locked --root "$TOOLS" --target-dir "$TOOLS/build" \
        --version "$CARGO_DENY_VERSION" cargo-deny
    rm -rf "$TOOLS/build"
fi
deny() { "$CARGO" deny --log-level "$1" --config .deny.toml "${@:2}"; }
deny error check bans licenses sources || fail "the dependencies break a rule of .deny.toml"
if deny off fetch db >"$CACHE/log/advisories.log" 2>&1; then
    deny error check advisories || fail "a dependency has a known fault"
    say "dependencies: licences, bans, sources and advisories are in order"
elif [ "${OTRP_ADVISORIES:-}" = required ]; then
    fail "the database of advisories cannot be fetched; why is in .cache/log/advisories.log"
else
    say "dependencies: licences, bans and sources are in order; ADVISORIES WERE NOT CHECKED: their database cannot be fetched (.cache/log/advisories.log)"
fi
