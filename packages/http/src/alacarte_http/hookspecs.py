"""The hooks that this package brings."""

from __future__ import annotations

from alacarte.hookspecs import hookspec
from alacarte.types import ConfigSections, StagedLayer

from .layers import HttpLayer, HttpRoute

__all__ = ["CHECKS", "wrap_http"]

CHECKS = {"wrap_http": "alacarte_http._layer_check:check_http_layers"}
"""What `alacarte.testing.check_plugin` calls, given the hooks and the configuration."""


@hookspec
def wrap_http(
    route: HttpRoute, config: ConfigSections
) -> HttpLayer | StagedLayer[HttpLayer] | None:
    """Return a layer around the HTTP requests and WebSockets of `route`. HTTP proxy.

    Called once for each route and proxy process, and again where an application's deployments
    change; also for the proxy's own paths and for unmatched paths. When it raises, or returns
    something else, requests of that route are answered 500: a plugin that may be there for
    authentication fails closed.
    """
