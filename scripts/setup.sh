#!/usr/bin/env bash
# Sets up a checkout: Debian packages, the virtual environment, the engine, the CNI plugin.
# Runs again in about a second when nothing has changed. `make` calls it.
set -euo pipefail
cd "$(dirname "$0")/.."

PACKAGES=(
  build-essential python3-venv python3-bpfcc libbpf1       # building, and the BPF compiler
  iproute2 nftables tcpdump                                # the lab's network and its witness
  runc golang-github-containers-common                     # the lab's containers, and their seccomp profile
  curl nginx-light redis-server                            # the example shop
  iperf3 sockperf                                          # benchmarks
  clang-format                                             # formatting of the BPF programs
  prometheus chromium-headless-shell fonts-dejavu-core     # tests of the metrics and of the page
)
STAMP=.venv/.set-up
STEPS=5

say() { printf '\033[1m[set-up %s/%s]\033[0m %s\n' "$1" "$STEPS" "$2"; }

need() { # TEST MESSAGE
  if ! eval "$1" >/dev/null 2>&1; then
    printf 'set-up: %s\n' "$2" >&2
    exit 1
  fi
}

check_prerequisites() {
  need '[ "$(id -u)" = 0 ]' 'root is needed, for network namespaces and BPF: run `sudo -E make …`'
  need 'command -v apt-get' 'apt-get is needed: Weft sets itself up on Debian 12 or a relative'
  need '/usr/bin/python3 -c "import sys; sys.exit(sys.version_info < (3, 11))"' \
    '/usr/bin/python3 must be Python 3.11 or newer: apt-get install python3'
  need 'command -v cargo' 'a Rust toolchain is needed: install it with rustup, then see that `cargo --version` answers'
  need '[ -n "$(cargo --version | awk "{split(\$2, v, \".\"); if (v[1] > 1 || v[2] >= 90) print \"new enough\"}")" ]' \
    "Rust 1.90 or newer is needed, this is $(cargo --version): rustup update"
  need 'grep -q cgroup2 /proc/filesystems && grep -q bpf /proc/filesystems' \
    'this kernel has no cgroup2 or no BPF file system; Linux 5.15 or newer with both is needed'
}

install_packages() {
  local missing=()
  for package in "${PACKAGES[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  if [ ${#missing[@]} = 0 ]; then
    return
  fi
  say 1 "Debian packages: ${missing[*]}"
  apt-get update -q >/dev/null
  # The programs are wanted, not the services that Debian starts with them.
  local policy=/usr/sbin/policy-rc.d made=no status=0
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && made=yes
  fi
  DEBIAN_FRONTEND=noninteractive quietly apt-get install -yq --no-install-recommends "${missing[@]}" || status=$?
  [ $made = no ] || rm -f $policy
  if [ $status != 0 ]; then
    printf 'set-up: apt-get could not install the packages; see above\n' >&2
    exit 1
  fi
}

make_environment() {
  say 2 'virtual environment .venv and Python packages'
  [ -x .venv/bin/python ] || /usr/bin/python3 -m venv --system-site-packages .venv
  .venv/bin/python - <<'PY' >.venv/requirements.txt
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))
wanted = project["project"]["dependencies"] + project["project"]["optional-dependencies"]["dev"]
print("\n".join([*wanted, *project["build-system"]["requires"]]))
PY
  .venv/bin/pip install -q --disable-pip-version-check -r .venv/requirements.txt
}

build_engine() {
  say 3 'the engine (Rust; about two minutes the first time)'
  quietly .venv/bin/maturin develop --release
}

build_plugin() {
  say 4 'the CNI plugin (Rust)'
  quietly scripts/cni.sh
}

quietly() { # COMMAND…: its output only if it fails
  local output status=0
  output=$(mktemp)
  "$@" >"$output" 2>&1 || status=$?
  [ $status = 0 ] || tail -40 "$output" >&2
  rm -f "$output"
  return $status
}

inputs() { cat pyproject.toml scripts/setup.sh scripts/cni.sh; find proxy agent/proto -name target -prune -o -type f -name '*.rs' -print -o -name '*.toml' -print -o -name '*.proto' -print -o -name Cargo.lock -print | sort | xargs cat; }

check_prerequisites
wanted=$(inputs | sha256sum)
if [ -f $STAMP ] && [ "$(cat $STAMP)" = "$wanted" ] && [ -x .venv/bin/weft-cni ] &&
  .venv/bin/python -c 'import agent._engine' 2>/dev/null; then
  exit 0
fi
started=$SECONDS
install_packages
make_environment
build_engine
build_plugin
printf '%s' "$wanted" >$STAMP
say 5 "done in $((SECONDS - started)) s"
