"""The order of layers: stages, from the outermost to the innermost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

LayerT = TypeVar("LayerT", bound=Callable[..., Any])


@dataclass(frozen=True)
class StagedLayer(Generic[LayerT]):
    """A layer and the stage that it stands in.

    Attributes:
        stage: `"authentication"`, `"limits"`, `"cache"`, `"observation"` (the outermost first), or
            a stage that a plugin registers; "" for inside of all stages.
        layer: The layer. Within a stage, layers stand in the order of their plugins' names.
        task_free: No coroutine of the layer depends on the task that it runs in: it may await the
            service and futures, but uses no `asyncio.timeout`, `TaskGroup` or `current_task`. Then
            a call needs no task of its own.
    """

    stage: str
    layer: LayerT
    task_free: bool = False


@dataclass(frozen=True)
class LayerStage:
    """A stage that a plugin adds.

    Attributes:
        name: As `StagedLayer.stage` gives it.
        after: The stage that stands around it.
    """

    name: str
    after: str
