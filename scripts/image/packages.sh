#!/bin/sh
# Installs the packages of packages.txt that the image being built lacks. Runs in the image. A base that
# scripts/image/build.sh made has them all.
set -eu

missing=
for package in $(grep -v '^#' "$(dirname "$0")/packages.txt"); do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

apt-get update -q
# shellcheck disable=SC2086 # one word a package
DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends $missing
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/*.log
