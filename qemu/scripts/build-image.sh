#!/bin/bash
# Builds all that a device boots from, from nothing; does what is not yet done.
#   build-image.sh VARIANT...    for the board, into image/VARIANT, and image/samples
#
# The image trusts the anchors in OTRP_TRUST_DIR, and TA_SIGNING_KEY (the public half, PEM) is OP-TEE's
# own TA key. With ALLOW_DEV_KEYS=1 they may be development keys, and are those of `make keys` where they
# are not given; without it such keys are refused.
set -euo pipefail
. "$(dirname "$0")/common.sh"

BROKER=9e043ec0-1043-415e-853d-690a6d341054.stripped.elf
CONFORMANCE=$BUILD/ta/7fc3b03e-d5b8-45c5-94cb-5b36ec23a5da.stripped.elf

keys_given() { [ -n "${OTRP_TRUST_DIR:-}" ] && [ -n "${TA_SIGNING_KEY:-}" ]; }

# Before all that takes time, and also where an image with other keys is up to date.
vet_keys() {
    if [ "${ALLOW_DEV_KEYS:-}" = 1 ]; then
        "$SCRIPTS/keys.sh"
        keys_given || say "$* with development keys (ALLOW_DEV_KEYS=1), for an emulated device and for no other"
        return
    fi
    keys_given ||
        fail "an image needs keys: set OTRP_TRUST_DIR to the folder of its anchors and TA_SIGNING_KEY to the public half of its TA key (keys/CEREMONY.md), or ALLOW_DEV_KEYS=1 to use development keys on an emulated device"
    "$SCRIPTS/build-host.sh" otrp-keys
    "$CACHE/target/debug/otrp-keys" vet --trust "$OTRP_TRUST_DIR" --ta-signing-key "$TA_SIGNING_KEY" ||
        fail "nothing was built"
}

vet_keys "$@"
lock
"$SCRIPTS/fetch.sh"
"$SCRIPTS/build-tf-a.sh"
"$SCRIPTS/build-optee.sh" devkit
"$SCRIPTS/build-arm64.sh" programs
for variant; do
    "$SCRIPTS/build-arm64.sh" tas "$variant"
    early=("$BUILD/ta/$BROKER") programs=("$BUILD"/programs/otrp-*)
    if [ "$variant" = rsa ]; then
        early=("$BUILD/ta/rsa/$BROKER")
    elif [ "$variant" = lab ]; then
        early+=("$CONFORMANCE")
        programs+=("$BUILD"/programs/lab/*)
        # A test installs it under another UUID, too.
        mkdir -p "$BUILD/image/samples"
        copy_if_changed "$CONFORMANCE" "$BUILD/image/samples/conformance.elf"
    fi
    "$SCRIPTS/build-optee.sh" "$variant" "${early[@]}"
    "$SCRIPTS/build-guest.sh" "$variant" "${programs[@]}"
    "$SCRIPTS/assemble-image.sh" "$variant"
done
mkdir -p "$BUILD/image/samples"
for sample in signer-v1 signer-v2; do
    copy_if_changed "$BUILD/ta/$sample.stripped.elf" "$BUILD/image/samples/$sample.elf"
done
