"""Frames: whatever the cuts, the same messages; whatever the bytes, frames or a FrameError."""

import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alacarte._wire.frames import (
    CHUNK_BYTES,
    FINAL,
    HEADER,
    LENGTH,
    LONG,
    MAX_LOAD,
    STREAMING,
    Decoder,
    Frame,
    FrameError,
    Kind,
    long_header,
)

from .support import feed, frame

MAX_MESSAGE = 32 << 20
NOISE = random.Random(7).randbytes(CHUNK_BYTES)
MAY_BE_LONG = [Kind.REQUEST, Kind.RESPONSE, Kind.DATA, Kind.ERROR]
SHORT_KINDS = [kind for kind in Kind if kind is not Kind.CHUNK]


def content(size: int, salt: int) -> bytes:
    """Bytes of that size that differ from their like at every salt, and cost nothing to draw."""
    shift = salt * 7919 % CHUNK_BYTES
    return (NOISE[shift:] + NOISE * (size // CHUNK_BYTES + 1))[:size]


def chunked(message: Frame, sizes: list[int]) -> list[tuple[bytes, Frame | None]]:
    """Return a long message as announcement and chunks, each with the frame it completes."""
    kind, flags, load, stream, payload = message
    units: list[tuple[bytes, Frame | None]] = [
        (long_header(kind, flags, load, stream, len(payload)), None)
    ]
    at = index = 0
    while at < len(payload):
        size = sizes[index % len(sizes)]
        piece = bytes(payload[at : at + size])
        at += size
        index += 1
        units.append((frame(Kind.CHUNK, 0, stream, piece, load), None))
    units[-1] = (units[-1][0], message)
    return units


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[Frame]]:
    """Interleaved streams: their bytes, and the frames that must come out."""
    sizes = st.one_of(
        st.integers(0, 70),
        st.sampled_from([4096, 32767, 32768, 32769, 65536, (1 << 18) - 12, 1 << 18, CHUNK_BYTES]),
        st.integers(0, CHUNK_BYTES),
    )
    long_sizes = st.one_of(st.integers(1, 200), st.integers(1, 3 << 20))
    queues: list[list[tuple[bytes, Frame | None]]] = []
    for stream in range(1, draw(st.integers(1, 4)) + 1):
        queue: list[tuple[bytes, Frame | None]] = []
        for number in range(draw(st.integers(1, 4))):
            long = draw(st.booleans())
            size = draw(long_sizes if long else sizes)
            message = Frame(
                int(draw(st.sampled_from(MAY_BE_LONG if long else SHORT_KINDS))),
                draw(st.sampled_from([0, FINAL, STREAMING, FINAL | STREAMING])),
                draw(st.integers(0, MAX_LOAD)),
                stream,
                content(size, stream * 31 + number),
            )
            if long:
                most = st.integers(max(1, size // 20), CHUNK_BYTES)
                queue += chunked(message, draw(st.lists(most, min_size=1, max_size=3)))
            else:
                queue.append(
                    (frame(*message[:2], stream, bytes(message.payload), message.load), message)
                )
        queues.append(queue)
    turns = draw(st.randoms(use_true_random=False))
    wire, expected = [], []
    while queues:
        queue = turns.choice(queues)
        data, completed = queue.pop(0)
        wire.append(data)
        if completed is not None:
            expected.append(completed)
        queues = [queue for queue in queues if queue]
    return b"".join(wire), expected


cuts = st.lists(
    st.one_of(
        st.integers(1, 64),
        st.sampled_from([11, 12, 13, 4096, 32768, 65536, 1 << 18]),
        st.integers(1, CHUNK_BYTES),
    ),
    min_size=1,
    max_size=8,
)


def decoded(decoder: Decoder, wire: bytes, cuts: list[int]) -> list[Frame]:
    """Feed `wire` in pieces of those lengths, repeated, a few thousand at most."""
    frames, view, turn = [], memoryview(wire), 0
    while view:
        size = cuts[turn % len(cuts)] if turn < 3000 else len(view)
        frames += feed(decoder, view[:size])
        view = view[size:]
        turn += 1
    return frames


@settings(max_examples=120)
@given(conversations(), cuts)
def test_cuts_do_not_matter(conversation, cuts):
    """Interleaved messages of any size come out whole and in order, wherever the bytes are cut."""
    wire, expected = conversation
    decoder = Decoder(max_message=MAX_MESSAGE)
    frames = decoded(decoder, wire, cuts)
    assert len(frames) == len(expected)
    for got, wanted in zip(frames, expected, strict=True):
        assert got[:2] == wanted[:2]
        assert got.stream == wanted.stream
        assert got.load == wanted.load
        assert got.payload == wanted.payload
    assert decoder._reserved == 0
    assert not decoder._partials


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(SHORT_KINDS), st.integers(0, 90)), max_size=12))
def test_byte_by_byte(messages):
    """Frames that arrive byte by byte are complete with their last byte."""
    decoder = Decoder()
    for number, (kind, size) in enumerate(messages):
        payload = content(size, number)
        *first, last = frame(kind, FINAL, number, payload)
        for byte in first:
            assert feed(decoder, bytes([byte])) == []
        assert feed(decoder, bytes([last])) == [Frame(kind, FINAL, 0, number, payload)]


