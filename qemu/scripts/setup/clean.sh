#!/bin/bash
# Removes what was built, the development keys and the emulated devices; downloads, tools and what the
# fuzzer collected stay.
set -euo pipefail
. "$(dirname "$0")/../common.sh"

[ -d "$CACHE" ] || exit 0
lock
cd "$CACHE"
rm -rf boards development devices elsewhere factory fuzz/target fuzz/log image keys log makers optee ports programs release src storage-test ta target tf-a guest/*.cpio guest/*.img
find stamp -type f ! -name guest ! -name armhf -delete 2>/dev/null || true
