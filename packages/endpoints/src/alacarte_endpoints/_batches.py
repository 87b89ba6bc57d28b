"""Batched methods (`@serve.accept_batch`) of a replica, with alacarte-batching."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from alacarte import serve
from alacarte.errors import ServeError

__all__ = ["Batches"]


class Batched(Protocol):
    """A function of one request, batched by alacarte-batching."""

    def __call__(self, request: object, /) -> Awaitable[object]:
        """Return the result of a request, when its batch has run."""

    def set_max_batch_size(self, max_batch_size: int) -> None:
        """Set the maximum number of requests in a batch."""

    def set_batch_wait_timeout_s(self, batch_wait_timeout_s: float) -> None:
        """Set the time that a batch waits for requests, in seconds."""


class Batches:
    """The batched methods of one replica, each with its own queue.

    Args:
        backend: Tag of the backend, for errors.
    """

    def __init__(self, backend: str) -> None:
        self._backend = backend
        self._size = 1
        self._wait_s = 0.0
        self._methods: list[Batched] = []

    def batched(self, name: str, method: Callable[[list[object]], Awaitable[object]]) -> Batched:
        """Return a function of one request, which returns the request's result in its batch."""
        qualified_name = f"{self._backend}.{name}"

        async def call(requests: list[object]) -> object:
            return _check_sequence(qualified_name, await method(requests))

        call.__qualname__ = qualified_name  # for errors of the batching package
        batch = serve.batch(max_batch_size=self._size, batch_wait_timeout_s=self._wait_s)
        batched: Batched = batch(call)
        self._methods.append(batched)
        return batched

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
