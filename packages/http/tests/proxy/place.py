"""The places of a node service's processes, as core gives them out."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

__all__ = ["Place"]


class Place:
    """One of the processes whose sockets lie in a directory."""

    _numbers = itertools.count()

    def __init__(
        self, directory: Path, index: int = 0, facts: Mapping[str, str] | None = None
    ) -> None:
        self.index = index
        self.facts = facts or {}
        self._directory = directory
        self._own: list[str] = []

    def new_socket(self) -> str:
        self._own.append(str(self._directory / f"{next(self._numbers)}.sock"))
        return self._own[-1]

    def sibling_sockets(self) -> list[str]:
        found = sorted(str(path) for path in self._directory.glob("*.sock"))
        return [path for path in found if path not in self._own]
