from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacarte.errors import ConfigError
from alacarte_endpoints._weights import check_share, check_weights


@pytest.mark.parametrize(
    "weights",
    [{"a": 1}, {"a": 0.5, "b": 0.5}, {"a": 1.0, "b": 0}, dict.fromkeys("abcdefghij", 0.1)],
)
def test_good_weights(weights: dict[str, float]) -> None:
    """They sum to 1, and some of them may be 0."""
    assert check_weights("it", weights) == weights


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=20))
def test_shares_of_a_whole(parts: list[float]) -> None:
    """Weights that were divided by their sum are right, whatever rounding did to them."""
    total = math.fsum(parts)
    check_weights("it", {str(index): part / total for index, part in enumerate(parts)})


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "must sum to 1, not to 0"),
        ({"a": 0.9}, "must sum to 1, not to 0.9"),
        ({"a": 1 + 1e-7}, "must sum to 1"),
        ({"a": 1.5, "b": -0.5}, "the weight -0.5 of 'b' must be 0 or more"),
        ({"a": math.nan}, "the weight nan of 'a'"),
        ({"a": math.inf}, "the weight inf of 'a'"),
    ],
)
def test_weights_that_are_none(weights: dict[str, float], message: str) -> None:
    """The error says which weight is wrong, or what they sum to."""
    with pytest.raises(ConfigError, match=f"it: .*{message}"):
        check_weights("it", weights)


@pytest.mark.parametrize("weights", [None, [("a", 1)], {"a": "1"}, {"a": True}, {1: 1}])
def test_weights_of_another_kind(weights: Any) -> None:
    """What is no dict from names to numbers is a TypeError."""
    with pytest.raises(TypeError, match="it: traffic m"):
        check_weights("it", weights)


@pytest.mark.parametrize("share", [0, 1, 0.25])
def test_a_good_share(share: float) -> None:
    """From nothing to all."""
    assert check_share("it", share) == share


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan, "1", None, True])
def test_a_share_that_is_none(share: Any) -> None:
    """The original raises TypeError for all of them, and so do we."""
    with pytest.raises(TypeError, match="it: a shadow's proportion must be from 0 to 1"):
        check_share("it", share)
