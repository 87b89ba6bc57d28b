"""What a REQUEST says about its call, in front of the call's own bytes.

    remaining ms u32 (0: no limit) | given ms u32 | size of texts u16 | texts | payload

The texts have NUL between them and are padded.

No pickle: every process can read it, whatever the call's protocol is.
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
_TEXTS = 8
PAYLOAD_OFFSET = 64
"""The payload begins at a multiple of this, so that what is aligned in it stays aligned."""
_MAX_MS = 0xFFFFFFFF


def pack_envelope(call: Call) -> bytes:
    """Return the envelope of a call.

    Raises:
        ConfigError: A text holds a NUL or half a character, or all of them together exceed
            64 KiB.
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
        texts = joined.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"a text of a call cannot be encoded as UTF-8: {error}") from None
    size = len(texts)
    if size > 0xFF00 or texts.count(0) != _TEXTS - 1:
        raise ConfigError(
            "method, request id, application, route, model id, routing key and identity of a call "
            f"must hold no NUL character and 65,280 bytes together; these hold {size}."
        )
    size += -(size + _HEAD.size) % PAYLOAD_OFFSET
    given = 0 if call.timeout_s is None else _milliseconds(call.timeout_s)
    return _HEAD.pack(_remaining_ms(call.deadline), given, size) + texts.ljust(size, b"\0")


def unpack_envelope(message: Buffer, flags: int) -> Call:
    """Return the call of a REQUEST; its payload is a view of `message`.

    Raises:
        FrameError: The bytes are not an envelope.
    """
    view = memoryview(message)
    try:
        remaining, given, size = _HEAD.unpack_from(view)
        end = _HEAD.size + size
        protocol, method, request_id, app, route, model_id, routing_key, identity, *_ = str(
            view[_HEAD.size : end], "utf-8"
        ).split("\0", _TEXTS)
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
        deadline=time.monotonic() + remaining / 1000 if remaining else None,
        timeout_s=given / 1000 if given else None,
        bypass_limit=bool(flags & BYPASS_LIMIT),
        identity=known,
    )


def _remaining_ms(deadline: float | None) -> int:
    """Milliseconds left, at least 1: 0 says there is no limit."""
    if deadline is None:
        return 0
    return _milliseconds(deadline - time.monotonic())


def _milliseconds(seconds: float) -> int:
    return int(min(max(seconds * 1000, 1), _MAX_MS))
