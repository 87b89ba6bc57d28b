"""Notices that user code blocks the replica's event loop, and says which line does.

While it is blocked no other request of the replica makes progress, and nothing on the loop can
tell. So the loop beats, and a thread looks whether it does.
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
_LOOKS = 4
"""How often in the time limit the loop beats, and the thread looks."""
_MAX_PAUSE_S = 1.0
"""Health checks look at the beat, too."""
_SHOWN = 8
"""Frames shown in the log, the innermost."""


class LoopWatch:
    """Watches one event loop; made and started on it.

    Args:
        name: Whose loop it is, for the log.
        limit_s: How long the loop may take for one step without being told of.
    """

    def __init__(self, name: str, limit_s: float) -> None:
        self._name = name
        self._limit_s = limit_s
        self._pause_s = min(limit_s / _LOOKS, _MAX_PAUSE_S)
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._native_id = threading.get_native_id()
        self._beaten_at = time.monotonic()
        self._starved_at_beat_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = threading.Event()

    @property
    def age_s(self) -> float:
        """Seconds since the loop last beat. From any thread."""
        return time.monotonic() - self._beaten_at

    def start(self) -> None:
        """Begin. With a limit of infinity the loop beats, and nobody is warned."""
        self._beat()
        if math.isfinite(self._limit_s):
            threading.Thread(
                target=self._watch, name=f"{self._name}-loop-watch", daemon=True
            ).start()

    def stop(self) -> None:
        """End. Blocking is nobody's business any more."""
        self._stopped.set()
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self) -> None:
        self._starved_at_beat_s = starved_s(self._native_id)
        self._beaten_at = time.monotonic()
        self._timer = self._loop.call_later(self._pause_s, self._beat)

    def _watch(self) -> None:
        told_of = last_beat = late_s = 0.0
        looked_at = time.monotonic()
        while not self._stopped.wait(self._pause_s):
            now = time.monotonic()
            beaten_at = self._beaten_at
            late_s = 0.0 if beaten_at != last_beat else late_s
            late_s += max(now - looked_at - self._pause_s, 0.0)
            looked_at, last_beat = now, beaten_at
            if told_of and told_of != beaten_at:
                # The beat after it, which came as soon as the loop was free.
                self._tell_free(beaten_at - told_of)
                told_of = 0.0
            if told_of or now - beaten_at <= self._limit_s:
                continue
            starved = starved_s(self._native_id) - self._starved_at_beat_s
            if accountable_s(now - beaten_at, starved, late_s) > self._limit_s:
                self._tell_blocked(now - beaten_at)
                told_of = beaten_at

    def _tell_blocked(self, blocked_s: float) -> None:
        frame = sys._current_frames().get(self._thread_id)
        found = None if frame is None else blocking_frame(frame)
        if frame is None or found is None:
            log.debug("%s: the event loop was late by %.1f s", self._name, blocked_s)
            return
        log.warning(
            "%s: the event loop has been blocked for %.1f s by %s() (%s, line %d). No other "
            "request of this replica makes progress. Make the method a plain `def`, which runs in "
            "a thread, or await what it waits for, if need be with asyncio.to_thread(). It is at:\n"
            "%s",
            self._name,
            blocked_s,
            found.f_code.co_qualname,
            found.f_code.co_filename,
            found.f_lineno,
            "".join(traceback.format_stack(frame)[-_SHOWN:]).rstrip(),
        )

    def _tell_free(self, blocked_s: float) -> None:
        log.warning(
            "%s: the event loop is free again; it was blocked for %.1f s.", self._name, blocked_s
        )


def accountable_s(blocked_s: float, starved_s: float, late_s: float) -> float:
    """Return for how much of the time that a loop has not turned its code answers.

    Not for the time in which the machine had no CPU for it, by whichever of two signs it shows
    more clearly.

    Args:
        starved_s: For how long the loop's thread could have run, and was not let.
        late_s: How much later than it wanted the watching thread has run.
    """
    return blocked_s - max(starved_s, late_s)


def starved_s(native_id: int) -> float:
    """Return how long a thread of this process has waited for a CPU, in all; 0 if unknown."""
    try:
        with open(f"/proc/self/task/{native_id}/schedstat", "rb") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):  # not Linux, or a kernel that keeps no account
        return 0.0


def blocking_frame(frame: FrameType) -> FrameType | None:
    """Return the frame of user code that a thread is in.

    That is the innermost which is neither ours nor in the standard library or an installed
    package; failing that, the innermost that is neither ours nor the event loop's, and None where
    all are.

    Args:
        frame: The thread's innermost.
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
    ours = package == "alacarte" or package.startswith("alacarte_")
    return ours or package in ("asyncio", "uvloop", "threading")
