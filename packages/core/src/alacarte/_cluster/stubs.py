"""Typed stubs of actors: objects that send the calls of a protocol's methods to an actor.

Only this module calls actors by method name.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from ..actors import ActorUnresponsive, CallTerms, terms_of
from .cluster_protocol import Actor

__all__ = ["RemoteCall", "Send", "make_stub", "timeout_of", "send", "stub"]

P = TypeVar("P")


@dataclass(frozen=True)
class RemoteCall:
    """A call of an actor's method.

    Attributes:
        arguments: Positional arguments, defaults included.
        timeout_s: Timeout of the answer in seconds, None for no timeout.
    """

    method: str
    terms: CallTerms
    arguments: tuple[object, ...] = field(repr=False)  # secrets among them
    timeout_s: float | None


Send = Callable[[RemoteCall], Coroutine[Any, Any, Any]]


async def send(actor: Actor, call: RemoteCall) -> Any:
    """Call an actor's method and return its result.

    Raises:
        ActorDied: The actor is gone, or dies before it answers.
        ActorUnresponsive: The actor has not answered within the call's timeout.
        Exception: The method raised it.
    """
    try:
        async with asyncio.timeout(call.timeout_s) as scope:
            return await actor.call(call.method, *call.arguments)
    except TimeoutError as error:
        if not scope.expired():
            raise
        raise ActorUnresponsive(
            f"{actor.name} has not answered {call.method!r} for {call.timeout_s:g} s"
        ) from error


def timeout_of(method: Callable[..., object]) -> float:
    """Return how long a caller waits for the answer of a protocol's method, in seconds."""
    terms = terms_of(method)
    assert terms is not None
    assert terms.timeout_s is not None
    return terms.timeout_s


# `Callable` and not `type`, which mypy wants to be a class that can be instantiated.
def stub(protocol: Callable[..., P], actor: Actor) -> P:
    """Return an object with a protocol's methods, each of which calls the actor.

    Args:
        protocol: A `Protocol` class whose methods all declare their terms with `remote`.
    """
    return make_stub(protocol, functools.partial(send, actor))


def make_stub(protocol: Callable[..., P], sender: Send) -> P:
    """Return an object with a protocol's methods, each of which hands its call to `sender`.

    Raises:
        TypeError: A method is not async, declares no terms, or cannot be called by position.
    """
    return cast(P, _stub_class(protocol)(sender))


class _Stub:
    def __init__(self, sender: Send) -> None:
        self._sender = sender


@functools.cache
def _stub_class(protocol: Callable[..., object]) -> type[_Stub]:
    methods = {
        name: _method(f"{protocol.__name__}.{name}", function)
        for name, function in inspect.getmembers(protocol, inspect.isfunction)
        if not name.startswith("_")
    }
    return type(f"{protocol.__name__}Stub", (_Stub,), methods)


def _method(qualname: str, function: Callable[..., object]) -> Callable[..., object]:
    terms = terms_of(function)
    if terms is None or not inspect.iscoroutinefunction(function):
        raise TypeError(f"{qualname}: it must be async and declare its terms with @remote.")
    signature = inspect.signature(function)
    kinds = {each.kind for each in signature.parameters.values()}
    if kinds != {inspect.Parameter.POSITIONAL_OR_KEYWORD}:
        raise TypeError(f"{qualname}: an actor's arguments are passed by position.")
    if terms.extended_by and terms.extended_by not in signature.parameters:
        raise TypeError(f"{qualname}: extended_by={terms.extended_by!r} names no argument.")

    @functools.wraps(function)
    def method(self: _Stub, *args: object, **kwargs: object) -> Coroutine[Any, Any, Any]:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        timeout_s = terms.timeout_s
        if timeout_s is not None and terms.extended_by:
            timeout_s += bound.arguments[terms.extended_by]
        return self._sender(RemoteCall(function.__name__, terms, bound.args[1:], timeout_s))

    return method
