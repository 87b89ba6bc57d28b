"""Envelopes: the fields of a call, in front of its payload."""

import dataclasses
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alacarte._wire.codec import decode, encode
from alacarte._wire.envelope import PAYLOAD_OFFSET, pack_envelope, unpack_envelope
from alacarte._wire.frames import BYPASS_LIMIT, FINAL, STREAMING, FrameError
from alacarte.errors import ConfigError
from alacarte.types import Call, Identity, NestedCalls

from .support import join

TEXTS = ("protocol", "method", "request_id", "app", "route", "model_id", "routing_key")
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


@settings(max_examples=150)
@given(st.fixed_dictionaries(dict.fromkeys(TEXTS, texts)), st.booleans(), st.binary(max_size=200))
def test_round_trip(fields, streaming, payload):
    """Every text, the flag and the payload arrive, and the payload lies at a multiple of 64."""
    envelope = pack_envelope(Call(payload=(payload,), streaming=streaming, **fields))
    assert len(envelope) % PAYLOAD_OFFSET == 0
    call = unpack_envelope(bytearray(envelope + payload), STREAMING if streaming else FINAL)
    for name, text in fields.items():
        assert getattr(call, name) == text
    assert call.streaming is streaming
    assert call.deadline is None
    assert call.body is None
    assert len(call.payload) == 1
    assert call.payload[0] == payload


def test_every_string_of_a_call_travels():
    """A field added to Call must not be forgotten here."""
    names = {field.name for field in dataclasses.fields(Call)}
    beside = {"payload", "body", "streaming", "deadline", "timeout_s", "bypass_limit"}
    # Whether it may run twice, and be copied, is for those to know who send it.
    assert names == {*TEXTS, *beside, "nested", "idempotent", "no_shadow", "identity"}


@given(st.text(max_size=30), st.dictionaries(st.text(max_size=9), st.text(max_size=9)))
def test_an_identity_travels(subject, claims):
    """Subject and claims arrive as they are, whatever characters they have."""
    call = Call("p", (b"",), routing_key="k", identity=Identity(subject, claims))
    got = unpack_envelope(pack_envelope(call), 0)
    assert (got.identity, got.routing_key) == (call.identity, "k")


@pytest.mark.parametrize("text", ["x", "{}", "[1]", '["a",1]', "null"])
def test_an_identity_that_is_none_is_no_envelope(text, monkeypatch):
    """A peer that writes something else is cut off, as for any frame that cannot be read."""
    monkeypatch.setattr(Identity, "encode", lambda self: text)
    message = pack_envelope(Call("p", (b"",), identity=Identity("a")))
    with pytest.raises(FrameError):
        unpack_envelope(message, 0)


def test_nested_calls_do_not_travel():
    """The nested calls of a call stay in its process; a copy of a call has none."""
    call = Call("p", (b"",))
    call.nested = NestedCalls()
    assert unpack_envelope(pack_envelope(call), 0).nested is None
    assert dataclasses.replace(call, deadline=None).nested is None


def test_beyond_the_limit_is_a_flag_of_the_frame():
    """No field of the envelope, which may come from a client, bypasses the limit."""
    message = pack_envelope(Call("p", (b"",), bypass_limit=True))
    assert not unpack_envelope(message, 0).bypass_limit
    assert unpack_envelope(message, BYPASS_LIMIT).bypass_limit


@pytest.mark.parametrize("timeout_s", [None, 0.25, 3.0, math.inf])
def test_the_timeout_travels(timeout_s):
    """The timeout arrives beside the remaining time, since errors name the timeout."""
    call = Call("p", (b"",), deadline=time.monotonic() + 0.1, timeout_s=timeout_s)
    got = unpack_envelope(pack_envelope(call), 0).timeout_s
    assert got == timeout_s or (timeout_s == math.inf and got is not None and got > 1e6)


@pytest.mark.parametrize("size", range(50, 70))
def test_texts_that_fill_the_envelope_exactly(size):
    """No padding is needed where the texts end at the boundary."""
    call = Call("p", (b"",), method="m" * size, routing_key="k")
    got = unpack_envelope(pack_envelope(call) + b"payload", 0)
    assert (got.method, got.routing_key, bytes(got.payload[0])) == (call.method, "k", b"payload")


