#!/usr/bin/env bash
# Builds the CNI plugin as a static program and puts it beside Python: .venv/bin/weft-cni.
# It runs in the node's file system, not in an image, so it may need no library of either.
set -euo pipefail
cd "$(dirname "$0")/.."

machine=$(uname -m)
target=$machine-unknown-linux-musl flags='-C strip=symbols'
if [ ! -d "$(rustc --print sysroot)/lib/rustlib/$target" ]; then
  # glibc linked statically serves as well: the plugin looks up no names and no users.
  target=$machine-unknown-linux-gnu flags="$flags -C target-feature=+crt-static"
fi
RUSTFLAGS=$flags cargo build --manifest-path proxy/Cargo.toml --release --locked --package weft-cni --target "$target"

built=${CARGO_TARGET_DIR:-proxy/target}/$target/release/weft-cni
if readelf --program-headers "$built" | grep -q INTERP; then
  echo "$built is not static: it asks for a dynamic linker" >&2
  exit 1
fi
install -D "$built" .venv/bin/weft-cni
