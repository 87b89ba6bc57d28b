"""Two checkouts in turns, with real processes and no Ray."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def compared(folder: Path, cost: float) -> dict[str, Any]:
    script = Path(__file__).with_name("comparing.py")
    done = subprocess.run(
        [sys.executable, str(script), str(folder), str(cost)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_a_dearer_checkout_is_dearer(tmp_path: Path):
    """Three times the work per unit is seen in processor time, whatever else the machine does.

    How narrow the interval is depends on the machine, so the verdict may be that it cannot tell.
    """
    found = compared(tmp_path, 3.0)
    assert found["problems"] == []
    assert found["ratio"] > 1.5
    assert found["answer"] in ("slower", "cannot tell")
