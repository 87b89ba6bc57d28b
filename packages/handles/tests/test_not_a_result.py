"""Use of a response as if it were its result."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import pytest

from alacarte import serve


@serve.deployment
class Number:
    async def __call__(self) -> int:
        return 3


@pytest.fixture
def response(local: Any) -> Any:
    return local.run(Number.bind()).remote()


@pytest.mark.parametrize(
    "use",
    [
        lambda it: it + 1,
        lambda it: 1 + it,
        lambda it: 2 * it,
        lambda it: -it,
        lambda it: it < 4,
        lambda it: it >= 4,
        lambda it: sorted([it, 1]),
        lambda it: it["key"],
        lambda it: "key" in it,
        lambda it: list(it),
        lambda it: dict(it),
        len,
        float,
        round,
        operator.index,
        math.sqrt,
        lambda it: [*it],
    ],
)
def test_values_are_refused(response: Any, use: Callable[[Any], Any]):
    """The TypeError asks for the `await` that was forgotten."""
    with pytest.raises(TypeError, match="this is a DeploymentResponse.*did you forget `await`?"):
        use(response)
    assert response.result() == 3


def test_attributes_of_the_result(response: Any):
    """The AttributeError names the attribute and the missing `await`."""
    told = "did you forget `await`?.* A response has no attribute 'shape'"
    with pytest.raises(AttributeError, match=told):
        _ = response.shape
    assert not hasattr(response, "shape")


def test_supported_operations_of_a_response(response: Any):
    """A response is true, hashable and equal to itself, and shows frameworks no attributes."""
    assert response
    assert response == response
    assert response != 3
    assert {response: 1}[response] == 1
    with pytest.raises(TypeError):
        vars(response)
