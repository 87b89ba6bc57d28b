"""The hooks a plugin may implement, all called when a process starts and never per request.

A plugin is a module (or object) named by an entry point in the group `alacarte`, with some of
these functions marked `@hookimpl`. A function may leave out arguments it does not need.
`register_*` hooks return lists of named values: two plugins that give the same name are an
error that names both. `wrap_*` hooks return a layer or None. `on_*` and `check_*` hooks return
nothing. What a hook returns against its signature counts as raised. A plugin that is failed is left
out by drivers and the command line, unless it is required; a process of an instance, which must
have what its driver has, does not start without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from types import ModuleType

    from .context import ReplicaContext
    from .types import (
        ApiName,
        CallerLoad,
        CallProtocol,
        Cleanup,
        Command,
        ConfigSection,
        ConfigSections,
        DeploymentId,
        DeploymentInfo,
        Event,
        Instance,
        Layer,
        LayerStage,
        LoadWatch,
        Meter,
        NodeServiceSpec,
        PolicyFactory,
        ProcessInfo,
        ReportTopic,
        ResourceKind,
        Route,
        RouteLayer,
        Runtime,
        Scaler,
        ScalerContext,
        StagedLayer,
    )

__all__ = ["hookimpl", "hookspec"]

PROJECT = "alacarte"
"""Name of the pluggy project and of the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_hooks() -> list[ModuleType]:  # type: ignore[empty-body]
    """Return modules whose functions marked `@hookspec` are hooks for other plugins. Every process.

    They are documented, checked and listed like those here. Whoever brings them asks them through
    `Runtime.hooks`. When it raises, the plugin is failed, and so is each that implements its hooks.
    """


@hookspec
def register_api() -> list[ApiName]:  # type: ignore[empty-body]
    """Return names to add to `alacarte.serve`, imported when first used. Every process.

    When it raises, the plugin is failed and none of its names is there.
    """


@hookspec
def register_modules() -> list[str]:  # type: ignore[empty-body]
    """Return modules that programs may name without importing them. Every process.

    They are imported with `serve.deployment`, for annotations such as `starlette.requests.Request`
    after `import starlette` alone. When it raises, or a module cannot be imported, the plugin is
    failed.
    """


@hookspec
def register_config() -> list[ConfigSection]:  # type: ignore[empty-body]
    """Return sections of the configuration and of `serve.start`. Driver and CLI.

    When it raises, the plugin is failed and its sections are unknown options.
    """


@hookspec
def check_start(config: ConfigSections) -> None:
    """Raise ConfigError where this machine cannot run what the configuration asks for. Driver.

    Called before a cluster is started on this machine, which takes seconds: a port that is in use
    is better found here. Not called where a cluster runs already, which may be elsewhere. When it
    raises anything else, `serve.start` raises a `PluginError` that names the plugin.
    """


@hookspec
def register_commands() -> list[Command]:  # type: ignore[empty-body]
    """Return subcommands of the `serve` program. CLI.

    When it raises, the plugin is failed and none of its commands is there.
    """


@hookspec
def register_resources() -> list[ResourceKind]:  # type: ignore[empty-body]
    """Return resource kinds: what users may ask to exist. Driver and controller.

    When it raises, the plugin is failed, and in the controller the instance does not start.
    """


@hookspec
def register_node_services() -> list[NodeServiceSpec]:  # type: ignore[empty-body]
    """Return services to run on every node, in processes of their own. Controller.

    When it raises, the plugin is failed, and in the controller the instance does not start.
    """


@hookspec
def register_routing_policies() -> list[PolicyFactory]:  # type: ignore[empty-body]
    """Return routing policies by name. Every process that calls deployments.

    When it raises, the plugin is failed and its policies are unknown names.
    """


@hookspec
def register_report_topics() -> list[ReportTopic]:  # type: ignore[empty-body]
    """Return topics that processes report values to. Controller, and every process that reports.

    When it raises, the plugin is failed and its topics are unknown.
    """


@hookspec
def register_layer_stages() -> list[LayerStage]:  # type: ignore[empty-body]
    """Return stages for layers, besides those of `alacarte.layers.STAGES`. Every process.

    When it raises, the plugin is failed and its stages are unknown.
    """


