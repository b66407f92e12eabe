#!/bin/bash
# Renews qemu/packages.lock: the newest packages of the suites, security updates included.
#   lock.sh
#
# Lists past their date are refused, for they may hide an update; ALLOW_EXPIRED=1 takes those of a mirror that
# is frozen on purpose.
set -euo pipefail
. "$(dirname "$0")/../common.sh"
# shellcheck source=qemu/scripts/setup/private-apt.sh
. "$SCRIPTS/setup/private-apt.sh"
# shellcheck source=qemu/scripts/setup/packages.sh
. "$SCRIPTS/setup/packages.sh"

valid=true
[ "${ALLOW_EXPIRED:-}" != 1 ] || valid=false

# of_suite SUITE COMMAND...: runs it once the suite's lists are open.
open=
of_suite() {
    [ "$open" = "$1" ] || open_suite "$1" $valid
    open=$1
    "${@:2}" || fail "$1 has no ${*: -2:1} on this mirror"
}

lines() {
    local wanted package suite conf
    for wanted in "${SOURCES_WANTED[@]}"; do
        read -r package suite <<<"$wanted"
        of_suite "$suite" lines_of_source "$package" "$suite"
    done
    of_suite "$STABLE" lines_of_kernel "$STABLE"
    for package in "${PROGRAMS_WANTED[@]}"; do
        of_suite "$STABLE" lines_of_package program "$package" "$STABLE"
    done
    for package in "${CLIENT_WANTED[@]}"; do
        of_suite "$STABLE" lines_of_package client "$package" "$STABLE"
    done
    for conf in "$QEMU_DIR"/boards/*.conf; do
        package=$(
            # shellcheck source=../../boards/rpi3.conf
            . "$conf"
            echo "${BOARD_FIRMWARE_PACKAGE:-}"
        )
        [ -z "$package" ] || of_suite "$STABLE" lines_of_package "board:$(basename "$conf" .conf)" "$package" "$STABLE"
    done
}

lock
[ -n "$(security_mirror)" ] ||
    say "apt knows no mirror of security updates on this machine: the lock is without them; set DEBIAN_SECURITY_MIRROR to the URL of one"
new=$LOCK_FILE.new
{
    cat <<HEAD
# What images are made of beyond this repository's source, by SHA-256; renewed by \`make lock\`. A product takes
# nothing else. qemu/scripts/setup/packages.sh tells what the columns are.
# as of $(date -u +%F)
HEAD
    lines
} >"$new" || {
    rm -f "$new"
    exit 1
}
if diff <(grep -v '^#' "$LOCK_FILE" 2>/dev/null) <(grep -v '^#' "$new") >&2; then
    rm "$new"
    say "${LOCK_FILE#"$ROOT/"} is up to date"
else
    mv "$new" "$LOCK_FILE"
    say "${LOCK_FILE#"$ROOT/"} is renewed as shown; build and test with it before it is committed"
fi
