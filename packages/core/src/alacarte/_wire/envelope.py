"""The envelope of a call: its fields, in front of its payload in a REQUEST.

    remaining ms u32 (0: no limit) | timeout ms u32 | size of strings u16 | strings | payload

The strings are separated by NUL and padded at the end. No pickle: processes that unpickle nothing
can read an envelope, whatever the call's protocol is.
"""

from __future__ import annotations

import time
from struct import Struct
from struct import error as StructError

from ..errors import ConfigError
from ..types import Buffer, Call, Identity
from .frames import BYPASS_LIMIT, STREAMING, FrameError

__all__ = ["PAYLOAD_OFFSET", "pack_envelope", "unpack_envelope"]

_HEAD = Struct("<IIH")
_NUM_STRINGS = 8
PAYLOAD_OFFSET = 64
"""The payload begins at a multiple of this, so that arrays in the payload stay aligned."""
_MAX_MS = 0xFFFFFFFF


def pack_envelope(call: Call) -> bytes:
    """Return the envelope of a call.

    Raises:
        ConfigError: A string contains NUL or a lone surrogate, or all strings together are longer
            than 65,280 bytes.
    """
    joined = "\0".join(
        (
            call.protocol,
            call.method,
            call.request_id,
            call.app,
            call.route,
            call.model_id,
            call.routing_key,
            "" if call.identity is None else call.identity.encode(),
        )
    )
    try:
        strings = joined.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"a string of a call cannot be encoded as UTF-8: {error}") from None
    size = len(strings)
    if size > 0xFF00 or strings.count(0) != _NUM_STRINGS - 1:
        raise ConfigError(
            "method, request id, application, route, model id, routing key and identity of a call "
            "must contain no NUL character and be at most 65,280 bytes long together; they have "
            f"{size} bytes."
        )
    size += -(size + _HEAD.size) % PAYLOAD_OFFSET
    timeout_ms = 0 if call.timeout_s is None else _milliseconds(call.timeout_s)
    return _HEAD.pack(_remaining_ms(call.deadline), timeout_ms, size) + strings.ljust(size, b"\0")


def unpack_envelope(message: Buffer, flags: int) -> Call:
    """Return the call in a REQUEST; its payload is a view of `message`.

    Raises:
        FrameError: The message has no valid envelope.
    """
    view = memoryview(message)
    try:
        remaining_ms, timeout_ms, size = _HEAD.unpack_from(view)
        end = _HEAD.size + size
        protocol, method, request_id, app, route, model_id, routing_key, identity, *_ = str(
            view[_HEAD.size : end], "utf-8"
        ).split("\0", _NUM_STRINGS)
        known = Identity.decode(identity) if identity else None
    except (ValueError, StructError) as error:
        raise FrameError(f"a request without a readable envelope: {error}") from None
    if end > len(view):
        raise FrameError("a request shorter than its envelope")
    return Call(
        protocol=protocol,
        payload=(view[end:],),
        method=method,
        streaming=bool(flags & STREAMING),
        request_id=request_id,
        app=app,
        route=route,
        model_id=model_id,
        routing_key=routing_key,
        deadline=time.monotonic() + remaining_ms / 1000 if remaining_ms else None,
        timeout_s=timeout_ms / 1000 if timeout_ms else None,
        bypass_limit=bool(flags & BYPASS_LIMIT),
        identity=known,
    )


def _remaining_ms(deadline: float | None) -> int:
    """Return the milliseconds until a deadline, at least 1; 0 without a deadline."""
    if deadline is None:
        return 0
    return _milliseconds(deadline - time.monotonic())


def _milliseconds(seconds: float) -> int:
    return int(min(max(seconds * 1000, 1), _MAX_MS))
