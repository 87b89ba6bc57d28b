"""Two checkouts in turns, with real processes and no Ray."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


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


def test_a_dearer_checkout_is_slower(tmp_path: Path):
    """The processor time of a unit of work is seen, whatever else the machine does meanwhile."""
    found = compared(tmp_path, 1.5)
    assert found["problems"] == []
    assert found["answer"] == "slower"
    assert found["ratio"] == pytest.approx(1.5, rel=0.15)
