"""The check of a plugin's `wrap_http` in `check_plugin`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from alacarte.errors import PluginError
from alacarte_http._layer_check import check_http_layers
from alacarte_http.layers import HttpRequest, HttpResponse, HttpService


class Hooks:
    """The hooks of one plugin."""

    def __init__(self, give: Callable[[Any], Any]) -> None:
        self._give = give

    def call(self, hook: str, **arguments: Any) -> list[tuple[str, Any]]:
        value = self._give(arguments["route"])
        return [] if value is None else [("mine", value)]

    def registered(self, hook: str) -> dict[str, Any]:
        return {}


def passing(service: HttpService) -> HttpService:
    return service


def nothing(service: HttpService) -> Any:
    return None


def raising(service: HttpService) -> HttpService:
    async def call(request: HttpRequest) -> HttpResponse:
        raise KeyError(request.route.kind)

    return call


def refused(route: Any) -> Any:
    raise PluginError("plugin mine: wrap_http returned 17.")


@pytest.mark.parametrize("give", [lambda route: None, lambda route: passing])
def test_a_sound_layer_passes(give: Callable[[Any], Any]):
    """A plugin passes with a valid layer and without a layer."""
    check_http_layers(Hooks(give), None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (refused, "returned 17"),
        (lambda route: nothing, "plugin mine: .*not a service"),
        (lambda route: raising if route.kind == "system" else None, "own paths: 'system'"),
    ],
)
def test_a_broken_layer_is_reported(give: Callable[[Any], Any], message: str):
    """A layer that fails for any kind of route fails the check."""
    with pytest.raises(AssertionError, match=message):
        check_http_layers(Hooks(give), None)  # type: ignore[arg-type]
