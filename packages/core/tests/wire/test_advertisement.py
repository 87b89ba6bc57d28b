"""The advertisements of a replica: as bytes, and sent to its callers."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacarte._replica.advertiser import Advertiser
from alacarte._wire.advertisement import read_advertisement, write_advertisement
from alacarte._wire.frames import CHUNK_BYTES, FrameError, Kind
from alacarte.errors import ConfigError

from .support import ask, echo, on_both_loops, on_every_wire, until


@given(st.dictionaries(st.text(), st.frozensets(st.text()), max_size=5))
def test_advertisements_round_trip(topics):
    """Any texts, half characters included, arrive as they were."""
    assert read_advertisement(write_advertisement(topics)) == topics


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data):
    """Nothing but a FrameError comes of bytes that are no advertisement."""
    try:
        topics = read_advertisement(data)
    except FrameError:
        return
    assert all(isinstance(values, frozenset) for values in topics.values())


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"3", b'{"a": 1}', b'{"a": [1]}', b'{"a": [["b"]]}', b"[" * 100_000]
)
def test_malformed_advertisements(data):
    """Other JSON than texts by topic is refused."""
    with pytest.raises(FrameError, match="advertisement"):
        read_advertisement(data)


def test_an_advertisement_fits_one_frame():
    """An advertisement longer than one frame is refused, with its topics and their sizes."""
    with pytest.raises(ConfigError, match=r"2 of 'small', 20000 of 'models'"):
        write_advertisement(
            {"small": ["a", "b"], "models": {f"{number:060}" for number in range(20_000)}}
        )


@on_every_wire
async def test_every_caller_gets_changes(wire):
    """A change reaches every connected caller, and every caller that connects later."""
    desk = await wire.listen(echo)
    first = await wire.connect(desk)
    heard = []
    first.on_advertised = lambda: heard.append(first.advertised)
    assert first.advertised == {}
    desk.listener.advertise(write_advertisement({"models": {"a"}}))
    await until(lambda: heard)
    desk.listener.advertise(write_advertisement({"models": {"b"}, "other": set()}))
    second = await wire.connect(desk)
    await until(lambda: len(heard) == 2 and second.advertised)
    told = {"models": frozenset("b"), "other": frozenset()}
    assert heard == [{"models": frozenset("a")}, told]
    assert second.advertised == told
    assert await ask(first, b"x") == b"x"


@on_both_loops
async def test_a_slow_caller_gets_the_last_change(wire):
    """A caller that does not read gets only the last of several changes."""
    desk = await wire.listen(echo)
    peer = await (await wire.raw(desk)).prove()
    await until(lambda: desk.listener.connections)
    (connection,) = desk.listener.connections
    peer.writer.transport.pause_reading()
    filler = "x" * (CHUNK_BYTES - 100)
    for number in range(40):
        desk.listener.advertise(write_advertisement({"models": {filler, str(number)}}))
        await asyncio.sleep(0)
    assert connection.transport.get_write_buffer_size() <= 8 * CHUNK_BYTES
    peer.writer.transport.resume_reading()
    received = 0
    last = None
    while last is None or "39" not in last["models"]:
        frame = await peer.receive()
        assert frame.kind == Kind.ADVERTISE
        last = read_advertisement(frame.payload)
        received += 1
    assert received < 40


class Sent:
    """A listener that records the advertisements to send."""

    def __init__(self):
        self.payloads = []

    def advertise(self, payload):
        self.payloads.append(read_advertisement(payload))


async def test_changes_of_one_moment_are_sent_once():
    """Changes in one iteration leave together, from threads too; no change, no frame."""
    advertised, sent = Advertiser(), Sent()
    advertised.publish("models", frozenset("a"))
    await asyncio.sleep(0)
    advertised.listen(sent)
    assert sent.payloads == [{"models": frozenset("a")}]
    advertised.publish("models", frozenset("b"))
    await asyncio.to_thread(advertised.publish, "other", frozenset("c"))
    await until(lambda: len(sent.payloads) > 1)
    advertised.publish("other", frozenset("c"))
    await asyncio.sleep(0)
    assert sent.payloads[-1] == {"models": frozenset("b"), "other": frozenset("c")}
    assert len(sent.payloads) <= 3


async def test_an_advertisement_too_long_changes_nothing():
    """The publisher gets the error, and the earlier advertisement stays valid."""
    advertised, sent = Advertiser(), Sent()
    advertised.listen(sent)
    advertised.publish("models", frozenset("a"))
    with pytest.raises(ConfigError):
        advertised.publish("models", frozenset(["x" * CHUNK_BYTES]))
    await until(lambda: sent.payloads)
    assert sent.payloads == [{"models": frozenset("a")}]
