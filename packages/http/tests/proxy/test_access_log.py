"""The access log: its lines, and writes that fail or are slow."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse

from alacarte import serve
from alacarte.errors import ConfigError
from alacarte.testing import wait_until
from alacarte_http._proxy.access_log import AccessLogWriter, LineFormat, open_access_log

from .. import gates
from ..websocket.apps import echo
from ..websocket.support import UPGRADE, serve_app


@serve.deployment
class Answers:
    """A deployment that responds by path."""

    async def __call__(self, request: Request) -> Any:
        what = request.url.path.rpartition("/")[2]
        if what == "fail":
            raise ValueError("as asked")
        if what == "stream":
            return StreamingResponse(iter([b"a", b"b"]))
        if what == "stay":
            await gates.GATE.wait_cancelled()
        return PlainTextResponse("fine", 201)


def line_of(text: str) -> LineFormat:
    """Return a format whose lines contain this text."""
    return LineFormat("", lambda *each: (text, "", "\n"), str, 1)


def lines(path: Path, count: int) -> list[str]:
    wait_until(lambda: path.exists() and len(path.read_text().splitlines()) >= count, gates.WAIT_S)
    return path.read_text().splitlines()


def test_as_text(start: Any, tmp_path: Path):
    """A text line has method, path without query, status, time, application, route and id."""
    path = tmp_path / "access.log"
    site = start(access_log="text", access_log_path=str(path))
    site.run(Answers.bind(), "/here", name="app")
    site.http.get("/here/x?secret=1", headers={"X-Request-ID": "r1"})
    [line] = lines(path, 1)
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z GET /here/x 201 \d+\.\dms "
        r"app=app route=/here id=r1",
        line,
    )


def test_as_json(start: Any, tmp_path: Path):
    """Each request is one JSON object; the proxy's own paths are not logged."""
    path = tmp_path / "access.log"
    site = start(access_log="json", access_log_path=str(path))
    site.run(Answers.bind(), "/here", name="app")
    for target in ("/here/ok", "/here/fail", "/here/stream", "/nowhere", "/-/healthz"):
        site.http.get(target)
    found = [json.loads(line) for line in lines(path, 4)]
    assert [(each["path"], each["status"], each["route"], each["app"]) for each in found] == [
        ("/here/ok", 201, "/here", "app"),
        ("/here/fail", 500, "/here", "app"),
        ("/here/stream", 200, "/here", "app"),
        ("/nowhere", 404, "", ""),
    ]
    assert all(each["ms"] > 0 and each["request_id"] for each in found)


@pytest.mark.parametrize(
    ("style", "seconds", "expected"),
    [
        ("text", 0.0, "0.0"),
        ("text", 0.00125, "1.3"),
        ("text", 61.04996, "61050.0"),
        ("json", 0.0, "0.000"),
        ("json", 0.0000406, "0.041"),
        ("json", 61.04996, "61049.960"),
    ],
)
def test_durations(style: str, seconds: float, expected: str, tmp_path: Path):
    """Durations are rounded milliseconds: to a tenth in text, to the microsecond in JSON."""
    path = tmp_path / "access.log"

    async def note() -> None:
        log = open_access_log(style, str(path))
        log.record("GET", b"/a", "/", 200, seconds, "id", "app")
        await log.close()

    asyncio.run(note())
    found = re.search(r'(?: 200 |"ms":)(\d+\.\d+)', path.read_text())
    assert found is not None
    assert found[1] == expected


