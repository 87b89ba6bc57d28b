"""Hook implementations of this package. Other modules are imported on use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacarte.context import ReplicaContext
from alacarte.hookspecs import hookimpl
from alacarte.types import (
    Cleanup,
    Command,
    ConfigSection,
    ConfigSections,
    DeploymentInfo,
    Event,
    Layer,
    NodeServiceSpec,
    PolicyFactory,
    ProcessInfo,
    ReportTopic,
)

if TYPE_CHECKING:
    from .sums import Sums

__all__: list[str] = []


@hookimpl
def register_routing_policies() -> list[PolicyFactory]:
    from .policy import LeastRecentlyUsed

    return [PolicyFactory("least_recently_used", lambda context: LeastRecentlyUsed())]


@hookimpl
def register_commands() -> list[Command]:
    return [Command("hello-plugin", "Say hello from a plugin.", "stranger.command:command")]


@hookimpl
def register_config() -> list[ConfigSection]:
    return [ConfigSection("stranger", "stranger.config:StrangerOptions")]


@hookimpl
def register_report_topics() -> list[ReportTopic]:
    def create() -> Sums:
        from .sums import sums

        return sums

    return [ReportTopic("stranger.counts", create)]


@hookimpl
def register_node_services() -> list[NodeServiceSpec]:
    def is_enabled(config: ConfigSections) -> bool:
        return bool(config.section("stranger").notes)

    return [NodeServiceSpec("stranger.notes", "stranger.notes:Notes", enabled=is_enabled)]


@hookimpl
def wrap_caller(deployment: DeploymentInfo, config: ConfigSections) -> Layer | None:
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

    return count()


@hookimpl
def on_event(event: Event) -> None:
    from .observer import events

    events.append(event)


@hookimpl
def on_process(process: ProcessInfo) -> Cleanup:
    from .observer import processes

    processes.append((process.kind, "started"))

    async def stop() -> None:
        processes.append((process.kind, "stopping"))

    return stop


@hookimpl
def on_replica(replica: ReplicaContext) -> None:
    from .observer import replicas

    replicas.append((str(replica.deployment_id), type(replica.servable_object).__name__))
