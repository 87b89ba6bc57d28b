"""The options of a batched function, validated. Pure."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

__all__ = ["Limits"]


class Limits:
    """The options of one batched function. Read at each decision, so that changes apply at once.

    Attributes:
        max_batch_size: Maximum number of items in a batch, or total size with `batch_size_fn`.
        batch_wait_timeout_s: Longest time that the first item of a batch waits, in seconds.
        max_concurrent_batches: Maximum number of concurrent batches.

    Raises:
        TypeError: A value is not a number of the right kind.
        ValueError: A value is out of range.
    """

    def __init__(
        self,
        max_batch_size: float = 10,
        batch_wait_timeout_s: float = 0.01,
        max_concurrent_batches: float = 1,
    ) -> None:
        self.set_max_batch_size(max_batch_size)
        self.set_batch_wait_timeout_s(batch_wait_timeout_s)
        self.max_concurrent_batches = _count("max_concurrent_batches", max_concurrent_batches)

    def set_max_batch_size(self, max_batch_size: float) -> None:
        """Change `max_batch_size` for batches that close from now on."""
        self.max_batch_size = _count("max_batch_size", max_batch_size)

    def set_batch_wait_timeout_s(self, batch_wait_timeout_s: float) -> None:
        """Change `batch_wait_timeout_s` for batches that open from now on."""
        self.batch_wait_timeout_s = _seconds("batch_wait_timeout_s", batch_wait_timeout_s)

    def get_max_batch_size(self) -> int:
        """Return `max_batch_size`, as Ray Serve's private getter does."""
        return self.max_batch_size

    def get_batch_wait_timeout_s(self) -> float:
        """Return `batch_wait_timeout_s`, as Ray Serve's private getter does."""
        return self.batch_wait_timeout_s


def _count(option: str, value: Any) -> int:
    # 10.0 is accepted, as in Ray Serve: numbers from YAML or JSON are often floats.
    whole = isinstance(value, Integral) or (isinstance(value, float) and value.is_integer())
    if not whole or isinstance(value, bool):
        raise TypeError(f"@serve.batch: {option} is {value!r}; it must be an integer, 1 or more.")
    if value < 1:
        raise ValueError(f"@serve.batch: {option} is {value!r}; it must be 1 or more.")
    return int(value)


def _seconds(option: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"@serve.batch: {option} is {value!r}; it must be a number, 0 or more.")
    seconds = float(value)
    if not 0 <= seconds < math.inf:
        raise ValueError(
            f"@serve.batch: {option} is {value!r}; it must be a finite number, 0 or more."
        )
    return seconds
