# shellcheck shell=bash disable=SC2034  # the variables are for the scripts that source this
# Shared by all scripts here: where things are, how they speak, and when a step can be skipped.
#
# A step is skipped when its stamp holds the key of its inputs, and what it made still has the contents that
# the stamp holds: file times mean nothing after a checkout or a copy, and an output that another build has
# replaced is not this step's.

set -euo pipefail

SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
QEMU_DIR=$(dirname "$SCRIPTS")
ROOT=$(dirname "$QEMU_DIR")
CACHE=$ROOT/.cache
BOARD=${BOARD:-qemu}
# What is built for a board: the emulated one has .cache itself, any other a folder of its own.
if [ "$BOARD" = qemu ]; then
    BUILD=$CACHE
else
    BUILD=$CACHE/boards/$BOARD
fi
# What depends on the keys of an image. A maker with several sets of them gives each a name.
KEYED=$BUILD
case ${OTRP_MAKER:-} in
'') ;;
*[!A-Za-z0-9._-]* | .*)
    echo "error: OTRP_MAKER=$OTRP_MAKER is not a plain name: letters, digits, dots, hyphens and underscores" >&2
    exit 1
    ;;
*) KEYED=$BUILD/makers/$OTRP_MAKER ;;
esac
# A script whose steps are a board's sets this to $BUILD/stamp, one whose steps are an image's to
# $KEYED/stamp.
STAMPS=$CACHE/stamp
# Python tools of OP-TEE need the distribution's modules, whatever python3 a user has first in PATH.
PYTHON3=/usr/bin/python3
JOBS=$(nproc)
export PATH=$PATH:/usr/sbin:/sbin

# Stops with a list where there are no settings for the board.
[ -e "$QEMU_DIR/boards/$BOARD.conf" ] || {
    printf 'error: there is no board %s; there are: %s\n' "$BOARD" "$(cd "$QEMU_DIR/boards" && echo *.conf | sed 's/\.conf//g')" >&2
    exit 1
}

say() { printf '%s\n' "$*" >&2; }
fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# What is built is the same wherever and whenever it is built: it names no folder of the machine, and the
# one time in it is that of the source.

# prefix_maps OPTION: OPTION=FOLDER=NAME for the folders that a compiler would name.
prefix_maps() { printf '%s=%s ' "$1" "$ROOT=/otrp" "$1" "${CARGO_HOME:-${HOME:-}/.cargo}=/cargo"; }

# source_date: SOURCE_DATE_EPOCH, or else the time of the commit that a checkout or an archive of git is
# from, in seconds since 1970.
source_date() {
    local date=${SOURCE_DATE_EPOCH:-}
    [ -n "$date" ] || date=$(grep -x '[0-9]*' "$QEMU_DIR/source-date") ||
        date=$(GIT_CEILING_DIRECTORIES=$(dirname "$ROOT") git -C "$ROOT" log -1 --format=%ct 2>/dev/null) ||
        fail "this is neither a git checkout nor an archive of one; set SOURCE_DATE_EPOCH to the time that the source is from, in seconds since 1970"
    printf '%s\n' "$date"
}

# key WORD...: one word for the given words.
key() { printf '%s\0' "$@" | sha256sum | cut -c1-64; }

# compilers: one word for the C compilers; Rust's is in .cache/rust.env.
compilers() { key "$(gcc --version 2>/dev/null)" "$(aarch64-linux-gnu-gcc --version 2>/dev/null)"; }

# key_of_files FILE...: one word for the names and contents of the files.
key_of_files() { sha256sum -- "$@" | sha256sum | cut -c1-64; }

# key_of_tree DIR...: one word for names, sizes and times, for trees too large to be read each time.
key_of_tree() {
    find "$@" -name .git -prune -o \( -type f -o -type l \) -printf '%p %s %T@\n' | LC_ALL=C sort | sha256sum | cut -c1-64
}

# contents PATH...: one word for the contents of files and folders, also of files that links in them lead to,
# and which of the paths are missing. Python leaves its compiled modules in the source that it runs from; they are nobody's output.
contents() {
    local path
    for path; do
        if [ -d "$path" ]; then
            (
                cd "$path"
                find . -type l -printf '%p %l\n' | LC_ALL=C sort
                find . -name .git -prune -o -name __pycache__ -prune -o -xtype f -print0 | LC_ALL=C sort -z | xargs -0r sha256sum --
            )
        elif [ -e "$path" ]; then
            sha256sum <"$path"
        else
            echo missing
        fi
    done | sha256sum | cut -c1-64
}

# keys_of_image: one word for the keys that an image is built with.
keys_of_image() {
    key "$(contents "${OTRP_TRUST_DIR:-$CACHE/keys/dev/trust}")" "$(contents "${TA_SIGNING_KEY:-$CACHE/keys/dev/ta-signing.pub.pem}")"
}

# fresh STEP INPUTS OUTPUT...: the step was done with these inputs, and what it made is still there.
fresh() {
    local recorded
    recorded=$(cat "$STAMPS/$1" 2>/dev/null) || return
    [ "$recorded" = "$2 $(contents "${@:3}")" ]
}

# mark STEP INPUTS OUTPUT...
mark() {
    local output
    for output in "${@:3}"; do
        [ -e "$output" ] || fail "$1 made no ${output#"$ROOT/"}"
    done
    mkdir -p "$STAMPS"
    printf '%s %s\n' "$2" "$(contents "${@:3}")" >"$STAMPS/$1"
}
unmark() { rm -f "$STAMPS/$1"; }

# logged NAME COMMAND...: run quietly; a failure shows the end of the log and ends the script.
logged() {
    local name=$1 log=$CACHE/log/$1.log
    shift
    mkdir -p "$CACHE/log"
    if ! "$@" >"$log" 2>&1 </dev/null; then
        tail -n 25 "$log" >&2
        fail "$name failed; the whole log is in .cache/log/$name.log"
    fi
}

# copy_if_changed FROM TO: leaves TO and its time alone when the contents are the same.
copy_if_changed() {
    cmp -s -- "$1" "$2" || cp -- "$1" "$2"
}

# Two `make` in one checkout take turns. Scripts that call each other hold the lock once.
lock() {
    if [ -z "${OTRP_LOCK_HELD:-}" ]; then
        mkdir -p "$CACHE"
        exec {lock_fd}>"$CACHE/lock"
        flock -n "$lock_fd" || {
            say "waiting for another build in this checkout"
            flock "$lock_fd"
        }
        export OTRP_LOCK_HELD=1
    fi
}
