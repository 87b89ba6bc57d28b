"""Compiled modules: they stand in for their sources, but only where they fit exactly."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import alacarte_compiled
import pytest
from alacarte_compiled import ModuleFinder, differing_sources

import alacarte

SOURCES = json.loads((alacarte_compiled.MODULES / "sources.json").read_text())
NAMES = [path.removesuffix(".py").replace("/", ".") for path in SOURCES]
FOLDER = Path(alacarte.__file__).parents[1]


@pytest.mark.parametrize("name", NAMES)
def test_each_module_is_the_compiled_one(name: str) -> None:
    """A fresh process imports it from the distribution, whichever module comes first."""
    code = f"import {name} as module; print(module.__file__)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert Path(shown.stdout.strip()).is_relative_to(alacarte_compiled.MODULES)


def test_sources_that_fit() -> None:
    """Packages that are not installed do not count."""
    assert differing_sources({**SOURCES, "not_installed_at_all/a.py": "1"}) == []


def test_a_source_that_was_changed() -> None:
    """One changed byte is enough, or a module that is gone."""
    path = "alacarte/_wire/frames.py"
    assert SOURCES[path] == hashlib.sha256((FOLDER / path).read_bytes()).hexdigest()
    changed = {**SOURCES, path: "0" * 64, "alacarte/_wire/gone.py": "0" * 64}
    assert differing_sources(changed) == [path, "alacarte/_wire/gone.py"]


def test_modules_that_do_not_fit_are_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """All of the modules in Python are used then, and a warning says so."""
    (tmp_path / "sources.json").write_text(json.dumps({"alacarte/_wire/frames.py": "0" * 64}))
    monkeypatch.setattr(alacarte_compiled, "MODULES", tmp_path)
    before = list(sys.meta_path)
    assert not alacarte_compiled.use()
    assert sys.meta_path == before
    assert "made from another alacarte/_wire/frames.py" in caplog.text


def test_other_modules_are_found_by_others() -> None:
    """The finder answers for no module but its own."""
    assert ModuleFinder({}).find_spec("alacarte.serve") is None


def test_versions() -> None:
    """The distribution has the version of the packages that it is made from."""
    assert alacarte_compiled.__version__ == alacarte.__version__
