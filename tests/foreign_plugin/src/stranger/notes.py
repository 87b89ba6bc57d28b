"""Node service that keeps notes, and reports their number."""

from __future__ import annotations

from collections.abc import Mapping

from alacarte.types import Runtime

__all__ = ["Notes"]


class Notes:
    """A node service whose messages are notes; it replies with all notes."""

    async def start(self, runtime: Runtime) -> Mapping[str, str]:
        self._runtime = runtime
        self._notes: list[bytes] = []
        return {}

    async def receive(self, message: bytes) -> bytes:
        self._notes.append(message)
        self._runtime.report("stranger.counts", {"notes": len(self._notes)})
        return b", ".join(self._notes)

    async def drain(self, limit_s: float, *, replaced: bool) -> None: ...

    async def stop(self) -> None: ...
