"""Stages of layers, from the outermost to the innermost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

LayerT = TypeVar("LayerT", bound=Callable[..., object])


@dataclass(frozen=True)
class StagedLayer(Generic[LayerT]):
    """A layer and its stage.

    Attributes:
        stage: `"authentication"`, `"limits"`, `"cache"`, `"observation"` (outermost first), or a
            stage that a plugin registers; "" for a position inside of all stages.
        layer: The layer. Within a stage, layers are ordered by the names of their plugins.
        task_free: Whether no coroutine of the layer depends on the task that it runs in: it may
            await the service and futures, but uses no `asyncio.timeout`, `TaskGroup` or
            `current_task`. Such layers save a task per call.
    """

    stage: str
    layer: LayerT
    task_free: bool = False


@dataclass(frozen=True)
class LayerStage:
    """A stage that a plugin adds.

    Attributes:
        name: The value of `StagedLayer.stage`.
        after: The next outer stage.
    """

    name: str
    after: str
