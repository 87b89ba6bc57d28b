"""Plugins that a test installs, as a wheel would: a module and a `*.dist-info`."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a distribution with one plugin; no other plugins are installed."""
    monkeypatch.syspath_prepend(tmp_path)
    everything = metadata.entry_points
    monkeypatch.setattr(
        metadata,
        "entry_points",
        lambda **wanted: [
            entry
            for entry in everything(**wanted)
            if entry.dist and str(entry.dist.locate_file("")).startswith(str(tmp_path))
        ],
    )
    for variable in ("ALACARTE_PLUGINS", "ALACARTE_DISABLE_PLUGINS"):
        monkeypatch.delenv(variable, raising=False)

    def install(
        distribution: str,
        source: str,
        *,
        plugin: str = "",
        version: str = "1.0",
        requires: str = "",
    ) -> Path:
        module = distribution.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        monkeypatch.delitem(sys.modules, module, raising=False)
        folder = tmp_path / f"{module}-{version}.dist-info"
        folder.mkdir(exist_ok=True)
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
            + (f"Requires-Dist: {requires}\n" if requires else "")
        )
        (folder / "entry_points.txt").write_text(f"[alacarte]\n{plugin or module} = {module}\n")
        return folder

    return install
