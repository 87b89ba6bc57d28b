"""Thousands of idle WebSockets."""

from __future__ import annotations

import contextlib
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..gates import WAIT_S
from .apps import echo
from .support import UPGRADE, serve_app

pytestmark = pytest.mark.once

SOCKETS = 2000
ASK = b"\x81\x85\0\0\0\0hello"
ANSWER = b"\x81\x05hello"
MAX_BYTES_EACH = 64 * 1024


@pytest.fixture
def many_files() -> Iterator[None]:
    """Raise this process's limit of open files for both ends of the connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * SOCKETS
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"this process may open {hard} files; {wanted} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def opened(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
    client.sendall(UPGRADE % b"/")
    assert client.recv(4096).startswith(b"HTTP/1.1 101 ")
    return client


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's account of memory")
def test_thousands_of_idle_connections(
    many_files: None, start: Any, record_testsuite_property: Any
) -> None:
    """2,000 idle connections cost little, and afterwards each one is served."""
    site = start(max_connections=2 * SOCKETS)
    serve_app(site, echo, max_ongoing_requests=2 * SOCKETS)
    with contextlib.ExitStack() as stack:
        # What the first ones bring into memory is everyone's.
        clients = [stack.enter_context(opened(site.port)) for _ in range(50)]
        before = resident_bytes()
        clients += [stack.enter_context(opened(site.port)) for _ in range(SOCKETS - 50)]
        each = (resident_bytes() - before) / (SOCKETS - 50)
        record_testsuite_property("websocket_bytes_each", each)
        for client in clients:
            client.sendall(ASK)
        for client in clients:
            assert client.recv(64) == ANSWER
    assert each < MAX_BYTES_EACH, f"{each:.0f} bytes for each connection, at proxy and replica"
