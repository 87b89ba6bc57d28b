"""Node services: processes of a plugin on every node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ._configuration import ConfigSections
from ._runtime_protocol import Runtime


@runtime_checkable
class NodeService(Protocol):
    """A process of a plugin on every node, such as an HTTP proxy."""

    async def start(self, runtime: Runtime) -> Mapping[str, str]:
        """Start to serve, and return metadata for `serve.status`, such as the URL.

        The processes of one service on one node start one after the other.

        Raises:
            ConfigError: An error that the user can fix, such as a port in use; `serve.start` fails.
        """

    async def drain(self, limit_s: float, *, replaced: bool) -> None:
        """Refuse new work; return when all accepted work is done.

        Args:
            limit_s: Seconds until `stop` follows, which drops the remaining work.
            replaced: Whether a successor already serves. Otherwise the service ends on this node.
        """

    async def stop(self) -> None:
        """Close all connections and sockets at once."""


@runtime_checkable
class MessageReceiver(Protocol):
    """A `NodeService` that receives messages from other processes on its node."""

    async def receive(self, message: bytes) -> bytes:
        """Handle a message that was sent with `Runtime.node_service`; return the reply.

        Messages are bytes, since a service must not import user code to read them.
        """


@dataclass(frozen=True)
class NodeServiceSpec:
    """A node service that a plugin registers.

    Attributes:
        name: Unique among all installed plugins.
        target: `"module:callable"`, called without arguments in the new process.
        serves_routes: Whether the service answers requests by the route table. A deployed
            application is ready only when such a service knows its route.
        serves_applications: Whether the service answers requests by the table of applications. A
            deployed application is ready only when such a service knows the application.
        enabled: Returns, for a configuration, whether the service runs.
        head_only: Returns, for a configuration, whether the service runs on the head node only.
        processes: Returns, for a configuration, the number of processes per node.
    """

    name: str
    target: str
    serves_routes: bool = False
    serves_applications: bool = False
    enabled: Callable[[ConfigSections], bool] = lambda config: True
    head_only: Callable[[ConfigSections], bool] = lambda config: False
    processes: Callable[[ConfigSections], int] = lambda config: 1

    @property
    def is_ingress(self) -> bool:
        """Whether clients reach applications through this service."""
        return self.serves_routes or self.serves_applications
