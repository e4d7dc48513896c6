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
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line[:3] for line in done.stdout.splitlines() if line[1:3] == " ✓"] == [f"{n} ✓" for n in range(1, 10)]
    assert leftovers(name) == []
