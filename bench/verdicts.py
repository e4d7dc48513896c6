"""What a verdict costs among ten thousand policies of ten rules that all apply to one workload.

Measured is the engine alone (proxy/engine/examples/verdict.rs): judging one new connection with
the policies at hand, the median of some thousand. The first and the last rule match; nobody
matches the third, and its refusal names the nearest policy. Besides, the engine taking all of
them in, and taking in one that changed. No network and no lab: runs alone too, as
`python -m bench.verdicts`.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
POLICIES: Final = 10_000
_TIMEOUT_SECONDS: Final = 600
_ROWS: Final = {
    "first": "hit first",
    "last": "hit last",
    "none": "no match",
    "build": "all policies taken in",
    "change": "one policy changed",
}


def verdicts(policies: int = POLICIES) -> dict[str, float]:
    """Microseconds by workload. Builds the benchmark if it is not built yet."""
    command = ["cargo", "run", "--quiet", "--release", "--no-default-features", "--example", "verdict"]
    manifest = ["--manifest-path", str(ROOT / "proxy" / "Cargo.toml"), "--package", "weft-engine"]
    done = subprocess.run(
        [*command, *manifest, "--", str(policies)], stdout=subprocess.PIPE, check=True, timeout=_TIMEOUT_SECONDS
    )
    found = json.loads(done.stdout)
    return {f"verdict-{policies}, {text}": found[name] / 1000 for name, text in _ROWS.items()}


def main() -> None:
    for workload, microseconds in verdicts().items():
        print(f"{workload:45} {microseconds:12.1f} us")


if __name__ == "__main__":
    main()
