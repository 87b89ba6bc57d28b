"""`alacarte.testing.check_plugin` accepts core's plugin, and names each broken rule."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from alacarte.errors import PluginError, ServeError
from alacarte.testing import check_plugin

Plug = Callable[[str], str]


@pytest.fixture
def plug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plug:
    """Create and install a plugin module from source, and return its name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    # Another interpreter has to find it, too.
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def plug(text: str) -> str:
        name = f"plugged_{tmp_path.name}"
        (tmp_path / f"{name}.py").write_text(
            "from alacarte.hookspecs import hookimpl\nfrom alacarte.types import *\n" + text
        )
        monkeypatch.setenv("ALACARTE_PLUGINS", name)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    return plug


def test_core_passes():
    """The plugin of core passes."""
    record = check_plugin("core")
    assert (record.distribution, record.state) == ("alacarte-core", "loaded")


def test_nobody_of_that_name():
    """The error for an unknown plugin lists the installed plugins."""
    with pytest.raises(AssertionError, match=r"no plugin 'cache' is installed; there are .*'core'"):
        check_plugin("cache")


RIGHT = """
from pydantic import BaseModel, ConfigDict

class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    size: int = 3

class Run:
    def arguments(self, parser):
        parser.add_argument("--fast", action="store_true")
    def run(self, options):
        return 0

run = Run()

class Kind:
    name = "thing"
    def validate(self, resource, others): ...
    def expand(self, resource): ...

class Protocol:
    name = "mine"
    def bind(self, served): ...

class Node:
    async def start(self, runtime): return {}
    async def drain(self, limit_s, *, replaced): ...
    async def stop(self): ...

@hookimpl
def register_config(): return [ConfigSection("mine", __name__ + ":Section")]
@hookimpl
def register_api(): return [ApiName("mine", __name__ + ":Run")]
@hookimpl
def register_modules(): return ["json.tool"]
@hookimpl
def register_commands(): return [Command("mine", "Do it.", __name__ + ":run")]
@hookimpl
def register_resources(): return [Kind()]
@hookimpl
def register_protocols(): return [Protocol()]
@hookimpl
def register_node_services(): return [NodeServiceSpec("mine", __name__ + ":Node")]
@hookimpl
def wrap_replica(deployment, config):
    size = config.section("mine").size
    return lambda service: service if size == 3 else None
@hookimpl
def wrap_caller(deployment): return None
class Around:
    def wrap(self, service, failed): return service
    def wrap_target(self, target, service, failed): return service
    def close(self, *, replaced): ...
@hookimpl
def wrap_route(route): return Around()
class Calls(RouterObserver):
    def queued(self, call): ...
    def ended(self, call, replica, outcome): ...
class Meters(Meter):
    def router(self, deployment): return Calls()
@hookimpl
def make_meter(process): return Meters()
@hookimpl
def on_event(event): ...
"""


def test_a_plugin_that_gives_everything(plug: Plug):
    """A valid plugin that implements every kind of hook passes."""
    name = plug(RIGHT)
    assert check_plugin(name).state == "loaded"


SWITCHED = """
from collections.abc import Callable
from pydantic import BaseModel, ConfigDict

class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    size: int
    key: Callable | None = None

@hookimpl
def register_config():
    return [ConfigSection("mine", __name__ + ":Section", scope="deployment", keyword=KEYWORD)]
@hookimpl
def wrap_caller(deployment):
    mine = deployment.options("mine")
    return None if mine is None else lambda service: service if mine.size < 5 else 17
"""


def test_what_is_given_only_where_it_is_asked_for(plug: Plug):
    """A layer that is off by default is checked with the options that switch it on."""
    name = plug(SWITCHED.replace("KEYWORD", "''"))
    check_plugin(name)
    check_plugin(name, options={"mine": {"size": 3}})
    with pytest.raises(AssertionError, match="wrap_caller"):
        check_plugin(name, options={"mine": {"size": 7}})
    with pytest.raises(AssertionError, match="'mine' refuses its own values after pickling"):
        check_plugin(name, options={"mine": {"size": 3, "key": len}})  # it arrives as a UserCode


def test_an_option_that_core_has(plug: Plug):
    """A keyword that conflicts with an option of core is refused."""
    with pytest.raises(PluginError, match="makes num_replicas an option of deployments"):
        check_plugin(plug(SWITCHED.replace("KEYWORD", "'num_replicas'")))


