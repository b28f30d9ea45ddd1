# shellcheck shell=bash
# Shared by install and package: which program this tree is, and how it gets into a directory. Sourced, not run; goes to
# the root of the tree, which may be a clone or an unpacked release, and writes nothing into it.

asked_from=${PWD:-/} # paths on the command line are relative to it
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

# say WHAT: should nobody listen any more, the work goes on.
say() { printf '== %s\n' "$*" >&2 || true; }
# die WHAT [NEXT]: what happened, and what to do about it.
die() {
    printf '%s: %s\n' "$(basename "$0")" "$1" >&2
    [[ -z ${2:-} ]] || printf '  next: %s\n' "$2" >&2
    exit 1
}

# need_value OPTION VALUE...
need_value() { [[ -n ${2:-} ]] || die "$1 needs a value" "Read: scripts/$(basename "$0") --help"; }

# A delay that grows from start to start, systemd/back-off.conf; Debian 12 has systemd 252, which does not know it.
knows_growing_delay() { (($(systemctl --version | sed -nE '1s/^systemd ([0-9]+).*/\1/p') >= 254)); }

# The system's own Python: a version manager's would vanish with its owner's home, which the service can't see anyway.
python=/usr/bin/python3

# path_from_there PATH: the same path, from anywhere.
path_from_there() { case $1 in /*) echo "$1" ;; *) echo "$asked_from/$1" ;; esac; }

need_python() {
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        die "needs $python 3.11 or newer" "Use Debian 12, Raspberry Pi OS 12 (Bookworm), or newer."
}

project_version() { sed -nE 's/^version = "([^"]+)"$/\1/p' pyproject.toml; }

# program_id EXTRA: version, and a digest of all that makes the program: any difference is another version to install.
program_id() {
    local digest
    digest=$({
        "$python" -c 'import sys, sysconfig; print(sys.version_info[:2], sysconfig.get_platform())'
        echo "$1"
        find src systemd config.example.toml pyproject.toml scripts/locked/{build,run,sim}.txt -type f ! -name '*.pyc' -print0 |
            LC_ALL=C sort -z | xargs -0 sha256sum
    } | sha256sum | cut -c1-10)
    printf '%s-%s\n' "$(project_version)" "$digest"
}

# pip_install PYTHON ARGUMENT...: only files that were built by their authors; from the directory $wheels alone if it is set.
pip_install() {
    local with=$1 from=()
    shift
    [[ -z ${wheels:-} ]] || from=(--no-index --find-links "$wheels")
    "$with" -m pip install -qq --no-input --disable-pip-version-check --no-cache-dir --only-binary=:all: "${from[@]}" "$@"
}

# build_wheel PYTHON DIRECTORY: the project's own wheel, with a build backend that is locked, too, and not kept.
build_wheel() {
    local with=$1 directory=$2
    pip_install "$with" --target "$directory/backend" --require-hashes --requirement scripts/locked/build.txt
    PYTHONPATH=$directory/backend "$with" -m pip wheel -qq --no-input --disable-pip-version-check --no-index --no-deps \
        --no-build-isolation --wheel-dir "$directory" .
}
