"""Report topics in the controller: pass the reports of processes to the topics' receivers."""

from __future__ import annotations

import asyncio
import functools
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from .._plugins import Plugins
from ..actors import FORGET_S
from ..status import RouteCounts
from ..types import (
    BoundedReceiver,
    Failures,
    ProcessId,
    ReportReceiver,
    ReportTopic,
    Route,
    RouteCounter,
)

__all__ = ["MAX_PROCESSES", "ReportTopics"]

R = TypeVar("R")
MAX_PROCESSES = 20_000
"""Limit beyond which the process with the oldest report is forgotten."""


@dataclass(eq=False)
class _ProcessRecord:
    """A process that has reported.

    Attributes:
        reported_at: Time of its last report, on the event loop's clock.
        numbers: Number of the last message with a value of the topic, by topic.
    """

    reported_at: float
    numbers: dict[str, int] = field(default_factory=dict)


class ReportTopics:
    """Passes the reports of processes to receivers. Lives on the controller's loop.

    Args:
        topics: Topics by name.
        plugin_of: Returns the plugin that registers a topic.
        failures: Records failures of topics and receivers.
    """

    def __init__(
        self,
        topics: Mapping[str, ReportTopic],
        plugin_of: Callable[[str], str],
        failures: Failures,
    ) -> None:
        self._topics = topics
        self._plugin_of = plugin_of
        self._failures = failures
        self._receivers: dict[str, ReportReceiver] = {}
        for name, topic in topics.items():
            self._guarded(name, "create", functools.partial(self._create, name, topic))
        self._route_counters = [
            (name, each) for name, each in self._receivers.items() if isinstance(each, RouteCounter)
        ]
        self._processes: OrderedDict[ProcessId, _ProcessRecord] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None

    @classmethod
    def of(cls, plugins: Plugins) -> ReportTopics:
        """Return the report topics of all plugins."""
        topics = plugins.report_topics
        plugin_of = functools.partial(plugins.plugin_of, "register_report_topics")
        return cls(topics, plugin_of, plugins.failures)

    def receiver(self, topic: str, kind: type[R]) -> R:
        """Return the receiver of a topic, an instance of `kind`."""
        receiver = self._receivers[topic]
        assert isinstance(receiver, kind)
        return receiver

    def report(
        self, process: ProcessId, number: int, values: Mapping[str, bytes]
    ) -> frozenset[str]:
        """Store the values of a process; return every topic whose receiver has its value.

        Args:
            number: Number of the message. A value that arrives after a later one is dropped.
            values: Encoded values by topic; an empty mapping is a heartbeat.
        """
        now = asyncio.get_running_loop().time()
        known = self._processes.setdefault(process, _ProcessRecord(now))
        known.reported_at = now
        self._processes.move_to_end(process)
        for name, packed in values.items():
            if number > known.numbers.get(name, -1):
                known.numbers[name] = number
                self._receive(name, process, packed)
        if len(self._processes) > MAX_PROCESSES:
            self._forget(next(iter(self._processes)))
        self._expire_later()
        return frozenset(name for name in known.numbers if self._holds(name, process))

    def keep_routes(self, routes: Sequence[Route]) -> None:
        """Let receivers that count calls drop the counts of all other routes."""
        for name, counter in self._route_counters:
            self._guarded(name, "keep_routes", functools.partial(counter.keep_routes, routes))

    def counts_of(self, route: Route) -> RouteCounts | None:
        """Return the counts of the first receiver that counts a route's calls, None for none."""
        found: list[RouteCounts | None] = []

        def collect(counter: RouteCounter) -> None:
            found.append(counter.counts_of(route))

        for name, counter in self._route_counters:
            self._guarded(name, "counts_of", functools.partial(collect, counter))
        return next((each for each in found if each is not None), None)

    def close(self) -> None:
        """Cancel the expiry timer."""
        if self._timer is not None:
            self._timer.cancel()

    def _create(self, name: str, topic: ReportTopic) -> None:
        self._receivers[name] = topic.create()

    def _receive(self, name: str, process: ProcessId, packed: bytes) -> None:
        receiver = self._receivers.get(name)
        if receiver is not None:
            decode = self._topics[name].decode
            self._guarded(name, "report", lambda: receiver.report(process, decode(packed)))

    def _holds(self, name: str, process: ProcessId) -> bool:
        """Return whether a receiver has a process's value; True for a receiver that fails."""
        receiver: object = self._receivers.get(name)
        if not isinstance(receiver, BoundedReceiver):
            return True
        answers: list[bool] = []
        self._guarded(name, "holds", lambda: answers.append(receiver.holds(process)))
        return answers != [False]

    def _expire_later(self) -> None:
        if self._timer is None and self._processes:
            oldest = next(iter(self._processes.values()))
            due_at = oldest.reported_at + FORGET_S
            self._timer = asyncio.get_running_loop().call_at(due_at, self._expire, due_at)

    def _expire(self, due_at: float) -> None:
        """Forget expired processes. Compares with `due_at`, as a timer may fire a little early."""
        self._timer = None
        while self._processes:
            process, oldest = next(iter(self._processes.items()))
            if oldest.reported_at + FORGET_S > due_at:
                break
            self._forget(process)
        self._expire_later()

    def _forget(self, process: ProcessId) -> None:
        for name in sorted(self._processes.pop(process).numbers.keys() & self._receivers.keys()):
            receiver = self._receivers[name]
            self._guarded(name, "forget", functools.partial(receiver.forget, process))

    def _guarded(self, topic: str, method: str, call: Callable[[], None]) -> None:
        """Run a plugin's code, and record its failure."""
        try:
            call()
        except BaseException as error:
            self._failures.note(self._plugin_of(topic), f"topic {topic}: {method}", error)
