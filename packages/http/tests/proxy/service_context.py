"""A stand-in for core's `ServiceContext` of a node service's process."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

__all__ = ["FakeServiceContext"]


class FakeServiceContext:
    """The context of one of several processes whose Unix sockets are in one directory."""

    _numbers = itertools.count()

    def __init__(
        self, directory: Path, index: int = 0, metadata: Mapping[str, str] | None = None
    ) -> None:
        self.index = index
        self.metadata = metadata or {}
        self._directory = directory
        self._own: list[str] = []

    def new_socket(self) -> str:
        self._own.append(str(self._directory / f"{next(self._numbers)}.sock"))
        return self._own[-1]

    def sibling_sockets(self) -> list[str]:
        found = sorted(str(path) for path in self._directory.glob("*.sock"))
        return [path for path in found if path not in self._own]
