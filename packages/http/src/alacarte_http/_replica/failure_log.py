"""Log entries for exceptions of user code, with the traceback reduced to the user's frames."""

from __future__ import annotations

import inspect
import logging
import sysconfig
from types import TracebackType
from typing import Any

from alacarte.types import Call, UserCallable

__all__ = ["begin_at_user", "handler_name", "log_failure"]

log = logging.getLogger("alacarte.replica")
_MAX_FRAMES = 2
"""Innermost frames that are logged for an exception inside a framework."""
_ROUTERS = ("fastapi.routing", "starlette.routing")
_LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))

# Packages with frames between a replica and the user's code.
_MACHINERY = frozenset(
    ("alacarte", "alacarte_http", "anyio", "asyncio", "contextlib", "fastapi", "starlette")
)


def log_failure(
    user_callable: UserCallable, call: Call, error: Exception, endpoint: object = None
) -> None:
    """Log an exception of user code with a traceback that begins at the user's first frame.

    Args:
        endpoint: The function to which a framework routed the request. The log names it if the
            traceback does not, for example for a result that FastAPI cannot encode.
    """
    shown, location = begin_at_user(error), ""
    if endpoint is not None:
        frames = _router_frames(error)
        if frames and not any(map(_is_user, frames)):
            shown = error.with_traceback(frames[-_MAX_FRAMES:][0])
            location = f", in {handler_name(endpoint)}"
    log.error(
        "%s failed, request %s%s",
        user_callable.deployment,
        call.request_id,
        location,
        exc_info=shown,
    )


def begin_at_user(error: BaseException) -> BaseException:
    """Return the error with a traceback that begins at the user's first frame."""
    found: TracebackType | None = error.__traceback__
    while found is not None and _is_machinery(found):
        found = found.tb_next
    return error if found is None else error.with_traceback(found)


def handler_name(function: Any) -> str:
    """Return the name and the source line of a handler, for error messages."""
    found = inspect.unwrap(getattr(function, "__func__", function))
    name = str(getattr(found, "__qualname__", type(found).__qualname__))
    code = getattr(found, "__code__", None)
    return name if code is None else f"{name} ({code.co_filename}:{code.co_firstlineno})"


def _router_frames(error: BaseException) -> list[TracebackType]:
    """Return the frames from a framework's innermost router on, the innermost last."""
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
