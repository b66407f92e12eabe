# shellcheck shell=bash
# A private apt: own lists, cache and status, nothing of the host's configuration but its mirror.
# Works for an ordinary user and never changes the system; as root, apt keeps its sandbox. Sourced after
# common.sh.

DEBIAN_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# repositories: "URI SUITE" of each Debian repository with a `main` that the machine uses.
repositories() {
    # shellcheck disable=SC2016  # apt expands these
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk '$1 ~ /\/debian(-security)?\/?$/ && $3 == "main" { print $1, $2 }' | sort -u
}

# mirror: the machine's Debian mirror; DEBIAN_MIRROR overrides it.
mirror() {
    local found=${DEBIAN_MIRROR:-}
    if [ -z "$found" ]; then
        found=$(repositories | awk '$1 ~ /\/debian\/?$/ { print $1; exit }')
    fi
    [ -n "$found" ] || fail "apt knows no Debian mirror on this machine; set DEBIAN_MIRROR to the URL of one"
    printf '%s\n' "$found"
}

# security_mirror: the machine's mirror of security updates; DEBIAN_SECURITY_MIRROR overrides it. Nothing where
# there is none.
security_mirror() {
    local found=${DEBIAN_SECURITY_MIRROR:-}
    [ -n "$found" ] || found=$(repositories | awk '$1 ~ /\/debian-security\/?$/ { print $1; exit }')
    printf '%s\n' "$found"
}

# private_apt DIR NATIVE ARCHITECTURES: reads sources.list lines from standard input, updates the
# lists, and makes apt-get and apt-cache use them from here on.
#
# Whether lists past their date are taken, which may hide an update, is what the machine's own apt says;
# APT_VALID_UNTIL=true refuses them, and =false takes them, where all that is taken by them is compared with a
# hash that is known.
private_apt() {
    local dir=$1 native=$2 architectures=$3 place user valid_until
    valid_until=${APT_VALID_UNTIL:-$(APT_CONFIG='' apt-config dump Acquire::Check-Valid-Until | sed -n 's/.*"\(.*\)";/\1/p')}
    [ -e "$DEBIAN_KEYRING" ] || fail "$DEBIAN_KEYRING is missing; install debian-archive-keyring"
    rm -rf "$dir"
    place=$dir user=$(id -un)
    mkdir -p "${dir%/*}"
    if [ "$user" = root ] && id _apt >/dev/null 2>&1; then
        # apt downloads as another user, who need not get into this folder.
        place=$(mktemp -d /var/tmp/otrp-apt.XXXXXX) user=_apt
        apt_places+=("$place" "$dir")
        chmod 755 "$place"
        ln -s "$place" "$dir"
    fi
    mkdir -p "$place"/{none,lists/partial,cache/archives/partial,files}
    [ "$user" != _apt ] || chown _apt "$place/files"
    : >"$place/status"
    cat >"$place/sources.list"
    cat >"$place/apt.conf" <<CONF
Dir::Etc::main "/dev/null";
Dir::Etc::parts "$place/none";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "$place/none";
Dir::Etc::SourceList "$place/sources.list";
Dir::Etc::SourceParts "$place/none";
Dir::State::Lists "$place/lists";
Dir::State::status "$place/status";
Dir::Cache "$place/cache";
APT::Architecture "$native";
APT::Architectures "$architectures";
APT::Sandbox::User "$user";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::Check-Valid-Until "${valid_until:-true}";
CONF
    export APT_CONFIG=$place/apt.conf
    if ! apt-get update -qq -o APT::Update::Error-Mode=any >"$place/log" 2>&1; then
        tail -n 5 "$place/log" >&2
        ! grep -q 'expired' "$place/log" ||
            fail "the package lists of this mirror are past their date; take one that is up to date (DEBIAN_MIRROR=URL)"
        fail "the package lists cannot be read from $(awk '{ print $3; exit }' "$place/sources.list"); is there a network?"
    fi
}
apt_places=()
# The shell removes what it has made elsewhere.
trap '[ ${#apt_places[@]} = 0 ] || rm -rf "${apt_places[@]}"' EXIT

# fetch_into DIR COMMAND ARGUMENT...: what an apt-get command puts into its folder, moved to DIR. The end of its
# messages is in FETCH_LOG.
fetch_into() {
    local dir=$1 files=${APT_CONFIG%/*}/files
    shift
    FETCH_LOG=${APT_CONFIG%/*}/fetch.log
    (cd "$files" && apt-get -qq "$@") >"$FETCH_LOG" 2>&1 || return
    ! grep -q unsandboxed "$FETCH_LOG" || fail "apt downloads as root, outside of its sandbox: $(head -n 1 "$FETCH_LOG")"
    mkdir -p "$dir"
    find "$files" -type f -exec mv -t "$dir" {} +
    # They were the other user's.
    [ "$(id -u)" != 0 ] || find "$dir" -maxdepth 1 -type f -user _apt -exec chown root:root {} +
}

# download DIR PACKAGE...: the packages' files, without their dependencies.
download() {
    local dir=$1
    shift
    if ! fetch_into "$dir" download "$@"; then
        tail -n 5 "$FETCH_LOG" >&2
        fail "cannot download $*; is there a network?"
    fi
}
