"""The builtin routing policies: their choices, and the balance that results."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacarte import _plugins
from alacarte._routing.builtin_policies import PowerOfTwo, RoundRobin
from alacarte.types import WAIT, Call, DeploymentId, DeploymentInfo, PolicyContext, ReplicaLoad

CALL = Call("python", (b"",))


def replica(
    name: str,
    in_flight: int = 0,
    *,
    room: int = 100,
    reported: int = 0,
    blocked: bool = False,
    models: str = "",
) -> ReplicaLoad:
    load = ReplicaLoad(name, max_ongoing=room)
    load.in_flight, load.reported, load.blocked = in_flight, reported, blocked
    load.advertised = {"models": frozenset(models)}
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
    """The chosen replica is free, and a policy waits only if no replica is free."""
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


def test_the_calls_of_other_callers_count():
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
    """A free replica has a slot, and has not rejected a call since its last LOAD."""
    assert replica("a", in_flight, room=5, blocked=blocked).free is free


def test_names_of_the_policies_that_come_with_core():
    """`register_routing_policies` gives them under the names the configuration uses."""
    core = [record for record in _plugins.discover() if record.name == "core"]
    policies = _plugins.load(core).routing_policies
    config: Any = None
    place = PolicyContext(DeploymentInfo(DeploymentId("a", "b")), None, config, time.monotonic)
    assert {name: type(policies[name].create(place)) for name in policies} == {
        "power_of_two": PowerOfTwo,
        "round_robin": RoundRobin,
    }


# --- calls for a model ------------------------------------------------------------------

HOLDERS = st.lists(
    st.builds(
        lambda name, in_flight, blocked, models: replica(
            name, in_flight, room=5, blocked=blocked, models="".join(models)
        ),
        st.uuids().map(str),
        st.integers(0, 6),
        st.booleans(),
        st.sets(st.sampled_from("abcd")),
    ),
    min_size=1,
    max_size=6,
)


@given(loads=HOLDERS, model=st.sampled_from("abcd"))
def test_a_call_for_a_model_goes_to_a_holder(loads: list[ReplicaLoad], model: str):
    """A free holder of the model gets the call, else the free replica with the fewest models.

    It never waits while any replica is free.
    """
    choice = PowerOfTwo().choose(Call("python", (b"",), model_id=model), loads)
    free = [load for load in loads if load.free]
    if not free:
        assert choice is WAIT
        return
    assert isinstance(choice, ReplicaLoad)
    assert choice in free
    holders = [load for load in free if model in load.model_ids]
    if holders:
        assert choice in holders
        assert max(choice.in_flight, choice.reported) == min(
            max(load.in_flight, load.reported) for load in holders
        )
    else:
        assert len(choice.model_ids) == min(len(load.model_ids) for load in free)


@given(names=st.lists(st.uuids().map(str), min_size=2, max_size=6, unique=True), model=st.text())
def test_all_agree_where_a_model_is_to_be_loaded(names: list[str], model: str):
    """The first calls for a model go to one replica, whatever the order and the load."""
    call = Call("python", (b"",), model_id=model or "m")
    loads = [replica(name) for name in names]
    there = [replica(name, number) for number, name in enumerate(reversed(names))]
    one, two = PowerOfTwo().choose(call, loads), PowerOfTwo().choose(call, there)
    assert isinstance(one, ReplicaLoad)
    assert isinstance(two, ReplicaLoad)
    assert one.replica_id == two.replica_id


def test_models_are_spread_over_replicas():
    """Models without a holder are spread evenly: about a third for each of three replicas."""
    loads = [replica(name) for name in ("r1", "r2", "r3")]
    homes = Counter(
        PowerOfTwo().choose(Call("python", (b"",), model_id=f"m{number}"), loads).replica_id
        for number in range(900)
    )
    assert all(240 <= count <= 360 for count in homes.values())


def test_an_unneeded_copy_goes_unused():
    """Of two idle holders the same one gets each call, so that the other copy is evicted."""
    loads = [replica("r1", models="a"), replica("r2", models="a"), replica("r3")]
    call = Call("python", (b"",), model_id="a")
    assert len({PowerOfTwo().choose(call, loads) for _ in range(20)}) == 1


def misses(seed: int) -> int:
    """Return how many of the last 300 of 600 calls find their model on no replica.

    Three replicas hold three models each, at first ones that nobody asks for; eight are asked for.
    """
    rng = random.Random(seed)
    loads = [replica(name) for name in ("r1", "r2", "r3")]
    held = {load: [f"stale-{load.replica_id}-{number}" for number in range(3)] for load in loads}
    policy = PowerOfTwo()
    found = []
    for _ in range(600):
        for load, models in held.items():
            load.advertised = {"models": frozenset(models)}
        model = f"m{rng.randrange(8)}"
        choice = policy.choose(Call("python", (b"",), model_id=model), loads)
        assert isinstance(choice, ReplicaLoad)
        models = held[choice]
        found.append(model in models)
        if model in models:
            models.remove(model)
        held[choice] = [*models, model][-3:]
    return found[300:].count(False)


def test_models_that_fit_come_to_rest():
    """Replicas full of unused models make room for the models in use."""
    assert sum(misses(seed) for seed in range(30)) <= 30 * 300 * 0.05
