"""The methods of a node service's process."""

from __future__ import annotations

from typing import Protocol

from .membership import Membership
from .remote import remote

__all__ = ["NodeServiceProtocol"]


class NodeServiceProtocol(Protocol):
    """A node service: one process on a node that runs a plugin's `NodeService`.

    The controller calls these methods. Processes on the same node call `receive`.
    """

    @remote(timeout_s=None, repeatable=False)
    async def start(self) -> dict[str, str]:
        """Start the plugin's service and return its metadata, such as its URL.

        Called once, as soon as the process is up. The processes of one service on one node start
        one after the other.

        Raises:
            ConfigError: The service cannot run with the user's options, for example because its
                port is in use.
        """

    @remote(timeout_s=30.0, repeatable=True, needs_loop=False)
    async def describe(self) -> dict[str, str] | None:
        """Return the service's metadata, None until `start` has returned.

        Called by a controller that has just restarted, to adopt the processes that it finds.
        """

    @remote(timeout_s=5.0, repeatable=True, needs_loop=False)
    async def membership(self) -> Membership:
        """Return the values that made this process part of the instance.

        Called by a controller that has just restarted and finds no replica. Contains the newest
        secret that the process knows.
        """

    @remote(timeout_s=30.0, repeatable=False)
    async def receive(self, message: bytes) -> bytes:
        """Pass a message to the plugin's service and return its answer.

        Called by processes on the same node, through `Runtime.node_service`.

        Args:
            message: The message, 1 MiB at most.

        Raises:
            NotStarted: The service has not started, or is stopping. Only after this error does the
                caller send the message again, to this process or to its successor.
            PluginError: The service accepts no messages.
        """

    @remote(timeout_s=5.0, repeatable=False, extended_by="limit_s")
    async def stop(self, limit_s: float, replaced: bool) -> None:
        """Answer the accepted requests, then stop the service.

        Called when the process is replaced or its service ends on the node. The controller kills
        the process after the answer or the timeout.

        Args:
            limit_s: Seconds for the accepted requests.
            replaced: A successor runs on the same node.
        """
