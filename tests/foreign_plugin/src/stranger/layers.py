"""Layers around calls, at the caller and in the replica."""

from __future__ import annotations

from collections import Counter

from alacarte.runtime import get_runtime
from alacarte.types import Call, Layer, Reply, Service

__all__ = ["count", "counts", "mark"]

counts: Counter[str] = Counter()
"""Number of calls in the replicas of this process, by method."""


def mark(text: str) -> Layer:
    """Set the routing key of each call, which the replica's code can read."""

    def wrap(service: Service) -> Service:
        async def serve(call: Call) -> Reply:
            call.routing_key = text
            return await service(call)

        return serve

    return wrap


def count() -> Layer:
    """Count a replica's calls by method, and report the counts to the controller."""
    own_counts: Counter[str] = Counter()

    def wrap(service: Service) -> Service:
        async def serve(call: Call) -> Reply:
            counts[call.method] += 1
            own_counts[call.method] += 1
            get_runtime().report("stranger.counts", own_counts)
            return await service(call)

        return serve

    return wrap
