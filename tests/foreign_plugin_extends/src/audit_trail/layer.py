"""Layer that records calls."""

from __future__ import annotations

from collections.abc import Sequence

from alacarte.types import Call, Layer, Reply, Service

from .types import AuditSink

__all__ = ["note_calls"]


def note_calls(sinks: Sequence[AuditSink]) -> Layer:
    """Write the method of each call to every sink."""

    def wrap(service: Service) -> Service:
        async def serve(call: Call) -> Reply:
            for sink in sinks:
                sink.write(call.method)
            return await service(call)

        return serve

    return wrap
