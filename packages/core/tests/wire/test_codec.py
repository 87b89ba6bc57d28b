"""Values as bytes: whole again at the other end, and arrays without a copy."""

import asyncio
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from alacarte._wire.codec import decode, encode
from alacarte.errors import ConfigError

from .support import join

LARGE = 1 << 14
"""From here a buffer travels beside the pickle."""


def through(value, offset=0):
    """Return a value encoded and decoded."""
    return decode(bytearray(bytes(offset) + join(encode(value, offset))), offset)


def same(left, right):
    if isinstance(left, np.ndarray):
        assert isinstance(right, np.ndarray)
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)
    elif isinstance(left, list | tuple):
        assert type(left) is type(right)
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            same(one, other)
    elif isinstance(left, dict):
        assert list(left) == list(right)
        for key in left:
            same(left[key], right[key])
    else:
        assert left == right
        assert type(left) is type(right)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.complex_numbers(allow_nan=False),
    st.frozensets(st.integers(), max_size=4),
)
arrays = st.one_of(
    npst.arrays(
        st.one_of(npst.integer_dtypes(), npst.floating_dtypes(), npst.boolean_dtypes()),
        npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
    ),
    st.builds(
        lambda size, order, salt: np.asarray(
            np.arange(size * 3, dtype="float32").reshape(size, 3) + salt, order=order
        ),
        st.integers(1000, 4000),
        st.sampled_from("CF"),
        st.integers(0, 9),
    ),
    st.builds(lambda size: np.arange(size, dtype="int64")[::2], st.integers(1000, 9000)),
    st.builds(
        lambda size: bytearray(range(256)) * (size // 256 + 1), st.integers(LARGE - 300, LARGE * 2)
    ),
)
values = st.recursive(
    st.one_of(scalars, arrays),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.text(max_size=5), st.integers()), inner, max_size=4),
    ),
    max_leaves=8,
)


@settings(max_examples=120)
@given(values, st.integers(0, 200))
def test_values_come_back(value, offset):
    """Nested values, with arrays of every kind in them, arrive as they were sent."""
    same(value, through(value, offset))


@settings(max_examples=40)
@given(st.lists(st.integers(LARGE, LARGE + 200), min_size=1, max_size=5), st.integers(0, 300))
def test_buffers_are_aligned(sizes, offset):
    """Every large buffer begins at a multiple of 64 bytes of the message."""
    sent = [np.full(size, number, dtype="uint8") for number, size in enumerate(sizes)]
    message = bytearray(bytes(offset) + join(encode(sent, offset)))
    base = np.frombuffer(message, dtype="uint8").ctypes.data
    for array, got in zip(sent, decode(message, offset), strict=True):
        np.testing.assert_array_equal(array, got)
        assert (got.ctypes.data - base) % 64 == 0
        assert got.flags.aligned


def test_arrays_are_not_copied_on_the_way_out():
    """The pieces of a message share the memory of the arrays in the value."""
    array = np.arange(100_000.0)
    pieces = encode({"x": [array]})
    views = [np.frombuffer(piece, dtype="uint8") for piece in pieces if len(piece)]
    assert sum(np.shares_memory(view, array) for view in views) == 1
    assert sum(len(piece) for piece in pieces) < array.nbytes + 1000


def test_arrays_are_not_copied_on_the_way_in():
    """Decoded arrays share the message's memory, and are writable if the message is."""
    message = bytearray(join(encode(np.arange(100_000.0))))
    array = decode(message)
    assert np.shares_memory(array, np.frombuffer(message, dtype="uint8"))
    assert array.flags.writeable
    array[0] = 5
    assert not decode(bytes(message)).flags.writeable


def test_an_array_sent_read_only_arrives():
    """Arrays that may not be written to travel like others."""
    array = np.arange(10_000)
    array.flags.writeable = False
    np.testing.assert_array_equal(through(array), array)


def test_small_buffers_travel_within():
    """A buffer under 16 KiB is part of the pickle: one piece is sent."""
    assert len(encode(np.zeros(LARGE - 1, dtype="uint8"))) == 1
    assert len(encode(np.zeros(LARGE, dtype="uint8"))) > 1


