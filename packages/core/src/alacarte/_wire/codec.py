"""Python values as bytes: pickle 5 with large buffers beside it, not in it.

    count u32 | pickle size u32 | count × buffer size u64 | pickle | padding, buffer, …

Buffers start at multiples of 64 bytes from the beginning of the message, so that an array made on
the received bytes is aligned as NumPy likes it.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from struct import Struct
from typing import Any

from .. import _code_pickler
from ..errors import ConfigError
from ..foreign import describe_error, is_interrupt
from ..types import Buffer

__all__ = ["decode", "encode"]

_HEAD = Struct("<II")
_ALIGN = 64
_IN_BAND_BYTES = 1 << 14
"""A buffer shorter than this costs less inside the pickle than beside it."""
_PLAIN = _HEAD.pack(0, 0)


def encode(value: Any, offset: int = 0) -> list[Buffer]:
    """Return `value` as the pieces of one message; buffers of 16 KiB and more are not copied.

    They are sent as they are when the socket takes them: change an array you have sent only
    after its reply has come.

    Args:
        value: What to send.
        offset: Bytes that will stand in front, for alignment.

    Raises:
        ConfigError: The value cannot be pickled.
    """
    buffers: list[memoryview] = []

    def beside(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < _IN_BAND_BYTES:
            return True
        buffers.append(raw)
        return False

    data = _pickle(value, beside, buffers)
    if not buffers:
        return [_PLAIN + data]
    sizes = [buffer.nbytes for buffer in buffers]
    head = _HEAD.pack(len(buffers), len(data)) + Struct(f"<{len(sizes)}Q").pack(*sizes)
    pieces: list[Buffer] = [head + data]
    at = offset + len(pieces[0])
    for buffer in buffers:
        padding = -at % _ALIGN
        if padding:
            pieces.append(bytes(padding))
        pieces.append(buffer)
        at += padding + buffer.nbytes
    return pieces


def decode(message: Buffer, offset: int = 0) -> Any:
    """Return the value of a message that `encode` made. Arrays share the message's memory.

    Unpickles: only for bytes of an authenticated peer.

    Args:
        message: All of it, as received.
        offset: Where the value begins in the message.
    """
    view = memoryview(message)
    count, size = _HEAD.unpack_from(view, offset)
    at = offset + _HEAD.size
    if not count:
        return _load(view[at:])
    sizes = Struct(f"<{count}Q").unpack_from(view, at)
    at += 8 * count
    data = view[at : at + size]
    at += size
    buffers = []
    for length in sizes:
        at += -at % _ALIGN
        buffers.append(view[at : at + length])
        at += length
    return _load(data, buffers)


def _load(data: Buffer, buffers: Iterable[Buffer] = ()) -> Any:
    try:
        return pickle.loads(data, buffers=buffers)
    except Exception:
        raise
    except BaseException as error:  # a reduction the user wrote may raise anything
        if is_interrupt(error):
            raise
        raise _refusal("a value cannot be unpickled", error) from None


def _refusal(what: str, error: BaseException) -> ConfigError:
    return ConfigError(f"{what}: {describe_error(error)}")


def _pickle(value: Any, beside: Any, buffers: list[memoryview]) -> bytes:
    """Pickle with the fast C pickler where that is enough, else with cloudpickle.

    What is defined in `__main__` must travel by value, since the other side's `__main__` is
    another one; the plain pickler would send its name.
    """
    try:
        data = pickle.dumps(value, protocol=5, buffer_callback=beside)
        if b"__main__" not in data:
            return data
    except BaseException as error:
        # Any reduction the user wrote may raise anything; cloudpickle decides.
        if is_interrupt(error):
            raise
    buffers.clear()
    try:
        return _code_pickler.dumps(value, beside)
    except BaseException as error:
        if is_interrupt(error):
            raise
        raise _refusal(f"{type(value).__qualname__} cannot be pickled", error) from error
