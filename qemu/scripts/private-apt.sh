# shellcheck shell=bash
# A private apt: own lists, cache and status, nothing of the host's configuration but its mirror.
# Works for an ordinary user and never changes the system. Sourced after common.sh.

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

# private_apt DIR NATIVE ARCHITECTURES: reads sources.list lines from standard input, updates the
# lists, and makes apt-get and apt-cache use them from here on.
private_apt() {
    local dir=$1 native=$2 architectures=$3
    [ -e "$DEBIAN_KEYRING" ] || fail "$DEBIAN_KEYRING is missing; install debian-archive-keyring"
    rm -rf "$dir"
    mkdir -p "$dir"/{none,lists/partial,cache/archives/partial}
    : >"$dir/status"
    cat >"$dir/sources.list"
    # Check-Valid-Until: a mirror that is frozen or behind serves what it has.
    cat >"$dir/apt.conf" <<CONF
Dir::Etc::main "/dev/null";
Dir::Etc::parts "$dir/none";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "$dir/none";
Dir::Etc::SourceList "$dir/sources.list";
Dir::Etc::SourceParts "$dir/none";
Dir::State::Lists "$dir/lists";
Dir::State::status "$dir/status";
Dir::Cache "$dir/cache";
APT::Architecture "$native";
APT::Architectures "$architectures";
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::Check-Valid-Until "false";
CONF
    export APT_CONFIG=$dir/apt.conf
    if ! apt-get update -qq -o APT::Update::Error-Mode=any >"$dir/log" 2>&1; then
        tail -n 5 "$dir/log" >&2
        fail "the package lists cannot be read from $(awk '{ print $3; exit }' "$dir/sources.list"); is there a network?"
    fi
}

# download DIR PACKAGE...: the packages' files, without their dependencies.
download() {
    local dir=$1
    shift
    mkdir -p "$dir"
    if ! (cd "$dir" && apt-get download -qq "$@") >"$dir/log" 2>&1; then
        tail -n 5 "$dir/log" >&2
        fail "cannot download $*; is there a network?"
    fi
    rm -f "$dir/log"
}
