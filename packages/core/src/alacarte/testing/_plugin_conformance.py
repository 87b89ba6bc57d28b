"""Conformance checks of plugins, which find errors before an instance does."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, cast

from pydantic import RootModel

from .._control.report_topics import ReportTopics
from .._model.option_packing import pack_options, prepare_options
from .._model.options import DeploymentOptions, build_options, option_sections
from .._plugins import PluginRecord, Plugins, discover, hook_call, load
from .._section_values import SectionValues, describe_deployment, resolve
from ..errors import ConfigError, PluginError
from ..foreign import load_target
from ..types import (
    ApiName,
    BatchObserver,
    Call,
    Command,
    ConfigSection,
    DeploymentId,
    DeploymentInfo,
    EdgeObserver,
    Event,
    Hooks,
    LayerStage,
    NodeServiceSpec,
    PolicyFactory,
    ProcessInfo,
    ReplicaObserver,
    Reply,
    ReportReceiver,
    RouterObserver,
    WireObserver,
)
from ._policy_conformance import check_routing_policy
from ._route_layer_conformance import check_route_layers

__all__ = ["check_plugin"]

Implementation = Callable[..., Any]
"""An implementation of a hook in the checked plugin."""
Check = Callable[[Implementation, Plugins], None]

_DEPLOYMENT = DeploymentInfo(DeploymentId("check", "Plugin"), "1")
_REGISTRIES = (
    "api",
    "config_sections",
    "deployment_sections",
    "layer_stages",
    "commands",
    "resource_kinds",
    "node_services",
    "routing_policies",
    "protocols",
)


@hook_call("check_plugin asked a plugin that called get_runtime()")
def check_plugin(
    name: str,
    *,
    config: Mapping[str, object] = MappingProxyType({}),
    options: Mapping[str, object] = MappingProxyType({}),
) -> PluginRecord:
    """Check the conformance of an installed plugin; the first test of every plugin.

    The plugin must load by its entry point without importing Ray, implement known hooks, and
    register importable values of the right types whose names conflict with no other installed
    plugin. Its configuration must have defaults, and its routing policies must pass
    `check_routing_policy`.

    Args:
        name: Name of the entry point in the group `alacarte`.
        config: Configuration, as for `serve.start`, to check the plugin's layers with.
        options: Options of a deployment, as for `serve.deployment`, to check the plugin's layers
            and the pickling of its options with.

    Returns:
        The plugin's record.

    Raises:
        AssertionError: The plugin violates a rule; the message names the rule.
        PluginError: The plugin conflicts with another plugin.
    """
    found = {record.name: record for record in discover()}
    assert name in found, f"no plugin {name!r} is installed; there are {sorted(found)}"
    assert found[name].state == "found", f"{name} is {found[name].state}: {found[name].reason}"
    _check_import(found[name].target)
    plugins = load(found.values())
    for registry in _REGISTRIES:
        getattr(plugins, registry)
    for hook, specification in plugins.specifications.items():
        if specification.is_registry:
            plugins.registered(hook)
    record = next(each for each in plugins.records if each.name == name)
    assert record.state == "loaded", f"{name} is {record.state}: {record.reason}"
    module = importlib.import_module(record.target)
    assert _hooks(module), f"{record.target} has no function marked @hookimpl"
    for hook in _hooks(module):
        check = _CHECKS.get(hook) or _check_of(hook, plugins)
        if check is not None:
            check(getattr(module, hook), plugins)
    if config or options:
        _check_layers_with(plugins, config, options)
    return record


def _check_layers_with(
    plugins: Plugins, config: Mapping[str, object], options: Mapping[str, object]
) -> None:
    """Check the layers of a deployment with these options."""
    models = build_options("check", cast(DeploymentOptions, options), option_sections(plugins))
    models = prepare_options("check", models, plugins)
    values = pickle.loads(pickle.dumps(pack_options("check", models, _identify)))
    info = describe_deployment(DeploymentId("check", "Plugin"), "1", values, plugins)
    for section in values:
        try:
            info.options(section)
        except ValueError as error:
            raise AssertionError(
                f"the section {section!r} refuses its own values after pickling: {error}"
            ) from error
    sections = SectionValues(plugins, resolve(plugins, config))
    _check_layers(plugins.wrap_caller(info, sections))
    _check_layers(plugins.wrap_replica(info, sections))


def _identify(application: object) -> DeploymentId:
    raise AssertionError(f"an option must not hold the application {application}")


def _check_of(hook: str, plugins: Plugins) -> Check | None:
    """Return the check of a plugin's own hook, from `CHECKS` of the specifying module, or None."""
    specification = plugins.specifications.get(hook)
    target = getattr(specification and specification.module, "CHECKS", {}).get(hook)
    if target is None:
        return None
    check = _imported(target)
    return lambda implementation, plugins: check(plugins, _configuration(plugins))


