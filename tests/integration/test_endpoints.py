"""Backends and endpoints, as the client of `serve.start()` and `serve.connect()` gives them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.integration.applications import MyFirstDeployment
from tests.integration.backends import (
    Asking,
    Batches,
    Configured,
    RequestHandler,
    Tagged,
    answers,
    handle_request,
    too_few,
)
from tests.integration.instance import Instance

from alacarte import serve
from alacarte.errors import ConfigError, DeployError, InvalidRequestError, NotFoundError, ServeError
from alacarte.testing import wait_until

DEFAULTS = {"accepts_batches": False, "num_replicas": 1, "max_batch_size": None}


@pytest.fixture
def pool() -> Iterator[concurrent.futures.ThreadPoolExecutor]:
    """Threads to send requests from."""
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        yield pool


@pytest.fixture(scope="module")
def shared(instance: Instance) -> None:
    """Two backends, each behind an endpoint of its name and its path, that no test changes."""
    client = serve.connect()
    for tag in ("one", "two"):
        client.create_backend(tag, Tagged)
        client.create_endpoint(tag, backend=tag, route=f"/{tag}", methods=["GET", "PUT"])


def pids(instance: Instance, tag: str) -> dict[str, int]:
    """Return the processes of a backend's replicas, by name."""
    return {each: instance.pid(each) for each in instance.replicas(tag)}


# --- the key concepts -------------------------------------------------------------------


@pytest.mark.minimums
def test_the_key_concepts(instance: Instance, client: Any):
    """`seeds/backends-and-endpoints.txt`, line by line, after the import is changed."""
    client.create_backend("simple_backend", handle_request)
    client.create_backend("simple_backend_class", RequestHandler, "hello, world!")
    assert client.list_backends() == {"simple_backend": DEFAULTS, "simple_backend_class": DEFAULTS}
    client.delete_backend("simple_backend")
    assert client.list_backends() == {"simple_backend_class": DEFAULTS}

    client.create_backend("simple_backend", handle_request)
    client.create_endpoint(
        "simple_endpoint", backend="simple_backend", route="/simple", methods=["GET"]
    )
    assert requests.get(f"{instance.url}/simple", timeout=30).text == "hello world"
    assert client.list_endpoints() == {
        "simple_endpoint": {"route": "/simple", "methods": ["GET"], "traffic": {}}
    }
    with pytest.raises(ConfigError, match="simple_endpoint"):
        client.delete_backend("simple_backend")
    client.delete_endpoint("simple_endpoint")
    assert client.list_endpoints() == {}
    assert instance.get("/simple").status == 404
    assert list(client.list_backends()) == ["simple_backend_class", "simple_backend"]

    client.create_endpoint("class", backend="simple_backend_class", route="/class")
    assert instance.get("/class").text == "hello, world!"


def test_one_client_is_as_good_as_another(client: Any, shared: None):
    """`serve.start()` and `serve.connect()` give the same; a client does not travel."""
    found = client.list_backends()
    assert found == serve.start().list_backends() == {"one": DEFAULTS, "two": DEFAULTS}
    with pytest.raises(ServeError, match=r"connect\(\)"):
        pickle.dumps(client)


# --- HTTP -------------------------------------------------------------------------------


def test_what_a_backend_is_given_and_returns(instance: Instance, client: Any):
    """A backend reads a Starlette request, and returns text, JSON or a Starlette response."""
    client.create_backend("answers", answers)
    client.create_endpoint("answers", backend="answers", route="/answers", methods=["GET", "PUT"])
    found = {kind: instance.get(f"/answers?kind={kind}") for kind in ("text", "json", "response")}
    assert found["text"].text == "text"
    assert json.loads(found["json"].body) == {"list": [1, 2.5, None, True], "text": "ü"}
    assert (found["response"].status, found["response"].text) == (418, "teapot")
    assert found["response"].headers["x-mine"] == "1"
    assert instance.get("/answers?kind=stream").text == "one two"
    echo = instance.get("/answers?kind=echo", method="PUT", body="x" * 200_000, x_mine="mine")
    assert json.loads(echo.body) == ["PUT", "/answers", "mine", "x" * 200_000]
    failed = instance.get("/answers?kind=nothing")
    assert (failed.status, "secret" in failed.text) == (500, False)


