"""Loading of plugins: good, broken, disabled, in conflict, missing, of another version.

Each test installs what it needs into a folder of its own, as a wheel would: a module and a
`*.dist-info` with an entry point.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from alacarte import _plugins
from alacarte._plugins import PluginRecord, check_same, discover, installed, load
from alacarte._section_values import SectionValues
from alacarte.errors import ConfigError, PluginError
from alacarte.plugins import load_all_plugins
from alacarte.types import DeploymentId, DeploymentInfo, Event, Route

GOOD = """
from alacarte.hookspecs import hookimpl
from alacarte.types import Command

@hookimpl
def register_commands():
    return [Command("greet", "Say hello.", "greeting:command")]
"""

Install = Callable[..., Path]


def states(plugins: _plugins.Plugins) -> dict[str, str]:
    return {record.name: record.state for record in plugins.records}


def test_a_good_plugin(install: Install):
    """A plugin is found by its entry point, with distribution and version, and its hooks called."""
    install("good", GOOD, version="1.2")
    assert discover() == [PluginRecord("good", "good", "good", "1.2")]
    plugins = load()
    assert plugins.loaded == (PluginRecord("good", "good", "good", "1.2", "loaded"),)
    assert list(plugins.commands) == ["greet"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [("raise KeyError('no')", "KeyError: 'no'"), ("return 17", "wrap_route returned 17")],
)
def test_a_plugin_that_fails_around_a_route_is_named(install: Install, body: str, reason: str):
    """The error names the plugin and the route, and the failure is kept for the status."""
    source = "from alacarte.hookspecs import hookimpl\n@hookimpl\ndef wrap_route(route): "
    install("mad", source + body)
    runtime: Any = None
    plugins = load()
    for _ in range(2):
        [error] = plugins.wrap_route(
            Route("/r", "r", {DeploymentId("a", "A"): 1.0}, name="r"), runtime
        )
        assert reason in str(error)
        assert str(error).startswith("route 'r': plugin mad")
    [failure] = plugins.failures.values()
    assert (failure.plugin, failure.hook, failure.count) == ("mad", "wrap_route", 2)


def test_finding_imports_nothing(install: Install):
    """A plugin that is only listed does not run."""
    install("broken", "raise RuntimeError('imported')")
    assert [record.state for record in discover()] == ["found"]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("raise SystemExit('no licence')", "SystemExit: no licence"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def broken(:", "SyntaxError"),
        (GOOD.replace("register_commands()", "register_commands(argument)"), "argument"),
    ],
)
def test_a_broken_plugin_does_not_affect_others(
    install: Install, caplog: pytest.LogCaptureFixture, source: str, reason: str
):
    """A broken plugin fails with its reason and a warning; the others are loaded."""
    install("broken", source)
    install("good", GOOD)
    with caplog.at_level(logging.WARNING, "alacarte"):
        plugins = load()
    assert states(plugins) == {"broken": "failed", "good": "loaded"}
    assert reason in plugins.records[0].reason
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "broken" in caplog.text
    assert list(plugins.commands) == ["greet"]


def test_a_broken_plugin_that_the_configuration_names_is_fatal(install: Install):
    """The error names the required plugin, its state, and the reason."""
    install("broken", "raise RuntimeError('no licence')")
    install("good", GOOD)
    plugins = load()
    plugins.require(["good"])
    with pytest.raises(PluginError, match=r"'broken' is required but failed: .*no licence"):
        plugins.require(["good", "broken"])
    with pytest.raises(PluginError, match="'absent' is required but not installed"):
        plugins.require(["absent"])


def test_strict_loading_goes_on_without_none(install: Install):
    """An actor that cannot load what the driver has does not start."""
    install("broken", "raise RuntimeError('no licence')")
    with pytest.raises(PluginError, match=r"broken cannot be loaded: .*no licence"):
        load(strict=True)


def test_a_misspelt_hook(install: Install):
    """A function that would never be called is an error which names it and the hooks there are."""
    install("typo", GOOD.replace("register_commands", "register_comands"))
    install("good", GOOD)
    plugins = load()
    assert states(plugins) == {"good": "loaded", "typo": "failed"}
    assert "register_comands" in plugins.records[1].reason
    assert "register_commands" in plugins.records[1].reason
    assert list(plugins.commands) == ["greet"]


def test_a_plugin_can_be_disabled(install: Install, monkeypatch: pytest.MonkeyPatch):
    """`ALACARTE_DISABLE_PLUGINS` names plugins, by commas; they are listed and not imported."""
    install("broken", "raise RuntimeError('imported')")
    install("noisy", "raise RuntimeError('imported')")
    install("good", GOOD)
    monkeypatch.setenv("ALACARTE_DISABLE_PLUGINS", " broken, noisy ,")
    plugins = load(strict=True)
    assert states(plugins) == {"broken": "disabled", "good": "loaded", "noisy": "disabled"}
    assert "ALACARTE_DISABLE_PLUGINS" in plugins.records[0].reason
    with pytest.raises(PluginError, match="'broken' is required but disabled"):
        plugins.require(["broken"])


def test_modules_can_be_named_as_plugins(install: Install, monkeypatch: pytest.MonkeyPatch):
    """`ALACARTE_PLUGINS` loads modules that no distribution registers."""
    folder = install("good", GOOD)
    (folder / "entry_points.txt").unlink()
    monkeypatch.setenv("ALACARTE_PLUGINS", "good, missing_module")
    plugins = load()
    assert states(plugins) == {"good": "loaded", "missing_module": "failed"}
    assert list(plugins.commands) == ["greet"]
    assert plugins.loaded[0].distribution == ""


def test_two_plugins_of_one_name(install: Install):
    """The error names both distributions."""
    install("first-dist", GOOD, plugin="twin")
    install("second-dist", GOOD.replace("greet", "wave"), plugin="twin")
    with pytest.raises(PluginError, match=r"'twin'.*-dist and .*-dist") as caught:
        load()
    assert {"first-dist", "second-dist"} <= set(str(caught.value).replace(".", " ").split())


def test_two_plugins_that_give_one_name(install: Install):
    """The error says which hook and name, and names both distributions."""
    install("first-dist", GOOD)
    install("second-dist", GOOD)
    with pytest.raises(
        PluginError, match=r"register_commands: both first-dist and second-dist provide 'greet'"
    ):
        load().commands  # noqa: B018


def test_a_plugin_that_fails_when_it_is_asked(install: Install, caplog: pytest.LogCaptureFixture):
    """A plugin whose hook fails is dropped; where the plugin is required, an error names it."""
    install("moody", GOOD.replace("return", "raise ValueError('not today')\n    return"))
    install("good", GOOD)
    plugins = load()
    with caplog.at_level(logging.WARNING, "alacarte"):
        assert list(plugins.commands) == ["greet"]
    assert states(plugins) == {"good": "loaded", "moody": "failed"}
    assert "moody was dropped: register_commands: ValueError: not today" in caplog.text
    with pytest.raises(PluginError, match=r"moody failed in register_commands: .*not today"):
        load(strict=True).commands  # noqa: B018


EXITING = """
from alacarte.hookspecs import hookimpl

