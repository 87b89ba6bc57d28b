"""Layers of plugins that name their plugin where they break the contract of a layer."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import TracebackType
from typing import Any

from ..errors import PluginError, ServeError
from ..foreign import describe_error, is_interrupt
from ..types import Call, Layer, Reply, Service, StagedLayer

__all__ = ["checked_layer"]

Note = Callable[[BaseException], None]


def checked_layer(
    given: Layer | StagedLayer[Layer], origin: str, note: Note, note_call: Note
) -> Layer | StagedLayer[Layer]:
    """Return the same layer, whose failures are noted and raised as a `PluginError`.

    What passes through the layer is no failure: the errors of the service inside, and a
    `ServeError` of the layer's own, which is its answer.

    Args:
        origin: The plugin and the hook, for errors.
        note: Takes the error where the layer makes no service of a service.
        note_call: Takes the error where that service fails in a call.
    """
    if isinstance(given, StagedLayer):
        return replace(given, layer=_checked(given.layer, origin, note, note_call))
    return _checked(given, origin, note, note_call)


def _checked(layer: Any, origin: str, note: Note, note_call: Note) -> Layer:
    if not callable(layer):
        note(TypeError(f"it returned the layer {layer!r}, which cannot be called"))
        raise PluginError(f"{origin} returned the layer {layer!r}, which cannot be called.")

    @functools.wraps(layer)
    def wrap(service: Service) -> Service:
        try:
            wrapped: Any = layer(_marked(service))
            if not callable(wrapped):
                raise TypeError(f"it made {wrapped!r} of a service, which cannot be called")
        except BaseException as error:  # foreign code
            if is_interrupt(error):
                raise
            note(error)
            raise PluginError(f"{origin}: the layer failed: {describe_error(error)}.") from error
        return _guarded(wrapped, origin, note_call)

    return wrap


def _guarded(service: Any, origin: str, note: Note) -> Service:
    async def call(request: Call) -> Reply:
        try:
            reply: Any = await service(request)
            if not isinstance(reply, Reply):
                raise TypeError(f"it answered a call with {reply!r}, which is no Reply")
        except (Exception, SystemExit) as error:  # foreign code
            if isinstance(error, ServeError) or _is_marked(error.__traceback__):
                raise
            note(error)
            raise PluginError(f"{origin}: the layer failed: {describe_error(error)}.") from error
        return reply

    return call


def _marked(service: Service) -> Service:
    """Let the traceback of an error show that the error came from inside of a layer."""

    def call(request: Call) -> Awaitable[Reply]:
        if not isinstance(request, Call):
            raise TypeError(f"it passes on {request!r}, which is no Call")
        return _inside(service, request)

    return call


async def _inside(service: Service, request: Call) -> Reply:
    return await service(request)


def _is_marked(traceback: TracebackType | None) -> bool:
    while traceback is not None:
        if traceback.tb_frame.f_code is _inside.__code__:
            return True
        traceback = traceback.tb_next
    return False
