"""Required plugins."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from alacarte import _plugins, serve
from alacarte import plugins as process_plugins
from alacarte._plugins import PluginRecord
from alacarte.errors import ConfigError, PluginError
from alacarte.hookspecs import hookimpl
from alacarte.serve import _current


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Load core and a plugin `guard`, as a test has left its module; return that module."""
    module = types.ModuleType("guard_of_tests")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    loaded: list[Any] = []

    def load_plugins() -> Any:
        if not loaded:
            core = [record for record in _plugins.discover() if record.name == "core"]
            loaded.append(_plugins.load([*core, PluginRecord("guard", module.__name__)]))
        return loaded[0]

    monkeypatch.setattr(_current, "load_plugins", load_plugins)
    monkeypatch.setattr(process_plugins, "load_plugins", load_plugins)
    monkeypatch.setenv("ALACARTE_CLUSTER", "local")
    yield module
    serve.shutdown()


@serve.deployment
class Model:
    def __call__(self) -> str:
        return "answer"


def test_a_required_plugin_that_is_loaded(guard: Any):
    """The instance starts, and a later start may require it as well."""
    serve.start(required_plugins=["guard"])
    serve.start(required_plugins=["guard", "core"])
    with pytest.raises(PluginError, match="'absent' is required but not installed"):
        serve.start(required_plugins=["absent"])


@pytest.mark.parametrize("asked", ["argument", "environment"])
def test_a_required_plugin_that_has_failed(guard: Any, asked: str, monkeypatch: pytest.MonkeyPatch):
    """`serve.start` and `serve.run` start nothing, and the error has the reason."""

    @hookimpl
    def register_commands() -> Any:
        return None

    guard.register_commands = register_commands
    if asked == "environment":
        monkeypatch.setenv("ALACARTE_REQUIRED_PLUGINS", "core, guard")
        with pytest.raises(PluginError, match="'guard' is required but failed"):
            serve.run(Model.bind(), route_prefix=None)
    names = ["guard"] if asked == "argument" else []
    with pytest.raises(PluginError, match="is required but failed: register_commands: .*None inst"):
        serve.start(required_plugins=names)
    assert _current.current() is None


def test_without_requiring_it_the_rest_is_served(guard: Any):
    """Without a requirement, an instance starts without a plugin that has failed."""

    @hookimpl
    def register_commands() -> Any:
        raise RuntimeError("no licence")

    guard.register_commands = register_commands
    serve.start()
    serve.run(Model.bind(), route_prefix=None)


def test_a_process_requires_the_plugins_of_its_own_machine(
    guard: Any, monkeypatch: pytest.MonkeyPatch
):
    """An actor does not start without the plugins that its own machine requires."""
    monkeypatch.setattr("alacarte._cluster.actor_host.required_plugins", lambda: ["auth"])
    with pytest.raises(PluginError, match="'auth' is required but not installed"):
        serve.start()


def test_names_in_one_string(guard: Any):
    """`required_plugins` must be a list, not a string."""
    with pytest.raises(ConfigError, match=r"must be a list of names; write \['guard'\]"):
        serve.start(required_plugins="guard")  # type: ignore[arg-type]
