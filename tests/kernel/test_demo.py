"""The demo, as a newcomer runs it."""

import os
import subprocess
import sys
from pathlib import Path

from agent.lab.session import leftovers

ROOT = Path(__file__).parents[2]


def test_every_step_of_the_demo_holds() -> None:
    name = f"t{os.getpid()}demo"
    command = [sys.executable, str(ROOT / "examples" / "shop" / "demo.py"), name]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = [line.partition(" ✓ ")[0] for line in done.stdout.splitlines() if " ✓ " in line[:5]]
    assert steps == [str(number) for number in range(1, 13)]
    assert leftovers(name) == []
