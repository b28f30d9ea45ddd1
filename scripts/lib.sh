# shellcheck shell=bash
# Shared by the scripts beside it: finds Python, makes environments from the locked files, installs Debian packages.
# Sourced, not run; goes to the root of the clone.

say() { printf '== %s\n' "$*" >&2; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
{ mkdir -p .cache && [[ -w .cache ]]; } 2>/dev/null ||
    die "$(id -un) may not write into $PWD: clone it as this user, or give it to them with chown -R"

# find_python: prints the newest suitable Python. Each is tried, because a version manager's shim may stand for nothing.
find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3; do
        if [[ -n $candidate ]] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    die "needs Python 3.11 or newer on PATH, or its path in the variable PYTHON"
}

# install_packages WHY PACKAGE...: Debian packages, when we may; else one line that says what to type.
install_packages() {
    local why=$1 sudo=()
    shift
    if ! command -v apt-get >/dev/null; then
        die "$why: install what Debian calls $*"
    fi
    if [[ $(id -u) != 0 ]]; then
        sudo -n true 2>/dev/null || die "$why; type: sudo apt-get install $*"
        sudo=(sudo)
    fi
    say "$why: installing $* with apt-get"
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive sh -ec '
        apt-get install --yes --no-install-recommends "$@" >/dev/null 2>&1 ||
            { apt-get update && apt-get install --yes --no-install-recommends "$@"; } >&2' sh "$@"
}

# make_venv DIRECTORY: an empty environment with pip. Debian keeps the part of venv that brings pip in a package of its own.
make_venv() {
    local directory=$1 python version
    python=$(find_python)
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        install_packages "Python has no ensurepip" "python$version-venv"
    fi
    "$python" -m venv --clear "$directory"
}

# install_locked DIRECTORY NAME...: the packages of scripts/locked/NAME.txt, each file checked against its hash.
install_locked() {
    local directory=$1 name requirements=()
    shift
    for name in "$@"; do requirements+=(--requirement "scripts/locked/$name.txt"); done
    "$directory/bin/python" -m pip install -qq --no-input --disable-pip-version-check --require-hashes \
        "${requirements[@]}" || die "could not install into $directory; pip says why above (is there a network?). Run it again to go on"
}

# is_installed DIRECTORY LEVEL...: whether the environment is complete at one of these levels, for this clone, as locked now.
is_installed() {
    local directory=$1 level key
    shift
    [[ -x $directory/bin/python && -f $directory/.installed ]] || return 1
    key=$(installation_key)
    for level in "$@"; do
        [[ $(<"$directory/.installed") == "$level $key" ]] && return
    done
    return 1
}

# installation_key: changes when an environment has to be brought up to date. The path counts: it is in each command's first line.
installation_key() {
    { pwd; cat pyproject.toml scripts/locked/*.txt; } | sha256sum | cut -c1-32
}

# make_environment DIRECTORY LEVEL ACTION...: runs ACTION to fill the environment and marks it as complete.
make_environment() {
    local directory=$1 level=$2
    shift 2
    rm -f "$directory/.installed"
    "$directory/bin/python" -c '' 2>/dev/null || make_venv "$directory"
    "$@"
    printf '%s %s' "$level" "$(installation_key)" >"$directory/.installed"
}

# alone NAME: from here on only one script at a time, until this one ends or says otherwise.
alone() {
    exec {alone_fd}>".cache/$1.lock"
    flock --nonblock "$alone_fd" || { say "waiting for another script that installs into $1"; flock "$alone_fd"; }
}
together() { exec {alone_fd}>&-; }

# The project with its locked packages in .venv: with the simulation (demo), or with all that developing needs (test, check).
need_sim() { need .venv "sim dev" fill_project "the gateway and its simulation, about 35 MB to download" sim build; }
need_dev() { need .venv dev fill_project "the gateway and all that developing needs, about 65 MB to download" dev; }

# OpenStack Swift in .venv-swift, apart from ours: its dependencies are its own.
need_swift() { need .venv-swift swift fill "OpenStack Swift for the tests of uploads, about 15 MB to download" swift; }

# need DIRECTORY LEVELS ACTION...: makes the environment unless it is complete at one of the levels; the first is what is made.
need() {
    local directory=$1 levels
    read -ra levels <<<"$2"
    shift 2
    is_installed "$directory" "${levels[@]}" && return
    alone "$directory"
    is_installed "$directory" "${levels[@]}" || make_environment "$directory" "${levels[0]}" "$@"
    together
}

# fill WHAT NAME...: the locked packages into the environment being made; fill_project adds the project itself.
fill() {
    say "installing $1, into $directory; once"
    install_locked "$directory" "${@:2}"
    say "installed in $SECONDS s"
}
fill_project() {
    fill "$@"
    "$directory/bin/python" -m pip install -qq --no-input --disable-pip-version-check --no-build-isolation --no-deps --editable .
}
