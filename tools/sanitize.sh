#!/bin/sh
# Runs the engine's tests with kernels compiled for the sanitizers: addresses and undefined behaviour, then data races.
# Further arguments go to pytest. The sanitizers' runtimes are those of $CXX, or of g++.
set -eu
cd "$(dirname "$0")/.."

cxx=${CXX:-g++}
cache=${ELMAN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/elman}-sanitized # apart: these kernels are slow, and many
mkdir -p -m 700 "$cache"
export ELMAN_CACHE="$cache" CXX="$cxx" PYTHONMALLOC=malloc

# run FLAGS RUNTIMES TESTS...
run() {
    preload=
    for runtime in $2; do preload="$preload $("$cxx" -print-file-name="$runtime")"; done
    flags=$1
    shift 2
    # in one process, so that a report does not get lost; no faulthandler, which would take the sanitizers' signals
    ELMAN_CXXFLAGS="-O1 -g $flags" LD_PRELOAD="$preload" .venv/bin/python -m pytest -p no:faulthandler -p no:xdist -x -q "$@"
}

export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export TSAN_OPTIONS=ignore_noninstrumented_modules=1:halt_on_error=1
run "-fsanitize=address,undefined -fno-sanitize-recover=undefined" "libasan.so libubsan.so" \
    tests/test_engine_p*.py "$@" # parity and process
run "-fsanitize=thread" libtsan.so tests/test_engine_parity.py -k "two_threads or large_weights or runs_ahead" "$@"