def test_the_scratch_buffer_never_runs_full():
    """Frames of every length, back to back, always leave room for the rest of the next."""
    decoder = Decoder()
    sizes = [*range(32700, 32800), *range(0, 300, 7), 32768, 32769, 32767] * 3
    wire = b"".join(frame(Kind.DATA, 0, 1, content(size, size)) for size in sizes)
    for cut in (1 << 18, 65_521, 8191):
        frames = []
        for at in range(0, len(wire), cut):
            frames += feed(decoder, wire[at : at + cut])
        assert [len(got.payload) for got in frames] == sizes
        assert all(got.payload == content(len(got.payload), len(got.payload)) for got in frames)


def test_a_long_message_lands_in_one_buffer():
    """Chunks are read into one buffer, which is the payload of the frame."""
    decoder = Decoder(max_message=1 << 20)
    feed(decoder, long_header(Kind.REQUEST, FINAL, 0, 5, 1 << 20))
    half = content(1 << 19, 1)
    feed(decoder, frame(Kind.CHUNK, 0, 5, half) + HEADER.pack(1 << 19, Kind.CHUNK, 0, 0, 5))
    place = decoder.get_buffer()
    place[:] = half
    (message,) = decoder.received(len(place))
    assert message.payload is place.obj
    assert message == Frame(Kind.REQUEST, FINAL, 0, 5, half + half)


# --- arbitrary bytes --------------------------------------------------------------------

headers = st.builds(
    lambda size, kind, flags, load, stream: HEADER.pack(size, kind, flags, load, stream),
    st.one_of(st.integers(0, 5000), st.sampled_from([8, 8, 8, 1 << 16, 1 << 31, 0xFFFFFFFF])),
    st.one_of(st.integers(1, 17), st.sampled_from([8, 8, 5, 7, 10]), st.integers(0, 255)),
    st.one_of(st.sampled_from([0, 0, 1, 2, 3, 4, 7]), st.integers(0, 255)),
    st.integers(0, MAX_LOAD),
    st.integers(0, 3),
)
lengths = st.one_of(st.integers(0, 9000), st.integers(0, 2**64 - 1)).map(LENGTH.pack)
announcements = st.builds(
    lambda kind, stream, length: HEADER.pack(8, kind, LONG, 0, stream) + length,
    st.sampled_from(MAY_BE_LONG),
    st.integers(0, 3),
    lengths,
)
chunks = st.builds(
    lambda stream, payload: frame(Kind.CHUNK, 0, stream, payload),
    st.integers(0, 3),
    st.binary(max_size=600),
)
drops = st.builds(
    lambda kind, stream: frame(kind, FINAL, stream),
    st.sampled_from([Kind.CANCEL, Kind.ERROR, Kind.REJECT]),
    st.integers(0, 3),
)
rubbish = st.lists(
    st.one_of(st.binary(max_size=60), headers, announcements, chunks, drops), max_size=30
).map(b"".join)


@settings(max_examples=400)
@given(rubbish, st.sampled_from([(4096, 0), (CHUNK_BYTES, 8192), (64, 100)]), cuts)
def test_any_bytes_are_frames_or_an_error(data, limits, cuts):
    """Nothing but FrameError is raised, and no more is held than the limits allow."""
    max_frame, max_message = limits
    decoder = Decoder(max_frame=max_frame, max_message=max_message)
    view, turn = memoryview(data), 0
    try:
        while view:
            size = cuts[turn % len(cuts)]
            turn += 1
            for got in feed(decoder, view[:size]):
                assert isinstance(got, Frame)
                assert len(got.payload) <= max(max_frame, max_message)
            view = view[size:]
            held = sum(len(partial.data) for partial in decoder._partials.values())
            assert held == decoder._reserved <= max_message
            assert decoder._target is None or len(decoder._target) <= max_frame
    except FrameError:
        pass