def test_paths_and_methods(instance: Instance, shared: None):
    """An endpoint has one exact path; what it does not allow is told with what it does."""
    assert [instance.get("/one", method=method).status for method in ("GET", "PUT")] == [200, 200]
    assert instance.get("/one?a=b").status == 200
    for path in ("/one/", "/one/more", "/on", "/One"):
        answer = instance.get(path)
        assert (answer.status, "/-/routes" in answer.text) == (404, True), path
    refused = instance.get("/one", method="POST")
    assert refused.status == 405
    assert refused.headers["allow"] == "GET, HEAD, PUT"
    assert instance.get("/one", method="HEAD").body == b""
    assert json.loads(instance.get("/-/routes").body) == {"/one": "one", "/two": "two"}


def test_beside_applications(instance: Instance, shared: None):
    """An endpoint takes its one path; an application has all others below its prefix."""
    serve.run(MyFirstDeployment.bind("application"))
    assert instance.get("/one").text == "one"
    assert instance.get("/one/more").text == instance.get("/").text == "application"
    assert {*serve.status().applications} == {"default", "one", "two"}
    with pytest.raises(ConfigError, match="'one'"):
        serve.run(MyFirstDeployment.bind("x"), name="one", route_prefix="/other")
    serve.delete("default")
    assert instance.get("/").status == 404


def test_a_method_by_header(instance: Instance, shared: None):
    """`X-SERVE-CALL-METHOD` picks another method of the backend, of those that are public."""
    assert instance.get("/one").text == "one"
    [replica] = instance.replicas("one")
    assert instance.get("/one", x_serve_call_method="replica").text == replica
    for name in ("nothing", "_hidden", "__init__"):
        answer = instance.get("/one", x_serve_call_method=name)
        assert 400 <= answer.status < 500, name
        assert "replica" in answer.text
        assert "_hidden" not in answer.text.replace(f"'{name}'", "")


# --- backends ---------------------------------------------------------------------------


def test_an_update_in_place(instance: Instance, client: Any):
    """Replicas, their number apart, stay as they are: their processes, and what they hold."""
    client.create_backend("configured", Configured, config={"user_config": {"depth": 1}})
    client.create_endpoint("configured", backend="configured", route="/configured")
    before = pids(instance, "configured")
    first = json.loads(instance.get("/configured").body)
    assert first["config"] == {"depth": 1}

    client.update_backend_config("configured", {"user_config": {"depth": 2}})
    assert json.loads(instance.get("/configured").body) == {
        "config": {"depth": 2},
        "pid": first["pid"],
    }
    client.update_backend_config("configured", serve.BackendConfig(num_replicas=3))
    assert len(instance.replicas("configured")) == 3
    assert pids(instance, "configured").items() >= before.items()
    client.update_backend_config("configured", {"max_concurrent_queries": 3})
    assert len(instance.replicas("configured")) == 3
    client.update_backend_config("configured", {"num_replicas": 1})
    assert pids(instance, "configured") == before

    # What was not said again is as it was.
    config = client.get_backend_config("configured")
    assert config == serve.BackendConfig(
        num_replicas=1, max_concurrent_queries=3, user_config={"depth": 2}
    )
    assert json.loads(instance.get("/configured").body)["config"] == {"depth": 2}


def test_several_replicas(instance: Instance, client: Any, shared: None):
    """All replicas of a backend answer; it is listed with their number."""
    client.update_backend_config("two", {"num_replicas": 2})
    assert client.list_backends()["two"] == {**DEFAULTS, "num_replicas": 2}
    replicas = {*instance.replicas("two")}
    assert len(replicas) == 2
    seen: set[str] = set()

    def all_seen() -> bool:
        seen.add(instance.get("/two", x_serve_call_method="replica").text)
        return seen == replicas

    wait_until(all_seen, 20, "answers of both")
    client.update_backend_config("two", {"num_replicas": 1})


def test_deleting(instance: Instance, client: Any, shared: None):
    """What is in use stays; what is not there may be deleted; nothing is left of a backend."""
    client.create_backend("more", Tagged)
    client.create_endpoint("endpoint", backend="more", route="/endpoint")

    def is_refused() -> bool:
        for force in (False, True):
            with pytest.raises(ConfigError, match="endpoint"):
                client.delete_backend("more", force=force)
        return instance.get("/endpoint").status == 200

    assert is_refused()
    client.set_traffic("endpoint", {"one": 0.9, "more": 0.1})
    assert is_refused()
    client.set_traffic("endpoint", {"one": 1.0})
    client.shadow_traffic("endpoint", "more", 0.5)
    assert is_refused()
    client.shadow_traffic("endpoint", "more", 0)
    client.delete_backend("more", force=True)
    assert "more" not in serve.status().applications
    assert instance.get("/endpoint").text == "one"
    client.delete_endpoint("endpoint")
    assert instance.get("/endpoint").status == 404
    assert list(client.list_backends()) == ["one", "two"]
    for _ in range(2):
        client.delete_endpoint("endpoint")
        client.delete_backend("more")
    # The names are free again.
    client.create_backend("more", handle_request)
    client.create_endpoint("endpoint", backend="more", route="/endpoint")
    assert instance.get("/endpoint").text == "hello world"


