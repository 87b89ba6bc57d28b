"""Load that one process puts on one deployment, for plugins that watch the load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ._replica_load import ReplicaLoad


class CallerLoad(Protocol):
    """The current calls of this process to one deployment. Read it on the runtime's event loop."""

    @property
    def queued(self) -> int:
        """Number of calls that wait for a replica."""

    @property
    def in_flight(self) -> int:
        """Number of calls that replicas are working on."""

    @property
    def replicas(self) -> Sequence[ReplicaLoad]:
        """The replicas that accept calls."""


class LoadWatch(Protocol):
    """Watches a `CallerLoad`. Exceptions of its methods are recorded and change nothing."""

    def changed(self) -> None:
        """Called when calls are queued, sent or ended: up to three times per call, so be quick."""

    def close(self) -> None:
        """Stop watching the load."""
