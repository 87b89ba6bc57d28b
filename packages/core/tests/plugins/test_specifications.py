"""Plugins that specify hooks, and plugins that implement them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from alacarte._plugins import load
from alacarte.errors import PluginError

Install = Callable[..., Path]

HOST = """
import sys
from types import ModuleType
from typing import Protocol
from alacarte.hookspecs import hookimpl, hookspec

class Store(Protocol):
    name: str
    def get(self, key): ...

@hookspec
def register_stores() -> list[Store]: ...

@hookspec(firstresult=True)
def make_store(size) -> Store | None: ...

@hookspec
def on_store(name) -> None: ...

@hookimpl
def register_hooks() -> list[ModuleType]:
    return [sys.modules[__name__]]
"""
GUEST = """
from alacarte.hookspecs import hookimpl

told = []

class Memory:
    name = "memory of NAME"
    def get(self, key): return key

@hookimpl
def register_stores():
    return [Memory()]

@hookimpl
def on_store(name):
    told.append(name)
"""


def guest(name: str, **replaced: str) -> str:
    text = GUEST.replace("NAME", name)
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    return text


def test_a_hook_that_a_plugin_specifies(install: Install):
    """A plugin's hook is called like core's, whichever of the two plugins is loaded first."""
    install("b_host", HOST)
    install("a_guest", guest("a"))
    install("c_guest", guest("c"))
    plugins = load(strict=True)
    assert list(plugins.registered("register_stores")) == ["memory of a", "memory of c"]
    assert plugins.specifications["register_stores"].plugin == "b_host"
    assert plugins.implementers("on_store") == ["a_guest", "c_guest"]
    assert plugins.implements("make_store") is False
    assert plugins.call_robust("on_store", name="x") == []


def test_an_unknown_hook(install: Install):
    """The implementation of an unknown hook fails with a remedy; an optional one is loaded."""
    install("guest", guest("a"))
    install(
        "optional",
        "from alacarte.hookspecs import hookimpl\n"
        "@hookimpl(optionalhook=True)\ndef register_stores(): return []",
    )
    failed, loaded = load().records
    assert (failed.state, loaded.state) == ("failed", "loaded")
    assert "implements an unknown hook, on_store" in failed.reason
    assert "optionalhook=True" in failed.reason


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (HOST.replace("[sys.modules[__name__]]", "None"), "None instead of a list of module"),
        (HOST.replace("[sys.modules[__name__]]", "[sys]"), "sys has no function marked @hookspec"),
        (
            "from __future__ import annotations\n" + HOST.replace("list[Store]", "list[Shop]"),
            "annotation cannot be resolved.*'Shop'",
        ),
        (HOST.replace("return [sys", "raise KeyError('x')\n    return [sys"), "KeyError: 'x'"),
        (
            HOST.replace("on_store", "on_event"),
            "on_event is already specified by plugin core",
        ),
    ],
)
def test_invalid_hooks_of_a_plugin(install: Install, source: str, reason: str):
    """A plugin with invalid hooks fails, and so do their implementers; others are loaded."""
    install("host", source)
    install("guest", guest("a"))
    install("other", "from alacarte.hookspecs import hookimpl")
    guest_, host, other = load().records
    assert (guest_.state, host.state, other.state) == ("failed", "failed", "loaded")
    assert re.search(reason, host.reason)


def test_values_of_a_wrong_type(install: Install):
    """A plugin whose value does not fit the hook's annotation has failed."""
    install("host", HOST)
    install("guest", guest("a", **{"def get(self, key): return key": "size = 3"}))
    plugins = load()
    assert plugins.registered("register_stores") == {}
    [failed] = [record for record in plugins.records if record.state == "failed"]
    assert failed.name == "guest"
    assert "which has no 'get' and so is not a Store" in failed.reason


def test_order_and_wrappers(install: Install):
    """`tryfirst` and `trylast` order the calls, and a wrapper surrounds them all."""
    install("host", HOST)
    first = """
    from alacarte.hookspecs import hookimpl

    class Sized:
        def __init__(self, name): self.name = name
        def get(self, key): ...

    @hookimpl{options}
    def make_store(size):
        return Sized("{name}") if size > {least} else None
    """
    install("a", first.format(options="(trylast=True)", name="a", least=0))
    install("b", first.format(options="", name="b", least=10))
    install("c", first.format(options="(tryfirst=True)", name="c", least=100))
    plugins = load(strict=True)
    assert plugins.implementers("make_store") == ["c", "b", "a"]
    assert [plugins._first("make_store", size=n).name for n in (1, 11, 101)] == ["a", "b", "c"]
    install(
        "w",
        """
        from alacarte.hookspecs import hookimpl

        @hookimpl(wrapper=True)
        def make_store(size):
            found = yield
            found.name = f"wrapped {found.name}"
            return found
        """,
    )
    assert load(strict=True)._first("make_store", size=1).name == "wrapped a"


@pytest.mark.parametrize(
    ("hook", "options", "reason"),
    [
        ("register_api()", "tryfirst=True", "register_api: tryfirst=True has no effect"),
        ("wrap_caller(deployment)", "trylast=True", "return a StagedLayer"),
        ("wrap_caller(deployment)", "wrapper=True", "wrapper=True is for hooks whose first"),
        ("register_api()", "wrapper=True", "wrapper=True is for hooks whose first"),
        ("make_client(instance)", "hookwrapper=True", "write wrapper=True"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    install: Install, hook: str, options: str, reason: str
):
    """A plugin with an option of `@hookimpl` that has no effect fails."""
    install(
        "odd",
        f"from alacarte.hookspecs import hookimpl\n@hookimpl({options})\ndef {hook}:\n    yield",
    )
    [record] = load().records
    assert record.state == "failed"
    assert reason in record.reason


def test_errors_name_the_plugin(install: Install):
    """The errors of all ways to call a hook name the plugin that failed."""
    install("host", HOST)
    install(
        "odd",
        """
        from alacarte.hookspecs import hookimpl

        @hookimpl
        def make_store(size): return size["x"]

        @hookimpl
        def on_store(name): return 3
        """,
    )
    plugins = load()
    with pytest.raises(PluginError, match="plugin odd failed in make_store: KeyError: 'x'"):
        plugins._first("make_store", size={})
    with pytest.raises(PluginError, match="plugin odd: on_store returned 3 instead of None"):
        plugins.call("on_store", name="x")
    with pytest.raises(PluginError, match="no plugin specifies a hook 'on_shop'"):
        plugins.call("on_shop")
