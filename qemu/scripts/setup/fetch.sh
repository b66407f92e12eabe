#!/bin/bash
# Downloads and unpacks what is not ours: the sources of OP-TEE and TF-A, the guest's kernel and programs, and
# a board's boot firmware.
#   fetch.sh
#
# qemu/packages.lock pins each file by SHA-256. With OTRP_LOCKED=1, as for a product, nothing else is taken.
# Without it, what the mirror does not have any more is replaced by what its suite has, which apt checks by the
# suite's signature; a line says so. OPTEE_OS_DIR and TF_A_DIR name source trees to use instead. What is in
# .cache is never downloaded again.
set -euo pipefail
. "$(dirname "$0")/../common.sh"
# shellcheck source=qemu/scripts/setup/private-apt.sh
. "$SCRIPTS/setup/private-apt.sh"
# shellcheck source=qemu/scripts/setup/packages.sh
. "$SCRIPTS/setup/packages.sh"

SOURCES=$CACHE/src
GUEST=$CACHE/guest
# What is used in place of the lock's lines, and for which lock.
MOVED=$CACHE/moved.lock

declare -a used=()

own_source() {
    case $1 in
    optee-os) [ -n "${OPTEE_OS_DIR:-}" ] ;;
    arm-trusted-firmware) [ -n "${TF_A_DIR:-}" ] ;;
    *) false ;;
    esac
}

# needed: the lines of the lock without the sources that there is a tree for.
needed() {
    local row kind package rest
    while read -r kind package rest; do
        [ "$kind" = source ] && own_source "$package" || echo "$kind $package $rest"
    done < <(rows)
}

# missing_of LINE...: those whose files are not downloaded.
missing_of() {
    local row sha file
    for row; do
        read -r _ _ _ _ sha file <<<"$row"
        present "$sha" "$file" || echo "$row"
    done
}

# download_rows LINE...: leaves the lines that the mirror does not have in `gone`. A file of the pinned version
# with other contents ends it all.
download_rows() {
    local suite row kind package version sha file opened
    gone=()
    for suite in $(printf '%s\n' "$@" | awk '{ print $4 }' | sort -u); do
        opened=
        for row; do
            read -r kind package version _ sha file <<<"$row"
            [ "$(awk '{ print $4 }' <<<"$row")" = "$suite" ] || continue
            # A source's two files come together.
            ! present "$sha" "$file" || continue
            [ -n "$opened" ] || open_suite "$suite" false
            opened=yes
            say "downloading $package $version"
            if ! get "$kind" "$package" "$version"; then
                grep -qE "was not found|Unable to (find|locate)|Can't select| 404 " "$FETCH_LOG" || {
                    tail -n 5 "$FETCH_LOG" >&2
                    fail "$package $version cannot be downloaded; is there a network?"
                }
                gone+=("$row")
                continue
            fi
            present "$sha" "$file" ||
                fail "the mirror's $file is not the one that ${LOCK_FILE#"$ROOT/"} pins by SHA-256: it was changed, or the lock is wrong"
        done
    done
}

# replace_row LINE: the lines for what the suite has now, downloaded.
replace_row() {
    local kind package version suite lines row sha file
    read -r kind package version suite _ <<<"$1"
    [ "$open" = "$suite" ] || open_suite "$suite" true
    open=$suite
    case $kind in
    source) lines=$(lines_of_source "$package" "$suite") ;;
    kernel) lines=$(lines_of_kernel "$suite") ;;
    *) lines=$(lines_of_package "$kind" "$package" "$suite") ;;
    esac || fail "$suite has no $package on this mirror"
    row=${lines%%$'\n'*}
    read -r _ package_now version_now _ <<<"$row"
    say "${LOCK_FILE#"$ROOT/"} names $package $version, which $suite does not have any more: this development build takes $package_now $version_now"
    get "$kind" "$package_now" "$version_now" || {
        tail -n 5 "$FETCH_LOG" >&2
        fail "$package_now $version_now cannot be downloaded; is there a network?"
    }
    while read -r _ _ _ _ sha file; do
        present "$sha" "$file" || fail "$file is not what the lists of $suite say"
    done <<<"$lines"
    replaced+=("$lines")
}

# moved_on: the replacements that were made for this lock before, if any.
moved_on() {
    [ -z "${OTRP_LOCKED:-}" ] && [ -e "$MOVED" ] && [ "$(head -n 1 "$MOVED")" = "# for $lock_key" ] && sed 1d "$MOVED"
}

