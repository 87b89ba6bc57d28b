"""What processes that make calls tell the controller of the targets of a route."""

from __future__ import annotations

import bisect
import hashlib
import itertools
import math
from collections.abc import Sequence

from ..types import Route

__all__ = ["BUCKETS", "bucket_of", "quantile_s", "split_key"]

BUCKETS = 84
"""Of a histogram of times: from 50 µs to 50 s, and what lies beyond."""
_SHORTEST_S = 50e-6
_STEPS = 4
"""Buckets to each doubling: so a quantile is right to a tenth."""


def split_key(route: Route) -> str:
    """Return what tells one split from another: it changes with weights, and with code."""
    parts = [
        f"{kind} {target} {weight!r}"
        for kind, weights in (("target", route.targets), ("shadow", route.shadows))
        for target, weight in sorted(weights.items())
    ]
    parts += [f"version {target} {version}" for target, version in sorted(route.versions.items())]
    text = "\n".join([route.name, route.prefix, route.app, *parts])
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


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
