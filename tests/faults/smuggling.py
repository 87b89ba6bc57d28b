"""R24: requests within requests. `python -m tests.faults.smuggling`

Each case is a request whose end could be seen at two places, with another inside, and an honest one
after it on the same connection. The inner one must never be answered, nor reach the application;
and what follows the first response must be the answer to the honest one, or nothing. HAProxy reads
some of them as two requests, and sends two. Behind it, no request may arrive that it did not send.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator

from tests.faults.figures import Figure, exactly, main
from tests.faults.load import good_load
from tests.faults.raw import Seen, talk
from tests.faults.serving import Server, serving
from tests.integration.instance import free_port

from alacarte.testing import wait_until

__all__ = ["CASES", "answers", "desynchronised", "scenario", "send"]

INNER = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
HONEST = b"GET /honest HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
_POST = b"POST /outer HTTP/1.1\r\nHost: x\r\n"
_LENGTH = b"Content-Length: %d\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_CHUNK = b"%x\r\n%b\r\n0\r\n\r\n" % (len(INNER), INNER)
_END = b"0\r\n\r\n"


def _both(fields: bytes) -> bytes:
    """The end is after the last chunk, or after the inner request."""
    return _POST + fields % len(_END + INNER) + b"\r\n" + _END + INNER


def _short(fields: bytes) -> bytes:
    """The end is after no byte, or after the inner request."""
    return _POST + fields + b"\r\n" + INNER


def _coded(fields: bytes, body: bytes = _END) -> bytes:
    return _POST + fields + b"\r\n" + body + INNER


CASES: dict[str, bytes] = {
    "length, then chunked": _both(_LENGTH + _CHUNKED),
    "chunked, then length": _both(_CHUNKED + _LENGTH),
    "chunked in capitals and length": _both(b"TRANSFER-ENCODING: CHUNKED\r\n" + _LENGTH),
    "chunked twice and length": _both(_CHUNKED + _CHUNKED + _LENGTH),
    "chunked, identity and length": _both(b"Transfer-Encoding: chunked, identity\r\n" + _LENGTH),
    "identity and length": _both(b"Transfer-Encoding: identity\r\n" + _LENGTH),
    "unknown coding and length": _both(b"Transfer-Encoding: xchunked\r\n" + _LENGTH),
    "chunked after a tab and length": _both(b"Transfer-Encoding:\tchunked\r\n" + _LENGTH),
    "chunked after a vertical tab": _both(b"Transfer-Encoding: \x0bchunked\r\n" + _LENGTH),
    "space before the colon": _both(b"Transfer-Encoding : chunked\r\n" + _LENGTH),
    "folded coding": _both(b"Transfer-Encoding:\r\n chunked\r\n" + _LENGTH),
    "coding after a folded line": _both(b"X: y\r\n Transfer-Encoding: chunked\r\n" + _LENGTH),
    "coding after a bare line feed": _both(b"X: y\nTransfer-Encoding: chunked\r\n" + _LENGTH),
    "coding after a bare carriage return": _both(b"X: y\rTransfer-Encoding: chunked\r\n" + _LENGTH),
    "coding after a zero byte": _both(b"X: y\0Transfer-Encoding: chunked\r\n" + _LENGTH),
    "quoted coding": _both(b'Transfer-Encoding: "chunked"\r\n' + _LENGTH),
    "empty coding": _both(b"Transfer-Encoding:\r\n" + _LENGTH),
    "coding in HTTP/1.0": _both(_LENGTH + _CHUNKED).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    "two lengths": _short(b"Content-Length: 0\r\nContent-Length: %d\r\n" % len(INNER)),
    "two lengths, the other way": _short(
        b"Content-Length: %d\r\nContent-Length: 0\r\n" % len(INNER)
    ),
    "lengths in a list": _short(b"Content-Length: 0, %d\r\n" % len(INNER)),
    "length with a sign": _short(b"Content-Length: +0\r\n"),
    "negative length": _short(b"Content-Length: -1\r\n"),
    "length in hexadecimal": _short(b"Content-Length: 0x0\r\n"),
    "length with a blank inside": _short(b"Content-Length: 0 %d\r\n" % len(INNER)),
    "empty length": _short(b"Content-Length:\r\n"),
    "enormous length": _short(b"Content-Length: 18446744073709551616\r\n"),
    "length, space before the colon": _short(b"Content-Length : %d\r\n" % len(INNER)),
    "length in other digits": _short("Content-Length: \u0660\r\n".encode()),
    "size of a chunk with a sign": _coded(_CHUNKED, b"+0\r\n\r\n"),
    "size of a chunk with 0x": _coded(_CHUNKED, b"0x0\r\n\r\n"),
    "size of a chunk in 17 digits": _coded(_CHUNKED, b"10000000000000000\r\n"),
    "chunk longer than its size": _coded(_CHUNKED, b"1\r\nab\r\n0\r\n\r\n"),
    "chunk ended by a line feed": _coded(_CHUNKED, b"1\r\na\n0\r\n\r\n"),
    "size ended by a line feed": _coded(_CHUNKED, b"1\na\r\n0\r\n\r\n"),
    "line feed in an extension": _coded(_CHUNKED, b"1;a\nb\r\na\r\n0\r\n\r\n"),
    "carriage return in an extension": _coded(_CHUNKED, b"1;a\rb\r\na\r\n0\r\n\r\n"),
    "zero byte in an extension": _coded(_CHUNKED, b"1;a\0b\r\na\r\n0\r\n\r\n"),
    "request in an extension": _POST + _CHUNKED + b"\r\n0;" + INNER + b"\r\n",
    "request in a trailer": _POST + _CHUNKED + b"\r\n0\r\nX: y\r\n" + INNER.rstrip() + b"\r\n\r\n",
    "request in a chunk": _POST + _CHUNKED + b"\r\n" + _CHUNK,
    "request as a body": _POST + _LENGTH % len(INNER) + b"\r\n" + INNER,
    "request as the body of a GET": b"GET /outer HTTP/1.1\r\nHost: x\r\n"
    + _LENGTH % len(INNER)
    + b"\r\n"
    + INNER,
    "request after Expect": _POST
    + b"Expect: 100-continue\r\n"
    + _LENGTH % len(INNER)
    + b"\r\n"
    + INNER,
    "request after an upgrade": _POST
    + b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
    + _LENGTH % len(INNER)
    + b"\r\n"
    + INNER,
    "request after one without a host": b"GET /outer HTTP/1.1\r\n\r\n" + INNER,
    "request in a header": b"GET /outer HTTP/1.1\r\nHost: x\r\nX: a\n\n" + INNER,
    "request after CONNECT": b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n" + INNER,
    "request after a version of its own": b"GET /outer HTTP/1.1 HTTP/1.1\r\nHost: x\r\n\r\n"
    + INNER,
}
"""What is sent before the honest request."""

_LEGAL = ("request in a chunk", "request as a body", "request as the body of a GET")
_LEGAL += ("request after Expect", "request after an upgrade")


def answers(seen: Seen) -> list[tuple[int, str]]:
    """Return the final responses on a connection: status, and the path that the application saw.

    Fails where they do not follow one another without a byte between.
    """
    found = []
    rest = seen.data
    while rest:
        head, end, rest = rest.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").lower().split("\r\n")
        status = int(lines[0].split()[1])
        if not end or not lines[0].startswith("http/1.1 "):
            raise ValueError(f"this is no response: {head!r}")
        if status < 200:
            continue
        fields = dict(line.split(": ", 1) for line in lines[1:])
        size = int(fields["content-length"])
        body, rest = rest[:size], rest[size:]
        found.append((status, json.loads(body)["path"] if status == 200 else ""))
    return found


def desynchronised(name: str, seen: Seen) -> bool:
    """Tell whether anything but the outer and the honest request was answered."""
    found = answers(seen)
    if name in _LEGAL:
        return found != [(200, "/outer"), (200, "/honest")]
    paths = [path for status, path in found if status == 200]
    refused = [status for status, _ in found if status != 200]
    return "/smuggled" in paths or len(found) > 2 or (bool(refused) and found[-1][0] == 200)


async def send(port: int) -> dict[str, Seen]:
    """Send each case in one piece, and once more byte by byte."""
    whole = {name: await talk(port, [case + HONEST], patience_s=15) for name, case in CASES.items()}
    names = list(CASES)
    parts = await asyncio.gather(
        *(talk(port, _bytes(CASES[name] + HONEST), every_s=0.001, patience_s=15) for name in names)
    )
    return whole | {f"{name}, byte by byte": seen for name, seen in zip(names, parts, strict=True)}


def _bytes(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


_HAPROXY = """
defaults
    mode http
    timeout connect 5s
    timeout client 10s
    timeout server 10s
    http-reuse always