WRONG = {
    "has no function marked @hookimpl": "",
    "failed: PluginError: .* implements an unknown hook, register_apis": (
        "@hookimpl\ndef register_apis(): ..."
    ),
    r"\(in every process\): ZeroDivisionError": "1 / 0",
    r"\(in every process\): imports ray": "import sys; sys.modules['ray'] = sys",
    "failed: register_api: .* None instead of a list of ApiName": (
        "@hookimpl\ndef register_api(): return None"
    ),
    "a list with Command.* instead of ApiName": (
        "@hookimpl\ndef register_api(): return [Command('a', 'b', 'c')]"
    ),
    "must be 'module:attribute'": "@hookimpl\ndef register_api(): return [ApiName('a', 'json')]",
    "json:nothing cannot be imported": (
        "@hookimpl\ndef register_api(): return [ApiName('a', 'json:nothing')]"
    ),
    "nothing_here cannot be imported": (
        "@hookimpl\ndef register_modules(): return ['nothing_here']"
    ),
    "json:loads is not a pydantic model": (
        "@hookimpl\ndef register_config(): return [ConfigSection('a', 'json:loads')]"
    ),
    "Section must be frozen": RIGHT.replace("frozen=True, ", ""),
    "Section must forbid extra": RIGHT.replace(', extra="forbid"', ""),
    "help must be one line": RIGHT.replace('"Do it."', '""'),
    "has no run": RIGHT.replace("def run(", "def walk("),
    "which has no 'expand' and so is not a ResourceKind": RIGHT.replace("def expand(", "def grow("),
    "bind must not be async": RIGHT.replace("def bind(", "async def bind("),
    "wrap_target returned None": RIGHT.replace(
        "failed): return service\n    def close", "failed): ...\n    def close"
    ),
    "instead of RouteLayer or None": RIGHT.replace("return Around()", "return Kind()"),
    "observer of a router: queued must not be async": RIGHT.replace(
        "def queued(", "async def queued("
    ),
    r"observer of a router: ended must take \(call, replica, outcome\)": RIGHT.replace(
        "def ended(self, call, replica, outcome)", "def ended(self, call, outcome)"
    ),
    "make_meter returned .*Calls": RIGHT.replace("return Meters()", "return Calls()"),
    "wrapped a service as None": RIGHT.replace("size == 3", "size == 4"),
    "Node has no async start": RIGHT.replace("async def start(", "def start("),
    "bind must take the user's object": RIGHT.replace("def bind(self, served)", "def bind(self)"),
    "failed in on_event: ZeroDivisionError": RIGHT.replace(
        "def on_event(event): ...", "def on_event(event): 1 / 0"
    ),
    "it picked .*, which is not free": (
        "from alacarte._routing.builtin_policies import RoundRobin\n"
        "class Bad(RoundRobin):\n    def choose(self, call, replicas): return replicas[0]\n"
        "@hookimpl\ndef register_routing_policies():\n"
        "    return [PolicyFactory('bad', lambda context: Bad())]"
    ),
}


@pytest.mark.parametrize("message", WRONG)
def test_broken_rules(plug: Plug, message: str):
    """The error names each broken rule."""
    with pytest.raises(AssertionError, match=message):
        check_plugin(plug(WRONG[message]))


@pytest.mark.parametrize(
    "hook",
    [
        "wrap_caller(deployment): get_runtime()",
        "register_routing_policies(): return [PolicyFactory('asks', lambda _: get_runtime())]",
    ],
)
def test_a_plugin_that_gets_the_runtime_connects_to_nothing(plug: Plug, hook: str):
    """It connects to no running cluster; the error says how a hook gets a runtime."""
    name = plug(f"from alacarte.runtime import get_runtime\n@hookimpl\ndef {hook}")
    with pytest.raises(ServeError, match=r"called get_runtime\(\).* but this process has no run"):
        check_plugin(name)


def test_a_clash_with_another_plugin(plug: Plug):
    """A name that an installed plugin registers is refused."""
    name = plug(
        "from alacarte._routing.builtin_policies import RoundRobin\n"
        "@hookimpl\ndef register_routing_policies():\n"
        "    return [PolicyFactory('round_robin', RoundRobin)]"
    )
    with pytest.raises(PluginError, match=f"both .*{name}.* provide 'round_robin'"):
        check_plugin(name)


def test_a_plugin_that_is_disabled(plug: Plug, monkeypatch: pytest.MonkeyPatch):
    """A disabled plugin fails the check, though it is installed."""
    monkeypatch.setenv("ALACARTE_DISABLE_PLUGINS", "core")
    with pytest.raises(AssertionError, match="core is disabled"):
        check_plugin("core")


BRINGS_A_HOOK = """
from types import ModuleType
from alacarte.hookspecs import hookspec

@hookspec
def _spec(value: int) -> None: ...

specs = ModuleType("specs")
specs.on_mine = _spec
_spec.__name__ = "on_mine"
specs.CHECKS = {"on_mine": f"{__name__}:check"}
CHECKED = []

def check(hooks, config):
    CHECKED.append(config.section("cluster").max_message_bytes)
    assert not hooks.implements("on_mine"), "mine is broken"

@hookimpl
def register_hooks():
    return [specs]
"""


def test_a_hook_of_a_plugin_has_its_own_check(plug: Plug):
    """The check runs for each plugin that implements the hook, with hooks and configuration."""
    name = plug(BRINGS_A_HOOK)
    check_plugin(name)
    assert sys.modules[name].CHECKED == []
    name = plug(BRINGS_A_HOOK + "\n@hookimpl\ndef on_mine(value): ...")
    with pytest.raises(AssertionError, match="mine is broken"):
        check_plugin(name)
    assert len(sys.modules[name].CHECKED) == 1
