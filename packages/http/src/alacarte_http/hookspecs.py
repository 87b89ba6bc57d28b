"""Hook specifications of alacarte-http."""

from __future__ import annotations

from alacarte.hookspecs import hookspec
from alacarte.types import ConfigSections, StagedLayer

from .layers import HttpLayer, HttpRoute

__all__ = ["CHECKS", "wrap_http"]

CHECKS = {"wrap_http": "alacarte_http._layer_check:check_http_layers"}
"""Checks that `alacarte.testing.check_plugin` runs for each hook of this package."""


@hookspec
def wrap_http(
    route: HttpRoute, config: ConfigSections
) -> HttpLayer | StagedLayer[HttpLayer] | None:
    """Return a layer around the HTTP requests and WebSockets of `route`. HTTP proxy.

    Called once for each route in each proxy process, again when the application's deployments
    change, and also for the proxy's own paths and for unmatched paths. When it raises or
    returns another type, requests of that route get 500: a layer that may authenticate requests
    fails closed.
    """
