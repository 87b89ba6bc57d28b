"""The faults of a run: kinds and times, drawn from the seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from alacarte._process.controller_client import CONTROLLER_NAME

from .clients import Caller, Driver
from .cluster import Record
from .loop import Process
from .scenario import Scenario
from .world import World

__all__ = ["Faults"]

_STEPS = 700
"""Between two deaths of the controller at a step, on average."""


_SICK_AT_THE_END = 0.5
"""How often a replica is left sick as the faults end."""


class Faults:
    """Makes things go wrong until the scenario ends.

    Attributes:
        are_over: Nothing goes wrong any more.
    """

    def __init__(
        self, world: World, scenario: Scenario, callers: Sequence[Caller], drivers: Sequence[Driver]
    ) -> None:
        self.are_over = False
        self._world = world
        self._chance = world.chance("faults")
        self._callers = callers
        self._drivers = drivers
        self._fate = world.process("fate")
        self._failing = {each for step in scenario.steps for each in step.op.failing}
        self._sickens_last = not scenario.calm and name_of(Faults._sicken) not in world.without
        if self._chance.random() < 0.2:
            # No fault: whoever is told beforehand has time to go.
            self._fate.post(self._chance.uniform(0.5, scenario.ends_at), self._drain_node)
        if scenario.calm:
            return
        possible = [kind for kind in _KINDS if name_of(kind) not in world.without]
        number = self._chance.choice((1, 2, 3, len(possible)))
        kinds = self._chance.sample(possible, min(number, len(possible)))
        for _ in range(self._chance.choice((1, 2, 4, 8))):
            kind = self._chance.choice(kinds)
            self._fate.post(self._chance.uniform(0.2, scenario.ends_at), self._strike, kind)
        if Faults._kill_controller in kinds:
            world.scheduler.on_break = self._break
            self._next_break()

    def end(self) -> None:
        """End all faults, and resume stopped processes."""
        self.are_over = True
        world = self._world
        world.ledger.note("no more faults")
        world.cluster.losing = world.cluster.failing = 0.0
        world.scheduler.break_at = -1
        for process in world.outside:
            process.thaw()
        if self._sickens_last and self._chance.random() < _SICK_AT_THE_END:
            self._sicken()  # for the checks to find, and nothing else: no change replaces it now
        for record in world.cluster.records.values():
            # What stopped for good is for the controller to find; nobody watches that one.
            if record.process is not None and record.process.frozen:
                if self._chance.random() < 0.5 or not self._would_be_replaced(record):
                    record.process.thaw()

    def _would_be_replaced(self, record: Record) -> bool:
        """Return whether a frozen process would be detected and replaced.

        Not so for the controller, for a replica whose successors do not start, and for a running
        constructor, which has more time than a run.
        """
        replica = self._world.ledger.replicas.get(record.name)
        if replica is None or replica.ready_at < 0:
            return False
        return replica.deployment not in self._failing

    def _strike(self, kind: Callable[[Faults], None]) -> None:
        if not self.are_over:
            kind(self)

    # --- the kinds ----------------------------------------------------------------------

    def _kill_replica(self) -> None:
        record = self._some_replica()
        if record is not None:
            self._note("kills", record.name)
            self._world.cluster.die(record, "killed by chance")

    def _kill_controller(self) -> None:
        record = self._world.cluster.records.get(CONTROLLER_NAME)
        if record is not None and record.state == "up":
            self._note("kills", record.name)
            self._world.cluster.die(record, "killed by chance")

    def _kill_driver(self) -> None:
        driver = self._chance.choice(self._drivers)
        self._note("kills", driver.process.name)
        driver.die()

    def _stop_replica(self) -> None:
        self._halt(self._some_replica(), "stopped")

    def _block_replica(self) -> None:
        self._halt(self._some_replica(), "blocked")

    def _stop_controller(self) -> None:
        self._halt(self._world.cluster.records.get(CONTROLLER_NAME), "stopped")

    def _stop_caller(self) -> None:
        caller = self._chance.choice(self._callers)
        self._note("stops", caller.process.name)
        caller.process.freeze("stopped")
        self._fate.post(self._chance.choice((0.5, 3.0, 8.0)), caller.process.thaw)

    def _stop_node(self) -> None:
        member = self._chance.choice(self._world.cluster.members)
        self._note("stops", member.node.node_id)
        for record in list(self._world.cluster.records.values()):
            if record.node is member:
                self._halt(record, "stopped")

    def _remove_node(self) -> None:
        cluster = self._world.cluster
        members = [
            member for member in cluster.members if member.alive and member.leaves_at is None
        ]
        if len(members) > 1:
            member = self._chance.choice(members)
            self._note("removes", member.node.node_id)
            cluster.remove_node(member)
            self._fate.post(
                self._chance.uniform(0.1, 10.0),
                cluster.add_node,
                member.cpus,
            )

    def _drain_node(self) -> None:
        members = [
            member
            for member in self._world.cluster.members
            if member.alive and member.leaves_at is None
        ]
        member = self._chance.choice(members)
        self._note("drains", member.node.node_id)
        self._world.cluster.drain_node(member, 40.0)

    def _reset_connection(self) -> None:
        transports = [
            transport
            for caller in self._callers
            for transport in self._world.network.transports.get(caller.process, ())
            if not transport.is_closing()
        ]
        if transports:
            transport = self._chance.choice(transports)
            assert transport.peer is not None
            self._touch(transport.peer.process)
            self._note("resets a connection to", transport.peer.process.name)
            transport.break_off(ConnectionResetError("reset by chance"))

    def _hold_connection(self) -> None:
        """Block a connection for a while, in one direction or both."""
        transports = [
            end
            for caller in self._callers
            for transport in self._world.network.transports.get(caller.process, ())
            for end in (transport, transport.peer)
            if end is not None and not end.is_closing()
        ]
        if transports:
            end = self._chance.choice(transports)
            assert end.peer is not None
            self._touch(end.process)
            self._touch(end.peer.process)
            end.held_until = self._world.now + self._chance.choice((0.3, 2.0, 10.0))
            self._note("holds what goes to", end.process.name)

    def _lose_answers(self) -> None:
        cluster = self._world.cluster
        cluster.losing = self._chance.choice((0.02, 0.1, 0.3))
        self._note("loses answers")
        self._fate.post(self._chance.choice((1.0, 5.0)), setattr, cluster, "losing", 0.0)

    def _fail_store(self) -> None:
        cluster = self._world.cluster
        cluster.failing = self._chance.choice((0.1, 0.3, 1.0))
        self._note("fails the control store")
        self._fate.post(self._chance.choice((1.0, 5.0)), setattr, cluster, "failing", 0.0)

    def _fail_recovery(self) -> None:
        """Kill the controller, and let the control store fail for its successor."""
        self._kill_controller()
        cluster = self._world.cluster
        cluster.failing = self._chance.choice((0.05, 0.2, 0.5))
        self._fate.post(self._chance.uniform(1.0, 6.0), setattr, cluster, "failing", 0.0)

    def _sicken(self) -> None:
        record = self._some_replica()
        if record is not None:
            self._world.ledger.replicas[record.name].sick = True
            self._note("sickens", record.name)

    def _set_clock(self) -> None:
        self._world.wall += self._chance.choice((-3600.0, -5.0, 5.0, 3600.0))
        self._note("sets the clock")

    # ------------------------------------------------------------------------------------

    def _break(self) -> None:
        """Kill the controller between any two steps."""
        self._kill_controller()
        self._next_break()

    def _next_break(self) -> None:
        scheduler = self._world.scheduler
        scheduler.break_at = scheduler.steps + 1 + int(self._chance.expovariate(1 / _STEPS))

    def _some_replica(self) -> Record | None:
        """Return a replica that is up, and touched from now on."""
        ledger = self._world.ledger
        found = [
            record
            for name, record in self._world.cluster.records.items()
            if name in ledger.replicas and record.process is not None
        ]
        if not found:
            return None
        record = self._chance.choice(found)
        record.touched = True
        return record

    def _halt(self, record: Record | None, how: str) -> None:
        if record is None or record.process is None:
            return
        record.touched = True
        self._note(f"leaves {how}", record.name)
        process = record.process
        process.freeze(how)
        self._fate.post(self._chance.choice((0.3, 2.0, 6.0, 15.0, 1000.0)), process.thaw)

    def _touch(self, process: Process) -> None:
        place = process.place
        if place is not None:
            place.record.touched = True

    def _note(self, *what: str) -> None:
        self._world.ledger.note("fault", *what)


def name_of(kind: Callable[..., None]) -> str:
    """Return the name of a kind of fault on the command line."""
    return kind.__name__.lstrip("_").replace("_", "-")


_KINDS = (
    Faults._kill_replica,
    Faults._kill_controller,
    Faults._kill_driver,
    Faults._stop_replica,
    Faults._block_replica,
    Faults._stop_controller,
    Faults._stop_caller,
    Faults._stop_node,
    Faults._remove_node,
    Faults._reset_connection,
    Faults._hold_connection,
    Faults._lose_answers,
    Faults._fail_store,
    Faults._fail_recovery,
    Faults._sicken,
    Faults._set_clock,
)
