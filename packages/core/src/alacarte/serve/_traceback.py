"""Short tracebacks of the facade: the user's line, then the error, without alacarte's frames."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from ..errors import InternalError, ServeError

__all__ = ["short_traceback"]

P = ParamSpec("P")
T = TypeVar("T")


def short_traceback(function: Callable[P, T]) -> Callable[P, T]:
    """Wrap a function of the facade: alacarte's errors begin at its frame, not below."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except InternalError:
            raise  # a bug of alacarte's: every frame counts
        except ServeError as error:
            raise error.with_traceback(None)  # noqa: B904  keeps the error's own cause

    return call
