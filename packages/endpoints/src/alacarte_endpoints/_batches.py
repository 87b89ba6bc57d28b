"""Batched methods (`@serve.accept_batch`) of a replica, with alacarte-batching."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from alacarte import serve
from alacarte.errors import ServeError

__all__ = ["Batches"]


class Batches:
    """The batched methods of one replica, each with its own queue.

    Args:
        backend: Tag of the backend, for errors.
    """

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._size = 1
        self._wait_s = 0.0
        self._methods: list[Any] = []

    def batched(
        self, name: str, method: Callable[[list[Any]], Awaitable[Any]]
    ) -> Callable[[Any], Awaitable[Any]]:
        """Return a function of one request, which returns the request's result in its batch."""
        qualified_name = f"{self._backend}.{name}"

        async def call(requests: list[Any]) -> object:
            return _check_sequence(qualified_name, await method(requests))

        call.__qualname__ = qualified_name  # for errors of the batching package
        batch = serve.batch(max_batch_size=self._size, batch_wait_timeout_s=self._wait_s)
        batched: Any = batch(call)
        self._methods.append(batched)
        return batched  # type: ignore[no-any-return]

    def resize(self, size: int, wait_s: float) -> None:
        """Set the maximum size of batches, and the time that a batch waits for requests."""
        self._size, self._wait_s = size, wait_s
        for method in self._methods:
            method.set_max_batch_size(size)
            method.set_batch_wait_timeout_s(wait_s)


def _check_sequence(subject: str, results: object) -> object:
    """Return the results of a batch where they are a sequence; batching checks their number."""
    is_sequence = hasattr(results, "__len__") and hasattr(results, "__getitem__")
    if isinstance(results, Mapping | str | bytes | bytearray) or not is_sequence:
        raise ServeError(
            f"{subject}: a function with @serve.accept_batch must return a sequence, such as a "
            f"list, with one result per request; it returned {type(results).__name__}."
        )
    return results
