"""Processes of an instance."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

Cleanup = Callable[[], Awaitable[None]]
"""An async function that is awaited when the process or the replica stops."""


@dataclass(frozen=True)
class ProcessInfo:
    """A process of an instance. In the local cluster, a thread with an event loop of its own.

    Attributes:
        kind: `controller`, `replica` or `driver`; `helper` for a plugin's process beside the
            controller, such as the process of autoscaling policies; `proxy` for a node service
            that clients call, `service` for any other node service.
        name: Unique within the instance; the id of a replica.
        node_id: The node that the process runs on.
        service: Name of the node service; "" for other processes.
    """

    kind: Literal["controller", "driver", "helper", "proxy", "replica", "service"]
    name: str
    node_id: str
    service: str = ""