def test_one_array_twice_arrives_once():
    """An array that a value holds twice is sent once and is one array at the other end."""
    array = np.zeros(LARGE, dtype="uint8")
    assert sum(len(piece) for piece in encode([array, array])) < 2 * LARGE
    left, right = through([array, array])
    assert np.shares_memory(left, right)


def test_part_of_a_message():
    """A value is found in a view that begins where the envelope ends."""
    message = bytearray(64) + bytearray(join(encode(np.arange(9999))))
    np.testing.assert_array_equal(decode(memoryview(message)[64:]), np.arange(9999))


# --- what plain pickle cannot do --------------------------------------------------------


ELSEWHERE = """
import sys
from alacarte._wire.codec import decode
point, zeros = decode(bytearray(sys.stdin.buffer.read()))
print(type(point).__name__, point.double().tolist(), len(zeros))
"""


def test_classes_of_main_travel_by_value(monkeypatch):
    """Classes of the sender's `__main__` work in a process with another `__main__`."""
    main = sys.modules["__main__"]
    point = type("Point", (), {"__module__": "__main__", "double": lambda self: self.x * 2})
    monkeypatch.setattr(main, "Point", point, raising=False)
    sent = point()
    sent.x = np.arange(3)
    pickle.dumps(sent)  # by name: plain pickle is content, and would be wrong
    message = join(encode((sent, np.zeros(LARGE))))
    there = subprocess.run([sys.executable, "-c", ELSEWHERE], input=message, capture_output=True)
    assert there.stdout.decode().strip() == f"Point [0, 2, 4] {LARGE}", there.stderr.decode()


def test_a_mention_of_main_is_only_slower():
    """A string that contains `__main__` arrives unchanged."""
    assert through(["__main__", b"__main__"]) == ["__main__", b"__main__"]


def test_functions_travel():
    """Closures and lambdas, which plain pickle refuses, arrive and work."""
    offset = 5
    array = np.arange(LARGE)
    function, got = through((lambda x: x + offset, array))
    assert function(1) == 6
    np.testing.assert_array_equal(got, array)


class Stubborn:
    def __reduce__(self):
        raise RuntimeError("keep your hands off me")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (threading.Lock(), "lock cannot be pickled"),
        (Stubborn(), "Stubborn cannot be pickled: RuntimeError: keep your hands off me"),
        ([np.zeros(LARGE), threading.Lock()], "list cannot be pickled: .*lock"),
        (pickle.PickleBuffer(memoryview(bytearray(9))[::2]), "PickleBuffer cannot be pickled"),
    ],
)
def test_unpicklable(value, message):
    """A value that cannot be sent is an error that names its type, and gives the reason."""
    with pytest.raises(ConfigError, match=message) as info:
        encode(value)
    assert info.value.__cause__ is not None


def test_endless():
    """A value nested beyond Python's patience is an error like others."""
    value = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ConfigError, match="list cannot be pickled"):
        encode(value)
    while value:
        value = value.pop()


class Deadly:
    """Raises SystemExit when it is pickled or unpickled."""

    def __init__(self, raises, when):
        self.raises = raises
        self.when = when

    def __reduce__(self):
        if self.when == "pickled":
            raise self.raises(3)
        return _raise, (self.raises,)


def _raise(kind):
    raise kind(3)


DEADLY = [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError]


def in_a_thread(function, *args):
    """Run a function as a replica does: not in the main thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args).result()


@pytest.mark.parametrize("raises", DEADLY)
def test_a_value_that_ends_the_program_when_pickled(raises):
    """Any exception of a reduction becomes the request's error, and ends no event loop."""
    with pytest.raises(ConfigError, match=f"Deadly cannot be pickled: {raises.__name__}"):
        in_a_thread(encode, Deadly(raises, "pickled"))


@pytest.mark.parametrize("raises", DEADLY)
def test_a_value_that_ends_the_program_when_unpickled(raises):
    """The same where a value arrives."""
    message = b"".join(encode(Deadly(raises, "unpickled")))
    with pytest.raises(ConfigError, match=f"cannot be unpickled: {raises.__name__}"):
        in_a_thread(decode, message)


@pytest.mark.parametrize("when", ["pickled", "unpickled"])
def test_ctrl_c_within_a_value(when):
    """Ctrl-C interrupts the main thread while a large value is pickled or unpickled."""
    with pytest.raises(KeyboardInterrupt):
        decode(b"".join(encode(Deadly(KeyboardInterrupt, when))))
