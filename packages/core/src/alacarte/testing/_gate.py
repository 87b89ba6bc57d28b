"""Gate that blocks the handlers of a test, and notes from these handlers."""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import Any

WAIT_S = 20.0
"""Time limit for an expected event, in seconds."""


class Gate:
    """Blocks handlers until a test opens the gate, and collects their notes. For any thread.

    Replicas of the local cluster live in the test's process and get code by reference, so a handler
    and its test share a `Gate` that is a global of their module.

    Attributes:
        inside: A semaphore that each entering handler releases.
        open: An event that the test sets to unblock the handlers.
    """

    def __init__(self) -> None:
        self.inside = threading.Semaphore(0)
        self.open = threading.Event()
        self._notes: queue.Queue[Any] = queue.Queue()

    def note(self, note: object) -> None:
        """Add a note."""
        self._notes.put(note)

    def next_note(self) -> Any:
        """Wait for the next note and return the note.

        Raises:
            queue.Empty: No note came within 20 s.
        """
        return self._notes.get(timeout=WAIT_S)

    def notes(self) -> list[Any]:
        """Return the pending notes without waiting."""
        found = []
        while not self._notes.empty():
            found.append(self._notes.get_nowait())
        return found

    def entered(self) -> None:
        """Wait until one more handler has entered.

        Raises:
            AssertionError: No handler entered within 20 s.
        """
        assert self.inside.acquire(timeout=WAIT_S)

    def pass_sync(self) -> None:
        """Enter, and block this thread until the gate is open."""
        self.inside.release()
        assert self.open.wait(WAIT_S)

    async def pass_async(self) -> None:
        """Enter, and wait on this event loop until the gate is open."""
        self.inside.release()
        assert await asyncio.to_thread(self.open.wait, WAIT_S)

    async def wait_cancelled(self) -> None:
        """Enter, wait until cancelled, and add the note "cancelled"."""
        self.inside.release()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.note("cancelled")
            raise
