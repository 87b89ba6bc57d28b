"""Options of deployments reach callers and replicas in other processes, and change in place.

Shown by a stranger's cache of answers (tests/foreign_plugin_cache).
"""

from __future__ import annotations

import os
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from tests.integration.instance import Instance

from alacarte import serve
from alacarte.testing import wait_until

pytest.importorskip("answer_cache", reason="nox -s integration installs tests/foreign_plugin_cache")


@serve.deployment(ray_actor_options={"num_cpus": 0})
class Counter:
    """Says how often it was asked, and in which process."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, request: Request) -> str:
        self.asked += 1
        return f"{self.asked} {id(self)} {os.getpid()}"

    async def ask(self) -> str:
        self.asked += 1
        return f"{self.asked} {id(self)} {os.getpid()}"


@serve.deployment(ray_actor_options={"num_cpus": 0})
class Caller:
    """Calls from a replica."""

    def __init__(self, model: Any) -> None:
        self.model = model

    async def ask(self) -> str:
        return str(await self.model.ask.remote())


def test_an_option_is_switched_in_every_process_that_calls(here: Instance):
    """Proxy, driver and replica answer from their caches; without the option they ask again. The
    replica that runs stays."""

    def deploy(**options: Any) -> Any:
        return serve.run(Caller.bind(Counter.options(**options).bind()), name="inside")

    def deploy_front(**options: Any) -> Any:
        return serve.run(Counter.options(**options).bind(), name="front", route_prefix="/front")

    inside, front = deploy(cache={"ttl_s": 60}), deploy_front(cache={"ttl_s": 60})
    url = f"{here.url}/front"

    def asks() -> list[Any]:
        return [
            lambda: inside.ask.remote().result(timeout_s=60),
            lambda: front.ask.remote().result(timeout_s=60),
            lambda: httpx.get(url, timeout=60).raise_for_status().text,
        ]

    def is_cached(ask: Any) -> bool:
        return bool(ask() == ask())

    first = [ask() for ask in asks()]
    assert [is_cached(ask) for ask in asks()] == [True, True, True]
    deploy()
    deploy_front()
    wait_until(lambda: not any(is_cached(ask) for ask in asks()), 60)
    deploy(cache={"ttl_s": 60})
    deploy_front(cache={"ttl_s": 60})
    wait_until(lambda: all(is_cached(ask) for ask in asks()), 60)
    # The same object in the same process.
    assert [ask().split()[1:] for ask in asks()] == [words.split()[1:] for words in first]
    serve.delete("inside")
    serve.delete("front")
