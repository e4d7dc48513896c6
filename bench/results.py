"""bench/results.json: what each benchmark found last, one beside the other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

Result = dict[str, Any]

PATH: Final = Path(__file__).resolve().parent / "results.json"


SCALE: Final = "scale, "  # how the workloads of the large cluster begin


def put(found: list[Result], *, is_scale: bool) -> None:
    """Replace what one of the two benchmarks has found before; the other's stay."""
    before = json.loads(PATH.read_text()) if PATH.exists() else []
    kept = [each for each in before if each["workload"].startswith(SCALE) is not is_scale]
    PATH.write_text(json.dumps([*kept, *found], indent=1) + "\n")
