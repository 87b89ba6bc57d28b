"""Hook implementations of alacarte-http."""

from __future__ import annotations

from types import ModuleType

from alacarte.hookspecs import hookimpl
from alacarte.types import ApiName, CallProtocol, ConfigSection, ConfigSections, NodeServiceSpec

__all__: list[str] = []


@hookimpl
def register_hooks() -> list[ModuleType]:
    from . import hookspecs

    return [hookspecs]


@hookimpl
def register_api() -> list[ApiName]:
    return [
        ApiName("ingress", "alacarte_http._replica.ingress:ingress"),
        ApiName("HTTPOptions", "alacarte_http.config:HTTPOptions"),
        ApiName("config.HTTPOptions", "alacarte_http.config:HTTPOptions"),
        ApiName("config.ProxyLocation", "alacarte_http.config:ProxyLocation"),
    ]


@hookimpl
def register_modules() -> list[str]:
    # Ray Serve imports this module, so its programs use it after a bare `import starlette`.
    return ["starlette.requests"]


@hookimpl
def register_config() -> list[ConfigSection]:
    foreground = {"access_log": "text"}
    return [ConfigSection("http", "alacarte_http.config:HTTPOptions", foreground=foreground)]


@hookimpl
def check_start(config: ConfigSections) -> None:
    if _enabled(config):
        from ._proxy.preflight import check_listening  # lazy: only the driver needs it

        check_listening(config.section("http"))


@hookimpl
def register_node_services() -> list[NodeServiceSpec]:
    return [
        NodeServiceSpec(
            "http",
            "alacarte_http._proxy.http_proxy:HttpProxy",
            serves_routes=True,
            enabled=_enabled,
            head_only=_head_only,
            processes=_processes,
        )
    ]


@hookimpl
def register_protocols() -> list[CallProtocol]:
    from ._call_protocols import HttpCalls, WebSocketCalls

    return [HttpCalls(), WebSocketCalls()]


def _enabled(config: ConfigSections) -> bool:
    return bool(config.section("http").location != "Disabled")


def _processes(config: ConfigSections) -> int:
    workers: int = config.section("http").workers
    return workers


def _head_only(config: ConfigSections) -> bool:
    return bool(config.section("http").location == "HeadOnly")
