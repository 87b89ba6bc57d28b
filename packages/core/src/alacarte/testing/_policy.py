"""The conformance kit for routing policies: what every one of them must do, and not do."""

from __future__ import annotations

import gc
import inspect
import math
import random
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from ..types import Call, PolicyFactory, ReplicaLoad, RoutingPolicy, Shed, Wait

__all__ = ["check_routing_policy"]

_METHODS = ("choose", "started", "finished", "failed")
_CALLS_KEPT = 64
_CHOOSE_S = 0.02


def check_routing_policy(
    create: PolicyFactory | Callable[[], RoutingPolicy], *, calls: int = 3000, seed: int = 0
) -> None:
    """Check that a routing policy keeps the contract of `RoutingPolicy`.

    It picks free replicas only, of those it is shown; waits only while that can end; changes
    nothing it is shown and reads no payload; copes with replicas that come, go and fail; keeps
    no calls that have ended; and is quick.

    Args:
        create: A factory, or what it calls: the policy's class will do.
        calls: How many calls to play through.
        seed: Of the order of events. A failure names it.

    Raises:
        AssertionError: The policy breaks the contract; the message says how.
    """
    make = create.create if isinstance(create, PolicyFactory) else create
    _check_shape(make)
    _check_one_replica(make())
    _check_many_replicas(make())
    _Play(make(), seed).run(calls)


def _check_shape(make: Callable[[], RoutingPolicy]) -> None:
    policy, other = make(), make()
    assert policy is not other, "each router needs a policy of its own: the factory gave one twice"
    for name in _METHODS:
        method = getattr(policy, name, None)
        assert callable(method), f"the policy has no method {name}"
        assert not inspect.iscoroutinefunction(method), f"{name} must not be async"


def _check_one_replica(policy: RoutingPolicy) -> None:
    """With nothing to choose from, it takes what is free and waits for what is not."""
    replica = ReplicaLoad("only", max_ongoing=1)
    assert not isinstance(_choose(policy, [replica]), Wait), "it waits while its replica is idle"
    policy.started(_call(), replica)
    replica.in_flight = 1
    _choose(policy, [replica])
    replica.in_flight = 0
    policy.finished(_call(), replica)
    replica.blocked = True
    _choose(policy, [replica])
    replica.blocked = False
    assert not isinstance(_choose(policy, [replica]), Wait), "it still waits, and nothing will come"


def _check_many_replicas(policy: RoutingPolicy) -> None:
    """A choice among a thousand is still quick: every request waits for it."""
    replicas = [ReplicaLoad(f"r{number}") for number in range(1000)]
    best = math.inf
    for _ in range(20):
        began = time.perf_counter()
        policy.choose(_call(), replicas)
        # The best of them: whatever else the machine did, the policy itself took no longer.
        best = min(best, time.perf_counter() - began)
        if best < _CHOOSE_S:
            return
    raise AssertionError(f"a choice among 1000 replicas takes {best:.3f} s: every request waits")


