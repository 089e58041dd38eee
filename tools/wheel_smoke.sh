#!/bin/sh
# Builds the wheel, installs it in a fresh venv without a compiler, and streams every cell by the wheel's own kernels, on
# every instruction set of the machine. numpy and what else the wheel needs come from .venv.
set -eu
cd "$(dirname "$0")/.."

python=$PWD/.venv/bin/python
smoke=$PWD/tools/wheel_smoke.py
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT INT TERM

"$python" -m pip wheel --quiet --no-deps --no-input --disable-pip-version-check -w "$folder" .
wheel=$(echo "$folder"/elman-*.whl)
echo "wheel: $(basename "$wheel"), $(wc -c <"$wheel") bytes"
"$python" -m venv --without-pip "$folder/venv"
site=$("$folder/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$python" -m pip install --quiet --no-deps --no-index --no-compile --disable-pip-version-check --target "$site" "$wheel"
# The folder itself, and not what its .pth files add: elman from src stays out
"$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$site/borrowed.pth"
mkdir "$folder/cache" "$folder/nothing"
cd "$folder"
stream() {
    env -i HOME="$folder" PATH="$folder/nothing" CXX=/nonexistent ELMAN_CACHE="$folder/cache" "$@" \
        "$folder/venv/bin/python" -W error "$smoke"
}
stream
for isa in $("$folder/venv/bin/python" -c 'from elman.engine.build import isas; print(*isas())'); do
    stream ELMAN_ISA="$isa"
done
[ -z "$(ls "$folder/cache")" ] || { echo "wheel: something was compiled: $(ls "$folder/cache")" >&2; exit 1; }
