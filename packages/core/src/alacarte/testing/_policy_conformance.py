"""Conformance check of routing policies, by simulated calls and replicas."""

from __future__ import annotations

import gc
import inspect
import math
import random
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from .._model.policy_parameters import build_parameters
from .._plugins import hook_call, load
from .._section_values import SectionValues, resolve
from ..errors import ErrorCode
from ..types import (
    Call,
    DeploymentId,
    DeploymentInfo,
    Outcome,
    PolicyContext,
    PolicyFactory,
    ReplicaLoad,
    RoutingPolicy,
    Shed,
    Wait,
)

__all__ = ["check_routing_policy"]

_OPTIONAL = {"started": 2, "finished": 3, "left": 1}
_MAX_KEPT_CALLS = 64
_MAX_CHOOSE_S = 0.02
_MAX_NOTIFY_S = 1.0
"""Far more than a good policy takes, so that a busy machine fails no good policy."""


@hook_call("check_routing_policy made a policy that called get_runtime()")
def check_routing_policy(
    create: PolicyFactory | Callable[[], RoutingPolicy],
    *,
    parameters: Mapping[str, object] | None = None,
    calls: int = 3000,
    seed: int = 0,
) -> None:
    """Check the conformance of a routing policy to `RoutingPolicy` and `ListeningPolicy`.

    The policy must pick free replicas from the given sequence, wait only while a replica is busy,
    change none of its arguments and read no payload, handle replicas that join, leave and fail and
    every kind of outcome, keep no calls that have ended, and be quick.

    Args:
        create: A factory, which gets the default configuration and a clock of the check; or a
            function that creates a policy without arguments, such as the policy's class.
        parameters: Parameters for the factory, as users set them in `routing_policy`.
        calls: Number of simulated calls.
        seed: Seed of the random events, which failures show.

    Raises:
        AssertionError: The policy violates the contract; the message describes the violation.
        ConfigError: The factory refuses the parameters.
    """
    clock = _Clock()
    make = _maker(create, parameters or {}, clock) if isinstance(create, PolicyFactory) else create
    _check_shape(make)
    _check_one_replica(make())
    _check_many_replicas(make())
    _Simulation(make(), seed, clock).run(calls)


