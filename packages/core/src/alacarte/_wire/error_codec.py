"""The codec of errors: a JSON structure, followed by the pickled exception if it pickles.

    structure size u32 | structure (JSON) | pickled exception, or nothing

Core's own errors are rebuilt from the structure alone, so a process that unpickles nothing, such as
an HTTP proxy, can tell back pressure from a bug.
"""

from __future__ import annotations

import json
import pickle
import traceback
from collections.abc import Callable
from struct import Struct
from types import TracebackType
from typing import Any, TypeAlias

from .. import _code_pickler, errors
from ..errors import ErrorCode, InternalError, RemoteError, RequestError, ServeError
from ..types import Buffer
from .frames import FrameError

__all__ = [
    "ErrorDecoder",
    "RemoteTraceback",
    "encode_error",
    "rebuild_error",
    "unpickle_error",
    "user_traceback",
]

ErrorDecoder: TypeAlias = Callable[[Buffer], BaseException]
"""Decodes the errors of a connection: `rebuild_error` in a process that unpickles nothing, else
`unpickle_error`. Chosen when the connection is opened."""

_SIZE = Struct("<I")
_CORE_ERRORS: dict[str, type[ServeError]] = {
    kind.__name__: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, ServeError)
}
_TUPLE_ATTRIBUTES: dict[type[BaseException], list[str]] = {
    kind: [
        name
        for name, type_name in vars(kind).get("__annotations__", {}).items()
        if str(type_name).startswith("tuple")
    ]
    for kind in _CORE_ERRORS.values()
}
"""Names of the tuple attributes of core's errors, which JSON turns into lists."""
_TEXT_LIMIT = 64 * 1024
_BRIEF_LIMIT = 2048


class RemoteTraceback(Exception):
    """The traceback of an exception in its own process, shown as the cause of its copy here."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def user_traceback(error: BaseException) -> str:
    """Return the formatted traceback of an error, from the user's first frame on."""
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None and _is_internal(frames):
        frames = frames.tb_next
    # Only alacarte's outer frames are dropped; a chained cause keeps its frames.
    try:
        lines = traceback.format_exception(type(error), error, frames)
    except BaseException:  # formatting runs the exception's own methods
        lines = [*traceback.format_tb(frames), type(error).__name__]
    return "".join(lines)[-_TEXT_LIMIT:]


def encode_error(error: BaseException, *, brief: bool = False) -> bytes:
    """Return the message of an error. Never raises.

    Args:
        brief: Encode type, message and traceback only, in at most 64 KiB; the receiver gets a
            `RemoteError`.
    """
    kind = type(error)
    limit = _BRIEF_LIMIT if brief else _TEXT_LIMIT
    structure: dict[str, object] = {
        "type": f"{kind.__module__}.{kind.__qualname__}"[:512],
        "message": _message(error)[:limit],
        "traceback": user_traceback(error)[-limit:],
    }
    pickled = b""
    if not brief:
        if _CORE_ERRORS.get(kind.__name__) is kind:
            structure.update(_core_error_fields(error))
        else:
            pickled = _pickled(error)
            if isinstance(error, RequestError):
                structure["request_error"] = _request_error_fields(error)
    text = json.dumps(structure).encode()
    return _SIZE.pack(len(text)) + text + pickled


def rebuild_error(message: Buffer) -> BaseException:
    """Return the exception of a message without unpickling anything.

    Core's errors keep their types; any other exception becomes a `RemoteError`.

    Args:
        message: A message of `encode_error`.

    Raises:
        FrameError: The message is malformed.
    """
    return _read(message)[0]


def unpickle_error(message: Buffer) -> BaseException:
    """Return the exception of a message, of the user's own type if that type can be unpickled.

    Args:
        message: A message of `encode_error`, from an authenticated peer.

    Raises:
        FrameError: The message is malformed.
    """
    rebuilt, pickled = _read(message)
    if not pickled or not isinstance(rebuilt, RemoteError):
        return rebuilt
    try:
        error = pickle.loads(pickled)
    except BaseException:  # the class may be unknown here, and its code may raise anything
        return rebuilt
    # A future refuses StopIteration, which would end the generator that awaits the future.
    if not isinstance(error, Exception) or isinstance(error, StopIteration):
        return rebuilt
    # Not by plain assignment, which a frozen dataclass refuses.
    BaseException.__setattr__(error, "__cause__", RemoteTraceback(rebuilt.traceback))
    return error


