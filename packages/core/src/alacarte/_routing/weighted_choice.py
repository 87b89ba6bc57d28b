"""The choice of a target by weight or by key. Pure.

Keys stick to their targets by weighted rendezvous hashing (Schindelhauer and Schomaker, "Weighted
distributed hash tables", 2005): when weights change, no more keys move than the change needs, and
none between targets whose weights stay in proportion.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

__all__ = ["pick_by_weight", "pick_by_key"]

_SCALE = 1 << 64


def pick_by_weight(weights: Sequence[float], draw: float) -> int:
    """Return the index of the target whose part of the interval from 0 to 1 contains `draw`.

    Args:
        weights: Sum to 1, except for rounding; at least one is greater than 0.
    """
    last = 0
    for index, weight in enumerate(weights):
        if weight <= 0:
            continue
        draw -= weight
        if draw < 0:
            return index
        last = index
    return last  # the remainder of rounding


def pick_by_key(names: Sequence[str], weights: Sequence[float], key: str, salt: str) -> int:
    """Return the index of the target that a key belongs to, the same in every process.

    Args:
        names: Names of the targets, which decide; their order does not matter.
        weights: At least one is greater than 0.
        salt: Another salt distributes the keys differently, so that not every experiment meets
            the same users.
    """
    best, found = math.inf, 0
    for index, (name, weight) in enumerate(zip(names, weights, strict=True)):
        if weight <= 0:
            continue
        data = f"{salt}\0{name}\0{key}".encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(data, digest_size=8).digest()
        # Greater than 0, and at most 1.
        point = (int.from_bytes(digest) + 0.5) / _SCALE
        arrival = -math.log(point) / weight
        if arrival < best:
            best, found = arrival, index
    return found
