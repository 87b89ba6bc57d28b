"""Traits of a user's function or class: async or sync, batched, reconfigurable, its methods."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType
from typing import TypeVar

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
Function = TypeVar("Function", bound=Callable[..., object])


def accept_batch(function: Function) -> Function:
    """Call a backend's function, or a method of its class, with a list of requests.

    The function returns a sequence with one result per request: a list, a tuple, an array. The
    backend's options `max_batch_size` and `batch_wait_timeout` limit the size of a batch and the
    wait of its first request. Each method has its own batches, and runs one batch at a time.
    Requires alacarte-batching.

        @serve.accept_batch
        def double(requests):
            return [2 * int(request.query_params["number"]) for request in requests]

    Raises:
        TypeError: The argument is neither a function nor a method.
    """
    if not inspect.isroutine(function):
        raise TypeError(
            f"@serve.accept_batch takes a function or a method, not {function!r}; in a class, "
            "decorate __call__."
        )
    setattr(function, _MARK, True)
    return function


def accepts_batches(function: object) -> bool:
    """Return whether a function or method takes lists of requests."""
    return getattr(function, _MARK, False) is True


def is_async(function: object) -> bool:
    """Return whether a call of a function returns a coroutine."""
    return inspect.iscoroutinefunction(function)


@dataclass(frozen=True)
class Traits:
    """Traits of a backend's code, for clients that do not load the code.

    Attributes:
        is_async: Whether a coroutine function answers requests.
        accepts_batches: Whether the function, or a method of the class, takes lists of requests.
        reconfigures: Whether the class has a method `reconfigure`.
    """

    is_async: bool
    accepts_batches: bool
    reconfigures: bool


def traits_of(func_or_class: Callable[..., object]) -> Traits:
    """Return the traits of a function or class, without an instance of the class."""
    methods = methods_of(func_or_class)
    return Traits(
        is_async(methods.get(CALL)),
        any(accepts_batches(each) for each in methods.values()),
        inspect.isclass(func_or_class) and callable(getattr(func_or_class, "reconfigure", None)),
    )


def methods_of(func_or_class: Callable[..., object]) -> dict[str, object]:
    """Return the callables for requests by name: a function itself, or a class's public methods.

    Excludes special methods of backends and callables in instances, since any client can name a
    method.
    """
    if not inspect.isclass(func_or_class):
        return {CALL: func_or_class}
    found = {
        name: each
        for kind in reversed(func_or_class.__mro__)
        for name, each in vars(kind).items()
        # Not `isroutine`, which accepts all non-data descriptors.
        if isinstance(each, FunctionType | BuiltinFunctionType | staticmethod | classmethod)
        and (name == CALL or not (name.startswith("_") or name in _NOT_FOR_REQUESTS))
    }
    return dict(sorted(found.items()))
