"""This process's session: there is at most one, and several threads may ask for it."""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

from .._logging import configure_logging
from .._plugins import Plugins, required_plugins
from .._settings import ConfigValues, resolve
from ..errors import ConfigError, ServeError
from ..plugins import load_plugins
from ._cluster_kinds import cluster_kind, connect, connect_running, is_connected, starts_cluster
from ._controller_connection import warn_of_differences
from ._session import Session

__all__ = ["HERE", "attach", "current", "end", "end_by_force", "load_plugins", "require", "start"]

log = logging.getLogger("alacarte")
_RUNS = "serve.start(detached=True): an instance runs already; serve.connect() joins it."
_NOT_HELD = "serve.start(detached=False): an instance runs already; it stays as long as it was to."


class CurrentSession:
    """The session of this process.

    Attributes:
        session: None while there is none.
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
        """Leave an instance that is out of reach, so that the next one can be joined.

        Another process has ended it, or `ray.shutdown()` has ended this process's connection.

        Returns:
            Whether it was the connection that ended: the instance may go on.
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
        options: Mapping[str, Any],
        *,
        wait: bool,
        detached: bool | None = None,
        foreground: bool = False,
    ) -> Session:
        """Return this process's session, and start what is missing of the instance.

        Args:
            cluster: `"ray"` or `"local"`; by default what `ALACARTE_CLUSTER` says, else Ray.
            address: Of the Ray cluster.
            options: Configuration, by keyword of `serve.start`.
            wait: Return only when the node services are up.
            detached: False for an instance that ends with this process, True for one that must
                not run already.
            foreground: Take the sections' defaults for a program that shows what happens.
        """
        kind = cluster_kind(cluster)
        with self._lock:
            self._forget_ended()
            if self.session is None:
                return self._first(
                    kind, address, options, wait=wait, detached=detached, foreground=foreground
                )
            session = self._reused(kind if cluster is not None else None, options, detached)
        if wait:
            session.wait(session.controller.ready())
        return session

    def _first(
        self,
        kind: str,
        address: str | None,
        options: Mapping[str, Any],
        *,
        wait: bool,
        detached: bool | None,
        foreground: bool,
    ) -> Session:
        """Connect to a cluster, and join the instance or start one."""
        configure_logging()
        plugins = require()
        # Before anything is started: a bad option must leave nothing behind.
        config = resolve(plugins, options, foreground=foreground)
        if starts_cluster(kind, address):
            plugins.check_start(ConfigValues(plugins, config))
        session = Session(connect(kind, address), plugins)
        try:
            session.begin(config)
            if detached and not session.started:
                raise ServeError(_RUNS)
            bound = detached is False and session.started
            if bound:
                session.hold()
            elif detached is False:
                log.warning(_NOT_HELD)
            if wait:
                session.wait(session.controller.ready())
        except BaseException:
            session.give_up()
            raise
        self.session = session
        if kind == "local" or bound:
            # One registration, and a weak one: a program may start and end many instances.
            atexit.unregister(self.end_if_current)
            atexit.register(self.end_if_current, weakref.ref(session))
        return session

    def _reused(
        self, kind: str | None, options: Mapping[str, Any], detached: bool | None
    ) -> Session:
        """Return the session that there is; say which options come too late."""
        session = self.session
        assert session is not None
        if detached:
            raise ServeError(_RUNS)
        if detached is False:
            log.warning(_NOT_HELD)
        if kind not in (None, session.cluster.kind):
            raise ConfigError(
                f"this process runs on the {session.cluster.kind} cluster already; "
                f"serve.shutdown() first to use {kind!r}."
            )
        given = {name: value for name, value in options.items() if value is not None}
        if given:
            asked = resolve(session.plugins, given)
            warn_of_differences(session.plugins, session.config, asked)
        return session

    def attach(self, address: str | None = None) -> Session | None:
        """Return the session, or join an instance that runs; None when none does."""
        with self._lock:
            self._forget_ended()
            if self.session is not None or cluster_kind(None) == "local":
                # A local cluster is its own process's: there is none to join from another.
                return self.session
            cluster = connect_running(address)
            if cluster is None:
                return None
            configure_logging()
            session = Session(cluster, require())
            try:
                found = session.begin(None)
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
                self.attach()  # where `ray.init()` leads now: the same instance, another, or none
            session, self.session = self.session, None
            if session is None:
                return False
            session.shut_down()
            return True

    def end_if_current(self, session: weakref.ref[Session]) -> None:
        """Shut an instance down at the end of the process, unless it has another one by then."""
        if self.session is not None and self.session is session():
            self.end()

    def end_by_force(self, address: str | None = None) -> bool:
        """End every process of the instance at once; return whether there was a cluster to look on.

        Asks nobody: it works with a controller that hangs, and with the rests of an instance that
        has none any more.
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
            session.end_at_once()
            return True


def require(names: Iterable[str] = ()) -> Plugins:
    """Return this process's plugins, if those that must not be missing are loaded.

    Args:
        names: Of plugins, besides those in `ALACARTE_REQUIRED_PLUGINS`.

    Raises:
        PluginError: One of them is not installed, is disabled, or has failed.
    """
    plugins = load_plugins()
    plugins.require(required_plugins(names))
    return plugins


def _is_over(session: Session) -> bool:
    return session.ended_elsewhere or not session.cluster.is_connected


HERE = CurrentSession()
"""Of this process."""
current = HERE.current
start = HERE.start
attach = HERE.attach
end = HERE.end
end_by_force = HERE.end_by_force
