"""A stranger's cache of answers, switched on for one deployment, for handle and HTTP calls.

It lies in tests/foreign_plugin_cache; `nox -s contract` builds and installs it.
"""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from alacarte import serve
from alacarte.errors import ConfigError
from alacarte.testing import check_plugin, local_instance, wait_until

pytest.importorskip("answer_cache", reason="nox -s contract installs tests/foreign_plugin_cache")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def url() -> Iterator[str]:
    """The proxy of an instance on the local cluster."""
    with local_instance() as url:
        yield url


@serve.deployment(name="Counter", max_ongoing_requests=10)
class Counter:
    """Says how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, request: Request) -> Response:
        self.asked += 1
        headers = {"Cache-Control": "private"} if "private" in request.query_params else {}
        status = 404 if "missing" in request.query_params else 200
        return PlainTextResponse(str(self.asked), status, headers)

    async def ask(self, word: str) -> int:
        self.asked += 1
        if word == "wrong":
            raise ValueError(word)
        return self.asked

    async def count(self, to: int) -> Any:
        for number in range(to):
            self.asked += 1
            yield number


def get(address: str, **headers: str) -> tuple[str, str | None]:
    """Return the body of a response, and what the cache says of it."""
    request = urllib.request.Request(address, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.read().decode(), response.headers.get("X-Answer-Cache")


def test_it_keeps_the_rules():
    """As every plugin's first test says."""
    record = check_plugin("answer-cache", options={"cache": {"ttl_s": 5}})
    assert record.distribution == "answer-cache-for-alacarte"


def test_handle_calls_are_answered_from_the_cache(url):
    """The same method with the same arguments; another argument is another question."""
    handle = serve.run(Counter.options(cache={"ttl_s": 60}).bind())
    answers = [handle.ask.remote("a").result() for _ in range(3)]
    assert answers == [1, 1, 1]
    assert handle.ask.remote("b").result() == 2
    for _ in range(2):
        with pytest.raises(ValueError, match="wrong"):
            handle.ask.remote("wrong").result()
    assert handle.ask.remote("c").result() == 5
    stream = handle.options(stream=True).count
    assert list(stream.remote(2)) == list(stream.remote(2)) == [0, 1]
    assert handle.ask.remote("d").result() == 10


def test_http_requests_are_answered_from_the_cache(url):
    """`GET` by path and query, and only what may be shared."""
    serve.run(Counter.options(cache={"ttl_s": 60}).bind())
    assert [get(f"{url}/a"), get(f"{url}/a")] == [("1", None), ("1", "hit")]
    assert get(f"{url}/a?x") == ("2", None)
    assert get(f"{url}/a", Authorization="me") == ("3", None)
    assert get(f"{url}/a", **{"Cache-Control": "no-cache"}) == ("4", None)
    assert [get(f"{url}/?private"), get(f"{url}/?private")] == [("5", None), ("6", None)]
    for _ in range(2):
        with pytest.raises(urllib.request.HTTPError, match="404"):
            get(f"{url}/?missing")
    assert get(f"{url}/b") == ("9", None)


def test_it_is_switched_for_each_deployment_and_in_place(url):
    """A deployment without the option is always asked; a running one is switched on and off."""
    plain = serve.run(Counter.bind())
    assert [plain.ask.remote("a").result() for _ in range(2)] == [1, 2]
    handle = serve.run(Counter.options(cache={"ttl_s": 60}).bind())

    def kept() -> bool:
        return handle.ask.remote("b").result() == handle.ask.remote("b").result()

    wait_until(kept)
    assert handle.ask.remote("c").result() > 2  # the replica that ran before
    serve.run(Counter.bind())
    wait_until(lambda: not kept())


@serve.deployment
class Caller:
    """Counts the tasks that its calls of another deployment make."""

    def __init__(self, model: Any) -> None:
        self.model = model

    async def __call__(self, word: str) -> tuple[int, int]:
        await self.model.ask.remote("first")  # the connection and the layers are there now
        loop = asyncio.get_running_loop()
        tasks: list[asyncio.Task[Any]] = []

        def make(loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
            tasks.append(asyncio.Task(coroutine, loop=loop, **options))
            return tasks[-1]

        loop.set_task_factory(make)
        try:
            return await self.model.ask.remote(word), len(tasks)
        finally:
            loop.set_task_factory(None)


def test_a_handle_keeps_its_fast_path_through_the_layer(url):
    """Neither a call that is answered from the cache nor another one takes a task of its own."""
    model = Counter.options(cache={"ttl_s": 60}).bind()
    caller = serve.run(Caller.bind(model), route_prefix=None)
    assert caller.remote("a").result() == (2, 0)
    assert caller.remote("a").result() == (2, 0)


def test_its_option_is_checked_like_ours():
    """The error names deployment, option, value and rule."""
    with pytest.raises(ConfigError, match=r"Counter: cache\.ttl_s=0 must be greater than 0"):
        Counter.options(cache={"ttl_s": 0})
    with pytest.raises(ConfigError, match=r"cache\.ttl is not an option; allowed: ttl_s"):
        Counter.options(cache={"ttl": 1})


def test_it_imports_public_names_only():
    """A stranger needs nothing that begins with an underscore."""
    sources = (ROOT / "tests" / "foreign_plugin_cache").rglob("*.py")
    words = [word for path in sources for word in path.read_text(encoding="utf-8").split()]
    modules = [word for word in words if word.startswith(("alacarte.", "alacarte_http."))]
    assert modules
    assert not [module for module in modules if "._" in module]
