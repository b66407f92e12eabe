#!/bin/bash
# Makes an ext4 image, the same for the same label and contents.
#   ext4.sh FILE SIZE LABEL [FOLDER]     FOLDER: what is in it, all of which belongs to root there
set -euo pipefail
. "$(dirname "$0")/../common.sh"

FILE=${1:?a file}
SIZE=${2:?a size}
LABEL=${3:?a label}
FOLDER=${4:-}
# File systems are found by their labels, so the identifier may be the same in each device.
ID=$(key "$LABEL" | sed -E 's/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*/\1-\2-4\3-8\4-\5/')
# Zero would be the time of the build.
export E2FSPROGS_FAKE_TIME=1

# write_files: what debugfs has to do. `mke2fs -d` would take owners, times and the order in folders from
# the machine.
write_files() {
    local path type target field
    find "$FOLDER" -mindepth 1 -printf '%P %y %l\n' | LC_ALL=C sort | while read -r path type target; do
        case $type in
        d) echo "mkdir /$path" ;;
        f) echo "write $FOLDER/$path /$path" ;;
        l) echo "symlink /$path $target" ;;
        *) fail "a file system here has no such file as $path" ;;
        esac
        for field in uid gid; do
            echo "set_inode_field /$path $field 0"
        done
    done
}

rm -f "$FILE"
mke2fs -q -t ext4 -m 0 -L "$LABEL" -U "$ID" -E "root_owner=0:0,hash_seed=$ID" "$FILE" "$SIZE" >/dev/null
[ -n "$FOLDER" ] || exit 0
commands=$(mktemp)
trap 'rm -f "$commands"' EXIT
write_files >"$commands"
# It succeeds whatever happens, and says its name and what went wrong to standard error.
problems=$(debugfs -w -f "$commands" "$FILE" 2>&1 >/dev/null | grep -v '^debugfs [0-9]') || true
[ -z "$problems" ] || fail "$FILE cannot be filled: ${problems%%$'\n'*}"
e2fsck -fn "$FILE" >/dev/null 2>&1 || fail "$FILE is damaged: e2fsck -fn $FILE tells more"
