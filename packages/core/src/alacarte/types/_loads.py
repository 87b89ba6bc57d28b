"""The load that one process puts on one deployment, for plugins that follow it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ._replica_load import ReplicaLoad


class CallerLoad(Protocol):
    """The calls of this process to one deployment, as they are now. On the runtime's event loop."""

    @property
    def queued(self) -> int:
        """Calls that wait for a replica."""

    @property
    def in_flight(self) -> int:
        """Calls that replicas are working on."""

    @property
    def replicas(self) -> Sequence[ReplicaLoad]:
        """The replicas that calls may go to."""


class LoadWatch(Protocol):
    """Follows a `CallerLoad`. What its methods raise is contained."""

    def changed(self) -> None:
        """Take note that calls wait, run or end. Up to three times for each call: be quick."""

    def close(self) -> None:
        """Follow the load no more."""
