"""Ctrl-C and SIGTERM while something runs that has to be ended in order."""

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
_TURN_S = 3600.0
"""In turns: a wait without a bound cannot be interrupted on some platforms."""


class Stopped(KeyboardInterrupt):
    """Someone asked the program to stop. `number` is the signal they used."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class StopSignals:
    """Turns the first SIGINT or SIGTERM into `Stopped`, and a second into the immediate end.

    `Stopped` is raised once and never again, so that the shutdown which follows runs to its
    end. Main thread only.

    Args:
        die: Ends the process with an exit code, at once.
        patience_s: How long the main thread may take to notice a signal.
    """

    def __init__(
        self, die: Callable[[int], Any] = os._exit, patience_s: float = _PATIENCE_S
    ) -> None:
        self._die = die
        self._patience_s = patience_s
        self._asked = 0
        self._held = False
        self._before: dict[int, Any] = {}
        self._watch: SignalWatch | None = None

    def arm(self) -> None:
        """Take over the signals; again, where other code has taken them in between."""
        for number in SIGNALS:
            before = signal.signal(number, self._receive)
            self._before.setdefault(number, before)
        if self._watch is None:
            self._watch = SignalWatch(lambda: self._asked, self._give_up, self._patience_s)

    def wait(self, ended: Callable[[float], bool]) -> None:
        """Return when something has ended; raise `Stopped` as soon as a signal arrives.

        Args:
            ended: Waits for the end so many seconds, and returns whether it has come.
        """
        while not ended(_TURN_S):
            pass

    def hold(self) -> None:
        """From here on raise nothing: the program is ending anyway."""
        self._held = True
        self.arm()

    def restore(self) -> None:
        """Give the signals back to whoever had them."""
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
        # Not print: the signal may have come in the middle of one, which cannot be entered twice.
        os.write(2, b"\nshutting down; once more to exit at once\n")
        if not self._held:
            raise Stopped(number)

    def _give_up(self, number: int) -> None:
        """In the watching thread: the main thread is stuck outside of Python."""
        os.write(2, b"\nexiting at once: a call into Ray does not return\n")
        self._die(128 + number)
