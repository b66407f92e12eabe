#!/bin/bash
# Builds all that a device boots from, from nothing; does what is not yet done.
#   image.sh VARIANT...    for the board, into image/VARIANT, and image/samples
#
# For a maker, with his keys:
#   product       what his devices carry: no shell, and no channel to drive it through
#   factory       the same boot stages, OP-TEE and broker; its Linux has a root shell, for certification
# With ALLOW_DEV_KEYS=1, for emulated devices:
#   development   what the project runs, tests and measures; it says at each start what it is
#   rsa           the same with RSA keys in the TEE
#   lab           the same as development with what only tests and benchmarks need
#
# The image trusts the anchors in OTRP_TRUST_DIR, and TA_SIGNING_KEY (the public half, PEM) is OP-TEE's
# own TA key. Development images have those of `make keys` where they are not given. What depends on
# keys is in .cache/makers/OTRP_MAKER, if that is set.
set -euo pipefail
. "$(dirname "$0")/../common.sh"

BROKER=9e043ec0-1043-415e-853d-690a6d341054.stripped.elf
PORT_TESTS=7fc3b03e-d5b8-45c5-94cb-5b36ec23a5da.stripped.elf

# for_a_device: the variants are a maker's.
for_a_device() {
    local variant kind='' its
    for variant; do
        case $variant in
        product | factory) its=maker ;;
        development | rsa | lab) its=development ;;
        *) fail "there is no image $variant; there are: product factory development rsa lab" ;;
        esac
        [ -z "$kind" ] || [ "$kind" = "$its" ] || fail "$* are not built together: they have different keys"
        kind=$its
    done
    [ "$kind" = maker ]
}

keys_given() { [ -n "${OTRP_TRUST_DIR:-}" ] && [ -n "${TA_SIGNING_KEY:-}" ]; }

# vet OPTION...: by the rules of the engine, what goes into an image.
vet() {
    "$CACHE/target/debug/otrp-keys" vet --trust "$OTRP_TRUST_DIR" --ta-signing-key "$TA_SIGNING_KEY" "${vetting[@]}" "$@" >/dev/null ||
        fail "nothing was built"
}

vetting=()
if for_a_device "$@"; then
    [ "${ALLOW_DEV_KEYS:-}" != 1 ] || fail "ALLOW_DEV_KEYS=1 is for development images; $* wants a maker's keys alone"
    keys_given ||
        fail "an image needs keys: set OTRP_TRUST_DIR to the folder of its anchors and TA_SIGNING_KEY to the public half of its TA key (keys/CEREMONY.md), or ALLOW_DEV_KEYS=1 for a development image, which is for an emulated device"
    # What is not locked must not get into it.
    export OTRP_LOCKED=1
else
    [ "${ALLOW_DEV_KEYS:-}" = 1 ] ||
        fail "$* is for emulated devices and may carry development keys, which ALLOW_DEV_KEYS=1 allows"
    vetting=(--allow-development)
    "$SCRIPTS/setup/keys.sh"
    keys_given ||
        say "$* with development keys (ALLOW_DEV_KEYS=1), for an emulated device and for no other"
fi
export OTRP_TRUST_DIR=${OTRP_TRUST_DIR:-$CACHE/keys/dev/trust} TA_SIGNING_KEY=${TA_SIGNING_KEY:-$CACHE/keys/dev/ta-signing.pub.pem}
# Before all that takes time, and also where the image is up to date.
"$SCRIPTS/build/host.sh" otrp-keys
vet
lock
"$SCRIPTS/setup/fetch.sh"
"$SCRIPTS/build/tf-a.sh"
"$SCRIPTS/build/optee.sh" devkit
"$SCRIPTS/build/arm64.sh" programs
# What the broker is built with besides the anchors.
choices=(--built-at "$(source_date)")
[ -z "${OTRP_TEE_NAME:-}" ] || choices+=(--tee-name "$OTRP_TEE_NAME")
[ -z "${OTRP_RSA1_5:-}" ] || choices+=(--rsa1_5 "$OTRP_RSA1_5")
for variant; do
    core=$variant programs=("$BUILD"/programs/otrp-*) key_type=${OTRP_KEY_TYPE:-p256}
    [ "$variant" != rsa ] || key_type=rsa
    case $variant in
    factory) core=product ;;
    development | rsa) programs+=("$BUILD"/programs/development/*) ;;
    lab) programs+=("$BUILD"/programs/{development,lab}/*) ;;
    esac
    "$SCRIPTS/build/arm64.sh" tas "$core"
    early=("$KEYED/ta/$core/$BROKER")
    vet --broker "${early[0]}" "${choices[@]}" --key-type "$key_type"
    [ "$variant" != lab ] || early+=("$KEYED/ta/lab/$PORT_TESTS")
    "$SCRIPTS/build/optee.sh" "$core" "${early[@]}"
    "$SCRIPTS/build/guest.sh" "$variant" "${programs[@]}"
    "$SCRIPTS/build/assemble.sh" "$variant"
    # Compared when it is packed.
    mkdir -p "$KEYED/stamp"
    key "$(contents "$KEYED/image/$variant")" "$(keys_of_image)" >"$KEYED/stamp/image-$variant"
done
for_a_device "$@" && exit
"$SCRIPTS/build/arm64.sh" samples
mkdir -p "$BUILD/image/samples"
for sample in signer-v1 signer-v2; do
    copy_if_changed "$BUILD/ta/samples/$sample.stripped.elf" "$BUILD/image/samples/$sample.elf"
done
# A test installs it under another UUID, too.
[ ! -e "$KEYED/ta/lab/$PORT_TESTS" ] || copy_if_changed "$KEYED/ta/lab/$PORT_TESTS" "$BUILD/image/samples/port-tests.elf"