@hookimpl
def {hook}:
    raise SystemExit(3)
"""


def test_a_plugin_that_would_end_the_process_is_left_out(install: Install):
    """A plugin whose module raises SystemExit fails, and the process continues."""
    install("exits", EXITING.format(hook="register_modules()"))
    plugins = load()
    plugins.import_modules()
    assert [(each.state, each.reason) for each in plugins.records] == [
        ("failed", "register_modules: SystemExit: 3")
    ]


@pytest.mark.parametrize(
    ("hook", "ask"),
    [
        ("make_client(instance)", lambda plugins: plugins.make_client(None)),
        (
            "make_handle(deployment)",
            lambda plugins: plugins.make_handle(DeploymentId("a", "A"), None),
        ),
    ],
)
def test_a_plugin_that_would_end_the_process_is_named(install: Install, hook: str, ask: Any):
    """SystemExit of a hook becomes a PluginError that names the plugin."""
    install("exits", EXITING.format(hook=hook))
    with pytest.raises(PluginError, match=r"plugin exits failed in make_.*: SystemExit: 3"):
        ask(load())


def test_a_layer_that_would_end_the_process_is_named(install: Install):
    """SystemExit of a layer that wraps a service becomes a PluginError."""
    source = EXITING.format(hook="wrap_caller()").replace(
        "    raise SystemExit(3)",
        "    def layer(service):\n        raise SystemExit(3)\n    return layer",
    )
    install("exits", source)
    [staged] = load().wrap_caller(DeploymentInfo(DeploymentId("a", "A")), cast(Any, None))
    with pytest.raises(PluginError, match="plugin exits: wrap_caller: the layer failed: SystemEx"):
        staged.layer(cast(Any, None))


def test_a_distribution_that_is_found_twice_counts_once(
    install: Install, monkeypatch: pytest.MonkeyPatch
):
    """The same folder twice on `sys.path` is no conflict."""
    folder = install("good", GOOD)
    monkeypatch.setattr(sys, "path", [str(folder.parent), f"{folder.parent}/.", *sys.path])
    assert [record.name for record in discover()] == ["good"]


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("batch", "alacarte-batching"),
        ("multiplexed", "alacarte-multiplexing"),
        ("get_app_handle", "alacarte-handles"),
        ("ingress", "alacarte-http"),
        ("http_options", "alacarte-http"),
    ],
)
def test_the_error_for_a_missing_package(name: str, package: str):
    """The error for a name of a missing package has the command that installs it."""
    assert f"pip install {package}" in str(_plugins.missing_package(name, f"serve.{name}"))


def test_a_handle_without_alacarte_handles(install: Install):
    """Without a package that provides handles, the error names alacarte-handles."""
    with pytest.raises(PluginError, match=r"a handle to a#b .*pip install alacarte-handles"):
        load().make_handle(DeploymentId("a", "b"), None)


def test_driver_and_actor_must_run_the_same(install: Install):
    """The error names the plugins and versions that only one of the processes has."""
    install("good", GOOD, version="1.0")
    driver = load().loaded
    check_same(driver, installed(driver))
    here = [PluginRecord("good", "good", "good", "2.0", "loaded")]
    with pytest.raises(PluginError, match=r"only here good 2\.0; only there good 1\.0"):
        check_same(here, driver)
    with pytest.raises(PluginError, match=r"only here none; only there good 1\.0"):
        check_same([], driver)


def test_an_actor_compares_the_versions_it_would_load(install: Install):
    """The versions that count are those installed on the actor's machine, not the driver's."""
    install("good", GOOD, version="2.0")
    told = [PluginRecord("good", "good", "good", "1.0", "loaded")]
    assert [record.version for record in installed(told)] == ["2.0"]


def test_a_plugin_missing_where_the_actor_runs():
    """A plugin that is missing on the actor's machine is a difference, not another error."""
    told = [PluginRecord("gone", "gone", "no-such-dist", "1.0", "loaded")]
    with pytest.raises(PluginError, match=r"only there gone 1\.0"):
        check_same(installed(told), told)


