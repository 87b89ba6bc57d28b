"""The access log: one line for each request, as text or as JSON.

The proxy's event loop collects lines, and a thread writes them in batches, so that a slow disk or
terminal does not delay requests. Lines beyond `_MAX_PENDING_BYTES` are dropped and counted.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from typing import IO, NamedTuple

from alacarte.errors import ConfigError

__all__ = ["AccessLogWriter", "open_access_log"]

log = logging.getLogger("alacarte.http")
_FLUSH_INTERVAL_S = 0.1
_MAX_PENDING_BYTES = 4 * 1024 * 1024


class LineFormat(NamedTuple):
    """The format of a line: prefix, time, text, duration, text, request id, text.

    Attributes:
        prefix: Text before the time.
        format_parts: Returns the three texts around duration and request id, given method, path,
            application, route and status.
        format_duration: Returns a number of ticks as text.
        ticks_per_s: Ticks in a second.
    """

    prefix: str
    format_parts: Callable[[str, bytes, str, str, int], tuple[str, str, str]]
    format_duration: Callable[[int], str]
    ticks_per_s: int


class AccessLogWriter:
    """Logs requests. Used on the proxy's event loop.

    Args:
        write: Writes text that ends with a newline; called in a thread, one call at a time.
        line_format: Format of the lines.
        file: Closed by `close`; None for standard output.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        line_format: LineFormat,
        file: IO[str] | None = None,
    ) -> None:
        self._write = write
        self._file = file
        self._prefix, self._format_parts, self._format_duration, self._ticks_per_s = line_format
        # The formatted time, and the interval in which it is valid: under load, requests share it.
        self._timestamp = ""
        self._timestamp_from = self._timestamp_until = 0.0
        self._lines: list[str] = []
        self._size = 0
        self._dropped = 0
        self._writing: asyncio.Future[None] | None = None
        self._flush_timer: asyncio.TimerHandle | None = None
        self._has_failed = False

    def record(
        self,
        method: str,
        path: bytes,
        route: str,
        status: int,
        seconds: float,
        request_id: str,
        app: str,
    ) -> None:
        """Log a request that has ended.

        Args:
            path: Path as sent, without the query, which may hold secrets.
            status: Status as sent; 499 if the client disconnected before its response began.
        """
        if self._size > _MAX_PENDING_BYTES:
            self._dropped += 1
            return
        at = time.time()
        if not self._timestamp_from <= at < self._timestamp_until:
            self._update_timestamp(at)
        before, between, behind = self._format_parts(method, path, app, route, status)
        took = self._format_duration(int(seconds * self._ticks_per_s + 0.5))
        line = f"{self._timestamp}{before}{took}{between}{request_id}{behind}"
        self._lines.append(line)
        self._size += len(line)
        if self._flush_timer is None and self._writing is None:
            self._flush_timer = asyncio.get_running_loop().call_later(
                _FLUSH_INTERVAL_S, self._flush
            )

    def _update_timestamp(self, at: float) -> None:
        millisecond = int(at * 1000)
        self._timestamp_from, self._timestamp_until = millisecond / 1000, (millisecond + 1) / 1000
        second = _format_second(millisecond // 1000)
        self._timestamp = f"{self._prefix}{second}{_THOUSANDTHS[millisecond % 1000]}Z"

    def _flush(self) -> None:
        self._flush_timer = None
        lines, self._lines = self._lines, []
        if self._dropped:
            log.warning("the access log is too slow: %d requests were not logged", self._dropped)
            self._dropped = 0
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(None, self._write, "".join(lines))
        self._writing.add_done_callback(self._on_written)

    def _on_written(self, writing: asyncio.Future[None]) -> None:
        self._writing = None
        self._size = sum(map(len, self._lines))
        error = None if writing.cancelled() else writing.exception()
        if error is not None and not self._has_failed:
            # Once: the next writes will most likely fail in the same way.
            log.warning("the access log cannot be written: %s", error)
        self._has_failed = error is not None
        if self._lines:
            self._flush()

    async def close(self) -> None:
        """Write the remaining lines, and close the file."""
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush()
        while self._writing is not None:
            await asyncio.wait([self._writing])
            await asyncio.sleep(0)  # `_on_written` runs
        if self._file is not None:
            self._file.close()


def open_access_log(style: str, path: str) -> AccessLogWriter:
    """Return a writer for the access log.

    Args:
        style: "text" or "json".
        path: File to append to, "" for standard output.

    Raises:
        ConfigError: The file cannot be opened.
    """
    try:
        file = open(path, "a", encoding="utf-8") if path else None  # noqa: SIM115  until `close`
    except OSError as error:
        raise ConfigError(
            f"http: access_log_path={path!r} cannot be opened: {error.strerror}."
        ) from None

    def write(text: str) -> None:
        # Looked up at each write: programs that capture output replace `sys.stdout`.
        out: IO[str] = sys.stdout if file is None else file
        out.write(text)
        out.flush()

    return AccessLogWriter(write, _JSON if style == "json" else _TEXT, file)


_THOUSANDTHS = [f".{each:03d}" for each in range(1000)]
_quote: Callable[[str], str] = json.JSONEncoder().encode


# Most requests repeat an earlier request's method, path and status: their texts are cached.
@lru_cache(maxsize=512)
def _format_text_parts(
    method: str, path: bytes, app: str, route: str, status: int
) -> tuple[str, str, str]:
    between = f"ms app={_escape(app) or '-'} route={_escape(route) or '-'} id="
    return f" {method} {_escape_path(path)} {status} ", between, "\n"


@lru_cache(maxsize=512)
def _format_json_parts(
    method: str, path: bytes, app: str, route: str, status: int
) -> tuple[str, str, str]:
    # Not json.dumps of a dict, which takes several times as long.
    asked = f'","method":"{method}","path":{_quote(_escape_path(path))},"route":{_quote(route)}'
    return f'{asked},"status":{status},"ms":', ',"request_id":"', f'","app":{_quote(app)}}}\n'


@lru_cache(maxsize=4096)  # under load, many requests have the same duration
def _format_text_duration(tenths: int) -> str:
    return f"{tenths // 10}.{tenths % 10}"


def _format_json_duration(micros: int) -> str:
    return f"{micros // 1000}{_THOUSANDTHS[micros % 1000]}"


_TEXT = LineFormat("", _format_text_parts, _format_text_duration, 10_000)
_JSON = LineFormat('{"time":"', _format_json_parts, _format_json_duration, 1_000_000)


@lru_cache(maxsize=2)
def _format_second(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))


def _escape_path(path: bytes) -> str:
    """Return a path without line breaks and terminal escapes."""
    return _escape(path.decode("latin-1"))


def _escape(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    return text.encode("unicode_escape").decode()
