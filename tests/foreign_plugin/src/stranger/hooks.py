"""What this package gives alacarte. Registration only: the rest is imported when it is used."""

from __future__ import annotations

from alacarte.hookspecs import hookimpl
from alacarte.types import (
    Command,
    ConfigSection,
    ConfigSections,
    DeploymentId,
    Event,
    Layer,
    PolicyFactory,
)

__all__: list[str] = []


@hookimpl
def register_routing_policies() -> list[PolicyFactory]:
    from .policy import LeastRecentlyUsed

    return [PolicyFactory("least_recently_used", LeastRecentlyUsed)]


@hookimpl
def register_commands() -> list[Command]:
    return [Command("hello-plugin", "Say hello from a plugin.", "stranger.command:command")]


@hookimpl
def register_config() -> list[ConfigSection]:
    return [ConfigSection("stranger", "stranger.config:StrangerOptions")]


@hookimpl
def wrap_caller(deployment: DeploymentId, config: ConfigSections) -> Layer | None:
    section = config.section("stranger")
    if not section.layers:
        return None
    from .layers import mark

    return mark(f"{section.greeting} {deployment}")


@hookimpl
def wrap_replica(config: ConfigSections) -> Layer | None:
    if not config.section("stranger").layers:
        return None
    from .layers import count

    return count


@hookimpl
def on_event(event: Event) -> None:
    from .observer import events

    events.append(event)
