"""Hook implementations of this package. Other modules are imported on use."""

from __future__ import annotations

from alacarte.hookspecs import hookimpl
from alacarte.types import PolicyContext, PolicyFactory, RoutingPolicy

__all__: list[str] = []


@hookimpl
def register_routing_policies() -> list[PolicyFactory]:
    return [PolicyFactory("peak_ewma", _create, "peak_ewma.config:PeakEwmaParameters")]


def _create(context: PolicyContext) -> RoutingPolicy:
    from .policy import PeakEwma

    return PeakEwma(context)
