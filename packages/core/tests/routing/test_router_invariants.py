"""The invariants of a router, under random events."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alacarte._model.snapshots import delta
from alacarte.errors import (
    BackPressureError,
    DeploymentUnavailableError,
    ReplicaUnavailableError,
)
from alacarte.testing import FakeClock
from alacarte.types import Call, Reply

from .support import POLICIES, Bench, settle, snapshot


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), policy=st.sampled_from(sorted(POLICIES)))
def test_invariants_under_anything(run_anything, seed: int, policy: str):
    """In any order of events the counters add up, and no call waits beside a free replica."""
    run_anything(seed, policy)


@pytest.fixture(scope="module")
def run_anything():
    def run_once(seed: int, policy: str) -> None:
        FakeClock().run(anything(random.Random(seed), policy))

    return run_once


EVENTS = [
    *["call"] * 4, *["answer"] * 2, "cancel", "reject", "load", "break", "add", "drop", "goaway",
    "repeatable", "mute", "speak", *["wait"] * 2,
]  # fmt: skip


async def anything(rng: random.Random, policy: str) -> None:
    b = Bench()
    replicas: list[str] = []
    room = {}
    made = 0
    known = snapshot()
    for step in range(60):
        event = rng.choice(EVENTS)
        connections = [c for c in b.far.connections.values() if c.transport]
        if event == "call":
            made += 1
            await b.call(*(f"{made}.{n}" for n in range(rng.randint(1, 4))))
        elif event == "repeatable":
            made += 1
            call = Call("python", (b"%d" % made,), idempotent=True)
            b.calls[f"{made}"] = asyncio.create_task(b.router.call(call))
        elif event in ("answer", "reject") and b.far.open:
            stream = rng.choice(b.far.open)
            if stream.connection.replica_id not in b.far.mute:
                getattr(stream, event)()
        elif event == "mute" and connections:
            b.far.mute.add(rng.choice(connections).replica_id)
        elif event == "speak" and b.far.mute:
            name = rng.choice(sorted(b.far.mute))
            b.far.mute.remove(name)
            b.far.connections[name].ping()
        elif event == "wait":
            await asyncio.sleep(rng.uniform(0.1, 4))
        elif event == "cancel" and b.calls:
            rng.choice(list(b.calls.values())).cancel()
        elif event == "load" and connections:
            rng.choice(connections).on_load()
        elif event == "break" and connections:
            rng.choice(connections).break_off()
        elif event == "goaway" and connections and rng.random() < 0.3:
            rng.choice(connections).on_goaway()
        elif event in ("add", "drop"):
            if event == "add" and len(replicas) < 4:
                replicas.append(f"r{step}")
            elif event == "drop" and replicas:
                replicas.remove(rng.choice(replicas))
            room = {"room": rng.randint(1, 3)}
            before, known = (
                known,
                replace(snapshot(*replicas, queue=6, policy=policy, **room), version=step),
            )
            # The first time everything, and later again and again.
            whole = b.router._version != before.version or rng.random() < 0.2
            b.router.update(known if whole else delta(before, known))
        await settle()
        check_invariants(b)
    b.far.mute.clear()
    for connection in b.far.connections.values():
        if connection.transport:
            connection.ping()
            connection.on_load()
    while b.far.open:
        b.far.open[0].answer()
        await settle()
        check_invariants(b)
    if not b.router.queued:
        b.check_clean()
    await b.router.close()
    outcomes = await asyncio.gather(*b.calls.values(), return_exceptions=True)
    expected = (Reply, BackPressureError, ReplicaUnavailableError, DeploymentUnavailableError,
                asyncio.CancelledError)  # fmt: skip
    assert not [outcome for outcome in outcomes if not isinstance(outcome, expected)]


def check_invariants(b: Bench) -> None:
    router = b.router
    by_replica = {c.replica_id: len(c.streams) for c in b.far.connections.values() if c.transport}
    assert router.in_flight == len(b.far.open)
    for load in router.replicas:
        assert load.in_flight == by_replica[load.replica_id]
    assert len({load.replica_id for load in router.replicas}) == len(router.replicas)
    if any(load.free for load in router.replicas):
        assert not router.queued
    waiting = [task for task in b.calls.values() if not task.done()]
    assert len(waiting) == router.queued + router.in_flight
    usable = {
        link.replica_id
        for link in router._replicas.links.values()
        if link.connection is not None and not link.leaving
    }
    ready = {load.replica_id for load in router.replicas}
    out = {link.replica_id for link in router._replicas._ejected}
    assert ready | out == usable
    assert not ready & out
    assert len(ready) >= len(out)
