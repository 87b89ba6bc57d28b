"""The client on the local cluster."""

from __future__ import annotations

import asyncio
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from alacarte import serve
from alacarte.errors import ConfigError, DeployError, ServeError
from alacarte.testing import wait_until
from alacarte.types import DeploymentId
from alacarte_endpoints import BackendConfig, Client
from alacarte_endpoints.errors import EndpointNotFoundError


def handle_request(request: Any) -> str:
    return "hello world"


class RequestHandler:
    def __init__(self, msg: str) -> None:
        self.msg = msg

    def __call__(self, request: Any) -> str:
        return self.msg


def two(client: Client) -> None:
    """Create backends `a` and `b`, and an endpoint `e` of `a`."""
    for tag in "ab":
        client.create_backend(tag, RequestHandler, tag)
    client.create_endpoint("e", backend="a")


def test_the_key_concepts(client: Client) -> None:
    """Calls return the results of Ray Serve's old introduction."""
    client.create_backend("simple_backend", handle_request)
    client.create_backend("simple_backend_class", RequestHandler, "hello, world!")
    plain = {"accepts_batches": False, "num_replicas": 1, "max_batch_size": None}
    assert client.list_backends() == {"simple_backend": plain, "simple_backend_class": plain}
    client.delete_backend("simple_backend")
    assert client.list_backends() == {"simple_backend_class": plain}
    client.create_backend("simple_backend", handle_request)
    client.create_endpoint(
        "simple_endpoint", backend="simple_backend", route="/simple", methods=["GET"]
    )
    assert client.list_endpoints() == {
        "simple_endpoint": {"route": "/simple", "methods": ["GET"], "traffic": {}}
    }
    assert serve.status().routes["/simple"].methods == ("GET",)
    client.delete_endpoint("simple_endpoint")
    assert client.list_endpoints() == {}
    assert set(client.list_backends()) == {"simple_backend_class", "simple_backend"}


def test_deleting_an_unknown_name(client: Client) -> None:
    """Deleting unknown names is ignored, and changes nothing."""
    two(client)
    before = client.list_backends(), client.list_endpoints(), serve.status().routes
    client.delete_backend("nope")
    client.delete_backend("nope", force=True)
    client.delete_endpoint("nope")
    assert (client.list_backends(), client.list_endpoints(), serve.status().routes) == before


def test_a_backend_in_use_stays(client: Client, ask: Any) -> None:
    """A backend in an endpoint's traffic or shadows cannot be deleted, even with weight 0."""
    two(client)
    with pytest.raises(ConfigError, match="backend 'a' is used by endpoint 'e'"):
        client.delete_backend("a", force=True)
    client.set_traffic("e", {"a": 0, "b": 1})
    with pytest.raises(ConfigError, match="used by endpoint 'e'"):
        client.delete_backend("a")
    client.set_traffic("e", {"b": 1})
    client.shadow_traffic("e", "a", 0.5)
    with pytest.raises(ConfigError, match="used by endpoint 'e'"):
        client.delete_backend("a")
    client.shadow_traffic("e", "a", 0)
    client.delete_backend("a")
    assert ask("e") == "b"


def test_names_that_are_taken(client: Client) -> None:
    """Tags, names and paths in use are refused, and their owners stay unchanged."""
    two(client)
    serve.run(serve.deployment(handle_request).bind(), name="app", route_prefix="/app")
    with pytest.raises(ConfigError, match="backend 'a' already exists"):
        client.create_backend("a", handle_request)
    with pytest.raises(ConfigError, match="'app' is used by application app"):
        client.create_backend("app", handle_request)
    with pytest.raises(ConfigError, match="endpoint 'e' already exists"):
        client.create_endpoint("e", backend="b")
    with pytest.raises(ConfigError, match="/app is used by application app"):
        client.create_endpoint("f", backend="b", route="/app")
    client.create_endpoint("g", backend="b", route="/g")
    with pytest.raises(ConfigError, match="/g is used by endpoint g"):
        client.create_endpoint("f", backend="b", route="/g")
    assert list(client.list_endpoints()) == ["e", "g"]
    assert list(client.list_backends()) == ["a", "b"]


