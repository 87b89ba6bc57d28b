"""`constraints.txt`: the versions of everything that is not ours, the same for every clone."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LINES = [
    line
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
PYTHONS = ("3.11", "3.12", "3.13")


def declared() -> list[str]:
    """Return what packages and groups of dependencies declare, but for what is ours."""
    root = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = [each for group in root["dependency-groups"].values() for each in group]
    for path in ROOT.glob("packages/*/pyproject.toml"):
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        found += project["dependencies"]
        found += [x for extra in project.get("optional-dependencies", {}).values() for x in extra]
    return sorted({each for each in found if not each.startswith("alacarte")})


def locked(python: str) -> dict[str, str]:
    environment = {"python_version": python, "python_full_version": f"{python}.9"}
    pins = [Requirement(line) for line in LINES]
    return {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin in pins
        if pin.marker is None or pin.marker.evaluate(environment)
    }


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("requirement", declared())
def test_what_is_declared_is_locked(requirement: str, python: str):
    """In a version that fits; `nox -s lock` adds what is missing."""
    needed = Requirement(requirement)
    if needed.marker is None or needed.marker.evaluate():
        version = locked(python).get(canonicalize_name(needed.name))
        assert version is not None, f"{needed.name} is missing: nox -s lock"
        assert needed.specifier.contains(version, prereleases=True)


def test_only_versions_are_locked():
    """No index, no link, no path: each line names one version, for some Pythons or systems."""
    assert all(re.fullmatch(r"[\w.-]+==[\w.+!]+( ; [^/:]+)?", line) for line in LINES)
    assert not [line for line in LINES if line.startswith(("torch", "alacarte"))]


def test_a_clone_may_lie_in_a_folder_with_a_space():
    """uv and pip split what the environment names at spaces: nox gives them URIs, not paths."""
    text = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    given = re.findall(r'"(?:UV|PIP)_(?:BUILD_)?CONSTRAINT"(.*)', text)
    assert len(given) == 3
    assert all("LOCK.as_uri()" in each for each in given)
