"""Batching of concurrent calls into one call with a list: `@serve.batch`."""

from __future__ import annotations

from ._decorator import Batched, batch
from .errors import BatchSizeError, ItemTooLargeError

__all__ = ["BatchSizeError", "Batched", "ItemTooLargeError", "batch"]
