"""Foreign code: loaded by its name, and kept from ending the event loop that runs it.

A task that raises SystemExit or KeyboardInterrupt stops its event loop, and with it everybody's
work. So code of users and plugins is called under `except BaseException`; these functions say
what to do with what was caught.
"""

from __future__ import annotations

import asyncio
import importlib
import threading
from typing import Any

from .errors import InternalError

__all__ = [
    "describe_error",
    "disarm_destructor",
    "is_cancellation",
    "is_interrupt",
    "load_target",
    "as_exception",
]


def load_target(target: str) -> Any:
    """Import what `module:attribute` names.

    Raises:
        ImportError: The module cannot be imported.
        AttributeError: The module has no such attribute.
    """
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def is_cancellation(error: BaseException) -> bool:
    """Return whether the current task is being cancelled: this error has to go on.

    A CancelledError that foreign code raises by itself, or gets from something else that was
    cancelled, is a failure like any other.
    """
    if not isinstance(error, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def is_interrupt(error: BaseException) -> bool:
    """Return whether this is Ctrl-C, which Python raises in the main thread, whatever runs there.

    A KeyboardInterrupt in another thread is foreign code's own.
    """
    return (
        isinstance(error, KeyboardInterrupt)
        and threading.current_thread() is threading.main_thread()
    )


def as_exception(error: BaseException) -> Exception:
    """Return an exception that may leave a task: `error` itself, or one that names it."""
    if isinstance(error, Exception):
        return error
    return InternalError(f"{describe_error(error)} was raised where only errors may be.")


def describe_error(error: BaseException) -> str:
    """Return an exception's type and text, whatever its own methods do."""
    name = type(error).__name__
    try:
        text = str(error)
    except BaseException:  # the user's `__str__`
        text = "(its text cannot be shown)"
    return f"{name}: {text}" if text else name


def disarm_destructor(instance: Any) -> None:
    """Keep the interpreter from running `__del__` again when the last reference goes.

    Only for this object: in the local cluster, replicas share the user's class. An object whose
    class cannot be changed or derived from stays as it is.
    """
    kind = type(instance)
    spent = {"__slots__": (), "__module__": kind.__module__, "__del__": _do_nothing}
    try:
        instance.__class__ = type(kind.__name__, (kind,), spent)
    except TypeError:  # as the docstring says
        pass


def _do_nothing(self: Any) -> None:
    """Stand in for a destructor that has run."""
