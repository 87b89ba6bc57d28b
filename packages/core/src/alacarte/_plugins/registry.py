"""The plugins of one process, and how they are asked for what they give."""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

import pluggy

from ..errors import PluginError, ServeError
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
    HookAnswer,
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
from .plugin_failures import PluginFailures
from .question import asking
from .records import PluginRecord
from .results import mismatch
from .specifications import HookSpecification

__all__ = ["Plugins"]

log = logging.getLogger("alacarte.plugins")


class Plugins:
    """The plugins of one process: one typed method for each hook, and `ask` for those of plugins.

    Attributes:
        records: Every plugin found, and what became of it.
        specifications: Every hook there is, by name.
        failures: What plugins failed at in this process.
    """

    def __init__(
        self,
        manager: pluggy.PluginManager,
        specifications: Mapping[str, HookSpecification],
        records: tuple[PluginRecord, ...],
        *,
        strict: bool,
    ) -> None:
        self._manager = manager
        self._strict = strict
        self._registered: dict[str, dict[str, Any]] = {}
        self._required: set[str] = set()
        self._givers: dict[tuple[str, str], str] = {}
        self.records = records
        self.specifications = specifications
        self.failures = PluginFailures()

    @property
    def loaded(self) -> tuple[PluginRecord, ...]:
        return tuple(record for record in self.records if record.state == "loaded")

    def require(self, names: Iterable[str]) -> None:
        """Raise PluginError for the first of these plugins that is not loaded, and say why.

        Every plugin is asked for all that it registers first: one that fails there is not loaded.
        """
        names = list(names)
        if names:
            self._ask_everything()
        by_name = {record.name: record for record in self.records}
        for name in names:
            record = by_name.get(name)
            if record is None:
                raise PluginError(
                    f"plugin {name!r} is required but not installed. Install the package that "
                    "brings it, or do not require it."
                )
            if record.state != "loaded":
                raise PluginError(
                    f"plugin {name!r} is required but {record.state}: {record.reason}"
                )
        self._required |= set(names)

    def examine(self) -> tuple[PluginRecord, ...]:
        """Return the records of all plugins, those that clash with others failed."""
        clashes = self._ask_everything()
        return tuple(
            replace(record, state="failed", reason=clashes[record.name])
            if record.name in clashes
            else record
            for record in self.records
        )

    # --- values that plugins register ---------------------------------------------------

    @property
    def api(self) -> dict[str, ApiName]:
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
        """Names of the stages that layers stand in, the outermost first."""
        return order_stages(self.registered("register_layer_stages").values())

    @property
    def commands(self) -> dict[str, Command]:
        return self.registered("register_commands")

    @property
    def resource_kinds(self) -> dict[str, ResourceKind]:
        return self.registered("register_resources")

    @property
    def node_services(self) -> dict[str, NodeServiceSpec]:
        return self.registered("register_node_services")

    @property
    def routing_policies(self) -> dict[str, PolicyFactory]:
        return self.registered("register_routing_policies")

    @property
    def report_topics(self) -> dict[str, ReportTopic]:
        return self.registered("register_report_topics")

    @property
    def protocols(self) -> dict[str, CallProtocol]:
        return self.registered("register_protocols")

    def registered(self, hook: str) -> dict[str, Any]:
        """Return the values that plugins register with a `register_*` hook, by their names.

        Asked once. A plugin that raises, or returns something else, is left out and failed.

        Raises:
            PluginError: Two plugins give one name; or, in a process of an instance, one failed.
        """
        values = self._registered.get(hook)
        if values is None:
            values, clashes = self._collect(hook)
            for reason in clashes.values():
                raise PluginError(reason)
            self._registered[hook] = values
        return values

    def plugin_of(self, hook: str, name: str) -> str:
        """Return the plugin that gives what is named so by a `register_*` hook, "" for none.

        Known once that hook was asked.
        """
        return self._givers.get((hook, name), "")

    def import_modules(self) -> None:
        """Import what `register_modules` names."""
        for plugin, ask in self._implementations("register_modules"):
            try:
                for module in ask():
                    importlib.import_module(module)
            except BaseException as error:  # foreign code: its failure is nobody else's
                if is_interrupt(error):
                    raise
                self._leave_out(plugin, "register_modules", error)

    @property
    def gives_handles(self) -> bool:
        return self.implements("make_handle")

    @property
    def gives_routes(self) -> bool:
        return any(service.serves_routes for service in self.node_services.values())

    # --- questions ----------------------------------------------------------------------

    def implements(self, hook: str) -> bool:
        """Return whether some plugin implements a hook."""
        return bool(self._hook(hook).get_hookimpls())

    def implementers(self, hook: str) -> list[str]:
        """Return the names of the plugins that implement a hook, in the order they are asked."""
        return [plugin for plugin, _ in self._implementations(hook)]

    def ask(self, hook: str, *, subject: str = "", **given: Any) -> list[HookAnswer]:
        """Ask each plugin that implements a hook; return what they gave, None left out.

        In the order of plugin names, those with `tryfirst` first.

        Args:
            hook: Name of a hook, core's or a plugin's.
            subject: What the hook is called for: "replica r1". With it, a failure is kept, too.
            given: Every argument of the hook, by name.

        Raises:
            PluginError: A plugin raised, or returned a value of another type. It is named.
        """
        answers = []
        for plugin, implementation in self._implementations(hook):
            try:
                value = self._answer(plugin, hook, implementation, given)
            except PluginError as error:
                if subject:
                    self.failures.note(plugin, hook, error.__cause__ or error, subject)
                raise
            if value is not None:
                answers.append(HookAnswer(plugin, value))
        return answers

    def tell(self, hook: str, *, subject: str = "", **given: Any) -> list[HookAnswer]:
        """Do as `ask`, but go on without a plugin that fails, and keep its failure.

        Args:
            subject: What the hook is called for, for the failure: "replica r1".
        """
        answers = []
        for plugin, implementation in self._implementations(hook):
            try:
                value = self._answer(plugin, hook, implementation, given)
            except PluginError as error:
                self.failures.note(plugin, hook, error.__cause__ or error, subject)
                continue
            if value is not None:
                answers.append(HookAnswer(plugin, value))
        return answers

    def make_handle(self, deployment: DeploymentId, runtime: Runtime | None) -> Any:
        handle = self._first("make_handle", deployment=deployment, runtime=runtime)
        if handle is None:
            raise missing_package("handle", f"a handle to {deployment}")
        return handle

    def make_client(self, instance: Instance) -> Any:
        """Return what `serve.start` gives, None where no plugin gives one."""
        return self._first("make_client", instance=instance)

    def make_scaler(self, context: ScalerContext) -> tuple[str, Scaler] | None:
        """Return the first scaler that a plugin gives, and the plugin's name; None for none.

        Raises:
            PluginError: A plugin raised, or returned something else. It is named, and the failure
                is kept.
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
        """Whether a plugin besides core wraps calls. Core's layer needs no options."""
        return any(plugin != "core" for plugin, _ in self._implementations("wrap_caller"))

    def wrap_caller(
        self, deployment: DeploymentInfo, config: ConfigSections
    ) -> list[StagedLayer[Layer]]:
        return self._layers("wrap_caller", deployment, config)

    def wrap_replica(
        self, deployment: DeploymentInfo, config: ConfigSections
    ) -> list[StagedLayer[Layer]]:
        return self._layers("wrap_replica", deployment, config)

    def wrap_route(self, route: Route, runtime: Runtime) -> list[RouteLayer | PluginError]:
        """Return what plugins put around the calls by a route, the first outermost.

        In place of a plugin's layer the error, where the plugin failed: calls by that route must
        not be made without it, and those by others must go on.
        """
        layers: list[RouteLayer | PluginError] = []
        given = {"route": route, "runtime": runtime}
        for plugin, implementation in self._implementations("wrap_route"):
            subject = f"route {route.name or route.prefix!r}"
            try:
                layer = self._answer(plugin, "wrap_route", implementation, given)
            except PluginError as error:
                self.failures.note(plugin, "wrap_route", error.__cause__ or error, subject)
                layers.append(PluginError(f"{subject}: {error}"))
                continue
            if layer is not None:
                layers.append(layer)
        return layers

    def check_start(self, config: ConfigSections) -> None:
        """Ask every plugin whether this machine can run what is configured.

        Raises:
            ConfigError: It cannot.
            PluginError: A plugin's check itself failed.
        """
        self.ask("check_start", config=config)

    def on_event(self, event: Event) -> None:
        self.tell("on_event", event=event, subject=event.kind)

    def _layers(
        self, hook: str, deployment: DeploymentInfo, config: ConfigSections
    ) -> list[StagedLayer[Layer]]:
        """Return the layers that plugins give, the outermost first.

        Raises:
            PluginError: A plugin raised, or returned something else than a layer. Calls must not
                be made without it.
        """
        subject, stages = f"deployment {deployment}", self.layer_stages
        given: list[tuple[str, Layer | StagedLayer[Layer]]] = []
        try:
            answers = self.ask(hook, subject=subject, deployment=deployment, config=config)
        except PluginError as error:
            raise PluginError(f"{subject}: {error}") from error.__cause__
        for plugin, layer in answers:
            if plugin == "core":  # nobody pays for a check of core's own
                given.append((plugin, layer))
                continue
            note = functools.partial(self.failures.note, plugin, hook, subject=subject)
            note_call = functools.partial(note, subject=f"calls to {subject}")
            checked = checked_layer(layer, f"plugin {plugin}: {hook}", note, note_call)
            given.append((plugin, checked))
            try:
                order_layers(given, stages)  # here, where an unknown stage has a plugin
            except PluginError as error:
                note(error)
                raise PluginError(f"{subject}: {error}") from None
        return order_layers(given, stages)

    # --- how they are asked -------------------------------------------------------------

    def _hook(self, name: str) -> Any:
        hook = getattr(self._manager.hook, name, None)
        if hook is None or name not in self.specifications:
            raise PluginError(
                f"no plugin brings a hook {name!r}; known: {list(self.specifications)}"
            )
        return hook

    def _implementations(self, hook: str) -> Iterator[tuple[str, Callable[..., Any]]]:
        """Yield each plugin that implements a hook, and a function that asks it, in their order."""
        for implementation in reversed(self._hook(hook).get_hookimpls()):
            yield str(implementation.plugin_name), _asking(implementation)

    def _answer(
        self, plugin: str, hook: str, ask: Callable[..., Any], given: Mapping[str, Any]
    ) -> Any:
        try:
            with asking(f"plugin {plugin} called get_runtime() in {hook}"):
                value = ask(**given)
        except BaseException as error:  # foreign code
            # A check answers with the error that its user is to read.
            if is_interrupt(error) or (hook.startswith("check_") and isinstance(error, ServeError)):
                raise
            raise PluginError(
                f"plugin {plugin} failed in {hook}: {type(error).__name__}: {error}"
            ) from error
        wrong = mismatch(value, self.specifications[hook].result)
        if wrong:
            cause = TypeError(f"it returned {wrong}")
            raise PluginError(f"plugin {plugin}: {hook} returned {wrong}.") from cause
        return value

    def _first(self, hook: str, **given: Any) -> Any:
        """Call a hook whose first result wins, wrappers included."""
        try:
            return self._hook(hook)(**given)
        except ServeError:
            raise
        except BaseException as error:  # foreign code
            if is_interrupt(error):
                raise
            plugin = _raised_by(self._hook(hook).get_hookimpls(), error)
            raise PluginError(
                f"plugin {plugin} failed in {hook}: {type(error).__name__}: {error}"
            ) from error

    def _ask_everything(self) -> dict[str, str]:
        """Ask every `register_*` hook; return why plugins clash, by plugin."""
        clashes: dict[str, str] = {}
        for name, specification in self.specifications.items():
            if specification.is_registry:
                clashes |= self._collect(name)[1]
        return clashes

    def _collect(self, hook: str) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the values of a `register_*` hook by name, and why plugins clash, by plugin."""
        values: dict[str, Any] = {}
        givers: dict[str, str] = {}
        clashes: dict[str, str] = {}
        for plugin, ask in list(self._implementations(hook)):
            try:
                given = _named(self._answer(plugin, hook, ask, {}))
            except BaseException as error:  # foreign code: its failure is nobody else's
                if is_interrupt(error):
                    raise
                self._leave_out(plugin, hook, error)
                continue
            for name, value in given:
                if name not in values:
                    values[name], givers[name] = value, plugin
                    self._givers[hook, name] = plugin
                    continue
                reason = (
                    f"{hook}: both {self._origin(givers[name])} and {self._origin(plugin)} give "
                    f"{name!r}. Uninstall one, or name one in ALACARTE_DISABLE_PLUGINS."
                )
                clashes |= {givers[name]: reason, plugin: reason}
        return values, clashes

    def _leave_out(self, plugin: str, hook: str, error: BaseException) -> None:
        """Go on without a plugin that fails only now, or stop where it is needed."""
        cause = error.__cause__ or error
        reason = f"{hook}: {type(cause).__name__}: {cause}"
        if self._strict or plugin in self._required:
            raise PluginError(f"plugin {plugin} failed in {reason}") from error
        self._manager.unregister(name=plugin)
        self.records = tuple(
            replace(record, state="failed", reason=reason) if record.name == plugin else record
            for record in self.records
        )
        log.warning("plugin %s was left out: %s", plugin, reason)

    def _origin(self, plugin: str) -> str:
        return next(record for record in self.records if record.name == plugin).origin


def _asking(implementation: Any) -> Callable[..., Any]:
    """Return a function that gives an implementation the arguments that it names."""
    function, names = implementation.function, implementation.argnames
    return lambda **given: function(*(given[name] for name in names))


def _named(values: Iterable[Any]) -> list[tuple[str, Any]]:
    """Return values with their names."""
    named = [
        (getattr(value, "qualified_name", getattr(value, "name", None)), value) for value in values
    ]
    for name, value in named:
        if not isinstance(name, str) or not name:
            raise PluginError(f"{value!r} has no name")
    return [(str(name), value) for name, value in named]


def _raised_by(implementations: Iterable[Any], error: BaseException) -> str:
    """Return the plugin whose implementation stands innermost in a traceback."""
    codes = {
        getattr(each.function, "__code__", None): str(each.plugin_name) for each in implementations
    }
    found, frame = "?", error.__traceback__
    while frame is not None:
        found = codes.get(frame.tb_frame.f_code, found)
        frame = frame.tb_next
    return found
