"""Reconciliation on a simulated cluster with a fake clock: invariants and results."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacarte._control.reconcile import (
    CONFIRMATION_S,
    PLACEMENT_TIMEOUT_S,
    Drain,
    Reconfigure,
    ReplicaView,
    Settings,
    Start,
    Target,
    next_wakeup,
    placement_blocked_since,
    reconcile,
)
from alacarte.status import ReplicaState

STARTING, RUNNING, STOPPING = (
    ReplicaState.STARTING,
    ReplicaState.RUNNING,
    ReplicaState.STOPPING,
)
OLD, NEW = Settings(5, "null"), Settings(8, '{"a": 1}')
NOW = 1000.0


def target(replicas: int = 3, *, allowed: int = 3) -> Target:
    return Target("new", replicas, NEW, allowed)


def views(text: str, *, settings: Settings = NEW) -> list[ReplicaView]:
    """Read "new RUNNING, old STARTING, …", oldest first."""
    pairs = [part.split() for part in text.split(",") if part.strip()]
    return [
        ReplicaView(f"r{n}", version, ReplicaState[state], settings, NOW)
        for n, (version, state) in enumerate(pairs)
    ]


class Simulation:
    """Replicas that start, settle and stop in any order, with room for so many processes."""

    def __init__(self, wanted: Target | None, start: list[ReplicaView], room: int, seed: int):
        self.target = wanted
        self.replicas = {view.replica_id: view for view in start}
        self.room = max(room, self.processes)
        self.now = NOW
        self.freed = 0.0
        self.blocked_since: float | None = None
        self.random = random.Random(seed)
        self.before = self.running
        self.lowest = self.running
        self.made = 0
        self.handing_over: set[str] = set()

    @property
    def processes(self) -> int:
        return sum(view.placed for view in self.replicas.values())

    @property
    def running(self) -> int:
        return sum(view.state is RUNNING for view in self.replicas.values())

    def run(self) -> None:
        """Carry out actions, and let the cluster move, until neither has anything to do."""
        for _ in range(500):
            acted = self.act()
            self.lowest = min(self.lowest, self.running)
            if self.move():
                continue
            look = next_wakeup(
                list(self.replicas.values()),
                now=self.now,
                freed=self.freed,
                blocked_since=self.blocked_since,
            )
            if look is None:
                if not acted:
                    return
            else:
                assert look > 0
                self.now += look
        raise AssertionError(f"still moving: {self.replicas}")

    def act(self) -> bool:
        seen = list(self.replicas.values())
        self.blocked_since = placement_blocked_since(
            self.blocked_since, self.target, seen, now=self.now, freed=self.freed
        )
        actions = reconcile(
            self.target, seen, failures=0, now=self.now, blocked_since=self.blocked_since
        )
        for action in actions:
            match action:
                case Start(count):
                    for _ in range(count):
                        self.start()
                case Drain(replica_id):
                    self.check_drain(self.replicas[replica_id], seen)
                    self.change(replica_id, state=STOPPING)
                case Reconfigure(replica_id):
                    assert self.replicas[replica_id].state is RUNNING
                    self.handing_over.add(replica_id)
        return bool(actions)

    def act_stopping_first(self) -> bool:
        """The same, where old ones leave before new ones run."""
        self.check_drain = lambda leaving, seen: None  # type: ignore[method-assign]
        return self.act()

    def start(self) -> None:
        assert self.target is not None
        self.made += 1
        name = f"made{self.made}"
        self.replicas[name] = ReplicaView(
            name, self.target.version, STARTING, self.target.settings, self.now, placed=False
        )

    def check_drain(self, leaving: ReplicaView, seen: list[ReplicaView]) -> None:
        """A running old replica goes when a new one runs, or new ones find no place for long."""
        if self.target is None or leaving.version == "new" or leaving.state is not RUNNING:
            return
        new = [view for view in seen if view.version == "new"]
        assert (
            not self.target.replicas
            or any(view.state is RUNNING for view in new)
            or self.running >= self.target.replicas + self.target.surge
            or any(not view.placed and self.now - view.since >= PLACEMENT_TIMEOUT_S for view in new)
        )

    def change(self, replica_id: str, **fields: object) -> None:
        self.replicas[replica_id] = replace(self.replicas[replica_id], since=self.now, **fields)

    def move(self) -> bool:
        """Let one thing happen; return whether anything could."""
        unplaced = [name for name, view in self.replicas.items() if not view.placed]
        if unplaced and self.processes < self.room:
            self.place(self.random.choice(unplaced))
            return True
        possible = []
        for name, view in self.replicas.items():
            if view.state is STOPPING:
                possible.append(lambda name=name: self.end(name))
            elif not view.placed:
                continue
            elif view.state is STARTING:
                possible.append(lambda name=name: self.change(name, state=RUNNING))
        for name in self.handing_over & self.replicas.keys():
            possible.append(lambda name=name: self.hand_over(name))
        if not possible:
            return False
        self.now += self.random.choice((0.0, 0.01, 30.0))
        self.random.choice(possible)()
        return True

    def end(self, name: str) -> None:
        del self.replicas[name]
        self.freed = self.now

    def place(self, name: str) -> None:
        self.replicas[name] = replace(self.replicas[name], placed=True)

    def hand_over(self, name: str) -> None:
        self.handing_over.discard(name)
        assert self.target is not None
        self.replicas[name] = replace(self.replicas[name], settings=self.target.settings)

    def check_end(self) -> None:
        wanted = self.target.replicas if self.target else 0
        assert [(view.version, view.state, view.settings) for view in self.replicas.values()] == [
            ("new", RUNNING, NEW)
        ] * wanted


@st.composite
def replica_lists(draw: st.DrawFn) -> list[ReplicaView]:
    states = st.sampled_from([STARTING, RUNNING, STOPPING])
    found = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["old", "older", "new"]), states, st.sampled_from([OLD, NEW])
            ),
            max_size=8,
        )
    )
    return [
        ReplicaView(f"r{n}", version, state, settings, NOW)
        for n, (version, state, settings) in enumerate(found)
    ]


SEEDS = st.integers(0, 2**32)


@given(start=replica_lists(), wanted=st.integers(0, 6), seed=SEEDS)
def test_ends_at_what_is_wanted(start: list[ReplicaView], wanted: int, seed: int):
    """From any replicas the loop reaches the target's number, version and settings."""
    simulation = Simulation(target(wanted), start, room=100, seed=seed)
    simulation.run()
    simulation.check_end()


