"""Compiled modules of alacarte and alacarte-http, which stand in for those in Python.

They are used all together or not at all: only where each was compiled from the very source that is
installed. `alacarte` calls `use` when it is imported, before any of its modules is.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from .__about__ import __version__

__all__ = ["ModuleFinder", "__version__", "differing_sources", "use"]

log = logging.getLogger("alacarte")
MODULES = Path(__file__).parent / "modules"


class ModuleFinder:
    """Finds compiled modules, in front of the finders that find their sources.

    Args:
        files: Module -> file.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module is loaded from, None for one that was not compiled."""
        file = self._files.get(name)
        return None if file is None else spec_from_file_location(name, file)


def use() -> bool:
    """Let imports find the compiled modules; return whether they fit what is installed."""
    sources = json.loads((MODULES / "sources.json").read_text())
    differing = differing_sources(sources)
    if differing:
        log.warning(
            "alacarte-compiled %s was made from another %s: the modules in Python are used, which "
            "are slower. Install alacarte-compiled of the same release, or build it again.",
            __version__,
            differing[0],
        )
        return False
    sys.meta_path.insert(0, ModuleFinder(_compiled_files()))
    return True


def differing_sources(sources: Mapping[str, str]) -> list[str]:
    """Return the sources that are installed otherwise than they were compiled.

    Args:
        sources: Path below the folder of packages -> SHA-256. Those of a package that is not
            installed do not count.
    """
    folders: dict[str, Path | None] = {}
    differing = []
    for path, digest in sources.items():
        package = path.partition("/")[0]
        if package not in folders:
            folders[package] = _folder_of(package)
        folder = folders[package]
        if folder is None:
            continue
        source = folder.parent / path
        if not source.is_file() or hashlib.sha256(source.read_bytes()).hexdigest() != digest:
            differing.append(path)
    return differing


def _folder_of(package: str) -> Path | None:
    spec = find_spec(package)
    locations = None if spec is None else spec.submodule_search_locations
    return Path(next(iter(locations))) if locations else None


def _compiled_files() -> dict[str, Path]:
    """Return the file of each module, that of mypyc's own for all of them included."""
    suffix = EXTENSION_SUFFIXES[0]
    return {
        ".".join(file.relative_to(MODULES).parts)[: -len(suffix)]: file
        for file in MODULES.rglob(f"*{suffix}")
    }
