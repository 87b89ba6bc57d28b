"""A gate at which the handlers of a test wait, and a notebook of what happened to them."""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import Any

WAIT_S = 20.0
"""How long a test waits for an event that must come soon, in seconds."""


class Gate:
    """Holds handlers until a test lets them go on, and keeps their notes. For any thread.

    On the local cluster, code goes to the replicas by reference and they live in the test's
    process: a handler and its test meet at a `Gate` that is a global of their module.

    Attributes:
        inside: Released by each handler that enters.
        open: Set by the test to let the handlers go on.
    """

    def __init__(self) -> None:
        self.inside = threading.Semaphore(0)
        self.open = threading.Event()
        self._notes: queue.Queue[Any] = queue.Queue()

    def note(self, note: Any) -> None:
        """Add a note."""
        self._notes.put(note)

    def next_note(self) -> Any:
        """Wait for the next note and return the note.

        Raises:
            queue.Empty: No note came within 20 s.
        """
        return self._notes.get(timeout=WAIT_S)

    def notes(self) -> list[Any]:
        """Return the notes that are there, without waiting."""
        found = []
        while not self._notes.empty():
            found.append(self._notes.get_nowait())
        return found

    def entered(self) -> None:
        """Wait until one more handler is inside.

        Raises:
            AssertionError: No handler entered within 20 s.
        """
        assert self.inside.acquire(timeout=WAIT_S)

    def pass_sync(self) -> None:
        """Enter, and wait in this thread until the gate is open."""
        self.inside.release()
        assert self.open.wait(WAIT_S)

    async def pass_async(self) -> None:
        """Enter, and wait on this event loop until the gate is open."""
        self.inside.release()
        assert await asyncio.to_thread(self.open.wait, WAIT_S)

    async def wait_cancelled(self) -> None:
        """Enter and stay until cancelled; the note "cancelled" says so."""
        self.inside.release()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.note("cancelled")
            raise