class _Play:
    """A router without sockets: random calls, endings, and replicas coming and going."""

    def __init__(self, policy: RoutingPolicy, seed: int) -> None:
        # Typed loosely: whether its methods return nothing is one of the questions.
        self._policy: Any = policy
        self._seed = seed
        self._random = random.Random(seed)
        self._replicas: list[ReplicaLoad] = []
        self._under_way: list[tuple[Call, ReplicaLoad]] = []
        self._seen: weakref.WeakSet[Call] = weakref.WeakSet()
        self._named = 0

    def run(self, calls: int) -> None:
        try:
            self._join()
            for _ in range(calls):
                self._step()
            while self._under_way:
                self._end()
        except AssertionError as error:
            error.add_note(f"seed={self._seed}")
            raise
        gc.collect()
        kept = len(self._seen)
        assert kept <= _CALLS_KEPT, f"it keeps {kept} calls that have ended: a leak"

    def _step(self) -> None:
        event = self._random.random()
        if event < 0.02 and len(self._replicas) < 8:
            self._join()
        elif event < 0.04 and len(self._replicas) > 1:
            # What was sent there goes on, and its end is told when the replica is long gone.
            self._replicas.pop(self._random.randrange(len(self._replicas)))
        elif event < 0.08:
            replica = self._random.choice(self._replicas)
            replica.blocked = not replica.blocked
        elif event < 0.5 and self._under_way:
            self._end()
        else:
            self._begin()

    def _join(self) -> None:
        self._named += 1
        replica = ReplicaLoad(
            f"r{self._named}",
            max_ongoing=self._random.randint(1, 4),
            node_id=self._random.choice(("near", "far")),
            local=self._random.random() < 0.5,
        )
        self._replicas.append(replica)
        self._random.shuffle(self._replicas)

    def _begin(self) -> None:
        call = _call(self._random)
        choice = _choose(self._policy, self._replicas, call)
        idle = all(not each.in_flight and not each.blocked for each in self._replicas)
        assert not (idle and isinstance(choice, Wait)), (
            "it waits while every replica is idle: nothing will ever wake the call"
        )
        if isinstance(choice, Wait | Shed):
            return
        self._seen.add(call)
        choice.in_flight += 1
        self._under_way.append((call, choice))
        _none(self._policy.started, call, choice)

    def _end(self) -> None:
        number = self._random.randrange(len(self._under_way))
        call, replica = self._under_way.pop(number)
        replica.in_flight -= 1
        replica.reported = self._random.randint(0, replica.max_ongoing)
        if self._random.random() < 0.1:
            replica.blocked = self._random.random() < 0.5
            _none(self._policy.failed, call, replica)
        else:
            replica.blocked = False
            replica.latency_s = self._random.random()
            _none(self._policy.finished, call, replica)


class _WatchedCall(Call):
    """A call whose end can be seen."""

    __slots__ = ("__weakref__",)
    # Calls are equal by value, so a dataclass has no hash; here each one is itself.
    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


class _Unread(Sequence[Any]):
    """A payload that nobody may look at."""

    def __getitem__(self, index: Any) -> Any:
        raise AssertionError("it reads the call's payload")

    def __len__(self) -> int:
        raise AssertionError("it reads the call's payload")


def _call(rng: random.Random | None = None) -> Call:
    rng = rng or random.Random(0)
    return _WatchedCall(
        "python",
        _Unread(),
        request_id=f"{rng.getrandbits(64):x}",
        model_id=rng.choice(("", "m1", "m2")),
        routing_key=rng.choice(("", "alice", "bob")),
    )


def _choose(
    policy: RoutingPolicy, replicas: Sequence[ReplicaLoad], call: Call | None = None
) -> ReplicaLoad | Wait | Shed:
    """Ask for a choice, and check all that holds for any."""
    shown = list(replicas)
    before = [_state(replica) for replica in shown]
    choice: Any = policy.choose(call or _call(), shown)
    assert not inspect.isawaitable(choice), "choose must not be async"
    assert shown == list(replicas), "it changed the list of replicas it was shown"
    assert [_state(replica) for replica in shown] == before, "it changed a replica's state"
    if isinstance(choice, Shed):
        delay = choice.retry_after_s
        assert 0 <= delay < math.inf, f"Shed({delay}) is no time to try again"
    elif not isinstance(choice, Wait):
        assert any(choice is replica for replica in replicas), (
            f"choose returned {choice!r}: one of the replicas shown, WAIT, or a Shed is wanted"
        )
        assert choice.free, f"it picked {choice!r}, which is not free"
    picked: ReplicaLoad | Wait | Shed = choice
    return picked


def _state(replica: ReplicaLoad) -> tuple[Any, ...]:
    return tuple(getattr(replica, name) for name in ReplicaLoad.__slots__)


def _none(told: Callable[..., object], call: Call, replica: ReplicaLoad) -> None:
    value = told(call, replica)
    name = getattr(told, "__name__", told)
    assert value is None, f"{name} returned {value!r}; it must return nothing, and not be async"