@pytest.mark.parametrize("style", ["text", "json"])
def test_each_line_has_its_own_time(style: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each line has its time in milliseconds, even after the clock was set back."""
    path = tmp_path / "access.log"
    times = [0.0, 0.0009, 0.001, 1.9999, 0.5, 1_700_000_000.123]

    async def note() -> None:
        log = open_access_log(style, str(path))
        for at in times:
            monkeypatch.setattr("alacarte_http._proxy.access_log.time.time", lambda at=at: at)
            log.record("GET", b"/a", "/", 200, 0.1, "id", "app")
        monkeypatch.undo()
        await log.close()

    asyncio.run(note())
    found = re.findall(r"\d{4}-\d\d-\d\dT(\S+?)Z", path.read_text())
    assert found == [
        "00:00:00.000",
        "00:00:00.000",
        "00:00:00.001",
        "00:00:01.999",
        "00:00:00.500",
        "22:13:20.123",
    ]


def test_no_value_breaks_out_of_its_line(tmp_path: Path):
    """Control characters of a path, a route or an application's name are escaped."""
    path = tmp_path / "access.log"

    async def note() -> None:
        log = open_access_log("text", str(path))
        log.record("GET", b"/a%0a\x1b", "/r\n/x", 200, 0.1, "id", "na\nme\0\x1b[31m")
        await log.close()

    asyncio.run(note())
    [line] = path.read_text().splitlines()
    assert line.isprintable()
    assert "app=na\\nme\\x00\\x1b[31m route=/r\\n/x id=id" in line


def test_a_client_that_left(start: Any, tmp_path: Path, gate: gates.Gate):
    """A request whose client has disconnected is logged as 499."""
    path = tmp_path / "access.log"
    site = start(access_log="json", access_log_path=str(path))
    site.run(Answers.bind())
    with site.wire() as wire:
        wire.ask("/stay")
        gate.entered()
    [line] = lines(path, 1)
    assert json.loads(line)["status"] == 499


def test_hostile_paths(start: Any, tmp_path: Path):
    """Escape sequences and line breaks in a path are escaped."""
    path = tmp_path / "access.log"
    site = start(access_log="text", access_log_path=str(path))
    site.run(Answers.bind())
    targets = ("/%0a%1b[31m", "/\x7f\xe9", '/"\\')
    for target in targets:
        with site.wire() as wire:
            wire.ask(target)
            wire.head()
    site.http.get("/last")
    serve.shutdown()
    found = path.read_text().splitlines()
    assert "/last" in found[-1]
    assert len(found) <= len(targets) + 1  # the server may refuse one before it is a request
    for line in found:
        assert line.isascii()
        assert line.isprintable()


def test_it_is_off_by_default(site: Any, capfd: pytest.CaptureFixture[str]):
    """Without the option, no line is printed for a request."""
    site.run(Answers.bind())
    site.http.get("/")
    serve.shutdown()
    assert "GET" not in capfd.readouterr().out


def test_all_of_it_is_written_at_the_end(start: Any, capsys: pytest.CaptureFixture[str]):
    """The log goes to standard output, and the proxy's end loses no line."""
    site = start(access_log="text")
    site.run(Answers.bind())
    for _ in range(5):
        site.http.get("/")
    serve.shutdown()
    assert capsys.readouterr().out.count("GET / 201") == 5


def test_a_file_that_cannot_be_opened(start: Any, tmp_path: Path):
    """The instance does not start, and the error names the option."""
    with pytest.raises(ConfigError, match="access_log_path"):
        start(access_log="text", access_log_path=str(tmp_path / "missing" / "x.log"))


class Slow:
    """A slow file that may fail."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.text = ""
        self.error: OSError | None = None

    def write(self, text: str) -> None:
        self.go.wait(gates.WAIT_S)
        if self.error is not None:
            raise self.error
        self.text += text


def log_request(log: AccessLogWriter, path: bytes = b"/") -> None:
    log.record("GET", path, "/", 200, 0.001, "id", "app")


async def test_excess_lines_are_dropped_and_counted(caplog: pytest.LogCaptureFixture):
    """During a slow write memory is bounded, and a warning counts the dropped lines."""
    slow = Slow()
    log = AccessLogWriter(slow.write, line_of("x" * 1_000_000))
    for _ in range(20):
        log_request(log)
    slow.go.set()
    await log.close()
    written = slow.text.count("\n")
    assert written < 20
    assert f"{20 - written} requests were not logged" in caplog.text
    log_request(log)
    await log.close()
    assert slow.text.count("\n") == written + 1, "it goes on afterwards"


async def test_a_full_disk(caplog: pytest.LogCaptureFixture):
    """A full disk causes one warning; requests go on, and later lines are written."""
    slow = Slow()
    slow.go.set()
    slow.error = OSError(28, "No space left on device")
    log = AccessLogWriter(slow.write, line_of("line"))
    for _ in range(3):
        log_request(log)
        await log.close()
    assert caplog.text.count("No space left on device") == 1
    assert caplog.records[0].levelno == logging.WARNING
    slow.error = None
    log_request(log)
    await log.close()
    assert slow.text.count("line") == slow.text.count("\n") == 1


async def test_lines_are_gathered(tmp_path: Path):
    """Many lines leave in one write."""
    log = open_access_log("text", str(tmp_path / "x"))
    for _ in range(100):
        log_request(log)
    assert (tmp_path / "x").read_text() == ""
    await asyncio.sleep(0)
    await log.close()
    assert len((tmp_path / "x").read_text().splitlines()) == 100


def test_a_websocket(start: Any, tmp_path: Path):
    """A WebSocket is one line at its end, with 101 or the status of its denial."""
    path = tmp_path / "access.log"
    site = start(access_log="json", access_log_path=str(path))
    serve_app(site, echo, "/echo")
    for target in (b"/echo/a?secret=1", b"/nowhere"):
        with site.wire() as wire:
            wire.send(UPGRADE % target)
            wire.head()
    found = [json.loads(line) for line in lines(path, 2)]
    assert [
        (each["method"], each["path"], each["status"], each["app"])
        for each in sorted(found, key=lambda each: str(each["path"]))
    ] == [("GET", "/echo/a", 101, "default"), ("GET", "/nowhere", 404, "")]
