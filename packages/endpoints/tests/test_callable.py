from __future__ import annotations

import functools
from typing import Any

import pytest

from alacarte_endpoints import accept_batch
from alacarte_endpoints._callable import Traits, methods_of, traits_of


def plain(request: Any) -> None: ...


async def coroutine(request: Any) -> None: ...


@accept_batch
def batched(requests: list[Any]) -> list[Any]:
    return requests


class Parent:
    model = functools.partial(print)
    weights = functools.cached_property(lambda self: [1])

    def __init__(self) -> None:
        self.loaded = print

    async def __call__(self, request: Any) -> None: ...

    def explain(self, request: Any) -> None: ...

    def reconfigure(self, config: Any) -> None: ...

    def check_health(self) -> None: ...

    @property
    def size(self) -> int:
        raise AssertionError

    def _secret(self) -> None: ...


class Child(Parent):
    @accept_batch
    def predict(self, requests: list[Any]) -> list[Any]:
        return requests

    @staticmethod
    def version(request: Any) -> str:
        return "1"


def test_functions() -> None:
    """A function is async or sync, batched or not, and takes no user_config."""
    assert traits_of(plain) == Traits(False, False, False)
    assert traits_of(coroutine) == Traits(True, False, False)
    assert traits_of(batched) == Traits(False, True, False)
    assert batched([1]) == [1]


def test_classes() -> None:
    """`__call__` decides whether a class is async; one batched method makes it batched."""
    assert traits_of(Parent) == Traits(True, False, True)
    assert traits_of(Child) == Traits(True, True, True)
    assert traits_of(type("Empty", (), {})) == Traits(False, False, False)


def test_what_requests_may_call() -> None:
    """Requests can call public and inherited methods, but no special methods and no data."""
    assert list(methods_of(plain)) == ["__call__"]
    assert list(methods_of(Parent)) == ["__call__", "explain"]
    assert list(methods_of(Child)) == ["__call__", "explain", "predict", "version"]


@pytest.mark.parametrize("target", [Parent, 3, None])
def test_batches_are_for_functions(target: Any) -> None:
    """A class cannot be batched, since only a method takes the list."""
    with pytest.raises(TypeError, match="takes a function or a method"):
        accept_batch(target)