@given(start=replica_lists(), wanted=st.integers(0, 6), seed=SEEDS)
def test_an_update_takes_no_capacity_away(start: list[ReplicaView], wanted: int, seed: int):
    """With room for both versions, an update never has fewer replicas than before or wanted."""
    simulation = Simulation(target(wanted), start, room=100, seed=seed)
    simulation.run()
    assert simulation.lowest >= min(wanted, simulation.before)


@given(start=replica_lists(), wanted=st.integers(1, 6), extra=st.integers(0, 2), seed=SEEDS)
def test_without_room_for_both_one_makes_place_at_a_time(
    start: list[ReplicaView], wanted: int, extra: int, seed: int
):
    """In a full cluster the update completes with at most one replica missing."""
    simulation = Simulation(target(wanted), start, room=wanted + extra, seed=seed)
    simulation.run()
    simulation.check_end()
    assert simulation.lowest >= min(wanted, simulation.before) - 1


@given(running=st.integers(2, 6), wanted=st.integers(2, 6), seed=SEEDS)
def test_with_less_room_than_wanted_the_new_version_comes_all_the_same(
    running: int, wanted: int, seed: int
):
    """In a cluster that is too small for the target, the update completes."""
    start = views(", ".join(["old RUNNING"] * running))
    room = max(min(running, wanted) - 1, 1)
    simulation = Simulation(target(wanted), start[:room], room=room, seed=seed)
    for _ in range(100):
        simulation.act()
        if not simulation.move():
            simulation.now += PLACEMENT_TIMEOUT_S
    assert {view.version for view in simulation.replicas.values() if view.placed} == {"new"}
    assert simulation.running == room


