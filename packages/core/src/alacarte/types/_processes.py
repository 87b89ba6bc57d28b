"""The processes of an instance, as plugins see them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

Cleanup = Callable[[], Awaitable[None]]
"""Awaited when the process, or the replica, stops."""


@dataclass(frozen=True)
class ProcessInfo:
    """A process of an instance. In the local cluster, a thread with an event loop of its own.

    Attributes:
        kind: `controller`, `replica`, `driver`, or `helper` for a plugin's process beside the
            controller, such as that of autoscaling policies; of node services `proxy` for one that
            clients call, else `service`.
        name: Unique within the instance: of a replica its id.
        node_id: The node it runs on.
        service: Name of the node service; "" for other processes.
    """

    kind: Literal["controller", "driver", "helper", "proxy", "replica", "service"]
    name: str
    node_id: str
    service: str = ""
