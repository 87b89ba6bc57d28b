"""The codec of Python values: pickle protocol 5 with large buffers out of band.

    count u32 | pickle size u32 | count × buffer size u64 | pickle | padding, buffer, …

Buffers start at multiples of 64 bytes from the beginning of the message, so an array that shares
the received bytes is aligned for NumPy.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
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
"""A buffer shorter than this is cheaper inside the pickle than out of band."""
_PLAIN = _HEAD.pack(0, 0)


def encode(value: object, offset: int = 0) -> list[Buffer]:
    """Return `value` as the pieces of one message; buffers of 16 KiB and more are not copied.

    The socket reads these buffers later: do not change an array before its reply has arrived.

    Args:
        value: Any value that pickles.
        offset: Bytes in front of the value in the message, for alignment.

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
    """Return the value that `encode` put into a message. Arrays share the message's memory.

    Unpickles, so only for bytes of an authenticated peer.

    Args:
        message: The whole message.
        offset: Position of the value in the message.
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
    except BaseException as error:  # a user's reduction may raise anything
        if is_interrupt(error):
            raise
        raise _refusal("a value cannot be unpickled", error) from None


def _refusal(fault: str, error: BaseException) -> ConfigError:
    return ConfigError(f"{fault}: {describe_error(error)}")


def _pickle(
    value: object, beside: Callable[[pickle.PickleBuffer], bool], buffers: list[memoryview]
) -> bytes:
    """Pickle with the C pickler, or with cloudpickle when the value needs it.

    Classes and functions of `__main__` must be pickled by value, since the receiver has another
    `__main__`; the C pickler would send their names.
    """
    try:
        data = pickle.dumps(value, protocol=5, buffer_callback=beside)
        if b"__main__" not in data:
            return data
    except BaseException as error:
        # A user's reduction may raise anything; cloudpickle decides.
        if is_interrupt(error):
            raise
    buffers.clear()
    try:
        return _code_pickler.dumps(value, beside)
    except BaseException as error:
        if is_interrupt(error):
            raise
        raise _refusal(f"{type(value).__qualname__} cannot be pickled", error) from error
