"""A histogram of times. Pure."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence

__all__ = ["BUCKETS", "bucket_of", "quantile_s"]

BUCKETS = 84
"""Of a histogram of times: from 50 µs to 50 s, and what lies beyond."""
_SHORTEST_S = 50e-6
_STEPS = 4
"""Buckets to each doubling: so a quantile is right to a tenth."""


def bucket_of(seconds: float) -> int:
    """Return the bucket for a time."""
    if seconds <= _SHORTEST_S:
        return 0
    return min(int(_STEPS * math.log2(seconds / _SHORTEST_S)) + 1, BUCKETS - 1)


def quantile_s(buckets: Sequence[int], share: float) -> float:
    """Return the time that this share of the calls did not exceed; 0.0 where there are none."""
    total = sum(buckets)
    if not total:
        return 0.0
    bucket = bisect.bisect_left(list(itertools.accumulate(buckets)), share * total)
    # In the middle of its bucket, as factors go.
    return float(_SHORTEST_S * 2 ** ((bucket - 0.5) / _STEPS))
