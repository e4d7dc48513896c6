#!/usr/bin/env bash
# Makes what goes into the image besides Debian's packages, in the folder $1: the wheel of this checkout, the wheels of
# all it depends on, pip to install them with, and the CNI plugin. Needs Rust, and the Python that the image will have.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$(realpath -m "${1:?a folder}")

wanted_to_build() {
  .venv/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")'
}

if [ ! -x .venv/bin/maturin ]; then
  python3 -m venv .venv
  wanted_to_build >.venv/requirements.txt
  .venv/bin/pip install --quiet --requirement .venv/requirements.txt
fi
rm -rf "$out"
mkdir -p "$out/wheels"
# Without what only a debugger reads, which is six sevenths of the engine.
.venv/bin/python -m maturin build --release --locked --strip --interpreter .venv/bin/python --out "$out/wheels"
.venv/bin/pip wheel --quiet --disable-pip-version-check --wheel-dir "$out/wheels" pip "$out"/wheels/weft-*.whl
scripts/cni.sh
install -D .venv/bin/weft-cni "$out/weft-cni"
