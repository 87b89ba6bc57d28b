"""A running instance as tests see it: requests to it, its replicas, and ways to hurt it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.integration.processes import listeners

from alacarte import serve
from alacarte._cluster.host_sockets import socket_dir
from alacarte._cluster.stubs import stub
from alacarte._model.snapshots import deployment_key
from alacarte.actors import DeploymentSnapshot, ReplicaProtocol, WatchRequest
from alacarte.serve import _current
from alacarte.testing import wait_until

__all__ = ["Answer", "Client", "Instance", "free_port", "sockets"]

TIMEOUT_S = 30


@dataclass(frozen=True)
class Answer:
    """An HTTP response that is all here. Times are of `time.monotonic`."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    sent_at: float = 0.0
    done_at: float = 0.0
    error: str = ""

    @property
    def text(self) -> str:
        return self.body.decode()


class Client:
    """One connection that is kept open. It never sends anything twice."""

    def __init__(self, url: str) -> None:
        self._netloc = urlsplit(url).netloc
        self._connection: http.client.HTTPConnection | None = None

    def get(
        self, path: str = "/", *, method: str = "GET", body: Any = None, **headers: str
    ) -> Answer:
        """Send a request; a failure below HTTP raises, and the next request connects anew."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._netloc, timeout=TIMEOUT_S)
        sent_at = time.monotonic()
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            self._connection.request(method, path, body, names)
            response = self._connection.getresponse()
            content = response.read()
        except BaseException:
            self.close()
            raise
        lower = {name.lower(): value for name, value in response.getheaders()}
        if response.will_close:
            self.close()
        return Answer(response.status, content, lower, sent_at, time.monotonic())

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Instance:
    """The instance that this process runs."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.url = self._url()
        self.port = urlsplit(self.url).port or 0

    @property
    def on_ray(self) -> bool:
        return self.kind == "ray"

    def get(self, path: str = "/", **options: Any) -> Answer:
        """Send one request over a connection of its own."""
        client = Client(self.url)
        try:
            return client.get(path, **options)
        finally:
            client.close()

    def replicas(self, app: str = "default") -> list[str]:
        """Return the ids of an application's replicas that calls may go to, by name."""
        session = _current.current()
        assert session is not None
        found = []
        for deployment in session.runtime.deployments_of(app):
            key = deployment_key(deployment)
            request = WatchRequest("test", "test", 0, {key: -1})
            snapshot = session.wait(session.controller.watch(request))[key]
            assert isinstance(snapshot, DeploymentSnapshot)
            found += [entry.replica_id for entry in snapshot.replicas]
        return sorted(found)

    def pid(self, replica_id: str) -> int:
        """Return the id of a replica's process."""
        session = _current.current()
        assert session is not None
        info = session.wait(self._replica(replica_id).describe())
        assert info is not None
        return info.pid

    def ongoing(self, replica_id: str) -> int:
        """Return the number of requests that a replica works on."""
        session = _current.current()
        assert session is not None
        return session.wait(self._replica(replica_id).probe_liveness()).ongoing

    def kill_replica(self, replica_id: str) -> None:
        """End a replica as `kill -9` does; on Ray by `kill -9`."""
        if self.on_ray:
            os.kill(self.pid(replica_id), signal.SIGKILL)
        else:
            self._find(self._actor(replica_id)).kill()

    def kill_proxy(self) -> None:
        """End the HTTP proxy in the same way."""
        if self.on_ray:
            [pid] = [pid for pid, ports in listeners().items() if ("127.0.0.1", self.port) in ports]
            os.kill(pid, signal.SIGKILL)
        else:
            [name] = [name for name in self.actors() if ":service:" in name]
            self._find(name).kill()

    def kill_controller(self) -> None:
        """End the controller in the same way; return when the next one is there."""
        session = _current.current()
        assert session is not None
        if self.on_ray:
            import ray

            controller = ray.get_actor("alacarte:controller", namespace="alacarte")
            os.kill(ray.get(controller.__ray_call__.remote(lambda _: os.getpid())), signal.SIGKILL)
        else:
            self._find("alacarte:controller").kill()
        # On Ray it comes back by itself; in one process nobody else would start it.
        session.join(session.config)

    def actors(self) -> list[str]:
        """Return the names of the actors there are, of whatever instance."""
        session = _current.current()
        if not self.on_ray:
            return [] if session is None else list(session.cluster._actors)  # type: ignore[attr-defined]
        import ray

        named = ray.util.list_named_actors(all_namespaces=True)
        return [actor["name"] for actor in named if actor["name"].startswith("alacarte:")]

    def settled(self, apps: Iterable[str] = ("default",)) -> None:
        """Wait until no request is being worked on, and every application runs as it should."""
        for app in apps:
            wait_until(
                lambda app=app: serve.status().applications[app].status == "RUNNING",  # type: ignore[misc]
                20,
                f"{app} to run",
            )
            for replica in self.replicas(app):
                wait_until(
                    lambda replica=replica: self.ongoing(replica) == 0,  # type: ignore[misc]
                    10,
                    f"{replica} to have nothing to do",
                )

    def assert_gone(self) -> None:
        """Fail unless nothing is left: no actor, no socket, no port."""
        wait_until(lambda: not self.actors(), 30, "the end of all actors")
        wait_until(lambda: not sockets(), 30, "the end of all sockets")
        ports = {port for found in listeners().values() for _, port in found}
        assert self.port not in ports

    def _url(self) -> str:
        urls = [proxy.url for proxy in serve.status().proxies.values() if proxy.url]
        return urls[0].rstrip("/")

    def _actor(self, replica_id: str) -> str:
        [name] = [name for name in self.actors() if name.endswith(f":replica:{replica_id}")]
        return name

    def _find(self, name: str) -> Any:
        session = _current.current()
        assert session is not None
        return session.wait(session.cluster.find_actor(name))

    def _replica(self, replica_id: str) -> ReplicaProtocol:
        return stub(ReplicaProtocol, self._find(self._actor(replica_id)))


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def sockets() -> list[Path]:
    """Return the Unix sockets of replicas and proxies under our own directory."""
    return list(Path(socket_dir()).iterdir())