def test_aligned_payloads_stay_aligned():
    """The payload is a view of the message, and aligned."""
    np = pytest.importorskip("numpy")
    call = Call("python", encode(np.arange(10_000)), method="method_of_odd_length")
    message = bytearray(pack_envelope(call) + join(call.payload))
    array = decode(unpack_envelope(message, 0).payload[0])
    raw = np.frombuffer(message, dtype="uint8")
    assert np.shares_memory(array, raw)
    assert (array.ctypes.data - raw.ctypes.data) % 64 == 0


# --- deadlines --------------------------------------------------------------------------


@pytest.mark.parametrize("left_s", [0.25, 5, 3600, 4_000_000])
def test_a_deadline_travels_as_remaining_time(left_s):
    """The remaining time arrives, to the millisecond; clocks of hosts are never compared."""
    before = time.monotonic()
    message = pack_envelope(Call("p", (b"",), deadline=before + left_s))
    deadline = unpack_envelope(message, 0).deadline
    assert before + left_s - 0.002 <= deadline <= time.monotonic() + left_s


@pytest.mark.parametrize("left_s", [0, -1, -1e9, 1e-9, -math.inf])
def test_an_expired_deadline_stays_one(left_s):
    """Time that has run out does not become no limit."""
    message = pack_envelope(Call("p", (b"",), deadline=time.monotonic() + left_s))
    assert unpack_envelope(message, 0).deadline <= time.monotonic() + 0.001


@pytest.mark.parametrize("left_s", [1e12, math.inf])
def test_a_deadline_beyond_all_days(left_s):
    """A deadline that the envelope cannot hold is weeks away at the other end, too."""
    message = pack_envelope(Call("p", (b"",), deadline=time.monotonic() + left_s))
    assert unpack_envelope(message, 0).deadline > time.monotonic() + 40 * 24 * 3600


# --- what cannot be sent ----------------------------------------------------------------


@pytest.mark.parametrize("name", TEXTS)
def test_nul_is_refused(name):
    """A NUL, which would shift the fields behind it, is refused."""
    with pytest.raises(ConfigError, match="NUL"):
        pack_envelope(Call(payload=(b"",), **{"protocol": "p", name: "a\0b"}))


@pytest.mark.parametrize("name", TEXTS)
def test_half_a_character_is_refused(name):
    """A lone surrogate, as undecodable names of files have, is not text."""
    with pytest.raises(ConfigError, match="UTF-8"):
        pack_envelope(Call(payload=(b"",), **{"protocol": "p", name: "a\udc80b"}))


def test_too_long_texts_are_refused():
    """All strings together may have 65,280 bytes; the error names the actual size."""
    longest = 65_280 - len("p") - 7
    call = Call("p", (b"",), method="", routing_key="k" * longest)
    assert unpack_envelope(pack_envelope(call), 0).routing_key == call.routing_key
    call.routing_key += "k"
    with pytest.raises(ConfigError, match="65281"):
        pack_envelope(call)


# --- garbage ----------------------------------------------------------------------------


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_call_or_an_error(data):
    """Nothing but FrameError is raised for bytes that are no envelope."""
    try:
        call = unpack_envelope(data, 0)
    except FrameError:
        return
    assert len(call.payload[0]) < len(data)


@pytest.mark.parametrize("keep", range(64))
def test_cut_off(keep):
    """An envelope without its end is refused."""
    with pytest.raises(FrameError):
        unpack_envelope(pack_envelope(Call("p", (b"",)))[:keep], 0)


@pytest.mark.parametrize(
    "data", [bytes(8) + b"\x02\0\xff\xff", bytes(8) + b"\x06\0a\0b\0c\0", bytes(8) + b"\0\0"]
)
def test_not_text(data):
    """Bytes that are not UTF-8, and texts that are too few, are refused."""
    with pytest.raises(FrameError, match="readable envelope"):
        unpack_envelope(data, 0)
