"""What the replica's log says of an exception of the user's code: where it began, and in whose."""

from __future__ import annotations

import inspect
import logging
import sysconfig
from types import TracebackType
from typing import Any

from alacarte.types import Call, UserCallable

__all__ = ["begin_at_user", "handler_name", "log_failure"]

log = logging.getLogger("alacarte.replica")
_FRAMES = 2
"""Shown of a failure in a framework, the innermost."""
_ROUTERS = ("fastapi.routing", "starlette.routing")
_LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))

# Between a replica and the user's own frames lie these.
_MACHINERY = frozenset(
    ("alacarte", "alacarte_http", "anyio", "asyncio", "contextlib", "fastapi", "starlette")
)


def log_failure(served: UserCallable, call: Call, error: Exception, endpoint: Any = None) -> None:
    """Log an exception of the user's code, its traceback beginning there.

    Args:
        endpoint: The function that a framework has routed the request to. The log names it where
            the traceback does not, such as for a result that FastAPI cannot encode.
    """
    shown, place = begin_at_user(error), ""
    if endpoint is not None:
        frames = _routed(error)
        if frames and not any(map(_is_user, frames)):
            shown = error.with_traceback(frames[-_FRAMES:][0])
            place = f", in {handler_name(endpoint)}"
    log.error("%s failed, request %s%s", served.deployment, call.request_id, place, exc_info=shown)


def begin_at_user(error: BaseException) -> BaseException:
    """Let the traceback begin at the user's first frame, past the frameworks that call it."""
    found: TracebackType | None = error.__traceback__
    while found is not None and _is_machinery(found):
        found = found.tb_next
    return error if found is None else error.with_traceback(found)


def handler_name(function: Any) -> str:
    """Return a handler's name and line, for errors."""
    found = inspect.unwrap(getattr(function, "__func__", function))
    name = str(getattr(found, "__qualname__", type(found).__qualname__))
    code = getattr(found, "__code__", None)
    return name if code is None else f"{name} ({code.co_filename}:{code.co_firstlineno})"


def _routed(error: BaseException) -> list[TracebackType]:
    """Return the frames of what a framework's router has called, the innermost last."""
    frames: list[TracebackType] = []
    found = error.__traceback__
    while found is not None:
        if found.tb_frame.f_globals.get("__name__") in _ROUTERS:
            frames.clear()
        frames.append(found)
        found = found.tb_next
    return frames


def _is_user(frame: TracebackType) -> bool:
    file = frame.tb_frame.f_code.co_filename
    return not (_is_machinery(frame) or file.startswith((*_LIBRARIES, "<frozen")))


def _is_machinery(frame: TracebackType) -> bool:
    name = str(frame.tb_frame.f_globals.get("__name__", ""))
    return name.partition(".")[0] in _MACHINERY
