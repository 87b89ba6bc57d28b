"""Options that plugins provide: of the instance, and of deployments and their layers."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import pydantic
import pytest

from alacarte import _plugins, user_code
from alacarte._plugins import PluginRecord, Plugins
from alacarte.errors import ConfigError, DeployError, DeploymentUnavailableError
from alacarte.hookspecs import hookimpl
from alacarte.instance import describe_deployments, get_instance
from alacarte.testing import wait_until
from alacarte.types import (
    Call,
    ConfigSection,
    ConfigSections,
    DeploymentInfo,
    Layer,
    Reply,
    Service,
    StagedLayer,
    UserCode,
)


class MarkOptions(pydantic.BaseModel):
    """The words that layers put into calls and replies."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)
    word: str = ""
    make: Callable[[str], str] | UserCode | None = None


def marks(seen: list[str], word: str) -> Layer:
    """Note each call that passes."""

    def wrap(service: Service) -> Service:
        async def serve(call: Call) -> Reply:
            seen.append(word)
            return await service(call)

        return serve

    return wrap


class Marker(types.ModuleType):
    """A plugin with a section of the instance, two of deployments, and layers."""

    def __init__(self) -> None:
        super().__init__("marker_of_tests")
        self.MarkOptions = MarkOptions
        self.seen: list[str] = []
        self.given: dict[str, Any] = {}

        @hookimpl
        def register_config() -> list[ConfigSection]:
            target = "marker_of_tests:MarkOptions"
            return [
                ConfigSection("grpc", target),
                ConfigSection("mark", target, scope="deployment"),
                ConfigSection("model", target, scope="deployment", change="new_version"),
                ConfigSection("inner", target, scope="deployment", visible_to="replicas"),
            ]

        @hookimpl
        def wrap_caller(deployment: DeploymentInfo, config: ConfigSections) -> Any:
            mark = deployment.options("mark")
            self.given["caller"] = (mark, deployment.options("inner"))
            word = config.section("grpc").word
            return (
                None if mark is None else StagedLayer("cache", marks(self.seen, word + mark.word))
            )

        @hookimpl
        def wrap_replica(deployment: DeploymentInfo) -> Any:
            mark = deployment.options("mark")
            if mark is not None and mark.word == "missing":
                raise FileNotFoundError("the layer's file")
            self.given["replica"] = (mark, deployment.options("inner"))
            return None if mark is None else marks(self.seen, f"replica {mark.word}")

        self.register_config = register_config
        self.wrap_caller, self.wrap_replica = wrap_caller, wrap_replica


@pytest.fixture
def marker(monkeypatch: pytest.MonkeyPatch) -> Marker:
    module = Marker()
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


@pytest.fixture
def plugins(observer: Any, marker: Marker) -> Plugins:
    core = [record for record in _plugins.discover() if record.name == "core"]
    mine = [PluginRecord("observer", observer.__name__), PluginRecord("marker", marker.__name__)]
    return _plugins.load([*core, *mine], strict=True)


@pytest.fixture(autouse=True)
def _same_plugins_for_kinds(monkeypatch: pytest.MonkeyPatch, plugins: Plugins) -> None:
    monkeypatch.setattr("alacarte.instance.load_plugins", lambda: plugins)


def deploy(local: Any, **options: Any) -> Any:
    @local.deployment(name="Echo", **options)
    class Echo:
        starts = 0

        async def __call__(self, text: str) -> tuple[str, str]:
            return text, local.get_replica_context().replica_id

    return local.run(Echo.bind(), route_prefix=None)


def seen(marker: Marker, handle: Any) -> tuple[list[str], str]:
    """Call, and return what layers noted and which replica answered."""
    marker.seen.clear()
    text, replica_id = handle.call("x")
    assert text == "x"
    return list(marker.seen), replica_id


def test_a_plugins_option_replaces_an_unsupported_option_of_core(local, marker):
    """`grpc_options` is accepted where a plugin provides them."""
    local.start(grpc_options={"word": "grpc "})
    handle = deploy(local, mark={"word": "a"})
    assert seen(marker, handle)[0] == ["grpc a", "replica a"]
    with pytest.raises(ConfigError, match="tracing_config"):
        local.start(tracing_config={})


def test_a_change_in_place_builds_layers_again_and_keeps_the_replica(local, marker):
    """A changed option rebuilds layers of callers and replicas, for existing handles, too."""
    handle = deploy(local, mark={"word": "a"})
    layers, replica_id = seen(marker, handle)
    assert layers == ["a", "replica a"]
    deploy(local, mark={"word": "b"})

    def changed(wanted: list[str]) -> Callable[[], bool]:
        return lambda: seen(marker, handle)[0] == wanted

    wait_until(changed(["b", "replica b"]))
    assert seen(marker, handle)[1] == replica_id
    deploy(local)
    wait_until(changed([]))
    assert seen(marker, handle)[1] == replica_id


def test_a_replica_without_its_new_layer_answers_no_call(local, marker):
    """A replica whose layer fails refuses calls: the layer may authenticate callers."""
    handle = deploy(local, mark={"word": "a"})
    replica_id = seen(marker, handle)[1]
    named = "plugin marker failed in wrap_replica"
    with pytest.raises(DeployError, match=named):
        deploy(local, mark={"word": "missing"})
    for _ in range(3):
        with pytest.raises(DeploymentUnavailableError, match=named):
            handle.call("x")
    deploy(local, mark={"word": "a"})  # those that its layers were built for last
    assert seen(marker, handle) == (["a", "replica a"], replica_id)


def test_a_change_that_needs_a_new_version_replaces_the_replica(local, marker):
    """A change of an option with `change="new_version"` replaces the replica."""
    handle = deploy(local, mark={"word": "a"}, model={"word": "1"})
    replica_id = seen(marker, handle)[1]
    deploy(local, mark={"word": "a"}, model={"word": "2"})
    wait_until(lambda: seen(marker, handle)[1] != replica_id)


def test_deployments_without_the_option_have_no_layer(local, marker):
    """A plugin's layers wrap only the deployments that have its option."""

    @local.deployment
    class Plain:
        async def __call__(self) -> str:
            return "plain"

    deploy(local, mark={"word": "a"})
    plain = local.run(Plain.bind(), name="other", route_prefix=None)
    assert plain.call() == "plain"
    assert marker.seen == []


def test_a_resource_kind_reads_the_options_of_deployments(local, marker):
    """A kind gets the deployments of any resource, by id, with their options."""
    deploy(local, mark={"word": "a"})
    [resource] = get_instance().resources("application")
    [info] = describe_deployments(resource)
    assert (str(info), info.options("mark")) == ("default#Echo", MarkOptions(word="a"))
    assert info.options("model") is None
    assert len(info.version) == 16


def test_code_and_options_of_replicas_stay_out_of_callers(local, marker):
    """A caller's layer gets a function's name and digest, a replica's the bytes, too."""

    def make(text: str) -> str:
        return text

    handle = deploy(local, mark={"word": "a", "make": make}, inner={"word": "b"})
    assert seen(marker, handle)[0] == ["a", "replica a"]
    (mark, inner), (replica_mark, replica_inner) = marker.given["caller"], marker.given["replica"]
    assert (inner, replica_inner) == (None, MarkOptions(word="b"))
    assert mark.make == replica_mark.make.without_code()
    assert mark.make.name.endswith("make")
    with pytest.raises(ConfigError, match=r"a marker: .* no code of .*make, .* in a replica"):
        user_code.load(mark.make, "a marker")
    assert user_code.load(replica_mark.make, "a marker")("x") == "x"
