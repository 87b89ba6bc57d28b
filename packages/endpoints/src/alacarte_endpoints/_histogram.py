"""Histogram of times with logarithmic buckets. Pure."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence

__all__ = ["BUCKETS", "bucket_of", "quantile_s"]

BUCKETS = 84
"""Number of buckets: up to 50 µs, from 50 µs to 50 s, and longer."""
_SHORTEST_S = 50e-6
_STEPS = 4
"""Buckets per doubling of the time, for quantiles accurate to a tenth."""


def bucket_of(seconds: float) -> int:
    """Return the index of the bucket of a time."""
    if seconds <= _SHORTEST_S:
        return 0
    return min(int(_STEPS * math.log2(seconds / _SHORTEST_S)) + 1, BUCKETS - 1)


def quantile_s(buckets: Sequence[int], share: float) -> float:
    """Return the quantile of the times at `share`; 0.0 for an empty histogram."""
    total = sum(buckets)
    if not total:
        return 0.0
    bucket = bisect.bisect_left(list(itertools.accumulate(buckets)), share * total)
    # The geometric middle of the bucket.
    return float(_SHORTEST_S * 2 ** ((bucket - 0.5) / _STEPS))