def _read(message: Buffer) -> tuple[BaseException, Buffer]:
    """Return the exception that the structure describes, and the pickle behind the structure."""
    try:
        view = memoryview(message)
        (size,) = _SIZE.unpack_from(view)
        at = _SIZE.size
        structure = json.loads(bytes(view[at : at + size]))
        if structure.get("ours") in _CORE_ERRORS:
            return _rebuild_core_error(structure), b""
        arguments = structure["type"], structure["message"], structure["traceback"]
        fields = structure.get("request_error")
        if fields is None:
            rebuilt = RemoteError(*arguments)
        else:
            rebuilt = RemoteError(*arguments, *_read_request_error_fields(fields))
    except Exception as reason:  # a peer's bytes may be wrong in any way
        raise FrameError(f"an error that cannot be read: {reason!r}") from None
    return rebuilt, view[at + size :]


def _rebuild_core_error(structure: dict[str, Any]) -> BaseException:
    kind: type[ServeError] = _CORE_ERRORS[structure["ours"]]
    error = kind.__new__(kind)
    error.args = tuple(structure["args"])
    error.__dict__.update(structure["state"])
    for name in _TUPLE_ATTRIBUTES[kind]:
        error.__dict__[name] = tuple(error.__dict__[name])
    if "code" in error.__dict__:
        error.__dict__["code"] = ErrorCode(error.__dict__["code"])
    if kind is InternalError:
        error.__cause__ = RemoteTraceback(structure["traceback"])
    return error


def _request_error_fields(error: RequestError) -> list[object]:
    """Return code, client message and attributes of a plugin's error, for the ingress's answer."""
    try:
        attributes: dict[str, object] = {}
        for kind in reversed(type(error).__mro__):
            if issubclass(kind, RequestError):
                attributes.update(vars(kind))
        attributes.update(vars(error))
        plain = {
            name: _plain(value)
            for name, value in attributes.items()
            if isinstance(value, str | int | float | list | tuple | dict)
            and not name.startswith("_")
        }
        code, client_message = ErrorCode(error.code), str(error.client_message)[:_BRIEF_LIMIT]
        return [code, client_message, plain if len(json.dumps(plain)) <= _TEXT_LIMIT else {}]
    except BaseException:  # raised by the plugin's class
        return [ErrorCode.INTERNAL, "", {}]


def _read_request_error_fields(fields: list[Any]) -> tuple[ErrorCode, str, dict[str, object]]:
    code, client_message, attributes = fields
    return ErrorCode(code), str(client_message), dict(attributes)


def _pickled(error: BaseException) -> bytes:
    """Return the pickle of an error, or b"" if the error does not survive pickling.

    The pickle is loaded once, since a pickle that does not load would fail at the receiver.
    """
    try:
        data = _code_pickler.dumps(error)
        pickle.loads(data)
    except BaseException:  # a user's exception may raise anything, SystemExit included
        return b""
    return data


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # raised by the user's class
        return "(the message cannot be shown: str() of the error failed)"


def _core_error_fields(error: BaseException) -> dict[str, object]:
    """Return the fields of one of core's errors, or {} if they are not plain values."""
    kind = type(error)
    try:
        state, args = _plain(error.__dict__), _plain(list(error.args))
        is_whole = all(isinstance(state[name], list) for name in _TUPLE_ATTRIBUTES[kind])
    except BaseException:  # users may raise core's errors with arbitrary attributes
        return {}
    return {"ours": kind.__name__, "state": state, "args": args} if is_whole else {}


def _plain(value: object) -> Any:
    return json.loads(json.dumps(value, default=str))


def _is_internal(frames: TracebackType) -> bool:
    name = str(frames.tb_frame.f_globals.get("__name__", ""))
    # Sync user code is called by a frame of the thread pool.
    return name.partition(".")[0].startswith("alacarte") or name == "concurrent.futures.thread"
