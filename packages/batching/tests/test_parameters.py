from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from alacarte_batching._parameters import Parameters


async def one(x: Any) -> None: ...
async def two(x: Any, y: Any = None) -> None: ...
async def method(self: Any, x: Any, *, scale: Any = None) -> None: ...
async def keyword(*, x: Any) -> None: ...
async def anything(*args: Any, **kwargs: Any) -> None: ...


def call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> SimpleNamespace:
    args, kwargs = Parameters(function).normalise(args, kwargs)
    return SimpleNamespace(args=args, kwargs=kwargs)


def test_one_list_for_each_argument() -> None:
    """The arguments of several calls become one list per parameter, in the order of calls."""
    calls = [call(two, 1, 10), call(two, 2, 20)]
    assert Parameters(two).columns(calls) == ([[1, 2], [10, 20]], {})


def test_keyword_arguments_are_lists_too() -> None:
    """Arguments that can only be given by keyword are passed so, as lists."""
    calls = [call(keyword, x=1), call(keyword, x=2)]
    assert Parameters(keyword).columns(calls) == ([], {"x": [1, 2]})


def test_self_is_no_item() -> None:
    """The instance of a method is passed as it is."""
    owner = object()
    calls = [call(method, owner, 1, scale=5), call(method, owner, 2, scale=6)]
    assert Parameters(method).columns(calls) == ([owner, [1, 2]], {"scale": [5, 6]})


def test_spelling_does_not_matter() -> None:
    """The same parameters by position and by keyword are alike."""
    parameters = Parameters(two)
    assert parameters.have_same_parameters(call(two, 1, 2), call(two, y=2, x=1))
    assert not parameters.have_same_parameters(call(two, 1), call(two, 1, 2))
    assert not parameters.have_same_parameters(call(anything, 1, a=2), call(anything, 1, b=2))


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (one, (), {}),
        (one, (1, 2), {}),
        (one, (1,), {"z": 3}),
        (method, (object(),), {}),
        (keyword, (), {}),
        (keyword, (1,), {}),
        (anything, (), {}),
    ],
)
def test_wrong_arguments_are_refused_at_the_call(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Arguments that do not match the signature raise with the function's name."""
    with pytest.raises(TypeError, match=f"^{function.__qualname__}: "):
        Parameters(function).normalise(args, kwargs)


def test_mismatch_names_both_sides() -> None:
    """The error describes the parameters of the call and of its batch."""
    error = Parameters(two).mismatch(call(two, 1, 2), call(two, 1))
    assert str(error).startswith("two: this call passes (x, y), but the other calls in its batch ")
    assert "pass (x);" in str(error)
    error = Parameters(anything).mismatch(call(anything, 1, 2), call(anything, 1, a=3))
    assert "passes (2 of *args)" in str(error)
    assert "pass (1 of *args, a);" in str(error)


@pytest.mark.parametrize("function", [one, two, method, keyword, anything])
def test_first_argument_is_the_one_that_is_measured(function: Callable[..., Any]) -> None:
    """`batch_size_fn` gets the first item, passed by position or keyword."""
    args = (object(),) if function is method else ()
    assert Parameters(function).first(call(function, *args, x=7)) == 7


def test_function_needs_a_parameter_for_items() -> None:
    """A function with nothing to take items by is refused."""

    async def nothing() -> None: ...
    async def nobody(self: Any) -> None: ...

    for function in (nothing, nobody):
        with pytest.raises(TypeError, match="takes no items"):
            Parameters(function)
