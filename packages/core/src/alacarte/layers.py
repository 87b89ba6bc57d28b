"""Layers around calls: ours, their order, and how they are put together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TypeVar

from .errors import DeadlineExceededError, DeploymentUnavailableError, PluginError, ServeError
from .foreign import describe_error
from .types import Call, DeploymentId, Layer, LayerStage, Reply, Service, StagedLayer

__all__ = [
    "STAGES",
    "compose",
    "deadline",
    "drop_expired",
    "failing_service",
    "order_layers",
    "order_stages",
]

LayerT = TypeVar("LayerT", bound=Callable[..., object])

STAGES = ("authentication", "limits", "cache", "observation")
"""The stages of layers, the outermost first."""


def order_stages(added: Iterable[LayerStage]) -> tuple[str, ...]:
    """Return all stages, the outermost first: `STAGES`, and each added one after its neighbour.

    Stages that name the same neighbour stand in the order of their names.

    Raises:
        PluginError: A stage has the name of another one, or follows a stage that does not exist.
    """
    order = list(STAGES)
    # Backwards, since each is put directly after its neighbour.
    waiting = sorted(added, key=lambda stage: stage.name, reverse=True)
    for stage in waiting:
        if stage.name in STAGES or not stage.name:
            raise PluginError(f"layer stage {stage.name!r} exists already; choose another name.")
    while waiting:
        ready = [stage for stage in waiting if stage.after in order]
        if not ready:
            unknown = ", ".join(f"{each.name!r} after {each.after!r}" for each in waiting)
            raise PluginError(f"layer stages cannot be ordered: {unknown}; there are {order}.")
        for stage in ready:
            order.insert(order.index(stage.after) + 1, stage.name)
        waiting = [stage for stage in waiting if stage not in ready]
    return tuple(order)


def order_layers(
    given: Iterable[tuple[str, LayerT | StagedLayer[LayerT]]], stages: Sequence[str]
) -> list[StagedLayer[LayerT]]:
    """Return layers in the order in which they stand around a service, the outermost first.

    By stage, then by plugin name. Layers without a stage stand inside of all others.

    Args:
        given: Plugin names, each with a layer of that plugin.
        stages: As `order_stages` returns them.

    Raises:
        PluginError: A layer names a stage that does not exist.
    """
    places = {stage: place for place, stage in enumerate(stages)} | {"": len(stages)}
    placed: list[tuple[int, str, StagedLayer[LayerT]]] = []
    for plugin, layer in given:
        staged = layer if isinstance(layer, StagedLayer) else StagedLayer("", layer)
        if staged.stage not in places:
            raise PluginError(
                f"plugin {plugin} gives a layer of the stage {staged.stage!r}; there are "
                f"{list(stages)}."
            )
        placed.append((places[staged.stage], plugin, staged))
    return [staged for _, _, staged in sorted(placed, key=lambda each: each[:2])]


def compose(service: Service, layers: Iterable[Layer]) -> Service:
    """Wrap `service` in `layers`, the first of them outermost."""
    for layer in reversed(list(layers)):
        service = layer(service)
    return service


def failing_service(deployment: DeploymentId, reason: BaseException) -> Service:
    """Return a service that fails every call, for a deployment whose layers failed to build."""
    message = str(reason) if isinstance(reason, ServeError) else describe_error(reason)

    async def call(request: Call) -> Reply:
        error = DeploymentUnavailableError(
            str(deployment), f"a layer around its calls could not be built: {message}"
        )
        error.client_message = "The application is unavailable: a plugin around it failed."
        raise error

    return call


def drop_expired(deployment: DeploymentId) -> Layer:
    """Refuse a call whose `Call.deadline` has passed when it arrives. For replicas.

    Raises (from the service):
        DeadlineExceededError: The time was over before the call.
    """

    def wrap(service: Service) -> Service:
        def call(request: Call) -> Awaitable[Reply]:
            if request.deadline is not None and time.monotonic() >= request.deadline:
                raise DeadlineExceededError(str(deployment), request.timeout_s or 0.0)
            return service(request)

        return call

    return wrap


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
