"""What can go wrong with a batch, besides what the batched function itself raises."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from alacarte.errors import ServeError

__all__ = ["BatchSizeError", "ItemTooLargeError"]


@dataclass(eq=False)
class BatchSizeError(ServeError):
    """A batched function gave more or fewer results than it was given items.

    Every caller of the batch gets it, since no result can be told to be theirs.

    Attributes:
        function: Qualified name of the batched function.
        given: Items it was called with.
        returned: Results it returned, or yielded at once.
    """

    function: str
    given: int
    returned: int

    def __str__(self) -> str:
        return (
            f"{self.function}: {self.given} items in, {self.returned} results out; "
            f"a batched function gives one result for each item, in the same order."
        )


@dataclass(eq=False)
class ItemTooLargeError(ServeError, RuntimeError):
    """One item alone is larger than a batch may be, by `batch_size_fn`.

    Attributes:
        function: Qualified name of the batched function.
        size: What `batch_size_fn` says of a list of this item.
        limit: `max_batch_size`.
    """

    function: str
    size: Any
    limit: int

    def __str__(self) -> str:
        return (
            f"{self.function}: batch_size_fn gives {self.size} for this item alone, "
            f"max_batch_size is {self.limit}; raise it or split the item."
        )