def test_listings(client: Any, shared: None):
    """The list of endpoints shows what was set, and nothing else."""
    client.create_endpoint("split", backend="one", route="/split")
    client.create_endpoint("handles", backend="two")
    client.set_traffic("split", {"one": 0.25, "two": 0.75})
    client.shadow_traffic("split", "two", 0.5)
    found = client.list_endpoints()
    assert found["split"] == {
        "route": "/split",
        "methods": ["GET"],
        "traffic": {"one": 0.25, "two": 0.75},
        "shadows": {"two": 0.5},
    }
    assert found["handles"] == {"route": None, "methods": ["GET"], "traffic": {}}


# --- batches ----------------------------------------------------------------------------


def gathered(
    instance: Instance,
    pool: concurrent.futures.ThreadPoolExecutor,
    directory: Path,
    methods: list[str],
) -> list[Any]:
    """Send a request that is held up, and behind it some that gather; return what these answer."""
    [replica] = instance.replicas("batches")
    for name in ("begun", "open"):
        (directory / name).unlink(missing_ok=True)
    first = pool.submit(instance.get, "/batches")
    wait_until((directory / "begun").exists, 20, "the first batch")
    behind = []
    for method in methods:
        behind.append(pool.submit(instance.get, "/batches", x_serve_call_method=method))
        # One after the other, so that they come in this order.
        wait_until(lambda: instance.ongoing(replica) == 1 + len(behind), 20, "all to be there")
    (directory / "open").touch()
    assert json.loads(first.result().body)[1] == 1
    return [json.loads(each.result().body) for each in behind]


def test_batches(
    instance: Instance,
    client: Any,
    tmp_path: Path,
    pool: concurrent.futures.Executor,
):
    """Requests that wait are one batch of their method; its size changes in place."""
    client.create_backend("batches", Batches, str(tmp_path), config={"max_batch_size": 2})
    client.create_endpoint("batches", backend="batches", route="/batches")
    assert client.list_backends()["batches"] == {
        "accepts_batches": True,
        "num_replicas": 1,
        "max_batch_size": 2,
    }
    before = pids(instance, "batches")
    found = gathered(instance, pool, tmp_path, ["__call__"] * 3)
    assert sorted(size for _, size, _ in found) == [1, 2, 2]

    client.update_backend_config(
        "batches", {"max_batch_size": 4, "batch_wait_timeout": 0.01, "user_config": "mine"}
    )
    assert pids(instance, "batches") == before
    assert gathered(instance, pool, tmp_path, ["__call__"] * 4) == [["call", 4, "mine"]] * 4
    mixed = gathered(instance, pool, tmp_path, ["__call__", "other", "__call__", "other"])
    assert [method for method, _, _ in mixed] == ["call", "other", "call", "other"]
    assert max(size for _, size, _ in mixed) == 2


def test_a_batch_of_the_wrong_length(instance: Instance, client: Any):
    """Whoever is in a batch that returns too little gets an error."""
    client.create_backend("too_few", too_few, config={"max_batch_size": 4})
    client.create_endpoint("too_few", backend="too_few", route="/too_few")
    assert instance.get("/too_few").status == 500
    with pytest.raises(Exception, match="returned 0 results for a batch of 1 item"):
        client.get_handle("too_few").remote().result(timeout_s=20)


# --- handles ----------------------------------------------------------------------------


def test_handles(client: Any, shared: None):
    """A handle takes data and arguments, and options for the method and the request."""
    handle = client.get_handle("one")
    assert handle.remote().result(timeout_s=20) == "one"
    told = handle.options(method_name="told", http_method="PUT", http_headers={"x-mine": "1"})
    assert told.remote({"some": "data"}, limit=3).result(timeout_s=20) == {
        "data": {"some": "data"},
        "args": {"limit": 3},
        "method": "PUT",
        "mine": "1",
    }

    async def main() -> list[str]:
        asked = client.get_handle("one", sync=False)
        return list(await asyncio.gather(*[asked.remote(number) for number in range(20)]))

    assert asyncio.run(main()) == ["one"] * 20
    with pytest.raises(InvalidRequestError, match="no method 'nothing'.*replica"):
        handle.options(method_name="nothing").remote().result(timeout_s=20)


