"""Hook implementations of this package. Other modules are imported on use."""

from __future__ import annotations

from alacarte.hookspecs import hookimpl
from alacarte.types import CallProtocol, ConfigSection, ConfigSections, NodeServiceSpec

__all__: list[str] = []


@hookimpl
def register_config() -> list[ConfigSection]:
    return [ConfigSection("grpc", "grpc_door.config:GrpcOptions")]


@hookimpl
def register_node_services() -> list[NodeServiceSpec]:
    def is_enabled(config: ConfigSections) -> bool:
        return config.section("grpc").port is not None

    target = "grpc_door.server:GrpcServer"
    return [NodeServiceSpec("grpc", target, serves_applications=True, enabled=is_enabled)]


@hookimpl
def register_protocols() -> list[CallProtocol]:
    from .protocol import BytesProtocol

    return [BytesProtocol()]
