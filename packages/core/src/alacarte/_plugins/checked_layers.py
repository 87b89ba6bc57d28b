"""Checked layers: errors that name the plugin whose layer breaks the contract of layers."""

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
    layer: Layer | StagedLayer[Layer], origin: str, note: Note, note_call: Note
) -> Layer | StagedLayer[Layer]:
    """Return a layer whose failures are noted and raised as `PluginError`.

    Errors of the service inside, and a `ServeError` that the layer raises as its answer, are no
    failures of the layer.

    Args:
        layer: A plugin's layer.
        origin: The plugin and the hook, for errors.
        note: Takes the error when the layer fails to wrap a service.
        note_call: Takes the error when the wrapped service fails in a call.
    """
    if isinstance(layer, StagedLayer):
        return replace(layer, layer=_checked(layer.layer, origin, note, note_call))
    return _checked(layer, origin, note, note_call)


def _checked(layer: object, origin: str, note: Note, note_call: Note) -> Layer:
    if not callable(layer):
        note(TypeError(f"it returned the layer {layer!r}, which cannot be called"))
        raise PluginError(f"{origin} returned the layer {layer!r}, which cannot be called.")

    @functools.wraps(layer)
    def wrap(service: Service) -> Service:
        try:
            wrapped: Any = layer(_marked(service))
            if not callable(wrapped):
                raise TypeError(f"it wrapped a service as {wrapped!r}, which cannot be called")
        except BaseException as error:  # foreign code
            if is_interrupt(error):
                raise
            note(error)
            raise PluginError(f"{origin}: the layer failed: {describe_error(error)}.") from error
        return _guarded(wrapped, origin, note_call)

    return wrap


def _guarded(service: Callable[[Call], Awaitable[object]], origin: str, note: Note) -> Service:
    async def serve(call: Call) -> Reply:
        try:
            reply = await service(call)
            if not isinstance(reply, Reply):
                raise TypeError(f"it answered a call with {reply!r} instead of a Reply")
        except (Exception, SystemExit) as error:  # foreign code
            if isinstance(error, ServeError) or _is_marked(error.__traceback__):
                raise
            note(error)
            raise PluginError(f"{origin}: the layer failed: {describe_error(error)}.") from error
        return reply

    return serve


def _marked(service: Service) -> Service:
    """Return a service that marks its errors, by a frame in their tracebacks, as its own."""

    def serve(call: Call) -> Awaitable[Reply]:
        if not isinstance(call, Call):
            raise TypeError(f"it passed on {call!r} instead of a Call")
        return _inside(service, call)

    return serve


async def _inside(service: Service, request: Call) -> Reply:
    return await service(request)


def _is_marked(traceback: TracebackType | None) -> bool:
    while traceback is not None:
        if traceback.tb_frame.f_code is _inside.__code__:
            return True
        traceback = traceback.tb_next
    return False
