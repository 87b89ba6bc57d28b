"""The watch over a replica's event loop, which warns and names the line that blocks the loop.

While the loop is blocked, no other request of the replica makes progress, and no code on the loop
can report that. So the loop records a heartbeat, and a thread checks the heartbeat.
"""

from __future__ import annotations

import asyncio
import logging
import math
import sys
import sysconfig
import threading
import time
import traceback
from types import FrameType

__all__ = ["LoopWatch", "accountable_s", "blocking_frame"]

log = logging.getLogger("alacarte.replica")
_BEATS_PER_LIMIT = 4
"""Heartbeats, and checks by the thread, within the time limit."""
_MAX_PAUSE_S = 1.0
"""Longest time between heartbeats, which health checks read, too."""
_MAX_FRAMES = 8
"""Most frames in the log, the innermost ones."""


class LoopWatch:
    """Watches one event loop; made and started on that loop.

    Args:
        name: Name of the replica, for the log.
        limit_s: Longest step of the loop without a warning.
    """

    def __init__(self, name: str, limit_s: float) -> None:
        self._name = name
        self._limit_s = limit_s
        self._pause_s = min(limit_s / _BEATS_PER_LIMIT, _MAX_PAUSE_S)
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._native_id = threading.get_native_id()
        self._last_beat = time.monotonic()
        self._starved_at_beat_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = threading.Event()

    @property
    def since_beat_s(self) -> float:
        """Seconds since the last heartbeat. Thread-safe."""
        return time.monotonic() - self._last_beat

    def start(self) -> None:
        """Start the heartbeat, and the thread that warns unless the limit is infinite."""
        self._beat()
        if math.isfinite(self._limit_s):
            threading.Thread(
                target=self._watch, name=f"{self._name}-loop-watch", daemon=True
            ).start()

    def stop(self) -> None:
        """Stop the heartbeat and the thread."""
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self) -> None:
        self._starved_at_beat_s = starved_s(self._native_id)
        self._last_beat = time.monotonic()
        self._timer = self._loop.call_later(self._pause_s, self._beat)

    def _watch(self) -> None:
        warned_beat = last_beat = late_s = 0.0
        checked_at = time.monotonic()
        while not self._stopped.wait(self._pause_s):
            now = time.monotonic()
            beat = self._last_beat
            late_s = 0.0 if beat != last_beat else late_s
            late_s += max(now - checked_at - self._pause_s, 0.0)
            checked_at, last_beat = now, beat
            if warned_beat and warned_beat != beat:
                # The first heartbeat after the step that blocked the loop.
                self._warn_free(beat - warned_beat)
                warned_beat = 0.0
            if warned_beat or now - beat <= self._limit_s:
                continue
            starved = starved_s(self._native_id) - self._starved_at_beat_s
            if accountable_s(now - beat, starved, late_s) > self._limit_s:
                self._warn_blocked(now - beat)
                warned_beat = beat

    def _warn_blocked(self, blocked_s: float) -> None:
        frame = sys._current_frames().get(self._thread_id)
        found = None if frame is None else blocking_frame(frame)
        if frame is None or found is None:
            log.debug("%s: the event loop was blocked for %.1f s", self._name, blocked_s)
            return
        log.warning(
            "%s: the event loop has been blocked for %.1f s by %s() (%s, line %d). No other "
            "request of this replica makes progress. Make the method a plain `def`, which runs in "
            "a thread, or move the blocking call into asyncio.to_thread(). The loop is at:\n%s",
            self._name,
            blocked_s,
            found.f_code.co_qualname,
            found.f_code.co_filename,
            found.f_lineno,
            "".join(traceback.format_stack(frame)[-_MAX_FRAMES:]).rstrip(),
        )

    def _warn_free(self, blocked_s: float) -> None:
        log.warning(
            "%s: the event loop is free again; it was blocked for %.1f s.", self._name, blocked_s
        )


def accountable_s(blocked_s: float, starved_s: float, late_s: float) -> float:
    """Return the part of a blocked time for which code is responsible, not a lack of CPU.

    Two signs show a lack of CPU, and the greater one counts.

    Args:
        starved_s: Time that the loop's thread was runnable and did not run.
        late_s: Delay of the watching thread beyond its pauses.
    """
    return blocked_s - max(starved_s, late_s)


def starved_s(native_id: int) -> float:
    """Return the total time that a thread of this process has waited for a CPU; 0 if unknown."""
    try:
        with open(f"/proc/self/task/{native_id}/schedstat", "rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):  # not Linux, or a kernel without this statistic
        return 0.0


def blocking_frame(frame: FrameType) -> FrameType | None:
    """Return the frame of user code in which a thread is, or None.

    The innermost frame outside alacarte, the standard library and installed packages; failing that,
    the innermost frame outside alacarte and the event loop.

    Args:
        frame: The thread's innermost frame.
    """
    frames = [found for found, _ in traceback.walk_stack(frame)]
    for found in frames:
        if not _is_library(found) and not _is_loop(found):
            return found
    return next((found for found in frames if not _is_loop(found)), None)


_LIBRARIES = tuple({f"{path}/" for path in sysconfig.get_paths().values()})


def _is_library(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return file.startswith((*_LIBRARIES, "<frozen")) or "/site-packages/" in file


def _is_loop(frame: FrameType) -> bool:
    package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    is_alacarte = package == "alacarte" or package.startswith("alacarte_")
    return is_alacarte or package in ("asyncio", "uvloop", "threading")
