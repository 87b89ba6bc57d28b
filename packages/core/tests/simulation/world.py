"""One simulated world: clock, randomness, cluster, network, and the ledger that checks it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import random
import secrets
import tempfile
import time
import warnings
from asyncio import events
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from alacarte import _plugins
from alacarte._cluster.cluster_protocol import ActorContext, ActorDied, ClusterUnresponsive, Node
from alacarte._control.snapshot_hub import SnapshotHub
from alacarte._plugins import PluginRecord, Plugins
from alacarte._section_values import resolve

from . import layers
from .cluster import SimCluster
from .ledger import Ledger
from .loop import Process, Scheduler
from .network import Network
from .operations import Operations
from .user import UserError

__all__ = ["World", "forget_worlds", "instance_config", "nobody_running", "plugins"]

_EPOCH = 1_700_000_000.0


class World:
    """All parts of one run.

    Attributes:
        without: Disabled kinds of faults.
        wall: Offset of the wall clock, which may jump, unlike the monotonic clock.
    """

    def __init__(self, seed: int, without: frozenset[str] = frozenset()) -> None:
        self.seed = seed
        self.without = without
        self.wall = _EPOCH
        self.scheduler = Scheduler(self.chance("time"))
        self.network = Network(seed)
        self.operations = Operations()
        self.ledger = Ledger(lambda: self.scheduler.now, self.operations)
        self.cluster = SimCluster(
            self.scheduler, self.network, self.chance("cluster"), _actor_context
        )
        self.cluster.observe = self.ledger.observe
        self.cluster.on_put = self.ledger.stored
        self.ledger.cluster = self.cluster
        self.outside: list[Process] = []

    def chance(self, purpose: str) -> random.Random:
        """Return random numbers of their own for a purpose."""
        return random.Random(f"{self.seed} {purpose}")

    @property
    def now(self) -> float:
        return self.scheduler.now

    def process(self, name: str) -> Process:
        """Create a process that the cluster does not manage: a driver or a caller."""
        process = self.scheduler.process(name)
        process.network = self.network
        self.outside.append(process)
        return process

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Patch clocks, randomness and logging with those of this world."""
        draw = self.chance("secrets")
        real_random = random.Random

        class Random(real_random):  # type: ignore[misc,valid-type]
            def __new__(cls, seed: Any = None) -> Random:
                return real_random.__new__(cls)

            def __init__(self, seed: Any = None) -> None:
                super().__init__(draw.getrandbits(64) if seed is None else seed)

        state = random.getstate()
        random.seed(self.seed)
        logger = logging.getLogger("alacarte")
        listener = _Listener(self.ledger)
        before = (logger.level, logger.propagate)
        logger.setLevel(logging.ERROR)
        logger.propagate = False
        logger.addHandler(listener)
        try:
            with (
                mock.patch.object(time, "monotonic", self._monotonic),
                mock.patch.object(time, "time", self._time),
                mock.patch.object(time, "time_ns", self._time_ns),
                mock.patch.object(secrets, "token_hex", lambda n=32: draw.randbytes(n).hex()),
                mock.patch.object(secrets, "token_bytes", lambda n=32: draw.randbytes(n)),
                mock.patch.object(random, "Random", Random),
                mock.patch.object(SnapshotHub, "publish", self._published),
                # Of a quarter of a megabyte each, most of the time would go into clearing them.
                mock.patch("alacarte._wire.frames._SCRATCH_BYTES", 1 << 16),
                # So that code and arguments are stored as blobs, in several parts.
                mock.patch("alacarte._model.blobs.MIN_BLOB_BYTES", 64),
                mock.patch("alacarte._control.storage._PART_BYTES", 100),
                mock.patch("alacarte._process.process_runtime.host_id", _host_id),
            ):
                yield
        finally:
            logger.removeHandler(listener)
            logger.setLevel(before[0])
            logger.propagate = before[1]
            random.setstate(state)

    @property
    def _published(self) -> Callable[..., None]:
        publish, tell = SnapshotHub.publish, self.ledger.published

        def published(hub: SnapshotHub, key: str, version: int, value: Any) -> None:
            tell(value)
            publish(hub, key, version, value)

        return published

    def _monotonic(self) -> float:
        return self.scheduler.now

    def _time(self) -> float:
        return self.wall + self.scheduler.now

    def _time_ns(self) -> int:
        return int(self._time() * 1e9)

    def end(self) -> None:
        """End every process, so that nothing of this world has any effect any more."""
        for record in list(self.cluster.records.values()):
            if record.process is not None:
                record.process.kill()
        for process in self.outside:
            process.kill()

    def complaints(self) -> list[str]:
        """Return errors that event loops reported as never retrieved."""
        processes = [record.process for record in self.cluster.records.values()]
        return [
            f"nobody saw an error: {process.name}: {complaint}"
            for process in [*self.outside, *processes]
            if process is not None
            for complaint in process.complaints
            if not isinstance(complaint.get("exception"), _EXPECTED)
        ]


@contextlib.contextmanager
def nobody_running() -> Iterator[None]:
    """Run nothing: for coroutines of dead processes, which are closed and try to clean up."""
    loop = Scheduler(random.Random(0)).process("nobody")
    loop.kill()
    before = events._get_running_loop()
    events._set_running_loop(loop)
    try:
        with warnings.catch_warnings():
            # They were killed before they got to it.
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            yield
    finally:
        events._set_running_loop(before)


def forget_worlds() -> None:
    """Free the memory of finished worlds."""
    with nobody_running():
        gc.collect()


_EXPECTED = (ActorDied, ClusterUnresponsive, UserError, asyncio.CancelledError)


class _Listener(logging.Handler):
    """A log handler that records errors."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if not isinstance(error, _EXPECTED):
            self._ledger.find("nothing goes wrong inside", record.getMessage(), repr(error))


@functools.cache
def plugins() -> Plugins:
    """Return the plugins of core, of autoscaling, and one with layers."""
    found = [each for each in _plugins.discover() if each.name in ("core", "autoscaling")]
    return _plugins.load([*found, PluginRecord("layers", layers.__name__)], strict=True)


@functools.cache
def _no_sockets() -> str:
    return tempfile.mkdtemp(prefix="alacarte-simulation-")


@functools.cache
def instance_config() -> dict[str, dict[str, Any]]:
    """Return the configuration of simulated instances: TCP, and no threads that watch loops."""
    options = {"transport": "tcp", "blocked_loop_warning_s": float("inf")}
    return resolve(plugins(), {"cluster_options": options}, {})


def _host_id() -> str:
    return "simulated"


def _actor_context(cluster: SimCluster, name: str, node: Node) -> ActorContext:
    return ActorContext(cluster, name, node, _host_id(), _no_sockets(), plugins())
