"""What a client asks of the proxy itself, in its request's headers. Pure."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from ._errors import Answer

__all__ = ["RequestOptions", "read_options"]

# Visible ASCII without quotes: an id goes into a response header and into logs.
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/@+=-]{1,128}")
_ID = b"x-request-id"
_TIMEOUT = b"x-request-timeout-seconds"
_SHARD = b"x-serve-shard-key"
_SESSION = b"x-session-id"
_STAY = b"x-request-disconnect-disabled"
_MAX_KEY_BYTES = 8 * 1024
"""Of a model's id or a routing key: both go into each frame's head, and into tables."""
# Ray Serve's name has underscores, which some servers before this one drop.
_MODELS = (b"serve_multiplexed_model_id", b"serve-multiplexed-model-id")
_NAMES = frozenset((_ID, _TIMEOUT, _SHARD, _SESSION, _STAY, *_MODELS))


class RequestOptions(NamedTuple):
    """What a request's headers say to the proxy.

    Attributes:
        request_id: The client's where it is harmless, else "": the proxy gives a new one.
        timeout_s: Time for the response to begin, None for as long as the server allows.
        model_id: Multiplexed model, "" for none.
        routing_key: What a split and a routing policy may hash, "" for none.
        survives_disconnect: Finish the request even when the client goes away; see
            `HTTPOptions.allow_disconnect_disabled`.
        refusal: The answer to a header that makes no sense, None for sensible ones.
    """

    request_id: str = ""
    timeout_s: float | None = None
    model_id: str = ""
    routing_key: str = ""
    survives_disconnect: bool = False
    refusal: Answer | None = None


_DEFAULT = RequestOptions()


def read_options(headers: list[tuple[bytes, bytes]]) -> RequestOptions:
    """Return what the headers of a request ask for."""
    found = {name: value for name, value in headers if name in _NAMES}
    if not found:
        return _DEFAULT
    given = found.get(_ID, b"")
    request_id = given.decode() if _REQUEST_ID.fullmatch(given) else ""
    if len(found) == 1 and _ID in found:
        return RequestOptions(request_id)
    for name, value in found.items():
        if len(value) > _MAX_KEY_BYTES and name != _ID:
            text = f"{name.decode()} has {len(value)} bytes; at most {_MAX_KEY_BYTES} are allowed."
            return RequestOptions(request_id, refusal=Answer(431, text))
    timeout_s, refusal = _timeout(found.get(_TIMEOUT))
    return RequestOptions(
        request_id,
        timeout_s,
        _text(found.get(_MODELS[0], found.get(_MODELS[1], b""))),
        _text(found.get(_SHARD) or found.get(_SESSION, b"")),
        found.get(_STAY) == b"?1",
        refusal,
    )


def _timeout(value: bytes | None) -> tuple[float | None, Answer | None]:
    if value is None:
        return None, None
    try:
        seconds = math.nan if b"_" in value else float(value)  # Python's 1_0 is nobody else's
    except ValueError:
        seconds = math.nan
    if math.isnan(seconds):
        text = f"{_TIMEOUT.decode()} is {_text(value)!r}: must be a number of seconds."
        return None, Answer(400, text)
    # Ray Serve's clients send 0 for no limit; the server's own holds all the same.
    return (seconds if seconds > 0 else None), None


def _text(value: bytes) -> str:
    return value.decode("latin-1")
