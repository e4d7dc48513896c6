"""Settings of every lane."""

from __future__ import annotations

import os

from hypothesis import settings

# Machines are shared: how long an example takes says nothing. Where nobody can look into a
# failure at once, the same examples must come again.
settings.register_profile("weft", deadline=None, derandomize=bool(os.environ.get("CI")), print_blob=True)
settings.load_profile("weft")
