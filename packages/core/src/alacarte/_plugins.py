"""Find, load and check plugins, and ask them for what they give.

Loading is ours and not pluggy's, whose loader lets one broken plugin end the host: here each
plugin ends as loaded, disabled or failed, with the reason. The result is an object that is
passed along; there is no global one.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import metadata
from typing import Any, Literal, TypeVar

import pluggy

from . import hookspecs
from .errors import PluginError, ServeError
from .layers import order_layers, order_stages
from .types import (
    ApiName,
    CallProtocol,
    Command,
    ConfigSection,
    ConfigSections,
    DeploymentId,
    DeploymentInfo,
    Event,
    Instance,
    Layer,
    NodeServiceSpec,
    PolicyFactory,
    ReportTopic,
    ResourceKind,
    Runtime,
    Scaler,
    ScalerContext,
    ScalingPolicyFactory,
    StagedLayer,
)

__all__ = [
    "FIRST_PARTY",
    "FIRST_PARTY_OPTIONS",
    "PluginRecord",
    "Plugins",
    "discover",
    "load",
    "missing_package",
]

log = logging.getLogger("alacarte.plugins")
Named = TypeVar("Named")

FIRST_PARTY = {
    "accept_batch": "alacarte-endpoints",
    "BackendConfig": "alacarte-endpoints",
    "CondaEnv": "alacarte-endpoints",
    "batch": "alacarte-batching",
    "python -m alacarte": "alacarte-cli",
    "client": "alacarte-endpoints",
    "connect": "alacarte-endpoints",
    "delete_traffic": "alacarte-endpoints",
    "get_current_backend_tag": "alacarte-endpoints",
    "get_current_replica_tag": "alacarte-endpoints",
    "set_traffic": "alacarte-endpoints",
    "shadow_traffic": "alacarte-endpoints",
    "multiplexed": "alacarte-multiplexing",
    "get_multiplexed_model_id": "alacarte-multiplexing",
    "ingress": "alacarte-http",
    "HTTPOptions": "alacarte-http",
    "config.HTTPOptions": "alacarte-http",
    "autoscaling_config": "alacarte-autoscaling",
    "autoscaling_policy.default_autoscaling_policy": "alacarte-autoscaling",
    "http_options": "alacarte-http",
    "route_prefix": "alacarte-http",
    "handle": "alacarte-handles",
    "get_app_handle": "alacarte-handles",
    "get_deployment_handle": "alacarte-handles",
    "handle.DeploymentHandle": "alacarte-handles",
    "handle.DeploymentResponse": "alacarte-handles",
    "handle.DeploymentResponseGenerator": "alacarte-handles",
}
"""Which of our packages gives what, so that an error can say what to install."""


FIRST_PARTY_OPTIONS = frozenset({"autoscaling_config"})
"""Those of them that are options of a deployment."""


def missing_package(name: str, what: str) -> PluginError:
    """Return the error for a name that no installed plugin gives."""
    package = FIRST_PARTY.get(name)
    if package is None:
        return PluginError(f"{what}: no installed plugin gives {name!r}.")
    return PluginError(
        f"{what} is given by the package {package}, which is not installed or not loaded: "
        f"pip install {package}, or in a clone pip install "
        f"./packages/{package.removeprefix('alacarte-')} (see `alacarte plugins`)."
    )


@dataclass(frozen=True)
class PluginRecord:
    """One plugin and what became of it.

    Attributes:
        name: The entry point's name.
        target: The module its hooks are in.
        distribution: The distribution that brought it, "" when loaded by module name.
        version: That distribution's version, "" when unknown.
        state: `loaded`, `disabled` or `failed`.
        reason: Why it is not loaded, "" when it is.
    """

    name: str
    target: str
    distribution: str = ""
    version: str = ""
    state: Literal["found", "loaded", "disabled", "failed"] = "found"
    reason: str = ""

    @property
    def identity(self) -> tuple[str, str, str]:
        """What every process of an instance must agree on."""
        return (self.name, self.target, self.version)


def discover() -> list[PluginRecord]:
    """Return every installed plugin, by name, none of them imported.

    Besides installed distributions, `ALACARTE_PLUGINS` names modules to load as plugins,
    separated by commas. `ALACARTE_DISABLE_PLUGINS` names plugins not to load.
    """
    disabled = _names("ALACARTE_DISABLE_PLUGINS")
    found = [
        PluginRecord(
            entry.name,
            entry.value,
            entry.dist.name if entry.dist else "",
            entry.dist.version if entry.dist else "",
        )
        for entry in metadata.entry_points(group=hookspecs.PROJECT)
    ]
    found += [PluginRecord(module, module) for module in sorted(_names("ALACARTE_PLUGINS"))]
    # The same distribution can be seen twice, through two entries of sys.path.
    unique = {(record.name, record.target): record for record in reversed(found)}
    return [
        replace(record, state="disabled", reason="named in ALACARTE_DISABLE_PLUGINS")
        if record.name in disabled
        else record
        for record in sorted(unique.values(), key=lambda record: record.name)
    ]


def load(records: Iterable[PluginRecord] | None = None, *, strict: bool = False) -> Plugins:
    """Import plugins and check their hooks.

    Args:
        records: What to load; all that `discover` finds by default. An actor passes what the
            driver resolved.
        strict: Raise instead of going on without a plugin that fails. Actors are strict: with
            fewer plugins than the driver they would quietly do something else.

    Raises:
        PluginError: Two plugins have one name; or, when strict, one cannot be loaded.
    """
    wanted = discover() if records is None else list(records)
    _refuse_same_names(wanted)
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    done = []
    for record in wanted:
        if record.state == "disabled":
            done.append(record)
            continue
        try:
            module = importlib.import_module(record.target)
            manager.register(module, name=record.name)
            _refuse_unknown_hooks(manager, record)
        except Exception as error:  # foreign code: whatever it raises is its own failure
            if strict:
                raise PluginError(f"plugin {record.name} cannot be loaded: {error!r}") from error
            if manager.has_plugin(record.name):
                manager.unregister(name=record.name)
            done.append(replace(record, state="failed", reason=f"{type(error).__name__}: {error}"))
            log.warning("plugin %s was left out: %s", record.name, done[-1].reason)
        else:
            done.append(replace(record, state="loaded", reason=""))
    return Plugins(manager, tuple(done), strict=strict)


def check_same(mine: Sequence[PluginRecord], theirs: Sequence[PluginRecord]) -> None:
    """Raise PluginError unless both sides run the same plugins in the same versions."""
    here, there = {record.identity for record in mine}, {record.identity for record in theirs}
    if here == there:
        return

    def told(only: set[tuple[str, str, str]]) -> str:
        return ", ".join(f"{name} {version}" for name, _, version in sorted(only)) or "nothing"

    raise PluginError(
        "this process and the one that started it run different plugins: "
        f"only here {told(here - there)}; only there {told(there - here)}. "
        "Install the same versions on every node."
    )


def installed(records: Iterable[PluginRecord]) -> list[PluginRecord]:
    """Return the same records with the versions that this process would load.

    What is not installed here is left out.
    """
    found = []
    for record in records:
        try:
            version = metadata.version(record.distribution) if record.distribution else ""
        except metadata.PackageNotFoundError:
            continue
        found.append(replace(record, version=version))
    return found


class Plugins:
    """The plugins of one process: one typed method for each hook.

    Attributes:
        records: Every plugin found, and what became of it.
    """

    def __init__(
        self, manager: pluggy.PluginManager, records: tuple[PluginRecord, ...], *, strict: bool
    ) -> None:
        self._manager = manager
        self._strict = strict
        self._givers: dict[tuple[str, str], str] = {}
        self.records = records

    @property
    def loaded(self) -> tuple[PluginRecord, ...]:
        return tuple(record for record in self.records if record.state == "loaded")

    def require(self, names: Iterable[str]) -> None:
        """Raise PluginError for the first of these plugins that is not loaded, and say why."""
        by_name = {record.name: record for record in self.records}
        for name in names:
            record = by_name.get(name)
            if record is None:
                raise PluginError(f"plugin {name!r} is configured but not installed.")
            if record.state != "loaded":
                raise PluginError(
                    f"plugin {name!r} is configured but {record.state}: {record.reason}"
                )

    @cached_property
    def api(self) -> dict[str, ApiName]:
        return self._named("register_api", "name")

    def import_modules(self) -> None:
        """Import what `register_modules` names."""
        for impl in self._impls("register_modules"):
            try:
                for module in impl.function():
                    importlib.import_module(module)
            except Exception as error:  # foreign code: its failure is nobody else's
                self._leave_out(str(impl.plugin_name), "register_modules", error)

    @cached_property
    def _sections(self) -> list[ConfigSection]:
        return list(self._named("register_config", "qualified_name").values())

    @cached_property
    def config_sections(self) -> dict[str, ConfigSection]:
        """Sections of the instance's configuration, by name."""
        return {each.name: each for each in self._sections if each.scope == "instance"}

    @cached_property
    def deployment_sections(self) -> dict[str, ConfigSection]:
        """Sections that are options of a deployment, by name."""
        return {each.name: each for each in self._sections if each.scope == "deployment"}

    @cached_property
    def layer_stages(self) -> tuple[str, ...]:
        """Names of the stages that layers stand in, the outermost first."""
        return order_stages(self._named("register_layer_stages", "name").values())

    @cached_property
    def commands(self) -> dict[str, Command]:
        return self._named("register_commands", "name")

    @cached_property
    def resource_kinds(self) -> dict[str, ResourceKind]:
        return self._named("register_resources", "name")

    @cached_property
    def node_services(self) -> dict[str, NodeServiceSpec]:
        return self._named("register_node_services", "name")

    @cached_property
    def routing_policies(self) -> dict[str, PolicyFactory]:
        return self._named("register_routing_policies", "name")

    @cached_property
    def autoscaling_policies(self) -> dict[str, ScalingPolicyFactory]:
        return self._named("register_autoscaling_policies", "name")

    @cached_property
    def report_topics(self) -> dict[str, ReportTopic]:
        return self._named("register_report_topics", "name")

    @cached_property
    def protocols(self) -> dict[str, CallProtocol]:
        return self._named("register_protocols", "name")

    @property
    def gives_handles(self) -> bool:
        return bool(self._manager.hook.make_handle.get_hookimpls())

    @property
    def gives_routes(self) -> bool:
        return any(service.serves_routes for service in self.node_services.values())

    def make_handle(self, deployment: DeploymentId, runtime: Runtime | None) -> Any:
        handle = self._manager.hook.make_handle(deployment=deployment, runtime=runtime)
        if handle is None:
            raise missing_package("handle", f"a handle to {deployment}")
        return handle

    def make_client(self, instance: Instance) -> Any:
        """Return what `serve.start` gives, None where no plugin gives one."""
        return self._manager.hook.make_client(instance=instance)

    def make_scaler(self, context: ScalerContext) -> tuple[str, Callable[[], Scaler]] | None:
        """Return the name of the plugin that gives a scaler and what makes it; None without one."""
        for impl in self._impls("make_scaler"):
            return str(impl.plugin_name), lambda impl=impl: impl.function(context)
        return None

    def registered(self, hook: str) -> dict[str, Any]:
        """Return the values that plugins register through a `register_*` hook, by name."""
        return self._named(hook, "name")

    @property
    def wraps_calls(self) -> bool:
        """Whether a plugin besides core wraps calls. Core's layer needs no options."""
        return any(impl.plugin_name != "core" for impl in self._impls("wrap_caller"))

    def wrap_caller(
        self, deployment: DeploymentInfo, config: ConfigSections
    ) -> list[StagedLayer[Layer]]:
        return self._layers("wrap_caller", deployment, config)

    def wrap_replica(
        self, deployment: DeploymentInfo, config: ConfigSections
    ) -> list[StagedLayer[Layer]]:
        return self._layers("wrap_replica", deployment, config)

    def check_start(self, config: ConfigSections) -> None:
        """Ask every plugin whether this machine can run what is configured.

        Raises:
            ConfigError: It cannot.
            PluginError: A plugin's check itself failed.
        """
        for impl in self._impls("check_start"):
            try:
                impl.function(config) if impl.argnames else impl.function()
            except ServeError:
                raise
            except Exception as error:  # foreign code
                raise PluginError(
                    f"plugin {impl.plugin_name} failed in check_start: "
                    f"{type(error).__name__}: {error}"
                ) from error

    def on_event(self, event: Event) -> None:
        for impl in self._manager.hook.on_event.get_hookimpls():
            try:
                impl.function(event) if impl.argnames else impl.function()
            except BaseException:  # foreign code: one observer's failure is nobody else's
                log.exception("plugin %s failed on %s", impl.plugin_name, event)

    def _layers(
        self, hook: str, deployment: DeploymentInfo, config: ConfigSections
    ) -> list[StagedLayer[Layer]]:
        """Return the layers that plugins give, the outermost first.

        Raises:
            PluginError: A plugin raises, or returns something else than a layer.
        """
        given: list[tuple[str, Layer | StagedLayer[Layer]]] = []
        arguments = {"deployment": deployment, "config": config}
        for impl in self._impls(hook):
            plugin = str(impl.plugin_name)
            try:
                layer = impl.function(*(arguments[name] for name in impl.argnames))
            except Exception as error:  # foreign code
                raise PluginError(
                    f"plugin {plugin} failed in {hook} of {deployment}: "
                    f"{type(error).__name__}: {error}"
                ) from error
            if layer is None:
                continue
            if not callable(layer.layer if isinstance(layer, StagedLayer) else layer):
                raise PluginError(
                    f"plugin {plugin} returned {layer!r} in {hook} of {deployment}, which is no "
                    "layer: return a function of a service, a StagedLayer, or None."
                )
            given.append((plugin, layer))
        return order_layers(given, self.layer_stages)

    def _impls(self, hook: str) -> list[Any]:
        return list(getattr(self._manager.hook, hook).get_hookimpls())

    def _named(self, hook: str, key: str) -> dict[str, Any]:
        values: dict[str, Any] = {}
        givers: dict[str, str] = {}
        for impl in self._impls(hook):
            giver = self._origin(str(impl.plugin_name))
            try:
                given = list(impl.function())
            except Exception as error:  # foreign code: its failure is nobody else's
                self._leave_out(str(impl.plugin_name), hook, error)
                continue
            for value in given:
                name = getattr(value, key)
                if name in values:
                    raise PluginError(
                        f"{hook}: both {givers[name]} and {giver} give {name!r}. Uninstall one, "
                        "or name one in ALACARTE_DISABLE_PLUGINS."
                    )
                values[name], givers[name] = value, giver
                self._givers[hook, name] = str(impl.plugin_name)
        return values

    def plugin_of(self, hook: str, name: str) -> str:
        """Return the plugin that gives what is named so by a `register_*` hook, "" for none.

        Known once that hook was asked.
        """
        return self._givers.get((hook, name), "")

    def _leave_out(self, plugin: str, hook: str, error: Exception) -> None:
        """Go on without a plugin that fails only now, or stop where it is needed."""
        reason = f"{hook}: {type(error).__name__}: {error}"
        if self._strict:
            raise PluginError(f"plugin {plugin} failed in {reason}") from error
        self._manager.unregister(name=plugin)
        self.records = tuple(
            replace(record, state="failed", reason=reason) if record.name == plugin else record
            for record in self.records
        )
        log.warning("plugin %s was left out: %s", plugin, reason)

    def _origin(self, plugin: str) -> str:
        record = next(record for record in self.records if record.name == plugin)
        return record.distribution or record.target


def _refuse_same_names(records: Sequence[PluginRecord]) -> None:
    seen: dict[str, PluginRecord] = {}
    for record in records:
        other = seen.setdefault(record.name, record)
        if other is not record:
            raise PluginError(
                f"two plugins are named {record.name!r}: {other.distribution or other.target} and "
                f"{record.distribution or record.target}. Uninstall one."
            )


def _refuse_unknown_hooks(manager: pluggy.PluginManager, record: PluginRecord) -> None:
    """Raise for a misspelt hook, which pluggy by itself would never call and never mention."""
    known = {name for name in vars(hookspecs) if hasattr(getattr(hookspecs, name), "alacarte_spec")}
    plugin = manager.get_plugin(record.name)
    for name in dir(plugin):
        if hasattr(getattr(plugin, name, None), "alacarte_impl") and name not in known:
            raise PluginError(
                f"{record.target} implements no such hook: {name}. Known: {sorted(known)}"
            )


def _names(variable: str) -> set[str]:
    return {name.strip() for name in os.environ.get(variable, "").split(",") if name.strip()}