def test_handles_before_their_endpoint(client: Any, shared: None):
    """Unknown endpoints are refused, unless they may come later."""
    with pytest.raises(KeyError, match="later"):
        client.get_handle("later")
    handle = client.get_handle("later", missing_ok=True)
    with pytest.raises(NotFoundError, match="later"):
        handle.remote().result(timeout_s=20)
    client.create_endpoint("later", backend="one")
    assert handle.remote().result(timeout_s=20) == "one"


def test_a_handle_inside_a_backend(instance: Instance, client: Any, shared: None):
    """A backend connects, and asks another endpoint; a key goes where it goes from outside."""
    client.create_endpoint("split", backend="one", route="/split")
    client.set_traffic("split", {"one": 0.5, "two": 0.5})
    client.create_backend("asking", Asking, "split")
    client.create_endpoint("asking", backend="asking", route="/asking")
    replicas = {instance.replicas(tag)[0] for tag in ("one", "two")}
    handle = client.get_handle("split")
    seen = set()
    for key in map(str, range(20)):
        tag, replica, by_key = json.loads(instance.get(f"/asking?key={key}").body)
        assert tag in ("one", "two")
        assert replica in replicas
        outside = handle.options(shard_key=key).remote().result(timeout_s=20)
        over_http = instance.get("/split", x_serve_shard_key=key).text
        assert by_key == outside == over_http
        seen.add(by_key)
    assert seen == {"one", "two"}


# --- errors -----------------------------------------------------------------------------


