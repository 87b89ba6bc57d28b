"""Checks of a loader at its decoration."""

from __future__ import annotations

import pickle
from typing import Any

import cloudpickle
import pytest

from alacarte.context import current_call
from alacarte.types import Call
from alacarte_multiplexing import get_multiplexed_model_id, multiplexed


async def good(model_id: str) -> str:
    return model_id


@pytest.mark.parametrize("limit", [0, -2])
def test_limits_out_of_range(limit: int) -> None:
    """A limit is 1 or more, or -1 for none."""
    with pytest.raises(ValueError, match="1 or more, or -1"):
        multiplexed(max_num_models_per_replica=limit)


@pytest.mark.parametrize("limit", [1.0, "3", None, True])
def test_limits_that_are_none(limit: Any) -> None:
    """A limit is an integer."""
    with pytest.raises(TypeError, match="must be an integer"):
        multiplexed(max_num_models_per_replica=limit)


def sync(model_id: str) -> str:
    return model_id


async def generator(model_id: str) -> Any:
    yield model_id


@pytest.mark.parametrize("function", [sync, generator, 3, type("A", (), {})])
def test_a_loader_is_async(function: Any) -> None:
    """Anything but an `async def` function is refused at its decoration."""
    with pytest.raises(TypeError, match="async def"):
        multiplexed(function)


async def none() -> None: ...
async def two(a: str, b: str) -> None: ...
async def method_without(self: Any) -> None: ...
async def method_with_two(self: Any, a: str, b: str = "") -> None: ...
async def many(*model_ids: str) -> None: ...
async def named(*, model_id: str) -> None: ...


@pytest.mark.parametrize("function", [none, two, method_without, method_with_two, many, named])
def test_a_loader_has_one_parameter(function: Any) -> None:
    """A loader has the model's id as its only parameter, besides `self`."""
    with pytest.raises(TypeError, match="must have one parameter"):
        multiplexed(function)


async def test_outside_of_a_replica() -> None:
    """Where no replica is, nothing is loaded, and the error says so."""
    with pytest.raises(RuntimeError, match="outside of a replica"):
        await multiplexed(good)("a")


async def test_arguments_are_checked_first() -> None:
    """A call with a wrong number of arguments is a TypeError that names the loader."""
    with pytest.raises(TypeError, match="good: "):
        await multiplexed(good)()
    with pytest.raises(TypeError, match="good: "):
        await multiplexed(good)("a", "b")


def test_a_loader_pickles_with_its_class() -> None:
    """A class from a script pickles by value with its loader."""

    class Model:
        @multiplexed(max_num_models_per_replica=2)
        async def load(self, model_id: str) -> str:
            return model_id

    loaded = pickle.loads(cloudpickle.dumps(Model))
    assert loaded.load.__name__ == "load"


def test_the_model_of_the_request() -> None:
    """`get_multiplexed_model_id` returns the request's id, "" for none."""
    assert get_multiplexed_model_id() == ""
    token = current_call.set(Call("python", (b"",), model_id="a"))
    assert get_multiplexed_model_id() == "a"
    current_call.reset(token)
