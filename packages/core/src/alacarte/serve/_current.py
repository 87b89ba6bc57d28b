"""The session of this process, if any. All functions are thread-safe."""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections.abc import Iterable, Mapping

from .._logging import configure_logging
from .._plugins import Plugins, required_plugins
from .._section_values import SectionValues, resolve
from ..errors import ConfigError, ServeError
from ..plugins import load_plugins
from ._cluster_kinds import cluster_kind, connect, connect_running, is_connected, starts_cluster
from ._controller_connection import warn_of_differences
from ._session import Session

__all__ = [
    "CURRENT",
    "attach",
    "current",
    "end",
    "end_by_force",
    "load_plugins",
    "require",
    "start",
]

log = logging.getLogger("alacarte")
_ALREADY_RUNNING = (
    "serve.start(detached=True): an instance is running already; join it with serve.connect(), or "
    "end it with serve.shutdown()."
)
_NOT_BOUND = (
    "serve.start(detached=False): an instance is running already, and does not end with this "
    "process"
)


class CurrentSession:
    """The holder of this process's session.

    Attributes:
        session: The session, None while this process has not joined an instance.
    """

    def __init__(self) -> None:
        self.session: Session | None = None
        self._lock = threading.RLock()

    def current(self) -> Session | None:
        """Return this process's session, None when it has none."""
        if self.session is not None and _is_over(self.session):
            with self._lock:
                self._forget_ended()
        return self.session

    def _forget_ended(self) -> bool:
        """Drop the session of an instance that is out of reach, so that another can be joined.

        Another process has ended the instance, or `ray.shutdown()` has ended the connection.

        Returns:
            Whether the connection ended, and the instance may still be running.
        """
        session = self.session
        if session is None or not _is_over(session):
            return False
        self.session = None
        session.leave()
        return not session.cluster.is_connected

    def start(
        self,
        cluster: str | None,
        address: str | None,
        options: Mapping[str, object],
        *,
        wait: bool,
        detached: bool | None = None,
        foreground: bool = False,
    ) -> Session:
        """Return this process's session; join the running instance or start one if it has none.

        Args:
            cluster: `"ray"` or `"local"`; by default `ALACARTE_CLUSTER`, else Ray.
            address: Address of the Ray cluster.
            options: Configuration, by keyword of `serve.start`.
            wait: Wait until the node services are up.
            detached: False for an instance that ends with this process; True to fail where an
                instance is running.
            foreground: Use the sections' defaults for a program that stays in the foreground.
        """
        kind = cluster_kind(cluster)
        with self._lock:
            self._forget_ended()
            if self.session is None:
                return self._start_session(
                    kind, address, options, wait=wait, detached=detached, foreground=foreground
                )
            session = self._reuse(kind if cluster is not None else None, options, detached)
        if wait:
            session.wait(session.controller.ready())
        return session

    def _start_session(
        self,
        kind: str,
        address: str | None,
        options: Mapping[str, object],
        *,
        wait: bool,
        detached: bool | None,
        foreground: bool,
    ) -> Session:
        """Connect to a cluster, and join the running instance or start one."""
        configure_logging()
        plugins = require()
        # Before anything is started: an invalid option must leave nothing behind.
        config = resolve(plugins, options, foreground=foreground)
        if starts_cluster(kind, address):
            plugins.check_start(SectionValues(plugins, config))
        session = Session(connect(kind, address), plugins)
        try:
            session.join(config)
            if detached and not session.started:
                raise ServeError(_ALREADY_RUNNING)
            bound = detached is False and session.started
            if bound:
                session.start_lease()
            elif detached is False:
                log.warning(_NOT_BOUND)
            if wait:
                session.wait(session.controller.ready())
        except BaseException:
            session.abandon()
            raise
        self.session = session
        if kind == "local" or bound:
            # A single registration with a weak reference: a program may start many instances.
            atexit.unregister(self.end_if_current)
            atexit.register(self.end_if_current, weakref.ref(session))
        return session

    def _reuse(
        self, kind: str | None, options: Mapping[str, object], detached: bool | None
    ) -> Session:
        """Return the current session; log which options the running instance ignores."""
        session = self.session
        assert session is not None
        if detached:
            raise ServeError(_ALREADY_RUNNING)
        if detached is False:
            log.warning(_NOT_BOUND)
        if kind not in (None, session.cluster.kind):
            raise ConfigError(
                f"this process runs on the {session.cluster.kind} cluster already; call "
                f"serve.shutdown() before serve.start(cluster={kind!r})."
            )
        set_options = {name: value for name, value in options.items() if value is not None}
        if set_options:
            asked = resolve(session.plugins, set_options)
            warn_of_differences(session.plugins, session.config, asked)
        return session

    def attach(self, address: str | None = None) -> Session | None:
        """Return the session, or join a running instance; None when none is running."""
        with self._lock:
            self._forget_ended()
            if self.session is not None or cluster_kind(None) == "local":
                # No process can join another process's local cluster.
                return self.session
            cluster = connect_running(address)
            if cluster is None:
                return None
            configure_logging()
            session = Session(cluster, require())
            try:
                found = session.join(None)
            except BaseException:
                session.leave()
                raise
            if not found:
                session.leave()
                return None
            self.session = session
            return session

    def end(self) -> bool:
        """Shut the instance down; return whether there was one."""
        with self._lock:
            if self._forget_ended() and is_connected():
                self.attach()  # to the instance on the cluster of the latest `ray.init()`, if any
            session, self.session = self.session, None
            if session is None:
                return False
            session.shut_down()
            return True

    def end_if_current(self, session: weakref.ref[Session]) -> None:
        """Shut an instance down at exit, unless the process has joined another one since."""
        if self.session is not None and self.session is session():
            self.end()

    def end_by_force(self, address: str | None = None) -> bool:
        """Kill all processes of the instance; return whether a cluster is running.

        Works without the controller, which may hang or be gone.
        """
        with self._lock:
            self._forget_ended()
            session, self.session = self.session, None
            if session is None:
                if cluster_kind(None) == "local":
                    return False
                cluster = connect_running(address)
                if cluster is None:
                    return False
                session = Session(cluster, load_plugins())
            session.kill()
            return True


def require(names: Iterable[str] = ()) -> Plugins:
    """Return this process's plugins, after a check that all required plugins are loaded.

    Args:
        names: Required plugins, besides those in `ALACARTE_REQUIRED_PLUGINS`.

    Raises:
        PluginError: A required plugin is not installed, is disabled, or has failed.
    """
    plugins = load_plugins()
    plugins.require(required_plugins(names))
    return plugins


def _is_over(session: Session) -> bool:
    return session.ended_elsewhere or not session.cluster.is_connected


CURRENT = CurrentSession()
current = CURRENT.current
start = CURRENT.start
attach = CURRENT.attach
end = CURRENT.end
end_by_force = CURRENT.end_by_force