LAYERS = """
from alacarte.hookspecs import hookimpl

def named(service):
    async def call(request):
        return ["NAME", *await service(request)]
    return call

@hookimpl
def wrap_caller(deployment):
    return named if deployment.name != "plain" else None

@hookimpl
def wrap_replica(config, deployment):
    return named
"""


def test_layers_are_asked_for_in_the_order_of_names(install: Install):
    """Hooks for layers are called once for each plugin, in the order of names."""
    for name in ("b", "a", "c"):
        install(name, LAYERS.replace("NAME", name))
    plugins = load()
    config = SectionValues(plugins, {})
    assert plugins.wrap_caller(DeploymentInfo(DeploymentId("x", "plain")), config) == []
    for layers in (
        plugins.wrap_caller(DeploymentInfo(DeploymentId("x", "y")), config),
        plugins.wrap_replica(DeploymentInfo(DeploymentId("x", "y")), config),
    ):
        assert [staged.layer.__module__ for staged in layers] == ["a", "b", "c"]


def test_a_stage_stands_before_the_name(install: Install):
    """Stages order layers before names: the authentication zauth is outside of the cache acache."""
    staged = LAYERS.replace("return named", 'return StagedLayer("STAGE", named)')
    staged = "from alacarte.types import StagedLayer\n" + staged
    install("acache", staged.replace("NAME", "c").replace("STAGE", "cache"))
    install("zauth", staged.replace("NAME", "z").replace("STAGE", "authentication"))
    plugins = load()
    layers = plugins.wrap_replica(
        DeploymentInfo(DeploymentId("x", "y")), SectionValues(plugins, {})
    )
    assert [each.layer.__module__ for each in layers] == ["zauth", "acache"]


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("17", "x#y: plugin odd: wrap_caller returned 17 instead of callable"),
        (
            'StagedLayer("cache", 17)',
            "plugin odd: wrap_caller returned the layer 17, which cannot be called",
        ),
        (
            'StagedLayer("x", print)',
            "plugin odd returned a layer with the unknown stage 'x'; known",
        ),
        ("{}['x']", "deployment x#y: plugin odd failed in wrap_caller: KeyError: 'x'"),
    ],
)
def test_a_layer_that_is_none_names_its_plugin(install: Install, returned: str, words: str):
    """The error for a value that is not a layer names the plugin."""
    install(
        "odd",
        f"""
        from alacarte.hookspecs import hookimpl
        from alacarte.types import StagedLayer

        @hookimpl
        def wrap_caller(deployment):
            return {returned}
        """,
    )
    plugins = load()
    with pytest.raises(PluginError, match=words):
        plugins.wrap_caller(DeploymentInfo(DeploymentId("x", "y")), SectionValues(plugins, {}))
    [failure] = plugins.failures.values()
    assert (failure.plugin, failure.hook, failure.subject) == (
        "odd",
        "wrap_caller",
        "deployment x#y",
    )


