"""Batches of requests for methods with `@serve.accept_batch`, gathered by alacarte-batching."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from alacarte import serve
from alacarte.errors import ServeError

__all__ = ["Batches"]


class Batches:
    """The batched methods of one replica, each with a queue of its own.

    Args:
        backend: Its tag, for errors.
    """

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._size = 1
        self._wait_s = 0.0
        self._methods: list[Any] = []

    def batched(
        self, name: str, method: Callable[[list[Any]], Awaitable[Any]]
    ) -> Callable[[Any], Awaitable[Any]]:
        """Return what takes one request and returns its part of a batch's results."""
        whose = f"{self._backend}.{name}"

        async def call(requests: list[Any]) -> Any:
            return _ordered(whose, await method(requests))

        call.__qualname__ = whose  # errors of the batching package name it
        gather = serve.batch(max_batch_size=self._size, batch_wait_timeout_s=self._wait_s)
        found: Any = gather(call)
        self._methods.append(found)
        return found  # type: ignore[no-any-return]

    def resize(self, size: int, wait_s: float) -> None:
        """Change how large batches get, and how long they wait."""
        self._size, self._wait_s = size, wait_s
        for method in self._methods:
            method.set_max_batch_size(size)
            method.set_batch_wait_timeout_s(wait_s)


def _ordered(whose: str, results: Any) -> Any:
    """Return results that have an order; how many there must be, batching sees to."""
    has_order = hasattr(results, "__len__") and hasattr(results, "__getitem__")
    if isinstance(results, Mapping | str | bytes | bytearray) or not has_order:
        raise ServeError(
            f"{whose}: a function with @serve.accept_batch returns a list or another ordered "
            f"sequence, one result for each request; it returned a {type(results).__name__}."
        )
    return results
