"""What a connected proxy understands, from what it says of itself. Pure rules."""

from __future__ import annotations

import re
from typing import Final

from google.protobuf.struct_pb2 import Struct

# The first release of Istio whose proxy leaves a policy unenforced when its field dry_run (6) says so.
_FIRST_WITH_DRY_RUN: Final = (1, 29)


def understands_dry_run(metadata: Struct) -> bool:
    """Whether the proxy with this node metadata lets dry-run policies be.

    An older one does not know the field, and enforces them. So does perhaps one that does not say what it is.
    """
    said = dict(metadata)
    if "WEFT_VERSION" in said:
        return True
    found = re.match(r"(\d+)\.(\d+)", str(said.get("ISTIO_VERSION", "")))
    return found is not None and (int(found[1]), int(found[2])) >= _FIRST_WITH_DRY_RUN
