"""`alacarte.testing.check_routing_policy`: right policies pass, each wrong one is found out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from alacarte._routing.policies import PowerOfTwo, RoundRobin
from alacarte.testing import check_routing_policy
from alacarte.types import WAIT, Call, PolicyFactory, ReplicaLoad, Shed


class First:
    """A right policy: the first replica that is free."""

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Any:
        return next((replica for replica in replicas if replica.free), WAIT)

    def started(self, call: Call, replica: ReplicaLoad) -> None: ...

    def finished(self, call: Call, replica: ReplicaLoad) -> None: ...

    def failed(self, call: Call, replica: ReplicaLoad) -> None: ...


@pytest.mark.parametrize("policy", [First, PowerOfTwo, RoundRobin])
@pytest.mark.parametrize("seed", range(3))
def test_right_policies(policy: Any, seed: int):
    """Core's own policies keep the contract, and so does a simple one."""
    check_routing_policy(policy, seed=seed)
    check_routing_policy(PolicyFactory("named", policy), calls=100)


class PicksFull(First):
    """picked .*, which is not free"""

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Any:
        return next((replica for replica in replicas if not replica.blocked), WAIT)


class PicksBlocked(First):
    """picked .*, which is not free"""

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Any:
        return next((each for each in replicas if each.in_flight < each.max_ongoing), WAIT)


class PicksForeign(First):
    """one of the replicas shown"""

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Any:
        return ReplicaLoad("mine")


class PicksNothing(First):
    """choose returned None"""

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Any:
        return None


class WaitsForEver(First):
    """waits while"""

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Any:
        return WAIT


class Sticks(First):
    """waits while every replica is idle"""

    last: ReplicaLoad | None = None

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Any:
        if self.last is None:
            self.last = super().choose(call, replicas)
        return self.last if self.last in replicas and self.last.free else WAIT


class ShedsBadly(First):
    """Shed\\(-1\\) is no time"""

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Any:
        return Shed(-1)


class Sorts(First):
    """changed the list"""

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Any:
        replicas.sort(key=lambda replica: replica.replica_id, reverse=True)  # type: ignore[attr-defined]
        return super().choose(call, replicas)


class Counts(First):
    """changed a replica's state"""

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Any:
        found = super().choose(call, replicas)
        if isinstance(found, ReplicaLoad):
            found.in_flight += 1
        return found


class Reads(First):
    """reads the call's payload"""

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Any:
        return replicas[len(call.payload) % len(replicas)]


class Keeps(First):
    """keeps \\d+ calls that have ended"""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def started(self, call: Call, replica: ReplicaLoad) -> None:
        self.calls.append(call)


class Forgets(First):
    """KeyError"""

    def __init__(self) -> None:
        self.known: set[str] = set()

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Any:
        self.known = {replica.replica_id for replica in replicas}
        return super().choose(call, replicas)

    def finished(self, call: Call, replica: ReplicaLoad) -> None:
        self.known.remove(replica.replica_id)
        self.known.add(replica.replica_id)


class Async(First):
    """choose must not be async"""

    async def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Any:  # type: ignore[override]
        return replicas[0]


class Answers(First):
    """started returned True"""

    def started(self, call: Call, replica: ReplicaLoad) -> Any:
        return True


class Blocks(First):
    """a choice among 1000 replicas takes"""

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Any:
        if len(replicas) > 100:
            time.sleep(0.03)
        return super().choose(call, replicas)


class Incomplete:
    """has no method started"""

    choose = First.choose


WRONG: list[Any] = [
    PicksFull, PicksBlocked, PicksForeign, PicksNothing, WaitsForEver, Sticks, ShedsBadly, Sorts,
    Counts, Reads, Keeps, Async, Answers, Blocks, Incomplete,
]  # fmt: skip


@pytest.mark.parametrize("policy", WRONG)
def test_wrong_policies(policy: Callable[[], Any]):
    """Each is refused with what is wrong about it."""
    with pytest.raises(AssertionError, match=str(policy.__doc__)):
        check_routing_policy(policy)


def test_a_replica_that_is_gone():
    """A policy that stumbles over the end of a call to a replica that left fails as itself."""
    with pytest.raises(KeyError):
        check_routing_policy(Forgets)


def test_one_policy_for_all_routers():
    """A factory that gives the same object twice is refused."""
    policy = First()
    with pytest.raises(AssertionError, match="the factory gave one twice"):
        check_routing_policy(lambda: policy)


def test_a_failure_names_its_seed():
    """What went wrong by chance can be played again."""
    with pytest.raises(AssertionError) as caught:
        check_routing_policy(Sticks, seed=7)
    assert caught.value.__notes__ == ["seed=7"]
