"""Where handlers wait until a test lets them go on, and where they note what happened to them.

Code goes to the replicas of the local cluster by reference, and they live in this process; so a
handler and its test meet at `gates.GATE`, which is a fresh one in every test.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import Any

WAIT_S = 20
"""How long a test waits for what must happen soon; only a failing one waits that long."""


class Gate:
    """A gate and a notebook, for any thread."""

    def __init__(self) -> None:
        self.inside = threading.Semaphore(0)
        self.open = threading.Event()
        self._notes: queue.Queue[Any] = queue.Queue()

    def note(self, what: Any) -> None:
        self._notes.put(what)

    def next_note(self) -> Any:
        """Wait for the next note and return it."""
        return self._notes.get(timeout=WAIT_S)

    def notes(self) -> list[Any]:
        """Return the notes that are there, without waiting."""
        found = []
        while not self._notes.empty():
            found.append(self._notes.get_nowait())
        return found

    def entered(self) -> None:
        """Wait until one more handler is inside."""
        assert self.inside.acquire(timeout=WAIT_S)

    def pass_sync(self) -> None:
        """Enter, and wait in this thread until the gate is open."""
        self.inside.release()
        assert self.open.wait(WAIT_S)

    async def pass_async(self) -> None:
        """Enter, and wait on this loop until the gate is open."""
        self.inside.release()
        assert await asyncio.to_thread(self.open.wait, WAIT_S)

    async def stay(self) -> None:
        """Enter and stay until cancelled; the notes tell of it."""
        self.inside.release()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.note("cancelled")
            raise


GATE = Gate()