listen front
    bind 127.0.0.1:{port}
    http-request set-header X-Front %[path]
    server alacarte 127.0.0.1:{behind} maxconn 2
"""
"""Few connections, shared by all clients, so that what is out of step meets somebody else."""


@contextlib.contextmanager
def haproxy(behind: int) -> Iterator[int]:
    """Put HAProxy in front of a port; yield its own."""
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as file:
        port = free_port()
        file.write(_HAPROXY.format(port=port, behind=behind))
        file.flush()
        process = subprocess.Popen(
            ["haproxy", "-db", "-f", file.name],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(lambda: _accepts(port), 10, "HAProxy")
            yield port
        finally:
            process.terminate()
            process.wait()


def _accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _behind_haproxy(server: Server) -> list[Figure]:
    _, before = json.loads(server.get("/seen"))
    with haproxy(server.port) as front, good_load(front, rate=50) as load:
        found = asyncio.run(send(front))
    _, after = json.loads(server.get("/seen"))
    return [
        Figure("behind HAProxy: cases", len(found)),
        # The second question was one of them.
        exactly("behind HAProxy: requests that it did not send", after - before - 1, 0),
        exactly("behind HAProxy: others' requests that failed", load.failed, 0),
        Figure("behind HAProxy: others' requests", load.count),
    ]


def scenario(cluster: str) -> list[Figure]:
    """Pipelined pairs, in one piece and byte by byte; behind HAProxy too, where that is here."""
    with serving(cluster) as server:
        found = asyncio.run(send(server.port))
        reached, _ = json.loads(server.get("/seen"))
        figures = _figures(found, reached)
        if shutil.which("haproxy"):
            figures += _behind_haproxy(server)
    return figures


def _figures(found: dict[str, Seen], reached: int) -> list[Figure]:
    wrong = [
        name
        for name, seen in found.items()
        if desynchronised(name.removesuffix(", byte by byte"), seen)
    ]
    for name in wrong:
        print(f"{name}: {found[name].data!r}")
    refused = sum(status == 400 for seen in found.values() for status, _ in answers(seen))
    return [
        Figure("cases", len(found)),
        Figure("refused with 400", refused),
        exactly("connections out of step", len(wrong), 0),
        exactly("inner requests that reached the application", reached, 0),
        exactly("connections that were not closed", _open(found), 0),
    ]


def _open(found: dict[str, Seen]) -> int:
    return sum(seen.ending == "open" for seen in found.values())


if __name__ == "__main__":
    main(scenario)
