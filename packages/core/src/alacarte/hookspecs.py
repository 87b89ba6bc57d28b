"""Hook specifications for plugins. Hooks are called when a process starts, never per request.

A plugin is a module or object, named by an entry point in the group `alacarte`, that implements
some of these hooks in functions marked `@hookimpl`. A function may omit arguments.

`register_*` hooks return lists of named values; equal names of two plugins are an error that names
both. `wrap_*` hooks return a layer or None. `on_*` hooks return a cleanup or nothing, `check_*`
hooks nothing. A returned value of another type counts as an exception.

A plugin with an exception in a `register_*` hook is failed. Drivers and the command line skip
failed plugins, unless they are required. A process of an instance needs the plugins of its driver,
and does not start without them.
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
"""Name of the pluggy project and of the entry point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_hooks() -> list[ModuleType]:  # type: ignore[empty-body]
    """Return modules whose functions marked `@hookspec` are hooks for other plugins. Every process.

    Such hooks are documented, checked and listed as the hooks of this module are. The plugin that
    specifies hooks calls them through `Runtime.hooks`. When it raises, the plugin is failed, and so
    is each plugin that implements its hooks.
    """


@hookspec
def register_api() -> list[ApiName]:  # type: ignore[empty-body]
    """Return names to add to `alacarte.serve`, imported on first use. Every process.

    When it raises, the plugin is failed and its names are absent.
    """


@hookspec
def register_modules() -> list[str]:  # type: ignore[empty-body]
    """Return modules to import with `serve.deployment`, for annotations in programs. Every process.

    For annotations such as `starlette.requests.Request` after `import starlette` alone. When it
    raises, or a module cannot be imported, the plugin is failed.
    """


@hookspec
def register_config() -> list[ConfigSection]:  # type: ignore[empty-body]
    """Return sections of the configuration and of `serve.start`. Driver and CLI.

    When it raises, the plugin is failed and its sections are unknown options.
    """


@hookspec
def check_start(config: ConfigSections) -> None:
    """Raise ConfigError for a configuration that fails on this machine. Driver.

    Called before a cluster starts on this machine, which takes seconds: check here for a port in
    use, for example. Not called for a running cluster, which may be on other machines. When it
    raises another error, `serve.start` raises a `PluginError` that names the plugin.
    """


@hookspec
def register_commands() -> list[Command]:  # type: ignore[empty-body]
    """Return subcommands of the `serve` program. CLI.

    When it raises, the plugin is failed and its commands are absent.
    """


@hookspec
def register_resources() -> list[ResourceKind]:  # type: ignore[empty-body]
    """Return kinds of resources that users deploy. Driver and controller.

    When it raises, the plugin is failed, and in the controller the instance does not start.
    """


@hookspec
def register_node_services() -> list[NodeServiceSpec]:  # type: ignore[empty-body]
    """Return services to run in separate processes on every node. Controller.

    When it raises, the plugin is failed, and in the controller the instance does not start.
    """


@hookspec
def register_routing_policies() -> list[PolicyFactory]:  # type: ignore[empty-body]
    """Return routing policies by name. Every process that calls deployments.

    When it raises, the plugin is failed and its policies are unknown names.
    """


@hookspec
def register_report_topics() -> list[ReportTopic]:  # type: ignore[empty-body]
    """Return topics of reports to the controller. Controller, and every process that reports.

    When it raises, the plugin is failed and its topics are unknown.
    """


@hookspec
def register_layer_stages() -> list[LayerStage]:  # type: ignore[empty-body]
    """Return stages for layers, in addition to `alacarte.layers.STAGES`. Every process.

    When it raises, the plugin is failed and its stages are unknown.
    """


@hookspec
def register_protocols() -> list[CallProtocol]:  # type: ignore[empty-body]
    """Return call protocols for replicas, in addition to Python calls. Replica.

    When it raises, the plugin is failed, and the start of a replica fails with the plugin's name.
    """


