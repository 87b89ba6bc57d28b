"""The functions of the facade: start, run, look, stop."""

from __future__ import annotations

import logging
import threading
from typing import Any

from .._model.application import Application
from .._model.graph import build_application
from .._model.specs import ApplicationSpec
from .._plugins import Plugins, missing_package
from .._settings import plain_options
from ..context import current_replica
from ..errors import ConfigError, PluginError, ServeError
from ..status import ServeStatus
from ..types import DeploymentId, Resource
from . import _session

__all__ = ["attach", "delete", "restart_services", "run", "shutdown", "start", "status"]

log = logging.getLogger("alacarte")
APPLICATION = "application"


class _Unset:
    def __repr__(self) -> str:
        return "'/'"


_ROOT = _Unset()
"""The default of `route_prefix`: "/" where a package that answers HTTP is installed."""


def start(
    proxy_location: str | None = None,
    http_options: Any = None,
    *,
    cluster: str | None = None,
    address: str | None = None,
    **options: Any,
) -> None:
    """Start alacarte, or join the instance that runs.

    Without a Ray cluster at `address` or in `RAY_ADDRESS`, one is started on this machine. Options
    are fixed when an instance starts; later ones are ignored with a warning.

    Args:
        proxy_location: "EveryNode", "HeadOnly" or "Disabled": where HTTP proxies run.
        http_options: See `HTTPOptions` of alacarte-http.
        cluster: "ray", or "local" for one process without Ray; `ALACARTE_CLUSTER` by default.
        address: Of a Ray cluster, as `ray.init` takes it.
        **options: Further sections, such as `cluster_options`.

    Raises:
        ConfigError: An option is not allowed, or a port is in use.
    """
    if proxy_location is not None:
        http_options = {**plain_options("http_options", http_options), "location": proxy_location}
    _session.start(cluster, address, {"http_options": http_options, **options}, wait=True)


def run(
    target: Application,
    blocking: bool = False,
    name: str = "default",
    route_prefix: Any = _ROOT,
    logging_config: Any = None,
    _local_testing_mode: bool = False,
) -> Any:
    """Deploy an application, wait until it runs, and return a handle to its ingress deployment.

    An application of the same name is updated: what has not changed is not restarted.

    Args:
        target: What `.bind()` returned.
        blocking: Stay here until interrupted.
        name: Unique in the instance.
        route_prefix: Where HTTP reaches it, such as "/images"; None for nowhere.
        _local_testing_mode: Ray Serve's way to ask for the local cluster.

    Returns:
        A `DeploymentHandle`, where alacarte-handles is installed.

    Raises:
        ConfigError: A name, a prefix or an option is not allowed.
        DeployError: A replica does not start; the message begins at the user's own frame.
        PluginError: The application needs a package that is not installed.
    """
    replica = current_replica.get()
    if replica is not None and replica.servable_object is None:
        raise ServeError(
            f"serve.run() was called while a replica of {replica.deployment_id} loads its code: "
            "put it under `if __name__ == '__main__':` in the module that defines the deployment."
        )
    if logging_config is not None:
        raise ConfigError("logging_config is not supported yet; leave it out.")
    plugins = _session.loaded_plugins()
    prefix = _prefix(route_prefix, plugins)
    spec = build_application(target, name=name, route_prefix=prefix)
    if len(spec.deployments) > 1 and not plugins.gives_handles:
        raise missing_package("handle", f"{name}: handing a deployment to another one")
    cluster = "local" if _local_testing_mode else None
    fresh = _session.current() is None
    session = _session.start(cluster, None, {}, wait=False)
    try:
        session.deploy(Resource(APPLICATION, name, spec))
    except ConfigError:
        if fresh and session.started:
            _session.end()  # a refused option, such as a port in use: nothing can run like this
        raise
    log.info("application %r is ready%s", name, _where(session, spec))
    handle = _handle(session, spec.ingress)
    if blocking:
        # Interruptible, unlike a bare wait without a timeout on some platforms.
        forever = threading.Event()
        while not forever.wait(3600):
            pass
    return handle


def delete(name: str, _blocking: bool = True) -> None:
    """Delete an application. Its requests in progress finish; an unknown name is fine.

    Args:
        _blocking: Return only when nothing is left of it.

    Raises:
        ServeError: Nothing runs.
    """
    session = _session.attach() if _session.current() is None else _session.current()
    if session is None:
        raise ServeError("serve.delete(): alacarte is not running; serve.start() or serve.run().")
    session.remove(APPLICATION, name, wait=_blocking)


def status() -> ServeStatus:
    """Return how everything is doing; empty when this process has no running instance."""
    session = _session.current()
    if session is None:
        return ServeStatus()
    found: ServeStatus = session.ask("status")
    return found


def restart_services(service: str = "", *, drain_s: float = 30.0) -> None:
    """Restart node services, such as the HTTP proxies, without losing a request.

    Each process gets a successor, which serves before the old one stops accepting. Returns when
    the old ones have answered what they had accepted.

    Args:
        service: Which one, such as "http"; "" for all.
        drain_s: Time for that. Connections that are still open then are closed.

    Raises:
        NotFoundError: There is no service of that name.
        ServeError: Nothing runs, or a successor does not start; then the old process goes on.
    """
    if drain_s <= 0:
        raise ConfigError(f"restart_services: drain_s={drain_s!r} must be greater than 0.")
    session = _session.current() or _session.attach()
    if session is None:
        raise ServeError("serve.restart_services(): alacarte is not running; serve.start().")
    session.ask("restart_services", service, drain_s)


def shutdown() -> None:
    """Stop every application and all of alacarte's processes. Ray itself keeps running."""
    if not _session.end():
        log.debug("serve.shutdown(): nothing was running")


def attach(address: str | None = None) -> bool:
    """Join an instance that runs on Ray already; return whether there is one. Starts nothing.

    Args:
        address: Of the Ray cluster; by default `RAY_ADDRESS`, else one on this machine.
    """
    return _session.attach(address) is not None


def _prefix(given: Any, plugins: Plugins) -> str | None:
    if isinstance(given, _Unset):
        return "/" if plugins.gives_routes else None
    if given is not None and not plugins.gives_routes:
        raise missing_package("route_prefix", f"route_prefix={given!r}")
    prefix: str | None = given
    return prefix


def _where(session: _session.Session, spec: ApplicationSpec) -> str:
    if spec.route_prefix is None:
        return ""
    urls = [proxy.url for proxy in session.ask("status").proxies.values() if proxy.url]
    return f" at {urls[0].rstrip('/')}{spec.route_prefix}" if urls else ""


def _handle(session: _session.Session, ingress: DeploymentId) -> Any:
    if not session.plugins.gives_handles:
        return _NoHandle(ingress)
    return session.plugins.make_handle(ingress, session.runtime)


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