@hookspec
def register_protocols() -> list[CallProtocol]:  # type: ignore[empty-body]
    """Return the kinds of call a replica understands, besides Python's. Replica.

    When it raises, the plugin is failed, and in a replica its start fails with the plugin's name.
    """


@hookspec(firstresult=True)
def make_handle(deployment: DeploymentId, runtime: Runtime | None) -> Any:
    """Return what stands for a bound deployment in another one's arguments.

    Called in the replica, for each bound deployment among its constructor's arguments, and
    in the driver for the result of `serve.run` (`runtime` is None when none is tied to it yet).
    The first plugin that returns something wins. When it raises, `serve.run` raises a `PluginError`
    that names the plugin, or the replica does not start for that reason.
    """


@hookspec(firstresult=True)
def make_client(instance: Instance) -> Any:
    """Return what `serve.start` gives. Driver; the first plugin that returns something wins.

    When it raises, `serve.start` raises a `PluginError` that names the plugin.
    """


@hookspec(firstresult=True)
def make_scaler(context: ScalerContext) -> Scaler | None:
    """Return what decides how many replicas deployments have. Controller, once.

    The first plugin that returns something wins. Without one, each deployment has as many replicas
    as its `num_replicas` says. When it raises, there is no scaler: deployments with the plugin's
    option are refused with the plugin's name, and those of before keep their counts.
    """


@hookspec
def watch_load(deployment: DeploymentInfo, load: CallerLoad, runtime: Runtime) -> LoadWatch | None:
    """Return what follows the calls of this process to a deployment that a scaler scales.

    Called when the process has its first call for the deployment, and again after a time without
    calls; never for a deployment with a fixed number of replicas. When it raises, calls are made as
    before, and this process does not follow them for the plugin.
    """


@hookspec
def wrap_caller(
    deployment: DeploymentInfo, config: ConfigSections
) -> Layer | StagedLayer[Layer] | None:
    """Return a layer around every call that this process makes to `deployment`.

    Called for each deployment and process: before the first call, and when the deployment's version
    or options change. Layers stand in the order of their stages, then of plugin names; see
    `StagedLayer`. When it raises, the calls of this process to that deployment fail with a
    `DeploymentUnavailableError` that names the plugin: none is made without the layer.
    """


@hookspec
def wrap_replica(
    deployment: DeploymentInfo, config: ConfigSections
) -> Layer | StagedLayer[Layer] | None:
    """Return a layer around every call that a replica of `deployment` runs. Replica.

    Called when the replica starts, and when the deployment's options change in place. When it
    raises, the replica does not start, or fails each call after such a change.
    """


@hookspec
def wrap_route(route: Route, runtime: Runtime) -> RouteLayer | None:
    """Return a layer around the calls that a process makes by a route. Every process that calls.

    Asked for routes that are split, shadowed or named (`Route.is_split`), once for each version of
    a route, before the first call by it. Layers are nested in the order of plugin names. When it
    raises, calls by that route fail with a `PluginError` that names the plugin.
    """


@hookspec
def make_meter(process: ProcessInfo, config: ConfigSections) -> Meter | None:
    """Return what observes the requests of a process: a `Meter` with an observer for each subject.

    Called once in every driver, replica and node service, when it starts. When it raises, or its
    meter or an observer does, that is kept as a failure of the plugin, and requests go on.
    """


@hookspec
def on_event(event: Event) -> None:
    """A replica, a deployment or the routes changed. Controller.

    Must not block. When it raises, that is kept as a failure of the plugin, and changes nothing.
    """


@hookspec
def on_process(process: ProcessInfo, runtime: Runtime | None) -> Cleanup | None:
    """A process of the instance has started. Every process, on its event loop, once.

    Must not block. Return an async function to be awaited when the process stops, or None.
    `runtime` is None in the controller and in helper processes, which make no calls. When it
    raises, that is kept as a failure of the plugin, and the process goes on.
    """


@hookspec
def on_replica(replica: ReplicaContext, runtime: Runtime) -> Cleanup | None:
    """A replica has made the user's object, and is about to take requests. Replica, once.

    Must not block. Return an async function to be awaited after the replica's last request and
    before the user's destructor, or None. When it raises, that is kept as a failure of the plugin,
    and the replica starts all the same.
    """
