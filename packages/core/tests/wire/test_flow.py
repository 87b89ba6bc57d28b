"""Flow control: granted and used credit, at the receiver and at the sender."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alacarte._wire.flow import (
    WINDOW_BYTES,
    Inbox,
    SendWindow,
    cost,
    read_credit,
    write_credit,
)
from alacarte._wire.frames import FrameError

HALF = WINDOW_BYTES // 2


class Other:
    """The peer of an inbox, which records credits and closes."""

    def __init__(self):
        self.granted = []
        self.closed = 0
        self.inbox = Inbox(self.granted.append, self.close)

    def close(self):
        self.closed += 1


def waiting(coroutine):
    """Start a task and let it run to its first wait."""
    task = asyncio.ensure_future(coroutine)
    return task, asyncio.sleep(0)


# --- the receiver -----------------------------------------------------------------------


async def test_messages_arrive_in_order():
    """Messages are read in the order they came in, then the end."""
    inbox = Other().inbox
    for item in (b"a", b"", b"c"):
        inbox.put(item)
    inbox.end()
    assert [message async for message in inbox] == [(b"a",), (b"",), (b"c",)]
    with pytest.raises(StopAsyncIteration):
        await anext(inbox)


@pytest.mark.parametrize("step", ["put", "end", "fail"])
async def test_a_reader_is_woken(step):
    """A waiting reader gets the message, the end or the error when it arrives."""
    inbox = Other().inbox
    task, pause = waiting(anext(inbox))
    await pause
    assert not task.done()
    if step == "put":
        inbox.put(b"x")
        inbox.put(b"y")
        assert await task == (b"x",)
        assert inbox.ready() == [b"y"]
    elif step == "end":
        inbox.end()
        with pytest.raises(StopAsyncIteration):
            await task
    else:
        inbox.fail(KeyError("k"))
        with pytest.raises(KeyError):
            await task


async def test_an_error_follows_the_arrived_messages():
    """Nothing that arrived before the error is lost, and the error stays."""
    inbox = Other().inbox
    inbox.put(b"a")
    inbox.fail(KeyError("k"))
    assert await anext(inbox) == (b"a",)
    for _ in range(2):
        with pytest.raises(KeyError):
            await anext(inbox)


async def test_credit_is_given_in_halves():
    """Credit is granted again when half a window was taken, not before."""
    other = Other()
    size = HALF // 4 - cost(0)
    for _ in range(7):
        other.inbox.put(bytes(size))
    assert other.granted == []
    for number in range(7):
        await anext(other.inbox)
        assert other.granted == [HALF] * ((number + 1) // 4)


async def test_empty_messages_use_the_window():
    """A flood of empty messages is bounded, too."""
    other = Other()
    count = HALF // cost(0)
    for _ in range(count):
        other.inbox.put(b"")
    assert other.inbox.ready(WINDOW_BYTES) == [b""] * count
    assert sum(other.granted) == HALF


async def test_a_few_messages_are_taken_at_a_time():
    """Ready messages are taken up to a bound, since each one taken may grant credit."""
    other = Other()
    for _ in range(100):
        other.inbox.put(bytes(10_000))
    assert len(other.inbox.ready()) == (1 << 16) // cost(10_000)
    assert len(other.inbox.ready(cost(10_000) * 3 - 1)) == 2
    assert other.inbox.ready(10_000) == other.inbox.ready(-1) == []
    assert other.granted == []
    assert await anext(other.inbox) == (bytes(10_000),)


class Sink:
    """Takes so many messages, and is full then."""

    def __init__(self, room=100):
        self.room = room
        self.taken = []

    def __call__(self, message):
        self.taken.append(bytes(message))
        self.room -= 1
        return self.room > 0


class Pushed(Other):
    """An inbox with a sink, and the read that fills it."""

    def __init__(self, arrived=None):
        super().__init__()
        self.arrived = [] if arrived is None else arrived
        self.inbox = Inbox(self.granted.append, self.close, self.arrived)

    def read(self, *messages):
        """Take messages that have arrived together."""
        for message in messages:
            self.inbox.put(message)
        arrived = self.arrived.copy()
        self.arrived.clear()
        for inbox in arrived:
            inbox.deliver()


async def test_a_sink_gets_messages_as_they_arrive():
    """A sink gets waiting messages, then each read at once, to the end, without a wake-up."""
    pushed, sink = Pushed(), Sink()
    pushed.inbox.put(b"before")
    task, pause = waiting(pushed.inbox.pass_on(sink))
    await pause
    assert sink.taken == [b"before"]
    pushed.read(b"a")
    pushed.read(b"b", b"", b"c")
    assert sink.taken == [b"before", b"a", b"bc"]
    pushed.inbox.put(b"d")
    pushed.inbox.end()
    assert await task is False
    assert sink.taken == [b"before", b"a", b"bc", b"d"]


async def test_long_messages_are_passed_unjoined():
    """Messages of one read are joined up to a bound, since joining copies them."""
    pushed, sink = Pushed(), Sink()
    task, pause = waiting(pushed.inbox.pass_on(sink))
    await pause
    long = b"x" * (1 << 16)
    pushed.read(b"a", long, b"b", b"c")
    assert sink.taken == [b"a", long, b"bc"]
    pushed.inbox.end()
    assert await task is False


async def test_a_full_sink_gets_no_more():
    """`pass_on` returns when the sink is full; later messages wait and grant no credit."""
    pushed, sink = Pushed(), Sink(room=2)
    task, pause = waiting(pushed.inbox.pass_on(sink))
    await pause
    pushed.read(b"a")
    pushed.read(b"b")
    for _ in range(3):
        pushed.read(bytes(HALF))
    assert await task is True
    assert (sink.taken, pushed.granted) == ([b"a", b"b"], [])
    assert await pushed.inbox.pass_on(sink) is True
    assert len(sink.taken) == 3
    sink.room = 100
    pushed.inbox.end()
    assert await pushed.inbox.pass_on(sink) is False
    assert len(sink.taken) == 5


async def test_a_full_sink_meets_the_end_later():
    """A sink that is full with the last message gets the end with the next `pass_on`."""
    pushed, sink = Pushed(), Sink(room=1)
    pushed.inbox.put(b"a")
    pushed.inbox.end()
    assert await pushed.inbox.pass_on(sink) is True
    assert await pushed.inbox.pass_on(sink) is False
    assert sink.taken == [b"a"]


async def test_an_error_follows_the_messages_of_a_sink():
    """The messages before an error are passed first; then the error is raised."""
    pushed, sink = Pushed(), Sink()
    task, pause = waiting(pushed.inbox.pass_on(sink))
    await pause
    pushed.inbox.put(b"a")
    pushed.inbox.fail(KeyError("k"))
    with pytest.raises(KeyError):
        await task
    assert sink.taken == [b"a"]


async def test_a_sink_that_raises_ends_its_own_stream_alone():
    """An exception of a sink is raised by `pass_on`, not in the read that serves all streams."""
    pushed, sink = Pushed(), Sink()
    other = Pushed(pushed.arrived)

    def broken(message):
        raise RuntimeError("too long")

    task, pause = waiting(pushed.inbox.pass_on(broken))
    others, also = waiting(other.inbox.pass_on(sink))
    await pause
    await also
    pushed.inbox.put(b"a")
    other.read(b"b")
    assert sink.taken == [b"b"]
    with pytest.raises(RuntimeError, match="too long"):
        await task
    other.inbox.end()
    assert await others is False


async def test_a_sink_that_leaves_loses_nothing():
    """Messages that come after the wait was cancelled are there for the next reader."""
    pushed, sink = Pushed(), Sink()
    task, pause = waiting(pushed.inbox.pass_on(sink))
    await pause
    pushed.read(b"a")
    task.cancel()
    pushed.read(b"b")
    with pytest.raises(asyncio.CancelledError):
        await task
    pushed.read(b"c")
    assert sink.taken == [b"a"]
    assert pushed.inbox.ready() == [b"b", b"c"]


async def test_no_credit_after_the_end():
    """A peer that has ended needs no credit."""
    other = Other()
    other.inbox.put(bytes(WINDOW_BYTES))
    other.inbox.end()
    await anext(other.inbox)
    assert other.granted == []


async def test_closing_informs_the_peer_once():
    """A reader that stops early informs the peer once; arrived messages are dropped."""
    other = Other()
    other.inbox.put(b"x")
    await other.inbox.aclose()
    await other.inbox.aclose()
    assert other.closed == 1
    with pytest.raises(StopAsyncIteration):
        await anext(other.inbox)


@pytest.mark.parametrize("how", ["end", "fail"])
async def test_closing_after_the_end_informs_no_peer(how):
    """A stream that has ended needs no farewell."""
    other = Other()
    if how == "end":
        other.inbox.end()
    else:
        other.inbox.fail(KeyError())
    await other.inbox.aclose()
    assert other.closed == 0


async def test_closing_ends_a_wait():
    """A reader that waits while another task closes the stream is not left behind."""
    inbox = Other().inbox
    task, pause = waiting(anext(inbox))
    await pause
    await inbox.aclose()
    async with asyncio.timeout(5):
        with pytest.raises(StopAsyncIteration):
            await task


async def test_a_cancelled_reader_loses_nothing():
    """A message that comes in as its reader is cancelled waits for the next reader."""
    inbox = Other().inbox
    task, pause = waiting(anext(inbox))
    await pause
    inbox.put(b"x")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await anext(inbox) == (b"x",)


# --- the sender -------------------------------------------------------------------------


def test_a_window_is_used_up():
    """Each message takes its size and a little more; the last may overshoot."""
    window = SendWindow(1000)
    window.use(900)
    assert window.open
    window.use(5000)
    assert not window.open
    window.grant(cost(900) + cost(5000) - 1000)
    assert not window.open
    window.grant(1)
    assert window.open


def test_a_closed_window():
    """An empty window, such as an upload's before acceptance, opens with the first credit."""
    window = SendWindow(0)
    assert not window.open
    window.grant(WINDOW_BYTES)
    assert window.open


