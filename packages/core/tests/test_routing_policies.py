"""Routing policies: what they pick, and the balance that comes of it."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacarte import _plugins
from alacarte._routing.policies import PowerOfTwo, RoundRobin
from alacarte.types import WAIT, Call, ReplicaLoad

CALL = Call("python", (b"",))


def replica(
    name: str, in_flight: int = 0, *, room: int = 100, reported: int = 0, blocked: bool = False
) -> ReplicaLoad:
    load = ReplicaLoad(name, max_ongoing=room)
    load.in_flight, load.reported, load.blocked = in_flight, reported, blocked
    return load


LOADS = st.builds(
    lambda in_flight, reported, blocked: replica(
        "r", in_flight, room=5, reported=reported, blocked=blocked
    ),
    st.integers(0, 6),
    st.integers(0, 6),
    st.booleans(),
)


@pytest.mark.parametrize("make", [PowerOfTwo, RoundRobin])
@given(loads=st.lists(LOADS, min_size=1, max_size=8), calls=st.integers(1, 10))
def test_a_free_replica_is_never_missed(make, loads: list[ReplicaLoad], calls: int):
    """Whatever is picked is free; it waits only when none is."""
    policy = make()
    for _ in range(calls):
        choice = policy.choose(CALL, loads)
        if choice is WAIT:
            assert not any(load.free for load in loads)
        else:
            assert choice.free
            assert any(choice is load for load in loads)


@given(a=st.integers(0, 9), b=st.integers(0, 9), seed=st.integers(0, 1000))
def test_of_two_the_less_loaded_is_taken(a: int, b: int, seed: int):
    """With two replicas both are looked at each time."""
    one, two = replica("a", a), replica("b", b)
    choice = PowerOfTwo(random.Random(seed)).choose(CALL, [one, two])
    assert isinstance(choice, ReplicaLoad)
    assert choice.in_flight == min(a, b)


def test_what_others_send_counts():
    """A replica that reports work of other callers is loaded, too."""
    busy, idle = replica("busy", 0, reported=40), replica("idle", 10)
    assert PowerOfTwo().choose(CALL, [busy, idle]) is idle


def test_two_choices_balance():
    """10,000 calls that stay leave 20 replicas within a few calls of each other.

    One random choice would spread them over about 500 ± 60.
    """
    policy = PowerOfTwo(random.Random(1))
    loads = [replica(str(n), room=10**6) for n in range(20)]
    for _ in range(10_000):
        choice = policy.choose(CALL, loads)
        assert isinstance(choice, ReplicaLoad)
        choice.in_flight += 1
    counts = [load.in_flight for load in loads]
    assert max(counts) - min(counts) <= 12


def test_equal_replicas_are_drawn_equally():
    """No place in the list is preferred while all are idle."""
    policy = PowerOfTwo(random.Random(1))
    loads = [replica(str(n)) for n in range(5)]
    drawn = Counter(policy.choose(CALL, loads).replica_id for _ in range(10_000))
    assert min(drawn.values()) > 1_800
    assert max(drawn.values()) < 2_200


def test_round_robin_takes_turns():
    """Each in turn, passing over the full ones, also when their number changes."""
    policy = RoundRobin()
    loads = [replica("a"), replica("b", 100), replica("c")]
    drawn = [policy.choose(CALL, loads).replica_id for _ in range(4)]
    assert drawn == ["a", "c", "a", "c"]
    assert policy.choose(CALL, loads[:1]).replica_id == "a"


@pytest.mark.parametrize(
    ("in_flight", "blocked", "free"), [(4, False, True), (5, False, False), (0, True, False)]
)
def test_free(in_flight: int, blocked: bool, free: bool):
    """It has a slot, and has not refused anything since it last announced one."""
    assert replica("a", in_flight, room=5, blocked=blocked).free is free


def test_names_of_the_policies_that_come_with_core():
    """`register_routing_policies` gives them under the names the configuration uses."""
    core = [record for record in _plugins.discover() if record.name == "core"]
    policies = _plugins.load(core).routing_policies
    assert {name: type(policies[name].create()) for name in policies} == {
        "power_of_two": PowerOfTwo,
        "round_robin": RoundRobin,
    }