def test_an_endpoint_may_have_its_backends_name(client: Client, ask: Any) -> None:
    """An endpoint and its backend may have the same name, as in old programs."""
    client.create_backend("same", handle_request)
    client.create_endpoint("same", backend="same")
    assert ask("same") == "hello world"


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ({"backend": "nope"}, ConfigError, "no backend is named 'nope'; existing: 'a', 'b'"),
        ({}, TypeError, "backend must be the tag of a backend, not None"),
        ({"backend": "a", "route": 3}, TypeError, "a route must be a string"),
        ({"backend": "a", "route": "f"}, ConfigError, 'must begin with "/"'),
        ({"backend": "a", "methods": "GET"}, TypeError, "methods must be a list"),
    ],
)
def test_an_endpoint_that_cannot_be(
    client: Client, given: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """Invalid endpoints are refused with the allowed values, and do not exist afterwards."""
    two(client)
    with pytest.raises(kind, match=f"endpoint 'f': .*{message}"):
        client.create_endpoint("f", **given)
    assert list(client.list_endpoints()) == ["e"]


def test_traffic(client: Client, ask: Any) -> None:
    """New weights apply to the next request."""
    two(client)
    for _ in range(3):
        for tag in "ba":
            client.set_traffic("e", {tag: 1})
            assert ask("e") == tag
    client.set_traffic("e", {"a": 0.5, "b": 0.5})
    assert {ask("e") for _ in range(60)} == {"a", "b"}
    assert client.list_endpoints()["e"]["traffic"] == {"a": 0.5, "b": 0.5}


def test_shadows(client: Client) -> None:
    """Shadows are listed, and survive new weights."""
    two(client)
    client.shadow_traffic("e", "b", 0.25)
    client.set_traffic("e", {"a": 1})
    shown = client.list_endpoints()["e"]
    assert shown == {"route": None, "methods": ["GET"], "traffic": {"a": 1}, "shadows": {"b": 0.25}}
    client.shadow_traffic("e", "b", 0)
    assert "shadows" not in client.list_endpoints()["e"]


def test_unknown_names(client: Client) -> None:
    """The error lists the existing names."""
    two(client)
    with pytest.raises(ConfigError, match="endpoint 'x' does not exist; existing: 'e'"):
        client.set_traffic("x", {"a": 1})
    with pytest.raises(ConfigError, match="endpoint 'x' does not exist; existing: 'e'"):
        client.shadow_traffic("x", "a", 1)
    with pytest.raises(ConfigError, match="endpoint 'e': no backend is named 'x', 'y'; existing"):
        client.set_traffic("e", {"x": 0.5, "y": 0.5})
    with pytest.raises(ConfigError, match="endpoint 'e': no backend is named 'x'; existing"):
        client.shadow_traffic("e", "x", 1)
    with pytest.raises(ConfigError, match="backend 'x' does not exist; existing: 'a', 'b'"):
        client.get_backend_config("x")
    with pytest.raises(ConfigError, match="backend 'x' does not exist; existing: 'a', 'b'"):
        client.update_backend_config("x", {"num_replicas": 2})


def test_handles(client: Client) -> None:
    """A handle calls the endpoint's route, which must exist unless `missing_ok`."""
    two(client)
    assert client.get_handle("e")._handle == DeploymentId("", "e")
    assert client.get_handle("later", missing_ok=True, sync=False).endpoint == "later"
    with pytest.raises(KeyError, match="endpoint 'x' does not exist; existing: 'e'.") as caught:
        client.get_handle("x")
    assert isinstance(caught.value, EndpointNotFoundError)


def test_options_of_a_backend(client: Client, ask: Any) -> None:
    """The given options change without restarting replicas."""
    two(client)
    client.update_backend_config("a", {"max_concurrent_queries": 3})
    before = running("a")
    client.update_backend_config("a", BackendConfig(num_replicas=3))
    assert client.get_backend_config("a") == BackendConfig(num_replicas=3, max_concurrent_queries=3)
    assert client.list_backends()["a"]["num_replicas"] == 3
    after = running("a")
    assert before < after
    assert len(after) == 3
    client.update_backend_config("a", {"num_replicas": 1})
    wait_until(lambda: len(running("a")) == 1, 20)
    assert ask("e") == "a"


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        (None, TypeError, "must be a dict, not None"),
        (3, TypeError, "config must be a dict or a serve.BackendConfig, not 3"),
        ({"replicas": 3}, ConfigError, "replicas is not an option"),
        ({"max_batch_size": 2}, ConfigError, "needs a function or a method with @serve.accept_bat"),
        ({"user_config": 2}, ConfigError, "user_config needs a class with a method"),
    ],
)
def test_options_that_are_refused(
    client: Client, options: Any, kind: type[Exception], message: str
) -> None:
    """After an invalid change, the backend is unchanged."""
    client.create_backend("a", handle_request)
    with pytest.raises(kind, match=message):
        client.update_backend_config("a", options)
    assert client.get_backend_config("a") == BackendConfig()


BEGUN = threading.Event()
GO_ON = threading.Event()


async def stays(request: Any) -> None:
    BEGUN.set()
    await asyncio.Event().wait()