def _check_import(target: str) -> None:
    """Check that the import of a plugin, which every process pays for, does not import Ray."""
    program = f"import sys, {target}; sys.exit('ray' in sys.modules and 'imports ray')"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    reason = done.stderr.strip().splitlines()[-1:] or [""]
    assert done.returncode == 0, f"import {target} (in every process): {reason[0]}"


def _hooks(module: object) -> list[str]:
    return [name for name in dir(module) if hasattr(getattr(module, name, None), "alacarte_impl")]


# --- checks of the hooks' results -------------------------------------------------------


def _check_api(implementation: Implementation, plugins: Plugins) -> None:
    for api in _given(implementation, ApiName):
        _imported(api.target)


def _check_modules(implementation: Implementation, plugins: Plugins) -> None:
    for module in implementation():
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise AssertionError(f"{module} cannot be imported: {error}") from error


def _check_config(implementation: Implementation, plugins: Plugins) -> None:
    for section in _given(implementation, ConfigSection):
        model = _imported(section.target)
        settings = getattr(model, "model_config", None)
        assert settings is not None, f"{section.target} is not a pydantic model"
        assert settings.get("frozen"), f"{section.target} must be frozen, since processes share it"
        assert settings.get("extra") == "forbid" or issubclass(model, RootModel), (
            f"{section.target} must forbid extra fields, or misspelt options would be ignored"
        )
        if section.prepare:
            assert callable(_imported(section.prepare)), f"{section.prepare} is not a function"
        if section.scope == "deployment":
            option_sections(plugins)  # raises when its keyword conflicts with another section
            continue  # options of deployments need no defaults
        values = resolve(plugins, {})[section.name]
        # Other processes get plain values, and build the model from them.
        built = SectionValues(plugins, {section.name: pickle.loads(pickle.dumps(values))})
        assert built.section(section.name) == model(**values)


def _check_start(implementation: Implementation, plugins: Plugins) -> None:
    # ConfigError is a valid result: the port may be in use on the test's machine.
    with contextlib.suppress(ConfigError):
        plugins.check_start(_configuration(plugins))


def _check_commands(implementation: Implementation, plugins: Plugins) -> None:
    for command in _given(implementation, Command):
        assert len(command.help.splitlines()) == 1, f"{command.name}: help must be one line"
        runnable = _imported(command.target)
        assert callable(getattr(runnable, "run", None)), f"{command.target} has no run(options)"
        runnable.arguments(argparse.ArgumentParser(prog=command.name))


def _check_resources(implementation: Implementation, plugins: Plugins) -> None:
    for kind in _given(implementation):
        _check_methods(kind, ("validate", "expand"))


def _check_node_services(implementation: Implementation, plugins: Plugins) -> None:
    for spec in _given(implementation, NodeServiceSpec):
        service = _imported(spec.target)
        assert callable(service), f"{spec.target} is called without arguments, but is not callable"
        enabled = spec.enabled(_configuration(plugins))
        assert isinstance(enabled, bool), f"{spec.name}: enabled() returned {enabled!r}, not a bool"
        if isinstance(service, type):
            for method in ("start", "drain", "stop"):
                given = getattr(service, method, None)
                assert inspect.iscoroutinefunction(given), f"{spec.target} has no async {method}"


def _check_policies(implementation: Implementation, plugins: Plugins) -> None:
    for factory in _given(implementation, PolicyFactory):
        check_routing_policy(factory)


def _check_layer_stages(implementation: Implementation, plugins: Plugins) -> None:
    for stage in _given(implementation, LayerStage):
        assert stage.name in plugins.layer_stages, f"{stage.name} is not a stage"


def _check_protocols(implementation: Implementation, plugins: Plugins) -> None:
    for protocol in _given(implementation):
        _check_methods(protocol, ("bind",))
        try:
            inspect.signature(protocol.bind).bind(object())
        except TypeError as error:
            raise AssertionError(
                f"protocol {protocol.name}: bind must take the user's object: {error}"
            ) from error


def _check_scaler(implementation: Implementation, plugins: Plugins) -> None:
    given = plugins.make_scaler(_FakeScalerContext(plugins))
    if given is not None:
        for name in ("check", "start", "want", "forget", "running", "problem", "stop", "close"):
            is_async = inspect.iscoroutinefunction(getattr(given[1], name))
            assert is_async == (name == "close"), f"Scaler.{name}: close alone is async"


class _FakeScalerContext:
    """A `ScalerContext` of a new instance without deployments."""

    recovered: bytes | None = None
    processes: Any = None

    def __init__(self, plugins: Plugins) -> None:
        self.hooks: Hooks = plugins
        self._topics = ReportTopics.of(plugins)

    def scale(self, deployment: DeploymentId, replicas: int) -> None:
        raise AssertionError(f"make_scaler scales {deployment}, which does not exist")

    def receiver(self, topic: str) -> ReportReceiver:
        return self._topics.receiver(topic, object)  # type: ignore[return-value]  # the plugin's own

    async def store(self, value: bytes) -> None: ...

    async def clear(self) -> None: ...


