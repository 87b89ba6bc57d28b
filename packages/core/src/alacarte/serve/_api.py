"""The functions of the facade: start, run, look, stop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from .._model.deployment import Application
from .._model.deployment_spec import ApplicationSpec
from .._model.graph import build_application
from .._plugins import Plugins, missing_package
from .._settings import keyword_of, plain_options
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
"""Says what the functions here did; a program that says so itself sets its level."""
_building = threading.Lock()
"""Threads deploy in turn: CPython 3.11 cannot make two syntax trees at once."""
APPLICATION = "application"


class _Unset:
    def __repr__(self) -> str:
        return "'/'"


_ROOT = _Unset()
"""The default of `route_prefix`: "/" where a package that answers HTTP is installed."""

# Ray Serve took these once, or takes them. The text says what to do instead.
_ELSEWHERE = {
    "http_middlewares": "put middleware into the application behind @serve.ingress",
    "grpc_options": "it is not supported yet; leave it out",
    "logging_config": "it is not supported yet; leave it out",
    "tracing_config": "it is not supported yet; leave it out",
    "controller_options": "it is not supported; leave it out",
    "dedicated_cpu": "the controller takes no CPU of the cluster's; leave it out",
}


@dataclass(frozen=True)
class RunTarget:
    """One application for `run_many`.

    Attributes:
        target: What `.bind()` returned.
        name: Unique in the instance.
        route_prefix: Where HTTP reaches it, such as "/images"; None for nowhere.
    """

    target: Application
    name: str = "default"
    route_prefix: Any = _ROOT
    logging_config: Any = None


@short_traceback
def start(
    proxy_location: str | None = None,
    http_options: Any = None,
    *,
    cluster: str | None = None,
    address: str | None = None,
    detached: bool | None = None,
    foreground: bool = False,
    required_plugins: Sequence[str] = (),
    **options: Any,
) -> Client:
    """Start alacarte, or join the instance that runs.

    Without a Ray cluster at `address` or in `RAY_ADDRESS`, one is started on this machine. Options
    are fixed when an instance starts; later ones are ignored with a warning.

    Args:
        proxy_location: "EveryNode", "HeadOnly" or "Disabled": where HTTP proxies run.
        http_options: See `HTTPOptions` of alacarte-http.
        cluster: "ray", or "local" for one process without Ray; `ALACARTE_CLUSTER` by default.
        address: Of a Ray cluster, as `ray.init` takes it.
        detached: False for an instance that ends with this process, however that ends; True for
            one that must not run already. By default it outlives the process, but for the local
            cluster's, which is part of it.
        foreground: This program stays and shows what happens: options that are not given have the
            defaults for that, such as an access log on the standard output.
        required_plugins: Names of plugins without which nothing is to be served, besides those in
            `ALACARTE_REQUIRED_PLUGINS`.
        **options: Further sections, such as `cluster_options`; and `http_host` and `http_port`,
            which old programs say instead of `http_options` (None for the host: no HTTP).

    Returns:
        A client of backends and endpoints, where alacarte-endpoints is installed.

    Raises:
        ConfigError: An option is not allowed, or a port is in use.
        PluginError: A required plugin is not installed, is disabled, or has failed.
        ServeError: The instance that runs does not answer; or one runs, and `detached` is True.
    """
    if isinstance(required_plugins, str):
        raise ConfigError(
            f"serve.start(required_plugins={required_plugins!r}): give a list of names."
        )
    _current.require(required_plugins)
    http_options = _with_old_names(http_options, options)
    sections = _current.load_plugins().config_sections.values()
    # A plugin may give what core only explains.
    for option in options.keys() & _ELSEWHERE.keys() - set(map(keyword_of, sections)):
        if options.pop(option) is not None:
            raise ConfigError(f"serve.start({option}=...): {_ELSEWHERE[option]}.")
    if proxy_location is not None:
        http_options = {**plain_options("http_options", http_options), "location": proxy_location}
    given = {"http_options": http_options, **options}
    session = _current.start(
        cluster, address, given, wait=True, detached=detached, foreground=foreground
    )
    return _client(session)


def _with_old_names(http_options: Any, options: dict[str, Any]) -> Any:
    """Return the HTTP options, with those taken out of `options` that have names of their own."""
    old = {
        name: options.pop(f"http_{name}") for name in ("host", "port") if f"http_{name}" in options
    }
    if not old:
        return http_options
    if http_options is not None:
        names = " and ".join(f"http_{name}" for name in old)
        raise ConfigError(f"serve.start({names}): say it in http_options, which is given, too.")
    if old.get("host", "") is None:
        return {"location": "Disabled"}
    return old


@short_traceback
def run(
    target: Application,
    blocking: bool = False,
    name: str = "default",
    route_prefix: Any = _ROOT,
    logging_config: Any = None,
    _local_testing_mode: bool = False,
    *,
    timeout_s: float | None = None,
) -> Handle:
    """Deploy an application, wait until it runs, and return a handle to its ingress deployment.

    An application of the same name is updated: what has not changed is not restarted.

    Args:
        target: What `.bind()` returned.
        blocking: Stay here until interrupted, or until the instance has ended, by this process or
            another. An interrupt ends the wait only; on Ray the application goes on.
        name: Unique in the instance.
        route_prefix: Where HTTP reaches it, such as "/images"; None for nowhere.
        _local_testing_mode: Ray Serve's way to ask for the local cluster.
        timeout_s: How long to wait until it runs, None for no limit.

    Returns:
        A `DeploymentHandle`, where alacarte-handles is installed; without it, an object that says
        what to install when it is used.

    Raises:
        ConfigError: A name, a prefix or an option is not allowed.
        DeployError: A replica does not start; the message begins at the user's own frame. Or
            somebody has deployed something else under this name meanwhile.
        DeployTimeoutError: It does not run after `timeout_s`. The error says what it waits for;
            the application stays deployed and goes on starting.
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
        blocking: Stay here until interrupted.
        wait_for_ingress_deployment_creation: Ray Serve's; a handle of alacarte works from the
            moment it is returned, and its calls wait for the first replica.
        wait_for_applications_running: Return when all of them run; else at once.
        timeout_s: How long to wait until all of them run, None for no limit.

    Returns:
        A handle to the ingress deployment of each, in their order.

    Raises:
        ConfigError: A name, a prefix or an option is not allowed.
        DeployError: One of them does not start. The others go on.
        DeployTimeoutError: One of them does not run after `timeout_s`. All stay deployed.
        PluginError: An application needs a package that is not installed.
    """
    if timeout_s is not None and not timeout_s > 0:
        raise ConfigError(f"serve.run(timeout_s={timeout_s!r}): it must be greater than 0.")
    specs = _built(targets)
    cluster = "local" if _local_testing_mode else None
    fresh = _current.current() is None
    session = _current.start(cluster, None, {}, wait=False)
    resources = [Resource(APPLICATION, spec.name, spec) for spec in specs]
    try:
        session.apply(*resources, wait=wait_for_applications_running, timeout_s=timeout_s)
    except ConfigError:
        if fresh and session.started:
            _current.end()  # a refused option, such as a port in use: nothing can run like this
        raise
    state = "ready" if wait_for_applications_running else "deployed"
    status = session.status()
    for spec in specs:
        log.info("application %r is %s%s", spec.name, state, _where(status, spec))
    handles = [_handle(session, spec.ingress) for spec in specs]
    if blocking:
        # In turns: a wait without a bound cannot be interrupted on some platforms.
        while not session.left.wait(3600):
            pass
    return handles


def _built(targets: Sequence[RunTarget]) -> list[ApplicationSpec]:
    """Return what the targets come down to. Nothing is started for one that cannot be built."""
    replica = current_replica.get()
    if replica is not None and replica.servable_object is None:
        raise ServeError(
            f"serve.run() was called while a replica of {replica.deployment_id} loads its code: "
            "put it under `if __name__ == '__main__':` in the module that defines the deployment."
        )
    if not targets:
        raise ConfigError("run_many: there is no application to run.")
    plugins = _current.load_plugins()
    specs: dict[str, ApplicationSpec] = {}
    for each in targets:
        if each.logging_config is not None:
            raise ConfigError("logging_config is not supported yet; leave it out.")
        prefix = _prefix(each.route_prefix, plugins)
        with _building:
            spec = build_application(each.target, name=each.name, route_prefix=prefix)
        if len(spec.deployments) > 1 and not plugins.gives_handles:
            raise missing_package("handle", f"{each.name}: handing a deployment to another one")
        if each.name in specs:
            raise ConfigError(f"run_many: two applications are named {each.name!r}.")
        specs[each.name] = spec
    return list(specs.values())


@short_traceback
def delete(name: str, _blocking: bool = True) -> None:
    """Delete an application. Its requests in progress finish; an unknown name is fine.

    Args:
        _blocking: Return only when nothing is left of it.

    Raises:
        ServeError: Nothing runs.
        ConfigError: A route sends requests to it that is not its own; see `serve.set_traffic`.
        TimeoutError: Something of it is left after a minute; it goes on ending.
    """
    session = _current.attach() if _current.current() is None else _current.current()
    if session is None:
        raise ServeError("serve.delete(): alacarte is not running; serve.start() or serve.run().")
    session.delete(APPLICATION, name, wait=_blocking)


@short_traceback
def status() -> ServeStatus:
    """Return how everything is doing; empty when nothing runs.

    A process that has not joined the instance on Ray, such as a replica, does so. A controller that
    is just being restarted is waited for.
    """
    session = _current.current() or _current.attach()
    if session is None:
        return ServeStatus()
    return session.status()


@short_traceback
def restart_services(service: str = "", *, drain_s: float = 30.0) -> None:
    """Restart node services, such as the HTTP proxies, without losing a request.

    Each process gets a successor, which serves before the old one stops accepting. Returns when
    the old ones have answered what they had accepted.

    Args:
        service: Which one, such as "http"; "" for all.
        drain_s: Time for that. Connections that are still open then are closed.

    Raises:
        NotFoundError: There is no service of that name.
        ServeError: Nothing runs, or a successor does not start; then the old process goes on. Or
            the controller ended meanwhile; then some of the processes may be restarted.
    """
    if drain_s <= 0:
        raise ConfigError(f"restart_services: drain_s={drain_s!r} must be greater than 0.")
    session = _current.current() or _current.attach()
    if session is None:
        raise ServeError("serve.restart_services(): alacarte is not running; serve.start().")
    session.wait(session.controller.restart_services(service, drain_s))


@short_traceback
def shutdown(*, force: bool = False, address: str | None = None) -> None:
    """Stop every application and all of alacarte's processes. Ray itself keeps running.

    Callers stop before those they call, and requests in progress finish, within
    `graceful_shutdown_timeout_s`. Without a running instance, nothing happens.

    Args:
        force: Kill everything at once, without asking the controller, which may hang or be gone;
            also what a process that this one never joined has left behind on Ray.
        address: Of the Ray cluster to look on, for an instance that this process has not joined.

    Raises:
        ServeError: Something is still there, or the cluster does not answer.
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
    """Do as `shutdown` does, for code that runs on an event loop."""
    await asyncio.to_thread(shutdown, force=force, address=address)


