#!/usr/bin/env bash
# Makes the control plane that tests/cluster runs: etcd, kube-apiserver, kube-controller-manager, kube-scheduler and
# kubectl, built from their Go modules; and takes the resource definitions of the Gateway API and of Istio from theirs.
#
#   scripts/kubernetes.sh                     make what is missing (about ten minutes of CPU, once)
#   scripts/kubernetes.sh where programs      print the folder that holds the programs
#   scripts/kubernetes.sh where definitions   print the folder that holds the definitions
#
# Both live outside the checkout, in a folder named after the sums of the modules, so that checkouts share them and a
# change of version makes them anew. tests/cluster/programs holds the modules; nothing else decides the versions.
set -euo pipefail
cd "$(dirname "$0")/.."

MODULES=$PWD/tests/cluster/programs
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/weft
KUBERNETES=$(sed -n 's#^require k8s.io/kubernetes ##p' "$MODULES/kubernetes/go.mod")
GO_MINOR=26

fail() {
  printf 'kubernetes: %s\n' "$1" >&2
  exit 1
}

sum() { (cd "$MODULES" && cat "$@") | sha256sum | cut -c1-12; }
PROGRAMS=$CACHE/kubernetes-$KUBERNETES-$(sum kubernetes/go.mod kubernetes/go.sum etcd/go.mod etcd/go.sum)
DEFINITIONS=$CACHE/definitions-$(sum definitions/go.mod definitions/go.sum)

check_go() {
  local advice="install Go 1.$GO_MINOR or newer for this machine and put its bin folder in PATH, then see that \`go version\` answers"
  command -v go >/dev/null || fail "the Go toolchain is needed to build Kubernetes for the tests: $advice"
  local version minor
  version=$(GOTOOLCHAIN=local go env GOVERSION)
  minor=$(sed -n 's/^go1\.\([0-9]*\).*/\1/p' <<<"$version")
  [ "${minor:-$GO_MINOR}" -ge $GO_MINOR ] || fail "Go 1.$GO_MINOR or newer is needed, this is $version: $advice"
}

stamps() { # the version that Kubernetes' programs say they are; the API server serves it at /version
  local package minor=${KUBERNETES#v1.}
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    printf -- '-X %s.gitVersion=%s -X %s.gitMajor=1 -X %s.gitMinor=%s -X %s.gitTreeState=clean ' \
      $package "$KUBERNETES" $package $package "${minor%%.*}" $package
  done
}

build_programs() { # FOLDER
  printf 'kubernetes: building Kubernetes %s and etcd for the tests (about ten minutes of CPU, once)\n' "$KUBERNETES"
  (cd "$MODULES/kubernetes" && go build -trimpath -ldflags "-s -w $(stamps)" -o "$1/" \
    k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kubectl})
  (cd "$MODULES/etcd" && go build -trimpath -ldflags '-s -w' -o "$1/etcd" .)
}

fetch_definitions() { # FOLDER
  cd "$MODULES/definitions"
  # Downloads and checks against go.sum, which `go list` alone does not.
  go mod download sigs.k8s.io/gateway-api istio.io/api
  cp -r --no-preserve=mode "$(go list -m -f '{{.Dir}}' sigs.k8s.io/gateway-api)/config/crd" "$1/gateway-api"
  cp --no-preserve=mode "$(go list -m -f '{{.Dir}}' istio.io/api)/kubernetes/customresourcedefinitions.gen.yaml" "$1/istio.yaml"
}

make_once() { # FOLDER COMMAND: the folder, whole or not at all; a run beside this one waits and finds it made
  [ -d "$1" ] && return
  check_go
  mkdir -p "$CACHE"
  exec 9>"$CACHE/.lock"
  flock 9
  [ -d "$1" ] && return
  rm -rf "$CACHE"/.making-* # left by a run that was killed: whoever holds the lock is alone here
  aside=$(mktemp -d "$CACHE/.making-XXXXXX")
  trap 'rm -rf "$aside"' EXIT
  mkdir "$aside/made"
  # Go's caches, 4 GB, are thrown away with the rest: the modules and the object files are of no use afterwards.
  export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS='-buildvcs=false -mod=readonly -modcacherw' GOWORK=off
  export GOMODCACHE=$aside/modules GOCACHE=$aside/objects
  local started=$SECONDS
  "$2" "$aside/made"
  mv -T "$aside/made" "$1"
  rm -rf "$aside"
  printf 'kubernetes: made %s in %s s\n' "$1" $((SECONDS - started))
}

case "$*" in
  '')
    make_once "$PROGRAMS" build_programs
    make_once "$DEFINITIONS" fetch_definitions
    ;;
  'where programs') echo "$PROGRAMS" ;;
  'where definitions') echo "$DEFINITIONS" ;;
  *) fail "unknown arguments: $*; see the head of scripts/kubernetes.sh" ;;
esac
