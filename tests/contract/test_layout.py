"""What every package of the repository has in common."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(path.parent for path in (ROOT / "packages").glob("*/pyproject.toml"))
WITH_CODE = [folder for folder in PACKAGES if folder.name != "serve"]
PLUGINS = [folder for folder in WITH_CODE if folder.name != "core"]


def project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def module(folder: Path) -> Path:
    [found] = (folder / "src").glob("*/__about__.py")
    return found.parent


def version(folder: Path) -> str:
    found = re.search(
        r'^__version__ = "(.+)"$', (module(folder) / "__about__.py").read_text(), re.M
    )
    assert found
    return found[1]


def names(folders: list[Path]) -> list[str]:
    return [folder.name for folder in folders]


def test_the_packages_are_those_we_know():
    """A new package is added to the sessions, the contracts and this list together."""
    assert names(PACKAGES) == [
        "autoscaling",
        "batching",
        "cli",
        "core",
        "endpoints",
        "handles",
        "http",
        "multiplexing",
        "serve",
    ]


@pytest.mark.parametrize("folder", PACKAGES, ids=names(PACKAGES))
def test_every_package_is_complete(folder: Path):
    """Each has a README of one screen, a changelog, and the licence as it stands at the root."""
    assert 5 <= len((folder / "README.md").read_text(encoding="utf-8").splitlines()) <= 60
    assert (folder / "CHANGELOG.md").read_text(encoding="utf-8").startswith("# Changelog")
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize("folder", WITH_CODE, ids=names(WITH_CODE))
def test_every_package_is_typed_and_tested(folder: Path):
    """Each says that it carries types, and has tests of its own."""
    assert (module(folder) / "py.typed").is_file()
    assert list((folder / "tests").glob("test_*.py"))


@pytest.mark.parametrize("folder", PACKAGES, ids=names(PACKAGES))
def test_metadata_agrees(folder: Path):
    """Licence, Python and keywords are the same everywhere, and no sibling is pinned."""
    declared = project(folder)
    assert declared["license"] == "Apache-2.0"
    assert declared["requires-python"] == ">=3.11"
    siblings = [each for each in declared["dependencies"] if each.startswith("alacarte")]
    assert all(re.fullmatch(r"alacarte-\w+>=0\.\d+,<0\.\d+", each) for each in siblings), siblings


@pytest.mark.parametrize("folder", PLUGINS, ids=names(PLUGINS))
def test_plugins_depend_on_core_alone(folder: Path):
    """A plugin needs core and nothing else of ours, and is found through the entry point."""
    declared = project(folder)
    assert [each for each in declared["dependencies"] if each.startswith("alacarte")] == [
        "alacarte-core>=0.1,<0.2"
    ]
    assert declared["entry-points"]["alacarte"] == {folder.name: f"{module(folder).name}.hooks"}


def test_the_set_is_all_of_ours():
    """The distribution `alacarte-serve` brings every package with code."""
    [meta] = [folder for folder in PACKAGES if folder.name == "serve"]
    needed = sorted(re.split(r"[<>=]", each)[0] for each in project(meta)["dependencies"])
    assert needed == sorted(project(folder)["name"] for folder in WITH_CODE)


@pytest.mark.parametrize("folder", WITH_CODE, ids=names(WITH_CODE))
def test_installed_is_what_is_here(folder: Path):
    """The installed distribution has this source's version: no stale wheel is under test."""
    assert metadata.version(project(folder)["name"]) == version(folder)


def test_nothing_names_this_machine_or_a_registry():
    """No file names a package registry's host or a home directory: a clone works anywhere."""
    host = re.compile(r"(?<!no-emit-)index-url|find-links =|/simple\b|/(home|root)/\w+")
    files = [*ROOT.glob("*.toml"), *ROOT.glob("*.py"), *ROOT.glob("packages/*/pyproject.toml")]
    files += [ROOT / "constraints.txt", *ROOT.glob(".github/**/*.yml")]
    files += [path for path in (ROOT / ".ci").glob("*") if path.is_file()]
    assert [path.name for path in files if host.search(path.read_text(encoding="utf-8"))] == []