async def test_a_sender_waits_until_the_window_is_open():
    """Credit that does not open the window does not wake the sender."""
    window = SendWindow(0)
    window.use(100)
    task, pause = waiting(window.wait())
    await pause
    window.grant(cost(100))
    await asyncio.sleep(0)
    assert not task.done()
    window.grant(1)
    window.grant(1)
    await task
    await window.wait()


async def test_a_cancelled_sender_leaves_the_window_usable():
    """A wait that was cancelled leaves nothing behind."""
    window = SendWindow(0)
    task, pause = waiting(window.wait())
    await pause
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    window.grant(1)
    await window.wait()


def test_credits_are_four_bytes():
    """A credit of another size is a FrameError."""
    assert read_credit(bytearray(write_credit(WINDOW_BYTES))) == WINDOW_BYTES
    for payload in (b"", bytes(3), bytes(5)):
        with pytest.raises(FrameError, match="a credit in"):
            read_credit(payload)


# --- both -------------------------------------------------------------------------------


@settings(max_examples=100)
@given(st.lists(st.integers(0, 3 * WINDOW_BYTES), max_size=60))
def test_nothing_stalls_and_nothing_floods(sizes):
    """Messages of any sizes pass, and never more than a window and one message wait."""
    window = SendWindow()
    inbox = Inbox(window.grant, lambda: None)
    left = list(sizes)
    waits: list[int] = []
    while left or waits:
        while left and window.open:
            assert sum(cost(size) for size in waits) <= WINDOW_BYTES
            size = left.pop(0)
            window.use(size)
            waits.append(size)
            inbox.put(Sized(size))
        assert waits, "the sender waits for credit that will never come"
        assert len(inbox.ready(sum(map(cost, waits)))) == len(waits)
        waits.clear()


class Sized:
    """Stands for so many bytes."""

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size
