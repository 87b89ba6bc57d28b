"""What a user's function or class is like, as far as serving it depends on it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType
from typing import Any, TypeVar

__all__ = [
    "CALL",
    "Traits",
    "accept_batch",
    "accepts_batches",
    "is_async",
    "methods_of",
    "traits_of",
]

CALL = "__call__"
_MARK = "_alacarte_accepts_batches"
_NOT_FOR_REQUESTS = ("check_health", "reconfigure")
Function = TypeVar("Function", bound=Callable[..., Any])


def accept_batch(function: Function) -> Function:
    """Give a backend's function, or a method of its class, a list of requests at a time.

    It returns an ordered sequence with one result for each request: a list, a tuple, an array.
    How many requests it is given at most, and how long the first of them waits for others, are
    options of the backend: `max_batch_size` and `batch_wait_timeout`. A batch holds requests for
    one method only, and each method works on one batch at a time. alacarte-batching must be
    installed.

        @serve.accept_batch
        def double(requests):
            return [2 * int(request.query_params["number"]) for request in requests]

    Raises:
        TypeError: It is neither a function nor a method.
    """
    if not inspect.isroutine(function):
        raise TypeError(
            f"@serve.accept_batch marks a function or a method, not {function!r}; of a class, "
            "mark __call__."
        )
    setattr(function, _MARK, True)
    return function


def accepts_batches(function: Any) -> bool:
    """Whether a function or method is to be given lists of requests."""
    return getattr(function, _MARK, False) is True


def is_async(function: Any) -> bool:
    """Whether a call of it gives a coroutine."""
    return inspect.iscoroutinefunction(function)


@dataclass(frozen=True)
class Traits:
    """What the client has to know of a backend's code, which it never loads again.

    Attributes:
        is_async: Requests are answered by a coroutine.
        accepts_batches: The function, or a method of the class, takes lists of requests.
        reconfigures: The class has a method `reconfigure`.
    """

    is_async: bool
    accepts_batches: bool
    reconfigures: bool


def traits_of(func_or_class: Callable[..., Any]) -> Traits:
    """Return what a function or class is like, without making an instance of it."""
    methods = methods_of(func_or_class)
    return Traits(
        is_async(methods.get(CALL)),
        any(accepts_batches(each) for each in methods.values()),
        inspect.isclass(func_or_class) and callable(getattr(func_or_class, "reconfigure", None)),
    )


def methods_of(func_or_class: Callable[..., Any]) -> dict[str, Any]:
    """Return what requests may call, by name: a function itself, or the public methods of a class.

    Not what is called for other reasons, nor what an instance happens to hold: a request comes
    from anywhere.
    """
    if not inspect.isclass(func_or_class):
        return {CALL: func_or_class}
    found = {
        name: each
        for kind in reversed(func_or_class.__mro__)
        for name, each in vars(kind).items()
        # Not `isroutine`, which takes whatever computes an attribute for a function.
        if isinstance(each, FunctionType | BuiltinFunctionType | staticmethod | classmethod)
        and (name == CALL or not (name.startswith("_") or name in _NOT_FOR_REQUESTS))
    }
    return dict(sorted(found.items()))
