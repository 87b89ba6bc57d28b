"""Ctrl-C and SIGTERM while something runs that has to be ended in order."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

__all__ = ["StopSignals", "Stopped"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """Someone asked the program to stop. `number` is the signal they used."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class StopSignals:
    """Turns the first SIGINT or SIGTERM into `Stopped`, and a second into the immediate end.

    `Stopped` is raised once and never again, so that the shutdown which follows runs to its
    end. Main thread only.
    """

    def __init__(self, die: Callable[[int], Any] = os._exit) -> None:
        self._die = die
        self._asked = 0
        self._held = False
        self._before: dict[int, Any] = {}

    def arm(self) -> None:
        """Take over the signals; again, where other code has taken them in between."""
        for number in SIGNALS:
            before = signal.signal(number, self._receive)
            self._before.setdefault(number, before)

    def wait(self) -> NoReturn:
        """Raise `Stopped` as soon as a signal arrives."""
        while True:
            threading.Event().wait()

    def hold(self) -> None:
        """From here on raise nothing: the program is ending anyway."""
        self._held = True
        self.arm()

    def restore(self) -> None:
        """Give the signals back to whoever had them."""
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