_SUBJECTS: tuple[tuple[str, type, tuple[object, ...]], ...] = (
    ("router", RouterObserver, (DeploymentId("check", "Plugin"),)),
    ("replica", ReplicaObserver, (DeploymentId("check", "Plugin"),)),
    ("wire", WireObserver, ("caller",)),
    ("wire", WireObserver, ("replica",)),
    ("edge", EdgeObserver, ("http",)),
    ("batcher", BatchObserver, (DeploymentId("check", "Plugin"), "Plugin.predict")),
)


def _check_meter(implementation: Implementation, plugins: Plugins) -> None:
    config = _configuration(plugins)
    for kind in ("driver", "replica", "proxy"):
        process = ProcessInfo(kind, "check", "local")
        try:
            answers = plugins.call("make_meter", process=process, config=config)
        except PluginError as error:
            raise AssertionError(str(error)) from error
        for answer in answers:
            for name, base, subject in _SUBJECTS:
                observer = getattr(answer.value, name)(*subject)
                if observer is not None:
                    _check_observer(f"{answer.plugin}: observer of a {name}", observer, base)


def _check_observer(description: str, observer: object, base: type) -> None:
    """Check that each method of an observer is sync, and has the arguments of the base class."""
    for name in (name for name in vars(base) if not name.startswith("_")):
        method = getattr(observer, name, None)
        if method is None:
            continue
        assert not inspect.iscoroutinefunction(method), f"{description}: {name} must not be async"
        given = list(inspect.signature(getattr(base, name)).parameters)[1:]
        try:
            inspect.signature(method).bind(*given)
        except TypeError as error:
            parameters = ", ".join(given)
            raise AssertionError(
                f"{description}: {name} must take ({parameters}): {error}"
            ) from None


def _check_caller_layer(implementation: Implementation, plugins: Plugins) -> None:
    _check_layers(plugins.wrap_caller(_DEPLOYMENT, _configuration(plugins)))


def _check_replica_layer(implementation: Implementation, plugins: Plugins) -> None:
    _check_layers(plugins.wrap_replica(_DEPLOYMENT, _configuration(plugins)))


def _check_route_layer(implementation: Implementation, plugins: Plugins) -> None:
    check_route_layers(plugins, _configuration(plugins))


def _check_events(implementation: Implementation, plugins: Plugins) -> None:
    """Check `on_event` and `on_process` with calls as in a controller."""
    before = plugins.failures.values()
    plugins.on_event(Event("replica", "check#Plugin#1", "RUNNING"))
    process = ProcessInfo("controller", "check", "node")
    plugins.call_robust("on_process", process=process, runtime=None)
    failed = [each for each in plugins.failures.values() if each not in before]
    assert not failed, f"plugin {failed[0].plugin} failed in {failed[0].hook}: {failed[0].message}"


_CHECKS: dict[str, Check] = {
    "register_api": _check_api,
    "register_modules": _check_modules,
    "register_config": _check_config,
    "check_start": _check_start,
    "register_commands": _check_commands,
    "register_resources": _check_resources,
    "register_node_services": _check_node_services,
    "register_routing_policies": _check_policies,
    "register_layer_stages": _check_layer_stages,
    "register_protocols": _check_protocols,
    "make_scaler": _check_scaler,
    "on_event": _check_events,
    "on_process": _check_events,
    "make_meter": _check_meter,
    "wrap_caller": _check_caller_layer,
    "wrap_replica": _check_replica_layer,
    "wrap_route": _check_route_layer,
}


def _check_layers(layers: list[Any]) -> None:
    async def service(call: Call) -> Reply:
        return Reply((b"",))

    for staged in layers:
        try:
            staged.layer(service)
        except PluginError as error:
            raise AssertionError(str(error)) from error


def _check_methods(value: Any, methods: tuple[str, ...]) -> None:
    for name in methods:
        method = getattr(value, name, None)
        assert callable(method), f"{type(value).__name__} {value.name!r} has no method {name}"
        assert not inspect.iscoroutinefunction(method), f"{value.name}: {name} must not be async"


def _given(implementation: Implementation, kind: type | None = None) -> list[Any]:
    """Return the values of a `register_*` hook, after checks of their type and name."""
    values = list(implementation())
    for value in values:
        is_valid = kind is None or isinstance(value, kind)
        name = implementation.__name__
        assert is_valid, f"{name} returned {value!r}, not a {kind and kind.__name__}"
        assert isinstance(value.name, str), f"{value!r} has no name"
        assert value.name, f"{value!r} has no name"
    return values


def _imported(target: str) -> Any:
    assert ":" in target, f"{target!r} must be 'module:attribute'"
    try:
        return load_target(target)
    except (ImportError, AttributeError) as error:
        raise AssertionError(f"{target} cannot be imported: {error}") from error


def _configuration(plugins: Plugins) -> SectionValues:
    return SectionValues(plugins, resolve(plugins, {}))
