"""Layers around calls: core's layers, the order of layers, and their composition."""

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
"""The stages of layers, outermost first."""


def order_stages(added: Iterable[LayerStage]) -> tuple[str, ...]:
    """Return all stages, outermost first: `STAGES`, and each added stage after its `after`.

    Stages with the same `after` are ordered by name.

    Raises:
        PluginError: A stage has the name of an existing stage, or follows an unknown stage.
    """
    order = list(STAGES)
    # Reversed, since each stage is inserted directly after its `after`.
    waiting = sorted(added, key=lambda stage: stage.name, reverse=True)
    for stage in waiting:
        if stage.name in STAGES or not stage.name:
            raise PluginError(f"layer stage {stage.name!r} exists already; choose another name.")
    while waiting:
        ready = [stage for stage in waiting if stage.after in order]
        if not ready:
            unknown = ", ".join(f"{each.name!r} after {each.after!r}" for each in waiting)
            raise PluginError(f"layer stages follow unknown stages: {unknown}; known: {order}.")
        for stage in ready:
            order.insert(order.index(stage.after) + 1, stage.name)
        waiting = [stage for stage in waiting if stage not in ready]
    return tuple(order)


def order_layers(
    given: Iterable[tuple[str, LayerT | StagedLayer[LayerT]]], stages: Sequence[str]
) -> list[StagedLayer[LayerT]]:
    """Return layers in their order around a service, outermost first.

    By stage, then by plugin name. Layers without a stage are innermost.

    Args:
        given: Pairs of the name of a plugin and a layer of that plugin.
        stages: The result of `order_stages`.

    Raises:
        PluginError: A layer has an unknown stage.
    """
    ranks = {stage: rank for rank, stage in enumerate(stages)} | {"": len(stages)}
    ranked: list[tuple[int, str, StagedLayer[LayerT]]] = []
    for plugin, layer in given:
        staged = layer if isinstance(layer, StagedLayer) else StagedLayer("", layer)
        if staged.stage not in ranks:
            raise PluginError(
                f"plugin {plugin} returned a layer with the unknown stage {staged.stage!r}; known: "
                f"{list(stages)}."
            )
        ranked.append((ranks[staged.stage], plugin, staged))
    return [staged for _, _, staged in sorted(ranked, key=lambda each: each[:2])]


def compose(service: Service, layers: Iterable[Layer]) -> Service:
    """Wrap `service` in `layers`, the first layer outermost."""
    for layer in reversed(list(layers)):
        service = layer(service)
    return service


def failing_service(deployment: DeploymentId, reason: BaseException) -> Service:
    """Return a service that fails every call, for a deployment whose layers failed to build."""
    message = str(reason) if isinstance(reason, ServeError) else describe_error(reason)

    async def serve(call: Call) -> Reply:
        error = DeploymentUnavailableError(
            str(deployment), f"a layer around its calls could not be built: {message}"
        )
        error.client_message = "The application is unavailable: a plugin around it failed."
        raise error

    return serve


def drop_expired(deployment: DeploymentId) -> Layer:
    """Refuse calls that arrive after their `Call.deadline`. For replicas.

    Raises (from the service):
        DeadlineExceededError: The deadline had passed when the call arrived.
    """

    def wrap(service: Service) -> Service:
        def serve(call: Call) -> Awaitable[Reply]:
            if call.deadline is not None and time.monotonic() >= call.deadline:
                raise DeadlineExceededError(str(deployment), call.timeout_s or 0.0)
            return service(call)

        return serve

    return wrap


def deadline(deployment: DeploymentId) -> Layer:
    """Cancel calls whose `Call.deadline` passes before their replies begin.

    Raises (from the service):
        DeadlineExceededError: The deadline has passed.
    """

    def wrap(service: Service) -> Service:
        def serve(call: Call) -> Awaitable[Reply]:
            # Calls without a deadline do not pay for a coroutine.
            return service(call) if call.deadline is None else limited(call)

        async def limited(call: Call) -> Reply:
            assert call.deadline is not None
            limit = call.deadline - time.monotonic()
            try:
                # Not `timeout_at`: uvloop's clock may lag behind `time.monotonic` by a loop
                # iteration.
                async with asyncio.timeout(max(limit, 0)) as scope:
                    return await service(call)
            except TimeoutError:
                if not scope.expired():
                    raise
                given = call.timeout_s
                # Rounded to milliseconds, for the error's message.
                timeout_s = round(max(limit, 0) if given is None else given, 3)
                raise DeadlineExceededError(str(deployment), timeout_s) from None

        return serve

    return wrap