@given(start=replica_lists(), seed=SEEDS)
def test_a_deleted_deployment_drains_entirely(start: list[ReplicaView], seed: int):
    """Without a target every replica is drained once."""
    actions = reconcile(None, start, failures=0, now=NOW)
    assert actions == [Drain(view.replica_id) for view in start if view.state is not STOPPING]
    simulation = Simulation(None, start, room=100, seed=seed)
    simulation.run()
    assert not simulation.replicas


@given(start=replica_lists(), wanted=st.integers(1, 6), failures=st.integers(0, 6))
def test_a_version_that_keeps_failing_is_not_started(
    start: list[ReplicaView], wanted: int, failures: int
):
    """At the allowed failures nothing more is started and old replicas keep running."""
    new_runs = any(
        (view.version, view.state, view.settings) == ("new", RUNNING, NEW) for view in start
    )
    actions = reconcile(target(wanted), start, failures=failures, now=NOW)
    started = [action for action in actions if isinstance(action, Start)]
    if failures >= 3 and not new_runs:
        drained = {action.replica_id for action in actions if isinstance(action, Drain)}
        assert not started
        assert not [
            view
            for view in start
            if view.version != "new" and view.state is RUNNING and view.replica_id in drained
        ]
    else:
        here = sum(view.version == "new" and view.state is not STOPPING for view in start)
        assert started == ([Start(wanted - here)] if wanted > here else [])


def test_a_version_that_runs_is_started_again_whatever_failed():
    """Failed starts do not stop the replacement of replicas of a version that runs."""
    assert reconcile(target(2), views("new RUNNING"), failures=99, now=NOW) == [Start(1)]


def test_only_running_replicas_with_other_settings_are_reconfigured():
    """Starting and draining replicas are not reconfigured."""
    seen = [
        ReplicaView("same", "new", RUNNING, NEW),
        ReplicaView("other", "new", RUNNING, OLD),
        ReplicaView("starting", "new", STARTING, OLD),
        ReplicaView("leaving", "new", STOPPING, OLD),
        ReplicaView("old", "old", RUNNING, OLD),
    ]
    actions = reconcile(target(3), seen, failures=0, now=NOW)
    assert [action for action in actions if isinstance(action, Reconfigure)] == [
        Reconfigure("other")
    ]


def test_a_replica_that_is_to_leave_is_not_reconfigured_first():
    """Surplus replicas are drained, not reconfigured."""
    seen = views("new RUNNING, new RUNNING", settings=OLD)
    assert reconcile(target(1), seen, failures=0, now=NOW) == [Drain("r1"), Reconfigure("r0")]


def test_scaling_down_takes_those_that_start_first_then_the_newest():
    """The replicas that have served longest stay."""
    seen = views("new RUNNING, new STARTING, new RUNNING, new RUNNING, new STARTING")
    actions = reconcile(target(2), seen, failures=0, now=NOW)
    assert actions == [Drain("r4"), Drain("r1"), Drain("r3")]


def test_old_replicas_stay_until_a_new_one_runs():
    """While the new version starts, no old replica is drained."""
    seen = views("old RUNNING, old RUNNING, new STARTING, new STARTING")
    assert reconcile(target(2), seen, failures=0, now=NOW) == []


def test_each_new_one_relieves_one_old_one():
    """An update goes replica by replica."""
    seen = views("old RUNNING, old RUNNING, new RUNNING, new STARTING")
    assert reconcile(target(2), seen, failures=0, now=NOW) == [Drain("r0")]


def test_old_replicas_that_never_ran_go_at_once():
    """A start of the version before has nothing to give up."""
    seen = views("old STARTING, new STARTING")
    assert reconcile(target(1), seen, failures=0, now=NOW) == [Drain("r0")]


WAITING = ReplicaView("n", "new", STARTING, NEW, NOW, placed=False)


@pytest.mark.parametrize(("waited", "lacks"), [(1.9, False), (2.0, True), (60.0, True)])
def test_patience_for_a_place(waited: float, lacks: bool):
    """A new replica that waits two seconds for resources needs room."""
    seen = [*views("old RUNNING"), WAITING]
    since = placement_blocked_since(None, target(1), seen, now=NOW + waited)
    assert since == (NOW + waited if lacks else None)


