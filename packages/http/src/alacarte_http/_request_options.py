"""The options for the proxy in a request's headers. Pure."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from ._local_response import LocalResponse

__all__ = ["RequestOptions", "read_options"]

# Visible ASCII without quotes, since the id goes into a response header and into logs.
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/@+=-]{1,128}")
_REQUEST_ID_HEADER = b"x-request-id"
_TIMEOUT = b"x-request-timeout-seconds"
_SHARD = b"x-serve-shard-key"
_SESSION = b"x-session-id"
_SURVIVES_DISCONNECT = b"x-request-disconnect-disabled"
_MAX_KEY_BYTES = 8 * 1024
"""Maximum size of a model id or a routing key: both go into each REQUEST's envelope and tables."""
# Ray Serve's name has underscores; some reverse proxies drop headers with underscores.
_MODELS = (b"serve_multiplexed_model_id", b"serve-multiplexed-model-id")
_NAMES = frozenset((_REQUEST_ID_HEADER, _TIMEOUT, _SHARD, _SESSION, _SURVIVES_DISCONNECT, *_MODELS))


class RequestOptions(NamedTuple):
    """The options for the proxy in a request's headers.

    Attributes:
        request_id: The client's id; "" without a valid one, and the proxy creates an id.
        timeout_s: Time for the response to begin, None for the server's limit.
        model_id: Multiplexed model, "" for none.
        routing_key: Key that a split or a routing policy may hash, "" for none.
        survives_disconnect: Finish the request even if the client disconnects; see
            `HTTPOptions.allow_disconnect_disabled`.
        refusal: The response to an invalid header, None if all are valid.
    """

    request_id: str = ""
    timeout_s: float | None = None
    model_id: str = ""
    routing_key: str = ""
    survives_disconnect: bool = False
    refusal: LocalResponse | None = None


_DEFAULT = RequestOptions()


def read_options(headers: list[tuple[bytes, bytes]]) -> RequestOptions:
    """Return the options in the headers of a request."""
    found = {name: value for name, value in headers if name in _NAMES}
    if not found:
        return _DEFAULT
    sent_id = found.get(_REQUEST_ID_HEADER, b"")
    request_id = sent_id.decode() if _REQUEST_ID.fullmatch(sent_id) else ""
    if len(found) == 1 and _REQUEST_ID_HEADER in found:
        return RequestOptions(request_id)
    for name, value in found.items():
        if len(value) > _MAX_KEY_BYTES and name != _REQUEST_ID_HEADER:
            text = f"Header {name.decode()} has {len(value)} bytes; the limit is {_MAX_KEY_BYTES}."
            return RequestOptions(request_id, refusal=LocalResponse(431, text))
    timeout_s, refusal = _timeout(found.get(_TIMEOUT))
    return RequestOptions(
        request_id,
        timeout_s,
        _text(found.get(_MODELS[0], found.get(_MODELS[1], b""))),
        _text(found.get(_SHARD) or found.get(_SESSION, b"")),
        found.get(_SURVIVES_DISCONNECT) == b"?1",
        refusal,
    )


def _timeout(value: bytes | None) -> tuple[float | None, LocalResponse | None]:
    if value is None:
        return None, None
    try:
        seconds = math.nan if b"_" in value else float(value)  # only Python reads 1_0 as 10
    except ValueError:
        seconds = math.nan
    if math.isnan(seconds):
        text = f"Header {_TIMEOUT.decode()} is {_text(value)!r}, but must be a number of seconds."
        return None, LocalResponse(400, text)
    # Clients of Ray Serve send 0 for no limit; the server's limit still applies.
    return (seconds if seconds > 0 else None), None


def _text(value: bytes) -> str:
    return value.decode("latin-1")
