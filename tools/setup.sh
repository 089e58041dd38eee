#!/bin/sh
# Makes .venv and installs elman with its tools, only when needed; says in one line each what the machine lacks.
# PYTHON=/path/to/python3 chooses the interpreter.
set -eu
cd "$(dirname "$0")/.."

venv=.venv
stamp=$venv/elman-setup
log=$venv/pip.log
chosen=${PYTHON:-}
python=${chosen:-python3}

say() { printf 'setup: %s\n' "$*" >&2; }

# What the stamp holds: another folder (scripts in .venv name it), other options or other versions install again.
fingerprint() { { pwd; cat pyproject.toml constraints.txt; } | cksum; }

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

is_new_enough() { # a version as major.minor
    [ "${1%%.*}" -gt 3 ] || { [ "${1%%.*}" -eq 3 ] && [ "${1#*.}" -ge 11 ]; }
}

identity() { "$1" -c 'import sys; print(sys.version, sys.base_prefix)' 2>/dev/null; }

is_as_chosen() { [ -z "$chosen" ] || [ "$(identity "$chosen")" = "$(identity "$venv/bin/python")" ]; }

is_current() {
    [ -f "$stamp" ] && [ -x "$venv/bin/python" ] && [ "$(cat "$stamp")" = "$(fingerprint)" ] && is_as_chosen &&
        "$venv/bin/python" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("elman") is None)' 2>/dev/null
}

# A .venv that was interrupted, that lost its Python or that another tool made without pip is of no use.
is_usable() {
    [ -x "$venv/bin/python" ] && version=$(version_of "$venv/bin/python") && is_new_enough "$version" && is_as_chosen &&
        "$venv/bin/python" -m pip --version >/dev/null 2>&1
}

check_python() { # exits at the first lack: each rests on the one before
    if ! command -v "$python" >/dev/null 2>&1; then
        say "there is no '$python' on this machine: install it (Debian: apt-get install python3 python3-venv) or name another with PYTHON=/path/to/python3."
        return 1
    fi
    if ! version=$(version_of "$python") || [ -z "$version" ]; then
        say "'$python' does not run: reinstall it (Debian: apt-get install --reinstall python3) or name another with PYTHON=/path/to/python3."
        return 1
    fi
    if ! is_new_enough "$version"; then
        say "'$python' is Python $version and elman needs 3.11 or newer: install one (for example apt-get install python3.11 python3.11-venv) and name it with PYTHON=python3.11."
        return 1
    fi
    if ! "$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then
        say "'$python' lacks the venv module: install it (Debian: apt-get install python3-venv, or python$version-venv for a Python that is not the system's own)."
        return 1
    fi
}

check_compiler() {
    for compiler in ${CXX:-c++ g++ clang++}; do
        command -v "$compiler" >/dev/null 2>&1 && return 0
        [ -z "${CXX:-}" ] || break # CXX may carry options after its first word
    done
    if [ -n "${CXX:-}" ]; then
        say "there is no C++ compiler '$compiler', which CXX names: install it, or unset CXX to use c++, g++ or clang++."
    else
        say "there is no C++ compiler (c++, g++ or clang++): install one (Debian: apt-get install g++) or name it with CXX=/path/to/compiler."
    fi
    return 1
}

make_venv() {
    if ! output=$("$python" -m venv "$venv" 2>&1); then
        rm -rf "$venv"
        printf '%s\n' "$output" | tail -n 5 >&2
        say "'$python -m venv' failed as shown above and its half-made $venv is removed: install the module (Debian: apt-get install python3-venv) and see that this folder is writable and the disk has room."
        return 1
    fi
}

# pip says a hundred lines; the downloads are what one waits for. The whole is kept in the log.
show_progress() {
    while IFS= read -r line; do
        case $line in
        *Downloading*.metadata*) ;;
        *Downloading*) printf '  %s\n' "${line#"${line%%[! ]*}"}" ;;
        'Installing collected packages'*) printf '  Unpacking\n' ;;
        esac
    done
}

install_packages() {
    rm -f "$stamp" "$venv/pip.status"
    printf 'Installing elman and its tools into %s (torch is large: a few minutes the first time)\n' "$venv"
    {
        status=0
        "$venv/bin/python" -m pip install --no-input --disable-pip-version-check -e '.[dev]' -c constraints.txt 2>&1 || status=$?
        echo "$status" >"$venv/pip.status"
    } | tee "$log" | show_progress
    if [ "$(cat "$venv/pip.status")" != 0 ]; then
        tail -n 16 "$log" >&2 # far enough up for the reason when the build back end cannot be fetched
        say "pip failed as shown above (all of it is in $log): see that the package index answers (network, proxy, PIP_INDEX_URL) and that the disk has room (2 GB, more with a CUDA build of torch), then type the same again."
        return 1
    fi
    fingerprint >"$stamp"
}

is_current && exit 0

lacks=0
usable=no
if is_usable; then usable=yes; else check_python || lacks=1; fi
check_compiler || lacks=1
[ "$lacks" = 0 ] || exit 1

if [ "$usable" = no ]; then
    if [ -e "$venv" ] || [ -L "$venv" ]; then
        say "$venv is half-made or of another Python: making it anew."
        rm -rf "$venv"
    fi
    make_venv
fi
install_packages
