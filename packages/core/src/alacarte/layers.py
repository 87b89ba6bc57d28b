"""Layers around calls: ours, and how they are put together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable

from .errors import DeadlineExceededError
from .types import Call, DeploymentId, Layer, Reply, Service

__all__ = ["compose", "deadline"]


def compose(service: Service, layers: Iterable[Layer]) -> Service:
    """Wrap `service` in `layers`, the first of them outermost."""
    for layer in reversed(list(layers)):
        service = layer(service)
    return service


def deadline(deployment: DeploymentId) -> Layer:
    """End a call whose `Call.deadline` passes before its reply begins, and cancel its work.

    Raises (from the service):
        DeadlineExceededError: The time is over.
    """

    def wrap(service: Service) -> Service:
        def call(request: Call) -> Awaitable[Reply]:
            # No coroutine of its own around each call that has no deadline.
            return service(request) if request.deadline is None else limited(request)

        async def limited(request: Call) -> Reply:
            assert request.deadline is not None
            limit = request.deadline - time.monotonic()
            try:
                # asyncio keeps time on the same clock, and `timeout_at` would take uvloop's,
                # which may lag behind by the length of a loop iteration.
                async with asyncio.timeout(max(limit, 0)) as scope:
                    return await service(request)
            except TimeoutError:
                if not scope.expired():
                    raise
                given = request.timeout_s
                # To the millisecond: it is for people, who gave a round number.
                told = round(max(limit, 0) if given is None else given, 3)
                raise DeadlineExceededError(str(deployment), told) from None

        return call

    return wrap
