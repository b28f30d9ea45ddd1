# shellcheck shell=bash
# Shared by the scripts beside it: finds Python, makes environments from the locked files, installs Debian packages.
# Sourced, not run; goes to the root of the clone.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p .cache

say() { printf '== %s\n' "$*" >&2; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

# find_python: prints the newest suitable Python. Each is tried, because a version manager's shim may stand for nothing.
find_python() {
    local candidate
    for candidate in "${BOTA_GATEWAY_PYTHON:-}" python3.13 python3.12 python3.11 python3; do
        if [[ -n $candidate ]] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    die "needs Python 3.11 or newer on PATH, or its path in BOTA_GATEWAY_PYTHON"
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
