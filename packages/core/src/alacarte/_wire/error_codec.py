"""Errors as bytes: a structure anyone can read, and the pickled exception where it pickles.

    structure size u32 | structure (JSON) | pickled exception, or nothing

Our own errors are rebuilt from the structure alone, so that a process that unpickles nothing, such
as an HTTP proxy, still tells back pressure from a bug.
"""

from __future__ import annotations

import json
import pickle
import traceback
from collections.abc import Callable
from struct import Struct
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
"""Reads the errors of a connection: `rebuild_error` where nothing is ever unpickled, or
`unpickle_error`. Whoever opens a connection says which."""

_SIZE = Struct("<I")
_OURS: dict[str, type[ServeError]] = {
    kind.__name__: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, ServeError)
}
_TUPLES: dict[type[BaseException], list[str]] = {
    kind: [
        name
        for name, type_name in vars(kind).get("__annotations__", {}).items()
        if str(type_name).startswith("tuple")
    ]
    for kind in _OURS.values()
}
"""The attributes of our own errors that are tuples: JSON knows lists only."""
_TEXT_LIMIT = 64 * 1024
_BRIEF_LIMIT = 2048


class RemoteTraceback(Exception):
    """The traceback of an exception where it was raised, shown as the cause of its copy here."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def user_traceback(error: BaseException) -> str:
    """Format a traceback from the user's own first frame."""
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None and _is_ours(frames):
        frames = frames.tb_next
    # A chained cause keeps its own frames; only the way through our code is left out.
    try:
        lines = traceback.format_exception(type(error), error, frames)
    except BaseException:  # its own methods are run for it
        lines = [*traceback.format_tb(frames), type(error).__name__]
    return "".join(lines)[-_TEXT_LIMIT:]


def encode_error(error: BaseException, *, brief: bool = False) -> bytes:
    """Return `error` as a message. Never raises.

    Args:
        brief: Only a short account of it, which arrives as a `RemoteError`: at most 64 KiB.
    """
    kind = type(error)
    limit = _BRIEF_LIMIT if brief else _TEXT_LIMIT
    structure: dict[str, Any] = {
        "type": f"{kind.__module__}.{kind.__qualname__}"[:512],
        "message": _text(error)[:limit],
        "traceback": user_traceback(error)[-limit:],
    }
    pickled = b""
    if not brief:
        if _OURS.get(kind.__name__) is kind:
            structure.update(_contents(error))
        else:
            pickled = _pickled(error)
            if isinstance(error, RequestError):
                structure["request_error"] = _facts(error)
    text = json.dumps(structure).encode()
    return _SIZE.pack(len(text)) + text + pickled


def rebuild_error(message: Buffer) -> BaseException:
    """Return the exception of a message without unpickling anything.

    Ours keep their types; of all others a `RemoteError` tells.

    Args:
        message: As `encode_error` made it.

    Raises:
        FrameError: The bytes are no such message.
    """
    return _read(message)[0]


def unpickle_error(message: Buffer) -> BaseException:
    """Return the exception of a message, of the user's own type where that is possible.

    Args:
        message: As `encode_error` made it, from an authenticated peer.

    Raises:
        FrameError: The bytes are no such message.
    """
    told, pickled = _read(message)
    if not pickled or not isinstance(told, RemoteError):
        return told
    try:
        error = pickle.loads(pickled)
    except BaseException:  # the class may be unknown here, and its code may raise anything
        return told
    # A future does not take StopIteration: it would end the generator that awaits it.
    if not isinstance(error, Exception) or isinstance(error, StopIteration):
        return told
    # Past the class: a frozen dataclass lets nobody set attributes.
    BaseException.__setattr__(error, "__cause__", RemoteTraceback(told.traceback))
    return error


def _read(message: Buffer) -> tuple[BaseException, Buffer]:
    """Return what the structure tells, and the pickle that follows."""
    try:
        view = memoryview(message)
        (size,) = _SIZE.unpack_from(view)
        at = _SIZE.size
        structure = json.loads(bytes(view[at : at + size]))
        if structure.get("ours") in _OURS:
            return _rebuilt(structure), b""
        texts = structure["type"], structure["message"], structure["traceback"]
        facts = structure.get("request_error")
        told = RemoteError(*texts) if facts is None else RemoteError(*texts, *_read_facts(facts))
    except Exception as reason:  # a peer's bytes may be wrong in any way
        raise FrameError(f"an error that cannot be read: {reason!r}") from None
    return told, view[at + size :]


def _rebuilt(structure: dict[str, Any]) -> BaseException:
    kind: type[ServeError] = _OURS[structure["ours"]]
    error = kind.__new__(kind)
    error.args = tuple(structure["args"])
    error.__dict__.update(structure["state"])
    for name in _TUPLES[kind]:
        error.__dict__[name] = tuple(error.__dict__[name])
    if "code" in error.__dict__:
        error.__dict__["code"] = ErrorCode(error.__dict__["code"])
    if kind is InternalError:
        error.__cause__ = RemoteTraceback(structure["traceback"])
    return error


def _facts(error: RequestError) -> list[Any]:
    """Return what an ingress answers a client by, of an error of a plugin's own type."""
    try:
        attributes: dict[str, Any] = {}
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
        code, told = ErrorCode(error.code), str(error.client_message)[:_BRIEF_LIMIT]
        return [code, told, plain if len(json.dumps(plain)) <= _TEXT_LIMIT else {}]
    except BaseException:  # of the plugin's making
        return [ErrorCode.INTERNAL, "", {}]


def _read_facts(facts: Any) -> tuple[ErrorCode, str, dict[str, Any]]:
    code, told, attributes = facts
    return ErrorCode(code), str(told), dict(attributes)


def _pickled(error: BaseException) -> bytes:
    """Pickle, and load it back: a pickle that does not load would only fail elsewhere."""
    try:
        data = _code_pickler.dumps(error)
        pickle.loads(data)
    except BaseException:  # user-made exceptions may refuse in any way, SystemExit among them
        return b""
    return data


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # of the user's making
        return "(its text cannot be shown)"


def _contents(error: BaseException) -> dict[str, Any]:
    """Return what one of our own errors is rebuilt from; nothing if it is not plain."""
    kind = type(error)
    try:
        state, args = _plain(error.__dict__), _plain(list(error.args))
        is_whole = all(isinstance(state[name], list) for name in _TUPLES[kind])
    except BaseException:  # users may raise ours, and put anything into them
        return {}
    return {"ours": kind.__name__, "state": state, "args": args} if is_whole else {}


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def _is_ours(frames: Any) -> bool:
    name = str(frames.tb_frame.f_globals.get("__name__", ""))
    # Between us and the user's sync code lies the pool that runs it.
    return name.partition(".")[0].startswith("alacarte") or name == "concurrent.futures.thread"
