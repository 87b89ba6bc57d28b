"""The errors of batching."""

from __future__ import annotations

from dataclasses import dataclass

from alacarte.errors import ServeError

__all__ = ["BatchSizeError", "ItemTooLargeError"]


@dataclass(eq=False)
class BatchSizeError(ServeError):
    """A batched function returned a different number of results than it got items.

    Raised at every caller of the batch, because no result can be assigned to an item.

    Attributes:
        function: Qualified name of the batched function.
        given: Number of items in the batch.
        returned: Number of results that the function returned, or yielded at once.
    """

    function: str
    given: int
    returned: int

    def __str__(self) -> str:
        return (
            f"{self.function} returned {count(self.returned, 'result')} for a batch of "
            f"{count(self.given, 'item')}; return one result per item, in the same order."
        )


@dataclass(eq=False)
class ItemTooLargeError(ServeError, RuntimeError):
    """A single item is larger than `max_batch_size`, by `batch_size_fn`.

    Attributes:
        function: Qualified name of the batched function.
        size: Result of `batch_size_fn` for a list with this item only.
        limit: The value of `max_batch_size`.
    """

    function: str
    size: float
    limit: int

    def __str__(self) -> str:
        return (
            f"{self.function}: batch_size_fn returned {self.size} for a single item, and "
            f"max_batch_size is {self.limit}; raise max_batch_size or split the item."
        )


def count(number: int, noun: str) -> str:
    """Return a number with its noun, such as "1 item" or "2 items"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