REFUSED: dict[str, tuple[Callable[[Any], object], type[Exception], str]] = {
    "a tag that is taken": (lambda c: c.create_backend("one", Tagged), ValueError, "one"),
    "no tag": (lambda c: c.create_backend(1, Tagged), TypeError, "1"),
    "a tag that cannot be a name": (lambda c: c.create_backend("", Tagged), ValueError, "tag"),
    "arguments that a constructor does not take": (
        lambda c: c.create_backend("x", Tagged, "argument"),
        DeployError,
        "TypeError.*argument",
    ),
    "what cannot be sent": (
        lambda c: c.create_backend("x", RequestHandler, threading.Lock()),
        ValueError,
        "lock",
    ),
    "a configuration that nobody reads": (
        lambda c: c.create_backend("x", Tagged, config={"user_config": 1}),
        ValueError,
        "reconfigure",
    ),
    "a backend that is a number": (lambda c: c.create_backend("x", 3), TypeError, "3|int"),
    "arguments of a function": (
        lambda c: c.create_backend("x", handle_request, "argument"),
        ValueError,
        "function",
    ),
    "actor options": (
        lambda c: c.create_backend("x", Tagged, ray_actor_options=["num_cpus"]),
        TypeError,
        "ray_actor_options",
    ),
    "an actor option that is ours": (
        lambda c: c.create_backend("x", Tagged, ray_actor_options={"name": "mine"}),
        ValueError,
        "name",
    ),
    "less than no CPU": (
        lambda c: c.create_backend("x", Tagged, ray_actor_options={"num_cpus": -1}),
        ValueError,
        "num_cpus",
    ),
    "a config of no kind": (lambda c: c.create_backend("x", Tagged, config=3), TypeError, "config"),
    "an unknown option": (
        lambda c: c.create_backend("x", Tagged, config={"num_replica": 2}),
        ValueError,
        "num_replica",
    ),
    "no replica": (
        lambda c: c.create_backend("x", Tagged, config={"num_replicas": 0}),
        ValueError,
        "num_replicas",
    ),
    "batches that are not accepted": (
        lambda c: c.create_backend("x", Tagged, config={"max_batch_size": 2}),
        ValueError,
        "accept_batch",
    ),
    "batches, later": (
        lambda c: c.update_backend_config("one", {"max_batch_size": 2}),
        ValueError,
        "accept_batch",
    ),
    "an unknown backend's update": (
        lambda c: c.update_backend_config("x", {"num_replicas": 2}),
        ValueError,
        "x.*one",
    ),
    "an update of no kind": (lambda c: c.update_backend_config("one", 3), TypeError, "config"),
    "an unknown backend's config": (lambda c: c.get_backend_config("x"), ValueError, "x.*one"),
    "no backend": (lambda c: c.create_endpoint("x", route="/x"), TypeError, "backend"),
    "an unknown backend": (
        lambda c: c.create_endpoint("x", backend="y", route="/x"),
        ValueError,
        "y.*one",
    ),
    "an endpoint that is there": (
        lambda c: c.create_endpoint("one", backend="two", route="/x"),
        ValueError,
        "endpoint 'one'",
    ),
    "a route that is taken": (
        lambda c: c.create_endpoint("x", backend="one", route="/one"),
        ValueError,
        "/one",
    ),
    "a route that is none": (
        lambda c: c.create_endpoint("x", backend="one", route="x"),
        ValueError,
        "/",
    ),
    "a route that is a number": (
        lambda c: c.create_endpoint("x", backend="one", route=1),
        TypeError,
        "route",
    ),
    "methods as text": (
        lambda c: c.create_endpoint("x", backend="one", route="/x", methods="GET"),
        TypeError,
        "methods",
    ),
    "no methods": (
        lambda c: c.create_endpoint("x", backend="one", route="/x", methods=[]),
        ValueError,
        "methods",
    ),
    "a method that is none": (
        lambda c: c.create_endpoint("x", backend="one", route="/x", methods=["G ET"]),
        ValueError,
        "methods",
    ),
    "a path of alacarte's own": (
        lambda c: c.create_endpoint("x", backend="one", route="/-/x"),
        ValueError,
        "/-/x",
    ),
    "traffic of an unknown endpoint": (
        lambda c: c.set_traffic("x", {"one": 1.0}),
        ValueError,
        "endpoint 'x' does not exist.*one",
    ),
    "traffic to an unknown backend": (
        lambda c: c.set_traffic("one", {"one": 0.5, "y": 0.5}),
        ValueError,
        "y.*one",
    ),
    "too little traffic": (
        lambda c: c.set_traffic("one", {"one": 0.5}),
        ValueError,
        r"0\.5",
    ),
    "too much traffic": (
        lambda c: c.set_traffic("one", {"one": 1.0, "two": 0.001}),
        ValueError,
        r"1\.001",
    ),
    "less than no traffic": (
        lambda c: c.set_traffic("one", {"one": 1.5, "two": -0.5}),
        ValueError,
        r"-0\.5",
    ),
    "traffic that is no number": (
        lambda c: c.set_traffic("one", {"one": float("nan"), "two": 1.0}),
        ValueError,
        "nan",
    ),
    "traffic that is no dict": (lambda c: c.set_traffic("one", "two"), TypeError, "dict"),
    "traffic in words": (lambda c: c.set_traffic("one", {"two": "all"}), TypeError, "all"),
    "no traffic": (lambda c: c.set_traffic("one", {}), ValueError, "traffic|weight"),
    "a shadow of an unknown endpoint": (
        lambda c: c.shadow_traffic("x", "one", 0.5),
        ValueError,
        "endpoint 'x' does not exist.*one",
    ),
    "an unknown shadow": (
        lambda c: c.shadow_traffic("one", "y", 0.5),
        ValueError,
        "y.*one",
    ),
    "a shadow of too much": (
        lambda c: c.shadow_traffic("one", "two", 1.5),
        TypeError,
        r"1\.5",
    ),
    "a shadow of text": (
        lambda c: c.shadow_traffic("one", "two", "half"),
        TypeError,
        "half|proportion",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused(client: Any, shared: None, what: str):
    """The error is of the original's type, names the thing, and leaves everything as it was."""
    call, kind, words = REFUSED[what]
    before = client.list_backends(), client.list_endpoints()
    with pytest.raises(kind, match=f"(?s){words}"):
        call(client)
    assert (client.list_backends(), client.list_endpoints()) == before


def test_a_backend_that_cannot_start(client: Any):
    """What its constructor raises is told, and nothing is left of it."""

    class Broken:
        def __init__(self) -> None:
            raise RuntimeError("no such model")

        def __call__(self, request: Any) -> str:
            return ""

    with pytest.raises(DeployError, match="no such model"):
        client.create_backend("broken", Broken)
    assert "broken" not in client.list_backends()
    wait_until(lambda: "broken" not in serve.status().applications, 20, "the end of it")
    client.create_backend("broken", handle_request)


def test_clients_at_once(client: Any, pool: concurrent.futures.Executor):
    """Of those who create the same backend at once one succeeds, and different ones all do."""

    def create(tag: str) -> str:
        try:
            serve.connect().create_backend(tag, handle_request)
        except ValueError:
            return "refused"
        return "created"

    found = list(pool.map(create, ["same", "same", "other"]))
    assert sorted(found[:2]) == ["created", "refused"]
    assert found[2] == "created"
    assert client.list_backends().keys() >= {"same", "other"}
