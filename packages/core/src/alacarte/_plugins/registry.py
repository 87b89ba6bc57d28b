"""The registry of the plugins of one process, and of the values that plugins register."""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import pluggy

from ..errors import PluginError
from ..foreign import is_interrupt
from ..layers import order_layers, order_stages
from ..types import (
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
    Route,
    RouteLayer,
    Runtime,
    Scaler,
    ScalerContext,
    StagedLayer,
)
from .checked_layers import checked_layer
from .first_party import missing_package
from .hook_dispatcher import HookDispatcher
from .records import PluginRecord
from .specifications import HookSpecification

__all__ = ["Plugins"]

log = logging.getLogger("alacarte.plugins")


class Plugins(HookDispatcher):
    """The plugins of one process: a typed method for each hook of core, `call` for other hooks.

    Attributes:
        records: All plugins, with the states of their loading.
    """

    def __init__(
        self,
        manager: pluggy.PluginManager,
        specifications: Mapping[str, HookSpecification],
        records: tuple[PluginRecord, ...],
        *,
        strict: bool,
    ) -> None:
        super().__init__(manager, specifications)
        self._strict = strict
        self._registered: dict[str, dict[str, Any]] = {}
        self._required: set[str] = set()
        self._providers: dict[tuple[str, str], str] = {}
        self.records = records

    @property
    def loaded(self) -> tuple[PluginRecord, ...]:
        """The records of the plugins that are loaded."""
        return tuple(record for record in self.records if record.state == "loaded")

    def require(self, names: Iterable[str]) -> None:
        """Raise PluginError, with the reason, for the first plugin that is not loaded.

        Calls the `register_*` hooks of all plugins first: a plugin that fails there is not loaded.
        """
        names = list(names)
        if names:
            self._register_all()
        by_name = {record.name: record for record in self.records}
        for name in names:
            record = by_name.get(name)
            if record is None:
                raise PluginError(
                    f"plugin {name!r} is required but not installed. Install the package that "
                    "provides it, or do not require it."
                )
            if record.state != "loaded":
                raise PluginError(
                    f"plugin {name!r} is required but {record.state}: {record.reason}"
                )
        self._required |= set(names)

    def examine(self) -> tuple[PluginRecord, ...]:
        """Return the records of all plugins; plugins that clash with others have failed."""
        clashes = self._register_all()
        return tuple(
            replace(record, state="failed", reason=clashes[record.name])
            if record.name in clashes
            else record
            for record in self.records
        )

    @property
    def api(self) -> dict[str, ApiName]:
        """Registered API names, by name."""
        return self.registered("register_api")

    @property
    def _sections(self) -> Iterable[ConfigSection]:
        return self.registered("register_config").values()

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
        """Names of the stages of layers, the outermost first."""
        return order_stages(self.registered("register_layer_stages").values())

    @property
    def commands(self) -> dict[str, Command]:
        """Registered commands, by name."""
        return self.registered("register_commands")

    @property
    def resource_kinds(self) -> dict[str, ResourceKind]:
        """Registered resource kinds, by name."""
        return self.registered("register_resources")

    @property
    def node_services(self) -> dict[str, NodeServiceSpec]:
        """Registered node services, by name."""
        return self.registered("register_node_services")

    @property
    def routing_policies(self) -> dict[str, PolicyFactory]:
        """Registered routing policies, by name."""
        return self.registered("register_routing_policies")

    @property
    def report_topics(self) -> dict[str, ReportTopic]:
        """Registered report topics, by name."""
        return self.registered("register_report_topics")

    @property
    def protocols(self) -> dict[str, CallProtocol]:
        """Registered call protocols, by name."""
        return self.registered("register_protocols")

    def registered(self, hook: str) -> dict[str, Any]:
        """Return the values that plugins register with a `register_*` hook, by name.

        Calls the hook once. A plugin that raises, or returns a wrong value, has failed.

        Raises:
            PluginError: Two plugins provide one name; or, in an instance's process, one failed.
        """
        values = self._registered.get(hook)
        if values is None:
            values, clashes = self._collect(hook)
            for reason in clashes.values():
                raise PluginError(reason)
            self._registered[hook] = values
        return values

    def plugin_of(self, hook: str, name: str) -> str:
        """Return the plugin that has registered a value by this name, "" for none.

        Known after the first call of `registered` for the hook.
        """
        return self._providers.get((hook, name), "")

    def import_modules(self) -> None:
        """Import the modules that plugins list in `register_modules`."""
        for plugin, implementation in self._implementations("register_modules"):
            try:
                for module in implementation():
                    importlib.import_module(module)
            except BaseException as error:  # foreign code
                if is_interrupt(error):
                    raise
                self._drop(plugin, "register_modules", error)

    @property
    def provides_handles(self) -> bool:
        """Whether a plugin makes handles."""
        return self.implements("make_handle")

    @property
    def provides_routes(self) -> bool:
        """Whether a node service of a plugin serves routes."""
        return any(service.serves_routes for service in self.node_services.values())

    def make_handle(self, deployment: DeploymentId, runtime: Runtime | None) -> Any:
        handle = self._first("make_handle", deployment=deployment, runtime=runtime)
        if handle is None:
            raise missing_package("handle", f"a handle to {deployment}")
        return handle

    def make_client(self, instance: Instance) -> Any:
        """Return the client for `serve.start`, None where no plugin provides one."""
        return self._first("make_client", instance=instance)

    def make_scaler(self, context: ScalerContext) -> tuple[str, Scaler] | None:
        """Return the name of the first plugin that provides a scaler, and its scaler; or None.

        Raises:
            PluginError: A plugin raised, or returned a wrong value. Names the plugin; the failure
                is recorded.
        """
        for plugin, implementation in self._implementations("make_scaler"):
            try:
                scaler = self._answer(plugin, "make_scaler", implementation, {"context": context})
            except PluginError as error:
                self.failures.note(plugin, "make_scaler", error.__cause__ or error)
                raise
            if scaler is not None:
                return plugin, scaler
        return None

    @property
    def wraps_calls(self) -> bool:
        """Whether a plugin other than core wraps calls. Core's layer needs no options."""
        return any(plugin != "core" for plugin, _ in self._implementations("wrap_caller"))

    def wrap_caller(
        self, deployment: DeploymentInfo, config: ConfigSections
    ) -> list[StagedLayer[Layer]]:
        """Return the plugins' layers for the callers of a deployment, in order."""
        return self._layers("wrap_caller", deployment, config)

    def wrap_replica(
        self, deployment: DeploymentInfo, config: ConfigSections
    ) -> list[StagedLayer[Layer]]:
        """Return the plugins' layers for a replica, in order."""
        return self._layers("wrap_replica", deployment, config)

    def wrap_route(self, route: Route, runtime: Runtime) -> list[RouteLayer | PluginError]:
        """Return plugins' layers around the calls of a route, the first outermost.

        In place of the layer of a plugin that fails, returns its error: calls of that route must
        not pass without the layer, and calls of other routes must go on.
        """
        layers: list[RouteLayer | PluginError] = []
        arguments = {"route": route, "runtime": runtime}
        for plugin, implementation in self._implementations("wrap_route"):
            subject = f"route {route.name or route.prefix!r}"
            try:
                layer = self._answer(plugin, "wrap_route", implementation, arguments)
            except PluginError as error:
                self.failures.note(plugin, "wrap_route", error.__cause__ or error, subject)
                layers.append(PluginError(f"{subject}: {error}"))
                continue
            if layer is not None:
                layers.append(layer)
        return layers

    def check_start(self, config: ConfigSections) -> None:
        """Check with every plugin that this machine can run the configuration.

        Raises:
            ConfigError: The machine cannot run it.
            PluginError: The check of a plugin failed.
        """
        self.call("check_start", config=config)

    def on_event(self, event: Event) -> None:
        """Report an event to the plugins; failures are recorded, not raised."""
        self.call_robust("on_event", event=event, subject=event.kind)

    def _layers(
        self, hook: str, deployment: DeploymentInfo, config: ConfigSections
    ) -> list[StagedLayer[Layer]]:
        """Return plugins' layers, the outermost first.

        Raises:
            PluginError: A plugin raised, or returned a value other than a layer. Calls must not
                pass without the layer.
        """
        subject, stages = f"deployment {deployment}", self.layer_stages
        checked: list[tuple[str, Layer | StagedLayer[Layer]]] = []
        try:
            answers = self.call(hook, subject=subject, deployment=deployment, config=config)
        except PluginError as error:
            raise PluginError(f"{subject}: {error}") from error.__cause__
        for plugin, layer in answers:
            if plugin == "core":  # core's own layers cost no check
                checked.append((plugin, layer))
                continue
            note = functools.partial(self.failures.note, plugin, hook, subject=subject)
            note_call = functools.partial(note, subject=f"calls to {subject}")
            origin = f"plugin {plugin}: {hook}"
            checked.append((plugin, checked_layer(layer, origin, note, note_call)))
            try:
                order_layers(checked, stages)  # here, where the plugin of an unknown stage is known
            except PluginError as error:
                note(error)
                raise PluginError(f"{subject}: {error}") from None
        return order_layers(checked, stages)

    def _register_all(self) -> dict[str, str]:
        """Call every `register_*` hook; return the reasons of clashes, by plugin."""
        clashes: dict[str, str] = {}
        for name, specification in self.specifications.items():
            if specification.is_registry:
                clashes |= self._collect(name)[1]
        return clashes

    def _collect(self, hook: str) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the values of a `register_*` hook, by name, and the clashes, by plugin."""
        values: dict[str, Any] = {}
        providers: dict[str, str] = {}
        clashes: dict[str, str] = {}
        for plugin, implementation in list(self._implementations(hook)):
            try:
                named = _with_names(self._answer(plugin, hook, implementation, {}))
            except BaseException as error:  # foreign code
                if is_interrupt(error):
                    raise
                self._drop(plugin, hook, error)
                continue
            for name, value in named:
                if name not in values:
                    values[name], providers[name] = value, plugin
                    self._providers[hook, name] = plugin
                    continue
                both = f"both {self._origin(providers[name])} and {self._origin(plugin)}"
                reason = (
                    f"{hook}: {both} provide {name!r}. Uninstall one, or name one in "
                    "ALACARTE_DISABLE_PLUGINS."
                )
                clashes |= {providers[name]: reason, plugin: reason}
        return values, clashes

    def _drop(self, plugin: str, hook: str, error: BaseException) -> None:
        """Unregister a plugin that failed after its import, or raise where it is required."""
        cause = error.__cause__ or error
        reason = f"{hook}: {type(cause).__name__}: {cause}"
        if self._strict or plugin in self._required:
            raise PluginError(f"plugin {plugin} failed in {reason}") from error
        self._manager.unregister(name=plugin)
        self.records = tuple(
            replace(record, state="failed", reason=reason) if record.name == plugin else record
            for record in self.records
        )
        log.warning("plugin %s was dropped: %s", plugin, reason)

    def _origin(self, plugin: str) -> str:
        return next(record for record in self.records if record.name == plugin).origin


def _with_names(values: Iterable[object]) -> list[tuple[str, object]]:
    """Return registered values with their names."""
    named = [
        (getattr(value, "qualified_name", getattr(value, "name", None)), value) for value in values
    ]
    for name, value in named:
        if not isinstance(name, str) or not name:
            raise PluginError(f"{value!r} has no name; set its attribute `name`")
    return [(str(name), value) for name, value in named]
