"""Layers around calls: one at the caller, one in the replica."""

from __future__ import annotations

from collections import Counter

from alacarte.runtime import get_runtime
from alacarte.types import Call, Layer, Reply, Service

__all__ = ["count", "counts", "mark"]

counts: Counter[str] = Counter()
"""Calls that replicas of this process have run, by method."""


def mark(text: str) -> Layer:
    """Give each call a routing key, which the replica's code can read."""

    def wrap(service: Service) -> Service:
        async def call(request: Call) -> Reply:
            request.routing_key = text
            return await service(request)

        return call

    return wrap


def count() -> Layer:
    """Count a replica's calls by method, and report the counts to the controller."""
    here: Counter[str] = Counter()

    def wrap(service: Service) -> Service:
        async def call(request: Call) -> Reply:
            counts[request.method] += 1
            here[request.method] += 1
            get_runtime().report("stranger.counts", here)
            return await service(request)

        return call

    return wrap
