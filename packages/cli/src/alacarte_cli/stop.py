"""Handling of Ctrl-C and SIGTERM during a run that must be shut down gracefully."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from .signal_watch import SignalWatch

__all__ = ["StopSignals", "Stopped"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PATIENCE_S = 5.0
_WAIT_S = 3600.0
"""Repeated: some platforms cannot interrupt a wait without a timeout."""


class Stopped(KeyboardInterrupt):
    """A signal, `number`, has asked the program to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class StopSignals:
    """A handler that raises `Stopped` for the first SIGINT or SIGTERM, and exits at the second.

    Raises `Stopped` once only, so that no signal interrupts the shutdown that follows. Main thread
    only.

    Args:
        die: Ends the process at once, with an exit code.
        patience_s: How long the main thread may take to handle a signal.
    """

    def __init__(
        self, die: Callable[[int], object] = os._exit, patience_s: float = _PATIENCE_S
    ) -> None:
        self._die = die
        self._patience_s = patience_s
        self._asked = 0
        self._deferred = False
        self._before: dict[int, Any] = {}
        self._watch: SignalWatch | None = None

    def arm(self) -> None:
        """Install the handlers; again after other code has installed its own."""
        for number in SIGNALS:
            before = signal.signal(number, self._receive)
            self._before.setdefault(number, before)
        if self._watch is None:
            self._watch = SignalWatch(lambda: self._asked, self._give_up, self._patience_s)

    def wait(self, ended: Callable[[float], bool]) -> None:
        """Wait for an end; raise `Stopped` as soon as a signal arrives.

        Args:
            ended: Waits for the end for a number of seconds, and returns whether it has come.
        """
        while not ended(_WAIT_S):
            pass

    def defer(self) -> None:
        """Raise `Stopped` no more: the program is shutting down already."""
        self._deferred = True
        self.arm()

    def restore(self) -> None:
        """Restore the earlier signal handlers."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        for number, before in self._before.items():
            signal.signal(number, before)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self._asked += 1
        if self._asked > 1:
            self._die(128 + number)
            return
        # Not `print`, which the signal may have interrupted, and which is not reentrant.
        os.write(2, b"\nshutting down; press Ctrl-C again to exit at once\n")
        if not self._deferred:
            raise Stopped(number)

    def _give_up(self, number: int) -> None:
        """Exit, in the watching thread, because the main thread is stuck outside of Python."""
        os.write(2, b"\nexiting at once: a call into Ray does not return\n")
        self._die(128 + number)