class _Clock:
    """A clock that the simulation sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _maker(
    factory: PolicyFactory, given: Mapping[str, object], clock: _Clock
) -> Callable[[], RoutingPolicy]:
    plugins = load()
    context = PolicyContext(
        DeploymentInfo(DeploymentId("check", "Plugin")),
        build_parameters("check_routing_policy", factory, given),
        SectionValues(plugins, resolve(plugins, {})),
        clock,
    )
    return lambda: factory.create(context)


def _check_shape(make: Callable[[], RoutingPolicy]) -> None:
    policy, other = make(), make()
    assert policy is not other, "the factory must create a new policy for each router"
    assert callable(getattr(policy, "choose", None)), "the policy has no method choose"
    assert not inspect.iscoroutinefunction(policy.choose), "choose must not be async"
    assert not hasattr(policy, "failed"), (
        "the method failed is never called: finished(call, replica, outcome) reports every outcome"
    )
    for name, arguments in _OPTIONAL.items():
        method = getattr(policy, name, None)
        if method is None:
            continue
        assert callable(method), f"{name} is not a method"
        assert not inspect.iscoroutinefunction(method), f"{name} must not be async"
        try:
            inspect.signature(method).bind(*range(arguments))
        except TypeError as error:
            raise AssertionError(f"{name} must take {arguments} arguments: {error}") from None


def _check_one_replica(policy: RoutingPolicy) -> None:
    """A policy picks its only replica while the replica is free, and waits while it is busy."""
    replica = ReplicaLoad("only", max_ongoing=1)
    assert not isinstance(_choose(policy, [replica]), Wait), "it waits while its replica is idle"
    _notify(policy, "started", _call(), replica)
    replica.in_flight = 1
    _choose(policy, [replica])
    replica.in_flight = 0
    _notify(policy, "finished", _call(), replica, Outcome("success", None, "", 0.01, 0.01))
    replica.blocked = True
    _choose(policy, [replica])
    replica.blocked = False
    assert not isinstance(_choose(policy, [replica]), Wait), "it waits though its replica is idle"


def _check_many_replicas(policy: RoutingPolicy) -> None:
    """A choice among a thousand replicas is quick, since every request waits for the choice."""
    replicas = [ReplicaLoad(f"r{number}") for number in range(1000)]
    best = math.inf
    for _ in range(20):
        began = time.perf_counter()
        policy.choose(_call(), replicas)
        # The minimum excludes the other load of the machine.
        best = min(best, time.perf_counter() - began)
        if best < _MAX_CHOOSE_S:
            return
    raise AssertionError(f"a choice among 1000 replicas takes {best:.3f} s; every request waits")


class _Simulation:
    """A router without sockets: random calls, outcomes, and replicas that join and leave."""

    def __init__(self, policy: RoutingPolicy, seed: int, clock: _Clock) -> None:
        self._policy = policy
        self._seed = seed
        self._clock = clock
        self._random = random.Random(seed)
        self._replicas: list[ReplicaLoad] = []
        self._in_flight: list[tuple[Call, ReplicaLoad]] = []
        self._gone: list[ReplicaLoad] = []
        self._seen: weakref.WeakSet[Call] = weakref.WeakSet()
        self._num_replicas = 0

    def run(self, calls: int) -> None:
        try:
            self._join()
            for _ in range(calls):
                self._step()
            while self._in_flight:
                self._end()
        except AssertionError as error:
            error.add_note(f"seed={self._seed}")
            raise
        gc.collect()
        kept = len(self._seen)
        assert kept <= _MAX_KEPT_CALLS, f"it keeps {kept} calls that have ended: a leak"

    def _step(self) -> None:
        event = self._random.random()
        self._clock.now += self._random.random() * 0.02
        if event < 0.02 and len(self._replicas) < 8:
            self._join()
        elif event < 0.04 and len(self._replicas) > 1:
            # Calls in flight continue, and end when the replica is no longer in the sequence.
            self._gone.append(self._replicas.pop(self._random.randrange(len(self._replicas))))
            self._leave()
        elif event < 0.08:
            replica = self._random.choice(self._replicas)
            replica.blocked = not replica.blocked
        elif event < 0.5 and self._in_flight:
            self._end()
        else:
            self._begin()

    def _join(self) -> None:
        self._num_replicas += 1
        replica = ReplicaLoad(
            f"r{self._num_replicas}",
            max_ongoing=self._random.randint(1, 4),
            node_id=self._random.choice(("near", "far")),
            local=self._random.random() < 0.5,
        )
        if self._random.random() < 0.5:
            replica.advertised = {"models": frozenset({"m1"}), "other": frozenset({"x"})}
        self._replicas.append(replica)
        self._random.shuffle(self._replicas)

    def _begin(self) -> None:
        call = _call(self._random)
        choice = _choose(self._policy, self._replicas, call)
        idle = all(not each.in_flight and not each.blocked for each in self._replicas)
        assert not (idle and isinstance(choice, Wait)), (
            "it waits while every replica is idle: no event will wake the call"
        )
        if isinstance(choice, Wait | Shed):
            return
        self._seen.add(call)
        choice.in_flight += 1
        self._in_flight.append((call, choice))
        _notify(self._policy, "started", call, choice)

    def _end(self) -> None:
        number = self._random.randrange(len(self._in_flight))
        call, replica = self._in_flight.pop(number)
        replica.in_flight -= 1
        replica.reported = self._random.randint(0, replica.max_ongoing)
        outcome = self._outcome()
        replica.blocked = outcome.kind == "rejected" and self._random.random() < 0.5
        if outcome.kind in ("success", "error", "cancelled"):
            replica.latency_s = self._random.random()
        _notify(self._policy, "finished", call, replica, outcome)
        self._leave()

    def _outcome(self) -> Outcome:
        total_s = self._random.random()
        first_s = total_s * self._random.random()
        return self._random.choices(
            (
                Outcome("success", None, "", first_s, total_s),
                Outcome("error", ErrorCode.INTERNAL, "ValueError", None, total_s),
                Outcome("error", ErrorCode.INTERNAL, "ValueError", first_s, total_s),
                Outcome("rejected", ErrorCode.RESOURCE_EXHAUSTED, "", None, total_s),
                Outcome("lost", ErrorCode.UNAVAILABLE, "", None, total_s),
                Outcome("unanswered", ErrorCode.UNAVAILABLE, "", None, total_s),
                Outcome("cancelled", ErrorCode.CANCELLED, "", None, total_s),
            ),
            (80, 5, 2, 6, 2, 2, 3),
        )[0]

    def _leave(self) -> None:
        """Call `left` for replicas that are gone and have no call in flight."""
        busy = [replica for _, replica in self._in_flight]
        idle = [gone for gone in self._gone if not any(gone is each for each in busy)]
        for replica in idle:
            self._gone.remove(replica)
            _notify(self._policy, "left", replica)


class _WatchedCall(Call):
    """A call with weak references, to find calls that the policy keeps."""

    __slots__ = ("__weakref__",)


class _Unread(Sequence[bytes]):
    """A payload that raises when the policy reads it."""

    def __getitem__(self, index: object) -> NoReturn:
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
        deadline=rng.choice((None, 2000.0)),
    )


def _choose(
    policy: RoutingPolicy, replicas: Sequence[ReplicaLoad], call: Call | None = None
) -> ReplicaLoad | Wait | Shed:
    """Return the policy's choice, after the checks that apply to any choice."""
    shown = list(replicas)
    before = [_state(replica) for replica in shown]
    choice: Any = policy.choose(call or _call(), shown)
    assert not inspect.isawaitable(choice), "choose must not be async"
    assert shown == list(replicas), "it changed the list of replicas"
    assert [_state(replica) for replica in shown] == before, "it changed a replica's state"
    if isinstance(choice, Shed):
        delay = choice.retry_after_s
        assert 0 <= delay < math.inf, f"Shed({delay}): retry_after_s must be finite and at least 0"
    elif not isinstance(choice, Wait):
        assert any(choice is replica for replica in replicas), (
            f"choose returned {choice!r}; it must return a replica of its argument, WAIT or a Shed"
        )
        assert choice.free, f"it picked {choice!r}, which is not free"
    picked: ReplicaLoad | Wait | Shed = choice
    return picked


def _state(replica: ReplicaLoad) -> tuple[object, ...]:
    return tuple(getattr(replica, name) for name in ReplicaLoad.__slots__)


def _notify(policy: RoutingPolicy, name: str, *arguments: object) -> None:
    """Call an optional method of a policy, as a router does."""
    method = getattr(policy, name, None)
    if method is None:
        return
    began = time.perf_counter()
    value = method(*arguments)
    took_s = time.perf_counter() - began
    assert value is None, f"{name} returned {value!r}; it must return None, and not be async"
    assert took_s < _MAX_NOTIFY_S, f"{name} took {took_s:.3f} s; every request waits"
