"""Options for the proxy in a request's headers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacarte_http._request_options import read_options

TIMEOUT = b"x-request-timeout-seconds"


def test_without_any_of_these_headers():
    """Without option headers, all options have their defaults."""
    assert read_options([]) == read_options([(b"accept", b"*/*")])
    assert read_options([]) == ("", None, "", "", False, None)


@pytest.mark.parametrize("value", [b"abc-1", b"a" * 128, b"0/x:y=z@+."])
def test_a_harmless_request_id_is_kept(value: bytes):
    """A client's valid request id is kept."""
    assert read_options([(b"x-request-id", value)]).request_id == value.decode()


@given(st.binary(max_size=200))
def test_any_other_request_id_is_replaced(value: bytes):
    """An invalid request id becomes "", for which the proxy creates a new id."""
    request_id = read_options([(b"x-request-id", value), (b"x-session-id", b"s")]).request_id
    assert len(request_id) <= 128
    assert request_id.isascii()
    assert request_id == "" or request_id.isprintable()
    assert not set(" \"'\\<>&;") & set(request_id)


@pytest.mark.parametrize(("value", "timeout_s"), [(b"2.5", 2.5), (b"1e9", 1e9), (b"inf", math.inf)])
def test_a_time_limit(value: bytes, timeout_s: float):
    """The timeout header is a number of seconds."""
    assert read_options([(TIMEOUT, value)]).timeout_s == timeout_s


@pytest.mark.parametrize("value", [b"0", b"-1", b"-inf"])
def test_no_limit_of_the_clients_own(value: bytes):
    """A timeout of 0 or less, as Ray Serve's clients send, keeps the server's limit."""
    options = read_options([(TIMEOUT, value)])
    assert (options.timeout_s, options.refusal) == (None, None)


@pytest.mark.parametrize("value", [b"", b"soon", b"nan", b"1s", b"1_0", b"\xff"])
def test_a_limit_that_is_no_number(value: bytes):
    """An invalid timeout gets a response that names the header."""
    refusal = read_options([(TIMEOUT, value)]).refusal
    assert refusal is not None
    assert refusal.status == 400
    assert TIMEOUT.decode() in refusal.text


def test_model_session_and_staying():
    """The headers for model, session and survival are read, the model's in both spellings."""
    options = read_options(
        [
            (b"serve-multiplexed-model-id", b"m1"),
            (b"x-session-id", b"s1"),
            (b"x-request-disconnect-disabled", b"?1"),
        ]
    )
    assert (options.model_id, options.routing_key, options.survives_disconnect) == (
        "m1",
        "s1",
        True,
    )
    assert read_options([(b"serve_multiplexed_model_id", b"m2")]).model_id == "m2"
    assert not read_options([(b"x-request-disconnect-disabled", b"?0")]).survives_disconnect


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({b"x-serve-shard-key": b"k"}, "k"),
        ({b"x-session-id": b"s"}, "s"),
        ({b"x-session-id": b"s", b"x-serve-shard-key": b"k"}, "k"),
        ({b"x-serve-shard-key": b"k", b"x-session-id": b"s"}, "k"),
        ({b"x-serve-shard-key": b"", b"x-session-id": b"s"}, "s"),
        ({b"x-serve-shard-key": b"\xff\x00"}, "\xff\x00"),
    ],
)
def test_routing_keys(headers: dict[bytes, bytes], key: str):
    """The routing key is the shard key, or the session id without one."""
    assert read_options(list(headers.items())).routing_key == key