def test_a_great_announcement_allocates_nothing():
    """A length above the limit is refused before memory is allocated."""
    for data in (
        HEADER.pack(1 << 30, Kind.DATA, 0, 0, 1),
        HEADER.pack(1 << 30, Kind.CHUNK, 0, 0, 1),
        HEADER.pack(1 << 30, Kind.REQUEST, LONG, 0, 1),
        long_header(Kind.REQUEST, 0, 0, 1, 1 << 30),
        long_header(Kind.REQUEST, 0, 0, 1, 2**64 - 1),
    ):
        decoder = Decoder(max_message=1 << 20)
        tracemalloc.start()
        try:
            with pytest.raises(FrameError):
                feed(decoder, data)
            assert tracemalloc.get_traced_memory()[1] < 1 << 16
        finally:
            tracemalloc.stop()


# --- limits -----------------------------------------------------------------------------


def test_the_longest_frame_passes_and_one_byte_more_does_not():
    """`max_frame` is the longest payload, whatever the kind of the frame."""
    decoder = Decoder(max_frame=4096)
    assert feed(decoder, frame(Kind.HELLO, payload=bytes(4096)))[0].payload == bytes(4096)
    with pytest.raises(FrameError, match="4097 bytes; 4096 are allowed"):
        feed(decoder, HEADER.pack(4097, Kind.HELLO, 0, 0, 0))


def test_the_longest_message_passes_and_one_byte_more_does_not():
    """`max_message` is the longest message, and the error names its option."""
    decoder = Decoder(max_message=100)
    assert feed(decoder, long_header(Kind.DATA, 0, 0, 1, 100)) == []
    assert feed(decoder, frame(Kind.CHUNK, 0, 1, bytes(100)))[0].payload == bytes(100)
    with pytest.raises(FrameError, match="max_message_bytes"):
        feed(decoder, long_header(Kind.DATA, 0, 0, 1, 101))


def test_unfinished_messages_share_one_limit():
    """The unfinished messages of all streams together stay within the limit of one."""
    decoder = Decoder(max_message=100)
    feed(decoder, long_header(Kind.DATA, 0, 0, 1, 60))
    with pytest.raises(FrameError, match="40 of 100 are left"):
        feed(decoder, long_header(Kind.DATA, 0, 0, 2, 41))


def test_no_long_message_before_trust():
    """Where no long message is allowed, neither an announcement nor a chunk is."""
    for data in (long_header(Kind.REQUEST, 0, 0, 1, 1), frame(Kind.CHUNK, 0, 1, b"x")):
        with pytest.raises(FrameError):
            feed(Decoder(max_frame=4096), data)


@pytest.mark.parametrize("size", [11, 200, 50_000])
def test_more_than_announced(size):
    """A chunk that goes beyond the announcement is refused, at once."""
    decoder = Decoder(max_message=1 << 20)
    feed(decoder, long_header(Kind.DATA, 0, 0, 1, 10) + frame(Kind.CHUNK, 0, 1, bytes(3)))
    with pytest.raises(FrameError, match="stream 1 sent more bytes than it announced"):
        feed(decoder, HEADER.pack(size - 3, Kind.CHUNK, 0, 0, 1))


@pytest.mark.parametrize(
    "data",
    [
        frame(0),
        frame(max(Kind) + 1),
        frame(255),
        frame(Kind.DATA, 16),
        frame(Kind.DATA, 0x80),
        frame(Kind.PING, LONG, 0, bytes(8)),
        frame(Kind.CHUNK, LONG, 1, bytes(8)),
        frame(Kind.DATA, LONG, 1, bytes(7)),
        frame(Kind.DATA, LONG, 1, bytes(9)),
        frame(Kind.DATA, LONG, 1, b""),
        frame(Kind.DATA, LONG, 1, bytes(40_000)),
        long_header(Kind.DATA, 0, 0, 1, 0),
        long_header(Kind.CANCEL, 0, 0, 1, 10),
        long_header(Kind.DATA, 0, 0, 1, 9) + long_header(Kind.DATA, 0, 0, 1, 9),
    ],
)
def test_refused(data):
    """Kinds and flags we do not know, and announcements that announce nothing, are refused."""
    with pytest.raises(FrameError):
        feed(Decoder(max_message=1 << 20), data)


# --- messages that never end ------------------------------------------------------------


