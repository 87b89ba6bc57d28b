"""See to it that a signal ends the program, whatever the main thread is doing.

Python runs signal handlers between two instructions of the main thread. While that is in somebody's
C++, such as Ray's that reaches for a cluster which is gone, no handler runs, for half a minute.
"""

from __future__ import annotations

import select
import signal
import socket
import threading
import time
from collections.abc import Callable

__all__ = ["SignalWatch"]

_LOOK_S = 0.05
_TWICE_S = 0.5
"""How long two signals may wait for their handler: someone insists."""


class SignalWatch:
    """A thread that compares the signals that arrive with those that were handled.

    Args:
        handled: Returns how many SIGINT and SIGTERM the main thread has handled.
        give_up: Called in the thread, with the last one's number, when it does not handle them.
        patience_s: How long it may take for one.
    """

    def __init__(
        self, handled: Callable[[], int], give_up: Callable[[int], None], patience_s: float
    ) -> None:
        self._handled = handled
        self._give_up = give_up
        self._patience_s = patience_s
        self._arrived = handled()  # before any can arrive that is counted here
        self._arrivals, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._run, name="signals", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching. Main thread only."""
        signal.set_wakeup_fd(self._before)
        self._writer.close()
        self._thread.join()

    def _run(self) -> None:
        arrived, number, due = self._arrived, 0, 0.0
        with self._arrivals:
            while True:
                unhandled = arrived - self._handled()
                if unhandled > 0 and time.monotonic() > due:
                    self._give_up(number)
                    return
                pause_s = _LOOK_S if unhandled > 0 else None
                if not select.select([self._arrivals], [], [], pause_s)[0]:
                    continue
                received = self._arrivals.recv(64)
                if not received:
                    return
                stops = [each for each in received if each in (signal.SIGINT, signal.SIGTERM)]
                if not stops:
                    continue
                number = stops[-1]
                arrived += len(stops)
                once = arrived - self._handled() <= 1
                due = time.monotonic() + (self._patience_s if once else _TWICE_S)