def attach(address: str | None = None) -> bool:
    """Join an instance that runs on Ray already; return whether there is one. Starts nothing.

    Args:
        address: Of the Ray cluster; by default `RAY_ADDRESS`, else one on this machine.
    """
    return _current.attach(address) is not None


def _client(session: Session) -> Client:
    client: Client | None = session.plugins.make_client(session)
    return cast(Client, _NoClient()) if client is None else client


class _NoClient:
    """What `serve.start` returns where no package gives a client: it says so when used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise missing_package("client", f"{name}() of what serve.start() returns")

    def __repr__(self) -> str:
        return "<no client: alacarte-endpoints is not installed>"


def _prefix(given: Any, plugins: Plugins) -> str | None:
    if isinstance(given, _Unset):
        return "/" if plugins.gives_routes else None
    if given is not None and not plugins.gives_routes:
        raise missing_package("route_prefix", f"route_prefix={given!r}")
    prefix: str | None = given
    return prefix


def _where(status: ServeStatus, spec: ApplicationSpec) -> str:
    """Return where HTTP reaches an application, and who is in its way there."""
    if spec.route_prefix is None:
        return ""
    at = f" at {status.urls[0]}{spec.route_prefix}" if status.urls else ""
    route = status.routes.get(spec.route_prefix)
    if route is None or spec.name in route.targets:
        return at
    others = " and ".join(map(repr, route.targets))
    return f"{at}, but requests there go to {others}, by a route in front of its own"


def _handle(session: Session, ingress: DeploymentId) -> Handle:
    if not session.plugins.gives_handles:
        return cast(Handle, _NoHandle(ingress))
    handle: Handle = session.plugins.make_handle(ingress, session.runtime)
    return handle


class _NoHandle:
    """What `serve.run` returns where no package gives handles: it says so when used."""

    def __init__(self, deployment: DeploymentId) -> None:
        self._deployment = deployment

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        error: PluginError = missing_package("handle", f"a handle to {self._deployment}")
        raise error

    def __repr__(self) -> str:
        return f"<no handle to {self._deployment}: alacarte-handles is not installed>"
