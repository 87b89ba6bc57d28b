"""Tracebacks of the facade: the user's line, then the error, without our frames in between."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ..errors import InternalError, ServeError

__all__ = ["short_traceback"]

P = ParamSpec("P")
T = TypeVar("T")


def short_traceback(function: Callable[P, T]) -> Callable[P, T]:
    """Let errors of ours begin here. How a call came to the controller and back tells nobody."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except InternalError:
            raise  # a bug of ours: every frame counts
        except ServeError as error:
            raise error.with_traceback(None)  # noqa: B904  its cause stays as it is

    return call
