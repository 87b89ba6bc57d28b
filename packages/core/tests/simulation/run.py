"""Run one seed: play its scenario, end the faults, and check the final state."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .auditor import Auditor
from .clients import Caller, Driver
from .faults import Faults
from .final_state import find_unsettled
from .loop import START, Stuck
from .scenario import Scenario
from .world import World, forget_worlds, nobody_running

__all__ = ["Outcome", "play", "play_all"]

SETTLED_S = 150.0
"""How long, once the last fault is over, until everything has to be as it was asked for."""
CALM_S = 2.0
"""Without faults: how long news may take."""
_LOOK_S = 0.1
_WORLDS_AT_ONCE = 20


@dataclass(frozen=True)
class Outcome:
    """The result of a run."""

    seed: int
    findings: list[str]
    trace: list[tuple[object, ...]]
    steps: int
    took_s: float

    @property
    def digest(self) -> str:
        """The same for the same run, step by step."""
        return hashlib.sha256(repr((self.trace, self.steps)).encode()).hexdigest()[:16]


def play_all(seeds: Iterable[int], without: frozenset[str] = frozenset()) -> Iterator[Outcome]:
    """Run seeds, one after the other.

    Worlds have many reference cycles. Garbage collection would take most of a run's time unless it
    is rare and skips older objects.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for count, seed in enumerate(seeds):
            yield play(seed, without)
            if count % _WORLDS_AT_ONCE == 0:
                forget_worlds()
    finally:
        gc.unfreeze()
        forget_worlds()
        gc.enable()


def play(seed: int, without: frozenset[str] = frozenset()) -> Outcome:
    """Run a seed to its end, without some kinds of faults."""
    collects = gc.isenabled()
    # It would close the coroutines of dead processes at a moment that is not in the seed.
    gc.disable()
    try:
        with nobody_running():
            return _played(seed, without)
    finally:
        if collects:
            gc.enable()


def _played(seed: int, without: frozenset[str]) -> Outcome:
    world = World(seed, without)
    with world.at_work():
        _play(world)
        findings = world.ledger.findings + world.complaints()
        world.end()
    return Outcome(seed, findings, world.ledger.trace, world.scheduler.steps, world.now - START)


def _play(world: World) -> None:
    scenario = Scenario.draw(world.chance("scenario"))
    if scenario.calm:
        world.ledger.calm = True
        world.ledger.heard_s = CALM_S
    for number, cpus in enumerate(scenario.nodes):
        world.cluster.add_node(cpus, is_head=not number)
    drivers = [
        Driver(
            world,
            f"driver{number}",
            [(step.at, step.op) for step in scenario.steps if step.driver == number],
        )
        for number in range(scenario.drivers)
    ]
    callers = [
        Caller(
            world,
            f"caller{number}",
            [planned for planned in scenario.requests if planned.caller == number],
        )
        for number in range(scenario.callers)
    ]
    faults = Faults(world, scenario, callers, drivers)
    until = next_look = START + scenario.ends_at
    reason = "the scenario has not ended"
    auditors: list[Auditor] = []

    def is_over() -> bool:
        nonlocal reason, next_look
        if world.now < next_look:
            return False
        next_look = world.now + _LOOK_S
        if not faults.are_over:
            faults.end()
        if not all(driver.is_done for driver in drivers):
            reason = "a driver waits for what it asked for"
        elif any(caller.left for caller in callers):
            reason = "requests have not ended"
        else:
            reason = find_unsettled(world, callers)
        if not reason:
            auditors[:] = auditors or [Auditor(world)]
            reason = "" if auditors[0].is_content else auditors[0].reason or "it stays so"
        return not reason

    try:
        world.scheduler.run(is_over, until + SETTLED_S)
    except Stuck as stuck:
        world.ledger.find("what is wanted is reached", f"{stuck}; {reason}")
