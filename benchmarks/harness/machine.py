"""The machine that figures come from, and the versions of what ran on it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .peers import REPOSITORY, sources_digest


def describe() -> dict[str, Any]:
    """Return the facts that a caption states."""
    wrk = _output_of("wrk", "-v") if shutil.which("wrk") else ""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "memory_gb": round(pages / 1024**3),
        "kernel": platform.release(),
        "load": f"{os.getloadavg()[0]:.2f}",
        "wrk": " ".join(wrk.split()[:2]) or "wrk",
    }


def sources() -> str:
    """Return the commit of this repository and the digest of its packages."""
    commit = _output_of("git", "rev-parse", "--short", "HEAD").splitlines()[-1:]
    dirty = _output_of("git", "status", "--porcelain", "--", "packages")
    name = commit[0] if commit and len(commit[0].split()) == 1 else "no commit"
    return f"{name}{' with changes' if dirty else ''}, digest {sources_digest()}"


def _output_of(*command: str) -> str:
    try:
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=20)
    except OSError:
        return ""
    return (done.stdout + done.stderr).strip()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
