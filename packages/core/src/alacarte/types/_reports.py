"""Reports of processes to a plugin's receiver in the controller."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from ..status import RouteCounts
from ._app_routes import Route


class ProcessId(NamedTuple):
    """One process of an instance: a driver, a replica or a process of a node service.

    Attributes:
        name: The name of the actor; of a driver, a name with its operating system's process id.
        node_id: The node that the process runs on.
        incarnation: Unique among all processes of the same name.
    """

    name: str
    node_id: str
    incarnation: str

    def __str__(self) -> str:
        return f"{self.name}/{self.incarnation}"


class ReportReceiver(Protocol):
    """Receives the reports of one topic, in the controller.

    Its methods run on the controller's event loop and must not block. Exceptions are logged and
    change nothing.
    """

    def report(self, process: ProcessId, value: Any) -> None:
        """Replace a process's previous value by its newest value.

        A value may arrive more than once, and values in between may be skipped.
        """

    def forget(self, process: ProcessId) -> None:
        """Called when a process has ended.

        That is 15 s after its last message; a process that was merely suspended reports again.
        """


@runtime_checkable
class BoundedReceiver(Protocol):
    """A `ReportReceiver` that may drop the values of living processes, to bound its memory."""

    def holds(self, process: ProcessId) -> bool:
        """Return whether the receiver still holds all of a process's newest value.

        Called after each message of the process. Where it returns False, the process sends the
        value again with its next message.
        """


@runtime_checkable
class RouteCounter(Protocol):
    """A `ReportReceiver` that counts the calls of routes, for `serve.status().routes`."""

    def keep_routes(self, routes: Sequence[Route]) -> None:
        """Drop the counts of all routes but these. Called when the routes change."""

    def counts_of(self, route: Route) -> RouteCounts | None:
        """Return the counts of a route's calls; None for a route that is not counted."""


def _to_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@dataclass(frozen=True)
class ReportTopic:
    """A topic of reports (`Runtime.report`), and the receiver of their values.

    Attributes:
        name: Unique among all installed plugins.
        create: Creates the receiver, once, when the controller starts.
        encode: Encodes a value in the reporting process; as JSON by default.
        decode: Decodes a value in the controller. Must import no user code.
        max_bytes: Maximum size of an encoded value.
    """

    name: str
    create: Callable[[], ReportReceiver]
    encode: Callable[[Any], bytes] = _to_json
    decode: Callable[[bytes], Any] = json.loads
    max_bytes: int = 64 * 1024
