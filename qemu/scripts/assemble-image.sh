#!/bin/bash
# Puts together what a device boots from: .cache/image/VARIANT.
#   assemble-image.sh VARIANT
set -euo pipefail
. "$(dirname "$0")/common.sh"

VARIANT=${1:?a variant}
lock
image=$CACHE/image/$VARIANT
mkdir -p "$image"
for stage in bl1 bl2 bl31; do
    copy_if_changed "$CACHE"/tf-a/*/release/$stage.bin "$image/$stage.bin"
done
for part in tee-header_v2.bin tee-pager_v2.bin; do
    copy_if_changed "$CACHE/optee/$VARIANT/core/$part" "$image/$part"
done
copy_if_changed "$CACHE"/guest/kernel/boot/vmlinuz-* "$image/kernel"
copy_if_changed "$CACHE/guest/$VARIANT.cpio" "$image/initrd.cpio"
