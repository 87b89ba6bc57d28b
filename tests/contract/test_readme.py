"""What the README says of other files of the repository is what they say."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_package_is_listed():
    """The table of packages has all that there are but the set itself."""
    listed = re.findall(r"^\| \[`alacarte-(\w+)`\]\(packages/(\w+)\)", README, re.M)
    packages = {path.parent.name for path in ROOT.glob("packages/*/pyproject.toml")} - {"serve"}
    assert {name for name, _ in listed} == {folder for _, folder in listed} == packages


def test_sessions_it_names_exist():
    """Each command that starts nox names a session of the noxfile."""
    named = re.findall(r"nox -s ([\w]+)", README)
    sessions = re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.M)
    assert {"demo", "quick", "bench"} <= set(named) <= set(sessions)
