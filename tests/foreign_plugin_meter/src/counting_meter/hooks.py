"""Hook implementations of this package. Other modules are imported on use."""

from __future__ import annotations

from alacarte.hookspecs import hookimpl
from alacarte.types import ConfigSection, ConfigSections, Meter

__all__: list[str] = []


@hookimpl
def register_config() -> list[ConfigSection]:
    return [ConfigSection("counting_meter", "counting_meter.config:CountingMeterOptions")]


@hookimpl
def make_meter(config: ConfigSections) -> Meter | None:
    if not config.section("counting_meter").enabled:
        return None
    from .meter import CountingMeter

    return CountingMeter()
