"""Checks of installed plugins that live outside of `packages/`, for their tests."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

__all__ = ["ROOT", "files_naming", "run_cli"]

ROOT = Path(__file__).parents[2]


def run_cli(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `alacarte` in a process with these arguments and environment variables."""
    return subprocess.run(
        [sys.executable, "-m", "alacarte_cli", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environment},
    )


def files_naming(pattern: str) -> list[Path]:
    """Return the source files of our packages in which a pattern is found."""
    name = re.compile(pattern)
    sources = (ROOT / "packages").glob("*/src/**/*.py")
    return [path for path in sources if name.search(path.read_text(encoding="utf-8"))]
