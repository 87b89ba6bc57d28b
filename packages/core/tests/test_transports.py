"""A transport that counts: the bytes of each write, and every other call passed on."""

from __future__ import annotations

import asyncio

from alacarte.transports import CountingTransport


class Sink(asyncio.Transport):
    """A transport that keeps the data written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data):
        self.written.append(bytes(data))

    def is_closing(self):
        return True


def test_each_write_is_counted_and_passed_on():
    """The callback gets the size of a write; pieces written together count as one write."""
    sink, sizes = Sink(), []
    transport = CountingTransport(sink, sizes.append)
    transport.write(b"abc")
    transport.writelines(iter([b"de", b"", b"f"]))
    assert b"".join(sink.written) == b"abcdef"
    assert sizes == [3, 3]


def test_other_calls_reach_the_transport():
    """Methods that write nothing are those of the wrapped transport."""
    assert CountingTransport(Sink(), [].append).is_closing() is True
