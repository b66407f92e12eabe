#!/bin/bash
# Builds images once more, from nothing, in another folder, and compares them with those of this checkout,
# which may have been built step by step.
#   reproducible.sh VARIANT...
#
# What was downloaded, the compiler and the keys are the same; folder, cargo's folder, time zone, language
# and file modes are not.
set -euo pipefail
. "$(dirname "$0")/../common.sh"

# Deeper than this checkout, so its name is longer.
ELSEWHERE=$CACHE/elsewhere/another-folder
INPUTS=(download guest keys rust.env stamp/guest)
BUILT=(image/samples ta programs)
AGAIN=$ELSEWHERE/.cache${BUILD#"$CACHE"}

lock
say "building $* for $BOARD in another folder, five minutes or more"
rm -rf "$CACHE/elsewhere"
mkdir -p "$ELSEWHERE/.cache/stamp" "$CACHE/elsewhere/cargo"
tar c -C "$ROOT" --exclude=./.cache --exclude=./.git . | tar x -C "$ELSEWHERE"
for input in "${INPUTS[@]}"; do
    [ ! -e "$CACHE/$input" ] || cp -a "$CACHE/$input" "$ELSEWHERE/.cache/$input"
done
ln -s "${CARGO_HOME:-$HOME/.cargo}/registry" "$CACHE/elsewhere/cargo/registry"
date=$(source_date)
(
    umask 077
    env -u OTRP_LOCK_HELD CARGO_HOME="$CACHE/elsewhere/cargo" SOURCE_DATE_EPOCH="$date" \
        TZ=Pacific/Chatham LC_ALL=C "$ELSEWHERE/qemu/scripts/build/image.sh" "$@"
)

differing=0
for folder in "${BUILT[@]}" "${@/#/image/}"; do
    while read -r file; do
        if cmp -s "$BUILD/$file" "$AGAIN/$file"; then
            printf '%s  %s\n' "$(sha256sum <"$BUILD/$file" | cut -c1-64)" "$file"
        else
            say "differs: $file"
            differing=$((differing + 1))
        fi
    done < <(cd "$AGAIN" && find "$folder" -type f | LC_ALL=C sort)
done
[ "$differing" = 0 ] || fail "$differing files depend on more than the source; the other build is in .cache/elsewhere"
rm -rf "$CACHE/elsewhere"