@hookspec(firstresult=True)
def make_handle(deployment: DeploymentId, runtime: Runtime | None) -> Any:
    """Return a handle to a deployment. Replica and driver; the first plugin with a result wins.

    Called in a replica for each bound deployment in the constructor's arguments, and in the driver
    for the result of `serve.run`. `runtime` is None where the handle finds its runtime later. When
    it raises, `serve.run` raises a `PluginError` that names the plugin, or the replica does not
    start.
    """


@hookspec(firstresult=True)
def make_client(instance: Instance) -> Any:
    """Return the result of `serve.start`. Driver; the first plugin with a result wins.

    When it raises, `serve.start` raises a `PluginError` that names the plugin.
    """


@hookspec(firstresult=True)
def make_scaler(context: ScalerContext) -> Scaler | None:
    """Return the scaler, which decides the number of replicas of deployments. Controller, once.

    The first plugin with a result wins. Without a scaler, the number of replicas is `num_replicas`.
    When it raises, there is no scaler: deployments with the plugin's option are refused with the
    plugin's name, and existing deployments keep their counts.
    """


@hookspec
def watch_load(deployment: DeploymentInfo, load: CallerLoad, runtime: Runtime) -> LoadWatch | None:
    """Return a watch of this process's calls to a deployment. Every process that calls.

    Called with the process's first call of the deployment, and again after a time without calls;
    never for a deployment with a fixed number of replicas. When it raises, calls continue without
    the plugin's watch.
    """


@hookspec
def wrap_caller(
    deployment: DeploymentInfo, config: ConfigSections
) -> Layer | StagedLayer[Layer] | None:
    """Return a layer around this process's calls to `deployment`. Every process that calls.

    Called for each deployment before the first call, and when the deployment's version or options
    change. Layers are ordered by stage, then by plugin name; see `StagedLayer`. When it raises,
    this process's calls to that deployment fail with a `DeploymentUnavailableError` that names the
    plugin: no call bypasses the layer.
    """


@hookspec
def wrap_replica(
    deployment: DeploymentInfo, config: ConfigSections
) -> Layer | StagedLayer[Layer] | None:
    """Return a layer around the calls that a replica of `deployment` runs. Replica.

    Called when the replica starts, and when the deployment's options change in place. When it
    raises, the replica does not start; after a change in place, its calls fail.
    """


@hookspec
def wrap_route(route: Route, runtime: Runtime) -> RouteLayer | None:
    """Return a layer around the calls that a process makes by a route. Every process that calls.

    Called for routes that are split, shadowed or named (`Route.is_split`), once for each version of
    a route, before its first call. Layers are nested in the order of plugin names. When it raises,
    calls by that route fail with a `PluginError` that names the plugin.
    """


@hookspec
def make_meter(process: ProcessInfo, config: ConfigSections) -> Meter | None:
    """Return a `Meter`, which creates the observers of a process. Driver, replica, node service.

    Called once when the process starts. When it raises, or its meter or an observer raises, the
    failure of the plugin is recorded, and requests continue.
    """


@hookspec
def on_event(event: Event) -> None:
    """Called when a replica, a deployment or the routes change. Controller.

    Must not block. When it raises, the failure of the plugin is recorded, and nothing else changes.
    """


@hookspec
def on_process(process: ProcessInfo, runtime: Runtime | None) -> Cleanup | None:
    """Called when a process of the instance has started. Every process, on its event loop, once.

    Must not block. Return an async function to await when the process stops, or None. `runtime` is
    None in the controller and in helper processes, which make no calls. When it raises, the failure
    of the plugin is recorded, and the process continues.
    """


@hookspec
def on_replica(replica: ReplicaContext, runtime: Runtime) -> Cleanup | None:
    """Called after the user's constructor, before the replica accepts requests. Replica, once.

    Must not block. Return an async function to await after the replica's last request and before
    the user's destructor, or None. When it raises, the failure of the plugin is recorded, and the
    replica continues.
    """
