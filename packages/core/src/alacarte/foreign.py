"""Loading of code of users and plugins, and handling of its exceptions.

A task that raises SystemExit or KeyboardInterrupt stops its event loop, and so all other tasks.
Therefore code of users and plugins is called under `except BaseException`; these functions classify
and convert the caught exceptions.
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
    """Import the object named by `module:attribute`.

    Raises:
        ImportError: The module cannot be imported.
        AttributeError: The module has no such attribute.
    """
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def is_cancellation(error: BaseException) -> bool:
    """Return whether the error cancels the current task, and must be raised again.

    A CancelledError that foreign code raises itself, or gets from another cancelled task, is an
    ordinary failure.
    """
    if not isinstance(error, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def is_interrupt(error: BaseException) -> bool:
    """Return whether the error is Ctrl-C, which Python raises in the main thread.

    Foreign code itself raises a KeyboardInterrupt in any other thread.
    """
    return (
        isinstance(error, KeyboardInterrupt)
        and threading.current_thread() is threading.main_thread()
    )


def as_exception(error: BaseException) -> Exception:
    """Return an `Exception` that a task may raise: `error`, or an InternalError that names it."""
    if isinstance(error, Exception):
        return error
    return InternalError(f"{describe_error(error)} is not a subclass of Exception.")


def describe_error(error: BaseException) -> str:
    """Return the type and text of an exception, even if its `__str__` raises."""
    name = type(error).__name__
    try:
        text = str(error)
    except BaseException:  # the user's `__str__`
        text = "(the message cannot be shown: str() of the error failed)"
    return f"{name}: {text}" if text else name


def disarm_destructor(instance: object) -> None:
    """Keep the interpreter from running `__del__` of this object again.

    Replaces the class of this object only, since replicas of the local cluster share the user's
    class. Does nothing for an object whose class cannot be replaced or subclassed.
    """
    kind = type(instance)
    spent = {"__slots__": (), "__module__": kind.__module__, "__del__": _do_nothing}
    try:
        instance.__class__ = type(kind.__name__, (kind,), spent)
    except TypeError:  # the class cannot be replaced or subclassed
        pass


def _do_nothing(self: object) -> None:
    """Replace a destructor that has run."""
