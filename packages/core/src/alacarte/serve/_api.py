"""The functions of the facade: start, run, inspect and stop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from .._model.deployment import Application
from .._model.deployment_spec import ApplicationSpec
from .._model.graph import build_application
from .._plugins import Plugins, missing_package
from .._section_values import keyword_of, plain_options
from ..context import current_replica
from ..errors import ConfigError, PluginError, ServeError
from ..status import ServeStatus
from ..types import Client, DeploymentId, Handle, Resource
from . import _current
from ._session import Session
from ._traceback import short_traceback

__all__ = [
    "RunTarget",
    "attach",
    "delete",
    "restart_services",
    "run",
    "run_many",
    "shutdown",
    "shutdown_async",
    "start",
    "status",
]

log = logging.getLogger("alacarte.serve")
"""Reports successes; a program that reports them itself, as `alacarte run` does, sets the level."""
_build_lock = threading.Lock()
"""Threads build applications in turn: CPython 3.11 cannot parse two sources at once."""
APPLICATION = "application"


class _Unset:
    def __repr__(self) -> str:
        return "'/'"


_ROOT: Any = _Unset()
"""The default of `route_prefix`: "/" where a package that answers HTTP is installed."""

_UNSUPPORTED = {
    "http_middlewares": "not supported; add middleware to the application behind @serve.ingress",
    "grpc_options": "not supported yet; remove the option",
    "logging_config": "not supported yet; remove the option",
    "tracing_config": "not supported yet; remove the option",
    "controller_options": "not supported; remove the option",
    "dedicated_cpu": "not needed, since the controller reserves no CPU; remove the option",
}
"""Options that Ray Serve takes, or once took, each with a remedy."""


@dataclass(frozen=True)
class RunTarget:
    """An application for `run_many`, with its name and route prefix.

    Attributes:
        target: The application that `.bind()` returned.
        name: Name of the application, unique in the instance.
        route_prefix: URL prefix of the application, such as "/images"; None for no HTTP.
    """

    target: Application
    name: str = "default"
    route_prefix: str | None = _ROOT
    logging_config: object = None


@short_traceback
def start(
    proxy_location: str | None = None,
    http_options: object = None,
    *,
    cluster: str | None = None,
    address: str | None = None,
    detached: bool | None = None,
    foreground: bool = False,
    required_plugins: Sequence[str] = (),
    **options: object,
) -> Client:
    """Start an instance of alacarte, or join the running instance.

    Starts a Ray cluster on this machine when neither `address` nor `RAY_ADDRESS` names one and none
    is running here. An instance keeps the options that it was started with: other options of a
    program that joins are ignored with a warning.

    Args:
        proxy_location: Where HTTP proxies run: "EveryNode", "HeadOnly" or "Disabled".
        http_options: See `HTTPOptions` of alacarte-http.
        cluster: "ray", or "local" for one process without Ray; `ALACARTE_CLUSTER` by default.
        address: Address of a Ray cluster, as for `ray.init`.
        detached: False for an instance that ends with this process, even when the process is
            killed; True to start an instance, and fail where one is running. By default an
            instance on Ray outlives the process; the local cluster is part of the process.
        foreground: Use the defaults for a program that stays in the foreground, such as an access
            log on the standard output.
        required_plugins: Names of plugins that must be loaded, besides those in
            `ALACARTE_REQUIRED_PLUGINS`.
        **options: Further sections, such as `cluster_options`; and `http_host` and `http_port`,
            which old programs pass instead of `http_options` (`http_host=None`: no HTTP).

    Returns:
        A client of backends and endpoints, where alacarte-endpoints is installed.

    Raises:
        ConfigError: An option is not allowed, or a port is in use.
        PluginError: A required plugin is not installed, is disabled, or has failed.
        ServeError: The running instance does not answer; or an instance is running, and
            `detached` is True.
    """
    if isinstance(required_plugins, str):
        raise ConfigError(
            f"serve.start(required_plugins={required_plugins!r}): required_plugins must be a list "
            f"of names; write [{required_plugins!r}]."
        )
    _current.require(required_plugins)
    http_options = _merge_old_names(http_options, options)
    sections = _current.load_plugins().config_sections.values()
    # A plugin may provide an option that core lacks.
    for option in options.keys() & _UNSUPPORTED.keys() - set(map(keyword_of, sections)):
        if options.pop(option) is not None:
            raise ConfigError(f"serve.start({option}=...): {_UNSUPPORTED[option]}.")
    if proxy_location is not None:
        http_options = {**plain_options("http_options", http_options), "location": proxy_location}
    all_options = {"http_options": http_options, **options}
    session = _current.start(
        cluster, address, all_options, wait=True, detached=detached, foreground=foreground
    )
    return _client(session)


def _merge_old_names(http_options: object, options: dict[str, object]) -> object:
    """Return the HTTP options; move `http_host` and `http_port` out of `options`."""
    old = {
        name: options.pop(f"http_{name}") for name in ("host", "port") if f"http_{name}" in options
    }
    if not old:
        return http_options
    if http_options is not None:
        names = " and ".join(f"http_{name}" for name in old)
        raise ConfigError(
            f"serve.start(): {names} and http_options exclude each other; set "
            f"{' and '.join(old)} in http_options."
        )
    if old.get("host", "") is None:
        return {"location": "Disabled"}
    return old


@short_traceback
def run(
    target: Application,
    blocking: bool = False,
    name: str = "default",
    route_prefix: str | None = _ROOT,
    logging_config: object = None,
    _local_testing_mode: bool = False,
    *,
    timeout_s: float | None = None,
) -> Handle:
    """Deploy an application, wait until it runs, and return a handle to its ingress deployment.

    An application with the same name is updated; replicas of unchanged deployments are kept.

    Args:
        target: The application that `.bind()` returned.
        blocking: Block until interrupted, or until the instance has ended. An interrupt ends the
            wait only; on Ray the application keeps running.
        name: Name of the application, unique in the instance.
        route_prefix: URL prefix of the application, such as "/images"; None for no HTTP.
        _local_testing_mode: Ray Serve's argument for the local cluster.
        timeout_s: How long to wait until the application runs, None for no limit.

    Returns:
        A `DeploymentHandle`, where alacarte-handles is installed; otherwise an object whose use
        raises an error that names the package to install.

    Raises:
        ConfigError: A name, a prefix or an option is not allowed.
        DeployError: A replica does not start; the message begins at the user's own frame. Or
            another program has deployed a different application with this name meanwhile.
        DeployTimeoutError: The application is not running after `timeout_s`. It stays deployed and
            continues to start.
        PluginError: The application needs a package that is not installed.
    """
    [handle] = run_many(
        [RunTarget(target, name, route_prefix, logging_config)],
        blocking,
        _local_testing_mode=_local_testing_mode,
        timeout_s=timeout_s,
    )
    return handle


@short_traceback
def run_many(
    targets: Sequence[RunTarget],
    blocking: bool = False,
    wait_for_ingress_deployment_creation: bool = True,
    wait_for_applications_running: bool = True,
    _local_testing_mode: bool = False,
    *,
    timeout_s: float | None = None,
) -> list[Handle]:
    """Deploy several applications at once: all of them, or none when one is refused.

    Args:
        targets: Applications, each with a name of its own.
        blocking: Block until interrupted, or until the instance has ended.
        wait_for_ingress_deployment_creation: Ray Serve's argument, without effect: calls of a
            returned handle wait for the first replica.
        wait_for_applications_running: Wait until all applications run.
        timeout_s: How long to wait until all applications run, None for no limit.

    Returns:
        A handle to each application's ingress deployment, in the order of `targets`.

    Raises:
        ConfigError: A name, a prefix or an option is not allowed.
        DeployError: An application does not start. The others continue.
        DeployTimeoutError: An application is not running after `timeout_s`. All stay deployed.
        PluginError: An application needs a package that is not installed.
    """
    if timeout_s is not None and not timeout_s > 0:
        raise ConfigError(f"serve.run(timeout_s={timeout_s!r}): timeout_s must be greater than 0.")
    specs = _build_specs(targets)
    cluster = "local" if _local_testing_mode else None
    fresh = _current.current() is None
    session = _current.start(cluster, None, {}, wait=False)
    resources = [Resource(APPLICATION, spec.name, spec) for spec in specs]
    try:
        session.apply(*resources, wait=wait_for_applications_running, timeout_s=timeout_s)
    except ConfigError:
        if fresh and session.started:
            _current.end()  # nothing can run with a refused option, such as a port in use
        raise
    state = "ready" if wait_for_applications_running else "deployed"
    status = session.status()
    for spec in specs:
        log.info("application %r is %s%s", spec.name, state, _location(status, spec))
    handles = [_handle(session, spec.ingress) for spec in specs]
    if blocking:
        # Repeatedly: some platforms cannot interrupt a wait without a timeout.
        while not session.wait_ended(3600):
            pass
    return handles


def _build_specs(targets: Sequence[RunTarget]) -> list[ApplicationSpec]:
    """Return the specs of applications, before anything is started for them."""
    replica = current_replica.get()
    if replica is not None and replica.servable_object is None:
        raise ServeError(
            f"serve.run() was called while a replica of {replica.deployment_id} loads its code: "
            "put the call under `if __name__ == '__main__':` in the module that defines the "
            "deployment."
        )
    if not targets:
        raise ConfigError("serve.run_many(): targets is empty; pass at least one RunTarget.")
    plugins = _current.load_plugins()
    specs: dict[str, ApplicationSpec] = {}
    for each in targets:
        if each.logging_config is not None:
            raise ConfigError("logging_config is not supported yet; remove the option.")
        prefix = _resolve_prefix(each.route_prefix, plugins)
        with _build_lock:
            spec = build_application(each.target, name=each.name, route_prefix=prefix)
        if len(spec.deployments) > 1 and not plugins.provides_handles:
            raise missing_package("handle", f"{each.name}: passing a deployment to another one")
        if each.name in specs:
            raise ConfigError(
                f"serve.run_many(): two applications are named {each.name!r}; rename one."
            )
        specs[each.name] = spec
    return list(specs.values())


@short_traceback
def delete(name: str, _blocking: bool = True) -> None:
    """Delete an application. Requests in flight finish; an unknown name is no error.

    Args:
        _blocking: Wait until all replicas have ended.

    Raises:
        ServeError: No instance is running.
        ConfigError: A route of another resource targets the application; see `serve.set_traffic`.
        TimeoutError: Replicas still drain after a minute; they continue to.
    """
    session = _current.attach() if _current.current() is None else _current.current()
    if session is None:
        raise ServeError("serve.delete(): alacarte is not running; call serve.run() first.")
    session.delete(APPLICATION, name, wait=_blocking)


@short_traceback
def status() -> ServeStatus:
    """Return the status of applications and proxies; an empty status when no instance is running.

    Joins an instance that is running on Ray. While the controller restarts, the call waits.
    """
    session = _current.current() or _current.attach()
    if session is None:
        return ServeStatus()
    return session.status()


@short_traceback
def restart_services(service: str = "", *, drain_s: float = 30.0) -> None:
    """Restart node services, such as the HTTP proxies, without losing a request.

    Each process gets a successor, which serves before the old process stops accepting. Returns
    when the old processes have answered all accepted requests.

    Args:
        service: Name of a service, such as "http"; "" for all.
        drain_s: Time for the accepted requests. Connections that are still open then are closed.

    Raises:
        NotFoundError: No service has that name.
        ServeError: No instance is running; or a successor does not start, and the old process
            continues; or the controller ended meanwhile, and some processes may be restarted.
    """
    if drain_s <= 0:
        raise ConfigError(
            f"serve.restart_services(drain_s={drain_s!r}): drain_s must be greater than 0."
        )
    session = _current.current() or _current.attach()
    if session is None:
        raise ServeError(
            "serve.restart_services(): alacarte is not running; call serve.start() first."
        )
    session.wait(session.controller.restart_services(service, drain_s))


@short_traceback
def shutdown(*, force: bool = False, address: str | None = None) -> None:
    """Stop all applications and all processes of alacarte. Ray itself keeps running.

    Callers stop before their callees, and requests in flight finish, within
    `graceful_shutdown_timeout_s`. Without a running instance, nothing happens.

    Args:
        force: Kill all processes at once, without the controller, which may hang or be gone. Also
            kills the leftovers on Ray of an instance that this process has not joined.
        address: Address of the Ray cluster, for an instance that this process has not joined.

    Raises:
        ServeError: Some processes are still alive, or the cluster does not answer.
    """
    if force:
        ended = _current.end_by_force(address)
    else:
        if address is not None:
            _current.attach(address)
        ended = _current.end()
    if not ended:
        log.debug("serve.shutdown(): nothing was running")


async def shutdown_async(*, force: bool = False, address: str | None = None) -> None:
    """Shut down as `shutdown` does, for code that runs on an event loop."""
    await asyncio.to_thread(shutdown, force=force, address=address)


def attach(address: str | None = None) -> bool:
    """Join an instance that is running on Ray; return whether there is one. Starts nothing.

    Args:
        address: Address of the Ray cluster; by default `RAY_ADDRESS`, else a cluster on this
            machine.
    """
    return _current.attach(address) is not None


def _client(session: Session) -> Client:
    client: Client | None = session.plugins.make_client(session)
    return cast(Client, _NoClient()) if client is None else client


class _NoClient:
    """The client of `serve.start` where no package provides one: any use raises an error."""

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        raise missing_package("client", f"{name}() of the client that serve.start() returns")

    def __repr__(self) -> str:
        return "<no client: alacarte-endpoints is not installed>"


def _resolve_prefix(route_prefix: object, plugins: Plugins) -> str | None:
    if isinstance(route_prefix, _Unset):
        return "/" if plugins.provides_routes else None
    if route_prefix is not None and not plugins.provides_routes:
        raise missing_package("route_prefix", f"route_prefix={route_prefix!r}")
    return cast("str | None", route_prefix)


def _location(status: ServeStatus, spec: ApplicationSpec) -> str:
    """Return the application's URL, and the targets of a route that overrides its own, if any."""
    if spec.route_prefix is None:
        return ""
    at = f" at {status.urls[0]}{spec.route_prefix}" if status.urls else ""
    route = status.routes.get(spec.route_prefix)
    if route is None or spec.name in route.targets:
        return at
    others = " and ".join(map(repr, route.targets))
    return f"{at}, but another route overrides its own: requests go to {others}"


def _handle(session: Session, ingress: DeploymentId) -> Handle:
    if not session.plugins.provides_handles:
        return cast(Handle, _NoHandle(ingress))
    handle: Handle = session.plugins.make_handle(ingress, session.runtime)
    return handle


class _NoHandle:
    """The handle of `serve.run` where no package provides handles: any use raises an error."""

    def __init__(self, deployment: DeploymentId) -> None:
        self._deployment = deployment

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        error: PluginError = missing_package("handle", f"a handle to {self._deployment}")
        raise error

    def __repr__(self) -> str:
        return f"<no handle to {self._deployment}: alacarte-handles is not installed>"
