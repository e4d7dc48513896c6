#!/usr/bin/env bash
# Format, lint, types, layers and generated files; every check runs, one failure fails.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
failed=()

run() { # NAME COMMAND…
  local name=$1 started=$SECONDS
  shift
  if output=$("$@" 2>&1); then
    printf '  ok     %-28s %3s s\n' "$name" $((SECONDS - started))
  else
    printf '  FAILED %-28s\n%s\n' "$name" "$output"
    failed+=("$name")
  fi
}

stubs_are_current() {
  local fresh status=0
  fresh=$(mktemp -d) && mkdir -p "$fresh/agent/proto"
  scripts/generate.sh "$fresh" &&
    for file in "$fresh"/agent/proto/*; do
      diff -q "$file" "agent/proto/$(basename "$file")" || status=1
    done
  rm -rf "$fresh"
  [ $status = 0 ] || echo 'run `make gen`'
  return $status
}

run 'Python format' ruff format --check .
run 'Python lint' ruff check .
run 'Python types' mypy
run 'Python layers' lint-imports
run 'engine: typed face' python -m mypy.stubtest agent._engine
run 'protobuf stubs' stubs_are_current
run 'resource definitions' python scripts/crds.py --check
run 'tables in the docs' python scripts/document.py --check
run 'BPF format' clang-format --dry-run -Werror bpf/*.c bpf/*.h
run 'Rust format' cargo fmt --manifest-path proxy/Cargo.toml --all --check
run 'Rust lint' cargo clippy --manifest-path proxy/Cargo.toml --release --all-targets --no-default-features --quiet -- -D warnings

if [ ${#failed[@]} -gt 0 ]; then
  printf 'check: %s failed\n' "${#failed[@]}" >&2
  exit 1
fi