def test_delete_by_force(client: Client, ask: Any) -> None:
    """Forced deletion cancels endless requests."""
    BEGUN.clear()
    client.create_backend("slow", stays, config={"experimental_graceful_shutdown_timeout_s": 1000})
    client.create_endpoint("e", backend="slow")
    call = ask.begin("e")
    assert BEGUN.wait(20)
    client.delete_endpoint("e")
    client.delete_backend("slow", force=True)
    with pytest.raises(ServeError):
        call.result(30)
    assert client.list_backends() == {}


def connects(request: Any) -> Any:
    inside = serve.connect()
    inside.set_traffic("e", {"b": 1})
    return list(inside.list_backends()), serve.get_current_backend_tag()


def test_from_inside_of_a_backend(client: Client, ask: Any) -> None:
    """A backend's replica can change its instance."""
    two(client)
    client.create_backend("inside", connects)
    client.create_endpoint("inside", backend="inside")
    assert ask("inside") == (["a", "b", "inside"], "inside")
    assert ask("e") == "b"


def test_outside_of_a_backend() -> None:
    """Outside of a replica, there is no current tag."""
    for name in ("get_current_backend_tag", "get_current_replica_tag"):
        with pytest.raises(ServeError, match=f"{name}\\(\\) was called outside"):
            getattr(serve, name)()


def test_a_client_stays_where_it_is(client: Client) -> None:
    """A client does not pickle; the error names `serve.connect`."""
    with pytest.raises(ServeError, match=r"serve.connect\(\) in that"):
        pickle.dumps(client)


def test_after_the_end(client: Client) -> None:
    """After the shutdown every method raises; another shutdown is ignored."""
    assert "is running" in repr(client)
    client.shutdown()
    client.shutdown()
    assert "has ended" in repr(client)
    uses: list[Any] = [
        lambda: client.create_backend("a", handle_request),
        lambda: client.list_backends(),
        lambda: client.get_backend_config("a"),
        lambda: client.update_backend_config("a", {}),
        lambda: client.delete_backend("a"),
        lambda: client.create_endpoint("e", backend="a"),
        lambda: client.list_endpoints(),
        lambda: client.delete_endpoint("e"),
        lambda: client.set_traffic("e", {"a": 1}),
        lambda: client.shadow_traffic("e", "a", 1),
        lambda: client.get_handle("e", missing_ok=True),
    ]
    for use in uses:
        with pytest.raises(ServeError, match="has been shut down"):
            use()
    with pytest.raises(ServeError, match="not running"):
        serve.connect()


class Waits:
    def __init__(self) -> None:
        BEGUN.set()
        assert GO_ON.wait(20)

    def __call__(self, request: Any) -> None: ...


def test_deleting_what_does_not_come_up(client: Client) -> None:
    """A backend can be deleted during its creation, which then fails."""
    BEGUN.clear()
    GO_ON.clear()
    with ThreadPoolExecutor(1) as pool:
        creating = pool.submit(client.create_backend, "slow", Waits)
        try:
            assert BEGUN.wait(20)
            deleting = threading.Thread(target=client.delete_backend, args=("slow",))
            deleting.start()
            with pytest.raises(DeployError):
                creating.result(30)
        finally:
            GO_ON.set()
    deleting.join(30)
    assert client.list_backends() == {}


def test_clients_in_threads(client: Client) -> None:
    """Of concurrent creations one succeeds; concurrent changes are all kept."""
    clients = [serve.connect() for _ in range(4)]

    def create(each: Client) -> bool:
        try:
            each.create_backend("a", handle_request)
        except ConfigError:
            return False
        return True

    changes = [
        {"max_concurrent_queries": 7},
        {"batch_wait_timeout": 0.5},
        {"experimental_graceful_shutdown_timeout_s": 3},
        {"num_replicas": 2},
    ]

    def update(each: Client, change: dict[str, Any]) -> None:
        each.update_backend_config("a", change)

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(create, clients)) == [False, False, False, True]
        list(pool.map(update, clients, changes))
    wanted = {name: value for change in changes for name, value in change.items()}
    assert client.get_backend_config("a") == BackendConfig(**wanted)


def test_names_of_endpoints(client: Client) -> None:
    """Names that are paths or cannot be printed are refused."""
    client.create_backend("a", handle_request)
    for name in ("/x", "\ud800", "a#b"):
        with pytest.raises(ConfigError):
            client.create_endpoint(name, backend="a")
        with pytest.raises(ConfigError):
            client.create_backend(name, handle_request)
    assert (list(client.list_backends()), client.list_endpoints()) == (["a"], {})


def running(tag: str) -> set[str]:
    """Return the running replicas of a backend."""
    [deployment] = serve.status().applications[tag].deployments.values()
    return {each.replica_id for each in deployment.replicas if each.state == "RUNNING"}
