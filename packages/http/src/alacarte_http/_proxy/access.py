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
from typing import IO, Any

from alacarte.errors import ConfigError

__all__ = ["AccessLog", "open_log"]

log = logging.getLogger("alacarte.http")
_GATHER_S = 0.1
_MOST_BYTES = 4 * 1024 * 1024


class AccessLog:
    """Notes requests. Lives on the proxy's event loop.

    Args:
        write: Takes text that ends with a newline; called in a thread, one call at a time.
        form: Makes a line of one request.
        file: Closed at the end, where there is one.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        form: Callable[..., str],
        file: IO[str] | None = None,
    ) -> None:
        self._write = write
        self._file = file
        self._form = form
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
        line = self._form(time.time(), method, path, route, status, seconds, request_id, app)
        self._lines.append(line)
        self._size += len(line)
        if self._due is None and self._writing is None:
            self._due = asyncio.get_running_loop().call_later(_GATHER_S, self._flush)

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


def open_log(style: str, path: str) -> AccessLog:
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

    return AccessLog(write, _json if style == "json" else _text, file)


def _text(
    at: float,
    method: str,
    path: bytes,
    route: str,
    status: int,
    seconds: float,
    request_id: str,
    app: str,
) -> str:
    asked, reached = _text_parts(method, path, app, route)
    tenths = int(seconds * 10_000 + 0.5)
    return f"{_stamp(at)}{asked}{status} {tenths // 10}.{tenths % 10}ms{reached}{request_id}\n"


def _json(
    at: float,
    method: str,
    path: bytes,
    route: str,
    status: int,
    seconds: float,
    request_id: str,
    app: str,
) -> str:
    # By hand: all but three are of letters and digits, and json.dumps of a dict takes long.
    asked, reached = _json_parts(method, path, app, route)
    return (
        f'{{"time":"{_stamp(at)}{asked}{status},"ms":{seconds * 1000:.3f},'
        f'"request_id":"{request_id}{reached}'
    )


# Most requests ask for what others have asked for: those parts of a line are made once.
@lru_cache(maxsize=512)
def _text_parts(method: str, path: bytes, app: str, route: str) -> tuple[str, str]:
    """Return what stands before the status, and between the time it took and the request's id."""
    reached = f" app={_escaped(app) or '-'} route={_escaped(route) or '-'} id="
    return f" {method} {_shown(path)} ", reached


@lru_cache(maxsize=512)
def _json_parts(method: str, path: bytes, app: str, route: str) -> tuple[str, str]:
    """Return what stands between the time and the status, and behind the request's id."""
    asked = f'","method":"{method}","path":{_quoted(_shown(path))},"route":{_quoted(route)}'
    return f'{asked},"status":', f'","app":{_quoted(app)}}}\n'


_quoted: Callable[[Any], str] = json.JSONEncoder().encode
_millisecond = 0
_millisecond_text = ""


def _stamp(at: float) -> str:
    """Return a time in UTC as ISO 8601 with milliseconds; under load many requests share one."""
    global _millisecond, _millisecond_text
    millisecond = int(at * 1000)
    if millisecond != _millisecond:
        _millisecond_text = f"{_second(millisecond // 1000)}.{millisecond % 1000:03d}Z"
        _millisecond = millisecond
    return _millisecond_text


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