@pytest.mark.parametrize(("waited", "lacks"), [(2.0, False), (29.9, False), (30.0, True)])
def test_patience_with_a_slow_start(waited: float, lacks: bool):
    """If the cluster had room, the new replica counts as slow, and no old one makes room."""
    seen = [*views("old RUNNING"), replace(WAITING, had_resources=True)]
    since = placement_blocked_since(None, target(1), seen, now=NOW + waited)
    assert since == (NOW + waited if lacks else None)
    look = next_wakeup(seen, now=NOW + waited)
    assert look == (None if lacks else pytest.approx(30.0 - waited))


@pytest.mark.parametrize("in_between", ["old STOPPING", "new STARTING"])
def test_one_place_at_a_time(in_between: str):
    """While a replica drains or a new one is placed, no other old replica makes room."""
    seen = [*views(f"old RUNNING, {in_between}"), WAITING]
    wanted = sum(view.version == "new" for view in seen)
    assert placement_blocked_since(NOW + 59, target(wanted), seen, now=NOW + 60) is None


def test_a_place_that_was_just_left_is_waited_for():
    """The two seconds start again when a replica ends and frees its resources."""
    seen = [*views("old RUNNING"), WAITING]
    freed = NOW + 60
    assert placement_blocked_since(None, target(1), seen, now=freed + 1.9, freed=freed) is None
    assert next_wakeup(seen, now=freed + 0.5, freed=freed) == pytest.approx(1.5)
    assert placement_blocked_since(None, target(1), seen, now=freed + 2, freed=freed) == freed + 2
    assert (
        placement_blocked_since(freed + 2, target(1), seen, now=freed + 3, freed=freed) == freed + 2
    )


def test_a_place_is_given_up_at_the_second_look():
    """A timeout must persist before an old replica makes room."""
    seen = [*views("old RUNNING"), WAITING]
    woken = NOW + 60
    for now, actions in [(woken, []), (woken + 0.2, []), (woken + CONFIRMATION_S, [Drain("r0")])]:
        found = reconcile(target(1), seen, failures=0, now=now, blocked_since=woken)
        assert found == actions
    assert next_wakeup(seen, now=woken, blocked_since=woken) == pytest.approx(CONFIRMATION_S)
    assert reconcile(target(1), seen, failures=0, now=woken + 60) == []


def test_when_to_look_again():
    """Only a wait for resources changes the actions by time alone."""
    assert next_wakeup(views("new STARTING, old RUNNING"), now=NOW) is None
    assert next_wakeup([WAITING], now=NOW + 0.5) == pytest.approx(1.5)
    assert next_wakeup([], now=NOW) is None


# --- surge ------------------------------------------------------------------------------


@given(running=st.integers(1, 6), wanted=st.integers(1, 6), surge=st.integers(1, 3), seed=SEEDS)
def test_no_more_than_the_surge_allows(running: int, wanted: int, surge: int, seed: int):
    """An update never has more replicas than the target and the surge together."""
    start = views(", ".join(["old RUNNING"] * running))
    simulation = Simulation(replace(target(wanted), surge=surge), start, room=100, seed=seed)
    limit = max(wanted + surge, running)
    while simulation.act() | simulation.move():
        staying = [view for view in simulation.replicas.values() if view.state is not STOPPING]
        assert len(staying) <= limit
        simulation.lowest = min(simulation.lowest, simulation.running)
    simulation.check_end()
    assert simulation.lowest >= min(wanted, running)


@given(wanted=st.integers(1, 6), step=st.integers(1, 6), seed=SEEDS)
def test_without_surge_old_ones_leave_a_few_at_a_time(wanted: int, step: int, seed: int):
    """With `max_surge_percent=0` there are never more replicas than wanted, and never too few."""
    start = views(", ".join(["old RUNNING"] * wanted))
    simulation = Simulation(replace(target(wanted), surge=0, step=step), start, room=100, seed=seed)
    while simulation.act_stopping_first() | simulation.move():
        staying = [view for view in simulation.replicas.values() if view.state is not STOPPING]
        assert len(staying) <= wanted
        assert simulation.running >= wanted - step
    simulation.check_end()


