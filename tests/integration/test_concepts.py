"""The key concepts of Ray Serve's documentation, as written there, after the import is changed.

`seeds/deployments-and-applications.txt`: deployment, application, handles, ingress.
"""

from __future__ import annotations

import json

import pytest
from tests.integration.applications import (
    Driver,
    Hello,
    MostBasicIngress,
    MyFirstDeployment,
    Responses,
    World,
    lower_case,
)
from tests.integration.instance import Instance

from alacarte import serve
from alacarte.errors import ConfigError, NotFoundError
from alacarte.serve.handle import DeploymentHandle


@pytest.mark.minimums
def test_my_first_deployment(here: Instance):
    """A class is decorated, bound and run; its handle and HTTP give the same answer."""
    my_first_deployment = MyFirstDeployment.bind("Hello world!")
    handle: DeploymentHandle = serve.run(my_first_deployment)
    assert handle.remote().result() == "Hello world!"
    answer = here.get("/")
    assert (answer.status, answer.text) == (200, "Hello world!")


@pytest.mark.minimums
def test_composing_deployments(here: Instance):
    """Bound deployments among the arguments arrive as handles, and are called in parallel."""
    hello = Hello.bind()
    world = World.bind()
    handle: DeploymentHandle = serve.run(Driver.bind(hello, world))
    assert handle.remote().result() == "Hello world!"
    assert here.get("/").text == "Hello world!"
    deployments = serve.status().applications["default"].deployments
    assert sorted(deployments) == ["Driver", "Hello", "World"]


@pytest.mark.minimums
def test_basic_ingress(here: Instance):
    """The ingress reads a Starlette request."""
    serve.run(MostBasicIngress.bind())
    answer = here.get("/", body=json.dumps({"name": "Corey"}))
    assert answer.text == "Hello Corey!"


def test_a_function_as_ingress(here: Instance):
    """A function is a deployment, too."""
    serve.run(lower_case.bind())
    assert here.get("/?text=LOUD").text == "loud"


RETURNED = {
    "text": (200, "text/plain; charset=utf-8", b"text"),
    "bytes": (200, "text/plain", b"\x00\xff"),
    "none": (200, "text/plain", b""),
    "json": (200, "application/json", '{"list":[1,2.5,null,true],"text":"ü"}'.encode()),
    "plain": (418, "text/plain; charset=utf-8", b"teapot"),
    "made": (201, "application/json", b'{"made":true}'),
    "html": (200, "text/html; charset=utf-8", b"<p>"),
    "redirect": (307, None, b""),
    "empty": (204, None, b""),
    "stream": (200, "text/plain; charset=utf-8", b"one two three"),
}


def test_what_an_ingress_returns(here: Instance):
    """Text and bytes are sent as they are, other values as JSON, responses as themselves."""
    serve.run(Responses.bind())
    answers = {path: here.get(f"/{path}") for path in RETURNED}
    found = {
        path: (answer.status, answer.headers.get("content-type"), answer.body)
        for path, answer in answers.items()
    }
    assert found == RETURNED
    assert answers["plain"].headers["x-mine"] == "1"
    assert answers["redirect"].headers["location"] == "/elsewhere"
    assert answers["stream"].headers["transfer-encoding"] == "chunked"
    assert all(len(answer.headers["x-request-id"]) == 32 for answer in answers.values())


def test_what_an_ingress_is_given(here: Instance):
    """Method, path, query, headers and body arrive; the prefix is the root path."""
    serve.run(Responses.bind(), route_prefix="/responses")
    answer = here.get("/responses/echo?a=1&b=%20", method="PUT", body=b"x" * 200_000, x_mine="mine")
    assert json.loads(answer.body) == {
        "method": "PUT",
        "path": "/responses/echo",
        "root_path": "/responses",
        "query": {"a": "1", "b": " "},
        "header": "mine",
        "body": "x" * 200_000,
    }


def test_applications_side_by_side(here: Instance):
    """Each application has its own prefix, status and life."""
    serve.run(MyFirstDeployment.bind("root"), name="root")
    serve.run(MyFirstDeployment.bind("images"), name="images", route_prefix="/images")
    serve.run(MyFirstDeployment.bind("deep"), name="deep", route_prefix="/images/deep")
    serve.run(MyFirstDeployment.bind("none"), name="none", route_prefix=None)
    assert here.get("/anything").text == "root"
    assert here.get("/images").text == "images"
    assert here.get("/images/1").text == "images"
    assert here.get("/images/deep/er").text == "deep"
    assert here.get("/imagesque").text == "root"
    assert json.loads(here.get("/-/routes").body) == {
        "/": "root",
        "/images": "images",
        "/images/deep": "deep",
    }
    assert here.get("/-/healthz").text == "success"
    assert serve.get_app_handle("none").remote().result() == "none"
    status = serve.status().applications
    assert {name: app.route_prefix for name, app in status.items()} == {
        "root": "/",
        "images": "/images",
        "deep": "/images/deep",
        "none": None,
    }
    with pytest.raises(ConfigError, match="/images"):
        serve.run(MyFirstDeployment.bind("x"), name="other", route_prefix="/images")
    serve.delete("images")
    assert here.get("/images").text == "root"
    assert here.get("/images/deep").text == "deep"
    with pytest.raises(NotFoundError, match="images"):
        serve.get_app_handle("images")
    serve.delete("images")


@pytest.mark.minimums
def test_status(here: Instance):
    """An application's status tells of its deployments, their replicas, and the proxies."""
    serve.run(MyFirstDeployment.options(num_replicas=2).bind("x"), name="app")
    status = serve.status()
    app = status.applications["app"]
    assert app.status == "RUNNING"
    assert app.route_prefix == "/"
    assert app.last_deployed_time_s > 1_700_000_000
    deployment = app.deployments["MyFirstDeployment"]
    assert (deployment.status, deployment.message) == ("HEALTHY", "")
    assert deployment.replica_states == {"RUNNING": 2}
    [proxy] = status.proxies.values()
    assert (proxy.status, proxy.url) == ("HEALTHY", f"{here.url}/")
    serve.delete("app")
    assert serve.status().applications == {}


def test_an_unknown_route(here: Instance):
    """404, and where to look."""
    serve.run(MyFirstDeployment.bind("x"), route_prefix="/here")
    answer = here.get("/there")
    assert answer.status == 404
    assert "/-/routes" in answer.text
    assert "'/there'" in answer.text


def test_import_paths_of_ray_serve():
    """The modules that Ray Serve's users import from are there, with the same names."""
    from alacarte.serve.config import AutoscalingConfig, HTTPOptions
    from alacarte.serve.context import ReplicaContext, get_replica_context
    from alacarte.serve.exceptions import BackPressureError, RayServeException
    from alacarte.serve.handle import DeploymentResponse, DeploymentResponseGenerator
    from alacarte.serve.schema import ApplicationStatus, ServeStatus

    names = [
        AutoscalingConfig, HTTPOptions, ReplicaContext, get_replica_context, BackPressureError,
        RayServeException, DeploymentResponse, DeploymentResponseGenerator, ApplicationStatus,
        ServeStatus,
    ]  # fmt: skip
    assert all(names)
    assert serve.batch
    assert serve.get_deployment_handle
