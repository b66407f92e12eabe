# shellcheck shell=bash disable=SC2034  # the lists are for the scripts that source this
# The distribution's packages that images are made of, and the lock file that pins them. Sourced after
# private-apt.sh.
#
# A line of qemu/packages.lock is one file:
#   KIND PACKAGE VERSION SUITE SHA-256 FILE
# KIND: source, two lines each; kernel; program; client (libteec and tee-supplicant); board:<name> (the
# maker's boot firmware).

LOCK_FILE=${OTRP_LOCK_FILE:-$QEMU_DIR/packages.lock}
DOWNLOADS=$CACHE/download
# User space, kernel and TF-A come from the stable suite, which hardly moves; only sid has this OP-TEE.
STABLE=trixie
SOURCES_WANTED=("optee-os sid" "arm-trusted-firmware $STABLE")
KERNEL_PACKAGE=linux-image-arm64
PROGRAMS_WANTED=(busybox-static libc6 libgcc-s1)
# Any version from 4.5 on serves.
CLIENT_WANTED=(libteec2 tee-supplicant)

# rows: the lines of the lock that the board needs.
rows() { awk -v board="board:$BOARD" '!/^#/ && NF && ($1 !~ /^board:/ || $1 == board)' "$LOCK_FILE"; }

# present SHA FILE: it is downloaded.
present() { sha256sum -c --status <<<"$1  $DOWNLOADS/$2" 2>/dev/null; }

# open_suite SUITE VALID: apt's lists of a suite, with that of its security updates; expired ones are refused
# where VALID is true.
open_suite() {
    local mirror security='' component=main
    mirror=$(mirror)
    [ "$1" != "$STABLE" ] || security=$(security_mirror)
    # The boot firmware of boards is there.
    [ "$1" != "$STABLE" ] || component="main non-free-firmware"
    say "reading the package lists of $1, about 10 s"
    {
        printf '%s [signed-by=%s] %s %s %s\n' deb "$DEBIAN_KEYRING" "$mirror" "$1" "$component" deb-src "$DEBIAN_KEYRING" "$mirror" "$1" main
        [ -z "$security" ] || printf '%s [signed-by=%s] %s %s %s\n' deb "$DEBIAN_KEYRING" "$security" "$1-security" "$component" deb-src "$DEBIAN_KEYRING" "$security" "$1-security" main
    } >"$CACHE/sources.list"
    APT_VALID_UNTIL=$2 private_apt "$CACHE/apt-$1" arm64 arm64 <"$CACHE/sources.list"
    rm "$CACHE/sources.list"
}

# lines_of_package KIND PACKAGE SUITE: the lock's line for the newest version that the open lists have.
lines_of_package() {
    apt-cache show --no-all-versions "$2" 2>/dev/null |
        awk -v kind="$1" -v package="$2" -v suite="$3" '
            $1 == "Version:" { version = $2 }
            $1 == "SHA256:" { sha = $2 }
            $1 == "Architecture:" { architecture = $2 }
            END {
                if (sha == "") exit 1
                name = version; gsub(":", "%3a", name)
                print kind, package, version, suite, sha, package "_" name "_" architecture ".deb"
            }'
}

# lines_of_source PACKAGE SUITE: upstream's file, then the distribution's.
lines_of_source() {
    local newest
    newest=$(apt-cache showsrc --only-source "$1" 2>/dev/null | awk '$1 == "Version:" { print $2 }' | sort -V | tail -n 1)
    [ -n "$newest" ] || return
    apt-cache showsrc --only-source "$1" | awk -v package="$1" -v suite="$2" -v newest="$newest" '
        $1 == "Version:" { version = $2 }
        /^[A-Z]/ { sums = $1 == "Checksums-Sha256:" }
        sums && NF == 3 && version == newest && /\.orig\.tar\.[gx]z$/ { upstream = "source " package " " version " " suite " " $1 " " $3 }
        sums && NF == 3 && version == newest && /\.debian\.tar\.xz$/ { debian = "source " package " " version " " suite " " $1 " " $3 }
        END { if (upstream == "" || debian == "") exit 1; print upstream; print debian }'
}

# lines_of_kernel SUITE
lines_of_kernel() {
    local kernel
    kernel=$(apt-cache show --no-all-versions "$KERNEL_PACKAGE" 2>/dev/null | sed -n 's/^Depends: .*\(linux-image-[0-9][^ ,]*\).*/\1/p' | head -n 1)
    [ -n "$kernel" ] && lines_of_package kernel "$kernel" "$1"
}

# get KIND PACKAGE VERSION: puts a package's files into DOWNLOADS; fails where the open lists do not have it.
get() {
    mkdir -p "$DOWNLOADS"
    if [ "$1" = source ]; then
        fetch_into "$DOWNLOADS" source --download-only "$2=$3"
    else
        fetch_into "$DOWNLOADS" download "$2=$3"
    fi
}
