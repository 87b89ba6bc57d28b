"""Lookup of handles by name."""

from __future__ import annotations

from typing import Any

import pytest

from alacarte import serve
from alacarte._process.controller_retry import RetryLimits
from alacarte.errors import NotFoundError, ServeError
from alacarte.runtime import get_runtime
from alacarte.types import DeploymentId
from alacarte_handles import DeploymentHandle, get_app_handle, get_deployment_handle

from . import gates


@serve.deployment(name="Inner")
def inner(text: str = "") -> str:
    return f"inner {text}"


@serve.deployment
class Outer:
    def __init__(self, inner: Any, *, look_up: bool = False) -> None:
        self.found = get_deployment_handle("Inner") if look_up else None

    async def from_async(self) -> str:
        return await get_deployment_handle("Inner").remote("a")

    def from_sync(self) -> str:
        return get_deployment_handle("Inner").remote("s").result()

    async def from_constructor(self) -> str:
        return await self.found.remote("c")

    async def of_another(self, app: str) -> str:
        return await get_app_handle(app).remote("other")

    def missing(self) -> None:
        get_deployment_handle("Outsider")


@pytest.fixture
def app(local):
    return local.run(Outer.bind(inner.bind(), look_up=True), name="app")


def test_an_applications_handle(app):
    """The handle of an application calls its ingress deployment."""
    handle = get_app_handle("app")
    assert handle == app
    assert handle.from_async.remote().result() == "inner a"


def test_no_such_application(app):
    """The error names the application and is a LookupError."""
    with pytest.raises(NotFoundError, match="application 'ap' does not exist") as caught:
        get_app_handle("ap")
    assert isinstance(caught.value, LookupError)


def test_a_deployments_handle(app):
    """A deployment is found by its name and its application's."""
    handle = get_deployment_handle("Inner", "app")
    assert isinstance(handle, DeploymentHandle)
    assert handle.remote("x").result() == "inner x"


def test_no_such_deployment(app):
    """The error lists the existing deployments, and is a KeyError as in Ray Serve."""
    with pytest.raises(KeyError) as caught:
        get_deployment_handle("Iner", "app")
    assert isinstance(caught.value, NotFoundError)
    told = "application 'app' has no deployment 'Iner'; its deployments are: Inner, Outer."
    assert str(caught.value) == told
    with pytest.raises(NotFoundError, match="its deployments are: none"):
        get_deployment_handle("Inner", "other")


def test_lookup_on_the_loop_of_the_runtime(app):
    """A lookup works on the runtime's own event loop, which must not wait for itself."""

    async def on_the_loop() -> DeploymentHandle:
        return get_app_handle("app")

    assert get_runtime().submit(on_the_loop()).result(gates.WAIT_S) == app


def test_after_the_end(app, local, monkeypatch):
    """A lookup after the end of the runtime's loop fails instead of waiting."""
    limits = RetryLimits(restart_s=0.1, gone_s=0.1, cluster_s=0.1)
    monkeypatch.setattr("alacarte._process.process_runtime._BLOCKING_LIMITS", limits)
    runtime = get_runtime()
    local.shutdown()
    with pytest.raises(ServeError, match="the controller does not answer"):
        runtime.deployments_of("app")


def test_without_asking(app):
    """`_check_exists=False` returns a handle to a deployment that may be deployed later."""
    handle = get_deployment_handle("Later", "app", _check_exists=False)
    assert handle.deployment_id == DeploymentId("app", "Later")


def test_outside_of_a_replica(app):
    """Outside of a replica there is no default application."""
    with pytest.raises(ServeError, match="was called outside of a replica; pass app_name"):
        get_deployment_handle("Inner")


@pytest.mark.parametrize("way", ["from_async", "from_sync", "from_constructor"])
def test_inside_a_replica(app, way):
    """In a replica the default is its own application, in handlers and constructors."""
    letter = way.removeprefix("from_")[0]
    assert getattr(app, way).remote().result() == f"inner {letter}"


def test_missing_inside_a_replica(app):
    """The error of the lookup reaches the caller with its own type."""
    with pytest.raises(NotFoundError, match="application 'app' has no deployment 'Outsider'"):
        app.missing.remote().result()


def test_another_application(app, local):
    """Applications may call each other by name."""
    local.run(inner.bind(), name="second")
    assert app.of_another.remote("second").result() == "inner other"