def test_without_surge_a_version_that_fails_takes_no_more_than_one_step():
    """A new version that has failed and never run makes no further old replica leave."""
    seen = views("old RUNNING, old RUNNING, old RUNNING")[:2]
    wanted = replace(target(3), surge=0, step=1)
    assert reconcile(wanted, seen, failures=1, now=NOW) == [Start(1)]


# --- replicas that are unfit, or whose node leaves ---------------------------------------


def test_an_unfit_replica_leaves_when_its_successor_runs():
    """An unhealthy replica serves until its successor runs."""
    unfit, other = views("new RUNNING, new RUNNING")
    unfit = replace(unfit, healthy=False)
    assert reconcile(target(2), [unfit, other], failures=0, now=NOW) == [Start(1)]
    coming = replace(other, replica_id="coming", state=STARTING)
    assert reconcile(target(2), [unfit, other, coming], failures=0, now=NOW) == []
    here = replace(coming, state=RUNNING)
    assert reconcile(target(2), [unfit, other, here], failures=0, now=NOW) == [
        Drain(unfit.replica_id)
    ]


def test_one_that_recovers_is_kept_and_its_successor_is_not_needed():
    """A check that succeeds again ends the replacement."""
    recovered, other = views("new RUNNING, new RUNNING")
    coming = replace(other, replica_id="coming", state=STARTING)
    actions = reconcile(target(2), [recovered, other, coming], failures=0, now=NOW)
    assert actions == [Drain("coming")]


def test_when_all_are_unfit_all_stay_until_successors_run():
    """If all replicas are unhealthy, the capacity stays until successors run."""
    unfit = [replace(view, healthy=False) for view in views("new RUNNING, new RUNNING")]
    assert reconcile(target(2), unfit, failures=0, now=NOW) == [Start(2)]


def test_a_leaving_node_s_replica_is_replaced_first_and_goes_in_time():
    """A replica on a draining node drains when its successor runs, or before the deadline."""
    stays, leaves = views("new RUNNING, new RUNNING")
    leaves = replace(leaves, drain_deadline=NOW + 60, state=ReplicaState.PENDING_MIGRATION)
    wanted = replace(target(2), grace_s=20.0)
    assert reconcile(wanted, [stays, leaves], failures=0, now=NOW) == [Start(1)]
    coming = replace(stays, replica_id="coming", state=STARTING)
    seen = [stays, leaves, coming]
    assert reconcile(wanted, seen, failures=0, now=NOW + 39) == []
    assert next_wakeup(seen, now=NOW, grace_s=20.0) == 40
    assert reconcile(wanted, seen, failures=0, now=NOW + 40) == [Drain(leaves.replica_id)]
    here = [stays, leaves, replace(coming, state=RUNNING)]
    assert reconcile(wanted, here, failures=0, now=NOW) == [Drain(leaves.replica_id)]


# --- settings ---------------------------------------------------------------------------


def test_new_settings_reach_one_replica_first():
    """New settings are applied to one replica first."""
    seen = views("new RUNNING, new RUNNING, new RUNNING", settings=OLD)
    assert reconcile(target(3), seen, failures=0, now=NOW) == [Reconfigure("r0")]
    asked = [replace(seen[0], state=ReplicaState.UPDATING), *seen[1:]]
    assert reconcile(target(3), asked, failures=0, now=NOW) == []
    took = [replace(seen[0], settings=NEW), *seen[1:]]
    assert reconcile(target(3), took, failures=0, now=NOW) == [
        Reconfigure("r1"),
        Reconfigure("r2"),
    ]


def test_settings_that_are_refused_leave_the_others_as_they_are():
    """After a refusal no other replica is reconfigured."""
    seen = views("new RUNNING, new RUNNING, new RUNNING", settings=OLD)
    seen[0] = replace(seen[0], healthy=False)
    wanted = target(3, allowed=2)
    assert reconcile(wanted, seen, failures=2, now=NOW) == []
