"""What this package gives alacarte. Registration only: the rest is imported when it is used."""

from __future__ import annotations

from alacarte.hookspecs import hookimpl
from alacarte.types import PolicyFactory, PolicyPlace, RoutingPolicy

__all__: list[str] = []


@hookimpl
def register_routing_policies() -> list[PolicyFactory]:
    return [PolicyFactory("peak_ewma", _create, "peak_ewma.config:PeakEwmaParameters")]


def _create(place: PolicyPlace) -> RoutingPolicy:
    from .policy import PeakEwma

    return PeakEwma(place)
