#!/bin/sh
# Puts the parts, in the folder $1, into a virtual environment of the image, which keeps no pip. Runs in the image.
# The environment sees Debian's packages: bcc is one of them, and not to be had from a Python index.
set -eu
umask 022
parts=$1
environment=/opt/weft
packages=$environment/lib/python3.*/site-packages

python3 -m venv --system-site-packages --without-pip $environment
$environment/bin/python "$(echo "$parts"/wheels/pip-*.whl)/pip" install --quiet --no-index --find-links "$parts/wheels" \
  --no-compile --no-cache-dir --root-user-action=ignore weft
install -m 0755 "$parts/weft-cni" $environment/bin/weft-cni

# Of plotly the dashboard serves plotly.min.js; Jupyter's copies of it, 20 MB, are of no use here.
rm -rf $environment/share/jupyter $packages/plotly/labextension $packages/plotly/package_data/widgetbundle.js
# The root is read-only when it runs. `unchecked`: layers are given one time for all files, which Python would take for a
# change. plotly and narwhals are not imported.
$environment/bin/python -m compileall -q --invalidation-mode unchecked-hash -x '/(plotly|narwhals)/' $environment/lib

# Nobody changes user in an image.
find / -xdev -type f -perm /6000 -exec chmod a-s {} +
