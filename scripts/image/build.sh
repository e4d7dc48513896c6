#!/usr/bin/env bash
# Builds the image without a registry and without a daemon: a base of the machine's Debian, the parts of this checkout,
# and the Dockerfile, run by buildah. Makes
#
#   build/image                  an OCI layout
#   build/weft-VERSION.oci.tar   the same as one file, for `podman load`, `docker load`, `ctr images import`, kind, skopeo
#
# Packages come from where the machine's apt and pip get theirs. The same commit with the same packages makes the same image.
set -euo pipefail
cd "$(dirname "$0")/../.."

NAME=localhost/weft # that no registry serves: push it to one of your own under another name
TOOLS=(mmdebstrap buildah umoci runc) # umoci and runc are for the tests of the image
# The documentation of Debian's packages is not read in an image; their licences stay.
LEFT_OUT=('/usr/share/doc/*' '/usr/share/info/*' '/usr/share/locale/*' '/usr/share/man/*')

CODENAME=$(. /etc/os-release && echo "$VERSION_CODENAME")
VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}

say() { printf '\033[1m[image %s/4]\033[0m %s\n' "$1" "$2"; }

fail() {
  printf 'image: %s\n' "$1" >&2
  exit 1
}

quietly() { # COMMAND…: its output only if it fails
  "$@" >"$work/output" 2>&1 || {
    tail -40 "$work/output" >&2
    fail "$1 failed; its last lines are above"
  }
}

install_tools() {
  local missing=()
  for tool in "${TOOLS[@]}"; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  [ ${#missing[@]} = 0 ] && return
  say 1 "Debian packages: ${missing[*]}"
  quietly apt-get update -q
  DEBIAN_FRONTEND=noninteractive quietly apt-get install -yq --no-install-recommends "${missing[@]}"
}

sources() { # of this release of Debian and no others, as apt has them
  local indices origin
  indices=$(apt-get indextargets --format '$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)' 'Identifier: Packages' | sort -u)
  origin=$(awk -F'|' -v name="$CODENAME" '$3 == name { print $1; exit }' <<<"$indices")
  awk -F'|' -v name="$CODENAME" -v origin="$origin" \
    '$1 == origin && ($3 == name || index($3, name "-") == 1) { print "deb", $2, $3, $4 }' <<<"$indices"
}

make_base() { # of packages.txt
  local options=() packages
  packages=$(grep -v '^#' scripts/image/packages.txt | paste -sd,)
  for pattern in "${LEFT_OUT[@]}"; do
    options+=("--dpkgopt=path-exclude=$pattern")
  done
  apt-config dump --format '%F "%v";%n' Acquire::http Acquire::https >"$work/apt.conf"
  sources >"$work/sources.list"
  [ -s "$work/sources.list" ] || fail "apt has no index of $CODENAME: run apt-get update"
  # Without usr-is-merged it is usrmerge, which brings all of Perl. What says where packages came from does not stay.
  # Commit gives all files one time, so Python's compiled modules may not go by it.
  quietly mmdebstrap --mode=root --variant=essential --include="usr-is-merged,$packages" \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --aptopt="$work/apt.conf" "${options[@]}" \
    --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --customize-hook='cd "$1" && rm -rf etc/apt/sources.list* etc/apt/apt.conf.d/99mmdebstrap var/cache/debconf/*-old var/log/*' \
    --customize-hook='cd "$1/etc" && echo "127.0.0.1 localhost" >hosts && : >resolv.conf && : >hostname' \
    --customize-hook='chroot "$1" sh -c "python3 -m compileall -qf --invalidation-mode unchecked-hash /usr/lib/python3*"' \
    "$CODENAME" "$work/base.tar" "$work/sources.list"
  local container
  container=$(store from scratch)
  quietly store add "$container" "$work/base.tar" /
  quietly store commit --timestamp "$SOURCE_DATE_EPOCH" "$container" base
}

store() { buildah --root "$work/store" --runroot "$work/run" "$@"; }

build() {
  quietly store build --timestamp "$SOURCE_DATE_EPOCH" --identity-label=false \
    --build-context "parts=$work/parts" --build-arg BASE=localhost/base \
    --build-arg "VERSION=$VERSION" --build-arg "REVISION=$REVISION" --tag weft .
  quietly store push weft "oci:$work/image:$VERSION"
}

[ "$(id -u)" = 0 ] || fail 'root is needed, to make a file system whose files are root'"'"'s: run `sudo -E make image`'
mkdir -p build
work=$(mktemp -d build/.image-XXXXXX)
work=$(realpath "$work")
trap 'rm -rf "$work"' EXIT
export STORAGE_DRIVER=vfs BUILDAH_ISOLATION=chroot # neither overlay nor namespaces: works in a container too

install_tools
say 1 "a base of Debian $CODENAME"
make_base
say 2 'the wheel and what it depends on'
quietly scripts/image/parts.sh "$work/parts"
say 3 'the image'
build
rm -rf build/image build/weft-*.oci.tar
mv "$work/image" build/image
.venv/bin/python scripts/image/archive.py build/image "$NAME:$VERSION" "build/weft-$VERSION.oci.tar"
say 4 "build/image and build/weft-$VERSION.oci.tar ($(du -m "build/weft-$VERSION.oci.tar" | cut -f1) MiB) in $SECONDS s"
