"""A watch for signals that the main thread does not handle in time.

Python runs signal handlers between two instructions of the main thread. While that thread is in
C++ code, such as Ray's when it connects to a lost cluster, no handler runs for half a minute.
"""

from __future__ import annotations

import select
import signal
import socket
import threading
import time
from collections.abc import Callable

__all__ = ["SignalWatch"]

_POLL_INTERVAL_S = 0.05
_REPEATED_PATIENCE_S = 0.5
"""How long a repeated signal may wait for its handler."""


class SignalWatch:
    """A thread that compares the signals that have arrived with those that were handled.

    Args:
        handled: Returns how many SIGINT and SIGTERM the main thread has handled.
        give_up: Called in the thread, with the last signal, when the main thread is too slow.
        patience_s: How long a single signal may wait for its handler.
    """

    def __init__(
        self, handled: Callable[[], int], give_up: Callable[[int], None], patience_s: float
    ) -> None:
        self._handled = handled
        self._give_up = give_up
        self._patience_s = patience_s
        self._arrived = handled()  # before the first signal that this watch counts
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
                pause_s = _POLL_INTERVAL_S if unhandled > 0 else None
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
                due = time.monotonic() + (self._patience_s if once else _REPEATED_PATIENCE_S)
