from __future__ import annotations

import sys
from argparse import Namespace
from types import ModuleType
from typing import Any

import pytest

from alacarte.hookspecs import hookimpl
from alacarte.plugins import PluginRecord
from alacarte.types import Command
from alacarte_cli.commands.plugins import PluginsCommand, contributions


def test_each_plugin_has_a_row_and_each_failure_its_reason(
    plugins: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Name, version, distribution, state and what it gives; reasons follow below.

    The exit code says that one has failed.
    """
    assert PluginsCommand().run(Namespace(plugins=plugins, hooks=False)) == 1
    head, cli, odd, *rest = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "VERSION", "DISTRIBUTION", "STATE", "PROVIDES"]
    assert cli.split()[:4] == ["cli", "0.1.0", "alacarte-cli", "loaded"]
    assert cli.endswith("commands: run, status, shutdown, plugins, doctor")
    assert odd.split() == ["odd", "2.0", "alacarte-odd", "failed", "-"]
    assert rest == ["", "odd is failed: ImportError: x", "y"]


def test_each_hook_has_a_row_on_request(plugins: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """`--hooks` lists hooks with the plugins that specify and implement them, in order."""
    PluginsCommand().run(Namespace(plugins=plugins, hooks=True))
    head, row, *_ = capsys.readouterr().out.splitlines()
    assert head.split() == ["HOOK", "SPECIFIED", "BY", "IMPLEMENTED", "BY"]
    assert row.split() == ["wrap_http", "http", "cors,", "keys"]


def test_hooks_of_all_kinds_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Named values appear by name, layers and others by hook; plain functions do not appear."""
    plugin = ModuleType("many_hooks")

    @hookimpl
    def register_commands() -> list[Command]:
        return [Command("a", "", ""), Command("b", "", "")]

    @hookimpl
    def register_modules() -> list[str]:
        return ["one.module"]

    @hookimpl
    def register_api() -> list[Any]:
        return []

    @hookimpl
    def wrap_replica(deployment: Any) -> None: ...

    def plain() -> None: ...

    for function in (register_commands, register_modules, register_api, wrap_replica, plain):
        setattr(plugin, function.__name__, function)
    monkeypatch.setitem(sys.modules, "many_hooks", plugin)
    assert list(contributions(PluginRecord("many", "many_hooks", state="loaded"))) == [
        "api: nothing",
        "commands: a, b",
        "modules: one.module",
        "wrap_replica",
    ]
