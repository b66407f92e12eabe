#!/bin/bash
# Builds all that a device boots from, from nothing; does what is not yet done.
#   build-image.sh VARIANT...    into .cache/image/VARIANT, and .cache/image/samples
set -euo pipefail
. "$(dirname "$0")/common.sh"

BROKER=9e043ec0-1043-415e-853d-690a6d341054.stripped.elf
CONFORMANCE=$CACHE/ta/7fc3b03e-d5b8-45c5-94cb-5b36ec23a5da.stripped.elf

lock
"$SCRIPTS/fetch.sh"
"$SCRIPTS/build-tf-a.sh"
"$SCRIPTS/build-optee.sh" devkit
"$SCRIPTS/build-arm64.sh" programs
for variant; do
    "$SCRIPTS/build-arm64.sh" tas "$variant"
    early=("$CACHE/ta/$BROKER") programs=("$CACHE"/programs/otrp-*)
    if [ "$variant" = rsa ]; then
        early=("$CACHE/ta/rsa/$BROKER")
    elif [ "$variant" = lab ]; then
        early+=("$CONFORMANCE")
        programs+=("$CACHE"/programs/lab/*)
        # A test installs it under another UUID, too.
        mkdir -p "$CACHE/image/samples"
        copy_if_changed "$CONFORMANCE" "$CACHE/image/samples/conformance.elf"
    fi
    "$SCRIPTS/build-optee.sh" "$variant" "${early[@]}"
    "$SCRIPTS/build-guest.sh" "$variant" "${programs[@]}"
    "$SCRIPTS/assemble-image.sh" "$variant"
done
mkdir -p "$CACHE/image/samples"
for sample in signer-v1 signer-v2; do
    copy_if_changed "$CACHE/ta/$sample.stripped.elf" "$CACHE/image/samples/$sample.elf"
done
