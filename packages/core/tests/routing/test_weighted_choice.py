"""Which target a call takes: by weight, or always the same for a key."""

from __future__ import annotations

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from alacarte._routing.weighted_choice import pick_by_key, pick_by_weight

WEIGHTS = st.lists(st.integers(0, 20), min_size=1, max_size=6).filter(any)


def normal(parts: list[int]) -> list[float]:
    return [part / sum(parts) for part in parts]


def within(count: int, of: int, share: float) -> bool:
    """Return whether a count is within six standard deviations of its expectation."""
    return abs(count - of * share) <= 6 * math.sqrt(of * share * (1 - share)) + 1e-9


@given(parts=WEIGHTS, draws=st.integers(1, 400))
def test_draws_follow_the_weights(parts: list[int], draws: int):
    """Evenly spread draws hit each target by its weight, and never one of weight 0."""
    weights = normal(parts)
    found = Counter(pick_by_weight(weights, (n + 0.5) / draws) for n in range(draws))
    for index, weight in enumerate(weights):
        assert abs(found[index] - weight * draws) <= 1 + 1e-9
        assert weight or not found[index]


def test_the_remainder_of_rounding_has_a_target():
    """Weights that sum to a little less than 1 lose no call, and give none to weight 0."""
    assert pick_by_weight([0.1] * 10 + [0.0], 1 - 1e-17) == 9
    assert pick_by_weight([0.0, 1 - 1e-9], 0.9999999999) == 1


@given(parts=WEIGHTS, salt=st.text(max_size=5))
def test_keys_are_dealt_by_weight(parts: list[int], salt: str):
    """A thousand keys fall on the targets as their weights say, within bounds."""
    weights = normal(parts)
    names = [f"t{n}" for n in range(len(parts))]
    found = Counter(pick_by_key(names, weights, f"key {n}", salt) for n in range(1000))
    assert all(within(found[n], 1000, weight) for n, weight in enumerate(weights))


@given(parts=st.lists(st.integers(1, 20), min_size=2, max_size=5), extra=st.integers(1, 20))
def test_no_key_moves_without_need(parts: list[int], extra: int):
    """When a target's weight grows, keys move to that target only, in any order of targets."""
    names = [f"t{n}" for n in range(len(parts))]
    before = normal(parts)
    after = normal([parts[0] + extra, *parts[1:]])
    for n in range(200):
        old = names[pick_by_key(names, before, f"k{n}", "s")]
        new = names[::-1][pick_by_key(names[::-1], after[::-1], f"k{n}", "s")]
        assert new in (old, "t0")


def test_another_salt_distributes_keys_differently():
    """The same half of the users does not meet the new version of every route."""
    names, weights = ["a", "b"], [0.5, 0.5]
    same = sum(
        pick_by_key(names, weights, f"k{n}", "one") == pick_by_key(names, weights, f"k{n}", "two")
        for n in range(1000)
    )
    assert within(same, 1000, 0.5)


def test_any_text_is_a_key():
    """Any string, such as a client's header, is a valid key."""
    for key in ("\udcff", "\0", "k" * 100_000, "ü"):
        assert pick_by_key(["a", "b"], [0.5, 0.5], key, "s") in (0, 1)
