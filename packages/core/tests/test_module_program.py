"""`python -m alacarte` runs alacarte-cli, or names the missing package."""

from __future__ import annotations

from importlib import metadata
from types import SimpleNamespace
from typing import Any

import pytest

from alacarte.__main__ import main


def script(distribution: str, code: int) -> Any:
    return SimpleNamespace(dist=SimpleNamespace(name=distribution), load=lambda: lambda: code)


def test_the_program(monkeypatch: pytest.MonkeyPatch):
    """The script of alacarte-cli runs, not another distribution's script of the same name."""
    found = [script("alacarte", 1), script("alacarte-cli", 7)]
    monkeypatch.setattr(metadata, "entry_points", lambda **_: found)
    assert main() == 7


def test_without_the_program(monkeypatch: pytest.MonkeyPatch):
    """Without alacarte-cli, the error names the package to install."""
    monkeypatch.setattr(metadata, "entry_points", lambda **_: [script("alacarte", 1)])
    assert "pip install alacarte-cli" in str(main())
