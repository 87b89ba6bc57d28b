"""Values that processes report to a plugin's object in the controller."""

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
        name: Of its actor; of a driver, a name with its process id.
        node_id: The node it runs on.
        incarnation: Unlike that of every process of the same name before or after it.
    """

    name: str
    node_id: str
    incarnation: str

    def __str__(self) -> str:
        return f"{self.name}/{self.incarnation}"


class ReportReceiver(Protocol):
    """Takes in the reports of one topic. Lives in the controller.

    Its methods are called on the controller's event loop and must not block. What they raise is
    logged and changes nothing.
    """

    def report(self, process: ProcessId, value: Any) -> None:
        """Take the newest value of a process, in place of its last one.

        A value may arrive more than once, and values between two that arrive may be missing.
        """

    def forget(self, process: ProcessId) -> None:
        """Take note that a process has ended.

        Called 15 s after its last sign of life; a process that was only stopped for as long
        reports again.
        """


@runtime_checkable
class BoundedReceiver(Protocol):
    """A `ReportReceiver` that drops values of living processes, to bound its memory for example."""

    def holds(self, process: ProcessId) -> bool:
        """Return whether the newest value of a process is kept whole.

        Called after each message of the process. One whose value is not kept sends it again with
        its next message.
        """


@runtime_checkable
class RouteCounter(Protocol):
    """A `ReportReceiver` that counts the calls by routes, for `serve.status().routes`."""

    def keep_routes(self, routes: Sequence[Route]) -> None:
        """Drop what was counted of all but these routes. Called when the routes change."""

    def counts_of(self, route: Route) -> RouteCounts | None:
        """Return what became of a route's calls; None for a route that is not counted."""


def _to_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


@dataclass(frozen=True)
class ReportTopic:
    """A topic that processes report to with `Runtime.report`, and the receiver of their values.

    Attributes:
        name: Unique among all installed plugins.
        create: Makes the receiver, once, when the controller starts.
        encode: Turns a value into bytes, in the process that reports; JSON by default.
        decode: Turns those bytes into a value, in the controller. It must import no user code.
        max_bytes: The longest encoded value.
    """

    name: str
    create: Callable[[], ReportReceiver]
    encode: Callable[[Any], bytes] = _to_json
    decode: Callable[[bytes], Any] = json.loads
    max_bytes: int = 64 * 1024