# resolve: `used` is what is downloaded and used; KIND PACKAGE is replaced where the mirror moved on.
resolve() {
    local rows=() missing=() gone=() replaced=() open='' row before
    mapfile -t rows < <(needed)
    lock_key=$(key "${rows[@]}")
    before=$(moved_on) || before=
    if [ -n "$before" ]; then
        mapfile -t missing < <(mapfile -t again <<<"$before"; missing_of "${again[@]}")
        if [ ${#missing[@]} = 0 ]; then
            mapfile -t used <<<"$before"
            say "this development build has packages that ${LOCK_FILE#"$ROOT/"} does not name: $(comm -13 <(printf '%s\n' "${rows[@]}" | sort) <(sort <<<"$before") | awk '{ print $2, $3 }' | sort -u | paste -sd ,)"
            return
        fi
    fi
    mapfile -t missing < <(missing_of "${rows[@]}")
    [ ${#missing[@]} = 0 ] || download_rows "${missing[@]}"
    used=("${rows[@]}")
    rm -f "$MOVED"
    [ ${#gone[@]} -gt 0 ] || return 0
    if [ -n "${OTRP_LOCKED:-}" ]; then
        printf '%s\n' "${gone[@]}" | awk '{ print "  " $2, $3 }' | sort -u >&2
        fail "the mirror does not have what ${LOCK_FILE#"$ROOT/"} pins (above), and a product takes nothing else: renew the lock with \`make lock\` and look at the difference, or name a mirror that still has it (DEBIAN_MIRROR=URL), as an archive of Debian's past states has those of $(sed -n 's/^# as of //p' "$LOCK_FILE")"
    fi
    # A source has two lines.
    mapfile -t gone < <(printf '%s\n' "${gone[@]}" | awk '!seen[$1 $2]++')
    for row in "${gone[@]}"; do
        replace_row "$row"
    done
    mapfile -t used < <(
        printf '%s\n' "${rows[@]}" | awk 'NR == FNR { gone[$1 $2]; next } !(($1 $2) in gone)' <(printf '%s\n' "${gone[@]}") -
        printf '%s\n' "${replaced[@]}"
    )
    { echo "# for $lock_key"; printf '%s\n' "${used[@]}"; } >"$MOVED"
}

used_rows() { printf '%s\n' "${used[@]}" | awk -v kind="$1" -v package="${2:-}" '$1 == kind && (package == "" || $2 == package)'; }

# unpack_source NAME: into .cache/src/NAME, with the distribution's security fixes.
unpack_source() {
    local name=$1 target=$SOURCES/$1 files inputs upstream debian patch
    files=$(used_rows source "$name")
    inputs=$(key "$files")
    fresh "source-$name" "$inputs" "$target" && return
    unmark "source-$name"
    upstream=$(awk 'NR == 1 { print $6 }' <<<"$files")
    debian=$(awk 'NR == 2 { print $6 }' <<<"$files")
    rm -rf "$target"
    mkdir -p "$target"
    tar xf "$DOWNLOADS/$upstream" -C "$target" --strip-components=1
    tar xf "$DOWNLOADS/$debian" -C "$target"
    while read -r patch; do
        patch -d "$target" -p1 -s <"$target/debian/patches/$patch" >&2 || fail "$patch does not apply to $name"
    done < <(sed -E '/^(#|$)/d; s/ .*//' "$target/debian/patches/series")
    mark "source-$name" "$inputs" "$target"
}

unpack_guest() {
    local kernel inputs made file
    # The kernel has some thousand modules, which nothing else writes.
    made=("$GUEST"/{root,client,kernel/boot})
    inputs=$(key "$(used_rows kernel)" "$(used_rows program)" "$(used_rows client)")
    fresh guest "$inputs" "${made[@]}" && return
    unmark guest
    say "unpacking the guest's kernel and programs (arm64), about 5 s"
    rm -rf "$GUEST"
    mkdir -p "$GUEST"/{root,kernel,client/usr/lib}
    kernel=$(used_rows kernel | awk '{ print $6 }')
    dpkg-deb -x "$DOWNLOADS/$kernel" "$GUEST/kernel"
    while read -r file; do
        dpkg-deb -x "$DOWNLOADS/$file" "$GUEST/root"
    done < <({ used_rows program; used_rows client; } | awk '{ print $6 }')
    # modprobe and depmod look in /lib
    [ -e "$GUEST/kernel/lib" ] || ln -s usr/lib "$GUEST/kernel/lib"
    depmod -b "$GUEST/kernel" "$(basename "$GUEST"/kernel/lib/modules/*)"
    # Linked by name when the arm64 programs are built; has no other user.
    cp -L "$GUEST"/root/usr/lib/aarch64-linux-gnu/libteec.so.2 "$GUEST/client/usr/lib/libteec.so"
    mark guest "$inputs" "${made[@]}"
}

# unpack_firmware: what the board's maker has for its boot partition, where the board has such.
unpack_firmware() {
    local files inputs file STAMPS=$BUILD/stamp
    files=$(used_rows "board:$BOARD")
    [ -n "$files" ] || return 0
    inputs=$(key "$files")
    fresh firmware "$inputs" "$BUILD/firmware/root" && return
    unmark firmware
    rm -rf "$BUILD/firmware"
    mkdir -p "$BUILD/firmware/root"
    while read -r file; do
        dpkg-deb -x "$DOWNLOADS/$file" "$BUILD/firmware/root"
    done < <(awk '{ print $6 }' <<<"$files")
    mark firmware "$inputs" "$BUILD/firmware/root"
}

lock
if [ -n "${OTRP_LOCKED:-}" ]; then
    for name in OPTEE_OS_DIR TF_A_DIR OTRP_LOCK_FILE; do
        [ -z "${!name:-}" ] || say "not of ${QEMU_DIR#"$ROOT/"}/packages.lock: $name=${!name}"
    done
fi
[ -z "${OPTEE_OS_DIR:-}" ] || [ -e "$OPTEE_OS_DIR/core/core.mk" ] || fail "OPTEE_OS_DIR=$OPTEE_OS_DIR is no OP-TEE source tree"
[ -z "${TF_A_DIR:-}" ] || [ -e "$TF_A_DIR/bl31/bl31.mk" ] || fail "TF_A_DIR=$TF_A_DIR is no TF-A source tree"
resolve
own_source optee-os || unpack_source optee-os
own_source arm-trusted-firmware || unpack_source arm-trusted-firmware
unpack_guest
unpack_firmware
