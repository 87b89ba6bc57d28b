"""The access log: one line for each request, as text or as JSON.

Lines are gathered on the proxy's loop and written in batches by a thread, so that a slow disk or
terminal never holds up a request. What comes too fast to be written is dropped, and counted.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from typing import IO, Any, NamedTuple

from alacarte.errors import ConfigError

__all__ = ["AccessLogWriter", "open_log"]

log = logging.getLogger("alacarte.http")
_GATHER_S = 0.1
_MOST_BYTES = 4 * 1024 * 1024


class Style(NamedTuple):
    """How a request looks in the log: its line begins with the time, and holds its id.

    Attributes:
        opening: What stands before the time.
        parts: Returns what stands before the duration, between that and the id, and behind it,
            of method, path, application, route and status.
        duration: Returns a number of ticks as text.
        ticks: So many are a second.
    """

    opening: str
    parts: Callable[[str, bytes, str, str, int], tuple[str, str, str]]
    duration: Callable[[int], str]
    ticks: int


class AccessLogWriter:
    """Notes requests. Lives on the proxy's event loop.

    Args:
        write: Takes text that ends with a newline; called in a thread, one call at a time.
        style: Of the lines.
        file: Closed at the end, where there is one.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        style: Style,
        file: IO[str] | None = None,
    ) -> None:
        self._write = write
        self._file = file
        self._opening, self._parts, self._duration, self._ticks = style
        # The time as text, and for which times it holds: under load many requests share it.
        self._stamp = ""
        self._stamp_from = self._stamp_until = 0.0
        self._lines: list[str] = []
        self._size = 0
        self._dropped = 0
        self._writing: asyncio.Future[None] | None = None
        self._due: asyncio.TimerHandle | None = None
        self._broken = False

    def note(
        self,
        method: str,
        path: bytes,
        route: str,
        status: int,
        seconds: float,
        request_id: str,
        app: str,
    ) -> None:
        """Note a request that has ended.

        Args:
            path: As it was sent, without the query, which may hold secrets.
            status: As sent; 499 when the client left before its response began.
        """
        if self._size > _MOST_BYTES:
            self._dropped += 1
            return
        at = time.time()
        if not self._stamp_from <= at < self._stamp_until:
            self._take_time(at)
        before, between, behind = self._parts(method, path, app, route, status)
        took = self._duration(int(seconds * self._ticks + 0.5))
        line = f"{self._stamp}{before}{took}{between}{request_id}{behind}"
        self._lines.append(line)
        self._size += len(line)
        if self._due is None and self._writing is None:
            self._due = asyncio.get_running_loop().call_later(_GATHER_S, self._flush)

    def _take_time(self, at: float) -> None:
        millisecond = int(at * 1000)
        self._stamp_from, self._stamp_until = millisecond / 1000, (millisecond + 1) / 1000
        second = _second(millisecond // 1000)
        self._stamp = f"{self._opening}{second}{_THOUSANDTHS[millisecond % 1000]}Z"

    def _flush(self) -> None:
        self._due = None
        lines, self._lines = self._lines, []
        if self._dropped:
            log.warning("the access log is too slow: %d requests are not in it", self._dropped)
            self._dropped = 0
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(None, self._write, "".join(lines))
        self._writing.add_done_callback(self._written)

    def _written(self, writing: asyncio.Future[None]) -> None:
        self._writing = None
        self._size = sum(map(len, self._lines))
        error = None if writing.cancelled() else writing.exception()
        if error is not None and not self._broken:
            # Once: the next lines will most likely meet the same full disk.
            log.warning("the access log cannot be written: %s", error)
        self._broken = error is not None
        if self._lines:
            self._flush()

    async def close(self) -> None:
        """Write what has been noted, and end."""
        if self._due is not None:
            self._due.cancel()
            self._flush()
        while self._writing is not None:
            await asyncio.wait([self._writing])
            await asyncio.sleep(0)  # `_written` runs
        if self._file is not None:
            self._file.close()


def open_log(style: str, path: str) -> AccessLogWriter:
    """Return the log that the options ask for.

    Args:
        style: "text" or "json".
        path: File to append to, "" for standard output.

    Raises:
        ConfigError: The file cannot be opened.
    """
    try:
        file = open(path, "a", encoding="utf-8") if path else None  # noqa: SIM115  for all our life
    except OSError as error:
        raise ConfigError(f"http: access_log_path {path!r}: {error.strerror}.") from None

    def write(text: str) -> None:
        # Looked up at each write: who captures output replaces `sys.stdout`.
        out: IO[str] = sys.stdout if file is None else file
        out.write(text)
        out.flush()

    return AccessLogWriter(write, _JSON if style == "json" else _TEXT, file)


_THOUSANDTHS = [f".{each:03d}" for each in range(1000)]
_quoted: Callable[[Any], str] = json.JSONEncoder().encode


# Most requests ask for what others have asked for: those parts of a line are made once.
@lru_cache(maxsize=512)
def _text_parts(
    method: str, path: bytes, app: str, route: str, status: int
) -> tuple[str, str, str]:
    between = f"ms app={_escaped(app) or '-'} route={_escaped(route) or '-'} id="
    return f" {method} {_shown(path)} {status} ", between, "\n"


@lru_cache(maxsize=512)
def _json_parts(
    method: str, path: bytes, app: str, route: str, status: int
) -> tuple[str, str, str]:
    # By hand: json.dumps of a dict takes long.
    asked = f'","method":"{method}","path":{_quoted(_shown(path))},"route":{_quoted(route)}'
    return f'{asked},"status":{status},"ms":', ',"request_id":"', f'","app":{_quoted(app)}}}\n'


@lru_cache(maxsize=4096)  # under load many requests take as long as others
def _text_duration(tenths: int) -> str:
    return f"{tenths // 10}.{tenths % 10}"


def _json_duration(micros: int) -> str:
    return f"{micros // 1000}{_THOUSANDTHS[micros % 1000]}"


_TEXT = Style("", _text_parts, _text_duration, 10_000)
_JSON = Style('{"time":"', _json_parts, _json_duration, 1_000_000)


@lru_cache(maxsize=2)
def _second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))


def _shown(path: bytes) -> str:
    """Return a path that cannot break out of its line or colour a terminal."""
    return _escaped(path.decode("latin-1"))


def _escaped(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return text.encode("unicode_escape").decode()
