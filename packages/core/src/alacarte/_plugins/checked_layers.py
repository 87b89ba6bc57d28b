"""Layers of plugins that name their plugin when they cannot be put around a service."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..errors import PluginError
from ..foreign import describe_error, is_interrupt
from ..types import Layer, Service, StagedLayer

__all__ = ["checked_layer"]


def checked_layer(
    given: Layer | StagedLayer[Layer], origin: str, note: Callable[[BaseException], None]
) -> Layer | StagedLayer[Layer]:
    """Return the same layer; one that makes no service of a service is named."""
    if isinstance(given, StagedLayer):
        return replace(given, layer=_checked(given.layer, origin, note))
    return _checked(given, origin, note)


def _checked(layer: Any, origin: str, note: Callable[[BaseException], None]) -> Layer:
    if not callable(layer):
        note(TypeError(f"it returned the layer {layer!r}, which cannot be called"))
        raise PluginError(f"{origin} returned the layer {layer!r}, which cannot be called.")

    @functools.wraps(layer)
    def wrap(service: Service) -> Service:
        try:
            wrapped: Any = layer(service)
            if not callable(wrapped):
                raise TypeError(f"it made {wrapped!r} of a service, which cannot be called")
        except BaseException as error:  # foreign code
            if is_interrupt(error):
                raise
            note(error)
            raise PluginError(f"{origin}: the layer failed: {describe_error(error)}.") from error
        served: Service = wrapped
        return served

    return wrap
