"""A server that does not say anything is told from one that does, and from none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from alacarte._cluster.greeting import is_awake

Listen = Callable[[bytes | None], int]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Listen, and answer the first connection with some bytes; with None, never accept it."""
    listeners: list[socket.socket] = []

    def start(answer: bytes | None) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(1000).startswith(b"PRI * HTTP/2.0")
                connection.sendall(answer or b"")

        if answer is not None:
            threading.Thread(target=serve, daemon=True).start()
        port: int = listener.getsockname()[1]
        return port

    yield start
    for each in listeners:
        each.close()


def test_who_answers_is_awake(listen: Listen):
    """Whatever the answer is, and be it the end of the connection, somebody is awake."""
    assert is_awake("127.0.0.1", listen(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"), 20)
    assert is_awake("127.0.0.1", listen(b""), 20)


def test_who_only_listens_is_awake(listen: Listen):
    """A process that is stopped has its connections accepted by the kernel, and says nothing."""
    assert not is_awake("127.0.0.1", listen(None), 0.05)


def test_nobody():
    """Where nobody listens, that is an error at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        is_awake("127.0.0.1", port, 20)