OBSERVERS = """
from alacarte.hookspecs import hookimpl
seen = []

@hookimpl
def on_event(event):
    seen.append(event)
    raise RuntimeError(f"observer of {__name__}")
"""


def test_a_failing_observer_does_not_affect_others(
    install: Install, caplog: pytest.LogCaptureFixture
):
    """An observer's error is logged with the plugin's name, and the others are called."""
    install("one", OBSERVERS)
    install("other", OBSERVERS)
    plugins = load()
    event = Event("replica", "r1", "RUNNING")
    plugins.on_event(event)
    assert sys.modules["one"].seen == sys.modules["other"].seen == [event]
    assert [record.getMessage() for record in caplog.records] == [
        f"plugin {name} failed in on_event for replica: RuntimeError: observer of {name}"
        for name in ("one", "other")
    ]
    assert [failure.plugin for failure in plugins.failures.values()] == ["one", "other"]


def test_check_start(install: Install):
    """A plugin may refuse a configuration; the error for a failed check names the plugin."""
    install(
        "checks",
        """
        from alacarte.errors import ConfigError
        from alacarte.hookspecs import hookimpl

        @hookimpl
        def check_start(config):
            if config == "port in use":
                raise ConfigError("port 80 is in use.")
            if config == "broken":
                raise KeyError("no such thing")
        """,
    )
    plugins = load()
    plugins.check_start("fine")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"^port 80 is in use\.$"):
        plugins.check_start("port in use")  # type: ignore[arg-type]
    with pytest.raises(
        PluginError, match="plugin checks failed in check_start: KeyError: .no such"
    ):
        plugins.check_start("broken")  # type: ignore[arg-type]


def test_plugins_that_clash_are_examined(install: Install):
    """Plugins that provide the same name have failed, with the reason; others have not."""
    install("first-dist", GOOD)
    install("second-dist", GOOD)
    install("other", GOOD.replace("greet", "wave"))
    records = {record.name: record for record in load().examine()}
    assert {name: record.state for name, record in records.items()} == {
        "first_dist": "failed",
        "second_dist": "failed",
        "other": "loaded",
    }
    assert "both first-dist and second-dist provide 'greet'" in records["first_dist"].reason


def test_a_distribution_can_be_disabled(install: Install, monkeypatch: pytest.MonkeyPatch):
    """`ALACARTE_DISABLE_PLUGINS` disables all plugins of a distribution, too."""
    install("first-dist", GOOD, plugin="twin")
    install("second-dist", GOOD.replace("greet", "wave"), plugin="twin")
    monkeypatch.setenv("ALACARTE_DISABLE_PLUGINS", "first-dist")
    assert list(load().commands) == ["wave"]


def test_plugins_of_one_name_can_be_shown(install: Install):
    """Plugins of the same name have failed, with the reason; others are loaded."""
    install("first-dist", GOOD, plugin="twin")
    install("second-dist", GOOD, plugin="twin")
    install("other", GOOD)
    other, *twins = load_all_plugins().examine()
    assert (other.name, other.state) == ("other", "loaded")
    assert [(each.name, each.state, each.distribution) for each in twins] == [
        ("twin", "failed", "first-dist"),
        ("twin", "failed", "second-dist"),
    ]
    assert {each.reason.partition(".")[0] for each in twins} == {
        "2 plugins are named 'twin': first-dist and second-dist"
    }
