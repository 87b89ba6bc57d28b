"""`alacarte.testing.check_routing_policy` accepts valid policies, and names mistakes of others."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, Field

from alacarte._routing.builtin_policies import PowerOfTwo, RoundRobin
from alacarte.errors import ConfigError
from alacarte.testing import check_routing_policy
from alacarte.types import WAIT, Call, Outcome, PolicyContext, PolicyFactory, ReplicaLoad, Shed


class First:
    """A valid policy: the first free replica."""

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Any:
        return next((replica for replica in replicas if replica.free), WAIT)

    def started(self, call: Call, replica: ReplicaLoad) -> None: ...

    def finished(self, call: Call, replica: ReplicaLoad, outcome: Outcome) -> None: ...

    def left(self, replica: ReplicaLoad) -> None: ...


@pytest.mark.parametrize("policy", [First, PowerOfTwo, RoundRobin])
@pytest.mark.parametrize("seed", range(3))
def test_right_policies(policy: Any, seed: int):
    """The built-in policies and a simple policy pass."""
    check_routing_policy(policy, seed=seed)
    check_routing_policy(PolicyFactory("named", lambda context: policy()), calls=100)


class PicksFull(First):
    """picked .*, which is not free"""

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Any:
        return next((replica for replica in replicas if not replica.blocked), WAIT)


class PicksBlocked(First):
    """picked .*, which is not free"""

    def choose(self, call: Call, replicas: Sequence[ReplicaLoad]) -> Any:
        return next((each for each in replicas if each.in_flight < each.max_ongoing), WAIT)


class PicksForeign(First):
    """a replica of its argument"""

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
    """Shed\\(-1\\): retry_after_s must be finite"""

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

    def finished(self, call: Call, replica: ReplicaLoad, outcome: Outcome) -> None:
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


class Chooseless:
    """has no method choose"""


class Outdated(First):
    """finished must take 3 arguments"""

    def finished(self, call: Call, replica: ReplicaLoad) -> None: ...  # type: ignore[override]


class Fails(First):
    """the method failed is never called"""

    def failed(self, call: Call, replica: ReplicaLoad) -> None: ...


class Measures(First):
    """takes a time where there is none"""

    def finished(self, call: Call, replica: ReplicaLoad, outcome: Outcome) -> None:
        assert outcome.first_part_s is not None, "takes a time where there is none"


WRONG: list[Any] = [
    PicksFull, PicksBlocked, PicksForeign, PicksNothing, WaitsForEver, Sticks, ShedsBadly, Sorts,
    Counts, Reads, Keeps, Async, Answers, Blocks, Chooseless,
    Outdated, Fails, Measures,
]  # fmt: skip


@pytest.mark.parametrize("policy", WRONG)
def test_wrong_policies(policy: Callable[[], Any]):
    """The error of each policy names its mistake."""
    with pytest.raises(AssertionError, match=str(policy.__doc__)):
        check_routing_policy(policy)


def test_a_replica_that_is_gone():
    """An exception of the policy at the end of a call to a gone replica is raised unchanged."""
    with pytest.raises(KeyError):
        check_routing_policy(Forgets)


def test_one_policy_for_all_routers():
    """A factory that returns the same object twice is refused."""
    policy = First()
    with pytest.raises(AssertionError, match="must create a new policy for each router"):
        check_routing_policy(lambda: policy)


def test_a_failure_names_its_seed():
    """A failure names the seed, which reproduces the failure."""
    with pytest.raises(AssertionError) as caught:
        check_routing_policy(Sticks, seed=7)
    assert caught.value.__notes__ == ["seed=7"]


class Bounds(BaseModel, frozen=True, extra="forbid"):
    """Parameters of a policy."""

    limit: int = Field(3, gt=0)


class Bounded(First):
    """A policy with parameters, configuration and clock."""

    contexts: ClassVar[list[PolicyContext]] = []

    def __init__(self, context: PolicyContext) -> None:
        self.contexts.append(context)


def test_a_factory_gets_its_context():
    """The context holds the parameters, the default configuration and an advancing clock."""
    Bounded.contexts.clear()
    factory = PolicyFactory("bounded", Bounded, f"{__name__}:Bounds")
    check_routing_policy(factory, calls=100)
    check_routing_policy(factory, parameters={"limit": 7}, calls=100)
    assert {context.parameters.limit for context in Bounded.contexts} == {3, 7}
    context = Bounded.contexts[0]
    assert context.clock() > 1000.0
    assert context.config.section("cluster").max_message_bytes > 0
    with pytest.raises(ConfigError, match="limit=0 must be greater than 0"):
        check_routing_policy(factory, parameters={"limit": 0})
    with pytest.raises(ConfigError, match="'plain' takes no parameters; leave out limit"):
        check_routing_policy(PolicyFactory("plain", Bounded), parameters={"limit": 1})


class LeftBehind(First):
    """Counts the replicas that have started calls and have not left."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.left_count = 0

    def started(self, call: Call, replica: ReplicaLoad) -> None:
        self.known.add(replica.replica_id)

    def finished(self, call: Call, replica: ReplicaLoad, outcome: Outcome) -> None:
        assert replica.replica_id in self.known

    def left(self, replica: ReplicaLoad) -> None:
        self.known.discard(replica.replica_id)
        self.left_count += 1


def test_a_replica_leaves_after_its_last_call():
    """`left` is the last call for a replica."""
    policies: list[LeftBehind] = []

    def create() -> LeftBehind:
        policies.append(LeftBehind())
        return policies[-1]

    check_routing_policy(create)
    assert max(policy.left_count for policy in policies) > 10