@pytest.mark.parametrize("kind", [Kind.CANCEL, Kind.ERROR, Kind.REJECT])
def test_a_message_cut_off_is_dropped(kind):
    """CANCEL, ERROR and REJECT drop the arrived part; late chunks are discarded."""
    decoder = Decoder(max_message=100)
    feed(decoder, long_header(Kind.REQUEST, 0, 0, 1, 100) + frame(Kind.CHUNK, 0, 1, bytes(60)))
    assert decoder._reserved == 100
    assert [got.kind for got in feed(decoder, frame(kind, FINAL, 1))] == [kind]
    assert decoder._reserved == 0
    assert feed(decoder, frame(Kind.CHUNK, 0, 1, bytes(40))) == []
    feed(decoder, long_header(Kind.REQUEST, 0, 0, 3, 100))
    assert feed(decoder, frame(Kind.CHUNK, 0, 3, b"y" * 100))[0].payload == b"y" * 100
    assert decoder._reserved == 0


def test_other_streams_keep_their_partials():
    """A CANCEL drops its own stream's message only."""
    decoder = Decoder(max_message=100)
    feed(decoder, long_header(Kind.DATA, 0, 0, 1, 50) + long_header(Kind.DATA, 0, 0, 2, 50))
    feed(decoder, frame(Kind.CANCEL, FINAL, 1))
    assert decoder._reserved == 50
    assert feed(decoder, frame(Kind.CHUNK, 0, 2, bytes(50)))[0].stream == 2
    assert decoder._reserved == 0


def test_forgotten_between_chunks():
    """`forget` drops the arrived part, and the rest of the message is discarded."""
    decoder = Decoder(max_message=100)
    feed(decoder, long_header(Kind.RESPONSE, 0, 0, 1, 100) + frame(Kind.CHUNK, 0, 1, bytes(50)))
    decoder.forget(1)
    decoder.forget(1)
    decoder.forget(2)
    assert decoder._reserved == 0
    assert feed(decoder, frame(Kind.CHUNK, 0, 1, bytes(50))) == []


def test_forgotten_within_a_chunk():
    """A message forgotten while its last chunk is read in place is not delivered."""
    decoder = Decoder(max_message=1 << 20)
    chunk = frame(Kind.CHUNK, 0, 1, bytes(1 << 19))
    feed(decoder, long_header(Kind.RESPONSE, 0, 0, 1, 1 << 19) + chunk[:1000])
    decoder.forget(1)
    assert decoder._reserved == 0
    assert feed(decoder, chunk[1000:]) == []
    assert feed(decoder, frame(Kind.PING)) == [Frame(Kind.PING, 0, 0, 0, b"")]


def test_a_stream_forgotten_may_announce_again():
    """An announcement after `forget` begins a new message, even while an old chunk is read."""
    decoder = Decoder(max_message=1 << 20)
    chunk = frame(Kind.CHUNK, 0, 1, b"a" * (1 << 19))
    feed(decoder, long_header(Kind.DATA, 0, 0, 1, 1 << 19) + chunk[:500])
    decoder.forget(1)
    feed(decoder, chunk[500:] + long_header(Kind.DATA, FINAL, 0, 1, 4))
    assert feed(decoder, frame(Kind.CHUNK, 0, 1, b"bbbb")) == [
        Frame(Kind.DATA, FINAL, 0, 1, b"bbbb")
    ]


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(["announce", "chunk", "cancel", "forget"]), st.integers(1, 4)),
        max_size=60,
    )
)
def test_reserved_room_is_that_of_unfinished_messages(steps):
    """However messages begin, end and are dropped, the count of held bytes stays right."""
    decoder = Decoder(max_message=1000)
    left: dict[int, int] = {}
    for step, stream in steps:
        if step == "announce" and stream not in left:
            feed(decoder, long_header(Kind.DATA, 0, 0, stream, 200))
            left[stream] = 200
        elif step == "chunk":
            got = feed(decoder, frame(Kind.CHUNK, 0, stream, bytes(50)))
            if stream in left:
                left[stream] -= 50
                assert len(got) == (left[stream] == 0)
                if not left[stream]:
                    del left[stream]
            else:
                assert not got
        elif step == "cancel":
            assert len(feed(decoder, frame(Kind.CANCEL, FINAL, stream))) == 1
            left.pop(stream, None)
        elif step == "forget":
            decoder.forget(stream)
            left.pop(stream, None)
        assert decoder._reserved == 200 * len(left)
