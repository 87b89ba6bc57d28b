"""A plugin's own processes on every node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from ._configuration import ConfigSections
from ._runtime_protocol import Runtime


@runtime_checkable
class NodeService(Protocol):
    """A process of a plugin's own, on every node: an HTTP proxy, for example."""

    async def start(self, runtime: Runtime) -> Mapping[str, str]:
        """Begin to serve. Return facts for `serve.status`, such as the URL.

        The processes of one service on one node are asked one after the other.

        Raises:
            ConfigError: For what the user can mend, such as a port in use; it ends the start.
        """

    async def drain(self, limit_s: float, *, replaced: bool) -> None:
        """Stop taking new work; return when what was accepted is answered.

        Args:
            limit_s: What is not answered by then is lost: `stop` follows.
            replaced: A successor serves already, so there is no hurry. Otherwise this is the end
                of the service on this node.
        """

    async def stop(self) -> None:
        """Close everything at once."""


@runtime_checkable
class MessageReceiver(Protocol):
    """A `NodeService` that takes messages of the other processes on its node."""

    async def receive(self, message: bytes) -> bytes:
        """Take a message that was sent with `Runtime.node_service`; return the answer.

        Bytes, since a service must not import the code of users to read them.
        """


@dataclass(frozen=True)
class NodeServiceSpec:
    """A node service and how to make it.

    Attributes:
        name: Unique among all installed plugins.
        target: `"module:callable"`, called in the new process without arguments.
        serves_routes: It answers requests by the route table, so a deployed application is
            not ready before this service knows its route.
        serves_applications: It answers requests by the table of applications, so a deployed
            application is not ready before this service knows the application.
        enabled: Decides from the configuration whether to start it at all.
        head_only: Decides from the configuration whether the head node alone has one.
        processes: Decides from the configuration how many of them a node has.
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
